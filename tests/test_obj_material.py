"""What an OBJ names beside itself is read if it is a picture below its folder, and is not if it is anything else."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshtalk.mesh.files import read_mesh

OBJ = "mtllib {}\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def found(folder: Path, material: str = "a.mtl") -> bytes | None:
    (folder / "face.obj").write_text(OBJ.format(material), encoding="utf-8")
    return read_mesh(folder / "face.obj", (".obj",), looks=True).parts[0].picture


@pytest.fixture
def folder(tmp_path) -> Path:
    """A mesh's folder; beside it a private picture."""
    (tmp_path / "private.png").write_bytes(picture())
    (tmp_path / "private.mtl").write_text("map_Kd skin.png\n")
    (tmp_path / "mesh/textures").mkdir(parents=True)
    (tmp_path / "mesh/skin.png").write_bytes(picture())
    (tmp_path / "mesh/textures/my skin.png").write_bytes(picture())
    return tmp_path / "mesh"


@pytest.mark.parametrize(
    "line",
    [
        "map_Kd skin.png",
        "  \tmap_Kd  skin.png  ",
        "map_Kd -s 1 1 1 -o 0 0 0 skin.png",
        "map_Kd -clamp on skin.png",
        "map_Kd textures/my skin.png",
        "map_Kd textures\\my skin.png",
        "map_Kd ./textures/../skin.png",
    ],
)
def test_a_picture_below_the_mesh_is_read(folder, line):
    (folder / "a.mtl").write_text(f"newmtl skin\nKd 1 1 1\n{line}\n")
    assert found(folder) == picture()


def test_a_material_in_a_sub_folder_names_pictures_from_there(folder):
    (folder / "textures/a.mtl").write_text("map_Kd my skin.png\n")
    assert found(folder, "textures/a.mtl") == picture()


@pytest.mark.parametrize(
    "name",
    ["../private.png", "{root}/private.png", "link.png", "nothing.png", "textures", "a.mtl", "pipe.png", "/dev/zero"],
)
def test_nothing_else_is(folder, name):
    (folder / "link.png").symlink_to(folder.parent / "private.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "a.mtl").write_text(f"map_Kd {name.format(root=folder.parent)}\n")
    assert found(folder) is None


@pytest.mark.parametrize("material", ["../private.mtl", "/dev/zero", "none.mtl", ".", ""])
def test_no_material_from_elsewhere(folder, material):
    assert found(folder, material) is None


def test_a_picture_of_too_many_bytes_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("meshtalk.mesh.files.LARGEST_PICTURE_BYTES", 100)
    (folder / "a.mtl").write_text("map_Kd skin.png\n")
    assert found(folder) is None


def test_blank_lines_cost_no_more_than_others(folder):
    """A pattern over blank lines took quadratic time: minutes for these."""
    (folder / "a.mtl").write_text("\n" * 200_000 + " \t" * 100_000 + "\nmap_Kd skin.png\n")
    assert found(folder) == picture()
