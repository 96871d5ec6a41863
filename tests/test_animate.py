"""Inference on an untrained model of the rig: exact in time, the same however the sound arrives, clear about bad input."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
import rig
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.clip import Clip
from meshtalk.config import ModelConfig
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, load_model

AUDIO = rig.speech(5, 1.5)[0]
CONFIGS: dict[str, ModelConfig] = {
    "logmel": rig.TINY,
    "phonetic": replace(rig.TINY, audio=rig.PHONETIC),
    "window at 24 fps": replace(rig.TINY, audio=rig.WINDOW, fps=Fraction(24)),
    "dense": rig.TINY_DENSE,
}
ANIMATORS = {name: rig.random_animator(config) for name, config in CONFIGS.items()}
TINY = ANIMATORS["logmel"]
NTSC = Fraction(30000, 1001)


def whole(animator: Animator = TINY, audio: np.ndarray = AUDIO, **options) -> np.ndarray:
    return animator.animate(audio, 16000, **options).vertices


def piecewise(animator: Animator, audio: np.ndarray, sizes: list[int], **options) -> np.ndarray:
    state, parts, at = animator.start(**options), [], 0
    for size in sizes:
        part, state = animator.step(audio[at : at + size], state)
        parts.append(part)
        at += size
    part, state = animator.step(audio[at:], state)
    return np.concatenate([*parts, part, animator.flush(state)])


# --- sampling ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes():
    first, again, other = (whole(seed=seed) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-3


def test_argmax_needs_no_seed_and_low_temperature_approaches_it():
    likeliest = whole(argmax=True)
    assert likeliest.tobytes() == whole(argmax=True, seed=9).tobytes()
    np.testing.assert_allclose(whole(temperature=1e-4), likeliest, atol=1e-5)
    assert np.abs(whole(temperature=1.0) - likeliest).max() > 1e-3


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_mean_nothing(temperature):
    with pytest.raises(InputError, match="temperature"):
        whole(temperature=temperature)


@pytest.mark.parametrize("top_p", [0.0, -0.5, 1.5, float("nan")])
def test_shares_of_probability_that_mean_nothing(top_p):
    with pytest.raises(InputError, match="top-p"):
        whole(top_p=top_p)


def test_a_small_share_of_the_probability_is_argmax():
    np.testing.assert_array_equal(whole(top_p=1e-6), whole(argmax=True))
    assert np.abs(whole(top_p=0.9) - whole(argmax=True)).max() > 1e-4


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_any_whole_number_is_a_seed(seed):
    try:
        assert whole(seed=seed).tobytes() == whole(seed=seed).tobytes()
    except InputError as error:
        assert "seed" in str(error)  # noqa: PT017


# --- streaming ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANIMATORS)
@settings(max_examples=4)
@given(st.lists(st.sampled_from([0, 1, 160, 333, 800, 1600, 4801, 9000]), max_size=7))
def test_any_chunks_give_the_whole(name, sizes):
    animator = ANIMATORS[name]
    np.testing.assert_allclose(piecewise(animator, AUDIO, sizes, seed=2), whole(animator, seed=2), atol=1e-5)


@pytest.mark.parametrize("fps", [5, 24, 25, NTSC, 60])
def test_any_chunks_at_any_rate(fps):
    sizes = [700] * 33
    np.testing.assert_allclose(piecewise(TINY, AUDIO, sizes, fps=fps), whole(fps=fps), atol=1e-5)


def test_sessions_do_not_touch():
    other = rig.speech(6, 1.5)[0]
    alone = [piecewise(TINY, AUDIO, [2000] * 11, seed=0), piecewise(TINY, other, [2000] * 11, seed=1)]
    states = [TINY.start(seed=0), TINY.start(seed=1)]
    parts: list[list[np.ndarray]] = [[], []]
    for begin in range(0, len(AUDIO), 2000):
        for i, sound in enumerate((AUDIO, other)):
            part, states[i] = TINY.step(sound[begin : begin + 2000], states[i])
            parts[i].append(part)
    for i in range(2):
        together = np.concatenate([*parts[i], TINY.flush(states[i])])
        np.testing.assert_allclose(together, alone[i], atol=1e-6)


def test_two_threads_at_once():
    alone = [whole(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: whole(seed=seed), range(4)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def numbers_in(part) -> int:
    """How many numbers a state holds, all the way down."""
    if isinstance(part, np.ndarray):
        return part.base.size if part.base is not None else part.size
    if isinstance(part, torch.Tensor):
        return part.untyped_storage().nbytes() // part.element_size()
    if is_dataclass(part):
        return sum(numbers_in(getattr(part, f.name)) for f in fields(part))
    return sum(map(numbers_in, part)) if isinstance(part, (tuple, list)) else 0


@pytest.mark.parametrize("name", ANIMATORS)
def test_state_does_not_grow(name):
    animator = ANIMATORS[name]
    state, sizes = animator.start(fps=25), []
    for _ in range(8):
        for _ in range(3):
            _, state = animator.step(AUDIO[:1600], state)
        sizes.append(numbers_in(state))
    assert sizes[0] > 1000
    assert max(sizes[4:]) <= 1.15 * max(sizes[:4])


@pytest.mark.parametrize("name", ANIMATORS)
def test_a_state_can_be_used_twice(name):
    animator = ANIMATORS[name]
    _, state = animator.step(AUDIO[:9000], animator.start(seed=3))
    first, _ = animator.step(AUDIO[9000:], state)
    second, after = animator.step(AUDIO[9000:], state)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(animator.flush(after), animator.flush(after))


@pytest.mark.parametrize("name", ANIMATORS)
@pytest.mark.parametrize("fps", [None, 25, 60])
def test_frames_come_as_soon_as_the_lookahead_allows(name, fps):
    animator = ANIMATORS[name]
    state = animator.start(fps=fps)
    lookahead_s = animator.lookahead_at(state.spec.fps)
    assert lookahead_s >= animator.lookahead_s
    waits_s, frame = [], 0
    for begin in range(0, len(AUDIO) - 40, 40):
        motion, state = animator.advance(AUDIO[begin : begin + 40], state)
        for _ in range(len(motion)):
            waits_s.append((begin + 40) / 16000 - frame / float(state.spec.fps))
            frame += 1
    assert max(waits_s) <= lookahead_s + 0.0126  # a hop and a packet
    assert max(waits_s) >= lookahead_s - 0.012


def test_a_long_recording_is_the_same_in_its_beginning(monkeypatch):
    """The chunks that `animate` feeds are no seams."""
    plain = whole(seed=1)
    monkeypatch.setattr("meshtalk.inference.generator.CHUNK_S", 1)
    np.testing.assert_allclose(whole(seed=1), plain, atol=1e-5)


# --- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24, 25, 29.97, NTSC, "30000/1001", 30, 60, "12.5"])
@pytest.mark.parametrize("samples", [1, 3200, 24000, 23999])
def test_frame_counts_are_exact(fps, samples):
    clip = TINY.animate(AUDIO[:samples], 16000, fps=fps)
    rate = NTSC if fps == 29.97 else Fraction(fps)
    assert clip.fps == rate
    assert clip.n_frames == -int(-(Fraction(samples, 16000) * rate) // 1)
    clip.validate()


def test_all_rates_say_the_same_at_the_same_times():
    native = whole(fps=30)
    double, quarter = whole(fps=60), whole(fps=25)
    np.testing.assert_allclose(double[::2], native, atol=1e-6)
    np.testing.assert_allclose(quarter[::5], native[::6], atol=1e-6)


def test_29_97_means_the_broadcast_rate_however_it_is_written():
    for fps in (29.97, "29.97", "30000/1001", NTSC):
        assert TINY.start(fps=fps).spec.fps == NTSC
    for fps in (23.976, "23.976"):
        assert TINY.start(fps=fps).spec.fps == Fraction(24000, 1001)
    for fps in (30, 30.0, "30", "30.0"):
        assert TINY.start(fps=fps).spec.fps == 30
    assert TINY.start(fps=12.5).spec.fps == Fraction(25, 2)


@pytest.mark.parametrize("fps", [0, -25, 1000, "fast", "30/0", "", float("nan"), float("inf"), "nan", "inf", "1e9"])
def test_rates_that_are_none(fps):
    with pytest.raises(InputError, match="fps must be"):
        TINY.start(fps=fps)


# --- sound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANIMATORS)
@pytest.mark.parametrize("samples", [1, 3200])
def test_the_shortest_sounds(name, samples):
    clip = ANIMATORS[name].animate(AUDIO[:samples], 16000)
    assert clip.n_frames == -(-samples * clip.fps // 16000)
    clip.validate()


@pytest.mark.parametrize("rate", [8000, 48000])
def test_one_sample_at_any_rate(rate):
    assert TINY.animate(np.ones(1, np.float32), rate).n_frames == 1


def test_silence_gives_finite_motion():
    assert np.isfinite(whole(audio=np.zeros(16000, np.float32))).all()


def test_louder_is_no_different():
    loud = rig.speech(7, 8.0)[0]
    a, b = (TINY.animate(loud * gain, 16000, argmax=True).vertices[200:] for gain in (1.0, 0.05))
    assert np.abs(a - b).max() < 1e-3


def test_files_and_arrays_and_channels_are_the_same(tmp_path):
    stereo = np.stack([AUDIO, AUDIO], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 16000, subtype="FLOAT")
    plain = whole()
    np.testing.assert_array_equal(TINY.animate(tmp_path / "a.wav").vertices, plain)
    np.testing.assert_array_equal(TINY.animate(str(tmp_path / "a.wav")).vertices, plain)
    np.testing.assert_array_equal(whole(audio=stereo), plain)
    clip = TINY.animate(tmp_path / "a.wav")
    np.testing.assert_array_equal(clip.audio, AUDIO)
    assert clip.sample_rate == 16000


def test_sound_that_cannot_be_used():
    with pytest.raises(InputError, match="sample_rate"):
        TINY.animate(AUDIO)
    with pytest.raises(InputError, match="NaN"):
        TINY.animate(np.array([np.nan]), 16000)
    with pytest.raises(InputError, match=r"must have samples .* got shape \(0,\)"):
        TINY.animate(np.zeros(0), 16000)
    with pytest.raises(InputError, match="NaN"):
        TINY.step(np.array([np.inf], np.float32), TINY.start())
    with pytest.raises(InputError, match="no audio file"):
        TINY.animate("nowhere.wav")


# --- faces ---------------------------------------------------------------------------------------------------------


def test_another_template_moves_from_where_it_is():
    face = rig.face(5)
    clip = TINY.animate(AUDIO, 16000, template=face)
    np.testing.assert_array_equal(clip.template, face)
    np.testing.assert_array_equal(TINY.animate(AUDIO, 16000).template, rig.NEUTRAL)


@pytest.mark.parametrize("name", ["logmel", "dense"])
def test_templates_of_files_come_in_any_unit_and_axes(tmp_path, name):
    face, animator = rig.face(5), ANIMATORS[name]
    np.save(tmp_path / "lying.npy", 100 * face[:, [0, 2, 1]] * [1, -1, 1])
    found, wanted = (animator.animate(AUDIO, 16000, template=f) for f in (tmp_path / "lying.npy", face))
    np.testing.assert_allclose(found.template, face, atol=1e-6)
    np.testing.assert_allclose(found.vertices, wanted.vertices, atol=1e-5)


def test_where_a_template_stands_does_not_matter():
    face = rig.face(5)
    here, there = (TINY.animate(AUDIO, 16000, template=f).displacements() for f in (face, face + np.float32(0.25)))
    np.testing.assert_allclose(here, there, atol=1e-5)
    turned = np.float32([[0, 0, -1], [0, 1, 0], [1, 0, 0]])  # dense motion turns with the head
    dense = (ANIMATORS["dense"].animate(AUDIO, 16000, template=f).displacements() for f in (face + 1, face @ turned))
    np.testing.assert_allclose(next(dense) @ turned, next(dense), atol=1e-5)


def test_templates_and_people_that_do_not_fit(tmp_path):
    np.save(tmp_path / "t.npy", rig.NEUTRAL[:-1])
    for options, words in (
        ({"template": rig.NEUTRAL[:-1]}, r"96 vertices.*got 95"),
        ({"template": tmp_path / "t.npy"}, r"96 vertices.*got 95"),
        ({"template": "nowhere.obj"}, "there is no mesh"),
        ({"template": rig.NEUTRAL * 1000}, "metres"),
        ({"template": rig.NEUTRAL[:, [2, 1, 0]] * [1, 1, -1]}, "rotated by 90°.*Rotate it"),
        ({"template": rig.NEUTRAL, "person": "p00"}, "one of them"),
        ({"person": "p00"}, "another topology"),
    ):
        with pytest.raises(InputError, match=words):
            TINY.start(**options)


@pytest.mark.parametrize("name", ANIMATORS)
def test_clips_are_saved_whole(tmp_path, name):
    clip = ANIMATORS[name].animate(AUDIO, 16000, fps=25)
    again = Clip.load(clip.save(tmp_path / "c.npz"))
    np.testing.assert_allclose(again.vertices, clip.vertices, atol=1e-6)
    assert again.fps == 25


def test_stream_and_clip_hold_the_same_meshes():
    for animator in ANIMATORS.values():
        np.testing.assert_allclose(piecewise(animator, AUDIO, []), whole(animator), atol=2e-5)


def test_rig_weights_come_out_where_the_geometry_has_them():
    clip = TINY.animate(AUDIO, 16000)
    assert clip.basis_names == rig.SHAPES
    assert ANIMATORS["dense"].animate(AUDIO, 16000).displacement is not None
    bare = Animator(replace(rig.random_checkpoint(), mix=None)).animate(AUDIO, 16000)
    assert bare.basis_names[0] == "component_00"
    np.testing.assert_allclose(bare.vertices, clip.vertices, atol=1e-5)


# --- expression ----------------------------------------------------------------------------------------------------


def test_an_expression_is_played_there_and_back():
    short = rig.make_clip(8, 0.5)  # 15 frames: 0..14, 13..1, 0..
    ping_pong = [*range(15), *range(13, 0, -1), *range(15), *range(13, 11, -1)]
    longer = replace(short, weights=short.weights[ping_pong], audio=AUDIO[: len(ping_pong) * 16000 // 30])
    np.testing.assert_allclose(whole(expression=short), whole(expression=longer), atol=1e-6)


def test_an_expression_decides_and_the_seed_does_not():
    smile, frown = rig.make_clip(8, 1.5), rig.make_clip(9, 1.5)
    assert whole(expression=smile, seed=0).tobytes() == whole(expression=smile, seed=1).tobytes()
    assert np.abs(whole(expression=smile) - whole(expression=frown)).max() > 1e-4


@pytest.mark.parametrize("name", ANIMATORS)
def test_an_expression_streams_too(name):
    clip = rig.make_clip(8, 0.4)
    animator = ANIMATORS[name]
    np.testing.assert_allclose(
        piecewise(animator, AUDIO, [3000, 1, 5000], expression=clip), whole(animator, expression=clip), atol=1e-5
    )


def test_an_expression_at_another_rate_and_from_a_file(tmp_path):
    clip = rig.make_clip(8, 0.5)
    slow = replace(rig.make_clip(8, 0.5, fps=Fraction(60)))
    path = clip.save(tmp_path / "e.npz")
    np.testing.assert_array_equal(whole(expression=path), whole(expression=clip))
    assert len(TINY.start(expression=slow).spec.expression) == 15
    single = replace(clip, weights=clip.weights[:1], audio=clip.audio[:533])
    assert np.isfinite(whole(expression=single)).all()


def test_expressions_that_cannot_be_used(tmp_path):
    clip = rig.make_clip(8, 0.5)
    cube = replace(clip, topology=replace(rig.TOPOLOGY, faces=rig.TOPOLOGY.faces[:, ::-1]))
    with pytest.raises(InputError, match="the expression clip must have topology"):
        TINY.start(expression=cube)
    with pytest.raises(InputError, match="no frames"):
        TINY.start(expression=replace(clip, weights=clip.weights[:0]))
    with pytest.raises(InputError, match="no clip at"):
        TINY.start(expression=tmp_path / "no.npz")


# --- models --------------------------------------------------------------------------------------------------------


def test_a_regressor_animates_and_streams_but_takes_no_expression():
    animator = Animator(rig.random_checkpoint(regressor=True))
    np.testing.assert_allclose(piecewise(animator, AUDIO, [1000, 1, 0, 7000]), whole(animator), atol=1e-5)
    assert whole(animator, seed=0).tobytes() == whole(animator, seed=1).tobytes()
    with pytest.raises(InputError, match="no expression input"):
        animator.start(expression=rig.make_clip(0, 0.5))


def test_a_model_folder_is_loaded(tiny_model):
    assert load_model(tiny_model).animate(AUDIO, 16000).n_frames == 45
    with pytest.raises(InputError, match="not a model folder"):
        load_model(tiny_model / "nowhere")


def test_the_public_names():
    import meshtalk

    for name in meshtalk.__all__:
        assert getattr(meshtalk, name).__module__.startswith("meshtalk.")
    with pytest.raises(AttributeError):
        _ = meshtalk.nothing
