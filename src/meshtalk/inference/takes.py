"""Takes of one line: measured, ranked, and written with a contact sheet and a page to choose from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.contact_sheet import contact_sheet
from meshtalk.export.html import PAGE, write_player
from meshtalk.files import atomic_folder, check_folder
from meshtalk.measures import metrics, sync, tracks
from meshtalk.mesh.topology import Topology, lip_opening_m

ON_THE_PAGE = 4
"""Number of takes that the page shows side by side."""


@dataclass(frozen=True)
class RankedClip:
    """A take and the measures that rank it."""

    clip: Clip
    seed: int
    loudness_r: float
    """Lip sync: correlation of lip opening and loudness."""
    upper_motion_mm: float
    """Liveliness: root-mean-square motion of the upper face about its mean."""
    blinks_per_min: float | None
    """None where eyelids cannot be measured."""
    jitter_mm: float
    """Of all vertices of mouth and upper face, mm per frame cubed."""
    place: float = 0.0
    """Mean rank by lip sync, liveliness (more is better) and jitter (less is better); 1 is best."""

    def numbers(self) -> dict[str, Any]:
        """All fields but the clip, for JSON."""
        told = {key: value for key, value in vars(self).items() if key != "clip"}
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}


def check_takes(folder: Path, topology: Topology) -> None:
    """Check early that `rank` and `write_takes` can succeed.

    Raises:
        InputError: the folder cannot be created, the topology lacks regions or inner lips, or the `media` extra or the
            player page is missing.
    """
    check_folder(folder)
    for region in ("upper_face", "mouth"):
        topology.region(region)
    lip_opening_m(np.zeros((topology.n_vertices, 3), np.float32), topology)
    try:
        import_module("PIL")
    except ImportError:
        raise InputError("a contact sheet needs Pillow (not installed). Run pip install 'meshtalk[media]'.") from None
    if not PAGE.is_file():
        raise InputError(
            "takes are chosen on the player page, which is not in this installation"
            ". Run `pip install` for meshtalk's folder again, with access to the npm registry."
        )


def rank(clips: Sequence[Clip], seed: int) -> list[RankedClip]:
    """Rank takes `seed`, `seed`+1, … of one line, the best first; ties stay in order."""
    if not clips:
        return []
    measured = [_measured(clip, seed + index) for index, clip in enumerate(clips)]
    order = np.array([[-take.loudness_r, -take.upper_motion_mm, take.jitter_mm] for take in measured])
    places = 1 + (order[:, None] > order[None]).sum(1)  # (n,3): how many are better
    ranked = [replace(take, place=float(place)) for take, place in zip(measured, places.mean(1), strict=True)]
    return sorted(ranked, key=lambda take: take.place)


def _measured(clip: Clip, seed: int) -> RankedClip:
    fps = float(clip.fps)
    upper = tracks.positions(clip, clip.topology.indices("upper_face"))
    mouth = tracks.positions(clip, clip.topology.indices("mouth"))
    lids = tracks.eyelid_closure(clip)
    loudness = sync.loudness_correlation(tracks.opening_mm(clip), clip.audio, clip.sample_rate, fps)
    return RankedClip(
        clip=clip,
        seed=seed,
        loudness_r=float(np.nan_to_num(loudness)),
        upper_motion_mm=metrics.motion_variance_mm2(upper) ** 0.5,
        blinks_per_min=None if lids is None else len(sync.blinks(lids, fps)) / max(clip.duration_s / 60, 1e-9),
        jitter_mm=float(np.nan_to_num(metrics.jitter_mm(np.concatenate([upper, mouth], 1)))),
    )


def write_takes(folder: str | Path, takes: Sequence[RankedClip]) -> Path:
    """Write ranked takes to a new folder: a clip per take, `takes.json`, `contact_sheet.png` and `takes.html` of the best.

    Each clip records its settings: `meshtalk again` reproduces it.

    Raises:
        InputError: the folder is not empty, or cannot be created; no take, or one without frames.
    """
    names = {take.seed: f"take_{place}_seed_{take.seed}.npz" for place, take in enumerate(takes, 1)}
    with atomic_folder(folder) as temporary:
        for take in takes:
            take.clip.save(temporary / names[take.seed])
        told = [{"file": names[take.seed], **take.numbers()} for take in takes]
        (temporary / "takes.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        contact_sheet(
            {_label(place, take): take.clip for place, take in enumerate(takes, 1)}, temporary / "contact_sheet.png"
        )
        best = takes[:ON_THE_PAGE]
        write_player(
            temporary / "takes.html",
            [take.clip for take in best],
            [f"take {i}, seed {t.seed}" for i, t in enumerate(best, 1)],
        )
    return Path(folder)


def _label(place: int, take: RankedClip) -> str:
    blinks = "" if take.blinks_per_min is None else f"{take.blinks_per_min:.0f} blinks/min, "
    return (
        f"{place}: seed {take.seed}: lips and loudness r {take.loudness_r:.2f}, upper face {take.upper_motion_mm:.2f} mm, "
        f"{blinks}jitter {take.jitter_mm:.2f}"
    )


def table(takes: Sequence[RankedClip]) -> str:
    """The ranking as text, the best first."""
    rows: list[Mapping[str, Any]] = [take.numbers() for take in takes]
    head = "place  seed  lips and loudness r  upper face mm  blinks/min  jitter mm/frame³"
    lines = [
        f"{place:5d}  {row['seed']:4d}  {row['loudness_r']:19.3f}  {row['upper_motion_mm']:13.3f}  "
        + (f"{'-':>10}" if row["blinks_per_min"] is None else f"{row['blinks_per_min']:10.1f}")
        + f"  {row['jitter_mm']:16.3f}"
        for place, row in enumerate(rows, 1)
    ]
    return "\n".join([head, *lines])
