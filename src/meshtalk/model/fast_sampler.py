"""Fast CPU sampler of the prior (eq. 6): fused kernels with constant work per frame.

The same function as `Prior.step`, which is the reference and is used on other devices. What makes it fast:

- a layer's past enters through two taps, t−1 and t−1−d. The far tap of frames t..t+d is known at t, so that its weights
  are read once in d+1 frames, for all of them;
- only the visible half of masked weights is read, and a label is a row of the embedding, not a one-hot product;
- heads are sampled in groups: one thread can sample only one head after the other, but the contribution of earlier groups to
  the next is most of the weights, and known before it begins;
- audio enters all layers of all frames through one product before the loop;
- with many takes, weights are read once for all of them; with bfloat16, half as many bytes are.

Every dot product has one fixed order, whatever the number of frames, takes or threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from meshtalk.model import fast_sampler_kernels as kernels
from meshtalk.model.prior import HeadLayer, Prior

Precision = Literal["float32", "bfloat16"]
"""Of the prior's weights; sums are float32 always."""
PARALLEL_WEIGHTS = 4_000_000
"""Smaller layers are done before a second thread has woken up."""
GROUP = 8
"""Heads of a large prior that are sampled before threads jointly add their contribution to all later ones."""


@dataclass(frozen=True)
class SamplerState:
    """State of the sampler; owned by the caller, never changed in place."""

    frame: int
    past: np.ndarray
    """(L,D,N,R) inputs of each layer in the last D frames, a ring: frame t lies at t mod D."""
    ahead: np.ndarray
    """(L,D,N,R) contribution of the far tap to the frames of the current block of each layer."""


@dataclass(frozen=True)
class _Group:
    """Heads first..stop, and where in the packed weights is what they see."""

    first: int
    stop: int
    rows: int
    """Of what they see of earlier groups: all layers' and the logits'."""
    shared_at: int
    at: int


class Sampler:
    """Samples codes from a prior; weights are packed once, and it is stateless: one serves any number of sessions.

    Args:
        prior: on the CPU.
        precision: `bfloat16` halves the memory that sampling has to read; see docs/results.md for what it costs.
    """

    def __init__(self, prior: Prior, precision: Precision = "float32") -> None:
        self.heads, self.classes, self.channels = prior.heads, prior.classes, prior.config.channels
        layers = cast(list[HeadLayer], list(prior.layers))
        self.dilations = np.array(prior.config.dilations, np.int64)
        self.depth = int(self.dilations.max()) + 1
        self.strict = prior.config.mask == "strict"

        def pack(weights: list[Tensor]) -> np.ndarray:
            return _pack(torch.cat([w.detach().flatten() for w in weights]), precision)

        history = [layer.history.weight for layer in layers if layer.history is not None]
        self._far, self._near = (pack([weight[..., tap] for weight in history]) for tap in (0, 1))
        self._parallel = self._near.size + self._far.size >= PARALLEL_WEIGHTS
        self._groups: list[_Group] = []
        within: list[Tensor] = []
        at = 0
        size = GROUP if self._parallel else self.heads
        for first in range(0, self.heads, size):
            stop = min(first + size, self.heads)
            shared = list(self._shared([*layers, prior.logits], first, stop))
            visible = list(self._visible([*layers, prior.logits], first, stop))
            shared_at, at = at, at + sum(w.numel() for w in shared)
            self._groups.append(_Group(first, stop, sum(len(w) for w in shared), shared_at, at))
            at += sum(w.numel() for w in visible)
            within += [*shared, *visible]
        self._within = pack(within)
        embedding = prior.embedding
        self._embedding = (embedding.masked_linear.weight * embedding.mask).detach().T.contiguous().numpy()
        self._own = np.zeros((0, 0, 0), np.float32) if prior.own is None else prior.own.detach().numpy()
        outer = [embedding, *layers, prior.logits]
        code = next(layer.audio.in_features for layer in outer if layer.audio is not None)
        self._audio = torch.cat([
            torch.zeros(len(layer.masked_linear.bias), code) if layer.audio is None else layer.audio.weight.detach()
            for layer in outer
        ])  # fmt: skip
        self._bias = torch.cat([layer.masked_linear.bias.detach() for layer in outer])

    def _shared(self, layers: list[HeadLayer], first: int, stop: int) -> Iterator[Tensor]:
        """What heads first..stop see of the heads before them, layer by layer."""
        for layer in layers:
            yield layer.masked_linear.weight[first * layer.outputs : stop * layer.outputs, : first * self.channels]

    def _visible(self, layers: list[HeadLayer], first: int, stop: int) -> Iterator[Tensor]:
        """What the mask leaves of the weights between heads first..stop, head by head: read in one go, without gaps."""
        for head in range(first, stop):
            seen = slice(first * self.channels, (head if self.strict else head + 1) * self.channels)
            for layer in layers:
                yield layer.masked_linear.weight[head * layer.outputs : (head + 1) * layer.outputs, seen]

    def start(self, takes: int = 1) -> SamplerState:
        """State before the first frame of N takes: nothing has been said."""
        zeros = np.zeros((len(self.dilations), self.depth, takes, self.heads * self.channels), np.float32)
        return SamplerState(0, zeros, zeros)

    def sample(
        self,
        audio: Float[Tensor, "takes frames audio"],
        state: SamplerState,
        noise: Float[Tensor, "takes frames {self.heads} {self.classes}"] | None,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> tuple[Int[Tensor, "takes frames {self.heads}"], SamplerState]:
        """Codes of the next frames; arguments and result as of `Prior.sample`."""
        takes, frames = audio.shape[:2]
        state = replace(state, past=state.past.copy(), ahead=state.ahead.copy())
        base = F.linear(audio, self._audio, self._bias).transpose(0, 1).contiguous().numpy()
        labels = np.empty((frames, takes, self.heads), np.int64)
        drawn = None if noise is None else (noise.float()).transpose(0, 1).contiguous().numpy()
        nothing = np.zeros((0, self.heads, self.classes), np.float32)
        layers, width = len(self.dilations), self.heads * self.channels
        history = np.empty((layers, takes, width), np.float32)
        top, memory = np.empty((takes, width), np.float32), np.empty((takes, width), np.float32)
        threads = torch.get_num_threads() if self._parallel else 1
        for index in range(frames):
            frame = state.frame + index
            recall = partial(
                kernels.recall,
                self._near,
                self._far,
                self.dilations,
                state.past,
                state.ahead,
                frame,
                history,
            )
            _in_parts(recall, width, threads)
            slot = frame % self.depth
            for group in self._groups:
                begin, end = group.first * self.channels, group.stop * self.channels
                if begin:
                    shared = partial(
                        kernels.reach, self._within, group.shared_at, begin, end, base[index], history, top, state.past, slot
                    )  # fmt: skip
                    _in_parts(shared, group.rows, threads)
                kernels.choose(
                    self._within, group.at, group.first, group.stop, self._embedding, self._own, self.strict, base[index],
                    history, nothing if drawn is None else drawn[index], float(temperature), float(top_p), top, memory,
                    state.past, slot, labels[index],
                )  # fmt: skip
        return torch.from_numpy(labels).transpose(0, 1), replace(state, frame=state.frame + frames)


def _pack(weights: Tensor, precision: Precision) -> np.ndarray:
    """Contiguous float32, or the bits of bfloat16 as uint16."""
    if precision == "bfloat16":
        return weights.to(torch.bfloat16).view(torch.uint16).numpy().copy()
    return weights.float().numpy().copy()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Numba's own threads may not be entered by two callers at once; a kernel without the GIL in a plain thread may."""
    return ThreadPoolExecutor(threads, thread_name_prefix="meshtalk-sampler")


def _in_parts(work: partial[None], rows: int, threads: int) -> None:
    """Run `work(first, stop)` over all rows, in as many parts as there are threads, one of them here."""
    if threads == 1:
        work(0, rows)
        return
    cuts = [rows * i // threads // kernels.TILE * kernels.TILE for i in range(threads)] + [rows]
    others = [_pool(threads).submit(work, a, b) for a, b in itertools.pairwise(cuts[1:])]
    work(cuts[0], cuts[1])
    for other in others:
        other.result()
