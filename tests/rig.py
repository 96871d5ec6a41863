"""A tiny talking face: topology, speech-like sound that drives its jaw, corpora and models of it, for fast tests."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from meshtalk.clip import Clip, Phone
from meshtalk.config import AudioConfig, GeometryConfig, LossConfig, ModelConfig, PriorConfig, StageConfig, TrainConfig
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.inference.animator import Animator
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.model.checkpoint import Checkpoint
from meshtalk.model.geometry import (
    BasisGeometry,
    DenseGeometry,
    Identity,
    mouth_functionals,
    opening_pairs,
    region_arrays,
)
from meshtalk.model.networks import MeshTalk, Regressor
from meshtalk.training.data import Batch, WindowData

FPS = Fraction(30)
RATE = 16_000
SHAPES = ("jawOpen", "mouthPucker", "mouthSmile", "browInnerUp", "browDown", "eyeBlink")
COLUMNS, ROWS = 8, 12
HEIGHT_M = 0.22
LIPS_APART_M = 0.0003


def _grid() -> np.ndarray:
    heights = np.linspace(-HEIGHT_M / 2, HEIGHT_M / 2, ROWS)
    heights[4] = heights[3] + LIPS_APART_M
    x, y = np.meshgrid(np.linspace(-0.07, 0.07, COLUMNS), heights)
    z = 0.08 - 6 * x**2 - 2 * y**2
    return np.stack([x, y, z], -1).reshape(-1, 3)


NEUTRAL = _grid().astype(np.float32)
"""(96,3) metres, rows from the chin up; rows 3 and 4 are the lower and the upper lip."""


def topology() -> Topology:
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32)
    row = np.repeat(np.arange(ROWS), COLUMNS)
    x, _, _ = NEUTRAL.T
    inner = np.exp(-((x / 0.05) ** 2))
    shapes = np.zeros((len(SHAPES), ROWS * COLUMNS, 3))
    shapes[0, :, 1] = np.where(row <= 3, -0.018 * inner, 0)
    shapes[1, :, 2] = np.where((row >= 2) & (row <= 5), 0.008 * inner, 0)
    shapes[2, :, 0] = np.where((row >= 2) & (row <= 5), 0.15 * x, 0)
    shapes[2, :, 1] = np.where(row == 8, 0.002, 0)  # a smile also lifts the cheeks
    shapes[3, :, 1] = np.where(row == 10, 0.009 * inner, 0)
    shapes[4, :, 1] = np.where(row == 10, -0.006, 0)
    shapes[5, :, 1] = np.where(row == 9, -0.007, 0)
    lips = np.isin(row, (3, 4)).astype(np.float32)
    return Topology(
        faces=faces,
        n_vertices=ROWS * COLUMNS,
        regions={
            "mouth": np.clip((7 - row) / 2, 0, 1).astype(np.float32),
            "upper_face": np.clip((row - 6) / 2, 0, 1).astype(np.float32),
            "eyelids": (row == 9).astype(np.float32),
            "lips": lips,
        },
        landmarks={
            "lip_inner_upper": index[4, 3:5].astype(np.int32),
            "lip_inner_lower": index[3, 3:5].astype(np.int32),
        },
        shape_names=SHAPES,
        shapes=shapes.astype(np.float32),
    )


TOPOLOGY = topology()


def face(seed: int) -> np.ndarray:
    """(V,3) a person: wider or narrower, longer or shorter, another nose."""
    rng = np.random.default_rng([seed, 1])
    person = NEUTRAL * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    person[:, 2] += rng.uniform(0, 0.02) * np.exp(-((NEUTRAL[:, :2] / 0.02) ** 2).sum(1))
    return person.astype(np.float32)


def _smooth(rng: np.random.Generator, seconds: float, knot_s: float) -> np.ndarray:
    """(S,) random values in [0,1], smooth over `knot_s`."""
    knots = rng.uniform(0, 1, int(seconds / knot_s) + 3)
    return np.interp(np.arange(round(seconds * RATE)) / RATE / knot_s, np.arange(len(knots)), knots)


def speech(seed: int, seconds: float = 2.0) -> tuple[np.ndarray, np.ndarray, tuple[Phone, ...]]:
    """Sound (S,), its envelope (S,) in [0,1] and phones: loud in vowels, shut at each m."""
    rng = np.random.default_rng([seed, 2])
    n = round(seconds * RATE)
    time = np.arange(n) / RATE
    phones, now, envelope = [], 0.0, 0.35 + 0.65 * _smooth(rng, seconds, 0.2)
    while now < seconds - 0.45:
        end = now + rng.uniform(0.25, 0.35)
        phones += [Phone("aa", now, end), Phone("m", end, end + 0.1)]
        envelope *= 1 - np.exp(-(((time - end - 0.05) / 0.05) ** 4))
        now = end + 0.1
    phones.append(Phone("aa", now, seconds))
    pitch = rng.uniform(100, 200) * (1 + 0.05 * np.sin(2 * np.pi * 3 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    sound = envelope * (0.15 * voice + 0.03 * rng.normal(size=n)) + 1e-3 * rng.normal(size=n)
    return sound.astype(np.float32), envelope, tuple(phones)


def make_clip(seed: int, seconds: float = 2.0, subject: str = "s0", fps: Fraction = FPS) -> Clip:
    """The envelope opens the jaw, its complement puckers; brows, smile and blinks know nothing of the sound."""
    audio, envelope, phones = speech(seed, seconds)
    rng = np.random.default_rng([seed, 3])
    at = np.minimum((np.arange(int(seconds * fps)) / float(fps) * RATE).astype(int), len(audio) - 1)
    brows, smile = _smooth(rng, seconds, 0.5), _smooth(rng, seconds, 1.0)
    blink = _smooth(rng, seconds, 0.3) ** 4
    weights = np.stack([envelope, 0.5 - 0.5 * envelope, 0.3 * smile, brows, 1 - brows, blink], 1)[at]
    return Clip(
        topology=TOPOLOGY,
        template=face(int(subject[1:])),
        fps=fps,
        audio=audio,
        sample_rate=RATE,
        weights=weights.astype(np.float32),
        basis=TOPOLOGY.shapes,
        basis_names=SHAPES,
        subject=subject,
        sentence=f"sentence {seed}",
        emotion=("neutral", "happy")[seed % 2],
        phones=phones,
    )


def as_dense(clip: Clip) -> Clip:
    """The same motion without a basis."""
    return replace(clip, displacement=clip.displacements(), weights=None, basis=None, basis_names=())


SPLITS = ("train",) * 8 + ("val",) * 2 + ("test",) * 2
SUBJECTS = ("s0", "s1", "s2", "s3", "s4", "s5", "s0", "s1", "s6", "s6", "s7", "s7")


def build(root: Path, *, dense: bool = False, seconds: float = 2.0) -> Corpus:
    """12 clips of 8 people: 8 to train, 2 and 2 of others."""
    writer = CorpusWriter(root, TOPOLOGY, FPS, ["none"])
    infos = []
    for seed, (split, subject) in enumerate(zip(SPLITS, SUBJECTS, strict=True)):
        clip = make_clip(seed, seconds, subject)
        clip = as_dense(clip) if dense else clip
        infos.append(writer.add(clip, id=f"c{seed:02d}", split=split, voice=f"v{subject}"))
    return writer.finish(infos)


AUDIO = AudioConfig(frontend="logmel", width=16, code=16, dilations=(2, 4), lookahead_hops=2)
PHONETIC = replace(AUDIO, frontend="phonetic", trunk_lookahead_hops=10)
WINDOW = replace(AUDIO, stack="window", lookahead_hops=4, past_hops=12)
PRIOR = PriorConfig(channels=6, dilations=(1, 2))
TINY = ModelConfig(preset="tiny", heads=3, classes=8, expression_code=16, audio=AUDIO, prior=PRIOR)
TINY_DENSE = replace(TINY, geometry=GeometryConfig(kind="dense"))


def quick_training(regression: int, stage1: int, stage2: int, **changes: object) -> TrainConfig:
    def stage(steps: int) -> StageConfig:
        return StageConfig(
            steps=steps, frames=24, batch=6, learning_rate=2e-3, audio_learning_rate=2e-3, warmup_steps=10
        )

    settings: Mapping[str, object] = {"augmentations": 1, "validate_every": 50, "checkpoint_every": 5} | changes
    return TrainConfig(regression=stage(regression), stage1=stage(stage1), stage2=stage(stage2), **settings)  # type: ignore[arg-type]


def batch(data: WindowData, rng: np.random.Generator, size: int, frames: int) -> Batch:
    """All of a batch."""
    return data.take(data.draw(rng, size, frames), np.arange(size))


DENSE_LOSS = LossConfig(reconstruction=0.0, eyelid=1.0, opening=0.0, velocity=0.0)


def orthonormal() -> tuple[np.ndarray, np.ndarray]:
    """(K,V,3) orthonormal basis of the rig's shapes and (K,S) its mix, metres: basis = mix · shapes."""
    flat = TOPOLOGY.shapes.reshape(len(SHAPES), -1).astype(np.float64)
    q, r = np.linalg.qr(flat.T)
    return q.T.reshape(len(SHAPES), -1, 3), np.linalg.inv(r).T


def basis_geometry(topology: Topology = TOPOLOGY) -> BasisGeometry:
    """Of the rig, with two identity components."""
    basis, _ = orthonormal()
    scale = np.array([6.0, 4.0, 3.0, 5.0, 4.0, 3.0])
    regions, opening = region_arrays(topology), opening_pairs(topology)
    return BasisGeometry(basis, scale, _identity(), regions, opening, mouth_functionals(topology))


def _identity() -> Identity:
    index = np.arange(0, TOPOLOGY.n_vertices, 3)
    faces = np.stack([face(seed)[index] for seed in range(4)]).astype(np.float64) * 1e3
    faces = faces - faces.mean(1, keepdims=True)
    mean = faces.mean(0)
    _, s, vt = np.linalg.svd((faces - mean).reshape(4, -1), full_matrices=False)
    return Identity(index, mean, vt[:2], np.full(2, s[0] / 2))


def dense_geometry() -> DenseGeometry:
    mean = NEUTRAL.astype(np.float64) * 1e3
    return DenseGeometry(mean, np.full_like(mean, 4.0), region_arrays(TOPOLOGY), opening_pairs(TOPOLOGY))


def random_checkpoint(config: ModelConfig = TINY, seed: int = 0, regressor: bool = False) -> Checkpoint:
    """An untrained model of the rig whose codes visibly move it."""
    torch.manual_seed(seed)
    dense = config.geometry.kind == "dense"
    geometry = dense_geometry() if dense else basis_geometry()
    network = Regressor(config.audio, geometry) if regressor else MeshTalk(config, geometry)
    with torch.no_grad():
        for encoder in [network.audio] + ([network.prior_audio] if isinstance(network, MeshTalk) else []):
            if encoder is not None:
                encoder.feature_mean.fill_(-3.0 if config.audio.frontend == "logmel" else 0.0)
                encoder.feature_std.fill_(4.0 if config.audio.frontend == "logmel" else 1.0)
        if isinstance(network, MeshTalk):
            network.prior.logits.masked_linear.weight.mul_(6)
            network.decoder.decoder[-1].weight.mul_(100)
            network.decoder.fusion.weight.mul_(3)
    mix = None if dense else orthonormal()[1]
    return Checkpoint(network.eval(), config, TOPOLOGY, NEUTRAL, mix)


def head_checkpoint(config: ModelConfig = TINY) -> Checkpoint:
    """An untrained model of the packaged head, moved by its jaw, pucker and brows."""
    head = load_head()
    names = [head.topology.shape_names.index(name) for name in ("jawOpen", "mouthPucker", "browInnerUp")]
    assert head.topology.shapes is not None
    q, r = np.linalg.qr(head.topology.shapes[names].reshape(3, -1).astype(np.float64).T)
    mix = np.zeros((3, len(head.topology.shape_names)))
    mix[:, names] = np.linalg.inv(r).T
    regions, opening = region_arrays(head.topology), opening_pairs(head.topology)
    geometry = BasisGeometry(q.T.reshape(3, -1, 3), np.full(3, 10.0), _identity(), regions, opening)
    torch.manual_seed(0)
    return Checkpoint(MeshTalk(config, geometry).eval(), config, head.topology, head.neutral, mix)


def random_animator(config: ModelConfig = TINY, seed: int = 0) -> Animator:
    return Animator(random_checkpoint(config, seed))


def traced_peak_mb(work: Callable[[], object]) -> float:
    """The most memory that arrays took at once during `work`, megabytes above the start."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
