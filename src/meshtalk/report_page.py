"""Self-contained HTML pages of reports: template and style, and matplotlib figures as SVG in their colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from meshtalk.assets import asset
from meshtalk.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = asset("page.css")
MISSING = "plots need matplotlib (not installed). Run pip install 'meshtalk[report]'."
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of a page, which runs nothing and loads nothing, whatever a corpus's names bring into it."""
PX_PER_INCH = 72.0
"""Of the drawings: matplotlib's points are their pixels."""


def check_plots() -> None:
    """Check early that plots can be drawn.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(MISSING) from None


def page_text(title: str, body: Iterable[str]) -> str:
    """An HTML document.

    Args:
        title: plain text; it is also the heading.
        body: HTML elements.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def note(words: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="note">{escape(words)}</p>'


def facts(items: Mapping[str, str]) -> str:
    """A box of names and their values; values of more than 60 letters have a row of their own."""
    rows = (
        f'<div class="{"whole" if len(value) > 60 else ""}"><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
        for name, value in items.items()
    )
    return f'<dl class="about">{"".join(rows)}</dl>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """(CSS class, words) of each kind of mark in a plot."""
    marks = "".join(f'<span><i class="{kind}"></i>{escape(words)}</span>' for kind, words in entries)
    return f'<div class="legend">{marks}</div>'


def wide(drawing: str) -> str:
    """A drawing over the page's whole width, which scrolls on small screens."""
    return f'<figure class="wide">{drawing}</figure>'


# ---------------------------------------------------------------------------------------------------------- plots


@cache
def palette() -> Mapping[str, str]:
    """Name → colour, as page.css has them for light screens; a page of its own knows the dark ones by the same names."""
    root = STYLE.read_text(encoding="utf-8").split("}")[0]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", root))


def drawing(draw: Callable[[Figure], None], width_px: float, height_px: float, label: str) -> str:
    """An SVG element for `page_text`, with text as text and the page's colours; the same bytes for the same plot.

    An artist's gid becomes its CSS class; what follows a | in it is shown while the pointer rests on the artist.

    Args:
        draw: puts axes into a figure.
        label: says to those who cannot see it what it shows.

    Raises:
        InputError: matplotlib is missing.
    """
    text = svg_file(draw, width_px, height_px)
    text = text[text.index(">", text.index("<svg")) + 1 :]
    text = re.sub(r"\s*<(defs|metadata)>.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' clip-path="[^"]*"', "", text)  # nothing is drawn beyond its axes
    text = re.sub(r' id="[^"]*_\d+"', "", text)  # matplotlib's own, which would stand on the page twice
    text = re.sub(r'<g id="([^"|]*)\|([^"]*)">', r'<g class="\1"><title>\2</title>', text)
    text = re.sub(r' id="([^"]*)"', r' class="\1"', text)
    text = re.sub(r' d="[^"]*"', _shorter, text)
    text = re.sub(r"\n\s*", "\n", text)
    for name, colour in palette().items():
        text = text.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {width_px:g} {height_px:g}" role="img" aria-label="{escape(label)}">{text.rstrip()}'


def svg_file(draw: Callable[[Figure], None], width_px: float, height_px: float) -> str:
    """The text of an SVG file with the same plot in the colours of light screens, on nothing.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(MISSING) from None
    file = io.StringIO()
    with style.context(["default", _settings()]):
        figure = Figure((width_px / PX_PER_INCH, height_px / PX_PER_INCH), PX_PER_INCH)
        draw(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def axes(
    figure: Figure, box_px: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float],
    y_label: str, x_label: str = "", *, x_ticks: int = 14, y_ticks: int = 5,
) -> Axes:  # fmt: skip
    """A panel with a grid; no numbers along x without `x_label`.

    Args:
        box_px: left, top, width, height.
        x, y: range of the axis.
        x_ticks, y_ticks: round numbers on the axis, so many at most.
    """
    from matplotlib.ticker import MaxNLocator

    wide, tall = figure.get_size_inches() * PX_PER_INCH
    left, top, width, height = box_px
    made = figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))
    made.set(xlim=x, ylim=y, xlabel=x_label)
    made.set_ylabel(y_label).set_gid("label")
    made.yaxis.set_label_coords(-40 / width, 0.5)
    for axis, count in ((made.xaxis, x_ticks), (made.yaxis, y_ticks)):
        axis.set_major_locator(MaxNLocator(max(count - 1, 1), steps=[1, 2, 5, 10]))
        axis.set_major_formatter("{x:g}")
    made.tick_params(labelbottom=bool(x_label))
    return made


def _settings() -> dict[str, object]:
    colours = palette()
    return {
        "svg.fonttype": "none", "svg.hashsalt": "meshtalk", "text.parse_math": False, "path.simplify": False,
        "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "font.size": 12.0,
        "figure.facecolor": "none", "axes.facecolor": colours["panel"], "text.color": colours["ink"],
        "axes.labelcolor": colours["soft"], "axes.labelsize": 12.0, "axes.labelpad": 6.0,
        "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": colours["line"], "grid.linewidth": 1.0,
        "lines.linewidth": 1.4, "lines.solid_capstyle": "butt", "patch.linewidth": 0.0,
        **{f"{axis}tick.{key}": value for axis in "xy" for key, value in {
            "labelsize": 11.5, "labelcolor": colours["soft"], "major.size": 0.0, "major.pad": 6.0}.items()},
    }  # fmt: skip


def _shorter(path: re.Match[str]) -> str:
    """The same path, its numbers to a tenth of a pixel."""
    tenths = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", path[0])
    return re.sub(r"\s*([MLz])\s*", r"\1", tenths)
