"""Progress of long work: what library functions tell, and tqdm's bar for it on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINE_S = 30.0
"""A file gets a line so often, and one at the end."""
TERMINAL_S = 0.1
NARROW = "{desc}{n_fmt}/{total_fmt} {unit}{postfix} [{elapsed}<{remaining}]"
FORMAT = "{percentage:3.0f}% |{bar}| " + NARROW


@dataclass(frozen=True)
class Progress:
    """How far long work is."""

    done: float
    total: float
    unit: str
    """What is counted: clips, recordings, frames, min."""
    doing: str = ""
    note: str = ""
    """What else there is to say, such as how many were dropped."""


Show = Callable[[Progress], None]
"""What library functions take as `progress`."""


def followed(
    items: Iterable[Item], total: int, unit: str, progress: Show | None, doing: str = "", note: Callable[[], str] = str
) -> Iterator[Item]:
    """The items; `progress` is called when one is done, that is when the next one is asked for.

    Args:
        note: asked for what else there is to say.
    """
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(Progress(done, total, unit, doing, note()))


def meter(total: float, unit: str, doing: str, stream: TextIO, layout: str = FORMAT) -> tqdm:
    """A bar on a terminal; lines now and then elsewhere."""
    terminal = stream.isatty()
    tqdm.monitor_interval = 0  # no thread of its own, and no lock that child processes would share
    tqdm.set_lock(RLock())
    return tqdm(
        total=total, desc=f"{doing} " if doing else "", unit=unit, file=stream if terminal else _Lines(stream), bar_format=layout,
        dynamic_ncols=terminal, miniters=0, mininterval=TERMINAL_S if terminal else LINE_S, delay=0 if terminal else 1e-9,
    )  # fmt: skip


@contextmanager
def bar() -> Iterator[Show]:
    """Shows progress on standard error, a bar for each thing that is done, and ends its line whatever happens."""
    shown: tqdm | None = None
    doing = ""

    def show(now: Progress) -> None:
        nonlocal shown, doing
        if shown is None or doing != now.doing:
            if shown is not None:
                shown.close()
            layout = FORMAT if sys.stderr.isatty() else NARROW
            shown, doing = meter(now.total, now.unit, now.doing, sys.stderr, layout), now.doing
        shown.n, shown.total = now.done, max(now.total, now.done)  # an estimated total may be passed
        shown.set_postfix_str(now.note, refresh=False)
        shown.update(0)

    try:
        yield show
    finally:
        if shown is not None:
            shown.close()


class _Lines:
    """A stream on which every state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if text := text.strip():
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()
