"""A few frames out of any clip of a large corpus, without opening the clip: no sound, no phones, no mapping of a whole file."""

from __future__ import annotations

from functools import lru_cache
from io import FileIO
from pathlib import Path
from threading import Lock

import numpy as np

from meshtalk.corpus.store import DENSE, LINEAR, ClipInfo, Corpus
from meshtalk.errors import InputError

OPEN_FILES = 256
"""Files that a reader keeps open, of however many there are."""


class OpenFile:
    """A file that any thread reads at any place; it is closed when nobody holds it any more.

    Read, not mapped: the pages of a map count as the process's memory, and a file that was cut short would kill it.
    """

    _file: FileIO | None = None

    def __init__(self, path: Path) -> None:
        """Raises InputError when the file cannot be opened."""
        self.path, self._lock = path, Lock()
        try:
            self._file = FileIO(path)
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror}) : make or copy it again") from None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def read_into(self, array: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes from `offset` on.

        Raises:
            InputError: the file is too short, or the disk fails.
        """
        assert self._file is not None
        view = array.reshape(-1).view(np.uint8).data
        done = 0
        with self._lock:
            self._file.seek(offset)
            while done < len(view):
                try:
                    count = self._file.readinto(view[done:])
                except OSError as error:
                    raise InputError(f"cannot read {self.path} ({error.strerror}) : make or copy it again") from None
                if not count:
                    raise InputError(f"{self.path} is shorter than it should be : make or copy it again")
                done += count

    def array_header(self) -> tuple[tuple[int, ...], np.dtype, int]:
        """(shape, type, where the numbers begin) of a `.npy` file.

        Raises:
            InputError: it is none, or not in C order.
        """
        assert self._file is not None
        with self._lock:
            self._file.seek(0)
            try:
                version = np.lib.format.read_magic(self._file)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, by_columns, dtype = read[version](self._file)
            except (ValueError, KeyError, EOFError):
                raise InputError(f"{self.path} is damaged : build or copy the corpus again") from None
            begin = self._file.tell()
        if by_columns or dtype.hasobject:
            raise InputError(f"{self.path} is no plain array in C order : build or copy the corpus again")
        return shape, dtype, begin


class ClipRows:
    """The stored motion of a corpus's clips, read by frames, with the last OPEN_FILES files kept open."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        shapes = corpus.topology.shapes
        self._basis = None if shapes is None else shapes.reshape(len(shapes), -1)
        self._opened = lru_cache(OPEN_FILES)(self._open)

    def _open(self, clip_id: str, linear: bool, n_frames: int) -> tuple[OpenFile, np.dtype, int, int]:
        """(file, type, numbers a frame, where they begin)."""
        file = OpenFile(self.corpus.root / "clips" / clip_id / (LINEAR if linear else DENSE))
        shape, dtype, begin = file.array_header()
        topology = self.corpus.topology
        needed = (n_frames, len(topology.shape_names)) if linear else (n_frames, topology.n_vertices, 3)
        if shape != needed:
            raise InputError(f"clip {clip_id} has motion of shape {shape}; {needed} is needed")
        return file, dtype, int(np.prod(needed[1:])), begin

    def stored(self, info: ClipInfo, start: int, stop: int) -> np.ndarray:
        """(t,S) weights or (t,V·3) metres of frames start..stop ≤ n_frames, of the type they are stored in.

        Raises:
            InputError: the file is missing, damaged or does not fit the manifest.
        """
        file, dtype, width, begin = self._opened(info.id, LINEAR in info.files, info.n_frames)
        out = np.empty((stop - start, width), dtype)
        file.read_into(out, begin + start * width * dtype.itemsize)
        return out

    def displacements(self, info: ClipInfo, start: int, stop: int) -> np.ndarray:
        """(t,V,3) float32 metres of frames start..stop ≤ n_frames: what `Clip.displacements` gives.

        Raises:
            InputError: as `stored`.
        """
        rows = self.stored(info, start, stop).astype(np.float32, copy=False)
        if LINEAR in info.files:
            assert self._basis is not None
            rows = rows @ self._basis
        return rows.reshape(len(rows), -1, 3)


class Projection:
    """`Clip.project` of many clips of one corpus with the same fields: what the corpus's own shapes give is worked out once."""

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
