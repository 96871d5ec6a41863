"""Measures of meshes, samples and codes: pure functions of arrays, importing nothing of meshtalk.

Legend: T frames, n vertices of a region, N samples of one clip, H code heads, C classes a head. Positions are
metres and every result is millimetres unless its name says otherwise. A frame that capture missed must be
left out by the caller (position errors) or passed as `valid` (measures over time).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MM = 1e3


def _same_shape(predicted: np.ndarray, true: np.ndarray) -> None:
    if predicted.shape != true.shape or predicted.ndim != 3 or predicted.shape[2] != 3:
        raise ValueError(f"positions must have equal shapes (T, n, 3), got {predicted.shape} and {true.shape}")


def squared_norm(vectors: np.ndarray) -> np.ndarray:
    """(...) squared length of (...,3) vectors; einsum is several times faster here than a sum over three."""
    return np.einsum("...c,...c->...", vectors, vectors)


# ---------------------------------------------------------------------------------- errors of position


def distances_m(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(T,n) metres: L2 distance of every vertex from its true place. Inputs (T,n,3) metres."""
    _same_shape(predicted, true)
    return np.sqrt(squared_norm(np.subtract(predicted, true, dtype=np.float64)))


def lve_per_frame_mm(predicted_lips: np.ndarray, true_lips: np.ndarray) -> np.ndarray:
    """(T,) mm: the largest L2 error of any lip vertex in each frame. Inputs (T,n,3) metres."""
    return distances_m(predicted_lips, true_lips).max(1) * MM


def lve_mm(predicted_lips: np.ndarray, true_lips: np.ndarray) -> float:
    """Lip vertex error as in MeshTalk: per frame the largest L2 error of a lip vertex, mean over frames."""
    return float(lve_per_frame_mm(predicted_lips, true_lips).mean())


def lve_squared_m2(sequences: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Lip vertex error in the form of FaceFormer and its successors, square metres.

    Per frame the largest SQUARED L2 error of any lip vertex, averaged over all frames of all sequences, so
    a long sequence weighs more than a short one.

    Args:
        sequences: pairs (predicted, true) of lip positions, each (T,n,3) metres.
    """
    return float(np.concatenate([distances_m(p, t).max(1) ** 2 for p, t in sequences]).mean())


def mve_mm(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean vertex error: mean L2 error over frames and vertices. Inputs (T,n,3) metres."""
    return float(distances_m(predicted, true).mean() * MM)


def eve_mm(predicted_upper: np.ndarray, true_upper: np.ndarray) -> float:
    """Eye and forehead error: per frame the largest L2 error of any of these vertices, mean over frames."""
    return float(distances_m(predicted_upper, true_upper).max(1).mean() * MM)


def fdd_m2(predicted_upper: np.ndarray, true_upper: np.ndarray, template_upper: np.ndarray) -> float:
    """Upper-face dynamics deviation of one sequence in CodeTalker's form, square metres, SIGNED.

    The standard deviation over time of each vertex's squared displacement from the template, mean over
    vertices, true minus predicted: positive means too little motion. Its absolute value is the |FDD| whose
    errors do not cancel between sequences.

    Args:
        predicted_upper: (T,n,3) metres.
        true_upper: (T,n,3) metres.
        template_upper: (n,3) metres.
    """
    _same_shape(predicted_upper, true_upper)

    def dynamics(positions: np.ndarray) -> float:
        moved = np.subtract(positions, template_upper, dtype=np.float64)
        return float(squared_norm(moved).std(0).mean())

    return dynamics(true_upper) - dynamics(predicted_upper)


# -------------------------------------------------------------------------------------- motion in time


def _difference(positions: np.ndarray, order: int, valid: np.ndarray | None) -> np.ndarray:
    """Finite difference over time, without the windows that touch an invalid frame."""
    difference = np.diff(positions.astype(np.float64), n=order, axis=0)
    if valid is None:
        return difference
    if len(valid) <= order:
        return difference[:0]
    return difference[np.lib.stride_tricks.sliding_window_view(valid, order + 1).all(1)]


def jitter_mm(positions: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean norm of the third finite difference, mm per frame cubed at the clip's own rate.

    Third differences ignore position, speed and acceleration; what is left is shaking. Real speech has
    some, so it is read against the truth's own. NaN for fewer than four frames.

    Args:
        positions: (T,n,3) metres.
        valid: (T,) bool, False where capture missed a frame.
    """
    third = _difference(positions, 3, valid)
    return float(np.sqrt(squared_norm(third)).mean() * MM) if len(third) else float("nan")


def frame_moves_mm(positions: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(T-1,) mm: the largest move of any vertex from frame to frame (fewer where frames are invalid)."""
    step = _difference(positions, 1, valid)
    return np.sqrt(squared_norm(step)).max(1) * MM if len(step) else np.zeros(0)


def popping_ratio(moves_mm: np.ndarray, true_moves_mm: np.ndarray) -> float:
    """The largest frame-to-frame move over the truth's 99.9th percentile: well above 1 means a pop somewhere.

    Args:
        moves_mm: from `frame_moves_mm`, of all clips together.
        true_moves_mm: the truth's, as `moves_mm`.
    """
    return float(np.max(moves_mm) / np.percentile(true_moves_mm, 99.9))


def motion_variance_mm2(positions: np.ndarray) -> float:
    """Variance over time, square mm: sum over x, y, z, mean over vertices. Input (T,n,3) metres."""
    return float(positions.astype(np.float64).var(0).sum(-1).mean() * MM**2)


def motion_ratio(predicted: np.ndarray, true: np.ndarray) -> float:
    """How much a region moves relative to the truth: ratio of RMS deviations over time (1 is right).

    0 for a frozen face, infinite (NaN if both) for a truth that does not move. Inputs (T,n,3) metres.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(np.divide(motion_variance_mm2(predicted), motion_variance_mm2(true))))


def motion_correlation(a: np.ndarray, b: np.ndarray, *, centred: bool = True) -> float:
    """Correlation of two motions of a region over time, all coordinates pooled; 0 if either does not move.

    1 when one is a scaled copy of the other. Inputs (T,n,3), any unit.

    Args:
        centred: about each motion's own mean, so that only change counts and offsets do not matter. False for
            displacements from a rest pose: a brow that both hold up the same way counts.
    """
    _same_shape(a, b)
    ours, theirs = (x.astype(np.float64) - (x.mean(0, dtype=np.float64) if centred else 0) for x in (a, b))
    size = np.sqrt(np.square(ours).sum() * np.square(theirs).sum())
    return float((ours * theirs).sum() / size) if size > 0 else 0.0


# -------------------------------------------------------------------------------------------- samplers


def best_of_n_lve_mm(samples: Sequence[np.ndarray], true_lips: np.ndarray) -> float:
    """Smallest LVE of any of N samples of one clip. Inputs N × (T,n,3) and (T,n,3) metres."""
    return min(lve_mm(sample, true_lips) for sample in samples)


def mean_of_n_lve_mm(samples: Sequence[np.ndarray], true_lips: np.ndarray) -> float:
    """Mean LVE over N samples of one clip. Inputs N × (T,n,3) and (T,n,3) metres."""
    return float(np.mean([lve_mm(sample, true_lips) for sample in samples]))


def diversity_mm(samples: Sequence[np.ndarray]) -> float:
    """Mean L2 distance of all pairs of samples, over frames and vertices. Input N ≥ 2 × (T,n,3) metres."""
    if len(samples) < 2:
        raise ValueError(f"pairs need at least two samples, got {len(samples)}")
    pairs = [mve_mm(a, b) for i, a in enumerate(samples) for b in samples[i + 1 :]]
    return float(np.mean(pairs))


def spread_ratio(samples: Sequence[np.ndarray], true: np.ndarray) -> float:
    """Calibration: mean distance between samples over their mean distance to the truth, 1 when calibrated.

    If the truth is one more draw from the sampler, both distances are the same on average. Below 1 the
    samples agree with each other more than with the truth (overconfident), above 1 they scatter too widely.
    """
    return diversity_mm(samples) / float(np.mean([mve_mm(sample, true) for sample in samples]))


# ----------------------------------------------------------------------------------------------- codes


def perplexity(nll_nats: np.ndarray) -> float:
    """exp of the mean negative log-likelihood. Input: nats per code (frames × heads, or a mean per head)."""
    return float(np.exp(np.mean(nll_nats)))


class CodeUse(NamedTuple):
    """How the code book is used, per head."""

    classes_used: np.ndarray
    """(H,) number of classes that occur at all."""
    entropy_nats: np.ndarray
    """(H,) entropy of the class frequencies."""
    dead_heads: int
    """Unused heads: exp(entropy) below 1.1, one class nearly always."""
    change_rate: float
    """Share of codes that differ from the frame before: near 0 frozen, near 1 noise."""


def code_use(sequences: Sequence[np.ndarray]) -> CodeUse:
    """Count the classes of code labels. Input: sequences of (T,H) int labels with the same H."""
    labels = np.concatenate(list(sequences))
    used: list[int] = []
    entropy: list[float] = []
    for head in labels.T:
        counts = np.unique(head, return_counts=True)[1]
        share = counts / counts.sum()
        used.append(len(counts))
        entropy.append(abs(float(-(share * np.log(share)).sum())))
    changes = np.concatenate([(s[1:] != s[:-1]).ravel() for s in sequences])
    return CodeUse(
        np.array(used),
        np.array(entropy),
        int(sum(np.exp(e) < 1.1 for e in entropy)),
        float(changes.mean()) if len(changes) else 0.0,
    )


# ------------------------------------------------------------------------------------- disentanglement


def region_change_mm(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Root mean square over frames and vertices of the weighted L2 difference of two motions, mm.

    Args:
        a: (T,n,3) metres.
        b: (T,n,3) metres.
        weights: (n,) region weights in [0,1].
    """
    _same_shape(a, b)
    squared = squared_norm(np.subtract(a, b, dtype=np.float64))  # (T,n)
    return float(np.sqrt((squared @ weights).mean() / weights.sum()) * MM)


def swap_table(changes_mm: np.ndarray, natural_mm: np.ndarray) -> np.ndarray:
    """(2,2) disentanglement table: rows audio swapped, expression swapped; columns mouth, upper face.

    Each cell is the mean change of a region when one signal is exchanged for another clip's, over the mean
    change of that region between the two true clips (both signals exchanged). So 1 means "this signal alone
    decides the region" and 0 "it has no say". A perfect model of a corpus in which audio moves only the mouth
    and expression only the upper face gives the identity; where emotion moves the mouth too, the right answer
    is the corpus's own table, made by exchanging the components its clips were summed from.

    Args:
        changes_mm: (P,2,2) of P pairs, `region_change_mm` [audio|expression swapped, mouth|upper face].
        natural_mm: (P,2) of the true clips [mouth, upper face].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(changes_mm, float).mean(0) / np.asarray(natural_mm, float).mean(0)[None, :]


def swap_shares(changes_mm: np.ndarray) -> np.ndarray:
    """(2,2) the same changes with rows normalised: how a signal's whole change, in mm, divides between the regions.

    Rows add to 1, and a perfect model gives the identity; NaN for a signal that changes nothing. Unlike `swap_table`
    it asks only where a signal acts, not whether it acts enough.

    Args:
        changes_mm: (P,2,2) as for `swap_table`.
    """
    mean = np.asarray(changes_mm, float).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean / mean.sum(1, keepdims=True)
