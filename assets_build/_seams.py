"""Seams: where two edges meet (lips, lids), how far apart they are, and the smooth moves that close them."""

from __future__ import annotations

import numpy as np
from _surgery import Surgery, edge_loop

from meshtalk.mesh.head import Seam
from meshtalk.mesh.surface import Surface

LIPS_STAY = (
    *("mouthPucker", "mouthPress", "mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthLeft"),
    *("mouthRight", "mouthRoll", "mouthShrugLower", "jawForward", "jawLeft", "jawRight", "cheekPuff", "noseSneer"),
)
OPENERS = ("mouthUpperUp", "mouthLowerDown", "mouthShrugUpper")
FUNNEL_OPENING_M, FUNNEL_HALF_WIDTH_M = 0.0130, 0.0120
LIDS_OVERLAP_M = 3e-4
"""How far the upper lid goes over the lower at a full blink."""


def make_seam(vertices: np.ndarray, faces: np.ndarray, upper: np.ndarray, lower: np.ndarray, spread_m: float) -> Seam:
    """The seam of two edges.

    Args:
        upper, lower: (K,), (L,) vertices of the edges, each in order of x.
        spread_m: how far the closing moves reach, as the deviation of a Gaussian along the surface.
    """
    x_upper, x_lower = vertices[upper, 0], vertices[lower, 0]
    right = np.clip(np.searchsorted(x_lower, x_upper), 1, len(lower) - 1)
    pairs = np.stack([lower[right - 1], lower[right]], axis=1)
    share = np.clip((x_upper - x_lower[right - 1]) / (x_lower[right] - x_lower[right - 1]), 0, 1)
    reach = 3 * spread_m
    surface = Surface(vertices, faces)
    above = np.exp(-0.5 * (surface.ways(upper, reach) / spread_m) ** 2)
    below = np.exp(-0.5 * (surface.ways(lower, reach) / spread_m) ** 2)
    side = 0.5 * (above - below)
    rows = np.flatnonzero(np.abs(side) > 1e-3)
    hats = np.stack([np.interp(vertices[rows, 0], x_upper, unit) for unit in np.eye(len(upper))], axis=1)
    moves = np.zeros((len(vertices), len(upper)))
    moves[rows] = side[rows, None] * hats
    opening = moves[upper] - (1 - share)[:, None] * moves[pairs[:, 0]] - share[:, None] * moves[pairs[:, 1]]
    field = moves[rows] @ np.linalg.pinv(opening, rcond=0.05)
    return Seam(
        upper.astype(np.int32),
        pairs.astype(np.int32),
        share.astype(np.float32),
        rows.astype(np.int32),
        field.astype(np.float32),
    )


def correct_shapes(shapes: dict[str, np.ndarray], vertices: np.ndarray, seams: dict[str, Seam]) -> None:
    """Make lips and lids meet where a shape says that they do; changes `shapes`.

    jawOpen + mouthClose and every shape of LIPS_STAY keep the opening of the lips in every column, so that no mixture
    of them makes the lips cross or gape; mouthFunnel opens a round gap; OPENERS never close any column; eyeBlink
    closes the lids.
    """
    lips = seams["lips"]
    for name in shapes:
        if name.startswith(LIPS_STAY):
            shapes[name] = lips.opened(shapes[name], -lips.opening_m(shapes[name]))
        elif name == "mouthFunnel":
            # the unit parts the lips in a sharp V and crosses them beside it; a round opening takes its place
            place = vertices[lips.upper, 0] / FUNNEL_HALF_WIDTH_M
            wanted = FUNNEL_OPENING_M * np.clip(1 - place**2, 0, None)
            shapes[name] = lips.opened(shapes[name], wanted - lips.opening_m(shapes[name]))
        elif name.startswith(OPENERS):
            opening = lips.opening_m(shapes[name])
            shapes[name] = lips.opened(shapes[name], np.maximum(opening, 0) - opening)
    both = shapes["jawOpen"] + shapes["mouthClose"]
    shapes["mouthClose"] = lips.opened(shapes["mouthClose"], -lips.opening_m(both))
    for side in ("Left", "Right"):
        seam, blink = seams[f"lids_{side.lower()}"], shapes[f"eyeBlink{side}"]
        opening, change = seam.opening_m(vertices), seam.opening_m(blink)
        # the unit overshoots by half: first less of it, then the rest column by column
        blink = blink * -float(opening @ change / (change @ change))
        shapes[f"eyeBlink{side}"] = seam.opened(blink, -LIDS_OVERLAP_M - opening - seam.opening_m(blink))


def lip_edges(surgery: Surgery, vertices: np.ndarray, contact_upper: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower contact lines of the lips, each in order of x, short of the corners."""
    ring = edge_loop(surgery, contact_upper)
    start = int(np.flatnonzero(ring == contact_upper)[0])
    ring = np.array(list(dict.fromkeys(ring[start:].tolist())))  # once around, from the middle of the upper lip
    left, right = ring[np.argmin(vertices[ring, 0])], ring[np.argmax(vertices[ring, 0])]
    place = {int(v): k for k, v in enumerate(ring)}
    first, second = sorted((place[int(left)], place[int(right)]))
    upper = np.concatenate([ring[second + 1 :], ring[:first]])
    lower = ring[first + 1 : second]
    upper = upper[np.abs(vertices[upper, 0]) < 0.95 * vertices[ring, 0].max()]  # beyond, the edges turn vertical
    return tuple(part[np.argsort(vertices[part, 0])] for part in (upper, lower))  # type: ignore[return-value]


def lid_edges(surgery: Surgery, vertices: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins of the upper and lower lid of one eye (side -1 or 1 along x), each in order of x, corners left out."""
    uses: dict[int, set[str]] = {}
    beside: dict[int, set[int]] = {}
    for p in surgery.polygons:
        for k, v in enumerate(p.corners):
            uses.setdefault(v, set()).add(p.part)
            beside.setdefault(v, set()).update((p.corners[k - 1], p.corners[(k + 1) % len(p.corners)]))
    ring = {v for v, u in uses.items() if {"eye_socket", "skin"} <= u and vertices[v, 0] * side > 0}
    seen = set(ring)
    for _ in range(2):  # the seam of the texture lies behind the lid; its rim is two rings further out
        ring = {w for v in ring for w in beside[v] if w not in seen and "skin" in uses[w]}
        seen |= ring
    order = np.array(sorted(ring, key=lambda v: vertices[v, 0]))
    inner, outer = order[0], order[-1]
    ends = vertices[[inner, outer]]
    line = np.interp(vertices[order, 0], ends[:, 0], ends[:, 1])
    inside = (vertices[order, 0] > ends[0, 0] + 1e-3) & (vertices[order, 0] < ends[1, 0] - 1e-3)
    high = vertices[order, 1] > line
    return order[inside & high], np.concatenate([[inner], order[inside & ~high], [outer]])
