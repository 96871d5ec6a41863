"""Reading ahead: what the next steps need is read in a thread while this one computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

DEPTH = 2
"""Things that are read, or being read, before they are asked for."""

Asked = TypeVar("Asked")
Read = TypeVar("Read")


class Ahead(Generic[Asked, Read]):
    """Calls `read` for one thing after the other, in their order and always in the same thread.

    Args:
        read: depends on nothing but its argument.
        asked: what is to be read. It is drawn from in the thread that calls `next`.

    What `read` raises, `next` raises, when it is that thing's turn. A context manager: leaving it drops what was not asked for.
    """

    def __init__(self, read: Callable[[Asked], Read], asked: Iterable[Asked]) -> None:
        self._read, self._asked = read, iter(asked)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="meshtalk-ahead")
        self._coming: deque[tuple[Asked, Future[Read]]] = deque()
        self.waited_s = 0.0
        """Seconds in all that `next` has waited for the disk."""

    def next(self) -> tuple[Asked, Read]:
        """The next thing, and what was read for it.

        Raises:
            StopIteration: nothing is left.
        """
        self._fill(1)
        if not self._coming:
            raise StopIteration
        asked, future = self._coming.popleft()
        self._fill(DEPTH)
        began = time.perf_counter()
        read = future.result()
        self.waited_s += time.perf_counter() - began
        return asked, read

    def _fill(self, depth: int) -> None:
        while len(self._coming) < depth:
            try:
                asked = next(self._asked)
            except StopIteration:
                return
            self._coming.append((asked, self._thread.submit(self._read, asked)))

    def __enter__(self) -> Ahead[Asked, Read]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
