"""Pretrained phonetic trunk: speech features that generalise to unseen speakers.

First layers of Google's speech embedding (arXiv 2002.01322, Apache-2.0; see assets/PHONETIC_TRUNK_NOTICE.txt).
The original pools time to one output every 40 ms; here every pooling becomes a dilation instead, so that the
same filters give a frame every 10 ms, equal to running the original once for each offset.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from meshtalk.model import streaming
from meshtalk.model.fast_networks_kernels import CLAMPED, STEM
from meshtalk.model.fast_stack import CompiledStack, Pieces, Step

WEIGHTS = Path(__file__).parent.parent / "assets/phonetic_trunk.safetensors"
N_LAYERS = 14
HOPS = 40
"""Receptive field of an output in mel frames (415 ms)."""
N_MELS = 32
N_FEATURES = 384
_TIME_POOL = (1, 9)
"""Layers after which the original halves time (and bands)."""
_BAND_POOL = (1, 5, 9)
"""Layers after which it halves the bands."""


def _activation(x: Tensor) -> Tensor:
    """In place: the trunk is never trained, and what it reads was made by the layer before."""
    return F.leaky_relu_(x, 0.2).clamp_(min=-0.4)


class PhoneticTrunk(nn.Module):
    """Frozen network, mel (B,L,32) → features (B,L−39,384).

    Its tensors come from the package and are never trained, so that they are buffers which no checkpoint repeats.
    """

    stem_weight: Tensor
    norm_gain: Tensor
    norm_offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = load_file(WEIGHTS)
        self.register_buffer("stem_weight", weights["stem.weight"], persistent=False)
        self.register_buffer("norm_gain", weights["norm.gain"], persistent=False)
        self.register_buffer("norm_offset", weights["norm.offset"], persistent=False)
        for index in range(N_LAYERS):
            self.register_buffer(f"weight_{index}", weights[f"layers.{index}.weight"], persistent=False)
            self.register_buffer(f"bias_{index}", weights[f"layers.{index}.bias"], persistent=False)

    @torch.no_grad()
    def forward(self, mel: Float[Tensor, "batch length 32"]) -> Float[Tensor, "batch length-39 384"]:
        """Args: mel (B,L,32) with L ≥ 40. Returns: (B,L−39,384), output i sees mel frames i..i+39."""
        return self.stream(mel)[0]

    @torch.no_grad()
    def stream(
        self, mel: Float[Tensor, "batch length 32"], tails: streaming.Tails = ()
    ) -> tuple[Float[Tensor, "batch outputs 384"], streaming.Tails]:
        """Streaming `forward`: (B,L,32) new mel frames → ((B,L',384) features that are final, new tails)."""
        x, tails = streaming.run(self._layers(), mel[:, None], tails)
        features = mel.new_zeros(len(mel), 0, N_FEATURES) if x is None else x.permute(0, 2, 1, 3).flatten(2)
        return features, tails

    def _layers(self) -> list[streaming.Layer]:
        layers: list[streaming.Layer] = [(2, self._stem)]
        dilation = 1
        for index in range(N_LAYERS):
            taps = self.get_buffer(f"weight_{index}").shape[2]
            layers.append(((taps - 1) * dilation, partial(self._convolve, index, dilation)))
            if index in _TIME_POOL:
                layers.append((dilation, partial(_pool_time, dilation)))
                dilation *= 2
        return layers

    def _stem(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.stem_weight, padding=(0, 1)).relu_()
        return _activation(x.mul_(self.norm_gain[:, None, None]).add_(self.norm_offset[:, None, None]))

    def _convolve(self, index: int, dilation: int, x: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
        padding = (0, weight.shape[3] // 2)
        x = _activation(F.conv2d(x, weight, bias, padding=padding, dilation=(dilation, 1)))
        return F.max_pool2d(x, (1, 2)) if index in _BAND_POOL else x

    def steps(self) -> list[Step]:
        """The same layers for the kernel of short pieces."""
        norm = (self.norm_gain, self.norm_offset)
        steps = [Step(self.stem_weight, torch.zeros_like(self.norm_gain), activation=STEM, affine=norm)]
        dilation = 1
        for index in range(N_LAYERS):
            weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
            steps.append(Step(weight, bias, dilation, CLAMPED, halves_bands=index in _BAND_POOL))
            if index in _TIME_POOL:
                steps.append(Step(None, dilation=dilation))
                dilation *= 2
        return steps


def _pool_time(dilation: int, x: Tensor) -> Tensor:
    return torch.maximum(x[:, :, :-dilation], x[:, :, dilation:])


class FeatureExtractor(nn.Module):
    """Frozen features of a network's audio path: log-mel itself, or the trunk over it."""

    def __init__(self, frontend: str) -> None:
        super().__init__()
        self.trunk = PhoneticTrunk() if frontend == "phonetic" else None

    @property
    def hops(self) -> int:
        """Mel frames that it consumes beyond the feature frames it gives."""
        return HOPS - 1 if self.trunk is not None else 0

    def forward(
        self, mel: Float[Tensor, "batch length n_mels"]
    ) -> Float[Tensor, "batch length-{self.hops} n_features"]:
        """(B,L,n_mels) → (B,L−hops,n_features)."""
        return self.trunk(mel) if self.trunk is not None else mel

    def pieces(self) -> Pieces:
        """Streaming `forward`: new mel frames → the features that are final."""
        if self.trunk is None:
            return Pieces(lambda mel, tails: (mel, tails))
        short = CompiledStack(self.trunk.steps(), N_MELS, 1) if self.trunk.norm_gain.device.type == "cpu" else None
        return Pieces(self.trunk.stream, short)
