"""Report of a check as a self-contained HTML page: findings, and sound and motion of the clips."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meshtalk.check.check import Report, counted, no_lips
from meshtalk.check.findings import KINDS, Finding
from meshtalk.files import atomic
from meshtalk.report_page import axes, drawing, facts, legend, note, page_text, palette, wide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIPS = 40
"""Clips that are drawn, the worst first."""
EXAMPLES = 6
"""At least so many are drawn, also of a corpus without findings: those whose sound and motion go together least."""
LISTED = 200
"""Findings that are listed."""
WIDTH_PX, LEFT_PX, TALL_PX = 1060.0, 64.0, 96.0
LONGEST_S = 20.0
"""Of longer clips so much is drawn, around the worst frame."""


def write_page(path: str | Path, report: Report) -> None:
    """Write the page atomically.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The page's text; see `write_page`."""
    title = f"Check of {report.corpus.root.resolve().name}"
    remarks = len(report.findings) - report.problems
    body = [
        f"<p>{counted(report.problems, 'problem')}, {counted(remarks, 'remark')}.</p>",
        facts(report.facts()),
        note(no_lips(report.curve)) if report.curve != "lip opening" else "",
        "<h2>Findings</h2>",
        _table(report),
        "<h2>Clips</h2>",
        *_strips(report),
        "<footer>Written by <code>meshtalk corpus check --html</code>.</footer>",
    ]
    return page_text(title, body)


def _table(report: Report) -> str:
    if not report.findings:
        return "<p>None.</p>"
    counts = Counter((finding.problem, finding.kind) for finding in report.findings)
    summary = "".join(
        f'<li class="{"problem" if problem else "remark"}"><b>{count}</b> {escape(kind)}: {escape(KINDS[kind])}</li>'
        for (problem, kind), count in counts.items()
    )
    drawn = {report.infos[k].id for k in _drawn(report)}
    rows = []
    for finding in report.findings[:LISTED]:
        where = escape(finding.where or "the corpus")
        where = f'<a href="#{where}">{where}</a>' if finding.where in drawn else where
        mark = "problem" if finding.problem else "remark"
        rows.append(
            f'<tr class="{mark}"><td>{where}</td><td>{escape(finding.kind)}</td><td class="said">{escape(finding.told)}</td></tr>'
        )
    more = len(report.findings) - LISTED
    rest = note(f"{more} more are in the file of --json.") if more > 0 else ""
    head = "<tr><th>where</th><th>kind</th><th>what</th></tr>"
    return (
        f'<ul class="kinds">{summary}</ul><div class="wide"><table class="findings"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{rest}"
    )


def _by_clip(report: Report) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(finding.where, []).append(finding)
    return found


def _drawn(report: Report) -> list[int]:
    """Numbers of the clips that are drawn: those with problems, with remarks, then the ones of the least correlation."""
    found = _by_clip(report)

    def rank(k: int) -> tuple[int, float, float]:
        mine = found.get(report.infos[k].id, [])
        fits = (report.timings[k].model.r_unshifted, report.timings[k].loudness.r_unshifted)
        r = next((r for r in fits if math.isfinite(r)), 2.0)
        worst = max((one.severity for one in mine if one.problem), default=0.0)
        return (0 if worst else 1 if mine else 2, -worst, r)

    order = sorted((k for k, clip in enumerate(report.clips) if not clip.broken), key=rank)
    with_findings = sum(bool(found.get(report.infos[k].id)) for k in order)
    return order[: min(max(with_findings, EXAMPLES), STRIPS)]


def _strips(report: Report) -> list[str]:
    drawn, found = _drawn(report), _by_clip(report)
    could = sum(not clip.broken for clip in report.clips)
    told = (
        f"{len(drawn)} of {could} clips (at most {STRIPS}), the worst first; without findings, those whose sound and motion go "
        "together least. Where the sound leads or trails, its hills stand beside those of the mouth."
    )
    marks = [("truth", report.curve), ("loud", "loudness of the sound, dB below its loud parts")]
    if math.isfinite(report.usual.model.r):
        marks.append(("ours", "opening predicted from the sound, by a regressor trained on the other clips"))
    marks += [("spike", "frame that jumps"), ("still", "stands still"), ("gap", "not captured")]
    parts = [note(told), legend(marks)]
    for k in drawn:
        info = report.infos[k]
        labels = [label for label in (info.split, info.subject, info.voice, info.emotion) if label]
        labels.append(f"{info.duration_s:.2f} s")
        findings = "".join(
            f'<li class="{"problem" if one.problem else "remark"}">{escape(one.told)}</li>'
            for one in found.get(info.id, [])
        )
        said = f" “{escape(info.sentence)}”" if info.sentence else ""
        parts.append(
            f'<section id="{escape(info.id)}"><h3>{escape(info.id)}{said}</h3>{note(" · ".join(labels))}'
            f'<ul class="kinds">{findings}</ul>{wide(_strip(report, k))}</section>'
        )
    return parts


def _strip(report: Report, k: int) -> str:
    label = f"{report.curve} and loudness of {report.clips[k].id} over time"
    return drawing(partial(_draw, report=report, k=k), WIDTH_PX, 8 + TALL_PX + 8 + 0.55 * TALL_PX + 40, label)


def _draw(figure: Figure, report: Report, k: int) -> None:
    clip, timing, fps = report.clips[k], report.timings[k], float(report.corpus.fps)
    n, colours = len(clip.opening_mm), palette()
    most = round(LONGEST_S * fps)
    centre = int(clip.spikes[0, 0]) if len(clip.spikes) else clip.still_from
    first = min(max(centre - most // 2, 0), max(n - most, 0))
    shown = slice(first, min(first + most, n))
    time_s = np.arange(n)[shown] / fps
    opening = clip.opening_mm[shown].astype(float)
    known = np.isfinite(opening)
    low, high = (float(f(opening[known])) for f in (np.min, np.max)) if known.any() else (0.0, 1.0)
    margin = 0.06 * (high - low) + 0.05
    ends = (float(time_s[0]), float(time_s[-1]) + 1 / fps)
    width, mm = WIDTH_PX - LEFT_PX - 8, (low - margin, high + margin)
    above = axes(figure, (LEFT_PX, 8, width, TALL_PX), ends, mm, "mm", x_ticks=12, y_ticks=4)
    below = axes(
        figure, (LEFT_PX, 16 + TALL_PX, width, 0.55 * TALL_PX), ends, (-40, 6), "dB", "seconds", x_ticks=12, y_ticks=3
    )
    for start, stop in _runs(~known):
        above.axvspan(time_s[start], min(time_s[stop - 1] + 1 / fps, ends[1]), color=colours["mean"], alpha=0.25, lw=0)
    if any(one.kind == "frozen" for one in _by_clip(report).get(clip.id, [])) and clip.still_s > 0:
        start_s = max(clip.still_from / fps, ends[0])
        stop_s = min(start_s + clip.still_s, ends[1])
        above.axvspan(start_s, stop_s, color=colours["still"], alpha=0.25, lw=0)
    decibels = np.clip(clip.loudness[shown].astype(float) * 20 / math.log(10), -40, 6)
    foot_s = [time_s[0], *time_s, time_s[-1]]
    below.fill(foot_s, [-40, *decibels, -40], color=colours["mean"], alpha=0.55, lw=0)
    if timing.predicted is not None and known.any():
        # as far up and down as the mouth goes: the regressor tells when, not how far
        predicted = timing.predicted[shown].astype(float)
        scale = opening[known].std() / max(float(predicted.std()), 1e-9)
        predicted = np.clip((predicted - predicted.mean()) * scale + opening[known].mean(), *mm)
        above.plot(time_s, predicted, lw=2, color=colours["ours"])
    above.plot(time_s, opening, lw=2, color=colours["ink"])
    for frame, _ in clip.spikes:
        if shown.start <= frame < shown.stop:
            above.plot([frame / fps] * 2, mm, lw=1.5, dashes=(2, 1.3), color=colours["closure"])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
