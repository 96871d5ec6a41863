"""Latent codes, reconstructions and likelihoods of a MeshTalk model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meshtalk.audio.files import frame_hops, to_mono
from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator
from meshtalk.inference.official import OfficialGenerator
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.audio_stream import padded_mel
from meshtalk.model.checkpoint import Checkpoint
from meshtalk.model.networks import MeshTalk
from meshtalk.parallel import on_own_threads
from meshtalk.resample import Smoother


@dataclass(frozen=True)
class _Encoded:
    features: Tensor
    """Features of the front end; of the official one, which has its own, the audio codes themselves."""
    motion: Tensor


class LatentAnimator(Animator):
    """An Animator that also encodes, reconstructs and scores ground-truth clips at the model's own frame rate.

    Raises:
        InputError: the checkpoint is not a MeshTalk model (a regressor has no codes).
    """

    network: MeshTalk

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        if not isinstance(checkpoint.network, MeshTalk):
            raise InputError("a regressor has no codes to measure. Pass a MeshTalk model.")
        self.network = checkpoint.network

    def reconstruct(self, clip: Clip) -> Clip:
        """Encode a clip and decode its codes."""
        return self.decoded(self.codes(clip), clip)

    @on_own_threads
    @torch.no_grad()
    def swap(self, audio_clip: Clip, expression_clip: Clip) -> Clip:
        """Decode the audio of one clip with the expression of another, on the first one's template; equal lengths."""
        sound, expression = self._encode(audio_clip), self._encode(expression_clip)
        labels = self.network.labels(expression.motion, self._audio(self.network.audio, sound))
        return self.decoded(labels[0].cpu().numpy(), audio_clip)

    @on_own_threads
    @torch.no_grad()
    def codes(self, clip: Clip) -> np.ndarray:
        """(T,H) codes of a ground-truth clip."""
        encoded = self._encode(clip)
        return self.network.labels(encoded.motion, self._audio(self.network.audio, encoded))[0].cpu().numpy()

    @on_own_threads
    @torch.no_grad()
    def held_out_nll(self, clips: Sequence[Clip]) -> np.ndarray:
        """(H,) mean over all frames of −log p of each head's true code under the prior, nats."""
        total, frames = torch.zeros(self.config.heads, dtype=torch.float64), 0
        for clip in clips:
            encoded = self._encode(clip)
            labels = self.network.labels(encoded.motion, self._audio(self.network.audio, encoded))
            conditioned = self._audio(self.network.prior_audio_encoder, encoded)
            log_probs = self.network.prior(self.network.one_hot(labels), conditioned)
            nats = F.nll_loss(log_probs.flatten(0, 2), labels.flatten(), reduction="none").view(labels.shape)
            total += nats[0].sum(0).double().cpu()
            frames += labels.shape[1]
        return (total / max(frames, 1)).numpy()

    def _encode(self, clip: Clip) -> _Encoded:
        self.topology.require(clip.topology, "the clip")
        if clip.fps != self.config.fps:
            raise InputError(f"the clip must have the model's frame rate {self.config.fps}, got {clip.fps}")
        samples = to_mono(clip.audio, clip.sample_rate)
        if isinstance(self._generator, OfficialGenerator):
            features = torch.cat(list(self._generator.codes(samples, clip.n_frames)), 1)
        else:
            frontend = MelFrontend(self.config.audio.frontend)
            mel = padded_mel(frontend.all(samples), self.network.audio, self.config.fps, frontend.silence)
            features = self.network.extract(torch.as_tensor(mel)[None].to(self._device))
        template = torch.as_tensor(np.asarray(clip.template, np.float32)).to(self._device)
        displacement = torch.as_tensor(clip.displacements()).to(self._device)
        return _Encoded(
            features=features,
            motion=self.geometry.to_motion(displacement, template)[None],
        )

    def _audio(self, encoder: AudioEncoder, encoded: _Encoded) -> Tensor:
        if isinstance(self._generator, OfficialGenerator):
            return encoded.features
        return encoder.at(encoded.features, frame_hops(self.config.fps, 0, encoded.motion.shape[1]))

    @on_own_threads
    @torch.no_grad()
    def decoded(self, labels: np.ndarray, clip: Clip) -> Clip:
        """Decode (T,H) codes on a clip's face, at the model's frame rate, with the clip's sound."""
        template = np.asarray(clip.template, np.float32)
        face = self.geometry.template_input(torch.as_tensor(template).to(self._device)[None])
        codes = self.network.one_hot(torch.as_tensor(labels).to(self._device)[None])
        motion = Smoother(self.config.smoothing).finish(self.network.decode(face, codes)[0], None)
        return self.clip_of(motion, template, self.config.fps, to_mono(clip.audio, clip.sample_rate))
