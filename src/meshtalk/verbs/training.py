"""The verb that trains."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

from tyro.conf import Positional

from meshtalk.errors import InputError
from meshtalk.verbs.options import Output, check_device


def train(
    corpus: Positional[Path],
    /,
    output: Output,
    preset: str = "compact",
    steps_factor: float = 1.0,
    learning_rate_factor: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    accumulate: int = 1,
) -> None:
    """Train a model on a corpus; run the same command again to continue an interrupted training.

    With several GPUs or machines: `torchrun --nproc-per-node 4 -m meshtalk train …`, or `srun` in a SLURM script.

    Args:
        corpus: corpus folder, as `meshtalk corpus build`, `convert` or `from-speech` writes it.
        output: run folder; the finished model is its `model` subfolder.
        preset: compact, official or paper.
        steps_factor: multiplies the steps of every stage.
        learning_rate_factor: multiplies every learning rate: below 1 where training diverged.
        seed: of weights and batches.
        device: auto (cuda where there is one, else cpu), cpu, cuda or mps.
        precision: 32, bf16-mixed, or 16-mixed (with a GPU).
        accumulate: compute every batch in so many pieces, one after the other: less memory, the same training.
    """
    from meshtalk.config import PRESETS
    from meshtalk.corpus.store import Corpus
    from meshtalk.training.engine import world
    from meshtalk.training.progress import console
    from meshtalk.training.run import quick, slower
    from meshtalk.training.run import train as run
    from meshtalk.training.signals import Stopped

    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r} : choose one of {', '.join(PRESETS)}")
    for name, factor in (("steps", steps_factor), ("learning rate", learning_rate_factor)):
        if not (math.isfinite(factor) and factor > 0):
            raise InputError(f"{name} factor {factor} came; a positive number is needed")
    model_config, train_config = PRESETS[preset]
    train_config = replace(slower(quick(train_config, steps_factor), learning_rate_factor), seed=seed)
    device = device if device == "auto" else check_device(device)
    first = world().rank == 0
    try:
        folder = run(
            Corpus.open(corpus), output, model_config, train_config, device=device, precision=precision,
            accumulate=accumulate, progress=console(),
        )  # fmt: skip
    except Stopped as stopped:
        if first:
            print(f"\nmeshtalk: {stopped}", file=sys.stderr)
        raise SystemExit(stopped.code) from None
    if first:
        print(folder)
