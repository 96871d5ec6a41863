"""Lip gap of a face as a function of ARKit weights, and mixing of speech and expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from meshtalk.mesh.head import Person, load_head
from meshtalk.synth.coarticulation import smoothstep, soft_limit

PUCKER_LIMIT = 0.85
"""Beyond this the lips of the head cross."""


@dataclass(frozen=True)
class Lips:
    """Linear model of one face's lip gap: P landmark pairs of inner lips, millimetres."""

    rest_mm: np.ndarray
    """(P,) gap of the neutral face."""
    per_weight_mm: np.ndarray
    """(S,P) change of the gap per unit of each shape's weight."""

    def gaps_mm(self, weights: np.ndarray) -> np.ndarray:
        """(T,P) gap at each pair for (T,S) weights, negative where the lips cross."""
        return self.rest_mm + weights @ self.per_weight_mm

    def opening_mm(self, weights: np.ndarray) -> np.ndarray:
        """(T,) mean gap over the pairs."""
        return self.gaps_mm(weights).mean(1)


@cache
def shape_names() -> tuple[str, ...]:
    """Names of the head's blendshapes, the order of all weights in the corpus."""
    return load_head().topology.shape_names


@cache
def default_lips() -> Lips:
    """The lips of the head's default person."""
    head = load_head()
    return _lips(head.neutral, np.ones(len(shape_names()), np.float32))


@cache
def lid_shares() -> Mapping[str, float]:
    """Shape → what part of a full blink it closes, for the shapes that lower a lid, on the default face."""
    head = load_head()
    assert head.topology.shapes is not None
    shares: dict[str, float] = {}
    for eye in ("Left", "Right"):
        seam = head.seams[f"lids_{eye.lower()}"]
        closed = {
            name: -float(seam.opening_m(shape).mean())
            for name, shape in zip(shape_names(), head.topology.shapes, strict=True)
            if name.endswith(eye)
        }
        blink = closed.pop(f"eyeBlink{eye}")
        shares |= {name: by / blink for name, by in closed.items() if by > 0.02 * blink}
    return shares


@dataclass(frozen=True)
class Mouth:
    """What the default face's shapes do at weight 1, millimetres; each maps a shape's name."""

    opening_mm: Mapping[str, float]
    """Gap between the lips."""
    width_mm: Mapping[str, float]
    """Distance of the corners."""
    chin_mm: Mapping[str, float]
    """Distance of chin and tip of the nose."""


@cache
def default_mouth() -> Mouth:
    """The mouth of the head's default person."""
    topology = load_head().topology
    assert topology.shapes is not None
    at = topology.landmarks
    right, left = at["lip_corners"]
    per_weight = {
        "opening_mm": default_lips().per_weight_mm.mean(1),
        "width_mm": (topology.shapes[:, left, 0] - topology.shapes[:, right, 0]) * 1e3,
        "chin_mm": (topology.shapes[:, at["nose_tip"][0], 1] - topology.shapes[:, at["chin"][0], 1]) * 1e3,
    }
    return Mouth(
        **{key: dict(zip(shape_names(), map(float, values), strict=True)) for key, values in per_weight.items()}
    )


def person_lips(person: Person) -> Lips:
    """The lips of `person`; weights go in before the person's gains."""
    return _lips(person.template, person.gains)


def _lips(template: np.ndarray, gains: np.ndarray) -> Lips:
    topology = load_head().topology
    assert topology.shapes is not None
    upper, lower = topology.landmarks["lip_inner_upper"], topology.landmarks["lip_inner_lower"]
    moved = (topology.shapes[:, upper, 1] - topology.shapes[:, lower, 1]) * gains[:, None]
    rest = template[upper, 1] - template[lower, 1]
    return Lips(rest_mm=rest.astype(np.float64) * 1e3, per_weight_mm=moved.astype(np.float64) * 1e3)


def compose(mouth: np.ndarray, upper: np.ndarray, person: Person | None = None) -> np.ndarray:
    """Speech and expression on one face: summed, kept in range, and still closed where speech closes.

    An expression may widen or bend the mouth but not open lips that speech closes: what it (or the
    person's own proportions) adds to the gap there mouthClose takes back, what it takes away the jaw gives.

    Args:
        mouth: (T,S) weights from `articulate`.
        upper: (T,S) weights from `upper_face`.
        person: whose lips have to meet; the default face if None.

    Returns:
        (T,S) float32 weights in [0,1], before the person's gains.
    """
    at = {name: k for k, name in enumerate(shape_names())}
    lips = default_lips() if person is None else person_lips(person)
    total = (mouth + upper).astype(np.float64)
    # lips cannot spread and protrude at once: rounding wins, it carries the vowel
    spread = 1 - 0.65 * smoothstep(mouth[:, at["mouthPucker"]] / 0.7)
    for name in ("mouthSmile", "mouthDimple", "mouthStretch"):
        for side in ("Left", "Right"):
            total[:, at[name + side]] *= spread
    for name, k in at.items():
        if name.startswith(("mouth", "jaw", "cheek", "nose")) and name != "mouthClose":
            total[:, k] = soft_limit(total[:, k], PUCKER_LIMIT if name == "mouthPucker" else 1.0)
    wanted_mm = default_lips().opening_mm(mouth)
    together = 1 - smoothstep((wanted_mm - 0.8) / 2.2)
    excess_mm = together * (lips.opening_mm(total) - wanted_mm)
    close = total[:, at["mouthClose"]] + excess_mm / -lips.per_weight_mm[at["mouthClose"]].mean()
    crossing_mm = np.maximum(-close, 0) * -lips.per_weight_mm[at["mouthClose"]].mean()
    total[:, at["mouthClose"]] = np.maximum(close, 0)
    total[:, at["jawOpen"]] += crossing_mm / lips.per_weight_mm[at["jawOpen"]].mean()
    return np.clip(total, 0, 1).astype(np.float32)
