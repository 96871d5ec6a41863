"""Export of clips: one module per format, all of them behind `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.alembic import write_abc
from meshtalk.export.arrays import write_npy, write_npz, write_pc2
from meshtalk.export.blendshapes import write_weights
from meshtalk.export.contact_sheet import write_png
from meshtalk.export.gif import write_gif
from meshtalk.export.glb import write_glb
from meshtalk.export.html import write_html, write_player
from meshtalk.export.mp4 import write_mp4
from meshtalk.export.sequence import check_pattern, write_obj, write_ply
from meshtalk.export.usd import write_usd
from meshtalk.files import check_folder, check_writable
from meshtalk.parallel import one_thread
from meshtalk.progress import Show
from meshtalk.render import Look

__all__ = ["EXPORTERS", "export", "write_glb", "write_html", "write_mp4", "write_npz", "write_player"]

EXPORTERS: dict[str, Callable[..., None]] = {
    ".mp4": write_mp4,
    ".glb": write_glb,
    ".html": write_html,
    ".npz": write_npz,
    ".gif": write_gif,
    ".png": write_png,
    ".usdc": write_usd,
    ".usda": write_usd,
    ".abc": write_abc,
    ".pc2": write_pc2,
    ".npy": write_npy,
    ".obj": write_obj,
    ".ply": write_ply,
    ".csv": write_weights,
    ".json": write_weights,
}
"""File name suffix → writer of (clip, path); those in DRAWN also take a look, those in COUNTED progress."""
DRAWN = (".mp4", ".gif", ".png")
"""Suffixes of pictures and films, which a camera and a light are for."""
SEQUENCES = (".obj", ".ply")
"""Suffixes with a file for each frame: `face/%05d.obj`."""
COUNTED = (".mp4", ".gif", ".usdc", ".usda", ".abc", ".pc2", ".npy", *SEQUENCES)
"""Suffixes that are written frame by frame."""


def check_output(path: str | Path, look: Look | None = None) -> Path:
    """Check early that an output can be written; returns it as a Path.

    Raises:
        InputError: unknown suffix, missing or read-only folder, `path` is a folder, or a look for a format that is not drawn.
    """
    path = Path(path)
    if path.suffix.lower() not in EXPORTERS:
        raise InputError(
            f"cannot write {path}: {path.suffix or 'no suffix'} is not a known format. Use {', '.join(EXPORTERS)}."
        )
    if look is not None and path.suffix.lower() not in DRAWN:
        raise InputError(
            f"camera and light are for pictures, got {path.name}. Leave them out, or write {', '.join(DRAWN)}."
        )
    if path.suffix.lower() in SEQUENCES:
        check_pattern(path)
        check_folder(path.parent)
    else:
        check_writable(path)
    return path


@one_thread()  # bytes do not depend on the machine's cores
def export(clip: Clip, path: str | Path, look: Look | None = None, *, progress: Show | None = None) -> Path:
    """Write a clip in the format its suffix names (see EXPORTERS); the file is written atomically.

    Args:
        look: camera and light of pictures and films; None is the front in the studio.
        progress: called while frames are written, by formats in COUNTED.

    Returns:
        The path.

    Raises:
        InputError: see `check_output`; or the clip fails `Clip.validate`; or an extra that the format needs is missing.
    """
    path = check_output(path, look)
    suffix = path.suffix.lower()
    options = {"look": look} if suffix in DRAWN else {}
    EXPORTERS[suffix](clip.validate(), path, **options | ({"progress": progress} if suffix in COUNTED else {}))
    return path
