"""Streaming log-mel front end, the same for training and inference.

State in, state out: cutting the samples in any way gives the same mel frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meshtalk.config import HOP_RATE, SAMPLE_RATE

HOP = SAMPLE_RATE // HOP_RATE
"""Samples between mel frames (10 ms)."""
TARGET_DB = -20.0
"""Mean-square level, dB of full scale, that running speech is brought to before the mel logarithm."""
_START_DB = -45.0
_FLOOR_DB = -75.0
_ATTACK = 1 - math.exp(-1 / (0.03 * HOP_RATE))
_RELEASE_DB = 3.0 / HOP_RATE
_SPEECH_RANGE_DB = 25.0


def follow_level(frame_db: np.ndarray, level_db: float) -> tuple[np.ndarray, float]:
    """Track the level of speech causally, so that a whisper-quiet and a loud recording look alike.

    Rises to louder frames within 30 ms, falls 3 dB/s otherwise, but never below 25 dB above the present frame:
    a pause's noise is not pumped up to the level of speech.

    Args:
        frame_db: (n,) level of each 10 ms frame, dB of full scale.
        level_db: state.

    Returns:
        ((n,) tracked level, new state)
    """
    tracked = np.empty(len(frame_db), np.float32)
    for index, now_db in enumerate(frame_db.tolist()):
        if now_db > level_db:
            level_db += _ATTACK * (now_db - level_db)
        elif now_db > _FLOOR_DB:  # digital silence says nothing about the speaker's level
            rest_db = now_db if now_db > level_db - _SPEECH_RANGE_DB else now_db + _SPEECH_RANGE_DB
            level_db = max(level_db - _RELEASE_DB, min(level_db, rest_db))
        tracked[index] = level_db
    return tracked, level_db


_FRAMES_AT_ONCE = 1024
"""Mel frames made together: the spectra of an hour at once would be gigabytes."""


@dataclass(frozen=True)
class MelSpec:
    """How a mel frame is made of samples."""

    window: int
    n_fft: int
    n_mels: int
    power: int
    """1: magnitude spectrum, 2: power spectrum."""
    offset: float
    """log(mel + offset); if zero, log(max(mel, 1e-10))."""


MEL_SPECS = {
    # MeshTalk's front end: 80 bands on the HTK scale, no area normalisation
    "logmel": MelSpec(window=800, n_fft=2048, n_mels=80, power=2, offset=0.0),
    # the pretrained trunk's own
    "phonetic": MelSpec(window=400, n_fft=512, n_mels=32, power=1, offset=1e-3),
}


def htk_filters(n_mels: int, n_fft: int, sample_rate: int = SAMPLE_RATE, low_hz: float = 0.0) -> np.ndarray:
    """(n_fft/2+1, n_mels) float32 triangular filters, peak 1, equally spaced on the HTK mel scale up to Nyquist."""

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1 + hz / 700)

    points_mel = np.linspace(mel(low_hz), mel(sample_rate / 2), n_mels + 2)
    points_hz = 700 * (10 ** (points_mel / 2595) - 1)
    bins_hz = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)[:, None]
    rising = (bins_hz - points_hz[:-2]) / (points_hz[1:-1] - points_hz[:-2])
    falling = (points_hz[2:] - bins_hz) / (points_hz[2:] - points_hz[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


class FiltersApart(NamedTuple):
    """Filters of a bank that do not overlap, so that all their sums are those of one weighted spectrum's pieces."""

    bands: np.ndarray
    """(b,) their numbers."""
    starts: np.ndarray
    """(b,) first bins."""
    weights: np.ndarray
    """(bins,)"""


def sets_apart(filters: np.ndarray) -> list[FiltersApart]:
    """(bins, bands) filters as few sets in which none overlaps: two, where they are triangles.

    A product with the whole matrix would take 40 times as many multiplications, and its last bits would depend on the
    processor and the number of threads, which choose how a linear-algebra library orders its sums.
    """
    sets: list[list[int]] = []
    used = filters != 0
    first, end = used.argmax(0), len(filters) - used[::-1].argmax(0)
    for band in range(filters.shape[1]):
        free = next((some for some in sets if end[some[-1]] <= first[band]), None)
        if free is None:
            sets.append(free := [])
        free.append(band)
    return [FiltersApart(np.array(some), first[some], filters[:, some].sum(1)) for some in sets]


@dataclass
class MelState:
    """State of the front end; owned by the caller."""

    samples: np.ndarray
    """The last samples that later windows still need."""
    level_db: float = _START_DB


class MelFrontend:
    """Streaming log-mel at 100 Hz after level following. Frame j is centred on sample j·160."""

    def __init__(self, kind: str) -> None:
        self.spec = MEL_SPECS[kind]
        window = np.arange(self.spec.window)
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * window / self.spec.window)).astype(np.float32)
        self._filters = sets_apart(
            _phonetic_filters() if kind == "phonetic" else htk_filters(self.spec.n_mels, self.spec.n_fft)
        )

    @property
    def n_mels(self) -> int:
        return self.spec.n_mels

    @property
    def silence(self) -> float:
        """Value of every band for digital silence."""
        return self._log(np.zeros(1, np.float32))[0].item()

    def start(self) -> MelState:
        """State before the first sample: half a window of silence, so that frame 0 is centred on sample 0."""
        return MelState(samples=np.zeros(self.spec.window // 2, np.float32))

    def process(
        self, samples: Float[np.ndarray, " samples"], state: MelState
    ) -> tuple[Float[np.ndarray, "frames {self.n_mels}"], MelState]:
        """Mel frames that are final after (n,) new 16 kHz samples: ((m, n_mels) float32, new state)."""
        samples = np.concatenate([state.samples, np.asarray(samples, np.float32)])
        if len(samples) < self.spec.window:
            return np.zeros((0, self.n_mels), np.float32), MelState(samples, state.level_db)
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.spec.window)[::HOP]
        parts: list[np.ndarray] = []
        level_db = state.level_db
        for start in range(0, len(windows), _FRAMES_AT_ONCE):
            some = windows[start : start + _FRAMES_AT_ONCE]
            level, level_db = follow_level(frame_level_db(some), level_db)
            parts.append(self.from_magnitude(self.apply_level(self.magnitude(some), level)))
        return np.concatenate(parts), MelState(samples[len(windows) * HOP :].copy(), level_db)

    def flush(self, state: MelState, n_samples: int) -> np.ndarray:
        """The remaining frames centred on existing samples, whose windows extend past the end."""
        total = -(-n_samples // HOP)  # frames 0.. centred before the end
        done = (n_samples + self.spec.window // 2 - len(state.samples)) // HOP
        missing = total - done
        if missing <= 0:
            return np.zeros((0, self.n_mels), np.float32)
        need = (missing - 1) * HOP + self.spec.window - len(state.samples)
        return self.process(np.zeros(max(need, 0), np.float32), state)[0][:missing]

    @staticmethod
    def apply_level(magnitude: np.ndarray, level_db: np.ndarray) -> np.ndarray:
        """(m, bins) magnitudes of frames tracked at (m,) levels, as if speech ran at TARGET_DB."""
        return magnitude * 10 ** ((TARGET_DB - level_db[:, None]) / 20)

    def magnitude(self, windows: np.ndarray) -> np.ndarray:
        """(m, n_fft/2+1) magnitude spectra of (m, window) samples."""
        return np.abs(np.fft.rfft(windows * self._window, self.spec.n_fft)).astype(np.float32)

    def from_magnitude(self, magnitude: np.ndarray) -> np.ndarray:
        """(m, n_mels) log-mel of magnitude spectra."""
        power, mel = magnitude**self.spec.power, np.empty((len(magnitude), self.n_mels), np.float32)
        for apart in self._filters:
            mel[:, apart.bands] = np.add.reduceat(power * apart.weights, apart.starts, axis=1)
        return self._log(mel)

    def _log(self, mel: np.ndarray) -> np.ndarray:
        offset = self.spec.offset
        return np.log(mel + offset if offset else np.maximum(mel, 1e-10)).astype(np.float32)

    def all(self, samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames {self.n_mels}"]:
        """(ceil(S/160), n_mels) log-mel of a whole recording: one chunk and a flush."""
        frames, state = self.process(samples, self.start())
        return np.concatenate([frames, self.flush(state, len(samples))])


def frame_level_db(windows: np.ndarray) -> np.ndarray:
    """(m,) mean-square level of (m, window) samples, dB of full scale, at least -120."""
    return 10 * np.log10(np.einsum("ij,ij->i", windows, windows) / windows.shape[1] + 1e-12)


def _phonetic_filters() -> np.ndarray:
    from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

    from meshtalk.assets import asset

    return load_file(asset("phonetic_trunk.safetensors"))["mel_filters"]
