"""A progress line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def one_line() -> Iterator[Callable[[object], None]]:
    """A function that shows progress in one line that it overwrites; the line is ended whatever happens."""
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
