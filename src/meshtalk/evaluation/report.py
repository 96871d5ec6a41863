"""Report: the figures of one system, and tables of several side by side for people and for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.errors import InputError
from meshtalk.evaluation.aggregate import MEASURES, Estimate
from meshtalk.evaluation.score import Curves
from meshtalk.files import atomic

REGIONS = ("mouth", "upper face")
SWAPPED = ("audio", "expression")
SHARE = "share: of the signal's whole change in mm"


@dataclass(frozen=True)
class Report:
    """Scores of one system on one set of clips, with the provenance of the data."""

    system: str
    data: str
    """Name of the corpus or of the recordings."""
    split: str
    seed: int
    n_clips: int
    seconds: float
    """Seconds of motion measured."""
    topology_hash: str
    region_hash: str
    measures: Mapping[str, Estimate]
    """Key of MEASURES → figure and interval."""
    swap: np.ndarray | None = None
    """(2,2) `metrics.swap_table`: rows audio, expression swapped; columns mouth, upper face."""
    true_swap: np.ndarray | None = None
    """The same of the truth: the right answer for `swap`."""
    swap_shares: np.ndarray | None = None
    """(2,2) `metrics.swap_shares`, rows and columns as in `swap`."""
    true_swap_shares: np.ndarray | None = None
    """The same of the truth."""
    heads: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Per code head: classes_used, entropy_nats, nll_nats."""
    clips: Sequence[Mapping[str, Any]] = ()
    """One mapping a clip: its id and labels, and its own value of each measure."""
    curves: Sequence[Curves] = ()
    """Of each clip, in the order of `clips`: for plots, not part of the JSON."""
    model_hash: str = ""
    """Hash of the model's config and weights; empty for other systems."""

    def __getitem__(self, key: str) -> float:
        """The value of a measure; NaN when it was not measured."""
        found = self.measures.get(key)
        return math.nan if found is None else found.value

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes null, and every measure states its unit as stored in its key."""
        return _plain(
            {
                "system": self.system,
                "data": self.data,
                "split": self.split,
                "seed": self.seed,
                "n_clips": self.n_clips,
                "seconds": round(self.seconds, 3),
                "topology_hash": self.topology_hash,
                "region_hash": self.region_hash,
                "model_hash": self.model_hash,
                "measures": {key: figure._asdict() for key, figure in self.measures.items()},
                "swap_rows_audio_expression_columns_mouth_upper": self.swap,
                "true_swap": self.true_swap,
                "swap_shares": self.swap_shares,
                "true_swap_shares": self.true_swap_shares,
                "heads": self.heads,
                "clips": self.clips,
            }
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(reports: Sequence[Report], path: str | Path) -> None:
    """Write the reports as one JSON file atomically.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic(path) as temporary:
        text = json.dumps([report.to_dict() for report in reports], indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def table(reports: Sequence[Report]) -> str:
    """Plain text with aligned columns: one row a measure, one column a system, ± half the 95 % interval.

    Raises:
        InputError: no reports, or they measured different clips or regions.
    """
    rows = [["measure", "unit", *(report.system for report in reports)]]
    rows += _figure_rows(reports, " ± ")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        return "  ".join(left + right).rstrip()

    lines = [_heading(reports), "", line(rows[0]), "  ".join("-" * width for width in widths)]
    lines += [line(row) for row in rows[1:]]
    swaps = _swap_rows(reports)
    if swaps:
        lines += ["", f"Disentanglement: change of a region when a signal is swapped / its natural change; {SHARE}"]
        wide = max(len(row[0]) for row in swaps)
        lines += ["  ".join([row[0].ljust(wide), *(cell.rjust(12) for cell in row[1:])]) for row in swaps]
    return "\n".join(lines) + "\n"


def markdown(reports: Sequence[Report]) -> str:
    """The same as a Markdown table, for docs/results.md.

    Raises:
        InputError: no reports, or they measured different clips or regions.
    """
    head = ["measure", "unit", *(report.system for report in reports)]
    lines = [_heading(reports), "", _md(head), "|---|---|" + "---:|" * len(reports)]
    lines += [_md(row) for row in _figure_rows(reports, " ± ")]
    swaps = _swap_rows(reports)
    if swaps:
        lines += [
            "",
            f"Disentanglement: change of a region when a signal is swapped, over its natural change; {SHARE}.",
            "",
        ]
        lines += [_md(swaps[0]), "|---|" + "---:|" * (len(swaps[0]) - 1)]
        lines += [_md(row) for row in swaps[1:]]
    return "\n".join(lines) + "\n"


def _md(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _heading(reports: Sequence[Report]) -> str:
    """One line with what was measured, the same for all reports."""
    told = about(reports)
    model = f"; model {told['model']}" if "model" in told else ""
    return (
        f"{told['data']}, split {told['split']}: {told['clips']} clips, {told['seconds']} s; seed {told['seed']}; "
        f"topology {told['topology']}, regions {told['regions']}{model}"
    )


def about(reports: Sequence[Report]) -> dict[str, str]:
    """What was measured, the same for all reports: data, split, clips, seconds, seed, topology, regions, model.

    Raises:
        InputError: no reports, or they measured different clips or regions.
    """
    if not reports:
        raise InputError("there are no reports to put in a table")
    first = reports[0]
    said = {(r.data, r.split, r.topology_hash, r.region_hash, r.n_clips) for r in reports}
    if len(said) > 1:
        raise InputError("these reports measured different clips or regions; one table can hold only equal ones")
    found = {
        "data": first.data,
        "split": first.split,
        "clips": str(first.n_clips),
        "seconds": f"{first.seconds:.0f}",
        "seed": ", ".join(str(seed) for seed in sorted({report.seed for report in reports})),
        "topology": first.topology_hash,
        "regions": first.region_hash,
    }
    models = {report.model_hash: f"{report.model_hash} ({report.system})" for report in reports if report.model_hash}
    return found | ({"model": ", ".join(models.values())} if models else {})


def _figure_rows(reports: Sequence[Report], plus_minus: str) -> list[list[str]]:
    rows = []
    for key, measure in MEASURES.items():
        if any(key in report.measures for report in reports):
            cells = [figure_text(key, report.measures.get(key), plus_minus) for report in reports]
            rows.append([measure.label, measure.unit, *cells])
    return rows


def figure_text(key: str, figure: Estimate | None, plus_minus: str = " ± ") -> str:
    """A figure as a table shows it: scaled to its unit, with half the width of its interval; "-" for none."""
    if figure is None or math.isnan(figure.value):
        return "-"
    measure = MEASURES[key]
    text = f"{round(figure.value * measure.scale, measure.decimals) + 0.0:.{measure.decimals}f}"
    half = (figure.high - figure.low) / 2 * measure.scale
    return f"{text}{plus_minus}{half:.{measure.decimals}f}" if math.isfinite(half) and half > 0 else text


def _swap_rows(reports: Sequence[Report]) -> list[list[str]]:
    """Header and rows of the disentanglement tables, the truth's first: changes, then shares."""
    found = swaps(reports)
    if not found:
        return []
    rows = [["swapped → region", *found]]
    for kind, said in ((0, ""), (1, ", share")):
        for i, swapped in enumerate(SWAPPED):
            for j, region in enumerate(REGIONS):
                rows.append([f"{swapped} → {region}{said}", *(f"{both[kind][i, j]:.2f}" for both in found.values())])
    return rows


def swaps(reports: Sequence[Report]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """System → its (2,2) swap table and shares, the truth's first; none where nothing was swapped."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for report in reports:
        if report.true_swap is not None and report.true_swap_shares is not None:
            found["truth"] = report.true_swap, report.true_swap_shares
    for report in reports:
        if report.swap is not None and report.swap_shares is not None:
            found[report.system] = report.swap, report.swap_shares
    return found
