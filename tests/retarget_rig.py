"""Other people's meshes for the tests of retargeting, all made of the packaged head: another number and order of vertices,
another unit, other axes, another face, pieces missing and pieces that do not belong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from meshtalk.clip import Clip
from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.topology import Topology


@dataclass(frozen=True, eq=False)
class Mesh:
    """A face as somebody's file has it."""

    vertices: np.ndarray
    faces: np.ndarray
    unit_m: float
    landmarks: Mapping[str, np.ndarray]
    pieces: Mapping[str, np.ndarray]
    """What was added → its vertices."""

    @property
    def topology(self) -> Topology:
        return Topology(self.faces.astype(np.int32), len(self.vertices))


def _part(faces: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows that are left, triangles in their numbers) of the triangles whose corners are all chosen."""
    faces = faces[chosen[faces].all(1)]
    rows, numbers = np.unique(faces, return_inverse=True)
    return rows, numbers.reshape(-1, 3)


def _of_parts(*names: str) -> np.ndarray:
    topology = load_head().topology
    assert topology.parts is not None
    return np.isin(topology.parts, [topology.part_names.index(name) for name in names])


def _marks(vertices: np.ndarray) -> dict[str, np.ndarray]:
    return {name: vertices[vertex] for name, vertex in head_landmarks().items()}


def subdivided(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle in four."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, number = np.unique(pairs, axis=0, return_inverse=True)
    ab, bc, ca = (number.reshape(-1) + len(vertices)).reshape(3, -1)
    a, b, c = faces.T
    new = np.concatenate([np.stack(corner, 1) for corner in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return np.concatenate([vertices, vertices[edges].mean(1)]), new


def decimated(vertices: np.ndarray, faces: np.ndarray, count: int, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` vertices are left, by moving ends of short edges onto each other where the surface stays one.

    Args:
        worth: (V,) factor on the length of edges: where it is large, more is left.
    """
    rng = np.random.default_rng(0)
    around: list[set[int]] = [set() for _ in vertices]
    for number, face in enumerate(faces):
        for corner in face:
            around[corner].add(number)
    faces, gone = faces.copy(), np.zeros(len(faces), bool)
    left = len(vertices)
    while left > count:
        alive = faces[~gone]
        edges = np.unique(
            np.sort(np.concatenate([alive[:, [0, 1]], alive[:, [1, 2]], alive[:, [2, 0]]]), axis=1), axis=0
        )
        length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        length *= worth[edges].max(1)
        edges = edges[np.argsort(length * rng.uniform(0.8, 1.2, len(length)))][: len(edges) // 4]
        touched, before = np.zeros(len(vertices), bool), left
        for keep, drop in edges.tolist():
            ring = {int(v) for f in around[keep] for v in faces[f]}, {int(v) for f in around[drop] for v in faces[f]}
            shared = around[keep] & around[drop]
            if (
                left <= count
                or touched[list(ring[0] | ring[1])].any()
                or len(ring[0] & ring[1]) != 4
                or len(shared) != 2
            ):
                continue
            for number in shared:
                gone[number] = True
                for corner in faces[number]:
                    around[corner].discard(number)
            for number in around[drop]:
                faces[number][faces[number] == drop] = keep
            around[keep] |= around[drop]
            touched[list(ring[0] | ring[1])] = True
            left -= 1
        if left == before:
            break
    rows, numbers = np.unique(faces[~gone], return_inverse=True)
    return vertices[rows], numbers.reshape(-1, 3)


def _shuffled(vertices: np.ndarray, faces: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(vertices))
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    return vertices[order], place[faces]


@cache
def coarse() -> Mesh:
    """A head of 1,500 vertices without eyes or teeth, +Z up, in inches, its triangles wound the wrong way."""
    head = load_head()
    face = head.person("p07").template.astype(np.float64)
    rows, faces = _part(head.topology.faces, _of_parts("skin", "inner_mouth", "eye_socket"))
    worth = 1 + 3 * (head.topology.region("lips") + head.topology.region("eyelids"))[rows]
    vertices, faces = _shuffled(*decimated(face[rows], faces, 1500, worth), 1)
    up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return Mesh(
        vertices @ up.T / 0.0254,
        faces[:, ::-1],
        0.0254,
        {name: up @ place / 0.0254 for name, place in _marks(face).items()},
        {},
    )


def mask() -> Mesh:
    """The front of a face alone, cut off before the ears, four times as fine, in centimetres, tilted."""
    head = load_head()
    face = head.person("p19").template.astype(np.float64)
    front = (face[:, 2] > 0.03) & (face[:, 1] > -0.105) & (face[:, 1] < 0.075)
    rows, faces = _part(head.topology.faces, _of_parts("skin", "inner_mouth", "eye_socket") & front)
    vertices, faces = _shuffled(*subdivided(face[rows], faces), 2)
    turn = _turn(0.35, 0.5, 0.2)
    return Mesh(vertices @ turn.T * 100, faces, 0.01, {n: turn @ p * 100 for n, p in _marks(face).items()}, {})


def dressed() -> Mesh:
    """A cartoon of a person with parted lips, eyes, teeth and tongue, a wig, a fringe, glasses and a body, in millimetres."""
    head = load_head()
    person = head.person("p12").template.astype(np.float64)
    person = head.seams["lips"].opened(person, 0.0025 * PARTED)
    face = person * [1.1, 0.95, 1.0]
    pieces, faces, added, start = [face], [head.topology.faces], {}, len(face)
    skin = _of_parts("skin")
    scalp = skin & ((face[:, 1] > 0.08) | (face[:, 2] < -0.02)) & (face[:, 1] > -0.02)
    for name, (points, triangles) in {
        "wig": _shell(face, scalp, 0.012),
        "fringe": _ball([0.03, 0.075, 0.118], [0.03, 0.03, 0.004]),
        "glasses": _ball([0.0, 0.028, 0.125], [0.07, 0.004, 0.004]),
        "body": _ball([0.0, -0.45, -0.02], [0.23, 0.28, 0.12]),
    }.items():
        added[name] = np.arange(start, start + len(points))
        faces.append(triangles + start)
        pieces.append(points)
        start += len(points)
    assert head.topology.parts is not None
    for number, name in enumerate(head.topology.part_names):
        added[name] = np.flatnonzero(head.topology.parts == number)
    return Mesh(
        np.concatenate(pieces) * 1e3, np.concatenate(faces), 1e-3, {n: p * 1e3 for n, p in _marks(face).items()}, added
    )


PARTED = np.sin(np.linspace(0, np.pi, 19))


def _turn(x: float, y: float, z: float) -> np.ndarray:
    turn = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i], step[i, j], step[j, i], step[j, j] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = step @ turn
    return turn


def _ball(centre: list[float], radii: list[float], rings: int = 12) -> tuple[np.ndarray, np.ndarray]:
    turns = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    theta, phi = np.meshgrid(np.linspace(0.1, np.pi - 0.1, rings), turns, indexing="ij")
    points = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1).reshape(-1, 3)
    index = np.arange(len(points)).reshape(theta.shape)
    a, b, c, d = index[:-1], np.roll(index, -1, 1)[:-1], index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return points * radii + centre, faces


def _shell(face: np.ndarray, chosen: np.ndarray, thick_m: float) -> tuple[np.ndarray, np.ndarray]:
    rows, faces = _part(load_head().topology.faces, chosen)
    middle = np.array([0.0, 0.04, 0.0])
    away = face[rows] - middle
    return face[rows] + thick_m * away / np.linalg.norm(away, axis=1, keepdims=True), faces


def speaking(frames: int = 90, person: str = "default") -> Clip:
    """A clip of the packaged head whose jaw, lips, lids and eyes go through all they do in speech; lips shut now and then."""
    head = load_head()
    names = head.topology.shape_names
    t = np.arange(frames) / 30
    weights = np.zeros((frames, len(names)), np.float32)

    def put(name: str, values: np.ndarray) -> None:
        weights[:, names.index(name)] = np.clip(values, 0, 1)

    jaw = np.clip(0.3 + 0.5 * np.sin(2 * np.pi * 2.1 * t), 0, 0.6)
    put("jawOpen", jaw)
    put("mouthFunnel", 0.5 * np.sin(2 * np.pi * 0.9 * t))
    put("mouthPucker", 0.6 * np.sin(2 * np.pi * 0.7 * t + 1))
    for side in ("Left", "Right"):
        put(f"mouthSmile{side}", 0.5 * np.sin(2 * np.pi * 0.4 * t + 2))
        put(f"mouthUpperUp{side}", 0.4 * np.sin(2 * np.pi * 1.3 * t))
        put(f"mouthLowerDown{side}", 0.4 * np.sin(2 * np.pi * 1.7 * t))
        put(f"eyeBlink{side}", 6 * np.sin(2 * np.pi * 0.5 * t) - 4)
        put(f"eyeLookUp{side}", 0.5 * np.sin(2 * np.pi * 0.6 * t + 3))
    put("browInnerUp", 0.6 * np.sin(2 * np.pi * 0.3 * t))
    # shut: whatever opens is taken away
    shut = np.abs(np.sin(2 * np.pi * 1.0 * t)) < 0.25
    for name in (
        "jawOpen",
        "mouthFunnel",
        "mouthUpperUpLeft",
        "mouthUpperUpRight",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
    ):
        weights[shut, names.index(name)] = 0
    weights[0] = 0
    who = head.person(person)
    assert head.topology.shapes is not None
    return Clip(
        topology=head.topology,
        template=who.template,
        fps=Fraction(30),
        audio=np.zeros(round(frames / 30 * 16000), np.float32),
        sample_rate=16000,
        weights=weights * who.gains,
        basis=head.topology.shapes,
        basis_names=names,
    )
