"""Augmentation of recordings (vocal tract, reverberation, noise, microphone), so that codes do not depend on them."""

from __future__ import annotations

import numpy as np

from meshtalk.audio.mel import HOP, MelFrontend, MelState, follow_level, frame_level_db
from meshtalk.config import SAMPLE_RATE

LEVEL_DB = 15.0
EQ_DB = 5.0
SNR_DB = (8.0, 50.0)
WARP = 0.18
"""Largest relative change of the vocal tract's length."""


def random_equaliser(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random frequency response of about ±EQ_DB, zero phase."""
    spectrum = np.fft.rfft(samples)
    position = np.linspace(0, 1, len(spectrum))
    waves = np.cos(np.pi * np.outer(np.arange(1, 6), position))
    gain_db = (rng.normal(size=5) * np.array([1.0, 0.8, 0.5, 0.4, 0.3]) * EQ_DB * 0.6) @ waves
    return np.fft.irfft(spectrum * 10 ** (np.clip(gain_db, -20, 20) / 20), len(samples))


def random_reverb(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with exponentially decaying noise behind a direct path (reverberation time 0.15-0.6 s)."""
    reverberation_s = rng.uniform(0.15, 0.6)
    n = int(reverberation_s * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(n) / n)
    tail = rng.normal(size=n) * decay
    tail *= rng.uniform(0.1, 0.7) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = len(samples) + n
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)]


def random_noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add coloured noise at 8-50 dB below the recording's loud level (the paper's data is clean; the world is not)."""
    spectrum = np.fft.rfft(rng.normal(size=len(samples)))
    frequency = np.maximum(np.arange(len(spectrum)), 1) / len(spectrum)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1), len(samples))
    loud = np.sqrt(np.percentile(samples**2, 90)) + 1e-6
    snr_db = rng.uniform(*SNR_DB)
    return samples + noise / (noise.std() + 1e-9) * loud * 10 ** (-snr_db / 20)


def augment_waveform(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S,) float32 → (S,) float32 with another reverberation, microphone, level and, sometimes, clipping."""
    out = samples.astype(np.float64)
    if rng.random() < 0.8:
        out = random_equaliser(out, rng)
    if rng.random() < 0.4:
        out = random_reverb(out, rng)
    if rng.random() < 0.8:
        out = random_noise(out, rng)
    out = out * 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20)
    return np.clip(out, -1, 1).astype(np.float32)


def warp_bands(magnitude: np.ndarray, factor: float) -> np.ndarray:
    """Stretch the frequency axis of (m, bins) magnitudes: bin b takes the value of bin b·factor (another vocal tract)."""
    bins = magnitude.shape[1]
    source = np.minimum(np.arange(bins) * factor, bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    share = (source - low).astype(np.float32)
    return magnitude[:, low] * (1 - share) + magnitude[:, low + 1] * share


def augmented_mel(samples: np.ndarray, frontend: MelFrontend, rng: np.random.Generator | None) -> np.ndarray:
    """(ceil(S/160), n_mels) log-mel of a recording, clean (rng None) or augmented."""
    if rng is None:
        return frontend.all(samples)
    warp = float(np.exp(rng.uniform(-WARP, WARP))) if rng.random() < 0.8 else 1.0
    return warped_mel(augment_waveform(samples, rng), frontend, warp)


def warped_mel(samples: np.ndarray, frontend: MelFrontend, warp: float) -> np.ndarray:
    """`MelFrontend.all` with a warped frequency axis; equal to it for warp 1."""
    window = frontend.spec.window
    count = -(-len(samples) // HOP)
    start: MelState = frontend.start()
    padded = np.concatenate([start.samples, samples, np.zeros(window, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::HOP][:count]
    level, _ = follow_level(frame_level_db(windows), start.level_db)
    magnitude = warp_bands(frontend.magnitude(windows), warp) if warp != 1.0 else frontend.magnitude(windows)
    return frontend.from_magnitude(frontend.apply_level(magnitude, level))
