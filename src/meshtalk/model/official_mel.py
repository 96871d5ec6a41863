"""Log-mel front end of the official weights: every video frame analyses its own window of sound."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.config import HOP_RATE, SAMPLE_RATE, OfficialSound

WINDOW = SAMPLE_RATE
"""Samples of a frame's window: one second."""
HOP = SAMPLE_RATE // HOP_RATE


class OfficialMel(nn.Module):
    """Windows of a second → log max(1e-10, power mel), 101 frames each.

    The spectra are those of a short-time Fourier transform whose frame j is centred on sample 160·j of the window, which is
    mirrored at its ends. Its taper and its mel filters come with the weights, and so the buffers are saved with them.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: OfficialSound) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.window))
        self.register_buffer("filters", torch.zeros(config.n_fft // 2 + 1, config.n_mels))

    @torch.no_grad()
    def forward(self, sounds: Float[Tensor, "windows 16000"]) -> Float[Tensor, "windows 101 {self.config.n_mels}"]:
        """(N,16000) float64 on the CPU → (N,101,n_mels) float32.

        In double precision: next to a loud tone, what rounding leaves in the empty bands is louder than the floor.
        """
        n_fft, length = self.config.n_fft, self.config.window
        mirrored = F.pad(sounds[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
        # a taper shorter than the transform lies in its middle, and zeros do not need to be multiplied
        first = (n_fft - length) // 2
        frames = mirrored.unfold(1, n_fft, HOP)[..., first : first + length]
        spectra = torch.fft.rfft(frames * self.window.cpu().double(), n_fft)
        power = spectra.real.square() + spectra.imag.square()
        return (power @ self.filters.cpu().double()).clamp(min=1e-10).log().float()
