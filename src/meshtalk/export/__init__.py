"""Clips to files: one module a format, all of them behind `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.blendshapes import write_weights
from meshtalk.export.glb import write_glb
from meshtalk.export.html import write_html, write_player
from meshtalk.export.mp4 import write_mp4
from meshtalk.export.npz import write_npz
from meshtalk.files import check_writable
from meshtalk.render import Look

__all__ = ["EXPORTERS", "export", "write_glb", "write_html", "write_mp4", "write_npz", "write_player"]

EXPORTERS: dict[str, Callable[..., None]] = {
    ".mp4": write_mp4,
    ".glb": write_glb,
    ".html": write_html,
    ".npz": write_npz,
    ".csv": write_weights,
    ".json": write_weights,
}
"""File name suffix → writer of (clip, path), those in DRAWN of (clip, path, look)."""
DRAWN = (".mp4",)
"""Suffixes of pictures and films, which a camera and a light are for."""


def check_output(path: str | Path, look: Look | None = None) -> Path:
    """Refuse an output that could not be written, before hours of work go into it; returns it as a Path.

    Raises:
        InputError: unknown suffix, missing or read-only folder, `path` is a folder, or a look came for what is not drawn.
    """
    path = Path(path)
    if path.suffix.lower() not in EXPORTERS:
        raise InputError(
            f"cannot write {path}: {path.suffix or 'no suffix'} is no known format : use {', '.join(EXPORTERS)}"
        )
    if look is not None and path.suffix.lower() not in DRAWN:
        raise InputError(
            f"a camera or a light came for {path.name}; only films have them : leave them out, or write {', '.join(DRAWN)}"
        )
    check_writable(path)
    return path


def export(clip: Clip, path: str | Path, look: Look | None = None) -> Path:
    """Write a clip in the format its suffix names (see EXPORTERS); the file appears whole or not at all.

    Args:
        look: camera and light of pictures and films; None is the front in the studio.

    Returns:
        The path.

    Raises:
        InputError: see `check_output`; or the clip fails `Clip.validate`; or an extra that the format needs is missing.
    """
    path = check_output(path, look)
    suffix = path.suffix.lower()
    EXPORTERS[suffix](clip.validate(), path, *([look] if suffix in DRAWN else []))
    return path
