"""A user's rig on a clip's mesh: blendshapes from a GLB, a topology, or a folder of meshes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meshtalk.arkit.names import ABOVE, BELOW
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.mesh.files import read_mesh
from meshtalk.mesh.topology import Topology

NEUTRAL = ("neutral", "base", "basis", "rest")
"""Names of a folder's neutral mesh, in any case."""
SAME_M = 2e-4
"""Vertices of rig and clip that are nearer are one."""
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


class _Found(NamedTuple):
    """A rig as its file has it."""

    neutral: np.ndarray
    """(N,3)"""
    faces: np.ndarray
    """(F,3), none if the file does not say."""
    names: tuple[str, ...]
    shapes: np.ndarray
    """(S,N,3) moves, in the unit of `neutral`."""


def load_rig(path: str | Path, clip: Clip) -> Topology:
    """A clip's topology with the shapes of a rig of the same mesh.

    Args:
        path: a `.npz` of `Topology.save`; a `.glb` whose largest mesh has named morph targets; or a folder with
            neutral.obj and a mesh for each shape, named after it (.obj, .ply). Metres, or any unit that makes the neutral
            face a head. A GLB may double vertices at seams: then those of the clip are found by their place, on the
            same person's face.

    Raises:
        InputError: no rig, or of another mesh.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        rig = Topology.load(path)
        if rig.shapes is None:
            raise InputError(f"{path} is a topology without blendshapes. Give one with shapes, or a GLB.")
        if rig.hash != clip.topology.hash:
            raise _other_mesh(path, rig.n_vertices, clip)
        return replace(clip.topology, shape_names=rig.shape_names, shapes=rig.shapes)
    if path.is_dir():
        found = _read_folder(path)
    elif path.suffix.lower() == ".glb":
        found = _read_glb(path)
    else:
        raise InputError(
            f"a rig must be a .glb with morph targets, a topology (.npz) or a folder of meshes, got {path}"
        )
    found = _in_metres(found, path)
    rows = _rows(found, clip, path)
    shapes = np.ascontiguousarray(found.shapes[:, rows], np.float32)
    return replace(clip.topology, shape_names=found.names, shapes=shapes)


def _other_mesh(path: Path, n_vertices: int, clip: Clip) -> InputError:
    return InputError(
        f"{path} is a rig of another mesh ({n_vertices} vertices, the clip has {clip.topology.n_vertices}). Retarget the"
        " clip to the rig's mesh first, or give the shapes on the clip's mesh."
    )


def _in_metres(found: _Found, path: Path) -> _Found:
    from meshtalk.mesh.units import find_space

    metres = find_space(found.neutral, None, None, default=None, kind=str(path)).metres
    return found._replace(neutral=found.neutral * metres, shapes=found.shapes * metres)


def _rows(found: _Found, clip: Clip, path: Path) -> np.ndarray:
    """(V,) the rig's vertex for each of the clip's: the same one if the triangles agree, else the one at its place."""
    n_vertices, faces = clip.topology.n_vertices, clip.topology.faces
    if len(found.neutral) == n_vertices and (not len(found.faces) or np.array_equal(found.faces, faces)):
        return np.arange(n_vertices)
    rows, far = np.empty(n_vertices, int), 0.0
    rig = found.neutral - found.neutral.mean(0)  # small numbers: squares of large ones would lose what decides
    face = clip.template.astype(np.float64) - found.neutral.mean(0)
    squares = (rig**2).sum(1)
    for start in range(0, n_vertices, 512):
        part = face[start : start + 512]
        rows[start : start + 512] = nearest = (squares - 2 * part @ rig.T).argmin(1)
        far = max(far, float(np.linalg.norm(rig[nearest] - part, axis=1).max()))
    if far > SAME_M:
        raise _other_mesh(path, len(found.neutral), clip)
    return rows


def _read_folder(path: Path) -> _Found:
    meshes = sorted(file for file in path.iterdir() if file.suffix.lower() in (".obj", ".ply"))
    neutral = [file for file in meshes if file.stem.lower() in NEUTRAL]
    shapes = [file for file in meshes if file not in neutral]
    if len(neutral) != 1 or not shapes:
        raise InputError(
            f"{path} has {len(neutral)} neutral meshes and {len(shapes)} shapes. Put neutral.obj there and a mesh for each shape"
            " under its name, such as jawOpen.obj."
        )
    vertices, faces = read_mesh(neutral[0])
    moves = []
    for file in shapes:
        moved = read_mesh(file)[0]
        if moved.shape != vertices.shape:
            raise InputError(
                f"{file} has {len(moved)} vertices, {neutral[0].name} has {len(vertices)}. Export both alike."
            )
        moves.append(moved - vertices)
    return _Found(vertices, faces, tuple(file.stem for file in shapes), np.stack(moves))


def _read_glb(path: Path) -> _Found:
    """The mesh with the most vertices among those with named morph targets, its primitives one after the other."""
    try:
        import pygltflib
    except ImportError:
        raise InputError(f'{path.name} needs pygltflib. Run pip install "meshtalk[media]".') from None
    if not path.is_file():
        raise InputError(f"no rig at {path}")
    try:
        document = pygltflib.GLTF2().load_binary(str(path))
        assert document is not None
        rigs = [_read_mesh(document, mesh) for mesh in document.meshes if (mesh.extras or {}).get("targetNames")]
    except InputError:
        raise
    except Exception as error:  # a damaged file fails in many ways, and all of them mean one thing here
        raise InputError(f"{path} cannot be read as GLB ({type(error).__name__}: {error})") from None
    if not rigs:
        raise InputError(f"{path} has no mesh with named morph targets. Export it with its shape keys.")
    return max(rigs, key=lambda rig: len(rig.neutral))


def _read_mesh(document: Any, mesh: Any) -> _Found:
    names = tuple(str(name) for name in mesh.extras["targetNames"])
    points, faces, moves, start = [], [], [], 0
    for primitive in mesh.primitives:
        position = _accessor(document, primitive.attributes.POSITION)
        targets = primitive.targets or []
        if len(targets) != len(names):
            raise InputError(f"mesh {mesh.name!r} has {len(names)} names for {len(targets)} morph targets")
        none = np.zeros_like(position)
        read = [(target.get("POSITION") if isinstance(target, dict) else target.POSITION) for target in targets]
        moves.append(np.stack([none if index is None else _accessor(document, index) for index in read]))
        corners = (
            np.arange(len(position))[:, None] if primitive.indices is None else _accessor(document, primitive.indices)
        )
        faces.append(corners.reshape(-1, 3).astype(np.int64) + start)
        points.append(position)
        start += len(position)
    # a clip's own file: what carries its weights beyond 0 and 1 is no shape of the rig
    kept = [k for k, name in enumerate(names) if not name.endswith((BELOW, ABOVE))]
    shapes = np.concatenate(moves, 1)[kept]
    return _Found(np.concatenate(points), np.concatenate(faces), tuple(names[k] for k in kept), shapes)


def _accessor(document: Any, index: int) -> np.ndarray:
    """(n,k) float64 of an accessor, with its sparse values."""
    accessor = document.accessors[index]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor.type]
    dense = np.zeros((accessor.count, width))
    if accessor.bufferView is not None:
        dense = _view(document, accessor.bufferView, accessor.byteOffset, accessor.componentType, accessor.count, width)
    if (sparse := accessor.sparse) is not None:
        at, new = sparse.indices, sparse.values
        rows = _view(document, at.bufferView, at.byteOffset, at.componentType, sparse.count, 1)[:, 0].astype(int)
        dense[rows] = _view(document, new.bufferView, new.byteOffset, accessor.componentType, sparse.count, width)
    return dense


def _view(document: Any, index: int, offset: int | None, component: int, count: int, width: int) -> np.ndarray:
    view, kind = document.bufferViews[index], np.dtype(_COMPONENTS[component])
    start = (view.byteOffset or 0) + (offset or 0)
    stride = view.byteStride or width * kind.itemsize
    data = document.binary_blob()[start : start + (count - 1) * stride + width * kind.itemsize]
    values = np.ndarray((count, width), kind, data, strides=(stride, kind.itemsize))
    return values.astype(np.float64)
