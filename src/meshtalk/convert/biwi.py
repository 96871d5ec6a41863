"""BIWI B3D(AC)2 (Fanelli et al. 2010): 14 people, 40 sentences with feeling, 23,370 vertices, 25 frames per second."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.convert.plan import SOUNDS, Capture, Job, Options, Plan, in_official_splits, name_of
from meshtalk.convert.vertices import (
    array_take,
    common_templates,
    mesh_vertices,
    read_templates,
    read_vl,
    sequence_take,
)
from meshtalk.errors import InputError
from meshtalk.mesh.units import find_space, find_topology

FPS = 25
SEEN = ("F2", "F3", "F4", "M3", "M4", "M5")
UNSEEN = ("F1", "F5", "F6", "F7", "F8", "M1", "M2", "M6")
PARTS = (
    ("train", "train", SEEN, range(1, 33)),
    ("val", "val", SEEN, range(33, 37)),
    ("test", "test_a", SEEN, range(37, 41)),
    ("test", "test_b", UNSEEN, range(37, 41)),
)
"""(our split, official name, people, sentences spoken with feeling, e01 to e40)."""


def plan(source: Path, options: Options) -> Plan:
    """Either form: vertices_npy/ with wav/, or the release's faces/ of .vl files.

    Raises:
        InputError: neither form, no mesh, or no neutral faces.
    """
    if (source / "vertices_npy").is_dir():
        jobs = _arrays(source)
    elif (source / "faces").is_dir():
        jobs = _release(source)
    else:
        raise InputError(f"{source} is not BIWI. It must have vertices_npy/ with wav/, or faces/.")
    topology, _ = find_topology(options.template, options.topology, "biwi")
    templates, _ = common_templates(_templates(source), topology.n_vertices, str(source))
    space = find_space(next(iter(templates.values())), options.unit, options.axes, default=None, kind="biwi")
    inside, left_out = in_official_splits(jobs, templates)
    return Plan(
        kind="biwi",
        topology=topology,
        fps=options.rate(FPS, "biwi"),
        jobs=inside,
        templates={name: space.apply(template) for name, template in templates.items()},
        licence="data: BIWI 3D Audiovisual Corpus, under its own licence, and this corpus with it",
        space=space,
        left_out=left_out,
    )


def _templates(source: Path) -> dict[str, np.ndarray]:
    """Neutral faces: templates.pkl, or else meshes named after the people, one folder down."""
    if (source / "templates.pkl").is_file():
        return read_templates(source / "templates.pkl")
    meshes = {path.stem: path for suffix in ("obj", "ply") for path in source.glob(f"*/*.{suffix}")}
    found = {name: mesh_vertices(meshes[name]) for name in (*SEEN, *UNSEEN) if name in meshes}
    if not found:
        raise InputError(
            f"{source} has no neutral faces. Put templates.pkl, or a mesh F1.obj … of each person in a folder, there."
        )
    return found


def _job(subject: str, sentence: str, read: partial[Capture], *sources: Path) -> Job:
    number = re.fullmatch("e([0-9]{2})", sentence)
    split, official = "", ""
    for ours, theirs, people, sentences in PARTS:
        if number and subject in people and int(number[1]) in sentences:
            split, official = ours, theirs
    return Job(
        id=name_of(subject, sentence), subject=subject, read=read, sources=sources, voice=subject, split=split,
        official=official, sentence=sentence,
    )  # fmt: skip


def _arrays(source: Path) -> list[Job]:
    """The form of later papers: an array and a WAV a sentence."""
    names = {path.stem for path in [*(source / "vertices_npy").glob("*.npy"), *(source / "wav").glob("*.wav")]}
    jobs = []
    for name in sorted(names):
        subject, _, sentence = name.partition("_")
        paths = source / "vertices_npy" / f"{name}.npy", source / "wav" / f"{name}.wav"
        jobs.append(_job(subject, sentence, partial(array_take, *paths), *paths))
    return jobs


def _release(source: Path) -> list[Job]:
    """The release's form: a file a frame; the sound may lie in any folder, called F1_e01 or F1/e01."""
    sounds = {}
    for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in SOUNDS):
        sounds.setdefault(path.stem.removesuffix("_cut"), path)
        sounds.setdefault(f"{path.parent.name}_{path.stem.removesuffix('_cut')}", path)
    jobs = []
    for folder in sorted(path for path in (source / "faces").glob("*/*") if path.is_dir()):
        subject, sentence = folder.parent.name, folder.name
        sound = sounds.get(f"{subject}_{sentence}")
        read = partial(_read_scans, folder, sound)
        jobs.append(_job(subject, sentence, read, folder, *([sound] if sound else [])))
    return jobs


def _read_scans(folder: Path, sound: Path | None) -> Capture:
    return sequence_take(folder, [path.name for path in folder.glob("*.vl")], read_vl, sound)
