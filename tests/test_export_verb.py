"""`meshtalk export`: every ending, another frame rate, a camera; and every refusal is one sentence that leaves nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rig
from test_cli import refused, run
from test_export_formats import read_pc2

from meshtalk.clip import Clip
from meshtalk.export import EXPORTERS, SEQUENCES, write_mp4
from meshtalk.render import Look
from meshtalk.resample import at_rate

CLIP = rig.make_clip(3, 0.8)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    CLIP.save("take.npz")
    Path("full").mkdir()
    Path("full/old.txt").touch()
    return tmp_path


@pytest.mark.parametrize("suffix", [*EXPORTERS, ".livelink.csv"])
def test_every_ending_is_written_at_another_rate(capsys, here, monkeypatch, suffix):
    monkeypatch.setitem(EXPORTERS, ".mp4", partial(write_mp4, size=(32, 32)))
    output = f"out/%02d{suffix}" if suffix in SEQUENCES else f"out{suffix}"
    assert run(capsys, "export", "take.npz", "-o", output, "--fps", "12.5").strip() == output
    made = Path(output % 9 if suffix in SEQUENCES else output)
    assert made.stat().st_size > 100
    assert not list(here.rglob(".meshtalk-*"))
    if suffix in SEQUENCES:
        assert len(list(made.parent.glob(f"*{suffix}"))) == 10


def test_a_clip_becomes_a_clip_at_another_rate(capsys, here):
    run(capsys, "export", "take.npz", "-o", "slow.npz", "--fps", "23.976")
    made, expected = Clip.load("slow.npz"), at_rate(CLIP, Fraction(24000, 1001))
    assert made.fps == Fraction(24000, 1001)
    np.testing.assert_array_equal(made.weights, expected.weights)
    np.testing.assert_array_equal(made.audio, CLIP.audio)
    run(capsys, "export", "take.npz", "-o", "same.npz", "--fps", "30")
    assert Path("same.npz").read_bytes() == Path("take.npz").read_bytes()


def test_vertices_and_weights_at_another_rate_are_of_the_same_moments(capsys, here):
    run(capsys, "export", "take.npz", "-o", "a.pc2", "--fps", "60")
    run(capsys, "export", "take.npz", "-o", "a.csv", "--fps", "60")
    run(capsys, "export", "take.npz", "-o", "a.json", "--fps", "60")
    cache = read_pc2(Path("a.pc2"))[0]
    assert len(cache) == 48
    np.testing.assert_allclose(cache[::2], CLIP.frames(), atol=1e-7)
    with open("a.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    times = [float(row["time"]) for row in rows]
    np.testing.assert_allclose(times, np.arange(48) / 60, atol=1e-6)
    jaw = [float(row["jawOpen"]) for row in rows]
    np.testing.assert_allclose(jaw[::2], CLIP.weights[:, 0].clip(0, 1), atol=1e-6)
    moved = (cache - CLIP.template)[:, 3 * rig.COLUMNS + 3, 1] / rig.TOPOLOGY.shapes[0, 3 * rig.COLUMNS + 3, 1]
    np.testing.assert_allclose(jaw, moved.clip(0, 1), atol=1e-4)
    told = json.loads(Path("a.json").read_text())
    column = told["names"].index("jawOpen")
    np.testing.assert_allclose([frame["weights"][column] for frame in told["frames"]], jaw, atol=1e-6)


def test_a_camera_and_a_light_reach_the_picture(capsys, here, monkeypatch):
    asked = []
    monkeypatch.setitem(EXPORTERS, ".gif", lambda clip, path, look, progress: asked.append(look))
    run(capsys, "export", "take.npz", "-o", "a.gif", "--camera", "profile", "--light", "soft")
    run(capsys, "export", "take.npz", "-o", "a.gif")
    assert asked == [Look("profile", "soft"), None]


def test_a_terminal_sees_frames_counted(capsys, here, monkeypatch):
    run(capsys, "export", "take.npz", "-o", "a.npy")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    from meshtalk.cli.main import main

    main(["export", "take.npz", "-o", "a.npy"])
    last = capsys.readouterr().err.split("\r")[-1]
    assert "| 24/24 frames [" in last
    assert last.endswith("]\n")


REFUSED = {
    "missing clip": (["no.npz", "-o", "a.pc2"], "no clip at no.npz"),
    "no clip": (["full/old.txt", "-o", "a.pc2"], "not a meshtalk clip"),
    "unknown ending": (["take.npz", "-o", "a.fbx"], ", ".join(EXPORTERS)),
    "no ending": (["take.npz", "-o", "face"], ", ".join(EXPORTERS)),
    "one mesh": (["take.npz", "-o", "a.obj"], "a/%05d.obj"),
    "full folder": (["take.npz", "-o", "full/%05d.ply"], "it exists"),
    "this folder": (["take.npz", "-o", "%05d.ply"], "it exists"),
    "no folder": (["take.npz", "-o", "nowhere/a.npy"], "no folder"),
    "camera of a mesh": (["take.npz", "-o", "a.glb", "--camera", "front"], ".mp4, .gif, .png"),
    "no camera": (["take.npz", "-o", "a.gif", "--camera", "above"], "three-quarter"),
    "no rate": (["take.npz", "-o", "a.pc2", "--fps", "fast"], "fps must be a number, got 'fast'"),
    "rate of nothing": (["take.npz", "-o", "a.pc2", "--fps", "0"], "1 to 240"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written(capsys, here, case):
    args, words = REFUSED[case]
    assert words in refused(capsys, here, "export", *args)


def test_interrupted_it_leaves_nothing_and_says_so(capsys, here, monkeypatch):
    monkeypatch.setattr("meshtalk.export.common._VERTICES_AT_ONCE", 1)
    frames, seen = Clip.frames, []

    def until_interrupted(self, start=0, stop=None):
        seen.append(start)
        if start == 5:
            raise KeyboardInterrupt
        return frames(self, start, stop)

    monkeypatch.setattr(Clip, "frames", until_interrupted)
    from meshtalk.cli.main import main

    before = set(os.listdir(here))
    with pytest.raises(SystemExit) as end:
        main(["export", "take.npz", "-o", "face/%d.ply"])
    assert end.value.code == 130
    assert seen == [0, 1, 2, 3, 4, 5]
    assert set(os.listdir(here)) == before
