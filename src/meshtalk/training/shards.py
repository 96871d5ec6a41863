"""Shards: training data on disk as rows of numbers, clip after clip, from which windows are read."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from meshtalk.corpus.rows import OPEN_FILES, OpenFile, Read, read_all
from meshtalk.corpus.store import ClipInfo
from meshtalk.errors import InputError
from meshtalk.files import atomic

SHARD_S = 600.0
"""A shard is full at so many seconds of clips: small enough to be made again, large enough that 10,000 hours are 60,000 files."""
_TAIL = struct.Struct("<16s24sQ")
_MAGIC = b"meshtalk rows 1\n"


@dataclass(frozen=True)
class Shard:
    """A file of rows and the clips in it, in order."""

    path: Path
    clips: tuple[ClipInfo, ...]

    @property
    def key(self) -> str:
        """Digest of everything that determines its content."""
        return self.path.stem


@dataclass(frozen=True)
class Rows:
    """Layout of a clip in a shard: `parts` arrays (L,width) of one dtype."""

    suffix: str
    dtype: np.dtype
    width: int
    parts: int = 1

    @property
    def row_bytes(self) -> int:
        return self.width * self.dtype.itemsize


def plan(
    folder: Path, infos: Sequence[ClipInfo], rows: Rows, source: object, files: Callable[[ClipInfo], object]
) -> list[Shard]:
    """Divide a split's clips into shards of SHARD_S.

    Args:
        source: JSON of everything that all rows depend on. A shard's name is a digest of it and of its clips.
        files: JSON of what the rows of one clip depend on.
    """
    groups: list[list[ClipInfo]] = []
    seconds = SHARD_S
    for info in infos:
        if seconds >= SHARD_S:
            groups.append([])
            seconds = 0.0
        groups[-1].append(info)
        seconds += info.duration_s
    shards = []
    for group in groups:
        determining = [rows.suffix, str(rows.dtype), rows.width, rows.parts, source, [files(info) for info in group]]
        key = hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()[:24]
        shards.append(Shard(folder / f"{key}.{rows.suffix}", tuple(group)))
    return shards


def write_shard(shard: Shard, rows: Rows, blocks: Iterable[np.ndarray]) -> None:
    """Write (parts,L,width) of each of the shard's clips atomically, one at a time in memory."""
    lengths = []
    with atomic(shard.path) as temporary, open(temporary, "wb") as file:
        for block in blocks:
            assert block.shape[::2] == (rows.parts, rows.width)
            lengths.append(block.shape[1])
            file.write(np.ascontiguousarray(block, rows.dtype).data)
        assert len(lengths) == len(shard.clips)
        file.write(np.array(lengths, "<i8").tobytes())
        # last, so that a file cut short, or one whose end the disk never got, is detected at once
        file.write(_TAIL.pack(_MAGIC, shard.key.encode(), len(lengths)))


def shard_lengths(shard: Shard, rows: Rows) -> np.ndarray | None:
    """(clips,) rows of each part of the shard's clips; None if the file is missing or damaged."""
    try:
        with open(shard.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            end = len(shard.clips) * 8 + _TAIL.size
            file.seek(max(size - end, 0))
            tail = file.read()
    except OSError:
        return None
    if len(tail) != end or _TAIL.unpack(tail[-_TAIL.size :]) != (_MAGIC, shard.key.encode(), len(shard.clips)):
        return None
    lengths = np.frombuffer(tail[: -_TAIL.size], "<i8")
    whole = int(lengths.sum()) * rows.parts * rows.row_bytes + end == size and (lengths >= 0).all()
    return lengths if whole else None


class RowStore:
    """Complete shards, read by clip and row, by any number of processes and threads."""

    def __init__(self, shards: Sequence[Shard], rows: Rows) -> None:
        """Raise InputError if a shard is missing or damaged."""
        self.shards, self.rows = shards, rows
        lengths = []
        for shard in shards:
            found = shard_lengths(shard, rows)
            if found is None:
                raise InputError(f"{shard.path} is missing or damaged. Run the command again, which rebuilds it.")
            lengths.append(found)
        self.lengths = np.concatenate(lengths)
        """(clips,) rows of each part of a clip."""
        self._shard_of = np.repeat(np.arange(len(shards)), [len(found) for found in lengths])
        begins = [np.cumsum(found) - found for found in lengths]
        self._offsets = np.concatenate(begins) * (rows.parts * rows.row_bytes)
        self._file = lru_cache(OPEN_FILES)(lambda index: OpenFile(shards[index].path))

    def room(self, *shape: int) -> np.ndarray:
        """Uninitialised (…,width) array of rows."""
        return np.empty((*shape, self.rows.width), self.rows.dtype)

    def windows(self, clips: Sequence[int], parts: Sequence[int], starts: Sequence[int], length: int) -> np.ndarray:
        """(n,length,width) rows from `starts` on of a part of each of n clips."""
        out = self.room(len(clips), length)
        read_all([self._read(*window) for window in zip(out, clips, parts, starts, strict=True)])
        return out

    def _read(self, out: np.ndarray, clip: int, part: int, start: int) -> Read:
        """The read of rows start..start+n of a part of a clip into `out` (n,width)."""
        assert 0 <= start <= self.lengths[clip] - len(out), "rows beyond the clip"
        row = part * int(self.lengths[clip]) + start
        offset = int(self._offsets[clip]) + row * self.rows.row_bytes
        return Read(self._file(int(self._shard_of[clip])), out, offset)

    def read(self, clip: int, part: int = 0, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(n,width) rows start..stop of a part of a clip, in memory."""
        out = self.room(len(range(*slice(start, stop).indices(int(self.lengths[clip])))))
        read_all([self._read(out, clip, part, start)])
        return out

    def every(self, part: int, stride: int) -> np.ndarray:
        """(n,width) every `stride`-th row of a part, counted over all clips in sequence."""
        begins = np.cumsum(self.lengths) - self.lengths
        found = []
        for clip, (begin, length) in enumerate(zip(begins.tolist(), self.lengths.tolist(), strict=True)):
            rows = range(-begin % stride, length, stride)
            out = self.room(len(rows))
            read_all([self._read(out[place : place + 1], clip, part, row) for place, row in enumerate(rows)])
            found.append(out)
        return np.concatenate(found)
