"""Teeth and eyeballs drawn from formulas, bound to MakeHuman's own crude ones so that they follow every target."""

from __future__ import annotations

import numpy as np
from _makehuman import EYES, TEETH, TONGUE, MakeHuman
from _surgery import Polygon, Surgery, add_grid, affine_rows

UPPER_WIDTHS_MM = (8.4, 6.6, 7.6, 7.0, 6.8, 9.6)
LOWER_WIDTHS_MM = (5.4, 5.9, 6.9, 7.0, 7.2, 10.6)
"""Crown widths from the middle outwards: two incisors, canine, two premolars, molar (usual adult means)."""
COLUMNS_PER_TOOTH = 3
TIP_RISE_M = 0.0081
"""How far the resting tongue's tip is lifted, to lie behind the edges of the teeth."""
EYE_SEGMENTS = 20
EYE_UV_POWER = 0.7
EYE_RINGS_DEG = (7.0, 13.0, 19.0, 25.0, 32.0, 41.0, 52.0, 66.0, 82.0, 100.0)
"""Polar angles of the eyeball's rings; the iris ends on the fourth, so that its edge follows a ring."""


def arch(widths_mm: tuple[float, ...], half_width_m: float, depth_m: float, back_z_m: float) -> np.ndarray:
    """(n,5) columns along a dental arch, right to left: x, z, outward x, outward z, place within the tooth 0..1."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 4001)
    power = 2 / 2.35  # a little squarer than an ellipse, as dental arches are
    x = half_width_m * np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power
    z = back_z_m + depth_m * np.cos(angles) ** power
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    middle = length[-1] / 2
    edges = np.concatenate([[0.0], np.cumsum(widths_mm)]) * 1e-3
    steps = np.arange(COLUMNS_PER_TOOTH) / COLUMNS_PER_TOOTH
    half = [(edges[k] + s * (edges[k + 1] - edges[k]), s) for k in range(len(widths_mm)) for s in steps]
    half.append((edges[-1], 0.0))
    columns = [(-d, (1 - s) % 1.0) for d, s in reversed(half[1:])] + half
    along = np.array([middle + d for d, _ in columns])
    tangent_x = np.interp(along + 5e-4, length, x) - np.interp(along - 5e-4, length, x)
    tangent_z = np.interp(along + 5e-4, length, z) - np.interp(along - 5e-4, length, z)
    size = np.hypot(tangent_x, tangent_z)
    return np.stack(
        [
            np.interp(along, length, x),
            np.interp(along, length, z),
            -tangent_z / size,
            tangent_x / size,
            np.array([s for _, s in columns]),
        ],
        axis=1,
    )


def tooth_profile(inside: np.ndarray) -> np.ndarray:
    """(n,8,2) outward and height (metres, from the biting edge towards the root) of the rows at each column.

    Args:
        inside: (n,) 0 at the gaps between teeth, 1 in the middle of a crown.
    """
    gap = 1 - inside
    zero = np.zeros_like(inside)
    rows = [
        (zero - 0.0035, zero + 0.0150),  # gum, root side, outer
        (zero + 0.0002, zero + 0.0118 - 0.0016 * gap),  # gum just above the crown; papillae between teeth
        (-0.0001 - 0.0009 * gap, 0.0095 - 0.0022 * gap),  # gum line
        (0.0001 - 0.0008 * gap, zero + 0.0050),  # belly of the crown
        (-0.0006 - 0.0008 * gap, 0.0002 + 0.0007 * gap),  # outer biting edge
        (-0.0020 + 0.0002 * gap, 0.0003 + 0.0007 * gap),  # inner biting edge
        (zero - 0.0040, zero + 0.0060),  # inner side
        (zero - 0.0065, zero + 0.0130),  # palate side of the gum
    ]
    return np.stack([np.stack(r, axis=1) for r in rows], axis=1)


def add_teeth(surgery: Surgery, source: MakeHuman) -> dict[str, np.ndarray]:
    """Add both dental arches; returns part → (8,n) vertex indices, row 4 being the outer biting edge."""
    grids = {}
    for part in TEETH:
        upper = part == TEETH[0]
        anchors = np.unique(source.quads[part])
        old = surgery.raw[anchors]
        front_z = float(old[:, 2].max()) - (0.0015 if upper else 0.0030)
        back_z = float(old[:, 2].min())
        columns = arch(
            UPPER_WIDTHS_MM if upper else LOWER_WIDTHS_MM,
            half_width_m=0.0272 if upper else 0.0248,
            depth_m=front_z - back_z,
            back_z_m=back_z,
        )
        profile = tooth_profile(np.sin(np.pi * columns[:, 4]) ** 0.5)
        # the biting plane follows the old strip: it rises slightly towards the molars
        lowest, foremost = old[:, 1].min(), old[np.argmin(np.abs(old[:, 0]) - old[:, 2]), 1]
        edge_y = float(lowest if upper else foremost) - 0.0022
        rise = 0.0015 * np.clip((front_z - columns[:, 1]) / (front_z - back_z), 0, 1)
        sign = 1.0 if upper else -1.0
        x = columns[:, None, 0] + profile[..., 0] * columns[:, None, 2]
        z = columns[:, None, 1] + profile[..., 0] * columns[:, None, 3]
        y = edge_y + rise[:, None] + sign * profile[..., 1]
        points = np.stack([x, y, z], axis=-1).transpose(1, 0, 2)  # (8,n,3)
        n_rows, n_columns = points.shape[:2]
        along, across = np.meshgrid(np.linspace(0, 1, n_columns), np.linspace(1, 0, n_rows))
        if not upper:  # the other way up, so that the rows must run the other way round to face outwards
            points, across = points[::-1], across[::-1]
        rows = affine_rows(surgery.raw, anchors, points.reshape(-1, 3))
        index = add_grid(surgery, part, rows, (n_rows, n_columns), np.stack([along, across], axis=-1))
        grids[part] = index if upper else index[::-1]
    return grids


def add_eyes(surgery: Surgery, source: MakeHuman, radius_factor: float) -> dict[str, tuple[int, np.ndarray]]:
    """Add both eyeballs (the front 200°); returns part → (pole vertex, (rings, segments) vertex indices)."""
    added = {}
    for part in EYES:
        anchors = np.unique(source.quads[part])
        old = surgery.raw[anchors]
        centre = (old.max(0) + old.min(0)) / 2
        radius = radius_factor * float(np.linalg.norm(old - centre, axis=1).mean())
        angle = np.radians(EYE_RINGS_DEG)
        turn = 2 * np.pi * np.arange(EYE_SEGMENTS + 1) / EYE_SEGMENTS
        ring, around = np.meshgrid(angle, turn[:-1], indexing="ij")
        points = centre + radius * np.stack(
            [np.sin(ring) * np.cos(around), np.sin(ring) * np.sin(around), np.cos(ring)], axis=-1
        )
        pole = surgery.add_vertex(affine_rows(surgery.raw, anchors, centre[None] + [0, 0, radius])[0])
        index = np.array([surgery.add_vertex(r) for r in affine_rows(surgery.raw, anchors, points.reshape(-1, 3))])
        index = index.reshape(ring.shape)
        # equidistant map, stretched towards the middle: the iris gets the texels
        reach = 0.5 * (angle / angle[-1]) ** EYE_UV_POWER
        uv_index = np.array(
            [[surgery.add_uv(0.5 + r * np.array([np.cos(a), np.sin(a)])) for a in turn[:-1]] for r in reach]
        )
        uv_pole = surgery.add_uv(np.array([0.5, 0.5]))
        for j in range(EYE_SEGMENTS):
            k = (j + 1) % EYE_SEGMENTS
            surgery.polygons.append(
                Polygon(part, [pole, int(index[0, j]), int(index[0, k])], [uv_pole, *map(int, uv_index[0, [j, k]])])
            )
            for i in range(len(angle) - 1):
                at = ((i, j), (i + 1, j), (i + 1, k), (i, k))
                surgery.polygons.append(Polygon(part, [int(index[a]) for a in at], [int(uv_index[a]) for a in at]))
        added[part] = (pole, index)
    return added


def bind_tongue(surgery: Surgery, source: MakeHuman, edge: np.ndarray) -> None:
    """Lay MakeHuman's tongue, which fills the whole mouth, flat between the teeth, and let it follow the lower ones.

    MakeHuman's targets move tongue and teeth apart by up to 5 mm; bound to the lower teeth as those are, the tongue
    lies in the same place of every person's jaw and goes with it.

    Args:
        edge: (n,) vertices of the lower teeth's edge.
    """
    used = sorted({v for p in surgery.polygons if p.part == TONGUE for v in p.corners})
    spots = np.array([surgery.position(v) for v in used])
    low, high = spots.min(0), spots.max(0)
    edge_y = float(np.mean([surgery.position(v)[1] for v in edge]))
    along = (spots[:, 2] - low[2]) / (high[2] - low[2])
    front = along**3
    flat = 0.36 + 0.22 * front  # the tip is thin
    spots[:, 0] *= 1 - 0.16
    spots[:, 1] -= flat * (spots[:, 1] - low[1]) - TIP_RISE_M * front
    spots[:, 2] -= 0.06 * (spots[:, 2] - low[2])
    # softly no lower than the teeth's edge in front, so that the tip can slide over it
    floor = edge_y - 0.012 * (1 - along) ** 2
    spots[:, 1] = floor + 5e-4 * np.logaddexp(0, (spots[:, 1] - floor) / 5e-4)
    anchors = np.unique(source.quads[TEETH[1]])
    for v, row in zip(used, affine_rows(surgery.raw, anchors, spots), strict=True):
        surgery.rows[v] = row


def seat(displacement: np.ndarray, inside: np.ndarray, edge: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """An identity target (V,3) under which teeth and tongue as a whole go with the lips.

    They keep the shape and size that the target gives them, but the edge of the upper teeth stays as far behind and
    below the contact line as the default person's, so that one weight brings everybody's lip to the teeth.

    Args:
        inside: (n,) vertices of teeth and tongue.
        edge: (m,) vertices of the upper teeth's edge.
        lips: (k,) vertices of the contact line.
    """
    seated = displacement.copy()
    seated[inside] += displacement[lips].mean(0) - displacement[edge].mean(0)
    return seated
