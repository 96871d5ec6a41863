"""Sound files to blocks of samples, so that an hour of any rate and any number of channels is never in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 1 << 12
"""Samples decoded, mixed and resampled at a time; the block in which a file is damaged is lost."""
_SHORT_S = 0.1
"""Lossy formats promise their length to about a frame; a file that lacks more than this is damaged."""


@dataclass
class Fate:
    """What became of decoding a file, for whoever took its blocks."""

    opened: bool = False
    """The decoder knows the format, and there is sound in it."""
    damaged: bool = False
    """Not everything that the file promised could be decoded."""


def soundfile_blocks(path: Path, fate: Fate) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (n, channels) float32) of what libsndfile decodes; nothing if it does not know the format."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            fate.opened, count = True, 0
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                count += len(block)
                yield file.samplerate, block
            # a stream that does not know its length promises the largest number there is
            fate.damaged = count + _SHORT_S * file.samplerate < file.frames < 2**62
    except (soundfile.SoundFileError, TypeError, ValueError):
        fate.damaged = fate.opened


def av_blocks(path: Path, fate: Fate) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, (n,) or (n, channels) samples of any type) of the first sound that FFmpeg finds; nothing if there is none.

    A packet that cannot be decoded becomes silence, so that what follows keeps its time.

    Raises:
        ImportError: PyAV is not installed.
    """
    import av
    from av.error import FFmpegError

    rate, gap = 0, 0
    try:
        with av.open(str(path)) as container:
            stream = next((s for s in container.streams if s.type == "audio"), None)
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


DECODERS: tuple[Callable[[Path, Fate], Iterator[tuple[int, np.ndarray]]], ...] = (soundfile_blocks, av_blocks)
"""In the order in which they are tried."""
