"""Each measure against a number worked out by hand, and against a case it must fail."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.measures import metrics, sync

RNG = np.random.default_rng(7)
FPS = 30.0


def points(*frames):
    """(T,n,3) metres from nested lists of millimetres."""
    return np.array(frames, float) / 1e3


def motion(seed: int, t: int = 40, n: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2e-3, size=(t, n, 3))


# ---------------------------------------------------------------------------------- errors of position


def test_lip_vertex_error_takes_the_worst_vertex_then_the_mean_frame():
    true = points([[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]])
    predicted = points([[3, 4, 0], [1, 0, 0]], [[0, 0, 2], [0, 0, 0]])
    assert metrics.lve_mm(predicted, true) == pytest.approx((5 + 2) / 2)
    assert metrics.lve_squared_m2([(predicted, true)]) == pytest.approx((25e-6 + 4e-6) / 2)
    assert metrics.mve_mm(predicted, true) == pytest.approx((5 + 1 + 2 + 0) / 4)
    assert metrics.eve_mm(predicted, true) == pytest.approx(3.5)


def test_the_peers_form_weighs_frames_not_sequences():
    still = np.zeros((3, 1, 3))
    one_frame = (points([[2, 0, 0]]), np.zeros((1, 1, 3)))
    assert metrics.lve_squared_m2([(still, still), one_frame]) == pytest.approx(4e-6 / 4)


@pytest.mark.parametrize("measure", [metrics.lve_mm, metrics.mve_mm, metrics.eve_mm])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.floats(-0.1, 0.1))
def test_errors_are_zero_for_equals_symmetric_and_blind_to_a_common_shift(measure, seed, shift):
    a, b = motion(seed), motion(seed + 1)
    assert measure(a, a) == 0
    assert measure(a, b) == pytest.approx(measure(b, a))
    assert measure(a, b) > 0
    assert measure(a + shift, b + shift) == pytest.approx(measure(a, b), rel=1e-9)
    assert measure(3 * a, 3 * b) == pytest.approx(3 * measure(a, b))


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="must have equal shapes"):
        metrics.lve_mm(np.zeros((4, 2, 3)), np.zeros((5, 2, 3)))
    with pytest.raises(ValueError, match="must have equal shapes"):
        metrics.mve_mm(np.zeros((4, 3)), np.zeros((4, 3)))


def test_upper_face_dynamics_deviation():
    template = np.zeros((1, 3))
    true = points([[0, 0, 0]], [[2, 0, 0]])  # squared displacement 0 and 4 mm²: deviation 2 mm²
    still = np.zeros_like(true)
    assert metrics.fdd_m2(still, true, template) == pytest.approx(2e-6)
    assert metrics.fdd_m2(true, still, template) == pytest.approx(-2e-6)
    assert metrics.fdd_m2(true, true, template) == 0


# -------------------------------------------------------------------------------------- motion in time


def test_jitter_is_the_third_difference():
    t = np.arange(20.0)
    cubic = np.zeros((20, 2, 3))
    cubic[:, :, 1] = (t**3 / 6 / 1e3)[:, None]  # third difference of t³/6 is 1
    assert metrics.jitter_mm(cubic) == pytest.approx(1.0)
    parabola = np.zeros((20, 1, 3))
    parabola[:, 0, 0] = t**2 / 1e3
    assert metrics.jitter_mm(parabola) == pytest.approx(0.0, abs=1e-9)
    spike = points(*[[[1.0 if i == 5 else 0.0, 0, 0]] for i in range(11)])  # 1, -3, 3, -1 over 8 windows
    assert metrics.jitter_mm(spike) == pytest.approx(8 / 8)
    assert math.isnan(metrics.jitter_mm(np.zeros((3, 1, 3))))


def test_gaps_in_the_capture_are_neither_jitter_nor_pops():
    x = np.zeros((20, 1, 3))
    x[10] = 1.0  # a missing frame holding rubbish
    valid = np.arange(20) != 10
    assert metrics.jitter_mm(x) > 100
    assert metrics.jitter_mm(x, valid) == 0
    assert metrics.frame_moves_mm(x, valid).max() == 0
    assert len(metrics.frame_moves_mm(x, valid)) == 17
    assert math.isnan(metrics.jitter_mm(x[:3], valid[:3]))


def test_popping_finds_one_jump():
    smooth = np.sin(np.arange(200) / 10)[:, None, None] * np.array([[[1e-3, 0, 0]]])
    moves = metrics.frame_moves_mm(smooth)
    assert moves[0] == pytest.approx(math.sin(0.1))
    assert metrics.popping_ratio(moves, moves) == pytest.approx(1, abs=0.01)
    jump = smooth + (np.arange(200) >= 100)[:, None, None] * 2e-3
    assert metrics.popping_ratio(metrics.frame_moves_mm(jump), moves) > 20


def test_motion_ratio():
    x = motion(3)
    assert metrics.motion_variance_mm2(points([[0, 0, 0]], [[2, 0, 0]])) == pytest.approx(1)
    assert metrics.motion_ratio(x, x) == 1
    assert metrics.motion_ratio(0.5 * x + 0.01, x) == pytest.approx(0.5)
    assert metrics.motion_ratio(np.zeros_like(x), x) == 0
    assert metrics.motion_ratio(x, np.zeros_like(x)) == math.inf


def test_motion_correlation_pools_coordinates_and_ignores_scale_and_offset():
    x, y = motion(5), motion(6)
    assert metrics.motion_correlation(x, 3 * x + 0.2) == pytest.approx(1)
    assert metrics.motion_correlation(x, -x) == pytest.approx(-1)
    assert abs(metrics.motion_correlation(x, y)) < 0.2
    assert metrics.motion_correlation(x, np.zeros_like(x)) == 0
    big = points([[0, 0, 0], [0, 0, 0]], [[2, 0, 0], [1, 0, 0]])
    half = points([[0, 0, 0], [0, 0, 0]], [[2, 0, 0], [-1, 0, 0]])
    assert metrics.motion_correlation(big, half) == pytest.approx((4 - 1) / 5)


def test_motion_correlation_of_displacements_counts_what_is_held():
    held = points([[0, 2, 0]], [[0, 2, 0]], [[0, 2, 0]])
    assert metrics.motion_correlation(held, held) == 0
    assert metrics.motion_correlation(held, held, centred=False) == pytest.approx(1)
    elsewhere = points([[2, 0, 0]], [[2, 0, 0]], [[2, 2, 0]])
    assert metrics.motion_correlation(held, elsewhere, centred=False) == pytest.approx(4 / math.sqrt(12 * 16))


# -------------------------------------------------------------------------------------------- samplers


def test_sampler_measures():
    true = np.zeros((2, 1, 3))
    samples = [points([[1, 0, 0]], [[1, 0, 0]]), points([[4, 0, 0]], [[4, 0, 0]])]
    assert metrics.best_of_n_lve_mm(samples, true) == pytest.approx(1)
    assert metrics.mean_of_n_lve_mm(samples, true) == pytest.approx(2.5)
    assert metrics.diversity_mm(samples) == pytest.approx(3)
    assert metrics.spread_ratio(samples, true) == pytest.approx(3 / 2.5)
    assert metrics.diversity_mm([true, true]) == 0
    with pytest.raises(ValueError, match="at least two"):
        metrics.diversity_mm([true])


def test_a_sampler_that_draws_from_the_truth_is_calibrated_and_a_timid_one_is_not():
    draws = RNG.normal(scale=1e-3, size=(11, 200, 8, 3))
    assert metrics.spread_ratio(list(draws[1:]), draws[0]) == pytest.approx(1, abs=0.05)
    assert metrics.spread_ratio(list(draws[1:] * 0.1), draws[0]) < 0.3


# ----------------------------------------------------------------------------------------------- codes


def test_perplexity():
    assert metrics.perplexity(np.full((7, 3), math.log(8))) == pytest.approx(8)
    assert metrics.perplexity(np.array([0.0, 2 * math.log(3)])) == pytest.approx(3)


def test_code_use_counts_classes_entropy_dead_heads_and_changes():
    labels = np.array([[0, 5], [1, 5], [2, 5], [3, 5]])
    use = metrics.code_use([labels, labels])
    assert use.classes_used.tolist() == [4, 1]
    assert use.entropy_nats == pytest.approx([math.log(4), 0])
    assert use.dead_heads == 1
    assert use.change_rate == pytest.approx(0.5)
    assert metrics.code_use([labels[:1]]).change_rate == 0


# ------------------------------------------------------------------------------------- disentanglement


def test_region_change_is_a_weighted_root_mean_square():
    a = points([[3, 4, 0], [0, 0, 0], [9, 9, 9]])
    assert metrics.region_change_mm(a, np.zeros_like(a), np.array([1.0, 1.0, 0.0])) == pytest.approx(math.sqrt(25 / 2))
    assert metrics.region_change_mm(a, a, np.ones(3)) == 0


def test_swap_table_of_a_perfect_and_of_an_entangled_model():
    natural = np.array([[2.0, 4.0], [4.0, 6.0]])  # mouth, upper face: means 3 and 5
    perfect = np.array([[[2.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [0.0, 6.0]]])
    assert metrics.swap_table(perfect, natural) == pytest.approx(np.eye(2))
    ignores_audio = np.array([[[0.0, 0.0], [2.0, 4.0]], [[0.0, 0.0], [4.0, 6.0]]])
    assert metrics.swap_table(ignores_audio, natural) == pytest.approx(np.array([[0, 0], [1, 1]]))


def test_swap_shares_divide_a_signals_change_between_the_regions():
    changes = np.array([[[4.0, 0.0], [1.0, 2.0]], [[2.0, 2.0], [1.0, 4.0]]])  # means 3, 1 and 1, 3
    assert metrics.swap_shares(changes) == pytest.approx(np.array([[0.75, 0.25], [0.25, 0.75]]))
    timid = np.array([[[0.1, 0.0], [0.0, 0.2]]])  # acts too little, yet where it should
    assert metrics.swap_shares(timid) == pytest.approx(np.eye(2))
    deaf = metrics.swap_shares(np.array([[[0.0, 0.0], [2.0, 2.0]]]))
    assert np.isnan(deaf[0]).all()
    assert deaf[1] == pytest.approx([0.5, 0.5])


# -------------------------------------------------------------------------------------- timing: curves


def test_correlation_and_its_edges():
    a = np.array([1.0, 2, 3, 4])
    assert sync.correlation(a, a) == pytest.approx(1)
    assert sync.correlation(-a, a) == pytest.approx(-1)
    assert sync.correlation(np.array([1.0, 3, 2, 4]), a) == pytest.approx(0.8)
    assert sync.correlation(np.ones(4), a) == 0  # a mouth that does not move follows nothing
    assert math.isnan(sync.correlation(a, np.ones(4)))
    still = np.full(500, 0.1234567, np.float32)
    still[::3] += np.float32(1e-5)  # noise of single precision is no motion either
    assert sync.correlation(still, np.arange(500.0)) == 0
    assert math.isnan(sync.lag(still, np.arange(500.0), FPS).refined_frames)


def curve(seed: int, n: int = 120) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n + 20)
    return np.convolve(noise, np.hanning(9), "same")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.integers(-6, 6))
def test_lag_finds_any_shift_with_its_sign(seed, shift):
    long = curve(seed)
    true, late = long[10:110], long[10 - shift : 110 - shift]
    found = sync.lag(5 * late + 3, true, FPS)
    assert found.frames == shift
    assert found.correlation == pytest.approx(1)
    assert found.refined_frames == pytest.approx(shift, abs=0.25)
    assert found.refined_ms == pytest.approx(found.refined_frames / FPS * 1e3)


def test_lag_between_the_frames_and_out_of_reach():
    t = np.arange(120)
    true, late = np.sin(t / 5), np.sin((t - 1.4) / 5)
    assert sync.lag(late, true, FPS).refined_frames == pytest.approx(1.4, abs=0.05)
    assert sync.lag(late, true, 60.0).refined_ms == pytest.approx(1.4 / 60 * 1e3, abs=1)
    long = curve(4)
    assert abs(sync.lag(long[:100], long[12:112], FPS).frames) <= 6
    assert math.isnan(sync.lag(np.ones(50), long[:50], FPS).refined_frames)
    assert math.isnan(sync.lag(long[:5], long[:5], FPS).refined_frames)


# -------------------------------------------------------------------------------------- timing: phones


def opening_closed_at(*frames: int, n: int = 60) -> np.ndarray:
    opening = np.full(n, 8.0)
    opening[list(frames)] = 0.2
    return opening


PHONES = [
    ("pau", 0.0, 0.4),
    ("m", 0.5, 0.6),
    ("ae", 0.6, 0.8),
    ("k", 0.8, 0.9),
    ("p", 1.0, 1.1),
    ("t", 1.5, 1.6),
]


def test_frames_of_a_phone():
    assert sync.phone_frames(0.5, 0.6, FPS, 60) == slice(15, 19)
    assert sync.phone_frames(0.5, 0.501, FPS, 60) == slice(15, 17)
    assert sync.phone_frames(1.9, 2.5, FPS, 60) == slice(57, 60)
    assert sync.phone_frames(5.0, 5.1, FPS, 60) == slice(60, 60)


def test_closure_and_false_closure():
    both = opening_closed_at(17, 31)
    assert sync.closure_rate(both, FPS, PHONES) == 1
    assert sync.closure_rate(opening_closed_at(17), FPS, PHONES) == 0.5
    assert sync.closure_rate(np.full(60, 8.0), FPS, PHONES) == 0
    assert sync.false_closure_rate(both, FPS, PHONES) == 0
    assert sync.false_closure_rate(opening_closed_at(25), FPS, PHONES) == 0.5
    shut = np.zeros(60)  # a mouth that never opens must not look good
    assert (sync.closure_rate(shut, FPS, PHONES), sync.false_closure_rate(shut, FPS, PHONES)) == (1, 1)
    assert math.isnan(sync.closure_rate(shut, FPS, PHONES[:1]))
    assert math.isnan(sync.false_closure_rate(shut, FPS, PHONES[:1]))
    assert math.isnan(sync.closure_rate(shut[:5], FPS, PHONES))  # phones beyond the clip do not count


def test_a_nearly_closed_mouth_is_not_closed():
    assert sync.closure_rate(np.full(60, 1.01), FPS, PHONES) == 0
    assert sync.closure_rate(np.full(60, 0.99), FPS, PHONES) == 1


def test_lip_to_teeth_takes_the_nearest_tooth_for_every_lip_point():
    teeth = np.array([[0, 0, 0], [10, 0, 0]]) / 1e3
    lip = points([[0, -3, 0], [10, -5, 0]], [[0, 0, 0], [10, 0, 0]])
    assert sync.lip_to_teeth_mm(lip, teeth) == pytest.approx([4, 0])
    moved = np.stack([teeth, teeth + 1e-3])
    assert sync.lip_to_teeth_mm(lip, moved) == pytest.approx([4, math.sqrt(3)])
    assert sync.at_phones(np.array([4.0, 1, 2]), FPS, [("f", 0.0, 0.07)], "fv").tolist() == [1]


# ----------------------------------------------------------------------------------- loudness, silence


def speechlike(sample_rate: int = 16000, seconds: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose envelope is a slow wave, and that envelope at FPS."""
    t = np.arange(int(sample_rate * seconds)) / sample_rate
    frames = np.arange(int(seconds * FPS)) / FPS

    def envelope(x):
        return 0.3 + 0.28 * np.sin(2 * np.pi * 1.5 * x)

    return envelope(t) * np.random.default_rng(0).normal(scale=0.3, size=len(t)), envelope(frames)


def test_loudness_follows_the_envelope_at_any_level():
    audio, envelope = speechlike()
    assert sync.loudness_correlation(envelope, audio, 16000, FPS) > 0.9
    assert sync.loudness_correlation(-envelope, audio, 16000, FPS) < -0.9
    quiet = sync.log_loudness(audio * 0.01, 16000, FPS, 60)
    assert quiet == pytest.approx(sync.log_loudness(audio, 16000, FPS, 60))
    assert math.isnan(sync.loudness_correlation(envelope, np.zeros_like(audio), 16000, FPS))


def test_loudness_worked_out_by_hand():
    audio = np.tile([0.5, -0.5], 8000)
    audio[8000:] /= 10  # half a second at RMS 0.5, then half a second 20 dB below
    loudness = sync.log_loudness(audio, 16000, FPS, 30)
    assert loudness[:14] == pytest.approx(math.log(1 + 0.01))
    assert loudness[16:] == pytest.approx(math.log(0.1 + 0.01))
    assert sync.loudness_correlation(np.repeat([8.0, 1.0], 15), audio, 16000, FPS) == pytest.approx(1, abs=0.05)


def test_loudness_of_a_burst_sits_on_its_own_frame():
    audio = np.zeros(16000)
    audio[5200:5460] = 0.5  # around 5333 = frame 10
    assert np.argmax(sync.log_loudness(audio, 16000, FPS, 30)) == 10


def test_silence_is_measured_away_from_its_ends():
    phones = [("pau", 0.0, 1.0), ("aa", 1.0, 1.2), ("pau", 1.2, 1.4)]
    inside = sync.silence_frames(phones, FPS, 42)
    assert np.flatnonzero(inside).tolist() == list(range(3, 28))  # 0.1 s … 0.9 s; the short pause is left out
    mouth = np.zeros((42, 2, 3))
    mouth[30:] = 0.01
    assert sync.silence_speed_mm_s(mouth, FPS, phones) == 0
    mouth[:, :, 1] += (np.arange(42) * 1e-4)[:, None]
    assert sync.silence_speed_mm_s(mouth, FPS, phones) == pytest.approx(0.1 * FPS)
    assert math.isnan(sync.silence_speed_mm_s(mouth, FPS, phones[1:]))


# ---------------------------------------------------------------------------------------------- blinks


def test_blinks_are_counted_and_timed():
    lids = np.zeros(60)
    lids[10:15] = [0.4, 1.0, 1.0, 0.7, 0.0]
    lids[30:33] = [0.3, 0.45, 0.3]  # a squint
    found = sync.blinks(lids, FPS)
    assert len(found) == 1
    start, end = 9 + 0.2 / 0.4, 13 + 0.5 / 0.7
    assert found[0].start_s == pytest.approx(start / FPS)
    assert found[0].duration_s == pytest.approx((end - start) / FPS)


def test_closed_eyes_are_no_blink_and_clip_ends_are_handled():
    lids = np.zeros(90)
    lids[20:60] = 1.0
    assert sync.blinks(lids, FPS) == []
    lids[:] = 0
    lids[:3] = 1.0
    lids[-2:] = 1.0
    assert [b.start_s for b in sync.blinks(lids, FPS)] == pytest.approx([0, (87 + 0.2) / FPS])
    assert sync.blinks(np.zeros(0), FPS) == []


def test_metrics_import_nothing_of_ours():
    for module in (metrics, sync):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "." for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert not [name for name in names if name.startswith(("meshtalk", "."))]
