"""Mesh files, read in one way for everybody: templates, rigs, captured frames, and any face in any unit and axes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.errors import InputError
from meshtalk.files import read_arrays
from meshtalk.mesh.gltf import read_glb
from meshtalk.mesh.scene import MOST, Mesh, Part, too_many
from meshtalk.mesh.topology import Topology

SCENES = (".glb", ".vrm")
NUMBERED = (".obj", ".ply", *SCENES, ".npy", ".npz")
"""Files whose vertices have an order."""
SURFACES = (".obj", ".ply", ".stl", *SCENES)
"""Files whose triangles need no other file."""
FEWEST = 300
"""Vertices of a face that speaks."""
MOST_BYTES, LARGEST_PICTURE_BYTES = 2 << 30, 64 << 20


def read_mesh(
    path: str | Path, suffixes: tuple[str, ...] = NUMBERED, *, shapes: bool = False, looks: bool = False
) -> Mesh:
    """A mesh as its file has it: vertices in file order, in the file's own units and axes.

    Of OBJ no vertex is split at texture seams; a GLB (or VRM) is its whole scene, nodes and skins applied; an STL has each
    place once; `.npy` holds (V,3) alone; `.npz` is a clip, of which the template is taken.

    Args:
        suffixes: what may come.
        shapes: whether to read the morph targets of a GLB.
        looks: whether to read colours, texture coordinates and pictures.

    Raises:
        InputError: no such file, another format, damaged, too large, or with values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no mesh at {path}")
    if path.suffix.lower() not in suffixes:
        raise InputError(f"a mesh must be one of {', '.join(suffixes)}, got {path.name}")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty. Export the face again.")
    try:
        if size > MOST_BYTES:
            raise MemoryError
        mesh = Mesh(_read(path, shapes, looks))
        _check(mesh)
    except MemoryError:
        raise InputError(f"{path} must have at most {MOST:,} vertices. Decimate it.") from None
    except InputError as error:
        raise InputError(f"{path} cannot be read as a mesh: {error}") from None
    except Exception as error:  # mesh readers fail in as many ways as files are damaged
        raise InputError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from None
    return mesh


def _check(mesh: Mesh) -> None:
    """InputError unless numbers are few enough, finite and of the right shape, and triangles are of them."""
    for part in mesh.parts:
        _check_array("vertex", part.vertices, 3, part.faces)
        if part.uvs is not None and part.uv_faces is not None:
            _check_array("texture coordinate", part.uvs, 2, part.uv_faces)
        if part.colours is not None and part.colours.shape != part.vertices.shape:
            raise InputError(f"it has colours of shape {part.colours.shape} for {len(part.vertices):,} vertices")
    if (count := sum(len(part.vertices) for part in mesh.parts)) > MOST:
        raise too_many(count)


def _check_array(what: str, values: np.ndarray, width: int, faces: np.ndarray) -> None:
    if values.shape[1:] != (width,):
        raise InputError(f"its {what} array must have shape (n, {width}), got {values.shape}")
    if not (finite := np.isfinite(values).all(1)).all():
        raise InputError(f"it holds NaN or infinite values, first in {what} {int(finite.argmin())}. Repair the mesh.")
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(values):
        raise InputError(f"a triangle names a {what} that is not among its {len(values):,}")


def read_face(
    path: str | Path, suffixes: tuple[str, ...] = SURFACES, fewest: int = FEWEST
) -> tuple[np.ndarray, Topology]:
    """((V,3) float64 vertices, triangles with texture if the file has one) of a surface in any unit and axes: see `read_mesh`.

    Args:
        fewest: vertices that have to be in triangles.

    Raises:
        InputError: as `read_mesh`; or no triangles, too few, or of no size.
    """
    mesh = read_mesh(path, suffixes, looks=True)
    vertices, used = mesh.vertices, np.unique(mesh.faces)
    if not len(used):
        raise InputError(
            f"{path} must be a surface, got {len(vertices):,} points and no triangles. Export the face as a mesh."
        )
    if len(used) < fewest:
        raise InputError(f"{path} must have at least {fewest} vertices on its surface, got {len(used)}")
    size = np.ptp(vertices[used], axis=0)
    if not size.min() > 1e-6 * size.max():
        raise InputError(f"{path} must have width, height and depth, got a flat mesh or a point")
    return vertices, mesh.topology


# ------------------------------------------------------------------------------------------------ formats


def _read(path: Path, shapes: bool, looks: bool) -> tuple[Part, ...]:
    suffix = path.suffix.lower()
    if suffix == ".obj":
        with open(path, encoding="utf-8-sig", errors="replace") as lines:
            return (read_obj(lines, path.parent if looks else None),)
    if suffix in SCENES:
        return read_glb(path.read_bytes(), shapes, looks)
    if suffix == ".npy":
        return (Part(np.asarray(np.load(path, allow_pickle=False), np.float64), np.zeros((0, 3), np.int32)),)
    if suffix == ".npz":
        arrays = read_arrays(path, ("template", "topology/faces").__contains__)  # motion and sound are not read
        return (Part(np.asarray(arrays["template"], np.float64), arrays["topology/faces"]),)
    return (_read_trimesh(path),)


def obj_fan(numbers: list[str], count: int) -> list[list[int]]:
    """Fan triangulation of an OBJ polygon; corners are indexed from 1, or backwards from the last of `count` so far.

    Raises:
        ValueError, IndexError: the corners are not numbers.
    """
    corners = [number - 1 if number > 0 else count + number for number in map(int, numbers)]
    return [[corners[0], *pair] for pair in pairwise(corners[1:])]


def _obj_fields(lines: Iterable[str]) -> Iterator[list[str]]:
    """Words of each line without its comment; a backslash carries a line on."""
    held = ""
    for line in lines:
        if "#" in line:
            line = (" " + line).partition(" #")[0]
        if line.rstrip().endswith("\\"):
            held += line.rstrip()[:-1] + " "
        else:
            yield (held + line).split()
            held = ""


def read_obj(lines: Iterable[str], folder: Path | None) -> Part:
    """An OBJ's vertices as it numbers them, its triangles (larger polygons become fans), colours and first picture.

    A mesh library would split vertices at texture seams.

    Args:
        folder: where its material files are; None: colours and textures are not read.

    Raises:
        InputError, ValueError, IndexError: too many vertices, or a line that is no OBJ.
    """
    vertices: list[list[float]] = []
    colours: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    materials: list[str] = []
    for fields in _obj_fields(lines):
        kind = fields[0] if fields else ""
        if kind == "v":
            vertices.append([float(x) for x in fields[1:4]])
            if folder is not None:
                colours.append([float(x) for x in fields[4:7]] if len(fields) >= 7 else [np.nan] * 3)
            if len(vertices) > MOST:
                raise too_many(len(vertices))
        elif kind == "vt" and folder is not None:
            uvs.append([float(x) for x in fields[1:3]])
        elif kind == "mtllib":
            materials.append(" ".join(fields[1:]))
        elif kind == "f":
            corners = [corner.split("/") for corner in fields[1:]]
            faces += obj_fan([corner[0] for corner in corners], len(vertices))
            if uvs and all(len(corner) > 1 and corner[1] for corner in corners):
                uv_faces += obj_fan([corner[1] for corner in corners], len(uvs))
    painted, triangles = np.array(colours).reshape(-1, 3), np.array(faces, np.int64).reshape(-1, 3)
    part = Part(
        np.array(vertices, np.float64) if vertices else np.zeros((0, 3)),
        triangles,
        colours=painted if np.isfinite(painted).any() else None,
    )
    corners_uv = np.array(uv_faces, np.int64).reshape(-1, 3)
    if not uv_faces or folder is None or corners_uv.shape != triangles.shape:
        return part
    picture = next(filter(None, (_material_picture(folder, name) for name in materials)), None)
    return replace(part, uvs=np.array(uvs, np.float32).reshape(-1, 2), uv_faces=corners_uv, picture=picture)


def _material_picture(folder: Path, name: str) -> bytes | None:
    """The first colour texture of an OBJ's material file, if both are there and it is a picture."""
    from PIL import Image

    for line in (_owned(folder, name) or b"").decode("utf-8", "replace").splitlines():
        fields = line.split()
        if fields[:1] != ["map_Kd"]:
            continue
        words = fields[1:]
        while words and words[0].startswith("-"):  # -o, -s, -mm and others: a word, or up to three numbers
            words = words[2:]
            while words and re.fullmatch(r"[-+.0-9]+", words[0]):
                words = words[1:]
        content = _owned(folder, str(Path(name).parent / " ".join(words)))
        try:
            with Image.open(io.BytesIO(content or b"")) as picture:
                picture.verify()
        except Exception:  # no picture in any of many ways, or one of too many pixels
            return None
        return content
    return None


def _owned(folder: Path, name: str) -> bytes | None:
    """A file that a mesh names beside itself: a regular one below the mesh's folder, and no larger than a picture may be.

    A stranger's mesh could name any file of the user, who would export it without knowing, or a device without an end.
    """
    real = (folder / name.replace("\\", "/")).resolve()
    if not (real.is_relative_to(folder.resolve()) and real.is_file()):
        return None
    return real.read_bytes() if real.stat().st_size <= LARGEST_PICTURE_BYTES else None


def _read_trimesh(path: Path) -> Part:
    """A PLY or STL."""
    if path.suffix.lower() == ".ply":
        _check_ply(path)
    try:
        import trimesh
    except ImportError:
        raise InputError('it needs trimesh. Run pip install "meshtalk[media]".') from None
    loaded: Any = trimesh.load(  # pyright: ignore[reportUnknownMemberType]
        path, process=False, force="mesh", maintain_order=True
    )
    vertices = np.asarray(loaded.vertices, np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), np.int64).reshape(-1, 3)
    if path.suffix.lower() == ".stl":
        if len(vertices) > 6 * MOST:
            raise MemoryError
        return Part(*_joined(vertices, faces))
    visual: Any = getattr(loaded, "visual", None)
    colours = np.asarray(visual.vertex_colors)[:, :3] / 255 if getattr(visual, "kind", None) == "vertex" else None
    uvs = getattr(visual, "uv", None)
    if uvs is None or len(uvs) != len(vertices):
        return Part(vertices, faces, colours=colours)
    picture, held = getattr(visual.material, "image", None), io.BytesIO()
    if picture is not None:
        picture.convert("RGB").save(held, format="PNG")
    return Part(vertices, faces, uvs=np.asarray(uvs, np.float32), uv_faces=faces, picture=held.getvalue() or None)


def _joined(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge vertices at equal positions, in file order: an STL has three of its own for each triangle."""
    _, first, number = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return vertices[np.sort(first)], rank[number.reshape(-1)][faces]


def _check_ply(path: Path) -> None:
    """Refuse a PLY by its header: too many vertices."""
    with open(path, "rb") as file:
        header = file.read(8192).split(b"end_header")[0]
    count = int(dict(re.findall(rb"element\s+(\S+)\s+(\d+)", header)).get(b"vertex", 0))
    if count > MOST:
        raise too_many(count)
