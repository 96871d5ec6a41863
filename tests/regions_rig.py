"""The packaged head as somebody else's: turned, in another unit and order, coarser, and moved by curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rig

from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.surface import Surface
from meshtalk.mesh.topology import REGIONS, Topology
from meshtalk.regions.face import Face

HEAD = load_head()
TURN = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
TURN *= np.linalg.det(TURN)
"""Any turn in space."""


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of vertices above one half in either, the share that is so in both."""
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def decimated(vertices: np.ndarray, faces: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """((V,) number of the vertex that each one becomes, (F,3) triangles that are left): edges collapse to their middles.

    Only along the surface: lips that touch stay two.
    """
    half = Surface(vertices, faces).edges
    edges = np.concatenate([half, half[:, ::-1]])
    into = np.arange(len(vertices))
    taken = np.zeros(len(vertices), bool)
    for a, b in edges[np.random.default_rng(seed).permutation(len(edges))]:
        if not taken[a] and not taken[b]:
            taken[[a, b]] = True
            into[b] = a
    into = np.unique(into, return_inverse=True)[1]
    left = into[faces]
    return into, left[(left[:, 0] != left[:, 1]) & (left[:, 1] != left[:, 2]) & (left[:, 2] != left[:, 0])]


@dataclass(frozen=True, eq=False)
class Foreign:
    """What a mesh of other vertices has to do with the head's."""

    faces: np.ndarray
    into: np.ndarray
    """(6322,) its vertex for each of the head's."""

    def of_head(self, values: np.ndarray) -> np.ndarray:
        """(V,…) means of the head's vertices that became one."""
        count = np.bincount(self.into)
        total = np.zeros((len(count), *values.shape[1:]))
        np.add.at(total, self.into, values)
        return total / count.reshape(-1, *([1] * (values.ndim - 1)))

    def agreement(self, topology: Topology) -> dict[str, float]:
        """Region → `iou` with the head's own."""
        return {name: iou(topology.regions[name], self.of_head(HEAD.topology.regions[name])) for name in REGIONS}


def foreign(times: int = 0, seed: int = 0) -> Foreign:
    """In another order of vertices and triangles, `times` with two thirds of the vertices."""
    rng = np.random.default_rng(seed)
    into = rng.permutation(HEAD.topology.n_vertices)
    faces = rng.permutation(into[HEAD.topology.faces])
    for _ in range(times):
        merged, faces = decimated(np.zeros((into.max() + 1, 3)), faces)
        into = merged[into]
    return Foreign(faces.astype(np.int32), into)


def turned_person(mesh: Foreign, person: str) -> tuple[Face, dict[str, np.ndarray]]:
    """(One of the head's people as that mesh, in centimetres and turned anyhow; its landmarks)."""
    whole = 100 * HEAD.person(person).template.astype(np.float64) @ TURN.T + [3.0, -70, 12]
    vertices = mesh.of_head(whole)
    points = {name: whole[vertex] for name, vertex in head_landmarks().items()}
    return Face(Topology(mesh.faces, len(vertices)), vertices), points


def performance(seed: int, seconds: float, *, mouth: float = 1.0, blinks: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """((T,6322,3) metres of displacement at 30 frames a second, its sound): speech, smiles, brows, gaze and blinks."""
    audio, envelope, _ = rig.speech(seed, seconds)
    frames, rng = round(seconds * 30), np.random.default_rng(seed)
    at = np.minimum(np.arange(frames) * rig.RATE // 30, len(envelope) - 1)
    knots = np.arange(0, frames + 20, 20)
    slow = [np.interp(np.arange(frames), knots, rng.uniform(0, 1, len(knots))) for _ in range(6)]
    closed = np.zeros(frames)
    for k in range(int(rng.integers(15, 25)), frames - 12, 40):
        closed[k : k + 7] = [0.3, 0.8, 1, 1, 0.7, 0.4, 0.1]
    curves = {"jawOpen": mouth * 0.4 * envelope[at], "mouthFunnel": 0.3 * mouth * slow[0], "browInnerUp": slow[1]}
    for side in ("Left", "Right"):
        curves |= {
            f"eyeBlink{side}": blinks * closed,
            f"mouthSmile{side}": mouth * 0.6 * slow[2],
            f"browDown{side}": slow[3],
        }
        curves |= {f"eyeLookDown{side}": np.round(slow[4]) * 0.6, f"eyeSquint{side}": 0.3 * slow[5]}
    names = HEAD.topology.shape_names
    weights = np.stack([curves.get(name, np.zeros(frames)) for name in names], 1).astype(np.float32)
    moved = np.tensordot(weights * HEAD.person("p00").gains, HEAD.topology.shapes, 1)
    return moved.astype(np.float32), audio
