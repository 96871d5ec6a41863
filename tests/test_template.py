"""Templates from every mesh file, and clear words for what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import rig

from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import check_template, read_template

FACE = rig.face(5)


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = ["# a face", "o head"]
    lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices]
    lines += ["vt 0.1 0.2", "vn 0 0 1"]
    lines += [f"f {a + 1}/1/1 {b + 1}/1/1 {c + 1}/1/1" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", [".obj", ".OBJ", ".ply", ".glb", ".npy", ".npz"])
def test_every_format(tmp_path, suffix):
    path = tmp_path / f"face{suffix}"
    if suffix.lower() == ".obj":
        write_obj(path, FACE, rig.TOPOLOGY.faces)
    elif suffix == ".npy":
        np.save(path, FACE)
    elif suffix == ".npz":
        rig.make_clip(0, 0.5, "s5").save(path)
    else:
        trimesh = pytest.importorskip("trimesh")
        trimesh.Trimesh(FACE, rig.TOPOLOGY.faces, process=False).export(path)
    vertices = read_template(path, rig.TOPOLOGY)
    assert vertices.dtype == np.float32
    np.testing.assert_allclose(vertices, FACE, atol=1e-6)


def test_the_wrong_count_names_both(tmp_path):
    write_obj(tmp_path / "cube.obj", FACE[:8], np.array([[0, 1, 2]]))
    np.save(tmp_path / "cube.npy", FACE[:8])
    for name in ("cube.obj", "cube.npy"):
        with pytest.raises(InputError, match=r"96 vertices.*got 8"):
            read_template(tmp_path / name, rig.TOPOLOGY)


def test_a_clip_of_another_topology(tmp_path):
    rig.make_clip(0, 0.5).save(tmp_path / "c.npz")
    other = Topology(faces=np.array([[0, 1, 2]]), n_vertices=3)
    with pytest.raises(InputError, match="topology"):
        read_template(tmp_path / "c.npz", other)


@pytest.mark.parametrize(
    ("vertices", "words"),
    [
        (FACE * 1000, "0.40 m tall, got 219"),
        (FACE / 100, "0.40 m tall, got 0.00219"),
        (np.where(np.arange(96)[:, None] == 3, np.nan, FACE), "NaN"),
        (FACE[:, :2], "vertices"),
        (np.float32(3), "vertices"),
        (np.zeros((0, 3)), "96 vertices.*got 0"),
    ],
)
def test_faces_that_do_not_fit(vertices, words):
    with pytest.raises(InputError, match=words):
        check_template(vertices, rig.TOPOLOGY, "the face")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b"v 1 2\nv x y z\n"),
        ("a.obj", b"\x00\xff\xfe binary"),
        ("a.ply", b"not a mesh"),
        ("a.glb", b"glTF but not really"),
        ("a.npy", b"\x93NUMPY"),
        ("a.npz", b"PK"),
        ("a.stl", b"solid"),
        ("a", b""),
    ],
)
def test_files_that_are_no_mesh(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_template(tmp_path / name, rig.TOPOLOGY)
    assert name in str(caught.value)


def test_a_pickled_array_is_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        read_template(tmp_path / "a.npy", rig.TOPOLOGY)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "no.obj", tmp_path):
        with pytest.raises(InputError, match="there is no mesh"):
            read_template(path, rig.TOPOLOGY)
