"""The head's own texture map: MakeHuman's islands laid out anew, with most of the picture given to the face."""

from __future__ import annotations

import numpy as np

RECTANGLES = {
    "skin": (0.0, 0.0, 1.0, 0.79),
    "neck": (0.0, 0.80, 0.30, 1.0),
    "inner_mouth": (0.305, 0.80, 0.50, 1.0),
    "helper-l-eye": (0.505, 0.80, 0.705, 1.0),
    "helper-r-eye": (0.505, 0.80, 0.705, 1.0),
    "helper-tongue": (0.71, 0.80, 0.79, 1.0),
    "helper-upper-teeth": (0.795, 0.905, 1.0, 1.0),
    "helper-lower-teeth": (0.795, 0.80, 1.0, 0.895),
    "eye_socket": (0.31, 0.801, 0.32, 0.811),
}
"""Island → left, bottom, right, top. Both eyes share one picture; the sockets, never seen, share a dark corner."""
MARGIN = 0.004
CENTRE_PULL, FACE_PULL, FACE_DOWN = 6.0, 3.0, 0.56
"""How strongly the middle of the face is enlarged across and down, and how far down MakeHuman's map it lies."""


def stretch(x: np.ndarray, pull: float) -> np.ndarray:
    """Monotone map, steep at 0; [-1,1] onto itself."""
    return np.arcsinh(pull * x) / np.arcsinh(pull)


def lay_out(uvs: np.ndarray, uv_faces: np.ndarray, island: np.ndarray) -> np.ndarray:
    """(N,2) new map.

    Args:
        uvs: (N,2) old map, islands apart or not; `island`: (F,) island name of each triangle.
    """
    result = np.zeros_like(uvs)
    for name, (left, bottom, right, top) in RECTANGLES.items():
        rows = np.unique(uv_faces[island == name])
        if not len(rows):
            continue
        spots = uvs[rows]
        low, high = spots.min(0), spots.max(0)
        unit = (spots - low) / (high - low)
        if name == "skin":
            # MakeHuman's face lies on its side: its +u runs down the face
            across = stretch(2 * unit[:, 1] - 1, CENTRE_PULL) / 2 + 0.5
            crown, neck = stretch(np.array([-FACE_DOWN, 1 - FACE_DOWN]), FACE_PULL)
            down = (stretch(unit[:, 0] - FACE_DOWN, FACE_PULL) - crown) / (neck - crown)
            unit = np.stack([across, 1 - down], axis=1)
        corner, size = np.array([left, bottom]) + MARGIN, np.array([right - left, top - bottom]) - 2 * MARGIN
        result[rows] = corner + unit * np.maximum(size, 1e-4)
    return result
