"""The fuzzing harness: a small fixed seed of it, and that it sees what it is for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))

import kinds
import mutate
import run

QUICK = [kind for kind in kinds.KINDS if kind not in kinds.SLOW]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    kinds.make(folder, slow=False)
    return folder


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_whatever_file_comes_in(seeds, first):
    faults = {case: run.attempt(case, seeds, QUICK)[1] for case in range(first, first + 15)}
    assert not {case: fault for case, fault in faults.items() if fault}


def test_a_case_is_the_same_in_every_run(seeds, tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        file, _ = run.laid(seeds, "model/config.json", tmp_path / name)
        rng, *drawn = run.draw(7, QUICK)
        mutate.mutate(file, rng)
        made.append((drawn, file.read_bytes()))
    assert made[0] == made[1]
    assert made[0][1] != (seeds / "model/config.json").read_bytes()


@pytest.mark.parametrize("way", [*mutate.ANY, mutate.number, mutate.lines, mutate.values, mutate.arrays])
def test_every_mutation_takes_any_bytes(way):
    for data in (b"x", b'[1, {"a": 2}]', b"PK\x03\x04", bytes(range(256))):
        for seed in range(20):
            assert isinstance(way(data, np.random.default_rng(seed)), bytes)


@pytest.mark.parametrize(("end", "err", "left", "fault"), [
    (2, "meshtalk: no such clip. Try another.", [], None), (0, "", ["out/a.npz"], None), (0, "", [], "nothing was written"),
    (2, "Traceback (most recent call last)\nmeshtalk: x", [], "a traceback"),
    (2, "", [], "no sentence"), (3, "", [], "exit code 3"),
    (2, "meshtalk: x", ["out/a.npz"], "left after a refusal"),
    (2, "meshtalk: x", ["out/.meshtalk-a.npz"], "a partial file is left"),
    (2, "meshtalk: a.npz: KeyError: 'a'. If the input is sound this is a defect: run", [], "nobody expected this"),
])  # fmt: skip
def test_the_harness_sees_what_is_wrong(tmp_path, end, err, left, fault):
    (tmp_path / "out").mkdir()
    for name in left:
        (tmp_path / name).touch()
    found = run.wrong(end, err, tmp_path, ("export", "take.npz", "-o", "out/a.npz"))
    assert found == fault if fault is None else found.startswith(fault)


def test_a_worker_that_dies_is_started_again_behind_the_case(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(
        "import json, os, sys\n"
        "for case in range(int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])):\n"
        "    print(json.dumps({'case': case}), flush=True)\n"
        "    if case == 2: os.kill(os.getpid(), 9)\n"
        "    print(json.dumps({'case': case, 'kind': 'a', 'fault': None, 'took_s': 0.0, 'peak': 1}), flush=True)\n"
    )
    monkeypatch.setattr(run, "HERE", tmp_path)
    worker = run.Worker(tmp_path, 0, 5, 1, ["a"])
    while worker.poll():
        pass
    assert [(one["case"], one["fault"]) for one in worker.results] == [
        (0, None), (1, None), (2, "a crash, exit code -9"), (3, None), (4, None),
    ]  # fmt: skip
