"""One clip → what can be told from it alone: curves of mouth and sound, jumps, stills, level, clipping, lengths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from meshtalk.audio import MelFrontend, to_mono
from meshtalk.clip import CHUNK, Clip
from meshtalk.corpus.duplicates import Fingerprint, fingerprint
from meshtalk.corpus.store import ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.evaluation.sync import log_loudness
from meshtalk.topology import Topology, lip_opening_m

LOW_LEVEL_DB = -120.0
STILL_MM = 1e-3
"""A frame from which no vertex is further away is the same frame: a micron is rounding."""
SPIKE_MM, SPIKE_TIMES = 2.0, 6.0
"""A frame is an outlier if a vertex bends from its path by so much, and by so many times what the clip's liveliest tenth does."""
LIVELY = 90
"""Percentile of a clip's frames that stands for its own lively motion, such as blinks."""
FLAT_SAMPLES = 3
"""Samples in a row at the loudest value make a flat top: clipped, whatever gain came after."""
SPEECH_DB = 30.0
"""So far below its loud parts a clip still counts as speaking."""


@dataclass(eq=False)
class Measured:
    """A clip's own numbers; curves have one value a frame."""

    id: str
    broken: str = ""
    """Why it could not be measured; everything else then stays as it is."""
    opening_mm: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(T,) how far the mouth is open, or how far it is from rest where the mesh does not say where the lips meet; NaN in gaps."""
    loudness: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(T,) natural log of the sound's RMS, relative to its own loud parts."""
    mel: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    """(H,M) log-mel every 10 ms."""
    level_db: float = LOW_LEVEL_DB
    """Of the loud parts of its sound (95th percentile of frames), dB of full scale."""
    quiet_db: float = LOW_LEVEL_DB
    """Of its quiet parts (5th percentile)."""
    flat_tops: int = 0
    sound_s: float = 0.0
    motion_s: float = 0.0
    missing: int = 0
    """Frames that were not captured."""
    spikes: list[tuple[int, float]] = field(default_factory=list)
    """(frame, mm that a vertex leaves its path there), the worst first."""
    still_s: float = 0.0
    """Longest stretch of identical frames while somebody speaks."""
    still_from: int = 0
    repeated: float = 0.0
    """Share of the frames that repeat the one before."""
    far_m: float = 0.0
    """Largest distance of a vertex from the neutral face, of the median frame."""
    prints: Fingerprint | None = None


def mouth_curve(topology: Topology) -> tuple[str, np.ndarray | None]:
    """(what stands for the opening of the mouth on this mesh, (V,) weights of the vertices whose motion it is, if it is that)."""
    if {"lip_inner_upper", "lip_inner_lower"} <= set(topology.landmarks):
        return "lip opening", None
    mouth = topology.regions.get("mouth")
    if mouth is not None and np.any(mouth > 0):
        return "motion of the mouth region", mouth.astype(np.float32)
    return "motion of the whole mesh", np.ones(topology.n_vertices, np.float32)


def measure(info: ClipInfo, corpus: Corpus) -> Measured:
    """Read a clip once and measure it; memory holds its sound and a piece of its motion."""
    try:
        clip = corpus.load(info)
        return measured(clip, info.id)
    except InputError as error:
        return Measured(info.id, broken=str(error))


def measured(clip: Clip, id: str) -> Measured:
    """Everything in `Measured` for a clip.

    Raises:
        InputError: motion or sound holds NaN, or there is none.
    """
    if clip.n_frames < 2 or not len(clip.audio):
        raise InputError(f"it has {clip.n_frames} frames and {len(clip.audio)} samples : drop it")
    if not np.isfinite(clip.audio).all():
        raise InputError("its sound holds NaN or infinite samples : export it again")
    found = Measured(id, sound_s=len(clip.audio) / clip.sample_rate, motion_s=clip.duration_s)
    valid = np.ones(clip.n_frames, bool) if clip.valid is None else clip.valid.astype(bool)
    found.missing = int((~valid).sum())
    _measure_motion(clip, valid, found)
    _measure_sound(clip, found)
    found.prints = fingerprint(clip, id)
    return found


def _measure_motion(clip: Clip, valid: np.ndarray, found: Measured) -> None:
    _, weights = mouth_curve(clip.topology)
    opening, steps, bends, far = [], [], [], []
    before: np.ndarray | None = None  # the last two frames of the piece before
    for start in range(0, clip.n_frames, CHUNK):
        moved = clip.displacements(start, start + CHUNK)
        if not np.isfinite(moved).all():
            bad = start + int(np.flatnonzero(~np.isfinite(moved).all((1, 2)))[0])
            raise InputError(f"its motion holds NaN or infinite vertices, the first in frame {bad} : repair or drop it")
        if weights is None:
            opening.append(lip_opening_m(moved + clip.template, clip.topology) * 1e3)
        else:
            squared = np.einsum("tvc,tvc->tv", moved, moved)
            opening.append(np.sqrt(squared @ weights / weights.sum()) * 1e3)
        far.append(np.sqrt(np.einsum("tvc,tvc->tv", moved, moved).max(1)))
        run = moved if before is None else np.concatenate([before, moved])
        step = np.diff(run, axis=0)
        fresh = step if before is None else step[1:]
        steps.append(_largest_mm(fresh))
        bends.append(_largest_mm(np.diff(step, axis=0)) / 2)
        before = run[-2:]
    found.opening_mm = np.where(valid, np.concatenate(opening), np.nan).astype(np.float32)
    found.far_m = float(np.median(np.concatenate(far)))
    step_mm, bend_mm = np.concatenate(steps), np.concatenate(bends)
    found.spikes = _spikes(bend_mm, valid)
    same = (step_mm < STILL_MM) & valid[1:] & valid[:-1]
    found.repeated = float(same.mean())
    speaking = log_loudness(clip.audio, clip.sample_rate, float(clip.fps), clip.n_frames) > -SPEECH_DB / 20 * np.log(10)
    first, length = _longest(same & speaking[1:])
    found.still_from, found.still_s = first, float(length / clip.fps)


def _largest_mm(vectors: np.ndarray) -> np.ndarray:
    """(t,) mm: length of the longest of (t,V,3) vectors in metres."""
    return np.sqrt(np.einsum("tvc,tvc->tv", vectors, vectors).max(1)) * 1e3 if len(vectors) else np.zeros(0)


def _spikes(bend_mm: np.ndarray, valid: np.ndarray) -> list[tuple[int, float]]:
    """Outlier frames from (T-2,) bends: half the second difference, how far a frame lies from the middle of its neighbours."""
    inside = valid[2:] & valid[1:-1] & valid[:-2]
    if not inside.any():
        return []
    usual = float(np.percentile(bend_mm[inside], LIVELY))
    worst = np.where(inside, bend_mm, 0.0)
    # a spike bends its neighbours' paths too: only the frame where it is greatest counts
    beside = np.pad(worst, 1)
    peak = (worst >= beside[:-2]) & (worst > beside[2:])
    frames = np.flatnonzero(peak & (worst > max(SPIKE_MM, SPIKE_TIMES * usual)))
    return sorted(((int(k) + 1, float(worst[k])) for k in frames), key=lambda spike: -spike[1])


def _longest(flags: np.ndarray) -> tuple[int, int]:
    """(start, length) of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    best = int(np.argmax(lengths))
    return int(edges[2 * best]), int(lengths[best])


def _measure_sound(clip: Clip, found: Measured) -> None:
    found.loudness = log_loudness(clip.audio, clip.sample_rate, float(clip.fps), clip.n_frames).astype(np.float32)
    size = max(1, clip.sample_rate // 40)
    power = np.square(clip.audio, dtype=np.float64)[: len(clip.audio) // size * size].reshape(-1, size).mean(1)
    if len(power):
        found.quiet_db, found.level_db = 10 * np.log10(np.maximum(np.percentile(power, [5, 95]), 1e-12))
        found.quiet_db, found.level_db = float(found.quiet_db), float(found.level_db)
    found.flat_tops = flat_tops(clip.audio)
    heard = to_mono(clip.audio, clip.sample_rate)
    found.mel = MelFrontend("phonetic").all(heard).astype(np.float16)


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
