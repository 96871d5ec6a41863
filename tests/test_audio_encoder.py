"""The audio encoder sees exactly what its properties say, at exactly the times asked for."""

import re
from dataclasses import replace

import pytest
import rig
import torch
from jaxtyping import TypeCheckError

from meshtalk.audio.files import frame_hops
from meshtalk.config import PRESETS, AudioConfig
from meshtalk.errors import InputError
from meshtalk.model.audio_encoder import AudioEncoder, leaky
from meshtalk.model.phonetic_trunk import HOPS, FeatureExtractor

CONFIGS = {name: replace(preset[0].audio, width=8, code=8) for name, preset in PRESETS.items()} | {
    "rig": rig.AUDIO,
    "rig window": rig.WINDOW,
}


def encoder(config: AudioConfig) -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(config).eval()


def features(net: AudioEncoder, hops: int) -> torch.Tensor:
    return torch.randn(1, net.stack_reach + hops + net.stack_lookahead, net.n_features)


def affected(net: AudioEncoder, hop: float, hops: int = 8) -> tuple[int, int]:
    """First and last feature frame, relative to the target hop, whose change reaches the code at `hop`."""
    x = features(net, hops).requires_grad_()
    net.at(x, torch.tensor([hop], dtype=torch.float64)).square().sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum(-1).nonzero()[:, 0] - net.stack_reach - int(hop)
    return int(touched[0]), int(touched[-1])


@pytest.mark.parametrize("name", CONFIGS)
def test_reach_and_lookahead_are_exact(name):
    net = encoder(CONFIGS[name])
    assert affected(net, 3.0) == (-net.stack_reach, CONFIGS[name].lookahead_hops)
    if CONFIGS[name].stack == "dense":  # between two hops both are seen
        assert affected(net, 3.5) == (-net.stack_reach, net.stack_lookahead)
    else:  # the nearest hop's window
        assert affected(net, 3.75) == (-net.stack_reach + 1, net.stack_lookahead)


def test_spans_of_the_presets_in_hops():
    spans = {name: (encoder(c).stack_reach, c.lookahead_hops) for name, c in CONFIGS.items()}
    assert spans["paper"] == (50, 10)  # 500 ms before, 100 ms after
    assert spans["official"] == (50, 50)  # one second, centred
    compact = encoder(CONFIGS["compact"])
    assert compact.lookahead <= 20  # 200 ms
    assert compact.reach == compact.stack_reach + HOPS - 1 - CONFIGS["compact"].trunk_lookahead_hops


@pytest.mark.parametrize("trunk_lookahead", [0, 10, 15, 39])
def test_with_the_trunk_mel_frames_are_counted(trunk_lookahead):
    config = replace(rig.PHONETIC, trunk_lookahead_hops=trunk_lookahead)
    net, extract = encoder(config), FeatureExtractor("phonetic")
    assert net.reach + net.lookahead == net.stack_reach + net.stack_lookahead + extract.hops
    hops = 4
    mel = torch.randn(1, net.reach + hops + net.lookahead, 32)
    at = torch.tensor([1.5], dtype=torch.float64)

    def changes(frame: int) -> bool:
        other = mel.clone()
        other[:, frame] += 5.0
        with torch.no_grad():
            return bool((net.at(extract(other), at) != net.at(extract(mel), at)).any())

    first, last = 1, 1 + net.reach + net.lookahead
    assert changes(first)
    assert changes(last)
    assert not changes(first - 1)
    assert not changes(last + 1)


@pytest.mark.parametrize("name", ["rig", "official"])
def test_dense_stack_is_the_convolutions_one_window_at_a_time(name):
    net = encoder(CONFIGS[name])
    x = features(net, 6)
    span = net.stack_reach + net.config.lookahead_hops + 1
    with torch.no_grad():
        whole = net.dense(x)
        for start in range(5):
            torch.testing.assert_close(
                net.dense(x[:, start : start + span])[:, 0], whole[:, start], atol=1e-5, rtol=1e-4
            )


def test_official_stack_crops_its_skips_in_the_middle():
    net = encoder(CONFIGS["official"])
    x = features(net, 3)
    with torch.no_grad():
        y = leaky(net.input(x.transpose(1, 2)))
        for layer in net.layers:
            new = leaky(layer(y))
            margin = (y.shape[2] - new.shape[2]) // 2
            y = (y[:, :, margin:-margin] + new) / 2
        torch.testing.assert_close(net.dense(x), y.transpose(1, 2))


def test_window_stack_is_a_padded_average_pool():
    net = encoder(rig.WINDOW)
    x = features(net, 6)
    with torch.no_grad():
        window = x[:, 2 : 2 + rig.WINDOW.past_hops + rig.WINDOW.lookahead_hops + 1].transpose(1, 2)
        y = leaky(net.input(window))
        for layer in net.layers:
            y = (y + leaky(layer(y))) / 2
            assert y.shape == (1, rig.WINDOW.width, window.shape[2])
        expected = net.code(y.mean(2))
        torch.testing.assert_close(net.at(x, torch.tensor([2.0]))[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_codes_between_hops_are_interpolated():
    net = encoder(rig.AUDIO)
    x = features(net, 8)
    with torch.no_grad():
        low, middle, high = net.at(x, torch.tensor([3.0, 3.25, 4.0], dtype=torch.float64))[0]
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high)


@pytest.mark.parametrize("config", [rig.AUDIO, rig.WINDOW], ids=["dense", "window"])
def test_where_counting_begins_does_not_matter(config):
    """24 frames a second meet half hops, which must round the same way from any origin."""
    net = encoder(config)
    x = features(net, 40)
    hops = frame_hops(PRESETS["compact"][0].fps.__class__(24), 0, 9)
    with torch.no_grad():
        whole = net.at(x, hops)
        later = net.at(x[:, 3:], hops[1:] - 3)
    torch.testing.assert_close(whole[:, 1:], later, atol=1e-5, rtol=1e-4)


def test_features_are_normalised_by_its_own_statistics():
    net = encoder(rig.AUDIO)
    x = features(net, 4)
    at = torch.tensor([1.0])
    with torch.no_grad():
        plain = net.at(x, at)
        net.feature_mean.fill_(2.0)
        net.feature_std.fill_(3.0)
        torch.testing.assert_close(net.at(x * 3 + 2, at), plain, atol=1e-4, rtol=1e-4)


def test_a_lookahead_that_no_layer_can_spend_is_refused():
    with pytest.raises(InputError, match="lookahead_hops 3"):
        AudioEncoder(replace(rig.AUDIO, lookahead_hops=3))
    with pytest.raises(InputError, match=r"lookahead_hops .* cannot be reached"):
        AudioEncoder(replace(rig.AUDIO, lookahead_hops=1000))
    with pytest.raises(InputError, match="lookahead_hops 1 cannot be reached"):  # the input layer alone sees 2
        AudioEncoder(replace(rig.AUDIO, input_kernel=5, lookahead_hops=1))


@pytest.mark.parametrize("hops", [0, 2, 4, 6, 8, 10, 12, 14, 18, 24])
def test_every_sum_of_the_layers_steps_can_be_spent(hops):
    net = encoder(replace(rig.AUDIO, dilations=(2, 4, 6), lookahead_hops=hops))
    assert affected(net, 3.0) == (-net.stack_reach, hops)


def test_the_advice_about_the_lookahead_can_be_followed():
    for wrong in (3, 25, 1000):
        with pytest.raises(InputError, match=r"Choose (\d+ or )*\d+\.$") as refused:
            AudioEncoder(replace(rig.AUDIO, lookahead_hops=wrong))
        for choice in re.findall(r"\d+", str(refused.value).partition("Choose")[2]):
            AudioEncoder(replace(rig.AUDIO, lookahead_hops=int(choice)))


def test_a_wrong_number_of_features_fails():
    net = encoder(rig.AUDIO)
    with pytest.raises(TypeCheckError, match="features"):
        net.at(features(net, 4)[..., :-1], torch.tensor([1.0]))
