"""Sounds that are not speech, made by formula: music, typing, breath, hum and noise.

Training has them beside voices and alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SEMITONE = 2 ** (1 / 12)
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))
"""Major, minor and pentatonic, in semitones."""


def coloured_noise(n: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) noise of unit deviation whose power falls with frequency to the `exponent`: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    frequency = np.maximum(np.arange(len(spectrum)), 1) / len(spectrum)
    noise = np.fft.irfft(spectrum * frequency ** (-exponent / 2), n)
    return noise / (noise.std() + 1e-12)


def _note(n: int, hz: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) a plucked, blown or bowed tone."""
    t_s = np.arange(n) / sample_rate
    sustained = rng.random() < 0.5
    falls = rng.uniform(0.6, 2.0)
    vibrato = rng.uniform(0, 0.006) * np.sin(2 * np.pi * rng.uniform(4, 7) * t_s) if sustained else 0.0
    phase = 2 * np.pi * hz * np.cumsum(np.ones(n) + vibrato) / sample_rate
    tone = np.zeros(n)
    for k in range(1, int(min(18, 0.45 * sample_rate / hz)) + 1):
        tone += np.sin(k * phase + rng.uniform(0, 2 * np.pi)) / k**falls * rng.uniform(0.4, 1)
    attack = np.minimum(t_s / rng.uniform(0.005, 0.12 if sustained else 0.02), 1)
    release = np.minimum((t_s[-1] - t_s) / 0.05, 1)
    decay = 1.0 if sustained else np.exp(-t_s * rng.uniform(2, 8))
    return tone * attack * release * decay


def music(n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) chords, a melody, a bass and, mostly, drums in one tempo and key; unit deviation."""
    out = np.zeros(n)
    beat = int(sample_rate * 60 / rng.uniform(60, 160))
    scale, root_hz = SCALES[rng.integers(len(SCALES))], 55 * SEMITONE ** rng.integers(0, 12)

    def play(start: int, length: int, degree: int, octave: int, gain: float) -> None:
        length = min(length, n - start)
        if length > sample_rate // 100:
            step = scale[degree % len(scale)] + 12 * (octave + degree // len(scale))
            out[start : start + length] += gain * _note(length, root_hz * SEMITONE**step, sample_rate, rng)

    voices = rng.uniform(0, 1, 3) * [1.0, 1.2, 1.0]
    for bar in range(0, n, 4 * beat):
        chord = int(rng.integers(7))
        for k in range(3):
            play(bar, 4 * beat, chord + 2 * k, 2, 0.5 * voices[0])
        for k in range(4):
            play(bar + k * beat, beat, chord, 0, voices[2])
            for half in range(2):
                if rng.random() < 0.6:
                    play(bar + k * beat + half * beat // 2, beat, chord + int(rng.integers(8)), 3, voices[1])
    if rng.random() < 0.7:
        loud = rng.uniform(0.5, 3)
        for k, start in enumerate(range(0, n, max(beat // 2, 1))):
            length = min(int(0.15 * sample_rate), n - start)
            hit = rng.normal(size=length) * np.exp(-np.arange(length) / sample_rate * rng.uniform(20, 60))
            if k % 4 == 0:  # a bass drum
                hit = (
                    3
                    * np.sin(2 * np.pi * 60 * np.arange(length) / sample_rate)
                    * np.exp(-np.arange(length) / sample_rate * 25)
                )
            out[start : start + length] += loud * hit
    return out / (out.std() + 1e-12)


def typing(n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) keys, three to nine a second, in bursts; unit deviation."""
    out = np.zeros(n)
    at = 0
    while at < n:
        for _ in range(rng.integers(3, 30)):
            length = min(int(0.03 * sample_rate), n - at)
            if length <= 0:
                break
            t_s = np.arange(length) / sample_rate
            click = rng.normal(size=length) * np.exp(-t_s * rng.uniform(150, 500))
            click += rng.uniform(0.3, 1) * np.sin(2 * np.pi * rng.uniform(200, 2500) * t_s) * np.exp(-t_s * 200)
            out[at : at + length] += rng.uniform(0.3, 1) * click
            at += int(sample_rate / rng.uniform(3, 9))
        at += int(rng.uniform(0.2, 1.5) * sample_rate)
    return out / (out.std() + 1e-12)


def breath(n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) air in and out, 10 to 25 times a minute: noise in one or two broad bands, swelling; unit deviation."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    hz = np.fft.rfftfreq(n, 1 / sample_rate)
    shape = np.zeros(len(hz))
    for _ in range(rng.integers(1, 3)):
        octaves = np.log2(np.maximum(hz, 1) / rng.uniform(400, 3000))
        shape += rng.uniform(0.3, 1) * np.exp(-0.5 * (octaves / rng.uniform(0.5, 1.5)) ** 2)
    turns = np.cumsum(rng.uniform(0.9, 1.1, n)) / sample_rate * rng.uniform(10, 25) / 60
    swell = np.maximum(np.sin(4 * np.pi * turns), 0) ** rng.uniform(0.5, 2)
    out = np.fft.irfft(spectrum * shape, n) * swell
    return out / (out.std() + 1e-12)


def hum(n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) mains or a fan: a low tone, its harmonics and some noise; unit deviation."""
    t_s = np.arange(n) / sample_rate
    low_hz = rng.choice([50.0, 60.0, rng.uniform(40, 250)])
    out = sum(np.sin(2 * np.pi * k * low_hz * t_s + rng.uniform(0, 6)) * rng.uniform(0, 1) / k for k in range(1, 9))
    out = out + rng.uniform(0, 1) * coloured_noise(n, 1.5, rng)
    return out / (out.std() + 1e-12)


def noise(n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) steady noise of some colour; unit deviation."""
    return coloured_noise(n, rng.uniform(0, 2), rng)


SOUNDS: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "music": music, "typing": typing, "breath": breath, "hum": hum, "noise": noise,
}  # fmt: skip
"""name → maker of (n,) samples of unit deviation at a sample rate."""
