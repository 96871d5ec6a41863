"""Fast reads of a few frames from any clip of a large corpus, without its sound, its phones or a map of the file."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from meshtalk.corpus.store import DENSE, LINEAR, ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.files import array_header

OPEN_FILES = 256
"""Maximum number of files that a reader has open."""
LARGE = 1 << 18
"""Size in bytes from which a read has a thread of its own."""
AT_ONCE = 8
"""Large reads in flight at a time."""
IN_CACHE = 1 << 20
"""Bytes of frames that are processed at a time."""
Change = Callable[[int, Tensor], Tensor]


class OpenFile:
    """A file for positioned reads from any thread, closed with its last reference.

    Read, not mapped: the pages of a map count as the process's memory, and a file that was cut short would kill it.
    """

    _file: FileIO | None = None

    def __init__(self, path: Path) -> None:
        """Raise InputError if the file cannot be opened."""
        self.path, self._lock = path, Lock()
        try:
            self._file = FileIO(path)
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror}). Build or copy the corpus again.") from None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def expect(self, offset: int, size: int) -> None:
        """Advise the system to prefetch so many bytes, where supported."""
        assert self._file is not None
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), offset, size, os.POSIX_FADV_WILLNEED)

    def read_into(self, array: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes from `offset` on.

        Raises:
            InputError: the file is too short, or the disk fails.
        """
        view = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            try:
                count = self._read_some(view[done:], offset + done)
            except OSError as error:
                raise InputError(
                    f"cannot read {self.path} ({error.strerror}). Build or copy the corpus again."
                ) from None
            if not count:
                raise InputError(f"{self.path} is truncated. Build or copy the corpus again.")
            done += count

    def _read_some(self, view: memoryview, offset: int) -> int:
        assert self._file is not None
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view) or 0

    def array_header(self) -> tuple[tuple[int, ...], np.dtype, int]:
        """(shape, dtype, offset of the data) of a `.npy` file.

        Raises:
            InputError: it is not an `.npy` file, or not in C order.
        """
        assert self._file is not None
        with self._lock:
            self._file.seek(0)
            try:
                shape, by_columns, dtype = array_header(self._file)
            except (ValueError, EOFError):
                raise InputError(f"{self.path} is damaged. Build or copy the corpus again.") from None
            begin = self._file.tell()
        if by_columns:
            raise InputError(f"{self.path} must be a plain array in C order. Build or copy the corpus again.")
        return shape, dtype, begin


class Read(NamedTuple):
    """An array to fill from a file at `offset`."""

    file: OpenFile
    array: np.ndarray
    offset: int


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="meshtalk-read")


def read_all(reads: Sequence[Read], then: Callable[[int], object] = lambda _: None) -> None:
    """Fill arrays from files, and call `then` with the index of each that is complete.

    Many reads are in flight at a time, because a disk that serves one request after the other is mostly idle: large reads share
    threads, in which `then` is called as well; small ones are announced to the system before the first is waited for.

    Raises:
        InputError: a file is too short.
    """

    def fill(place: int) -> None:
        reads[place].file.read_into(reads[place].array, reads[place].offset)
        then(place)

    small = [place for place, read in enumerate(reads) if read.array.nbytes < LARGE]
    for place in small:
        reads[place].file.expect(reads[place].offset, reads[place].array.nbytes)
    if len(small) < len(reads):
        for _ in _readers().map(fill, sorted({*range(len(reads))} - {*small})):
            pass
    for place in small:
        fill(place)


class ClipRows:
    """Random access to the stored motion of a corpus's clips, with the last OPEN_FILES files open."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        shapes = corpus.topology.shapes
        self._basis = None if shapes is None else shapes.reshape(len(shapes), -1)
        self._opened = lru_cache(OPEN_FILES)(self._open)
        self._buffers = Buffers()

    def _open(self, clip_id: str, linear: bool, n_frames: int) -> tuple[OpenFile, np.dtype, int, int]:
        """(file, dtype, values per frame, offset of the data)."""
        file = OpenFile(self.corpus.file("clips", clip_id, LINEAR if linear else DENSE))
        shape, dtype, begin = file.array_header()
        topology = self.corpus.topology
        needed = (n_frames, len(topology.shape_names)) if linear else (n_frames, topology.n_vertices, 3)
        if shape != needed:
            raise InputError(f"motion of clip {clip_id} must have shape {needed}, got {shape}")
        return file, dtype, int(np.prod(needed[1:])), begin

    def windows(
        self, infos: Sequence[ClipInfo], starts: Sequence[int], frames: int, change: Change | None = None
    ) -> Tensor:
        """(n,T,V,3) float32 metres: T frames from `starts` on of each of n clips, equal to `Clip.displacements`.

        Args:
            change: in-place transform of frames, given the index of the clip and (t,V,3) metres; called in several threads
                while they are in the processor's caches.

        Raises:
            InputError: a file is missing, damaged or does not fit the manifest.
        """
        n_vertices = self.corpus.topology.n_vertices
        out = self._buffers(len(infos), frames, n_vertices * 3)
        reads: list[Read] = []
        for info, start in zip(infos, starts, strict=True):
            file, dtype, width, begin = self._opened(info.id, LINEAR in info.files, info.n_frames)
            assert 0 <= start <= info.n_frames - frames, "frames beyond the clip"
            reads.append(Read(file, np.empty((frames, width), dtype), begin + start * width * dtype.itemsize))
        step = max(1, IN_CACHE // (n_vertices * 12))

        def finish(place: int) -> None:
            stored, filled = torch.as_tensor(reads[place].array), out[place]
            for piece, rows in zip(torch.split(filled, step), torch.split(stored, step), strict=True):
                if self._basis is not None and LINEAR in infos[place].files:
                    torch.matmul(rows.float(), torch.as_tensor(self._basis), out=piece)
                else:
                    piece.copy_(rows)  # torch, because it converts half precision eight times as fast as NumPy does
                if change is not None:
                    piece.copy_(change(place, piece.view(-1, n_vertices, 3)).view_as(piece))

        read_all(reads, finish)
        return out.view(len(infos), frames, n_vertices, 3)

    def displacements(self, info: ClipInfo, start: int, stop: int) -> np.ndarray:
        """(t,V,3) float32 metres of frames start..stop ≤ n_frames.

        Raises:
            InputError: as `windows`.
        """
        return self.windows([info], [start], stop - start)[0].numpy()


class Projection:
    """`Clip.project` of many clips of one corpus with the same fields; products with the corpus's blendshapes are cached."""

    def __init__(self, corpus: Corpus, fields: np.ndarray) -> None:
        """Args: fields (K,V,3) displacement fields, metres."""
        self.corpus, self.fields = corpus, fields
        shapes, flat = corpus.topology.shapes, fields.reshape(len(fields), -1).astype(np.float32)
        self._of_shapes = None if shapes is None else shapes.reshape(len(shapes), -1) @ flat.T

    def __call__(self, info: ClipInfo) -> np.ndarray:
        """(T,K) inner products of every frame's displacement with the fields.

        Raises:
            InputError: the clip's motion is missing, damaged or does not fit the manifest.
        """
        clip = self.corpus.load(info, sound=False)
        if clip.weights is None:
            return clip.project(self.fields)
        assert self._of_shapes is not None
        return clip.weights.astype(np.float32) @ self._of_shapes


# ------------------------------------------------------------------------------------------------ buffers


KEPT = 4
"""Buffers that are reused: for the batch being computed, and those being prepared."""


class Buffers:
    """A pool of uninitialised float32 tensors. Allocating a large one costs several times as much as filling it: the system
    has to find and clear it page by page."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buffers: list[tuple[Tensor, weakref.ref[np.ndarray]]] = []
        """Memory, and the last view of it that was lent, which lives as long as any tensor of it."""

    def __call__(self, *shape: int) -> Tensor:
        """A tensor that shares its memory with no other live one."""
        size = math.prod(shape)
        with self._lock:
            fits = [
                place for place, (buffer, view) in enumerate(self._buffers) if view() is None and len(buffer) >= size
            ]
            buffer = self._buffers.pop(min(fits, key=lambda place: len(self._buffers[place][0])))[0] if fits else None
            if buffer is None:
                buffer = torch.empty(size)  # torch's memory, always aligned alike, as products may need
            view = buffer.numpy()[:size]
            self._buffers = [*self._buffers, (buffer, weakref.ref(view))][-KEPT:]
            return torch.as_tensor(view).view(shape)
