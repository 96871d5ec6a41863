"""Many processes and micro-batches compute one global batch; devices, precisions and launchers are what was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from socket import socket

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import training_rig
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from training_rig import STAGES, TRAINING, exit_code, forked, run, same

from meshtalk.errors import InputError
from meshtalk.training import engine
from meshtalk.training.engine import World, world
from meshtalk.training.rng import Part, WholeDraws

HERE = Path(__file__).parent


def losses(run_folder: Path) -> dict[str, list[float]]:
    """What TensorBoard shows of a run: curves of all losses and their terms."""
    found = {}
    for stage in STAGES:
        curves = EventAccumulator(str(run_folder / "tensorboard" / stage)).Reload()
        for name in curves.Tags()["scalars"]:
            if not name.endswith(("ms_per_step", "data_wait_share")):
                found[name] = [event.value for event in curves.Scalars(name)]
    assert len(found["stage1/loss"]) == TRAINING.stage1.steps // TRAINING.checkpoint_every
    return found


def same_losses(a: Path, b: Path) -> None:
    ours, theirs = losses(a), losses(b)
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


# --- one batch, many parts -----------------------------------------------------------------------------------------


def test_micro_batches_make_the_same_training(rig_corpus, small_run, tmp_path):
    run(rig_corpus.root, tmp_path / "run", small_run.parent / "features", accumulate=3)
    same(tmp_path / "run", small_run, 1e-5)
    same_losses(tmp_path / "run", small_run)


@pytest.mark.slow  # that two processes make the same training is proven by the tasks of SLURM, too
def test_two_processes_under_torchrun_make_the_same_training(rig_corpus, small_run, tmp_path):
    """Over gloo."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "training_rig.py"]
    paths = [rig_corpus.root, tmp_path / "run", small_run.parent / "features"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *map(str, paths)], cwd=HERE, env=environment, check=True)
    same(tmp_path / "run", small_run, 1e-5)
    same_losses(tmp_path / "run", small_run)


def test_two_tasks_of_slurm_stop_at_a_warning_and_go_on(rig_corpus, small_run, tmp_path):
    """One of them hears of it; both save, and tell by their exit codes. The allocation holds more tasks than the step."""
    paths = [rig_corpus.root, tmp_path / "run", small_run.parent / "features"]

    def tasks(stop_at: str | None) -> list[int | None]:
        with closing(socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = [forked(training_rig.slurm_task, rank, port, stop_at, *paths) for rank in (0, 1)]
        return [exit_code(task) for task in started]

    assert tasks("stage1 2/") == [128 + signal.SIGUSR1] * 2
    assert not (paths[1] / "model").exists()
    assert tasks(None) == [0, 0]
    same(paths[1], small_run, 1e-5)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_parts_are_equal_slices_of_the_batch(processes, micro_batches, windows):
    count = processes * micro_batches
    rows = [Part(index, count).rows(count * windows) for index in range(count)]
    assert {len(part) for part in rows} == {windows}
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(count * windows))


def _noisy(x: torch.Tensor, training: bool = True) -> torch.Tensor:
    """Dropout, then noise of its own for each entry of each of the two blocks."""
    x = nn.Dropout(0.3)(x) if training else x
    return x + torch.empty_like(x).exponential_()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 99))
def test_rows_of_a_batch_get_the_draws_of_the_whole(count, windows, blocks, seed):
    size = count * windows
    x = torch.rand(blocks, size, 3, 2)
    torch.manual_seed(seed)
    plain = _noisy(x.flatten(0, 1))
    torch.manual_seed(seed)
    with WholeDraws(np.arange(size), size, blocks):
        torch.testing.assert_close(_noisy(x.flatten(0, 1)), plain, rtol=0, atol=0)
    for index in range(count):
        rows = Part(index, count).rows(size)
        torch.manual_seed(seed)
        with WholeDraws(rows, size, blocks):
            part = _noisy(x[:, rows].flatten(0, 1))
        torch.testing.assert_close(part, plain.unflatten(0, (blocks, size))[:, rows].flatten(0, 1), rtol=0, atol=0)


def test_dropout_that_is_off_draws_nothing():
    x = torch.rand(4, 2)
    with WholeDraws(np.arange(2), 4):
        assert F.dropout(x, 0.5, training=False) is x
        assert F.dropout(x, 0.0) is x


# --- where it runs -------------------------------------------------------------------------------------------------


def test_launchers_are_told_by_their_variables():
    assert world({}) == World(None)
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "5"}
    assert world(torchrun) == World("torchrun", 4, 2, 5)
    # a script under sbatch, without srun, is one process
    batch = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
    assert world(batch) == World(None)
    step = batch | {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3"}
    assert world(step) == World("slurm", 4, 2, 3)
    assert world(step | torchrun).launcher == "torchrun"
    with pytest.raises(InputError, match="8 tasks on 3 nodes"):
        world(step | {"SLURM_STEP_NUM_NODES": "3"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "64"}, "precision must be one of 32, bf16-mixed, 16-mixed, got '64'"),
        ({"precision": "16-mixed"}, "16-mixed needs cuda, got cpu"),
        ({"device": "mps", "precision": "16-mixed"}, "16-mixed needs cuda, got mps"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        engine.start(**options)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cpu:1", "cuda or cpu, got cpu:1 for 2 processes"), ("cuda", "must not exceed its 0 GPUs, got 2")],
)
def test_processes_without_a_device_each_are_refused(monkeypatch, device, message):
    monkeypatch.setattr(engine, "world", lambda: World("torchrun", 2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=message):
        engine.start(device)


def test_without_fabric_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric.fabric", None)
    with pytest.raises(InputError, match=r"pip install 'meshtalk\[train\]'"):
        engine.start()


@pytest.mark.parametrize(
    ("accumulate", "message"), [(0, "at least 1 micro-batch, got 0"), (4, r"a batch of 6 \(regression\)")]
)
def test_batches_that_cannot_be_divided_are_refused(rig_corpus, tmp_path, accumulate, message):
    with pytest.raises(InputError, match=message):
        run(rig_corpus.root, tmp_path / "run", tmp_path / "features", accumulate=accumulate)
    assert not (tmp_path / "run").exists()


def test_mixed_precision_trains_to_nearly_the_same_losses(rig_corpus, small_run, tmp_path):
    """In bfloat16 on the CPU: products are rough, what is measured in millimetres is not."""
    run(rig_corpus.root, tmp_path / "run", small_run.parent / "features", precision="bf16-mixed")
    exact, rough = losses(small_run), losses(tmp_path / "run")
    for stage in STAGES:
        ours, theirs = rough[f"{stage}/loss"], exact[f"{stage}/loss"]
        np.testing.assert_allclose(ours, theirs, rtol=0.05)
        assert ours != theirs
