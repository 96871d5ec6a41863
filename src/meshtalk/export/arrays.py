"""Vertices as numpy's `.npy` and as `.pc2` point cache, both written in chunks."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.export.common import NEUTRAL, held, keys, outputs, pieces, sound_of, write_sound
from meshtalk.export.sequence import write_neutral
from meshtalk.progress import Show


def write_npy(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write (T,V,3) float32 metres, with the sound in `NAME_sound.wav`; frames that capture missed are NaN.

    Raises:
        InputError: an unwritable path or an empty clip.
    """
    keys(clip)
    with outputs(path, sound_of(clip)) as [file, *sound], open(file, "wb") as stream:
        shape = (clip.n_frames, clip.topology.n_vertices, 3)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for start, meshes in pieces(clip, progress):
            if clip.valid is not None:
                meshes[~clip.valid[start : start + len(meshes)]] = np.nan
            stream.write(meshes.astype("<f4").tobytes())
        for companion in sound:
            write_sound(clip, companion)


def write_pc2(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write a point cache, version 1: sample k is frame k, in metres, +Y up.

    A point cache has neither triangles nor sound: `NAME_neutral.obj` has the vertices in their order, `NAME_sound.wav` the
    sound. A frame that capture missed repeats the one before.

    Raises:
        InputError: an unwritable path or an empty clip.
    """
    keys(clip)
    with outputs(path, [NEUTRAL, *sound_of(clip)]) as [file, neutral, *sound], open(file, "wb") as stream:
        # signature, version, points, first frame, frames between samples, samples
        stream.write(struct.pack("<12siiffi", b"POINTCACHE2", 1, clip.topology.n_vertices, 0.0, 1.0, clip.n_frames))
        for mesh in held(clip, progress):
            stream.write(mesh.astype("<f4").tobytes())
        write_neutral(clip, neutral)
        for companion in sound:
            write_sound(clip, companion)


# ------------------------------------------------------------------------------------------------ .npz


def write_npz(clip: Clip, path: Path) -> None:
    """Write the whole clip; see `Clip.save_npz`.

    Raises:
        InputError: `path` cannot be written.
    """
    clip.save_npz(path)
