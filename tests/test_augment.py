"""Augmentation: another voice, room and microphone, but the same words at the same times."""

import numpy as np
import pytest
import rig

from meshtalk.audio.mel import MelFrontend
from meshtalk.audio.sounds import SOUNDS
from meshtalk.training import augment

SPEECH, ENVELOPE, _ = rig.speech(3, 2.0)
FRONTEND = MelFrontend("logmel")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_randomness_it_is_the_recording():
    np.testing.assert_array_equal(augment.augmented_mel(SPEECH, FRONTEND, None), FRONTEND.all(SPEECH))


@pytest.mark.parametrize("kind", ["logmel", "phonetic"])
@pytest.mark.parametrize("length", [100, 32000, 31999])
def test_warp_by_one_is_the_plain_mel(kind, length):
    frontend = MelFrontend(kind)
    np.testing.assert_allclose(
        augment.warped_mel(SPEECH[:length], frontend, 1.0), frontend.all(SPEECH[:length]), atol=2e-5
    )


def test_every_version_has_the_same_length_is_finite_and_repeatable():
    plain = FRONTEND.all(SPEECH)
    for seed in range(8):
        one, again, other = (augment.augmented_mel(SPEECH, FRONTEND, rng(s)) for s in (seed, seed, seed + 100))
        assert one.shape == plain.shape
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).mean() > 0.01


def test_timing_survives():
    """Loudness over time still follows the envelope that moves the jaw."""
    frames = ENVELOPE[:: len(ENVELOPE) // 200][:200]
    for seed in range(8):
        mel = augment.augmented_mel(SPEECH, FRONTEND, rng(seed))[:200]
        assert np.corrcoef(mel.max(1), frames)[0, 1] > 0.5


def test_warping_moves_formants():
    bins = np.arange(1025)
    peak = np.exp(-(((bins - 400) / 10.0) ** 2))[None].astype(np.float32)
    assert augment.warp_bands(peak, 1.25).argmax() == 320
    assert augment.warp_bands(peak, 0.8).argmax() == 500
    np.testing.assert_allclose(augment.warp_bands(peak, 1.0), peak, atol=1e-6)


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_are_added_at_the_level_asked_for(name):
    sound = SOUNDS[name](len(SPEECH), 16000, rng())
    assert sound.shape == SPEECH.shape
    assert sound.std() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(sound, SOUNDS[name](len(SPEECH), 16000, rng()))
    added = augment.beside(SPEECH.astype(np.float64), sound, 20.0) - SPEECH
    loud = np.sqrt(np.percentile(SPEECH**2, 90))
    assert 20 * np.log10(loud / added.std()) == pytest.approx(20, abs=0.1)


def test_a_telephone_passes_its_band_alone():
    noise = rng().normal(0, 0.1, 32000)
    hz = np.fft.rfftfreq(len(noise), 1 / 16000)
    before, after = (np.abs(np.fft.rfft(x)) for x in (noise, augment.telephone(noise)))

    def passed_db(low, high):
        band = (hz > low) & (hz < high)
        return 20 * np.log10(after[band].mean() / before[band].mean())

    assert passed_db(600, 3000) == pytest.approx(0, abs=1)
    assert max(passed_db(20, 150), passed_db(4500, 7900)) < -12


def test_reverb_keeps_the_direct_sound_and_adds_a_decaying_tail():
    click = np.zeros(16000)
    click[1000] = 1.0
    wet = augment.random_reverb(click, rng())
    assert np.abs(wet[:1000]).max() < 1e-9
    assert wet[1000] == pytest.approx(1.0)
    assert (wet[1001:3000] ** 2).sum() > (wet[8000:10000] ** 2).sum()


def test_equaliser_is_smooth_and_bounded():
    click = np.zeros(4096)
    click[2048] = 1.0
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(augment.random_equaliser(click, rng(4)))))
    assert np.abs(gain_db).max() <= 20.1
    assert np.abs(np.diff(gain_db)).max() < 0.2
    assert gain_db.std() > 0.5


def test_silence_and_shortest_sounds_survive():
    for samples in (np.zeros(3200, np.float32), np.ones(1, np.float32), SPEECH[:159]):
        for seed in range(6):
            assert np.isfinite(augment.augmented_mel(samples, FRONTEND, rng(seed))).all()


def test_waveform_stays_in_range():
    for seed in range(5):
        out = augment.augment_waveform(SPEECH * 3, rng(seed))
        assert out.dtype == np.float32
        assert np.abs(out).max() <= 1
