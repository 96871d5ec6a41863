"""Quality check of a corpus: every clip measured in parallel, resumable, with findings in a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.check.cache import Kept, Place, measure
from meshtalk.check.duplicates import pairs
from meshtalk.check.findings import KINDS, Finding, of_clip, of_corpus
from meshtalk.check.measure import Measured, mouth_curve
from meshtalk.check.timing import ENOUGH_CLIPS, NONE, Fit, Timing, timings
from meshtalk.corpus.store import LISTENER, ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.files import write_json
from meshtalk.parallel import in_order, pool
from meshtalk.progress import Show, followed
from meshtalk.synth.kokoro import cache_folder

SHOWN = 10
"""Findings of each kind that are printed; --json and --html have all."""
DIGITS = 4


@dataclass(frozen=True, eq=False)
class Report:
    """Findings of a check; `str()` formats them for people."""

    corpus: Corpus
    curve: str
    """Name of the curve that measures mouth opening on this mesh."""
    usual: Timing
    """Medians of the clips; NaN where there are too few of them, or too short ones."""
    findings: tuple[Finding, ...]
    """Problems first, by the order of KINDS, the worst first."""
    clips: tuple[Measured, ...]
    """In the manifest's order; without their log-mel."""
    timings: tuple[Timing, ...]

    @property
    def problems(self) -> int:
        """Number of findings that are problems, not remarks."""
        return sum(finding.problem for finding in self.findings)

    @property
    def infos(self) -> tuple[ClipInfo, ...]:
        """The manifest's entries of `clips`."""
        return self.corpus.clips

    def facts(self) -> dict[str, str]:
        """Name → value, for the head of a report."""
        mesh, clips = self.corpus.topology, self.corpus.clips
        people = len({info.subject for info in clips})
        told = {
            "corpus": str(self.corpus.root),
            "clips": f"{len(clips)}, {sum(info.duration_s for info in clips) / 60:.1f} min, {people} people",
            "mesh": f"{mesh.n_vertices} vertices, hash {mesh.hash}, {float(self.corpus.fps):.6g} frames per second",
            "mouth": self.curve,
        }
        loudness = self.usual.loudness
        if loudness.found:
            late = f"{abs(loudness.lag_ms):.0f} ms {'after' if loudness.lag_ms >= 0 else 'before'}"
            told["timing"] = f"loudness is {late} the {self.curve} in the median clip (r = {loudness.r:.2f})"
        else:
            told["timing"] = f"fewer than {ENOUGH_CLIPS} clips in which somebody speaks: no common lag"
        if math.isfinite(self.usual.model.r):
            told["timing"] += f"; the regressor has r = {self.usual.model.r:.2f}"
        else:
            told["timing"] += "; too little to train a regressor, so lags are by loudness alone"
        return told

    def __str__(self) -> str:
        lines = [f"{name:8}{value}" for name, value in self.facts().items()]
        if self.curve != "lip opening":
            lines.append(f"        {no_lips(self.curve)}")
        lines.append("")
        shown: dict[str, int] = {}
        for finding in self.findings:
            key = f"{'problems' if finding.problem else 'remarks'} of kind {finding.kind}"
            shown[key] = shown.get(key, 0) + 1
            if shown[key] <= SHOWN:
                lines.append(str(finding))
        lines += [f"and {count - SHOWN} more {key}" for key, count in shown.items() if count > SHOWN]
        lines.append(f"{counted(self.problems, 'problem')}, {counted(len(self.findings) - self.problems, 'remark')}")
        return "\n".join(lines)

    def write_json(self, path: str | Path) -> None:
        """All findings, and the numbers of every clip; null where something cannot be measured.

        Raises:
            InputError: `path` cannot be written.
        """
        rows = [self._row(*row) for row in zip(self.infos, self.clips, self.timings, strict=True)]
        told = {
            "facts": self.facts(),
            "loudness": self.usual.loudness._asdict(),
            "model": self.usual.model._asdict(),
            "problems": self.problems,
            "findings": [asdict(finding) for finding in self.findings],
            "clips": rows,
        }
        write_json(path, _plain(told))

    def _row(self, info: ClipInfo, clip: Measured, timing: Timing) -> dict[str, Any]:
        row: dict[str, Any] = {"id": info.id, "split": info.split, "subject": info.subject, "broken": clip.broken}
        if not clip.broken:
            row |= {name: getattr(clip, name) for name in ("sound_s", "motion_s", "missing", "level_db", "flat_tops")}
            row |= {name: getattr(clip, name) for name in ("still_s", "repeated", "far_m")}
            row["spikes"] = [{"frame": int(frame), "mm": float(mm)} for frame, mm in clip.spikes]
            row["loudness"] = timing.loudness._asdict()
            row["model"] = timing.model._asdict() | {"drift_ms": timing.drift_ms}
        return row


def counted(count: int, word: str) -> str:
    """ "1 problem", "2 problems"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def no_lips(curve: str) -> str:
    """Note on a mesh without inner lips."""
    return (
        f"the mesh has no inner lips, so the {curve} is measured instead of their opening. Give it a topology with inner"
        " lips (`meshtalk regions`) for sharper lags."
    )


def _plain(value: Any) -> Any:
    """The same for JSON: rounded, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return round(float(value), DIGITS) if math.isfinite(value) else None
    return value


def check(root: str | Path, *, workers: int = 2, progress: Show | None = None) -> Report:
    """Check the corpus in folder `root` for defects, or resume an interrupted check; the corpus is not changed.

    Measures of clips are cached by content, so that a later check measures only new clips.

    Args:
        workers: processes, each about one core's work and a piece of one clip's memory; 1 stays in this one.
        progress: called after every clip.

    Raises:
        InputError: no corpus, one without a clip, or a cache folder that cannot be written.
    """
    corpus = Corpus.open(root)
    if not corpus.clips:
        raise InputError(f"{root} has no clips to check")
    kept = _measured(corpus, workers, progress)
    clips = [one.measured for one in kept]
    told = timings(clips, lambda k: kept[k].mel(), corpus.fps)
    speaking = [k for k, info in enumerate(corpus.clips) if info.voice != LISTENER]
    usual = _usual([told[k] for k in speaking])
    prints = {clip.id: clip.prints for clip in clips if not clip.broken}
    findings = list(of_corpus(corpus, clips, usual.loudness, pairs(prints, corpus)))
    for info, clip, timing in zip(corpus.clips, clips, told, strict=True):
        findings += of_clip(info, clip, timing, usual, corpus)
    order = list(KINDS)
    findings.sort(key=lambda one: (not one.problem, order.index(one.kind), one.where != "", -one.severity))
    curve, _ = mouth_curve(corpus.topology)
    return Report(corpus, curve, usual, tuple(findings), tuple(clips), tuple(told))


def _usual(timings: Sequence[Timing]) -> Timing:
    """Medians of the clips' fits; none of fewer than ENOUGH_CLIPS."""

    def median(values: Iterable[float]) -> float:
        finite = [value for value in values if math.isfinite(value)]
        return float(np.median(finite)) if len(finite) >= ENOUGH_CLIPS else math.nan

    def fit(fits: Sequence[Fit]) -> Fit:
        return Fit(*(median([one[k] for one in fits]) for k in range(len(NONE))))

    return Timing(fit([one.loudness for one in timings]), fit([one.model for one in timings]))


def _measured(corpus: Corpus, workers: int, progress: Show | None) -> Sequence[Kept]:
    work = partial(measure, place=Place.of(corpus, cache_folder() / "checks"))
    try:
        with pool(workers) as executor, closing(in_order(work, corpus.clips, executor, 2 * workers)) as made:
            return list(followed(made, len(corpus.clips), "clips", progress, "measured"))
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed, perhaps for want of memory. Run again with --workers 1."
        ) from None
