"""Audio encoder of eq. 3: log-mel or phonetic features to one code per video frame."""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from meshtalk.config import AudioConfig
from meshtalk.errors import InputError
from meshtalk.model import streaming
from meshtalk.model.fast_networks_kernels import LEAKY
from meshtalk.model.fast_stack import CompiledStack, Pieces, Step
from meshtalk.model.phonetic_trunk import HOPS, N_FEATURES

N_INPUTS = {"logmel": 80, "phonetic": N_FEATURES}
"""Feature size of each front end."""


def leaky(x: Tensor) -> Tensor:
    """The activation of every layer of MeshTalk: leaky ReLU with slope 0.2."""
    return F.leaky_relu(x, 0.2)


class AudioEncoder(nn.Module):
    """Features at 100 Hz → dilated convolutions → a code at given times.

    A dense stack computes every convolution output once, whatever the video frame rate. `reach` hops of mel before a
    target time and `lookahead` hops after it form the receptive field, the front end's own span included.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.n_features = config.official.n_mels if config.frontend == "official" else N_INPUTS[config.frontend]
        self.register_buffer("feature_mean", torch.zeros(self.n_features))
        self.register_buffer("feature_std", torch.ones(self.n_features))
        padding = config.kernel // 2 if config.stack == "window" else 0
        self.input = nn.Conv1d(self.n_features, config.width, config.input_kernel)
        self.layers = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, dilation=d, padding=padding * d)
            for d in config.dilations
        )
        self.code = nn.Linear(config.width, config.code)
        self._crops = self._plan_crops()
        for layer in [self.input, *self.layers]:
            # leaky ReLUs averaged with their skips shrink the signal under torch's default initial weights
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)

    def _plan_crops(self) -> list[int]:
        """Per layer, how many hops of the skip path are cut in front so that it follows the target frame.

        A skip cropped in the middle (the official form) is right only for a look-ahead of half the reach: with
        less, it would carry features of another time than the convolution's. Look-ahead is spent layer by layer.
        """
        config = self.config
        if config.stack == "window":
            return []
        most = 2 * config.lookahead_hops + 64  # beyond, nothing is worth proposing
        spans = [(config.kernel - 1) * dilation for dilation in config.dilations]
        ways: dict[int, tuple[int, ...]] = {(config.input_kernel - 1) // 2: ()}
        for dilation, span in zip(config.dilations, spans, strict=True):
            further: dict[int, tuple[int, ...]] = {}
            for (hops, way), ahead in product(ways.items(), range(0, min(span // 2, most) + 1, dilation)):
                if hops + ahead <= most:
                    further[hops + ahead] = max(further.get(hops + ahead, ()), (*way, ahead))  # earlier layers first
            ways = further
        if config.lookahead_hops not in ways:
            near = sorted(sorted(ways, key=lambda hops: abs(hops - config.lookahead_hops))[:3])
            raise InputError(
                f"lookahead_hops {config.lookahead_hops} cannot be reached by dilations {config.dilations} after an input"
                f" layer of {config.input_kernel} taps. Choose {' or '.join(map(str, near))}."
            )
        return [span - ahead for span, ahead in zip(spans, ways[config.lookahead_hops], strict=True)]

    @property
    def stack_reach(self) -> int:
        """Feature frames of the past that the convolutions need at a target time."""
        config = self.config
        if config.stack == "window":
            return config.past_hops
        spans = sum((config.kernel - 1) * d for d in config.dilations)
        return config.input_kernel - 1 + spans - config.lookahead_hops

    @property
    def reach(self) -> int:
        """Mel frames before a target hop that are seen."""
        trunk = HOPS - 1 - self.config.trunk_lookahead_hops if self.config.frontend == "phonetic" else 0
        return self.stack_reach + trunk

    @property
    def stack_lookahead(self) -> int:
        """Feature frames after the hop at or before a target time that are seen: one more to interpolate with."""
        return self.config.lookahead_hops + 1

    @property
    def lookahead(self) -> int:
        """Mel frames after the hop at or before a target time that are seen."""
        return self.stack_lookahead + (self.config.trunk_lookahead_hops if self.config.frontend == "phonetic" else 0)

    def _stack(self) -> list[streaming.Layer]:
        """The unpadded convolutions of the dense form."""
        config = self.config
        layers: list[streaming.Layer] = [(config.input_kernel - 1, lambda x: leaky(self.input(x)))]
        for layer, crop, dilation in zip(self.layers, self._crops, config.dilations, strict=True):
            assert isinstance(layer, nn.Conv1d)
            layers.append(((config.kernel - 1) * dilation, partial(self._residual, layer, crop)))
        return layers

    def _residual(self, layer: nn.Conv1d, crop: int, x: Tensor) -> Tensor:
        y = F.dropout(leaky(layer(x)), self.config.dropout, self.training)
        return (x[:, :, crop : crop + y.shape[2]] + y) / 2

    def dense(
        self, features: Float[Tensor, "batch length {self.n_features}"]
    ) -> Float[Tensor, "batch length-{self.stack_reach+self.config.lookahead_hops} {self.config.width}"]:
        """(B,L,n_features) normalised → (B,L−stack_reach−lookahead_hops,width); output i belongs to hop i+stack_reach."""
        x = features.transpose(1, 2)
        for _, layer in self._stack():
            x = layer(x)
        return x.transpose(1, 2)

    def windows(
        self, features: Float[Tensor, "batch length {self.n_features}"], hops: Int[Tensor, " frames"]
    ) -> Float[Tensor, "batch frames {self.config.width}"]:
        """The paper's form: (B,L,n_features), (T,) hops → (B,T,width) by padded convolution and average pooling."""
        before, after = self.config.past_hops, self.config.lookahead_hops
        offsets = torch.arange(before + after + 1, device=hops.device)
        chunk = features[:, hops[:, None] + offsets]  # (B,T,window,F); features are given from hop −past on
        batch, frames = chunk.shape[:2]
        x = leaky(self.input(chunk.flatten(0, 1).transpose(1, 2)))
        for layer in self.layers:
            x = (x + F.dropout(leaky(layer(x)), self.config.dropout, self.training)) / 2
        return x.mean(2).view(batch, frames, -1)

    def at(
        self, features: Float[Tensor, "batch length {self.n_features}"], hops: Float[Tensor, " frames"]
    ) -> Float[Tensor, "batch frames {self.config.code}"]:
        """Codes at fractional times.

        Args:
            features: (B,L,n_features) raw; frame 0 is `stack_reach` hops before hop 0 of `hops`.
            hops: (T,) float64 times in hops (10 ms), ≥ 0, on the CPU (not every device has float64); feature frames up
                to floor(hop) + stack_reach + stack_lookahead must be there.

        Returns:
            (B,T,code)
        """
        features = (features - self.feature_mean) / self.feature_std
        return self.codes(features if self.config.stack == "window" else self.dense(features), hops)

    def codes(
        self, known: Float[Tensor, "batch length _"], hops: Float[Tensor, " frames"]
    ) -> Float[Tensor, "batch frames {self.config.code}"]:
        """Normalised features (window) or outputs of the dense stack → codes at (T,) times, hops since the first of them."""
        if self.config.stack == "window":
            # halves always up: `round` would go to even, and so depend on where hops are counted from
            nearest = (hops + 0.5).floor().long()
            return self.code(self.windows(known, nearest.to(known.device)))
        low = hops.floor().long()
        share = (hops - low).float()[:, None].to(known.device)
        low = low.to(known.device)
        return self.code(known[:, low] * (1 - share) + known[:, low + 1] * share)

    # --- streaming -------------------------------------------------------------------------------------

    def stream(
        self, features: Float[Tensor, "1 length {self.n_features}"], tails: streaming.Tails
    ) -> tuple[Float[Tensor, "1 outputs _"], streaming.Tails]:
        """New feature frames (1,L,n_features) → the input of `codes`, each convolution's output computed once."""
        known = (features - self.feature_mean) / self.feature_std
        if self.config.stack == "window":
            return known, tails
        out, tails = streaming.run(self._stack(), known.transpose(1, 2), tails)
        return known.new_zeros(1, 0, self.config.width) if out is None else out.transpose(1, 2), tails

    def pieces(self) -> Pieces:
        """`stream` for pieces of any length."""
        if self.config.stack == "window" or self.feature_mean.device.type != "cpu":
            return Pieces(self.stream)
        return Pieces(
            self.stream, CompiledStack(self._steps(), 1, self.n_features, (self.feature_mean, self.feature_std))
        )

    def _steps(self) -> list[Step]:
        """The layers of `_stack` for the kernel of short pieces."""
        steps = [Step(self.input.weight[..., None], self.input.bias, activation=LEAKY)]
        for layer, crop, dilation in zip(self.layers, self._crops, self.config.dilations, strict=True):
            assert isinstance(layer, nn.Conv1d)
            steps.append(Step(layer.weight[..., None], layer.bias, dilation, LEAKY, crop=crop))
        return steps
