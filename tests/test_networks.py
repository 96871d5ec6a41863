"""Expression encoder, fusion, decoder and the whole autoencoder: the paper's formulas, written out again."""

from dataclasses import replace

import numpy as np
import pytest
import rig
import torch
from jaxtyping import TypeCheckError

from meshtalk.model.networks import Decoder, ExpressionEncoder, Fusion, MeshTalk, Regressor

B, T, H, C = 2, 5, 3, 4


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def lstm(x: np.ndarray, p: dict[str, np.ndarray], prefix: str, layer: int) -> np.ndarray:
    """(T,n) → (T,128), gates in torch's order i f g o."""
    w_in, w_rec = p[f"{prefix}weight_ih_l{layer}"], p[f"{prefix}weight_hh_l{layer}"]
    bias = p[f"{prefix}bias_ih_l{layer}"] + p[f"{prefix}bias_hh_l{layer}"]
    h = c = np.zeros(w_rec.shape[1])
    out = []
    for row in x:
        i, f, g, o = np.split(w_in @ row + w_rec @ h + bias, 4)
        sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def random_codes() -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.randint(C, (B, T, H)), C).float()


@pytest.mark.parametrize("dense", [True, False])
def test_decoder_is_eq_1_written_out(dense):
    torch.manual_seed(0)
    n_template = 12 if dense else 4
    net = Decoder(n_template, 12, H, C, dense=dense)
    torch.nn.init.normal_(net.vertex_bias)
    template, codes = torch.randn(B, n_template), random_codes()
    with torch.no_grad():
        ours, _ = net(net.encode_template(template), codes)
    p = arrays(net)

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    for b in range(B):
        skips, x = [], template[b].double().numpy()
        for i in range(3):
            skips.append(x)
            x = leaky(linear(f"encoder.{i}", x))
        joined = np.concatenate([np.tile(x, (T, 1)), codes[b].flatten(1).double().numpy()], 1)
        y = fused = leaky(linear("fusion", joined))
        for layer in range(2):
            y = lstm(y, p, "temporal.", layer)
        if dense:
            for i in range(3):
                y = skips[2 - i] + leaky(linear(f"decoder.{i}", y))
        else:
            y = fused + y
            y = skips[2] + leaky(linear("decoder.0", y))
            y = skips[1] + leaky(linear("decoder.1", y))
            y = linear("decoder.2", y)
        np.testing.assert_allclose(ours[b], y + p["vertex_bias"], atol=1e-5)


def test_decoder_sizes_are_the_papers():
    net = Decoder(30, 30, 16, 128, dense=True)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes["encoder.0.weight"] == (512, 30)
    assert shapes["encoder.2.weight"] == (128, 256)
    assert shapes["fusion.weight"] == (128, 16 * 128 + 128)
    assert shapes["temporal.weight_ih_l1"] == (512, 128)
    assert shapes["decoder.2.weight"] == (30, 512)
    assert shapes["vertex_bias"] == (30,)


def test_decoder_frame_by_frame_with_its_state():
    torch.manual_seed(1)
    net = Decoder(4, 12, H, C, dense=False)
    encoded, codes = net.encode_template(torch.randn(B, 4)), random_codes()
    with torch.no_grad():
        whole, _ = net(encoded, codes)
        state, parts = None, []
        for t in range(T):
            part, state = net(encoded, codes[:, t : t + 1], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=1e-5)


def test_dense_decoder_needs_equal_sizes():
    with pytest.raises(ValueError, match="equal sizes"):
        Decoder(4, 12, H, C, dense=True)


def test_expression_encoder_written_out_and_causal():
    torch.manual_seed(2)
    net = ExpressionEncoder(7, 6)
    x = torch.randn(1, T, 7)
    with torch.no_grad():
        ours, _ = net(x)
        first, state = net(x[:, :2])
        second, _ = net(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), ours, atol=1e-6, rtol=1e-5)
    p, y = arrays(net), x[0].double().numpy()
    for i in range(2):
        y = leaky(y @ p[f"layers.{i}.weight"].T + p[f"layers.{i}.bias"])
    y = lstm(y, p, "lstm.", 0) @ p["code.weight"].T + p["code.bias"]
    np.testing.assert_allclose(ours[0], y, atol=1e-5)


def test_fusion_gives_log_probabilities_of_every_head():
    net = Fusion(6, 5, H, C)
    expression, audio = torch.randn(B, T, 6), torch.randn(B, T, 5)
    out = net(expression, audio)
    assert out.shape == (B, T, H, C)
    torch.testing.assert_close(out.exp().sum(-1), torch.ones(B, T, H))
    p, x = arrays(net), torch.cat([expression, audio], -1)[0].double().numpy()
    for i in (0, 2, 4):
        x = x @ p[f"mlp.{i}.weight"].T + p[f"mlp.{i}.bias"]
        x = leaky(x) if i < 4 else x
    logits = x.reshape(T, H, C)
    np.testing.assert_allclose(out.detach()[0], logits - np.log(np.exp(logits).sum(-1, keepdims=True)), atol=1e-5)


@pytest.fixture(scope="module")
def model() -> MeshTalk:
    network = rig.random_checkpoint().network
    assert isinstance(network, MeshTalk)
    return network


def test_the_model_is_its_parts(model):
    motion, code = torch.randn(B, T, 6), torch.randn(B, T, rig.AUDIO.code)
    with torch.no_grad():
        expected = model.fusion(model.expression(motion / model.geometry.scale)[0], code)
        torch.testing.assert_close(model.encode(motion, code), expected)
        labels = model.labels(motion, code)
        assert torch.equal(labels, expected.argmax(-1))
        template = torch.randn(B, 2)
        output, _ = model.decoder(model.decoder.encode_template(template), model.one_hot(labels))
        torch.testing.assert_close(model.decode(template, model.one_hot(labels)), output * model.geometry.scale)


def test_sampling_is_the_priors_steps_and_reproducible(model):
    code = torch.randn(1, 9, rig.AUDIO.code)
    draw = [model.sample(code, seed) for seed in (0, 0, 1)]
    assert draw[0].shape == (1, 9, 3)
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    likeliest = model.sample(code, 0, argmax=True)
    with torch.no_grad():
        assert torch.equal(model.prior(model.one_hot(likeliest), code).argmax(-1), likeliest)


def test_the_prior_shares_or_owns_an_audio_encoder():
    shared = replace(rig.TINY, prior=replace(rig.PRIOR, own_audio_encoder=False))
    net = MeshTalk(shared, rig.basis_geometry())
    assert net.prior_audio_encoder is net.audio
    own = MeshTalk(rig.TINY, rig.basis_geometry())
    assert own.prior_audio_encoder is not own.audio
    for a, b in zip(own.audio.parameters(), own.prior_audio_encoder.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("geometry", ["basis", "dense"])
def test_regressor_gives_motion_at_the_frames(geometry):
    chosen = rig.basis_geometry() if geometry == "basis" else rig.dense_geometry()
    net = Regressor(rig.AUDIO, chosen).eval()
    features = torch.randn(B, net.audio.stack_reach + 20 + net.audio.stack_lookahead, 80)
    out = net(features, torch.tensor([0.0, 10 / 3, 20 / 3]), torch.randn(B, chosen.n_template))
    assert out.shape == (B, 3, chosen.n_motion)


def test_wrong_shapes_fail(model):
    with pytest.raises(TypeCheckError):
        model.decode(torch.randn(B, 3), random_codes())
    with pytest.raises(TypeCheckError):
        model.encode(torch.randn(B, T, 7), torch.randn(B, T, rig.AUDIO.code))
    with pytest.raises(TypeCheckError):
        model.encode(torch.randn(B, T, 6), torch.randn(B, T + 1, rig.AUDIO.code))
