"""From named landmarks: the packaged head's regions, carried to a mesh of any topology, unit and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from meshtalk.corpus.head import load_head
from meshtalk.errors import InputError
from meshtalk.landmarks import head_landmarks
from meshtalk.regions.closest import nearest_on_surface
from meshtalk.regions.face import Face
from meshtalk.regions.graph import edges_of, pieces, smoothed, vertex_normals
from meshtalk.regions.slit import inner_lips
from meshtalk.topology import REGIONS

REACH_M = 0.06
"""How far around it a landmark bends the face."""
TURNED_M = 0.008
"""A surface at a right angle counts as so much farther away: the lips' outside does not take from the inside."""
ROUNDS = 2
"""Of smoothing over neighbours, on a mesh whose edges are as long as the head's."""


def regions_from_landmarks(face: Face, landmarks: Mapping[str, np.ndarray]) -> Face:
    """The face with regions, inner lips, upper teeth, chin and nose, turned and scaled to the packaged head's space.

    A similarity transform brings the landmarks to the head's; a smooth field bends what remains, so that they lie
    on each other; then each vertex takes the weights of the nearest point of the head whose surface faces the same way.

    Args:
        landmarks: name of `meshtalk.landmarks` → (3,) point in the mesh's own units and axes, as `read_landmarks` gives.

    Raises:
        InputError: landmarks in one line or one place, or left and right exchanged.
    """
    head = load_head()
    neutral = np.asarray(head.neutral, np.float64)
    names = list(landmarks)
    here = np.stack([landmarks[name] for name in names])
    there = np.stack([neutral[head_landmarks()[name]] for name in names])
    turn, shift = similarity(here, there)
    standing = face.vertices @ turn.T + shift
    bent = bend(standing, here @ turn.T + shift, there)
    faces = face.topology.faces
    edges = edges_of(faces)
    triangle, corners, away = _landed(bent, faces, neutral)
    rows = head.topology.faces[triangle]  # (V,3)
    # one round hardly shows on a fine mesh and blurs a coarse one: as many as make the same width
    fine = np.median(_lengths(neutral, edges_of(head.topology.faces))) / max(np.median(_lengths(bent, edges)), 1e-9)
    rounds = int(np.clip(round(ROUNDS * fine**2), 0, 20))
    near = away < 0.05  # a body or a stand is no face
    taken = {
        name: smoothed((head.topology.regions[name][rows] * corners).sum(1) * near, edges, rounds).astype(np.float32)
        for name in REGIONS
    }
    skin = head.topology.parts
    assert skin is not None
    part = skin[rows[np.arange(len(rows)), corners.argmax(1)]]
    upper, lower = inner_lips(bent, edges, taken["lips"])
    points: dict[str, np.ndarray] = {"lip_inner_upper": upper, "lip_inner_lower": lower}
    points = {name: found for name, found in points.items() if len(found)}
    teeth = _biting_edge(bent, edges, part == head.topology.part_names.index("upper_teeth"))
    if len(teeth):
        points["upper_teeth"] = teeth
    for name in ("chin", "nose_tip"):
        if name in landmarks:
            found = np.linalg.norm(face.vertices - landmarks[name], axis=1).argmin()
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
        raise InputError("the landmarks lie in one line or at one place : mark them on the face again")
    straight = np.sign(np.linalg.det(u @ vt))
    flat = spread[2] < 0.02 * spread[0]  # a flat face fits mirrored as well
    if straight < 0 and not flat and size[2] > 0.02 * size[0]:
        raise InputError(
            "the landmarks fit a face only mirrored : exchange left and right, left being the person's own left, or"
            " un-mirror the mesh"
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


def _landed(bent: np.ndarray, faces: np.ndarray, neutral: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`nearest_on_surface` on the head, whichever way round the mesh's triangles are."""
    normals = vertex_normals(bent, faces)
    surface = np.asarray(load_head().topology.faces, np.int64)
    some = slice(None, None, max(1, len(bent) // 500))
    triangle, corners, _ = nearest_on_surface(bent[some], np.zeros_like(bent[some]), neutral, surface, 0.0)
    facing = np.einsum("nk,nkc->nc", corners, vertex_normals(neutral, surface)[surface[triangle]])
    if np.einsum("nc,nc->n", facing, normals[some]).sum() < 0:
        normals = -normals
    return nearest_on_surface(bent, normals, neutral, surface, TURNED_M)


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
