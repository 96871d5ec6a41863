"""Regions from paint: vertex colours of a mesh, or for each region a painted mesh or a list of vertices or weights.

Grey in a colour, from black to white, says nothing; what is left of it says: red is the mouth, red with blue (magenta) the
lips, green the upper face, green with blue (cyan) the eyelids, red with green (yellow) where mouth and upper face overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.files import read_text
from meshtalk.mesh.files import SCENES, read_mesh
from meshtalk.mesh.surface import Surface
from meshtalk.mesh.topology import REGIONS
from meshtalk.regions.face import Face
from meshtalk.retarget.annotate import inner_lips

MESHES, LISTS = (".ply", ".obj", *SCENES), (".npy", ".txt", ".csv")
LEAST = 0.02
"""Weights below are what compression or blending left of no paint."""


def regions_from_paint(face: Face, path: Path, files: Mapping[str, Path]) -> Face:
    """The face with painted regions, and with inner lips where the lips are painted.

    Args:
        face: of `path`, +Y up and +Z out of the face.
        path: mesh file whose vertex colours are read when `files` is empty.
        files: region → painted mesh (any colour is that region), or list of vertex numbers or weights.

    Raises:
        InputError: no colours, nothing painted, everything painted, or a list that does not fit.
    """
    count = face.topology.n_vertices
    if files:
        found = {name: _of_file(name, file, count) for name, file in files.items()}
    else:
        found = {name: weights for name, weights in by_colour(colours_of(path, count)).items() if weights.any()}
        if not found:
            raise InputError(
                f"nothing is painted on {path}: all colours are grey. Paint red for the mouth, magenta for the lips, green for"
                " the upper face, cyan for the eyelids."
            )
    for name, weights in found.items():
        if np.all(weights > 0.5):
            raise InputError(f"{name} is painted on every vertex. Leave what is not {name} grey.")
    topology = replace(face.topology, regions={name: w.astype(np.float32) for name, w in found.items()}, landmarks={})
    if "lips" in found:
        upper, lower = inner_lips(Surface(face.vertices, topology.faces), found["lips"])
        if len(upper):
            topology = replace(topology, landmarks={"lip_inner_upper": upper, "lip_inner_lower": lower})
    return Face(topology, face.vertices)


def by_colour(colours: np.ndarray) -> dict[str, np.ndarray]:
    """Region → (V,) weights in [0,1] of (V,3) colours in [0,1]."""
    red, green, blue = (np.maximum(colours - colours.min(1, keepdims=True), 0)).T
    weights = {
        "mouth": red,
        "upper_face": green,
        "eyelids": np.where(green > red, np.minimum(blue, green), 0.0),
        "lips": np.where(red > green, np.minimum(blue, red), 0.0),
    }
    return {name: np.where(weights[name] < LEAST, 0.0, weights[name]) for name in REGIONS}


def colours_of(path: Path, count: int) -> np.ndarray:
    """(V,3) vertex colours in [0,1] of a .ply, a .glb, or an .obj with `v x y z r g b`.

    Raises:
        InputError: another kind of file, unreadable, no colours, or colours of another number of vertices.
    """
    colours = read_mesh(path, MESHES, looks=True).colours
    if colours is None:
        raise InputError(
            f"{path} has no vertex colours. Export them (a .ply does by default), or give lists of vertices."
        )
    coloured = int(np.isfinite(colours).all(1).sum())
    if len(colours) != count or coloured != count:
        raise InputError(f"{path} has {coloured} coloured vertices of {count}. Paint the mesh that you give.")
    if colours.min() < 0 or colours.max() > 1:
        raise InputError(f"{path} has colours outside 0 to 1 (0 to 255 in whole numbers of a .ply). Export them again.")
    return colours


def _of_file(name: str, path: Path, count: int) -> np.ndarray:
    """(V,) weights of one region's file."""
    suffix = path.suffix.lower()
    if suffix in MESHES:
        colours = colours_of(path, count)
        weights = np.ptp(colours, axis=1)
        weights = np.where(weights < LEAST, 0.0, weights)
    elif suffix in LISTS:
        weights = parse_list(_numbers(path), count, str(path))
    else:
        raise InputError(f"{name} must be a painted mesh or a list, got {path}. Give {', '.join((*MESHES, *LISTS))}.")
    if not weights.any():
        raise InputError(f"{path} paints nothing. Give {name} at least one vertex, in any colour that is not grey.")
    return weights


def _numbers(path: Path) -> np.ndarray:
    """All numbers of a file, in order."""
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        words = [line.partition("#")[0] for line in read_text(path).replace(",", " ").splitlines()]
        return np.array([float(word) for line in words for word in line.split()])
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} must be a list of numbers ({error})") from None


def parse_list(numbers: np.ndarray, count: int, name: str) -> np.ndarray:
    """(V,) weights of V numbers from 0 to 1 (or booleans), or of vertex numbers from 0, which get weight 1.

    Raises:
        InputError: neither, or a vertex that the mesh does not have.
    """
    flat = np.asarray(numbers).reshape(-1)
    if flat.dtype.kind not in "biuf" or not np.isfinite(flat).all():
        raise InputError(f"{name} must hold plain numbers. Give vertex indices, or {count} weights from 0 to 1.")
    if len(flat) == count and (count > 2) and flat.min() >= 0 and flat.max() <= 1:
        return flat.astype(np.float64)
    if not np.array_equal(flat, np.round(flat)):
        raise InputError(f"{name} must hold {count} weights from 0 to 1, got {len(flat)} numbers")
    if len(flat) and (flat.min() < 0 or flat.max() >= count):
        worst = int(flat.min()) if flat.min() < 0 else int(flat.max())
        raise InputError(f"{name} must name vertices 0 to {count - 1}, got {worst}")
    weights = np.zeros(count)
    weights[flat.astype(np.int64)] = 1.0
    return weights
