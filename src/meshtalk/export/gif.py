"""Animated GIF, without sound, through PyAV."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import held, keys
from meshtalk.files import atomic
from meshtalk.progress import Show
from meshtalk.render import Look, Renderer

SIZE_PX = 320
_TICK = Fraction(1, 100)
"""GIF counts time in hundredths of a second."""
_SHORTEST_TICKS = 2
"""Browsers slow down a picture that shows for less."""
FASTEST_FPS = 50
_COLOURS = 255  # and one that is transparent: what did not change since the last picture
_LOOKED_AT = 12


def write_gif(clip: Clip, path: Path, look: Look | None = None, *, progress: Show | None = None) -> None:
    """Draw the clip as an endless GIF, 320 pixels wide; a picture shows at its frame's time, rounded to 1/100 s.

    Above 50 frames per second every second frame is drawn (above 100 every third, …). One palette of 255 colours serves the whole
    clip, so that still skin does not flicker. A frame that capture missed repeats the one before.

    Args:
        look: camera and light; None is the front in the studio.
        progress: called as frames are drawn.

    Raises:
        InputError: an unwritable path, an empty clip, or the `media` extra is missing.
    """
    try:
        import av
        from PIL import Image
    except ImportError:
        raise InputError(
            "GIF needs PyAV and Pillow, which are not installed. Run pip install 'meshtalk[media]'."
        ) from None
    keys(clip)
    every = math.ceil(clip.fps / FASTEST_FPS)
    times = [round(k / clip.fps / _TICK) for k in (*range(0, clip.n_frames, every), clip.n_frames)]
    options = {"loop": "0", "final_delay": str(max(times[-1] - times[-2], _SHORTEST_TICKS))}
    with atomic(path) as temporary:
        renderer = Renderer(clip.topology, clip.template, SIZE_PX, SIZE_PX, look, tint=clip.tint, subject=clip.subject)
        palette = _palette(clip, renderer, Image)
        table = np.zeros((256, 4), np.uint8)
        colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)[:_COLOURS]
        table[: len(colours), 0], table[: len(colours), 1:] = 255, colours  # PyAV's order: opacity, red, green, blue
        with av.open(str(temporary), "w", format="gif", options=options) as container:
            stream: Any = container.add_stream("gif", rate=100)
            stream.width = stream.height = SIZE_PX
            stream.pix_fmt, stream.time_base, stream.codec_context.time_base = "pal8", _TICK, _TICK
            meshes = (mesh for k, mesh in enumerate(held(clip, progress)) if k % every == 0)
            for time, image in zip(times[:-1], renderer.frames(meshes), strict=True):
                indices = Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
                drawn: Any = (np.asarray(indices), table)
                frame = av.VideoFrame.from_ndarray(drawn, format="pal8")
                frame.pts, frame.time_base = time, _TICK
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def _palette(clip: Clip, renderer: Renderer, image: Any) -> Any:
    """A Pillow image whose palette suits frames from the whole clip."""
    some = np.unique(np.linspace(0, clip.n_frames - 1, _LOOKED_AT).astype(int)).tolist()
    seen = [renderer.frame(clip.frames(k, k + 1)[0]) for k in some if clip.valid is None or clip.valid[k]]
    seen = seen or [renderer.frame(clip.template)]
    return image.fromarray(np.concatenate(seen)).quantize(_COLOURS, method=image.Quantize.MEDIANCUT)
