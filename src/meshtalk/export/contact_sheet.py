"""Contact sheets: frames of a clip at characteristic phones, and lip opening against the sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import keys
from meshtalk.files import atomic
from meshtalk.render import Look, Renderer

PHONE_GROUPS = (
    ("p", "b", "m"),
    ("aa", "ae", "ao", "ah", "aw", "ay"),
    ("f", "v"),
    ("uw", "ow", "w", "oy", "uh"),
    ("iy", "ih", "ey", "eh"),
    ("th", "dh", "l"),
    ("sh", "ch", "jh", "zh", "s", "z"),
)
"""Phones with the most characteristic mouth shapes, by lips and tongue."""
CLOSURES = frozenset("pbm")

_PAPER, _PANEL, _INK, _FAINT = (16, 20, 24), (25, 31, 37), (236, 240, 243), (134, 147, 158)
_WAVE, _CURVE, _BAND, _MARK = (62, 82, 98), (255, 176, 92), (54, 46, 50), (110, 124, 136)
_MARGIN, _GAP, _TITLE, _CAPTION, _STRIP, _AXIS = 28, 8, 46, 30, 132, 42
_OVER = 2
"""The curves are drawn this much larger and shrunk, because Pillow's lines have steps."""


def contact_sheet(
    clips: Mapping[str, Clip],
    path: str | Path,
    look: Look | None = None,
    *,
    columns: int = 8,
    frame_px: int = 216,
) -> Path:
    """Write a PNG: for each clip a row of frames with captions, and a strip of sound and lip opening over time.

    The frames are taken in the middle of telling phones where the clip has phones (PHONE_GROUPS), evenly
    otherwise. In the strip the sound is grey, the lip opening (where the topology has lip landmarks) orange in
    millimetres; p, b and m are shaded, so that a closure that does not close shows.

    Args:
        clips: label → clip, top to bottom.
        look: camera and light; None is the face in the studio.
        columns: frames in a row.
        frame_px: side of a frame.

    Returns:
        The path.

    Raises:
        InputError: no clip, a clip without frames, fewer than one column, an unwritable path or the `media` extra
            is missing.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise InputError("a contact sheet needs Pillow (not installed). Run pip install 'meshtalk[media]'.") from None
    if not clips or any(clip.n_frames == 0 for clip in clips.values()):
        raise InputError("a contact sheet needs at least one clip, and every clip at least one frame")
    if columns < 1:
        raise InputError(f"columns must be at least 1, got {columns}")
    with atomic(path) as temporary:
        row = _TITLE + frame_px + _CAPTION + _STRIP + _AXIS
        width = 2 * _MARGIN + columns * frame_px + (columns - 1) * _GAP
        sheet = Image.new("RGB", (width, 2 * _MARGIN + len(clips) * row + (len(clips) - 1) * _MARGIN), _PAPER)
        draw = ImageDraw.Draw(sheet)
        title, text, small = (ImageFont.load_default(size) for size in (22, 15, 12))
        top = _MARGIN
        drawn, renderer = None, None
        for label, clip in clips.items():
            draw.text((_MARGIN, top), label, _INK, title)
            about = f"{clip.duration_s:.2f} s   {float(clip.fps):g} fps"
            about = "   ".join(part for part in (clip.subject, clip.emotion, about) if part)
            draw.text((width - _MARGIN, top + 6), about, _FAINT, text, anchor="ra")
            if renderer is None or clip.face != drawn:
                own = {"tint": clip.tint, "subject": clip.subject}
                renderer = Renderer(clip.topology, clip.template, frame_px, frame_px, look or Look("face"), **own)
                drawn = clip.face
            instants = _instants(clip, columns)
            for column, (k, phone) in enumerate(instants):
                left = _MARGIN + column * (frame_px + _GAP)
                image = renderer.frame(clip.frames(k, k + 1)[0])
                sheet.paste(Image.fromarray(image), (left, top + _TITLE))
                line = top + _TITLE + frame_px + 6
                draw.text((left + 2, line), f"{float(k / clip.fps):.2f} s", _FAINT, text)
                draw.text((left + frame_px - 2, line), phone, _CURVE, text, anchor="ra")
            strip = _strip(clip, width - 2 * _MARGIN, [k for k, _ in instants], small)
            sheet.paste(strip, (_MARGIN, top + _TITLE + frame_px + _CAPTION))
            top += row + _MARGIN
        sheet.save(temporary, format="PNG", optimize=True)
    return Path(path)


def _instants(clip: Clip, count: int) -> list[tuple[int, str]]:
    """Up to `count` frames in order of time, each with the phone it shows ("" where the clip has none)."""
    last = clip.n_frames - 1
    if not clip.phones:
        spread = np.linspace(0, last, count + 2)[1:-1] if count < last else np.arange(clip.n_frames)
        return [(round(float(k)), "") for k in spread]
    waiting = [
        sorted((p for p in clip.phones if p.name in group), key=lambda p: p.start_s - p.end_s) for group in PHONE_GROUPS
    ]
    waiting.append(sorted((p for p in clip.phones if p.name == "pau"), key=lambda p: p.start_s - p.end_s))
    chosen: dict[int, str] = {}
    while len(chosen) < count and any(waiting):
        for group in waiting:  # one of each kind, the longest first, then another of each kind
            if group and len(chosen) < count:
                phone = group.pop(0)
                k = round((phone.start_s + phone.end_s) / 2 * float(clip.fps))
                chosen.setdefault(min(k, last), "" if phone.name == "pau" else phone.name)
    return sorted(chosen.items())


def _strip(clip: Clip, width: int, marks: list[int], font: Any) -> Any:
    """The sound and the lip opening over time with their axes, `width` pixels wide, as a Pillow image."""
    from PIL import Image, ImageDraw

    duration_s = max(clip.duration_s, 1e-6)
    wide, tall = width * _OVER, _STRIP * _OVER
    plot = Image.new("RGB", (wide, tall), _PANEL)
    draw = ImageDraw.Draw(plot)
    for phone in clip.phones:
        if phone.name in CLOSURES:
            draw.rectangle((phone.start_s / duration_s * wide, 0, phone.end_s / duration_s * wide, tall), _BAND)
    ends = (np.arange(wide + 1) * duration_s / wide * clip.sample_rate).astype(int)
    loudest = float(np.abs(clip.audio).max(initial=1e-6))
    for x in range(wide):
        piece = clip.audio[ends[x] : max(ends[x + 1], ends[x] + 1)]
        if len(piece):
            low, high = (tall / 2 * (1 - 0.9 * float(value) / loudest) for value in (piece.max(), piece.min()))
            draw.line((x, low, x, max(high, low + 1)), _WAVE)
    for k in marks:
        x = float(k / clip.fps) / duration_s * wide
        draw.line((x, 0, x, tall), _MARK, _OVER)
    paired = {"lip_inner_upper", "lip_inner_lower"} <= clip.topology.landmarks.keys()
    opening_mm = clip.lip_opening_mm() if paired else np.zeros(0)
    ceiling_mm = max(5.0, np.ceil(float(opening_mm.max(initial=0.0)) / 5) * 5)
    if len(opening_mm):
        x = np.arange(len(opening_mm)) / float(clip.fps) / duration_s * wide
        y = tall * (0.95 - 0.9 * np.maximum(opening_mm, -1.0) / ceiling_mm)
        draw.line([(float(a), float(b)) for a, b in zip(x, y, strict=True)], _CURVE, 2 * _OVER, joint="curve")
    strip = Image.new("RGB", (width, _STRIP + _AXIS), _PAPER)
    strip.paste(plot.resize((width, _STRIP), Image.Resampling.LANCZOS), (0, 0))
    draw = ImageDraw.Draw(strip)
    step_s = next(step for step in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300) if duration_s / step <= 16 or step == 300)
    for tick in range(int(duration_s / step_s) + 1):
        x = tick * step_s / duration_s * width
        draw.line((x, _STRIP, x, _STRIP + _AXIS - 8), _BAND)
        if x < width - 30:
            draw.text((x + 4, _STRIP + _AXIS - 8), f"{tick * step_s:g} s", _FAINT, font, anchor="ls")
    if len(opening_mm):
        draw.text((6, 4), f"lip opening, {ceiling_mm:g} mm", _CURVE, font)
        draw.text((6, _STRIP - 18), "0", _CURVE, font)
    free = 0.0
    for phone in clip.phones:
        x = (phone.start_s + phone.end_s) / 2 / duration_s * width
        half = draw.textlength(phone.name, font) / 2
        if phone.name != "pau" and x - half > free and x + half < width:
            draw.text((x, _STRIP + 9), phone.name, _INK if phone.name in CLOSURES else _FAINT, font, anchor="mm")
            free = x + half + 3
    return strip


# ------------------------------------------------------------------------------------------------ as an exporter


def write_png(clip: Clip, path: Path, look: Look | None = None) -> None:
    """Write a contact sheet of the clip; see `contact_sheet`.

    Args:
        look: camera and light; None is the face in the studio.

    Raises:
        InputError: an unwritable path, an empty clip, or the `media` extra is missing.
    """
    keys(clip)
    contact_sheet({clip.sentence or path.stem: clip}, path, look)
