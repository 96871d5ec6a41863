"""The fused sampler is the prior's own step, code for code, however it is called."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import rig
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.model import fast_sampler
from meshtalk.model.fast_sampler import Sampler
from meshtalk.model.networks import gumbel_noise
from meshtalk.model.prior import Prior, nucleus

H, C, A, T, N = 4, 5, 6, 40, 3


def prior(mask: str = "inclusive", dilations: tuple[int, ...] = (1, 2, 4, 8)) -> Prior:
    torch.manual_seed(0)
    net = Prior(replace(rig.PRIOR, mask=mask, dilations=dilations), H, C, A)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


AUDIO = torch.randn(N, T, A, generator=torch.Generator().manual_seed(1))
NOISE = gumbel_noise(range(N), 0, (T, H, C))
PRIORS = {mask: prior(mask) for mask in ("inclusive", "strict")}
SAMPLERS = {mask: Sampler(net) for mask, net in PRIORS.items()}


@pytest.mark.parametrize("mask", PRIORS)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.5, 0.8), (1.0, 0.3)])
@pytest.mark.parametrize("drawn", [True, False])
def test_kernels_are_the_reference(mask, temperature, top_p, drawn):
    net, fused = PRIORS[mask], SAMPLERS[mask]
    noise = NOISE if drawn else None
    wanted, _ = net.sample(AUDIO, net.start(N), noise, temperature, top_p)
    found, _ = fused.sample(AUDIO, fused.start(N), noise, temperature, top_p)
    assert torch.equal(found, wanted)
    assert len(found.unique()) > 1


@pytest.mark.parametrize("dilations", [(1,), (3, 1), (2, 5, 2)])
def test_any_dilations(dilations):
    net = prior(dilations=dilations)
    fused = Sampler(net)
    wanted, _ = net.sample(AUDIO, net.start(N), NOISE)
    assert torch.equal(fused.sample(AUDIO, fused.start(N), NOISE)[0], wanted)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 12), max_size=8))
def test_portions_are_the_whole(portions):
    fused = SAMPLERS["inclusive"]
    whole, _ = fused.sample(AUDIO, fused.start(N), NOISE)
    state, parts, at = fused.start(N), [], 0
    for frames in [*portions, T]:
        part, state = fused.sample(AUDIO[:, at : at + frames], state, NOISE[:, at : at + frames])
        parts.append(part)
        at = min(at + frames, T)
    assert torch.equal(torch.cat(parts, 1), whole)


def test_takes_are_as_if_alone():
    fused = SAMPLERS["inclusive"]
    together, _ = fused.sample(AUDIO, fused.start(N), NOISE)
    for take in range(N):
        alone, _ = fused.sample(AUDIO[take : take + 1], fused.start(), NOISE[take : take + 1])
        assert torch.equal(alone[0], together[take])


@pytest.mark.parametrize("mask", PRIORS)
@pytest.mark.parametrize("group", [1, 3, 4])
def test_groups_and_threads_do_not_matter(monkeypatch, mask, group):
    one, _ = SAMPLERS[mask].sample(AUDIO, SAMPLERS[mask].start(N), NOISE)
    monkeypatch.setattr(fast_sampler, "PARALLEL_WEIGHTS", 0)
    monkeypatch.setattr(fast_sampler, "GROUP", group)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    fused = Sampler(PRIORS[mask])
    many, _ = fused.sample(AUDIO, fused.start(N), NOISE)
    assert torch.equal(one, many)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(lambda: fused.sample(AUDIO, fused.start(N), NOISE)[0]) for _ in range(8)]
        assert all(torch.equal(job.result(), one) for job in jobs)


def test_a_state_can_be_used_twice():
    fused = SAMPLERS["inclusive"]
    _, state = fused.sample(AUDIO[:, :7], fused.start(N), NOISE[:, :7])
    first, _ = fused.sample(AUDIO[:, 7:], state, NOISE[:, 7:])
    second, _ = fused.sample(AUDIO[:, 7:], state, NOISE[:, 7:])
    assert torch.equal(first, second)
    assert state.past.shape == fused.start(N).past.shape


def test_bfloat16_is_the_reference_with_rounded_weights():
    net = prior()
    for layer in [*net.layers, net.logits]:
        for weight in [layer.masked_linear.weight] + ([layer.history.weight] if layer.history is not None else []):
            weight.data = weight.data.to(torch.bfloat16).float()
    fused = Sampler(PRIORS["inclusive"], "bfloat16")
    wanted, _ = net.sample(AUDIO, net.start(N), NOISE)
    assert torch.equal(fused.sample(AUDIO, fused.start(N), NOISE)[0], wanted)


def test_a_nucleus_is_the_smallest_set_that_holds_the_share():
    scores = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]]).log()[:, [2, 0, 4, 1, 3]]
    for top_p, kept in ((0.4, 1), (0.6, 2), (0.71, 3), (0.9, 4), (1.0, 5)):
        finite = nucleus(scores, top_p).isfinite()
        assert int(finite.sum()) == kept
        assert scores[finite].exp().sum() >= top_p - 1e-6
