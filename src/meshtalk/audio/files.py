"""Audio files to mono 16 kHz, decoded in blocks of bounded memory, and an exact frame clock."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meshtalk.config import HOP_RATE, SAMPLE_RATE
from meshtalk.errors import InputError

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


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, int]:
    """Read any sound that soundfile or PyAV decodes (WAV, FLAC, OGG, MP3, M4A, video…) as mono at `sample_rate`.

    Channels are averaged. The file is decoded in blocks: memory holds the result (230 MB an hour) and one block. Of a
    damaged or cut file, what can be decoded is returned, with a warning that states its length.

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
            samples = _collect(decode(path, fate), sample_rate, str(path))
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
    """Average channels, check and resample.

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
        stream = None if rate == target_rate else soxr.ResampleStream(rate, target_rate, 1)
        begin, taken = len(kept), 0
        for _, block in group:
            mono = _mix(block)
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


def _mix(block: np.ndarray) -> np.ndarray:
    """(n,) or (n, channels) samples of any type → (n,) float32, integers scaled to [-1,1)."""
    if block.dtype.kind in "iu":
        info = np.iinfo(block.dtype)
        middle = (int(info.max) + int(info.min) + 1) // 2
        block = (block.astype(np.float64) - middle) / (middle - int(info.min))
    with np.errstate(over="ignore", invalid="ignore"):  # the caller reports what is too large
        return block.astype(np.float32) if block.ndim == 1 else block.mean(1, dtype=np.float32)


# ------------------------------------------------------------------------------------------------ decoding


BLOCK = 1 << 12
"""Samples decoded, mixed and resampled at a time; the block in which a file is damaged is lost."""
_SHORT_S = 0.1
"""Lossy formats promise their length to about a frame; a file that lacks more than this is damaged."""


@dataclass
class DecodeStatus:
    """Outcome of decoding a file, for the consumer of its blocks."""

    opened: bool = False
    """The decoder knows the format, and the file has a sound track."""
    damaged: bool = False
    """Not everything that the file's header promises could be decoded."""


def soundfile_blocks(path: Path, fate: DecodeStatus) -> Iterator[tuple[int, np.ndarray]]:
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


def av_blocks(path: Path, fate: DecodeStatus) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (n,) or (n, channels) samples of any type) of the first sound that FFmpeg finds; nothing if there is none.

    A packet that cannot be decoded becomes silence, so that later samples stay in sync.

    Raises:
        ImportError: PyAV is not installed.
    """
    import av
    from av.error import FFmpegError

    rate, gap = 0, 0
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                return
            fate.opened = True
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    fate.damaged = True
                    gap += round((packet.duration or 0) * (packet.time_base or 0) * rate)
                    continue
                for frame in frames:
                    samples, rate = frame.to_ndarray(), frame.sample_rate
                    if gap:
                        yield rate, np.zeros(gap, np.float32)
                    yield rate, samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
                    gap = 0
    except (FFmpegError, ValueError):
        fate.damaged = True


DECODERS: tuple[Callable[[Path, DecodeStatus], Iterator[tuple[int, np.ndarray]]], ...] = (soundfile_blocks, av_blocks)
"""In the order in which they are tried."""
