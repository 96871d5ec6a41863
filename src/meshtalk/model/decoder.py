"""Decoder: template and categorical codes → mesh animation (eq. 1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.model.audio_encoder import leaky
from meshtalk.model.expression_encoder import LstmState


class Decoder(nn.Module):
    """A U-net over the vertex dimension: template → 512 → 256 → 128, joined with the codes, LSTM, and back up.

    Every skip is added, last layer's first. In dense geometry this is the paper's network to the letter and the last
    skip is the template itself. In basis geometry the output is a displacement from the template, so that skip is
    absent, the output layer is linear (a displacement has both signs) and the LSTM has a skip of its own.
    """

    def __init__(self, n_template: int, n_motion: int, heads: int, classes: int, *, dense: bool) -> None:
        super().__init__()
        if dense and n_template != n_motion:
            raise ValueError(f"dense geometry has equal sizes of template and motion, not {n_template} and {n_motion}")
        self.heads, self.classes, self.dense = heads, classes, dense
        self.encoder = nn.ModuleList([nn.Linear(n_template, 512), nn.Linear(512, 256), nn.Linear(256, 128)])
        self.fusion = nn.Linear(128 + heads * classes, 128)
        self.temporal = nn.LSTM(128, 128, num_layers=2, batch_first=True)
        self.decoder = nn.ModuleList([nn.Linear(128, 256), nn.Linear(256, 512), nn.Linear(512, n_motion)])
        self.vertex_bias = nn.Parameter(torch.zeros(n_motion))

    def encode_template(self, template: Float[Tensor, "batch inputs"]) -> list[Float[Tensor, "batch _"]]:
        """(B,n_template) → skips for the three upward layers and the template code: once per person, not per frame."""
        skips = []
        x = template
        for layer in self.encoder:
            skips.append(x)
            x = leaky(layer(x))
        return [*reversed(skips), x]

    def forward(
        self,
        encoded: list[Float[Tensor, "batch _"]],
        codes: Float[Tensor, "batch frames {self.heads} {self.classes}"],
        state: LstmState | None = None,
    ) -> tuple[Float[Tensor, "batch frames motion"], LstmState]:
        """Decode T frames.

        Args:
            encoded: of `encode_template`, batch B.
            codes: (B,T,H,C) one-hot (or relaxed).
            state: LSTM state after the frames before.

        Returns:
            ((B,T,n_motion) normalised motion, new state)
        """
        *skips, template_code = encoded
        frames = codes.shape[1]
        joined = torch.cat([template_code[:, None].expand(-1, frames, -1), codes.flatten(2)], -1)
        x = leaky(self.fusion(joined))
        y, after = self.temporal(x, state)
        x = y if self.dense else x + y
        for index, layer in enumerate(self.decoder):
            x = leaky(layer(x)) + skips[index][:, None] if index < 2 or self.dense else layer(x)
        return x + self.vertex_bias, after
