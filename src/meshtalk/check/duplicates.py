"""Find clips of a corpus that hold the same sound or motion, even if louder, resampled, compressed or trimmed.

Fingerprints find candidates, which are then compared clip by clip.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from meshtalk.clip import Clip
from meshtalk.corpus.store import Corpus

RATE_HZ = 4000
"""Sound is compared at this rate: what lossy compression keeps best."""
BANDS, SLICES = 12, 32
"""Of a sound's fingerprint; bands are even steps of pitch from 100 to 1900 Hz."""
FIELDS, INSTANTS = 8, 32
"""Of a motion's fingerprint: random weighted sums of all coordinates, and frames spread over the clip."""
LOUD, STEADY = 0.05, 15
"""Share of the loud parts' power that begins and ends what is compared, as a mean over so many frames of 10 ms."""
ALIKE = 0.85
"""Cosine of fingerprints from which clips are compared themselves: the same sound, re-encoded, has .95 and more."""
NEAR_LENGTH = 0.1
"""Share by which lengths of such clips may differ."""
SAME_SOUND, SAME_MOTION = 0.8, 0.995
"""Correlation of waveforms, and of motion, from which they are the same: other takes of a line have less than .3 and .95."""
STILL_M = 1e-5
"""Motion that varies less is none, RMS over the vertices."""
QUIET = 1e-3
"""Sound whose RMS is less, of full scale, is none: -60 dB."""
MOST_TRIED = 20
"""Neighbours with which a clip is compared, the most similar first."""
AT_ONCE = 128
"""Clips whose fingerprints are compared with all others at a time."""
NONE = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Fingerprint of sound and motion, invariant to level, duration and the size of the face."""

    sound: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(BANDS·SLICES,) of length 1; empty for silence."""
    motion: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(FIELDS·INSTANTS,) of length 1; empty where nothing moves."""


@dataclass(frozen=True)
class Pair:
    """Two clips that are the same."""

    a: str
    b: str
    what: str
    """sound, motion or both."""
    similarity: float
    """Correlation, the smaller one of both."""


def fingerprint(clip: Clip) -> Fingerprint:
    """Fingerprint of a clip, which must be finite."""
    return Fingerprint(_sound_print(clip), _motion_print(clip))


def pairs(prints: Mapping[str, Fingerprint], corpus: Corpus) -> list[Pair]:
    """All pairs of clips with the same sound or motion, the surest first; those that cannot be read have none.

    Args:
        prints: clip id → its fingerprint, of the clips that can be read.
    """
    infos = {info.id: info for info in corpus.clips if info.id in prints}
    likely: dict[tuple[str, str], None] = {}
    for what in ("sound", "motion"):
        some = {id: getattr(one, what) for id, one in prints.items() if len(getattr(one, what))}
        likely |= dict.fromkeys(_candidates(some, [infos[id].duration_s for id in some]))
    found = []
    for a, b in sorted(likely):
        one, other = (corpus.load(infos[id]) for id in (a, b))
        alike = {"sound": same_sound(one, other), "motion": same_motion(one, other)}
        same = [what for what, limit in (("sound", SAME_SOUND), ("motion", SAME_MOTION)) if alike[what] >= limit]
        if same:
            found.append(Pair(a, b, "both" if len(same) == 2 else same[0], min(alike[what] for what in same)))
    return sorted(found, key=lambda pair: (pair.what != "both", -pair.similarity))


def _candidates(prints: Mapping[str, np.ndarray], durations_s: Sequence[float]) -> Iterator[tuple[str, str]]:
    """Pairs of ids with like fingerprints and lengths, each once."""
    if len(prints) < 2:
        return
    ids, table = list(prints), np.stack(list(prints.values())).astype(np.float32)
    length = np.log(np.asarray(durations_s, np.float32))
    seen = set()
    for start in range(0, len(ids), AT_ONCE):
        block = table[start : start + AT_ONCE] @ table.T
        block[np.abs(length[start : start + AT_ONCE, None] - length) >= NEAR_LENGTH] = 0.0
        likely = block > ALIKE
        for row in np.flatnonzero(likely.sum(1) > 1).tolist():
            here, others = start + row, np.flatnonzero(likely[row])
            for there in others[np.argsort(-block[row, others], kind="stable")][: MOST_TRIED + 1].tolist():
                pair = (min(ids[here], ids[there]), max(ids[here], ids[there]))
                if here != there and pair not in seen:
                    seen.add(pair)
                    yield pair


def same_sound(a: Clip, b: Clip) -> float:
    """Largest correlation of two waveforms at any shift, 0..1, whatever their level and polarity."""
    x, y = (_at_rate(clip) for clip in (a, b))
    size = np.sqrt(np.sum(x * x) * np.sum(y * y))
    if size == 0:
        return 0.0
    n = 1 << (len(x) + len(y) - 1).bit_length()
    shifted = np.fft.irfft(np.fft.rfft(x, n) * np.conj(np.fft.rfft(y, n)), n)
    return float(np.abs(shifted).max() / size)


def same_motion(a: Clip, b: Clip) -> float:
    """Largest correlation of two motions' curves at a shift of up to a fifth of their length, 0..1."""
    x, y = (_curves(clip) for clip in (a, b))
    best = 0.0
    shortest = min(len(x), len(y))
    for shift in range(-(shortest // 5), shortest // 5 + 1):
        first, second = x[max(shift, 0) :], y[max(-shift, 0) :]
        n = min(len(first), len(second))
        first, second = (piece[:n] - piece[:n].mean(0) for piece in (first, second))
        size = np.sqrt(np.sum(first * first) * np.sum(second * second))
        if size > 0:
            best = max(best, float(np.sum(first * second) / size))
    return best


def _at_rate(clip: Clip) -> np.ndarray:
    """(S',) float64 sound at RATE_HZ without its mean."""
    import soxr

    audio = soxr.resample(np.asarray(clip.audio, np.float32), clip.sample_rate, RATE_HZ).astype(np.float64)
    return audio - audio.mean() if len(audio) else audio


def _sound_print(clip: Clip) -> np.ndarray:
    """Log energy in bands and slices of time, without each band's mean: gain and equalisation fall out."""
    if len(clip.audio) < clip.sample_rate // 5 or np.sqrt(np.mean(np.square(clip.audio, dtype=np.float64))) < QUIET:
        return NONE
    audio = _at_rate(clip)
    window, hop = 256, RATE_HZ // 100
    frames = np.lib.stride_tricks.sliding_window_view(audio, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    edges = np.round(np.geomspace(100, 1900, BANDS + 1) / RATE_HZ * window).astype(int)
    # from the first loud frame to the last: silence that was cut or added at the ends says nothing
    level = np.convolve(power.sum(1), np.full(STEADY, 1 / STEADY), "same")
    loud = np.flatnonzero(level > LOUD * np.percentile(level, 95))
    power = power[loud[0] : loud[-1] + 1]
    bands = np.stack([power[:, low : max(high, low + 1)].sum(1) for low, high in itertools.pairwise(edges)], 1)
    pieces = np.array_split(bands, SLICES)
    shape = np.log(
        np.stack([piece.mean(0) if len(piece) else np.zeros(BANDS) for piece in pieces]) + 1e-4 * bands.mean()
    )
    return _unit(shape - shape.mean(0))


def _motion_print(clip: Clip) -> np.ndarray:
    if clip.n_frames < 2:
        return NONE
    at = np.linspace(0, clip.n_frames - 1, INSTANTS).round().astype(int)
    picked = {name: None if array is None else array[at] for name, array in _motion(clip).items()}
    seen = _curves(replace(clip, valid=None, **picked))
    moved = seen - seen.mean(0)
    # a random sum of n coordinates, each varying by s, varies by s·√n
    still = STILL_M * np.sqrt(3 * clip.topology.n_vertices)
    return _unit(moved) if float(np.sqrt(np.mean(moved**2))) > still else NONE


def _motion(clip: Clip) -> dict[str, np.ndarray | None]:
    return {"weights": clip.weights, "displacement": clip.displacement}


@lru_cache(maxsize=2)
def _fields(n_vertices: int) -> np.ndarray:
    """(FIELDS,V,3) the same for all clips of a mesh."""
    return np.random.default_rng(n_vertices).standard_normal((FIELDS, n_vertices, 3)).astype(np.float32)


def _curves(clip: Clip) -> np.ndarray:
    """(T,FIELDS) random weighted sums of all coordinates over time."""
    return clip.project(_fields(clip.topology.n_vertices)).astype(np.float64)


def _unit(values: np.ndarray) -> np.ndarray:
    size = float(np.linalg.norm(values))
    return (values.ravel() / size).astype(np.float32) if size > 0 and np.isfinite(size) else NONE
