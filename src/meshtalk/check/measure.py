"""Measures of one clip: curves of mouth and sound, jumps, frozen motion, level, clipping, lengths, axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from meshtalk.audio.files import to_mono
from meshtalk.audio.mel import MelFrontend
from meshtalk.check.duplicates import Fingerprint, fingerprint
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.measures.sync import log_loudness
from meshtalk.mesh.topology import Topology, lip_opening_m

LOWEST_DB = -120.0
STILL_MM = 1e-3
"""A frame from which no vertex is further away is the same frame: a micron is rounding."""
SPIKE_MM, SPIKE_TIMES, SPIKE_FLOOR_MM = 2.5, 8.0, 0.3
"""A frame is an outlier if a vertex bends from its path by so much, and by so many times what the same vertex does at any
other moment near by (at least the floor): a blink or a closure bends it more than once."""
NEAR_FRAMES = 60
"""How many frames are near by."""
JUMP_MM, JUMP_TIMES, LIVELY = 8.0, 6.0, 90
"""Or if a vertex bends by so much, and so many times what the clip's liveliest tenth of frames (from that percentile) does."""
MOST_SPIKES = 50
"""Number of outlier frames that are recorded, the worst first."""
FLAT_SAMPLES = 3
"""Samples in a row at the loudest value make a flat top: clipped, whatever gain came after."""
SPEECH_DB = 30.0
"""So far below its loud parts a clip still counts as speaking."""
SOUND_RATE_HZ, SOUND_BANDS = 50, 16
"""Of the log-mel that stands for a clip's sound: neighbours of the frontend's 100 Hz and 32 bands, averaged."""
NUMBERS_AT_ONCE, FRAMES_AT_ONCE = 3_000_000, 64
"""Coordinates expanded at a time, and frames at least."""


@dataclass(eq=False)
class Measured:
    """Measures of a clip; curves have one value per frame."""

    id: str
    broken: str = ""
    """Reason why it could not be measured; all other fields then have their defaults."""
    opening_mm: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(T,) how far the mouth is open, or its distance from rest where the mesh has no inner lips; NaN in gaps."""
    loudness: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(T,) natural log of the sound's RMS, relative to its own loud parts."""
    mel: np.ndarray = field(default_factory=lambda: np.zeros((0, SOUND_BANDS), np.float16))
    """(H, SOUND_BANDS) log-mel at SOUND_RATE_HZ; row i is about second (i + 1/4) / SOUND_RATE_HZ."""
    level_db: float = LOWEST_DB
    """Of the loud parts of its sound (95th percentile of 25 ms), dB of full scale."""
    flat_tops: int = 0
    sound_s: float = 0.0
    motion_s: float = 0.0
    missing: int = 0
    """Frames that were not captured."""
    spikes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """(N,2) frame, and mm that a vertex leaves its path there; the worst first."""
    still_s: float = 0.0
    """Longest time in which no vertex of the mouth moves during speech."""
    still_from: int = 0
    repeated: float = 0.0
    """Share of the frames that repeat the one before."""
    far_m: float = 0.0
    """Distance from the neutral face of the vertex that is furthest from it, in the median frame."""
    spread_mm: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """(3,) standard deviation over time of where the mouth is, along x, y and z."""
    moving_m: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """(3,) where the face moves, from the middle of its vertices: their mean position, weighted with squared motion."""
    prints: Fingerprint = field(default_factory=Fingerprint)


def mouth_curve(topology: Topology) -> tuple[str, np.ndarray]:
    """(name of the curve that measures mouth opening on this mesh, (V,) weights of the mouth's vertices)."""
    regions = (topology.regions.get(name) for name in ("mouth", "lips"))
    mouth = next((weights for weights in regions if weights is not None and np.any(weights > 0)), None)
    weights = np.ones(topology.n_vertices, np.float32) if mouth is None else mouth.astype(np.float32)
    if topology.names_inner_lips:
        return "lip opening", weights
    return "motion of the whole mesh" if mouth is None else "motion of the mouth region", weights


def measured(clip: Clip, id: str) -> Measured:
    """Measure a clip; memory holds its sound and a chunk of its motion.

    Raises:
        InputError: motion or sound holds NaN, or there is none.
    """
    if clip.n_frames < 2 or not len(clip.audio):
        raise InputError(
            f"it must have two frames and one sample, got {clip.n_frames} and {len(clip.audio)}. Remove it."
        )
    if clip.audio.ndim != 1 or not np.isfinite(clip.audio).all():
        raise InputError("its sound is not mono, or holds NaN or infinite samples. Export it again.")
    if not np.isfinite(clip.template).all():
        raise InputError(f"the neutral face of {clip.subject} holds NaN or infinite vertices. Repair it.")
    found = Measured(id, sound_s=len(clip.audio) / clip.sample_rate, motion_s=clip.duration_s)
    valid = np.ones(clip.n_frames, bool) if clip.valid is None else clip.valid.astype(bool)
    if valid.shape != (clip.n_frames,):
        raise InputError(f"its mask must have shape ({clip.n_frames},), got {valid.shape}")
    found.missing = int((~valid).sum())
    found.loudness = log_loudness(clip.audio, clip.sample_rate, float(clip.fps), clip.n_frames).astype(np.float32)
    _measure_motion(clip, valid, found)
    _measure_sound(clip, found)
    found.prints = fingerprint(clip)
    return found


def _pieces(clip: Clip) -> Iterator[tuple[np.ndarray, int, int]]:
    """((t,V,3) displacements, number of the first frame, how many of them were in the piece before).

    Raises:
        InputError: they are not finite.
    """
    size = max(NUMBERS_AT_ONCE // (3 * clip.topology.n_vertices), FRAMES_AT_ONCE)
    kept = np.zeros((0, clip.topology.n_vertices, 3), np.float32)
    for start in range(0, clip.n_frames, size):
        moved = clip.displacements(start, start + size)
        if not np.isfinite(moved).all():
            bad = start + int(np.flatnonzero(~np.isfinite(moved).all((1, 2)))[0])
            raise InputError(f"its motion holds NaN or infinite vertices, the first in frame {bad}. Repair or drop it.")
        run = np.concatenate([kept, moved])
        yield run, start - len(kept), len(kept)
        kept = run[-NEAR_FRAMES // 2 :]


def _measure_motion(clip: Clip, valid: np.ndarray, found: Measured) -> None:
    kind, weights = mouth_curve(clip.topology)
    mouth = np.flatnonzero(weights > 0.5 * weights.max())
    opening, far, steps, mouth_steps, bends, where = [], [], [], [], [], []
    energy = np.zeros(clip.topology.n_vertices)
    spikes: dict[int, float] = {}
    for run, begin, old in _pieces(clip):
        fresh = run[old:]
        squared = np.einsum("tvc,tvc->tv", fresh, fresh)
        if kind == "lip opening":
            opening.append(lip_opening_m(fresh + clip.template, clip.topology) * 1e3)
        else:
            opening.append(np.sqrt(squared @ weights / weights.sum()) * 1e3)
        far.append(np.sqrt(squared.max(1)))
        where.append(np.einsum("tvc,v->tc", fresh, weights / weights.sum()) * 1e3)
        step = np.diff(run, axis=0)
        new = step[max(old - 1, 0) :]
        steps.append(_length_mm(new).max(1))
        mouth_steps.append(_length_mm(new[:, mouth]).max(1, initial=0))
        energy += np.einsum("tvc,tvc->v", new, new)
        # half the second difference: how far a vertex lies from the middle of where it was and will be
        bend = _length_mm(np.diff(step, axis=0)) / 2
        here = valid[begin : begin + len(run)]
        bend[~(here[2:] & here[1:-1] & here[:-2])] = 0.0
        for frame, mm in _isolated(bend):
            spikes[begin + 1 + frame] = max(mm, spikes.get(begin + 1 + frame, 0.0))
        bends.append(bend[max(old - 2, 0) :].max(1))
    found.opening_mm = np.where(valid, np.concatenate(opening), np.nan).astype(np.float32)
    if valid.any():
        found.far_m = float(np.median(np.concatenate(far)[valid]))
        found.spread_mm = np.std(np.concatenate(where)[valid], axis=0)
    if energy.sum() > 0:
        found.moving_m = energy @ (clip.template - clip.template.mean(0)) / energy.sum()
    for frame, mm in _jumps(np.concatenate(bends)):
        spikes.setdefault(frame + 1, mm)
    worst = sorted(spikes.items(), key=lambda spike: -spike[1])[:MOST_SPIKES]
    found.spikes = np.array(worst, np.float64).reshape(-1, 2)
    both = valid[1:] & valid[:-1]
    if both.any():
        found.repeated = float((np.concatenate(steps)[both] < STILL_MM).mean())
    speaking = found.loudness > -SPEECH_DB / 20 * np.log(10)
    still = (np.concatenate(mouth_steps) < STILL_MM) & both & speaking[1:]
    found.still_from, length = _longest(still)
    found.still_s = float(length / clip.fps)


def _length_mm(vectors: np.ndarray) -> np.ndarray:
    """(t,V) mm: lengths of (t,V,3) vectors in metres."""
    return np.sqrt(np.einsum("tvc,tvc->tv", vectors, vectors)) * 1e3


def _isolated(bend_mm: np.ndarray) -> Iterator[tuple[int, float]]:
    """(frame, mm) where a vertex bends as it does nowhere else near by; (t,V) bends."""
    for part in np.array_split(np.arange(len(bend_mm)), max(round(len(bend_mm) / NEAR_FRAMES), 1)):
        if not len(part):
            continue
        near, vertices = bend_mm[part].copy(), np.arange(bend_mm.shape[1])
        at, most = near.argmax(0), near.max(0)
        for shift in (-1, 0, 1):  # a spike bends the path at the frames beside it too
            near[np.clip(at + shift, 0, len(near) - 1), vertices] = 0.0
        odd = (most > SPIKE_MM) & (most > SPIKE_TIMES * np.maximum(near.max(0), SPIKE_FLOOR_MM))
        for place in np.unique(at[odd]).tolist():
            yield int(part[place]), float(most[odd & (at == place)].max())


def _jumps(bend_mm: np.ndarray) -> Iterator[tuple[int, float]]:
    """(frame, mm) of outliers among (t,) largest bends of the frames."""
    usual = bend_mm[bend_mm > 0]
    if not len(usual):
        return
    limit = max(JUMP_MM, JUMP_TIMES * float(np.percentile(usual, LIVELY)))
    beside = np.pad(bend_mm, 1)
    peaks = (bend_mm >= beside[:-2]) & (bend_mm > beside[2:]) & (bend_mm > limit)
    yield from ((int(k), float(bend_mm[k])) for k in np.flatnonzero(peaks))


def _longest(flags: np.ndarray) -> tuple[int, int]:
    """(start, length) of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    best = int(np.argmax(lengths))
    return int(edges[2 * best]), int(lengths[best])


def _measure_sound(clip: Clip, found: Measured) -> None:
    size = max(1, clip.sample_rate // 40)
    power = np.square(clip.audio, dtype=np.float64)[: len(clip.audio) // size * size].reshape(-1, size).mean(1)
    if len(power):
        found.level_db = float(10 * np.log10(max(np.percentile(power, 95), 10 ** (LOWEST_DB / 10))))
    found.flat_tops = flat_tops(clip.audio)
    mel = MelFrontend("phonetic").all(to_mono(clip.audio, clip.sample_rate))
    mel = np.concatenate([mel, mel[-1:]])[: len(mel) + len(mel) % 2]
    found.mel = mel.reshape(len(mel) // 2, 2, SOUND_BANDS, -1).mean((1, 3)).astype(np.float16)


def flat_tops(audio: np.ndarray) -> int:
    """How many times FLAT_SAMPLES or more samples in a row are as loud as the loudest one, on the same side."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0:
        return 0
    count = 0
    for side in (1, -1):
        at_top = side * audio >= peak * (1 - 2e-4)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], at_top, [False]]).astype(np.int8)))
        count += int((edges[1::2] - edges[::2] >= FLAT_SAMPLES).sum())
    return count
