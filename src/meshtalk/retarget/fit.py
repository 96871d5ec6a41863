"""Fitting of the packaged head to a mesh: similarity and identity first, then a smooth non-rigid deformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.surface import Surface, laplacian, nearest_rotation, similarity
from meshtalk.retarget.detect import Pose
from meshtalk.retarget.lip_and_lid_slits import Slit, own_slit
from meshtalk.retarget.source_head import Model, load_model

SAMPLES = 100_000
"""Of the mesh's surface, near the face."""
REACH_M = 0.16
"""What is further from the middle of the face is no part of it."""
SIDED_M = {"lips": 0.012, "lids_left": 0.006, "lids_right": 0.006}
"""So near to a slit the skin looks for the mesh on its own side."""
FIRM, SOFT = 3.0, 0.15
"""Weight of smoothness in the first and the last step of the bend, one vertex's pull being 1."""
TIED = 4.0
"""The same of what has been found or told exactly."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The packaged head on a mesh."""

    pose: Pose
    """From the mesh's space to the head's, metres."""
    skin: np.ndarray
    """(n,3) metres: `Model.rows` where they lie on the mesh, in the head's space."""
    away_m: float
    """Median distance of the face's front from the mesh."""
    found: float
    """Share of the face's front that has the mesh within 3 mm, facing the same way."""


class Target:
    """Samples of a mesh near its face, to look for the nearest of them. Space of the mesh's own.

    Args:
        chosen: (F,) bool: triangles that count, beside being near.
    """

    def __init__(self, mesh: Surface, pose: Pose, chosen: np.ndarray | None = None, count: int = SAMPLES) -> None:
        corners = mesh.vertices[mesh.faces]
        near = np.linalg.norm(pose.apply(corners.mean(1)) - [0, 0, 0.05], axis=1) < REACH_M
        chosen = near if chosen is None else near & chosen
        self.points, self.normals = Surface(mesh.vertices, mesh.faces[chosen]).samples(count)
        self.tree = KDTree(self.points) if len(self.points) else None

    def nearest(self, pose: Pose, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For (n,3) points in the head's space: the nearest samples there, their normals, and the cosine with `normals`."""
        assert self.tree is not None
        index = self.tree.query((points - pose.shift) @ pose.rotation / pose.metres)[1]
        turned = self.normals[index] @ pose.rotation.T
        return pose.apply(self.points[index]), turned, (turned * normals).sum(1)


class SidedTarget:
    """The same of a mesh whose slits are known, in the head's space: what is above a slit is looked for above it."""

    def __init__(self, model: Model, mesh: Surface, slits: Mapping[str, Slit]) -> None:
        here = Pose(np.eye(3), 1.0, np.zeros(3))
        front = model.front
        self.groups: list[tuple[np.ndarray, Target]] = []
        free = np.ones(len(front), bool)
        for name, slit in slits.items():
            for sign in (1, -1):
                with np.errstate(invalid="ignore"):
                    mine = sign * model.sides[name][front] > 0
                mine &= np.abs(model.sides[name][front]) < SIDED_M[name]
                target = Target(mesh, here, (slit.side[mesh.faces] == sign).all(1), SAMPLES // 4)
                if target.tree is not None:
                    self.groups.append((np.flatnonzero(mine), target))
                    free &= ~mine
        self.groups.append((np.flatnonzero(free), Target(mesh, here)))

    def nearest(self, pose: Pose, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Target.nearest`, for the head's front."""
        place, facing, cosine = np.zeros_like(points), np.zeros_like(points), np.zeros(len(points))
        for rows, target in self.groups:
            place[rows], facing[rows], cosine[rows] = target.nearest(pose, points[rows], normals[rows])
        return place, facing, cosine


def settle(
    model: Model, mesh: Surface, fit: Fit, slits: Mapping[str, Slit], landmarks: Mapping[str, np.ndarray] | None = None
) -> Fit:
    """The same fit with the edges of its slits on those of the mesh, which lies in the head's space."""
    ties = Ties()
    for name, place in (landmarks or {}).items():
        ties.add([model.row(name)], [1.0], place)
    tree = KDTree(model.surface.vertices)
    for name, slit in slits.items():
        if not slit.open:
            continue
        own = own_slit(name)
        for edge, half in zip(slit.edges(mesh.vertices), (slice(2), slice(2, 4)), strict=True):
            for k in np.flatnonzero(slit.there & own.there):
                ties.add(own.points[k, half], own.shares[k, half], edge[k])
        for end, own_end in zip(slit.ends, own.ends, strict=True):
            ties.add([int(tree.query(own_end)[1])], [1.0], end)
    return bend(model, SidedTarget(model, mesh, slits), fit.pose, fit.skin, ties, 4, 0.6, 0.06)


class Ties:
    """Points of the laid head, as shares of rows, that go to places in its space."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.shares: list[float] = []
        self.number: list[int] = []
        self.places: list[np.ndarray] = []

    def add(self, rows: Sequence[int] | np.ndarray, shares: Sequence[float] | np.ndarray, place: np.ndarray) -> None:
        self.rows += [int(row) for row in rows]
        self.shares += [float(share) for share in shares]
        self.number += [len(self.places)] * len(rows)
        self.places.append(place)

    def matrix(self, n: int) -> Any:
        """(c,n) what takes the rows' values to the points'."""
        return coo_matrix((self.shares, (self.number, self.rows)), (len(self.places), n)).tocsr()


def pose_of(landmarks: Mapping[str, np.ndarray]) -> Pose:
    """The pose in which a mesh's landmarks lie nearest to the packaged head's.

    Raises:
        InputError: they lie in one line or at one place, or fit only mirrored.
    """
    neutral, vertex = load_head().neutral.astype(np.float64), head_landmarks()
    here = np.stack(list(landmarks.values()))
    there = np.stack([neutral[vertex[name]] for name in landmarks])
    spread = np.linalg.svd(here - here.mean(0), compute_uv=False)
    if not spread[1] > 0.02 * spread[0] or not spread[0] > 0:
        raise InputError("the landmarks lie in one line or at one place. Mark them on the face again.")
    size = nearest_rotation((there - there.mean(0)).T @ (here - here.mean(0)))[1]
    if size[2] < -0.02 * size[0] and spread[2] >= 0.02 * spread[0]:  # a flat face fits mirrored as well
        raise InputError(
            "the landmarks fit a face only mirrored. Exchange left and right, left being the person's own left, or"
            " un-mirror the mesh."
        )
    return Pose(*similarity(here, there))


def lay(mesh: Surface, pose: Pose, landmarks: Mapping[str, np.ndarray] | None = None) -> Fit:
    """Lay the head over a mesh.

    Args:
        mesh: of any size and turn.
        pose: roughly where its face is, within 15 degrees and a tenth of its size.
        landmarks: name → (3,) places in the mesh's space that hold, whatever the surface says.
    """
    model = load_model()
    marks = {model.row(name): place for name, place in (landmarks or {}).items()}
    target = Target(mesh, pose)
    if target.tree is None:
        return Fit(pose, model.surface.vertices, np.inf, 0.0)
    pose, skin = _person(model, target, pose, marks)
    ties = Ties()
    for k, place in marks.items():
        ties.add([k], [1.0], pose.apply(place))
    return bend(model, target, pose, skin, ties)


def _person(model: Model, target: Target, pose: Pose, marks: Mapping[int, np.ndarray]) -> tuple[Pose, np.ndarray]:
    """(Pose, (n,3) skin) of the most likely person: Gauss-Newton on distances along the normals of the nearest samples."""
    rows = np.flatnonzero(model.trust > 0)
    rows = rows[:: max(1, len(rows) // 900)]
    kinds = np.zeros(len(model.kinds))
    for step in range(30):
        wide = 0.025 * 0.88**step + 0.003
        skin = model.surface.vertices + np.tensordot(kinds, model.kinds, 1)
        ours, normals = skin[rows], model.normals(skin)[rows]
        place, facing, cosine = target.nearest(pose, ours, normals)
        apart = np.linalg.norm(place - ours, axis=1)
        weight = model.trust[rows] * (np.abs(cosine) > 0.5) / (1 + (apart / wide) ** 2) ** 2
        # unknowns: kinds, turn, growth and shift of the mesh
        turn = np.cross(place, facing)
        jacobian = np.concatenate(
            [
                np.einsum("krc,rc->rk", model.kinds[:, rows], facing),
                -turn,
                -(place * facing).sum(1)[:, None],
                -facing,
            ],
            1,
        )
        residual = ((ours - place) * facing).sum(1)
        system = np.diag(np.r_[np.full(len(kinds), 4e-6 * weight.sum() / 50), np.full(7, 1e-9)])
        side = np.r_[-system.diagonal()[: len(kinds)] * kinds, np.zeros(7)]
        system += jacobian.T @ (jacobian * weight[:, None])
        side -= jacobian.T @ (residual * weight)
        for index, mark in marks.items():
            there = pose.apply(mark)
            cross = np.array([[0, -there[2], there[1]], [there[2], 0, -there[0]], [-there[1], there[0], 0]])
            rows3 = np.concatenate([model.kinds[:, index].T, cross, -there[:, None], -np.eye(3)], 1)
            pull = weight.sum() / len(rows) * 5
            system += pull * rows3.T @ rows3
            side -= pull * rows3.T @ (skin[index] - there)
        change = np.linalg.solve(system, side)
        kinds = np.clip(kinds + change[: len(kinds)], -3, 3)
        omega, growth, shift = change[-7:-4], change[-4], change[-3:]
        angle = float(np.linalg.norm(omega))
        k = np.array([[0, -omega[2], omega[1]], [omega[2], 0, -omega[0]], [-omega[1], omega[0], 0]])
        angle = max(angle, 1e-12)
        k = np.eye(3) + np.sin(angle) / angle * k + (1 - np.cos(angle)) / angle**2 * k @ k
        grow = float(np.clip(1 + growth, 0.9, 1.1))
        pose = replace(pose, rotation=k @ pose.rotation, metres=grow * pose.metres, shift=grow * k @ pose.shift + shift)
    return pose, model.surface.vertices + np.tensordot(kinds, model.kinds, 1)


def bend(
    model: Model,
    target: Target | SidedTarget,
    pose: Pose,
    skin: np.ndarray,
    ties: Ties,
    steps: int = 8,
    firm: float = FIRM,
    soft: float = SOFT,
) -> Fit:
    """Bend (n,3) skin onto the mesh, smoothly.

    Args:
        target: of the mesh, whose space `pose` brings into the head's.
        ties: what has to go where.
        steps: from `firm` to `soft`.
    """
    there = pose if isinstance(target, Target) else Pose(np.eye(3), 1.0, np.zeros(3))
    smooth = laplacian(model.surface.vertices, model.surface.faces)
    smooth = (smooth.T @ smooth).tocsc()
    start, front = skin, model.front
    tied = ties.matrix(len(skin))
    pull = TIED * (tied.T @ (np.array(ties.places).reshape(-1, 3) - tied @ start))
    held = (TIED * tied.T @ tied).tocsc()
    for stiffness in np.geomspace(firm, soft, steps):
        place, facing, cosine = target.nearest(there, skin[front], model.normals(skin)[front])
        apart = place - skin[front]
        limit = 0.004 + 0.002 * stiffness
        weight, aim = np.zeros(len(skin)), skin - start
        weight[front] = model.trust[front] * (np.abs(cosine) > 0.6)
        weight[front] /= (1 + (np.linalg.norm(apart, axis=1) / limit) ** 2) ** 2
        # along the normal alone: the skin may slide
        aim[front] += (apart * facing).sum(1)[:, None] * facing
        solved = splu((diags(weight + 1e-4) + 30 * stiffness * smooth + held).tocsc())
        skin = start + solved.solve(weight[:, None] * aim + pull)
    place, _, cosine = target.nearest(there, skin[front], model.normals(skin)[front])
    apart = np.linalg.norm(place - skin[front], axis=1)
    hit = (apart < 0.003) & (np.abs(cosine) > 0.5)
    return Fit(pose, skin, float(np.median(apart)), float(np.average(hit, weights=model.trust[front])))
