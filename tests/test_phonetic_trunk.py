"""The phonetic trunk: a time-invariant function of exactly 40 mel frames."""

import pytest
import torch

from meshtalk.model.phonetic_trunk import HOPS, N_FEATURES, FeatureExtractor, PhoneticTrunk


@pytest.fixture(scope="module")
def trunk() -> PhoneticTrunk:
    return PhoneticTrunk()


@pytest.fixture(scope="module")
def mel() -> torch.Tensor:
    return torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(0)) * 2


def test_output_length(trunk):
    for length in (HOPS, HOPS + 1, HOPS + 7):
        assert trunk(torch.zeros(2, length, 32)).shape == (2, length - HOPS + 1, N_FEATURES)


def test_every_10_ms_it_is_the_same_function(trunk, mel):
    whole = trunk(mel)
    for start in (0, 1, 2, 3, 5, 24):
        alone = trunk(mel[:, start : start + HOPS])
        torch.testing.assert_close(alone[:, 0], whole[:, start], atol=1e-4, rtol=1e-4)


def test_output_i_sees_mel_frames_i_to_i_plus_39_and_no_other(trunk, mel):
    before = trunk(mel)
    changed = mel.clone()
    changed[:, 45] += 3.0
    moved = (trunk(changed) != before).any(-1)[0]
    assert moved.nonzero()[:, 0].tolist() == list(range(45 - HOPS + 1, 25))
    changed = mel.clone()
    changed[:, 39] += 3.0
    moved = (trunk(changed) != before).any(-1)[0]
    assert moved.nonzero()[:, 0].tolist() == list(range(0, 25))


def test_its_tensors_are_neither_trained_nor_saved(trunk):
    assert not list(trunk.parameters())
    assert not trunk.state_dict()


def test_logmel_passes_through(mel):
    extract = FeatureExtractor("logmel")
    assert extract.hops == 0
    assert extract(mel) is mel
    assert FeatureExtractor("phonetic").hops == HOPS - 1
