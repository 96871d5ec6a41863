"""One picture of a clip: a row of frames at telling instants, with the sound and the opening of the lips below."""

from __future__ import annotations

from pathlib import Path

from meshtalk.clip import Clip
from meshtalk.contact_sheet import contact_sheet
from meshtalk.export.frames import keys
from meshtalk.render import Look


def write_png(clip: Clip, path: Path, look: Look | None = None) -> None:
    """Write a contact sheet of the clip; see `contact_sheet`.

    Args:
        look: camera and light; None is the face in the studio.

    Raises:
        InputError: an unwritable path, an empty clip, or the `media` extra is missing.
    """
    keys(clip)
    contact_sheet({clip.sentence or path.stem: clip}, path, look)
