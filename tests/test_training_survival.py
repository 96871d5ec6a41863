"""Runs that are killed, stopped, out of disk or of memory's bits go on, and end with the weights they would have had."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import rig
import torch
import training_rig
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rig import TRAINING, exit_code, forked, run, same

from meshtalk.cli.main import main
from meshtalk.config import PRESETS
from meshtalk.errors import InputError
from meshtalk.training import checkpoints, signals
from meshtalk.training.signals import Stopped

pytestmark = pytest.mark.usefixtures("inline_features")


@pytest.fixture
def places(rig_corpus, small_run, tmp_path) -> tuple[Path, Path, Path]:
    """(corpus, a new run's folder, features that are there already)."""
    return rig_corpus.root, tmp_path / "run", small_run.parent / "features"


class At:
    """Does something when a progress line begins with some text."""

    def __init__(self, text: str, act: Callable[[], object]) -> None:
        self.text, self.act, self.lines = text, act, []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith(self.text):
            self.act()


# --- killed ------------------------------------------------------------------------------------------------------


DEATHS = (
    r"open \S+\.json",
    r"rename \S+ training.json",
    r"rename \S+ geometry.safetensors",
    r"rename \S+ regression.safetensors",
    r"rename regression.safetensors regression.previous.safetensors",
    r"remove \S+\.npz",
    r"rename stage1.safetensors stage1.previous.safetensors",
    r"rename \S+ stage2.safetensors",
    r"open \S+\.npz",
)
"""Changes of files that a run is killed before, one life after the other."""


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_is_not(places, small_run):
    """Before every kind of change to its files, in the middle of writing, and at moments that nobody chose."""
    for change in DEATHS[:6]:
        assert exit_code(forked(training_rig.die_before, change, *places)) == -signal.SIGKILL, change
    size = (small_run / "stage1.safetensors").stat().st_size // 2
    writing = forked(training_rig.die_while_writing, "stage1 2/", size, *places)
    assert exit_code(writing) == -signal.SIGXFSZ
    assert [path for path in places[1].glob(".meshtalk-*") if path.stat().st_size == size], "nothing was half-written"
    for change in DEATHS[6:]:
        assert exit_code(forked(training_rig.die_before, change, *places)) == -signal.SIGKILL, change
    for seconds in (0.6, 0.9):
        assert exit_code(forked(training_rig.die_after, seconds, *places)) in (-signal.SIGALRM, 0)
    run(*places)
    same(places[1], small_run)
    assert not list(places[1].glob("**/.meshtalk-*")), "rubbish is left"


# --- disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence_and_costs_no_checkpoint(places, small_run, monkeypatch):
    """The kernel refuses: files may not grow. Then: no room when the data should reach the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(InputError, match=r"File too large\. Free some space and run the command again"):
            run(
                *places,
                say=At("stage1 2/", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = checkpoints.read(places[1] / "stage1.safetensors", print)
    assert kept is not None
    assert kept.metadata["step"] == "2"
    assert not list(places[1].glob("**/.meshtalk-*"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"No space left on device\. Free some space"):
        run(*places, say=At("stage2 2/", lambda: patch.setattr(os, "fsync", full)))
    run(*places)
    same(places[1], small_run)


def test_an_unreadable_shard_is_named(places, monkeypatch):
    """Cut short while training reads it; then a disk that fails."""
    from meshtalk.corpus import rows

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    copied = shutil.copytree(places[2], places[1].parent / "features")
    fail = At("stage1 2/", lambda: [path.write_bytes(b"") for path in copied.iterdir()])
    with pytest.raises(InputError, match=r"features.*\.(features|motion) is truncated"):
        run(*places[:2], copied, say=fail)
    monkeypatch.setattr(rows.OpenFile, "_read_some", fails)
    with pytest.raises(InputError, match=r"cannot read .*\.(features|motion) \(Input/output error\)"):
        run(*places)
    assert checkpoints.read(places[1] / "stage1.safetensors", print) is not None


# --- damaged checkpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    path, said = tmp_path / "stage.safetensors", []
    for step in (1, 2):
        checkpoints.write(path, {"a": torch.full((64,), float(step))}, {"step": str(step)})
    found = checkpoints.read(path, said.append)
    assert found is not None
    assert (found.metadata["step"], said) == ("2", [])
    _damage(path, damage)
    found = checkpoints.read(path, said.append)
    assert found is not None
    torch.testing.assert_close(found.tensors["a"], torch.ones(64))
    assert len(said) == 1
    assert "step 1" in said[0]
    _damage(checkpoints.previous(path), "cut")
    with pytest.raises(InputError, match=r"is damaged .*\. Restore a copy, or delete it"):
        checkpoints.read(path, said.append)


def _damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content if how == "flipped" else content[: len(content) // 2])


@settings(max_examples=40)
@given(st.data())
def test_no_damage_goes_unseen(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("kept") / "stage.safetensors"
    checkpoints.write(path, {"a": torch.arange(5.0), "b": torch.ones(2, 3, dtype=torch.float64)}, {"step": "7"})
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        found = checkpoints.read(path, print)
    except InputError:
        return
    assert found is not None  # only where a reader skips: spaces between texts, the checksum's own name
    assert sorted(found.tensors) == ["a", "b"]
    assert found.tensors["a"].tolist() == [0, 1, 2, 3, 4]
    assert found.tensors["b"].tolist() == [[1] * 3] * 2
    assert found.metadata["step"] == "7"


def test_a_run_goes_on_from_a_damaged_checkpoint(places, small_run):
    with pytest.raises(Stopped):
        run(*places, say=At("stage1 2/", lambda: os.kill(os.getpid(), signal.SIGTERM)))
    _damage(places[1] / "stage1.safetensors", "cut")
    told = At("", lambda: None)
    run(*places, say=told)
    assert any("resumes from the previous checkpoint, step 2" in line for line in told.lines)
    same(places[1], small_run)


# --- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_saves_the_step_and_tells_it_by_the_exit_code(places, small_run, monkeypatch, capsys, number):
    monkeypatch.setitem(PRESETS, "compact", (rig.TINY, TRAINING))
    command = ["train", str(places[0]), "-o", str(places[1]), "--device", "cpu"]
    told = At("regression 2/", lambda: os.kill(os.getpid(), number))
    monkeypatch.setattr("meshtalk.training.progress.console", lambda: told)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 128 + number
    assert "stopped at regression 3/4, which is saved: the same command resumes" in capsys.readouterr().err
    assert json.loads(checkpoints.read(places[1] / "regression.safetensors", print).metadata["step"]) == 3  # type: ignore[union-attr]
    assert signal.getsignal(number) == before
    main(command)
    assert capsys.readouterr().out == f"{places[1] / 'model'}\n"
    same(places[1], small_run)


def test_a_signal_between_the_stages_stops_at_once(places, small_run):
    with pytest.raises(Stopped, match="stopped; finished work is saved"):
        run(*places, say=At("geometry", lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    run(*places)
    same(places[1], small_run)


def test_a_signal_after_the_last_step_of_a_stage_is_heard(places, small_run):
    """While the stage's last checkpoint is written, or validation runs."""
    for moment, reached in (("regression 4/", "regression 4/4"), ("stage1 4 validation", "stage1 4/4")):
        with pytest.raises(Stopped, match=f"stopped at {reached}, which is saved"):
            run(*places, say=At(moment, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    run(*places)
    same(places[1], small_run)


def test_ctrl_c_twice_does_not_wait(monkeypatch):
    asked = signals.Asked()
    asked(signal.SIGINT, None)
    asked(signal.SIGINT, None)  # the same keystroke, passed on by a launcher
    monkeypatch.setattr(asked, "since_s", asked.since_s - 2 * signals.SECOND_THOUGHT_S)
    with pytest.raises(KeyboardInterrupt):
        asked(signal.SIGINT, None)
    assert asked.number == signal.SIGINT
