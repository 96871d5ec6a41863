"""Synchronisation of sound and motion of clips, relative to each other and to the corpus.

Loudness is enough for the lag of a whole corpus: the mouth is open where it is loud, except for anticipation. For one clip a
regressor is much more precise: trained on the other clips, it predicts the opening from the sound around a frame, and the
prediction is correlated with the mouth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from meshtalk.check.measure import SOUND_RATE_HZ, Measured
from meshtalk.measures.sync import correlation, lag

REACH_S = 0.5
"""Lags beyond this are not looked for."""
OFFSETS_S = tuple(round(0.03 * k, 2) for k in range(-5, 6))
"""Times around a frame whose sound is the regressor's input."""
FOLDS = 5
"""Folds: a clip is predicted by a regressor trained on the other folds."""
RIDGE = 3e-3
"""Weight of the penalty, per frame and unit variance."""
ENOUGH_S, ENOUGH_CLIPS = 20.0, 6
"""Of less motion a regressor learns too little."""
LONG_S = 8.0
"""Clips of at least this length have a lag for each half: clocks that run apart."""
FEWEST = 8
"""Fewest captured frames that are measured."""


class Fit(NamedTuple):
    """Correlation of a curve of sound with mouth opening; NaN where it cannot be measured."""

    lag_ms: float = math.nan
    """Lag of the sound; negative if it is early."""
    r: float = math.nan
    """Correlation at that lag."""
    r_unshifted: float = math.nan

    @property
    def found(self) -> bool:
        return math.isfinite(self.lag_ms)


NONE = Fit()


@dataclass(frozen=True)
class Timing:
    """Synchronisation of sound and motion of one clip."""

    loudness: Fit = NONE
    """Of its loudness."""
    model: Fit = NONE
    """By the regressor's prediction; relative to the corpus, because it learns what all clips have in common."""
    drift_ms: float = math.nan
    """Lag of the second half minus that of the first, by the regressor."""
    halves_r: float = math.nan
    """The smaller one of their correlations."""
    predicted: np.ndarray | None = None
    """(T,) what the regressor predicts, in standard deviations of a clip's opening."""


def fit(sound: np.ndarray, opening_mm: np.ndarray, fps: float) -> Fit:
    """Lag of `sound` (T,) behind `opening_mm` (T,); frames that are NaN are bridged by lines."""
    known = np.isfinite(opening_mm)
    if known.sum() < FEWEST:
        return NONE
    frames = np.arange(len(opening_mm))
    bridged = opening_mm if known.all() else np.interp(frames, frames[known], opening_mm[known])
    found = lag(sound, bridged, fps, REACH_S)
    unshifted = correlation(sound[known], opening_mm[known])
    # a peak at the very end of what was looked at is none
    ends = min(math.floor(REACH_S * fps + 1e-9), len(bridged) // 2)
    if not math.isfinite(found.refined_ms) or abs(found.frames) >= ends:
        return Fit(r_unshifted=unshifted)
    return Fit(found.refined_ms, found.correlation, unshifted)


def timings(clips: Sequence[Measured], mel_of: Callable[[int], np.ndarray], fps: Fraction) -> list[Timing]:
    """Timing of every clip; those that are broken, silent or still have none.

    Args:
        mel_of: number of a clip → its (H,M) log-mel; asked twice for each.
    """
    rate = float(fps)
    told = [Timing(fit(clip.loudness, clip.opening_mm, rate)) for clip in clips]
    usable = [k for k, one in enumerate(told) if math.isfinite(one.loudness.r_unshifted)]
    if len(usable) < ENOUGH_CLIPS or sum(clips[k].motion_s for k in usable) < ENOUGH_S:
        return told
    fold_of = {k: place % FOLDS for place, k in enumerate(usable)}
    models = _fitted(((fold_of[k], mel_of(k), clips[k].opening_mm) for k in usable), fps)
    for k in usable:
        opening_mm = clips[k].opening_mm
        predicted = features(mel_of(k), len(opening_mm), fps) @ models[fold_of[k]]
        drift_ms = halves_r = math.nan
        if clips[k].motion_s >= LONG_S:
            half = len(predicted) // 2
            first, second = (fit(predicted[part], opening_mm[part], rate) for part in (slice(half), slice(half, None)))
            drift_ms, halves_r = second.lag_ms - first.lag_ms, min(first.r, second.r)
        whole = fit(predicted, opening_mm, rate)
        told[k] = Timing(told[k].loudness, whole, drift_ms, halves_r, predicted.astype(np.float32))
    return told


def features(mel: np.ndarray, n_frames: int, fps: Fraction) -> np.ndarray:
    """(T, M·len(OFFSETS_S)+1) log-mel around each frame's exact time, and 1."""
    time_s = np.arange(n_frames) * fps.denominator / fps.numerator
    at = np.clip((time_s[:, None] + np.array(OFFSETS_S)) * SOUND_RATE_HZ - 0.25, 0, len(mel) - 1)
    low = np.minimum(at.astype(int), max(len(mel) - 2, 0))
    share = (at - low)[..., None].astype(np.float32)
    around = (1 - share) * mel[low] + share * mel[np.minimum(low + 1, len(mel) - 1)]
    return np.concatenate([around.reshape(n_frames, -1), np.ones((n_frames, 1), np.float32)], 1)


def _fitted(clips: Iterator[tuple[int, np.ndarray, np.ndarray]], fps: Fraction) -> list[np.ndarray]:
    """(F,) regression weights for each fold, from the clips of all others; clips are (fold, log-mel, opening)."""
    grams: list[np.ndarray] = [np.zeros(0)] * FOLDS
    targets: list[np.ndarray] = [np.zeros(0)] * FOLDS
    for fold, mel, opening_mm in clips:
        known = np.isfinite(opening_mm)
        x = features(mel, len(opening_mm), fps)[known].astype(np.float64)
        y = opening_mm[known].astype(np.float64)
        # in its own deviations: people open their mouths more or less, and measures of opening have their units
        y = (y - y.mean()) / np.std(y)
        first = not len(grams[fold])
        grams[fold] = x.T @ x if first else grams[fold] + x.T @ x
        targets[fold] = x.T @ y if first else targets[fold] + x.T @ y
    all_grams, all_targets = np.sum(grams, axis=0), np.sum(targets, axis=0)
    models = []
    for gram, target in zip(grams, targets, strict=True):
        gram, target = all_grams - gram, all_targets - target
        frames = gram[-1, -1]
        variance = np.diag(gram) / frames - (gram[-1] / frames) ** 2
        penalty = RIDGE * frames * np.maximum(variance, 1e-6)
        penalty[-1] = 0.0
        models.append(np.linalg.solve(gram + np.diag(penalty) + 1e-9 * frames * np.eye(len(gram)), target))
    return models
