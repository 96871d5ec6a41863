"""Raw PCM from a pipe: bytes in packets of any size to mono 16 kHz samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from meshtalk.audio.files import MAX_CHANNELS
from meshtalk.audio.mix import Downmix
from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.stream.pipes import read_some

MIN_RATE, MAX_RATE = 8_000, 192_000
PACKET_S = 0.5
"""Largest packet; less is processed at once when less is available, for low latency."""


def check_sound(rate: int, channels: int) -> None:
    """Raise InputError for a sample rate or a number of channels out of range."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(f"rate must be {MIN_RATE} to {MAX_RATE} Hz, got {rate}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"channels must be 1 to {MAX_CHANNELS}, got {channels}")


class Pcm:
    """Little-endian 16-bit samples in packets of any size → mono 16 kHz, the same however they were cut."""

    def __init__(self, rate: int = SAMPLE_RATE, channels: int = 1) -> None:
        check_sound(rate, channels)
        self.rate, self.channels = rate, channels
        self.packet_bytes = int(PACKET_S * rate) * 2 * channels
        self.delay_s = _resampling_delay_s(rate)
        """Latency of resampling, in addition to the look-ahead; 0 at 16 kHz."""
        self._stream = _resample_stream(rate) if rate != SAMPLE_RATE else None
        self._mix = Downmix(rate)
        self._rest = b""
        self._heard = self._given = 0

    @property
    def cut_bytes(self) -> int:
        """Bytes that wait for the rest of their sample."""
        return len(self._rest)

    def feed(self, data: bytes) -> np.ndarray:
        """(n,) float32 samples that are final after more bytes."""
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self.channels)
        self._rest = data[whole:]
        mono = self._mix(np.frombuffer(data[:whole], "<i2").reshape(-1, self.channels))
        self._heard += len(mono)
        return self._resampled(mono, last=False)

    def finish(self) -> np.ndarray:
        """(n,) remaining samples of the resampler."""
        given = self._given
        samples = self._resampled(np.zeros(0, np.float32), last=True)
        if not self._heard:
            return samples
        # as in `to_mono`: rounded down, but sound that is shorter than a sample is still a sound
        total = max(self._heard * SAMPLE_RATE // self.rate, 1)
        return samples[: total - given] if self._given else np.zeros(1, np.float32)

    def _resampled(self, mono: np.ndarray, last: bool) -> np.ndarray:
        samples = mono if self._stream is None else self._stream.resample_chunk(mono, last=last)
        self._given += len(samples)
        return samples


def _resample_stream(rate: int) -> Any:
    import soxr

    # the quality `to_mono` uses: bit for bit the same samples, so that a live take equals one from a file
    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")


def _resampling_delay_s(rate: int) -> float:
    """The most that resampling holds back, measured: soxr does not say. 0.04 s at 44.1 and 48 kHz, 0.12 s at 8 kHz."""
    if rate == SAMPLE_RATE:
        return 0.0
    resampler, fed, got, delay_s = _resample_stream(rate), 0, 0, 0.0
    packet = np.zeros(rate // 1000, np.float32)
    while fed < rate / 2:
        fed, got = fed + len(packet), got + len(resampler.resample_chunk(packet))
        delay_s = max(delay_s, fed / rate - got / SAMPLE_RATE)
    return delay_s


def packets(source: Any, pcm: Pcm) -> Iterator[tuple[np.ndarray, int]]:
    """Samples as they arrive."""
    while data := read_some(source, pcm.packet_bytes):
        if len(samples := pcm.feed(data)):
            yield samples, 0
    if len(samples := pcm.finish()):
        yield samples, 0
