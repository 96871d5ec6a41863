"""Regions (smooth weights) and landmarks of the head, from the blendshapes' own motion and the mesh's own loops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

VERMILION_RINGS = 5
"""Edge loops from the lips' contact line to the border of the red."""
MOUTH_PREFIXES = ("mouth", "jaw", "tongue", "cheekPuff")


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def strength_mm(shapes: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    """(V,) root sum of squares of the named shapes' displacement lengths at weight 1, millimetres."""
    return np.sqrt(sum((shapes[n] ** 2).sum(1) for n in names)) * 1e3


def smooth(weights: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """(V,) averaged over neighbours, `rounds` times; does not cross from one part to another."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(edges[:, 0], minlength=len(weights))
    for _ in range(rounds):
        around = np.bincount(edges[:, 0], weights[edges[:, 1]], minlength=len(weights)) / np.maximum(count, 1)
        weights = 0.5 * weights + 0.5 * around
    return weights


def regions(
    vertices: np.ndarray,
    faces: np.ndarray,
    shapes: Mapping[str, np.ndarray],
    part: np.ndarray,
    landmarks: Mapping[str, np.ndarray],
    lip_ring: np.ndarray,
) -> dict[str, np.ndarray]:
    """The four regions every talking topology names.

    Args:
        vertices: (V,3) metres, the default person.
        part: (V,) part name of each vertex.
        lip_ring: (V,) number of mesh edges from the lips' contact line.
    """
    y = vertices[:, 1]
    lip_y = float(y[landmarks["lip_inner_upper"]].mean())
    eye_y = float(y[part == "eye_left"].mean())
    rise = (y - lip_y) / (eye_y - lip_y)  # 0 at the lips, 1 at the eyes
    mouth_names = [n for n in shapes if n.startswith(MOUTH_PREFIXES)]
    upper_names = [n for n in shapes if not n.startswith(MOUTH_PREFIXES)]
    mouth = smoothstep(strength_mm(shapes, mouth_names), 1.0, 6.0) * (1 - smoothstep(rise, 0.55, 0.95))
    upper = smoothstep(strength_mm(shapes, upper_names), 0.3, 2.5) * smoothstep(rise, 0.30, 0.70)
    mouth, upper = smooth(mouth, faces, 5), smooth(upper, faces, 5)
    for name in ("tongue", "lower_teeth", "upper_teeth", "inner_mouth"):
        mouth[part == name], upper[part == name] = 1.0, 0.0
    for name in ("eye_left", "eye_right"):
        mouth[part == name], upper[part == name] = 0.0, 1.0
    blink = strength_mm(shapes, ["eyeBlinkLeft", "eyeBlinkRight"])
    lids = smooth(smoothstep(blink, 1.0, 4.0) * ((part == "skin") | (part == "eye_socket")), faces, 1)
    return {
        "mouth": mouth,
        "upper_face": upper,
        "eyelids": lids,
        "lips": 1 - smoothstep(lip_ring, VERMILION_RINGS - 0.5, VERMILION_RINGS + 2.5),
    }
