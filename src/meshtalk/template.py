"""A neutral face to animate, read from any mesh file of the model's topology."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.topology import Topology

SUFFIXES = (".obj", ".ply", ".glb", ".npy", ".npz")
HEIGHT_M = (0.15, 0.40)
"""Smallest and largest head."""


def read_template(path: str | Path, topology: Topology) -> np.ndarray:
    """Read the vertex positions of a mesh in file order.

    OBJ, PLY and GLB meshes; `.npy` holds (V,3); `.npz` is a clip, whose template is taken. Metres, +Y up.

    Returns:
        (V,3) float32

    Raises:
        InputError: missing or unreadable file, another vertex count (both are named), or the wrong size of head.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        clip = Clip.load(path)
        topology.require(clip.topology, str(path))
        return clip.template
    return check_template(read_mesh(path)[0], topology, str(path))


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Any of SUFFIXES as it is: ((V,3) vertices in file order, (F,3) triangles, none of an `.npy`).

    Raises:
        InputError: missing, unreadable or no mesh.
    """
    if not path.is_file():
        raise InputError(f"no template mesh at {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name} is no template : give one of {', '.join(SUFFIXES)}")
    try:
        return _read(path, suffix)
    except InputError:
        raise
    except Exception as error:  # mesh readers fail in as many ways as files are damaged
        raise InputError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from None


def check_template(vertices: np.ndarray, topology: Topology, name: str) -> np.ndarray:
    """(V,3) float32 of a template that fits the topology, or InputError saying what does not."""
    vertices = np.asarray(vertices, np.float32)
    if vertices.shape != (topology.n_vertices, 3):
        count = vertices.shape[0] if vertices.ndim else 0
        raise InputError(
            f"{name} has {count} vertices; the model's topology has {topology.n_vertices}"
            " : export the model's own head, or train a model on that mesh"
        )
    if not np.isfinite(vertices).all():
        raise InputError(f"{name} holds NaN or infinite vertices : repair the mesh")
    height_m = float(np.ptp(vertices[:, 1]))
    if not HEIGHT_M[0] <= height_m <= HEIGHT_M[1]:
        raise InputError(f"{name} is {height_m:.4g} units tall; a head is 0.15-0.40 m : scale it to metres, +Y up")
    return vertices


def _read(path: Path, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    if suffix == ".npz":
        clip = Clip.load(path)
        return clip.template, clip.topology.faces
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False)), np.zeros((0, 3), np.int32)
    if suffix == ".obj":
        return read_obj(path.read_text(encoding="utf-8", errors="replace"))
    mesh = load_trimesh(path)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32)


def load_trimesh(path: Path) -> Any:
    """A mesh file as trimesh's `Trimesh`, vertices as the file has them.

    Raises:
        InputError: trimesh is not installed. A damaged file raises what trimesh does.
    """
    try:
        import trimesh
    except ImportError:
        raise InputError(f'{path.name} needs trimesh : pip install "meshtalk[media]"') from None
    return trimesh.load(path, process=False, force="mesh", maintain_order=True)


def obj_fan(numbers: list[str], count: int) -> list[list[int]]:
    """Triangles, as a fan, of an OBJ polygon whose corners are counted from 1, or backwards from the last of `count` so far.

    Raises:
        ValueError, IndexError: no numbers.
    """
    corners = [number - 1 if number > 0 else count + number for number in map(int, numbers)]
    return [[corners[0], *pair] for pair in pairwise(corners[1:])]


def read_obj(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Plain positions in file order and triangles; larger polygons become fans.

    A mesh library would split vertices at texture seams.

    Returns:
        ((V,3) float64, (F,3) int32)

    Raises:
        ValueError, IndexError: a line that is no OBJ.
    """
    vertices, faces = [], []
    for fields in (line.split() for line in text.splitlines()):
        if fields and fields[0] == "v":
            vertices.append([float(x) for x in fields[1:4]])
        elif fields and fields[0] == "f":
            faces += obj_fan([corner.split("/")[0] for corner in fields[1:]], len(vertices))
    return np.array(vertices) if vertices else np.zeros((0, 3)), np.array(faces, np.int32).reshape(-1, 3)
