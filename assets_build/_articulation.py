"""Shapes of speech that MakeHuman's units lack: a lip under the teeth, a tongue over them, lips that move without the chin.

All are drawn on the default person, in metres of MakeHuman's frame (+Y up, +Z out of the face), symmetric in x. Where the
lips end up apart or together is not decided here but by `_seams.correct_shapes`, which comes after.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from _regions import smoothstep

ROLL_TURN_RAD = np.radians(50.0)
"""How far mouthRollLower turns the lip in, about an axis inside it."""
ROLL_AXIS_M = (-0.0120, -0.0045)
"""That axis: y and z from the contact line."""
ROLL_SHIFT_M, ROLL_SIDE_SHIFT_M, ROLL_SIDE_X_M = (0.0066, 0.0), (-0.0036, 0.0016), 0.004
"""What the whole lip moves besides, y and z, so that its rim comes to lie under the edge of the upper incisors: in the
middle; added beside it, where the contact line runs higher than the teeth do; and where half of that is reached."""
ROLL_X_M = (0.008, 0.021)
"""|x| up to which the lip rolls in fully, and beyond which it does not."""
ROLL_Y_M, RED_ROLL_Y_M = (-0.019, -0.009), (-0.0125, -0.0005)
"""Height below the contact line at which the roll begins, and above which it is full: of the lip's inner side, and of its
red, whose rim stays where it is seen."""
LIP_TO_FOLD_M = (-0.0250, -0.0095)
"""Below the contact line: where mouthLowerDown and mouthRollUpper end, below the mentolabial fold, and above which they
are full."""
LOWER_DOWN_GAIN = 1.30
"""MakeHuman's parts the lips too little to bare the lower teeth."""
LIP_TO_NOSE_M = (0.010, 0.018)
"""Above the contact line: where mouthRollUpper begins to fade, and ends (the foot of the nose)."""
TONGUE_OUT_M = 0.0262
"""The tip's way straight forward."""
TONGUE_RISE_M = (0.0008, 0.0040)
"""What the tip's underside and its back rise meanwhile."""
TIP_DROOP_M = 0.0011
"""How far the underside of the very tip comes down, past the teeth, towards the lower lip."""
TONGUE_NARROWS = 0.32
"""Share of its width that it loses, to pass between the corners of the mouth."""


def articulate(
    shapes: dict[str, np.ndarray], vertices: np.ndarray, part: np.ndarray, landmarks: Mapping[str, np.ndarray]
) -> None:
    """Redraw the shapes; changes `shapes` ((V,3) metres each).

    Args:
        vertices: (V,3) metres, the default person.
        part: (V,) part name of each vertex.
        landmarks: the head's, which place the contact line of the lips.
    """
    lower = vertices[landmarks["lip_inner_lower"]]
    contact_y = float(lower[2, 1])
    height = vertices[:, 1] - contact_y
    soft = (part == "skin") | (part == "inner_mouth")
    # the lower lip is what goes down with the jaw, of which the upper lip and the cheeks have no part
    drop = shapes["jawOpen"][:, 1] / float(shapes["jawOpen"][landmarks["lip_inner_lower"], 1].mean())
    below = soft * smoothstep(drop, 0.2, 0.7)
    shapes["mouthRollLower"] = roll_lower(vertices, lower, below, part == "skin")
    above_chin = smoothstep(height, *LIP_TO_FOLD_M)[:, None]
    for side in ("Left", "Right"):
        shapes[f"mouthLowerDown{side}"] = LOWER_DOWN_GAIN * above_chin * shapes[f"mouthLowerDown{side}"]
    below_nose = 1 - smoothstep(height, *LIP_TO_NOSE_M)[:, None]
    shapes["mouthRollUpper"] = above_chin * below_nose * shapes["mouthRollUpper"]
    shapes["tongueOut"] = tongue_out(vertices, part == "tongue")


def roll_lower(vertices: np.ndarray, lower: np.ndarray, below: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(V,3) the lower lip turned in about an axis that follows its arch, and carried back.

    Args:
        lower: (5,3) the contact line's landmarks.
        below: (V,) 1 on the lower lip and below, 0 above.
        outside: (V,) bool, the skin and the lips' red.
    """
    x = np.abs(vertices[:, 0])
    # the arch of the lips, and so of the axis, as a parabola through the landmarks
    arch = np.polyfit(lower[:, 0] ** 2, lower[:, 2], 1)
    axis_y, axis_z = float(lower[2, 1]) + ROLL_AXIS_M[0], np.polyval(arch, x**2) + ROLL_AXIS_M[1]
    y, z = vertices[:, 1] - axis_y, vertices[:, 2] - axis_z
    cos, sin = np.cos(ROLL_TURN_RAD), np.sin(ROLL_TURN_RAD)
    height = vertices[:, 1] - lower[2, 1]
    share = np.where(outside, smoothstep(height, *RED_ROLL_Y_M), smoothstep(height, *ROLL_Y_M))
    share = share * below * (1 - smoothstep(x, *ROLL_X_M))
    shift = np.array(ROLL_SHIFT_M) + np.outer(x**2 / (x**2 + ROLL_SIDE_X_M**2), ROLL_SIDE_SHIFT_M)
    moves = np.zeros_like(vertices)
    moves[:, 1] = share * (cos * y + sin * z - y + shift[:, 0])
    moves[:, 2] = share * (cos * z - sin * y - z + shift[:, 1])
    return moves


def tongue_out(vertices: np.ndarray, tongue: np.ndarray) -> np.ndarray:
    """(V,3) the tongue straight forward over the lower teeth; its root stays.

    Args:
        tongue: (V,) bool.
    """
    spots = vertices[tongue]
    low, high = spots.min(0), spots.max(0)
    along = smoothstep((spots[:, 2] - low[2]) / (high[2] - low[2]), -0.1, 0.95)
    tip = spots[spots[:, 2] > high[2] - 0.006]
    over = np.clip((spots[:, 1] - tip[:, 1].min()) / np.ptp(tip[:, 1]), 0, 1)
    moves = np.zeros_like(vertices)
    moves[tongue, 0] = -along * TONGUE_NARROWS * spots[:, 0]
    rise = TONGUE_RISE_M[0] + over * (TONGUE_RISE_M[1] - TONGUE_RISE_M[0])
    moves[tongue, 1] = along**5 * rise - along**16 * (1 - over) * TIP_DROOP_M
    moves[tongue, 2] = along * TONGUE_OUT_M
    return moves
