"""Where the lips meet: pairs of an upper and a lower vertex along the middle of the mouth, found on a mesh at rest."""

from __future__ import annotations

import numpy as np

from meshtalk.regions.graph import distances

COLUMNS = 7
"""Pairs that are looked for, evenly across the middle of the mouth; coarse meshes give fewer."""
ACROSS = 0.4
"""Of the width of the lips, which end a little beyond the corners: where pairs are looked for."""
CONTACT = 0.008
"""Of the mouth's width: gaps that are wider by no more than this are the same contact, and its front counts."""


def inner_lips(vertices: np.ndarray, edges: np.ndarray, lips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of vertices that lie on each other when the mouth is shut, the foremost of the contact.

    Upper and lower lip are told apart along the surface: which of the region's upper and lower rim is nearer.

    Args:
        vertices: (V,3) any unit, +Y up, +Z out of the face, lips shut or a little open.
        edges: (E,2) of `edges_of`.
        lips: (V,) weights of the lips in [0,1].

    Returns:
        (n,) int32 indices of the upper and (n,) of the lower lip, from -X to +X; n is 0 where none are found.
    """
    none = np.zeros(0, np.int32)
    inside = np.flatnonzero(lips > 0.5)
    if len(inside) < 4:
        return none, none
    x = vertices[inside, 0]
    left, right = float(x.min()), float(x.max())
    width, middle = right - left, (left + right) / 2
    core = inside[np.abs(x - middle) <= 0.25 * width]
    if len(core) < 2 or not width > 0:
        return none, none
    y = vertices[core, 1]
    low, high = float(y.min()), float(y.max())
    rims = [core[y >= high - 0.15 * (high - low)], core[y <= low + 0.15 * (high - low)]]
    to_upper, to_lower = (distances(vertices, edges, rim) for rim in rims)
    near = np.abs(x - middle) <= 0.75 * ACROSS * width
    upper = inside[near & (to_upper < to_lower)[inside]]
    lower = inside[near & (to_lower < to_upper)[inside]]
    return paired(vertices, upper, lower, middle, width)


def paired(
    vertices: np.ndarray, upper: np.ndarray, lower: np.ndarray, middle: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pair of `upper` and `lower` vertices (indices) that is nearest in each of COLUMNS, no vertex twice.

    Args:
        middle, width: of the mouth along X.
    """
    none = np.zeros(0, np.int32)
    if not len(upper) or not len(lower):
        return none, none
    apart = vertices[upper][:, None] - vertices[lower][None]  # (u,l,3)
    # sideways counts twice: a pair stands in one column
    gap = np.sqrt((apart**2) @ np.array([4.0, 1.0, 1.0]))
    column = (vertices[upper, 0][:, None] + vertices[lower, 0][None]) / 2
    depth = vertices[upper, 2][:, None] + vertices[lower, 2][None]
    step = ACROSS * width / (COLUMNS - 1)
    found: list[tuple[int, int]] = []
    for k in range(COLUMNS):
        here = (np.abs(column - (middle + (k - COLUMNS // 2) * step)) <= step / 2) & (np.abs(apart[..., 0]) <= step)
        if here.any():
            touching = here & (gap <= gap[here].min() + CONTACT * width)
            u, w = np.unravel_index(np.argmax(np.where(touching, depth, -np.inf)), gap.shape)
            pair = int(upper[u]), int(lower[w])
            # where vertices are sparse, two columns may have the same one nearest
            if not any(pair[0] == above or pair[1] == below for above, below in found):
                found.append(pair)
    pairs = np.array(found, np.int32).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
