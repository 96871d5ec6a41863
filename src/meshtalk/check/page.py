"""Report of a check as a self-contained HTML page: findings, and sound and motion of the clips."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from pathlib import Path

import numpy as np

from meshtalk.check.check import Report, counted, no_lips
from meshtalk.check.findings import KINDS, Finding
from meshtalk.evaluation import page
from meshtalk.evaluation import plots as svg
from meshtalk.files import atomic

STYLE = Path(__file__).with_name("page.css")
STRIPS = 40
"""Clips that are drawn, the worst first."""
EXAMPLES = 6
"""At least so many are drawn, also of a corpus without findings: those whose sound and motion go together least."""
LISTED = 200
"""Findings that are listed."""
WIDTH, LEFT, TALL = 1060.0, 64.0, 96.0
LONGEST_S = 20.0
"""Of longer clips so much is drawn, around the worst frame."""


def write_page(path: str | Path, report: Report) -> None:
    """Write the page atomically.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(page_text(report), encoding="utf-8")


def page_text(report: Report) -> str:
    """The page's text; see `write_page`."""
    title = f"Check of {report.corpus.root.resolve().name}"
    remarks = len(report.findings) - report.problems
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in report.facts().items()
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{counted(report.problems, 'problem')}, {counted(remarks, 'remark')}.</p>",
        f'<dl class="about check">{facts}</dl>',
        f'<p class="note">{escape(no_lips(report.curve))}</p>' if report.curve != "lip opening" else "",
        "<h2>Findings</h2>",
        _table(report),
        "<h2>Clips</h2>",
        *_strips(report),
        "<footer>Written by <code>meshtalk corpus check --html</code>.</footer>",
    ]
    style = page.STYLE.read_text(encoding="utf-8") + STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


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
    rest = f'<p class="note">{more} more are in the file of --json.</p>' if more > 0 else ""
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
    note = (
        f"{len(drawn)} of {could} clips (at most {STRIPS}), the worst first; without findings, those whose sound and motion go "
        "together least. Where the sound leads or trails, its hills stand beside those of the mouth."
    )
    legend = [("truth", report.curve), ("loud", "loudness of the sound, dB below its loud parts")]
    if math.isfinite(report.usual.model.r):
        legend.append(("ours", "opening predicted from the sound, by a regressor trained on the other clips"))
    legend += [("spike", "frame that jumps"), ("still", "stands still"), ("gap", "not captured")]
    marks = "".join(f'<span><i class="{kind}"></i>{escape(words)}</span>' for kind, words in legend)
    parts = [f'<p class="note">{escape(note)}</p>', f'<div class="legend">{marks}</div>']
    for k in drawn:
        info = report.infos[k]
        labels = [label for label in (info.split, info.subject, info.voice, info.emotion) if label]
        labels.append(f"{info.duration_s:.2f} s")
        told = "".join(
            f'<li class="{"problem" if one.problem else "remark"}">{escape(one.told)}</li>'
            for one in found.get(info.id, [])
        )
        said = f" “{escape(info.sentence)}”" if info.sentence else ""
        parts.append(
            f'<section id="{escape(info.id)}"><h3>{escape(info.id)}{said}</h3><p class="note">{escape(" · ".join(labels))}</p>'
            f'<ul class="kinds">{told}</ul><figure class="wide">{_drawing(report, k)}</figure></section>'
        )
    return parts


def _drawing(report: Report, k: int) -> str:
    clip, timing, fps = report.clips[k], report.timings[k], float(report.corpus.fps)
    n = len(clip.opening_mm)
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
    above = svg.Panel(LEFT, 8, WIDTH - LEFT - 8, TALL, ends, (low - margin, high + margin))
    below = svg.Panel(LEFT, 8 + TALL + 8, WIDTH - LEFT - 8, TALL * 0.55, ends, (-40.0, 6.0))
    ticks = svg.ticks(*ends, 12)
    parts = above.axes("mm", "", ticks, 4) + below.axes("dB", "seconds", ticks, 3)
    for start, stop in _runs(~known):
        parts.append(above.band(time_s[start], min(time_s[stop - 1] + 1 / fps, ends[1]), "gap"))
    if any(one.kind == "frozen" for one in _by_clip(report).get(clip.id, [])) and clip.still_s > 0:
        start_s = clip.still_from / fps
        parts.append(above.band(max(start_s, ends[0]), min(start_s + clip.still_s, ends[1]), "still"))
    decibels = clip.loudness[shown].astype(float) * 20 / math.log(10)
    parts.append(_area(below, time_s, decibels))
    if timing.predicted is not None and known.any():
        # as far up and down as the mouth goes: the regressor tells when, not how far
        predicted = timing.predicted[shown].astype(float)
        scale = opening[known].std() / max(float(predicted.std()), 1e-9)
        parts.append(above.line(time_s, (predicted - predicted.mean()) * scale + opening[known].mean(), "ours"))
    parts.append(above.line(time_s, opening, "truth"))
    for frame, _ in clip.spikes:
        if shown.start <= frame < shown.stop:
            x = above.x(frame / fps)
            parts.append(f'<path d="M{x:.1f} {above.top:.1f}V{above.top + above.height:.1f}" class="spike"/>')
    label = f"{report.curve} and loudness of {clip.id} over time"
    return svg.drawing(WIDTH, below.top + below.height + 40, parts, label)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _area(panel: svg.Panel, x: np.ndarray, y: np.ndarray) -> str:
    low, high = panel.y_range
    points = "".join(
        f"L{panel.x(a):.1f} {panel.y(min(max(b, low), high)):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
    foot = panel.top + panel.height
    return f'<path d="M{panel.x(x[0]):.1f} {foot:.1f}{points}V{foot:.1f}Z" class="loud"/>'
