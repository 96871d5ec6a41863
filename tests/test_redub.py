"""New speech for a performance: the mouth is the speech's, the rest the performance's, whatever lengths, rates and meshes come."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st
from test_animate import ANIMATORS, TINY

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.evaluation.run import load_measured
from meshtalk.inference.animator import Animator
from meshtalk.inference.direction import Direction
from meshtalk.inference.edit import fit_length, redub
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import metrics, sync, tracks
from meshtalk.mesh.head import load_head
from meshtalk.resample import at_rate
from meshtalk.synth.clips import clip_from_recording

SOUND = rig.speech(11, 1.5)[0]
ACTED = rig.make_clip(8, 1.2)
RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]


def moved(clip: Clip, region: str, frames: int | None = None) -> np.ndarray:
    """(T,n,3) displacement of a region's core from rest, mm."""
    inside = np.flatnonzero(clip.topology.region(region) > 0.95)
    return (tracks.positions(clip, inside)[:frames] - clip.template[inside]) * 1e3


def size_mm(displacement: np.ndarray) -> float:
    return float(np.sqrt(metrics.squared_norm(displacement).mean()))


# --- the packaged model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged() -> LatentAnimator:
    return load_measured(None)


def performance(recording: str, person: str, emotion: str) -> Clip:
    path, text = read_transcripts(asset("speech"))[recording]
    return clip_from_recording(*read_audio(path), text, load_head().person(person), 1, emotion=emotion)


@pytest.fixture(scope="module")
def happy() -> Clip:
    return performance("librivox_0870", "p03", "happy")


@pytest.fixture(scope="module")
def speech() -> Clip:
    """Another recording, shorter than the performance, with what a mouth should do at it."""
    return performance("librivox_0890", "p03", "neutral")


@pytest.fixture(scope="module")
def dubbed(packaged, happy, speech) -> Clip:
    return redub(packaged, happy, speech.audio, speech.sample_rate)


def test_its_own_speech_brings_it_back(packaged, happy):
    for clip in (happy, performance("librivox_0920", "p11", "angry"), performance("librivox_0930", "p05", "neutral")):
        made, decoded = redub(packaged, clip, clip.audio, clip.sample_rate), packaged.reconstruct(clip)
        assert made.n_frames == clip.n_frames
        assert metrics.mve_mm(made.vertices, clip.vertices) < 0.9 * metrics.mve_mm(decoded.vertices, clip.vertices)


def test_the_mouth_is_the_new_speechs(packaged, happy, speech, dubbed):
    plain = packaged.animate(speech.audio, speech.sample_rate, template=happy.template)
    ours, theirs = tracks.opening_mm(dubbed), tracks.opening_mm(plain)
    assert sync.correlation(ours, theirs) > 0.9
    assert sync.correlation(ours, tracks.opening_mm(happy)[: len(ours)]) < 0.4
    assert sync.closure_rate(ours, 30, speech.phones) >= sync.closure_rate(theirs, 30, speech.phones)
    wrongly = [sync.false_closure_rate(opening, 30, speech.phones) for opening in (ours, theirs)]
    assert wrongly[0] <= wrongly[1] + 0.05
    np.testing.assert_array_equal(dubbed.audio, speech.audio)
    assert dubbed.phones == ()
    assert (dubbed.subject, dubbed.emotion, dubbed.tint) == (happy.subject, happy.emotion, happy.tint)


def test_the_upper_face_is_the_performances(happy, dubbed):
    lids = [tracks.eyelid_closure(clip) for clip in (dubbed, happy)]
    assert np.corrcoef(lids[0], lids[1][: dubbed.n_frames])[0, 1] > 0.98
    assert sync.blinks(lids[0], 30)
    upper = [moved(clip, "upper_face", dubbed.n_frames) for clip in (dubbed, happy)]
    assert metrics.motion_correlation(*upper, centred=False) > 0.95
    assert size_mm(upper[0] - upper[1]) < 0.2 * size_mm(upper[1])


def test_a_smile_goes_on(packaged, happy, speech, dubbed):
    """Of the mouth's mood at least a third is left, and none where there was none."""
    neutral = performance("librivox_0870", "p03", "neutral")
    flat = redub(packaged, neutral, speech.audio, speech.sample_rate)
    named = [i for i, name in enumerate(happy.topology.shape_names) if name.startswith("mouthSmile")]
    had, smiles, none, still = (float(clip.weights[:, named].mean()) for clip in (happy, dubbed, neutral, flat))
    assert none == 0
    assert smiles > had / 3 > 0.1
    assert still < had / 10


def test_strength_of_regions(packaged, happy, speech, dubbed):
    def made(strength) -> Clip:
        return redub(packaged, happy, speech.audio, speech.sample_rate, strength=strength)

    upper = moved(dubbed, "upper_face")
    assert size_mm(moved(made(0.0), "upper_face")) < 0.1 * size_mm(upper)
    half = made({"upper_face": 0.5})
    assert size_mm(moved(half, "upper_face") - upper / 2) < 0.2 * size_mm(upper)
    mouths = [tracks.opening_mm(clip) for clip in (half, dubbed)]
    assert sync.correlation(*mouths) > 0.95
    awake = made({"eyelids": 0.0})
    lids = [tracks.eyelid_closure(clip) for clip in (awake, dubbed)]
    assert np.ptp(lids[0]) < 0.3 * np.ptp(lids[1])
    np.testing.assert_allclose(made(1).vertices, dubbed.vertices, atol=1e-7)


def test_direction_of_a_redub(packaged, happy, speech, dubbed):
    direction = Direction(blinks_per_min=0, hold_gaze=True, intensity={"mouth": 0.5}, lead_in_s=0.2, lead_out_s=0.5)
    clip = redub(packaged, happy, speech.audio, speech.sample_rate, direction=direction)
    assert clip.n_frames == dubbed.n_frames + 15
    assert len(clip.audio) == len(dubbed.audio) + 8000
    assert not clip.audio[len(dubbed.audio) :].any()
    assert sync.blinks(tracks.eyelid_closure(clip), 30) == []
    for frame, most_mm in ((0, 0.01), (-1, 0.01)):
        assert np.abs(clip.displacements()[frame]).max() * 1e3 < most_mm
    quiet, loud = (tracks.opening_mm(c)[10 : dubbed.n_frames - 5] for c in (clip, dubbed))
    assert 0.4 < np.polyfit(loud, quiet, 1)[0] < 0.6


def test_silence_is_a_closed_mouth(packaged, happy):
    clip = redub(packaged, happy, np.zeros(32000, np.float32), 16000)
    assert tracks.opening_mm(happy)[:60].max() > 10
    assert tracks.opening_mm(clip).max() < 1
    np.testing.assert_allclose(tracks.eyelid_closure(clip), tracks.eyelid_closure(happy)[:60], atol=0.1)


# --- lengths -----------------------------------------------------------------------------------------------------


def cropped(clip: Clip, frames: int) -> Clip:
    return tracks.crop(clip, frames)


@settings(max_examples=30)
@given(st.sampled_from(RATES), st.integers(1, 60), st.integers(1, 40000), st.sampled_from(["loop", "hold", "stretch"]))
def test_motion_lasts_as_long_as_the_sound(fps, frames, samples, fit):
    clip = cropped(rig.make_clip(3, 3.0, fps=fps), frames)
    n_frames = math.ceil(samples * fps / 16000)
    fitted = fit_length(clip, n_frames, fit)
    assert fitted.n_frames == n_frames
    fitted.validate()
    first = fitted.weights[: min(frames // 3, n_frames)]
    if fit != "stretch":
        np.testing.assert_array_equal(first, clip.weights[: len(first)])


@settings(max_examples=12)
@given(st.sampled_from(RATES), st.integers(1, 40), st.integers(300, 24000))
def test_a_cut_sound_ends_with_the_performance(fps, frames, samples):
    clip = cropped(rig.make_clip(3, 2.0, fps=fps), frames)
    made = redub(TINY, clip, SOUND[:samples], 16000, fit="cut").validate()
    assert made.n_frames == min(frames, math.ceil(samples * fps / 16000))
    np.testing.assert_array_equal(made.audio, SOUND[: min(samples, int(frames / fps * 16000))])


def step(clip: Clip) -> float:
    """The largest root mean square step of the face between two frames."""
    return float(np.sqrt(np.square(np.diff(clip.vertices, axis=0)).mean((1, 2)).max(initial=0)))


def drawn(name: str, frames: int, seed: int) -> Clip:
    """A motion of some kind."""
    clip, rng = rig.make_clip(seed, max(frames, 2) / 30 + 0.1), np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / max(frames - 1, 1)
    weights = {
        "as people": clip.weights[:frames],
        "one way": np.repeat(time, 6, 1),
        "noise": rng.uniform(0, 1, (frames, 6)),
        "still": np.ones((frames, 6)),
        "round": np.sin(time * np.arange(1, 7) * 7 + rng.uniform(0, 6, 6)),
    }[name].astype(np.float32)
    return replace(clip, weights=weights, audio=np.zeros(frames * 16000 // 30, np.float32))


@settings(max_examples=40)
@given(
    st.sampled_from(["as people", "one way", "noise", "still", "round"]),
    st.sampled_from([1, 2, 3, 9, 29, 30, 31, 40, 75, 150]),
    st.integers(0, 50),
)
def test_a_loop_has_no_step_larger_than_the_clips_own(name, frames, seed):
    clip = drawn(name, frames, seed)
    longer = fit_length(clip, 3 * frames + 40, "loop")
    assert longer.n_frames == 3 * frames + 40
    assert step(longer) <= 1.001 * step(clip) + 1e-9


def test_a_loop_goes_through_a_seam_where_it_can(happy):
    longer = fit_length(happy, 600, "loop")
    assert step(longer) <= step(happy)
    back = [np.abs(longer.weights[::-1][shift : shift + 100] - happy.weights[:100]).max() for shift in range(500)]
    assert min(back) > 1e-3  # never backwards
    again = [k for k in range(101, 500) if np.abs(longer.weights[k : k + 60] - happy.weights[60:120]).max() < 1e-6]
    assert again


def test_stretching_goes_from_the_first_to_the_last_pose():
    for frames in (2, 7, 36, 100):
        weights = fit_length(ACTED, frames, "stretch").weights
        np.testing.assert_allclose(weights[[0, -1]], ACTED.weights[[0, -1]], atol=1e-6)
    twice = fit_length(ACTED, 2 * ACTED.n_frames - 1, "stretch").weights
    np.testing.assert_allclose(twice[::2], ACTED.weights, atol=1e-6)
    np.testing.assert_array_equal(fit_length(ACTED, 1, "stretch").weights, ACTED.weights[:1])


def test_holding_stays():
    held = fit_length(ACTED, 60, "hold").weights
    np.testing.assert_array_equal(held[:36], ACTED.weights)
    np.testing.assert_array_equal(held[36:], ACTED.weights[-1:].repeat(24, 0))


@pytest.mark.parametrize("frames", [1, 2, 9, 36])
@pytest.mark.parametrize("fit", ["loop", "hold", "stretch", "cut"])
def test_short_performances_of_all_kinds(fit, frames):
    made = redub(TINY, cropped(ACTED, frames), SOUND, 16000, fit=fit).validate()
    assert made.n_frames == (frames if fit == "cut" else 45)


# --- meshes and rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANIMATORS)
@pytest.mark.parametrize("dense", [False, True])
def test_any_model_and_any_clip(name, dense):
    clip = rig.as_dense(ACTED) if dense else ACTED
    made = redub(ANIMATORS[name], clip, SOUND, 16000, fit="hold").validate()
    assert made.n_frames == 45
    assert (made.displacement is not None) == (name == "dense")
    np.testing.assert_array_equal(made.template, clip.template)
    if name == "dense":  # a vertex is a vertex: what lies wholly in the upper face is the performance's
        np.testing.assert_allclose(moved(made, "upper_face", 36), moved(clip, "upper_face"), atol=1e-3)


@pytest.mark.parametrize("fps", [25, 60])
def test_the_rate_is_the_performances(fps):
    clip = at_rate(ACTED, Fraction(fps))
    made = redub(ANIMATORS["dense"], clip, SOUND, 16000, fit="hold").validate()
    assert made.fps == fps
    assert made.n_frames == math.ceil(1.5 * fps)
    np.testing.assert_allclose(moved(made, "upper_face", clip.n_frames), moved(clip, "upper_face"), atol=1e-3)
    native = redub(ANIMATORS["dense"], ACTED, SOUND, 16000, fit="hold")
    same, other = (moved(c, "mouth")[::k] for c, k in ((native, 6 if fps == 25 else 1), (made, fps // 30 or 5)))
    assert size_mm(same[: len(other)] - other[: len(same)]) < 0.3 * size_mm(same)


@pytest.mark.parametrize(("source", "target"), [(25, 30), (30, 25), (30, 60), (24, 30)])
@pytest.mark.parametrize("samples", [16000, 16001, 700, 1])
def test_another_rate_is_as_long_as_the_sound(source, target, samples):
    frames = math.ceil(samples * source / 16000)
    clip = rig.make_clip(3, 1.5, fps=Fraction(source))
    clip = replace(clip, weights=clip.weights[:frames], audio=clip.audio[:samples]).validate()
    other = at_rate(clip, Fraction(target)).validate()
    assert other.n_frames == math.ceil(samples * target / 16000)
    np.testing.assert_allclose(other.weights[0], clip.weights[0], atol=1e-6)


def test_performances_that_cannot_be_used():
    turned = replace(ACTED, topology=replace(rig.TOPOLOGY, faces=rig.TOPOLOGY.faces[:, ::-1]))
    empty = replace(ACTED, weights=ACTED.weights[:0])
    broken = replace(ACTED, weights=np.where(np.arange(6) == 2, np.nan, ACTED.weights).astype(np.float32))
    for clip, words in ((turned, "the performance must have topology"), (empty, "no frames"), (broken, "NaN")):
        with pytest.raises(InputError, match=words):
            redub(TINY, clip, SOUND, 16000)
    with pytest.raises(InputError, match="no frames"):
        redub(TINY, empty, SOUND, 16000, fit="cut")
    with pytest.raises(InputError, match="at least one frame"):
        at_rate(empty, Fraction(25))
    with pytest.raises(InputError, match="NaN"):
        TINY.animate(SOUND, 16000, expression=broken)


def test_sounds_and_options_that_cannot_be_used():
    for options, words in (
        ({"audio": np.zeros(0, np.float32)}, "must have samples"),
        ({"audio": np.array([np.nan], np.float32)}, "NaN"),
        ({"audio": "nowhere.wav"}, "no audio file"),
        ({"audio": SOUND, "sample_rate": None}, "sample_rate"),
        ({"fit": "sideways"}, "fit must be one of loop, hold, stretch, cut, got 'sideways'"),
        ({"strength": 3}, "strength must be 0 to 2, got 3"),
        ({"strength": {"nose": 1}}, "no region 'nose'"),
        ({"direction": Direction(hold_gaze=True)}, "eyeLook"),
    ):
        with pytest.raises(InputError, match=words):
            redub(TINY, ACTED, **{"audio": SOUND, "sample_rate": 16000, **options})
    with pytest.raises(InputError, match="no expression input"):
        redub(Animator(rig.random_checkpoint(regressor=True)), ACTED, SOUND, 16000)


@pytest.mark.parametrize("name", ANIMATORS)
def test_an_expression_of_one_frame_at_another_rate(name):
    pose = cropped(rig.make_clip(8, 1.0, fps=Fraction(25)), 1)
    clip = ANIMATORS[name].animate(SOUND, 16000, expression=pose)
    assert np.isfinite(clip.vertices).all()
    longer = replace(pose, weights=pose.weights.repeat(40, 0), audio=np.zeros(25600, np.float32))
    np.testing.assert_allclose(
        clip.vertices, ANIMATORS[name].animate(SOUND, 16000, expression=longer).vertices, atol=1e-6
    )


@pytest.mark.parametrize("name", ANIMATORS)
def test_whose_expression_it_is_does_not_matter(name):
    """An expression of another person moves the face that was asked for."""
    mine, hers = (rig.make_clip(8, 0.7, subject) for subject in ("s1", "s4"))
    assert np.abs(mine.template - hers.template).max() > 1e-3
    one, other = (ANIMATORS[name].animate(SOUND, 16000, expression=clip, template=rig.face(2)) for clip in (mine, hers))
    np.testing.assert_array_equal(other.template, rig.face(2))
    if name == "dense":  # there the networks see the mesh itself
        assert np.isfinite(other.vertices).all()
    else:
        np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-6)
