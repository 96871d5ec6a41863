"""Shared by writers: iteration over meshes, normals, companion files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from meshtalk.clip import CHUNK, Clip
from meshtalk.errors import InputError
from meshtalk.files import atomic, disk_errors
from meshtalk.mesh.topology import vertex_normals
from meshtalk.progress import Progress, Show
from meshtalk.render.scene import looks

SOUND, TEXTURE, NEUTRAL = "_sound.wav", "_texture.png", "_neutral.obj"
"""Suffixes of companion files: `face.pc2` has `face_sound.wav`."""
_VERTICES_AT_ONCE = 1 << 18


def pieces(clip: Clip, progress: Show | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first frame, (≤n,V,3) meshes in metres), in order, in chunks of some megabytes."""
    size = min(CHUNK, max(1, _VERTICES_AT_ONCE // max(1, clip.topology.n_vertices)))
    for start in range(0, clip.n_frames, size):
        yield start, clip.frames(start, start + size)
        if progress is not None:
            progress(Progress(min(start + size, clip.n_frames), clip.n_frames, "frames"))


def captured(clip: Clip, progress: Show | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number, (V,3) mesh in metres) of every frame that capture did not miss."""
    for start, meshes in pieces(clip, progress):
        for k, mesh in enumerate(meshes, start):
            if clip.valid is None or clip.valid[k]:
                yield k, mesh


def held(clip: Clip, progress: Show | None = None) -> Iterator[np.ndarray]:
    """(V,3) metres of every frame; one that capture missed is the last that was there, or the neutral face before any."""
    last = np.asarray(clip.template, np.float32)
    for start, meshes in pieces(clip, progress):
        for k, mesh in enumerate(meshes, start):
            if clip.valid is None or clip.valid[k]:
                last = mesh
            yield last


def keys(clip: Clip) -> np.ndarray:
    """(n,) numbers of the frames that capture did not miss.

    Raises:
        InputError: there are none.
    """
    found = np.arange(clip.n_frames) if clip.valid is None else np.flatnonzero(clip.valid)
    if len(found) == 0:
        raise InputError("the clip has no frames, so there is no animation to write")
    return found


def normals(vertices: Float[np.ndarray, "vertices 3"], faces: np.ndarray) -> Float[np.ndarray, "vertices 3"]:
    """(V,3) float32 unit normals, area-weighted; vertices in no triangle point up."""
    found = vertex_normals(vertices, faces)
    return np.where(found.any(1, keepdims=True), found, (0.0, 1.0, 0.0)).astype(np.float32)


def colours(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """(M,3) linear base colours of the mesh's materials, skin, eyes, teeth, …, and (F,) which of them each triangle has.

    Where there is a texture they are factors on it.
    """
    each = np.round(looks(clip.topology, clip.tint)[:, :3].astype(np.float64), 6)[np.asarray(clip.topology.faces)[:, 0]]
    found, which = np.unique(each, axis=0, return_inverse=True)
    return found, which.ravel()


def beside(path: Path, ending: str) -> Path:
    """`face.pc2` and `_sound.wav` → `face_sound.wav` in the same folder."""
    return path.with_name(path.stem + ending)


@contextmanager
def outputs(path: Path, companions: Sequence[str]) -> Iterator[list[Path]]:
    """Temporary paths of an output and of its companions: all get their places when all are whole, the output last.

    An older output goes before: one that is killed between two names leaves no old face beside a new sound.

    Raises:
        InputError: one of them cannot be written, or the disk is full.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(atomic(file)) for file in (path, *(beside(path, end) for end in companions))]
        with disk_errors(path, files[0]):
            yield files
        if companions:
            path.unlink(missing_ok=True)


def gain(audio: np.ndarray) -> float:
    """Factor that keeps sound in [-1,1]: 1, unless it is integers written as floating point.

    The ringing of clipped sound passes full scale a little; what is much louder is no sound in [-1,1].
    """
    loudest = max(float(audio.max(initial=0)), -float(audio.min(initial=0)))
    return 1 / loudest if loudest > 2 else 1.0


def write_sound(clip: Clip, path: Path) -> None:
    """Write the clip's audio, mono at its own rate, as WAV with 16 bits, which every program reads."""
    import soundfile

    audio = np.clip(clip.audio * np.float32(gain(clip.audio)), -1, 1)
    soundfile.write(path, audio, clip.sample_rate, format="WAV", subtype="PCM_16")


def sound_of(clip: Clip) -> list[str]:
    """The companion that a format without sound needs; none for a clip without sound."""
    return [SOUND] if len(clip.audio) else []
