"""A triangle mesh as geometry: edges, graph, welded vertices, pieces, samples, distances, similarities. Units are the caller's."""

# SciPy comes without types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from meshtalk.mesh.topology import vertex_normals

LEAST_COTANGENT = 0.02
"""Half of it: needles must not turn a weight negative."""


@dataclass(frozen=True, eq=False)
class Surface:
    """V vertices, each a place of its own (see `weld`), and F triangles."""

    vertices: np.ndarray
    """(V,3) float64."""
    faces: np.ndarray
    """(F,3) int."""

    @cached_property
    def normals(self) -> np.ndarray:
        """(V,3) unit normals, area-weighted; zero where no triangle is."""
        return vertex_normals(self.vertices, self.faces)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E,2) pairs of vertices, each once."""
        edges = edges_of(self.faces)[0]
        return edges[edges[:, 0] != edges[:, 1]]

    @cached_property
    def graph(self) -> Any:
        """(V,V) sparse, symmetric: lengths of edges between vertices."""
        # an edge between two points at one place is no gap in the way
        length = np.linalg.norm(np.diff(self.vertices[self.edges], axis=1)[:, 0], axis=1)
        return symmetric(len(self.vertices), self.edges, np.maximum(length, 1e-12))

    @cached_property
    def neighbours(self) -> Any:
        """(V,V) sparse, symmetric: 1 where vertices are joined by an edge."""
        return symmetric(len(self.vertices), self.edges, np.ones(len(self.edges)))

    @cached_property
    def pieces(self) -> np.ndarray:
        """(V,) number of the connected piece of each vertex."""
        return components(len(self.vertices), self.edges)

    def ways(self, sources: np.ndarray, limit: float = np.inf) -> np.ndarray:
        """(V,) length of the shortest way along edges to the nearest of some points (indices); inf beyond `limit`."""
        from scipy.sparse.csgraph import dijkstra

        return dijkstra(self.graph, indices=sources, min_only=True, limit=limit)

    def separations(self, pairs: np.ndarray, limit: float) -> np.ndarray:
        """(n,) length of the shortest way along edges between the (n,2) points of each pair; inf beyond `limit`."""
        from scipy.sparse.csgraph import dijkstra

        near = np.flatnonzero(np.isfinite(self.ways(np.unique(pairs), limit)))
        pairs = np.searchsorted(near, pairs)
        starts, row = np.unique(pairs[:, 0], return_inverse=True)
        return dijkstra(self.graph[near][:, near], indices=starts, limit=limit)[row, pairs[:, 1]]

    def samples(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """((count,3) points spread over the area, (count,3) unit normals of their triangles), the same each time."""
        corners = self.vertices[self.faces]
        cross = crosses(corners)
        area = np.linalg.norm(cross, axis=1)
        if not area.sum() > 0:
            return np.zeros((0, 3)), np.zeros((0, 3))
        rng = np.random.default_rng(seed)
        # evenly along the running area, so that every triangle gets its share and not a lottery of it, as trimesh has: there
        # the head lies 3 % further from the mesh, and one map of eight had a lid's triangle turned over
        place = (np.arange(count) + rng.random(count)) / count * area.sum()
        chosen = np.minimum(np.searchsorted(np.cumsum(area), place), len(area) - 1)
        u, v = rng.random((2, count))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = corners[chosen].transpose(1, 0, 2)
        return a + u[:, None] * (b - a) + v[:, None] * (c - a), cross[chosen] / area[chosen, None]

    def closest(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n,) nearest triangle to each of (n,3) points, (n,) how far it is)."""
        from trimesh import Trimesh
        from trimesh.proximity import closest_point

        _, distance, face = closest_point(Trimesh(self.vertices, self.faces, process=False), queries)
        return face, distance


def weld(vertices: np.ndarray) -> np.ndarray:
    """(V,) number of the point that each of (V,3) vertices is; those at the very same place, to 1e-6 of the size, are one.

    Files split vertices along texture seams.
    """
    size = float(np.ptp(vertices, axis=0).max(initial=0)) or 1.0
    _, number = np.unique(np.round(vertices / (size * 1e-6)).astype(np.int64), axis=0, return_inverse=True)
    return number.reshape(-1)


def edges_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E,2) edges, lower vertex first, and (F,3) which of them are the sides ab, bc, ca of each face."""
    ends = np.asarray(faces, np.int64)
    other = np.roll(ends, -1, axis=1)
    lower, upper = np.minimum(ends, other), np.maximum(ends, other)
    size = int(upper.max(initial=0)) + 1
    edges, index = np.unique(lower * size + upper, return_inverse=True)  # one number is sorted faster than two
    return np.stack(np.divmod(edges, size), 1), index.reshape(-1, 3)


def symmetric(count: int, edges: np.ndarray, values: np.ndarray) -> Any:
    """(count,count) sparse, symmetric, of (E,) values of (E,2) edges."""
    from scipy.sparse import coo_matrix

    a, b = edges.T
    return coo_matrix((np.r_[values, values], (np.r_[a, b], np.r_[b, a])), (count, count)).tocsr()


def components(count: int, edges: np.ndarray) -> np.ndarray:
    """(count,) number of what hangs together by (E,2) edges."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(symmetric(count, edges, np.ones(len(edges))), directed=False)[1]


def nearest_rotation(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((…,3,3) the rotation R that makes trace(Rᵀ · covariance) largest, (…,3) singular values, the last negative where a
    mirror image would fit better) of (…,3,3) Σ wanted · pointᵀ (Kabsch 1976)."""
    u, size, vt = np.linalg.svd(covariance)
    sign = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    size[..., 2] *= sign
    u[..., 2] *= sign[..., None]
    return u @ vt, size


def similarity(points: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """((3,3) rotation, scale, (3,) shift) that bring (n,3) points nearest to (n,3) others, in least squares (Umeyama 1991)."""
    a, b = points - points.mean(0), wanted - wanted.mean(0)
    turn, size = nearest_rotation(b.T @ a)
    scale = float(size.sum() / max((a**2).sum(), 1e-30))
    return turn, scale, wanted.mean(0) - scale * turn @ points.mean(0)


def sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares sphere through (n,3) points: ((3,) centre, radius)."""
    middle = points.mean(0)
    local = points - middle
    solved = np.linalg.lstsq(np.c_[2 * local, np.ones(len(local))], (local**2).sum(1), rcond=None)[0]
    return middle + solved[:3], float(np.sqrt(max(solved[3] + solved[:3] @ solved[:3], 0)))


def crosses(corners: np.ndarray) -> np.ndarray:
    """(…,3) normals of (…,3,3) triangles, each as long as twice its area."""
    a, b, c = np.moveaxis(corners, -2, 0)
    return np.cross(b - a, c - a)


def laplacian(points: np.ndarray, faces: np.ndarray) -> Any:
    """(n,n) cotangent Laplacian of (n,3) points whose rows are divided by the sum of their weights; points in no triangle
    have empty rows (Pinkall and Polthier, 1993).

    What changes evenly across the surface is left alone, however that is cut into triangles.
    """
    from scipy.sparse import coo_matrix, diags

    n, rows, columns, weights = len(points), [], [], []
    across = np.linalg.norm(crosses(points[faces]), axis=1)
    for k in range(3):
        a, b, c = (points[faces[:, (k + j) % 3]] for j in range(3))
        half = np.clip(((b - a) * (c - a)).sum(1) / np.maximum(2 * across, 1e-15), LEAST_COTANGENT, 5.0)
        rows += [faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]]
        columns += [faces[:, (k + 2) % 3], faces[:, (k + 1) % 3]]
        weights += [half, half]
    joined = coo_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (n, n)).tocsr()
    total = np.asarray(joined.sum(1)).ravel()
    there = total > 0
    return (diags(there.astype(float)) - diags(1 / np.where(there, total, 1)) @ joined).tocsr()
