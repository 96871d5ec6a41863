"""Articulation: phone timings to ARKit curves of mouth, jaw and tongue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from meshtalk.audio.files import n_frames as audio_frames
from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth import coarticulation as co
from meshtalk.synth.lips import PUCKER_LIMIT, default_lips, shape_names
from meshtalk.synth.phones import GESTURES, LABIODENTAL, segments

CLOSED_MM = 0.1
"""Lip gap that a closure aims at on the default face: touching, not crushed."""

KEPT = {"jawOpen": 0.55, "mouthPucker": 0.75, "mouthStretchLeft": 0.6, "mouthStretchRight": 0.6}
"""What part of an open shape stays while the lips are closed; the others go to nothing."""

PRESSED = {"mouthPressLeft": 0.25, "mouthPressRight": 0.25, "mouthRollLower": 0.10, "mouthRollUpper": 0.08}
"""The soft press of lips that meet."""


@dataclass(frozen=True)
class Style:
    """Articulation style of a clip; small, because the sound does not determine it."""

    amplitude: float
    """Multiplies jaw and lip opening, 0.92-1.08."""
    tilt: float
    """Left minus right, in parts: positive moves the left side more."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        return cls(amplitude=rng.uniform(0.92, 1.08), tilt=float(np.clip(rng.normal(0, 0.03), -0.06, 0.06)))


def articulate(
    phones: Sequence[Phone],
    audio: np.ndarray,
    sample_rate: int,
    fps: Fraction,
    style_rng: np.random.Generator,
) -> np.ndarray:
    """Mouth, jaw and tongue curves of speech.

    Args:
        phones: covering the audio in order, silences as `pau`.
        audio: (n,) mono; only its loudness relative to its own loud parts is used.
        fps: any; frame k is at k/fps seconds, and equal times give equal weights at every rate.
        style_rng: samples the Style.

    Returns:
        (T,S) float32 ARKit weights in the order of the head's shapes, T = `meshtalk.audio.files.n_frames`, at least 1.

    Raises:
        InputError: no audio, or phones that `segments` refuses.
    """
    if audio.ndim != 1 or len(audio) == 0:
        raise InputError(f"audio must be one channel with at least one sample, got shape {audio.shape}")
    style = Style.draw(style_rng)
    n_frames = max(1, audio_frames(len(audio), sample_rate, fps))
    grid_s = co.time_grid(max(len(audio) / sample_rate, float(n_frames / fps)))
    curves = _arkit(_gestures(phones, audio, sample_rate, grid_s, style), style)
    frames_s = np.arange(n_frames) * fps.denominator / fps.numerator
    names = shape_names()
    weights = np.zeros((n_frames, len(names)), np.float32)
    for name, curve in curves.items():
        weights[:, names.index(name)] = np.interp(frames_s, grid_s, curve)
    return weights


def _gestures(
    phones: Sequence[Phone], audio: np.ndarray, sample_rate: int, grid_s: np.ndarray, style: Style
) -> dict[str, np.ndarray]:
    """Gesture curves on the grid, with `close` and `touch`, the envelopes of p b m and f v."""
    parts = segments(phones)
    blended = co.smooth(co.blend(parts, grid_s), co.SMOOTHING_S) * co.activity(parts, grid_s)[:, None]
    gestures: dict[str, np.ndarray] = dict(zip(GESTURES, blended.T, strict=True))
    effort = style.amplitude * (0.70 + 0.38 * co.smooth(co.loudness(audio, sample_rate, grid_s), 0.03))
    for name in ("jaw", "lower", "upper"):
        gestures[name] = gestures[name] * effort
    gestures["close"] = co.bilabial_closure(parts, grid_s)
    gestures["touch"] = co.labiodental_touch(parts, grid_s, LABIODENTAL)
    return gestures


def _toward(curve: np.ndarray, goal: float, envelope: np.ndarray) -> np.ndarray:
    return curve + (goal - curve) * envelope


def _arkit(gestures: dict[str, np.ndarray], style: Style) -> dict[str, np.ndarray]:
    """ARKit weights on the grid; closures come last and multiply, so that no smoothing can undo them."""
    close, touch = gestures["close"], gestures["touch"]
    away = 1 - touch
    curves = {
        "jawOpen": _toward(gestures["jaw"], 0.07, 0.8 * touch),
        "mouthPucker": np.minimum(gestures["pucker"] * (1 - 0.8 * touch), PUCKER_LIMIT),
        "mouthFunnel": gestures["funnel"] * away,
        "mouthRollLower": 0.62 * touch,
        "tongueOut": gestures["tongue"] * away,
    }
    paired = {
        "mouthStretch": gestures["stretch"],
        "mouthLowerDown": gestures["lower"] * away,
        "mouthUpperUp": _toward(gestures["upper"], 0.32, touch),
    }
    curves |= {name + "Left": curve * (1 + style.tilt) for name, curve in paired.items()}
    curves |= {name + "Right": curve * (1 - style.tilt) for name, curve in paired.items()}
    slide = style.tilt * curves["jawOpen"]
    curves["mouthLeft"], curves["mouthRight"] = np.maximum(slide, 0), np.maximum(-slide, 0)
    wanted_mm = (1 - close) * _opening_mm(curves) + close * CLOSED_MM
    closing = {name: _toward(curve, 0.0, (1 - KEPT.get(name, 0.0)) * close) for name, curve in curves.items()}
    for name, weight in PRESSED.items():
        closing[name] = closing.get(name, 0.0) + weight * close
    lift_mm = -float(default_lips().per_weight_mm[shape_names().index("mouthClose")].mean())
    closing["mouthClose"] = np.clip((_opening_mm(closing) - wanted_mm) / lift_mm, 0, 1)
    return closing


def _opening_mm(curves: dict[str, np.ndarray]) -> np.ndarray:
    """(G,) lip opening of the default face under named weight curves."""
    lips, names = default_lips(), shape_names()
    opening = np.full(len(next(iter(curves.values()))), float(lips.rest_mm.mean()))
    for name, curve in curves.items():
        opening = opening + curve * float(lips.per_weight_mm[names.index(name)].mean())
    return opening
