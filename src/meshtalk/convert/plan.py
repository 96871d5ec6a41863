"""Plan of a conversion: Jobs, each of which reads one Capture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from meshtalk.clip import exact_rate
from meshtalk.corpus.splits import hold_out
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import Space

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".mov", ".mp4")
"""Suffixes of sound, in the order in which a clip's is looked for."""
ENOUGH_PEOPLE = 5
"""From so many on whole people are held out of data without official splits."""


@dataclass(frozen=True)
class Options:
    """Options of a conversion; docs/datasets.md lists which kind needs which."""

    template: Path | None = None
    """Mesh in the data's vertex order, for its triangles and, where the data has none, its neutral face."""
    topology: Path | None = None
    """`.npz` of `Topology.save`: triangles, regions and landmarks."""
    fps: str | None = None
    """Frame rate, where the files do not record it."""
    unit: str | None = None
    """m, dm, cm, mm, or metres per unit."""
    axes: str | None = None
    """The data's axes that point left, up and out of the face, such as x,z,-y."""
    rows: Path | None = None
    """`.npy` or text of indices of the data's vertices, in the template's vertex order."""
    flame: Path | None = None
    """FLAME model file."""

    def rate(self, default: int | None, kind: str) -> Fraction:
        """Frame rate given by the user, or usual for this kind of data.

        Raises:
            InputError: an invalid rate, or none where the files do not record it.
        """
        if self.fps is None and default is None:
            raise InputError(f"{kind} files do not record their frame rate. Give --fps, such as --fps 30.")
        try:
            fps = exact_rate(self.fps if self.fps is not None else int(default or 0))
        except (ValueError, ZeroDivisionError, OverflowError):
            fps = Fraction(0)
        if not 1 <= fps <= 1000:
            raise InputError(f"fps must be a frame rate, got {self.fps!r}. Try 30 or 30000/1001.")
        return fps


@dataclass(frozen=True, eq=False)
class Capture:
    """One performance as read from its files."""

    motion: np.ndarray
    """(T,V,3) vertices in the data's own space, or (T,S) weights of the topology's blendshapes; NaN where nothing was captured."""
    audio: np.ndarray
    """(S,) mono float32; its first sample and frame 0 are at the same time."""
    sample_rate: int
    note: str = ""
    """Note on defects."""


@dataclass(frozen=True, eq=False)
class Job:
    """One clip to convert; it can be sent to a worker process."""

    id: str
    subject: str
    """Subject: a key of `Plan.templates`."""
    read: Callable[[], Capture]
    sources: tuple[Path, ...]
    """Source files, or folders of them: a clip is converted again when one of them changes."""
    voice: str
    split: str = ""
    """train, val or test; empty where the data set has no official splits."""
    official: str = ""
    sentence: str = ""
    emotion: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """A data set: the properties its clips share, and their jobs."""

    kind: str
    topology: Topology
    fps: Fraction
    jobs: tuple[Job, ...]
    templates: Mapping[str, np.ndarray]
    """Subject → (V,3) metres: the neutral face."""
    licence: str
    space: Space | None = None
    """Of the takes' vertices; None if they are blendshape weights."""
    gains: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Subject → (S,): how strongly each blendshape acts on that face, where motion is weights."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(name, reason) of recordings that are left out."""
    notes: tuple[str, ...] = ()
    """Assumptions and measurements."""


def name_of(*parts: str) -> str:
    """Parts as one name that may be a file's: letters, digits and -_.+ of them, joined by -."""
    cleaned = (re.sub(r"[^A-Za-z0-9_.+-]+", "_", part).strip("_") for part in parts)
    return "-".join(part for part in cleaned if part).lstrip(".") or "unnamed"


def own_splits(jobs: Iterable[Job]) -> dict[str, str]:
    """Clip id → split, of data without official ones: whole people are held out, or clips where there are few people.

    The choice is a function of the names.
    """
    return hold_out({job.id: job.voice for job in jobs}, ENOUGH_PEOPLE)


def in_official_splits(
    jobs: Iterable[Job], templates: Mapping[str, np.ndarray]
) -> tuple[tuple[Job, ...], tuple[tuple[str, str], ...]]:
    """(Jobs that have an official split and a face, (id, why) of the others)."""
    jobs = tuple(jobs)
    inside = tuple(job for job in jobs if job.split and job.subject in templates)
    left_out = tuple(
        (job.id, "outside the official splits" if job.subject in templates else f"{job.subject} has no template")
        for job in jobs
        if job not in inside
    )
    return inside, left_out


def sound_beside(stem: Path) -> Path | None:
    """The sound of the same name, with any suffix of SOUNDS."""
    for suffix in SOUNDS:
        for spelled in (suffix, suffix.upper()):
            if (path := stem.with_name(stem.name + spelled)).is_file():
                return path
    return None


def read_sound(path: Path | None, name: str) -> tuple[np.ndarray, int, str]:
    """((S,) mono float32 from a video's first picture on, its own sample rate, a note if it is damaged).

    Raises:
        InputError: there is none, or it cannot be read.
    """
    import warnings

    import soundfile

    from meshtalk.audio.files import read_audio

    if path is None or not path.is_file():
        raise InputError(f"there is no sound for {name}")
    try:
        rate = int(soundfile.info(path).samplerate)
    except soundfile.SoundFileError:
        rate = 48_000  # of compressed formats that only FFmpeg knows
    with warnings.catch_warnings(record=True) as damage:
        warnings.simplefilter("always")
        audio, rate = read_audio(path, rate, from_picture=True)
    return audio, rate, "its sound is damaged or cut off" if damage else ""


def numbered(names: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Names sorted by the last number in each, and (n,) frame numbers from 0 on: gaps in the numbers stay.

    Numbers in steps, such as 10, 20, 30, have no gaps, see `common_step`.

    Raises:
        InputError: a name without a number, or two with the same one.
    """
    found: dict[int, str] = {}
    for name in names:
        digits = re.findall(r"\d+", Path(name).stem)
        if not digits:
            raise InputError(f"{name} has no frame number in its name")
        if int(digits[-1]) in found:
            raise InputError(f"{name} and {found[int(digits[-1])]} have the same frame number")
        found[int(digits[-1])] = name
    numbers = np.array(sorted(found), np.int64)
    return [found[int(number)] for number in numbers], (numbers - numbers[:1]) // common_step(numbers)


def common_step(numbers: np.ndarray) -> int:
    """The usual distance of rising frame numbers, where all distances are multiples of it; else 1.

    Numbers 10, 20, 30 and 50 lack one frame, 40.
    """
    steps = np.diff(np.unique(numbers)).astype(np.int64)
    step = Counter(steps.tolist()).most_common(1)[0][0] if len(steps) > 1 else 1
    return int(step) if not (steps % step).any() else 1
