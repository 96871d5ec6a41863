"""From a data set's own files to a face that speaks: converted, trained, animated and measured on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import convert_rig
import numpy as np
import pytest
import rig
from convert_rig import VOCA

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.config import PRESETS

SAID = (("s0", 1), ("s0", 2), ("s1", 3), ("s1", 4), ("s2", 21), ("s2", 22), ("s3", 21), ("s3", 22))
STEPS = 8


@pytest.mark.usefixtures("inline_features")
def test_a_data_set_becomes_a_model(tmp_path, monkeypatch, capsys):
    training = rig.quick_training(STEPS, STEPS, STEPS, checkpoint_every=STEPS // 2, augmentations=0)
    monkeypatch.setitem(PRESETS, "compact", (rig.TINY, training))
    monkeypatch.chdir(tmp_path)
    convert_rig.vocaset_arrays(Path("release"), seconds=1.0, said=SAID)
    convert_rig.options(Path("mesh"))
    mesh = ("--template", "mesh/face.ply", "--topology", "mesh/regions.npz")

    main(["corpus", "convert", "vocaset", "release", "voca", "--workers", "1", *mesh])
    capsys.readouterr()
    main(["train", "voca", "-o", "run", "--device", "cpu"])
    said = capsys.readouterr()
    assert said.out == f"{Path('run/model')}\n"
    lines = [line.split() for line in said.err.splitlines() if "ms/step" in line]
    for stage, term in (("regression", "loss"), ("stage1", "loss"), ("stage2", "nll")):
        first, last = (float(words[words.index(term) + 1]) for words in lines if words[0] == stage)
        assert last < first, stage
    assert "waited for data" in said.err
    assert {line.split()[0] for line in said.err.splitlines() if "validation" in line} == {
        "regression",
        "stage1",
        "stage2",
    }

    wav = Path("release/wav") / f"{VOCA['s3']}_sentence21.wav"
    main(["animate", str(wav), "-o", "clip.npz", "--model", "run/model"])
    clip = Clip.load("clip.npz")
    assert clip.n_frames == 30
    assert clip.topology.hash == rig.TOPOLOGY.hash
    assert np.abs(clip.displacements()).max() > 1e-4
    main(["evaluate", "run/model", "voca", "--json", "numbers.json"])
    assert json.loads(Path("numbers.json").read_text())
