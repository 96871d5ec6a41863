"""What the benchmark measures: presets with random weights, on meshes of their published size, and speech to say."""

from __future__ import annotations

import numpy as np
import torch

from meshtalk.assets import asset
from meshtalk.audio.files import SAMPLE_RATE, read_audio
from meshtalk.config import PRESETS
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.inference.animator import Animator
from meshtalk.mesh.topology import Topology
from meshtalk.model.checkpoint import Checkpoint
from meshtalk.model.fast_sampler import Precision
from meshtalk.model.geometry import DenseGeometry, opening_pairs, region_arrays
from meshtalk.model.networks import MeshTalk

PUBLISHED_VERTICES = 6172
"""Of MeshTalk's own meshes."""


def sheet(n_vertices: int) -> tuple[Topology, np.ndarray]:
    """A mesh of so many vertices, and where they lie (V,3) in metres: a strip as large as a face."""
    half = n_vertices // 2
    low, high = np.arange(half - 1), np.arange(half, 2 * half - 1)
    faces = np.concatenate([np.stack([low, low + 1, high], 1), np.stack([low + 1, high + 1, high], 1)])
    x, upper = np.tile(np.linspace(-0.1, 0.1, half), 2), np.repeat([0.0, 1.0], half)
    template = np.stack([x, 0.22 * upper, 0.01 * np.cos(40 * x)], 1)
    mask = upper.astype(np.float32)
    regions = {"mouth": 1 - mask, "upper_face": mask, "eyelids": mask, "lips": 1 - mask}
    lips = {
        name: np.array([place], np.int32) for name, place in (("lip_inner_lower", 5), ("lip_inner_upper", half + 5))
    }
    return Topology(faces.astype(np.int32), n_vertices, regions, lips), template.astype(np.float32)


def random_animator(preset: str, precision: Precision = "float32") -> Animator:
    """A dense preset at the published mesh size. Its weights are random, its speed is not."""
    config, _ = PRESETS[preset]
    topology, template = sheet(PUBLISHED_VERTICES)
    geometry = DenseGeometry(template * 1e3, np.ones_like(template), region_arrays(topology), opening_pairs(topology))
    torch.manual_seed(0)
    network = MeshTalk(config, geometry).eval()
    return Animator(Checkpoint(network, config, topology, template, None), precision)


def speech(seconds: float) -> np.ndarray:
    """(S,) float32 at 16 kHz: the packaged recordings on end, over and over."""
    sounds = [read_audio(path)[0] for path, _ in read_transcripts(asset("speech")).values()]
    return np.resize(np.concatenate(sounds), round(seconds * SAMPLE_RATE))
