"""Files: text and arrays are read within bounds; outputs are written beside their destination and renamed when complete."""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from meshtalk.errors import DiskError, InputError

Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What `json.loads` gives."""
SPOOL_BYTES = 2**28
"""Larger result arrays are memory-mapped from a temporary file."""
LONGEST_NAME = 255
"""Bytes of a file's name that file systems take."""
FORGOTTEN_S = 7 * 24 * 3600
"""Age of a partial file that is removed even though nobody knows whether its writer, on another machine, is alive."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PARTIAL = re.compile(r"\.meshtalk-([0-9a-f]{8})-([0-9]+)-([0-9a-f]{6})-")
_MACHINE, _RUN = f"{zlib.crc32(platform.node().encode()):08x}", secrets.token_hex(3)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MOST_BYTES, MOST_TIMES = 2**29, 50
"""What the arrays of an archive may take in memory, or so many times its size: motion is packed to a half, silence to nothing."""
_PROBE_BYTES = 1 << 16
_swept: set[tuple[int, Path]] = set()


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises:
        InputError: it cannot be read, or is text of another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(marked).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether it is stored by columns, type) of the `.npy` that begins here; the numbers follow.

    Raises:
        ValueError: no `.npy`, or one of objects.
    """
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"version {version} of .npy is not read")
    shape, by_columns, dtype = read_header[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds objects instead of numbers")
    return shape, by_columns, dtype


def read_arrays(path: str | Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` whose names are wanted; the others are not unpacked.

    What they claim to take is looked at first: some megabytes can claim gigabytes.

    Raises:
        InputError: they would take more than MOST_BYTES, and MOST_TIMES what the file has.
        FileNotFoundError, ValueError, zipfile.BadZipFile and whatever else a damaged archive leads to; see `errors.reading`.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        entries = {name: entry for name, entry in entries.items() if wanted(name)}
        most = max(MOST_BYTES, MOST_TIMES * os.path.getsize(path))
        if (size := sum(entry.file_size for entry in entries.values())) > most:
            raise InputError(
                f"{path} would unpack to {size / 1e9:.1f} GB of arrays. Read are {most / 1e9:.1f} GB at most."
            )
        return {name: _unpacked(archive, entry) for name, entry in entries.items()}


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    # others unpack a piece of any size at once
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is compressed in an unusual way")
    with archive.open(entry) as stream:
        shape, _, dtype = array_header(stream)
        if math.prod(shape) * dtype.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename} is shorter than its shape")
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)


def check_writable(path: Path) -> None:
    """Check early that an output can be written.

    Raises:
        InputError: the name is too long, the folder is missing or read-only, or `path` is itself a folder.
    """
    folder = path.parent
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise InputError(f"cannot write {path}: names have up to {LONGEST_NAME} bytes. Choose a shorter one.")
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
        InputError: `path` exists and is not an empty folder, or cannot be created; or the disk is full.
    """
    path = Path(path)
    check_folder(path)
    with _partial_folder(path) as temporary:
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.replace(path)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place on success, whatever was there; it is removed on failure.

    Raises:
        InputError: the disk is full or fails.
    """
    with _partial_folder(path) as temporary:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)


@contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    with disk_errors(path):
        temporary = Path(tempfile.mkdtemp(prefix=_partial_name(path.parent), dir=path.parent))
    try:
        with disk_errors(path, temporary):
            temporary.chmod(0o777 & ~_umask())  # mkdtemp makes folders private; an output is an ordinary folder
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def disk_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn what a full or failing disk does to a writer into one sentence, whatever exception its library makes of it.

    Args:
        path: what is written.
        temporary: the file or folder that is written meanwhile; where it has no more room, that is why the writer failed.

    Raises:
        DiskError: the disk is full or fails, or the file would be larger than is allowed.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = _told_by(error) or (None if temporary is None else _want_of_room(temporary))
        if reason is None:
            raise
        raise DiskError(f"cannot write {path}: {reason}. Free some space and run the command again.") from error


def _told_by(error: BaseException | None) -> str | None:
    """What an exception, or one that led to it, says of the disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK:
            return os.strerror(error.errno)
        error = error.__cause__ or error.__context__
    return None


def _want_of_room(temporary: Path) -> str | None:
    """Why nothing can be added to a partial file, or to the newest file of a partial folder; None if it can."""
    try:
        if temporary.is_dir():
            files = [file for file in temporary.rglob("*") if file.is_file()]
            temporary = max(files, key=lambda file: file.stat().st_mtime_ns, default=temporary / "probe")
        with open(temporary, "ab") as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return _told_by(error)
    return None


def _partial_name(folder: Path) -> str:
    """How this process names its partial files in a folder, from which those of killed ones are removed."""
    if (os.getpid(), folder) not in _swept:
        _swept.add((os.getpid(), folder))
        for path in folder.glob(".meshtalk-*"):
            if _is_forgotten(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return f".meshtalk-{_MACHINE}-{os.getpid()}-{_RUN}-"


def _is_forgotten(partial: Path) -> bool:
    """Whether the process that wrote a partial file is no more."""
    named = _PARTIAL.match(partial.name)
    if named and named[1] == _MACHINE and sys.platform != "win32":  # where a signal 0 would end the process
        pid = int(named[2])
        if pid == os.getpid():  # numbers are given again: a container's first process is always 1
            return named[3] != _RUN
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            pass
    try:
        return time.time() - partial.lstat().st_mtime > FORGOTTEN_S
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; rename it to `path` on success, remove it on failure.

    Raises:
        InputError: `path` cannot be written, or the disk is full or fails.
    """
    path = Path(path)
    check_writable(path)
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=_partial_name(path.parent), suffix=path.suffix[-32:], dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with disk_errors(path, temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; an output is an ordinary file
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def reserve(stream: IO[bytes], n_bytes: int) -> None:
    """Extend a file to so many bytes, which are then there: a map of it cannot end the process.

    Raises:
        OSError: the disk has no room for them, or a file must not be so large.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, n_bytes)
        return
    if hasattr(os, "fstatvfs"):  # macOS
        disk = os.fstatvfs(stream.fileno())
        if disk.f_bavail * disk.f_frsize < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    stream.truncate(n_bytes)


def write_json(path: str | Path, value: object) -> None:
    """Write JSON types atomically, keys sorted.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic(path) as temporary:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def spooled(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array, memory-mapped from a temporary file if it is large.

    Raises:
        DiskError: the folder for temporary files has no room for it.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if n_bytes <= SPOOL_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="meshtalk-") as file:
        try:
            reserve(file, n_bytes)
        except OSError as error:
            raise DiskError(
                f"{n_bytes / 1e9:.1f} GB of temporary results do not fit into {tempfile.gettempdir()}: {error.strerror}. Free "
                "some space, or set TMPDIR to a folder with more."
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)  # the map outlives the name and the handle


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
