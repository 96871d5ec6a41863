"""Edit performances: new speech for an old one, the same take again, codes exchanged between clips. Clips in, Clips out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from meshtalk.animate import Animator
from meshtalk.clip import Clip
from meshtalk.config import SAMPLE_RATE
from meshtalk.direction import Direction, Director, check_strength, region_scale, region_share, rest_motion
from meshtalk.errors import InputError
from meshtalk.evaluation import tracks
from meshtalk.measured import MeasuredAnimator
from meshtalk.resample import Resampler
from meshtalk.topology import lip_opening_m

Fit = Literal["loop", "hold", "stretch", "cut"]
CLOSED_MM, OPEN_MM = 1.0, 2.0
"""Lips nearer than the first are the new speech's alone, further apart than the second the performance's too."""
CROSSFADE_S = 0.4
SHORTEST_LOOP_S = 1.0
"""A shorter clip has no two moments far enough apart to loop between: it is played there and back."""
POSE_VERTICES = 300
"""Of the upper face, evenly spread: enough to tell poses apart."""


def redub(
    animator: Animator,
    clip: Clip,
    audio: str | Path | np.ndarray,
    sample_rate: int | None = None,
    *,
    fit: Fit = "loop",
    strength: float | Mapping[str, float] = 1.0,
    direction: Direction | None = None,
) -> Clip:
    """New speech for an existing performance: the mouth from the sound, upper face and emotion from the clip (eqs. 1-3).

    The performance and the new sound are encoded and decoded together. Twice: as it is, so that a smile goes on, and with its
    mouth at rest, so that nothing of its old words is left; where the second closes the lips, the lips are the second's. What the
    codes could not carry of the upper face is added again.

    Args:
        clip: the performance, of the model's topology.
        audio: a file, or (S,) or (S,channels) samples at `sample_rate` Hz.
        fit: what happens if the sound lasts longer: `loop` the performance through a seam where poses match, `hold` its last pose,
            `stretch` it (also if it is longer than the sound), or `cut` the sound. A longer performance ends with the sound.
        strength: factor on the performance, or one for each region.
        direction: see `Direction`.

    Returns:
        A clip of the sound's length at the performance's rate, on its face.

    Raises:
        InputError: a clip without frames or of another topology, or sound, fit or strength that cannot be used.
    """
    animator.topology.require(clip.topology, "the performance")
    samples = animator.samples(audio, sample_rate)
    if fit == "cut":
        samples = samples[: math.ceil(clip.n_frames / clip.fps * SAMPLE_RATE)]
    direction = direction or Direction()
    samples = np.concatenate([samples, np.zeros(round(direction.lead_out_s * SAMPLE_RATE), np.float32)])
    n_frames = math.ceil(len(samples) * clip.fps / SAMPLE_RATE)
    acted, template = fit_length(clip, n_frames, fit), np.asarray(clip.template, np.float32)
    geometry, topology = animator.geometry, animator.topology
    rest = rest_motion(geometry, template)
    scale = region_scale(geometry, topology, check_strength(strength))
    source = scale(animator.motion_of(acted) - rest) + rest
    silent = region_scale(geometry, topology, {"mouth": 0.0})(source - rest) + rest
    whole, spoken = (
        animator.perform(
            samples, template=template, expression=at_rate_of(signal, clip.fps, animator.config.fps), fps=clip.fps
        )
        for signal in (source, silent)
    )
    if geometry.has_opening:
        gap_mm = (
            geometry.opening(spoken) - geometry.opening(rest) + float(lip_opening_m(template, topology)) * 1e3
        )
        share = ((OPEN_MM - gap_mm) / (OPEN_MM - CLOSED_MM)).clamp(0, 1)
        whole = whole + (share * share * (3 - 2 * share))[:, None] * (spoken - whole)
    motion = whole + region_share(geometry, topology, "upper_face")(source - whole)
    director = Director(direction, geometry, topology, template, [0], clip.fps)
    motion = director.finish(motion[:, None], director.start())
    motion = director.leave(motion, 0, n_frames, clip.fps)[:, 0]
    made = animator.clip_of(motion, template, clip.fps, samples)
    return replace(made, subject=clip.subject, emotion=clip.emotion, tint=clip.tint)


def fit_length(clip: Clip, n_frames: int, fit: Fit) -> Clip:
    """The motion of a clip over another number of frames, see `redub`; its sound is silence.

    Raises:
        InputError: the clip has no frames, or `fit` is none of the four.
    """
    if fit not in get_args(Fit):
        raise InputError(f"fit {fit!r} came; one of {', '.join(get_args(Fit))} is allowed")
    if clip.n_frames == 0:
        raise InputError("the performance has no frames : give a clip with at least one")
    values = np.asarray(clip.weights if clip.weights is not None else clip.displacement)
    if fit == "stretch" and len(values) > 1:
        source = Resampler(Fraction(len(values), n_frames), Fraction(1))
        values = source.finish(torch.from_numpy(np.array(values, np.float32)), source.start(), n_frames).numpy()
    elif len(values) < n_frames:
        order = _loop(clip, n_frames) if fit == "loop" else [(np.minimum(np.arange(n_frames), len(values) - 1), None)]
        values = _played(values, order)
    values = values[:n_frames]
    silence = np.zeros(round(n_frames / clip.fps * SAMPLE_RATE), np.float32)
    motion = {"weights": values} if clip.weights is not None else {"displacement": values}
    return replace(clip, **motion, audio=silence, sample_rate=SAMPLE_RATE, phones=(), valid=None, recipe=None)


def at_rate(clip: Clip, fps: Fraction) -> Clip:
    """A clip at another frame rate; frame k of both is at k/fps seconds."""
    if clip.fps == fps:
        return clip
    values = np.asarray(clip.weights if clip.weights is not None else clip.displacement, np.float32)
    values = at_rate_of(torch.from_numpy(values), clip.fps, fps)
    motion = {"weights": values} if clip.weights is not None else {"displacement": values}
    return replace(clip, **motion, fps=fps, valid=None, recipe=None)


def at_rate_of(frames: torch.Tensor, source: Fraction, target: Fraction) -> np.ndarray:
    """(T,…) frames from one rate to another."""
    resampler = Resampler(source, target)
    return resampler.finish(frames, resampler.start(), math.ceil(len(frames) * target / source)).cpu().numpy()


def _loop(clip: Clip, n_frames: int) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """How to play a clip for longer: ((n,) frames, frames that they fade into or None), piece by piece."""
    length, fade = clip.n_frames, max(1, round(CROSSFADE_S * clip.fps))
    if length < max(round(SHORTEST_LOOP_S * clip.fps), 2 * fade + 2):
        period = max(2 * length - 2, 1)
        phase = np.arange(n_frames) % period
        return [(np.where(phase < length, phase, period - phase), None)]
    upper = clip.topology.indices("upper_face")
    poses = tracks.positions(clip, upper[:: max(1, len(upper) // POSE_VERTICES)]).reshape(length, -1)
    back, leave = _seam(poses, fade)
    pieces: list[tuple[np.ndarray, np.ndarray | None]] = [(np.arange(leave - fade), None)]
    total = leave - fade
    while total < n_frames:
        # fade from the end into the frames before the point of return, and go on from there
        pieces += [
            (np.arange(leave - fade, leave), np.arange(back - fade, back)),
            (np.arange(back, leave - fade), None),
        ]
        total += leave - back
    return pieces


def _seam(poses: np.ndarray, fade: int) -> tuple[int, int]:
    """(frame to go back to, frame to leave at): two moments of one pose and one motion, as far apart as may be.

    Args:
        poses: (T,n) positions.
        fade: frames before each that are blended.
    """
    length = len(poses)
    backs, leaves = np.arange(fade, fade + max(1, length // 3)), np.arange(length - max(1, length // 3), length)
    leaves = leaves[leaves > backs[-1] + fade] if (leaves > backs[-1] + fade).any() else leaves[-1:]
    # a moment is the frames that will be blended: poses and how they move
    moments = np.lib.stride_tricks.sliding_window_view(poses, fade, 0)[:, :: max(1, poses.shape[1] // 64)]
    ends, starts = (moments[frames - fade].reshape(len(frames), -1).astype(np.float64) for frames in (leaves, backs))
    apart = (ends**2).sum(1)[:, None] + (starts**2).sum(1)[None] - 2 * ends @ starts.T
    leave, back = np.unravel_index(apart.argmin(), apart.shape)
    return int(backs[back]), int(leaves[leave])


def _played(values: np.ndarray, order: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """Frames of (T,…) in an order, faded where two are named."""
    parts = []
    for frames, into in order:
        part = np.asarray(values[frames], np.float32)
        if into is not None:
            x = (np.arange(len(frames)) + 1) / (len(frames) + 1)
            share = (x * x * (3 - 2 * x)).astype(np.float32).reshape(-1, *[1] * (part.ndim - 1))
            part = part * (1 - share) + np.asarray(values[into], np.float32) * share
        parts.append(part)
    return np.concatenate(parts)


def again(animator: Animator, clip: Clip) -> Clip:
    """The same take once more, from what a clip tells of how it was made.

    Bit for bit the same with the same version on the same kind of machine; another may round differently.

    Raises:
        InputError: nothing is recorded in the clip, or another model made it.
    """
    if clip.recipe is None:
        raise InputError(
            "this clip does not tell how it was made : only clips (.npz) that a model animated can be made again"
        )
    told = clip.recipe.settings
    try:
        if told["model"] != animator.checkpoint.hash:
            raise InputError(
                f"model {told['model']} made this clip, and this is {animator.checkpoint.hash} : pass the model that made it"
            )
        direction = None if told["direction"] is None else Direction(**told["direction"])
        takes = Animator(animator.checkpoint, told["precision"]).takes(
            clip.audio[: told["samples"]], clip.sample_rate, n=told["n"], seed=told["seed"],
            template=np.asarray(clip.template, np.float32), expression=clip.recipe.expression,
            temperature=told["temperature"], top_p=told["top_p"], argmax=told["argmax"], fps=told["fps"], direction=direction,
        )  # fmt: skip
        made = takes[told["index"]]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"what this clip tells of how it was made (by meshtalk {told.get('meshtalk', '?')}) is not understood by meshtalk"
            f" {version('meshtalk')} ({type(error).__name__}: {error}) : use the version that made it"
        ) from None
    return replace(made, subject=clip.subject, sentence=clip.sentence, emotion=clip.emotion, tint=clip.tint)


def same_motion(one: Clip, other: Clip) -> bool:
    """Whether two clips move alike to the last bit."""
    a, b = (clip.weights if clip.weights is not None else clip.displacement for clip in (one, other))
    assert a is not None
    assert b is not None
    return bool(np.array_equal(a, b))


def swap(animator: MeasuredAnimator, clip: Clip, other: Clip, heads: Sequence[int]) -> Clip:
    """A clip some of whose code heads are another clip's, decoded on its own face (eqs. 1-3).

    Args:
        clip: gives sound, face, length and all other heads; like `other` at the model's frame rate (see `at_rate`).
        other: gives the codes of `heads`; a shorter one is played there and back.
        heads: numbers from 0.

    Raises:
        InputError: no head, one that the model does not have, or clips that it cannot encode.
    """
    known = animator.config.heads
    if not heads or not all(0 <= head < known for head in heads):
        raise InputError(f"heads {list(heads)} came; give one or more of 0 to {known - 1}")
    codes, foreign = animator.codes(clip), animator.codes(other)
    period = max(2 * len(foreign) - 2, 1)
    phase = np.arange(len(codes)) % period
    index = np.where(phase < len(foreign), phase, period - phase)
    chosen = sorted(set(heads))
    codes[:, chosen] = foreign[index][:, chosen]
    return animator.decoded(codes, clip)
