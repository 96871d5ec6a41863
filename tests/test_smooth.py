"""The smoother: streaming equals offline, constants stay, noise loses its edge."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.resample import Smoother


@given(st.lists(st.integers(0, 5), max_size=8), st.sampled_from([0.0, 0.07, 1 / 3]))
def test_chunks_equal_one_call(sizes, weight):
    motion = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(0))
    whole = Smoother(weight).finish(motion, None)
    assert whole.shape == motion.shape
    state, parts = None, []
    for chunk in motion.split(sizes):
        out, state = Smoother(weight).process(chunk, state)
        parts.append(out)
    parts.append(Smoother(weight).finish(motion[:0], state))
    assert torch.allclose(torch.cat(parts), whole)


def test_by_hand():
    out = Smoother(0.1).finish(torch.tensor([[0.0], [10.0], [0.0]]), None)
    assert torch.allclose(out, torch.tensor([[1.0], [8.0], [1.0]]))


def test_a_constant_stays_and_no_weight_is_no_delay():
    still = torch.full((4, 2), 3.0)
    assert torch.equal(Smoother(0.07).finish(still, None).round(decimals=5), still)
    out, state = Smoother(0.0).process(still, None)
    assert torch.equal(out, still)
    assert state is None


def test_third_difference_of_noise_falls():
    noise = torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    smooth = Smoother(0.07).finish(noise, None)
    assert smooth.diff(n=3, dim=0).abs().mean() < 0.8 * noise.diff(n=3, dim=0).abs().mean()
