"""Contribution of one clip to every measure: predicted and true Clip → {measure: (numerator, denominator)}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meshtalk.clip import Clip
from meshtalk.evaluation.aggregate import MEASURES, Estimate, Part, mean_part, ratio_part
from meshtalk.measures import metrics, sync, tracks

POP = 1.5
"""A lip that moves this many times the truth's 99.9th percentile in one frame has popped."""


class Tracked:
    """A clip with the regions and curves the measures share, each computed once when first asked for."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.fps = float(clip.fps)
        self.valid = np.ones(clip.n_frames, bool) if clip.valid is None else clip.valid

    @cached_property
    def lips(self) -> np.ndarray:
        """(T,n,3) metres."""
        return tracks.positions(self.clip, self.clip.topology.indices("lips"))

    @cached_property
    def upper(self) -> np.ndarray:
        """(T,n,3) metres."""
        return tracks.positions(self.clip, self.clip.topology.indices("upper_face"))

    @cached_property
    def opening_mm(self) -> np.ndarray:
        """(T,)"""
        return tracks.opening_mm(self.clip)

    @cached_property
    def width_mm(self) -> np.ndarray | None:
        """(T,)"""
        return tracks.width_mm(self.clip)

    @cached_property
    def protrusion_mm(self) -> np.ndarray:
        """(T,)"""
        return tracks.protrusion_mm(self.clip)


@dataclass(frozen=True)
class Curves:
    """One clip over time, for plots; T frames, frame k at k/fps seconds."""

    fps: float
    lip_error_mm: np.ndarray
    """(T,) largest error of a lip vertex, NaN where capture missed the frame."""
    opening_mm: np.ndarray
    """(T,)"""
    true_opening_mm: np.ndarray
    """(T,)"""
    phones: tuple[sync.PhoneTuple, ...]


@dataclass(frozen=True)
class Row:
    """One clip's parts, with the lip moves that popping needs of all clips together."""

    parts: Mapping[str, Part]
    moves_mm: np.ndarray
    true_moves_mm: np.ndarray
    minutes: float
    curves: Curves | None = None


def errors(predicted: Tracked, true: Tracked) -> dict[str, Part]:
    """Errors of position, over the frames the truth has; the predicted clip has the truth's template."""
    seen = true.valid
    frames = int(seen.sum())
    if not frames:
        return {}
    lips = metrics.distances_m(predicted.lips[seen], true.lips[seen])
    worst = lips.max(1)
    upper = metrics.distances_m(predicted.upper[seen], true.upper[seen]).max(1)
    template = true.clip.template[true.clip.topology.indices("upper_face")]
    fdd = metrics.fdd_m2(predicted.upper[seen], true.upper[seen], template)
    everywhere, _ = tracks.vertex_error_sums_m(predicted.clip, true.clip, seen)
    return {
        "lve_mm": (float(worst.sum()) * metrics.MM, frames),
        "lve_squared_m2": (float(np.square(worst).sum()), frames),
        "lip_error_mm": (float(lips.mean(1).sum()) * metrics.MM, frames),
        "mve_mm": (everywhere * metrics.MM, frames),
        "eve_mm": (float(upper.sum()) * metrics.MM, frames),
        "fdd_m2": mean_part(fdd),
        "abs_fdd_m2": mean_part(abs(fdd)),
    }


def curves(predicted: Tracked, true: Tracked) -> Curves:
    """The curves behind the figures of `errors` and `follow`."""
    error = np.where(true.valid, metrics.lve_per_frame_mm(predicted.lips, true.lips), np.nan)
    return Curves(true.fps, error, predicted.opening_mm, true.opening_mm, tuple(true.clip.phones))


def follow(predicted: Tracked, true: Tracked) -> dict[str, Part]:
    """How the mouth follows the truth's: the lip opening in shape, size and time, its width and protrusion in shape."""
    ours, theirs = predicted.opening_mm, true.opening_mm
    delay = sync.lag(ours, theirs, predicted.fps)
    moves = bool(np.isfinite(delay.refined_frames))
    found: dict[str, Part] = {}
    width_mm, true_width_mm = predicted.width_mm, true.width_mm
    if width_mm is not None and true_width_mm is not None:
        phones = true.clip.phones
        narrows = sync.narrowing_mm(width_mm, predicted.fps, phones), sync.narrowing_mm(true_width_mm, true.fps, phones)
        found["width_r"] = mean_part(sync.correlation(width_mm, true_width_mm))
        found["width_change_ratio"] = (float(narrows[0].sum()), float(narrows[1].sum()))
    found["protrusion_r"] = mean_part(sync.correlation(predicted.protrusion_mm, true.protrusion_mm))
    return found | {
        "opening_r": mean_part(sync.correlation(ours, theirs)),
        "opening_ratio": (float(ours.var() * len(ours)), float(theirs.var() * len(theirs))),
        "lag_frames": mean_part(delay.refined_frames),
        "lag_ms": mean_part(delay.refined_ms),
        "lag_within_1_frame": (float(abs(delay.refined_frames) <= 1), 1.0) if moves else (0.0, 0.0),
    }


def articulation(predicted: Tracked, phones: Sequence[sync.PhoneTuple]) -> dict[str, Part]:
    """Lips and tongue at the phones of the speech: closures, wrong closures, rounding, teeth."""
    found: dict[str, Part] = {}
    for key, names in (("closure_rate", sync.BILABIALS), ("false_closure_rate", sync.OPEN_CONSONANTS)):
        hits = sync.closed(predicted.opening_mm, predicted.fps, phones, names)
        found[key] = (float(hits.sum()), float(len(hits)))
    for name in sorted(sync.ROUNDED):
        openings = sync.at_phones(predicted.opening_mm, predicted.fps, phones, {name}, sync.middle)
        found[f"opening_{name}_mm"] = (float(openings.sum()), float(len(openings)))
    tongue = tracks.tongue_past_teeth_mm(predicted.clip)
    if tongue is not None:
        out = sync.at_phones(tongue, predicted.fps, phones, sync.DENTALS, np.max) >= 0
        found["tongue_at_th"] = (float(out.sum()), float(len(out)))
    teeth = tracks.lip_to_teeth_mm(predicted.clip)
    if teeth is not None:
        nearest = sync.at_phones(teeth, predicted.fps, phones, sync.LABIODENTALS)
        found["lip_to_teeth_mm"] = (float(nearest.sum()), float(len(nearest)))
    return found


def behaviour(predicted: Tracked, true: Tracked) -> dict[str, Part]:
    """Measures without true positions: loudness, stillness, blinks, jitter, amount of motion."""
    clip, fps = true.clip, predicted.fps
    loudness = sync.loudness_correlation(predicted.opening_mm, clip.audio, clip.sample_rate, fps)
    silence = int(sync.silence_frames(clip.phones, fps, clip.n_frames).sum())
    still = sync.silence_speed_mm_s(predicted.lips, fps, clip.phones)
    jitter = metrics.jitter_mm(predicted.lips, true.valid)
    frames, minutes = float(clip.n_frames), clip.duration_s / 60
    found = {
        "loudness_r": mean_part(loudness),
        "silence_speed_mm_s": mean_part(still, silence),
        "jitter_mm": mean_part(jitter, frames),
        "jitter_ratio": ratio_part(jitter * frames, metrics.jitter_mm(true.lips, true.valid) * frames),
        "lip_motion_ratio": _variances(predicted.lips, true.lips, true.valid),
        "upper_motion_ratio": _variances(predicted.upper, true.upper, true.valid),
    }
    lids = tracks.eyelid_closure(predicted.clip)
    if lids is not None:
        seen = sync.blinks(lids, fps)
        found["blinks_per_min"] = (float(len(seen)), minutes)
        found["blink_ms"] = (sum(b.duration_s for b in seen) * 1e3, float(len(seen)))
    return found


def _variances(ours: np.ndarray, theirs: np.ndarray, valid: np.ndarray) -> Part:
    """Variances over time, weighted by length: their ratio of sums is the square of the motion ratio."""
    frames = float(valid.sum())
    if not frames:
        return (0.0, 0.0)
    return (
        metrics.motion_variance_mm2(ours[valid]) * frames,
        metrics.motion_variance_mm2(theirs[valid]) * frames,
    )


def samples_of_one_clip(samples: Sequence[Tracked], true: Tracked) -> dict[str, Part]:
    """Best and mean of n, diversity and calibration of several samples for the same audio."""
    lips, upper = [s.lips for s in samples], [s.upper for s in samples]
    n = min(len(true.lips), *(len(s) for s in lips))
    lips, upper, true_lips = [s[:n] for s in lips], [s[:n] for s in upper], true.lips[:n]
    spread = metrics.diversity_mm(lips)
    error = float(np.mean([metrics.mve_mm(s, true_lips) for s in lips]))
    return {
        "best_of_n_lve_mm": mean_part(metrics.best_of_n_lve_mm(lips, true_lips), n),
        "mean_of_n_lve_mm": mean_part(metrics.mean_of_n_lve_mm(lips, true_lips), n),
        "diversity_lips_mm": mean_part(spread, n),
        "diversity_upper_mm": mean_part(metrics.diversity_mm(upper), n),
        "spread_ratio": (spread * n, error * n),
    }


def values_of(parts: Mapping[str, Part]) -> dict[str, float | None]:
    """One clip's own value of each measure it has something to say about."""
    values: dict[str, float | None] = {}
    for key, (numerator, denominator) in parts.items():
        if denominator:
            value = float(MEASURES[key].finish(np.array(numerator / denominator)))
            values[key] = float(f"{value:.6g}") if np.isfinite(value) else None
    return values


def popping(rows: Sequence[Row]) -> dict[str, Estimate]:
    """Lip moves of all clips against the 99.9th percentile of the truth's, which needs all clips at once."""
    ours = np.concatenate([row.moves_mm for row in rows])
    theirs = np.concatenate([row.true_moves_mm for row in rows])
    if not len(ours) or not len(theirs) or theirs.max() <= 0:
        return {}
    limit = POP * float(np.percentile(theirs, 99.9))
    minutes = sum(row.minutes for row in rows)
    return {
        "max_move_mm": Estimate(float(ours.max())),
        "popping_ratio": Estimate(metrics.popping_ratio(ours, theirs)),
        "pops_per_min": Estimate(float((ours > limit).sum()) / minutes),
    }
