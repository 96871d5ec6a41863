"""Vocal effort: how it is heard in a voice, how a voice is given more or less of it, and how far it opens the mouth.

Louder speech has relatively more energy above 1 kHz, whatever the level of the recording (Traunmüller & Eriksson
2000, JASA 107, 3438), and it moves jaw and lips further (Schulman 1989, JASA 85, 295).
"""

from __future__ import annotations

import numpy as np

SPLIT_HZ = 1000.0
BAND_HZ = (50.0, 5000.0)
USUAL_DB = -15.5
"""Median emphasis of voiced speech: of 40 synthetic voices and 11 people's recordings, -22 to -10."""
SPREAD_DB = 4.0
"""Their deviation."""
PER_SPREAD = 0.08
"""How much further a mouth opens that is heard one deviation above the usual. Little: microphones differ as much as voices."""
LEAST, MOST = 0.8, 1.35
WINDOW_S = 0.032
LOUD_DB = -20.0
"""Windows this far below the loud ones (90 %) are not counted."""
VOICED_DB = 3.0
"""Windows with so much more energy above the split than below it are fricatives."""


def emphasis_db(audio: np.ndarray, sample_rate: int) -> float:
    """Median level above 1 kHz against that below it, in the voiced windows of (S,) sound; NaN if there are none."""
    size = int(WINDOW_S * sample_rate)
    if len(audio) < 2 * size:
        return float("nan")
    windows = np.lib.stride_tricks.sliding_window_view(audio, size)[:: size // 2]
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(size).astype(np.float32))))
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    low = power[:, (hz > BAND_HZ[0]) & (hz < SPLIT_HZ)].sum(1, dtype=np.float64)
    high = power[:, (hz >= SPLIT_HZ) & (hz < BAND_HZ[1])].sum(1, dtype=np.float64)
    loud = low + high > np.percentile(low + high, 90) * 10 ** (LOUD_DB / 10)
    voiced = loud & (low > 0) & (high < low * 10 ** (VOICED_DB / 10))
    return (
        float(np.median(10 * np.log10(np.maximum(high[voiced] / low[voiced], 1e-9)))) if voiced.any() else float("nan")
    )


def range_of(audio: np.ndarray, sample_rate: int) -> float:
    """Factor on the range of jaw and lips that the effort in a voice asks for, LEAST to MOST; 1 where nobody speaks."""
    heard = (emphasis_db(audio, sample_rate) - USUAL_DB) / SPREAD_DB
    return 1.0 if np.isnan(heard) else float(np.clip(1 + PER_SPREAD * heard, LEAST, MOST))


def with_effort(audio: np.ndarray, sample_rate: int, emphasis: float) -> np.ndarray:
    """(S,) the sound with `emphasis` dB more above 1 kHz, a smooth step an octave wide, at the same level."""
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / sample_rate), 1.0) / SPLIT_HZ)
    shaped = np.fft.irfft(spectrum * 10 ** (emphasis / 20 / (1 + np.exp(-4 * octaves))), len(audio))
    level = np.sqrt(np.mean(np.square(audio)) / max(np.mean(np.square(shaped)), 1e-20))
    return (shaped * min(level, 0.99 / max(np.abs(shaped).max(), 1e-9))).astype(np.float32)
