"""Mutations of files: of bytes, of text, of JSON's values, of the arrays in an archive. A seed gives the same ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
NUMBERS = tuple(b"0 -1 1e39 1e-320 nan inf -inf 4294967296 99999999999999999999 0.5 2147483647".split())
WORDS = (
    b"\x1b[31m", b"../../x", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"<script>", b"\r\n", b"\t", b",,,", b'"', b"[" * 3000,
    b"A" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1e39, float("nan"), float("inf"), 10**30,
    "", "x", "../../x", "\x1b[2J", "n" * 400, "1/0", [], {}, [[]], [None],
)  # fmt: skip


def flip(data: bytes, rng: Rng) -> bytes:
    """Some bytes become others."""
    changed = bytearray(data)
    for place in rng.integers(0, len(changed), rng.integers(1, 9)):
        changed[place] = rng.integers(256)
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """The file ends early."""
    return data[: rng.integers(0, len(data))]


def splice(data: bytes, rng: Rng) -> bytes:
    """A piece of the file goes over another, or between."""
    source, size, place = rng.integers(0, len(data)), rng.integers(1, 400), rng.integers(0, len(data))
    return data[:place] + data[source : source + size] + data[place + (size if rng.random() < 0.5 else 0) :]


def insert(data: bytes, rng: Rng) -> bytes:
    """Something that does not belong there."""
    place = rng.integers(0, len(data) + 1)
    return data[:place] + WORDS[rng.integers(len(WORDS))] + data[place:]


def number(data: bytes, rng: Rng) -> bytes:
    """A number of a text becomes another."""
    digits = np.flatnonzero(np.isin(np.frombuffer(data, np.uint8), np.frombuffer(b"0123456789", np.uint8)))
    if not len(digits):
        return flip(data, rng)
    start = stop = int(digits[rng.integers(len(digits))])
    while stop < len(data) and chr(data[stop]) in "0123456789.eE-":
        stop += 1
    return data[:start] + NUMBERS[rng.integers(len(NUMBERS))] + data[stop:]


def lines(data: bytes, rng: Rng) -> bytes:
    """Lines are lost, doubled or exchanged."""
    parts = data.split(b"\n")
    a, b = rng.integers(0, len(parts), 2)
    parts[a] = (b"", parts[b], parts[b] + b" " + parts[a])[rng.integers(3)]
    return b"\n".join(parts)


def values(data: bytes, rng: Rng) -> bytes:
    """A value of JSON becomes another, or is lost."""
    try:
        told = json.loads(data)
    except ValueError:
        return flip(data, rng)
    places: list[tuple[Any, Any]] = []
    todo = [told]
    while todo:
        place = todo.pop()
        for key in list(place) if isinstance(place, dict) else range(len(place)):
            places.append((place, key))
            if isinstance(place[key], dict | list):
                todo.append(place[key])
    for index in rng.integers(0, len(places), rng.integers(1, 3)) if places else ():
        place, key = places[index]
        if isinstance(place, dict) and rng.random() < 0.2:
            place.pop(key, None)
        else:
            place[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(told).encode()


def _array(array: np.ndarray, rng: Rng) -> np.ndarray:
    """Another array in the place of this one."""
    way = rng.integers(9)
    if way == 0:
        return array[: len(array) // 2] if array.ndim else array.reshape(1)
    if way == 1:
        return array[None]
    if way == 2 and array.dtype.kind in "fiu":
        return array.astype([np.float64, np.float16, np.int64, np.uint8, np.bool_][rng.integers(5)])
    if way == 3:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    if way == 4:
        return np.array(["x" * 300, "\x1b[31m"])
    if way == 5:
        return np.moveaxis(array, 0, -1) if array.ndim else array
    changed = np.array(array)
    if changed.size and changed.dtype.kind == "f":
        with np.errstate(over="ignore"):
            changed.reshape(-1)[rng.integers(changed.size)] = [np.nan, np.inf, 1e30, -1e30, 0][rng.integers(5)]
    elif changed.size and changed.dtype.kind in "iu":
        changed.reshape(-1)[rng.integers(changed.size)] = (
            rng.integers(0, 127) if way == 6 else np.iinfo(changed.dtype).max
        )
    return changed


def arrays(data: bytes, rng: Rng) -> bytes:
    """An array of an archive becomes another, or is lost; of a `.npy` file, the array. What cannot be read any more: bytes."""
    try:
        return _archive(data, rng)
    except Exception:  # a mutation before this one damaged it
        return flip(data, rng)


def _archive(data: bytes, rng: Rng) -> bytes:
    if data[:6] == b"\x93NUMPY":
        out = io.BytesIO()
        np.save(out, _array(np.load(io.BytesIO(data)), rng))
        return out.getvalue()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        held = {name: archive[name] for name in archive.files}
    for name in rng.choice(list(held), rng.integers(1, 3)):
        if rng.random() < 0.15:
            held.pop(name, None)
        elif name in held:
            held[name] = _array(held[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in held.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
    return out.getvalue()


ANY: tuple[Callable[[bytes, Rng], bytes], ...] = (flip, cut, splice, insert)
BY_SUFFIX: dict[str, tuple[Callable[[bytes, Rng], bytes], ...]] = {
    ".json": (values, values, values, number, insert, cut), ".npz": (arrays, arrays, arrays, flip), ".npy": (arrays, flip, cut),
    ".map": (arrays, arrays, flip), ".obj": (number, lines, insert), ".ply": (number, lines, *ANY), ".csv": (number, lines, insert),
    ".tsv": (number, lines, insert, insert),
}  # fmt: skip


def mutate(path: Path, rng: Rng) -> None:
    """Change a file in place."""
    data = path.read_bytes()
    ways = (*BY_SUFFIX.get(path.suffix, ANY), *ANY[:2])
    changed = ways[rng.integers(len(ways))](data, rng)
    path.write_bytes(changed if changed != data or not data else flip(data, rng))
