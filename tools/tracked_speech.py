"""Tracked speech of people: landmarks of a video, its sound and the phones said. docs/data_format.md has the form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth.phones import SILENCE

UPPER_LIP, LOWER_LIP, CORNERS, NOSE_TIP, CHIN = 13, 14, (61, 291), 1, 152
"""MediaPipe's face mesh: middle of the inner lips, corners of the mouth, tip of the nose, chin."""


@dataclass(frozen=True, eq=False)
class TrackedClip:
    """Curves of T frames, lengths in 1/100 of the distance between the outer corners of the eyes."""

    name: str
    speaker: str
    fps: float
    landmarks: np.ndarray
    """(T,478,3) as in the file."""
    phones: tuple[Phone, ...]
    audio: np.ndarray
    """(S,) float32"""
    sample_rate: int
    packed: bool
    """One of many sentences of a speaker in one file."""

    @property
    def t_s(self) -> np.ndarray:
        """(T,) seconds."""
        return np.arange(len(self.landmarks)) / self.fps

    @property
    def spoken(self) -> np.ndarray:
        """(T,) bool: frames from the first phone to the last."""
        said = [phone for phone in self.phones if phone.name != SILENCE]
        return (self.t_s >= said[0].start_s) & (self.t_s <= said[-1].end_s)

    @property
    def opening(self) -> np.ndarray:
        """(T,) height of the gap between the lips, in their middle."""
        return 100 * (self.landmarks[:, UPPER_LIP, 1] - self.landmarks[:, LOWER_LIP, 1])

    @property
    def width(self) -> np.ndarray:
        """(T,) distance of the corners of the mouth."""
        return 100 * np.linalg.norm((self.landmarks[:, CORNERS[0]] - self.landmarks[:, CORNERS[1]])[:, :2], axis=1)

    @property
    def jaw(self) -> np.ndarray:
        """(T,) distance from the nose's tip to the chin."""
        return 100 * np.linalg.norm((self.landmarks[:, NOSE_TIP] - self.landmarks[:, CHIN])[:, :2], axis=1)

    @property
    def protrusion(self) -> np.ndarray:
        """(T,) how far before the bridge of the nose the lips are; the tracker guesses depth."""
        return 50 * (self.landmarks[:, UPPER_LIP, 2] + self.landmarks[:, LOWER_LIP, 2])

    @property
    def closed(self) -> np.ndarray:
        """(T,) bool: the most closed fifth of the frames, from which width and jaw are counted."""
        return self.opening <= np.quantile(self.opening, 0.2)


def read(folder: Path) -> Iterator[TrackedClip]:
    """All transcribed clips under a folder, in order of name.

    Raises:
        InputError: there is none.
    """
    found = False
    for path in sorted(folder.rglob("*.npz")):
        content = dict(np.load(path, allow_pickle=False))
        if "landmarks" not in content and "landmarks_minus_centre" not in content:
            continue
        audio, rate = soundfile.read(path.with_suffix(".flac"), dtype="float32")
        for clip in _packed(content, audio, rate) if "names" in content else _single(path.stem, content, audio, rate):
            found = True
            yield clip
    if not found:
        raise InputError(
            f"{folder} holds no tracked speech with phones (NAME.npz and NAME.flac, see docs/data_format.md)"
        )


def _phones(content: dict[str, np.ndarray], rows: slice) -> tuple[Phone, ...]:
    columns = (content[key][rows].tolist() for key in ("phones", "phone_start_s", "phone_end_s"))
    return tuple(Phone(*row) for row in zip(*columns, strict=True))


def _single(name: str, content: dict[str, np.ndarray], audio: np.ndarray, rate: int) -> Iterator[TrackedClip]:
    if len(content["phones"]):
        phones = _phones(content, slice(None))
        fps = float(content["fps"])
        yield TrackedClip(name, name.split("_")[0], fps, content["landmarks"], phones, audio, rate, False)


def _packed(content: dict[str, np.ndarray], audio: np.ndarray, rate: int) -> Iterator[TrackedClip]:
    for k, name in enumerate(content["names"].tolist()):
        frames, samples, rows = (
            slice(*content[key][k : k + 2]) for key in ("frame_offset", "sample_offset", "phone_offset")
        )
        landmarks = np.full((frames.stop - frames.start, 478, 3), np.nan, np.float32)
        landmarks[:, content["points"]] = (
            content["landmarks_minus_centre"][frames].astype(np.float32) + content["centre"]
        )
        phones = _phones(content, rows)
        yield TrackedClip(
            name, name.split("_")[0], float(content["fps"]), landmarks, phones, audio[samples], rate, True
        )
