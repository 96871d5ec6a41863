"""Edit performances: re-dubbing, reproducing a take, exchanging codes between clips. Clips in, Clips out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from meshtalk.clip import Clip
from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator
from meshtalk.inference.direction import Direction, Director, check_strength, region_scale, region_share, rest_motion
from meshtalk.inference.generator import ping_pong
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import tracks
from meshtalk.mesh.topology import lip_opening_m
from meshtalk.model.geometry import MM
from meshtalk.parallel import on_own_threads, one_thread
from meshtalk.resample import Resampler

Fit = Literal["loop", "hold", "stretch", "cut"]
SLOW_S = 0.5
"""Half of the window over which a mouth's mood is averaged: two or three syllables, so that the old words are not in it."""
SAME, OTHER = 0.1, 0.2
"""Squared difference of two openings over their squares: the same words have .02-.1, others .15-.4."""
CLOSED_MM, OPEN_MM = 1.0, 2.0
"""Lip openings (mm) between which the mouth blends from the new speech's to the performance's."""
CROSSFADE_S = 0.4
SHORTEST_LOOP_S = 1.0
"""A shorter clip has no two moments far enough apart to loop between: it is played ping-pong. So is one whose best seam
would show: a larger step between frames than all of its own."""
RECIPE: Mapping[str, tuple[type, ...]] = {
    "model": (str,), "precision": (str,), "threads": (int,), "samples": (int,), "seed": (int,), "n": (int,), "index": (int,),
    "temperature": (float, int), "top_p": (float, int), "argmax": (bool,), "fps": (str,), "direction": (dict, type(None)),
}  # fmt: skip
"""Settings that `again` needs of a recipe."""
POSE_VERTICES = 300
"""Number of evenly spread vertices, enough to distinguish poses."""


@one_thread()
@on_own_threads
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
    """Re-dub a performance: the mouth from new speech, upper face and emotion from the clip (eqs. 1-3).

    Performance and sound are encoded and decoded together, twice: with the mouth of the performance at rest, so that nothing of
    its old words is left, and as they are. What differs slowly between the two is the mouth's mood, a smile, and is added to the
    first, but where it would part lips that the sound closes or close those that it parts; where the performance says what the
    sound says, all of the second is taken. The reconstruction error of the upper face is added back.

    Args:
        clip: the performance, of the model's topology.
        audio: a file, or (S,) or (S,channels) samples at `sample_rate` Hz.
        fit: if the sound is longer, `loop` the performance through a seam where poses match, `hold` its last pose,
            `stretch` it from its first to its last pose (also if it is longer than the sound), or `cut` the sound. But for
            `stretch` a longer performance ends with the sound.
        strength: factor on the performance, or one for each region.
        direction: see `Direction`.

    Returns:
        A clip of the sound's length at the performance's rate, on its face.

    Raises:
        InputError: a clip without frames or of another topology, or sound, fit or strength that cannot be used.
    """
    _check_fit(fit)
    factors = check_strength(strength)
    animator.topology.require(clip.topology, "the performance")
    samples = animator.samples(audio, sample_rate)
    if fit == "cut":
        samples = samples[: int(clip.n_frames / clip.fps * SAMPLE_RATE)]
    direction = direction or Direction()
    samples = direction.lengthened(samples)
    n_frames = math.ceil(len(samples) * clip.fps / SAMPLE_RATE)
    acted, template = fit_length(clip, n_frames, fit), np.asarray(clip.template, np.float32)
    geometry, topology = animator.geometry, animator.topology
    rest = rest_motion(geometry, template)
    scale = region_scale(geometry, topology, factors)
    source = scale(animator.motion_of(acted) - rest) + rest
    silent = region_scale(geometry, topology, {"mouth": 0.0})(source - rest) + rest
    whole, spoken = (
        animator.perform(
            samples, template=template, expression=at_rate_of(signal, clip.fps, animator.config.fps), fps=clip.fps
        )
        for signal in (source, silent)
    )
    motion = spoken + _slow(whole - spoken, clip.fps)
    if geometry.has_opening:
        neutral_mm = float(lip_opening_m(template, topology)) * MM - geometry.opening(rest)
        said_mm, acted_mm, made_mm = (geometry.opening(each) + neutral_mm for each in (spoken, source, motion))
        motion = motion + _wrongly(said_mm, made_mm)[:, None] * (spoken - motion)
        motion = motion + _same_words(said_mm, acted_mm, clip.fps)[:, None] * (whole - motion)
    motion = motion + region_share(geometry, topology, "upper_face")(source - motion)
    director = Director(direction, geometry, topology, template, [0], clip.fps)
    motion = director.finish(motion[:, None], director.start())
    motion = director.fade_out(motion, 0, n_frames, clip.fps)[:, 0]
    made = animator.clip_of(motion, template, clip.fps, samples)
    return replace(made, subject=clip.subject, emotion=clip.emotion, tint=clip.tint)


def _slow(motion: torch.Tensor, fps: Fraction) -> torch.Tensor:
    """(T,n) motion averaged over a Hann window of 2·SLOW_S, ends held."""
    half = max(1, round(SLOW_S * fps))
    window = torch.hann_window(2 * half + 1, periodic=False, dtype=motion.dtype, device=motion.device)
    held = torch.nn.functional.pad(motion.T[:, None], (half, half), mode="replicate")
    return torch.nn.functional.conv1d(held, (window / window.sum())[None, None])[:, 0].T


def _same_words(said_mm: torch.Tensor, acted_mm: torch.Tensor, fps: Fraction) -> torch.Tensor:
    """(T,) 1 where two (T,) lip openings agree over some syllables, 0 where they do not."""
    apart, both = (_slow(mm2[:, None], fps)[:, 0] for mm2 in ((said_mm - acted_mm) ** 2, said_mm**2 + acted_mm**2))
    return ((OTHER - apart / (both + CLOSED_MM**2)) / (OTHER - SAME)).clamp(0, 1)


def _wrongly(said_mm: torch.Tensor, made_mm: torch.Tensor) -> torch.Tensor:
    """(T,) how much one of two (T,) lip openings is closed where the other is not, 0 to 1."""
    lower, apart = (
        (mm / (OPEN_MM - CLOSED_MM)).clamp(0, 1)
        for mm in (OPEN_MM - said_mm.minimum(made_mm), (said_mm - made_mm).abs())
    )
    return lower * lower * (3 - 2 * lower) * apart


def fit_length(clip: Clip, n_frames: int, fit: Fit) -> Clip:
    """The motion of a clip over another number of frames, see `redub`; its sound is silence.

    Raises:
        InputError: the clip has no frames, or `fit` is none of the four.
    """
    _check_fit(fit)
    if clip.n_frames == 0:
        raise InputError("the performance has no frames. Give a clip with at least one.")
    values = np.asarray(clip.weights if clip.weights is not None else clip.displacement)
    if fit == "stretch" and len(values) > 1:
        even = Resampler(Fraction(len(values) - 1, max(n_frames - 1, 1)), Fraction(1))
        values = even.finish(torch.as_tensor(np.array(values, np.float32)), even.start(), n_frames).numpy()
    elif len(values) < n_frames:
        order = _loop(clip, n_frames) if fit == "loop" else [(np.minimum(np.arange(n_frames), len(values) - 1), None)]
        values = _played(values, order)
    values = values[:n_frames]
    silence = np.zeros(round(n_frames / clip.fps * SAMPLE_RATE), np.float32)
    motion = {"weights": values} if clip.weights is not None else {"displacement": values}
    return replace(clip, **motion, audio=silence, sample_rate=SAMPLE_RATE, phones=(), valid=None, recipe=None)


def _check_fit(fit: str) -> None:
    if fit not in get_args(Fit):
        raise InputError(f"fit must be one of {', '.join(get_args(Fit))}, got {fit!r}")


def at_rate_of(frames: torch.Tensor, source: Fraction, target: Fraction) -> np.ndarray:
    """Resample (T,…) frames from one rate to another."""
    resampler = Resampler(source, target)
    return resampler.finish(frames, resampler.start(), math.ceil(len(frames) * target / source)).cpu().numpy()


def _loop(clip: Clip, n_frames: int) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """How to play a clip for longer: ((n,) frames, frames that they fade into or None), piece by piece."""
    length, fade = clip.n_frames, max(1, round(CROSSFADE_S * clip.fps))
    if length >= max(round(SHORTEST_LOOP_S * clip.fps), 2 * fade + 2):
        back, fade_out = _seam(_poses(clip, clip.topology.indices("upper_face")), fade)
        # fade from the end into the frames before the point of return, and go on from there
        around: list[tuple[np.ndarray, np.ndarray | None]] = [
            (np.arange(fade_out - fade, fade_out), np.arange(back - fade, back)),
            (np.arange(back, fade_out - fade), None),
        ]
        pieces = [(np.arange(fade_out - fade), None), *around]
        face = _poses(clip, np.arange(clip.topology.n_vertices))
        if _largest_step(_played(face, [*pieces, *around])) <= _largest_step(face):
            return pieces + around * max(0, math.ceil((n_frames - fade_out + fade) / (fade_out - back)) - 1)
    return [(ping_pong(0, n_frames, length), None)]


def _poses(clip: Clip, vertices: np.ndarray) -> np.ndarray:
    """(T,3n) where some of these vertices are, evenly spread over them."""
    some = vertices[:: max(1, len(vertices) // POSE_VERTICES)]
    return tracks.positions(clip, some).reshape(clip.n_frames, -1)


def _largest_step(poses: np.ndarray) -> float:
    return float(np.square(np.diff(poses, axis=0), dtype=np.float64).sum(1).max())


def _seam(poses: np.ndarray, fade: int) -> tuple[int, int]:
    """(frame to go back to, frame to leave before): two moments of one pose and one motion, in the clip's first and last third.

    Args:
        poses: (T,n) positions, T ≥ 2·fade + 2.
        fade: frames before each that are blended.
    """
    length = len(poses)
    third = max(1, length // 3)
    backs, leaves = np.arange(fade, fade + third), np.arange(length - third, length) + 1
    # a moment is the frames that will be blended: poses and how they move
    moments = np.lib.stride_tricks.sliding_window_view(poses, fade, 0)[:, :: max(1, poses.shape[1] // 64)]
    leaves = leaves[leaves >= 2 * fade]
    ends, starts = (moments[frames - fade].reshape(len(frames), -1).astype(np.float64) for frames in (leaves, backs))
    apart = (ends**2).sum(1)[:, None] + (starts**2).sum(1)[None] - 2 * ends @ starts.T
    apart[leaves[:, None] - fade < backs] = np.inf  # the next fade would begin before the point of return
    fade_out, back = divmod(int(apart.argmin()), apart.shape[1])
    return int(backs[back]), int(leaves[fade_out])


def _played(values: np.ndarray, order: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """Frames of (T,…) in an order, faded where two are named."""
    parts: list[np.ndarray] = []
    for frames, into in order:
        part = np.asarray(values[frames], np.float32)
        if into is not None:
            x = (np.arange(len(frames)) + 1) / (len(frames) + 1)
            share = (x * x * (3 - 2 * x)).astype(np.float32).reshape(-1, *[1] * (part.ndim - 1))
            part = part * (1 - share) + np.asarray(values[into], np.float32) * share
        parts.append(part)
    return np.concatenate(parts)


def again(animator: Animator, clip: Clip) -> Clip:
    """Reproduce a take from the settings recorded in its clip.

    Equal bit for bit with the same versions on the same kind of processor and as many threads as made it; another kind
    rounds differently: the same codes, and vertices within 1e-8 m.

    Raises:
        InputError: the clip records no settings, they cannot be read, or another model made it.
    """
    if clip.recipe is None:
        raise InputError("the clip records no settings. Only clips (.npz) that a model animated can be reproduced.")
    told = _told(clip)
    if told["model"] != animator.checkpoint.hash:
        raise InputError(
            f"model {told['model'][:16]!r} made this clip, got {animator.checkpoint.hash}. Pass the model that made it."
        )
    takes = Animator(animator.checkpoint, told["precision"], told["threads"]).takes(
        clip.audio[: told["samples"]], clip.sample_rate, n=told["n"], seed=told["seed"],
        template=np.asarray(clip.template, np.float32), expression=clip.recipe.expression, temperature=told["temperature"],
        top_p=told["top_p"], argmax=told["argmax"], fps=told["fps"], direction=told["direction"],
    )  # fmt: skip
    index: int = told["index"]
    return replace(
        takes[index],
        subject=clip.subject,
        sentence=clip.sentence,
        emotion=clip.emotion,
        tint=clip.tint,
        phones=clip.phones,
    )


def _told(clip: Clip) -> dict[str, Any]:
    """The settings of a clip's recipe, of the right types; its direction as a `Direction`.

    Raises:
        InputError: a setting is missing, of another type or out of range.
    """
    settings: Mapping[str, Any] = clip.recipe.settings if clip.recipe is not None else {}
    try:
        told = {name: _typed(settings[name], types) for name, types in RECIPE.items()}
        if not (0 < told["samples"] <= len(clip.audio) and 0 <= told["index"] < told["n"]):
            raise IndexError("samples or takes that do not exist")
        direction = None if told["direction"] is None else Direction(**told["direction"])
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"the settings recorded in this clip cannot be read by meshtalk {version('meshtalk')}"
            f" ({type(error).__name__}: {error}). Use the version that made it."
        ) from None
    return told | {"direction": direction}


def _typed(value: Any, types: tuple[type, ...]) -> Any:
    if type(value) not in types:
        raise TypeError(f"{type(value).__name__} instead of {types[0].__name__}")
    return value


def same_motion(one: Clip, other: Clip) -> bool:
    """Whether two clips move alike to the last bit."""
    a, b = (clip.weights if clip.weights is not None else clip.displacement for clip in (one, other))
    assert a is not None
    assert b is not None
    return bool(np.array_equal(a, b))


def swap(animator: LatentAnimator, clip: Clip, other: Clip, heads: Sequence[int]) -> Clip:
    """Replace the codes of some heads of a clip with another clip's, decoded on its own face (eqs. 1-3).

    Args:
        clip: provides sound, face, length and all other heads; like `other` at the model's rate (see `meshtalk.resample.at_rate`).
        other: provides the codes of `heads`; a shorter one is played ping-pong.
        heads: numbers from 0.

    Raises:
        InputError: no head, an unknown head, or clips that the model cannot encode.
    """
    known = animator.config.heads
    if not heads or not all(0 <= head < known for head in heads):
        raise InputError(f"heads must be one or more of 0 to {known - 1}, got {list(heads)}")
    if not (clip.n_frames and other.n_frames):
        raise InputError("both clips must have frames. Give clips with at least one.")
    codes, foreign = (animator.codes(each.validate()) for each in (clip, other))
    index, chosen = ping_pong(0, len(codes), len(foreign)), sorted(set(heads))
    codes[:, chosen] = foreign[index][:, chosen]
    made = animator.decoded(codes, clip)
    return replace(made, subject=clip.subject, sentence=clip.sentence, tint=clip.tint, phones=clip.phones)
