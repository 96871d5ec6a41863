"""docs/reproduction.md: the tables and plots of what `experiments/reproduce.py` measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _claims import LOOKAHEADS_MS, SEEDS, experiments

from meshtalk.files import atomic
from meshtalk.report_page import axes, palette, svg_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Told = Mapping[str, Any]
"""measures.json of one experiment."""
Pick = Callable[[Told], float]
COMMAND = (
    "    make train        # corpus/, if there is none yet\n"
    "    make reproduce    # hours on two cores; interrupt and run again to continue"
)


def figure(system: str, key: str, scale: float = 1.0) -> Pick:
    """How to find one measure of one system of an experiment."""
    return lambda told: told[system]["measures"].get(key, np.nan) * scale


def swap_cell(row: int, column: int, of: str = "swap") -> Pick:
    return lambda told: told["codes"][of][row][column]


def lids(name: str) -> Pick:
    return lambda told: told["eyelids"][name]


def cell(values: Sequence[float], decimals: int = 2) -> str:
    """Mean of the seeds that there are, and their range."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "-"
    spread = f" ({min(known):.{decimals}f}-{max(known):.{decimals}f})" if len(known) > 1 else ""
    return f"{np.mean(known):.{decimals}f}{spread}"


def seeds_table(found: Mapping[str, Told], columns: Mapping[str, str], rows: Mapping[str, tuple[Pick, int]]) -> str:
    """One column a kind of experiment, over its seeds; those that are not finished are left out."""
    told = {head: [found[f"{name}-{s}"] for s in SEEDS if f"{name}-{s}" in found] for head, name in columns.items()}
    told = {head: runs for head, runs in told.items() if runs}
    lines = ["| | " + " | ".join(f"{head}, n = {len(runs)}" for head, runs in told.items()) + " |"]
    lines.append("|---|" + "---:|" * len(told))
    for label, (pick, decimals) in rows.items():
        lines.append(
            f"| {label} | " + " | ".join(cell([pick(r) for r in runs], decimals) for runs in told.values()) + " |"
        )
    return "\n".join(lines) + "\n"


def sweep_table(
    found: Mapping[str, Told], head: str, runs: Mapping[Any, str], rows: Mapping[str, tuple[Pick, int]]
) -> str:
    """One line an experiment."""
    lines = [f"| {head} | " + " | ".join(rows) + " |", "|---:|" + "---:|" * len(rows)]
    for value, name in runs.items():
        if name in found:
            cells = (cell([pick(found[name])], decimals) for pick, decimals in rows.values())
            lines.append(f"| {value} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def systems_table(told: Told, rows: Mapping[str, tuple[str, int, float]]) -> str:
    """One column a system, of measures by key."""
    lines = ["| | " + " | ".join(told) + " |", "|---|" + "---:|" * len(told)]
    for label, (key, decimals, scale) in rows.items():
        cells = (cell([figure(name, key, scale)(told)], decimals) for name in told)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(
    path: Path, x: Sequence[float], curves: Mapping[str, Sequence[float]], x_label: str, y_label: str, *, log: bool
) -> None:
    """An SVG of one or two curves over measured points."""
    places = np.log2(np.array(x, float)) if log else np.array(x, float)
    room = 0.08 * (np.ptp(places) or 1)
    most = 1.15 * float(np.nanmax(np.array(list(curves.values()), float)))

    def draw(figure: Figure) -> None:
        colours = palette()
        figure.set_facecolor(colours["paper"])
        panel = axes(
            figure, (64, 30, 540, 216), (places.min() - room, places.max() + room), (0.0, most), y_label, x_label
        )
        panel.set_xticks(places, [f"{value:g}" for value in x])
        for (name, curve), colour in zip(curves.items(), ("ours", "nearest"), strict=False):
            panel.plot(places, curve, "o-", lw=2, ms=6, mfc=colours["paper"], color=colours[colour], label=name)
        figure.legend(loc=(0.1, 0.92), ncols=2, frameon=False)

    with atomic(path) as temporary:
        temporary.write_text(svg_file(draw, 620, 300), encoding="utf-8")


SWAP_ROWS = {
    "sound swapped → mouth": (swap_cell(0, 0), 2), "sound swapped → upper face": (swap_cell(0, 1), 2),
    "expression swapped → mouth": (swap_cell(1, 0), 2), "expression swapped → upper face": (swap_cell(1, 1), 2),
}  # fmt: skip
CODES_ROWS = {
    "lip error of decoded codes, mm": (figure("codes", "lip_error_mm"), 2),
    "vertex error of decoded codes, mm": (figure("codes", "mve_mm"), 2),
}
PRIOR_ROWS = {
    "held-out NLL, nats a frame": (figure("sampled", "nll_nats"), 2), "perplexity": (figure("sampled", "perplexity"), 2),
}  # fmt: skip
SAMPLED_ROWS = {
    "sampled: LVE, mm": (figure("sampled", "lve_mm"), 2), "sampled: lip opening r": (figure("sampled", "opening_r"), 3),
    "sampled: closed at p b m": (figure("sampled", "closure_rate"), 2),
}  # fmt: skip
SYSTEM_ROWS = {
    "LVE, mm": ("lve_mm", 2, 1.0), "lip error, mm": ("lip_error_mm", 2, 1.0), "\\|FDD\\|, 1e-6 m²": ("abs_fdd_m2", 2, 1e6),
    "upper-face motion / truth's": ("upper_motion_ratio", 2, 1.0), "lips closed at p b m": ("closure_rate", 2, 1.0),
    "lips closed at k g h n t d l": ("false_closure_rate", 2, 1.0), "lip opening r": ("opening_r", 3, 1.0),
    "jitter / truth's": ("jitter_ratio", 2, 1.0),
}  # fmt: skip


def sections(found: Mapping[str, Told], shipped: Told, images: Path) -> list[str]:
    """All sections of the page; plots are written into `images`."""
    return [
        disentanglement(found), eyelid_term(found), code_sizes(found, images), mask(found),
        *finished_model(shipped), look_ahead(found, images),
    ]  # fmt: skip


def disentanglement(found: Mapping[str, Told]) -> str:
    true = next((told["codes"]["true_swap"] for told in found.values() if "codes" in told), None)
    own = "" if true is None else ", ".join(f"{value:.2f}" for value in np.array(true).ravel())
    kinds = {"cross-modality": "base", "reconstruction only": "plain", "eqs. 4 and 5 alone": "paper_loss"}
    return (
        "## (a) Cross-modality loss against reconstruction alone\n\n"
        "Change of a region when a signal is swapped, over its natural change: the latents should be disentangled as the "
        f"corpus is, whose own table is {own}, in the order of the rows.\n\n"
        + seeds_table(found, kinds, {**SWAP_ROWS, **CODES_ROWS, **PRIOR_ROWS, **SAMPLED_ROWS})
    )


def eyelid_term(found: Mapping[str, Told]) -> str:
    rows = {
        "lids, true sound, mm": (lids("true sound, mm"), 3), "in blinks": (lids("true sound, in blinks, mm"), 3),
        "lids, other sound, mm": (lids("other sound, mm"), 3), "in blinks ": (lids("other sound, in blinks, mm"), 3),
        "closure of the lids, other sound, r": (lids("other sound, closure r"), 3),
    }  # fmt: skip
    return (
        "## (b) With and without the eyelid term\n\nError of the lids' vertices, mean and in blinks, decoded with the true "
        "sound and with another clip's.\n\n" + seeds_table(found, {"with eq. 5": "base", "without": "no_eyelid"}, rows)
    )


def code_sizes(found: Mapping[str, Told], images: Path) -> str:
    heads = {n: "base-0" if n == 16 else f"heads_{n}-0" for n in (4, 8, 16, 32, 64)}
    classes = {n: "base-0" if n == 32 else f"classes_{n}-0" for n in (8, 32, 128)}
    rows: dict[str, tuple[Pick, int]] = {
        **CODES_ROWS, **PRIOR_ROWS, "nats a head": (lambda told: np.log(figure("sampled", "perplexity")(told)), 2),
        "classes used": (figure("codes", "classes_used"), 1),
    }  # fmt: skip
    text = (
        f"## (c) Heads and classes\n\n{sweep_table(found, 'H (C = 32)', heads, rows)}\n"
        f"{sweep_table(found, 'C (H = 16)', classes, rows)}"
    )
    known = [n for n, name in heads.items() if name in found]
    if len(known) < 2:
        return text
    curves = {
        "lip error of decoded codes, mm": [figure("codes", "lip_error_mm")(found[heads[n]]) for n in known],
        "perplexity": [figure("sampled", "perplexity")(found[heads[n]]) for n in known],
    }
    plot(images / "reproduction_heads.svg", known, curves, "heads H (C = 32)", "mm; perplexity", log=True)
    return text + "\n![errors and perplexity against the number of heads](images/reproduction_heads.svg)\n"


def mask(found: Mapping[str, Told]) -> str:
    rows = {**PRIOR_ROWS, "NLL of head 0, nats": (figure("sampled", "nll_head0_nats"), 2), **SAMPLED_ROWS}
    return (
        "## (d) The official release's strict mask\n\nSame encoder, same codes, same training; in the strict prior no sound "
        "and no history reaches the first head.\n\n" + seeds_table(found, {"ours": "base", "strict": "strict"}, rows)
    )


def finished_model(shipped: Told) -> list[str]:
    parts = []
    if {"ways", "ten"} <= shipped.keys():
        ten = ", ".join(f"{name.removesuffix(', mm')} {value:.2f} mm" for name, value in shipped["ten"].items())
        parts.append(
            "## (e) Sampled, most likely, or the mean of ten\n\nThe shipped model.\n\n"
            f"{systems_table(shipped['ways'], SYSTEM_ROWS)}\nTen samples of each clip, LVE and distances: {ten}.\n"
        )
    if "systems" in shipped:
        parts.append(
            "## (f) Against simple answers to the same sound\n\nThe shipped model. The regressor has the same audio "
            "encoder and was trained for as many steps as stage 1.\n\n" + systems_table(shipped["systems"], SYSTEM_ROWS)
        )
    return parts


def look_ahead(found: Mapping[str, Told], images: Path) -> str:
    runs = {ms: f"lookahead_{ms}-0" for ms in LOOKAHEADS_MS}
    rows = {
        "lip error, mm": (figure("heard", "lip_error_mm"), 2), "LVE, mm": (figure("heard", "lve_mm"), 2),
        "lip opening r": (figure("heard", "opening_r"), 3), "closed at p b m": (figure("heard", "closure_rate"), 2),
        "falsely closed": (figure("heard", "false_closure_rate"), 2),
    }  # fmt: skip
    text = (
        "## (g) Look-ahead\n\nAudio regression alone, so that only hearing counts; 22 ms is the least there is (a hop to "
        f"interpolate with and half an analysis window), and belongs to 0.\n\n{sweep_table(found, 'ms', runs, rows)}"
    )
    known = [ms for ms, name in runs.items() if name in found]
    if len(known) < 2:
        return text
    curves = {
        name: [figure("heard", key)(found[runs[ms]]) for ms in known]
        for name, key in (("LVE, mm", "lve_mm"), ("lip error, mm", "lip_error_mm"))
    }
    plot(images / "reproduction_lookahead.svg", known, curves, "look-ahead, ms", "mm", log=False)
    return text + "\n![lip error against look-ahead](images/reproduction_lookahead.svg)\n"


def write_page(found: Mapping[str, Told], shipped: Told, reading: str, output: Path) -> Path:
    """Write docs/reproduction.md and its plots."""
    base = experiments()[1].training
    missing = [e.name for e in experiments() if e.name not in found]
    about = (
        "Embedded corpus, test split (voices, sentences and people unseen in training), 48 clips. The paper's method on the "
        f"compact preset's sizes with {base.stage1.steps} steps of stage 1 and {base.stage2.steps} of stage 2, a fraction of the "
        "shipped model's: figures compare with each other, not with [results.md](results.md). Seeds change weights and batches; "
        "n is how many there are, and their range stands in brackets."
    )
    if missing:
        about += f" Not run yet: {', '.join(missing)}."
    (output / "images").mkdir(parents=True, exist_ok=True)
    text = "\n".join([
        "# The paper's claims, tried again\n",
        "<!-- written by experiments/reproduce.py: edit docs/reproduction_reading.md, not this -->\n",
        reading.strip() + "\n" if reading else "", f"## How it was run\n\n{about}\n\n{COMMAND}\n",
        *sections(found, shipped, output / "images"),
    ])  # fmt: skip
    with atomic(output / "reproduction.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return output / "reproduction.md"
