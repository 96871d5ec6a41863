"""Names of ARKit's 52 blendshapes, in all usual spellings, and mapping of rigs that split or join them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from meshtalk.errors import InputError

NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawRight", "jawLeft", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""In the order of Live Link Face's columns. Left is the face's own left."""
FEWEST_SHAPES = 5
"""A rig with fewer of them is none of ARKit's."""
BELOW, ABOVE = "_below0", "_above1"
"""Ends of the names of targets that carry what goes below 0 and above 1 of a shape, in files whose weights stay in [0,1]."""
_SIDES = {"l": "left", "r": "right"}


def spelled(name: str) -> str:
    """A shape's name as all spellings of it have it: EyeBlinkLeft, eyeBlink_L and eye_blink_left are one."""
    name = re.sub(r"_(l|r)$", lambda side: _SIDES[side[1].lower()], name.strip(), flags=re.I)
    return re.sub(r"[^a-z]", "", name.lower())


def clip_name(shape: str) -> str:
    """As Live Link Face and the "Perfect Sync" clips of VRM models write it: jawOpen → JawOpen."""
    return shape[:1].upper() + shape[1:]


def known(names: Sequence[str]) -> int:
    """Number of ARKit's shapes that these names cover."""
    return int(np.count_nonzero(_mixing(names).any(0)))


def as_arkit(names: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Weights of a rig's shapes in the order of NAMES, 0 for those it does not have.

    Where a rig has one of ARKit's in two halves (browInnerUp_L and _R), their mean; where it has two of ARKit's in one
    (mouthSmile), that one for both. Other shapes (pupils, correctives) are left out.

    Args:
        weights: (T,S).

    Returns:
        (T,52) float32.

    Raises:
        InputError: the rig has too few of ARKit's shapes.
    """
    if known(names) < FEWEST_SHAPES:
        raise InputError(
            f"the rig must have at least {FEWEST_SHAPES} of ARKit's shapes, got {known(names)} among "
            f"{', '.join(names)[:100] or 'none'}. Give --rig RIG with ARKit's names."
        )
    return (weights @ _mixing(names)).astype(np.float32)


def _mixing(names: Sequence[str]) -> np.ndarray:
    """(S,52): how much of each shape goes into each of NAMES."""
    row = {spelled(name): k for k, name in reversed(list(enumerate(names)))}
    mixing = np.zeros((len(names), len(NAMES)))
    for column, name in enumerate(NAMES):
        whole = spelled(name)
        halves = [row[whole + side] for side in _SIDES.values() if whole + side in row]
        sideless = re.sub("(left|right)$", "", whole)
        if whole in row:
            mixing[row[whole], column] = 1
        elif len(halves) == 2:
            mixing[halves, column] = 0.5
        # jawLeft and jawRight are moves of their own, not sides of one
        elif sideless not in ("jaw", "mouth") and sideless in row:
            mixing[row[sideless], column] = 1
    return mixing
