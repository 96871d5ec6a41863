"""Mesh files: templates of a given topology, or any face mesh in any unit and axes."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology

SUFFIXES = (".obj", ".ply", ".glb", ".npy", ".npz")
HEIGHT_M = (0.15, 0.40)
"""Smallest and largest head."""


def read_template(path: str | Path, topology: Topology) -> np.ndarray:
    """Read the vertex positions of a mesh in file order.

    OBJ, PLY and GLB meshes; `.npy` holds (V,3); `.npz` is a clip, whose template is read. Metres, +Y up.

    Returns:
        (V,3) float32

    Raises:
        InputError: missing or unreadable file, another vertex count (both are named), or the wrong size of head.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        template, own = _face_of_clip(path)
        topology.require(own, str(path))
        return check_template(template, topology, str(path))
    return check_template(read_mesh(path)[0], topology, str(path))


def _face_of_clip(path: Path) -> tuple[np.ndarray, Topology]:
    """(template, topology) of a clip; its motion and sound are not read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith("topology/")]
            own = Topology.from_arrays({name.removeprefix("topology/"): archive[name] for name in names})
            return archive["template"], own
    except Exception as error:  # a damaged archive fails in many ways, and all of them mean one thing here
        raise InputError(f"{path} is not a meshtalk clip ({type(error).__name__}: {error})") from None


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read any of SUFFIXES unchanged: ((V,3) vertices in file order, (F,3) triangles, none from `.npy`).

    Raises:
        InputError: missing, unreadable or no mesh.
    """
    if not path.is_file():
        raise InputError(f"there is no template mesh at {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"a template must be one of {', '.join(SUFFIXES)}, got {path.name}")
    try:
        return _read(path, suffix)
    except InputError:
        raise
    except Exception as error:  # mesh readers fail in as many ways as files are damaged
        raise InputError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from None


def check_template(vertices: np.ndarray, topology: Topology, name: str) -> np.ndarray:
    """Check a template against a topology; returns (V,3) float32 or raises InputError."""
    vertices = np.asarray(vertices, np.float32)
    if vertices.shape != (topology.n_vertices, 3):
        count = vertices.shape[0] if vertices.ndim else 0
        raise InputError(
            f"{name} must have the {topology.n_vertices} vertices of the model's topology, got {count}"
            ". Export the model's own head, or train a model on that mesh."
        )
    if not np.isfinite(vertices).all():
        raise InputError(f"{name} holds NaN or infinite vertices. Repair the mesh.")
    height_m = float(np.ptp(vertices[:, 1]))
    if not HEIGHT_M[0] <= height_m <= HEIGHT_M[1]:
        raise InputError(f"{name} must be 0.15 to 0.40 m tall, got {height_m:.4g}. Scale it to metres, +Y up.")
    return vertices


def _read(path: Path, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    if suffix == ".npz":
        template, topology = _face_of_clip(path)
        return template, topology.faces
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
        raise InputError(f'{path.name} needs trimesh. Run pip install "meshtalk[media]".') from None
    return trimesh.load(path, process=False, force="mesh", maintain_order=True)


def obj_fan(numbers: list[str], count: int) -> list[list[int]]:
    """Fan triangulation of an OBJ polygon; corners are indexed from 1, or backwards from the last of `count` so far.

    Raises:
        ValueError, IndexError: the corners are not numbers.
    """
    corners = [number - 1 if number > 0 else count + number for number in map(int, numbers)]
    return [[corners[0], *pair] for pair in pairwise(corners[1:])]


def read_obj(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Parse an OBJ: positions in file order and triangles; larger polygons become fans.

    A mesh library would split vertices at texture seams.

    Returns:
        ((V,3) float64, (F,3) int32)

    Raises:
        ValueError, IndexError: a line is not valid OBJ.
    """
    vertices, faces = [], []
    for fields in (line.split() for line in text.splitlines()):
        if fields and fields[0] == "v":
            vertices.append([float(x) for x in fields[1:4]])
        elif fields and fields[0] == "f":
            faces += obj_fan([corner.split("/")[0] for corner in fields[1:]], len(vertices))
    return np.array(vertices) if vertices else np.zeros((0, 3)), np.array(faces, np.int32).reshape(-1, 3)


# ------------------------------------------------------------------------------------------------ faces of any mesh


FACE_SUFFIXES = (".obj", ".ply", ".stl", ".glb")
FEWEST, MOST = 300, 1_000_000
"""Limits on the number of vertices of a face mesh."""
MOST_BYTES = 2 << 30


def read_face(path: str | Path) -> tuple[np.ndarray, Topology]:
    """((V,3) float64 vertices in file order, triangles with texture if the file has one) of a mesh in any unit and axes.

    Raises:
        InputError: no such file, another format, damaged, too large, or no surface of finite triangles.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no mesh at {path}")
    if path.suffix.lower() not in FACE_SUFFIXES:
        raise InputError(f"a mesh must be one of {', '.join(FACE_SUFFIXES)}, got {path.name}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty. Export the face again.")
    if path.stat().st_size > MOST_BYTES:
        raise _too_many(path, "too many")
    try:
        vertices, topology = _read_obj(path) if path.suffix.lower() == ".obj" else _read_other(path)
    except InputError:
        raise
    except MemoryError:
        raise _too_many(path, "too many") from None
    except Exception as error:  # mesh readers fail in as many ways as files are damaged
        raise InputError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from None
    check_face(vertices, topology.faces, str(path))
    return vertices, topology


def check_face(vertices: np.ndarray, faces: np.ndarray, name: str) -> None:
    """Raise InputError unless (V,3) vertices and (F,3) faces are a surface that may be a face."""
    if len(vertices) > MOST:
        raise _too_many(Path(name), f"{len(vertices):,}")
    if len(faces) == 0:
        what = f"{len(vertices):,} points and no triangles" if len(vertices) else "nothing in it"
        raise InputError(f"{name} must be a surface, got {what}. Export the face as a mesh.")
    used = np.unique(faces)
    if not np.isfinite(vertices).all():
        count = int((~np.isfinite(vertices).all(1)).sum())
        raise InputError(f"{name} holds NaN or infinite values in {count:,} vertices. Repair the mesh.")
    if len(used) < FEWEST:
        raise InputError(f"{name} must have at least {FEWEST} vertices on its surface, got {len(used)}")
    size = np.ptp(vertices[used], axis=0)
    if not np.sort(size)[1] > 1e-9 * max(1e-12, float(np.abs(vertices[used]).max())):
        raise InputError(f"{name} must be a surface, got vertices on a point or a line")


def _too_many(path: Path, count: str) -> InputError:
    return InputError(f"{path} must have at most {MOST:,} vertices, got {count}. Decimate the mesh.")


def _read_obj(path: Path) -> tuple[np.ndarray, Topology]:
    """Read an OBJ with vertices in file order, which a mesh library would split at texture seams."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    materials: list[str] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            if not fields:
                continue
            if fields[0] == "v":
                vertices.append([float(x) for x in fields[1:4]])
                if len(vertices) > MOST:
                    raise _too_many(path, f"more than {MOST:,}")
            elif fields[0] == "vt":
                uvs.append([float(x) for x in fields[1:3]])
            elif fields[0] == "mtllib":
                materials.append(line.split(maxsplit=1)[1].strip())
            elif fields[0] == "f":
                corners = [corner.split("/") for corner in fields[1:]]
                faces += obj_fan([corner[0] for corner in corners], len(vertices))
                if uvs and all(len(corner) > 1 and corner[1] for corner in corners):
                    uv_faces += obj_fan([corner[1] for corner in corners], len(uvs))
    points = np.array(vertices).reshape(-1, 3)
    if faces and not 0 <= min(map(min, faces)) <= max(map(max, faces)) < len(points):
        raise ValueError(f"a face names a vertex that is not among its {len(points):,}")
    whole = len(uv_faces) == len(faces) and len(faces) > 0
    texture = next(filter(None, (_material_picture(path.parent / name) for name in materials)), None) if whole else None
    return points, Topology(
        np.array(faces, np.int32).reshape(-1, 3),
        len(points),
        uvs=np.array(uvs, np.float32) if whole else None,
        uv_faces=np.array(uv_faces, np.int32) if whole else None,
        texture_png=texture,
    )


def _material_picture(path: Path) -> bytes | None:
    """The first colour texture of an OBJ's material file, if both exist."""
    try:
        named = re.search(r"^\s*map_Kd\s+(?:-\S+\s+\S+\s+)*(.+?)\s*$", path.read_text(errors="replace"), re.M)
        return (path.parent / named[1]).read_bytes() if named else None
    except OSError:
        return None


def _read_other(path: Path) -> tuple[np.ndarray, Topology]:
    if path.suffix.lower() == ".ply":
        _check_ply(path)
    loaded = load_trimesh(path)
    vertices = np.asarray(loaded.vertices, np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), np.int32).reshape(-1, 3)
    if path.suffix.lower() == ".stl" and len(vertices) <= 6 * MOST:
        vertices, faces = _joined(vertices, faces)
    visual = getattr(loaded, "visual", None)
    uv = getattr(visual, "uv", None)
    if uv is None or len(uv) != len(vertices):
        return vertices, Topology(faces, len(vertices))
    material = getattr(visual, "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    texture = None
    if picture is not None:
        held = io.BytesIO()
        picture.convert("RGB").save(held, format="PNG")
        texture = held.getvalue()
    return vertices, Topology(faces, len(vertices), uvs=np.asarray(uv, np.float32), uv_faces=faces, texture_png=texture)


def _joined(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge vertices at equal positions, in file order: an STL has three of its own for each triangle."""
    _, first, number = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return vertices[np.sort(first)], rank[number.reshape(-1)][faces]


def _check_ply(path: Path) -> None:
    """Refuse a PLY by its header: too many vertices, or no faces."""
    with open(path, "rb") as file:
        header = file.read(8192).split(b"end_header")[0]
    counts = {name: int(count) for name, count in re.findall(rb"element\s+(\S+)\s+(\d+)", header)}
    vertices = counts.get(b"vertex", 0)
    if vertices > MOST:
        raise _too_many(path, f"{vertices:,}")
    if vertices and not counts.get(b"face", 0):
        check_face(np.zeros((vertices, 3)), np.zeros((0, 3), int), str(path))
