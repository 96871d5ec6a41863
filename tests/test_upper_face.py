"""Blinks, gaze, brows and moods: plausible, smooth, and deaf to the audio."""

from fractions import Fraction

import numpy as np
import pytest

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.synth.clips import make_clip
from meshtalk.synth.coarticulation import soft_limit
from meshtalk.synth.lips import compose, shape_names
from meshtalk.synth.upper_face import EMOTIONS, STRENGTHS, upper_face

FPS = Fraction(100)
NAMES = shape_names()


def curve(weights, name):
    return weights[:, NAMES.index(name)]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def ten_minutes():
    return upper_face(60_000, FPS, "neutral", rng(1))


def test_blinks_come_as_often_and_last_as_long_as_peoples(ten_minutes):
    lid = curve(ten_minutes, "eyeBlinkLeft")
    edges = np.flatnonzero(np.diff((lid > 0.5).astype(int)))
    shut, opened = edges[::2], edges[1::2]
    assert 150 <= len(shut) <= 200
    closings, openings = [], []
    for begin, end in zip(shut, opened, strict=False):
        top = begin + int(np.argmax(lid[begin:end]))
        if lid[top] > 0.9 and lid[max(0, top - 40)] < 0.05 and lid[min(top + 40, len(lid) - 1)] < 0.05:
            closings.append(np.flatnonzero(lid[top - 40 : top] < 0.02).max())
            openings.append(np.flatnonzero(lid[top : top + 40] < 0.02).min())
    closing_s, opening_s = (40 - np.array(closings)) / 100, np.array(openings) / 100
    assert len(closings) > 60
    assert 0.09 <= closing_s.mean() <= 0.16
    assert 0.18 <= opening_s.mean() <= 0.27


def test_both_eyes_blink_and_look_together(ten_minutes):
    np.testing.assert_allclose(curve(ten_minutes, "eyeBlinkLeft"), curve(ten_minutes, "eyeBlinkRight"), atol=0.25)
    np.testing.assert_array_equal(curve(ten_minutes, "eyeLookOutLeft"), curve(ten_minutes, "eyeLookInRight"))
    moved = np.abs(np.diff(curve(ten_minutes, "eyeLookOutLeft") - curve(ten_minutes, "eyeLookInLeft")))
    assert (moved < 1e-6).mean() > 0.8  # fixations
    assert moved.max() > 0.03  # saccades


def test_brows_move_now_and_then(ten_minutes):
    for name in ("browInnerUp", "browDownLeft", "eyeSquintLeft", "eyeWideLeft", "browOuterUpRight"):
        moved = curve(ten_minutes, name) > 0.1
        assert 0.01 < moved.mean() < 0.5, name


def test_slopes_are_continuous():
    weights = upper_face(6000, Fraction(600), "angry", rng(2), strength=1.0)
    slope = np.diff(weights, axis=0) * 600
    bend = np.abs(np.diff(slope, axis=0))
    gaze = [k for k, name in enumerate(NAMES) if name.startswith("eyeLook")]  # saccades are the quickest
    assert np.delete(bend, gaze, axis=1).max() < 3  # of slopes up to 15 a second: no corners
    assert weights.min() >= 0
    assert weights.max() <= 1


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_equal_times_give_equal_weights_at_any_rate(emotion):
    slow = upper_face(120, Fraction(30), emotion, rng(4))
    fast = upper_face(240, Fraction(60), emotion, rng(4))
    np.testing.assert_allclose(slow, fast[::2], atol=1e-7)


def test_the_seed_decides():
    one, same, other = (upper_face(90, Fraction(30), "sad", rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_moods_show_where_they_should():
    def level(emotion, name):
        return np.mean([curve(upper_face(120, Fraction(30), emotion, rng(s)), name).mean() for s in range(12)])

    signs = {
        "happy": "mouthSmileLeft",
        "sad": "mouthFrownRight",
        "angry": "browDownLeft",
        "surprised": "eyeWideRight",
        "disgusted": "noseSneerLeft",
        "afraid": "browInnerUp",
    }
    for emotion, sign in signs.items():
        assert level(emotion, sign) > 0.15 + level("neutral", sign), emotion


def test_strength_scales_the_mood():
    smiles = [
        curve(upper_face(120, Fraction(30), "happy", rng(3), strength=s), "mouthSmileLeft").mean()
        for s in (0.0, *STRENGTHS)
    ]
    assert smiles[0] == 0
    assert np.all(np.diff(smiles) > 0.05)


def test_the_audio_does_not_reach_the_upper_face():
    person = load_head().person("default")
    n = 32_000
    clips = [
        make_clip(
            rng(seed).normal(0, 0.1, n).astype(np.float32),
            16_000,
            (Phone("pau", 0, 0.3), *(Phone(p, 0.3 + 0.1 * k, 0.4 + 0.1 * k) for k, p in enumerate(said))),
            person,
            emotion="angry",
            seed=7,
        )
        for seed, said in ((1, ["aa", "m", "iy"]), (2, ["uw", "t", "s", "ae", "p", "ow"]))
    ]
    upper = [k for k, name in enumerate(NAMES) if name.startswith(("eye", "brow", "cheekSquint", "noseSneer"))]
    a, b = (clip.weights for clip in clips)
    assert a is not None
    assert b is not None
    np.testing.assert_array_equal(a[:, upper], b[:, upper])
    assert np.abs(a - b).max() > 0.3  # while the mouths differ


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_lids_meet_and_do_not_cross(emotion):
    head = load_head()
    weights = upper_face(900, Fraction(30), emotion, rng(5), strength=1.0)
    shut = curve(weights, "eyeBlinkLeft") >= curve(weights, "eyeBlinkLeft").max() - 1e-3
    for person in (head.person("default"), head.people[5]):
        assert head.topology.shapes is not None
        both = compose(np.zeros_like(weights), weights, person) * person.gains
        seam = head.seams["lids_left"]
        per_shape = np.stack([seam.opening_m(shape) for shape in head.topology.shapes])
        opening_mm = 1e3 * (seam.opening_m(person.template) + both @ per_shape)
        assert opening_mm.min() > -1.0, person.name
        assert opening_mm[shut].mean() < 0.8, person.name


def test_soft_limit_bends_without_a_corner():
    x = np.linspace(0, 3, 1000)
    y = soft_limit(x)
    assert y.max() <= 1
    np.testing.assert_array_equal(y[x < 0.8], x[x < 0.8])
    assert np.abs(np.diff(y, 2)).max() < 0.001


def test_nonsense_is_one_sentence():
    with pytest.raises(InputError, match="bored"):
        upper_face(10, FPS, "bored", rng())
    with pytest.raises(InputError, match="strength"):
        upper_face(10, FPS, "sad", rng(), strength=1.5)
