"""`meshtalk corpus build`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from meshtalk.verbs.options import Output


def build(output: Output, minutes: float = 60.0, seed: int = 0, workers: int = 2) -> None:
    """Build the embedded corpus: synthetic performances with their sound. Interrupt and run again to continue.

    Args:
        output: folder to make.
        minutes: of training motion; validation and test clips come on top.
        seed: the same seed gives the same corpus.
        workers: processes.
    """
    from meshtalk.corpus.build import Progress, build_corpus

    def show(progress: Progress) -> None:
        print(f"\r{progress}", end="", file=sys.stderr, flush=True)

    made = build_corpus(output, minutes=minutes, seed=seed, workers=workers, progress=show)
    print(file=sys.stderr)
    print(f"{made.root}: {len(made.clips)} clips, {sum(c.duration_s for c in made.clips) / 60:.1f} minutes")


VERBS: Mapping[str, Callable[..., Any]] = {"build": build}
