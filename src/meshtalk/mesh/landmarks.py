"""Facial landmarks: on the packaged head, and in files for other meshes.

"left" is the person's own left. `meshtalk.retarget.detect` detects them on an unmarked mesh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.files import Json, atomic, read_text

DESCRIPTIONS: Mapping[str, str] = {
    "nose_tip": "the most forward point of the nose",
    "nose_base": "where the nose meets the upper lip, in the middle",
    "nose_bridge": "the deepest point between the eyes, in the middle",
    "nose_wing_left": "the outermost point of the left nostril's wing",
    "nose_wing_right": "the outermost point of the right nostril's wing",
    "eye_inner_left": "corner of the left eye, next to the nose",
    "eye_inner_right": "corner of the right eye, next to the nose",
    "eye_outer_left": "corner of the left eye, next to the temple",
    "eye_outer_right": "corner of the right eye, next to the temple",
    "eye_upper_left": "middle of the left upper lid's edge",
    "eye_upper_right": "middle of the right upper lid's edge",
    "eye_lower_left": "middle of the left lower lid's edge",
    "eye_lower_right": "middle of the right lower lid's edge",
    "mouth_left": "left corner of the mouth",
    "mouth_right": "right corner of the mouth",
    "lip_upper_outer": "middle of the upper lip's upper border",
    "lip_upper_inner": "middle of the upper lip, where it meets the lower",
    "lip_lower_inner": "middle of the lower lip, where it meets the upper",
    "lip_lower_outer": "middle of the lower lip's lower border",
    "chin": "lowest point of the chin seen from the front",
    "brow_inner_left": "inner end of the left brow",
    "brow_inner_right": "inner end of the right brow",
    "brow_outer_left": "outer end of the left brow's arch",
    "brow_outer_right": "outer end of the right brow's arch",
    "forehead": "middle of the forehead",
}
"""Name → position of every landmark."""

REQUIRED = ("eye_outer_left", "eye_outer_right", "nose_tip", "mouth_left", "mouth_right")
"""Landmarks that a file must have: they determine the face's position, size and rotation."""

_HEAD = {
    "nose_tip": 354, "nose_base": 373, "nose_bridge": 148, "nose_wing_left": 2500, "nose_wing_right": 311,
    "eye_inner_left": 3255, "eye_inner_right": 1149, "eye_outer_left": 3281, "eye_outer_right": 1173,
    "eye_upper_left": 3237, "eye_upper_right": 1133, "eye_lower_left": 3267, "eye_lower_right": 1161,
    "mouth_left": 2602, "mouth_right": 425, "lip_upper_outer": 398, "lip_upper_inner": 554, "lip_lower_inner": 678,
    "lip_lower_outer": 714, "chin": 1704, "brow_inner_left": 2414, "brow_inner_right": 219, "brow_outer_left": 2425,
    "brow_outer_right": 231, "forehead": 1590,
}  # fmt: skip


def head_landmarks() -> dict[str, int]:
    """Landmark → vertex of the packaged head; the right ones are the left ones' mirror images."""
    return dict(_HEAD)


def read_landmarks(path: str | Path, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Landmarks of a mesh from a JSON object of names: `{"nose_tip": 331, "chin": [0.0, -7.9, 8.8]}`.

    Args:
        path: of the file; a value is the number of a vertex (from 0), or a point in the mesh's own units and axes.
        vertices: (V,3) of the mesh, as its file has them.

    Returns:
        name → (3,) float64 in the mesh's units and axes, in the order of DESCRIPTIONS.

    Raises:
        InputError: no such file, not a JSON object, an unknown or missing name, or a value that is neither.
    """
    path = Path(path)
    try:
        named: Json = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}). Write names with vertex indices or points.") from None
    if not isinstance(named, dict):
        raise InputError(f'{path} must hold a JSON object, got {type(named).__name__}. Try {{"nose_tip": 331}}.')
    if unknown := sorted(set(named) - set(DESCRIPTIONS)):
        raise InputError(f"{path} has unknown landmarks {', '.join(unknown[:3])}. Use {', '.join(DESCRIPTIONS)}.")
    if missing := [name for name in REQUIRED if name not in named]:
        raise InputError(f"{path} lacks {', '.join(missing)}. Mark at least {', '.join(REQUIRED)}.")
    found = {name: _point(named[name], vertices, f"{path}: {name}") for name in DESCRIPTIONS if name in named}
    spread = np.linalg.norm(found["eye_outer_left"] - found["eye_outer_right"])
    if not spread > 1e-3 * np.linalg.norm(np.ptp(vertices, axis=0)):
        raise InputError(f"{path} has both eyes at one position. Mark them apart, left being the person's own left.")
    return found


def _point(value: Json, vertices: np.ndarray, what: str) -> np.ndarray:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(vertices):
            raise InputError(f"{what} must be a vertex from 0 to {len(vertices) - 1}, got {value}")
        return np.asarray(vertices[value], np.float64)
    numbers = value if isinstance(value, list) else ()
    if len(numbers) == 3 and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers):
        point = np.array(numbers, np.float64)
        if np.isfinite(point).all():
            return point
    raise InputError(f"{what} must be a vertex index or a point [x, y, z], got {value!r}")


def write_landmarks(path: str | Path, landmarks: Mapping[str, int | np.ndarray]) -> None:
    """The inverse of `read_landmarks`: vertex numbers stay numbers, points become lists."""
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else int(value) for name, value in landmarks.items()}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
