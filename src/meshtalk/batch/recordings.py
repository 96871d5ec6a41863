"""Inputs of a batch: recordings, and the names of their outputs."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshtalk.errors import InputError
from meshtalk.files import read_text

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".mov", ".mp4", ".mkv", ".webm")
"""Suffixes of the files that are found in folders; files given by name may have any."""
LIST = ".txt"


@dataclass(frozen=True)
class Recording:
    """A recording and its name."""

    path: Path
    name: str
    """Path of its output in the output folder, without suffix: `sub/line_3`."""


def find_recordings(inputs: Sequence[str | Path], output: Path) -> list[Recording]:
    """Recordings of folders (with all that is below them), of patterns such as `a/**/*.wav`, of lists (.txt: a path a line,
    from the list's own folder on; # begins a remark), and single ones; each once, in this order, folders and patterns sorted.

    Names keep the sub-folders below the folder, below the first folder of a pattern that is not a pattern itself, and those
    of relative paths in a list. Files that lie in `output` are not taken of folders and patterns.

    Raises:
        InputError: an input is missing or has no recordings, or two recordings have one name.
    """
    found: dict[Path, Recording] = {}
    named: dict[str, Recording] = {}
    mine = output.resolve()
    for text in inputs:
        for recording in _of(str(text), mine):
            place = recording.path.resolve()
            if place in found:
                continue
            if (other := named.get(recording.name)) is not None:
                raise InputError(
                    f"{other.path} and {recording.path} would both be written to {recording.name}"
                    ". Rename one, or give the folder they have in common, whose sub-folders keep them apart."
                )
            found[place] = named[recording.name] = recording
    if not found:
        raise InputError("a batch needs recordings. Give files, folders, patterns or lists (.txt).")
    return list(found.values())


def _of(text: str, output: Path) -> Iterator[Recording]:
    path = Path(text)
    if path.is_dir():
        below = (file for file in path.rglob("*") if file.suffix.lower() in SOUNDS and file.is_file())
        found = [file for file in sorted(below) if not file.resolve().is_relative_to(output)]
        if not found:
            raise InputError(f"{path} holds no recordings ({', '.join(SOUNDS)})")
        yield from (_named(file, file.relative_to(path)) for file in found)
    elif path.is_file() and path.suffix.lower() == LIST:
        yield from _listed(path)
    elif path.exists():
        yield _named(path, Path(path.name))
    elif glob.has_magic(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        found = [file for file in found if file.is_file() and not file.resolve().is_relative_to(output)]
        if not found:
            raise InputError(f"no file fits {text}")
        root = Path(*path.parts[: next(i for i, part in enumerate(path.parts) if glob.has_magic(part))])
        yield from (_named(file, file.relative_to(root)) for file in found)
    else:
        raise InputError(f"there is no {path}. Give files, folders, patterns or lists (.txt) of recordings.")


def _listed(path: Path) -> Iterator[Recording]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"the list {path} names no recordings")
    for line in lines:
        told = Path(line)
        inside = not told.is_absolute() and ".." not in told.parts
        yield _named(path.parent / told, told if inside else Path(told.name))


def _named(path: Path, name: Path) -> Recording:
    return Recording(path, name.with_suffix("").as_posix())
