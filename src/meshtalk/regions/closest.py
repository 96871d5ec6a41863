"""The nearest point of a surface whose side faces the same way, for many points at once."""

from __future__ import annotations

import numpy as np

from meshtalk.compiled import compiled
from meshtalk.regions.graph import vertex_normals


def nearest_on_surface(
    points: np.ndarray, normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray, turned_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each point lands on a surface: the point whose distance² + (turned_m·(1 - cosine of the normals))² is least.

    Args:
        points: (N,3) metres; normals: (N,3) their unit normals, zero where they have none.
        vertices, faces: (V,3) metres and (F,3) of the surface.
        turned_m: what a normal at a right angle counts as, in metres of distance.

    Returns:
        (N,) index of the triangle, (N,3) weights of its corners, (N,) distance in metres.
    """
    corners = np.ascontiguousarray(vertices[faces], np.float64)  # (F,3,3)
    around = vertex_normals(vertices, faces)[faces]
    centres = corners.mean(1)
    reach = np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    return _nearest(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64),
        corners, np.ascontiguousarray(around), centres, reach, float(turned_m),
    )  # fmt: skip


@compiled()
def _nearest(points, normals, corners, around, centres, reach, turned):
    triangle = np.zeros(len(points), np.int64)
    weights = np.zeros((len(points), 3))
    distance = np.zeros(len(points))
    last = 0
    for i in range(len(points)):
        best = np.inf
        # neighbours in number are neighbours in place: where the one before landed is a good first guess
        for step in range(-1, len(corners)):
            f = last if step < 0 else step
            squared = 0.0
            for k in range(3):
                squared += (points[i, k] - centres[f, k]) ** 2
            away = np.sqrt(squared) - reach[f]
            if away > 0 and away * away >= best:
                continue
            u, v, w = _corner_weights(points[i], corners[f])
            squared, cosine, size = 0.0, 0.0, 1e-30
            for k in range(3):
                squared += (u * corners[f, 0, k] + v * corners[f, 1, k] + w * corners[f, 2, k] - points[i, k]) ** 2
                normal = u * around[f, 0, k] + v * around[f, 1, k] + w * around[f, 2, k]
                cosine += normal * normals[i, k]
                size += normal * normal
            turn = turned * (1.0 - cosine / np.sqrt(size))
            if squared + turn * turn < best:
                best = squared + turn * turn
                triangle[i], distance[i] = f, np.sqrt(squared)
                weights[i, 0], weights[i, 1], weights[i, 2] = u, v, w
        last = triangle[i]
    return triangle, weights, distance


@compiled()
def _corner_weights(p, triangle):
    """Barycentric weights of the point of a triangle (3,3) that is nearest to p: on a corner, on an edge, or inside."""
    d1, d2, d3, d4, d5, d6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        ab, ac, ap = triangle[1, k] - triangle[0, k], triangle[2, k] - triangle[0, k], p[k] - triangle[0, k]
        d1 += ab * ap
        d2 += ac * ap
        d3 += ab * (ap - ab)
        d4 += ac * (ap - ab)
        d5 += ab * (ap - ac)
        d6 += ac * (ap - ac)
    if d1 <= 0 and d2 <= 0:
        return 1.0, 0.0, 0.0
    if d3 >= 0 and d4 <= d3:
        return 0.0, 1.0, 0.0
    if d6 >= 0 and d5 <= d6:
        return 0.0, 0.0, 1.0
    of_c, of_b, of_a = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    if of_c <= 0 and d1 >= 0 and d3 <= 0:
        t = d1 / max(d1 - d3, 1e-300)
        return 1.0 - t, t, 0.0
    if of_b <= 0 and d2 >= 0 and d6 <= 0:
        t = d2 / max(d2 - d6, 1e-300)
        return 1.0 - t, 0.0, t
    if of_a <= 0 and d4 >= d3 and d5 >= d6:
        t = (d4 - d3) / max((d4 - d3) + (d5 - d6), 1e-300)
        return 0.0, 1.0 - t, t
    total = max(of_a + of_b + of_c, 1e-300)
    return of_a / total, of_b / total, of_c / total
