"""A corpus on disk: manifest, topology, a template per subject, a folder per clip (docs/data_format.md)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile  # pyright: ignore[reportMissingTypeStubs]

from meshtalk.clip import Clip, Phone
from meshtalk.config import from_json
from meshtalk.errors import MISSING, InputError, reading
from meshtalk.files import Json, atomic, replaced_folder, write_json
from meshtalk.mesh.topology import Topology

FORMAT = "meshtalk corpus"
VERSION = 1
SPLITS = ("train", "val", "test")
AUDIO, PHONES, VALID = "audio.flac", "phones.json", "valid.npy"
LINEAR, DENSE = "weights.npy", "displacement.npy"
RECORD = "clip.json"
LONGER_S = 10.0
"""Sound that goes on for longer than this behind the motion is not of the clip."""
_AGAIN = "Build or copy the corpus again"


@dataclass(frozen=True)
class ClipInfo:
    """Manifest entry of a clip; `Corpus.load` reads the clip."""

    id: str
    split: str
    """One of SPLITS."""
    voice: str
    subject: str
    sentence: str
    emotion: str
    n_frames: int
    duration_s: float
    sample_rate: int
    files: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """File name in the clip's folder → sha256 of its content."""
    recipe: str = ""
    """Digest of everything that determined the clip (empty when it was not made by a build)."""
    seed: int | None = None
    """Seed of articulation style and upper face, if the clip is synthetic."""
    official: str = ""
    """Name of the data set's official split, e.g. test_a."""
    note: str = ""
    """Note by the converter on changes to the data."""


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def check_name(name: str, what: str) -> str:
    """Check that a name is safe as a file name and cannot leave its folder."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_.+" for c in name):
        raise InputError(f"{what} must consist of letters, digits and any of -_.+, got {name!r}")
    return name


class Corpus:
    """A corpus opened for reading: the manifest is in memory, motion is mapped when a clip is loaded.

    Example:
        >>> from meshtalk.corpus.store import Corpus
        >>> corpus = Corpus.open("corpus")
        >>> clip = corpus.load(corpus.split("train")[0])
        >>> clip.fps == corpus.fps
        True
    """

    def __init__(
        self,
        root: Path,
        topology: Topology,
        fps: Fraction,
        clips: tuple[ClipInfo, ...],
        licences: tuple[str, ...],
        hashes: Mapping[str, str],
    ) -> None:
        self.root = root
        self.topology = topology
        self.fps = fps
        self.clips = clips
        self.licences = licences
        self._hashes = dict(hashes)
        self._templates: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open the corpus in folder `path`.

        Raises:
            InputError: no manifest there, a damaged one, another format version, or a topology that is not
                the manifest's.
        """
        root = Path(path)
        manifest = read_manifest(root)
        with reading(f"{root / 'manifest.json'} is damaged", f"{_AGAIN}."):
            try:
                fps = Fraction(manifest["fps"])
                if fps <= 0:
                    raise ValueError(f"frame rate {fps}")
                clips = from_json(tuple[ClipInfo, ...], manifest["clips"])
                licences = from_json(tuple[str, ...], manifest["licences"])
                topology_hash = from_json(str, manifest["topology"]["hash"])
                subjects = from_json(Mapping[str, str], manifest["subjects"])
                hashes = {"topology.npz": from_json(str, manifest["topology"]["sha256"])}
                hashes |= {f"subjects/{check_name(name, 'a subject')}.npy": digest for name, digest in subjects.items()}
            except InputError as error:
                raise ValueError(error) from None  # which says nothing of the file
        for info in clips:
            check_name(info.id, "the clip id")
            for name in info.files:
                check_name(name, f"a file of clip {info.id}")
            if info.split not in SPLITS:
                raise InputError(f"split of clip {info.id} must be one of {', '.join(SPLITS)}, got {info.split!r}")
        topology = Topology.load(inside(root, "topology.npz"))
        if topology.hash != topology_hash:
            raise InputError(f"{root / 'topology.npz'} must have hash {topology_hash}, got {topology.hash}. {_AGAIN}.")
        return cls(root, topology, fps, clips, licences, hashes)

    def split(self, name: str) -> tuple[ClipInfo, ...]:
        """The clips of one split, in manifest order.

        Raises:
            InputError: `name` is not one of SPLITS.
        """
        if name not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        return tuple(info for info in self.clips if info.split == name)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, sorted."""
        return tuple(sorted(Path(name).stem for name in self._hashes if name.startswith("subjects/")))

    def file(self, *names: str) -> Path:
        """`inside` of this corpus."""
        return inside(self.root, *names)

    def template(self, subject: str) -> np.ndarray:
        """(V,3) float32 metres: the neutral face of `subject` (cached).

        Raises:
            InputError: there is no such subject, or its file is damaged.
        """
        if subject in self._templates:
            return self._templates[subject]
        template = read_array(self.file("subjects", f"{subject}.npy"))
        if template.shape != (self.topology.n_vertices, 3):
            raise InputError(
                f"the template of {subject} must have shape ({self.topology.n_vertices}, 3), got {template.shape}"
            )
        if template.dtype.kind != "f" or not np.isfinite(template).all():
            raise InputError(f"the template of {subject} must be finite floats. {_AGAIN}.")
        return self._templates.setdefault(subject, template.astype(np.float32))

    def load(self, info: ClipInfo, sound: bool = True) -> Clip:
        """Load a clip: audio and phones are read (unless `sound` is False: then there are none), motion is memory-mapped.

        Linear clips have `basis = topology.shapes` and the subject's gains in their weights; dense ones a float16
        displacement.

        Raises:
            InputError: a file is missing, truncated or does not fit the manifest.
        """
        linear = LINEAR in info.files
        motion = read_array(self.file("clips", info.id, LINEAR if linear else DENSE), mmap=True)
        names = self.topology.shape_names
        tail = (len(names),) if linear else (self.topology.n_vertices, 3)
        if motion.shape != (info.n_frames, *tail):
            needed = (info.n_frames, *tail)
            raise InputError(f"motion of clip {info.id} must have shape {needed}, got {motion.shape}")
        if motion.dtype.kind != "f" or (linear and not np.isfinite(motion).all()):
            raise InputError(f"motion of clip {info.id} must be finite floats, got {motion.dtype}. {_AGAIN}.")
        audio, sample_rate = np.zeros(0, np.float32), info.sample_rate
        with reading(f"clip {info.id} cannot be read", f"{_AGAIN}."):
            if sound:
                audio, sample_rate = _read_sound(self.file("clips", info.id, AUDIO), info.n_frames / self.fps)
            listed = json.loads(self.file("clips", info.id, PHONES).read_bytes()) if sound else ()
            phones = tuple(Phone(str(n), float(a), float(b)) for n, a, b in listed)
        return Clip(
            topology=self.topology,
            template=self.template(info.subject),
            fps=self.fps,
            audio=audio,
            sample_rate=int(sample_rate),
            displacement=None if linear else motion,
            weights=motion if linear else None,
            basis=self.topology.shapes if linear else None,
            basis_names=names if linear else (),
            subject=info.subject,
            sentence=info.sentence,
            emotion=info.emotion,
            phones=phones,
            valid=self.valid(info),
        )

    def valid(self, info: ClipInfo) -> np.ndarray | None:
        """(T,) bool: which frames of a clip were captured; None where all were.

        Raises:
            InputError: the file is missing, damaged or of another length.
        """
        if VALID not in info.files:
            return None
        valid = read_array(self.file("clips", info.id, VALID))
        if valid.shape != (info.n_frames,) or valid.dtype != bool:
            raise InputError(
                f"{VALID} of clip {info.id} must be ({info.n_frames},) booleans, got {valid.shape} of {valid.dtype}. {_AGAIN}."
            )
        return valid

    def verify(self) -> None:
        """Read every file and compare its hash with the manifest's.

        Raises:
            InputError: a file is missing or differs; names the first.
        """
        expected = dict(self._hashes)
        for info in self.clips:
            expected |= {f"clips/{info.id}/{name}": digest for name, digest in info.files.items()}
        for name, digest in expected.items():
            path = self.file(name)
            if not path.is_file():
                raise InputError(f"{path} is missing. {_AGAIN}.")
            if _sha256(path) != digest:
                raise InputError(f"{path} differs from its hash in the manifest. {_AGAIN}.")


def inside(root: Path, *names: str) -> Path:
    """Path of a file or folder of the corpus in `root`, which may come from a stranger.

    Raises:
        InputError: it leads out of the corpus, by a link or by its name, or is a pipe or a device, which may have no end.
    """
    path = root.joinpath(*names)
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path} leads out of the corpus. Put what it points to in its place.")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is neither a file nor a folder. {_AGAIN}.")
    return path


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest as stored, its clips unchecked.

    Raises:
        InputError: it is missing, damaged or of another version.
    """
    path = inside(root, "manifest.json")
    try:
        with reading(f"{path} is damaged", f"{_AGAIN}.", *MISSING):
            manifest: Json = json.loads(path.read_text(encoding="utf-8"))
    except MISSING:
        raise InputError(
            f"no corpus at {root}: there is no manifest.json. Make one with `meshtalk corpus build -o {root}`."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{path} is not the manifest of a meshtalk corpus")
    if manifest.get("version") != VERSION:
        raise InputError(
            f"{path} has version {manifest.get('version')!r}; this meshtalk reads {VERSION}. Build the corpus again."
        )
    return manifest


def _read_sound(path: Path, motion_s: Fraction) -> tuple[np.ndarray, int]:
    """(S,) float32 sound and its rate; what is much longer than the motion, as silence can be in a small file, is not read."""
    with soundfile.SoundFile(path) as sound:
        if sound.frames > (float(motion_s) + LONGER_S) * sound.samplerate or sound.channels != 1:
            raise ValueError(
                f"{sound.frames:,} samples of {sound.channels} channels beside {float(motion_s):.3f} s of motion"
            )
        return sound.read(dtype="float32"), sound.samplerate


def read_array(path: Path, mmap: bool = False) -> np.ndarray:
    """An array of a corpus; `mmap` leaves it in its file.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with reading(f"{path} is damaged", f"{_AGAIN}.", *MISSING):
            array: Any = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
            if isinstance(array, np.lib.npyio.NpzFile):  # numpy opens an archive under any name
                raise ValueError("it is an archive of arrays")
            return array
    except MISSING:
        raise InputError(f"{path} is missing. {_AGAIN}.") from None


class CorpusWriter:
    """Writes clips of one topology and one frame rate; `finish` writes the manifest last.

    A clip's folder is written atomically, so an interrupted build can be resumed: `existing` finds finished clips. The
    writer holds no open files and can be sent to worker processes.
    """

    def __init__(self, root: str | Path, topology: Topology, fps: Fraction, licences: Iterable[str]) -> None:
        """Raise InputError if `root` cannot be created or is a corpus of another topology."""
        self.root = Path(root)
        self.topology = topology
        self.fps = Fraction(fps)
        self.licences = tuple(licences)
        try:
            for folder in ("clips", "subjects"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror
            raise InputError(f"cannot write a corpus in {self.root} ({why}). Choose another folder.") from None
        present = self.root / "topology.npz"
        if present.exists():
            topology.require(Topology.load(present), f"the corpus already in {self.root}")
        topology.save(present)

    def add_subject(self, name: str, template: np.ndarray) -> None:
        """Store a person's neutral face, (V,3) metres."""
        path = self.root / "subjects" / f"{check_name(name, 'the subject')}.npy"
        with atomic(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, np.asarray(template, np.float32))

    def add(
        self,
        clip: Clip,
        *,
        id: str,
        split: str,
        voice: str,
        recipe: str = "",
        seed: int | None = None,
        official: str = "",
        note: str = "",
    ) -> ClipInfo:
        """Store a clip (and its template when the subject is new); replaces a clip of the same id.

        A clip whose basis is the topology's blendshapes is stored as weights, any other as a dense float16
        displacement (rounded by at most 0.008 mm below 31 mm).

        Raises:
            InputError: the clip fails `Clip.validate`, has another topology or frame rate, or a bad name.
        """
        self.topology.require(clip.validate().topology, f"clip {id}")
        if clip.fps != self.fps:
            raise InputError(f"clip {id} must have the corpus's frame rate {self.fps}, got {clip.fps}")
        if split not in SPLITS:
            raise InputError(f"split of clip {id} must be one of {', '.join(SPLITS)}, got {split!r}")
        folder = self.root / "clips" / check_name(id, "the clip id")
        if not (self.root / "subjects" / f"{check_name(clip.subject, 'the subject')}.npy").exists():
            self.add_subject(clip.subject, clip.template)
        with replaced_folder(folder) as temporary:
            _write_clip(clip, temporary, linear=self._is_linear(clip))
            info = ClipInfo(
                id=id,
                split=split,
                voice=voice,
                subject=clip.subject,
                sentence=clip.sentence,
                emotion=clip.emotion,
                n_frames=clip.n_frames,
                duration_s=round(clip.duration_s, 6),
                sample_rate=clip.sample_rate,
                files={path.name: _sha256(path) for path in sorted(temporary.iterdir())},
                recipe=recipe,
                seed=seed,
                official=official,
                note=note,
            )
            write_json(temporary / RECORD, asdict(info))
        return info

    def _is_linear(self, clip: Clip) -> bool:
        return (
            clip.basis is not None
            and self.topology.shapes is not None
            and clip.basis_names == self.topology.shape_names
            and (clip.basis is self.topology.shapes or np.array_equal(clip.basis, self.topology.shapes))
        )

    def existing(self, id: str, recipe: str) -> ClipInfo | None:
        """The clip of that id if it was finished by the same recipe."""
        try:
            with reading("the record is damaged", "The clip is made again."):
                record = (self.root / "clips" / id / RECORD).read_text(encoding="utf-8")
                info: ClipInfo = from_json(ClipInfo, json.loads(record))
        except InputError:
            return None
        return info if info.recipe == recipe else None

    def finish(self, clips: Iterable[ClipInfo]) -> Corpus:
        """Write the manifest over `clips`, remove clip folders it does not name, and open the result."""
        clips = tuple(clips)
        named = {info.id for info in clips}
        for folder in (self.root / "clips").iterdir():
            if folder.is_dir() and folder.name not in named:
                shutil.rmtree(folder)
        subjects = sorted({info.subject for info in clips})
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "fps": f"{self.fps.numerator}/{self.fps.denominator}",
            "topology": {
                "hash": self.topology.hash,
                "region_hash": self.topology.region_hash,
                "n_vertices": self.topology.n_vertices,
                "sha256": _sha256(self.root / "topology.npz"),
            },
            "subjects": {name: _sha256(self.root / "subjects" / f"{name}.npy") for name in subjects},
            "licences": list(self.licences),
            "clips": [asdict(info) for info in clips],
        }
        write_json(self.root / "manifest.json", manifest)
        return Corpus.open(self.root)


def _write_clip(clip: Clip, folder: Path, linear: bool) -> None:
    # 16 bits are what recordings have; the peak is below 1 by Utterance's contract, other audio is limited
    audio = np.clip(clip.audio, -1, 1)
    soundfile.write(folder / AUDIO, audio, clip.sample_rate, format="FLAC", subtype="PCM_16")
    if linear and clip.weights is not None:
        np.save(folder / LINEAR, np.asarray(clip.weights, np.float32))
    else:
        np.save(folder / DENSE, clip.displacements().astype(np.float16))
    if clip.valid is not None:
        np.save(folder / VALID, clip.valid)
    phones = [[p.name, round(p.start_s, 4), round(p.end_s, 4)] for p in clip.phones]
    (folder / PHONES).write_text(json.dumps(phones), encoding="utf-8")


LISTENER = "silence"
"""Voice label of those clips."""
