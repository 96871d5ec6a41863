"""Expression encoder: mesh animation → one code per frame (the expression half of eq. 3)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.model.audio_encoder import leaky

LstmState = tuple[Tensor, Tensor]


class ExpressionEncoder(nn.Module):
    """Normalised motion (B,T,n) → 256 → 128 → LSTM → (B,T,code)."""

    def __init__(self, n_motion: int, code: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(n_motion, 256), nn.Linear(256, 128)])
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.code = nn.Linear(128, code)

    def forward(
        self, motion: Float[Tensor, "batch frames motion"], state: LstmState | None = None
    ) -> tuple[Float[Tensor, "batch frames code"], LstmState]:
        """Args: motion (B,T,n), state of the frames before. Returns: ((B,T,code), new state)."""
        x = motion
        for layer in self.layers:
            x = leaky(layer(x))
        x, after = self.lstm(x, state)
        return self.code(x), after
