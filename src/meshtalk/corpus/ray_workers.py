"""The same work as `workers.as_done`, through Ray Data: on a cluster of machines, or on processes here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

from meshtalk.corpus.workers import Job, Lost, Result, check_workers, one_thread
from meshtalk.errors import InputError


class _Actor:
    """Lives in a process of Ray's, and keeps what the task has loaded."""

    def __init__(self, task: Callable[[Any], Any], jobs: Sequence[Any]) -> None:
        self.task, self.jobs = task, jobs

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with one_thread():
            return {"place": row["place"], "result": [self.task(self.jobs[int(row["place"])])]}


def as_done(
    task: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Generator[tuple[int, Result | Lost], None, None]:
    """(place of the job, its result) in the order in which they get done.

    On the cluster that the environment variable RAY_ADDRESS names, whose machines see the same files and have meshtalk; without
    one, on `workers` processes here.

    Raises:
        InputError: fewer than one worker, Ray is not installed, or the cluster does not answer.
    """
    check_workers(workers)
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("Ray is asked for (not installed) : pip install 'meshtalk[ray]'") from None
    if not jobs:
        return
    begun = not ray.is_initialized()
    if begun:
        address = os.environ.get("RAY_ADDRESS")
        here = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address or "local", log_to_driver=False, configure_logging=False, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"the Ray cluster at {address} does not answer ({error}) : set RAY_ADDRESS") from None
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
        actor: Any = _Actor
        done = rows.map(
            actor, fn_constructor_args=(task, jobs), compute=pool, num_cpus=1,
            ray_remote_args_fn=lambda: {"max_task_retries": 1},
        )  # fmt: skip
        missing = set(range(len(jobs)))
        for row in done.iter_rows():
            missing.discard(int(row["place"]))
            yield int(row["place"]), row["result"][0]
        for place in sorted(missing):
            yield place, Lost()
    finally:
        if begun:
            ray.shutdown()
