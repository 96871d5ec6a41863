"""Stacks of unpadded layers over time, run piece by piece: every output is computed once, whatever the pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Layer = tuple[int, Callable[[Tensor], Tensor]]
"""How many inputs before an output's last one a layer needs, and the layer: (B,C,L,…) → (B,C',L−span,…)."""
Tails = tuple[Tensor, ...]
"""For each layer the inputs that later outputs still need; empty before the first piece."""


def run(layers: Sequence[Layer], x: Tensor, tails: Tails = ()) -> tuple[Tensor | None, Tails]:
    """Push new inputs through a stack.

    Args:
        x: (B,C,L,…) new inputs, time on the third axis.
        tails: as the run before returned them; () at the start.

    Returns:
        ((B,C',L',…) outputs that became certain or None if none did, new tails). One run over everything gives the same
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
