"""LVE, FDD and MVE in the form of the papers after MeshTalk, in the coordinates of the data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.measures import metrics, tracks


class PeersForm(NamedTuple):
    """Measures that compare with published ones; `unit` is the data set's own (FLAME's is the metre)."""

    lve: float
    """unit²: per frame the largest SQUARED L2 error of a lip vertex, mean over all frames of all sequences."""
    fdd: float
    """unit²: upper-face dynamics, true minus predicted (see `metrics.fdd_m2`), SIGNED mean over sequences."""
    abs_fdd: float
    """unit²: the same without signs, so that too much motion here does not make up for too little there."""
    mve: float
    """unit: mean L2 error over all vertices of all frames of all sequences."""


def peers_form(pairs: Iterable[tuple[Clip, Clip]], metres_per_unit: float = 1.0) -> PeersForm:
    """LVE, FDD and MVE of a test set, as FaceFormer, CodeTalker and their successors define them.

    Args:
        pairs: (predicted, true) clips, one pair per sequence; may be a generator. Lips and upper
            face are the topology's regions "lips" and "upper_face": published figures need the published masks.
        metres_per_unit: factor from the data set's coordinates to metres.

    Raises:
        InputError: no pairs, a scale that is not positive, or clips of another topology, rate or length.
    """
    if not (np.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise InputError(f"metres_per_unit must be positive, got {metres_per_unit}. Try 1, or 0.001 for millimetres.")
    squared_sum_m2, error_sum_m, frames = 0.0, 0.0, 0
    dynamics_m2: list[float] = []
    for predicted, true in pairs:
        predicted, true = tracks.aligned(predicted, true, "the prediction")
        seen = np.ones(true.n_frames, bool) if true.valid is None else true.valid
        if not seen.any():
            continue
        lips, upper = (true.topology.indices(region) for region in ("lips", "upper_face"))
        ours, theirs = (
            {name: tracks.positions(clip, where)[seen] for name, where in (("lips", lips), ("upper", upper))}
            for clip in (predicted, true)
        )
        of_clip_m, n_frames = tracks.vertex_error_sums_m(predicted, true, seen)
        squared_sum_m2 += metrics.lve_squared_m2([(ours["lips"], theirs["lips"])]) * n_frames
        dynamics_m2.append(metrics.fdd_m2(ours["upper"], theirs["upper"], true.template[upper]))
        error_sum_m, frames = error_sum_m + of_clip_m, frames + n_frames
    if not frames:
        raise InputError("pairs must have at least one predicted and true clip, got none")
    return PeersForm(
        lve=squared_sum_m2 / frames / metres_per_unit**2,
        fdd=float(np.mean(dynamics_m2)) / metres_per_unit**2,
        abs_fdd=float(np.abs(dynamics_m2).mean()) / metres_per_unit**2,
        mve=error_sum_m / frames / metres_per_unit,
    )
