"""A light three-frame smoother of decoded motion: sampled codes jump where faces do not."""

from __future__ import annotations

import torch
from torch import Tensor


class Smoother:
    """y_k = (1 − 2w)·x_k + w·(x_{k−1} + x_{k+1}), streaming: one frame of delay, none at all for w = 0.

    The ends are held. A closure of the lips lasts several frames and survives; the frame-to-frame noise of sampling
    loses most of its third difference (see docs/results.md).
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def process(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(n, …) new frames, the frames held so far (None at the start) → (the frames that became certain, new state)."""
        if self.weight == 0 or len(frames) == 0:
            return frames, state
        held = torch.cat([frames[:1] if state is None else state, frames])
        return self._mix(held), held[-2:]

    def finish(self, frames: Tensor, state: Tensor | None) -> Tensor:
        """The last frames → all that are still owed."""
        out, state = self.process(frames, state)
        if state is None:
            return out
        return torch.cat([out, self._mix(torch.cat([state, state[-1:]]))])

    def _mix(self, held: Tensor) -> Tensor:
        w = self.weight
        return (1 - 2 * w) * held[1:-1] + w * (held[:-2] + held[2:])
