"""Shapes in signatures are checked while testing (conftest.py turns it on), and cost nothing in production."""

import subprocess
import sys

import numpy as np
import pytest
import rig
import torch
from jaxtyping import TypeCheckError

from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip
from meshtalk.mesh.topology import lip_opening_m
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.networks import Decoder, Fusion, MeshTalk, gumbel_softmax, one_hot
from meshtalk.model.prior import Prior
from meshtalk.training import losses

B, T, H, C, A = 2, 5, 3, 4, 6
N = len(rig.SHAPES)
PRIOR = Prior(rig.PRIOR, H, C, A)
CLIP = rig.make_clip(0, 0.5)


@pytest.fixture(scope="module")
def model() -> MeshTalk:
    network = rig.random_checkpoint().network
    assert isinstance(network, MeshTalk)
    return network


def codes(*sizes: int) -> torch.Tensor:
    return one_hot(torch.zeros(sizes[:-1], dtype=torch.long), sizes[-1])


# most of the wrong calls below would return numbers without the checks: flattened, broadcast, or of equal sizes


def test_heads_and_classes_in_the_wrong_order():
    audio = torch.zeros(B, T, A)
    assert PRIOR(codes(B, T, H, C), audio).shape == (B, T, H, C)
    with pytest.raises(TypeCheckError, match="'codes'"):
        PRIOR(codes(B, T, C, H), audio)
    decoder = Decoder(7, 9, H, C, dense=False)
    with pytest.raises(TypeCheckError, match="'codes'"):
        decoder(decoder.encode_template(torch.zeros(B, 7)), codes(B, T, C, H))


def test_a_batch_of_one_is_not_broadcast():
    with pytest.raises(TypeCheckError, match="'audio'"):
        PRIOR(codes(B, T, H, C), torch.zeros(1, T, A))
    noise = torch.zeros(1, H, C)
    with pytest.raises(TypeCheckError, match="'noise'"):
        PRIOR.step(torch.zeros(B, A), PRIOR.start(B), noise)


def test_frames_before_batch():
    with pytest.raises(TypeCheckError, match="'audio'"):
        PRIOR(codes(B, T, H, C), torch.zeros(T, B, A))
    with pytest.raises(TypeCheckError, match="'audio'"):
        Fusion(8, A, H, C)(torch.zeros(B, T, 8), torch.zeros(T, B, A))


def test_motions_of_a_loss_have_one_shape(model):
    motion, error = torch.zeros(B, T, N), model.geometry.region_error
    for truth in (motion[:1], motion[:, :1], motion[0]):
        with pytest.raises(TypeCheckError, match="'truth'"):
            losses.velocity(motion, truth, error)
        with pytest.raises(TypeCheckError, match="'truth'"):
            losses.cross_modality(motion, motion, truth, error)
        with pytest.raises(TypeCheckError, match="'truth'"):
            losses.opening(motion, truth, model.geometry.opening)
        with pytest.raises(TypeCheckError, match="'truth'"):
            losses.mouth(motion, truth, model.geometry.mouth, losses.Usual.of(model.geometry.mouth(motion)))
    with pytest.raises(TypeCheckError, match="'error'"):
        model.geometry.region_error(motion[0], "mouth")
    with pytest.raises(TypeCheckError, match="'clip_ids'"):
        losses.swap_partners(torch.zeros(B), 0)


@pytest.mark.parametrize("geometry", [rig.basis_geometry(), rig.dense_geometry()], ids=["basis", "dense"])
def test_coordinates_are_the_last_axis(geometry):
    displacement, template = torch.from_numpy(CLIP.displacements()), torch.from_numpy(CLIP.template)
    assert geometry.to_motion(displacement, template).shape == (CLIP.n_frames, geometry.n_motion)
    with pytest.raises(TypeCheckError, match="'displacement'"):
        geometry.to_motion(displacement.transpose(1, 2), template)
    with pytest.raises(TypeCheckError, match="'template'"):
        geometry.to_motion(displacement, template[None])


def test_features_are_the_last_axis(model):
    encoder, length = model.audio, model.audio.n_features
    hops = torch.tensor([0.0])
    square = torch.zeros(1, length, length)
    assert encoder.at(square, hops).shape == (1, 1, rig.AUDIO.code)
    with pytest.raises(TypeCheckError, match="'features'"):
        encoder.at(square[:, :, :1], hops)  # would be broadcast over the bands' mean
    with pytest.raises(TypeCheckError, match="'hops'"):
        encoder.at(square, torch.tensor([0]))


def test_labels_are_whole_numbers():
    with pytest.raises(TypeCheckError, match="'log_probs'"):
        gumbel_softmax(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(TypeCheckError, match="'labels'"):
        one_hot(torch.zeros(2, 3), 4)


def test_arrays_of_clips_and_sound():
    fields = rig.TOPOLOGY.shapes
    assert fields is not None
    assert CLIP.project(fields).shape == (CLIP.n_frames, N)
    with pytest.raises(TypeCheckError, match="'fields'"):
        CLIP.project(fields.transpose(0, 2, 1))
    with pytest.raises(TypeCheckError, match="'vertices'"):
        lip_opening_m(np.zeros((rig.TOPOLOGY.n_vertices, rig.TOPOLOGY.n_vertices, 2)), rig.TOPOLOGY)
    frontend = MelFrontend("logmel")
    with pytest.raises(TypeCheckError, match="'samples'"):
        frontend.all(np.zeros((16000, 2), np.float32))
    with pytest.raises(TypeCheckError, match="'samples'"):
        frontend.process(np.zeros(1600, np.int16), frontend.start())


SHAPED = (Prior.forward, AudioEncoder.at, MeshTalk.encode, losses.velocity, one_hot, Clip.frames, MelFrontend.all)


def test_the_checks_are_on_here():
    for function in SHAPED:
        assert hasattr(function, "__wrapped__"), function.__qualname__


def test_production_checks_nothing():
    names = [f"{function.__module__}:{function.__qualname__}" for function in SHAPED]
    program = """
import sys
from importlib import import_module
from operator import attrgetter

for name in sys.argv[1:]:
    module, path = name.split(":")
    function = attrgetter(path)(import_module(module))
    assert not hasattr(function, "__wrapped__"), name
    assert function.__code__.co_filename == import_module(module).__file__, name
import meshtalk.inference.animator, meshtalk.cli.main, meshtalk.training.run
assert "beartype" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, *names], check=True)
