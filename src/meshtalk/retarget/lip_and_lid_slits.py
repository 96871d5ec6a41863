"""The slits of a face on another mesh: which side of the lips and lids a place is on, and where the two sides meet.

A slit is found along the surface: what is nearer to the upper lip than to the lower one, without leaving the mesh, is
the upper side. So lips that touch are told apart, and so are lips that stand apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import KDTree

from meshtalk.mesh.surface import Surface
from meshtalk.retarget.source_head import Model, load_model

SEEDS_M = {"lips": (0.007, 0.014), "lids_left": (0.0035, 0.008), "lids_right": (0.0035, 0.008)}
"""How far from the slit, along the skin, a place surely belongs to a side."""
REACH_M = {"lips": 0.045, "lids_left": 0.022, "lids_right": 0.022}
"""How far from those places a side goes on."""
LOOK_M = {"lips": 0.012, "lids_left": 0.007, "lids_right": 0.007}
"""How far from the laid head's edges the mesh's are looked for."""
PROFILE = 41
"""Columns in which an eye's opening is looked at."""
CANTHUS = 0.12
"""Of an eye's height: where it opens by less, its corner has been reached."""
CROSSED_M = 1.5e-3
"""Edges that cross by more are not the edges."""


@dataclass(frozen=True, eq=False)
class Slit:
    """One slit of a mesh with P points."""

    side: np.ndarray
    """(P,) int8: 1 above, -1 below, 0 far away."""
    points: np.ndarray
    """(K,4) int: in each column of the head's seam, two points of the upper edge and two of the lower."""
    shares: np.ndarray
    """(K,4): how the column lies between them: the first two add to 1, and so do the last two."""
    there: np.ndarray
    """(K,) bool: whether the mesh has both edges in that column."""
    ends: np.ndarray
    """(2,3) corners, -X first."""

    @property
    def open(self) -> bool:
        """Whether the mesh is slit at all: a scan's lips may be one surface."""
        return bool(self.there.mean() > 0.5)

    def edges(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((K,3) upper, (K,3) lower) of (P,3) points or displacements."""
        corner = points[self.points] * self.shares[..., None]
        return corner[:, :2].sum(1), corner[:, 2:].sum(1)

    def opening(self, points: np.ndarray) -> np.ndarray:
        """(K,) vertical distance of the edges of (P,3) points or displacements."""
        upper, lower = self.edges(points)
        return upper[:, 1] - lower[:, 1]


def find_slit(model: Model, skin: np.ndarray, mesh: Surface, near: np.ndarray, name: str) -> Slit:
    """Find a slit on a mesh.

    Args:
        model: the packaged head.
        skin: (n,3) metres: its flexible vertices, laid over the mesh.
        mesh: in the head's space, its triangles facing outwards.
        near: (P,) bool, points that may belong to the face.
        name: of the slit, one of `SLITS`.
    """
    side = _sides(model, skin, mesh, near, name)
    upper, lower = model.edges(name, skin)
    ends = _ends(model, skin, mesh, side, name)
    along = _along(model, own_slit(name).ends, name)
    looked = _Looked(mesh, side, upper, lower, along, LOOK_M[name])
    if name != "lips":  # the corner of an eye may go on as a fold that never opens
        fine = np.linspace(0, 1, PROFILE)
        slit = looked.at(ends, fine)
        gap = np.where(slit.there, slit.opening(mesh.vertices), 0.0)
        wide = np.flatnonzero(gap > CANTHUS * gap.max(initial=0))
        if len(wide) > PROFILE // 2:
            ends = ends[0] + fine[wide[[0, -1]], None] * (ends[1] - ends[0])
    return looked.at(ends, along)


class _Looked:
    """Looks for the edges of a slit in columns between two ends."""

    def __init__(
        self, mesh: Surface, side: np.ndarray, upper: np.ndarray, lower: np.ndarray, along: np.ndarray, reach_m: float
    ) -> None:
        self._mesh, self._side, self._along, self._reach_m = mesh, side, along, reach_m
        self._expected = {1: upper, -1: lower}
        self._pairs = {sign: mesh.edges[(side[mesh.edges] == sign).all(1)] for sign in (1, -1)}

    def at(self, ends: np.ndarray, along: np.ndarray) -> Slit:
        """The slit in (K,) columns, 0 being at the first end and 1 at the last."""
        count, mesh = len(along), self._mesh
        points, shares, there = np.zeros((count, 4), int), np.full((count, 4), 0.5), np.zeros(count, bool)
        axis = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        for k, column in enumerate(ends[0] + along[:, None] * (ends[1] - ends[0])):
            found = []
            for sign, expected in self._expected.items():
                place = np.array([np.interp(along[k], self._along, expected[:, c]) for c in range(3)])
                found.append(_edge(mesh.vertices, self._pairs[sign], axis, column, place, sign, self._reach_m))
            if found[0] is not None and found[1] is not None:
                (points[k, :2], shares[k, :2]), (points[k, 2:], shares[k, 2:]) = found
                there[k] = True
        slit = Slit(self._side, points, shares, there, ends)
        there &= slit.opening(mesh.vertices) > -CROSSED_M
        return slit


def _sides(model: Model, skin: np.ndarray, mesh: Surface, near: np.ndarray, name: str) -> np.ndarray:
    low, high = SEEDS_M[name]
    index = np.flatnonzero(near)
    tree = KDTree(mesh.vertices[index])
    facing = model.normals(skin)
    apart = []
    for sign in (1, -1):
        away = sign * model.sides[name]
        rows = np.flatnonzero(model.skin & (away > low) & (away < high))
        distance, nearest = tree.query(skin[rows], k=4, distance_upper_bound=0.01)
        nearest = np.minimum(nearest, len(index) - 1)
        good = np.isfinite(distance) & ((mesh.normals[index[nearest]] * facing[rows][:, None]).sum(2) > 0.3)
        seeds = np.unique(index[nearest[good.any(1), good.argmax(1)[good.any(1)]]])
        reach = mesh.ways(seeds, REACH_M[name]) if len(seeds) else np.inf
        apart.append(np.broadcast_to(reach, len(mesh.vertices)))
    side = np.where(apart[0] <= apart[1], 1, -1).astype(np.int8)
    side[~near | (np.isinf(apart[0]) & np.isinf(apart[1]))] = 0
    return side


def _ends(model: Model, skin: np.ndarray, mesh: Surface, side: np.ndarray, name: str) -> np.ndarray:
    """(2,3) where both sides join, -X first."""
    inner = np.mean(model.edges(name, skin), axis=0)
    rows, facing = model.corners[name], model.normals(skin)
    return np.stack([_corner(mesh, side, inner[k], skin[rows[k]], facing[rows[k]]) for k in (0, -1)])


@cache
def own_slit(name: str) -> Slit:
    """A slit of the packaged head itself, found as another mesh's would be; its points are `Model` rows."""
    model = load_model()
    rest, every = model.surface.vertices, np.ones(len(model.rows), bool)
    own = Surface(rest, model.surface.faces)
    side = _sides(model, rest, own, every, name)
    ends = _ends(model, rest, own, side, name)
    looked = _Looked(own, side, *model.edges(name, rest), _along(model, ends, name), LOOK_M[name])
    return looked.at(ends, _along(model, ends, name))


def _along(model: Model, ends: np.ndarray, name: str) -> np.ndarray:
    """(K,) where the head's columns lie between (2,3) ends."""
    middle = np.mean(model.edges(name, model.surface.vertices), axis=0)
    return (middle - ends[0]) @ (ends[1] - ends[0]) / np.sum((ends[1] - ends[0]) ** 2)


def _corner(mesh: Surface, side: np.ndarray, inner: np.ndarray, expected: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """(3,) where the slit ends: of the places on the outside where both sides join, the one nearest to the slit."""
    crossing = mesh.edges[side[mesh.edges].prod(1) == -1]
    places = mesh.vertices[crossing].mean(1)
    outwards = (expected - inner) / np.linalg.norm(expected - inner)
    apart = np.linalg.norm(places - expected, axis=1)
    good = (apart < 0.012) & (mesh.normals[crossing].mean(1) @ facing > 0)
    if not good.any():
        return expected
    return places[good][((places @ outwards) + apart)[good].argmin()]


def _edge(points, pairs, axis, column, expected, sign, look):  # type: ignore[no-untyped-def]
    """Where a side's edges cross a column's plane: the crossing that is furthest towards the other side; None if there is none."""
    if not len(pairs):
        return None
    along = (points - column) @ axis
    a, b = along[pairs].T
    cross = pairs[(a <= 0) != (b <= 0)]
    if not len(cross):
        return None
    a, b = along[cross].T
    share = a / (a - b)
    place = points[cross[:, 0]] + share[:, None] * (points[cross[:, 1]] - points[cross[:, 0]])
    good = np.linalg.norm(place - expected, axis=1) < look
    if not good.any():
        return None
    place, cross, share = place[good], cross[good], share[good]
    # a contact is a patch, and its front is seen: depth counts a little
    best = (sign * place[:, 1] - 0.1 * place[:, 2]).argmin()
    return cross[best], np.array([1 - share[best], share[best]])
