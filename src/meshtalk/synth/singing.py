"""Held vowels: speech whose vowels are drawn out at a pitch of their own, as in singing and calling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshtalk.clip import Phone
from meshtalk.synth.phones import MONOPHTHONGS

HELD_SHARE = 0.5
"""Of the vowels of such a clip."""
HELD_S = (0.25, 1.4)
PITCH = (0.75, 1.5)
"""Of a held vowel, over the spoken one's."""
LEAST_S = 0.06
"""Shorter vowels are left."""
PERIODS_S = (1 / 400, 1 / 70)
VOICED = 0.5
"""Least autocorrelation at the period of a vowel that can be held."""
FADE_S = 0.012


def period(window: np.ndarray, sample_rate: int) -> int | None:
    """Samples of the period of a voiced (S,) window; None if it has none."""
    centred = window - window.mean()
    power = float(centred @ centred)
    least, most = (int(s * sample_rate) for s in PERIODS_S)
    if power <= 0 or len(window) < 2 * most:
        return None
    likeness = np.array([centred[:-k] @ centred[k:] / (1 - k / len(window)) for k in range(least, most)]) / power
    best = int(np.argmax(likeness))
    return least + best if likeness[best] >= VOICED else None


def held(audio: np.ndarray, middle: int, length: int, apart: int, pitch: float) -> np.ndarray:
    """(length,) samples of the vowel around a sample, by overlapping grains of two periods (PSOLA: Moulines & Charpentier 1990).

    Args:
        audio: (S,)
        apart: samples of a period.
        pitch: of the result over that of the vowel.
    """
    marks = middle + apart * np.array([-2, -1, 0, 1, 2, 1, 0, -1])  # ping-pong: one period alone would buzz
    step = apart / pitch
    out = np.zeros(length + 4 * apart)
    window = np.hanning(2 * apart + 1)[:-1]
    for k in range(int(length / step) + 2):
        mark, at = int(marks[k % len(marks)]), round(k * step)
        out[at : at + 2 * apart] += window * audio[mark - apart : mark + apart]
    return out[apart : apart + length] / max(pitch, 1e-3) ** 0.5


def with_held_vowels(
    audio: np.ndarray, sample_rate: int, phones: Sequence[Phone], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Phone, ...]]:
    """(S,) float32 sound and its phones, with vowels drawn out in their middle: ((S',), phones at their new times)."""
    pieces, moved, late_s, done = [], [], 0.0, 0
    fade = int(FADE_S * sample_rate)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / fade)
    for phone in phones:
        start_s, length_s = phone.start_s + late_s, 0.0
        if phone.name in MONOPHTHONGS and phone.end_s - phone.start_s >= LEAST_S and rng.random() < HELD_SHARE:
            middle = int((phone.start_s + phone.end_s) / 2 * sample_rate)
            half = int(PERIODS_S[1] * sample_rate) * 2
            longer, pitch = int(rng.uniform(*HELD_S) * sample_rate), float(rng.uniform(*PITCH))
            apart = period(audio[max(middle - half, 0) : middle + half], sample_rate)
            if apart is not None and 4 * apart < middle < len(audio) - 4 * apart - fade:
                tone = held(audio, middle, longer + 2 * fade, apart, pitch)
                before, after = audio[done:middle].astype(np.float64), audio[middle : middle + fade]
                tone[:fade] = tone[:fade] * ramp + after * (1 - ramp)
                tone[-fade:] = tone[-fade:] * (1 - ramp) + audio[middle - fade : middle] * ramp
                pieces += [before, tone]
                done, length_s = middle, len(tone) / sample_rate
        late_s += length_s
        moved.append(Phone(phone.name, start_s, phone.end_s + late_s))
    whole = np.concatenate([*pieces, audio[done:]])
    return np.clip(whole, -1, 1).astype(np.float32), tuple(moved)
