"""What the page of a report shows as pictures of numbers: a clip over time, code heads, disentanglement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from meshtalk.evaluation.report import REGIONS, SWAPPED, Report, swaps
from meshtalk.evaluation.score import Curves
from meshtalk.measures import sync
from meshtalk.report_page import axes, drawing, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_PX, LEFT_PX = 1040.0, 58.0
LETTER_PX = 6.2
"""Width of a small letter, on average; labels that would touch are left out by it."""
SILENCE = "pau"


def clip_plot(ours: Curves, beside: Mapping[str, tuple[str, Curves]], name: str, label: str) -> str:
    """Lip opening against the truth's, and lip error, over the time of one clip.

    Args:
        ours: of the system that is measured, called `name`.
        beside: other systems → (name of the colour, curves), for the errors.
        label: what a screen reader says.
    """
    said = f"{label}: lip opening and lip error of {name} over time"
    return drawing(partial(_clip, ours=ours, beside=beside), WIDTH_PX, 362, said)


def _clip(figure: Figure, ours: Curves, beside: Mapping[str, tuple[str, Curves]]) -> None:
    colours = palette()
    time_s = np.arange(len(ours.opening_mm)) / ours.fps
    duration_s = max(len(time_s) / ours.fps, 1e-6)
    openings = np.concatenate([ours.opening_mm, ours.true_opening_mm])
    highest = max(5.0, float(np.ceil(openings.max(initial=0.0) / 5) * 5))
    lowest = min(0.0, float(np.floor(openings.min(initial=0.0))))
    errors = [curves.lip_error_mm for _, curves in beside.values()] + [ours.lip_error_mm]
    largest = max((float(np.nanmax(error)) for error in errors if np.isfinite(error).any()), default=1.0)
    wide, span = WIDTH_PX - LEFT_PX - 10, (0.0, duration_s)
    opening = axes(figure, (LEFT_PX, 24, wide, 170), span, (lowest, highest), "lip opening, mm")
    error = axes(
        figure, (LEFT_PX, 212, wide, 110), span, (0.0, max(largest * 1.05, 1.0)), "lip error, mm", "time, s", y_ticks=4
    )
    closures = [phone for phone in ours.phones if phone[0] in sync.BILABIALS]
    others = [phone for phone in ours.phones if phone[0] not in {SILENCE, *sync.BILABIALS}]
    for _, start_s, end_s in closures:
        for panel in (opening, error):
            panel.axvspan(start_s, min(end_s, duration_s), color=colours["closure"], alpha=0.13, lw=0, gid="closure")
    opening.plot(span, [sync.CLOSED_MM] * 2, ":", lw=1, color=colours["closure"], gid="limit")
    labels_above(opening, closures, "phone closed", colours["closure"], "bold")
    labels_above(opening, others, "phone", colours["soft"])
    opening.plot(time_s, ours.true_opening_mm, lw=2, color=colours["ink"], gid="line truth")
    opening.plot(time_s, ours.opening_mm, lw=2, color=colours["ours"], gid="line ours")
    for kind, curves in beside.values():
        at_s, dashes = np.arange(len(curves.lip_error_mm)) / curves.fps, "--" if kind == "mean" else "-"
        error.plot(at_s, curves.lip_error_mm, dashes, color=colours[kind], gid=f"line {kind}")
    error.plot(time_s, ours.lip_error_mm, lw=2, color=colours["ours"], gid="line ours")


def labels_above(
    panel: Axes, phones: Sequence[sync.PhoneTuple], kind: str, colour: str, weight: str = "normal"
) -> None:
    """Names of phones in a row above the panel, as many as have room; those that stand there have the right of way."""
    box = panel.get_window_extent()
    for words, start_s, end_s in phones:
        at = panel.transData.transform(((start_s + end_s) / 2, 0))[0]
        half = LETTER_PX * len(words) / 2 + 1.5
        taken = [
            (panel.transAxes.transform(t.get_position())[0], LETTER_PX * len(t.get_text()) / 2) for t in panel.texts
        ]
        if all(abs(at - other) >= half + width + 1.5 for other, width in taken):
            share = (at - box.x0) / box.width
            above = 1 + 6 / box.height
            panel.text(
                share,
                above,
                words,
                transform=panel.transAxes,
                ha="center",
                gid=kind,
                color=colour,
                weight=weight,
                size=11,
            )


def heads_plot(heads: Mapping[str, Sequence[float]]) -> str:
    """Per code head: classes used and their effective number, and how many nats the true code costs the prior."""
    said = "use of the code heads and held-out negative log-likelihood per head"
    return drawing(partial(_heads, heads=heads), WIDTH_PX, 252, said)


def _heads(figure: Figure, heads: Mapping[str, Sequence[float]]) -> None:
    count = len(next(iter(heads.values())))
    wide = (WIDTH_PX - 2 * LEFT_PX - 60) / 2

    def panel(left_px: float, most: float, label: str) -> Axes:
        made = axes(figure, (left_px, 10, wide, 200), (-0.6, count - 0.4), (0, most * 1.06), label, "code head")
        made.set_xticks(range(0, count, 1 if count <= 20 else -(-count // 16)))
        made.grid(visible=False, axis="x")
        return made

    def bar(panel: Axes, head: int, value: float, kind: str, said: str) -> None:
        alpha = 0.28 if kind == "used" else None
        (made,) = panel.bar(head, value, 0.8, color=palette()["ours"], alpha=alpha)
        made.set_gid(f"bar {kind}|head {head}: {said}")

    if "classes_used" in heads:
        used, effective = np.asarray(heads["classes_used"]), np.exp(heads["entropy_nats"])
        left = panel(LEFT_PX, float(used.max()), "classes")
        for head, (all_of_them, even) in enumerate(zip(used.tolist(), effective.tolist(), strict=True)):
            said = f"{all_of_them:g} classes used, {even:.1f} effective"
            bar(left, head, all_of_them, "used", said)
            bar(left, head, even, "effective", said)
    if "nll_nats" in heads:
        nats, entropy = np.asarray(heads["nll_nats"]), np.asarray(heads.get("entropy_nats", []))
        right = panel(WIDTH_PX - 10 - wide, float(max(nats.max(), entropy.max(initial=0.0), 1e-3)), "nats a frame")
        for head, cost in enumerate(nats.tolist()):
            bar(right, head, cost, "nll", f"{cost:.2f} nats a frame")
        for head, blind in enumerate(entropy.tolist()):
            right.plot([head - 0.4, head + 0.4], [blind] * 2, lw=2, color=palette()["ink"], gid="line entropy")


def swap_plots(reports: Sequence[Report]) -> dict[str, str]:
    """Truth and each system that was swapped → a table of cells, the darker the nearer to 1, each with its share below it."""
    return {
        name: drawing(partial(_cells, table=table, shares=shares), 384, 196, f"{name}: disentanglement table")
        for name, (table, shares) in swaps(reports).items()
    }


def _cells(figure: Figure, table: np.ndarray, shares: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    colours = palette()
    left, top, wide, tall, gap = 138.0, 32.0, 118.0, 74.0, 4.0
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set(xlim=(0, 384), ylim=(196, 0))
    panel.axis("off")
    for j, column in enumerate(REGIONS):
        panel.text(left + j * (wide + gap) + wide / 2, top - 10, column, ha="center", color=colours["soft"])
    for i, row in enumerate(SWAPPED):
        y = top + i * (tall + gap)
        panel.text(left - 10, y + tall / 2 + 4, f"{row} swapped", ha="right", color=colours["soft"])
        for j in range(len(REGIONS)):
            x, value, share = left + j * (wide + gap), float(table[i, j]), float(shares[i, j])
            strength = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
            panel.add_patch(Rectangle((x, y), wide, tall, color=colours["panel"]))
            alpha = round(0.06 + 0.86 * strength, 2)
            panel.add_patch(Rectangle((x, y), wide, tall, color=colours["ours"], alpha=alpha, lw=0, gid="cell"))
            ink, soft = (colours[name if strength <= 0.6 else "paper"] for name in ("ink", "soft"))
            middle = x + wide / 2
            panel.text(middle, y + tall / 2 + 2, _figure(value), ha="center", color=ink, size=21, weight="semibold")
            panel.text(middle, y + tall / 2 + 22, f"share {_figure(share)}", ha="center", color=soft, size=11.5)


def _figure(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
