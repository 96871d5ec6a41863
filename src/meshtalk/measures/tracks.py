"""Tracks of a clip that measures need: positions of regions, opening and shape of the mouth, eyelid closure."""

from __future__ import annotations

import dataclasses

import numpy as np

from meshtalk.clip import CHUNK, Clip
from meshtalk.errors import InputError
from meshtalk.measures import metrics, sync
from meshtalk.mesh.topology import INNER_LIPS


def positions(clip: Clip, indices: np.ndarray) -> np.ndarray:
    """(T,n,3) float32 metres: where vertices `indices` (n,) are in every frame.

    Linear clips expand these vertices alone, which is exact and costs n/V of the whole.
    """
    if clip.weights is not None and clip.basis is not None:
        basis = np.take(clip.basis, indices, axis=1).reshape(len(clip.basis), -1)
        moved = np.einsum("tk,kv->tv", np.asarray(clip.weights, np.float32), basis, optimize=False).reshape(
            clip.n_frames, -1, 3
        )
    else:
        assert clip.displacement is not None
        moved = np.asarray(clip.displacement[:, indices], np.float32)
    return moved + clip.template[indices]


def opening_mm(clip: Clip) -> np.ndarray:
    """(T,) lip opening in millimetres, as `Clip.lip_opening_mm` but from the landmarks alone."""
    marks = clip.topology.landmarks
    upper = positions(clip, marks["lip_inner_upper"])[..., 1]
    lower = positions(clip, marks["lip_inner_lower"])[..., 1]
    return (upper - lower).mean(-1) * 1e3


def lip_to_teeth_mm(clip: Clip) -> np.ndarray | None:
    """(T,) mm from the lower lip to the upper teeth's edge; None when the topology marks no teeth."""
    marks = clip.topology.landmarks
    if "upper_teeth" not in marks:
        return None
    lip = positions(clip, marks["lip_inner_lower"])
    return sync.lip_to_teeth_mm(lip, positions(clip, marks["upper_teeth"]))


def width_mm(clip: Clip) -> np.ndarray | None:
    """(T,) mm between the corners of the mouth; None when the topology does not mark them."""
    marks = clip.topology.landmarks
    if "lip_corners" not in marks:
        return None
    right, left = np.moveaxis(positions(clip, marks["lip_corners"][:2]).astype(np.float64), 1, 0)
    return np.linalg.norm(left - right, axis=-1) * 1e3


def protrusion_mm(clip: Clip) -> np.ndarray:
    """(T,) mm forward (+Z) of the inner lips, from the mesh's origin: only its changes mean anything."""
    marks = clip.topology.landmarks
    lower, upper = (positions(clip, marks[name])[..., 2].mean(-1, dtype=np.float64) for name in INNER_LIPS)
    return (lower + upper) / 2 * 1e3


def tongue_past_teeth_mm(clip: Clip) -> np.ndarray | None:
    """(T,) mm that the tongue's foremost vertex is in front of the foremost upper tooth, negative behind it; None when the
    topology has no part `tongue` or marks no teeth.
    """
    topology = clip.topology
    if topology.parts is None or "tongue" not in topology.part_names or "upper_teeth" not in topology.landmarks:
        return None
    tongue = np.flatnonzero(topology.parts == topology.part_names.index("tongue"))
    if not len(tongue):
        return None
    tip, teeth = (positions(clip, part)[..., 2].max(1) for part in (tongue, topology.landmarks["upper_teeth"]))
    return (tip - teeth) * 1e3


def eyelid_closure(clip: Clip) -> np.ndarray | None:
    """(T,) lid closure: 0 open as in the template, 1 at the blink blendshapes' full weight.

    The lids' displacement projected (least squares) on the topology's eyeBlink shapes; None without them.
    """
    topology = clip.topology
    blink = [i for i, name in enumerate(topology.shape_names) if name.lower().startswith("eyeblink")]
    if not blink or topology.shapes is None or not np.any(topology.regions.get("eyelids", 0)):
        return None
    lids = topology.indices("eyelids")
    direction = topology.shapes[blink][:, lids].sum(0)  # (n,3)
    moved = positions(clip, lids) - clip.template[lids]
    return np.tensordot(moved, direction, 2) / np.square(direction).sum()


def vertex_error_sums_m(predicted: Clip, true: Clip, valid: np.ndarray) -> tuple[float, int]:
    """(sum over valid frames of the mean L2 error over ALL vertices in metres, number of those frames)."""
    total = 0.0
    for start in range(0, true.n_frames, CHUNK):
        stop = min(start + CHUNK, true.n_frames)
        apart = predicted.frames(start, stop) - true.frames(start, stop)
        error = np.sqrt(metrics.squared_norm(apart)).mean(1, dtype=np.float64)
        total += float(error[valid[start:stop]].sum())
    return total, int(valid.sum())


def crop(clip: Clip, n_frames: int) -> Clip:
    """The first n_frames of a clip, with their part of the sound."""
    samples = round(n_frames / clip.fps * clip.sample_rate)
    return dataclasses.replace(
        clip,
        weights=None if clip.weights is None else clip.weights[:n_frames],
        displacement=None if clip.displacement is None else clip.displacement[:n_frames],
        audio=clip.audio[:samples],
        valid=None if clip.valid is None else clip.valid[:n_frames],
        recipe=None,
    )


def aligned(predicted: Clip, true: Clip, name: str) -> tuple[Clip, Clip]:
    """Both clips with the truth's regions and as many frames; they may differ by one, which is dropped.

    Raises:
        InputError: another topology or frame rate, or lengths that differ by more than a frame.
    """
    true.topology.require(predicted.topology, f"the motion of {name}")
    if predicted.fps != true.fps:
        raise InputError(
            f"{name} must have the truth's frame rate {true.fps}, got {predicted.fps}. Animate at that rate."
        )
    if abs(predicted.n_frames - true.n_frames) > 1:
        raise InputError(f"{name} must have {true.n_frames} frames, give or take one, got {predicted.n_frames}")
    n_frames = min(predicted.n_frames, true.n_frames)
    # a model keeps the regions it was trained with, which may have been redrawn since
    predicted = dataclasses.replace(predicted, topology=true.topology)
    return crop(predicted, n_frames), crop(true, n_frames)
