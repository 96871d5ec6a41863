"""Articulation: phone timings to ARKit curves of mouth, jaw and tongue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from meshtalk.audio.files import n_frames as audio_frames
from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth import coarticulation as co
from meshtalk.synth.effort import range_of
from meshtalk.synth.lips import PUCKER_LIMIT, default_mouth, shape_names
from meshtalk.synth.phones import LABIODENTAL, segments
from meshtalk.synth.targets import fitted

UNIT_MM = 0.92
"""A hundredth of the distance between the outer corners of an adult's eyes: the unit of the fitted targets."""

CLOSED_MM = 0.07
"""What a closure adds to the neutral face's gap of 0.03 mm: touching, not crushed."""

PRESSED = {"mouthPressLeft": 0.25, "mouthPressRight": 0.25, "mouthRollLower": 0.06, "mouthRollUpper": 0.08}
"""The soft press of lips that meet."""

ROUNDED_MM = 5.0
"""Corners that come so much nearer make a round opening, by the funnel."""
FUNNEL = 0.30
DIMPLE_SHARE = 0.5
"""Of a spread mouth's width; the rest is stretch. The one draws the corners up as far as the other draws them down."""
LOWER_SHARE = 0.6
"""Of what the lips open beside the jaw."""
LIFT_LIMIT = 0.8
"""Of the shapes that lift and lower the lips; what is wanted beyond is the jaw's."""

TOUCH = {"mouthRollLower": 1.0, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3}
"""f v: the lower lip goes in and under the upper teeth, the upper lip makes way."""
TOUCH_MM = 2.2
"""Lip gap meanwhile: the edge of the teeth lies in it."""


@dataclass(frozen=True)
class Style:
    """Articulation style of a clip."""

    amplitude: float
    """Multiplies what jaw and lips open."""
    tilt: float
    """Left minus right, in parts: positive moves the left side more."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        return cls(amplitude=rng.uniform(0.9, 1.1), tilt=float(np.clip(rng.normal(0, 0.03), -0.06, 0.06)))


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
        audio: (n,) mono; its loudness relative to its own loud parts and its vocal effort are used.
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
    parts = segments(phones)
    ways = co.trajectories(parts, grid_s, fitted()) * co.activity(parts, grid_s)[:, None]
    effort = style.amplitude * effort_of(audio, sample_rate, grid_s)
    opening, width, jaw, tongue = ways.T
    curves = _arkit(
        opening * effort * UNIT_MM,
        width * UNIT_MM,
        jaw * effort * UNIT_MM,
        tongue,
        close=co.bilabial_closure(parts, grid_s),
        touch=co.labiodental_touch(parts, grid_s, LABIODENTAL),
        tilt=style.tilt,
    )
    frames_s = np.arange(n_frames) * fps.denominator / fps.numerator
    names = shape_names()
    weights = np.zeros((n_frames, len(names)), np.float32)
    for name, curve in curves.items():
        weights[:, names.index(name)] = np.interp(frames_s, grid_s, curve)
    return weights


def effort_of(audio: np.ndarray, sample_rate: int, t_s: np.ndarray) -> np.ndarray:
    """(G,) factor on what jaw and lips open: the voice's effort, and a little of the moment's loudness."""
    return range_of(audio, sample_rate) * (0.85 + 0.19 * co.smooth(co.loudness(audio, sample_rate, t_s), 0.03))


def _toward(curve: np.ndarray, goal: float | np.ndarray, envelope: np.ndarray) -> np.ndarray:
    return curve + (goal - curve) * envelope


def _arkit(
    opening_mm: np.ndarray,
    width_mm: np.ndarray,
    jaw_mm: np.ndarray,
    tongue: np.ndarray,
    *,
    close: np.ndarray,
    touch: np.ndarray,
    tilt: float,
) -> dict[str, np.ndarray]:
    """ARKit weights on the grid that give the default face the wanted geometry.

    Jaw and width come from their own shapes; the lips open what the jaw and the round opening of the funnel do not, or close
    what they open too much. Closures come last, so that no smoothing can undo them.

    Args:
        opening_mm: (G,) gap between the lips.
        width_mm: (G,) change of the distance of the corners.
        jaw_mm: (G,) drop of the chin.
        tongue: (G,) weight of tongueOut.
        close: (G,) 0..1, lips held together.
        touch: (G,) 0..1, lower lip held to the upper teeth.
    """
    mouth, away = default_mouth(), 1 - touch
    open_mm = mouth.opening_mm
    wanted_mm = _toward(_toward(opening_mm, TOUCH_MM, touch), CLOSED_MM, close)  # beyond the neutral face's gap
    jaw = np.clip(jaw_mm, 0, None) / mouth.chin_mm["jawOpen"]
    funnel = FUNNEL * co.smoothstep(-width_mm / ROUNDED_MM) * away * (1 - 0.85 * close)
    free_mm = np.maximum(wanted_mm - jaw * open_mm["jawOpen"] - funnel * open_mm["mouthFunnel"], 0) * away
    lower = co.soft_limit(LOWER_SHARE * free_mm / (2 * open_mm["mouthLowerDownLeft"]), LIFT_LIMIT)
    upper = co.soft_limit((1 - LOWER_SHARE) * free_mm / (2 * open_mm["mouthUpperUpLeft"]), LIFT_LIMIT)
    curves = {"mouthFunnel": funnel, "tongueOut": np.clip(tongue, 0, 1) * away * (1 - close)}
    curves |= _sided({"mouthLowerDown": lower, "mouthUpperUp": upper}, tilt)
    for shapes, envelope in ((TOUCH, touch * (1 - close)), (PRESSED, close)):
        for name, weight in shapes.items():
            curves[name] = curves.get(name, 0.0) + weight * envelope
    apart_mm = wanted_mm - _sum(curves, open_mm)
    # the jaw opens what the lips could not, mouthClose takes back what the jaw opens too much
    curves["jawOpen"] = np.maximum(jaw, apart_mm / open_mm["jawOpen"])
    curves["mouthClose"] = np.clip((curves["jawOpen"] * open_mm["jawOpen"] - apart_mm) / -open_mm["mouthClose"], 0, 1)
    slide = tilt * curves["jawOpen"]
    curves["mouthLeft"], curves["mouthRight"] = np.maximum(slide, 0), np.maximum(-slide, 0)
    # protruded lips do not reach the teeth
    wide_mm = width_mm * (1 - 0.85 * touch) - _sum(curves, mouth.width_mm)
    spread = np.maximum(wide_mm, 0) / 2
    curves["mouthPucker"] = co.soft_limit(np.minimum(wide_mm, 0) / mouth.width_mm["mouthPucker"], PUCKER_LIMIT)
    stretch = (1 - DIMPLE_SHARE) * spread / mouth.width_mm["mouthStretchLeft"]
    dimple = DIMPLE_SHARE * spread / mouth.width_mm["mouthDimpleLeft"]
    return curves | _sided({"mouthStretch": stretch, "mouthDimple": dimple}, tilt)


def _sided(paired: dict[str, np.ndarray], tilt: float) -> dict[str, np.ndarray]:
    """Curves of both sides."""
    sides = (("Left", 1 + tilt), ("Right", 1 - tilt))
    return {name + side: curve * share for name, curve in paired.items() for side, share in sides}


def _sum(curves: dict[str, np.ndarray], effect_mm: Mapping[str, float]) -> np.ndarray:
    """(G,) what the shapes do together."""
    return sum((curve * effect_mm[name] for name, curve in curves.items()), np.zeros(()))
