"""The networks of MeshTalk (Richard et al. 2021), eqs. 1-3, on one page.

Eq. 3 `AudioEncoder`, `ExpressionEncoder`, `Fusion` · eq. 2 `gumbel_softmax` · eq. 1 `Decoder` · all of it, with the prior
of eq. 6, `MeshTalk` · the baseline without latents `Regressor`. Axes: B batch, T frames, H code heads, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from meshtalk.config import AudioConfig, ModelConfig
from meshtalk.model.audio_encoder import AudioEncoder, leaky
from meshtalk.model.geometry import BasisGeometry, DenseGeometry
from meshtalk.model.official_mel import OfficialMel
from meshtalk.model.phonetic_trunk import FeatureExtractor
from meshtalk.model.prior import Prior

LstmState = tuple[Tensor, Tensor]


# ------------------------------------------------------------------------------------------------ eq. 3: expression


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


# ------------------------------------------------------------------------------------------------ eq. 3: fusion


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


# ------------------------------------------------------------------------------------------------ eq. 2: categorical codes


def gumbel_softmax(
    log_probs: Float[Tensor, "*batch classes"], tau: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "*batch classes"], Int[Tensor, "*batch"]]:
    """Eq. 2: sample one class per head; exact one-hot forward, the softmax's gradient backward.

    The straight-through Gumbel-softmax of Jang, Gu, Poole (2017).

    Args:
        log_probs: (...,C) log-probabilities.
        tau: temperature of the relaxation; the sampled class does not depend on it.
        generator: randomness; None uses torch's global one.

    Returns:
        ((...,C) one-hot with straight-through gradient, (...) long labels)
    """
    noise = torch.empty_like(log_probs).exponential_(generator=generator).log_()
    soft = ((log_probs - noise) / tau).softmax(-1)
    labels = soft.argmax(-1)
    hard = one_hot(labels, log_probs.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft, labels


def gumbel_noise(seeds: Sequence[int], first: int, shape: tuple[int, int, int]) -> Float[Tensor, "takes _ _ _"]:
    """Standard Gumbel noise for frames first.. of N takes, generated on the CPU so that a seed gives the same on every device.

    A counter-based generator (Philox; Salmon et al. 2011) makes a frame's noise a function of seed and frame number: independent
    of the frames generated before, and of the chunking.

    Args:
        seeds: one for each take.
        first: number of the first frame.
        shape: (T,H,C).

    Returns:
        (N,T,H,C) float32
    """
    frames, size = shape[0], shape[1] * shape[2]
    blocks = -(-size // 4)  # the counter gives four numbers a step
    drawn = np.empty((len(seeds), frames, size), np.float32)
    for take, seed in enumerate(seeds):
        generator = np.random.Generator(np.random.Philox(key=seed).advance(first * blocks))
        uniform = generator.random((frames, blocks * 4))[:, :size]
        drawn[take] = -np.log(-np.log1p(-np.maximum(uniform, 1e-300)))
    return torch.from_numpy(drawn).unflatten(-1, shape[1:])


def one_hot(labels: Int[Tensor, "*batch"], classes: int) -> Float[Tensor, "*batch {classes}"]:
    """(...) long labels → (...,C) float32 one-hot."""
    return F.one_hot(labels, classes).float()


# ------------------------------------------------------------------------------------------------ eq. 1: decoder


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


# ------------------------------------------------------------------------------------------------ eqs. 1-3 and 6 together


class MeshTalk(nn.Module):
    """MeshTalk: eqs. 1-3 (audio, expression, fusion, decoder) and 6 (prior) over a given geometry."""

    def __init__(self, config: ModelConfig, geometry: BasisGeometry | DenseGeometry) -> None:
        super().__init__()
        self.config, self.geometry = config, geometry
        self.extract = FeatureExtractor(config.audio.frontend)
        self.official_mel = OfficialMel(config.audio.official) if config.audio.frontend == "official" else None
        self.audio = AudioEncoder(config.audio)
        self.expression = ExpressionEncoder(geometry.n_motion, config.expression_code)
        self.fusion = Fusion(config.expression_code, config.audio.code, config.heads, config.classes)
        self.decoder = Decoder(
            geometry.n_template, geometry.n_motion, config.heads, config.classes, dense=geometry.kind == "dense"
        )
        self.prior = Prior(config.prior, config.heads, config.classes, config.audio.code)
        self.prior_audio = copy.deepcopy(self.audio) if config.prior.own_audio_encoder else None

    @property
    def prior_audio_encoder(self) -> AudioEncoder:
        """The audio encoder that conditions the prior: its own fine-tuned copy, or stage 1's."""
        return self.prior_audio if self.prior_audio is not None else self.audio

    @property
    def uses_sampled_expression(self) -> bool:
        """Whether the encoder gets sampled expressions with a silenced mouth: `PriorConfig.use_sampled_expression`."""
        return self.config.prior.use_sampled_expression and isinstance(self.geometry, BasisGeometry)

    def decode(
        self,
        template: Float[Tensor, "batch {self.geometry.n_template}"],
        codes: Float[Tensor, "batch frames {self.config.heads} {self.config.classes}"],
    ) -> Float[Tensor, "batch frames {self.geometry.n_motion}"]:
        """Eq. 1. Args: template (B,n_template) input, codes (B,T,H,C). Returns: motion (B,T,n_motion), mm."""
        output, _ = self.decoder(self.decoder.encode_template(template), codes)
        return self.geometry.denormalise(output)

    def encode(
        self,
        motion: Float[Tensor, "batch frames {self.geometry.n_motion}"],
        audio_code: Float[Tensor, "batch frames {self.config.audio.code}"],
    ) -> Float[Tensor, "batch frames {self.config.heads} {self.config.classes}"]:
        """Eq. 3. Args: motion (B,T,n_motion) mm, audio_code (B,T,A). Returns: (B,T,H,C) log-probabilities."""
        expression, _ = self.expression(self.geometry.normalise(motion))
        return self.fusion(expression, audio_code)

    def labels(
        self,
        motion: Float[Tensor, "batch frames {self.geometry.n_motion}"],
        audio_code: Float[Tensor, "batch frames {self.config.audio.code}"],
    ) -> Int[Tensor, "batch frames {self.config.heads}"]:
        """(B,T,H) most likely codes of a ground-truth motion with its audio: the targets of the prior."""
        return self.encode(motion, audio_code).argmax(-1)

    def one_hot(
        self, labels: Int[Tensor, "*batch {self.config.heads}"]
    ) -> Float[Tensor, "*batch {self.config.heads} {self.config.classes}"]:
        """(...,H) labels → (...,H,C)."""
        return one_hot(labels, self.config.classes)

    @torch.no_grad()
    def sample(
        self, audio_code: Float[Tensor, "batch frames audio"], seed: int, *, argmax: bool = False
    ) -> Int[Tensor, "batch frames {self.config.heads}"]:
        """Eq. 6: (B,T,A) codes of the prior's audio encoder → (B,T,H) sampled labels, from a fresh state."""
        batch, frames = audio_code.shape[:2]
        shape = (frames, self.config.heads, self.config.classes)
        noise = None if argmax else gumbel_noise(range(seed, seed + batch), 0, shape).to(audio_code)
        return self.prior.sample(audio_code, self.prior.start(batch), noise)[0]


# ------------------------------------------------------------------------------------------------ baseline: regression


class Regressor(nn.Module):
    """Audio code and template → 256 → motion, frame by frame, without latents.

    It warms up the audio encoder, and it is a baseline (the idea of VOCA).
    """

    def __init__(self, config: AudioConfig, geometry: BasisGeometry | DenseGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.extract = FeatureExtractor(config.frontend)
        self.audio = AudioEncoder(config)
        self.template = nn.Linear(geometry.n_template, 32)
        self.hidden = nn.Linear(config.code + 32, 256)
        self.output = nn.Linear(256, geometry.n_motion)

    def forward(
        self,
        features: Float[Tensor, "batch length {self.audio.n_features}"],
        hops: Float[Tensor, " frames"],
        template: Float[Tensor, "batch {self.geometry.n_template}"],
    ) -> Float[Tensor, "batch frames {self.geometry.n_motion}"]:
        """Args: features and hops as `AudioEncoder.at`, template (B,n_template). Returns: (B,T,n_motion) mm."""
        return self.motion(self.audio.at(features, hops), template)

    def motion(
        self, code: Float[Tensor, "batch frames code"], template: Float[Tensor, "batch {self.geometry.n_template}"]
    ) -> Float[Tensor, "batch frames {self.geometry.n_motion}"]:
        """Args: audio codes (B,T,code), template (B,n_template). Returns: (B,T,n_motion) mm."""
        face = leaky(self.template(template))[:, None].expand(-1, code.shape[1], -1)
        return self.geometry.denormalise(self.output(leaky(self.hidden(torch.cat([code, face], -1)))))
