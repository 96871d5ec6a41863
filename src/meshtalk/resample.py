"""Motion from one frame rate to another, streaming, exact in time: frame k of either rate is at k/fps seconds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ResamplerState:
    """Frames that are still needed, where they begin, and how many output frames were given."""

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
    """Catmull-Rom interpolation between two rates; equal rates pass through untouched and without delay.

    The curve goes through every input frame, so that a closure of the lips survives.
    """

    def __init__(self, source: Fraction, target: Fraction) -> None:
        self.ratio = source / target
        """Input frames in an output frame."""

    def start(self) -> ResamplerState:
        return ResamplerState(None, 0, 0)

    def process(self, frames: Tensor, state: ResamplerState) -> tuple[Tensor, ResamplerState]:
        """(n, …) new input frames → (the output frames that became certain, new state)."""
        if self.ratio == 1:
            return frames, ResamplerState(None, 0, state.given + len(frames))
        held = frames if state.frames is None else torch.cat([state.frames, frames])
        newest = state.first + len(held) - 1
        # output k needs inputs up to floor(k·ratio)+2
        stop = max(state.given, int((Fraction(newest - 1) / self.ratio).__ceil__()))
        out = self._interpolate(held, state.first, state.given, stop)
        # a low output rate may next need an input that has not come yet, or, if none comes, the newest one
        first = max(state.first, min(int(stop * self.ratio) - 1, newest))
        return out, ResamplerState(held[first - state.first :], first, stop)

    def finish(self, frames: Tensor, state: ResamplerState, total: int) -> Tensor:
        """The last input frames → the output frames up to `total`; past the last input its value is held."""
        if self.ratio == 1:
            return frames[: max(total - state.given, 0)]
        held = frames if state.frames is None else torch.cat([state.frames, frames])
        return self._interpolate(held, state.first, state.given, max(total, state.given))

    def _interpolate(self, held: Tensor, first: int, start: int, stop: int) -> Tensor:
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
        slope1, slope2 = (p2 - p0) / 2, (p3 - p1) / 2
        s2, s3 = share**2, share**3
        return p1 * (2 * s3 - 3 * s2 + 1) + slope1 * (s3 - 2 * s2 + share) + p2 * (3 * s2 - 2 * s3) + slope2 * (s3 - s2)
