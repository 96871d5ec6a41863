"""Compiled encoder and decoder for a few frames; see fast_stack.py for why.

The same functions as `ExpressionEncoder` with `Fusion` (eq. 3) and `Decoder` (eq. 1), which are the reference and are used for
long inputs and on other devices.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from meshtalk.model.fast_networks_kernels import decode, encode
from meshtalk.model.networks import Decoder, ExpressionEncoder, Fusion, LstmState

SHORT = 4
"""Up to so many frames of all takes together the kernels are faster than torch."""


class CompiledEncoder:
    """Eq. 3. Weights are copied: build a new one when they change."""

    def __init__(self, expression: ExpressionEncoder, fusion: Fusion) -> None:
        linears = [layer for layer in fusion.mlp if isinstance(layer, nn.Linear)]
        self.heads, self.classes = fusion.heads, fusion.classes
        self._layers = [
            *(_dense(layer) for layer in expression.layers), _cell(expression.lstm, 0), _dense(expression.code),
            *(_dense(layer) for layer in linears),
        ]  # fmt: skip
        self._size = expression.lstm.hidden_size

    def labels(
        self,
        motion: Float[Tensor, "takes frames motion"],
        code: Float[Tensor, "takes frames audio"],
        state: LstmState | None,
    ) -> tuple[Int[Tensor, "takes frames {self.heads}"], LstmState]:
        """(N,T,n) normalised motion and (N,T,A) audio codes → ((N,T,H) most likely codes, new state)."""
        hidden, cell = _state(state, 1, len(motion), self._size)
        labels = np.empty((*motion.shape[:2], self.heads), np.int64)
        encode(*self._layers, motion.numpy(), code.numpy(), hidden[0], cell[0], self.classes, labels)
        return torch.from_numpy(labels), (torch.from_numpy(hidden), torch.from_numpy(cell))


class CompiledDecoder:
    """Eq. 1. Weights are copied: build a new one when they change."""

    def __init__(self, decoder: Decoder) -> None:
        size = decoder.temporal.hidden_size
        weight, bias = decoder.fusion.weight.detach(), decoder.fusion.bias.detach()
        self._face = torch.cat([weight[:, :size].flatten(), bias]).numpy().copy()
        self._codes = weight[:, size:].T.contiguous().numpy()
        self._cells = tuple(_cell(decoder.temporal, layer) for layer in range(2))
        self._up = tuple(_dense(layer) for layer in decoder.decoder)
        self._vertex_bias = decoder.vertex_bias.detach().numpy()
        self._dense, self._size, self._classes = decoder.dense, size, decoder.classes

    def __call__(
        self, encoded: list[Tensor], labels: Int[Tensor, "takes frames heads"], state: LstmState | None
    ) -> tuple[Float[Tensor, "takes frames motion"], LstmState]:
        """As `Decoder.forward`, from (N,T,H) labels."""
        hidden, cell = _state(state, 2, len(labels), self._size)
        out = np.empty((*labels.shape[:2], len(self._vertex_bias)), np.float32)
        *skips, face = (np.ascontiguousarray(part.numpy()) for part in encoded)
        decode(
            self._face, self._codes, *self._cells, *self._up, self._vertex_bias, *skips, face, self._dense, self._classes,
            labels.numpy(), hidden, cell, out,
        )  # fmt: skip
        return torch.from_numpy(out), (torch.from_numpy(hidden), torch.from_numpy(cell))


def _dense(layer: nn.Module) -> np.ndarray:
    """Weights (O,n), flat, and bias (O,) of a linear layer."""
    assert isinstance(layer, nn.Linear)
    return torch.cat([layer.weight.detach().flatten(), layer.bias.detach()]).numpy().copy()


def _cell(lstm: nn.LSTM, layer: int) -> np.ndarray:
    """One layer of an LSTM as a linear layer over [input, hidden state]."""
    of_input, of_hidden, bias, other_bias = (part.detach() for part in lstm.all_weights[layer])
    return torch.cat([torch.cat([of_input, of_hidden], 1).flatten(), bias + other_bias]).numpy().copy()


def _state(state: LstmState | None, layers: int, takes: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A copy of an LSTM's state, to be changed."""
    if state is None:
        return np.zeros((layers, takes, size), np.float32), np.zeros((layers, takes, size), np.float32)
    hidden, cell = (part.contiguous().numpy().copy() for part in state)
    return hidden, cell
