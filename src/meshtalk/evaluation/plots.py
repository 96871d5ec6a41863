"""What the page of a report shows as pictures of numbers: a clip over time, code heads, disentanglement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from meshtalk.evaluation.report import REGIONS, SWAPPED, Report, swaps
from meshtalk.evaluation.score import Curves
from meshtalk.measures import sync

WIDTH, LEFT = 1040.0, 58.0
SILENCE = "pau"


def clip_plot(ours: Curves, beside: Mapping[str, tuple[str, Curves]], name: str, label: str) -> str:
    """Lip opening against the truth's, and lip error, over the time of one clip.

    Args:
        ours: of the system that is measured, called `name`.
        beside: other systems → (CSS class, curves), for the errors.
        label: what a screen reader says.
    """
    time_s = np.arange(len(ours.opening_mm)) / ours.fps
    duration_s = max(len(time_s) / ours.fps, 1e-6)
    wide = WIDTH - LEFT - 10
    openings = np.concatenate([ours.opening_mm, ours.true_opening_mm])
    highest = max(5.0, float(np.ceil(openings.max(initial=0.0) / 5) * 5))
    lowest = min(0.0, float(np.floor(openings.min(initial=0.0))))
    opening = Panel(LEFT, 24, wide, 170, (0, duration_s), (lowest, highest))
    errors = [curves.lip_error_mm for _, curves in beside.values()] + [ours.lip_error_mm]
    largest = max((float(np.nanmax(error)) for error in errors if np.isfinite(error).any()), default=1.0)
    error = Panel(LEFT, 212, wide, 110, (0, duration_s), (0, max(largest * 1.05, 1.0)))
    seconds = ticks(0, duration_s, 14)
    parts = opening.axes("lip opening, mm", x_ticks=seconds)
    parts += error.axes("lip error, mm", "time, s", seconds, y_ticks=4)
    closures = [phone for phone in ours.phones if phone[0] in sync.BILABIALS]
    others = [phone for phone in ours.phones if phone[0] not in {SILENCE, *sync.BILABIALS}]
    for _, start_s, end_s in closures:
        parts += [panel.band(start_s, min(end_s, duration_s), "closure") for panel in (opening, error)]
    parts.append(opening.line(np.array([0, duration_s]), np.full(2, sync.CLOSED_MM), "limit"))
    kinds = {"phone closed": closures, "phone": others}
    parts += opening.labels_above([((p[1] + p[2]) / 2, p[0], kind) for kind, some in kinds.items() for p in some])
    parts.append(opening.line(time_s, ours.true_opening_mm, "truth"))
    parts.append(opening.line(time_s, ours.opening_mm, "ours"))
    for kind, curves in beside.values():
        parts.append(error.line(np.arange(len(curves.lip_error_mm)) / curves.fps, curves.lip_error_mm, kind))
    parts.append(error.line(time_s, ours.lip_error_mm, "ours"))
    return drawing(WIDTH, 362, parts, f"{label}: lip opening and lip error of {name} over time")


def heads_plot(heads: Mapping[str, Sequence[float]]) -> str:
    """Per code head: classes used and their effective number, and how many nats the true code costs the prior."""
    count = len(next(iter(heads.values())))
    wide = (WIDTH - 2 * LEFT - 60) / 2
    parts: list[str] = []
    places = range(0, count, 1 if count <= 20 else -(-count // 16))
    if "classes_used" in heads:
        used, effective = np.asarray(heads["classes_used"]), np.exp(heads["entropy_nats"])
        panel = Panel(LEFT, 10, wide, 200, (-0.6, count - 0.4), (0, float(used.max()) * 1.06))
        parts += panel.axes("classes", "code head", places, upright=False)
        for head, (all_of_them, even) in enumerate(zip(used.tolist(), effective.tolist(), strict=True)):
            said = f"head {head}: {all_of_them:g} classes used, {even:.1f} effective"
            parts += [
                panel.bar(head, 0.8, all_of_them, "bar used", said),
                panel.bar(head, 0.8, even, "bar effective", said),
            ]
    if "nll_nats" in heads:
        nats, entropy = np.asarray(heads["nll_nats"]), np.asarray(heads.get("entropy_nats", []))
        most = float(max(nats.max(), entropy.max(initial=0.0), 1e-3)) * 1.06
        panel = Panel(WIDTH - 10 - wide, 10, wide, 200, (-0.6, count - 0.4), (0, most))
        parts += panel.axes("nats a frame", "code head", places, upright=False)
        for head, cost in enumerate(nats.tolist()):
            parts.append(panel.bar(head, 0.8, cost, "bar nll", f"head {head}: {cost:.2f} nats a frame"))
        for head, blind in enumerate(entropy.tolist()):
            parts.append(panel.line(np.array([head - 0.4, head + 0.4]), np.full(2, blind), "entropy"))
    return drawing(WIDTH, 252, parts, "use of the code heads and held-out negative log-likelihood per head")


def swap_plots(reports: Sequence[Report]) -> list[str]:
    """A table of cells for the truth and for each system that was swapped."""
    rows = [f"{signal} swapped" for signal in SWAPPED]
    return [cells(table, shares, rows, REGIONS, name) for name, (table, shares) in swaps(reports).items()]


# ------------------------------------------------------------------------------------------------ drawing


LETTER_PX = 6.2
"""Width of a small letter, on average; labels that would touch are left out by it."""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from low to high, `most` at most."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a point; anchor start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def drawing(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """The whole SVG element; `label` says to those who cannot see it what it shows."""
    inner = "\n".join(parts)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">\n{inner}\n</svg>'


class Panel:
    """A rectangle with two axes; methods give parts in the coordinates of the drawing it stands in."""

    def __init__(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
    ) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x_range, self.y_range = x_range, y_range

    def x(self, value: float) -> float:
        """Pixels."""
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Pixels; grows upwards."""
        low, high = self.y_range
        return self.top + self.height * (1 - (value - low) / (high - low))

    def axes(
        self, y_label: str, x_label: str = "", x_ticks: Sequence[float] = (), y_ticks: int = 5, upright: bool = True
    ) -> list[str]:
        """Grid, tick labels and axis labels with their units; no numbers along x without `x_label`.

        Args:
            upright: draw grid lines at x_ticks too.
        """
        right, bottom = self.left + self.width, self.top + self.height
        parts = [
            f'<rect x="{self.left:.1f}" y="{self.top:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" class="panel"/>'
        ]
        for value in ticks(*self.y_range, y_ticks):
            y = self.y(value)
            parts.append(f'<path d="M{self.left:.1f} {y:.1f}H{right:.1f}" class="grid"/>')
            parts.append(text(self.left - 6, y + 4, f"{value:g}", "tick", "end"))
        for value in x_ticks:
            x = self.x(value)
            if upright:
                parts.append(f'<path d="M{x:.1f} {self.top:.1f}V{bottom:.1f}" class="grid"/>')
            if x_label:
                parts.append(text(x, bottom + 15, f"{value:g}", "tick", "middle"))
        if x_label:
            parts.append(text(self.left + self.width / 2, bottom + 32, x_label, "label", "middle"))
        middle = self.top + self.height / 2
        parts.append(
            f'<text transform="translate({self.left - 40:.1f} {middle:.1f}) rotate(-90)" class="label"'
            f' text-anchor="middle">{escape(y_label)}</text>'
        )
        return parts

    def line(self, x: np.ndarray, y: np.ndarray, kind: str) -> str:
        """A curve; it has a gap where y is NaN. Beyond the panel it runs along its edge."""
        low, high = self.y_range
        commands, pen = [], "M"
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            if math.isfinite(b):
                commands.append(f"{pen}{self.x(a):.1f} {self.y(min(max(b, low), high)):.1f}")
            pen = "L" if math.isfinite(b) else "M"
        return f'<path d="{"".join(commands)}" class="line {kind}"/>'

    def band(self, start: float, stop: float, kind: str) -> str:
        """Shade a stretch of x."""
        a, b = self.x(start), self.x(stop)
        return f'<rect x="{a:.1f}" y="{self.top:.1f}" width="{b - a:.1f}" height="{self.height:.1f}" class="{kind}"/>'

    def bar(self, x: float, width: float, value: float, kind: str, said: str) -> str:
        """An upright bar from 0, centred on x; width in units of x; `said` shows when the pointer rests on it."""
        left, right, top, foot = self.x(x - width / 2), self.x(x + width / 2), self.y(value), self.y(0)
        return (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{max(foot - top, 0):.1f}"'
            f' class="{kind}"><title>{escape(said)}</title></rect>'
        )

    def labels_above(self, items: Sequence[tuple[float, str, str]]) -> list[str]:
        """(x, words, kind) in a row above the panel, as many as have room; the first ones have the right of way."""
        taken: list[tuple[float, float]] = []
        parts = []
        for at, words, kind in items:
            x, half = self.x(at), LETTER_PX * len(words) / 2 + 1.5
            if all(x + half <= low or x - half >= high for low, high in taken):
                taken.append((x - half, x + half))
                parts.append(text(x, self.top - 6, words, kind, "middle"))
        return parts


def cells(table: np.ndarray, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> str:
    """(2,2) values as squares, the darker the nearer to 1, each with its share below it."""
    left, top, wide, tall, gap = 138.0, 52.0, 118.0, 74.0, 4.0
    parts = [text(left + wide + gap / 2, 16, title, "name", "middle")]
    for j, column in enumerate(columns):
        parts.append(text(left + j * (wide + gap) + wide / 2, top - 10, column, "label", "middle"))
    for i, row in enumerate(rows):
        y = top + i * (tall + gap)
        parts.append(text(left - 10, y + tall / 2 + 4, row, "label", "end"))
        for j in range(len(columns)):
            x, value, share = left + j * (wide + gap), float(table[i, j]), float(shares[i, j])
            strength = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
            shade = " light" if strength > 0.6 else ""
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:g}" height="{tall:g}" rx="3" class="panel"/>'
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:g}" height="{tall:g}" rx="3" class="cell"'
                f' fill-opacity="{0.06 + 0.86 * strength:.2f}"/>'
            )
            parts.append(text(x + wide / 2, y + tall / 2 + 2, _figure(value), f"value{shade}", "middle"))
            parts.append(text(x + wide / 2, y + tall / 2 + 22, f"share {_figure(share)}", f"tick{shade}", "middle"))
    return drawing(left + 2 * wide + gap + 6, top + 2 * tall + gap + 6, parts, f"{title}: disentanglement table")


def _figure(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
