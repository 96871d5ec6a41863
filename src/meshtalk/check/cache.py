"""Cache of clips' measures, keyed by content, so that an interrupted check resumes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from meshtalk.check.duplicates import Fingerprint
from meshtalk.check.measure import Measured, measured
from meshtalk.corpus.store import ClipInfo, Corpus
from meshtalk.errors import InputError, reading
from meshtalk.files import atomic
from meshtalk.mesh.topology import INNER_LIPS

VERSION = 1
"""Raise when `measured` or the fingerprints give other numbers: clips are then measured again."""
FILES_AT_ONCE = 1 << 20
"""Bytes of a file that are hashed at a time."""


@dataclass(frozen=True)
class Kept:
    """A clip's measures without its log-mel, and the file with it."""

    measured: Measured
    path: Path | None
    """None if the clip could not be measured."""

    def mel(self) -> np.ndarray:
        """(H, SOUND_BANDS) float32 log-mel.

        Raises:
            InputError: it was removed from the cache folder meanwhile.
        """
        found = None if self.path is None else _load(self.path, self.measured.id)
        if found is None:
            raise InputError(f"{self.path} was removed during the check. Run the check again.")
        return found.mel.astype(np.float32)


@dataclass(frozen=True)
class Place:
    """A corpus and the folder of its cached measures; small, so that it can be sent to workers with every clip."""

    root: Path
    corpus: str
    """Digest of its manifest: a process keeps it open as long as that stays."""
    folder: Path

    @classmethod
    def of(cls, corpus: Corpus, folder: Path) -> Place:
        return cls(corpus.root, _digest(corpus.root / "manifest.json"), folder)


@lru_cache(maxsize=1)
def _opened(place: Place) -> tuple[Corpus, str]:
    """The corpus, and the digest of everything but their own files that clips' measures depend on."""
    corpus = Corpus.open(place.root)
    mesh = corpus.topology
    digest = hashlib.sha256(f"{VERSION} {mesh.hash} {mesh.region_hash} {corpus.fps}".encode())
    arrays = [mesh.landmarks[name] for name in INNER_LIPS if name in mesh.landmarks]
    for array in [*arrays, *([] if mesh.shapes is None else [mesh.shapes])]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return corpus, digest.hexdigest()


def measure(info: ClipInfo, place: Place) -> Kept:
    """Measures of a clip, from the folder if they are there; every file is compared with its hash. For a worker process.

    Raises:
        InputError: the folder cannot be written.
    """
    corpus, shared = _opened(place)
    found = {}
    for name in sorted(info.files):
        try:
            found[name] = _digest(corpus.file("clips", info.id, name))
        except InputError as error:
            return _broken(info, str(error))
        except OSError as error:
            return _broken(info, f"{name} cannot be read ({error.strerror}). Build or copy the corpus again.")
        if found[name] != info.files[name]:
            return _broken(info, f"{name} differs from its hash in the manifest. Build or copy the corpus again.")
    try:
        face = hashlib.sha256(corpus.template(info.subject).tobytes()).hexdigest()
        key = hashlib.sha256(json.dumps([shared, face, info.n_frames, sorted(found.items())]).encode()).hexdigest()[:32]
        path = place.folder / key[:2] / f"{key}.npz"
        known = _load(path, info.id)
        new = measured(corpus.load(info), info.id) if known is None else None
    except InputError as error:
        return _broken(info, str(error).removeprefix(f"clip {info.id} "))
    if new is not None:
        _save(path, new)
    told = known or new
    assert told is not None
    told.mel = told.mel[:0]  # most of a clip's measures, and the least needed
    return Kept(told, path)


def _broken(info: ClipInfo, why: str) -> Kept:
    return Kept(Measured(info.id, broken=why), None)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(FILES_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def _save(path: Path, found: Measured) -> None:
    arrays = {
        f.name: np.asarray(getattr(found, f.name)) for f in fields(Measured) if f.name not in ("id", "broken", "prints")
    }
    arrays |= {f"print_{f.name}": getattr(found.prints, f.name) for f in fields(Fingerprint)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write measures to {path.parent} ({error.strerror}). Set MESHTALK_CACHE to a folder that can be written."
        ) from None
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _load(path: Path, id: str) -> Measured | None:
    """None if it is not there, or is damaged."""
    try:
        with reading(f"{path} is damaged", "The clip is measured again."), np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
            prints = Fingerprint(**{f.name: arrays.pop(f"print_{f.name}") for f in fields(Fingerprint)})
            plain = {name: value if value.ndim else value.item() for name, value in arrays.items()}
            return Measured(id, prints=prints, **plain)
    except InputError:
        return None
