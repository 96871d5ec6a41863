"""Augmentation of recordings (vocal tract, rooms, noise, music, microphones, telephones), so that codes do not depend on them."""

from __future__ import annotations

import numpy as np

from meshtalk.audio.mel import HOP, MelFrontend, MelState, follow_level, frame_level_db
from meshtalk.audio.sounds import SOUNDS
from meshtalk.config import SAMPLE_RATE

LEVEL_DB = 15.0
EQ_DB = 5.0
BESIDE = {
    "noise": (0.55, 8.0, 50.0),
    "music": (0.25, -2.0, 25.0),
    "typing": (0.06, 0.0, 25.0),
    "hum": (0.06, 3.0, 30.0),
}
"""Sound beside the voice → share of recordings, least and most dB by which the voice's loud level exceeds it."""
BABBLE = (0.15, 4.0, 25.0)
"""The same of other people's voices."""
ROOM_SHARE, ROOM_S = 0.4, (0.15, 1.1)
"""Reverberation time."""
ROOM_LEVEL = (0.1, 1.1)
"""Of the reverberation over the direct sound: 1 about a metre from the speaker of an ordinary room."""
TELEPHONE_SHARE, TELEPHONE_HZ = 0.08, (300.0, 3400.0)
OVERDRIVE_SHARE, OVERDRIVE_DB = 0.1, (6.0, 24.0)
"""How far the loud level is driven over full scale before it is clipped."""
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
    """Convolve with some early reflections and exponentially decaying noise behind a direct path."""
    reverberation_s = rng.uniform(*ROOM_S)
    n = int(reverberation_s * SAMPLE_RATE)
    tail = rng.normal(size=n) * np.exp(-6.9 * np.arange(n) / n)
    tail *= rng.uniform(*ROOM_LEVEL) / np.sqrt((tail**2).sum())
    early = rng.integers(SAMPLE_RATE // 500, SAMPLE_RATE // 20, rng.integers(0, 6))
    np.add.at(tail, early, rng.uniform(-0.4, 0.4, len(early)))
    tail[0] = 1.0
    size = len(samples) + n
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)]


def loud_level(samples: np.ndarray) -> float:
    """Amplitude of a recording's loud parts."""
    return float(np.sqrt(np.percentile(samples**2, 90))) + 1e-6


def beside(samples: np.ndarray, sound: np.ndarray, ratio_db: float) -> np.ndarray:
    """The samples with a sound, so many dB below their loud level, added."""
    return samples + sound / (sound.std() + 1e-9) * loud_level(samples) * 10 ** (-ratio_db / 20)


def telephone(samples: np.ndarray) -> np.ndarray:
    """Narrow band, 8 bits of µ-law (ITU-T G.711)."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low, high = TELEPHONE_HZ
    narrow = np.fft.irfft(spectrum / (1 + (low / np.maximum(hz, 1)) ** 8) / (1 + (hz / high) ** 16), len(samples))
    peak = np.abs(narrow).max() + 1e-9
    coded = np.round(127 * np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256)) / 127
    return np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * peak


def augment_waveform(samples: np.ndarray, rng: np.random.Generator, babble: np.ndarray | None = None) -> np.ndarray:
    """(S,) float32 → (S,) float32 with other sounds beside it, another room, microphone and level.

    Args:
        babble: other people's voices, repeated or cut to the length of the samples, or None.
    """
    out = samples.astype(np.float64)
    if rng.random() < 0.8:
        out = random_equaliser(out, rng)
    share, least_db, most_db = BABBLE
    if babble is not None and rng.random() < share:
        out = beside(out, np.resize(babble, len(out)), rng.uniform(least_db, most_db))
    if rng.random() < ROOM_SHARE:
        out = random_reverb(out, rng)
    for name, (share, least_db, most_db) in BESIDE.items():
        if rng.random() < share:
            out = beside(out, SOUNDS[name](len(out), SAMPLE_RATE, rng), rng.uniform(least_db, most_db))
    if rng.random() < TELEPHONE_SHARE:
        out = telephone(out)
    if rng.random() < OVERDRIVE_SHARE:
        drive = 10 ** (rng.uniform(*OVERDRIVE_DB) / 20) / loud_level(out) * 0.3
        out = np.clip(out * drive, -1, 1) * 0.5
    out = out * 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20)
    return np.clip(out, -1, 1).astype(np.float32)


def warp_bands(magnitude: np.ndarray, factor: float) -> np.ndarray:
    """Stretch the frequency axis of (m, bins) magnitudes: bin b takes the value of bin b·factor (another vocal tract)."""
    bins = magnitude.shape[1]
    source = np.minimum(np.arange(bins) * factor, bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    share = (source - low).astype(np.float32)
    return magnitude[:, low] * (1 - share) + magnitude[:, low + 1] * share


def augmented_mel(
    samples: np.ndarray, frontend: MelFrontend, rng: np.random.Generator | None, babble: np.ndarray | None = None
) -> np.ndarray:
    """(ceil(S/160), n_mels) log-mel of a recording, clean (rng None) or augmented, perhaps with (S,) other voices."""
    if rng is None:
        return frontend.all(samples)
    warp = float(np.exp(rng.uniform(-WARP, WARP))) if rng.random() < 0.8 else 1.0
    return warped_mel(augment_waveform(samples, rng, babble), frontend, warp)


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
