"""Conversion of a data set to a corpus: in parallel, resumable, with a report."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from meshtalk.convert.make import Work, make
from meshtalk.convert.plan import ENOUGH_PEOPLE, Options, Plan, own_splits
from meshtalk.corpus.ownership import Maker
from meshtalk.corpus.store import SPLITS, ClipInfo, Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import check_axes
from meshtalk.outcomes import DROPPED, Outcome, told
from meshtalk.parallel import in_order, pool
from meshtalk.progress import Show, followed

REPORT = "conversion.json"


@dataclass(frozen=True)
class Report:
    """Outcome of a conversion, saved in the corpus as conversion.json; `str()` formats it for people."""

    kind: str
    clips: int
    seconds: float
    missing_frames: int
    splits: dict[str, dict[str, float]]
    """Split, and official name of a part of it → {"clips", "seconds", "people"}."""
    dropped: dict[str, str]
    """Clip → reason."""
    left_out: dict[str, int]
    """Reason → number of recordings, which are not defective."""
    notes: tuple[str, ...]
    """Assumptions and measurements of the whole data set."""
    clip_notes: dict[str, str]
    """Clip → note on defects."""

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.clips} clips, {self.seconds / 60:.1f} min, {self.missing_frames} missing frames"]
        for name, part in self.splits.items():
            lines.append(
                f"  {name:8} {part['clips']:6.0f} clips {part['seconds'] / 60:8.1f} min {part['people']:4.0f} people"
            )
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  left out: {count} ({why})" for why, count in self.left_out.items()]
        lines += told(Outcome(name, DROPPED, why) for name, why in self.dropped.items())
        lines += [f"  {name}: {note}" for name, note in self.clip_notes.items()]
        return "\n".join(lines)


def convert(
    kind: str,
    source: str | Path,
    root: str | Path,
    options: Options | None = None,
    *,
    workers: int = 2,
    progress: Show | None = None,
) -> tuple[Corpus, Report]:
    """Convert the data set in folder `source` to a corpus in folder `root`, or resume an interrupted conversion.

    Same data, same corpus, whatever the number of workers; clips whose files have not changed are left as they are.

    Args:
        kind: one of CONVERTERS.
        workers: processes, each about one core's work and one clip's memory; 1 stays in this one.
        progress: called after every clip.

    Raises:
        InputError: no such kind or folder, a data set that is not laid out as it should be, something missing that
            only the user can give, a corpus that cannot be written, or not one clip that can be used.
    """
    from meshtalk.convert import CONVERTERS

    source, root = Path(source), Path(root)
    if kind not in CONVERTERS:
        raise InputError(f"kind must be one of {', '.join(CONVERTERS)}, got {kind!r}")
    if not source.is_dir():
        raise InputError(f"the source must be the folder of the data set, got {source}")
    maker = Maker(REPORT, kind)
    maker.check(root, [source])
    processes = pool(workers)
    plan = _checked(CONVERTERS[kind](source, options or Options()), source)
    plan = _with_regions(plan, root)
    was_there = root.exists()
    maker.begin(root)
    writer = CorpusWriter(root, plan.topology, plan.fps, [plan.licence])
    for subject in sorted({job.subject for job in plan.jobs}):
        writer.add_subject(subject, plan.templates[subject])
    infos, dropped = [], {}

    def note() -> str:
        return f"{sum(info.duration_s for info in infos) / 60:.1f} min of motion, {len(dropped)} dropped"

    try:
        with processes as executor, closing(in_order(make, _works(plan, writer), executor, ahead=2 * workers)) as made:
            for result in followed(made, len(plan.jobs), "clips", progress, note=note):
                if isinstance(result, Outcome):
                    dropped[result.item] = result.why.replace(f"{source}/", "")
                else:
                    infos.append(result)
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed, perhaps for want of memory. Run again with --workers 1."
        ) from None
    if not infos:
        if not was_there:
            shutil.rmtree(root)
        why = Counter(dropped.values()).most_common(1)[0][0]
        raise InputError(f"none of {len(dropped)} clips could be used. Most frequent reason: {why}")
    corpus = writer.finish(infos)
    report = _report(plan, corpus, dropped)
    maker.write_report(root, asdict(report))
    return corpus, report


def _with_regions(plan: Plan, root: Path) -> Plan:
    """The plan with the regions that its corpus was given since, where this conversion brings none."""
    present = root / "topology.npz"
    if plan.topology.regions or not present.is_file():
        return plan
    kept = Topology.load(present)
    if kept.hash != plan.topology.hash:
        return plan
    return replace(plan, topology=replace(plan.topology, regions=kept.regions, landmarks=kept.landmarks))


def _checked(plan: Plan, source: Path) -> Plan:
    """The plan with a split for every job.

    Raises:
        InputError: nothing to convert, or two clips of one name.
    """
    if not plan.jobs:
        why = "; ".join(sorted({why for _, why in plan.left_out})) or "nothing in it looks like the data set"
        raise InputError(f"{source} has no clips of kind {plan.kind} ({why})")
    twice = [name for name, count in Counter(job.id for job in plan.jobs).items() if count > 1]
    if twice:
        raise InputError(f"two clips would be called {twice[0]}. Rename the files of one.")
    for subject, template in plan.templates.items():
        if template.shape != (plan.topology.n_vertices, 3):
            raise InputError(
                f"the neutral face of {subject} must have shape ({plan.topology.n_vertices}, 3), got {template.shape}"
            )
        check_axes(template, plan.topology)
    splits, notes = own_splits(plan.jobs), plan.notes
    if not all(job.split for job in plan.jobs):
        held = "people" if len({job.voice for job in plan.jobs}) >= ENOUGH_PEOPLE else "clips"
        notes = (*notes, f"no official splits: a tenth of the {held} is held out for val, a tenth for test")
    jobs = (
        replace(job, official=job.official or job.split) if job.split else replace(job, split=splits[job.id])
        for job in plan.jobs
    )
    ordered = sorted(jobs, key=lambda job: (SPLITS.index(job.split), job.official, job.id))
    return replace(plan, jobs=tuple(ordered), notes=notes)


def _works(plan: Plan, writer: CorpusWriter) -> Iterator[Work]:
    moved = plan.topology.shapes if plan.space is None else None
    shapes = b"" if moved is None else np.ascontiguousarray(moved).tobytes()
    settings = [plan.kind, plan.topology.hash, hashlib.sha256(shapes).hexdigest(), str(plan.fps), str(plan.space)]
    for job in plan.jobs:
        gains = plan.gains.get(job.subject)
        yield Work(job, writer, plan.templates[job.subject], plan.space, gains, json.dumps(settings))


def _report(plan: Plan, corpus: Corpus, dropped: dict[str, str]) -> Report:
    masks = [valid for info in corpus.clips if (valid := corpus.valid(info)) is not None]
    tall_m = sorted(float(np.ptp(corpus.template(name)[:, 1])) for name in corpus.subjects)
    notes = [*plan.notes, f"neutral faces are {tall_m[0]:.3f} to {tall_m[-1]:.3f} m tall"]
    if plan.space is not None:
        notes.insert(0, f"a unit is {plan.space.metres:g} m; left, up and out of the face are {plan.space.axes}")
    if lacking := plan.topology.lacks():
        notes.append(
            f"the mesh lacks regions {', '.join(lacking)}, which training and evaluation need: make them with `meshtalk regions`"
            " (docs/regions.md), then `meshtalk regions apply` or run again with --topology FACE.npz"
        )
    return Report(
        kind=plan.kind,
        clips=len(corpus.clips),
        seconds=round(sum(info.duration_s for info in corpus.clips), 3),
        missing_frames=sum(int((~valid).sum()) for valid in masks),
        splits=_parts(corpus.clips),
        dropped=dropped,
        left_out=dict(Counter(why for _, why in plan.left_out)),
        notes=tuple(notes),
        clip_notes={info.id: info.note for info in corpus.clips if info.note},
    )


def _parts(clips: tuple[ClipInfo, ...]) -> dict[str, dict[str, float]]:
    names = [*SPLITS, *sorted({info.official for info in clips} - {*SPLITS, ""})]
    parts = {}
    for name in names:
        part = [info for info in clips if name in (info.split, info.official)]
        seconds = round(sum(info.duration_s for info in part), 3)
        parts[name] = {"clips": len(part), "seconds": seconds, "people": len({info.voice for info in part})}
    return parts
