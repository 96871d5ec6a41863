"""Parts of `meshtalk corpus check` by themselves: what it keeps of a killed run, and what it measures."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.check import cache as kept
from meshtalk.check.check import check
from meshtalk.check.measure import _longest, flat_tops, measured
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import wrong_axes
from meshtalk.progress import Progress


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_a_killed_check_goes_on_with_any_number_of_workers(rig_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path / "straight"))
    straight = check(rig_corpus.root, workers=1)
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path / "cache"))
    code = (
        "import os, signal, sys\n"
        "from meshtalk.check.check import check\n"
        "check(sys.argv[1], workers=1, progress=lambda p: p.done == 5 and os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(rig_corpus.root)], timeout=300)
    assert ended.returncode == -9
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/checks").rglob("*.npz")}
    assert len(stamps) == 5
    seen = []
    resumed = check(rig_corpus.root, workers=2, progress=seen.append)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # what was measured stays
    assert [one.done for one in seen] == list(range(1, 13))
    assert seen[-1] == Progress(12, 12, "clips", "measured")
    assert str(resumed) == str(straight)
    assert [timing.model for timing in resumed.timings] == [timing.model for timing in straight.timings]


def test_what_is_kept_is_used_unless_damaged(rig_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path))
    done = []

    def counting(clip: Clip, id: str) -> Any:
        done.append(id)
        return measured(clip, id)

    monkeypatch.setattr(kept, "measured", counting)
    first = check(rig_corpus.root, workers=1)
    assert done == [info.id for info in rig_corpus.clips]
    assert str(check(rig_corpus.root, workers=1)) == str(first)
    assert len(done) == 12
    next(tmp_path.rglob("*.npz")).write_bytes(b"half")
    assert str(check(rig_corpus.root, workers=1)) == str(first)
    assert len(done) == 13


def test_a_cache_that_cannot_be_written_is_one_sentence(rig_corpus, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Set MESHTALK_CACHE"):
        check(rig_corpus.root, workers=1)


@pytest.mark.parametrize("regions", [True, False])
def test_every_turn_of_a_head_is_found_and_guessed(regions):
    head = load_head()
    topology = head.topology if regions else Topology(head.topology.faces, head.topology.n_vertices)
    missed = []
    for order in itertools.permutations("xyz"):
        for signs in itertools.product(("", "-"), repeat=3):
            axes = ",".join(sign + axis for sign, axis in zip(signs, order, strict=True))
            turn = np.eye(3)[["xyz".index(axis) for axis in order]] * [[-1.0] if sign else [1.0] for sign in signs]
            if np.linalg.det(turn) < 0:
                continue
            told = wrong_axes(head.neutral @ turn, topology, np.array([0.0, -0.048, 0.03]) @ turn)
            if axes == "x,y,z":
                assert not told
            elif told:
                assert told.endswith(f" {axes}"), told
            else:
                missed.append(axes)
    # without regions a head may be upside down and back to front: it moves below the middle and in front as it should
    assert missed == ([] if regions else ["-x,-z,-y"])


@given(st.lists(st.booleans(), max_size=40))
def test_the_longest_run(flags):
    start, length = _longest(np.array(flags, bool))
    runs = [len(run) for run in "".join("x" if flag else " " for flag in flags).split()]
    assert length == max(runs, default=0)
    assert all(flags[start : start + length])


@given(st.integers(0, 5), st.integers(3, 9))
def test_flat_tops_are_counted(tops, width):
    wave = 0.4 * np.sin(np.arange(4000) / 7.3)
    for k in range(tops):
        wave[300 * k + 50 : 300 * k + 50 + width] = 0.9 * (-1) ** k
    expected = tops if tops else 0
    assert flat_tops(wave.astype(np.float32)) == expected
