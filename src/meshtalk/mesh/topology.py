"""Topology: connectivity, regions, landmarks and blendshapes that all clips of one mesh share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from meshtalk.errors import InputError
from meshtalk.files import MOST_BYTES, atomic, read_arrays

REGIONS = ("mouth", "upper_face", "eyelids", "lips")
"""Regions that training and measures need. The first two weigh eq. 4, the third eq. 5; "lips" is for measures."""
INNER_LIPS = ("lip_inner_upper", "lip_inner_lower")
"""Landmarks that pair up where the lips meet."""
_ARRAYS = frozenset(
    [
        "faces",
        "n_vertices",
        "parts",
        "part_names",
        "uvs",
        "uv_faces",
        "shape_names",
        "shape_rows",
        "shape_mm",
        "texture_png",
    ]
)
MOST_SPAN_M = 5.0
"""A body's, with its hair and what it holds."""
MOST_TILES, MOST_SHAPE_M = 1e4, 2.0
"""Texture coordinates beyond so many repetitions, and blendshapes that move a vertex so far, are damage."""
MOST_VERTICES = 4_000_000
"""Of any mesh that moves; a head scanned to the pore has a million."""
ADVICE = "Make them with `meshtalk regions` (docs/regions.md)"
"""Advice where regions or inner lips are missing."""


@dataclass(frozen=True, eq=False)
class Topology:
    """Connectivity, named regions and (optionally) blendshapes of a mesh with V vertices.

    Two topologies are the same when `hash` is: vertex count and faces. Regions may be redrawn without
    making clips incompatible, so they have a hash of their own, which every report records.
    """

    faces: np.ndarray
    """(F,3) int32 triangles, counter-clockwise seen from outside."""
    n_vertices: int
    regions: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """name → (V,) float32 weights in [0,1]; see REGIONS."""
    landmarks: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """name → (n,) int32 vertex indices. `lip_inner_upper` and `lip_inner_lower` pair up: their vertical
    distance is the lip opening. `upper_teeth` (optional) is the biting edge for f and v."""
    parts: np.ndarray | None = None
    """(V,) uint8 index into `part_names`."""
    part_names: tuple[str, ...] = ()
    uvs: np.ndarray | None = None
    """(N,2) float32, origin bottom left; N may exceed V where the map has seams."""
    uv_faces: np.ndarray | None = None
    """(F,3) int32 into `uvs`, corner by corner like `faces`."""
    shape_names: tuple[str, ...] = ()
    """Names of the S blendshapes (ARKit's where they are ARKit's)."""
    shapes: np.ndarray | None = None
    """(S,V,3) float32 metres: displacement of each blendshape at weight 1."""
    texture_png: bytes | None = None
    """Base colour of the skin and eyes, for pictures and exports."""

    def __post_init__(self) -> None:
        if not 0 <= self.n_vertices <= MOST_VERTICES:
            raise InputError(
                f"a mesh must have at most {MOST_VERTICES:,} vertices, got {self.n_vertices:,}. Decimate it."
            )
        faces = np.asarray(self.faces)
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise InputError(f"faces must be triangles of shape (F, 3), got {faces.shape}")
        check_indices("faces", faces, self.n_vertices)
        for name, indices in self.landmarks.items():
            if np.ndim(indices) != 1:
                raise InputError(f"landmark {name!r} must be a list of vertices, got shape {np.shape(indices)}")
            check_indices(f"landmark {name!r}", indices, self.n_vertices)
        if len({len(self.landmarks[name]) for name in INNER_LIPS if name in self.landmarks}) > 1:
            raise InputError(
                f"the landmarks {' and '.join(INNER_LIPS)} must pair up, got different numbers of vertices"
            )
        if self.uvs is not None and self.uv_faces is not None:
            if self.uvs.ndim != 2 or self.uvs.shape[1] != 2 or self.uv_faces.shape != faces.shape:
                raise InputError(
                    f"uvs must be (N, 2) and uv_faces {faces.shape} as faces, got {self.uvs.shape} and {self.uv_faces.shape}"
                )
            check_indices("uv_faces", self.uv_faces, len(self.uvs), "texture coordinates")
        if self.parts is not None:
            if self.parts.shape != (self.n_vertices,):
                raise InputError(f"parts must have shape ({self.n_vertices},), got {self.parts.shape}")
            check_indices("parts", self.parts, len(self.part_names), "part names")
        for name, weights in self.regions.items():
            if weights.shape != (self.n_vertices,):
                raise InputError(
                    f"region {name!r} must have shape ({self.n_vertices},), a weight per vertex, got {weights.shape}"
                )
            if not (np.isfinite(weights).all() and weights.min(initial=0) > -0.01 and weights.max(initial=0) < 1.01):
                raise InputError(f"weights of region {name!r} must be 0 to 1, got {weights.min()} to {weights.max()}")
        for name, array, most in (("uvs", self.uvs, MOST_TILES), ("blendshapes", self.shapes, MOST_SHAPE_M)):
            if array is not None and array.dtype.kind not in "fiu":
                raise InputError(f"{name} must be numbers, got {array.dtype}")
            if array is not None and not np.isfinite(array).all():
                raise InputError(f"{name} hold NaN or infinite values. Write them again.")
            if array is not None and (reached := np.abs(array).max(initial=0)) > most:
                raise InputError(f"{name} must be within {most:g}, got {reached:.3g}. Write them again.")
        if self.shapes is not None and self.shapes.shape != (len(self.shape_names), self.n_vertices, 3):
            raise InputError(
                f"blendshapes must have shape {(len(self.shape_names), self.n_vertices, 3)}, got {self.shapes.shape}"
            )

    @cached_property
    def hash(self) -> str:
        """16 hex digits of vertex count and faces: the identity of the topology."""
        digest = hashlib.sha256(str(self.n_vertices).encode())
        digest.update(np.ascontiguousarray(self.faces, dtype="<i4").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def region_hash(self) -> str:
        """16 hex digits of the regions' names and weights (rounded to 1e-4)."""
        digest = hashlib.sha256()
        for name in sorted(self.regions):
            digest.update(name.encode())
            digest.update(np.round(self.regions[name] * 1e4).astype("<i4").tobytes())
        return digest.hexdigest()[:16]

    def region(self, name: str) -> np.ndarray:
        """(V,) weights of a region.

        Raises:
            InputError: the topology lacks it, or it is empty.
        """
        weights = self.regions.get(name)
        if weights is None or not np.any(weights > 0):
            raise InputError(
                f"region {name!r} is empty or missing for topology {self.hash}; it has: {', '.join(self.regions) or 'none'}"
                f". {ADVICE}."
            )
        return weights

    def lacks(self, names: Iterable[str] = REGIONS) -> list[str]:
        """Those of the given regions that are missing or empty."""
        return [name for name in names if not np.any(self.regions.get(name, 0))]

    @property
    def names_inner_lips(self) -> bool:
        """Whether the topology has the landmarks of the lip opening."""
        return all(len(self.landmarks.get(name, ())) for name in INNER_LIPS)

    def indices(self, region: str) -> np.ndarray:
        """(n,) int indices of the vertices with weight above one half."""
        return np.flatnonzero(self.region(region) > 0.5)

    def require(self, other: Topology, what: str) -> None:
        """Raise InputError unless `other` is the same topology; `what` names its owner in the message."""
        if other.hash != self.hash:
            raise InputError(
                f"{what} must have topology {self.hash} ({self.n_vertices} vertices), got {other.hash}"
                f" ({other.n_vertices} vertices). Use a mesh of the model's own topology."
            )

    def save(self, path: str | Path) -> None:
        """Write a `.npz` without pickle; blendshapes sparse in half precision (≤ 0.01 mm on a head)."""
        with atomic(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **self.to_arrays())  # type: ignore[arg-type]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The topology as named plain arrays, the content of its `.npz`."""
        arrays: dict[str, np.ndarray] = {
            "faces": np.asarray(self.faces, np.int32),
            "n_vertices": np.array([self.n_vertices], np.int64),
        }
        arrays |= {f"region/{k}": np.asarray(v, np.float16) for k, v in self.regions.items()}
        arrays |= {f"landmark/{k}": np.asarray(v, np.int32) for k, v in self.landmarks.items()}
        if self.parts is not None:
            arrays["parts"] = np.asarray(self.parts, np.uint8)
            arrays["part_names"] = np.array(self.part_names)
        if self.uvs is not None and self.uv_faces is not None:
            arrays["uvs"] = np.asarray(self.uvs, np.float32)
            arrays["uv_faces"] = np.asarray(self.uv_faces, np.int32)
        if self.shapes is not None:
            moved = np.any(self.shapes != 0, axis=2)  # (S,V)
            arrays["shape_names"] = np.array(self.shape_names)
            arrays["shape_rows"] = np.argwhere(moved).astype(np.int32)
            # millimetres: half precision keeps 3 digits, so a 20 mm move is stored to 0.01 mm
            arrays["shape_mm"] = (self.shapes[moved] * 1e3).astype(np.float16)
        if self.texture_png is not None:
            arrays["texture_png"] = np.frombuffer(self.texture_png, np.uint8)
        return arrays

    @staticmethod
    def has(name: str) -> bool:
        """Whether `to_arrays` may give an array of this name."""
        return name in _ARRAYS or name.startswith(("region/", "landmark/"))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Topology:
        """Inverse of `to_arrays`."""
        n_vertices = int(arrays["n_vertices"][0])
        shaped_bytes = n_vertices * len(arrays.get("shape_names", ())) * 12
        if not 0 <= shaped_bytes <= MOST_BYTES:
            raise InputError(f"blendshapes must take at most {MOST_BYTES / 1e9:.1f} GB, got {shaped_bytes / 1e9:.1f}")
        regions = {k[7:]: arrays[k].astype(np.float32) for k in arrays if k.startswith("region/")}
        landmarks = {k[9:]: arrays[k] for k in arrays if k.startswith("landmark/")}
        shapes, shape_names = None, ()
        if "shape_names" in arrays:
            shape_names = tuple(str(name) for name in arrays["shape_names"])
            shapes = np.zeros((len(shape_names), n_vertices, 3), np.float32)
            rows = arrays["shape_rows"]
            shapes[rows[:, 0], rows[:, 1]] = arrays["shape_mm"].astype(np.float32) / 1e3
        return cls(
            faces=arrays["faces"],
            n_vertices=n_vertices,
            regions=regions,
            landmarks=landmarks,
            parts=arrays.get("parts"),
            part_names=tuple(str(n) for n in arrays["part_names"]) if "part_names" in arrays else (),
            uvs=arrays.get("uvs"),
            uv_faces=arrays.get("uv_faces"),
            shape_names=shape_names,
            shapes=shapes,
            texture_png=arrays["texture_png"].tobytes() if "texture_png" in arrays else None,
        )

    @classmethod
    def load(cls, path: str | Path) -> Topology:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not a topology.
        """
        try:
            return cls.from_arrays(read_arrays(path, cls.has))
        except FileNotFoundError:
            raise InputError(f"there is no topology at {path}") from None
        except InputError:
            raise
        except Exception as error:  # a damaged archive fails in many ways, and all of them mean one thing here
            raise InputError(f"{path} is not a meshtalk topology ({type(error).__name__}: {error})") from None


def check_indices(name: str, indices: np.ndarray, count: int, of: str = "vertices") -> None:
    """Raise InputError unless an array holds numbers of `count` things: compiled loops trust them."""
    if indices.dtype.kind not in "iu":
        raise InputError(f"{name} must be integers, got {indices.dtype}")
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        raise InputError(f"{name} must index {of} 0 to {count - 1}, got {indices.min()} to {indices.max()}")


def lip_opening_m(
    vertices: Float[np.ndarray, "*batch {topology.n_vertices} 3"], topology: Topology
) -> Float[np.ndarray, "*batch"] | np.floating:
    """Vertical distance between the inner lips at the middle of the mouth, negative when they are pressed.

    Args:
        vertices: (...,V,3) metres, +Y up.

    Returns:
        (...) metres, mean over the landmark pairs; a scalar for one mesh.

    Raises:
        InputError: the topology has no inner lips.
    """
    if not topology.names_inner_lips:
        raise InputError(f"topology {topology.hash} has no inner lips. {ADVICE}.")
    upper = vertices[..., topology.landmarks["lip_inner_upper"], 1]
    lower = vertices[..., topology.landmarks["lip_inner_lower"], 1]
    return (upper - lower).mean(-1)


def vertex_normals(vertices: Float[np.ndarray, "vertices 3"], faces: np.ndarray) -> Float[np.ndarray, "vertices 3"]:
    """(V,3) float64 unit normals of (V,3) vertices in (F,3) triangles, weighted by area, outwards where triangles are
    counter-clockwise; zero where no triangle is, or none with an area."""
    a, b, c = np.asarray(vertices, np.float64)[faces].transpose(1, 0, 2)
    across, corners = np.cross(b - a, c - a), np.ravel(faces)
    total = np.stack([np.bincount(corners, np.repeat(across[:, k], 3), len(vertices)) for k in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), 0.0)


def check_size(template: np.ndarray, topology: Topology) -> None:
    """Raise InputError unless (V,3) metres have the size of a head, or of a face where the corners of the eyes are marked."""
    if (span_m := float(np.ptp(template, axis=0).max(initial=0))) > MOST_SPAN_M:
        raise InputError(
            f"the template must be at most {MOST_SPAN_M:g} m wide and tall, got {span_m:.4g} m. Convert it to metres."
        )
    eyes = [topology.landmarks.get(f"eye_outer_{side}") for side in ("left", "right")]
    if eyes[0] is not None and eyes[1] is not None:
        apart_m = float(np.linalg.norm(template[eyes[0][0]] - template[eyes[1][0]]))
        if not 0.04 <= apart_m <= 0.25:
            raise InputError(
                f"the outer corners of the eyes must be 0.04 to 0.25 m apart, got {apart_m:.4g} m. Convert the mesh to metres."
            )
        return
    height_m = float(np.ptp(template[:, 1]))
    if not 0.15 <= height_m <= 0.40:
        raise InputError(f"the template must be 0.15 to 0.40 m tall, got {height_m:.4g} m. Convert it to metres.")
