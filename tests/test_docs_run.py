"""Every Python snippet of the documents runs as the script that a reader makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rig
from test_docs import DOCUMENTS, fences

from meshtalk.assets import asset
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.inference.animator import load_model
from meshtalk.mesh.head import load_head

SNIPPETS = {path.name: fences(path.read_text(encoding="utf-8"), "python", "py") for path in DOCUMENTS}
BEFORE = {
    "training.md": """
from dataclasses import replace
from meshtalk.config import PRESETS
model, training = PRESETS["compact"]
few = {name: replace(getattr(training, name), steps=2) for name in ("regression", "stage1", "stage2")}
PRESETS["compact"] = model, replace(training, augmentations=1, **few)
""",
    "data_format.md": """
import rig
told = rig.make_clip(1, 1.0)
topology, neutral, meshes, audio, rate = told.topology, told.template, told.vertices, told.audio, told.sample_rate
faces, regions, landmarks = topology.faces, topology.regions, topology.landmarks
""",
}
"""What a reader has before each snippet: names that it does not define, and presets of a few steps."""
SPOKEN = "librivox_0880"


@pytest.fixture(scope="module")
def owned(tmp_path_factory) -> Path:
    """The files that the snippets name."""
    folder = tmp_path_factory.mktemp("owned")
    recording, words = read_transcripts(asset("speech"))[SPOKEN]
    for name in ("speech.wav", "new_words.wav", "me.wav"):
        shutil.copy(recording, folder / name)
    (folder / "words.txt").write_text(words, encoding="utf-8")
    take = load_model().animate(str(recording), person="p03")
    for name in ("take.npz", "happy.npz", "clip.npz", "scan.npz"):
        take.save_npz(folder / name)
    take.save(folder / "avatar.glb")
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in take.template]
    lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in load_head().topology.faces]
    (folder / "my_face.obj").write_text("\n".join(lines), encoding="utf-8")
    for name in ("corpus", "voca"):
        rig.build(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name, bodies in SNIPPETS.items() if bodies))
def test_snippets_run(owned, tmp_path, name):
    here = tmp_path / "here"
    shutil.copytree(owned, here)
    words = (here / "words.txt").read_text(encoding="utf-8")
    script = "\n".join(BEFORE.get(name, "") + body for body in SNIPPETS[name])
    script = script.replace('device="cuda"', 'device="cpu"').replace("what I said", words)
    (here / "script.py").write_text(script, encoding="utf-8")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=here, env=os.environ | {"PYTHONPATH": path}, input="\0" * 96000, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
