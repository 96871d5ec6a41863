"""Many channels to one: nothing that is said is lost, and any cutting gives the same samples."""

from __future__ import annotations

import io

import numpy as np
import pytest
import rig
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from media_rig import burst_times_s

from meshtalk.audio.files import read_audio, to_mono
from meshtalk.audio.mix import Downmix
from meshtalk.stream.pcm import Pcm, packets

RATE = 16_000
SPEECH, OTHER = rig.speech(0, 3.0)[0], rig.speech(1, 3.0)[0]
NOISE = np.random.default_rng(0).standard_normal((len(SPEECH), 4)).astype(np.float32)
HUM = (0.2 * np.sin(2 * np.pi * 50 * np.arange(len(SPEECH)) / RATE)).astype(np.float32)
NONE = np.zeros_like(SPEECH)


def level_db(samples: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10((samples**2).mean() / (reference**2).mean() + 1e-30))


DESTROYED = {
    "opposite": [SPEECH, -SPEECH],
    "opposite, one softer": [SPEECH, -0.7 * SPEECH],
    "opposite, both with noise of their own": [SPEECH + 0.002 * NOISE[:, 0], -SPEECH + 0.002 * NOISE[:, 1]],
    "four in turn": [SPEECH, -SPEECH, SPEECH, -SPEECH],
    "silence first": [NONE, SPEECH, -SPEECH],
    "one against two": [SPEECH, SPEECH, -2 * SPEECH],
    "after noise alone": [np.r_[0.001 * NOISE[:, 0], SPEECH], np.r_[0.001 * NOISE[:, 1], -SPEECH]],
}


@pytest.mark.parametrize("kind", DESTROYED)
def test_opposite_channels_do_not_cancel(kind):
    channels = np.stack(DESTROYED[kind], 1)
    loud = channels[:, np.argmax((channels**2).sum(0))]
    assert level_db(channels.mean(1), loud) < -15, "the mean would do"
    mono = to_mono(channels, RATE)
    assert level_db(mono[1000:], loud[1000:]) > -5
    assert np.corrcoef(np.abs(mono[1000:]), np.abs(loud[1000:]))[0, 1] > 0.98


def test_hum_that_the_channels_share_hides_nothing():
    mono = to_mono(np.stack([0.5 * SPEECH + HUM, -0.5 * SPEECH + HUM], 1), RATE)
    assert level_db(mono[1000:], 0.5 * SPEECH[1000:]) == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    "channels",
    [
        [SPEECH, SPEECH],
        [SPEECH, NONE],
        [SPEECH, 0.001 * OTHER],
        [SPEECH, OTHER],
        [SPEECH, np.roll(SPEECH, 3)],
        [SPEECH, 0.5 * SPEECH + 0.01 * NOISE[:, 0], NONE, OTHER],
        list(NOISE.T * 0.1),
    ],
)
def test_other_channels_are_averaged_as_ever(channels):
    block = np.stack(channels, 1)
    np.testing.assert_array_equal(to_mono(block, RATE), block.mean(1, dtype=np.float32))


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=12), st.sampled_from(sorted(DESTROYED)))
def test_any_cutting_gives_the_same_samples(sizes, kind):
    block = np.stack(DESTROYED[kind], 1)[:20_000]
    mix, cuts = Downmix(RATE), np.minimum(np.cumsum([0, *sizes]), len(block))
    parts = [mix(block[a:b]) for a, b in zip(cuts, [*cuts[1:], len(block)], strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), Downmix(RATE)(block))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_files_arrays_and_pipes_give_the_same(tmp_path, rate):
    pcm = np.round(np.stack([SPEECH, -0.9 * SPEECH, OTHER], 1) * 30_000).astype("<i2")
    soundfile.write(tmp_path / "a.wav", pcm, rate)
    read, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(read, to_mono(pcm, rate))
    piped = np.concatenate([samples for samples, _ in packets(io.BytesIO(pcm.tobytes()), Pcm(rate, 3))])
    np.testing.assert_array_equal(piped, read)


def test_a_turn_does_not_click():
    """The second channel's cable is swapped on the way; the sound goes on, with no step larger than its own."""
    t_s = np.arange(2 * RATE) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 500 * t_s)).astype(np.float32)
    mono = to_mono(np.stack([tone, np.where(t_s < 0.5, tone, -tone)], 1), RATE)
    assert np.abs(np.diff(mono)).max() <= 1.05 * np.abs(np.diff(tone)).max()
    assert level_db(mono[-1000:], tone[-1000:]) == pytest.approx(0, abs=0.1)
    assert burst_times_s(mono, RATE)[0] < 0.01
