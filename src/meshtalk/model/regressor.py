"""Audio → motion without latents: it warms up the audio encoder, and it is the baseline to be beaten (VOCA's idea)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.config import AudioConfig
from meshtalk.model.audio_encoder import AudioEncoder, leaky
from meshtalk.model.geometry import BasisGeometry, DenseGeometry
from meshtalk.model.phonetic_trunk import FeatureExtractor


class Regressor(nn.Module):
    """Audio code and template → 256 → motion, frame by frame."""

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
