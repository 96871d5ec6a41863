"""Streaming execution of stacks of unpadded layers over time: every output is computed once, for any chunking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Layer = tuple[int, Callable[[Tensor], Tensor]]
"""(span, layer): the layer maps (B,C,L,…) → (B,C',L−span,…)."""
Tails = tuple[Tensor, ...]
"""Per layer, the inputs that later outputs depend on; empty before the first chunk."""


def run(layers: Sequence[Layer], x: Tensor, tails: Tails = ()) -> tuple[Tensor | None, Tails]:
    """Push new inputs through a stack.

    Args:
        x: (B,C,L,…) new inputs, time on the third axis.
        tails: of the previous run; () at the start.

    Returns:
        ((B,C',L',…) final outputs or None if there are none, new tails). One run over everything gives the same
        outputs as any sequence of runs, up to the rounding of the layers themselves.
    """
    kept = list(tails)
    for index, (span, layer) in enumerate(layers):
        if index < len(tails):
            x = torch.cat([tails[index], x], 2)
        tail = x[:, :, max(x.shape[2] - span, 0) :].clone()  # a view would keep all inputs alive
        kept[index : index + 1] = [tail]
        if x.shape[2] <= span:
            return None, tuple(kept)
        x = layer(x)
    return x, tuple(kept)
