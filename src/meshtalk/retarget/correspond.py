"""Correspondence of a mesh's points to the fitted packaged head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from trimesh.triangles import closest_point, points_to_barycentric

from meshtalk.mesh.surface import Surface, crosses
from meshtalk.retarget.lip_and_lid_slits import Slit
from meshtalk.retarget.source_head import Model

FULL_M, STILL_M = 0.015, 0.04
"""So near to the laid head a place moves as it does; so far from it nothing moves."""
TURNED_M = 0.008
"""A triangle that looks the other way counts as so much further away; one that is only tilted does not, or facets would show."""
SURE_M = 0.004
"""How near the laid head has to be for its nearest place to be believed; others follow their neighbours."""
SMOOTH = 0.5
"""Weight of a point's neighbours, its own nearest place having 1 at most."""
SOURCES = 8
"""Vertices of the head that one point moves with."""
CREASE_M, MOST_ROUNDS = 0.0025, 12
"""Length of the head's own edges; most rounds of averaging over neighbours that go so far."""


@dataclass(frozen=True, eq=False)
class Places:
    """What each of P points moves with."""

    rows: np.ndarray
    """(P,SOURCES) rows of the head's flexible surface."""
    shares: np.ndarray
    """(P,SOURCES) how much with each; they add to at most 1, and to 0 for what stays still."""


def find_places(
    model: Model, skin: np.ndarray, mesh: Surface, flexible: np.ndarray, slits: Mapping[str, Slit]
) -> Places:
    """Places for the points of a mesh that belong to the face's skin; none (amount 0) for all others.

    Args:
        model: the packaged head.
        skin: (n,3) metres: its flexible vertices, laid over the mesh.
        mesh: in the head's space, facing outwards.
        flexible: (P,) bool.
        slits: of the mesh; across them nothing corresponds.
    """
    count = len(mesh.vertices)
    away = np.full(count, np.inf)
    asked = np.flatnonzero(flexible)
    away[asked] = KDTree(skin).query(mesh.vertices[asked], distance_upper_bound=1.5 * STILL_M)[0]
    rows = np.flatnonzero(away < 1.5 * STILL_M)
    face, shares, distance, cosine = nearest(model, skin, slits, rows, mesh.vertices[rows], mesh.normals[rows])
    rest = np.einsum("pk,pkc->pc", shares, model.surface.vertices[model.surface.faces[face]])
    trust = np.exp(-((distance / SURE_M) ** 2)) * np.clip(cosine, 0.02, 1)
    rest = smoothed(mesh, rows, rest, trust)
    face, shares, _, _ = nearest(model, model.surface.vertices, slits, rows, rest, None)
    fade = np.clip((STILL_M - away[rows]) / (STILL_M - FULL_M), 0, 1)
    source, shares = _spread(mesh, rows, model.surface.faces[face], shares)
    places = Places(np.zeros((count, SOURCES), int), np.zeros((count, SOURCES)))
    places.rows[rows], places.shares[rows] = source, shares * (fade * fade * (3 - 2 * fade))[:, None]
    return places


def smoothed(mesh: Surface, rows: np.ndarray, values: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """(r,c) values of rows of points, drawn towards their neighbours', the more the less they are trusted."""
    joined, degree = _joined(mesh, rows)
    system = diags(trust + 1e-6) + SMOOTH / 6 * (diags(degree) - joined)
    return splu(system.tocsc()).solve((trust + 1e-6)[:, None] * values)


def _joined(mesh: Surface, rows: np.ndarray) -> tuple[Any, np.ndarray]:
    """((r,r) 1 where rows of points are neighbours, (r,) how many each has, at least 1)."""
    joined = mesh.neighbours[rows][:, rows]
    return joined, np.maximum(np.asarray(joined.sum(1)).ravel(), 1)


def _spread(mesh: Surface, rows: np.ndarray, source: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((r,SOURCES) rows of the head, (r,SOURCES) shares) of (r,3) both, averaged with neighbours: within a triangle of the
    head motion is linear, and a finer mesh would show its creases."""
    joined, degree = _joined(mesh, rows)
    step = 0.5 * (diags(np.ones(len(rows))) + diags(1 / degree) @ joined)
    weights: Any = coo_matrix((shares.ravel(), (np.repeat(np.arange(len(rows)), 3), source.ravel()))).tocsr()
    near = mesh.edges[np.isin(mesh.edges, rows).all(1)]
    length = np.median(np.linalg.norm(mesh.vertices[near[:, 0]] - mesh.vertices[near[:, 1]], axis=1))
    for _ in range(int(np.clip(2 * (CREASE_M / length) ** 2, 1, MOST_ROUNDS))):
        weights = step @ weights
    return largest(weights.tocsr(), np.ones(len(rows)))


def largest(weights: Any, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((r,SOURCES) columns, (r,SOURCES) values) of the largest values of each of r rows, scaled to (r,) sums."""
    count = weights.shape[0]
    best, most = np.zeros((count, SOURCES), int), np.zeros((count, SOURCES))
    order = np.lexsort((-weights.data, np.repeat(np.arange(count), np.diff(weights.indptr))))
    place = np.arange(weights.nnz) - np.repeat(weights.indptr[:-1], np.diff(weights.indptr))
    row = np.repeat(np.arange(count), np.diff(weights.indptr))
    kept = place < SOURCES
    best[row[kept], place[kept]] = weights.indices[order[kept]]
    most[row[kept], place[kept]] = weights.data[order[kept]]
    total = most.sum(1)
    return best, most * (sums / np.where(total > 0, total, 1))[:, None]


def nearest(
    model: Model,
    skin: np.ndarray,
    slits: Mapping[str, Slit],
    rows: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """((r,) triangles of the head, (r,3) shares, (r,) distances, (r,) cosines of normals) nearest to (r,3) points, on
    their own side of the slits."""
    faces = model.surface.faces
    corners = skin[faces]
    facing = crosses(corners)
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-15)
    face, shares = np.zeros(len(rows), int), np.zeros((len(rows), 3))
    distance, cosine = np.full(len(rows), np.inf), np.zeros(len(rows))
    group = np.zeros(len(rows), int)
    allowed = [np.ones(len(faces), bool)]
    for name, slit in slits.items():
        with np.errstate(invalid="ignore"):
            side = np.nan_to_num(np.sign(model.sides[name][faces]).sum(1))
        for sign in (1, -1):
            group[slit.side[rows] == sign] = len(allowed)
            allowed.append(~(side * sign < 0))
    for number, choice in enumerate(allowed):
        mine, usable = np.flatnonzero(group == number), np.flatnonzero(choice)
        if not len(mine):
            continue
        near = np.asarray(KDTree(corners[usable].mean(1)).query(points[mine], k=24)[1])
        candidates = usable[near]
        asked, triangles = np.repeat(points[mine], near.shape[1], axis=0), corners[candidates.ravel()]
        place = closest_point(triangles, asked)
        apart = np.linalg.norm(place - asked, axis=1).reshape(near.shape)
        turn = np.ones_like(apart) if normals is None else (facing[candidates] * normals[mine, None]).sum(2)
        best = (apart + TURNED_M * np.maximum(0.3 - turn, 0)).argmin(1)
        every = np.arange(len(mine))
        face[mine], distance[mine], cosine[mine] = candidates[every, best], apart[every, best], turn[every, best]
        place = place.reshape(*near.shape, 3)[every, best]
        shares[mine] = points_to_barycentric(corners[face[mine]], place)
    return face, shares, distance, cosine
