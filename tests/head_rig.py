"""Poses of the packaged head, and how deep one part of it goes into another."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from meshtalk.mesh.head import Head, Person

FINE = np.array([(i, j, 8 - i - j) for i in range(9) for j in range(9 - i)]) / 8
"""Barycentric coordinates of points on a triangle, less than half a millimetre apart on teeth and lips."""

DEEPEST_M = 0.005


def posed(head: Head, person: Person, **weights: float) -> np.ndarray:
    """(V,3) metres."""
    topology = head.topology
    assert topology.shapes is not None
    vector = np.zeros(len(topology.shape_names))
    for name, value in weights.items():
        vector[topology.shape_names.index(name)] = value
    return person.template + np.tensordot(vector * person.gains, topology.shapes, 1)


def both(name: str, value: float) -> dict[str, float]:
    return {f"{name}Left": value, f"{name}Right": value}


def part(head: Head, *names: str) -> np.ndarray:
    """(V,) bool: the vertices of some parts."""
    topology = head.topology
    assert topology.parts is not None
    return np.isin(topology.parts, [topology.part_names.index(name) for name in names])


def depth_mm(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> float:
    """How deep the deepest of points lies inside a surface that turns its front outwards, 0 if all are outside.

    Inside is where the surface covers more than half of the sky (Jacobson et al. 2013, generalized winding numbers), so
    that it may have holes far from the points. Points further than DEEPEST_M from the surface are not looked at.
    """
    triangles = vertices[faces].astype(np.float64)
    beside = cKDTree(points).query(triangles.mean(1))[0] < 2 * DEEPEST_M
    if not beside.any():
        return 0.0
    away = cKDTree((FINE @ triangles[beside]).reshape(-1, 3)).query(points)[0]
    points, away = points[away < DEEPEST_M], away[away < DEEPEST_M]
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    angle = np.arctan2(volume, la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb)
    inside = angle.sum(1) > np.pi
    return float(away[inside].max(initial=0.0)) * 1e3


def through(head: Head, face: np.ndarray, movers: np.ndarray, *parts: str) -> float:
    """Millimetres by which the deepest of vertices (bool) lies inside teeth or flesh ("skin" and "inner_mouth")."""
    solid = head.topology.faces[part(head, *parts)[head.topology.faces].all(1)]
    points, middle = face[movers], face[solid].mean(1)
    around = ((middle > points.min(0) - 0.02) & (middle < points.max(0) + 0.02)).all(1)
    return depth_mm(points, face, solid[around])
