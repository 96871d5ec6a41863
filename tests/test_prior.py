"""The prior sees what eq. 6 lets it see, and sampling is the same function as training."""

from dataclasses import replace

import pytest
import rig
import torch

from meshtalk.model.networks import one_hot
from meshtalk.model.prior import Prior

H, C, A, T = 4, 5, 6, 14


def gumbel(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return -torch.empty(shape, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed)).log()


def prior(mask: str = "inclusive", dilations: tuple[int, ...] = (1, 2, 4, 8)) -> Prior:
    torch.manual_seed(0)
    net = Prior(replace(rig.PRIOR, mask=mask, dilations=dilations), H, C, A).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def influence(net: Prior, frame: int, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which codes (T,H) and which audio frames (T,) move the log-probabilities of one head of one frame."""
    torch.manual_seed(1)
    codes = one_hot(torch.randint(C, (1, T, H)), C).double().requires_grad_()
    audio = torch.randn(1, T, A, dtype=torch.float64, requires_grad=True)
    (net(codes, audio)[0, frame, head] * torch.randn(C, dtype=torch.float64)).sum().backward()
    zero = torch.zeros(1)
    seen = codes.grad[0].abs().sum(-1) > 0 if codes.grad is not None else zero
    heard = audio.grad[0].abs().sum(-1) > 0 if audio.grad is not None else zero
    return seen, heard


@pytest.mark.parametrize("head", range(H))
def test_a_head_sees_all_past_heads_and_lower_heads_of_its_own_frame(head):
    frame = 11
    seen, heard = influence(prior(), frame, head)
    assert not seen[frame + 1 :].any()  # the future
    assert not seen[frame, head:].any()  # itself and higher heads
    assert seen[frame, :head].all()  # lower heads
    assert seen[frame - 1].all()  # the heads of the frame before
    assert seen[:frame].any(1).sum() >= frame - 1  # a long past: 1+1, 1+2, 1+4, 1+8 frames back and sums of them
    assert heard[frame]
    assert not heard[frame + 1 :].any()


def test_the_strict_mask_has_the_official_defect():
    net = prior("strict")
    seen, heard = influence(net, 11, 0)
    assert not seen.any()
    assert not heard.any()
    codes, audio = one_hot(torch.randint(C, (3, T, H)), C).double(), torch.randn(3, T, A).double()
    first = net(codes, audio)[:, :, 0]
    torch.testing.assert_close(first, first[:1, :1].expand_as(first))
    seen, heard = influence(net, 11, H - 1)
    assert not seen[12:].any()
    assert not seen[11, H - 1 :].any()
    assert heard[11]
    assert seen[:11].any()


def test_probabilities_sum_to_one():
    net = prior()
    codes = one_hot(torch.randint(C, (2, T, H)), C).double()
    out = net(codes, torch.randn(2, T, A).double())
    assert out.shape == (2, T, H, C)
    torch.testing.assert_close(out.exp().sum(-1), torch.ones(2, T, H, dtype=torch.float64))


@pytest.mark.parametrize("mask", ["inclusive", "strict"])
@pytest.mark.parametrize("temperature", [None, 1.0, 0.6])
def test_one_step_at_a_time_is_the_teacher_forced_forward(mask, temperature):
    """Feeding its samples back, forward's log-probabilities with the same noise choose the same labels."""
    net = prior(mask)
    generator = torch.Generator().manual_seed(4)
    audio = torch.randn(2, T, A, generator=generator).double()
    noise = [gumbel((2, H, C), seed) for seed in range(T)]
    state, labels = net.start(2), []
    for t in range(T):
        step_noise = None if temperature is None else noise[t]
        label, state = net.step(audio[:, t], state, step_noise, temperature or 1.0)
        labels.append(label)
    drawn = torch.stack(labels, 1)
    with torch.no_grad():
        log_probs = net(one_hot(drawn, C).double(), audio)
    scores = log_probs if temperature is None else log_probs / temperature + torch.stack(noise, 1)
    assert torch.equal(scores.argmax(-1), drawn)
    assert len(drawn.unique()) > 1


def test_a_state_can_be_used_twice():
    net = prior()
    audio = torch.randn(1, A).double()
    noise = gumbel((1, H, C), 0)
    _, state = net.step(audio, net.start(1), noise)
    first, after_first = net.step(audio, state, noise)
    second, after_second = net.step(audio, state, noise)
    assert torch.equal(first, second)
    for a, b in zip(after_first.past, after_second.past, strict=True):
        for x, y in zip(a, b, strict=True):
            assert torch.equal(x, y)


def test_state_does_not_grow():
    net = prior()
    state = net.start(1)
    sizes = []
    for _ in range(5):
        _, state = net.step(torch.randn(1, A).double(), state, None)
        sizes.append([len(past) for past in state.past])
    assert sizes == [[2, 3, 5, 9]] * 5


def test_a_low_temperature_is_argmax():
    net = prior()
    audio = torch.randn(64, A).double()
    noise = gumbel((64, H, C), 0)
    cold, _ = net.step(audio, net.start(64), noise, 1e-4)
    likeliest, _ = net.step(audio, net.start(64), None)
    warm, _ = net.step(audio, net.start(64), noise, 1.0)
    assert torch.equal(cold, likeliest)
    assert not torch.equal(warm, likeliest)


def test_samples_follow_the_probabilities():
    """The first head of the first frame, whose distribution forward gives at once."""
    net = prior()
    n = 8000
    audio = torch.randn(1, 1, A, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        wanted = net(torch.zeros(1, 1, H, C).double(), audio)[0, 0, 0].exp()
    noise = gumbel((n, H, C), 7)
    labels, _ = net.step(audio[0].expand(n, -1), net.start(n), noise)
    counts = torch.bincount(labels[:, 0], minlength=C)
    assert ((counts - n * wanted) ** 2 / (n * wanted)).sum() < 18.5
