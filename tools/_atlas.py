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
CENTRE_PULL = 4.0
"""How strongly the middle of the face is enlarged at the cost of the back of the head."""


def stretch(x: np.ndarray) -> np.ndarray:
    """Monotone map of [-1,1] onto itself, steep in the middle."""
    return np.arcsinh(CENTRE_PULL * x) / np.arcsinh(CENTRE_PULL)


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
            down, across = unit[:, 0], stretch(2 * unit[:, 1] - 1) / 2 + 0.5
            unit = np.stack([across, 1 - down**1.35], axis=1)
        corner, size = np.array([left, bottom]) + MARGIN, np.array([right - left, top - bottom]) - 2 * MARGIN
        result[rows] = corner + unit * np.maximum(size, 1e-4)
    return result
