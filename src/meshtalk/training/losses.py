"""Loss functions: eqs. 4 and 5 and the terms added to them, as pure functions of motions.

`region_error(error, region)` is the masked mean squared vertex error of a geometry; see model/geometry.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

RegionError = Callable[[Tensor, str], Tensor]


def cross_modality(
    from_expression: Float[Tensor, "batch frames motion"],
    from_audio: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    region_error: RegionError,
) -> Float[Tensor, ""]:
    """Eq. 4: the upper face of ĥ^expr (true expression, other audio) and the mouth of ĥ^audio (true audio, other expression).

    Args:
        from_expression: (B,T,n) motion, mm.
        from_audio: (B,T,n) motion, mm.
        truth: (B,T,n) motion, mm.

    Returns:
        scalar, mm²
    """
    return region_error(from_expression - truth, "upper_face") + region_error(from_audio - truth, "mouth")


def eyelid(
    from_expression: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    region_error: RegionError,
) -> Float[Tensor, ""]:
    """Eq. 5: eyelids of ĥ^expr. Shapes as in `cross_modality`; scalar, mm²."""
    return region_error(from_expression - truth, "eyelids")


def reconstruction(
    output: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    region_error: RegionError,
) -> Float[Tensor, ""]:
    """Mouth and upper face with both true signals; scalar, mm²."""
    return region_error(output - truth, "mouth") + region_error(output - truth, "upper_face")


def velocity(
    output: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    region_error: RegionError,
    regions: Sequence[str] = ("mouth", "upper_face"),
) -> Float[Tensor, ""]:
    """Frame-to-frame change of the error in some regions; scalar, mm² per frame²."""
    error = output - truth
    change = error[:, 1:] - error[:, :-1]
    return torch.stack([region_error(change, region) for region in regions]).sum()


CLOSURE_EMPHASIS = 9.0
CLOSURE_MM = 1.5
"""Openings of about this size and less weigh more in `opening`."""


def opening(
    output: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    lip_opening: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Squared error of the lip opening, (B,T,n) motions; scalar, mm².

    Frames whose true lips are closed weigh up to 1 + CLOSURE_EMPHASIS times as much: a millimetre is nothing on an open
    mouth, and a missed closure on a closed one.
    """
    true_mm = lip_opening(truth)
    weight = 1 + CLOSURE_EMPHASIS * (-true_mm.clamp(min=0) / CLOSURE_MM).exp()
    return (weight * (lip_opening(output) - true_mm).square()).mean()


RARE = 9.0
"""Most that a rare position's error weighs more than a usual one's in `mouth`."""
FLOOR_MM = 0.5
"""A functional that moves less than this is not blown up to the size of the others in `mouth`."""


class Usual(NamedTuple):
    """Where the F functionals of `Geometry.mouth` usually are."""

    mean: Float[Tensor, " functionals"]
    """mm"""
    variance: Float[Tensor, " functionals"]
    """mm², FLOOR_MM² included."""

    @classmethod
    def of(cls, true_mm: Float[Tensor, "batch frames functionals"]) -> Usual:
        """Of a whole batch: a slice of it has others, and its training would be another."""
        return cls(true_mm.mean((0, 1)), true_mm.var((0, 1)) + FLOOR_MM**2)


def mouth(
    output: Float[Tensor, "batch frames motion"],
    truth: Float[Tensor, "batch frames motion"],
    functionals: Callable[[Tensor], Tensor],
    usual: Usual,
) -> Float[Tensor, ""]:
    """Squared error of width, protrusion, lip to teeth and tongue, each over its variance; (B,T,n) motions; scalar, no unit.

    A frame weighs 1 + its true position's squared distance from the usual one, in deviations, up to 1 + RARE: rounded lips
    and a lip under the teeth are rare, and a plain squared mean averages them away.
    """
    true_mm = functionals(truth)
    weight = 1 + ((true_mm - usual.mean).square() / usual.variance).clamp(max=RARE)
    return (weight * (functionals(output) - true_mm).square() / usual.variance).mean((0, 1)).sum()


def swap_partners(clip_ids: Int[Tensor, " batch"], shift: int) -> Int[Tensor, " batch"]:
    """For every window of a batch another window of a *different* clip.

    Args:
        clip_ids: (B,) which clip each window is cut from.
        shift: where the search begins, any integer: the source of variety.

    Returns:
        (B,) long indices; partner[i] has another clip id than i.

    Raises:
        ValueError: some clip has no partner in the batch.
    """
    size = len(clip_ids)
    candidates = (
        clip_ids.new_tensor(range(size))[:, None] + 1 + (clip_ids.new_tensor(range(size)) + shift) % max(size - 1, 1)
    ) % size
    allowed = clip_ids[candidates] != clip_ids[:, None]  # (B,B)
    if not bool(allowed.any(1).all()):
        raise ValueError("a batch for the cross-modality loss needs windows of at least two clips")
    first = allowed.float().argmax(1)
    return candidates.gather(1, first[:, None])[:, 0]
