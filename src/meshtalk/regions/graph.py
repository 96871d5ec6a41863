"""A mesh as a graph: edges, averages over neighbours, distances along the surface, pieces, normals. numpy only."""

from __future__ import annotations

import numpy as np


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


def distances(vertices: np.ndarray, edges: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """(V,) length of the shortest way along edges to the nearest of the `sources` (indices), inf where there is none."""
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    found = np.full(len(vertices), np.inf)
    found[sources] = 0.0
    while True:
        shorter = found.copy()
        np.minimum.at(shorter, edges[:, 0], found[edges[:, 1]] + lengths)
        if np.array_equal(shorter, found):
            return found
        found = shorter


def pieces(n_vertices: int, edges: np.ndarray) -> np.ndarray:
    """(V,) the smallest vertex number of the connected piece that each vertex belongs to."""
    labels = np.arange(n_vertices)
    while True:
        lower = labels.copy()
        np.minimum.at(lower, edges[:, 0], labels[edges[:, 1]])
        lower = lower[lower]
        if np.array_equal(lower, labels):
            return labels
        labels = lower


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,3) unit normals, weighted by area, outwards where triangles are counter-clockwise; zero without a triangle."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(normals, faces[:, k], across)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)
