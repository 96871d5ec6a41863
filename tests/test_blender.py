"""Files opened in Blender, headless: it shows the clip's vertices at the clip's frames, between them too, and has the sound.

Skipped where there is no Blender; `make blender` gets one.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from player_rig import head_clip
from test_glb import dense, wild

from meshtalk.export.morph_targets import TOLERANCE_M

TOOLS = Path(__file__).parent.parent / "tools/blender"
sys.path.insert(0, str(TOOLS))
from check_in_blender import find_blender, see  # noqa: E402

BLENDER = find_blender()
pytestmark = pytest.mark.skipif(BLENDER is None, reason="Blender is not installed. Run make blender")
FRAMES = (0, 1, 3.5, 8, 14)


def test_blender_shows_what_was_written(tmp_path):
    clip = wild(n_frames=15, fps=Fraction(30000, 1001), textured=True)
    made = {
        "linear.glb": (clip, 1e-3),
        "dense.glb": (dense(clip), 1e3 * TOLERANCE_M + 1e-3),
        "cache.pc2": (clip, 1e-3),
        "linear.usdc": (clip, 1e-3),
        "dense.usdc": (dense(clip), 1e-3),
        "cache.abc": (clip, 1e-3),
        "head.glb": (head_clip(0.5, person="p05"), 1e-3),
    }
    files = [(each, each.save(tmp_path / name)) for name, (each, _) in made.items()]
    for name, seen in zip(made, see(BLENDER, files, FRAMES), strict=True):
        each, within_mm = made[name]
        assert seen.errors_mm.max() <= within_mm, name
        assert seen.fps == pytest.approx(float(each.fps), rel=1e-5)
        assert seen.frame_range == (0, each.n_frames - 1)
        ((first, length),) = seen.sound
        assert first == 0
        assert length == pytest.approx(each.n_frames, abs=1)


def test_a_wrong_file_is_seen(tmp_path):
    clip = wild(n_frames=15)
    path = clip.save(tmp_path / "a.glb")
    moved = replace(clip, weights=clip.weights + np.float32(0.1))
    (seen,) = see(BLENDER, [(moved, path)], FRAMES)
    assert seen.errors_mm.min() > 0.5


def test_the_loader_saves_a_scene(tmp_path):
    wild(n_frames=15).save(tmp_path / "a.glb")
    script = str(TOOLS / "blender_load.py")
    is_python = Path(BLENDER).name.startswith("python")
    start = [BLENDER, script] if is_python else [BLENDER, "--background", "--python", script, "--"]
    subprocess.run([*start, "a.glb", "--save", "a.blend"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "a.blend").read_bytes()[:4] in (b"BLEN", b"\x28\xb5\x2f\xfd")  # plain, or zstd
