"""A tiny training, as a program that torchrun starts, and in forked processes that die."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import lightning_fabric.fabric  # noqa: F401 seconds that every fork would need
import numpy as np
import rig
import torch
import torch.utils.tensorboard
from safetensors.numpy import load_file

from meshtalk.config import PRESETS
from meshtalk.corpus.store import Corpus
from meshtalk.training.run import train
from meshtalk.training.signals import Stopped

_STAGE = {"steps": 4, "frames": 12, "batch": 6, "learning_rate": 5e-4}
_WHOLE = rig.quick_training(1, 1, 1, loss=PRESETS["compact"][1].loss, tau_end=0.5, mouth_weight=1.0, checkpoint_every=2)
TRAINING = replace(
    _WHOLE, **{name: replace(getattr(_WHOLE, name), **_STAGE) for name in ("regression", "stage1", "stage2")}
)
STAGES = ("regression", "stage1", "stage2")
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["training_rig"])


def run(
    corpus: Path, folder: Path, features: Path, say: Callable[[str], None] = lambda _: None, **options: Any
) -> Path:
    """The tiny training; options as of `train`."""
    torch.set_num_threads(1)
    return train(Corpus.open(corpus), folder, rig.TINY, TRAINING, features=features, progress=say, **options)


def same(a: Path, b: Path, tolerance: float = 0.0) -> None:
    """Compare all weights and moments of two runs' last checkpoints and, if they are to be the same, their models."""
    files = [f"{stage}.safetensors" for stage in STAGES]
    # whose half precision makes a last bit of any difference
    for name in files if tolerance else [*files, "model/model.safetensors"]:
        ours, theirs = load_file(a / name), load_file(b / name)
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            np.testing.assert_allclose(value, theirs[key], rtol=0, atol=tolerance, err_msg=f"{name} {key}")


def forked(target: Callable[..., None], *args: Any) -> BaseProcess:
    """A function, begun in a process of its own that has imported all this already."""
    process = FORKS.Process(target=target, args=args)
    # the fork server finds what to import by the environment alone
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)}):
        process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    """Of a process, when it has ended."""
    process.join()
    return process.exitcode


def die_before(change: str, *paths: Path) -> None:
    """Train, and be killed when a change of a file matches: `rename SOURCE TARGET`, `open FILE`, `remove FILE`."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        names = [Path(arg).name for arg in args if isinstance(arg, str) and "/" in arg]
        if re.fullmatch(change, " ".join([event.removeprefix("os."), *names])):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run(*paths)


def die_while_writing(at: str, size: int, *paths: Path) -> None:
    """Train, and be killed by the first write beyond `size` bytes of a file, once a progress line begins with `at`."""
    import resource

    def say(line: str) -> None:
        if line.startswith(at):
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    run(*paths, say=say)


def die_after(seconds: float, *paths: Path) -> None:
    """Train, and be killed at whatever is being done then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    run(*paths)


def slurm_task(rank: int, port: int, stop_at: str | None, *paths: Path) -> None:
    """One of two tasks as `srun` starts them; the first one gets SIGUSR1 when its progress begins with `stop_at`."""
    step = {"NUM_TASKS": 2, "NUM_NODES": 1, "TASKS_PER_NODE": "2(x1)", "NODELIST": "localhost"}
    told = {f"SLURM_STEP_{name}": str(value) for name, value in step.items()}
    told |= {"SLURM_JOB_ID": "7", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost"}
    told |= {"SLURM_NTASKS": "4", "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
    os.environ |= told | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def say(line: str) -> None:
        if stop_at is not None and line.startswith(stop_at):
            os.kill(os.getpid(), signal.SIGUSR1)

    try:
        run(*paths, say=say)
    except Stopped as stopped:
        sys.exit(stopped.code)


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:4]))
