"""What the next step needs, prepared while this one computes: the same numbers, without the wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Generic, TypeVar

MOST = 4
"""Foretold calls that are kept; the oldest ones are forgotten."""

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Calls `make`, in a thread of its own where a call was foretold. What comes out does not depend on what was foretold.

    Args:
        make: depends on nothing but its arguments.
        told_by: the same for equal arguments, and another for others.
    """

    def __init__(self, make: Callable[..., Made], told_by: Callable[..., Hashable]) -> None:
        self._make, self._told_by = make, told_by
        self.waited_s = 0.0
        """Seconds in all that callers have waited."""
        self._foretold: dict[Hashable, Future[Made]] = {}

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="meshtalk-ahead")

    def __call__(self, *args: Any) -> Made:
        """`make(*args)`, at once if it was foretold early enough."""
        began = time.perf_counter()
        future = self._foretold.pop(self._told_by(*args), None)
        try:
            return self._make(*args) if future is None else future.result()
        finally:
            self.waited_s += time.perf_counter() - began

    def foretell(self, *args: Any) -> None:
        """Begin with `make(*args)`, which somebody will ask for once."""
        key = self._told_by(*args)
        if key not in self._foretold:
            self._foretold[key] = self._thread.submit(self._make, *args)
        while len(self._foretold) > MOST:
            self._foretold.pop(next(iter(self._foretold))).cancel()
