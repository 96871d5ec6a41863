"""Principal components of a dense clip, for formats that animate by morph targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from meshtalk.clip import Clip

TOLERANCE_M = 5e-5
"""No vertex of any frame is farther than this from where it was."""
_FRAMES_AT_ONCE = 128


def components(clip: Clip, keys: np.ndarray, tolerance_m: float = TOLERANCE_M) -> tuple[np.ndarray, np.ndarray]:
    """The fewest leading components that keep every vertex within the tolerance.

    The frames are read in pieces, so that a long clip need not fit in memory. Each piece first adds the directions
    the earlier ones lack; then all are turned to principal axes and as many are dropped as the tolerance lets.

    Args:
        keys: (n,) frames to describe.

    Returns:
        weights (n,K) float32 in [-1,1] and shapes (K,V,3) float32 metres: displacement = weights · shapes.
    """
    directions = np.zeros((0, clip.topology.n_vertices * 3))
    for piece in _pieces(clip, keys):
        rest = piece - (piece @ directions.T) @ directions
        if _error_m(rest) > tolerance_m / 2:
            values, vectors = np.linalg.eigh(rest @ rest.T)
            new = (vectors[:, ::-1] / np.sqrt(np.maximum(values[::-1], 1e-30))).T @ rest
            count = 0
            while count < len(new) and _error_m(rest) > tolerance_m / 2:
                rest -= np.outer(rest @ new[count], new[count])
                count += 1
            # orthogonal to the earlier ones again, in spite of rounding
            directions = np.linalg.qr(np.concatenate([directions, new[:count]]).T)[0].T
    weights = np.concatenate([piece @ directions.T for piece in _pieces(clip, keys)])
    axes = np.linalg.eigh(weights.T @ weights)[1][:, ::-1] if len(directions) else np.zeros((0, 0))
    weights, directions = weights @ axes, axes.T @ directions
    too_few, enough = -1, len(directions)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        pieces = zip(_pieces(clip, keys), np.array_split(weights, _cuts(len(keys))), strict=True)
        if all(_error_m(piece - w[:, :middle] @ directions[:middle]) <= tolerance_m for piece, w in pieces):
            enough = middle
        else:
            too_few = middle
    weights, directions = weights[:, :enough], directions[:enough]
    scale = np.abs(weights).max(0) if enough else np.zeros(0)
    shapes = (directions * scale[:, None]).reshape(enough, clip.topology.n_vertices, 3)
    return (weights / scale).astype(np.float32), shapes.astype(np.float32)


def error_m(clip: Clip, keys: np.ndarray, weights: np.ndarray, shapes: np.ndarray) -> float:
    """Metres: the longest way of a vertex of the frames in `keys` (n,) from weights (n,K) · shapes (K,V,3) to where it was."""
    flat = shapes.reshape(len(shapes), clip.topology.n_vertices * 3)
    pieces = zip(_pieces(clip, keys), np.array_split(weights, _cuts(len(keys))), strict=True)
    return max(_error_m(piece - w @ flat) for piece, w in pieces)


def _cuts(n_frames: int) -> np.ndarray:
    return np.arange(_FRAMES_AT_ONCE, n_frames, _FRAMES_AT_ONCE)


def _pieces(clip: Clip, keys: np.ndarray) -> Iterator[np.ndarray]:
    """(≤n,3V) float64 displacements of the frames in `keys`."""
    for piece in np.array_split(keys, _cuts(len(keys))):
        # run by run: with few valid frames those between the first and the last may be the whole clip
        runs = np.split(piece, np.flatnonzero(np.diff(piece) != 1) + 1)
        frames = np.concatenate([clip.displacements(int(run[0]), int(run[-1]) + 1) for run in runs])
        yield frames.reshape(len(frames), -1).astype(np.float64)


def _error_m(rest: np.ndarray) -> float:
    """Longest vertex error in (n,3V) residuals."""
    return float(np.sqrt((rest.reshape(len(rest), -1, 3) ** 2).sum(2).max()))
