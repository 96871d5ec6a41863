"""Every Python example of the documents, as a reader would try it: in a file of its own, run as a script.

Those of docs/editing.md run in tests/test_editing_doc.py, beside its commands.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
from player_rig import head_clip
from stream_rig import pcm16
from test_docs import DOCUMENTS, ROOT, fences

from meshtalk.assets import asset
from meshtalk.mesh.head import load_head

SNIPPETS = {path.name: fences(path.read_text(encoding="utf-8"), "python", "py") for path in DOCUMENTS}
SNIPPETS = {name: snippets for name, snippets in SNIPPETS.items() if snippets}

BEFORE = {
    "training.md": """
import rig
from meshtalk import config
config.PRESETS["compact"] = (rig.TINY, rig.quick_training(1, 1, 1))
""",
    "data_format.md": """
import rig
faces, neutral, regions, landmarks = rig.TOPOLOGY.faces, rig.NEUTRAL, rig.TOPOLOGY.regions, rig.TOPOLOGY.landmarks
meshes = rig.make_clip(0, 3.0).vertices
""",
}
"""What a document says in words that the reader has, and models that are trained in a moment."""
AFTER = {
    "streaming.md": """
assert summary.frames > 0
""",
    "head.md": "assert load_head().people",
}
MADE = {
    "README.md": ("out.glb",), "retarget.md": ("my_face.map", "mine.glb"), "export.md": ("face.abc", "face.gif"),
    "data_format.md": ("mine/manifest.json", "captured/manifest.json"), "training.md": ("runs/voca-wide/model/config.json",),
}  # fmt: skip


@pytest.fixture
def here(tmp_path) -> Path:
    """The reader's folder."""
    from trimesh import Trimesh

    head = load_head()
    soundfile.write(tmp_path / "speech.wav", pcm16(0.8), 16000)
    soundfile.write(tmp_path / "me.wav", *soundfile.read(asset("speech") / "librivox_0880.flac"))
    clip = head_clip(0.2)
    for name in ("scan.npz", "avatar.glb", "take.npz", "clip.npz"):
        clip.save(tmp_path / name)
    Trimesh(head.person("p05").template, head.topology.faces, process=False).export(tmp_path / "my_face.obj")
    for name in ("corpus", "voca"):
        rig.build(tmp_path / name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SNIPPETS if name != "editing.md"])
def test_every_example_runs_as_a_script(here, name):
    text = "\n".join([BEFORE.get(name, ""), *SNIPPETS[name], AFTER.get(name, "")])
    text = text.replace('device="cuda"', 'device="cpu"').replace("what I said", "he was not an ill disposed young man")
    (here / "example.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=here, env=os.environ | {"PYTHONPATH": path}, input=np.tile(pcm16(0.5), 3).tobytes(),
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert all((here / made).exists() for made in MADE.get(name, ()))


# --- what starts processes stands behind a guard -----------------------------------------------------------------


def starts_processes(module: str, name: str) -> bool:
    """Whether a function of the package may start processes, which then read the caller's file again."""
    found = getattr(importlib.import_module(module), name)
    return callable(found) and (name == "train" or "workers" in inspect.signature(found).parameters)


def unguarded(snippet: str) -> list[str]:
    """Functions that may start processes and are called by whoever imports the snippet."""
    body = ast.parse(snippet).body
    starters = {
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("meshtalk")
        for alias in node.names
        if starts_processes(node.module or "", alias.name)
    }
    open_to_all = [node for node in body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    calls = [call for node in open_to_all for call in ast.walk(node) if isinstance(call, ast.Call)]
    return [call.func.id for call in calls if isinstance(call.func, ast.Name) and call.func.id in starters]


@pytest.mark.parametrize("name", SNIPPETS)
def test_what_starts_processes_is_guarded(name):
    assert not [call for snippet in SNIPPETS[name] for call in unguarded(snippet)]


def test_a_missing_guard_is_seen():
    text = "from meshtalk.training.run import train\ntrain(1, 2)\n"
    assert unguarded(text) == ["train"]
    assert unguarded('from meshtalk.training.run import train\nif __name__ == "__main__":\n    train(1, 2)\n') == []
