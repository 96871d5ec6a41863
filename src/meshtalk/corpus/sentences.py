"""What the voices say: own-written sentences, and how much of English they cover."""

from __future__ import annotations

import functools
from importlib.resources import files


@functools.cache
def sentences() -> tuple[str, ...]:
    """The corpus's sentences, in a fixed order; every word is in the pronunciation dictionary."""
    text = (files("meshtalk.corpus") / "sentences.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
