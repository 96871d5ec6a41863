"""Offline inference with the official weights, whose front end scales a recording by its mean loudness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio.files import n_frames
from meshtalk.config import SAMPLE_RATE, ModelConfig
from meshtalk.errors import InputError
from meshtalk.inference.generator import MotionGenerator, SamplingSpec
from meshtalk.model.fast_sampler import Precision
from meshtalk.model.networks import MeshTalk, Regressor
from meshtalk.model.official_mel import WINDOW, OfficialMel

MEAN_LEVEL = 0.01
"""Mean absolute sample to which a recording is normalised."""
PADDING = (WINDOW - 533) // 2
"""Silent samples before the first; the window of frame 0 begins with them."""
WINDOWS_AT_ONCE = 16
"""Their spectra fill 27 MB."""
FRAMES_AT_ONCE = 256
"""Frames per batch, so that memory does not grow with the recording."""


class OfficialGenerator(MotionGenerator):
    """Networks of the official weights with their front end: a recording in, motion of N takes out.

    Where the published description is silent, this is assumed: the sound is padded with zeros; the skip of a
    convolution is cropped in the middle; the convolutions over past frames see zeros before the first; leaky ReLUs follow every
    layer but the last of a network, the LSTMs and the prior's embedding; the expression code comes before the audio code.
    """

    network: MeshTalk
    mel: OfficialMel

    def __init__(self, network: MeshTalk | Regressor, config: ModelConfig, precision: Precision) -> None:
        super().__init__(network, config, precision)
        if not isinstance(network, MeshTalk) or network.official_mel is None:
            raise InputError("the official front end belongs to the official weights. Import them again.")
        self.mel = network.official_mel

    def run(self, samples: np.ndarray, spec: SamplingSpec) -> Iterator[Tensor]:
        """All (t,N,n_motion) frames of a whole recording (S,), piece by piece."""
        lasting = len(samples) + spec.lead_out_samples  # silence that must not count for the loudness
        n_code_frames, total = (n_frames(lasting, SAMPLE_RATE, fps) for fps in (self.config.fps, spec.fps))
        state, done = self.begin(spec), 0
        for code in self.codes(samples, n_code_frames):
            motion, state = self.postprocess(*self.generate(code, code, state))
            yield spec.fade_out(motion, done, total)
            done += len(motion)
        nothing = torch.zeros(0, len(spec.seeds), self.network.geometry.n_motion, device=self._device)
        yield spec.fade_out(self.postprocess_last(nothing, state, total), done, total)

    def codes(self, samples: np.ndarray, frames: int) -> Iterator[Tensor]:
        """(1,t,A) audio codes of frames of a whole recording (S,), chunk by chunk, followed by silence."""
        gain = gain_of(samples)
        for begin in range(0, frames, FRAMES_AT_ONCE):
            stop = min(begin + FRAMES_AT_ONCE, frames)
            parts = range(begin, stop, WINDOWS_AT_ONCE)
            yield torch.cat([self._mel(samples, gain, at, min(at + WINDOWS_AT_ONCE, stop)) for at in parts])[None]

    @torch.no_grad()
    def _mel(self, samples: np.ndarray, gain: float, begin: int, stop: int) -> Tensor:
        """(t,A) codes of frames begin..stop."""
        starts = self.frame_starts(begin, stop) - PADDING
        first, end = int(starts[0]), int(starts[-1]) + WINDOW
        n_code_frames = np.zeros(end - first)
        inside = samples[max(first, 0) : max(end, 0)]
        n_code_frames[max(-first, 0) :][: len(inside)] = inside
        windows = np.lib.stride_tricks.sliding_window_view(n_code_frames * gain, WINDOW)[starts - first]
        mel = self.mel(torch.as_tensor(windows)).to(self._device)
        encoder = self.network.audio
        return encoder.code(encoder.dense(mel)[:, 0])

    def frame_starts(self, begin: int, stop: int) -> np.ndarray:
        """(stop−begin,) samples of the padded sound at which the windows of frames begin..stop begin."""
        frames = np.arange(begin, stop, dtype=np.int64)
        if self.config.audio.official.frame_starts == "533":
            return frames * 533
        length = SAMPLE_RATE / self.config.fps
        return (2 * frames * length.numerator + length.denominator) // (2 * length.denominator)


def gain_of(samples: np.ndarray) -> float:
    """Factor that brings a recording (S,) to MEAN_LEVEL; 1 for silence, which has no loudness."""
    mean = sum(float(np.abs(part, dtype=np.float64).sum()) for part in np.array_split(samples, 64)) / max(
        len(samples), 1
    )
    return MEAN_LEVEL / mean if mean > 0 else 1.0
