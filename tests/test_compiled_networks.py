"""The compiled networks of short pieces are the torch networks, whatever the sizes and however pieces alternate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.config import AudioConfig
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.audio_stream import Hearing
from meshtalk.model.fast_networks import CompiledDecoder, CompiledEncoder
from meshtalk.model.fast_stack import SHORT, Pieces
from meshtalk.model.networks import Decoder, ExpressionEncoder, Fusion
from meshtalk.model.phonetic_trunk import FeatureExtractor, PhoneticTrunk

TAKES, FRAMES = 2, 3


def small_encoder(**changes) -> AudioEncoder:
    torch.manual_seed(0)
    config = AudioConfig(width=12, code=7, dilations=(1, 2), lookahead_hops=3, input_kernel=3)
    encoder = AudioEncoder(replace(config, **changes)).eval()
    encoder.feature_mean.normal_()
    encoder.feature_std.uniform_(0.5, 2)
    return encoder


def in_pieces(pieces: Pieces, x: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, list[bool]]:
    """Outputs for pieces of these sizes and the rest, and for each whether the kernel made it."""
    outputs, tails, compiled = [], (), []
    for part in x.split([*sizes, x.shape[1] - sum(sizes)], 1):
        out, tails = pieces.run(part, tails)
        outputs.append(out)
        compiled.append(isinstance(tails, np.ndarray))
    return torch.cat(outputs, 1), compiled


@torch.no_grad()
@settings(max_examples=15)
@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 2**31))
def test_a_stack_in_pieces_is_the_stack_at_once(sizes, seed):
    x = torch.randn(1, 260, 384, generator=torch.Generator().manual_seed(seed))
    encoder = small_encoder()
    whole = encoder.stream(x, ())[0]
    parts, _ = in_pieces(encoder.pieces(), x, sizes)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=2e-5)


@torch.no_grad()
def test_the_trunk_in_short_pieces_is_the_trunk_at_once():
    mel = torch.randn(1, 120, 32, generator=torch.Generator().manual_seed(0)) * 3
    trunk = PhoneticTrunk()
    parts, compiled = in_pieces(FeatureExtractor("phonetic").pieces(), mel, [60, 3, 1, 0, SHORT, SHORT + 1, 4])
    torch.testing.assert_close(parts, trunk(mel), rtol=1e-5, atol=2e-5)
    assert compiled == [False, True, True, True, True, False, True, False]


@torch.no_grad()
def test_without_full_tails_the_first_outputs_are_torchs():
    encoder = small_encoder()
    x = torch.randn(1, 40, 384)
    parts, compiled = in_pieces(encoder.pieces(), x, [1] * 30)
    torch.testing.assert_close(parts, encoder.stream(x, ())[0], rtol=1e-5, atol=2e-5)
    assert not compiled[0]
    assert compiled[-2]


@torch.no_grad()
def test_windows_have_no_kernel():
    encoder = small_encoder(stack="window", past_hops=4)
    x = torch.randn(1, 20, 384)
    assert in_pieces(encoder.pieces(), x, [3, 4])[1] == [False] * 3


@torch.no_grad()
def test_a_state_of_hearing_can_be_used_twice():
    hearing = Hearing(FeatureExtractor("phonetic"), [small_encoder(), small_encoder()])
    mel = torch.randn(1, 100, 32)
    state = hearing.push(mel[:, :90], hearing.start())
    once, again = (hearing.push(mel[:, 90:93], state) for _ in range(2))
    other = hearing.push(mel[:, 95:98], state)
    assert torch.equal(once.known[0], again.known[0])
    assert torch.equal(once.known[0], once.known[1])
    assert not torch.equal(once.known[0], other.known[0])


@torch.no_grad()
def test_eq_3_for_few_frames():
    torch.manual_seed(1)
    expression, fusion = ExpressionEncoder(9, code=11), Fusion(11, 6, heads=3, classes=5)
    compiled = CompiledEncoder(expression, fusion)
    state = ours = None
    for _ in range(4):
        motion, code = torch.randn(TAKES, FRAMES, 9), torch.randn(TAKES, FRAMES, 6)
        codes, state = expression(motion, state)
        labels, ours = compiled.labels(motion, code, ours)
        assert torch.equal(labels, fusion(codes, code).argmax(-1))
        torch.testing.assert_close(ours, state, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dense", [True, False])
def test_eq_1_for_few_frames(dense):
    torch.manual_seed(1)
    decoder = Decoder(9 if dense else 4, 9, heads=3, classes=5, dense=dense)
    torch.nn.init.normal_(decoder.vertex_bias)
    compiled = CompiledDecoder(decoder)
    encoded = decoder.encode_template(torch.randn(TAKES, 9 if dense else 4))
    state = ours = None
    for _ in range(4):
        labels = torch.randint(0, 5, (TAKES, FRAMES, 3))
        before = None if ours is None else ours[0].clone()
        true, state = decoder(encoded, torch.nn.functional.one_hot(labels, 5).float(), state)
        kept = ours
        made, ours = compiled(encoded, labels, ours)
        torch.testing.assert_close(made, true, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours, state, rtol=1e-5, atol=1e-6)
        assert kept is None or torch.equal(kept[0], before)
