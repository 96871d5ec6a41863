"""Straight-through Gumbel-softmax (eq. 2)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.model.networks import gumbel_noise, gumbel_softmax, one_hot

PROBABILITIES = torch.tensor([0.5, 0.25, 0.15, 0.08, 0.02])


@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0])
def test_forward_is_exactly_one_hot(tau):
    log_probs = torch.randn(4, 7, 3, 16).log_softmax(-1)
    codes, labels = gumbel_softmax(log_probs, tau, torch.Generator().manual_seed(0))
    assert codes.shape == log_probs.shape
    assert labels.shape == (4, 7, 3)
    assert torch.equal(codes, one_hot(labels, 16))


def test_gradient_is_that_of_the_relaxation():
    log_probs = torch.randn(5, 8).log_softmax(-1).requires_grad_()
    weight = torch.randn(5, 8)
    codes, _ = gumbel_softmax(log_probs, 0.7, torch.Generator().manual_seed(1))
    (codes * weight).sum().backward()
    straight_through, log_probs.grad = log_probs.grad, None
    noise = torch.empty(5, 8).exponential_(generator=torch.Generator().manual_seed(1)).log()
    (((log_probs - noise) / 0.7).softmax(-1) * weight).sum().backward()
    assert straight_through is not None
    assert straight_through.abs().max() > 0
    torch.testing.assert_close(straight_through, log_probs.grad)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_classes_come_as_often_as_their_probability_says(tau):
    n = 20_000
    log_probs = PROBABILITIES.log().expand(n, 5)
    _, labels = gumbel_softmax(log_probs, tau, torch.Generator().manual_seed(2))
    counts = torch.bincount(labels, minlength=5)
    chi_square = ((counts - n * PROBABILITIES) ** 2 / (n * PROBABILITIES)).sum()
    assert chi_square < 18.5  # 99.9 % quantile with 4 degrees of freedom


def test_gumbel_noise_has_the_gumbel_distribution():
    noise = gumbel_noise([3], 0, (2500, 4, 5))
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)
    assert noise.std() == pytest.approx(1.2825, abs=0.02)
    assert noise.isfinite().all()


@given(st.integers(0, 2**63 - 1), st.integers(0, 200_000), st.integers(1, 5), st.integers(1, 7))
def test_noise_of_a_frame_depends_on_seed_and_frame_alone(seed, first, heads, classes):
    whole = gumbel_noise([seed, 5], first, (6, heads, classes))
    for cut in (0, 1, 4):
        parts = [gumbel_noise([seed], first, (cut, heads, classes))]
        parts.append(gumbel_noise([seed], first + cut, (6 - cut, heads, classes)))
        assert torch.equal(torch.cat(parts, 1)[0], whole[0])
    assert torch.equal(gumbel_noise([5], first, (6, heads, classes))[0], whole[1])
    assert not torch.equal(whole[0, 0], whole[0, 1])


def test_the_same_seed_gives_the_same_codes():
    log_probs = torch.randn(50, 8)
    first, second, other = (gumbel_softmax(log_probs, 1.0, torch.Generator().manual_seed(s))[1] for s in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
