"""A mesh as a graph: edges, averages over neighbours, distances along the surface, pieces."""

from __future__ import annotations

import numpy as np

from meshtalk.errors import InputError

try:
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import connected_components, dijkstra
    from scipy.spatial import KDTree
except ImportError:
    raise InputError('regions need scipy (not installed). Run pip install "meshtalk[convert]".') from None

__all__ = ["KDTree", "distances", "edges_of", "pieces", "separations", "smoothed"]


def edges_of(faces: np.ndarray) -> np.ndarray:
    """(E,2) every edge of (F,3) triangles once in each direction."""
    faces = np.asarray(faces, np.int64)
    half = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    half = np.unique(np.sort(half, 1), axis=0)
    half = half[half[:, 0] != half[:, 1]]
    return np.concatenate([half, half[:, ::-1]])


def smoothed(values: np.ndarray, edges: np.ndarray, rounds: int) -> np.ndarray:
    """(V,) half of each vertex's own value and half of its neighbours' mean, `rounds` times."""
    count = np.bincount(edges[:, 0], minlength=len(values))
    for _ in range(rounds):
        around = np.bincount(edges[:, 0], values[edges[:, 1]], minlength=len(values)) / np.maximum(count, 1)
        values = np.where(count > 0, 0.5 * values + 0.5 * around, values)
    return values


def distances(vertices: np.ndarray, edges: np.ndarray, sources: np.ndarray, limit: float = np.inf) -> np.ndarray:
    """(V,) length of the shortest way along edges to the nearest of the `sources` (indices); inf where beyond `limit`."""
    graph = _graph(len(vertices), edges, _lengths(vertices, edges))
    return dijkstra(graph, indices=sources, min_only=True, limit=limit)


def separations(vertices: np.ndarray, edges: np.ndarray, pairs: np.ndarray, limit: float) -> np.ndarray:
    """(n,) length of the shortest way along edges between the (n,2) vertices of each pair; inf where beyond `limit`."""
    near = np.isfinite(distances(vertices, edges, np.unique(pairs), limit))
    number = np.cumsum(near) - 1
    inside = number[edges[near[edges].all(1)]]
    starts, row = np.unique(number[pairs[:, 0]], return_inverse=True)
    lengths = _lengths(vertices[near], inside)
    found = dijkstra(_graph(int(near.sum()), inside, lengths), indices=starts, limit=limit)
    return found[row, number[pairs[:, 1]]]


def pieces(n_vertices: int, edges: np.ndarray) -> np.ndarray:
    """(V,) number of the connected piece that each vertex belongs to."""
    return connected_components(_graph(n_vertices, edges, np.ones(len(edges))), directed=False)[1]


def _lengths(vertices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    # an edge between two vertices at one place is no gap in the way
    return np.maximum(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1), 1e-12)


def _graph(n_vertices: int, edges: np.ndarray, lengths: np.ndarray) -> csr_array:
    return coo_array((lengths, (edges[:, 0], edges[:, 1])), (n_vertices, n_vertices)).tocsr()
