"""MP4 video with sound: H.264 and AAC, through PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import gain, held
from meshtalk.files import atomic
from meshtalk.progress import Show
from meshtalk.render import Look, Renderer

SIZE = (640, 640)
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_BLOCK = 1024


def write_mp4(
    clip: Clip,
    path: Path,
    look: Look | None = None,
    *,
    size: tuple[int, int] = SIZE,
    threads: int | None = None,
    progress: Show | None = None,
) -> None:
    """Draw the clip and write it with its audio; frame k shows at exactly k/fps seconds of the sound.

    Memory holds a few pictures at a time, however long the clip is. A frame the capture missed (`clip.valid`) shows
    the last one that was there.

    Args:
        look: camera and light; None is the front in the studio.
        size: width and height in pixels, both even.
        threads: for drawing; None means one for each processor core.
        progress: called as frames are drawn.

    Raises:
        InputError: an odd size, an unwritable path, an empty clip, or the `media` extra is missing.
    """
    try:
        import av
    except ImportError:
        raise InputError("MP4 needs PyAV, which is not installed. Run pip install 'meshtalk[media]'.") from None
    width, height = size
    if width % 2 or height % 2:
        raise InputError(f"size must be even in both directions, got {width}x{height}. Try 720x720.")
    if clip.n_frames == 0:
        raise InputError("the clip has no frames, so there is no video to write")
    with atomic(path) as temporary:
        renderer = Renderer(clip.topology, clip.template, width, height, look, tint=clip.tint, subject=clip.subject)
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            video: Any = container.add_stream("libx264", rate=clip.fps, options={"crf": "17", "preset": "medium"})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.time_base = video.codec_context.time_base = 1 / clip.fps
            # say which YUV this is (BT.709, limited range), or players guess and the skin changes colour
            video.codec_context.color_range, video.codec_context.colorspace = 1, 1
            video.codec_context.color_primaries = video.codec_context.color_trc = 1
            sound = _Sound(av, container, clip.audio, clip.sample_rate) if len(clip.audio) else None
            for k, image in enumerate(renderer.frames(held(clip, progress), threads)):
                if sound:  # a second ahead: streams are interleaved, players need not seek
                    sound.write_until(k / clip.fps + 1)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
                frame.pts, frame.time_base = k, 1 / clip.fps
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if sound:
                sound.finish()


class _Sound:
    """The audio track, encoded piece by piece; the container records the encoder's delay, so that it starts at 0."""

    def __init__(self, av: Any, container: Any, audio: np.ndarray, sample_rate: int) -> None:
        if sample_rate not in AAC_RATES:
            import soxr

            audio, sample_rate = soxr.resample(audio, sample_rate, 48000), 48000
        self._av, self._container, self._rate, self._at = av, container, sample_rate, 0
        self._audio, self._gain = audio, gain(audio)
        self._stream = container.add_stream("aac", rate=sample_rate, layout="mono")
        self._stream.bit_rate = 96_000 if sample_rate >= 24000 else 64_000

    def write_until(self, time_s: Fraction) -> None:
        while self._at < min(len(self._audio), time_s * self._rate):
            piece = self._audio[self._at : self._at + _AAC_BLOCK] * self._gain
            piece = np.clip(piece, -1, 1).astype(np.float32)
            frame = self._av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
            self._container.mux(self._stream.encode(frame))
            self._at += len(piece)

    def finish(self) -> None:
        self.write_until(Fraction(len(self._audio), self._rate))
        self._container.mux(self._stream.encode(None))
