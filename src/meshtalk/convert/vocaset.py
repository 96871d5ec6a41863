"""VOCASET (Cudeiro et al. 2019): 12 people, 40 sentences, FLAME topology, 60 frames per second, metres."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.audio.files import to_mono
from meshtalk.convert.pickles import read_pickle
from meshtalk.convert.plan import Capture, Job, Options, Plan, in_official_splits, name_of
from meshtalk.convert.vertices import array_take, common_templates, read_array, read_templates, spread
from meshtalk.errors import InputError
from meshtalk.mesh.units import find_space, find_topology

FPS = 60
PEOPLE = {
    "train": ("170728_03272", "170904_00128", "170725_00137", "170915_00223", "170811_03274", "170913_03279",
              "170904_03276", "170912_03278"),
    "val": ("170811_03275", "170908_03277"),
    "test": ("170809_00138", "170731_00024"),
}  # fmt: skip
SPLIT_OF = {f"FaceTalk_{person}_TA": split for split, people in PEOPLE.items() for person in people}
SENTENCES = {"train": range(1, 41), "val": range(21, 41), "test": range(21, 41)}


def plan(source: Path, options: Options) -> Plan:
    """Either form: the release's own pickles, or vertices_npy/ with wav/.

    Raises:
        InputError: neither form, or no mesh.
    """
    templates = read_templates(source / "templates.pkl")
    topology, _ = find_topology(options.template, options.topology, "vocaset")
    templates, _ = common_templates(templates, topology.n_vertices, str(source / "templates.pkl"))
    space = find_space(next(iter(templates.values())), options.unit, options.axes, default="m", kind="vocaset")
    if (source / "data_verts.npy").is_file():
        jobs = _release(source)
    elif (source / "vertices_npy").is_dir():
        jobs = _arrays(source)
    else:
        raise InputError(
            f"{source} is not VOCASET. It must have data_verts.npy with its pickles, or vertices_npy/ and wav/."
        )
    inside, left_out = in_official_splits(jobs, templates)
    return Plan(
        kind="vocaset",
        topology=topology,
        fps=options.rate(FPS, "vocaset"),
        jobs=inside,
        templates={name: space.apply(template) for name, template in templates.items()},
        licence="data: VOCASET, under its own licence, and this corpus with it",
        space=space,
        left_out=left_out,
    )


def _job(subject: str, sentence: str, read: Any, *sources: Path) -> Job:
    split = SPLIT_OF.get(subject, "")
    digits = sentence.removeprefix("sentence")
    if not (digits.isdigit() and split and int(digits) in SENTENCES[split]):
        split = ""
    return Job(
        id=name_of(subject, sentence), subject=subject, read=read, sources=sources, voice=subject, split=split,
        sentence=sentence,
    )  # fmt: skip


def _release(source: Path) -> list[Job]:
    """The release's form: one array of all frames, and pickles that index them."""
    paths = [source / name for name in ("data_verts.npy", "subj_seq_to_idx.pkl", "raw_audio_fixed.pkl")]
    rows_of, sounds = read_pickle(paths[1]), read_pickle(paths[2])
    if not isinstance(rows_of, dict) or not isinstance(sounds, dict):
        raise InputError(f"{paths[1].name} and {paths[2].name} of {source} hold no entry for each subject")
    read_array(paths[0])
    jobs = []
    for subject in sorted({*rows_of, *sounds}):
        sequences, recorded = rows_of.get(subject) or {}, sounds.get(subject) or {}
        for sentence in sorted({*sequences, *recorded}):
            read = partial(_read_rows, paths[0], sequences.get(sentence), recorded.get(sentence))
            jobs.append(_job(str(subject), str(sentence), read, *paths))
    return jobs


def _read_rows(path: Path, rows: Any, sound: Any) -> Capture:
    """Frames of a sequence, by their numbers, from all there are; the first is the start of its sound."""
    if not rows:
        raise InputError("it has no motion")
    if not sound:
        raise InputError("it has no sound")
    numbers = np.array(sorted(int(frame) for frame in rows))
    index = np.array([int(rows[frame]) for frame in sorted(rows, key=int)])
    vertices = read_array(path)
    if vertices.ndim != 3 or index.min() < 0 or index.max() >= len(vertices):
        raise InputError(f"{path.name} of shape {vertices.shape} has no row {index.max()}")
    rate = int(sound["sample_rate"])
    audio = to_mono(np.asarray(sound["audio"]), rate, rate, "its sound")
    return Capture(spread(np.asarray(vertices[index], np.float32), numbers - numbers[0]), audio, rate)


def _arrays(source: Path) -> list[Job]:
    """The form of later papers: an array and a WAV a sentence."""
    motions = {path.stem: path for path in (source / "vertices_npy").glob("*.npy")}
    sounds = {path.stem: path for path in (source / "wav").glob("*.wav")}
    jobs = []
    for name in sorted({*motions, *sounds}):
        subject, _, sentence = name.rpartition("_")
        paths = source / "vertices_npy" / f"{name}.npy", source / "wav" / f"{name}.wav"
        jobs.append(_job(subject, sentence, partial(array_take, *paths), *paths))
    return jobs
