"""Held vowels: the sound and its phones grow together, in tune and without clicks."""

from __future__ import annotations

import numpy as np
import pytest

from meshtalk.clip import Phone
from meshtalk.synth import singing

RATE_HZ = 16_000
ENDS = {"pau": 0.2, "s": 0.3, "aa": 0.5, "t": 0.58, "uw": 0.8}
PHONES = (
    *(Phone(n, s, e) for (n, e), s in zip(ENDS.items(), [0.0, *ENDS.values()], strict=False)),
    Phone("pau", 0.8, 1.0),
)


def voice(hz: float = 120.0) -> np.ndarray:
    """A buzz where vowels are, hiss where consonants are."""
    t_s = np.arange(RATE_HZ) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * hz * k * t_s + k) / k for k in range(1, 20))
    vowel = ((t_s > 0.3) & (t_s < 0.5)) | ((t_s > 0.58) & (t_s < 0.8))
    hiss = np.random.default_rng(0).normal(0, 0.05, RATE_HZ) * ((t_s > 0.2) & (t_s < 0.8))
    return (0.1 * buzz * vowel + hiss * ~vowel).astype(np.float32)


def test_the_period_is_the_voices_and_noise_has_none():
    window = voice()[int(0.32 * RATE_HZ) : int(0.48 * RATE_HZ)]
    assert singing.period(window, RATE_HZ) == pytest.approx(RATE_HZ / 120, abs=1)
    assert singing.period(np.random.default_rng(0).normal(size=4000), RATE_HZ) is None
    assert singing.period(np.zeros(4000), RATE_HZ) is None


@pytest.mark.parametrize("seed", range(6))
def test_sound_and_phones_grow_alike(seed):
    audio = voice()
    longer, phones = singing.with_held_vowels(audio, RATE_HZ, PHONES, np.random.default_rng(seed))
    assert phones[-1].end_s == pytest.approx(len(longer) / RATE_HZ, abs=1e-4)
    assert [phone.name for phone in phones] == [phone.name for phone in PHONES]
    for old, new in zip(PHONES, phones, strict=True):
        grown_s = (new.end_s - new.start_s) - (old.end_s - old.start_s)
        assert grown_s == pytest.approx(0, abs=1e-9) if old.name not in ("aa", "uw") else grown_s > -1e-9
    # the first consonant is where it was, the last where its phone says
    np.testing.assert_array_equal(longer[: int(0.3 * RATE_HZ)], audio[: int(0.3 * RATE_HZ)])
    t = phones[3]
    shift = round((t.start_s - PHONES[3].start_s) * RATE_HZ)
    at = slice(int(0.51 * RATE_HZ), int(0.57 * RATE_HZ))
    np.testing.assert_allclose(longer[at.start + shift : at.stop + shift], audio[at], atol=1e-6)
    # no step is larger than the voice's own
    assert np.abs(np.diff(longer)).max() < 1.5 * np.abs(np.diff(audio)).max()


def test_a_held_vowel_has_the_pitch_asked_for():
    audio = voice()
    tone = singing.held(audio, int(0.4 * RATE_HZ), 8000, round(RATE_HZ / 120), 1.25)
    assert singing.period(tone[2000:6000], RATE_HZ) == pytest.approx(RATE_HZ / 150, abs=1.5)
    assert 0.5 < tone[1000:7000].std() / audio[int(0.35 * RATE_HZ) : int(0.45 * RATE_HZ)].std() < 1.6
