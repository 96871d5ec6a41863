"""Lighting of the inside of the mouth: light between the lips, and colours without painted shadows.

Imported late: it needs the `media` extra. As in `kernels`, no fast-math, no transcendental function, no threads.
"""

from __future__ import annotations

import numpy as np

from meshtalk.jit import compiled
from meshtalk.mesh.topology import Topology
from meshtalk.render.look import HOLLOW, TONGUE, TOOTH
from meshtalk.render.scene import kinds, linear_picture, to_linear

ALONG, UPRIGHT = 2, 3
"""Pieces between two columns of the opening, and from its lower to its upper edge."""
SOFT = 0.45
"""How far beyond the horizon of a surface light still reaches it: enamel and flesh let it through."""
FROM_LEVEL, FROM_ABOVE = 0.8, 0.8
"""How bright the world before the lips is on a level with what looks at it, and how much brighter straight above it."""
FLESH, TONGUE_FLESH = (0.60, 0.25, 0.23), (0.55, 0.25, 0.25)
"""sRGB, at least, of the walls of the mouth and of the tongue."""

TOOTH_DEPTH_M = (0.006, 0.035)
"""Between so far behind the foremost tooth and so far, cheek and tongue close in on the row."""
BACK_TOOTH = (0.27, 0.15, 0.12)
"""Share of red, green and blue that the last tooth shows of what it would show in the open."""

OUT_M = (0.001, 0.004)
"""Between so far before the opening of the lips and so far, a tongue that is put out comes to see the whole world."""

_compiled = compiled(error_model="numpy")


def inside_of(topology: Topology) -> np.ndarray:
    """(V,) whether a vertex is of the mouth's walls, the teeth or the tongue."""
    within = np.isin(kinds(topology)[0], (HOLLOW, TOOTH, TONGUE))
    for index, name in enumerate(topology.part_names if topology.parts is not None else ()):
        if "socket" in name.lower():
            within &= topology.parts != index
    return within


def opening_of(topology: Topology, template: np.ndarray) -> np.ndarray | None:
    """(K,2) vertices of the lower and the upper lip that face each other, from the right corner to the left one.

    None for a topology that does not name them.
    """
    marks = topology.landmarks
    if not {"lip_inner_upper", "lip_inner_lower", "lip_corners"} <= set(marks):
        return None
    lower, upper, corners = (
        np.asarray(marks[name])[np.argsort(template[marks[name], 0], kind="stable")]
        for name in ("lip_inner_lower", "lip_inner_upper", "lip_corners")
    )
    if len(lower) != len(upper) or len(corners) != 2:
        return None
    ends = np.repeat(corners[:, None], 2, axis=1)
    return np.concatenate([ends[:1], np.stack([lower, upper], 1), ends[1:]]).astype(np.uint32)


@_compiled
def let_in(vertices, normals, which, opening, light):
    """Light that comes between the lips: the form factor of the opening, a bright sheet, at each vertex.

    A piece of area A at distance d sends A cos cos' / (π d² + A): a disc's share, which never exceeds 1. Before the lips,
    where a tongue may come, the whole world shines.

    Args:
        vertices: (V,3) metres, +Z out of the face; normals: (V,3) unit, of the same space.
        which: (M,) vertices to be lit; opening: (K,2) from `opening_of`.
        light: (M,2) written: what falls on the surface, and what comes by from any side, to be thrown about; each 0 to 1.
    """
    n = (opening.shape[0] - 1) * ALONG * UPRIGHT
    centre, area, size = np.empty((n, 3)), np.empty((n, 3)), np.empty(n)
    corner = np.empty((4, 3))
    p = 0
    for k in range(opening.shape[0] - 1):
        for i in range(ALONG):
            for j in range(UPRIGHT):
                for c in range(4):
                    u, v = (i + c % 2) / ALONG, (j + c // 2) / UPRIGHT
                    for x in range(3):
                        right = (1.0 - v) * vertices[opening[k, 0], x] + v * vertices[opening[k, 1], x]
                        left = (1.0 - v) * vertices[opening[k + 1, 0], x] + v * vertices[opening[k + 1, 1], x]
                        corner[c, x] = (1.0 - u) * right + u * left
                square = 0.0
                for x in range(3):
                    y, z = (x + 1) % 3, (x + 2) % 3
                    centre[p, x] = 0.25 * (corner[0, x] + corner[1, x] + corner[2, x] + corner[3, x])
                    # half of the product of the diagonals
                    area[p, x] = 0.5 * (
                        (corner[3, y] - corner[0, y]) * (corner[2, z] - corner[1, z])
                        - (corner[3, z] - corner[0, z]) * (corner[2, y] - corner[1, y])
                    )
                    square += area[p, x] ** 2
                size[p] = np.sqrt(square)
                p += 1
    for m in range(which.shape[0]):
        v = which[m]
        falling = passing = before = 0.0
        nearest = np.inf
        for p in range(n):
            x, y, z = centre[p, 0] - vertices[v, 0], centre[p, 1] - vertices[v, 1], centre[p, 2] - vertices[v, 2]
            out = area[p, 0] * x + area[p, 1] * y + area[p, 2] * z
            square = x * x + y * y + z * z + 1e-12
            if square < nearest:
                nearest, before = square, -out / (size[p] + 1e-12)
            if out > 0.0:
                away = np.sqrt(square)
                share = out / (away * (np.pi * square + size[p]))
                towards = (normals[v, 0] * x + normals[v, 1] * y + normals[v, 2] * z) / away
                passing += share
                bright = min(max(FROM_LEVEL + FROM_ABOVE * y / away, 0.2), 1.0)
                falling += share * bright * max((towards + SOFT) / (1.0 + SOFT), 0.0)
        falling = min(1.25 * falling, 1.0)  # enamel is wet and bright
        passing = min(passing, 1.0)
        free = min(max((before - OUT_M[0]) / (OUT_M[1] - OUT_M[0]), 0.0), 1.0)
        open_sky = min(max(FROM_LEVEL + FROM_ABOVE * normals[v, 1], 0.2), 1.0)
        falling += free * (open_sky - falling)
        passing += free * (1.0 - passing)
        light[m, 0], light[m, 1] = falling * (2.0 - falling), passing


def unpainted(topology: Topology, template: np.ndarray) -> np.ndarray:
    """(V,3) factors on the texture that take the painted darkness from the mouth: the light of `let_in` does it.

    A texture shows the depth of the mouth black and back teeth grey, for a face seen from ahead; from one side those
    would be a gap and a lump of stone. They go beyond 1, and so are for drawing alone: files have the base colours
    of `scene.looks`.
    """
    factors = np.ones((topology.n_vertices, 3))
    if topology.parts is None or topology.texture_png is None or topology.uvs is None or topology.uv_faces is None:
        return factors
    at = np.zeros((topology.n_vertices, 2))
    at[topology.faces.ravel()] = topology.uvs[topology.uv_faces.ravel()]
    linear = linear_picture(topology)
    tall, wide = linear.shape[:2]
    rows = np.clip((1 - at[:, 1]) * tall, 0, tall - 1).astype(int)
    columns = np.clip(at[:, 0] * wide, 0, wide - 1).astype(int)
    for index, name in enumerate(topology.part_names):
        mine = np.flatnonzero(topology.parts == index)
        for word, least in (("inner_mouth", FLESH), ("tongue", TONGUE_FLESH)):
            if word in name.lower():
                painted = linear[rows[mine], columns[mine]]
                factors[mine] = np.clip(to_linear(np.array(least)) / np.maximum(painted, 1e-3), 1.0, 40.0)
        if "teeth" in name.lower() and len(mine):
            # along the row, the enamel is the brightest of what is painted from gum to gum, a tooth's width around
            left, right = columns[mine].min(), columns[mine].max() + 1
            island = linear[rows[mine].min() : rows[mine].max() + 1, left:right]
            reach = max((right - left) // 24, 1)
            best = np.pad(island.max(0), ((reach, reach), (0, 0)), "edge")
            best = np.lib.stride_tricks.sliding_window_view(best, 2 * reach + 1, axis=0).max(-1)
            factors[mine] = np.clip(best.max(0) / np.maximum(best[columns[mine] - left], 1e-3), 1.0, 4.0)
            near, far = TOOTH_DEPTH_M
            behind = np.clip((template[mine, 2].max() - template[mine, 2] - near) / (far - near), 0, 1)[:, None]
            factors[mine] *= 1 - (1 - np.array(BACK_TOOTH)) * behind * behind * (3 - 2 * behind)
    return factors
