"""Folders of NAME.wav beside NAME.npy, NAME.npz, NAME.pc2 or NAME/*.obj or *.ply, with a neutral mesh, one per person."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.convert.plan import SOUNDS, Capture, Job, Options, Plan, name_of, read_sound
from meshtalk.convert.vertices import as_frames, mesh_vertices, read_array, read_pc2, sequence_take
from meshtalk.errors import InputError, reading
from meshtalk.files import read_arrays
from meshtalk.mesh.units import find_space, find_topology

ARRAYS = (".npy", ".npz", ".pc2")
MESHES = (".obj", ".ply")
OWN = "template"
"""Name of the mesh, beside the recordings of a person, that is this person's face at rest."""


def plan(source: Path, options: Options) -> Plan:
    """Every sound in it and below it.

    Raises:
        InputError: no mesh, no frame rate, no sound, or a person without a mesh at rest.
    """
    fps = options.rate(None, "folder")
    topology, neutral = find_topology(options.template, options.topology, "folder")
    sounds = sorted(path for path in source.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
    if not sounds:
        raise InputError(f"{source} has no sound. Put NAME.wav beside NAME.npy, NAME.npz, NAME.pc2 or NAME/*.obj.")
    jobs, faces = [], {}
    for sound in sounds:
        below = sound.relative_to(source).with_suffix("").parts
        home = _home(sound, source)
        person = name_of(*home.relative_to(source).parts) if home != source else "person"
        if person not in faces:
            faces[person] = _own_face(home, neutral)
        motion = _motion(sound.with_suffix(""))
        jobs.append(
            Job(
                id=name_of(*below),
                subject=person,
                read=partial(_read, motion, sound),
                sources=(sound, *([motion] if motion else [])),
                voice=person,
                sentence=below[-1],
            )
        )
    space = find_space(next(iter(faces.values())), options.unit, options.axes, default=None, kind="folder")
    return Plan(
        kind="folder",
        topology=topology,
        fps=fps,
        jobs=tuple(jobs),
        templates={person: space.apply(face) for person, face in faces.items()},
        licence="data: as its owner says",
        space=space,
    )


def _home(sound: Path, source: Path) -> Path:
    """The folder of a recording's person: the nearest with a face at rest, else the first on the way to the recording."""
    folders = [folder for folder in sound.parents if folder.is_relative_to(source)]
    with_face = (f for f in folders if any((f / f"{OWN}{suffix}").is_file() for suffix in (*MESHES, ".npy")))
    return next(with_face, folders[-2] if len(folders) > 1 else source)


def _own_face(folder: Path, neutral: np.ndarray | None) -> np.ndarray:
    for suffix in (*MESHES, ".npy"):
        if (path := folder / f"{OWN}{suffix}").is_file():
            return mesh_vertices(path)
    if neutral is None:
        raise InputError(
            f"{folder} has no neutral face. Put {OWN}.obj, .ply or .npy there, or give --template FACE.obj for everybody."
        )
    return neutral


def _motion(stem: Path) -> Path | None:
    """The array of that name, else the folder."""
    files = [stem.with_name(stem.name + suffix) for suffix in ARRAYS]
    return next((path for path in files if path.is_file()), stem if stem.is_dir() else None)


def _read(motion: Path | None, sound: Path) -> Capture:
    if motion is None:
        raise InputError(f"there is no motion beside {sound.name}")
    if motion.is_dir():
        names = [path.name for path in motion.iterdir() if path.suffix.lower() in MESHES]
        return sequence_take(motion, names, mesh_vertices, sound)
    if motion.suffix == ".npy":
        frames = as_frames(read_array(motion), motion.name)
    elif motion.suffix == ".pc2":
        frames = np.asarray(read_pc2(motion), np.float32)
    else:
        frames = _read_npz(motion)
    return Capture(frames, *read_sound(sound, motion.stem))


def _read_npz(path: Path) -> np.ndarray:
    """(T,V,3) of "vertices", or of the only array there is; frames where "valid" is False are NaN.

    Raises:
        InputError: damaged, or no such array.
    """
    with reading(f"{path} is damaged, or no .npz of plain arrays", "Write it again."):
        with zipfile.ZipFile(path) as archive:
            alone = len(archive.namelist()) == 1
        arrays = read_arrays(path, lambda name: alone or name in ("vertices", "valid"))
    found = arrays.get("vertices", next(iter(arrays.values())) if len(arrays) == 1 else None)
    if found is None or found.dtype.kind not in "fiu":
        raise InputError(f'{path} has no array "vertices"')
    frames = as_frames(found, path.name)
    valid = arrays.get("valid")
    if valid is not None:
        if valid.shape != (len(frames),):
            raise InputError(f'{path} has "valid" of shape {valid.shape} for {len(frames)} frames')
        frames = np.where(valid.astype(bool)[:, None, None], frames, np.float32(np.nan))
    return frames
