"""Keep triangles from flipping in extreme poses: the smallest smooth correction that is linear in the pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, diags, eye, kron
from scipy.sparse.linalg import LinearOperator, cg, splu
from scipy.spatial import KDTree

from meshtalk.mesh.surface import Surface, crosses

FACING = 0.12
"""Least projection of a triangle onto what it is at rest, as a share: what is less is lifted."""
WATCHED = 0.3
"""Triangles that project more are looked at again only when the others are lifted."""
NEAR_M = 0.004
"""What may move is so near to a triangle that has to be lifted, or a neighbour of its neighbours."""
LOST_M = 3e-4
"""A triangle that has to be lifted by more pulls no harder for it: what cannot be lifted must not tear its neighbours."""
LIFT, SMOOTH, SMALL, HELD = 20.0, 0.3, 0.003, 30.0
"""Weights of lifting triangles, of going as the neighbours go, of going nowhere, and of what is held."""
ROUNDS, STEPS, TRIES, ENOUGH = 3, 25, 6, 0.03
"""Looks at all triangles; steps of Levenberg and Marquardt after each; dampings of one; the share of the cost it has to save."""
CLOSE, MOST = 0.1, 20
"""Of a step of conjugate gradients: what is left of the slope; most products."""
NEEDLE_M2 = 1e-11
"""Twice the area of a triangle that faces nowhere."""


@dataclass(frozen=True, eq=False)
class Poses:
    """m poses of P points."""

    moves: np.ndarray
    """(m,P,3) metres from rest."""
    levers: np.ndarray
    """(m,J) how much of each of the sought moves a pose has."""


def lifted(mesh: Surface, free: np.ndarray, poses: Poses, held: Any, scale: float) -> np.ndarray:
    """(P,3,J) metres that keep the triangles of a mesh from turning over: a pose adds levers times them.

    Args:
        mesh: P points at rest.
        free: (P,) bool: what may move.
        poses: of the mesh.
        held: (h,3P) sparse: what of the moves has to stay 0.
        scale: size of the mesh, that of a human being 1.
    """
    faces = mesh.faces[free[mesh.faces].any(1)]
    faces = faces[np.linalg.norm(crosses(mesh.vertices[faces]), axis=1) > NEEDLE_M2 * scale**2]
    moves = np.zeros((len(mesh.vertices), 3, poses.levers.shape[1]))
    seen = _below(mesh, faces, poses, moves, WATCHED)
    low = faces[_below(mesh, faces, poses, moves, FACING)[:, 0]]
    if not len(low):
        return moves
    free = np.flatnonzero(free & _around(mesh, np.unique(low), NEAR_M * scale))
    for _ in range(ROUNDS):
        moves[free] = _Problem(mesh, free, faces, seen, poses, held, scale).solve(moves[free])
        more = np.unique(np.concatenate([seen, _below(mesh, faces, poses, moves, FACING)]), axis=0)
        if len(more) == len(seen):
            break
        seen = more
    return moves


def _below(mesh: Surface, faces: np.ndarray, poses: Poses, moves: np.ndarray, least: float) -> np.ndarray:
    """(n,2) triangles and poses in which they project less than `least`."""
    rest = crosses(mesh.vertices[faces])
    size = (rest**2).sum(1)
    found = []
    for pose, lever in enumerate(poses.levers):
        posed = mesh.vertices + poses.moves[pose] + moves @ lever
        face = np.flatnonzero((crosses(posed[faces]) * rest).sum(1) < least * size)
        found.append(np.stack([face, np.full(len(face), pose)], 1))
    return np.concatenate(found)


def _around(mesh: Surface, rows: np.ndarray, near_m: float) -> np.ndarray:
    """(P,) bool: what is near some points, or a neighbour of their neighbours."""
    inside = KDTree(mesh.vertices[rows]).query(mesh.vertices, distance_upper_bound=near_m)[0] < np.inf
    for _ in range(2):
        inside[mesh.edges[inside[mesh.edges].any(1)]] = True
    return inside


class _Problem:
    """Moves of n free points that lift triangles in poses: cost and derivatives.

    Args:
        seen: (k,2) triangles and poses that are looked at.
    """

    def __init__(
        self,
        mesh: Surface,
        free: np.ndarray,
        faces: np.ndarray,
        seen: np.ndarray,
        poses: Poses,
        held: Any,
        scale: float,
    ) -> None:
        number = np.full(len(mesh.vertices), -1)
        number[free] = np.arange(len(free))
        corners = faces[seen[:, 0]]
        self._lost_m = LOST_M * scale
        self._posed = mesh.vertices[corners] + poses.moves[seen[:, 1, None], corners]
        self._levers = poses.levers[seen[:, 1]]
        rest = crosses(mesh.vertices[corners])
        twice = np.linalg.norm(rest, axis=1)
        self._rest = rest / (twice**2)[:, None]
        sides = mesh.vertices[corners] - mesh.vertices[np.roll(corners, 1, axis=1)]
        self._height = twice / np.linalg.norm(sides, axis=2).max(1)
        self._corner, self._moves = np.maximum(number[corners], 0), (number[corners] >= 0)[..., None]
        kinds = poses.levers.shape[1]
        self._size = len(free) * 3 * kinds
        smooth = _unlike_neighbours(mesh, free)
        still = kron(SMOOTH * smooth.T @ smooth + SMALL * eye(len(free)), eye(3))
        held = held[:, (3 * free[:, None] + np.arange(3)).ravel()]
        self._one: Any = (still + HELD * held.T @ held).tocsc()
        self._still: Any = kron(self._one, eye(kinds)).tocsr()

    def solve(self, moves: np.ndarray) -> np.ndarray:
        """(n,3,J) of least cost near (n,3,J) (Levenberg and Marquardt)."""
        damping, here = 0.01, moves.ravel()
        for _ in range(STEPS):
            cost, slope, jacobian = self._derived(here)
            for _ in range(TRIES):
                there = here - self._step(slope, jacobian, damping)
                saved = cost - self._cost(there)[0]
                if saved > 0:
                    break
                damping *= 6
            else:
                break
            damping, here = max(damping / 3, 1e-4), there
            if saved < ENOUGH * cost:
                break
        return here.reshape(moves.shape)

    def _step(self, slope: np.ndarray, jacobian: Any, damping: float) -> np.ndarray:
        """(x,) what (second derivative + damping) takes to the slope, by conjugate gradients."""
        kinds = self._levers.shape[1]
        lifts = LIFT * np.asarray(jacobian.multiply(jacobian).sum(0)).reshape(-1, kinds).mean(1)
        near = splu(
            (self._one + diags(lifts + damping)).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
        across = jacobian.T.tocsr()

        def product(v: np.ndarray) -> np.ndarray:
            return self._still @ v + damping * v + LIFT * (across @ (jacobian @ v))

        system = LinearOperator((self._size,) * 2, product)
        guess = LinearOperator((self._size,) * 2, lambda v: near.solve(v.reshape(-1, kinds)).ravel())
        return cg(system, slope, rtol=CLOSE, maxiter=MOST, M=guess)[0]

    def _cost(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(cost, (k,3,3) corners, (k,) metres by which each triangle is too low)."""
        moved = np.einsum("kncj,kj->knc", x.reshape(-1, 3, self._levers.shape[1])[self._corner], self._levers)
        corners = self._posed + self._moves * moved
        low = np.maximum(FACING - (crosses(corners) * self._rest).sum(1), 0) * self._height
        square = low**2
        lifting = (square / (1 + square / self._lost_m**2)).sum()
        return float(LIFT * lifting + x @ (self._still @ x)), corners, low

    def _derived(self, x: np.ndarray) -> tuple[float, np.ndarray, Any]:
        """(cost, half its gradient, (k,x) sparse derivative of how low triangles are, but for the sign)."""
        cost, corners, low = self._cost(x)
        k = np.flatnonzero(low > 0)
        weight = 1 / (1 + (low[k] / self._lost_m) ** 2)
        a, b, c = np.moveaxis(corners[k], 1, 0)
        normal = self._rest[k] * (self._height[k] * weight)[:, None]
        change = np.stack([np.cross(normal, c - b), np.cross(normal, a - c), np.cross(normal, b - a)], 1)
        change = (change * self._moves[k])[..., None] * self._levers[k, None, None]  # (k,3,3,J)
        kinds = self._levers.shape[1]
        column = (self._corner[k][..., None, None] * 3 + np.arange(3)[:, None]) * kinds + np.arange(kinds)
        row = np.repeat(np.arange(len(k)), 9 * kinds)
        jacobian: Any = coo_matrix((change.ravel(), (row, column.ravel())), (len(k), self._size)).tocsr()
        slope = self._still @ x - LIFT * (jacobian.T @ (low[k] * weight))
        return cost, slope, jacobian


def _unlike_neighbours(mesh: Surface, free: np.ndarray) -> Any:
    """(n,n) sparse: each free point's value less the mean of its neighbours'; what is not free has 0."""
    around = mesh.neighbours[free]
    degree = np.maximum(np.asarray(around.sum(1)).ravel(), 1)
    return eye(len(free)) - diags(1 / degree) @ around[:, free]
