"""Compiled convolution stacks for a few new frames, as in live streaming.

For three frames torch spends its time on calls, not on arithmetic. Here a whole stack is one call. The same function as
`streaming.run` over the stack's own layers, which is the reference and is used for long inputs and on other devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from meshtalk.model.fast_networks_kernels import PLAIN, run_stack
from meshtalk.model.streaming import Tails


@dataclass(frozen=True)
class Step:
    """One layer of a stack. All layers but the weightless one, a maximum over two times, are convolutions."""

    weight: Tensor | None
    """(O,C,taps over time,taps over bands); over time unpadded, over bands padded to keep their number."""
    bias: Tensor | None = None
    dilation: int = 1
    """Of the taps over time; of the two times of a maximum."""
    activation: int = PLAIN
    affine: tuple[Tensor, Tensor] | None = None
    """(O,) gain and offset of STEM."""
    crop: int = -1
    """Average with the input from this frame on; -1: no such skip."""
    halves_bands: bool = False
    """Maximum over pairs of bands at the end."""


class CompiledStack:
    """A stack packed for the kernel. Weights are copied: build a new one when they change.

    Args:
        steps: in order; to each belongs one tail of `streaming.run`.
        bands, channels: of the input.
        normalise: (bands·channels,) mean and standard deviation of the input, if it comes raw.
    """

    def __init__(
        self, steps: Sequence[Step], bands: int, channels: int, normalise: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self._normalise = None if normalise is None else tuple(part.numpy() for part in normalise)
        rows, packed, at = [], [], 0
        self._tails: list[tuple[int, int, int]] = []
        for step in steps:
            outputs, over_time, over_bands = channels, 2, 1
            weight_at = at
            if step.weight is not None:
                assert step.bias is not None
                outputs, _, over_time, over_bands = step.weight.shape
                # channels last, as frames are laid out
                parts = [step.weight.permute(0, 2, 3, 1).flatten(), step.bias, *(step.affine or ())]
                packed += [part.detach().float().cpu().flatten() for part in parts]
                at += sum(part.numel() for part in parts)
            span = (over_time - 1) * step.dilation
            rows.append([
                int(step.weight is not None), over_time, over_bands, step.dilation, span, bands, channels, outputs, weight_at,
                step.activation, step.crop, int(step.halves_bands),
            ])  # fmt: skip
            self._tails.append((span, bands, channels))
            bands, channels = bands // 2 if step.halves_bands else bands, outputs
        self._bands, self._channels = bands, channels
        self._has_bands = self._tails[0][1] > 1
        self._program = np.array(rows, np.int64)
        self._weights = torch.cat(packed).numpy().copy()

    def pack(self, tails: Tails) -> np.ndarray | None:
        """Tails of `streaming.run` as the kernel's, or None while they are not full: the first outputs are torch's."""
        if len(tails) < len(self._tails) or any(t.shape[2] < s[0] for t, s in zip(tails, self._tails, strict=True)):
            return None
        flat = []
        for tail, (span, bands, channels) in zip(tails, self._tails, strict=True):
            flat.append(tail[0].reshape(channels, span, bands).permute(1, 2, 0).flatten())
        return torch.cat(flat).numpy()

    def unpack(self, flat: np.ndarray) -> Tails:
        """Tails of `streaming.run` from what `pack` made."""
        parts = torch.from_numpy(flat).split([span * bands * channels for span, bands, channels in self._tails])
        tails = [
            part.view(span, bands, channels).permute(2, 0, 1)[None]
            for part, (span, bands, channels) in zip(parts, self._tails, strict=True)
        ]
        return tuple(tails if self._has_bands else (tail[..., 0] for tail in tails))

    def run(self, x: np.ndarray, tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(L,bands·channels) new frames → ((L,channels·bands) outputs, as many as there are frames; new tails)."""
        tails, frames = tails.copy(), len(x)
        if self._normalise is not None:
            mean, std = self._normalise
            x = (x - mean) / std
        out = run_stack(self._program, self._weights, tails, np.ascontiguousarray(x, np.float32).reshape(-1), frames)
        return out.reshape(frames, self._bands, self._channels).swapaxes(1, 2).reshape(
            frames, self._bands * self._channels
        ), tails


SHORT = 16
"""Up to so many new frames the kernel is faster than torch."""


class Pieces:
    """A stack for chunks of any length: short ones use the kernel, if there is one, others torch.

    Args:
        layers: (1,L,·) new frames and tails → (1,L',·) outputs and new tails, by torch.
        short: the same packed for the kernel.
    """

    def __init__(
        self, layers: Callable[[Tensor, Tails], tuple[Tensor, Tails]], short: CompiledStack | None = None
    ) -> None:
        self._layers, self._short = layers, short

    def run(self, x: Tensor, tails: Tails | np.ndarray) -> tuple[Tensor, Tails | np.ndarray]:
        """(1,L,·) new frames → ((1,L',·) final outputs, new tails). It accepts tails of both paths."""
        if self._short is not None and x.shape[1] <= SHORT:
            packed = tails if isinstance(tails, np.ndarray) else self._short.pack(tails)
            if packed is not None:
                out, after = self._short.run(x[0].numpy(), packed)
                return torch.from_numpy(out)[None], after
        if isinstance(tails, np.ndarray):
            assert self._short is not None
            tails = self._short.unpack(tails)
        return self._layers(x, tails)
