"""Eqs. 4 and 5 by hand, and partners that are never the same clip."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshtalk.training import losses

REGIONS = {
    "upper_face": torch.tensor([0.0, 1.0, 2.0]),
    "mouth": torch.tensor([3.0, 1.0, 0.0]),
    "eyelids": torch.tensor([0.0, 0.0, 1.0]),
}


def region_error(error: torch.Tensor, region: str) -> torch.Tensor:
    """Three one-dimensional "vertices", weights not normalised."""
    return (error.square() * REGIONS[region]).sum(-1).mean()


TRUTH = torch.zeros(1, 2, 3)
FROM_EXPRESSION = torch.tensor([[[5.0, 1.0, 2.0], [5.0, 0.0, 1.0]]])
FROM_AUDIO = torch.tensor([[[1.0, 2.0, 7.0], [0.0, 1.0, 7.0]]])


def test_eq_4_takes_the_upper_face_from_expression_and_the_mouth_from_audio():
    # upper: (1·1² + 2·2²) and (1·0² + 2·1²), mean 5.5; mouth: (3·1² + 1·2²) and (0 + 1·1²), mean 4
    assert float(losses.cross_modality(FROM_EXPRESSION, FROM_AUDIO, TRUTH, region_error)) == 9.5


def test_eq_5_is_the_eyelids_of_the_expression():
    assert float(losses.eyelid(FROM_EXPRESSION, TRUTH, region_error)) == 2.5


def test_reconstruction_is_both_regions():
    # mouth: 75+1, 75; upper: 1+8, 2
    assert float(losses.reconstruction(FROM_EXPRESSION, TRUTH, region_error)) == (76 + 75) / 2 + (9 + 2) / 2


def test_velocity_forgives_what_does_not_change():
    shifted = TRUTH + 4.0
    assert float(losses.velocity(shifted, TRUTH, region_error)) == 0
    # the change is (0,-1,-1): mouth 1, upper 1+2
    assert float(losses.velocity(FROM_EXPRESSION, TRUTH, region_error)) == 4.0


def test_opening_is_of_the_lips_only():
    def difference(motion: torch.Tensor) -> torch.Tensor:
        return motion[..., 0] - motion[..., 1]

    closed = 1 + losses.CLOSURE_EMPHASIS
    assert float(losses.opening(FROM_EXPRESSION, TRUTH, difference)) == closed * (16 + 25) / 2
    assert float(losses.opening(TRUTH + 3, TRUTH, difference)) == 0


def test_a_missed_closure_costs_more_than_the_same_error_on_an_open_mouth():
    def first(motion: torch.Tensor) -> torch.Tensor:
        return motion[..., 0]

    wide = TRUTH + 12.0
    assert float(losses.opening(TRUTH + 1, TRUTH, first)) > 5 * float(losses.opening(wide + 1, wide, first))


def test_the_mouths_shape_by_hand():
    """Two functionals of a batch of four frames; the second moves less than the floor."""
    truth = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [8.0, 0.0]]])
    usual = losses.Usual.of(truth)
    floor = losses.FLOOR_MM**2
    torch.testing.assert_close(usual.mean, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(usual.variance, torch.tensor([16.0 + floor, floor]))
    output = truth + torch.tensor([[[0.0, 0.0], [1.0, 0.5], [0.0, 0.0], [3.0, 0.0]]])
    usually, rarely = 1 + 4 / (16 + floor), 1 + 36 / (16 + floor)
    expected = (usually * 1 / (16 + floor) + rarely * 9 / (16 + floor) + 0.25 / floor) / 4
    assert float(losses.mouth(output, truth, torch.clone, usual)) == pytest.approx(expected)
    assert float(losses.mouth(truth, truth, torch.clone, usual)) == 0


def test_a_rare_position_weighs_more_but_not_without_end():
    truth = torch.zeros(1, 1000, 1)
    truth[0, 0] = 30.0
    usual = losses.Usual.of(truth)

    def missed(frame: int) -> float:
        output = truth.clone()
        output[0, frame] += 1.0
        return float(losses.mouth(output, truth, torch.clone, usual))

    assert missed(0) / missed(1) == pytest.approx(1 + losses.RARE, rel=0.01)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.integers(0, 10_000))
def test_partners_are_windows_of_another_clip(ids, shift):
    assume(len(set(ids)) > 1)
    clips = torch.tensor(ids)
    partner = losses.swap_partners(clips, shift)
    assert partner.shape == clips.shape
    assert (clips[partner] != clips).all()


def test_partners_vary_with_the_shift():
    clips = torch.arange(6)
    seen = {tuple(losses.swap_partners(clips, shift).tolist()) for shift in range(6)}
    assert len(seen) == 5
    for start in range(6):
        assert {partners[start] for partners in seen} == set(range(6)) - {start}


@pytest.mark.parametrize("ids", [[3], [2, 2, 2]])
def test_no_partner_is_an_error(ids):
    with pytest.raises(ValueError, match="at least two clips"):
        losses.swap_partners(torch.tensor(ids), 0)
