"""Measures of timing against speech: lips, teeth, silence, loudness, blinks. Pure functions of arrays.

A phone is any (name, start_s, end_s); names are ARPAbet lower case, silence is `pau`. Curves have one value a
frame, frame k at exactly k/fps seconds. Lip opening is millimetres, ≤ 0 where the lips are pressed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

BILABIALS = frozenset("pbm")
"""The lips must meet."""
OPEN_CONSONANTS = frozenset({"k", "g", "hh", "n", "t", "d", "l"})
"""Made behind the lips, which have no reason to meet except for a neighbour's sake."""
LABIODENTALS = frozenset("fv")
"""The lower lip must meet the upper teeth."""
DENTALS = frozenset({"th", "dh"})
"""The tongue's tip must be seen at the teeth's edge."""
ROUNDED = frozenset({"uw", "w"})
"""The corners must come in, around a small opening."""
CLOSED_MM = 1.0
"""Lips closer than this look closed."""
STILL_MM = 1e-3
"""A curve that varies less than this does not move: a micron of lip opening is single-precision noise."""

PhoneTuple = tuple[str, float, float]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two curves (T,); 0 if `a` does not move, NaN if `b` (the reference) does not."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2 or np.std(b) < STILL_MM:
        return float("nan")
    if np.std(a) < STILL_MM:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


class Lag(NamedTuple):
    """Lag of a curve; negative when it is early."""

    frames: int
    refined_frames: float
    """With the sub-frame position of the peak, from a parabola through its neighbours."""
    refined_ms: float
    correlation: float
    """At the best whole frame."""


def lag(predicted: np.ndarray, true: np.ndarray, fps: float, max_lag_s: float = 0.2) -> Lag:
    """Delay of `predicted` behind `true`: the shift within ±max_lag_s whose correlation is highest.

    NaN (frames 0) if either does not move or there are fewer than 8 frames; a shift never leaves less than
    half.

    Args:
        predicted: (T,) curve at `fps`.
        true: (T,) curve at `fps`.
    """
    nan = float("nan")
    predicted, true, n = np.asarray(predicted, np.float64), np.asarray(true, np.float64), len(true)
    if n < 8 or np.std(predicted) < STILL_MM or np.std(true) < STILL_MM:
        return Lag(0, nan, nan, nan)
    most = min(math.floor(max_lag_s * fps + 1e-9), n // 2)
    shifts = list(range(-most, most + 1))
    scores: list[float] = []
    for k in shifts:
        score = correlation(predicted[max(0, k) : n + min(0, k)], true[max(0, -k) : n - max(0, k)])
        scores.append(score if math.isfinite(score) else -1.0)
    best = max(range(len(shifts)), key=lambda i: (scores[i], -abs(shifts[i])))
    offset = 0.0
    if 0 < best < len(shifts) - 1:
        before, peak, after = scores[best - 1 : best + 2]
        curvature = before - 2 * peak + after
        offset = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    refined = shifts[best] + offset
    return Lag(shifts[best], refined, refined / fps * 1e3, scores[best])


# --------------------------------------------------------------------------------------- at the phones


def phone_frames(start_s: float, end_s: float, fps: float, n_frames: int) -> slice:
    """Frames that show a phone: from the one nearest its start to the one nearest its end, two at least.

    Empty if the phone lies beyond the clip.
    """
    first = round(start_s * fps)
    last = max(round(end_s * fps), first + 1)
    return slice(min(first, n_frames), min(last + 1, n_frames))


def at_phones(
    curve: np.ndarray,
    fps: float,
    phones: Iterable[PhoneTuple],
    names: Iterable[str],
    reduce: Callable[[np.ndarray], float] = np.min,
) -> np.ndarray:
    """(P,) one value for each phone named in `names` that the curve covers: `reduce` over its frames.

    Args:
        curve: (T,) one value a frame.
    """
    names = set(names)
    values: list[float] = []
    for name, start_s, end_s in phones:
        if name in names:
            part = curve[phone_frames(start_s, end_s, fps, len(curve))]
            if len(part):
                values.append(float(reduce(part)))
    return np.array(values)


def middle(part: np.ndarray) -> float:
    """The value in the middle of a phone, for `at_phones`."""
    return float(part[len(part) // 2])


def narrowing_mm(width_mm: np.ndarray, fps: float, phones: Iterable[PhoneTuple]) -> np.ndarray:
    """(P,) mm that the mouth is narrower in the middle of each uw and w than on the average of the clip.

    Args:
        width_mm: (T,).
    """
    return float(np.mean(width_mm)) - at_phones(width_mm, fps, phones, ROUNDED, middle)


def closed(opening_mm: np.ndarray, fps: float, phones: Iterable[PhoneTuple], names: Iterable[str]) -> np.ndarray:
    """(P,) bool, for each phone of `names`: the lips come within CLOSED_MM at some frame of it."""
    return at_phones(opening_mm, fps, phones, names) < CLOSED_MM


def closure_rate(opening_mm: np.ndarray, fps: float, phones: Iterable[PhoneTuple]) -> float:
    """Share of p, b, m at which the lips close (< 1 mm at some frame); NaN without such phones."""
    hits = closed(opening_mm, fps, phones, BILABIALS)
    return float(hits.mean()) if len(hits) else float("nan")


def false_closure_rate(opening_mm: np.ndarray, fps: float, phones: Iterable[PhoneTuple]) -> float:
    """Share of k, g, hh, n, t, d, l at which the lips close. NaN without such phones.

    Not 0 in the truth (a bilabial next door closes the lips within the same frames): read it against the
    truth's own rate. It keeps a mouth that never opens from scoring a perfect closure rate.
    """
    hits = closed(opening_mm, fps, phones, OPEN_CONSONANTS)
    return float(hits.mean()) if len(hits) else float("nan")


def lip_to_teeth_mm(lower_lip: np.ndarray, upper_teeth: np.ndarray) -> np.ndarray:
    """(T,) mm: mean over lower-lip points of the distance to the nearest point of the upper teeth's edge.

    Args:
        lower_lip: (T,n,3) metres.
        upper_teeth: (T,m,3), or (m,3) when they do not move, metres.
    """
    teeth = np.broadcast_to(upper_teeth, (len(lower_lip), *upper_teeth.shape[-2:]))
    apart = lower_lip[:, :, None, :] - teeth[:, None, :, :]
    return np.sqrt(np.square(apart, dtype=np.float64).sum(-1)).min(2).mean(1) * 1e3


# ------------------------------------------------------------------------------- loudness and silence


def log_loudness(audio: np.ndarray, sample_rate: int, fps: float, n_frames: int) -> np.ndarray:
    """(T,) natural log of the sound's RMS around each frame (one frame to either side), independent of gain.

    RMS is relative to its own 95th percentile with a floor of 1 %, so that gain cancels and silence is not
    -inf.
    """
    power = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    centre = np.arange(n_frames) / fps * sample_rate
    half = sample_rate / fps
    start = np.clip(np.round(centre - half), 0, len(audio)).astype(int)
    stop = np.clip(np.round(centre + half), 0, len(audio)).astype(int)
    rms = np.sqrt((power[stop] - power[start]) / np.maximum(stop - start, 1))
    reference = np.percentile(rms, 95)
    return np.log(rms / reference + 0.01) if reference > 0 else np.full(n_frames, math.log(0.01))


def loudness_correlation(opening_mm: np.ndarray, audio: np.ndarray, sample_rate: int, fps: float) -> float:
    """Correlation of lip opening with log loudness: positive in all speech. NaN for silent audio.

    Args:
        opening_mm: (T,).
        audio: (S,) mono.
    """
    return correlation(opening_mm, log_loudness(audio, sample_rate, fps, len(opening_mm)))


def silence_frames(
    phones: Iterable[PhoneTuple], fps: float, n_frames: int, min_span_s: float = 0.3, margin_s: float = 0.1
) -> np.ndarray:
    """(T,) bool: frames inside a `pau` longer than min_span_s, at least margin_s from its ends.

    The margins belong to speech: the mouth settles after the last sound and prepares the next.
    """
    time = np.arange(n_frames) / fps
    inside = np.zeros(n_frames, bool)
    for name, start_s, end_s in phones:
        if name == "pau" and end_s - start_s > min_span_s:
            inside |= (time >= start_s + margin_s - 1e-9) & (time <= end_s - margin_s + 1e-9)
    return inside


def silence_speed_mm_s(mouth: np.ndarray, fps: float, phones: Sequence[PhoneTuple]) -> float:
    """Mean speed of the mouth's vertices in silences over 0.3 s, mm per second; NaN without such silence.

    Args:
        mouth: (T,n,3) metres.
    """
    inside = silence_frames(phones, fps, len(mouth))
    steps = inside[1:] & inside[:-1]
    if not steps.any():
        return float("nan")
    moved = np.diff(mouth.astype(np.float64), axis=0)[steps]
    return float(np.sqrt(np.square(moved).sum(-1)).mean() * 1e3 * fps)


# ---------------------------------------------------------------------------------------------- blinks


class Blink(NamedTuple):
    """A blink: when the lids begin to close, and for how long they are closed."""

    start_s: float
    duration_s: float


def blinks(
    closure: np.ndarray, fps: float, shut: float = 0.5, begun: float = 0.2, longest_s: float = 0.8
) -> list[Blink]:
    """Blinks of an eyelid curve: it rises above `shut` and comes back within longest_s.

    A blink lasts while the curve is above `begun` (counted between the frames by linear interpolation).
    Lids that stay down longer are closed eyes, and one cut off by the start or end of the clip counts with
    what is seen.

    Args:
        closure: (T,) 0 for open lids, 1 for shut ones.
    """
    above = np.concatenate([[False], closure > begun, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    found: list[Blink] = []
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        if closure[first:after].max() <= shut:
            continue
        start, end = float(first), float(after - 1)
        if first > 0:
            start -= (closure[first] - begun) / (closure[first] - closure[first - 1])
        if after < len(closure):
            end += (closure[after - 1] - begun) / (closure[after - 1] - closure[after])
        if (end - start) / fps <= longest_s:
            found.append(Blink(float(start / fps), float((end - start) / fps)))
    return found
