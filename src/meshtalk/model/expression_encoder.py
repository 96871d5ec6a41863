"""Expression encoder: mesh animation → one code per frame (the expression half of eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.model.audio_encoder import leaky

LstmState = tuple[Tensor, Tensor]


SHORT = 4
"""Up to so many frames a fused LSTM spends its time on laying out its weights, and single cells are faster."""


def run_lstm(lstm: nn.LSTM, x: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
    """`lstm(x, state)` of (B,T,n), in whichever way is faster for so many frames."""
    if x.shape[1] > SHORT:
        return lstm(x, state)
    zero = x.new_zeros(lstm.num_layers, len(x), lstm.hidden_size)
    hidden, cell = (list(part.unbind(0)) for part in (state if state is not None else (zero, zero)))
    outputs = []
    for frame in x.unbind(1):
        for layer, weights in enumerate(lstm.all_weights):
            hidden[layer], cell[layer] = torch.lstm_cell(frame, (hidden[layer], cell[layer]), *weights)
            frame = hidden[layer]
        outputs.append(frame)
    return torch.stack(outputs, 1), (torch.stack(hidden), torch.stack(cell))


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
        x, after = run_lstm(self.lstm, x, state)
        return self.code(x), after
