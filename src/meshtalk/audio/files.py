"""Audio files to mono 16 kHz, decoded in blocks of bounded memory, and an exact frame clock."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio.mix import Downmix
from meshtalk.config import HOP_RATE, SAMPLE_RATE
from meshtalk.errors import InputError

VERSION = 2
"""Raise when the same file is read as other samples: what was made of them and kept is then made again."""
MAX_CHANNELS = 32
"""More than these are samples, given as (channels, samples): their mean would silently be one sample per channel."""
RATES_HZ = (1000, 1_000_000)
"""Lowest and highest sample rate: a damaged header's 1 Hz would make gigabytes of a few samples."""
LARGEST = 2.0**31
"""Full scale is 1, but some programs write integers as floating point; louder is damage, and its power overflows."""


def n_frames(n_samples: int, sample_rate: int, fps: Fraction) -> int:
    """Number of video frames that begin before the sound ends; frame k is at exactly k/fps seconds."""
    return math.ceil(Fraction(n_samples, sample_rate) * fps)


def frame_hops(fps: Fraction, start: int, count: int) -> Tensor:
    """(count,) float64 times of video frames start.. in hops of 10 ms, exact for any rate."""
    hop = HOP_RATE / fps
    return torch.arange(start, start + count, dtype=torch.float64) * hop.numerator / hop.denominator


def read_audio(
    path: str | Path, sample_rate: int = SAMPLE_RATE, *, from_picture: bool = False
) -> tuple[np.ndarray, int]:
    """Read any sound that soundfile or PyAV decodes (WAV, FLAC, OGG, MP3, M4A, video…) as mono at `sample_rate`.

    Channels are averaged, see `Downmix`. The file is decoded in blocks: memory holds the result (230 MB an hour) and one
    block. Of a damaged or cut file, what can be decoded is returned, with a warning that states its length.

    Args:
        sample_rate: Hz of the result.
        from_picture: the first sample is at the time of a video's first picture. Else it is at the container's time 0: sound that
            begins later has silence before it.

    Returns:
        ((S,) float32, sample_rate), S = floor(duration · sample_rate), at least 1

    Raises:
        InputError: missing or unreadable file, not audio, no samples, samples that are no finite sound, or a sample
            rate outside RATES_HZ.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, false for a name that no file can have
        raise InputError(f"there is no audio file at {path}. Check the path.")
    if path.is_dir():
        raise InputError(
            f"an audio or video file is required, got the folder {path}. For all of its recordings: meshtalk batch."
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"no permission to read {path}. Change its permissions or copy it.")
    best, opened, damaged = np.zeros(0, np.float32), False, False
    for decode in DECODERS:
        fate = DecodeStatus()
        try:
            samples = _collect(decode(path, fate, from_picture), sample_rate, str(path))
        except ImportError:  # PyAV comes with an extra
            if not opened:
                raise InputError(f'{path} needs PyAV to be decoded. Run pip install "meshtalk[media]".') from None
            break
        opened, damaged = opened or fate.opened, damaged or fate.damaged
        best = max(best, samples, key=len)
        if len(samples) and not fate.damaged:
            break
    if not len(best):
        raise InputError(
            f"{path} holds no samples. Record or export it again."
            if opened and not damaged
            else f"{path} is not audio that can be decoded, or it is damaged. Give WAV, FLAC, OGG, MP3, M4A or a video with sound."
        )
    if damaged:
        warnings.warn(
            f"{path} is damaged or cut off. The {len(best) / sample_rate:.2f} s that can be read are used.",
            stacklevel=2,
        )
    return best, sample_rate


def to_mono(samples: np.ndarray, rate: int, target_rate: int = SAMPLE_RATE, name: str = "audio") -> np.ndarray:
    """Average channels (see `Downmix`), check and resample.

    Args:
        samples: (S,) or (S, channels), floating point in [-1,1] or any integer type (unsigned: silence in the middle).

    Returns:
        (S',) float32 at `target_rate`, S' = floor(duration · target_rate), at least 1.

    Raises:
        InputError: no samples, not numbers, wrong rank, over 32 channels, a rate outside RATES_HZ, or samples that are
            NaN, infinite or beyond LARGEST.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.shape[0] == 0:
        raise InputError(
            f"{name} must have samples of shape (samples,) or (samples, channels), got shape {samples.shape}."
            " Give at least one sample."
        )
    if samples.dtype.kind not in "iuf":
        raise InputError(
            f"{name} must have integer or floating-point samples, got {samples.dtype}. Convert them to float32."
        )
    if samples.ndim == 2 and not 0 < samples.shape[1] <= MAX_CHANNELS:
        raise InputError(
            f"{name} must have shape (samples, channels) with 1 to {MAX_CHANNELS} channels, got {samples.shape}"
            ". Transpose or mix it."
        )
    blocks = ((rate, samples[start : start + BLOCK]) for start in range(0, len(samples), BLOCK))
    return _collect(blocks, target_rate, name)


def _collect(blocks: Iterable[tuple[int, np.ndarray]], target_rate: int, name: str) -> np.ndarray:
    """Average, check and resample (rate, (n,) or (n, channels)) blocks as they arrive; only the mono result is stored.

    Cutting a sound into other blocks gives the same samples. A rate that changes on the way is followed.

    Returns:
        (S',) float32 at `target_rate`, S' = floor(duration · target_rate), but at least 1 unless there was no input.

    Raises:
        InputError: see `to_mono`.
    """
    import soxr  # pyright: ignore[reportMissingTypeStubs]

    _check_rate(target_rate, name)
    # grows in place: a list of pieces would need their sum once more to be joined
    kept, seconds, found = bytearray(), 0.0, False
    for rate, group in groupby(blocks, itemgetter(0)):
        _check_rate(rate, name)
        stream, mix = None if rate == target_rate else soxr.ResampleStream(rate, target_rate, 1), Downmix(rate)
        begin, taken = len(kept), 0
        for _, block in group:
            mono = mix(block)
            bad = np.flatnonzero(~(np.abs(mono) <= LARGEST))  # true of NaN too
            if len(bad):
                raise InputError(
                    f"{name} holds samples that are NaN, infinite or beyond {LARGEST:g}, the first at"
                    f" {seconds + bad[0] / rate:.3f} s. Repair or re-export it."
                )
            seconds, taken, found = seconds + len(mono) / rate, taken + len(mono), found or len(mono) > 0
            kept += (mono if stream is None else stream.resample_chunk(mono)).tobytes()
        if stream is not None:
            kept += stream.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
            # rounded down: a sound that lasts a whole number of frames must not begin another one
            del kept[begin + 4 * max(taken * target_rate // rate, 1) :]
    if found and not kept:
        return np.zeros(1, np.float32)  # shorter than a sample is still a sound
    return np.frombuffer(kept, np.float32)


def _check_rate(rate: int, name: str) -> None:
    low, high = RATES_HZ
    if not low <= rate <= high:
        raise InputError(f"{name} must have a sample rate of {low} to {high} Hz, got {rate}. Try 16000.")


# ------------------------------------------------------------------------------------------------ decoding


BLOCK = 1 << 12
"""Samples decoded, mixed and resampled at a time; the block in which a file is damaged is lost."""
_SHORT_S = 0.1
"""Lossy formats promise their length to about a frame; a file that lacks more than this is damaged."""
_FROM_ZERO = {"mov", "mp4", "matroska", "webm"}
"""Containers whose time begins at 0, whenever their first sample comes. Others begin with their first packet."""
LATEST_START_S = 10.0
"""… unless that is later: a piece of a longer stream, which kept its times."""
JITTER_S = 0.1
"""Time stamps are rounded to milliseconds, and those of browsers are when a packet came."""
LONGEST_GAP_S, LONGEST_OVERLAP_S = 600.0, 1.0


@dataclass
class DecodeStatus:
    """Outcome of decoding a file, for the consumer of its blocks."""

    opened: bool = False
    """The decoder knows the format, and the file has a sound track."""
    damaged: bool = False
    """Not everything that the file's header promises could be decoded."""


def soundfile_blocks(path: Path, fate: DecodeStatus, _from_picture: bool) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (n, channels) float32) of what libsndfile decodes; nothing if it does not know the format."""
    import soundfile  # pyright: ignore[reportMissingTypeStubs]

    class Sequential(soundfile.SoundFile):
        # python-soundfile (0.14) seeks after each read of a file that can seek, and an MP3 decoder has lost its bit reservoir
        # then: in blocks, a file of 48 kHz had a signal-to-noise ratio of 6 to 16 dB
        def seekable(self) -> bool:
            return False

    try:
        with Sequential(path) as file:
            fate.opened, count = True, 0
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                count += len(block)
                yield file.samplerate, block
            # a stream that does not know its length promises the largest number there is
            fate.damaged = count + _SHORT_S * file.samplerate < file.frames < 2**62
    except (soundfile.SoundFileError, TypeError, ValueError):
        fate.damaged = fate.opened


def av_blocks(path: Path, fate: DecodeStatus, from_picture: bool) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (n,) or (n, channels) samples of any type) of the first sound that FFmpeg finds; nothing if there is none.

    Samples are where the container's time stamps put them, see `StampedTimeline`.

    Raises:
        ImportError: PyAV is not installed.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                return
            fate.opened = True
            timeline = StampedTimeline(*_span_s(container, from_picture))
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    fate.damaged = True
                    timeline.lose(float((packet.duration or 0) * (packet.time_base or 0)))
                    continue
                for frame in frames:
                    samples, rate = frame.to_ndarray(), frame.sample_rate
                    samples = samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
                    silent, skipped = timeline.place(frame.time, rate, len(samples))
                    for start in range(0, silent, BLOCK):
                        yield rate, np.zeros(min(BLOCK, silent - start), np.float32)
                    yield rate, samples[skipped:]
            fate.damaged = fate.damaged or timeline.reached_s + _SHORT_S < _promised_s(container, stream)
    except (FFmpegError, ValueError):
        fate.damaged = True


def _span_s(container: Any, from_picture: bool) -> tuple[float | None, float]:
    """(the container's time that becomes 0, None for that of the first sample; the last time that a sample may have)."""
    import av
    from av.stream import Disposition

    begins_s = None if container.start_time is None else container.start_time / av.time_base
    ends_s = math.inf if not container.duration else container.duration / av.time_base + max(begins_s or 0.0, 0.0) + 1
    shown = [
        float(stream.start_time * stream.time_base)
        for stream in container.streams.video
        if stream.start_time is not None and not stream.disposition & Disposition.attached_pic
    ]
    if from_picture and shown:
        return shown[0], ends_s
    if begins_s is not None and begins_s < LATEST_START_S and _FROM_ZERO & set(container.format.name.split(",")):
        return 0.0, ends_s
    return begins_s if shown else None, ends_s


def _promised_s(container: Any, stream: Any) -> float:
    """The container's time at which it says that its sound ends; 0 if it does not. Matroska is cut without an error."""
    import av

    told = re.fullmatch(r"([0-9]+):([0-9]{2}):([0-9.]+)", str(stream.metadata.get("DURATION", "")))
    if told is not None:
        return (int(told[1]) * 60 + int(told[2])) * 60 + float(told[3])
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    return 0.0 if container.streams.video or not container.duration else container.duration / av.time_base


class StampedTimeline:
    """Puts decoded samples where their container's time stamps say.

    Silence goes before sound that begins after time 0, into gaps and in the place of packets that cannot be decoded; sound from
    before time 0, and sound that comes twice, is left out. Stamps within a tenth of a second of the samples before them are
    jitter. Stamps that jump back, or further ahead than the container lasts, are damage: samples follow each other there.
    """

    def __init__(self, origin_s: float | None, ends_s: float) -> None:
        self._origin_s, self._ends_s = origin_s, ends_s
        self._now_s = self._lost_s = 0.0
        self._exact = True
        """Nothing came yet, or what comes has been before: neither is jitter."""

    @property
    def reached_s(self) -> float:
        """The container's time up to which samples were placed."""
        return (self._origin_s or 0.0) + self._now_s

    def lose(self, seconds: float) -> None:
        """Sound of this length could not be decoded."""
        self._lost_s += seconds

    def place(self, stamp_s: float | None, rate: int, count: int) -> tuple[int, int]:
        """(samples of silence that go before the next `count` samples, how many of these are left out)."""
        if stamp_s is None:
            ahead_s = self._lost_s
        else:
            if self._origin_s is None:
                self._origin_s = stamp_s - self._lost_s
            ahead_s = stamp_s - self._origin_s - self._now_s
            back = self._now_s > 0 and ahead_s < -LONGEST_OVERLAP_S
            if back or ahead_s > LONGEST_GAP_S or stamp_s > self._ends_s:
                self._origin_s, ahead_s = self._origin_s + ahead_s, 0.0
            elif not self._exact and not (self._lost_s and ahead_s > 0) and abs(ahead_s) <= JITTER_S:
                ahead_s = 0.0
        self._lost_s = 0.0
        silent, skipped = max(round(ahead_s * rate), 0), min(max(round(-ahead_s * rate), 0), count)
        self._exact = skipped == count
        self._now_s += (silent + count - skipped) / rate
        return silent, skipped


DECODERS: tuple[Callable[[Path, DecodeStatus, bool], Iterator[tuple[int, np.ndarray]]], ...] = (
    soundfile_blocks,
    av_blocks,
)
"""In the order in which they are tried; the last argument asks for the first picture's time as 0, where there are pictures."""
