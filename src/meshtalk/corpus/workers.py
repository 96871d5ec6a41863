"""Clips made by several processes, in the order of their plan."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from typing import TypeVar

from meshtalk.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


def _prepare() -> None:
    """Each worker is one core's work, where libraries that spread over all cores would fight for them, and ends with the
    clip it is at: an interruption reaches all processes, but is for the one that gives out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def pool(workers: int) -> AbstractContextManager[ProcessPoolExecutor | None]:
    """So many processes; None for one, whose work stays in this process.

    Raises:
        InputError: fewer than one.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed")
    if workers == 1:
        return nullcontext()
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare)


def in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], pool: ProcessPoolExecutor | None, ahead: int
) -> Generator[Result, None, None]:
    """Results of `function` for the jobs in their order, with `ahead` of them under way; without a pool, one by one here."""
    if pool is None:
        for job in jobs:
            yield function(job)
        return
    waiting: list[Future[Result]] = []
    try:
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()
