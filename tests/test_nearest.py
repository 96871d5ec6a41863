"""The nearest training clip: its own sound gives its own motion, jumps are paid for and blended, rules are kept."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from evaluation_rig import FPS, RATE, TEMPLATE, TOPOLOGY, LittleCorpus, make_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk import evaluation as ev
from meshtalk.audio.mel import MelFrontend
from meshtalk.errors import InputError
from meshtalk.evaluation import nearest
from meshtalk.evaluation.nearest import JUMP, cheapest_path

mel = MelFrontend("phonetic").all


@pytest.fixture(scope="module")
def corpus():
    return LittleCorpus(12)


@pytest.fixture(scope="module")
def baseline(corpus):
    return ev.NearestClip(corpus, mel)


def train(corpus):
    return [corpus.load(info) for info in corpus.clips if info.split == "train"]


def test_a_training_clips_own_sound_gives_its_motion_exactly(corpus, baseline):
    for clip in train(corpus):
        got = baseline.animate(clip.audio, clip.sample_rate, template=clip.template, seed=0)
        assert np.array_equal(got.weights, clip.weights)
        assert got.basis_names == clip.basis_names


def test_motion_is_displacement_on_the_face_given(corpus, baseline):
    clip, other = train(corpus)[1], TEMPLATE * np.float32(1.1)
    got = baseline.animate(clip.audio, clip.sample_rate, template=other, seed=0)
    assert np.allclose(got.frames(7, 8)[0] - other, clip.displacements(7, 8)[0], atol=1e-7)


def test_dense_corpora_give_dense_motion_exactly():
    dense = LittleCorpus(4, dense=True)
    clip = train(dense)[0]
    got = ev.NearestClip(dense, mel).animate(clip.audio, clip.sample_rate, template=clip.template, seed=0)
    assert got.weights is None
    assert np.array_equal(got.displacement, clip.displacement)


def test_linear_and_dense_clips_meet_in_displacements():
    class Mixed(LittleCorpus):
        def load(self, info):
            clip = super().load(info)
            if info.id != "c1":
                return clip
            return replace(clip, displacement=clip.displacements(), weights=None, basis=None, basis_names=())

    mixed = Mixed()
    found = ev.NearestClip(mixed, mel)
    for clip in train(mixed):
        got = found.animate(clip.audio, clip.sample_rate, template=clip.template, seed=0)
        assert np.array_equal(got.displacement, clip.displacements())


def test_two_clips_spliced_in_sound_are_spliced_in_motion(corpus, baseline):
    one, two = train(corpus)[:2]
    audio = np.concatenate([one.audio[:16000], two.audio[16000:]])
    got = baseline.animate(audio, RATE, template=TEMPLATE, seed=0)
    assert np.array_equal(got.weights[:20], np.asarray(one.weights)[:20])
    assert np.array_equal(got.weights[40:90], np.asarray(two.weights)[40:90])
    path = baseline.path(audio, RATE)
    assert (np.diff(path) != 1).sum() <= 2


def test_it_listens(corpus, baseline):
    report = ev.evaluate(baseline, corpus, name="nearest clip")
    still = ev.evaluate(ev.MeanFace(corpus), corpus, name="mean face")
    assert report["opening_r"] > 0.6
    assert report["lve_mm"] < 0.7 * still["lve_mm"]
    assert report["lag_within_1_frame"] > 0.6


def test_length_rate_seed_and_silence(baseline):
    audio = make_clip(9).audio
    for samples in (1, 533, 534, 16000, 16001):
        assert baseline.animate(audio[:samples], RATE, template=TEMPLATE, seed=0).n_frames == -(-samples * 30 // RATE)
    long = np.concatenate([audio] * 3)  # over several spans
    one, two = (baseline.animate(long, RATE, template=TEMPLATE, seed=seed) for seed in (0, 1))
    assert np.array_equal(one.weights, two.weights)
    assert one.n_frames > 2 * nearest.SPAN
    low = baseline.animate(audio[::2], RATE // 2, template=TEMPLATE, seed=0)
    assert (low.n_frames, low.sample_rate, low.fps) == (len(audio) * 30 // RATE, RATE // 2, FPS)
    assert np.isfinite(baseline.animate(np.zeros(8000, np.float32), RATE, template=TEMPLATE, seed=0).weights).all()


def test_moments_that_capture_missed_are_not_shown(corpus):
    class Gappy(LittleCorpus):
        def load(self, info):
            clip = super().load(info)
            weights = np.array(clip.weights)
            weights[40] = np.nan
            return replace(clip, weights=weights, valid=np.arange(clip.n_frames) != 40)

    gappy = Gappy(6)
    found = ev.NearestClip(gappy, mel)
    for clip in train(gappy):
        got = found.animate(clip.audio, clip.sample_rate, template=clip.template, seed=0)
        assert np.isfinite(got.weights).all()


def test_another_topology_and_an_empty_split_are_one_sentence(baseline):
    with pytest.raises(InputError, match=rf"shape \(12, 3\), as topology {TOPOLOGY.hash}, got \(11, 3\)"):
        baseline.animate(np.zeros(800, np.float32), RATE, template=TEMPLATE[:11], seed=0)
    with pytest.raises(InputError, match="no clips in split 'val'"):
        ev.NearestClip(LittleCorpus(), mel, "val")


def test_references_have_it_when_they_can_hear_and_may(corpus):
    told = []
    assert "nearest clip" not in ev.references(corpus)
    assert "nearest clip" in ev.references(corpus, features=mel, progress=told.append)
    assert (told[-1].done, told[-1].total) == (6, 6)
    assert "nearest clip" not in ev.references(corpus, "train", features=mel)  # it would find the clip itself


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), frames=st.integers(1, 4), before=st.booleans())
def test_the_path_is_the_cheapest_of_all(seed, frames, before):
    rng = np.random.default_rng(seed)
    n = 5
    costs = rng.uniform(-2, 2, (frames, n)).astype(np.float32)
    begins = np.flatnonzero(np.append(True, rng.uniform(size=n - 1) < 0.4))
    last = int(rng.integers(n)) if before else None

    def price(path):
        steps = list(zip(([last] if before else []) + list(path), list(path)[0 if before else 1 :], strict=False))
        jumps = sum(b != a + 1 or b in begins for a, b in steps)
        return sum(costs[t, m] for t, m in enumerate(path)) + JUMP * jumps

    best = min(price(path) for path in product(range(n), repeat=frames))
    assert price(cheapest_path(costs, begins, last)) == pytest.approx(best, abs=1e-5)


def test_axes_measure_mean_squares():
    rows = np.random.default_rng(0).normal(size=(500, 80)) * np.linspace(0.1, 50, 80) + 7
    centre, axes = nearest.principal_axes(rows)
    assert axes.shape == (80, nearest.DIMENSIONS)
    assert np.square((rows - centre) @ axes).sum(1).mean() == pytest.approx(1, rel=1e-3)
    flat = np.ones((9, 3))  # features that never change
    centre, axes = nearest.principal_axes(flat)
    assert np.allclose((flat - centre) @ axes, 0)


def test_the_frame_rate_is_the_corpus_s():
    class Slow(LittleCorpus):
        def load(self, info):
            clip = super().load(info)
            return replace(clip, fps=Fraction(25), audio=np.repeat(clip.audio, 6)[::5])

    slow = Slow(4)
    clip = train(slow)[0]
    got = ev.NearestClip(slow, mel).animate(clip.audio, RATE, template=TEMPLATE, seed=0)
    assert got.fps == 25
    assert np.array_equal(got.weights, clip.weights)
