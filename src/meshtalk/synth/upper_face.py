"""Synthetic upper face, independent of the audio: blinks, gaze, brows, and slow emotional states.

Nothing here sees the audio; a model that wants the upper face has to take it from the expression signal.
All curves are functions of continuous time with a continuous slope, read off at the frames' times.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from meshtalk.errors import InputError
from meshtalk.synth.coarticulation import smoothstep, soft_limit

EMOTIONS: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "happy": {
        "mouthSmile": 0.55, "mouthDimple": 0.12, "cheekSquint": 0.55, "eyeSquint": 0.25, "browInnerUp": 0.10,
        "browOuterUp": 0.12,
    },
    "sad": {
        "mouthFrown": 0.50, "mouthShrugLower": 0.15, "browInnerUp": 0.75, "browDown": 0.15, "eyeSquint": 0.12,
        "droop": 0.14, "gazeDown": 0.18,
    },
    "angry": {
        "mouthFrown": 0.25, "mouthPress": 0.18, "jawForward": 0.12, "browDown": 0.90, "noseSneer": 0.35,
        "eyeSquint": 0.35, "eyeWide": 0.12,
    },
    "surprised": {
        "browInnerUp": 0.85, "browOuterUp": 0.85, "eyeWide": 0.65, "mouthUpperUp": 0.10, "mouthFunnel": 0.06,
    },
    "disgusted": {
        "noseSneer": 0.75, "mouthUpperUp": 0.26, "mouthFrown": 0.28, "browDown": 0.45, "cheekSquint": 0.35,
        "eyeSquint": 0.35,
    },
    "afraid": {
        "browInnerUp": 0.90, "browOuterUp": 0.35, "browDown": 0.25, "eyeWide": 0.65, "mouthStretch": 0.32,
        "mouthFrown": 0.10,
    },
}  # fmt: skip
"""ARKit weights of each state at full strength; left and right together where the name has no side."""

STRENGTHS = (0.4, 0.7, 1.0)
BLINKS_PER_MINUTE = 17.0


class _Sheet:
    """Named curves at the frames' times, summed up by event."""

    def __init__(self, t_s: np.ndarray, end_s: float) -> None:
        self.t_s = t_s
        self.end_s = end_s
        self.curves: dict[str, np.ndarray] = {}

    def add(self, name: str, curve: np.ndarray) -> None:
        self.curves[name] = self.curves.get(name, 0.0) + curve

    def bump(self, start_s: float, rise_s: float, hold_s: float, fall_s: float) -> np.ndarray:
        """0 → 1 → 0 with flat ends; starts at `start_s`."""
        rising = smoothstep((self.t_s - start_s) / rise_s)
        return rising * (1 - smoothstep((self.t_s - start_s - rise_s - hold_s) / fall_s))


def upper_face(
    n_frames: int, fps: Fraction, emotion: str, rng: np.random.Generator, *, strength: float | None = None
) -> np.ndarray:
    """Blinks, gaze, brows and an emotional state that lasts for the clip.

    Args:
        emotion: one of EMOTIONS.
        rng: the only source of chance; the same one gives the same curves at any frame rate.
        strength: of the emotion, 0..1; None samples one of STRENGTHS.

    Returns:
        (T,S) float32 ARKit weights in the order of the head's shapes.

    Raises:
        InputError: unknown emotion, or a strength outside 0..1.
    """
    from meshtalk.synth.lips import lid_shares, shape_names

    if emotion not in EMOTIONS:
        raise InputError(f"emotion must be one of {', '.join(EMOTIONS)}, got {emotion!r}")
    if strength is not None and not 0 <= strength <= 1:
        raise InputError(f"strength must be 0 to 1, got {strength}")
    t_s = np.arange(n_frames) * fps.denominator / fps.numerator
    sheet = _Sheet(t_s, float(n_frames / fps))
    # one stream for each kind of event, so that one more blink does not move the brows
    moods, blinks, gazes, brows = rng.spawn(4)
    _emote(sheet, moods, emotion, strength)
    _blink(sheet, blinks)
    _gaze(sheet, gazes)
    _brows(sheet, brows)
    return _to_shapes(sheet, shape_names(), lid_shares())


def _emote(sheet: _Sheet, rng: np.random.Generator, emotion: str, strength: float | None) -> None:
    """A state that holds, swells a little, and in some clips begins or ends on the way."""
    drawn = float(rng.choice(STRENGTHS))
    begins, ends = rng.random() < 0.35, rng.random() < 0.25
    start_s = rng.uniform(0.0, 0.35) * sheet.end_s if begins else -2.0
    end_s = rng.uniform(0.65, 0.95) * sheet.end_s if ends else sheet.end_s + 2.0
    state = sheet.bump(start_s, rng.uniform(0.4, 0.9), max(end_s - start_s - 0.9, 0.1), rng.uniform(0.5, 1.2))
    swell = 1 + 0.15 * np.sin(2 * np.pi * (sheet.t_s * rng.uniform(0.1, 0.3) + rng.random()))
    state = state * swell * (drawn if strength is None else strength)
    tilt = rng.normal(0, 0.05)
    for name, weight in EMOTIONS[emotion].items():
        curve = state * weight * rng.uniform(0.8, 1.15)
        if name in ("browInnerUp", "jawForward", "mouthShrugLower", "mouthFunnel", "droop", "gazeDown"):
            sheet.add(name, curve)
        else:
            sheet.add(name + "Left", curve * (1 + tilt))
            sheet.add(name + "Right", curve * (1 - tilt))


def _blink(sheet: _Sheet, rng: np.random.Generator) -> None:
    """Closing 100-150 ms, shut for a moment, opening about 200 ms; now and then two in a row."""
    shortest_s, doubles = 0.9, 0.08
    mean_s = (1 + doubles) * 60 / BLINKS_PER_MINUTE
    start_s = -rng.uniform(0, 2 * mean_s)
    lid = np.zeros(len(sheet.t_s))
    while start_s < sheet.end_s:
        for nth in range(2 if rng.random() < doubles else 1):
            close_s, shut_s, open_s = (
                rng.uniform(0.10, 0.15),
                rng.uniform(0.035, 0.05),
                rng.uniform(0.17, 0.24),
            )
            depth = rng.uniform(0.95, 1.0)
            lid = 1 - (1 - lid) * (1 - depth * sheet.bump(start_s + 0.45 * nth, close_s, shut_s, open_s))
        start_s += shortest_s + rng.exponential(mean_s - shortest_s)
    sheet.add("blink", lid)


def _gaze(sheet: _Sheet, rng: np.random.Generator) -> None:
    """Fixations joined by saccades of 40-70 ms; mostly straight ahead, sometimes away."""
    side, up = np.zeros(len(sheet.t_s)), np.zeros(len(sheet.t_s))
    at = np.zeros(2)
    start_s = -rng.uniform(0.0, 1.0)
    while start_s < sheet.end_s:
        away = rng.random() < 0.25
        goal = np.clip(rng.normal((0.0, -0.03), (0.28, 0.16) if away else (0.07, 0.04)), -0.6, 0.6)
        step = smoothstep((sheet.t_s - start_s) / (0.04 + 0.05 * float(np.hypot(*(goal - at)))))
        side, up, at = side + step * (goal[0] - at[0]), up + step * (goal[1] - at[1]), goal
        start_s += rng.uniform(0.25, 0.9) if away else rng.uniform(0.4, 2.4)
    sheet.add("gazeSide", side)
    sheet.add("gazeUp", up)


def _brows(sheet: _Sheet, rng: np.random.Generator) -> None:
    """Raised, lifted on one side, knitted; squints and widened eyes: short events at their own rates."""
    events = (
        (14.0, 0.20, 0.75, ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
        (2.5, 0.25, 0.70, ("browOuterUpLeft",)),
        (2.5, 0.25, 0.70, ("browOuterUpRight",)),
        (7.0, 0.20, 0.65, ("browDownLeft", "browDownRight")),
        (4.0, 0.20, 0.55, ("eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight")),
        (4.0, 0.20, 0.55, ("eyeWideLeft", "eyeWideRight")),
        (2.0, 0.15, 0.40, ("noseSneerLeft", "noseSneerRight")),
    )
    for (per_minute, low, high, names), stream in zip(events, rng.spawn(len(events)), strict=True):
        start_s = -1.0 + stream.exponential(60 / per_minute)
        while start_s < sheet.end_s:
            rise_s, hold_s, fall_s = (
                stream.uniform(0.14, 0.3),
                stream.uniform(0.05, 0.7),
                stream.uniform(0.22, 0.5),
            )
            curve = stream.uniform(low, high) * sheet.bump(start_s, rise_s, hold_s, fall_s)
            for name in names:
                sheet.add(name, curve * stream.uniform(0.85, 1.0))
            start_s += rise_s + hold_s + fall_s + stream.exponential(60 / per_minute)


def _to_shapes(sheet: _Sheet, names: tuple[str, ...], lids: Mapping[str, float]) -> np.ndarray:
    curves = dict(sheet.curves)
    blink, droop = curves.pop("blink"), curves.pop("droop", 0.0)
    side, up = curves.pop("gazeSide"), curves.pop("gazeUp") - curves.pop("gazeDown", 0.0)
    for eye, outward in (("Left", side), ("Right", -side)):
        curves[f"eyeLookOut{eye}"] = np.maximum(outward, 0.0)
        curves[f"eyeLookIn{eye}"] = np.maximum(-outward, 0.0)
        curves[f"eyeLookUp{eye}"] = np.maximum(up, 0.0)
        curves[f"eyeLookDown{eye}"] = np.maximum(-up, 0.0)
        wide = curves.get(f"eyeWide{eye}", 0.0) + 0.25 * np.maximum(up, 0.0)
        curves[f"eyeWide{eye}"] = wide * (1 - blink)
    weights = np.zeros((len(sheet.t_s), len(names)), np.float32)
    for name, curve in curves.items():
        limited = curve if name.startswith("eyeLook") else soft_limit(np.maximum(curve, 0.0))
        weights[:, names.index(name)] = limited
    for eye in ("Left", "Right"):
        # whatever else lowers the lid (gaze, squint, brow) leaves the blink that much less to close
        lowered = sum(share * weights[:, names.index(name)] for name, share in lids.items() if name.endswith(eye))
        shut = 1 - (1 - blink) * (1 - droop)
        weights[:, names.index(f"eyeBlink{eye}")] = shut * np.clip(1 - lowered, 0, 1)
    return weights
