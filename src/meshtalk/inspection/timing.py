"""When sound and motion of a clip happen, against each other and against the corpus.

Loudness alone tells the lag of a whole corpus: the mouth is open where it is loud, give or take what lips do before a sound.
For one clip a regressor is sharper by far: from the sound around a frame it predicts the opening, as the other clips teach
it, and the prediction is laid over what the mouth does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from meshtalk.config import HOP_RATE
from meshtalk.evaluation.sync import lag
from meshtalk.inspection.measure import Measured

REACH_S = 0.5
"""Lags beyond this are not looked for."""
OFFSETS_S = tuple(round(0.03 * k, 2) for k in range(-5, 6))
"""Where around a frame the regressor hears."""
FOLDS = 5
"""A clip is predicted by what the other folds teach."""
RIDGE = 3e-3
"""Weight of the penalty, per frame and unit variance."""
ENOUGH_S, ENOUGH_CLIPS = 20.0, 6
"""Of less motion a regressor learns too little."""
CLEAR = 0.35
"""Correlation from which a lag is believed."""
LONG_S = 8.0
"""Clips of at least this length have a lag for each half: clocks that run apart."""


@dataclass(frozen=True)
class Lags:
    """How late a clip's sound is behind its motion, ms; positive: the sound comes too late. NaN where it cannot be told."""

    loudness_ms: float
    loudness_r: float
    model_ms: float = math.nan
    """By the regressor; relative to the corpus, because it learns what all clips have in common."""
    model_r: float = math.nan
    drift_ms: float = math.nan
    """Of the second half minus that of the first, by the regressor."""


def lag_ms(sound: np.ndarray, opening_mm: np.ndarray, fps: float) -> tuple[float, float]:
    """(ms that `sound` (T,) comes after `opening_mm` (T,), correlation there); frames that are NaN in either are bridged."""
    known = np.isfinite(opening_mm)
    if known.sum() < 8:
        return math.nan, math.nan
    frames = np.arange(len(opening_mm))
    bridged = opening_mm if known.all() else np.interp(frames, frames[known], opening_mm[known])
    found = lag(sound, bridged, fps, REACH_S)
    # a peak at the very end of what was looked at is none
    ends = min(math.floor(REACH_S * fps + 1e-9), len(bridged) // 2)
    if not math.isfinite(found.refined_ms) or abs(found.frames) >= ends:
        return math.nan, math.nan
    return found.refined_ms, found.correlation


def lags(clips: Sequence[Measured], mels: Sequence[np.ndarray], fps: Fraction) -> list[Lags]:
    """Lags of every clip; those that are broken or silent have none.

    Args:
        mels: (H,M) log-mel of each clip; may be memory-mapped, and is read three times.
    """
    rate = float(fps)
    told = []
    for clip in clips:
        told.append(Lags(*lag_ms(clip.loudness, clip.opening_mm, rate)))
    usable = [k for k, clip in enumerate(clips) if len(clip.opening_mm) >= 8 and math.isfinite(told[k].loudness_r)]
    if len(usable) < ENOUGH_CLIPS or sum(clips[k].motion_s for k in usable) < ENOUGH_S:
        return told
    fold_of = {k: place % FOLDS for place, k in enumerate(usable)}
    models = _fitted([(fold_of[k], mels[k], clips[k].opening_mm) for k in usable], fps)
    for k in usable:
        predicted = features(mels[k], len(clips[k].opening_mm), fps) @ models[fold_of[k]]
        late_ms, r = lag_ms(predicted, clips[k].opening_mm, rate)
        drift_ms = math.nan
        if clips[k].motion_s >= LONG_S:
            half = len(predicted) // 2
            ends = [lag_ms(predicted[part], clips[k].opening_mm[part], rate) for part in (slice(half), slice(half, None))]
            if all(found > CLEAR for _, found in ends):
                drift_ms = ends[1][0] - ends[0][0]
        told[k] = Lags(told[k].loudness_ms, told[k].loudness_r, late_ms, r, drift_ms)
    return told


def features(mel: np.ndarray, n_frames: int, fps: Fraction) -> np.ndarray:
    """(T, M·len(OFFSETS_S)+1) log-mel around each frame's exact time, and 1."""
    time_s = np.arange(n_frames) * fps.denominator / fps.numerator
    at = np.clip((time_s[:, None] + np.array(OFFSETS_S)) * HOP_RATE, 0, len(mel) - 1)
    low = np.minimum(at.astype(int), max(len(mel) - 2, 0))
    share = (at - low)[..., None].astype(np.float32)
    rows = np.asarray(mel, np.float32)
    around = (1 - share) * rows[low] + share * rows[np.minimum(low + 1, len(rows) - 1)]
    return np.concatenate([around.reshape(n_frames, -1), np.ones((n_frames, 1), np.float32)], 1)


def _fitted(clips: Sequence[tuple[int, np.ndarray, np.ndarray]], fps: Fraction) -> list[np.ndarray]:
    """(F,) regression weights for each fold, from the clips of all others."""
    grams: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for fold, x, y in _rows(clips, fps):
        while len(grams) <= fold:
            grams.append(np.zeros((x.shape[1], x.shape[1])))
            targets.append(np.zeros(x.shape[1]))
        grams[fold] += x.T @ x
        targets[fold] += x.T @ y
    models = []
    for fold in range(len(grams)):
        gram, target = sum(grams) - grams[fold], sum(targets) - targets[fold]
        frames = gram[-1, -1]
        mean = gram[-1] / frames
        variance = np.diag(gram) / frames - mean**2
        penalty = RIDGE * frames * np.maximum(variance, 1e-6)
        penalty[-1] = 0.0
        models.append(np.linalg.solve(gram + np.diag(penalty) + 1e-9 * frames * np.eye(len(gram)), target))
    return models


def _rows(
    clips: Sequence[tuple[int, np.ndarray, np.ndarray]], fps: Fraction
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(fold, (T,F) features, (T,) opening in its own standard deviations) of the captured frames."""
    for fold, mel, opening_mm in clips:
        known = np.isfinite(opening_mm)
        y = opening_mm[known].astype(np.float64)
        if np.std(y) > 0:
            yield fold, features(mel, len(opening_mm), fps)[known].astype(np.float64), (y - y.mean()) / np.std(y)
