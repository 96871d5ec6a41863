"""Read the next training batches on a background thread while the current step computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

DEPTH = 2
"""Number of items read ahead."""

Asked = TypeVar("Asked")
Read = TypeVar("Read")


class Prefetcher(Generic[Asked, Read]):
    """Calls `read` for one item after the other, in order and always in the same thread.

    Args:
        read: a function of its argument alone.
        asked: items to read. It is iterated in the thread that calls `next`.

    Exceptions of `read` are raised by `next` at that item. A context manager: leaving it discards what was read ahead.
    """

    def __init__(self, read: Callable[[Asked], Read], asked: Iterable[Asked]) -> None:
        self._read, self._asked = read, iter(asked)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="meshtalk-ahead")
        self._coming: deque[tuple[Asked, Future[Read]]] = deque()
        self.waited_s = 0.0
        """Total seconds that `next` has waited for the disk."""

    def next(self) -> tuple[Asked, Read]:
        """The next item, and what was read for it.

        Raises:
            StopIteration: there are no more items.
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

    def __enter__(self) -> Prefetcher[Asked, Read]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
