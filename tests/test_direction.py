"""Direction does what it says, alike in a stream and in a recording."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_animate import ANIMATORS, AUDIO, TINY

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, load_model
from meshtalk.inference.direction import Direction
from meshtalk.measures import metrics, sync, tracks

EVERYTHING = Direction(
    intensity={"mouth": 1.3, "upper_face": 0.5}, smoothing_s={"upper_face": 0.3, "mouth": 0.1}, blinks_per_min=30,
    lead_in_s=0.4, lead_out_s=0.5, articulation=1.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def packaged() -> Animator:
    return load_model()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    parts = [read_audio(asset(f"speech/{name}.flac"))[0] for name in ("librivox_0890", "librivox_0930")]
    return np.tile(np.concatenate(parts), 3)


@pytest.fixture(scope="module")
def plain(packaged, speech) -> Clip:
    return packaged.animate(speech, 16000)


def moved_mm(clip: Clip, region: str) -> np.ndarray:
    """(T,) root mean square displacement of a region's core."""
    inside = np.flatnonzero(clip.topology.region(region) > 0.9)
    return np.sqrt(metrics.squared_norm(tracks.positions(clip, inside) - clip.template[inside]).mean(1)) * 1e3


def blinks_per_min(clip: Clip) -> float:
    lids = tracks.eyelid_closure(clip)
    assert lids is not None
    return len(sync.blinks(lids, float(clip.fps))) / (clip.duration_s / 60)


def streamed(animator: Animator, sizes: list[int], **options) -> np.ndarray:
    state = animator.start(**options)
    parts, at = [], 0
    for size in [*sizes, len(AUDIO)]:
        frames, state = animator.step(AUDIO[at : at + size], state)
        parts.append(frames)
        at += size
    return np.concatenate([*parts, animator.flush(state)])


@settings(max_examples=8)
@given(st.lists(st.integers(0, 9000), max_size=8), st.sampled_from(["logmel", "dense"]), st.sampled_from([None, 25]))
def test_a_stream_is_directed_as_a_recording_is(sizes, name, fps):
    options = {"direction": EVERYTHING, "seed": 3, "fps": fps}
    whole = ANIMATORS[name].animate(AUDIO, 16000, **options)
    np.testing.assert_allclose(streamed(ANIMATORS[name], sizes, **options), whole.vertices, atol=1e-5)
    assert whole.duration_s == pytest.approx(len(AUDIO) / 16000 + 0.5, abs=0.05)


@pytest.mark.parametrize("articulation", [0.5, 1.5])
def test_articulation_scales_the_mouth_and_keeps_closed_lips_closed(packaged, speech, plain, articulation):
    directed = packaged.animate(speech, 16000, direction=Direction(articulation=articulation))
    opening, plain_opening = directed.lip_opening_mm(), plain.lip_opening_mm()
    wide, closed = plain_opening > 4, plain_opening < 0.3
    assert wide.sum() > 50
    assert closed.sum() > 30
    # teeth and tongue share the region, the cheeks only part of it: the projection takes a little of the factor
    assert np.median(opening[wide] / plain_opening[wide]) == pytest.approx(articulation, abs=0.12)
    assert (np.abs(opening - plain_opening)[closed] < 0.5 * np.abs(plain_opening[closed]) + 0.02).all()
    brows = [moved_mm(clip, "upper_face") for clip in (directed, plain)]
    assert np.abs(brows[0] - brows[1]).max() < 0.4


def test_takes_blink_each_for_itself():
    sound = np.tile(AUDIO, 8)
    with_blinks, without = (TINY.takes(sound, 16000, n=2, direction=Direction(blinks_per_min=r)) for r in (40, 0))
    downs = []
    for one, other in zip(with_blinks, without, strict=True):
        lids = [tracks.eyelid_closure(clip) for clip in (one, other)]
        downs.append(set(np.flatnonzero(lids[0] - lids[1] > 0.2)))
    assert all(downs)
    assert downs[0] != downs[1]


def test_nothing_asked_is_nothing_changed():
    np.testing.assert_array_equal(
        TINY.animate(AUDIO, 16000, direction=Direction()).vertices, TINY.animate(AUDIO, 16000).vertices
    )


def test_blinks_come_as_often_as_asked(packaged, speech, plain):
    none, many = (packaged.animate(speech, 16000, direction=Direction(blinks_per_min=rate)) for rate in (0, 20))
    assert blinks_per_min(plain) > 3
    assert blinks_per_min(none) == 0
    assert 10 <= blinks_per_min(many) <= 30
    np.testing.assert_allclose(tracks.opening_mm(none), tracks.opening_mm(plain), atol=0.05)


def test_regions_move_as_much_as_asked(packaged, speech, plain):
    def ratio(region: str, **intensity: float) -> float:
        clip = packaged.animate(speech, 16000, direction=Direction(intensity=intensity))
        return float(moved_mm(clip, region).mean() / moved_mm(plain, region).mean())

    assert ratio("upper_face", upper_face=0) < 0.2
    assert ratio("upper_face", upper_face=0.5) == pytest.approx(0.5, abs=0.1)
    assert ratio("mouth", mouth=1.5) == pytest.approx(1.5, abs=0.15)
    assert ratio("mouth", upper_face=0) == pytest.approx(1, abs=0.05)


def test_a_smoothed_region_shakes_less_and_the_other_stays(packaged, speech, plain):
    smooth = packaged.animate(speech, 16000, direction=Direction(smoothing_s={"upper_face": 0.4}))
    upper, lips = (np.flatnonzero(plain.topology.region(name) > 0.9) for name in ("upper_face", "lips"))
    jitter = [metrics.jitter_mm(tracks.positions(clip, upper)) for clip in (smooth, plain)]
    assert jitter[0] < 0.4 * jitter[1]
    assert np.abs(tracks.positions(smooth, lips) - tracks.positions(plain, lips)).max() < 0.5e-3


def test_eyes_are_held(packaged, speech, plain):
    held = packaged.animate(speech, 16000, direction=Direction(hold_gaze=True))
    looks = [i for i, name in enumerate(plain.topology.shape_names) if name.startswith("eyeLook")]
    assert held.weights is not None
    assert plain.weights is not None
    assert np.abs(held.weights[:, looks]).max() < 0.1 * np.abs(plain.weights[:, looks]).max()


def test_ways_in_and_out(packaged, speech):
    clip = packaged.animate(speech[:40000], 16000, direction=Direction(lead_in_s=0.5, lead_out_s=1), fps=25)
    sizes_mm = np.abs(clip.displacements()).max((1, 2)) * 1e3
    assert sizes_mm[0] < 0.01
    assert sizes_mm[-1] < 1e-3
    assert clip.n_frames == 88  # 3.5 s
    assert len(clip.audio) == 56000
    clip.validate()


def test_smoothing_waits(packaged):
    waits = [packaged.waits_s(packaged.start(direction=d)) for d in (None, Direction(smoothing_s={"mouth": 0.2}))]
    assert waits == [packaged.lookahead_s, packaged.lookahead_s + 3 / 30]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"intensity": {"mouth": -1}}, "intensity of 'mouth' must be 0 to 3, got -1"),
        ({"intensity": {"mouth": float("nan")}}, "intensity of 'mouth' must be 0 to 3, got nan"),
        ({"smoothing_s": {"mouth": 2}}, "smoothing of 'mouth' must be 0 to 1, got 2"),
        ({"blinks_per_min": 100}, "blinks per minute must be 0 to 40, got 100"),
        ({"lead_in_s": -1}, "lead-in must be 0 to 60 s, got -1"),
        ({"intensity": {"nose": 1}}, "no region 'nose'.*mouth"),
        ({"hold_gaze": True}, "eyeLook… blendshapes"),
    ],
)
def test_directions_that_cannot_be_followed(wrong, said):
    with pytest.raises(InputError, match=said):
        TINY.animate(AUDIO, 16000, direction=Direction(**wrong))


@pytest.mark.parametrize("strength", [-0.1, 2.5, {"mouth": float("nan")}, {"ear": 1}])
def test_strengths_that_mean_nothing(strength):
    clip = TINY.animate(AUDIO, 16000)
    with pytest.raises(InputError, match=r"strength|no region 'ear'"):
        TINY.animate(AUDIO, 16000, expression=clip, strength=strength)


def test_an_expression_of_no_strength_is_a_still_one():
    clip = TINY.animate(AUDIO, 16000)
    assert clip.weights is not None
    still = replace(clip, weights=np.zeros_like(clip.weights), fps=Fraction(30))
    none, neutral = (
        TINY.animate(AUDIO, 16000, expression=e, strength=s).vertices for e, s in ((clip, 0.0), (still, 1.0))
    )
    np.testing.assert_allclose(none, neutral, atol=1e-6)
