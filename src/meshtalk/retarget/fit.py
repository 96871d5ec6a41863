"""The packaged head laid over a mesh: a similarity and the shape of a person first, then a smooth bend of its skin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import diags
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from meshtalk.corpus.head import load_head
from meshtalk.landmarks import head_landmarks
from meshtalk.retarget.detect import Pose
from meshtalk.retarget.model import Model, load_model
from meshtalk.retarget.surface import Surface, laplacian

SAMPLES = 200_000
"""Of the mesh's surface, near the face."""
REACH_M = 0.16
"""What is further from the middle of the face is no part of it."""
FIRM, SOFT = 3.0, 0.15
"""Weight of smoothness in the first and the last step of the bend, one vertex's pull being 1."""


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
    """Samples of a mesh near its face, to look for the nearest of them. Space of the mesh's own."""

    def __init__(self, mesh: Surface, pose: Pose) -> None:
        corners = mesh.vertices[mesh.faces]
        near = np.linalg.norm(pose.apply(corners.mean(1)) - [0, 0, 0.05], axis=1) < REACH_M
        self.points, self.normals = Surface(mesh.vertices, mesh.faces[near]).samples(SAMPLES)
        self.tree = cKDTree(self.points) if len(self.points) else None

    def nearest(self, pose: Pose, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For (n,3) points in the head's space: the nearest samples there, their normals, and the cosine with `normals`."""
        assert self.tree is not None
        index = self.tree.query((points - pose.shift) @ pose.rotation / pose.metres)[1]
        turned = self.normals[index] @ pose.rotation.T
        return pose.apply(self.points[index]), turned, (turned * normals).sum(1)


def similarity(here: np.ndarray, there: np.ndarray) -> Pose:
    """The similarity that brings (n,3) points nearest to (n,3) others (Umeyama, 1991)."""
    a, b = here - here.mean(0), there - there.mean(0)
    u, size, v = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    rotation = u @ sign @ v
    metres = float((size * np.diag(sign)).sum() / max((a**2).sum(), 1e-30))
    return Pose(rotation, metres, there.mean(0) - metres * rotation @ here.mean(0))


def pose_of(landmarks: Mapping[str, np.ndarray]) -> Pose:
    """The pose in which a mesh's landmarks lie nearest to the packaged head's."""
    neutral, vertex = load_head().neutral.astype(np.float64), head_landmarks()
    return similarity(np.stack(list(landmarks.values())), np.stack([neutral[vertex[name]] for name in landmarks]))


def lay(mesh: Surface, pose: Pose, landmarks: Mapping[str, np.ndarray] | None = None) -> Fit:
    """Lay the head over a mesh.

    Args:
        mesh: of any size and turn.
        pose: roughly where its face is, within 15 degrees and a tenth of its size.
        landmarks: name → (3,) places in the mesh's space that hold, whatever the surface says.
    """
    model = load_model()
    number = {vertex: k for k, vertex in enumerate(model.rows)}
    vertex = head_landmarks()
    marks = {number[vertex[name]]: place for name, place in (landmarks or {}).items()}
    target = Target(mesh, pose)
    if target.tree is None:
        return Fit(pose, model.surface.vertices, np.inf, 0.0)
    pose, skin = _person(model, target, pose, marks)
    return bend(model, target, pose, skin, {k: pose.apply(place) for k, place in marks.items()})


def _person(model: Model, target: Target, pose: Pose, marks: Mapping[int, np.ndarray]) -> tuple[Pose, np.ndarray]:
    """(Pose, (n,3) skin) of the likeliest person: Gauss-Newton on distances along the normals of the nearest samples."""
    rows = np.flatnonzero(model.trust > 0)
    rows = rows[:: max(1, len(rows) // 900)]
    kinds = np.zeros(len(model.kinds))
    for step in range(30):
        wide = 0.025 * 0.88**step + 0.003
        skin = model.surface.vertices + np.tensordot(kinds, model.kinds, 1)
        ours, normals = skin[rows], Surface(skin, model.surface.faces).normals[rows]
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
        if angle > 1e-12:
            k = np.eye(3) + np.sin(angle) / angle * k + (1 - np.cos(angle)) / angle**2 * k @ k
        else:
            k = np.eye(3)
        grow = float(np.clip(1 + growth, 0.9, 1.1))
        pose = replace(
            pose, rotation=k @ pose.rotation, metres=grow * pose.metres, shift=grow * k @ pose.shift + shift
        )
    return pose, model.surface.vertices + np.tensordot(kinds, model.kinds, 1)


def bend(
    model: Model, target: Target, pose: Pose, skin: np.ndarray, marks: Mapping[int, np.ndarray], steps: int = 14
) -> Fit:
    """Bend (n,3) skin onto the mesh, smoothly.

    Args:
        marks: row → (3,) place in the head's space that it goes to.
        steps: from FIRM to SOFT.
    """
    smooth = laplacian(len(skin), model.surface.edges)
    smooth = (smooth.T @ smooth).tocsc()
    start = skin
    held, places = np.array(list(marks), int), np.array(list(marks.values())).reshape(-1, 3)
    for stiffness in np.geomspace(FIRM, SOFT, steps):
        normals = Surface(skin, model.surface.faces).normals
        place, facing, cosine = target.nearest(pose, skin, normals)
        apart = ((place - skin) * facing).sum(1)
        limit = 0.004 + 0.002 * stiffness
        weight = model.trust * (np.abs(cosine) > 0.6) / (1 + (np.linalg.norm(place - skin, axis=1) / limit) ** 2) ** 2
        # along the normal alone: the skin may slide
        aim = skin + apart[:, None] * facing - start
        weight[held], aim[held] = 20.0, places - start[held]
        solved = splu((diags(weight + 1e-4) + 30 * stiffness * smooth).tocsc())
        skin = start + solved.solve(weight[:, None] * aim)
    normals = Surface(skin, model.surface.faces).normals
    place, _, cosine = target.nearest(pose, skin, normals)
    front = model.trust > 0
    apart = np.linalg.norm(place - skin, axis=1)[front]
    hit = (apart < 0.003) & (np.abs(cosine[front]) > 0.5)
    return Fit(pose, skin, float(np.median(apart)), float(np.average(hit, weights=model.trust[front])))
