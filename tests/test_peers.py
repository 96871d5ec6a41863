"""Measures in the papers' own form: worked out by hand, and against another library's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_rig import FPS, RATE, TEMPLATE, TOPOLOGY, LittleCorpus
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.multimodal import lip_vertex_error
from torchmetrics.multimodal import LipVertexError

from meshtalk import evaluation as ev
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.measures import metrics


def clip_of(*frames: dict[int, tuple[float, float, float]], valid: np.ndarray | None = None) -> Clip:
    """A dense clip of the rig; a frame names the vertices that left the template, and where to, in millimetres."""
    moved = np.zeros((len(frames), 12, 3), np.float32)
    for frame, vertices in zip(moved, frames, strict=True):
        for vertex, place in vertices.items():
            frame[vertex] = np.array(place) / 1e3
    audio = np.zeros(round(len(frames) / FPS * RATE), np.float32)
    return Clip(TOPOLOGY, TEMPLATE, FPS, audio, RATE, displacement=moved, valid=valid)


LIP, BROW, CROWN = 1, 6, 10


def test_two_sequences_worked_out_by_hand():
    still = clip_of({}, {})
    first = clip_of({LIP: (3, 4, 0), BROW: (2, 0, 0)}, {})  # squared: lip 25 mm², brow 4 mm² then 0, deviation 2 mm²
    second_true = clip_of({BROW: (0, 4, 0)}, {}, {LIP: (0, 0, 1)}, {BROW: (0, 4, 0)})  # brow 16 0 0 16, deviation 8
    second = clip_of({}, {}, {CROWN: (0, 6, 0)}, {})
    found = ev.peers_form([(first, still), (second, second_true)])
    # frames: 25 and 0 of the first sequence; 0, 0, 1 and 0 of the second
    assert found.lve == pytest.approx((25 + 0 + 0 + 0 + 1 + 0) * 1e-6 / 6)
    # five upper-face vertices, one of which moves: 0 − 2/5 and 8/5 − 0 mm²
    assert found.fdd == pytest.approx((-0.4 + 1.6) / 2 * 1e-6)
    assert found.abs_fdd == pytest.approx((0.4 + 1.6) / 2 * 1e-6)
    # errors of 5 and 2 mm, then 4, 1, 6 and 4, over 12 vertices of 6 frames
    assert found.mve == pytest.approx((5 + 2 + 4 + 1 + 6 + 4) * 1e-3 / (12 * 6))


def test_the_unit_is_the_data_sets_own():
    pair = (clip_of({LIP: (3, 4, 0)}), clip_of({}))
    assert ev.peers_form([pair]).lve == pytest.approx(25e-6)  # metres, as FLAME's
    assert ev.peers_form([pair], metres_per_unit=1e-3).lve == pytest.approx(25)  # millimetres
    assert ev.peers_form([pair], metres_per_unit=1e-3).mve == pytest.approx(5 / 12)
    assert ev.peers_form([pair], metres_per_unit=0.1).lve == pytest.approx(25e-4)  # decimetres


def test_frames_that_capture_missed_do_not_count():
    true = clip_of({}, {LIP: (90, 90, 90), BROW: (90, 0, 0)}, {}, valid=np.array([True, False, True]))
    found = ev.peers_form([(clip_of({LIP: (0, 2, 0)}, {}, {}), true)])
    assert found == pytest.approx((2e-6, 0, 0, 1e-3 / 12))


def test_the_report_gives_the_same_figures():
    corpus = LittleCorpus()
    truths = [corpus.load(info) for info in corpus.clips if info.split == "test"]

    class Half:
        def predict(self, info, clip, seed):
            return replace(clip, weights=0.5 * np.asarray(clip.weights))

    report = ev.evaluate(Half(), corpus)
    found = ev.peers_form((Half().predict(None, clip, 0), clip) for clip in truths)
    assert found.lve > 0
    assert report["lve_squared_m2"] == pytest.approx(found.lve, rel=1e-5)
    assert report["fdd_m2"] == pytest.approx(found.fdd, rel=1e-5)
    assert report["abs_fdd_m2"] == pytest.approx(found.abs_fdd, rel=1e-5)
    assert report["mve_mm"] == pytest.approx(found.mve * 1e3, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match="metres_per_unit must be positive"):
        ev.peers_form([(clip_of({}), clip_of({}))], scale)


def test_nothing_to_compare_and_unlike_clips_are_refused():
    with pytest.raises(InputError, match="at least one predicted and true clip"):
        ev.peers_form([])
    with pytest.raises(InputError, match="must have 1 frames, give or take one, got 4"):
        ev.peers_form([(clip_of({}, {}, {}, {}), clip_of({}))])


# ------------------------------------------------------------------------------------------ torchmetrics


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    n=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_agrees_with_torchmetrics(seed, lengths, n, scale):
    rng = np.random.default_rng(seed)
    lips = np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False))
    pairs = [(rng.normal(scale=scale, size=(t, n, 3)), rng.normal(scale=scale, size=(t, n, 3))) for t in lengths]
    theirs = LipVertexError(mouth_map=lips.tolist())
    for predicted, true in pairs:
        theirs.update(torch.from_numpy(predicted), torch.from_numpy(true))
        one = lip_vertex_error(torch.from_numpy(predicted), torch.from_numpy(true), mouth_map=lips.tolist())
        assert metrics.lve_squared_m2([(predicted[:, lips], true[:, lips])]) == pytest.approx(float(one), rel=1e-5)
    ours = metrics.lve_squared_m2([(predicted[:, lips], true[:, lips]) for predicted, true in pairs])
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-5)
