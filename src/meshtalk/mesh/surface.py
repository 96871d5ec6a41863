"""A triangle mesh as geometry: welded vertices, pieces, samples, distances. Units are the caller's."""

# SciPy comes without types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from meshtalk.mesh.topology import vertex_normals

LEAST_COTANGENT = 0.02
"""Half of it: needles must not turn a weight negative."""


@dataclass(frozen=True, eq=False)
class Surface:
    """V vertices and F triangles, of which several may be one welded point: files split vertices along texture seams."""

    vertices: np.ndarray
    """(V,3) float64."""
    faces: np.ndarray
    """(F,3) int."""
    welded: bool = False
    """Whether every vertex is a point of its own."""

    @cached_property
    def normals(self) -> np.ndarray:
        """(V,3) unit normals, area-weighted, the same for welded vertices; zero where no triangle is."""
        return self.point_normals[self.weld]

    @cached_property
    def point_normals(self) -> np.ndarray:
        """(P,3) the same of the welded points."""
        return vertex_normals(self.points, self.weld[self.faces])

    @cached_property
    def weld(self) -> np.ndarray:
        """(V,) number of the point that each vertex is; those at the very same place, to 1e-6 of the size, are one."""
        if self.welded:
            return np.arange(len(self.vertices))
        size = float(np.ptp(self.vertices, axis=0).max(initial=0)) or 1.0
        _, number = np.unique(np.round(self.vertices / (size * 1e-6)).astype(np.int64), axis=0, return_inverse=True)
        return number.reshape(-1)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E,2) pairs of welded points, each once."""
        corners = self.weld[self.faces]
        pairs = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
        return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)

    @cached_property
    def points(self) -> np.ndarray:
        """(P,3) the welded points."""
        points = np.zeros((self.weld.max(initial=-1) + 1, 3))
        points[self.weld] = self.vertices
        return points

    @cached_property
    def graph(self) -> csr_matrix:
        """(P,P) symmetric lengths of edges between welded points."""
        a, b = self.edges.T
        length = np.maximum(np.linalg.norm(self.points[a] - self.points[b], axis=1), 1e-12)
        shape = (len(self.points),) * 2
        return csr_matrix((np.r_[length, length], (np.r_[a, b], np.r_[b, a])), shape)

    @cached_property
    def pieces(self) -> np.ndarray:
        """(V,) number of the connected piece of each vertex."""
        return connected_components(self.graph, directed=False)[1][self.weld]

    def samples(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """((count,3) points spread over the area, (count,3) unit normals of their triangles), the same each time."""
        corners = self.vertices[self.faces]
        cross = crosses(corners)
        area = np.linalg.norm(cross, axis=1)
        if not area.sum() > 0:
            return np.zeros((0, 3)), np.zeros((0, 3))
        rng = np.random.default_rng(seed)
        # evenly along the running area, so that every triangle gets its share and not a lottery of it
        place: np.ndarray = (np.arange(count) + rng.random(count)) / count * area.sum()
        chosen = np.minimum(np.searchsorted(np.cumsum(area), place), len(area) - 1)
        u, v = rng.random((2, count))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = corners[chosen].transpose(1, 0, 2)
        return a + u[:, None] * (b - a) + v[:, None] * (c - a), cross[chosen] / area[chosen, None]

    def closest(self, queries: np.ndarray, near: int = 12) -> Contact:
        """The nearest place of the surface to each of (n,3) points, among the `near` triangles with the nearest middles."""
        corners = self.vertices[self.faces]
        k = min(near, len(self.faces))
        candidates = np.asarray(KDTree(corners.mean(1)).query(queries, k=k)[1], np.intp).reshape(len(queries), k)
        a, b, c = corners[candidates].transpose(2, 0, 1, 3)  # (n,k,3) each
        shares = barycentric(queries[:, None], a, b, c)
        place = np.einsum("nkc,nkcd->nkd", shares, corners[candidates])
        distance = np.linalg.norm(place - queries[:, None], axis=2)
        best = distance.argmin(1)
        rows = np.arange(len(queries))
        return Contact(candidates[rows, best], shares[rows, best], place[rows, best], distance[rows, best])


@dataclass(frozen=True, eq=False)
class Contact:
    """Where n points touch a surface."""

    face: np.ndarray
    """(n,) triangle."""
    shares: np.ndarray
    """(n,3) barycentric, each in [0,1]."""
    place: np.ndarray
    """(n,3)."""
    distance: np.ndarray
    """(n,)."""


def crosses(corners: np.ndarray) -> np.ndarray:
    """(…,3) normals of (…,3,3) triangles, each as long as twice its area."""
    a, b, c = np.moveaxis(corners, -2, 0)
    return np.cross(b - a, c - a)


def barycentric(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(…,3) shares of a, b, c in the point of the triangle nearest to p; all (…,3)."""
    best = np.full(np.broadcast_shapes(p.shape, a.shape)[:-1], np.inf)
    shares = np.zeros((*best.shape, 3))
    ab, ac, ap = b - a, c - a, p - a
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    aa, bb, cc = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    det = aa * cc - bb * bb
    with np.errstate(divide="ignore", invalid="ignore"):
        v, w = (cc * d1 - bb * d2) / det, (aa * d2 - bb * d1) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & (det > 0)
    shares[inside] = np.stack([1 - v - w, v, w], -1)[inside]
    best[inside] = 0
    for i, j, start, along in ((0, 1, a, ab), (1, 2, b, c - b), (0, 2, a, ac)):
        square = (along * along).sum(-1)
        t = np.clip(((p - start) * along).sum(-1) / np.where(square > 0, square, 1), 0, 1)
        away = ((start + t[..., None] * along - p) ** 2).sum(-1)
        closer = ~inside & (away < best)
        best[closer] = away[closer]
        shares[closer] = 0
        shares[..., i][closer] = (1 - t)[closer]
        shares[..., j][closer] = t[closer]
    return shares


def laplacian(points: np.ndarray, faces: np.ndarray) -> csr_matrix:
    """(n,n) cotangent Laplacian of (n,3) points whose rows are divided by the sum of their weights; points in no triangle
    have empty rows (Pinkall and Polthier, 1993).

    What changes evenly across the surface is left alone, however that is cut into triangles.
    """
    n = len(points)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for k in range(3):
        a, b, c = (points[faces[:, (k + j) % 3]] for j in range(3))
        across = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        half = np.clip(((b - a) * (c - a)).sum(1) / np.maximum(2 * across, 1e-15), LEAST_COTANGENT, 5.0)
        rows += [faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]]
        columns += [faces[:, (k + 2) % 3], faces[:, (k + 1) % 3]]
        weights += [half, half]
    joined = csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (n, n))
    total = np.asarray(joined.sum(1)).ravel()
    there = total > 0
    return csr_matrix(diags(there.astype(float)) - diags(1 / np.where(there, total, 1)) @ joined)
