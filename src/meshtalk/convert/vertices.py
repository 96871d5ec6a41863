"""Readers of motion that is vertices: arrays, PC2 point caches, mesh sequences, all as float32 in the data's own space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from meshtalk.convert.pickles import read_pickle
from meshtalk.convert.plan import Capture, numbered, read_sound
from meshtalk.errors import InputError
from meshtalk.mesh.files import read_mesh

Item = TypeVar("Item")
PC2_SIGNATURE = b"POINTCACHE2\0"
PC2_HEADER = np.dtype(
    [("signature", "S12"), ("version", "<i4"), ("points", "<i4"), ("start", "<f4"), ("rate", "<f4"), ("samples", "<i4")]
)


def read_array(path: Path) -> np.ndarray:
    """An `.npy`, mapped.

    Raises:
        InputError: missing, damaged, or no numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path} is damaged, or no .npy of numbers") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path} is damaged, or no .npy of numbers")
    return array


def as_frames(array: np.ndarray, name: str) -> np.ndarray:
    """(T,V·3) or (T,V,3) as (T,V,3) float32.

    Raises:
        InputError: another shape.
    """
    if array.ndim == 2 and array.shape[1] and array.shape[1] % 3 == 0:
        array = array.reshape(len(array), -1, 3)
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name} must have shape (frames, vertices, 3) or (frames, 3·vertices), got {array.shape}")
    return np.asarray(array, np.float32)


def array_take(path: Path, sound: Path) -> Capture:
    """An `.npy` of frames with its sound."""
    frames = as_frames(read_array(path), path.name)
    return Capture(frames, *read_sound(sound, path.stem))


def spread(frames: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(n,…) captured frames at their places in (T,…), NaN between; `index` (n,) rises from 0.

    Raises:
        InputError: the places reach so far that nearly nothing would be between.
    """
    total = int(index[-1]) + 1 if len(index) else 0
    if total > 100 * max(len(index), 10):
        raise InputError(f"its {len(index)} frames have numbers that reach to {total}")
    if total == len(frames):
        return frames
    placed = np.full((total, *frames.shape[1:]), np.nan, np.float32)
    placed[index] = frames
    return placed


def read_pc2(path: Path) -> np.ndarray:
    """(T,V,3) of a PointCache2 file, mapped.

    Raises:
        InputError: it is none, or it is cut off.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(PC2_HEADER.itemsize)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if len(head) < PC2_HEADER.itemsize or not head.startswith(PC2_SIGNATURE):
        raise InputError(f"{path} is no PC2 point cache")
    header = np.frombuffer(head, PC2_HEADER)[0]
    points, samples = int(header["points"]), int(header["samples"])
    if header["version"] != 1 or points < 1 or samples < 1:
        raise InputError(
            f"{path} is a PC2 point cache of {samples} samples of {points} points, version {header['version']}"
        )
    needed = len(head) + 12 * points * samples
    if path.stat().st_size < needed:
        raise InputError(f"{path} is cut off: {path.stat().st_size} bytes of {needed}")
    return np.memmap(path, "<f4", "r", offset=len(head), shape=(samples, points, 3))


def read_vl(path: Path) -> np.ndarray:
    """(V,3) of a `.vl`: a count as 32-bit integer, then three 32-bit floats a vertex, little-endian.

    Raises:
        InputError: the count and the file's size contradict each other.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    count = int.from_bytes(data[:4], "little", signed=True) if len(data) >= 4 else -1
    if count < 1 or len(data) != 4 + 12 * count:
        raise InputError(f"{path} is not a .vl file: {len(data)} bytes for {count} vertices")
    return np.frombuffer(data, "<f4", offset=4).reshape(-1, 3)


def read_frames(items: Sequence[Item], index: np.ndarray, read: Callable[[Item], np.ndarray]) -> tuple[np.ndarray, str]:
    """((T,V,3) with NaN where a frame is missing or damaged, a note on those).

    Args:
        items: files, or numbers of frames.
        index: (n,) place of each in time, rising from 0.
        read: item → (V,3), InputError if it cannot.

    Raises:
        InputError: not one can be read, or they are not of one mesh.
    """
    frames: list[np.ndarray | None] = []
    for item in items:
        try:
            frames.append(np.asarray(read(item), np.float32))
        except InputError:
            frames.append(None)
    shapes = {frame.shape for frame in frames if frame is not None}
    if len(shapes) != 1:
        had = " and ".join(f"{shape[0]}" for shape in sorted(shapes))
        raise InputError(f"its frames have {had} vertices" if shapes else "none of its frames can be read")
    blank = np.full(shapes.pop(), np.nan, np.float32)
    broken = sum(frame is None for frame in frames)
    motion = spread(np.stack([blank if frame is None else frame for frame in frames]), index)
    return motion, f"{broken} of its frame files cannot be read" if broken else ""


def sequence_take(
    folder: Path, names: Sequence[str], read: Callable[[Path], np.ndarray], sound: Path | None
) -> Capture:
    """A folder of one file a frame, sorted by number, with its sound."""
    ordered, index = numbered(names)
    motion, broken = read_frames([folder / name for name in ordered], index, read)
    audio, rate, note = read_sound(sound, folder.name)
    return Capture(motion, audio, rate, "; ".join(part for part in (broken, note) if part))


def mesh_vertices(path: Path) -> np.ndarray:
    """(V,3) of a mesh file in file order."""
    return read_mesh(path).vertices


def read_templates(path: Path) -> dict[str, np.ndarray]:
    """Subject → (V,3) of a templates.pkl.

    Raises:
        InputError: missing, or anything but a dict of such arrays; nothing in it is run.
    """
    found = read_pickle(path)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path} holds {type(found).__name__}, not a template for each subject")
    for name, template in found.items():
        if not (isinstance(template, np.ndarray) and template.ndim == 2 and template.shape[1:] == (3,)):
            raise InputError(f"{path}: the template of {name} is no (vertices, 3) array")
    return {str(name): np.asarray(template, np.float64) for name, template in found.items()}


def common_templates(
    templates: dict[str, np.ndarray], n_vertices: int, source: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """(the templates with `n_vertices`, names of the others).

    Raises:
        InputError: none of them has.
    """
    fitting = {name: template for name, template in templates.items() if len(template) == n_vertices}
    if not fitting:
        had = ", ".join(sorted({str(len(template)) for template in templates.values()}))
        raise InputError(
            f"{source} has templates of {had} vertices, the given mesh {n_vertices}. Give the data's own mesh."
        )
    return fitting, sorted(set(templates) - set(fitting))
