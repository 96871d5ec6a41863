"""Which units and axes a mesh is in, guessed from the size of a head, and from where its mouth is or what of it moves."""

from __future__ import annotations

import itertools

import numpy as np

from meshtalk.convert.space import UNITS_M
from meshtalk.template import HEIGHT_M
from meshtalk.topology import Topology

CLEAR = 0.03
"""Share of the mesh's longest side by which the mouth is clearly on one side of the head's middle."""
OPEN = 0.3
"""Length of the mean normal from which a surface looks to one side."""
UPRIGHT = 0.5
"""Cosine of the angle up to which a face is upright."""
SIDEWAYS = 1.5
"""Speech moves a mouth up and down; so many times more sideways is another axis."""
LYING = "it may lie on its side"
NEAR_M, FAR_M = 2e-4, 0.06
"""The vertex that is furthest from the neutral face is between these distances from it in speech."""


def unit_of(size: float, low_m: float, high_m: float) -> str | None:
    """Name of the unit in which `size` is between two lengths, the first of UNITS_M; None if there is none."""
    return next((name for name, metres in UNITS_M.items() if low_m <= size * metres <= high_m), None)


def wrong_size(neutral: np.ndarray) -> str:
    """What is wrong with the size of a neutral face (V,3), a guess added; empty if it is that of a head in metres."""
    sides = np.ptp(neutral, axis=0)
    if HEIGHT_M[0] <= sides[1] <= HEIGHT_M[1]:
        return ""
    unit = unit_of(float(sides.max()), *HEIGHT_M)
    guess = {None: "", "m": f"; {LYING}"}.get(unit, f"; it looks like {unit}")
    return f"is {sides[1]:.4g} tall, where a head is {HEIGHT_M[0]:.2f}-{HEIGHT_M[1]:.2f} m{guess}"


def wrong_axes(neutral: np.ndarray, topology: Topology, moving: np.ndarray) -> str:
    """What is wrong with the axes of a neutral face (V,3), with the ones it may have; empty if nothing is.

    With regions, the mouth has to be below the upper face and look out of the face; without them what moves stands for the
    mouth. Where the mouth is not clearly on one side of the head's middle, because the mesh is a mask, the side to which
    its triangles look stands for the front.

    Args:
        moving: (3,) where the face moves, from the middle of its vertices; NaN if nothing does.
    """
    named = {"mouth", "upper_face"} <= set(topology.regions)
    if named and all(np.any(topology.regions[name] > 0) for name in ("mouth", "upper_face")):
        weights, what = topology.region("mouth"), "the mouth"
        mouth, upper = (np.average(neutral, axis=0, weights=topology.region(name)) for name in ("mouth", "upper_face"))
        up, front = upper - mouth, mouth - neutral.mean(0)
    elif np.isfinite(moving).all():
        weights, what = np.ones(len(neutral)), "what moves"
        up, front = -moving, moving
    else:
        return ""
    size = float(np.ptp(neutral, axis=0).max())
    looks = facing(neutral, topology.faces, weights)
    ahead = _across(front, up) if what == "the mouth" else front
    if np.linalg.norm(looks) > OPEN and (what == "what moves" or np.linalg.norm(ahead) < CLEAR * size):
        front = looks
        up = up if what == "the mouth" else _across(up, looks)
    elif what == "what moves":
        # a closed head says only that its mouth is low and in front: which is which, its longer side tells
        if front[1] < 0 and front[2] > -CLEAR * size and abs(front[0]) < CLEAR * size:
            return ""
        sides = np.ptp(neutral, axis=0)
        sides[np.argmin(np.abs(moving))] = 0.0
        up = -np.sign(moving) * (np.arange(3) == np.argmax(sides))
    front = _across(front, up)
    up, front = (vector / (np.linalg.norm(vector) + 1e-12) for vector in (up, front))
    if up[1] > UPRIGHT and front[2] > UPRIGHT:
        return ""
    return f"has {what} where it should not be; its left, up and out of the face may be {guess_axes(up, front)}"


def facing(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3,) mean normal of triangles, weighted with area and (V,) weights; its length is 1 for a plane, 0 for a closed surface."""
    if not len(faces):
        return np.zeros(3)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * weights[faces].mean(1)[:, None]
    area = float(np.linalg.norm(normals, axis=1).sum())
    return normals.sum(0) / area if area > 0 else np.zeros(3)


def _across(vector: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The part of a vector at right angles to another."""
    return vector - other * (vector @ other) / (other @ other + 1e-18)


def guess_axes(up: np.ndarray, front: np.ndarray) -> str:
    """The axes, as `--axes` of `meshtalk corpus convert` takes them, that turn a face upright.

    Args:
        up, front: (3,) unit vectors, in the face's own axes.
    """
    best, found = -np.inf, ""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
            score = (turn @ up)[1] + (turn @ front)[2]
            if np.linalg.det(turn) > 0 and score > best:
                best = score
                words = zip(order, signs, strict=True)
                found = ",".join(("-" if sign < 0 else "") + "xyz"[axis] for axis, sign in words)
    return found


def wrong_motion(far_m: float, neutral: np.ndarray) -> str:
    """What is wrong with the size of a motion, with a guess; empty if it is that of a speaking face in metres.

    Args:
        far_m: distance of the furthest vertex from the neutral face, in the median frame.
    """
    if far_m <= 0.1 or not HEIGHT_M[0] <= np.ptp(neutral[:, 1]) <= HEIGHT_M[1]:
        return ""
    unit = unit_of(far_m, NEAR_M, FAR_M)
    guess = f"; the motion looks like {unit}" if unit else "; another order of vertices, or a head that walks"
    return f"vertices lie {far_m:.3g} m from the neutral face{guess}"
