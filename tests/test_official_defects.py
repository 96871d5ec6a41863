"""What the official release is known to do wrong, one test each: none of it is here. docs/equations.md lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from official_rig import head_mm
from torch.utils.flop_counter import FlopCounterMode

from meshtalk.audio.files import frame_hops, n_frames
from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip
from meshtalk.config import PRESETS, StageConfig
from meshtalk.export import EXPORTERS
from meshtalk.inference.animator import Animator
from meshtalk.mesh.topology import Topology
from meshtalk.model import fast_sampler_kernels
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.checkpoint import Checkpoint
from meshtalk.model.fast_sampler import Sampler
from meshtalk.model.fast_stack import CompiledStack
from meshtalk.model.geometry import DenseGeometry
from meshtalk.model.networks import MeshTalk, gumbel_noise, one_hot
from meshtalk.model.prior import Prior
from meshtalk.training.data import WindowData
from meshtalk.training.fit_geometry import fit_geometry
from meshtalk.training.loop import Step, Trainer
from meshtalk.training.losses import swap_partners

DOCUMENT = Path(__file__).parent.parent / "docs/equations.md"
H, C, A, T = 16, 4, 6, 20
OURS = ("compact", "official", "paper")


def test_the_document_names_every_test_here_and_no_other():
    told = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    here = {name for name in globals() if name.startswith("test_")} - {
        "test_the_document_names_every_test_here_and_no_other"
    }
    assert told == here


# --- the prior ---------------------------------------------------------------------------------------------------


@cache
def prior(preset: str) -> Prior:
    """The preset's layers and mask, narrower."""
    torch.manual_seed(0)
    net = Prior(replace(PRESETS[preset][0].prior, channels=3), H, C, A).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def seen(net: Prior, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which codes (T,H) and audio frames (T,) move the last frame's probabilities of a head."""
    codes = one_hot(torch.randint(C, (1, T, H)), C).double().requires_grad_()
    audio = torch.randn(1, T, A, dtype=torch.float64, requires_grad=True)
    (net(codes, audio)[0, -1, head] * torch.arange(C)).sum().backward()
    assert codes.grad is not None
    assert audio.grad is not None
    return codes.grad[0].abs().sum(-1) > 0, audio.grad[0].abs().sum(-1) > 0


@pytest.mark.parametrize("preset", OURS)
def test_head_0_hears_the_sound_and_sees_the_past(preset):
    codes, audio = seen(prior(preset), 0)
    assert audio[-1]
    assert codes[-2].all(), "every head of the frame before"
    assert not codes[-1].any(), "none of its own frame"


@pytest.mark.parametrize("preset", OURS)
@pytest.mark.parametrize("head", [1, 5, 6, H - 1])
def test_a_head_sees_every_head_below_it(preset, head):
    codes, _ = seen(prior(preset), head)
    assert codes[-1, :head].all()
    assert not codes[-1, head:].any()


@pytest.mark.parametrize("preset", OURS)
def test_the_last_heads_code_is_not_lost(preset):
    codes, _ = seen(prior(preset), 0)
    assert codes[:-1, H - 1].any()


# --- time and work -------------------------------------------------------------------------------------------------


def test_nothing_drifts_over_an_hour():
    """The release steps 533 samples a frame: 1801 frames a minute, 2.25 s late after an hour."""
    assert n_frames(3600 * 16_000, 16_000, Fraction(30)) == 108_000
    assert frame_hops(Fraction(30), 107_999, 1).item() == pytest.approx(107_999 * 100 / 30, abs=1e-9)
    # the same words after 5 s and after 10 minutes of silence, seen by a network that remembers nothing
    animator = Animator(rig.random_checkpoint(regressor=True))
    words, early_s, late_s = rig.speech(0, 1.0)[0], 5, 600
    early, late = (
        animator.animate(np.concatenate([np.zeros(s * 16_000, np.float32), words]), 16_000).displacements(s * 30)
        for s in (early_s, late_s)
    )
    assert len(early) == len(late) == 30
    np.testing.assert_allclose(late, early, atol=1e-6)
    assert np.ptp(early, axis=0).max() > 1e-4


def test_a_frame_costs_the_same_after_many_frames(monkeypatch):
    """Counted, not timed: what the networks multiply (reference), and what the kernels are given to read (fused)."""
    net, audio, noise = prior("compact").float(), torch.randn(1, 300, A), gumbel_noise([0], 0, (300, H, C))
    state, work = net.start(1), []
    for frame in range(60):
        with FlopCounterMode(display=False) if frame in (0, 20, 59) else nullcontext() as counter:
            _, state = net.step(audio[:, frame], state, noise[:, frame])
        if counter is not None:
            work.append(counter.get_total_flops())
    assert len(work) == 3
    assert set(work) == {work[0]}
    assert work[0] > 0

    read: dict[str, list[int]] = {"recall": [], "choose": []}

    def counting(name: str) -> Callable[..., None]:
        kernel = getattr(fast_sampler_kernels, name)

        def count(*arguments: object) -> None:
            read[name].append(sum(a.size for a in arguments if isinstance(a, np.ndarray)))
            kernel(*arguments)

        return count

    for name in read:
        monkeypatch.setattr(fast_sampler_kernels, name, counting(name))
    sampler = Sampler(net)
    sampler.sample(audio, sampler.start(), noise)
    for sizes in read.values():
        assert len(sizes) == 300
        assert set(sizes) == {sizes[0]}
    prior.cache_clear()  # its numbers are single now


@pytest.mark.parametrize("packet", [160, 800, 48_000])
def test_every_mel_frame_and_convolution_is_computed_once(monkeypatch, packet):
    """The release encodes every frame's second of sound from scratch, 30 times over."""
    counted = {"mel": 0, "convolution": 0}
    from_magnitude, run = MelFrontend.from_magnitude, CompiledStack.run

    def mel(self: MelFrontend, magnitude: np.ndarray) -> np.ndarray:
        counted["mel"] += len(magnitude)
        return from_magnitude(self, magnitude)

    def compiled(self: CompiledStack, x: np.ndarray, tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted["convolution"] += len(x)
        return run(self, x, tails)

    def convolved(*arguments: object) -> None:
        counted["convolution"] += arguments[2].shape[2]  # type: ignore[attr-defined]

    monkeypatch.setattr(MelFrontend, "from_magnitude", mel)
    monkeypatch.setattr(CompiledStack, "run", compiled)
    animator = Animator(rig.random_checkpoint(regressor=True))
    animator.network.audio.input.register_forward_hook(convolved)
    sound = rig.speech(0, 3.0)[0]
    state = animator.start()
    for begin in range(0, len(sound), packet):
        _, state = animator.step(sound[begin : begin + packet], state)
    animator.flush(state)
    around = animator.network.audio.reach + animator.network.audio.lookahead
    assert counted["mel"] == 300
    assert 300 <= counted["convolution"] <= 300 + around


@pytest.mark.parametrize("lookahead", [0, 8, 24])
def test_a_skip_follows_its_frame_at_any_lookahead(lookahead):
    """With silent convolutions a code is the skips alone: those of its own time, not of the middle of the window."""
    encoder = AudioEncoder(replace(rig.AUDIO, lookahead_hops=lookahead, input_kernel=1, dilations=(2, 4, 6)))
    for layer in encoder.layers:
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    features = torch.zeros(
        1, encoder.stack_reach + 20 + encoder.stack_lookahead, encoder.n_features, requires_grad=True
    )
    encoder.at(features, torch.tensor([7.0], dtype=torch.float64)).square().sum().backward()
    assert features.grad is not None
    moved = features.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert moved == [encoder.stack_reach + 7]


# --- sound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 100, 533, 16_000])
def test_silence_and_less_than_a_frame_of_sound_are_finite(samples):
    for sound in (np.zeros(samples, np.float32), rig.speech(0, 1.0)[0][:samples]):
        clip = rig.random_animator().animate(sound, 16_000)
        assert clip.n_frames == -(-samples * 30 // 16_000)
        assert np.isfinite(clip.vertices).all()


def test_loudness_is_followed_and_not_known_in_advance():
    """What is said first looks the same whatever comes later, so that it can be shown before."""
    first, later = rig.speech(0, 1.0)[0], rig.speech(1, 2.0)[0]
    a, b = (
        rig.random_animator().animate(np.concatenate([first, later * gain]), 16_000).vertices for gain in (0.1, 8.0)
    )
    same = 30 - int(np.ceil(30 * rig.random_animator().lookahead_s))
    np.testing.assert_array_equal(a[:same], b[:same])
    assert np.abs(a[same:] - b[same:]).max() > 1e-4


# --- use -------------------------------------------------------------------------------------------------------------


def test_no_gpu_is_needed_or_called(monkeypatch):
    def called(*_: object, **__: object) -> None:
        raise AssertionError("a GPU was called")

    for owner in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(owner, "cuda", called)
    monkeypatch.setattr(torch.cuda, "_lazy_init", called)
    assert rig.random_animator().animate(rig.speech(0, 0.3)[0], 16_000).n_frames == 9


def test_several_takes_run_together():
    sound, animator = rig.speech(0, 0.5)[0], rig.random_animator()
    together = animator.takes(sound, 16_000, n=3, seed=1)
    for index, clip in enumerate(together):
        alone = animator.animate(sound, 16_000, seed=1 + index)
        np.testing.assert_allclose(clip.vertices, alone.vertices, atol=1e-5)


def test_seed_temperature_and_argmax_are_options():
    sampled = replace(rig.TINY, prior=replace(rig.PRIOR, imagines_expression=False))
    sound, animator = rig.speech(0, 0.5)[0], rig.random_animator(sampled)

    def made(**options: float) -> bytes:
        return animator.animate(sound, 16_000, **options).vertices.tobytes()  # type: ignore[arg-type]

    assert made(seed=1) == made(seed=1)
    assert len({made(seed=1), made(seed=2), made(seed=1, temperature=3.0), made(argmax=True)}) == 4
    assert made(argmax=True, seed=1) == made(argmax=True, seed=2)


@pytest.mark.parametrize("vertices", [11, 96])
def test_any_mesh_moves_and_is_exported_with_its_own_faces(tmp_path, vertices):
    points_mm, faces = head_mm(vertices)
    topology = Topology(faces, n_vertices=vertices)
    geometry = DenseGeometry(points_mm, np.full_like(points_mm, 4.0), {}, None)
    config = replace(rig.TINY_DENSE, prior=replace(rig.PRIOR, imagines_expression=False))
    torch.manual_seed(0)
    model = Checkpoint(MeshTalk(config, geometry).eval(), config, topology, points_mm.astype(np.float32) / 1e3, None)
    clip = Animator(model).animate(rig.speech(0, 0.3)[0], 16_000)
    assert clip.vertices.shape == (9, vertices, 3)
    np.testing.assert_array_equal(Clip.load(clip.save(tmp_path / "a.npz")).topology.faces, faces)
    pygltflib = pytest.importorskip("pygltflib")
    doc = pygltflib.GLTF2().load(str(clip.save(tmp_path / "a.glb")))
    assert doc.accessors[doc.meshes[0].primitives[0].indices].count == faces.size


def test_video_is_one_format_of_several():
    assert {".mp4", ".glb", ".npz"} <= set(EXPORTERS)


# --- training --------------------------------------------------------------------------------------------------------


def windows(corpus, folder: Path) -> WindowData:
    geometry, _ = fit_geometry(corpus, rig.TINY.geometry)
    return WindowData(corpus, "train", rig.TINY, geometry, folder / "cache", versions=0)


@pytest.mark.usefixtures("inline_features")
def test_the_reader_gives_what_the_clips_hold(rig_corpus, tmp_path):
    """The release's gives zeros."""
    data = windows(rig_corpus, tmp_path)
    batch = rig.batch(data, np.random.default_rng(0), 4, 24)
    assert batch.features.std() > 0.1
    for row, (index, start) in enumerate(zip(batch.clip_ids.tolist(), batch.starts.tolist(), strict=True)):
        clip = rig_corpus.load(data.infos[index])
        template = torch.from_numpy(clip.template)
        made = data.geometry.to_displacement(batch.motion[row], template).numpy()
        np.testing.assert_allclose(made, clip.displacements(start, start + 24), atol=1e-5)
        assert np.abs(made).max() > 1e-3


@pytest.mark.usefixtures("inline_features")
def test_a_swap_partner_is_another_clip(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path)
    for seed in range(50):
        ids = rig.batch(data, np.random.default_rng(seed), 3, 24).clip_ids
        assert (ids[swap_partners(ids, seed)] != ids).all()


def test_training_resumes_where_it_stopped(tmp_path):
    def trained(folder: Path, stop_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        module = torch.nn.Linear(4, 4)

        def step(step: Step, _: None) -> dict[str, torch.Tensor]:
            if step.index == stop_at:
                raise KeyboardInterrupt
            x = torch.from_numpy(step.rng.normal(size=(8, 4))).float() + torch.randn(8, 4)
            return {"loss": module(x).square().mean()}

        trainer = Trainer(
            "t", module, [(module.parameters(), 1e-2, 0.0)], StageConfig(steps=12), seed=0, folder=folder,
            log=lambda *_: None, progress=lambda _: None, checkpoint_every=3,
        )  # fmt: skip
        trainer.resume()
        trainer.run(step)
        return module.weight.detach()

    straight = trained(tmp_path, None)
    (tmp_path / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "again", 8)
    assert torch.equal(trained(tmp_path / "again", None), straight)
