"""Many channels to one without losing the signal: channels in opposite phase are turned before they are averaged."""

# pyright: basic
# numba types the kernel
from __future__ import annotations

import numpy as np

from meshtalk.jit import compiled

OPPOSITE = 0.5
"""A channel is turned when its correlation with the sum of those before it falls below -OPPOSITE, and back above OPPOSITE."""
MEMORY_S = 1.0
"""Time constant of that correlation: polarity is a matter of cables, not of words."""
FEWEST_S = 0.02
"""Sound of which a correlation is believed."""
FADE_S = 0.001
"""Time constant of a turn, so that it does not click."""
BAND_HZ = (300.0, 3000.0)
"""What is compared: hum and offsets that channels share say nothing about the speech in them."""


class Downmix:
    """Averages channels of one sound, block after block; any cutting into blocks gives the same samples.

    The mean of channels in opposite phase (a cable wired the wrong way, a difference recorded as a channel) is silence. The
    correlation of each channel with the sum of those before it is followed sample by sample, and a channel that opposes them is
    turned. Channels that agree, or have nothing in common, are averaged as they are.
    """

    def __init__(self, rate: int) -> None:
        self._rates = np.array(
            [1 - np.exp(-1 / (seconds * rate)) for seconds in (MEMORY_S, FADE_S)]
            + [1 - np.exp(-2 * np.pi * min(hz / rate, 0.5)) for hz in BAND_HZ]
        )
        self._fewest = FEWEST_S * rate
        self._state = np.zeros((0, 9))

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(n,) or (n, channels) samples of any type → (n,) float32, integers scaled to [-1,1)."""
        if block.dtype.kind in "iu":
            info = np.iinfo(block.dtype)
            middle = (int(info.max) + int(info.min) + 1) // 2
            block = (block.astype(np.float64) - middle) / (middle - int(info.min))
        with np.errstate(over="ignore", invalid="ignore"):  # the caller reports what is too large
            if block.ndim == 1 or block.shape[1] == 1:
                return np.array(block, np.float32).reshape(-1)
            if len(self._state) != block.shape[1]:
                self._state = np.zeros((block.shape[1], 9))
            gains = np.empty(block.shape, np.float32)
            _follow(np.ascontiguousarray(block, np.float64), self._rates, self._fewest, self._state, gains)
            return (block * gains).mean(1, dtype=np.float32)


@compiled()
def _follow(block, rates, fewest, state, gains):
    """(n, channels) gains in [-1,1]. A channel's state: three filters, covariance, two powers, samples heard, opposed, turned."""
    memory, fade, low, high = rates
    for t in range(block.shape[0]):
        total = 0.0
        for c in range(block.shape[1]):
            own = state[c]
            own[0] += low * (block[t, c] - own[0])
            own[1] += low * (block[t, c] - own[0] - own[1])
            own[2] += high * (block[t, c] - own[0] - own[1] - own[2])
            here = own[2]
            own[3] += memory * (total * here - own[3])
            own[4] += memory * (total * total - own[4])
            own[5] += memory * (here * here - own[5])
            if total * here != 0:
                own[6] += 1
            bound = OPPOSITE * np.sqrt(own[4] * own[5])
            if own[6] >= fewest and own[3] < -bound:
                own[7] = 1.0
            elif own[3] > bound:
                own[7] = 0.0
            own[8] += fade * (own[7] - own[8])
            gains[t, c] = 1 - 2 * own[8]
            total += (1 - 2 * own[8]) * here
