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


def test_the_mouths_shape_weighs_rare_positions_more():
    # one functional, the first coordinate: nine frames at 0 and one at 10; mean 1, variance 10
    truth = torch.zeros(1, 10, 3)
    truth[0, 9, 0] = 10.0
    variance = 10.0 + losses.FLOOR_MM**2

    def loss(frame: int) -> float:
        output = truth.clone()
        output[0, frame, 0] += 2.0
        output[0, :, 1] += 7.0  # of no functional
        return float(losses.mouth(output, truth, lambda motion: motion[..., :1]))

    assert loss(9) == pytest.approx((1 + 81 / variance) * 4 / variance / 10)
    assert loss(0) == pytest.approx((1 + 1 / variance) * 4 / variance / 10)
    assert losses.mouth(truth, truth, lambda motion: motion[..., :1]) == 0


def test_one_rare_position_does_not_outweigh_all():
    truth = torch.zeros(1, 1000, 1)
    truth[0, 0, 0] = 100.0
    output = truth.clone()
    output[0, 0, 0] -= 1.0
    variance = float(truth.var()) + losses.FLOOR_MM**2
    assert float(losses.mouth(output, truth, lambda motion: motion)) == pytest.approx(
        (1 + losses.RARE) / variance / 1000
    )
