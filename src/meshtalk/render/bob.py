"""Chin-length hair: strands that leave a parting, lie on the head down to the ears, and hang from there.

As in `hair`, everything is drawn from fixed random numbers.
"""

from __future__ import annotations

import numpy as np

from meshtalk.mesh.topology import Topology
from meshtalk.render.hair import Ribbons, Style, ribbons, unit

AXIS_Z_M, CENTRE_Y_M, LEVEL_M = -0.012, 0.034, 0.058
"""The upright axis round which it hangs, the middle of the skull on it, and the height below which hair hangs."""
TURNS_DEG = 5.0
"""Between two columns of the table of how far out hair hangs."""
ROW_M = 0.004
FRONT_DEG = 126.0
"""How far round from the back it reaches: to the temples."""
PARTING_M, CROWN_M = 0.012, -0.035
"""How far to the person's left the parting lies; where it ends (z)."""


def strands(
    topology: Topology,
    template: np.ndarray,
    normals: np.ndarray,
    raised_m: np.ndarray,
    style: Style,
    colour: np.ndarray,
    px_m: float,
) -> Ribbons:
    """All of them.

    Args:
        template, normals: (V,3); raised_m: (V,) from `hair.lift`; colour: (3,) linear; px_m: a pixel's size at the face.
    """
    rng = np.random.default_rng(75)
    raised = template + raised_m[:, None] * normals
    chin = float(template[topology.landmarks["chin"], 1].mean())
    skin = np.array(topology.part_names)[topology.parts] == "skin"
    scalp = skin & (raised_m > 1e-4)
    n, over = style.locks, style.steps // 2
    # evenly all around, so that nothing shows between them; the front edge is denser
    even = rng.permutation((np.arange(n) + rng.random(n)) / n)
    turn = np.deg2rad(FRONT_DEG) * np.clip(2.16 * even - 1.08, -1, 1)
    end_y = chin + style.hem_m + rng.normal(0, 0.0016, n)
    layer = style.layers_m * rng.uniform(0, 1, n) ** 0.7

    # from the parting over the head
    to_front = np.clip((np.abs(turn) / np.deg2rad(FRONT_DEG) - 0.42) / 0.58, 0, 1) ** 0.8
    near = scalp & (np.abs(template[:, 0] - PARTING_M) < 0.012) & (template[:, 1] > LEVEL_M)
    brow_z = float(raised[near, 2].max())
    middle = np.array([0.0, CENTRE_Y_M, AXIS_Z_M])
    start = np.stack([np.full(n, PARTING_M), 0 * turn, CROWN_M + (brow_z - 0.004 - CROWN_M) * to_front], 1)
    start[:, 1] = _height(raised[scalp], start)
    start += rng.normal(0, 0.0025, (n, 3)) * [0.4, 0, 1]
    table = _Hanging(raised[skin & (raised[:, 1] > chin - 0.03)], chin - 0.03)
    level = _out(turn, table(turn, np.full(n, LEVEL_M)), LEVEL_M)
    # not all are seen from their root on
    begin = np.where(rng.random(n) < 0.55, 0.0, rng.uniform(0, 0.7, n))
    part = begin[:, None] + (1 - begin[:, None]) * np.linspace(0, 1, over + 1)
    away, towards = unit(start - middle), unit(level - middle)
    ways = unit((1 - part[..., None]) * away[:, None] + part[..., None] * towards[:, None])
    reach = _reach(raised[scalp & (raised[:, 1] > 0.02)] - middle, ways.reshape(-1, 3)).reshape(n, -1)
    lying = middle + (reach - 0.4 * style.layers_m + 0.6 * layer[:, None] + 0.0025)[..., None] * ways

    # down to the hem, a little inwards at the end
    drop = np.linspace(0, 1, style.steps - over + 1)[1:]
    y = LEVEL_M + drop * (end_y[:, None] - LEVEL_M)
    sway = turn[:, None] + rng.normal(0, style.unruly, (n, 1)) * drop
    # before the ears some lie next to the cheek
    inwards = 0.016 * np.clip((np.abs(turn) - np.deg2rad(98.0)) / 0.2, 0, 1) * rng.uniform(0, 1, n)
    out = table(sway, y) - style.layers_m + layer[:, None] + 0.008 - 0.012 * drop**4
    out -= inwards[:, None] * np.clip(3 * drop, 0, 1)
    hanging = _out(sway, out, y)
    lines = np.concatenate([lying, hanging], 1)
    inner = lines[:, 1:-1]
    for _ in range(2):
        lines[:, 1:-1] = 0.5 * inner + 0.25 * (lines[:, :-2] + lines[:, 2:])
    facing = np.concatenate([ways, unit(_out(sway, np.ones_like(out), 0 * y) - [0, 0, AXIS_Z_M])], 1)
    facing = unit(facing + rng.normal(0, 0.10, (n, 1, 3)))

    share = np.linspace(0, 1, style.steps + 1)
    taper = np.clip((1 - share) / 0.12, 0.25, 1) * (0.45 + 0.55 * np.clip(share * 5, 0, 1))
    width = style.width_m * rng.uniform(0.5, 1.2, (n, 1)) * taper
    shade = np.exp(rng.normal(0, style.streaks, (n, 1, 1))) * (0.84 + 0.24 * share)[None, :, None]
    shade = shade * (0.62 + 0.38 * layer / style.layers_m)[:, None, None]  # what lies deeper gets less light
    corners = topology.faces[scalp[topology.faces].all(1), :2].astype(np.int64)
    spot = raised[corners[:, 0]].astype(np.float32)
    roots = corners[((spot**2).sum(1)[None] - 2 * lines[:, 0].astype(np.float32) @ spot.T).argmin(1)]
    return ribbons(template, normals, roots, lines, facing, np.maximum(width, 0.3 * px_m), shade * colour, style.shine)


def _out(turn: np.ndarray, distance_m: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """(…,3) points at a turn from the back (the person's left positive), so far from the axis, at a height."""
    return np.stack([distance_m * np.sin(turn), y + 0 * turn, AXIS_Z_M - distance_m * np.cos(turn)], -1)


def _height(points: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(n,) heights of the top of points (V,3) above and below points (n,3)."""
    gap = ((points[None, :, [0, 2]] - where[:, None, [0, 2]]) ** 2).sum(-1)
    return np.where(gap < 0.010**2, points[None, :, 1], -1.0).max(1)


def _reach(points: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """(n,) how far points (V,3) lie in directions (n,3), a mean over those near each."""
    size = np.linalg.norm(points, axis=1)
    weight = np.maximum(ways @ (points / size[:, None]).T, 0)
    for _ in range(7):
        weight *= weight
    return (weight @ size + 1e-12 * size.mean()) / (weight.sum(1) + 1e-12)


class _Hanging:
    """How far from the axis hair hangs: over all that stands out above, the ears too."""

    def __init__(self, points: np.ndarray, lowest_m: float) -> None:
        """points: (V,3) of the head."""
        turn = np.degrees(np.arctan2(points[:, 0], AXIS_Z_M - points[:, 2]))
        size = np.hypot(points[:, 0], points[:, 2] - AXIS_Z_M)
        self.lowest_m = lowest_m
        columns = np.arange(-180.0, 181.0, TURNS_DEG)
        rows = np.arange(lowest_m, LEVEL_M + 2 * ROW_M, ROW_M)
        table = np.zeros((len(columns), len(rows)))
        for i, column in enumerate(columns):
            beside = np.abs((turn - column + 180) % 360 - 180) < 1.3 * TURNS_DEG
            for j, row in enumerate(rows):
                above = beside & (points[:, 1] > row - ROW_M) & (points[:, 1] < LEVEL_M + 0.01)
                table[i, j] = size[above].max(initial=0.06)
        for _ in range(4):
            table = 0.5 * table + 0.25 * (np.roll(table, 1, 0) + np.roll(table, -1, 0))
            padded = np.pad(table, ((0, 0), (1, 1)), "edge")
            table = 0.5 * table + 0.25 * (padded[:, :-2] + padded[:, 2:])
        self.table = table

    def __call__(self, turn: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Metres, of the shape of turn (radians) and y."""
        i = np.clip((np.degrees(turn) + 180) / TURNS_DEG, 0, len(self.table) - 1.001)
        j = np.clip((y - self.lowest_m) / ROW_M, 0, self.table.shape[1] - 1.001)
        a, b = i.astype(int), j.astype(int)
        s, t, table = i - a, j - b, self.table
        low = (1 - s) * table[a, b] + s * table[a + 1, b]
        return (1 - t) * low + t * ((1 - s) * table[a, b + 1] + s * table[a + 1, b + 1])
