"""What the page of a report shows as pictures of numbers: a clip over time, code heads, disentanglement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from meshtalk.evaluation import svg, sync
from meshtalk.evaluation.report import REGIONS, SWAPPED, Report, swaps
from meshtalk.evaluation.score import Curves

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
    opening = svg.Panel(LEFT, 24, wide, 170, (0, duration_s), (lowest, highest))
    errors = [curves.lip_error_mm for _, curves in beside.values()] + [ours.lip_error_mm]
    largest = max((float(np.nanmax(error)) for error in errors if np.isfinite(error).any()), default=1.0)
    error = svg.Panel(LEFT, 212, wide, 110, (0, duration_s), (0, max(largest * 1.05, 1.0)))
    seconds = svg.ticks(0, duration_s, 14)
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
    return svg.drawing(WIDTH, 362, parts, f"{label}: lip opening and lip error of {name} over time")


def heads_plot(heads: Mapping[str, Sequence[float]]) -> str:
    """Per code head: classes used and their effective number, and how many nats the true code costs the prior."""
    count = len(next(iter(heads.values())))
    wide = (WIDTH - 2 * LEFT - 60) / 2
    parts: list[str] = []
    places = range(0, count, 1 if count <= 20 else -(-count // 16))
    if "classes_used" in heads:
        used, effective = np.asarray(heads["classes_used"]), np.exp(heads["entropy_nats"])
        panel = svg.Panel(LEFT, 10, wide, 200, (-0.6, count - 0.4), (0, float(used.max()) * 1.06))
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
        panel = svg.Panel(WIDTH - 10 - wide, 10, wide, 200, (-0.6, count - 0.4), (0, most))
        parts += panel.axes("nats a frame", "code head", places, upright=False)
        for head, cost in enumerate(nats.tolist()):
            parts.append(panel.bar(head, 0.8, cost, "bar nll", f"head {head}: {cost:.2f} nats a frame"))
        for head, blind in enumerate(entropy.tolist()):
            parts.append(panel.line(np.array([head - 0.4, head + 0.4]), np.full(2, blind), "entropy"))
    return svg.drawing(WIDTH, 252, parts, "use of the code heads and held-out negative log-likelihood per head")


def swap_plots(reports: Sequence[Report]) -> list[str]:
    """A table of cells for the truth and for each system that was swapped."""
    rows = [f"{signal} swapped" for signal in SWAPPED]
    return [svg.cells(table, shares, rows, REGIONS, name) for name, (table, shares) in swaps(reports).items()]
