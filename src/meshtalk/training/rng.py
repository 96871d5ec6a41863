"""Per-rank slices of global randomness: random numbers are generated for the whole batch, and a slice uses its rows.

A batch (clips, starts, noise, dropout) is a function of seed, stage and step alone. Processes and micro-batches take equal
slices of it, so that the mean of their losses and gradients is the whole's, however many they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Part:
    """Slice `index` of `count` equal slices of a batch."""

    index: int = 0
    count: int = 1

    def rows(self, size: int) -> np.ndarray:
        """(size/count,) rows of a batch of `size` in this slice."""
        share = size // self.count
        return np.arange(self.index * share, (self.index + 1) * share)


class WholeDraws(TorchFunctionMode):
    """Within it, dropout and exponential noise of some rows equal those of the whole batch; on a CPU, bit for bit torch's own.

    Args:
        rows: (n,) rows of the batch that are computed, in order.
        size: of the whole batch.
        blocks: number of tensors of n rows concatenated in the input (each has its own noise).

    A tensor may have k entries for each row along its first dimension, a row's own next to each other.
    """

    def __init__(self, rows: np.ndarray, size: int, blocks: int = 1) -> None:
        super().__init__()
        self.all = len(rows) == size
        self.rows = torch.from_numpy(np.concatenate([rows + block * size for block in range(blocks)]))
        self.size = size * blocks

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is Tensor.exponential_ and not self.all:
            return args[0].copy_(self._drawn(args[0], lambda whole: whole.exponential_(*args[1:], **kwargs)))
        return func(*args, **kwargs)

    def _dropout(self, x: Tensor, p: float, training: bool, inplace: bool = False) -> Tensor:
        # fused dropout, as on GPUs, does not expose its mask: it is sampled here for all rows, on every device in one way
        if not training or p == 0:
            return x
        return x * self._drawn(x, lambda whole: whole.bernoulli_(1 - p).div_(1 - p))

    def _drawn(self, like: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        if self.all:
            return draw(torch.empty_like(like))
        entries = like.shape[0] // len(self.rows)
        whole = draw(like.new_empty((self.size * entries, *like.shape[1:])))
        return whole.unflatten(0, (self.size, entries))[self.rows.to(like.device)].flatten(0, 1)
