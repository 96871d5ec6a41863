"""Regions from landmarks: the packaged head's regions, transferred to any topology, unit and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.topology import REGIONS, vertex_normals
from meshtalk.regions.face import Face
from meshtalk.regions.graph import KDTree, edges_of, pieces, smoothed
from meshtalk.regions.inner_lips import inner_lips

REACH_M = 0.06
"""How far around it a landmark bends the face."""
TURNED_M = 0.008
"""A surface at a right angle counts as this much farther away: the lips' outside does not take from the inside."""
FAR_M = 0.05
"""Vertices farther from the bent-on head are no face but a body or a stand, and get nothing."""
ROUNDS = 2
"""Of smoothing over neighbours, on a mesh whose edges are as long as the head's."""


def regions_from_landmarks(face: Face, landmarks: Mapping[str, np.ndarray]) -> Face:
    """The face with regions, inner lips, upper teeth, chin and nose, turned and scaled to the packaged head's space.

    A similarity transform brings the landmarks to the head's; a smooth field bends what remains, so that they lie
    on each other; then each vertex takes the weights of the nearest place on the head whose surface faces the same way.

    Args:
        landmarks: name of `meshtalk.mesh.landmarks` → (3,) point in the mesh's own units and axes, as `read_landmarks` gives.

    Raises:
        InputError: landmarks in one line or one place, or left and right exchanged.
    """
    head = load_head()
    neutral = np.asarray(head.neutral, np.float64)
    here = np.stack([landmarks[name] for name in landmarks])
    there = np.stack([neutral[head_landmarks()[name]] for name in landmarks])
    turn, shift = similarity(here, there)
    standing = face.vertices @ turn.T + shift
    bent = bend(standing, here @ turn.T + shift, there)
    edges = edges_of(face.topology.faces)
    rows, away_m = _landed(bent, face.topology.faces, neutral)
    # one round hardly shows on a fine mesh and blurs a coarse one: as many as make the same width
    fine = np.median(_lengths(neutral, edges_of(head.topology.faces))) / max(np.median(_lengths(bent, edges)), 1e-9)
    rounds = int(np.clip(round(ROUNDS * fine**2), 0, 20))
    taken = {
        name: smoothed(head.topology.regions[name][rows].mean(1) * (away_m < FAR_M), edges, rounds).astype(np.float32)
        for name in REGIONS
    }
    points: dict[str, np.ndarray] = {}
    upper, lower = inner_lips(bent, edges, taken["lips"])
    if len(upper):
        points |= {"lip_inner_upper": upper, "lip_inner_lower": lower}
    assert head.topology.parts is not None
    on_teeth = head.topology.parts[rows[:, 0]] == head.topology.part_names.index("upper_teeth")
    if len(teeth := _biting_edge(bent, edges, on_teeth)):
        points["upper_teeth"] = teeth
    for name in ("chin", "nose_tip"):
        found = np.linalg.norm(bent - neutral[head_landmarks()[name]], axis=1).argmin()
        points[name] = np.array([found], np.int32)
    return Face(replace(face.topology, regions=taken, landmarks=points), standing)


def similarity(here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(3,3) turn with scale and (3,) shift that bring (n,3) points nearest to (n,3) others, in least squares (Umeyama 1991).

    Raises:
        InputError: the points lie in one line or at one place, or fit only mirrored.
    """
    a, b = here - here.mean(0), there - there.mean(0)
    u, size, vt = np.linalg.svd(b.T @ a)
    spread = np.linalg.svd(a, compute_uv=False)
    if not spread[1] > 0.02 * spread[0] or not spread[0] > 0:
        raise InputError("the landmarks lie in one line or at one place. Mark them on the face again.")
    straight = np.sign(np.linalg.det(u @ vt))
    flat = spread[2] < 0.02 * spread[0]  # a flat face fits mirrored as well
    if straight < 0 and not flat and size[2] > 0.02 * size[0]:
        raise InputError(
            "the landmarks fit a face only mirrored. Exchange left and right, left being the person's own left, or"
            " un-mirror the mesh."
        )
    sign = np.array([1.0, 1.0, straight])
    turn = (u * sign) @ vt * float((size * sign).sum() / (a**2).sum())
    return turn, there.mean(0) - turn @ here.mean(0)


def bend(points: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(N,3) points moved by a smooth field that takes (n,3) `here` to `there` and dies out away from them, metres.

    The field is a sum of exp(-distance / REACH_M) around the landmarks, which can be solved for any that differ.
    """

    def kernel(a: np.ndarray) -> np.ndarray:
        return np.exp(-np.linalg.norm(a[:, None] - here[None], axis=2) / REACH_M)

    # a tenth of a per cent of slack: two landmarks on one vertex are no contradiction
    amounts = np.linalg.solve(kernel(here) + 1e-3 * np.eye(len(here)), there - here)
    return points + kernel(points) @ amounts


def _landed(bent: np.ndarray, faces: np.ndarray, neutral: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((V,3) vertices of the head whose mean is the place on which a vertex lands, (V,) how far that is in metres).

    Places are vertices (three times the same), thirds of edges and middles of triangles. The nearest has the least
    distance² + (TURNED_M · difference of the normals)², whichever way round the mesh's triangles are.
    """
    surface = np.asarray(load_head().topology.faces, np.int64)
    own = np.repeat(np.arange(len(neutral))[:, None], 3, 1)
    edges = edges_of(surface)
    thirds = np.concatenate([edges, edges[:, :1]], 1)
    places = np.concatenate([own, thirds, surface])
    outwards = vertex_normals(neutral, surface)
    tree = KDTree(np.concatenate([neutral[places].mean(1), TURNED_M * outwards[places].mean(1)], 1))
    normals = TURNED_M * vertex_normals(bent, faces)
    found = [tree.query(np.concatenate([bent, sign * normals], 1)) for sign in (1, -1)]
    _, index = min(found, key=lambda one: float(np.mean(one[0])))
    rows = places[index]
    return rows, np.linalg.norm(bent - neutral[rows].mean(1), axis=1)


def _biting_edge(bent: np.ndarray, edges: np.ndarray, near_teeth: np.ndarray) -> np.ndarray:
    """(n,) int32 vertices of the upper teeth's edge: a piece of its own, most of which landed on the head's upper teeth."""
    labels = pieces(len(bent), edges)
    total, held = (np.bincount(labels, weights, len(bent)) for weights in (None, near_teeth))
    teeth = (held > 0.6 * total)[labels] & (total > 8)[labels]
    if not teeth.any():
        return np.zeros(0, np.int32)
    head = load_head()
    edge = head.neutral[head.topology.landmarks["upper_teeth"]].astype(np.float64)
    rows = np.flatnonzero(teeth)
    away = np.linalg.norm(bent[rows][:, None] - edge[None], axis=2)
    return np.unique(rows[away.argmin(0)]).astype(np.int32)


def _lengths(vertices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
