"""Morph targets with weights in [0,1]: Blender clamps at the ends of a key's slider, Unity at 0 and 100."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from meshtalk.arkit.names import ABOVE, BELOW
from meshtalk.clip import Clip
from meshtalk.export.common import keys

UNFELT_M = 5e-6
"""Shapes that move no vertex farther than this get no target."""
OFFSET = "component_offset"


class Targets(NamedTuple):
    """Displacement of the frames that were captured = weights · shapes."""

    names: list[str]
    weights: np.ndarray
    """(n,K) float32 in [0,1], one row for each of `keys(clip)`."""
    shapes: list[np.ndarray]
    """K of (V,3) float32 metres; two may be the same array."""
    error_m: float
    """The longest way of any vertex of these frames to where it was."""


def targets(clip: Clip) -> Targets:
    """A clip's targets; all weights 0 are its neutral face.

    A linear clip of blendshapes keeps those that are ever used, under their own names and with their own weights as far as
    these are in [0,1]. What goes on below 0 is the opposite shape, NAME_below0, what goes on above 1 the shape once more,
    NAME_above1: at every time, between the keys too, their sum is the clip's motion. A dense clip, and one on a basis of
    numbered components, gets as few principal components as its error allows; each is counted from its lowest weight, and
    what all lowest weights make together is one more target, whose weight is always 1.

    Raises:
        InputError: no frame was captured.
    """
    names, weights, shapes = _blendshapes(clip) if is_named(clip) else _principal(clip)
    kept = keys(clip)
    flat = np.stack(shapes) if shapes else np.zeros((0, clip.topology.n_vertices, 3), np.float32)
    return Targets(names, weights, shapes, error_m(clip, kept, weights, flat))


def is_named(clip: Clip) -> bool:
    """Whether its motion is weights of blendshapes, and not of numbered components."""
    return clip.weights is not None and not all(name.startswith("component_") for name in clip.basis_names)


def used_shapes(clip: Clip) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of a linear clip: (n,K) float32 weights of the captured frames, (K,V,3) shapes that are ever used, their names."""
    assert clip.weights is not None
    assert clip.basis is not None
    weights = np.asarray(clip.weights, np.float32)[keys(clip)]
    used = np.flatnonzero(np.any(weights != 0, axis=0))
    names = [clip.basis_names[k] if k < len(clip.basis_names) else f"shape_{k:03d}" for k in used]
    return weights[:, used], np.asarray(clip.basis, np.float32)[used], names


def _blendshapes(clip: Clip) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    weights, basis, own = used_shapes(clip)
    sizes_m = np.linalg.norm(basis, axis=2).max(1)
    names, columns, shapes = list(own), list(np.clip(weights, 0, 1).T), list(basis)
    for name, column, shape, size_m in zip(own, weights.T, list(shapes), sizes_m, strict=True):
        for ending, beyond, sign in ((BELOW, np.maximum(-column, 0), -1), (ABOVE, np.maximum(column - 1, 0), 1)):
            furthest = float(beyond.max())
            if furthest * size_m <= UNFELT_M:
                continue
            scale = sign * max(1.0, furthest)
            names.append(name + ending)
            columns.append(beyond / abs(scale))
            # the same array, if it is the same shape: it is stored once
            shapes.append(shape if scale == 1 else shape * np.float32(scale))
    return names, np.stack(columns, 1).astype(np.float32) if columns else weights, shapes


def _principal(clip: Clip) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    weights, shapes = components(clip, keys(clip))
    if not len(shapes):
        return [], weights, []
    low = weights.min(0).astype(np.float64)
    span = np.maximum(weights.max(0) - low, 1e-9)
    names = [f"component_{k:03d}" for k in range(len(shapes))]
    counted = np.clip((weights - low) / span, 0, 1)
    offset = np.einsum("k,kvc->vc", low, shapes.astype(np.float64)).astype(np.float32)
    scaled = (shapes * span[:, None, None]).astype(np.float32)
    columns = np.concatenate([counted, np.ones((len(counted), 1))], 1).astype(np.float32)
    return [*names, OFFSET], columns, [*scaled, offset]


# ------------------------------------------------------------------------------------------------ dense motion as few components


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
