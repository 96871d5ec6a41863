"""The report as a self-contained HTML page: figures, curves, code usage, disentanglement, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from meshtalk.evaluation import plots
from meshtalk.evaluation.aggregate import MEASURES, Estimate
from meshtalk.evaluation.report import SHARE, Report, about, figure_text
from meshtalk.evaluation.score import Curves
from meshtalk.files import atomic
from meshtalk.measures import sync
from meshtalk.report_page import facts, legend, note, page_text, wide

BESIDE = {"mean face": "mean", "nearest clip": "nearest", "regressor": "regressor", "baseline": "regressor"}
"""Systems whose errors are drawn beside the measured one's → their CSS class."""
APART_S = 0.2
"""Moments that are shown lie at least so far apart."""
UNITS = "millimetres, seconds, nats; papers' LVE and FDD in m²; ± is half the 95 % bootstrap interval over people"


@dataclass(frozen=True)
class Strip:
    """Pictures of one clip at a few frames, by the truth and by the measured system."""

    clip: int
    """Its place in the report's `clips` and `curves`."""
    frames: Sequence[int]
    truth: Sequence[bytes]
    """A JPEG for each frame."""
    ours: Sequence[bytes]


# ------------------------------------------------------------------------------------------- what to show


def ranked(report: Report) -> list[int]:
    """Places of the clips by their lip vertex error, the smallest first; those without one are left out."""
    errors = [clip.get("lve_mm") for clip in report.clips]
    return sorted((i for i, e in enumerate(errors) if e is not None), key=lambda i: errors[i] or 0.0)


def telling_frames(curves: Curves, count: int) -> list[int]:
    """Up to `count` frames in order of time where the lips are most wrong, APART_S from each other."""
    error = np.nan_to_num(curves.lip_error_mm, nan=-1.0)
    chosen: list[int] = []
    for frame in np.argsort(-error, kind="stable").tolist():
        if len(chosen) < count and all(abs(frame - other) >= APART_S * curves.fps for other in chosen):
            chosen.append(frame)
    return sorted(chosen)


# ------------------------------------------------------------------------------------------------- writing


def write_page(
    path: str | Path,
    reports: Sequence[Report],
    ours: str,
    *,
    real: Sequence[Report] = (),
    strips: Sequence[Strip] = (),
) -> None:
    """Write the page atomically.

    Args:
        reports: of the systems over a corpus, one of which is called `ours`: curves and plots are about it.
        real: of real recordings, for a table of their own.
        strips: pictures of clips of `ours`.

    Raises:
        InputError: `path` cannot be written, or the reports measured different clips or regions.
    """
    with atomic(path) as temporary:
        temporary.write_text(page(reports, ours, real=real, strips=strips), encoding="utf-8")


def page(reports: Sequence[Report], ours: str, *, real: Sequence[Report] = (), strips: Sequence[Strip] = ()) -> str:
    """The page's text; see `write_page`."""
    told = about(reports)
    report = next(report for report in reports if report.system == ours)
    title = f"{ours} on {told['data']}, split {told['split']}"
    body = [
        f"<p>{told['clips']} clips, {told['seconds']} seconds of motion, beside the truth and simple baselines.</p>",
        _facts(told),
        "<h2>Figures</h2>",
        _table(reports, ours),
    ]
    if real:
        body += [f"<h2>Real recordings: {escape(about(real)['data'])}</h2>", note(REAL), _table(real, ours)]
    if report.curves:
        body += ["<h2>Lips over time</h2>", note(CURVES), *_clips(reports, report)]
    if strips:
        body += ["<h2>Worst clips</h2>", note(WORST), *(_strip(strip, report) for strip in strips)]
    swaps = plots.swap_plots(reports)
    if swaps:
        tables = (f"<figure><figcaption>{escape(name)}</figcaption>{cells}</figure>" for name, cells in swaps.items())
        body += ["<h2>Disentanglement</h2>", note(SWAPS), f'<div class="swaps">{"".join(tables)}</div>']
    if report.heads:
        body += ["<h2>Codes</h2>", note(HEADS), legend(HEADS_LEGEND), wide(plots.heads_plot(report.heads))]
    body.append("<footer>Written by <code>meshtalk evaluate --html</code>.</footer>")
    return page_text(title, body)


CURVES = (
    "The clips with the smallest, the median and the largest lip vertex error. Above: vertical distance of the inner "
    "lips. Below: the largest error of any lip vertex in each frame. At p, b and m the lips have to meet."
)
WORST = "At the moments where the lips are most wrong, at least 0.2 s apart; the error is that of the worst lip vertex."
SWAPS = (
    "How much a region changes when one signal is taken from another clip, over how much it changes when both are: 1 "
    f"means that this signal alone determines the region, 0 that it has no effect. {SHARE[0].upper() + SHARE[1:]}. The truth "
    "is the right answer; without emotions that move the mouth it would be the identity."
)
HEADS = (
    "Left: how many classes of each code head occur in the true clips, and as how many equally frequent ones they "
    "count (exp of the entropy). Right: what the true code costs the prior, given the sound and the codes before; the "
    "line is what it would cost one that knows the frequencies alone."
)
REAL = "Against the articulation made from their forced alignment."
HEADS_LEGEND = (
    ("used", "classes used"),
    ("effective", "effective classes, and nats a frame"),
    ("truth", "entropy of the class frequencies"),
)


def _facts(told: Mapping[str, str]) -> str:
    names = {
        "topology": "topology hash",
        "regions": "region hash",
        "model": "model hash",
        "seconds": "seconds of motion",
    }
    return facts({names.get(key, key): value for key, value in told.items()} | {"units": UNITS})


def _table(reports: Sequence[Report], ours: str) -> str:
    def cell(kind: str, report: Report, inside: str, more: str = "") -> str:
        column = ' class="ours-column"' if report.system == ours else ""
        return f"<{kind}{column}{more}>{inside}</{kind}>"

    head = "<th>measure</th>" + "".join(cell("th", r, escape(r.system)) for r in reports)
    rows = []
    for key, measure in MEASURES.items():
        if not any(key in report.measures for report in reports):
            continue
        unit = f" <small>{escape(measure.unit)}</small>" if measure.unit else ""
        cells = []
        for report in reports:
            figure = report.measures.get(key)
            value, plus_minus, half = figure_text(key, figure).partition(" ± ")
            small = f" <small>± {half}</small>" if plus_minus else ""
            cells.append(cell("td", report, escape(value) + small, _interval(key, figure)))
        rows.append(f"<tr><td>{escape(measure.label)}{unit}</td>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _interval(key: str, figure: Estimate | None) -> str:
    if figure is None or not np.isfinite([figure.low, figure.high]).all():
        return ""
    measure = MEASURES[key]
    low, high = (f"{value * measure.scale:.{measure.decimals}f}" for value in (figure.low, figure.high))
    return f' title="95 % interval {low} to {high}"'


def _clips(reports: Sequence[Report], report: Report) -> list[str]:
    order = ranked(report)
    if not order:
        return []
    others = {r.system: r.curves for r in reports if r.system in BESIDE and len(r.curves) == len(report.curves)}
    entries = [
        ("truth", "truth"),
        ("ours", report.system),
        *((BESIDE[name], name) for name in BESIDE if name in others),
    ]
    parts = [legend([*entries, ("closure", "p, b or m"), ("limit", f"closed: below {sync.CLOSED_MM:g} mm")])]
    shown: dict[int, str] = {}
    for rank, place in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
        shown.setdefault(place, rank)
    for place, rank in shown.items():
        beside = {name: (BESIDE[name], others[name][place]) for name in BESIDE if name in others}
        label = f"{rank} clip"
        parts.append(_headed(report.clips[place], label.capitalize()))
        parts.append(wide(plots.clip_plot(report.curves[place], beside, report.system, label)))
    return parts


def _headed(clip: Mapping[str, object], rank: str = "") -> str:
    """Heading of a clip: what is said, then who says it and how well it went."""
    labels = [str(clip[key]) for key in ("id", "voice", "subject", "emotion") if clip.get(key)]
    for key, words in (("lve_mm", "lip vertex error {:.2f} mm"), ("opening_r", "lip opening r = {:.2f}")):
        value = clip.get(key)
        labels += [words.format(value)] if isinstance(value, float) else []
    sentence = f"“{clip['sentence']}”" if clip.get("sentence") else str(clip["id"])
    title = f"{rank}: {sentence}" if rank else sentence
    return f"<h3>{escape(title)}</h3>{note(' · '.join(labels))}"


def _strip(strip: Strip, report: Report) -> str:
    curves = report.curves[strip.clip]
    inside = ["<b></b>"]
    for frame in strip.frames:
        time_s = frame / curves.fps
        phone = next((name for name, start, end in curves.phones if start <= time_s < end), "")
        inside.append(f"<span>{time_s:.2f} s <b>{escape(phone)}</b></span>")
    rows = (
        ("truth", strip.truth, [f"opening {curves.true_opening_mm[k]:.1f} mm" for k in strip.frames]),
        (
            report.system,
            strip.ours,
            [f"{curves.opening_mm[k]:.1f} mm; error {curves.lip_error_mm[k]:.1f} mm" for k in strip.frames],
        ),
    )
    for name, pictures, captions in rows:
        inside.append(f"<b>{escape(name)}</b>")
        for frame, jpeg in zip(strip.frames, pictures, strict=True):
            said = escape(f"{name} at {frame / curves.fps:.2f} s")
            inside.append(f'<img alt="{said}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">')
        inside += ["<b></b>", *(f"<span>{escape(words)}</span>" for words in captions)]
    return (
        f'{_headed(report.clips[strip.clip])}<div class="strip" style="--columns:{len(strip.frames)}">'
        f"{''.join(inside)}</div>"
    )
