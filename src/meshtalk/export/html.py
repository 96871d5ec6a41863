"""Player page: one self-contained HTML file with orbit camera, sound, curves and comparison of clips.

The page itself is made from `web/` when the package is built and lies in the package as `assets/player.html`; here it gets
its data. What is drawn and how lies in `web/src`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.glb import split_seams
from meshtalk.export.html_look import light, look_of, texture
from meshtalk.export.html_motion import Payload, encode_motion
from meshtalk.files import atomic
from meshtalk.render import Renderer

PAGE = files("meshtalk") / "assets" / "player.html"
PAYLOAD_MARK, TITLE_MARK = "<!--payload-->", "<!--title-->"
RATES = (8000, 48000)
"""Sound of other rates is resampled to the nearest of these: all browsers play what lies between."""
NO_OPENING = -(2**15)
"""Lip opening of a frame that capture missed."""


def write_html(clip: Clip, path: Path) -> None:
    """Write a page that plays the clip; see `write_player`.

    Raises:
        InputError: see `write_player`.
    """
    write_player(path, [clip])


def write_player(path: str | Path, clips: Sequence[Clip], names: Sequence[str] | None = None) -> Path:
    """Write one HTML file that plays clips side by side, in step; it needs no network and no other file.

    The sound is the clock: the frame drawn at time t of it is ⌊t·fps⌋, for every clip at its own rate. Vertices are where the
    clips have them within `html_motion.ERROR_M` (0.05 mm). The heat map shows how far each vertex's displacement is from
    that of the first clip, where topologies agree; with one clip, from its neutral face.

    Args:
        names: what to write above each clip (default: its person and emotion).

    Returns:
        The path.

    Raises:
        InputError: no clip, a clip that fails `Clip.validate` or has no frames, another number of names than of clips, an
            unwritable path, a page too large for browsers, the `media` extra is missing, or the player page itself is.
    """
    if not clips:
        raise InputError("a player needs at least one clip")
    if names is not None and len(names) != len(clips):
        raise InputError(f"names must be one per clip, got {len(names)} for {len(clips)} clips")
    for clip in clips:
        if clip.validate().n_frames == 0:
            raise InputError("the clip has no frames, so there is nothing to play")
    if not PAGE.is_file():
        raise InputError(
            "the player page is not in this installation, because npm's packages were not available when it was installed"
            ". Run `pip install` for meshtalk's folder again, with access to the npm registry."
        )
    page = PAGE.read_text(encoding="utf-8")
    sentence = clips[0].sentence if len({clip.sentence for clip in clips}) == 1 else ""
    payload, faces, told = Payload(), {}, []
    for k, clip in enumerate(clips):
        if clip.face not in faces:
            faces[clip.face] = _face(clip, payload)
        name = names[k] if names is not None else _name(clip, k, len(clips))
        told.append({"name": name, **faces[clip.face], **_performance(clip, payload)})
    manifest = {
        "sentence": sentence,
        "clips": told,
        "light": light(),
    }
    title = html.escape(sentence or (names[0] if names and len(names) == 1 else "") or "meshtalk")
    with atomic(path) as temporary:
        page = page.replace(TITLE_MARK, title, 1).replace(PAYLOAD_MARK, payload.encode(manifest), 1)
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _name(clip: Clip, index: int, count: int) -> str:
    return ", ".join(part for part in (clip.subject, clip.emotion) if part) or (
        f"clip {index + 1}" if count > 1 else ""
    )


def _face(clip: Clip, payload: Payload) -> dict[str, Any]:
    """The page's data of a face."""
    topology = clip.topology
    source, uvs, corners = split_seams(topology)
    index = np.uint16 if len(source) <= 65536 else np.uint32
    try:
        # the same colours, and the same shadows that the neutral face throws on itself, as in pictures and films
        renderer = Renderer(topology, clip.template, 1000, 1000, tint=clip.tint, subject=clip.subject)
    except ImportError:
        raise InputError("a player needs Pillow, which is not installed. Run pip install 'meshtalk[media]'.") from None
    return {
        "topology": topology.hash,
        "nVertices": topology.n_vertices,
        "faces": payload.add(
            np.asarray(topology.faces).astype(np.uint16 if topology.n_vertices <= 65536 else np.uint32)
        ),
        # what the graphics card draws: vertices doubled where the texture has seams
        "source": payload.add(source.astype(index)),
        "corners": payload.add(corners.astype(index)),
        "uvs": None if uvs is None else payload.add(np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)),
        "texture": None if uvs is None else payload.add(texture(topology, clip.subject, clip.tint)),
        "template": payload.add(np.asarray(clip.template, np.float32)),
        "look": look_of(renderer, payload),
        "view": _view(renderer),
        "regions": {
            region: payload.add(np.rint(np.clip(weights, 0, 1) * 255).astype(np.uint8))
            for region, weights in topology.regions.items()
            if np.any(weights > 0)
        },
    }


def _performance(clip: Clip, payload: Payload) -> dict[str, Any]:
    """The page's data of a motion."""
    return {
        "fps": [clip.fps.numerator, clip.fps.denominator],
        "nFrames": clip.n_frames,
        "duration": max(clip.duration_s, len(clip.audio) / clip.sample_rate),
        "motion": encode_motion(clip, payload),
        "opening": _opening(clip, payload),
        "sound": _sound(clip, payload),
        "phones": [[phone.name, phone.start_s, phone.end_s] for phone in clip.phones],
    }


def _view(renderer: Renderer) -> dict[str, Any]:
    """The portrait that the films show: point looked at, distance, and height of a square picture over its distance."""
    camera = renderer.camera
    return {"centre": camera.centre.tolist(), "distance": camera.distance_m, "slope": renderer.height / camera.focal_px}


def _opening(clip: Clip, payload: Payload) -> dict[str, Any] | None:
    """Lip opening of every frame in hundredths of a millimetre, where the topology has the landmarks."""
    if not {"lip_inner_upper", "lip_inner_lower"} <= clip.topology.landmarks.keys():
        return None
    hundredths = np.clip(np.rint(clip.lip_opening_mm() * 100), NO_OPENING + 1, 2**15 - 1).astype(np.int16)
    if clip.valid is not None:
        hundredths[~clip.valid] = NO_OPENING
    return payload.add(hundredths)


def _sound(clip: Clip, payload: Payload) -> dict[str, Any] | None:
    """16-bit samples with their rate; None where the clip is silent."""
    audio, rate = np.asarray(clip.audio, np.float32), clip.sample_rate
    if not np.any(audio):
        return None
    if not RATES[0] <= rate <= RATES[1]:
        import soxr

        wanted = min(max(rate, RATES[0]), RATES[1])
        audio, rate = soxr.resample(audio, rate, wanted), wanted
    # the ringing of clipped sound passes full scale a little; much louder are integers written as floating point
    loudest = float(np.abs(audio).max())
    samples = np.clip(audio / (loudest if loudest > 2 else 1.0), -1, 1)
    return {"rate": rate, "samples": payload.add(np.rint(samples * 32767).astype(np.int16))}
