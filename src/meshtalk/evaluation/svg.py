"""Small plots as SVG text: panels of curves, bars of several kinds, shaded cells. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

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
