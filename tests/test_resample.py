"""Resampling keeps time, keeps the native frames, and does not care how frames arrive."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import meshtalk.files
from meshtalk.clip import Clip
from meshtalk.resample import Resampler, at_rate, seen_at

NTSC = Fraction(30000, 1001)
RATES = [Fraction(1), Fraction(5), Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(60), Fraction(120)]


def whole(source: Fraction, target: Fraction, frames: torch.Tensor, total: int) -> torch.Tensor:
    resampler = Resampler(source, target)
    return resampler.finish(frames, resampler.start(), total)


def total(n: int, source: Fraction, target: Fraction) -> int:
    return -int(-(n / source * target) // 1)


@pytest.mark.parametrize("target", RATES)
@settings(max_examples=12)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_any_chunks_give_the_same_motion(target, sizes):
    source = Fraction(30)
    frames = torch.randn(sum(sizes) + 7, 1, generator=torch.Generator().manual_seed(0))
    wanted = whole(source, target, frames, total(len(frames), source, target))
    resampler = Resampler(source, target)
    state, parts, at = resampler.start(), [], 0
    for size in sizes:
        part, state = resampler.process(frames[at : at + size], state)
        parts.append(part)
        at += size
    parts.append(resampler.finish(frames[at:], state, total(len(frames), source, target)))
    torch.testing.assert_close(torch.cat(parts), wanted, atol=1e-5, rtol=1e-5)
    assert len(wanted) == total(len(frames), source, target)


def test_equal_rates_pass_through_without_delay():
    frames = torch.randn(5, 3)
    out, _ = Resampler(NTSC, NTSC).process(frames, Resampler(NTSC, NTSC).start())
    assert out is frames


@pytest.mark.parametrize(("target", "every"), [(60, 2), (120, 4)])
def test_the_curve_goes_through_the_native_frames(target, every):
    frames = torch.randn(31, 2)
    out = whole(Fraction(30), Fraction(target), frames, 31 * every)
    torch.testing.assert_close(out[::every], frames, atol=1e-6, rtol=1e-5)


def test_common_times_of_two_rates_agree():
    frames = torch.randn(61, 2)
    at_25, at_60 = (whole(Fraction(30), Fraction(rate), frames, rate * 2) for rate in (25, 60))
    # every fifth of a second is a frame of 25, 30 and 60
    torch.testing.assert_close(at_25[::5], frames[::6][: len(at_25[::5])], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(at_60[::12], frames[::6][: len(at_60[::12])], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("target", [Fraction(24), Fraction(25), NTSC, Fraction(60)])
def test_a_smooth_curve_is_followed_in_time(target):
    times = np.arange(3600) / 30
    curve = torch.from_numpy(np.sin(2 * np.pi * 1.5 * times))
    n = total(3600, Fraction(30), target)
    out = whole(Fraction(30), target, curve, n)
    exact = np.sin(2 * np.pi * 1.5 * np.array([float(k / target) for k in range(n)]))
    # at the ends a slope is missing
    assert np.abs(out.numpy() - exact)[2:-4].max() < 0.005


def test_past_the_last_frame_it_rests():
    frames = torch.arange(10.0)[:, None]
    out = whole(Fraction(30), Fraction(60), frames, 26)
    assert torch.equal(out[19:], torch.full((7, 1), 9.0))  # 19 lies half a frame past the last one


def test_a_low_rate_rests_when_no_more_comes():
    """The first outputs are given before the next one's inputs have come."""
    resampler = Resampler(Fraction(30), Fraction(1))
    first, state = resampler.process(torch.tensor([[1.0], [2.0], [3.0]]), resampler.start())
    rest = resampler.finish(torch.zeros(0, 1), state, 3)
    assert torch.cat([first, rest]).tolist() == [[1.0], [3.0], [3.0]]


def test_nothing_in_nothing_out():
    resampler = Resampler(Fraction(30), Fraction(25))
    out, state = resampler.process(torch.zeros(0, 4), resampler.start())
    assert out.shape == (0, 4)
    out, state = resampler.process(torch.zeros(1, 4), state)
    assert out.shape == (0, 4)
    assert resampler.finish(torch.zeros(0, 4), state, 1).shape == (1, 4)


@pytest.mark.parametrize(
    ("missing", "source", "target", "expected"),
    [
        ([4], 60, 30, [2]),  # every second frame: the one itself
        ([5], 60, 30, []),  # between two that are taken
        ([2], 30, 60, [3, 4, 5]),  # it and those that lean on it
        ([3], 25, 30, [3, 4]),  # 2.5 and 3.33 of 25
        ([7], 30, 30, [7]),
    ],
)
def test_missing_frames_stay_missing_at_another_rate(missing, source, target, expected):
    valid = np.ones(8, bool)
    valid[missing] = False
    seen = seen_at(valid, Fraction(source), Fraction(target), 8 * target // source)
    assert np.flatnonzero(~seen).tolist() == expected


FPS = st.sampled_from([Fraction(12), *RATES[2:]])


@st.composite
def clips(draw) -> Clip:
    """A clip of one to a few seconds whose sound is up to a frame longer or shorter than its motion; perhaps with gaps."""
    fps, n_frames = draw(FPS), draw(st.integers(1, 90))
    samples = round(n_frames / fps * rig.RATE) + draw(st.integers(-100, 100))
    valid = None
    if draw(st.booleans()):
        valid = np.array(draw(st.lists(st.booleans(), min_size=n_frames, max_size=n_frames)))
    weights = np.random.default_rng(draw(st.integers(0, 9))).normal(size=(n_frames, len(rig.SHAPES))).astype(np.float32)
    return replace(
        rig.make_clip(0, 0.1), fps=fps, weights=weights, audio=np.zeros(samples, np.float32), valid=valid, phones=()
    )


def share_at(k: int, clip: Clip, fps: Fraction) -> tuple[int, Fraction]:
    """Frame of the clip at or before frame k of another rate, and how far it is to the next; past the end the last one."""
    frame, share = divmod(k * clip.fps / fps, 1)
    return (int(frame), share) if frame < clip.n_frames - 1 else (clip.n_frames - 1, Fraction(0))


@settings(max_examples=60)
@given(clips(), FPS)
def test_a_clip_at_another_rate(clip, fps):
    other = at_rate(clip, fps)
    if fps == clip.fps:
        assert other is clip
        return
    assert other.n_frames == math.ceil(len(clip.audio) * fps / clip.sample_rate), "as many frames as the sound has"
    assert other.validate().fps == fps
    assert other.audio is clip.audio
    assert (other.valid is None) == (clip.valid is None)
    for k in range(other.n_frames):
        frame, share = share_at(k, clip, fps)
        pair = [frame, frame + 1] if share else [frame]
        seen = clip.valid is None or bool(clip.valid[pair].all())
        if other.valid is not None:
            assert other.valid[k] == seen
        if not seen:
            np.testing.assert_array_equal(other.weights[k], other.weights[k - 1] if k else 0 * other.weights[k])
        elif not share:
            np.testing.assert_allclose(
                other.weights[k], clip.weights[frame], atol=1e-6, err_msg="a frame of both rates"
            )


@settings(max_examples=60)
@given(clips(), FPS)
def test_even_motion_stays_even_from_end_to_end_and_gaps_do_not_reach_what_was_seen(clip, fps):
    clip.weights[:] = (np.arange(clip.n_frames) / float(clip.fps))[:, None]
    if clip.valid is not None:
        clip.weights[~clip.valid] = 1e6
    other = at_rate(clip, fps)
    seen = np.ones(other.n_frames, bool) if other.valid is None else other.valid
    last_s = (clip.n_frames - 1) / clip.fps
    times_s = np.array([float(min(k / fps, last_s)) for k in range(other.n_frames)])
    np.testing.assert_allclose(other.weights[seen], np.repeat(times_s[seen, None], len(rig.SHAPES), 1), atol=2e-5)


def test_a_dense_clip_moves_as_its_weights_do_and_in_a_file_if_it_is_long(monkeypatch):
    clip = rig.make_clip(1, 20.0)
    at_25 = at_rate(clip, Fraction(25))
    monkeypatch.setattr(meshtalk.files, "SPOOL_BYTES", 1000)
    dense = at_rate(rig.as_dense(clip), Fraction(25))
    assert isinstance(dense.displacement, np.memmap)
    np.testing.assert_allclose(dense.vertices, at_25.vertices, atol=1e-6)
    # in pieces and as a stream: the same
    resampler = Resampler(clip.fps, Fraction(25))
    streamed = resampler.finish(torch.from_numpy(clip.weights), resampler.start(), at_25.n_frames)
    np.testing.assert_array_equal(at_25.weights, streamed.numpy())
