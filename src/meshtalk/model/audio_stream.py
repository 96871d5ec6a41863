"""Streaming audio encoding: mel frames in, codes of one or two audio encoders out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from meshtalk.config import HOP_RATE
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.phonetic_trunk import FeatureExtractor
from meshtalk.model.streaming import Tails


@dataclass(frozen=True)
class AudioStreamState:
    """State of an `AudioStream`; owned by the caller, never changed in place."""

    extractor: Tails | np.ndarray
    encoders: tuple[Tails | np.ndarray, ...]
    known: tuple[Tensor, ...]
    """Per encoder (1,L,·): its recent outputs, as far as later frames need them."""
    first_hop: int
    """Hop of the first of these: of its time (dense stack), or `past_hops` after it (window)."""


class AudioStream:
    """Feature extractor and audio encoders of one configuration. It packs their weights: build a new one when they change."""

    def __init__(self, extractor: FeatureExtractor, encoders: Sequence[AudioEncoder]) -> None:
        self.encoders = tuple(encoders)
        self._extractor = extractor.pieces()
        self._pieces = [encoder.pieces() for encoder in encoders]

    def start(self) -> AudioStreamState:
        """State before the first mel frame, which is the encoders' `reach` before time 0."""
        nothing = []
        for encoder in self.encoders:
            size = encoder.n_features if encoder.config.stack == "window" else encoder.config.width
            nothing.append(encoder.feature_mean.new_zeros(1, 0, size))
        return AudioStreamState((), ((),) * len(nothing), tuple(nothing), 0)

    def push(self, mel: Float[Tensor, "1 length n_mels"], state: AudioStreamState) -> AudioStreamState:
        """Process new mel frames (1,L,M)."""
        features, extractor = self._extractor.run(mel, state.extractor)
        tails, known = [], []
        for pieces, before, outputs in zip(self._pieces, state.encoders, state.known, strict=True):
            new, after = pieces.run(features, before)
            tails.append(after)
            known.append(torch.cat([outputs, new], 1))
        return AudioStreamState(extractor, tuple(tails), tuple(known), state.first_hop)

    def read(
        self, hops: Float[Tensor, " frames"], next_hop: int, state: AudioStreamState
    ) -> tuple[list[Float[Tensor, "1 frames code"]], AudioStreamState]:
        """Codes at times before the `reach + lookahead` last of all mel frames.

        Args:
            hops: (T,) times in hops (10 ms), float64.
            next_hop: no later time will be before this hop: earlier outputs are discarded.

        Returns:
            ((1,T,code) of each encoder, new state)
        """
        since = hops - state.first_hop
        codes = [encoder.codes(known, since) for encoder, known in zip(self.encoders, state.known, strict=True)]
        # the next frame may be further on than what is known
        past = min(next_hop - state.first_hop, state.known[0].shape[1])
        known = tuple(known[:, past:].clone() for known in state.known)
        return codes, replace(state, known=known, first_hop=state.first_hop + past)


def padded_mel(mel: np.ndarray, encoder: AudioEncoder, fps: Fraction, silence: float) -> np.ndarray:
    """Mel of a clip with the silence before and after that the encoder's reach and look-ahead need."""
    # a clip's sound may end up to a frame before its motion does
    after = encoder.lookahead + int(HOP_RATE / fps) + 1
    return np.pad(mel, ((encoder.reach, after), (0, 0)), constant_values=silence)
