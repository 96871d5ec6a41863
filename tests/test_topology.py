"""Topology: identity, regions, landmarks, storage."""

from dataclasses import replace

import numpy as np
import pytest
import rig

from meshtalk.errors import InputError
from meshtalk.files import atomic
from meshtalk.mesh.topology import Topology, lip_opening_m


def test_saved_and_loaded_it_is_the_same(tmp_path):
    full = replace(
        rig.TOPOLOGY,
        parts=np.arange(96, dtype=np.uint8) % 2,
        part_names=("skin", "teeth"),
        uvs=rig.NEUTRAL[:, :2],
        uv_faces=rig.TOPOLOGY.faces,
        texture_png=b"\x89PNG",
    )
    full.save(tmp_path / "t.npz")
    again = Topology.load(tmp_path / "t.npz")
    assert (again.hash, again.shape_names, again.part_names) == (full.hash, full.shape_names, full.part_names)
    assert again.texture_png == full.texture_png
    assert np.abs(again.shapes - full.shapes).max() < 1e-5  # 0.01 mm
    for name, weights in full.regions.items():
        np.testing.assert_allclose(again.regions[name], weights, atol=1e-3)
    for name, rows in full.landmarks.items():
        np.testing.assert_array_equal(again.landmarks[name], rows)
    for a, b in ((again.uvs, full.uvs), (again.uv_faces, full.uv_faces), (again.parts, full.parts)):
        np.testing.assert_array_equal(a, b)


def test_saving_again_changes_nothing(tmp_path):
    rig.TOPOLOGY.save(tmp_path / "a.npz")
    once = Topology.load(tmp_path / "a.npz")
    once.save(tmp_path / "b.npz")
    twice = Topology.load(tmp_path / "b.npz")
    np.testing.assert_array_equal(once.shapes, twice.shapes)
    assert once.region_hash == twice.region_hash


def test_hash_is_of_vertices_and_faces_only():
    flipped = replace(rig.TOPOLOGY, faces=rig.TOPOLOGY.faces[:, ::-1])
    redrawn = replace(rig.TOPOLOGY, regions={**rig.TOPOLOGY.regions, "lips": np.ones(96, np.float32)})
    assert flipped.hash != rig.TOPOLOGY.hash
    assert redrawn.hash == rig.TOPOLOGY.hash
    assert redrawn.region_hash != rig.TOPOLOGY.region_hash
    assert replace(rig.TOPOLOGY).hash == rig.TOPOLOGY.hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faces": np.zeros((4, 4), int)}, "triangles"),
        ({"faces": np.array([[0, 1, 96]])}, "96"),
        ({"faces": np.array([[0, 1, -1]])}, "index vertices 0 to"),
        ({"regions": {"mouth": np.ones(95, np.float32)}}, "mouth"),
        ({"shapes": np.zeros((2, 96, 3), np.float32)}, "blendshapes"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        replace(rig.TOPOLOGY, **changes)


def test_missing_and_empty_regions_are_named():
    with pytest.raises(InputError, match="nose"):
        rig.TOPOLOGY.region("nose")
    empty = replace(rig.TOPOLOGY, regions={"lips": np.zeros(96, np.float32)})
    with pytest.raises(InputError, match="lips"):
        empty.region("lips")


def test_indices_are_the_inside_of_a_region():
    np.testing.assert_array_equal(rig.TOPOLOGY.indices("lips"), np.arange(24, 40))


def test_other_topologies_are_told_apart():
    other = Topology(faces=np.array([[0, 1, 2]]), n_vertices=3)
    with pytest.raises(InputError, match=r"a clip must have .*\(96 vertices\), got .*\(3 vertices\)"):
        rig.TOPOLOGY.require(other, "a clip")
    rig.TOPOLOGY.require(replace(rig.TOPOLOGY), "a clip")


def test_lip_opening():
    moved = rig.NEUTRAL.copy()
    moved[24:32, 1] -= 0.005
    frames = np.stack([rig.NEUTRAL, moved])
    np.testing.assert_allclose(
        lip_opening_m(frames, rig.TOPOLOGY), [rig.LIPS_APART_M, rig.LIPS_APART_M + 0.005], atol=1e-7
    )


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "t.npz"
    if content is None:
        np.savez(path, faces=np.zeros((1, 3), int))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.npz"):
        Topology.load(path)


def test_missing_file():
    with pytest.raises(InputError, match="no topology"):
        Topology.load("nowhere.npz")


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
