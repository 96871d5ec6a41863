"""Coarticulation: segments to the ways of jaw, lips and tongue by dominance blending; envelopes of speech and closures.

Everything is computed on a fixed time grid and read off at the times wanted, so a clip at any frame rate says
the same thing at the same time. The functions of torch are those that `tools/fit_articulation.py` fits to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from meshtalk.synth.phones import BILABIAL, SEGMENTS, SILENCE, Segment
from meshtalk.synth.targets import IS_VOWEL, Articulation

GRID_HZ = 300
"""Rate of the internal time grid."""

PAUSE_S = 0.15
"""A silence at least this long lets the mouth close; in a shorter one it stays relaxed, a little open."""

USUAL_S = 0.09
"""Length of a segment whose dominance is its fitted one."""


def time_grid(duration_s: float) -> np.ndarray:
    """(G,) seconds, GRID_HZ a second, from 0 to at least `duration_s`."""
    return np.arange(int(np.ceil(duration_s * GRID_HZ)) + 2) / GRID_HZ


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, a cubic with flat ends between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def smooth(curves: np.ndarray, sigma_s: float) -> np.ndarray:
    """Gaussian smoothing of (G,...) grid curves along time, ends held."""
    reach = max(1, int(np.ceil(3 * sigma_s * GRID_HZ)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_s * GRID_HZ)) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(curves, [(reach, reach)] + [(0, 0)] * (curves.ndim - 1), mode="edge")
    return np.apply_along_axis(np.convolve, 0, padded, kernel, mode="valid")


def blend(name: Tensor, start_s: Tensor, end_s: Tensor, t_s: Tensor, model: Articulation) -> Tensor:
    """Targets of all segments weighed by their dominance at each time (Cohen & Massaro, "Modeling coarticulation in
    synthetic visual speech", 1993, with slopes of their own before and after a segment).

    A segment's dominance is flat over the middle half of it and falls exponentially outside.

    Args:
        name: (...,S) index in SEGMENTS, -1: no segment.
        start_s, end_s: (...,S) seconds.
        t_s: (G,) seconds.

    Returns:
        (...,G,V) in the units of the targets.
    """
    vowel, here = IS_VOWEL[name], name >= 0
    middle_s, half_s = ((start_s + end_s) / 2)[..., None, :, None], ((end_s - start_s) / 2)[..., None, :, None]
    apart_s = t_s[:, None, None] + model.lead_s - middle_s  # (...,G,S,V)
    before_s, after_s = (-apart_s - 0.5 * half_s).clip(min=0), (apart_s - 0.5 * half_s).clip(min=0)
    lengths = ((end_s - start_s) / USUAL_S).clip(min=0.3, max=2.5).log()
    strength = model.dominance[name] + model.duration * lengths[..., None]
    strength = strength.masked_fill(~here[..., None], -1e9)
    pull = strength[..., None, :, :] - before_s * model.before_hz[vowel][..., None, :, :]
    pull = pull - after_s * model.after_hz[vowel][..., None, :, :]
    return (pull.softmax(-2) * model.target[name][..., None, :, :]).sum(-2)


def trajectories(parts: Sequence[Segment], t_s: np.ndarray, model: Articulation) -> np.ndarray:
    """(G,V) ways of the articulators: blended, smoothed by their inertia; zeros where there are no segments."""
    if not parts:
        return np.zeros((len(t_s), model.target.shape[1]))
    names = torch.tensor([SEGMENTS.index(part.name) for part in parts])
    start_s, end_s = (
        torch.tensor([getattr(part, key) for part in parts], dtype=torch.float64) for key in ("start_s", "end_s")
    )
    pieces = torch.from_numpy(t_s).split(2048)  # a long recording takes no more memory than a short one
    blended = torch.cat([blend(names, start_s, end_s, piece, model) for piece in pieces]).numpy()
    return np.stack([smooth(blended[:, v], float(model.inertia_s[v])) for v in range(blended.shape[1])], axis=1)


def loudness(audio: np.ndarray, sample_rate: int, t_s: np.ndarray) -> np.ndarray:
    """(G,) level relative to the clip's own loud parts, about 1 there and 0 in silence."""
    window = max(3, int(0.08 * sample_rate)) | 1
    hann = np.hanning(window + 2)[1:-1]
    # decimating the power to 1 ms keeps the convolution small
    step = max(1, sample_rate // 1000)
    power = np.add.reduceat(np.square(audio, dtype=np.float64), np.arange(0, len(audio), step)) / step
    kernel = hann[::step] / hann[::step].sum()
    level = np.sqrt(np.convolve(power, kernel, mode="same")[: len(power)])
    audible = level[level > 0.05 * level.max(initial=0.0)]
    if len(audible) == 0 or level.max() < 1e-6:
        return np.zeros(len(t_s))
    loud = np.percentile(audible, 85)
    return np.interp(t_s, np.arange(len(level)) * step / sample_rate, np.minimum(level / loud, 1.4))


def _union(envelopes: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Smooth maximum of envelopes in [0,1]."""
    remaining = np.ones(n)
    for envelope in envelopes:
        remaining = remaining * (1 - envelope)
    return 1 - remaining


def _plateau(t_s: np.ndarray, start_s: float, end_s: float, attack_s: float, release_s: float) -> np.ndarray:
    """1 from start to end, with smooth flanks outside."""
    return smoothstep((t_s - start_s + attack_s) / attack_s) * smoothstep((end_s + release_s - t_s) / release_s)


def _runs(parts: Sequence[Segment]) -> list[list[Segment]]:
    """Stretches of speech between silences of at least PAUSE_S."""
    runs: list[list[Segment]] = [[]]
    for part in parts:
        if part.name == SILENCE and (part.duration_s >= PAUSE_S or part in (parts[0], parts[-1])):
            runs.append([])
        else:
            runs[-1].append(part)
    return [run for run in runs if run]


def activity(parts: Sequence[Segment], t_s: np.ndarray) -> np.ndarray:
    """(G,) 1 while speaking, 0 in pauses: the mouth opens just before speech and closes after it."""
    runs = _runs(parts)
    envelopes = []
    for k, run in enumerate(runs):
        start_s, end_s = run[0].start_s, run[-1].end_s
        before_s = start_s - runs[k - 1][-1].end_s if k else np.inf
        after_s = runs[k + 1][0].start_s - end_s if k + 1 < len(runs) else np.inf
        attack_s, release_s = np.clip(0.5 * before_s, 0.07, 0.16), np.clip(0.6 * after_s, 0.09, 0.26)
        envelopes.append(_plateau(t_s, start_s, end_s, float(attack_s), float(release_s)))
    return _union(envelopes, len(t_s))


def bilabial_closure(parts: Sequence[Segment], t_s: np.ndarray) -> np.ndarray:
    """(G,) 1 while p, b or m hold the lips together (at least 60 ms), 0 when they do not touch them.

    The flanks are short: the neighbours must open quickly, or t, k, n, l beside a bilabial would look closed.
    """
    runs = _runs(parts)
    first, last = {id(run[0]) for run in runs}, {id(run[-1]) for run in runs}
    holds: list[list[float]] = []
    for part in parts:
        if part.name not in BILABIAL:
            continue
        # the burst and breath of p and b are part of the phone but come after the release
        begin, end = (0.05, 0.94) if part.name == "m" else (0.06, 0.78)
        start_s, end_s = part.start_s + begin * part.duration_s, part.start_s + end * part.duration_s
        lack_s = max(0.0, 0.060 - (end_s - start_s)) / 2
        start_s, end_s = start_s - lack_s, end_s + lack_s
        if id(part) in first:  # lips that rest closed do not part before a bilabial
            start_s -= 0.25
        if id(part) in last and part.name == "m":
            end_s += 0.30
        if holds and start_s - holds[-1][1] < 0.04:
            holds[-1][1] = end_s
        else:
            holds.append([start_s, end_s])
    return _union((_plateau(t_s, a, b, 0.070, 0.060) for a, b in holds), len(t_s))


def labiodental_touch(parts: Sequence[Segment], t_s: np.ndarray, names: frozenset[str]) -> np.ndarray:
    """(G,) 1 while f or v hold the lower lip against the upper teeth."""
    holds = []
    for part in parts:
        if part.name in names:
            inset_s = 0.2 * part.duration_s
            holds.append((part.start_s + inset_s, part.end_s - inset_s))
    return _union((_plateau(t_s, a, b, 0.065, 0.060) for a, b in holds), len(t_s))


def soft_limit(curve: np.ndarray, top: float = 1.0) -> np.ndarray:
    """Bends what exceeds 0.8·top smoothly under `top`, leaves the rest."""
    knee = 0.8 * top
    over = np.maximum(curve - knee, 0.0)
    return np.minimum(curve, knee) + (top - knee) * np.tanh(over / (top - knee))
