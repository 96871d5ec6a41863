"""Aggregation over clips: every measure is a ratio of two sums, with a bootstrap interval.

A plain mean is (value, 1) of each clip, a rate (hits, tries), a ratio to the truth (ours, the truth's). Then
resampling gives every measure its 95 % interval in the same way, however its clips differ in length. What is resampled is people
with all of their clips, where there are several: clips of one person are alike, and would make an interval too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Part = tuple[float, float]
"""Contribution of one clip to the numerator and the denominator of a measure."""

RESAMPLES = 1000


def mean_part(value: float, weight: float = 1.0) -> Part:
    """A clip's share of a weighted mean; a NaN (nothing to measure in this clip) adds nothing."""
    return (float(value) * weight, weight) if math.isfinite(value) else (0.0, 0.0)


def ratio_part(numerator: float, denominator: float) -> Part:
    """A clip's share of a ratio of sums; nothing if either is NaN."""
    whole = math.isfinite(numerator) and math.isfinite(denominator)
    return (float(numerator), float(denominator)) if whole else (0.0, 0.0)


def _same(x: np.ndarray) -> np.ndarray:
    return x


@dataclass(frozen=True)
class Measure:
    """Name, unit and formatting of a measure."""

    label: str
    unit: str = ""
    decimals: int = 2
    scale: float = 1.0
    """The stored value times this is what `unit` means in a table."""
    finish: Callable[[np.ndarray], np.ndarray] = _same
    """Applied to the ratio of sums: the square root of a ratio of variances, exp of a mean NLL."""


MEASURES: Mapping[str, Measure] = {
    "lve_mm": Measure("lip vertex error (max over lips)", "mm"),
    "lve_squared_m2": Measure("lip vertex error, peers' form", "1e-5 m²", scale=1e5),
    "lip_error_mm": Measure("lip error (mean over lips)", "mm"),
    "mve_mm": Measure("mean vertex error", "mm"),
    "eve_mm": Measure("eye and forehead error (max)", "mm"),
    "fdd_m2": Measure("FDD, signed", "1e-6 m²", scale=1e6),
    "abs_fdd_m2": Measure("|FDD|", "1e-6 m²", scale=1e6),
    "opening_r": Measure("lip opening, correlation with truth", decimals=3),
    "opening_ratio": Measure("lip opening, deviation / truth's", finish=np.sqrt),
    "width_r": Measure("mouth width, correlation with truth", decimals=3),
    "width_change_ratio": Measure("narrowing at uw w / truth's"),
    "protrusion_r": Measure("lip protrusion, correlation with truth", decimals=3),
    "lag_frames": Measure("lag (+ is late)", "frames"),
    "lag_ms": Measure("lag (+ is late)", "ms", decimals=0),
    "lag_within_1_frame": Measure("clips with a lag within ±1 frame"),
    "closure_rate": Measure("lips closed at p b m"),
    "false_closure_rate": Measure("lips closed at k g hh n t d l"),
    "opening_uw_mm": Measure("lip opening in the middle of uw", "mm"),
    "opening_w_mm": Measure("lip opening in the middle of w", "mm"),
    "lip_to_teeth_mm": Measure("lower lip to upper teeth at f v", "mm"),
    "tongue_at_th": Measure("tongue at the teeth's edge at th dh"),
    "loudness_r": Measure("lip opening, correlation with loudness"),
    "clean_r": Measure("lip opening, correlation with the clean run", decimals=3),
    "silence_speed_mm_s": Measure("mouth speed in silence", "mm/s", decimals=1),
    "jitter_mm": Measure("jitter of the lips", "mm/frame³", decimals=3),
    "jitter_ratio": Measure("jitter / truth's"),
    "lip_motion_ratio": Measure("lip motion / truth's", finish=np.sqrt),
    "upper_motion_ratio": Measure("upper-face motion / truth's", finish=np.sqrt),
    "max_move_mm": Measure("largest lip move in a frame", "mm"),
    "popping_ratio": Measure("largest lip move / truth's 99.9 %"),
    "pops_per_min": Measure("pops", "/min"),
    "blinks_per_min": Measure("blinks", "/min", decimals=1),
    "blink_ms": Measure("blink duration", "ms", decimals=0),
    "best_of_n_lve_mm": Measure("lip vertex error, best of n", "mm"),
    "mean_of_n_lve_mm": Measure("lip vertex error, mean of n", "mm"),
    "diversity_lips_mm": Measure("diversity of the lips", "mm"),
    "diversity_upper_mm": Measure("diversity of the upper face", "mm"),
    "spread_ratio": Measure("spread of samples / error (1: calibrated)"),
    "nll_nats": Measure("held-out NLL", "nats/frame"),
    "nll_head0_nats": Measure("held-out NLL of head 0", "nats"),
    "perplexity": Measure("perplexity of the codes", finish=np.exp),
    "classes_used": Measure("classes used a head (mean)", decimals=1),
    "code_entropy_nats": Measure("entropy of a head (mean)", "nats"),
    "code_change_rate": Measure("codes that change from frame to frame"),
    "dead_heads": Measure("dead heads", decimals=0),
}
"""Every figure a report may hold, in the order of its table. Keys carry the unit the value is stored in."""


class Estimate(NamedTuple):
    """A figure with its 95 % bootstrap interval (NaN where resampling has no meaning)."""

    value: float
    low: float = math.nan
    high: float = math.nan


def estimate(
    key: str, parts: Sequence[Part], people: Sequence[str] | None = None, resamples: int = RESAMPLES
) -> Estimate | None:
    """The figure of measure `key` from its clips' parts; None when no clip had anything to measure (a denominator of 0).

    The interval is the 2.5-97.5 percentile range over resampled people, or clips where all are of one person, from a fixed seed;
    NaN for one clip.

    Args:
        people: who speaks in each clip; without them, each clip stands for itself.
    """
    counted = [place for place, part in enumerate(parts) if part[1]]
    if not counted:
        return None
    sums = np.array([parts[place] for place in counted], float)
    finish = MEASURES[key].finish
    value = float(finish(sums[:, 0].sum() / sums[:, 1].sum()))
    if people is not None:
        names, whose = np.unique([people[place] for place in counted], return_inverse=True)
        if len(names) > 1:
            sums = np.stack([np.bincount(whose, column) for column in sums.T], 1)
    if len(sums) < 2:
        return Estimate(value)
    draws = np.random.default_rng(0).integers(0, len(sums), (resamples, len(sums)))
    drawn = sums[draws].sum(1)
    low, high = np.percentile(finish(drawn[:, 0] / drawn[:, 1]), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def estimates(rows: Sequence[Mapping[str, Part]], people: Sequence[str]) -> dict[str, Estimate]:
    """One figure for each measure that occurs in any clip's row, in the order of MEASURES.

    Args:
        rows: one mapping a clip, measure key → Part.
        people: who speaks in each clip.
    """
    found = {}
    for key in MEASURES:
        known = [(row[key], name) for row, name in zip(rows, people, strict=True) if key in row]
        figure = estimate(key, [part for part, _ in known], [name for _, name in known])
        if figure is not None:
            found[key] = figure
    return found
