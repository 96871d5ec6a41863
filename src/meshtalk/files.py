"""Atomic outputs: every file or folder is written beside its destination and renamed when complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from meshtalk.errors import InputError

Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What `json.loads` gives."""
SPOOL_BYTES = 2**28
"""Larger result arrays are memory-mapped from a temporary file."""


def check_writable(path: Path) -> None:
    """Check early that an output can be written.

    Raises:
        InputError: the folder is missing or read-only, or `path` is itself a folder.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {folder}. Create it or choose another output.")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder. Give a file name.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}. Choose another output.")


def check_folder(path: Path) -> None:
    """Check early that a folder can be created.

    Raises:
        InputError: `path` exists and is not an empty folder, or cannot be created.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"cannot create {path}: it exists. Choose another output.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"cannot create {path}: there is no folder {path.parent} that can be written. Create it or choose another output."
        )


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `path` on success, remove it on failure.

    Raises:
        InputError: `path` exists and is not an empty folder, or cannot be created.
    """
    path = Path(path)
    check_folder(path)
    temporary = Path(tempfile.mkdtemp(prefix=".meshtalk-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes folders private; an output is an ordinary folder
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place on success, whatever was there; it is removed on failure."""
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; rename it to `path` on success, remove it on failure.

    Raises:
        InputError: `path` cannot be written.
    """
    path = Path(path)
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=".meshtalk-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; an output is an ordinary file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Write JSON types atomically, keys sorted.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic(path) as temporary:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def spooled(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array, memory-mapped from a temporary file if it is large."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= SPOOL_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="meshtalk-") as file:  # the map outlives the name and the handle
        return np.memmap(file, dtype, "w+", shape=shape)


def check_picture(path: str | Path) -> Path:
    """Check early that a picture can be written; returns its path.

    Raises:
        InputError: another suffix than .png, an unwritable path, or the `media` extra is missing.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"a picture must be written to .png, got {path}")
    check_writable(path)
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise InputError("a picture needs Pillow (not installed). Run pip install 'meshtalk[media]'.") from None
    return path
