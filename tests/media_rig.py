"""Files with sound and pictures at times of our choosing, written with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

PICTURES_PER_S = 10


def write_film(
    path: Path,
    sound: np.ndarray,
    rate: int,
    codec: str,
    *,
    sound_at_s: float = 0.0,
    picture_at_s: float | None = 0.0,
    gap: tuple[float, float] | None = None,
) -> Path:
    """A film whose mono sound begins at one time and whose pictures at another; without pictures where that is None.

    Args:
        gap: (s, s): sound after the first of these comes later by the second.
    """
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        packets = []
        video = None if picture_at_s is None else container.add_stream("mpeg4", rate=PICTURES_PER_S)
        audio = container.add_stream(codec, rate=rate, layout="mono")
        if video is not None and picture_at_s is not None:
            video.width = video.height = 32
            video.codec_context.time_base = Fraction(1, 1000)
            for k in range(round(len(sound) / rate * PICTURES_PER_S)):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), k % 256, np.uint8), format="rgb24")
                picture.time_base, picture.pts = (
                    Fraction(1, 1000),
                    round(picture_at_s * 1000) + k * 1000 // PICTURES_PER_S,
                )
                packets += video.encode(picture)
            packets += video.encode(None)
        audio.codec_context.open()
        size, form = audio.codec_context.frame_size or 960, audio.codec_context.format.name
        for start in range(0, len(sound), size):
            block = sound[start : start + size]
            if form[0] == "s":  # s16, s32p, …
                kind = np.dtype(f"i{int(form[1:3]) // 8}")
                block = (block * np.float64(np.iinfo(kind).max)).astype(kind)
            frame = av.AudioFrame.from_ndarray(block[None], format=form, layout="mono")
            late_s = gap[1] if gap and start >= gap[0] * rate else 0.0
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round((sound_at_s + late_s) * rate) + start
            packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def bursts(rate: int, at_s: tuple[float, ...], seconds: float = 2.0) -> np.ndarray:
    """Silence with a tenth of a second of a tone at each of these times."""
    t_s = np.arange(round(rate * seconds)) / rate
    loud = np.zeros(len(t_s), bool)
    for begin_s in at_s:
        loud |= (t_s >= begin_s) & (t_s < begin_s + 0.1)
    return (0.5 * np.sin(2 * np.pi * 1000 * t_s) * loud).astype(np.float32)


def burst_times_s(samples: np.ndarray, rate: int) -> list[float]:
    """When the bursts of a sound begin."""
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    first = np.concatenate([[True], np.diff(loud) > 0.05 * rate])
    return [float(k) / rate for k in loud[first]]
