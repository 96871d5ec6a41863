"""The clip itself, lossless: numpy's `.npz`, read back by `Clip.load`."""

from __future__ import annotations

from pathlib import Path

from meshtalk.clip import Clip


def write_npz(clip: Clip, path: Path) -> None:
    """Write everything the clip holds; see `Clip.save_npz`.

    Raises:
        InputError: `path` cannot be written.
    """
    clip.save_npz(path)
