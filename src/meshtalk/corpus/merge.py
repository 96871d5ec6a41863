"""Merge corpora of one mesh and frame rate; clip files are hard-linked where possible."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meshtalk.corpus.ownership import Maker
from meshtalk.corpus.store import LINEAR, RECORD, SPLITS, ClipInfo, Corpus, CorpusWriter, check_name
from meshtalk.corpus.summary import shared_with_train
from meshtalk.errors import InputError
from meshtalk.files import replaced_folder, write_json
from meshtalk.outcomes import some_of
from meshtalk.progress import Show, followed

MAKER = Maker("merge.json")


@dataclass(frozen=True)
class Report:
    """Outcome of a merge, saved in the corpus as merge.json; `str()` formats it for people."""

    sources: dict[str, int]
    """Source folder → number of its clips."""
    clips: int
    """Number of clips in the merged corpus."""
    copied: int
    """Number of clips whose files were copied because a hard link was not possible."""
    same: dict[str, str]
    """Clip (source/id) → id of the byte-identical clip that replaces it."""
    renamed: dict[str, str]
    """Clip (source/id) → its new id, where it changed."""
    people: dict[str, str]
    """Subject (source/name) → its new name, where another source has another face under that name."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.clips} clips of {len(self.sources)} corpora; {self.copied} were copied"]
        lines += [f"  {name}: {count} clips" for name, count in self.sources.items()]
        lines += [f"  {note}" for note in self.notes]
        listed = (
            ("duplicates, merged once", self.same),
            ("clips renamed", self.renamed),
            ("people renamed", self.people),
        )
        for what, names in listed:
            if names:
                lines.append(f"  {what}: {some_of([f'{old} → {new}' for old, new in names.items()])}")
        return "\n".join(lines)


def merge(sources: Sequence[str | Path], root: str | Path, *, progress: Show | None = None) -> tuple[Corpus, Report]:
    """Merge all clips of `sources` into a corpus in folder `root`, or resume an interrupted merge.

    Ids, splits and labels of clips do not change; an id that an earlier source has is prefixed with the source's name, and so
    is a subject of the same name with another face. Byte-identical clips (sound, motion and face) are merged once, with the
    labels of the first. Files are hard links to the sources' where possible (corpora are never changed in place), else
    copies. Sources are not changed. Sample rates do not change: readers of clips resample.

    Args:
        progress: called after every clip.

    Raises:
        InputError: fewer than two sources, sources that are not corpora or do not match, or a folder that is another
            corpus or cannot be written.
    """
    folders, root = [Path(source) for source in sources], Path(root)
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise InputError(f"a merge needs two or more different corpora, got {len(set(folders))}")
    MAKER.check(root, folders)
    corpora = [Corpus.open(folder) for folder in folders]
    notes = _fitting(corpora)
    plan = _planned(corpora)
    licences = dict.fromkeys(line for corpus in corpora for line in corpus.licences)
    try:
        MAKER.begin(root)
        writer = CorpusWriter(root, corpora[0].topology, corpora[0].fps, licences)
        copied = 0
        for corpus, was, info in followed(plan.clips, len(plan.clips), "clips", progress, "merged"):
            copied += _place(corpus, was, info, writer)
        infos = [info for _, _, info in plan.clips]
        merged = writer.finish(sorted(infos, key=lambda info: SPLITS.index(info.split)))
    except OSError as error:
        raise InputError(
            f"cannot write into {root} ({error.strerror}). Free some space and run the command again."
        ) from None
    report = Report(
        sources=dict(zip(map(str, folders), (len(corpus.clips) for corpus in corpora), strict=True)),
        clips=len(merged.clips),
        copied=copied,
        same=plan.same,
        renamed=plan.renamed,
        people=plan.people,
        notes=(*notes, *_overlaps(corpora, merged, plan.people)),
    )
    MAKER.write_report(root, asdict(report))
    return merged, report


def _fitting(corpora: Sequence[Corpus]) -> list[str]:
    """Notes on harmless differences.

    Raises:
        InputError: meshes, rates or blendshapes differ.
    """
    first = corpora[0]
    notes: list[str] = []
    for corpus in corpora[1:]:
        if corpus.topology.hash != first.topology.hash:
            raise InputError(
                f"{corpus.root} has topology {corpus.topology.hash} ({corpus.topology.n_vertices} vertices) and {first.root}"
                f" {first.topology.hash} ({first.topology.n_vertices} vertices). Only corpora of one mesh can be merged."
            )
        if corpus.fps != first.fps:
            raise InputError(
                f"{corpus.root} has {corpus.fps} frames per second and {first.root} {first.fps}. Only corpora of one frame"
                " rate can be merged."
            )
        linear = any(LINEAR in info.files for one in (first, corpus) for info in one.clips)
        ours, theirs = first.topology, corpus.topology
        same = ours.shape_names == theirs.shape_names and np.array_equal(_shapes(first), _shapes(corpus))
        if linear and not same:
            raise InputError(
                f"{corpus.root} and {first.root} have different blendshapes, the basis of their clips. Convert one of them"
                " again with the other's --topology."
            )
        if theirs.region_hash != ours.region_hash:
            notes.append(f"{corpus.root} has other regions; those of {first.root} are used")
    rates = sorted({info.sample_rate for corpus in corpora for info in corpus.clips})
    if len(rates) > 1:
        notes.append(f"sample rates are {', '.join(map(str, rates))} Hz and do not change; readers of clips resample")
    return notes


def _shapes(corpus: Corpus) -> np.ndarray:
    shapes = corpus.topology.shapes
    return np.zeros(0) if shapes is None else shapes


class Plan(NamedTuple):
    """What goes where; it follows from the sources alone."""

    clips: list[tuple[Corpus, ClipInfo, ClipInfo]]
    """(source, its entry, the entry here)."""
    same: dict[str, str]
    renamed: dict[str, str]
    people: dict[str, str]


def _planned(corpora: Sequence[Corpus]) -> Plan:
    plan = Plan([], {}, {}, {})
    ids = {info.id for corpus in corpora for info in corpus.clips}
    subjects = {name for corpus in corpora for name in corpus.subjects}
    faces: dict[str, np.ndarray] = {}
    used: dict[str, str] = {}  # id here → its source
    clip_of: dict[tuple[str | tuple[str, str], ...], str] = {}
    for corpus in corpora:
        name_of: dict[str, str] = {}
        for subject in sorted({info.subject for info in corpus.clips}):
            face, name = corpus.template(subject), subject
            if subject in faces and not np.array_equal(faces[subject], face):
                name = _free(corpus.root, subject, subjects)
                subjects.add(name)
                plan.people[f"{corpus.root}/{subject}"] = name
            faces[name], name_of[subject] = face, name
        for was in corpus.clips:
            content = (name_of[was.subject], *sorted(was.files.items()))
            twin = clip_of.get(content)
            if twin is not None and used[twin] != str(corpus.root):
                plan.same[f"{corpus.root}/{was.id}"] = twin
                continue
            id = was.id
            if id in used:
                id = _free(corpus.root, was.id, ids)
                ids.add(id)
                plan.renamed[f"{corpus.root}/{was.id}"] = id
            used[id] = str(corpus.root)
            clip_of.setdefault(content, id)
            plan.clips.append((corpus, was, replace(was, id=id, subject=name_of[was.subject])))
    return plan


def _free(folder: Path, name: str, taken: set[str]) -> str:
    """The name with its source's in front, and a number if that is taken too."""
    prefix = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in folder.resolve().name).lstrip(".") or "other"
    names = (f"{prefix}{number or ''}-{name}" for number in [0, *range(2, len(taken) + 3)])
    return next(free for free in names if free not in taken)


def _place(corpus: Corpus, was: ClipInfo, info: ClipInfo, writer: CorpusWriter) -> bool:
    """Put a clip's folder into the new corpus, whole or not at all, unless it is there; whether it had to be copied.

    Raises:
        InputError: a file of the source is missing.
    """
    template = writer.root / "subjects" / f"{check_name(info.subject, 'the subject')}.npy"
    face = corpus.template(was.subject)
    if not template.exists() or not np.array_equal(np.load(template, allow_pickle=False), face):
        writer.add_subject(info.subject, face)
    source, folder = corpus.root / "clips" / was.id, writer.root / "clips" / info.id
    for name in info.files:
        if not corpus.file("clips", was.id, check_name(name, "the file")).is_file():
            raise InputError(f"{source / name} is missing. Build or copy the corpus again.")
    if writer.existing(info.id, info.recipe) == info and all((folder / name).is_file() for name in info.files):
        return any(not os.path.samefile(source / name, folder / name) for name in info.files)
    copied = False
    with replaced_folder(folder) as temporary:
        for name in info.files:
            copied |= _share(source / name, temporary / name)
        write_json(temporary / RECORD, asdict(info))
    return copied


def _share(source: Path, target: Path) -> bool:
    """Link a file, or copy it where that is not possible; whether it was copied."""
    try:
        os.link(source, target)
    except OSError:  # another disk, a file system without links, or too many of one file
        shutil.copyfile(source, target)
        return True
    return False


def _overlaps(corpora: Sequence[Corpus], merged: Corpus, people: dict[str, str]) -> list[str]:
    """What the sources have in common, which a reader may not expect."""
    notes: list[str] = []
    renamed = set(people)
    for kind in ("subject", "voice"):
        owners = Counter(
            name
            for corpus in corpora
            for name in {getattr(info, kind) for info in corpus.clips} - {""}
            if kind != "subject" or f"{corpus.root}/{name}" not in renamed
        )
        both = sorted(name for name, count in owners.items() if count > 1)
        if both:
            notes.append(f"{kind}s of several sources, taken to be the same: {some_of(both)}")
    notes += [
        f"{split} shares {len(names)} {kind}{'s' if len(names) > 1 else ''} with train. Run meshtalk corpus split, or mind it."
        for split, kinds in shared_with_train(merged).items()
        for kind, names in kinds.items()
    ]
    return notes
