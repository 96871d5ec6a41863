"""Clip: a mesh animation with its sound, the data type that converters, models, measures and exports share."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from meshtalk.config import MOST_FPS
from meshtalk.errors import InputError
from meshtalk.files import array_header, atomic, read_arrays
from meshtalk.mesh.topology import Topology, check_size, lip_opening_m

MAX_TINT = 10.0
"""Skin ten times as bright as the texture is damage."""
CHUNK = 256
"""Frames expanded to vertices at a time, so that an hour of animation never has to fit in memory."""
MAP_FROM_BYTES = 64 << 20
"""Dense motion larger than this stays in its file when a clip is loaded."""
FARTHEST_M = 2.0
"""From where it rests: a vertex that moves further is damage. Faces move by centimetres."""
MAX_AUDIO = 1e5
"""Sound of 16-bit integers that nobody divided still plays; what is larger is damage."""
MAX_RATE_HZ = 1_000_000
_ARRAYS = frozenset(
    [
        "template",
        "audio",
        "fps",
        "sample_rate",
        "labels",
        "tint",
        "weights",
        "basis",
        "basis_names",
        "displacement",
        "phone_names",
        "phone_times_s",
        "valid",
        "recipe",
        "recipe_expression",
    ]
)


def exact_rate(fps: Fraction | float | int | str) -> Fraction:
    """A frame rate as the fraction that is meant: 29.97 and 23.976 are the broadcast rates, n·1000/1001.

    Raises:
        ValueError, ZeroDivisionError, OverflowError: it is no finite number.
    """
    if not isinstance(fps, float) and not (isinstance(fps, str) and "/" not in fps):
        return Fraction(fps)
    broadcast = Fraction(round(float(fps)) * 1000, 1001)
    return broadcast if abs(float(broadcast) - float(fps)) < 2e-3 else Fraction(fps).limit_denominator(1001)


class Phone(NamedTuple):
    """A speech sound with its time in the clip, ARPAbet lower case without stress (`pau` for silence)."""

    name: str
    start_s: float
    end_s: float


class Recipe(NamedTuple):
    """Generation settings of a clip: with the model, the clip's sound and its template, all that reproduces it."""

    settings: Mapping[str, Any]
    """JSON types: model, seed, options, version; see docs/data_format.md."""
    expression: np.ndarray | None = None
    """(N,n_motion) float32 expression signal as the model received it."""


@dataclass(eq=False)
class Clip:
    """T frames of V vertices at `fps`; frame k is at exactly k/fps seconds of the audio.

    Motion is the displacement from the template, held either dense or as weights of a linear basis
    (`template + weights · basis`): exactly one of the two. Vertices are metres in a right-handed frame: +X to the face's own
    left, +Y up, +Z forward, out of the face.

    Example:
        >>> from meshtalk import Clip
        >>> clip = Clip.load("clip.npz")
        >>> clip.vertices.shape == (clip.n_frames, clip.topology.n_vertices, 3)
        True
        >>> clip.save("clip.npy").name  # any suffix of meshtalk.export.EXPORTERS
        'clip.npy'
    """

    topology: Topology
    template: np.ndarray
    """(V,3) float32 metres: the neutral face of this person."""
    fps: Fraction
    audio: np.ndarray
    """(S,) mono float32 in [-1,1]; empty if there is no sound."""
    sample_rate: int
    """Samples of `audio` in a second, Hz."""
    displacement: np.ndarray | None = None
    """(T,V,3) metres, dense form. It may be a `numpy.memmap`: everything here and in the exports reads it in pieces."""
    weights: np.ndarray | None = None
    """(T,K) float32, linear form."""
    basis: np.ndarray | None = None
    """(K,V,3) float32 metres, linear form."""
    basis_names: tuple[str, ...] = ()
    """Names of the K basis shapes (blendshape names where they are blendshapes)."""
    subject: str = ""
    """Who speaks: a name or number of the data set, or of the packaged people; empty if unknown."""
    sentence: str = ""
    """Which sentence is spoken, as the data set names it; empty if unknown."""
    emotion: str = ""
    """Acted emotion, as the data set names it; empty if neutral or unknown."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the linear light of the skin's red, green and blue, for pictures: this person's skin tone."""
    phones: tuple[Phone, ...] = ()
    valid: np.ndarray | None = None
    """(T,) bool, False where capture missed a frame; None means all are valid. Gaps are never closed up."""
    recipe: Recipe | None = None
    """Generation settings, if a model made it."""

    def __post_init__(self) -> None:
        try:
            self.fps = exact_rate(self.fps)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise InputError(f"fps must be a frame rate, got {self.fps!r}. Try 30 or 30000/1001.") from None
        if self.fps <= 0 or self.sample_rate <= 0:
            raise InputError(f"fps and sample_rate must be positive, got {self.fps} and {self.sample_rate}")
        if self.fps > MOST_FPS or self.sample_rate > MAX_RATE_HZ:
            raise InputError(
                f"fps must be at most {MOST_FPS} and sample_rate {MAX_RATE_HZ:,} Hz, got {self.fps} and {self.sample_rate}"
            )
        if (self.displacement is None) == (self.weights is None or self.basis is None):
            raise InputError(
                "a clip must have either a displacement or weights with a basis. Give exactly one of them."
            )

    @property
    def n_frames(self) -> int:
        motion = self.weights if self.weights is not None else self.displacement
        assert motion is not None
        return len(motion)

    @property
    def duration_s(self) -> float:
        return float(self.n_frames / self.fps)

    @property
    def face(self) -> tuple[int, bytes, tuple[float, float, float], str]:
        """Key that is equal for clips whose neutral face renders alike: topology hash, template, tint, subject."""
        return id(self.topology), np.asarray(self.template).tobytes(), self.tint, self.subject

    def displacements(
        self, start: int = 0, stop: int | None = None
    ) -> Float[np.ndarray, "frames {self.topology.n_vertices} 3"]:
        """(t,V,3) float32 displacement from the template of frames start..stop, in memory."""
        if self.weights is not None and self.basis is not None:
            chunk = self.weights[start:stop].astype(np.float32)
            # one by one: a linear-algebra library's sums depend on its threads, and on how many frames are asked for at once
            flat = np.einsum("tk,kv->tv", chunk, self.basis.reshape(len(self.basis), -1), optimize=False)
            return flat.reshape(len(chunk), -1, 3)
        assert self.displacement is not None
        chunk = self.displacement[start:stop]
        # a copy, because a file's bytes may be read-only and lie at any address
        return np.array(chunk, np.float32) if isinstance(chunk, np.memmap) else np.asarray(chunk, np.float32)

    def project(
        self, fields: Float[np.ndarray, "fields {self.topology.n_vertices} 3"]
    ) -> Float[np.ndarray, "{self.n_frames} fields"]:
        """(T,K) inner products of every frame's displacement with K displacement fields (K,V,3), metres.

        A linear clip is projected through its basis, without making a single mesh.
        """
        flat = fields.reshape(len(fields), -1).astype(np.float32)
        if self.weights is not None and self.basis is not None:
            return self.weights.astype(np.float32) @ (self.basis.reshape(len(self.basis), -1) @ flat.T)
        starts = range(0, self.n_frames, CHUNK)
        parts = [self.displacements(i, i + CHUNK).reshape(-1, flat.shape[1]) @ flat.T for i in starts]
        return np.concatenate(parts) if parts else np.zeros((0, len(flat)), np.float32)

    def frames(
        self, start: int = 0, stop: int | None = None
    ) -> Float[np.ndarray, "frames {self.topology.n_vertices} 3"]:
        """(t,V,3) float32 metres: the meshes of frames start..stop."""
        return self.displacements(start, stop) + self.template

    @property
    def vertices(self) -> np.ndarray:
        """(T,V,3) float32 metres: all frames at once; for long clips iterate over `chunks()`."""
        return self.frames()

    def chunks(self, size: int = CHUNK) -> Iterator[np.ndarray]:
        """(≤size,V,3) meshes, in order."""
        for start in range(0, self.n_frames, size):
            yield self.frames(start, start + size)

    def lip_opening_mm(self) -> Float[np.ndarray, " {self.n_frames}"]:
        """(T,) lip opening in millimetres; see `lip_opening_m`."""
        parts = [lip_opening_m(chunk, self.topology) for chunk in self.chunks()]
        return np.concatenate(parts) * 1e3 if parts else np.zeros(0, np.float32)

    def validate(self) -> Clip:
        """Check the invariants that every consumer relies on; returns self.

        Raises:
            InputError: non-finite values, shapes or types that disagree, a head that is not 0.15-0.40 m tall, or audio
                and motion whose lengths differ by more than a frame.
        """
        n_vertices = self.topology.n_vertices
        for name in ("template", "audio", "weights", "basis", "displacement"):
            array = getattr(self, name)
            if array is not None and array.dtype.kind not in "fiu":
                raise InputError(f"{name} must be numbers, got {array.dtype}")
        if not all(0 <= factor <= MAX_TINT for factor in self.tint):
            raise InputError(f"tint must be three factors of 0 to {MAX_TINT:g}, got {self.tint}")
        if not np.isfinite([time for phone in self.phones for time in (phone.start_s, phone.end_s)]).all():
            raise InputError("the times of phones must be finite. Repair or drop them.")
        if any(phone.end_s < phone.start_s for phone in self.phones):
            raise InputError("no phone must end before it starts. Repair or drop the phones.")
        if self.template.shape != (n_vertices, 3):
            raise InputError(f"template must have shape ({n_vertices}, 3), as its topology, got {self.template.shape}")
        if self.weights is not None and self.basis is not None:
            if self.weights.shape[1:] != self.basis.shape[:1] or self.basis.shape[1:] != (n_vertices, 3):
                raise InputError(
                    f"weights and basis must be (T, K) and (K, {n_vertices}, 3), got {self.weights.shape} and {self.basis.shape}"
                )
            if self.basis_names and len(self.basis_names) != len(self.basis):
                raise InputError(f"basis_names must be {len(self.basis)}, as the basis, got {len(self.basis_names)}")
        else:
            assert self.displacement is not None
            if self.displacement.shape[1:] != (n_vertices, 3):
                raise InputError(f"displacement must have shape (T, {n_vertices}, 3), got {self.displacement.shape}")
        moved_m = self._farthest_m()
        if not (math.isfinite(moved_m) and np.isfinite(self.template).all() and np.isfinite(self.audio).all()):
            raise InputError("the clip holds NaN or infinite values. Repair or drop those frames.")
        if moved_m > FARTHEST_M:
            raise InputError(
                f"vertices must stay within {FARTHEST_M:g} m of where they rest, got {moved_m:.3g} m. Repair or drop those frames."
            )
        if self.audio.ndim != 1 or self.audio.dtype.kind != "f":
            raise InputError(f"audio must be (S,) floats, got shape {self.audio.shape} of {self.audio.dtype}")
        if (loudest := float(np.abs(self.audio).max(initial=0))) > MAX_AUDIO:
            raise InputError(f"audio must be in -1 to 1, got up to {loudest:.4g}. Write the sound again.")
        check_size(self.template, self.topology)
        self._check_recipe()
        if self.valid is not None and (self.valid.shape != (self.n_frames,) or self.valid.dtype != bool):
            raise InputError(
                f"valid must be ({self.n_frames},) booleans, got shape {self.valid.shape} of {self.valid.dtype}"
            )
        audio_s = len(self.audio) / self.sample_rate
        if abs(audio_s - self.duration_s) > 1 / float(self.fps) + 1e-6:
            raise InputError(
                f"audio and motion must differ by at most one frame, got {audio_s:.3f} s and {self.duration_s:.3f} s"
            )
        return self

    def _check_recipe(self) -> None:
        expression = None if self.recipe is None else self.recipe.expression
        if expression is None:
            return
        if expression.ndim != 2 or expression.dtype.kind != "f" or not np.isfinite(expression).all():
            raise InputError("the expression of a recipe must be (N, n_motion) finite floats. Write the clip again.")

    def _farthest_m(self) -> float:
        """What a coordinate moves by at most, NaN if one is; of a linear clip no more than its parts could together."""
        if self.weights is not None and self.basis is not None:
            if not (self.weights.size and self.basis.size):
                return 0.0
            most = np.abs(self.weights).max(0).astype(float), np.abs(self.basis).max((1, 2)).astype(float)
            if (together_m := float(most[0] @ most[1])) <= FARTHEST_M or not math.isfinite(together_m):
                return together_m
        reached = [0.0]
        for start in range(0, self.n_frames, CHUNK):
            stop = start + CHUNK
            part = self.displacements(start, stop) if self.displacement is None else self.displacement[start:stop]
            reached += [float(part.max(initial=0)), -float(part.min(initial=0))]
        return float(np.max(reached))  # NaN where one is

    def save(self, path: str | Path, look: Any = None) -> Path:
        """Write the clip in the format its suffix names (see `meshtalk.export.EXPORTERS`); returns the path.

        Args:
            look: a `meshtalk.render.Look`, camera and light of pictures and films.
        """
        # looked up when it is used, for convenience alone: a clip does not depend on what can be made of it
        return import_module("meshtalk.export").export(self, path, look)

    def save_npz(self, path: str | Path) -> None:
        """Write everything into one `.npz`, without pickle; `Clip.load` is the inverse.

        Dense motion is not compressed: that would take minutes for an hour of it and save a tenth, and what is stored
        plainly can be read from the file piece by piece.
        """
        arrays = {f"topology/{k}": v for k, v in self.topology.to_arrays().items()}
        arrays |= {"template": np.asarray(self.template, np.float32), "audio": np.asarray(self.audio, np.float32)}
        arrays["fps"] = np.array([self.fps.numerator, self.fps.denominator])
        arrays["sample_rate"] = np.array([self.sample_rate])
        arrays["labels"] = np.array([self.subject, self.sentence, self.emotion])
        arrays["tint"] = np.array(self.tint, np.float32)
        if self.weights is not None and self.basis is not None:
            arrays["weights"], arrays["basis"] = self.weights, self.basis
            arrays["basis_names"] = np.array(self.basis_names)
        else:
            assert self.displacement is not None
            arrays["displacement"] = self.displacement
        if self.phones:
            arrays["phone_names"] = np.array([p.name for p in self.phones])
            arrays["phone_times_s"] = np.array([[p.start_s, p.end_s] for p in self.phones])
        if self.valid is not None:
            arrays["valid"] = self.valid
        if self.recipe is not None:
            arrays["recipe"] = np.array(json.dumps(self.recipe.settings))
            if self.recipe.expression is not None:
                arrays["recipe_expression"] = self.recipe.expression
        with atomic(path) as temporary:
            _write_archive(temporary, arrays, plain=("displacement",))

    @classmethod
    def load(cls, path: str | Path) -> Clip:
        """Read a clip saved as `.npz`; dense motion above MAP_FROM_BYTES stays in the file as a read-only memmap.

        Raises:
            InputError: the file is missing, is no clip, or fails `validate`.
        """
        try:
            arrays = _read_archive(Path(path))
            topology = Topology.from_arrays({k[9:]: v for k, v in arrays.items() if k.startswith("topology/")})
            phones: tuple[Phone, ...] = ()
            if "phone_names" in arrays:
                times = arrays["phone_times_s"]
                phones = tuple(
                    Phone(str(n), float(a), float(b)) for n, (a, b) in zip(arrays["phone_names"], times, strict=True)
                )
            subject, sentence, emotion = (str(label) for label in arrays["labels"])
            red, green, blue = arrays["tint"]
            recipe = arrays.get("recipe")
            clip = cls(
                topology=topology,
                template=arrays["template"],
                fps=Fraction(*(int(n) for n in arrays["fps"])),
                audio=arrays["audio"],
                sample_rate=int(arrays["sample_rate"][0]),
                displacement=arrays.get("displacement"),
                weights=arrays.get("weights"),
                basis=arrays.get("basis"),
                basis_names=tuple(str(n) for n in arrays.get("basis_names", ())),
                subject=subject,
                sentence=sentence,
                emotion=emotion,
                tint=(float(red), float(green), float(blue)),
                phones=phones,
                valid=arrays.get("valid"),
                recipe=None if recipe is None else Recipe(json.loads(str(recipe)), arrays.get("recipe_expression")),
            )
        except FileNotFoundError:
            raise InputError(f"there is no clip at {path}") from None
        except IsADirectoryError:
            raise InputError(f"a clip must be an .npz file written by meshtalk, got the folder {path}") from None
        except InputError:
            raise
        except Exception as error:  # a damaged archive fails in many ways, and all of them mean one thing here
            if Path(path).suffix.lower() != ".npz":
                advice = f"To animate a recording: meshtalk animate {path} -o out.glb"
            else:
                advice = f"It may be damaged ({type(error).__name__}); write it again."
            raise InputError(f"{path} is not a meshtalk clip (.npz). {advice}") from None
        return clip.validate()


def _write_archive(path: Path, arrays: Mapping[str, np.ndarray], plain: tuple[str, ...]) -> None:
    """As `np.savez_compressed`, but those in `plain` uncompressed; arrays stream into the file in pieces."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980: the same clip gives the same bytes
            entry.compress_type = zipfile.ZIP_STORED if name in plain else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a clip's `.npz`; a large uncompressed `displacement` is mapped, not read."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.NameToInfo.get("displacement.npy")
    mapped = entry is not None and entry.compress_type == zipfile.ZIP_STORED and entry.file_size > MAP_FROM_BYTES
    arrays = read_arrays(path, lambda name: _is_a_clips(name) and not (mapped and name == "displacement"))
    if entry is not None and mapped:
        arrays["displacement"] = _map_entry(path, entry)
    return arrays


def _is_a_clips(name: str) -> bool:
    return name in _ARRAYS or (name.startswith("topology/") and Topology.has(name[9:]))


def _map_entry(path: Path, entry: zipfile.ZipInfo) -> np.memmap:
    """An uncompressed `.npy` in an archive, as a read-only memmap."""
    with open(path, "rb") as file:
        # name and extra field of the entry's own header, which may differ from the archive's directory
        file.seek(entry.header_offset + 26)
        name_size, extra_size = (int.from_bytes(file.read(2), "little") for _ in range(2))
        file.seek(entry.header_offset + 30 + name_size + extra_size)
        shape, by_columns, dtype = array_header(file)
        order = "F" if by_columns else "C"
        return np.memmap(path, dtype, mode="r", offset=file.tell(), shape=shape, order=order)
