"""Progress of long work on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def one_line() -> Generator[Callable[[object], None]]:
    """Shows progress, each over the one before, and ends the line whatever happens."""
    width = 0

    def show(progress: object) -> None:
        nonlocal width
        text = str(progress)
        print(f"\r{text:{width}}", end="", file=sys.stderr, flush=True)
        width = len(text)

    try:
        yield show
    finally:
        if width:
            print(file=sys.stderr)
