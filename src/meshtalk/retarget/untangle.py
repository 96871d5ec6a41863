"""Keep triangles from flipping in motion: smooth the motion weights of their corners until none flips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, diags

from meshtalk.mesh.head import load_head
from meshtalk.mesh.surface import Surface, crosses
from meshtalk.retarget.correspond import Places, largest
from meshtalk.retarget.source_head import Model
from meshtalk.retarget.transfer import stretch

AMOUNT = 0.7
"""Of each blendshape: speech rarely has more."""
LEFT_OUT = ("mouthClose", "tongueOut")
"""What never comes alone. A lid's edge rolls over in a blink, on the packaged head too: eyes are left as they are."""
TOGETHER: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.5, "mouthFunnel": 0.6},
    {"jawOpen": 0.4, "mouthPucker": 0.5},
    {"jawOpen": 0.3, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6},
    {"jawOpen": 0.3, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5, "mouthLowerDownLeft": 0.5, "mouthLowerDownRight": 0.5},
    {"jawOpen": 0.3, "mouthClose": 0.3},
)  # fmt: skip
ROUNDS, STEPS = 10, 6
"""Times that the poses are tried; steps towards the neighbours each time."""


def alone() -> list[Mapping[str, float]]:
    """Each blendshape that moves more than an eye, by itself."""
    names = load_head().topology.shape_names
    return [{name: AMOUNT} for name in names if name not in LEFT_OUT and not name.startswith("eye")]


def poses(model: Model, fit: np.ndarray) -> np.ndarray:
    """(m,n,3) metres: displacements of the head's rows in poses that speech takes, as they are on the mesh."""
    head = load_head()
    names, shapes = head.topology.shape_names, head.topology.shapes
    assert shapes is not None
    moves = [
        sum(w * shapes[names.index(name), model.rows] for name, w in pose.items()) for pose in [*alone(), *TOGETHER]
    ]
    frames = stretch(head.neutral[model.rows].astype(np.float64), fit, model.surface.faces)
    return np.einsum("nij,mnj->mni", frames, np.stack(moves))


def untangled(mesh: Surface, places: Places, moves: np.ndarray) -> Places:
    """Places with fewer triangles turned over.

    Args:
        mesh: P points, in the head's space.
        places: of its points.
        moves: (m,n,3) of `poses`.
    """
    active = places.shares.sum(1) > 0.05
    faces = mesh.faces[active[mesh.faces].all(1)]
    rest = crosses(mesh.vertices[faces])
    faces = faces[np.linalg.norm(rest, axis=1) > 0]
    count = len(mesh.vertices)
    joined: Any = diags(active.astype(float)) @ mesh.neighbours @ diags(active.astype(float))
    rows, shares = places.rows.copy(), places.shares.copy()
    tangled = np.zeros(count, bool)
    for _ in range(ROUNDS):
        turned = _turned(mesh.vertices, faces, rows, shares, moves)
        if not turned.any():
            break
        tangled[faces[turned]] = True
        near = np.flatnonzero(joined @ tangled.astype(float) + tangled)
        weights: Any = coo_matrix(
            (shares.ravel(), (np.repeat(np.arange(count), rows.shape[1]), rows.ravel())), (count, moves.shape[1])
        ).tocsr()
        around = joined[near]
        step = diags(1 / np.maximum(np.asarray(around.sum(1)).ravel(), 1)) @ around
        for _ in range(STEPS):
            weights = _with_rows(weights, near, step @ weights)
        rows[near], shares[near] = largest(weights[near], np.asarray(weights[near].sum(1)).ravel())
        # whatever was right and has not changed is right
        faces = faces[np.isin(faces, near).any(1)]
    return Places(rows, shares)


def _turned(
    points: np.ndarray, faces: np.ndarray, rows: np.ndarray, shares: np.ndarray, moves: np.ndarray
) -> np.ndarray:
    """(F,) whether any of the moves turns a triangle over."""
    corners, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3)
    points, rows, shares = points[corners], rows[corners], shares[corners]
    rest, turned = crosses(points[faces]), np.zeros(len(faces), bool)
    for move in moves:
        posed = points + np.einsum("pk,pkc->pc", shares, move[rows])
        turned |= (crosses(posed[faces]) * rest).sum(1) < 0
    return turned


def _with_rows(matrix: Any, rows: np.ndarray, new: Any) -> Any:
    """The matrix with some rows exchanged."""
    keep = np.ones(matrix.shape[0])
    keep[rows] = 0
    put: Any = coo_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), (matrix.shape[0], len(rows)))
    return (diags(keep) @ matrix + put @ new).tocsr()
