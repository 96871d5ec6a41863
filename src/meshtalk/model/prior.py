"""The autoregressive prior p(c|a) over time and heads (eq. 6), parallel for training and one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from meshtalk.config import PriorConfig
from meshtalk.model.audio_encoder import leaky


class HeadLayer(nn.Module):
    """Linear over heads, masked so that a head sees lower heads only, plus audio, plus past frames.

    y_t = masked(x_t) + audio(a_t) + history(x_{t−1}, x_{t−1−dilation}): the past is seen by all heads in full.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, heads: int, *, strict: bool, dilation: int, audio: int) -> None:
        super().__init__()
        self.inputs, self.outputs, self.heads, self.dilation = inputs, outputs, heads, dilation
        self.strict = strict
        self.masked_linear = nn.Linear(heads * inputs, heads * outputs)
        self.audio = nn.Linear(audio, heads * outputs, bias=False) if audio else None
        self.history = (
            nn.Conv1d(heads * inputs, heads * outputs, 2, dilation=dilation, bias=False) if dilation else None
        )
        head = torch.arange(heads)
        visible = head[:, None] > head[None] if strict else head[:, None] >= head[None]
        mask = visible.float().repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch frames {self.heads*self.inputs}"],
        audio: Float[Tensor, "batch frames audio"],
        memory: Float[Tensor, "batch frames {self.heads*self.inputs}"] | None = None,
    ) -> Float[Tensor, "batch frames {self.heads*self.outputs}"]:
        """Args: x (B,T,H·inputs), audio (B,T,A), memory like x: used by later frames instead of x. Returns: (B,T,H·outputs)."""
        y = F.linear(x, self.masked_linear.weight * self.mask, self.masked_linear.bias)
        if self.audio is not None:
            y = y + self.audio(audio)
        if self.history is not None:
            seen = x if memory is None else memory
            past = F.pad(seen[:, :-1].transpose(1, 2), (self.dilation + 1, 0))
            y = y + self.history(past).transpose(1, 2)
        return y

    def now(
        self, audio: Float[Tensor, "batch audio"], past: list[Tensor]
    ) -> Float[Tensor, "batch {self.heads*self.outputs}"]:
        """Contribution of audio, bias and past frames to a frame: (B,H·outputs)."""
        y = self.masked_linear.bias.expand(len(audio), -1)
        if self.audio is not None:
            y = y + self.audio(audio)
        if self.history is not None:
            # both taps in one product over the weights as they lie in memory
            taps = torch.stack([past[-1 - self.dilation], past[-1]], -1)
            y = y + F.linear(taps.flatten(1), self.history.weight.flatten(1))
        return y


@dataclass
class PriorState:
    """Past inputs of every history layer, newest last; owned by the caller."""

    past: list[list[Tensor]]


class Prior(nn.Module):
    """Embedding, causal layers with dilations 1,2,4,8 and logits, each masked over heads.

    With the `inclusive` mask the first layer is strict and the others inclusive, and audio enters every layer: head h
    sees audio, all heads of all past frames, and heads below h of its own frame. The `strict` mask is the official
    release's, strict in every layer and without audio in the embedding and the logits: head 0 is a constant.
    """

    def __init__(self, config: PriorConfig, heads: int, classes: int, audio_code: int) -> None:
        super().__init__()
        self.config, self.heads, self.classes = config, heads, classes
        channels = config.channels
        strict = config.mask == "strict"
        outer_audio = 0 if strict else audio_code
        self.embedding = HeadLayer(classes, channels, heads, strict=True, dilation=0, audio=outer_audio)
        self.layers = nn.ModuleList(
            HeadLayer(channels, channels, heads, strict=strict, dilation=d, audio=audio_code) for d in config.dilations
        )
        self.logits = HeadLayer(channels, classes, heads, strict=strict, dilation=0, audio=outer_audio)
        # the strict embedding keeps a head from seeing its own code, and so the last head's code from everybody: later
        # frames are given it through an embedding of its own
        self.own = None if strict else nn.Parameter(torch.randn(heads, classes, channels) / classes)

    def forward(
        self,
        codes: Float[Tensor, "batch frames {self.heads} {self.classes}"],
        audio: Float[Tensor, "batch frames audio"],
    ) -> Float[Tensor, "batch frames {self.heads} {self.classes}"]:
        """Teacher-forced log-probabilities.

        Args:
            codes: (B,T,H,C) one-hot.
            audio: (B,T,A) audio codes.

        Returns:
            (B,T,H,C) log p(c_{t,h} | c_{<t}, c_{t,<h}, a)
        """
        x = self.embedding(codes.flatten(2), audio)
        memory = None if self.own is None else x + torch.einsum("bthc,hcd->bthd", codes, self.own).flatten(2)
        for layer in self.layers:
            x = leaky(layer(x, audio, memory))
            memory = None
        return self.logits(x, audio).unflatten(-1, (self.heads, self.classes)).log_softmax(-1)

    def start(self, batch: int) -> PriorState:
        """State before the first frame."""
        width = self.heads * self.config.channels
        zero = self.embedding.masked_linear.weight.new_zeros(batch, width)
        return PriorState([[zero] * (d + 1) for d in self.config.dilations])

    @torch.no_grad()
    def sample(
        self,
        audio: Float[Tensor, "batch frames audio"],
        state: PriorState,
        noise: Float[Tensor, "batch frames {self.heads} {self.classes}"] | None,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> tuple[Int[Tensor, "batch frames {self.heads}"], PriorState]:
        """`step` for T frames: (B,T,A) audio codes and (B,T,H,C) noise → ((B,T,H) labels, new state)."""
        labels = []
        for index in range(audio.shape[1]):
            drawn = None if noise is None else noise[:, index]
            label, state = self.step(audio[:, index], state, drawn, temperature, top_p)
            labels.append(label)
        if not labels:
            return torch.zeros(len(audio), 0, self.heads, dtype=torch.long, device=audio.device), state
        return torch.stack(labels, 1), state

    @torch.no_grad()
    def step(
        self,
        audio: Float[Tensor, "batch audio"],
        state: PriorState,
        noise: Float[Tensor, "batch {self.heads} {self.classes}"] | None,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> tuple[Int[Tensor, "batch {self.heads}"], PriorState]:
        """Sample the codes of one frame, head by head; constant work whatever the number of frames before.

        Args:
            audio: (B,A) audio code of the frame.
            noise: (B,H,C) standard Gumbel noise, or None for the most likely class.
            temperature: of the sampling; near 0 is argmax.
            top_p: nucleus sampling (Holtzman et al. 2020): sample among the most likely classes with this total probability.

        Returns:
            ((B,H) long labels, new state)
        """
        channels, classes = self.config.channels, self.classes
        embedded = self.embedding.now(audio, []).clone()
        embedding_weight = self.embedding.masked_linear.weight
        embedding_mask = self.embedding.mask
        layers = cast(list[HeadLayer], list(self.layers))
        bases = [layer.now(audio, past) for layer, past in zip(layers, state.past, strict=True)]
        logits_base = self.logits.now(audio, [])
        inputs = [torch.zeros_like(base) for base in bases]
        top = torch.zeros_like(bases[-1])
        labels = []
        memory = torch.zeros_like(bases[0]) if self.own is not None else inputs[0]
        for head in range(self.heads):
            rows = slice(head * channels, (head + 1) * channels)
            x = embedded[:, rows]
            for index, (layer, base) in enumerate(zip(layers, bases, strict=True)):
                inputs[index][:, rows] = x
                x = leaky(base[:, rows] + _masked_rows(layer, inputs[index], rows, head, channels))
            top[:, rows] = x
            classes_rows = slice(head * classes, (head + 1) * classes)
            scores = logits_base[:, classes_rows] + _masked_rows(self.logits, top, classes_rows, head, channels)
            if noise is not None:
                scores = nucleus(scores / temperature, top_p) + noise[:, head]
            label = scores.argmax(-1)
            labels.append(label)
            column = head * classes + label
            embedded = embedded + embedding_weight[:, column].T * embedding_mask[:, column].T
            if self.own is not None:
                memory[:, rows] = inputs[0][:, rows] + self.own[head, label]
        past = [[*old[1:], new] for old, new in zip(state.past, [memory, *inputs[1:]], strict=True)]
        return torch.stack(labels, 1), PriorState(past)


def nucleus(scores: Float[Tensor, "batch classes"], top_p: float) -> Float[Tensor, "batch classes"]:
    """Unnormalised log-probabilities (B,C) with −inf outside the smallest set of classes that holds `top_p`."""
    if top_p >= 1:
        return scores
    ranked, order = scores.sort(-1, descending=True)
    shares = ranked.softmax(-1)
    held = shares.cumsum(-1) - shares  # of the more likely classes
    return torch.full_like(scores, -torch.inf).scatter(-1, order, ranked.where(held < top_p, -torch.inf))


def _masked_rows(layer: HeadLayer, x: Tensor, rows: slice, head: int, channels: int) -> Tensor:
    """The masked product for the rows of one head: only the visible columns are multiplied."""
    visible = slice(0, (head if layer.strict else head + 1) * channels)
    return F.linear(x[:, visible], layer.masked_linear.weight[rows, visible])
