"""experiments/measure_robustness.py: its noise, rooms and telephone are what their names say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rig

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))

import measure_robustness as tool

SPEECH, _, _ = rig.speech(3, 2.0)


@pytest.mark.parametrize("microphone_m", [tool.NEAR_M, tool.FAR_M])
def test_the_room_has_its_reverberation_time(microphone_m):
    """Twice 30 dB, of the energy still to come (Schroeder)."""
    response = tool.impulse_response(microphone_m)
    assert response[0] == pytest.approx(1)
    still = np.cumsum(np.square(response)[::-1])[::-1]
    level_db = 10 * np.log10(still / still[0])
    first, last = np.argmax(level_db < -5), np.argmax(level_db < -25)
    assert 3 * (last - first) / 16000 == pytest.approx(tool.ROOM_S, abs=0.03)


@pytest.mark.parametrize("make", [tool.white, tool.pink, tool.music])
@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_a_sound_beside_speech_has_the_level_asked_for(make, rate_hz):
    spoiled, same = tool.beside(make, 5.0)(SPEECH, rate_hz)
    assert same == rate_hz
    other = spoiled - SPEECH
    assert 10 * np.log10(np.mean(np.square(SPEECH)) / np.mean(np.square(other))) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("name", tool.SPOILED)
def test_spoiled_speech_is_as_long_and_finite(name):
    spoiled, rate_hz = tool.SPOILED[name](SPEECH, 16000)
    assert len(spoiled) / rate_hz == pytest.approx(len(SPEECH) / 16000, abs=1e-3)
    assert spoiled.dtype == np.float32
    assert np.isfinite(spoiled).all()


@pytest.mark.parametrize("name", tool.ALONE)
def test_sounds_alone_follow_from_their_seed(name):
    one, again = (tool.ALONE[name](16000, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == (16000,)
    np.testing.assert_array_equal(one, again)
    assert np.std(one) > 0
