"""Streaming resampling of motion between frame rates, exact in time: frame k of either rate is at k/fps seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from meshtalk.clip import CHUNK, Clip
from meshtalk.errors import InputError
from meshtalk.files import spooled


@dataclass(frozen=True)
class ResamplerState:
    """Buffered input frames, the index of the first, and the number of output frames so far."""

    frames: Tensor | None
    first: int
    given: int


def seen_at(valid: np.ndarray, source: Fraction, target: Fraction, total: int) -> np.ndarray:
    """(T,) bool, False where capture missed a frame → (total,) at another rate: True where both frames around it were seen."""
    places = [divmod(index * source, target) for index in range(total)]
    before = np.minimum([int(frame) for frame, _ in places], len(valid) - 1)
    after = np.minimum([int(frame) + (rest > 0) for frame, rest in places], len(valid) - 1)
    return valid[before] & valid[after]


WAITS_FRAMES = 2
"""Input frames after an output's time that interpolation waits for."""


class Resampler:
    """Catmull-Rom interpolation between two rates; equal rates pass through unchanged and without delay.

    The curve passes through every input frame, so that lip closures survive. Beyond the first and the last frame it is
    extrapolated linearly, so that uniform motion stays uniform up to both ends.
    """

    def __init__(self, source: Fraction, target: Fraction) -> None:
        self.ratio = source / target
        """Input frames in an output frame."""

    def start(self) -> ResamplerState:
        return ResamplerState(None, 0, 0)

    def process(self, frames: Tensor, state: ResamplerState) -> tuple[Tensor, ResamplerState]:
        """(n, …) new input frames → (the output frames that are final, new state)."""
        if self.ratio == 1:
            return frames, ResamplerState(None, 0, state.given + len(frames))
        held = frames if state.frames is None else torch.cat([state.frames, frames])
        newest = state.first + len(held) - 1
        # output k needs inputs up to floor(k·ratio)+2
        stop = max(state.given, int((Fraction(newest - 1) / self.ratio).__ceil__()))
        out = self.between(held, state.first, state.given, stop)
        # a low output rate may next need an input that has not arrived yet, or, if none arrives, the newest one
        first = max(state.first, min(int(stop * self.ratio) - 1, newest))
        return out, ResamplerState(held[first - state.first :], first, stop)

    def finish(self, frames: Tensor, state: ResamplerState, total: int) -> Tensor:
        """The last input frames → the remaining output frames up to `total`; past the last input its value is held."""
        if self.ratio == 1:
            return frames[: max(total - state.given, 0)]
        held = frames if state.frames is None else torch.cat([state.frames, frames])
        return self.between(held, state.first, state.given, max(total, state.given))

    def between(self, held: Tensor, first: int, start: int, stop: int) -> Tensor:
        """Output frames start..stop of a piece of motion whose first frame is number `first`; past its last frame it is held."""
        if start == stop:
            return held[:0]
        # whole numbers are exact however long the recording, and twenty times faster than fractions
        over, under = self.ratio.numerator, self.ratio.denominator
        places = [divmod(index * over, under) for index in range(start, stop)]
        floors = torch.tensor([floor for floor, _ in places]) - first
        share = torch.tensor([rest / under for _, rest in places], dtype=held.dtype)
        share[floors >= len(held) - 1] = 0  # past the last input: held, not carried on by its slope
        share = share.view(-1, *[1] * (held.dim() - 1)).to(held.device)
        p0, p1, p2, p3 = (held[(floors + offset).clamp(0, len(held) - 1)] for offset in (-1, 0, 1, 2))
        at_start, at_end = (floors == 0).nonzero()[:, 0], (floors == len(held) - 2).nonzero()[:, 0]
        p0[at_start] = 2 * p1[at_start] - p2[at_start]
        p3[at_end] = 2 * p2[at_end] - p1[at_end]
        slope1, slope2 = (p2 - p0) / 2, (p3 - p1) / 2
        s2, s3 = share**2, share**3
        return p1 * (2 * s3 - 3 * s2 + 1) + slope1 * (s3 - 2 * s2 + share) + p2 * (3 * s2 - 2 * s3) + slope2 * (s3 - s2)


def at_rate(clip: Clip, fps: Fraction) -> Clip:
    """A clip at another frame rate, as long as its sound; frame k of both is at k/fps seconds. Large motion goes into a file.

    Nothing is taken from frames that capture missed: where both frames around a time were not seen, the new frame is missing
    too, and repeats the one before.

    Raises:
        InputError: the clip has no frames.
    """
    if clip.fps == fps:
        return clip
    if clip.n_frames == 0:
        raise InputError("a clip must have at least one frame to be resampled, got none")
    source = clip.weights if clip.weights is not None else clip.displacement
    assert source is not None
    # as many frames as any sound has, see docs/data_format.md; what remains at the end is held
    total = max(1, math.ceil(len(clip.audio) * fps / clip.sample_rate))
    values = spooled((total, *source.shape[1:]), np.float32)
    resampler, ratio, done = Resampler(clip.fps, fps), clip.fps / fps, 0
    for first, end in _runs(clip.valid, clip.n_frames):
        start = min(total, math.ceil(first / ratio))
        stop = total if end == clip.n_frames else min(total, int((end - 1) / ratio) + 1)
        values[done:start] = values[done - 1] if done else 0  # at rest before anything was seen
        for at in range(start, stop, CHUNK):
            until = min(at + CHUNK, stop)
            low, high = max(first, int(at * ratio) - 1), min(end, int((until - 1) * ratio) + 3)
            frames = torch.from_numpy(np.array(source[low:high], np.float32))
            values[at:until] = resampler.between(frames, low, at, until).numpy()
        done = max(stop, start)
    values[done:] = values[done - 1] if done else 0
    motion = {"weights": values} if clip.weights is not None else {"displacement": values}
    valid = None if clip.valid is None else seen_at(clip.valid, clip.fps, fps, total)
    return replace(clip, **motion, fps=fps, valid=valid, recipe=None)


def _runs(valid: np.ndarray | None, n_frames: int) -> Iterator[tuple[int, int]]:
    """(first, end) of every stretch of frames that capture did not miss."""
    seen = np.ones(n_frames, bool) if valid is None else valid
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


# ------------------------------------------------------------------------------------------------ smoothing


class Smoother:
    """y_k = (1 − 2w)·x_k + w·(x_{k−1} + x_{k+1}), streaming: one frame of delay, none at all for w = 0.

    The ends are held. A closure of the lips lasts several frames and survives; the frame-to-frame noise of sampling
    loses most of its third difference (see docs/results.md).
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def process(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(n, …) new frames, the frames held so far (None at the start) → (the frames that are final, new state)."""
        if self.weight == 0 or len(frames) == 0:
            return frames, state
        held = torch.cat([frames[:1] if state is None else state, frames])
        return self._mix(held), held[-2:]

    def finish(self, frames: Tensor, state: Tensor | None) -> Tensor:
        """The last frames → all that remain."""
        out, state = self.process(frames, state)
        if state is None:
            return out
        return torch.cat([out, self._mix(torch.cat([state, state[-1:]]))])

    def _mix(self, held: Tensor) -> Tensor:
        w = self.weight
        return (1 - 2 * w) * held[1:-1] + w * (held[:-2] + held[2:])
