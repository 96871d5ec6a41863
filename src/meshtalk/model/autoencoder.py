"""MeshTalk: the encoders, the latents, the decoder and the prior as one module."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from meshtalk.config import ModelConfig
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.decoder import Decoder
from meshtalk.model.expression_encoder import ExpressionEncoder
from meshtalk.model.fusion import Fusion
from meshtalk.model.geometry import BasisGeometry, DenseGeometry
from meshtalk.model.official_mel import OfficialMel
from meshtalk.model.phonetic_trunk import FeatureExtractor
from meshtalk.model.prior import Prior
from meshtalk.model.quantizer import gumbel_noise, one_hot


class MeshTalk(nn.Module):
    """Eqs. 1-3 (audio, expression, fusion, decoder) and 6 (prior) over a given geometry."""

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
    def imagines(self) -> bool:
        """Whether the encoder gets sampled expressions with a silenced mouth: `PriorConfig.imagines_expression`."""
        return self.config.prior.imagines_expression and isinstance(self.geometry, BasisGeometry)

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
        """(B,T,H) most likely codes of a true motion with its audio: what the prior learns to predict."""
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
