"""Process pools whose results do not depend on the number of workers."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from multiprocessing import get_context, parent_process
from threading import Lock, Thread
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from meshtalk.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class HasThreads(Protocol):
    """An object with a limit of threads for its work."""

    threads: int


Limited = TypeVar("Limited", bound=HasThreads)


@dataclass(frozen=True)
class WorkerDied:
    """Result of a job whose process was killed at every attempt."""

    why: str = "its process was killed, perhaps for want of memory"


def _prepare() -> None:
    """Each worker is one core's work, where libraries that spread over all cores would fight for them, and ends with the
    clip it is at: an interruption reaches all processes, but is for the one that gives out the work. If that one was
    killed, nobody would ever ask again, and they end at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_task: Callable[[Any], Any] | None = None


def _take(task: Callable[[Any], Any]) -> None:
    global _task
    _prepare()
    _task = task


def _do(job: Any) -> Any:
    assert _task is not None
    with one_thread():
        return _task(job)


_lock = Lock()
_limit: Any = None
_limited = 0
_forked = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, linear algebra runs on one thread: several round differently, so that bytes would depend on the machine.

    The limit is the process's, from the first of its threads that is in here to the last.
    """
    global _limit, _limited
    from threadpoolctl import threadpool_limits

    # torch that is loaded later, in a worker, follows the environment; torch's number first, for OpenMP's is a part of it
    with torch_threads(1) if "torch" in sys.modules else nullcontext():
        with _lock:
            _limit, _limited = (threadpool_limits(1) if not _limited else _limit), _limited + 1
        try:
            yield
        finally:
            with _lock:
                _limited -= 1
                if not _limited:
                    _limit.restore_original_limits()


def _after_fork() -> None:
    """A forked process has none of its parent's threads, and torch would wait for them for ever: it computes on one."""
    global _forked, _lock, _limited
    _lock, _limited = Lock(), 0
    if torch := sys.modules.get("torch"):
        _forked = True
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_here(count: int) -> int:
    """How many of so many threads this process can have: one if it was forked from one that had loaded torch."""
    return 1 if _forked else count


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within, what this thread asks of torch on a CPU is computed by `count` threads.

    Unlike `one_thread` it costs next to nothing, and other threads keep their number; only one that first uses torch
    meanwhile begins with `count`.
    """
    import torch

    before = torch.get_num_threads()
    # also where it is `count` already: that is OpenMP's number, and MKL has its own
    torch.set_num_threads(threads_here(count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_own_threads(
    function: Callable[Concatenate[Limited, Arguments], Result],
) -> Callable[Concatenate[Limited, Arguments], Result]:
    """A function or method that computes on its first argument's `threads` torch threads, however many are used elsewhere."""

    @wraps(function)
    def limited(model: Limited, /, *args: Arguments.args, **options: Arguments.kwargs) -> Result:
        with torch_threads(model.threads):
            return function(model, *args, **options)

    return limited


def check_workers(workers: int) -> None:
    """Raise InputError for fewer than one worker."""
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")


def pool(workers: int) -> AbstractContextManager[ProcessPoolExecutor | None]:
    """A pool of so many processes; None for one, whose work stays in this process.

    Raises:
        InputError: fewer than one.
    """
    check_workers(workers)
    if workers == 1:
        return nullcontext()
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare)


def in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], pool: ProcessPoolExecutor | None, ahead: int
) -> Generator[Result, None, None]:
    """Results of `function` for the jobs in their order, `ahead` of them in flight; without a pool, one by one here."""
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


def as_done(
    task: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Generator[tuple[int, Result | WorkerDied], None, None]:
    """(index of the job, its result) in order of completion, by so many processes even if it is one.

    A job that kills its process does not affect the others: jobs in flight are retried, each alone.

    Args:
        task: sent to each process once, so that what it opens or loads at its first call is reused.

    Raises:
        InputError: fewer than one worker.
    """
    check_workers(workers)
    todo: deque[int] = deque(range(len(jobs)))
    suspects: deque[int] = deque()
    while todo or suspects:
        waiting, most = (suspects, 1) if suspects else (todo, 2 * workers)
        running: dict[Future[Result], int] = {}
        with ProcessPoolExecutor(
            min(workers, most), mp_context=get_context("spawn"), initializer=_take, initargs=(task,)
        ) as executor:
            try:
                while waiting or running:
                    while waiting and len(running) < most:
                        running[executor.submit(_do, jobs[waiting[0]])] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
            except BrokenProcessPool:
                if not running:  # it broke before it had anything to do
                    running[Future()] = waiting.popleft()
                hurt = sorted(running.values())
                if most == 1:
                    yield hurt[0], WorkerDied()
                else:
                    suspects.extend(hurt)
            finally:
                for future in running:
                    future.cancel()


# ------------------------------------------------------------------------------------------------ on a cluster


class _RayActor:
    """A Ray actor that holds the task, so that what it has loaded is reused."""

    def __init__(self, task: Callable[[Any], Any], jobs: Sequence[Any]) -> None:
        self.task, self.jobs = task, jobs

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with one_thread():
            return {"place": row["place"], "result": [self.task(self.jobs[int(row["place"])])]}


def as_done_on_ray(
    task: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Generator[tuple[int, Result | WorkerDied], None, None]:
    """(index of the job, its result) in order of completion.

    Runs on the cluster of the environment variable RAY_ADDRESS, whose machines share the file system and have meshtalk; without
    one, on `workers` local processes.

    Raises:
        InputError: fewer than one worker, Ray is not installed, or the cluster does not answer.
    """
    check_workers(workers)
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("Ray is not installed. Run pip install 'meshtalk[ray]'.") from None
    if not jobs:
        return
    begun = not ray.is_initialized()
    if begun:
        address = os.environ.get("RAY_ADDRESS")
        here = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address or "local", log_to_driver=False, configure_logging=False, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"the Ray cluster at {address} does not answer ({error}). Set RAY_ADDRESS.") from None
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.max_errored_blocks = -1  # a job that kills its process is lost, the others go on
        places = [{"place": place} for place in range(len(jobs))]
        # a block for each, so that none waits for another
        rows = ray.data.from_items(places, override_num_blocks=max(1, len(jobs)))
        # what killed its process is tried once more, not for ever as is Ray's default
        pool = ray.data.ActorPoolStrategy(size=workers)
        actor: Any = _RayActor
        done = rows.map(
            actor, fn_constructor_args=(task, jobs), compute=pool, num_cpus=1,
            ray_remote_args_fn=lambda: {"max_task_retries": 1},
        )  # fmt: skip
        missing = set(range(len(jobs)))
        for row in done.iter_rows():
            missing.discard(int(row["place"]))
            yield int(row["place"]), row["result"][0]
        for place in sorted(missing):
            yield place, WorkerDied()
    finally:
        if begun:
            ray.shutdown()
