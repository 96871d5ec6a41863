"""Several corpora of one mesh and frame rate become one; their clips' files are shared with it where the disk can."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from meshtalk.corpus.claim import Maker
from meshtalk.corpus.duplicates import Pair, find_duplicates
from meshtalk.corpus.store import LINEAR, RECORD, SPLITS, ClipInfo, Corpus, CorpusWriter, check_name
from meshtalk.corpus.summary import shared_with_train
from meshtalk.errors import InputError
from meshtalk.files import write_json

MAKER = Maker("merge.json")
SHOWN = 8
"""Names and pairs that a printed report lists of each kind; merge.json has all."""


@dataclass(frozen=True)
class Report:
    """What became of the sources; the corpus keeps it as merge.json, and `str()` of it is for reading."""

    sources: dict[str, int]
    """Folder → its clips."""
    copied: int
    """Clips whose files had to be copied, because a hard link was not possible."""
    renamed: dict[str, str]
    """Clip (source/id) → its id here, where it had to be another one."""
    people: dict[str, str]
    """Subject (source/name) → its name here, where another source's has that name and another face."""
    duplicates: list[dict[str, object]]
    """Pairs of clips with the same sound or motion; both are in the corpus."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{sum(self.sources.values())} clips of {len(self.sources)} corpora; {self.copied} had to be copied"]
        lines += [f"  {name}: {count} clips" for name, count in self.sources.items()]
        lines += [f"  {note}" for note in self.notes]
        for what, names in (("clips renamed", self.renamed), ("people renamed", self.people)):
            if names:
                lines.append(f"  {what}: {_some([f'{old} → {new}' for old, new in names.items()])}")
        pairs = [f"{pair['a']} = {pair['b']} ({pair['what']})" for pair in self.duplicates]
        lines += [f"  the same twice: {_some(pairs)}"] if pairs else []
        return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@dataclass(frozen=True)
class Progress:
    """How far it is; `str()` of it is one line."""

    done: int
    total: int

    def __str__(self) -> str:
        return f"merged {self.done}/{self.total} clips"


def merge(
    sources: Sequence[str | Path],
    root: str | Path,
    *,
    workers: int = 2,
    progress: Callable[[object], None] | None = None,
) -> tuple[Corpus, Report]:
    """Make one corpus in folder `root` of all clips of `sources`, or go on with an interrupted merge.

    Clips keep their ids, splits and labels; the id of a later source that an earlier one has gets the source's name in front,
    and so does a person of the same name with another face. Files are hard links to the sources' where possible (corpora are
    never changed in place), else copies. The sources are only read.

    Args:
        workers: processes that look for duplicates.
        progress: called after every clip.

    Raises:
        InputError: fewer than two sources, sources that are no corpora or do not fit each other, or a folder that is
            another corpus or cannot be written.
    """
    folders, root = [Path(source) for source in sources], Path(root)
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise InputError(f"{len(folders)} corpora came; two at least, each once, are needed to merge")
    MAKER.check(root, folders)
    corpora = [Corpus.open(folder) for folder in folders]
    notes = _fitting(corpora)
    plan, renamed, people = _planned(corpora)
    licences = dict.fromkeys(line for corpus in corpora for line in corpus.licences)
    try:
        MAKER.begin(root)
        writer = CorpusWriter(root, corpora[0].topology, corpora[0].fps, licences)
        infos, copied = [], 0
        for done, (corpus, was, info) in enumerate(plan, 1):
            copied += _place(corpus, was, info, writer)
            infos.append(info)
            if progress is not None:
                progress(Progress(done, len(plan)))
        merged = writer.finish(sorted(infos, key=lambda info: SPLITS.index(info.split)))
    except OSError as error:
        raise InputError(f"cannot write into {root} ({error.strerror}) : make room and run again") from None
    twice = find_duplicates(merged, workers=workers, progress=progress)
    report = Report(
        sources=dict(zip(map(str, folders), (len(corpus.clips) for corpus in corpora), strict=True)),
        copied=copied,
        renamed=renamed,
        people=people,
        duplicates=[_told(pair) for pair in twice],
        notes=(*notes, *_overlaps(corpora, merged, people)),
    )
    MAKER.tell(root, asdict(report))
    return merged, report


def _fitting(corpora: Sequence[Corpus]) -> list[str]:
    """Notes on what differs and does no harm.

    Raises:
        InputError: meshes, rates or blendshapes differ.
    """
    first, notes = corpora[0], []
    for corpus in corpora[1:]:
        if corpus.topology.hash != first.topology.hash:
            raise InputError(
                f"{corpus.root} has topology {corpus.topology.hash} ({corpus.topology.n_vertices} vertices) and {first.root}"
                f" {first.topology.hash} ({first.topology.n_vertices} vertices) : only corpora of one mesh can be merged"
            )
        if corpus.fps != first.fps:
            raise InputError(
                f"{corpus.root} has {corpus.fps} frames a second and {first.root} {first.fps} : convert one of them again with"
                " the other's --fps"
            )
        linear = any(LINEAR in info.files for one in (first, corpus) for info in one.clips)
        ours, theirs = first.topology, corpus.topology
        same = ours.shape_names == theirs.shape_names and np.array_equal(_shapes(first), _shapes(corpus))
        if linear and not same:
            raise InputError(
                f"{corpus.root} and {first.root} have other blendshapes, by which their clips are stored : convert one of them"
                " again with the other's --topology"
            )
        if theirs.region_hash != ours.region_hash:
            notes.append(f"{corpus.root} draws its regions differently; those of {first.root} are kept")
    return notes


def _shapes(corpus: Corpus) -> np.ndarray:
    shapes = corpus.topology.shapes
    return np.zeros(0) if shapes is None else shapes


def _planned(
    corpora: Sequence[Corpus],
) -> tuple[list[tuple[Corpus, ClipInfo, ClipInfo]], dict[str, str], dict[str, str]]:
    """([(source, its entry, the entry here)], clips renamed, people renamed); it follows from the sources alone."""
    taken = {info.id for corpus in corpora for info in corpus.clips}
    faces: dict[str, np.ndarray] = {}
    plan, renamed, people = [], {}, {}
    used: set[str] = set()
    for corpus in corpora:
        name_of = {}
        for subject in sorted({info.subject for info in corpus.clips}):
            face, name = corpus.template(subject), subject
            if subject in faces and not np.array_equal(faces[subject], face):
                name = _free(corpus.root, subject, {*faces, *(other for one in corpora for other in one.subjects)})
                people[f"{corpus.root}/{subject}"] = name
            faces[name], name_of[subject] = face, name
        for was in corpus.clips:
            id = was.id
            if id in used:
                id = _free(corpus.root, was.id, taken)
                taken.add(id)
                renamed[f"{corpus.root}/{was.id}"] = id
            used.add(id)
            plan.append((corpus, was, replace(was, id=id, subject=name_of[was.subject])))
    return plan, renamed, people


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
    if writer.existing(info.id, info.recipe) == info and all((folder / name).is_file() for name in info.files):
        return any(not os.path.samefile(source / name, folder / name) for name in info.files)
    copied, temporary = False, Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name in info.files:
            copied |= _share(source / check_name(name, "the file"), temporary / name)
        write_json(temporary / RECORD, asdict(info))
        temporary.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return copied


def _share(source: Path, target: Path) -> bool:
    """Link a file, or copy it where that is not possible; whether it was copied."""
    if not source.is_file():
        raise InputError(f"{source} is missing : build or copy the corpus again")
    try:
        os.link(source, target)
    except OSError:  # another disk, a file system without links, or too many of one file
        shutil.copyfile(source, target)
        return True
    return False


def _told(pair: Pair) -> dict[str, object]:
    return {**asdict(pair), "similarity": round(pair.similarity, 4)}


def _overlaps(corpora: Sequence[Corpus], merged: Corpus, people: dict[str, str]) -> list[str]:
    """What the sources have in common, which a reader may not expect."""
    notes, renamed = [], set(people)
    for kind in ("subject", "voice"):
        owners = Counter(
            name
            for corpus in corpora
            for name in {getattr(info, kind) for info in corpus.clips} - {""}
            if kind != "subject" or f"{corpus.root}/{name}" not in renamed
        )
        both = sorted(name for name, count in owners.items() if count > 1)
        if both:
            notes.append(f"{kind}s of several sources, taken to be the same: {_some(both)}")
    notes += [
        f"{split} shares {len(names)} {kind}{'s' if len(names) > 1 else ''} with train : meshtalk corpus split, or mind it"
        for split, kinds in shared_with_train(merged).items()
        for kind, names in kinds.items()
    ]
    return notes
