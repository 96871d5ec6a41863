"""A neutral face to animate, read from any mesh file of the model's topology."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.topology import Topology

SUFFIXES = (".obj", ".ply", ".glb", ".npy", ".npz")


def read_template(path: str | Path, topology: Topology) -> np.ndarray:
    """Read the vertex positions of a mesh in file order.

    OBJ, PLY and GLB meshes; `.npy` holds (V,3); `.npz` is a clip, whose template is taken. Metres, +Y up.

    Returns:
        (V,3) float32

    Raises:
        InputError: missing or unreadable file, another vertex count (both are named), or the wrong size of head.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no template mesh at {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name} is no template : give one of {', '.join(SUFFIXES)}")
    if suffix == ".npz":
        clip = Clip.load(path)
        topology.require(clip.topology, str(path))
        return clip.template
    try:
        vertices = _read_vertices(path, suffix)
    except InputError:
        raise
    except Exception as error:  # mesh readers fail in as many ways as files are damaged
        raise InputError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from None
    return check_template(vertices, topology, str(path))


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
    if not 0.15 <= height_m <= 0.40:
        raise InputError(f"{name} is {height_m:.4g} units tall; a head is 0.15-0.40 m : scale it to metres, +Y up")
    return vertices


def _read_vertices(path: Path, suffix: str) -> np.ndarray:
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix == ".obj":
        # plain positions in file order: a mesh library would split vertices at texture seams
        lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
        return np.array([[float(x) for x in fields[1:4]] for fields in lines if fields and fields[0] == "v"])
    try:
        import trimesh
    except ImportError:
        raise InputError(f'{path.name} needs trimesh : pip install "meshtalk[media]"') from None
    mesh = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    return np.asarray(mesh.vertices)  # type: ignore[attr-defined]
