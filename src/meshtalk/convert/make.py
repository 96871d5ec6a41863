"""Conversion of one clip: coordinates, gaps filled and marked, lengths trimmed, checked."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from meshtalk.audio.files import n_frames
from meshtalk.clip import Clip
from meshtalk.convert.plan import Capture, Job
from meshtalk.corpus.store import RECORD, ClipInfo, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.mesh.units import Space
from meshtalk.outcomes import DROPPED, Outcome

VERSION = 2
"""Raise when a converter makes other clips of the same files: existing clips are then converted again."""
MISMATCH = 0.15
"""Share by which sound and motion may differ in length, the longer one being cut: 24 for 30 frames per second differ by more."""
MISMATCH_S = 0.25
"""… and so may short clips."""
FAR_M = 0.1
"""Mean distance from the neutral face beyond which vertices are not that face's."""
LARGEST_WEIGHT = 2.0
"""ARKit's weights go from 0 to 1."""
LARGEST_SAMPLE = 8.0
"""Full scale is 1; floating point beyond this holds integers."""


@dataclass(frozen=True, eq=False)
class Work:
    """A job with its part of the plan, for a worker process."""

    job: Job
    writer: CorpusWriter
    template: np.ndarray
    """(V,3) metres."""
    space: Space | None
    gains: np.ndarray | None
    common: str
    """Digest of what all clips of the corpus depend on."""


def make(work: Work) -> ClipInfo | Outcome:
    """Read, check and store a clip, unless it is already there.

    Raises:
        InputError: the corpus cannot be written.
    """
    job, writer = work.job, work.writer
    prints, changed_ns = _fingerprint(job.sources)
    labels = [job.id, job.subject, job.voice, job.split, job.official, job.sentence, job.emotion]
    content = hashlib.sha256(np.ascontiguousarray(work.template, np.float32).tobytes()).hexdigest()
    gains = [] if work.gains is None else work.gains.tolist()
    recipe = json.dumps([VERSION, work.common, labels, content, gains, prints])
    recipe = hashlib.sha256(recipe.encode()).hexdigest()[:32]
    record = writer.root / "clips" / job.id / RECORD
    existing = writer.existing(job.id, recipe)
    if existing is not None and record.stat().st_mtime_ns >= changed_ns:
        return existing
    try:
        clip, note = clip_of(job, job.read(), writer, work)
        clip.validate()
    except InputError as error:
        return Outcome(job.id, DROPPED, str(error))
    except Exception as error:  # files are damaged in many ways; the other clips are none the worse for it
        return Outcome(job.id, DROPPED, f"it cannot be read: {type(error).__name__}: {error}")
    try:
        return writer.add(
            clip, id=job.id, split=job.split, voice=job.voice, recipe=recipe, official=job.official, note=note
        )
    except OSError as error:
        raise InputError(
            f"cannot write into {writer.root} ({error.strerror}). Free some space and run the command again."
        ) from None


def clip_of(job: Job, take: Capture, writer: CorpusWriter, work: Work) -> tuple[Clip, str]:
    """(the clip, a note on changes to the data).

    Raises:
        InputError: motion of another mesh, unit or rate, nothing captured, or sound that is none.
    """
    topology, fps, template = writer.topology, writer.fps, np.asarray(work.template, np.float32)
    if take.audio.dtype.kind == "f" and len(take.audio) and np.abs(take.audio).max() > LARGEST_SAMPLE:
        raise InputError("its samples must have full scale 1, got more than 8")
    if work.space is None:
        motion = np.asarray(take.motion, np.float32)
    else:
        if take.motion.ndim != 3 or take.motion.shape[1:] != (topology.n_vertices, 3):
            raise InputError(f"its motion must have shape (frames, {topology.n_vertices}, 3), got {take.motion.shape}")
        motion = work.space.apply(take.motion) - template
    frames, samples, cut = _fit(len(motion), fps, len(take.audio), take.sample_rate)
    motion = motion[:frames]
    valid = np.asarray(np.isfinite(motion.reshape(frames, -1)).all(1))
    motion = fill_gaps(motion, valid)
    if work.space is None:
        largest = float(np.abs(motion).max())
        if largest > LARGEST_WEIGHT:
            raise InputError(f"its weights must be 0 to 1, got up to {largest:.3g}")
    else:
        far = float(np.median(np.linalg.norm(motion, axis=-1).mean(1)))
        if far > FAR_M:
            raise InputError(
                f"its vertices lie {far:.3g} m from the neutral face. The unit or the vertex order is another, or the head"
                " moves away."
            )
    missing = int((~valid).sum())
    notes = [take.note, cut, f"{missing} of {frames} frames are missing" if missing else ""]
    linear = work.space is None
    clip = Clip(
        topology=topology,
        template=template,
        fps=fps,
        audio=np.asarray(take.audio[:samples], np.float32),
        sample_rate=take.sample_rate,
        displacement=None if linear else motion,
        weights=motion * np.asarray(work.gains, np.float32) if linear else None,
        basis=topology.shapes if linear else None,
        basis_names=topology.shape_names if linear else (),
        subject=job.subject,
        sentence=job.sentence,
        emotion=job.emotion,
        valid=valid if missing else None,
    )
    return clip, "; ".join(note for note in notes if note)


def _fit(frames: int, fps: Fraction, samples: int, rate: int) -> tuple[int, int, str]:
    """(frames, samples) to keep so that both end together, and a note if more than a frame had to go.

    Raises:
        InputError: they differ by so much that the frame rate must be another, or hardly anything is there.
    """
    motion_s, sound_s = float(frames / fps), samples / rate
    shorter, longer = sorted((motion_s, sound_s))
    if longer - shorter > max(MISMATCH_S, MISMATCH * longer):
        raise InputError(
            f"its motion lasts {motion_s:.2f} s at {float(fps):g} frames per second, its sound {sound_s:.2f} s. Try another --fps."
        )
    frames = min(frames, n_frames(samples, rate, fps))
    samples = min(samples, math.floor(frames * rate / fps))
    if frames < 2:
        raise InputError(f"it must have at least 2 frames, got {frames}")
    what = "motion" if motion_s > sound_s else "sound"
    cut_s = longer - shorter
    return frames, samples, f"{cut_s:.2f} s of {what} at its end had no counterpart" if cut_s > 1.5 / fps else ""


def fill_gaps(motion: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(T,…) motion with lines drawn over the frames that are not valid, so that readers that ignore the mask see no jump.

    Raises:
        InputError: no frame is valid.
    """
    known = np.flatnonzero(valid)
    if not len(known):
        raise InputError("none of its frames was captured")
    if len(known) == len(valid):
        return motion
    filled = np.array(motion, np.float32)
    for frame in np.flatnonzero(~valid):
        after = int(np.searchsorted(known, frame))
        low, high = known[max(after - 1, 0)], known[min(after, len(known) - 1)]
        share = np.float32((frame - low) / (high - low) if high > low else 0.0)
        filled[frame] = (1 - share) * motion[low] + share * motion[high]
    return filled


def _fingerprint(sources: tuple[Path, ...]) -> tuple[list[list[object]], int]:
    """(name and size of every file, nanoseconds of the latest change)."""
    files = [file for path in sources for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    seen, latest = [], 0
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            seen.append([file.name, -1])
            continue
        seen.append([file.name, stat.st_size])
        latest = max(latest, stat.st_mtime_ns)
    return seen, latest
