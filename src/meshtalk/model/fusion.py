"""Fusion: audio code and expression code → logits of the categorical latents (eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Fusion(nn.Module):
    """Concatenation → 256 → 256 → H·C, log-softmax over C."""

    def __init__(self, expression_code: int, audio_code: int, heads: int, classes: int) -> None:
        super().__init__()
        self.heads, self.classes = heads, classes
        self.mlp = nn.Sequential(
            nn.Linear(expression_code + audio_code, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, heads * classes),
        )

    def forward(
        self, expression: Float[Tensor, "batch frames expression"], audio: Float[Tensor, "batch frames audio"]
    ) -> Float[Tensor, "batch frames {self.heads} {self.classes}"]:
        """Args: (B,T,code) each. Returns: (B,T,H,C) log-probabilities."""
        logits = self.mlp(torch.cat([expression, audio], -1))
        return logits.unflatten(-1, (self.heads, self.classes)).log_softmax(-1)
