"""What a mesh file holds, in its own units and axes: parts with their look and shapes, and the one mesh that they make."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology

MOST = 1_000_000
"""Vertices of a mesh that can be made to speak."""
MOST_PIXELS = 2048
"""Side of a picture that shares one with others."""


def too_many(count: int) -> InputError:
    """What is said of a mesh with so many vertices."""
    return InputError(f"it must have at most {MOST:,} vertices, got {count:,}. Decimate it.")


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles with one material."""

    vertices: np.ndarray
    """(V,3) float64, in file order, the transforms of the scene applied."""
    faces: np.ndarray
    """(F,3) int triangles, counter-clockwise seen from outside; none of a file of vertices."""
    colours: np.ndarray | None = None
    """(V,3) in [0,1]; NaN where a vertex has none."""
    uvs: np.ndarray | None = None
    """(N,2) float32, origin bottom left."""
    uv_faces: np.ndarray | None = None
    """(F,3) int into `uvs`."""
    picture: bytes | None = None
    """Base colour, as PNG, JPEG or what else the file holds."""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """sRGB of the material, where there is no picture."""
    shapes: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """Name of a morph target → (V,3) displacement at weight 1."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """The parts of a file one after the other: V vertices, F triangles."""

    parts: tuple[Part, ...]

    @cached_property
    def vertices(self) -> np.ndarray:
        """(V,3) float64."""
        return self._joined(lambda part: part.vertices)

    @cached_property
    def faces(self) -> np.ndarray:
        """(F,3) int32."""
        starts = np.cumsum([0, *(len(part.vertices) for part in self.parts)])
        faces = [np.asarray(part.faces, np.int64) + at for part, at in zip(self.parts, starts, strict=False)]
        return np.concatenate([np.zeros((0, 3), np.int64), *faces]).astype(np.int32)

    @cached_property
    def colours(self) -> np.ndarray | None:
        """(V,3) in [0,1], NaN where a vertex has none, white of parts without colours; None if there are none at all."""
        if all(part.colours is None for part in self.parts):
            return None
        return self._joined(lambda part: np.ones_like(part.vertices) if part.colours is None else part.colours)

    @cached_property
    def shapes(self) -> dict[str, np.ndarray]:
        """Name of a morph target → (V,3) displacement: parts that name it move together, the others rest."""
        names = dict.fromkeys(name for part in self.parts for name in part.shapes)
        return {
            name: self._joined(lambda part, name=name: part.shapes.get(name, np.zeros_like(part.vertices)))
            for name in names
        }

    @cached_property
    def topology(self) -> Topology:
        """Its triangles, with texture coordinates and the picture if it has them; several pictures become one.

        Raises:
            InputError: several pictures, and pillow is not installed.
        """
        parts, faces, count = self.parts, self.faces, len(self.vertices)
        mapped = [part.uvs is not None for part in parts]
        if not any(mapped) or (not all(mapped) and all(part.picture is None for part in parts)):
            return Topology(faces, count)
        if not all(mapped) or any(part.picture != parts[0].picture for part in parts):
            parts = _sharing_a_picture(parts)
        uvs = [np.asarray(part.uvs, np.float32) for part in parts]
        starts = np.cumsum([0, *map(len, uvs)])
        uv_faces = [np.asarray(part.uv_faces, np.int32) + at for part, at in zip(parts, starts, strict=False)]
        return Topology(
            faces,
            count,
            uvs=np.concatenate(uvs),
            uv_faces=np.concatenate(uv_faces).astype(np.int32),
            texture_png=parts[0].picture,
        )

    def _joined(self, rows: Callable[[Part], np.ndarray]) -> np.ndarray:
        return np.concatenate([rows(part) for part in self.parts]) if self.parts else np.zeros((0, 3))


def _sharing_a_picture(parts: tuple[Part, ...]) -> list[Part]:
    """The same with one picture, in which theirs stand side by side, a few pixels of its colour for a part without one."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError('a mesh of several materials needs pillow. Run pip install "meshtalk[media]".') from None
    keys = [part.colour if part.picture is None or part.uvs is None else part.picture for part in parts]
    tiles: dict[bytes | tuple[float, float, float], Image.Image] = {}
    for key in dict.fromkeys(keys):
        try:
            if isinstance(key, bytes):
                tiles[key] = Image.open(io.BytesIO(key)).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            pass  # a picture that cannot be read is none
        colour = (255, 255, 255) if isinstance(key, bytes) else tuple(round(255 * value) for value in key)
        tiles.setdefault(key, Image.new("RGB", (8, 8), colour)).thumbnail((MOST_PIXELS, MOST_PIXELS))
    width, height = sum(tile.width for tile in tiles.values()), max(tile.height for tile in tiles.values())
    sheet, left = Image.new("RGB", (width, height)), 0
    lefts: dict[bytes | tuple[float, float, float], int] = {}
    for key, tile in tiles.items():
        sheet.paste(tile, (left, 0))
        lefts[key], left = left, left + tile.width
    held = io.BytesIO()
    sheet.save(held, format="PNG")
    moved: list[Part] = []
    for part, key in zip(parts, keys, strict=True):
        tile = tiles[key]
        uvs = np.full((len(part.vertices), 2), 0.5) if part.uvs is None else np.asarray(part.uvs, np.float64)
        uvs = np.where((uvs < 0) | (uvs > 1), uvs - np.floor(uvs), uvs)
        # not beyond the middle of its first and last pixels: neighbours do not bleed in
        across = lefts[key] + np.clip(uvs[:, 0] * tile.width, 0.5, tile.width - 0.5)
        down = np.clip((1 - uvs[:, 1]) * tile.height, 0.5, tile.height - 0.5)
        uvs = np.stack([across / width, 1 - down / height], 1)
        uv_faces = part.faces if part.uvs is None else part.uv_faces
        moved.append(replace(part, uvs=uvs, uv_faces=uv_faces, picture=held.getvalue()))
    return moved
