"""Weights as text and rigs from files: what is written is what our readers and a plain CSV reader read, and rigs fit their mesh."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rig
from convert_rig import rows_of
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.arkit.names import NAMES, as_arkit, known, spelled
from meshtalk.arkit.rig import load_rig
from meshtalk.arkit.solve import weights_of
from meshtalk.cli.main import main
from meshtalk.clip import Clip, exact_rate
from meshtalk.convert.arkit import _read_livelink, read_csv, read_json
from meshtalk.convert.clocks import read_clock, settled
from meshtalk.errors import InputError
from meshtalk.export.blendshapes import ROTATIONS, eye_turns, timecode, write_weights
from meshtalk.mesh.head import load_head

HEAD = load_head()


def head_clip(n: int = 40, fps: str = "30", seed: int = 0) -> Clip:
    """The packaged head moved by all of its shapes, some of them beyond what ARKit carries."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-0.1, 1.1, (n, 52)).astype(np.float32)
    rate = exact_rate(fps)
    audio = np.zeros(round(n / rate * 16_000), np.float32)
    names, shapes = HEAD.topology.shape_names, HEAD.topology.shapes
    return Clip(HEAD.topology, HEAD.neutral, rate, audio, 16_000, weights=weights, basis=shapes, basis_names=names)


def cut(clip: Clip) -> np.ndarray:
    """(T,52) what ARKit carries of a head's clip, in the order of NAMES."""
    assert clip.weights is not None
    order = [clip.basis_names.index(name) for name in NAMES]
    return np.clip(clip.weights, 0, 1)[:, order]


# --- names ----------------------------------------------------------------------------------------------------------------


def test_the_packaged_head_has_arkits_names():
    assert sorted(NAMES) == sorted(HEAD.topology.shape_names)
    assert len({spelled(name) for name in NAMES}) == 52


def test_halves_are_joined_and_whole_shapes_split():
    names = ("mouthSmile", "browInnerUp_L", "brow_inner_up_R", "JawOpen", "jawLeft", "PupilDilate_L", "eyeBlink_L")
    weights = np.array([[0.8, 0.2, 0.6, 0.5, 0.1, 0.9, 0.7]])
    made = dict(zip(NAMES, as_arkit(names, weights)[0].tolist(), strict=True))
    wanted = {
        "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.8,
        "browInnerUp": 0.4,
        "jawOpen": 0.5,
        "jawLeft": 0.1,
        "eyeBlinkLeft": 0.7,
    }
    assert {name: value for name, value in made.items() if value} == pytest.approx(wanted)
    assert known(names) == 6
    with pytest.raises(InputError, match="at least 5 of ARKit's shapes"):
        as_arkit(("jawOpen", "phoneme_aa"), np.zeros((1, 2)))


# --- text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", ["25", "30", "29.97", "60"])
@pytest.mark.parametrize("name", ["a.csv", "a.livelink.csv", "a.json"])
def test_what_is_written_is_read_back(tmp_path, name, fps):
    clip, path = head_clip(fps=fps), tmp_path / name
    clip.valid = np.isin(np.arange(40), [7, 20, 21], invert=True)
    clip.save(path)
    once = path.read_bytes()
    assert clip.save(path).read_bytes() == once
    read = {"a.csv": read_csv, "a.livelink.csv": _read_livelink, "a.json": read_json}[name]
    names, weights, index = rows_of(read, path, clip.fps)
    column = {spelled(name): k for k, name in enumerate(names)}
    found = weights[:, [column[spelled(name)] for name in NAMES]]
    np.testing.assert_allclose(found, cut(clip)[clip.valid], atol=1e-6)
    np.testing.assert_array_equal(index, np.flatnonzero(clip.valid))


def test_the_layouts_as_a_plain_reader_sees_them(tmp_path):
    clip = head_clip()
    for name in ("a.csv", "a.LiveLink.csv"):
        clip.save(tmp_path / name)
    with (tmp_path / "a.csv").open(newline="") as stream:
        plain = list(csv.DictReader(stream))
    assert list(plain[0]) == ["frame", "time", *NAMES]
    assert [float(row["jawOpen"]) for row in plain] == pytest.approx(cut(clip)[:, NAMES.index("jawOpen")], abs=1e-6)
    assert [(int(row["frame"]), float(row["time"])) for row in plain] == [(k, round(k / 30, 6)) for k in range(40)]
    with (tmp_path / "a.LiveLink.csv").open(newline="") as stream:
        live = list(csv.reader(stream))
    assert len(live[0]) == 2 + 52 + 9
    assert live[0][:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert live[0][16:20] == ["JawForward", "JawRight", "JawLeft", "JawOpen"]
    assert live[0][54:] == list(ROTATIONS)
    assert {row[1] for row in live[1:]} == {"61"}
    assert [live[31][0], live[40][0]] == ["00:00:01:00.000", "00:00:01:09.000"]
    assert {tuple(row[54:57]) for row in live[1:]} == {("0.0", "0.0", "0.0")}
    clip.save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert tuple(content["names"]) == NAMES
    assert content["frames"][3]["time"] == 0.1


@given(
    frame=st.integers(0, 10**6), fps=st.sampled_from(["15", "23.976", "24", "25", "29.97", "30", "59.94", "60", "120"])
)
def test_timecodes_are_our_readers(frame, fps):
    rate = exact_rate(fps)
    clock = settled(read_clock([timecode(frame + k, rate) for k in range(3)], "Timecode"), rate, None)
    np.testing.assert_allclose(clock.seconds, np.arange(3) / float(rate), atol=1e-6)


def test_eyes_turn_as_the_app_says():
    clip = head_clip(4)
    names = clip.basis_names
    weights = np.zeros((4, 52), np.float32)
    for frame, shape in enumerate(("eyeLookOutLeft", "eyeLookUpRight", "eyeLookInRight")):
        weights[frame, names.index(shape)] = 0.5
    turns = eye_turns(replace(clip, weights=weights))
    assert turns[0, 0] < -0.1
    assert abs(turns[0, 3]) < 1e-4
    assert turns[1, 4] < -0.05
    assert abs(turns[1, 1]) < 1e-4
    assert turns[2, 3] < -0.1  # and towards the nose
    np.testing.assert_allclose(turns[3], 0, atol=1e-6)
    assert not eye_turns(rig.make_clip(1, 0.2)).any()


def test_a_turned_eyeball_is_measured_exactly():
    assert HEAD.topology.parts is not None
    rows = HEAD.topology.parts == HEAD.topology.part_names.index("eye_left")
    angle = 0.3  # towards +X, the face's left
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    eye = HEAD.neutral[rows] - HEAD.neutral[rows].mean(0)
    moves = np.zeros((2, HEAD.topology.n_vertices, 3), np.float32)
    moves[1, rows] = eye @ turn.T - eye + 0.001
    clip = replace(head_clip(2), weights=None, basis=None, basis_names=(), displacement=moves)
    np.testing.assert_allclose(eye_turns(clip)[1], [-angle, 0, 0, 0, 0, 0], atol=1e-5)


# --- where weights come from ----------------------------------------------------------------------------------------------


def test_a_clip_of_blendshapes_gives_its_own_weights(tmp_path):
    clip = head_clip(5)
    found = weights_of(clip)
    assert not found.solved
    np.testing.assert_array_equal(found.values, np.clip(clip.weights, 0, 1))  # type: ignore[arg-type]
    assert weights_of(clip, HEAD.topology).solved
    components = replace(clip, basis_names=tuple(f"component_{k:02d}" for k in range(52)))
    assert weights_of(components).solved
    dense = rig.as_dense(rig.make_clip(1, 0.3))
    with pytest.raises(InputError, match="no blendshapes"):
        write_weights(replace(dense, topology=replace(rig.TOPOLOGY, shapes=None, shape_names=())), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


# --- rigs -----------------------------------------------------------------------------------------------------------------


def folder_of(path: Path, clip: Clip, unit: float = 1000.0) -> Path:
    """neutral.obj and a mesh for each of the rig's shapes, in millimetres."""
    path.mkdir()
    assert clip.topology.shapes is not None
    meshes = {"Neutral": clip.template} | {
        name: clip.template + shape for name, shape in zip(clip.topology.shape_names, clip.topology.shapes, strict=True)
    }
    for name, vertices in meshes.items():
        lines = ["v " + " ".join(f"{x * unit:.5f}" for x in vertex) for vertex in vertices]
        lines += ["f " + " ".join(str(k + 1) for k in face) for face in clip.topology.faces]
        (path / f"{name}.obj").write_text("\n".join(lines))
    return path


def by_name(topology) -> dict[str, np.ndarray]:
    return dict(zip(topology.shape_names, topology.shapes, strict=True))


def test_rigs_of_all_kinds(tmp_path):
    clip = rig.make_clip(1, 0.3)
    clip.topology.save(tmp_path / "rig.npz")
    clip.save(tmp_path / "rig.glb")
    kinds = [tmp_path / "rig.npz", tmp_path / "rig.glb", folder_of(tmp_path / "shapes", clip)]
    for path in kinds:
        loaded = load_rig(path, rig.as_dense(clip))
        found = by_name(loaded)
        assert set(found) == set(rig.SHAPES)
        for name, shape in by_name(clip.topology).items():
            np.testing.assert_allclose(found[name], shape, atol=2e-5)
        assert loaded.regions is clip.topology.regions


def test_vertices_doubled_at_seams_are_found_by_their_place(tmp_path):
    clip = head_clip(3)
    clip.save(tmp_path / "rig.glb")
    found = by_name(load_rig(tmp_path / "rig.glb", clip))
    assert len(found) == 52
    for name, shape in by_name(clip.topology).items():
        np.testing.assert_allclose(found[name], shape, atol=1e-6)


def test_rigs_that_do_not_fit(tmp_path):
    clip, head = rig.make_clip(1, 0.3), head_clip(3)
    head.topology.save(tmp_path / "head.npz")
    head.save(tmp_path / "head.glb")
    rig.as_dense(clip).save(tmp_path / "components.glb")
    replace(clip.topology, shapes=None, shape_names=()).save(tmp_path / "bare.npz")
    (tmp_path / "damaged.glb").write_bytes((tmp_path / "head.glb").read_bytes()[:5000])
    (tmp_path / "empty").mkdir()
    cut = folder_of(tmp_path / "cut", clip)
    (cut / "jawOpen.obj").write_text("v 0 0 0\n")
    for path, words in (
        ("head.npz", "Retarget the clip"),
        ("head.glb", "Retarget the clip"),
        ("bare.npz", "without blendshapes"),
        ("damaged.glb", "cannot be read"),
        ("empty", "0 neutral meshes"),
        ("cut", "1 vertices"),
        ("nothing.glb", "there is no mesh at"),
        ("nothing.fbx", "a rig must be"),
    ):
        with pytest.raises(InputError, match=words):
            load_rig(tmp_path / path, clip)


# --- the verb -------------------------------------------------------------------------------------------------------------


def test_the_verb_solves_and_tells(tmp_path, capsys):
    clip = head_clip(6)
    truth = cut(clip)
    clip.save(tmp_path / "own.npz")
    inside = replace(clip, weights=np.clip(clip.weights, 0, 1))  # type: ignore[arg-type]
    rig.as_dense(inside).save(tmp_path / "dense.npz")
    clip.save(tmp_path / "rig.glb")
    for args, said in (
        (["own.npz"], "the clip's own"),
        (["dense.npz", "--smoothing", "0"], "solved for"),
        (["dense.npz", "--rig", "rig.glb", "--smoothing", "0"], "solved for"),
    ):
        files = [str(tmp_path / word) if "." in word else word for word in args]
        main(["arkit", *files, "-o", str(tmp_path / "weights.csv")])
        out = capsys.readouterr().out
        assert said in out
        assert "error: mean" in out
        assert "jawOpen" in out
        names, weights, _ = rows_of(read_csv, tmp_path / "weights.csv", clip.fps)
        found = weights[:, [names.index(name) for name in NAMES]]
        np.testing.assert_allclose(found, truth, atol=1e-5 if "own.npz" in args else 0.03)
    with pytest.raises(SystemExit) as stop:
        main(["arkit", str(tmp_path / "own.npz"), "-o", str(tmp_path / "weights.txt")])
    assert stop.value.code == 2
    assert "must be written to .csv or .json" in capsys.readouterr().err
