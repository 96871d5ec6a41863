"""Imported official weights say what the release's formulas say, from waveform to mesh, and all else of ours works on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import official_reference
import pytest
import rig
import torch
from official_rig import SIZES, Case, head_mm, make_case
from safetensors.numpy import load_file

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.config import EvaluationConfig, ModelConfig, from_json, to_json
from meshtalk.errors import InputError
from meshtalk.evaluation import evaluate
from meshtalk.inference import official
from meshtalk.inference.animator import Animator
from meshtalk.inference.direction import Direction
from meshtalk.inference.generator import MotionGenerator
from meshtalk.inference.latents import LatentAnimator
from meshtalk.inference.official import OfficialGenerator
from meshtalk.model.checkpoint import load_checkpoint
from meshtalk.model.networks import gumbel_noise
from meshtalk.official.importer import import_official

SOUND = rig.speech(5, 0.9)[0]
FRAMES = 27


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    return cache(lambda name: make_case(tmp_path_factory.mktemp("official"), name))


@pytest.fixture
def decoded(monkeypatch) -> list[np.ndarray]:
    """(T,H) codes of everything that is decoded."""
    codes: list[np.ndarray] = []
    decode = MotionGenerator._decode

    def spy(self: MotionGenerator, labels: torch.Tensor, *rest):
        codes.append(labels[0].cpu().numpy())
        return decode(self, labels, *rest)

    monkeypatch.setattr(MotionGenerator, "_decode", spy)
    return codes


def noise_of(seed: int, model: Case, frames: int = FRAMES) -> np.ndarray:
    reference = model.reference()
    return gumbel_noise([seed], 0, (frames, reference.heads, reference.classes))[0].double().numpy()


def assert_close(vertices: np.ndarray, wanted_mm: np.ndarray) -> None:
    assert vertices.shape == wanted_mm.shape
    assert np.abs(vertices * 1e3 - wanted_mm).max() <= 1e-5 * np.abs(wanted_mm).max()
    # what moves is a hundredth of what is there: a dead face must not pass
    assert np.ptp(wanted_mm, axis=0).max() > 0.3


def some_expression(model: Case, frames: int = FRAMES) -> Clip:
    rng = np.random.default_rng(3)
    template = model.template_mm.astype(np.float32) / 1e3
    moves = rng.normal(0, 2e-3, (frames, *template.shape)).astype(np.float32)
    topology = load_checkpoint(model.model).topology
    return Clip(topology, template, Fraction(30), SOUND, rig.RATE, displacement=moves)


# --- arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_starts", ["exact", "533"])
@pytest.mark.parametrize("name", SIZES)
def test_sampled_codes_and_meshes_are_the_releases(case, decoded, name, frame_starts):
    model: Case = case(name)
    reference = model.reference(frame_starts)
    heard = reference.hear(SOUND, FRAMES)
    codes = reference.sample(heard, noise_of(7, model))
    clip = model.animator(frame_starts).animate(SOUND, rig.RATE, seed=7)
    np.testing.assert_array_equal(np.concatenate(decoded), codes)
    assert_close(clip.vertices, reference.decode(model.template_mm, codes))


@pytest.mark.parametrize("options", [{"argmax": True}, {"temperature": 0.5}], ids=str)
def test_other_ways_of_sampling_are_the_releases_too(case, decoded, options):
    model: Case = case("5x7")
    reference = model.reference()
    noise = None if "argmax" in options else noise_of(0, model)
    codes = reference.sample(reference.hear(SOUND, FRAMES), noise, options.get("temperature", 1.0))
    clip = model.animator().animate(SOUND, rig.RATE, **options)
    np.testing.assert_array_equal(np.concatenate(decoded), codes)
    assert_close(clip.vertices, reference.decode(model.template_mm, codes))


@pytest.mark.parametrize("frame_starts", ["exact", "533"])
@pytest.mark.parametrize("name", SIZES)
def test_an_expression_is_encoded_as_the_release_does(case, decoded, name, frame_starts):
    model: Case = case(name)
    reference, clip = model.reference(frame_starts), some_expression(model)
    codes = reference.express(clip.vertices.astype(np.float64) * 1e3, reference.hear(SOUND, FRAMES))
    made = model.animator(frame_starts).animate(SOUND, rig.RATE, expression=clip)
    np.testing.assert_array_equal(np.concatenate(decoded), codes)
    assert len(np.unique(codes, axis=0)) > 1
    assert_close(made.vertices, reference.decode(model.template_mm, codes))


def heard_by(animator: Animator, samples: np.ndarray, frames: int) -> np.ndarray:
    assert isinstance(animator._generator, OfficialGenerator)
    return torch.cat(list(animator._generator.codes(samples, frames)), 1)[0].numpy()


@pytest.mark.parametrize("name", ["16x128", "3x11 on the rig"])
def test_sound_is_heard_as_the_release_hears_it(case, name):
    model: Case = case(name)
    speech, frames = rig.speech(6, 2.0)[0], 60
    wanted = {starts: model.reference(starts).hear(speech, frames) for starts in ("exact", "533")}
    for starts, codes in wanted.items():
        heard = heard_by(model.animator(starts), speech, frames)
        assert np.abs(heard - codes).max() <= 1e-5 * np.abs(codes).max()
    assert np.abs(wanted["exact"] - wanted["533"])[2:].max() > 1e-3, "20 samples apart in the end"


def test_a_loud_tone_leaves_the_other_bands_alone(case):
    """In single precision the empty bands beside a tone would hold rounding, not the release's 1e-10."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000).astype(np.float32)
    wanted = case("16x128").reference().hear(tone, 15)
    assert np.abs(heard_by(case("16x128").animator(), tone, 15) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_what_the_reference_says_depends_on_everything(case):
    """The equalities above would mean little if sound, history or heads did not matter."""
    reference = case("5x7").reference()
    noise, heard = noise_of(7, case("5x7")), reference.hear(SOUND, FRAMES)
    codes = reference.sample(heard, noise)
    assert (codes != reference.sample(heard * 0, noise)).mean() > 0.1
    assert (codes[10:] != reference.sample(heard[10:], noise[10:])).any()
    assert len(np.unique(codes)) == reference.classes
    assert np.abs(reference.hear(SOUND * 4, 2) - heard[:2]).max() < 1e-9


# --- time --------------------------------------------------------------------------------------------------------


def starts_of(animator: Animator, frames: int) -> np.ndarray:
    assert isinstance(animator._generator, OfficialGenerator)
    return animator._generator.frame_starts(0, frames)


def test_windows_begin_at_the_frames_exact_times_over_an_hour(case):
    starts = starts_of(case("5x7").animator(), 108_000)
    off = [abs(int(starts[k]) - Fraction(k * 16_000, 30)) for k in range(0, 108_000, 97)]
    assert max(off) <= Fraction(1, 2)
    theirs = starts_of(case("5x7").animator("533"), 1801)
    np.testing.assert_array_equal(theirs[:2], starts[:2])
    assert (starts[1800] - theirs[1800]) / 16_000 == 0.0375, "what the release loses in a minute"


def test_pieces_of_a_long_recording_are_no_seams(case, monkeypatch):
    plain = case("5x7").animator().animate(SOUND, rig.RATE).vertices
    monkeypatch.setattr(official, "FRAMES_AT_ONCE", 5)
    monkeypatch.setattr(official, "WINDOWS_AT_ONCE", 2)
    np.testing.assert_allclose(case("5x7").animator().animate(SOUND, rig.RATE).vertices, plain, atol=1e-6)


@pytest.mark.parametrize(
    "samples", [np.zeros(8000, np.float32), np.zeros(1, np.float32), SOUND[:1], SOUND[:500]], ids=len
)
def test_silence_and_the_shortest_sounds_are_finite(case, samples):
    clip = case("5x7").animator().animate(samples, rig.RATE)
    assert clip.n_frames == -(-len(samples) * 30 // 16_000)
    clip.validate()


def test_a_lead_out_does_not_change_how_loud_the_sound_is(case):
    plain = case("5x7").animator().animate(SOUND, rig.RATE).vertices
    longer = case("5x7").animator().animate(SOUND, rig.RATE, direction=Direction(lead_out_s=2.0)).vertices
    assert len(longer) == FRAMES + 60
    np.testing.assert_allclose(longer[:FRAMES], plain, atol=1e-7)


# --- all else ------------------------------------------------------------------------------------------------------


def test_weights_are_kept_in_single_precision(case):
    model: Case = case("5x7")
    kept = load_file(model.model / "model.safetensors")
    encoder, decoder, prior = model.weights
    np.testing.assert_array_equal(kept["network.audio.layers.3.weight"], encoder["audio_encoder.convs.3.weight"])
    np.testing.assert_array_equal(kept["network.decoder.fusion.weight"], decoder["fusion.weight"])
    np.testing.assert_array_equal(kept["geometry.std"], decoder["stddev"].ravel())
    np.testing.assert_array_equal(
        kept["network.prior.layers.1.history.weight"], prior["context_layers.1.historic.weight"]
    )


def test_equal_moments_leave_the_expression_encoder_as_it_is(tmp_path, case):
    encoder, decoder, prior = case("5x7").weights
    encoder = encoder | {f"expression_encoder.{name}": decoder[name] for name in ("mean", "stddev")}
    official_reference.save(tmp_path / "official", (encoder, decoder, prior))
    import_official(tmp_path / "official", tmp_path / "model", template=case("5x7").folder / "face.obj")
    kept = load_file(tmp_path / "model/model.safetensors")
    np.testing.assert_array_equal(
        kept["network.expression.layers.0.weight"], encoder["expression_encoder.layers.0.weight"]
    )


def test_takes_rates_faces_and_shares_of_probability(case):
    animator = case("5x7").animator()
    together = animator.takes(SOUND, rig.RATE, n=2, seed=4)
    for index, clip in enumerate(together):
        np.testing.assert_allclose(clip.vertices, animator.animate(SOUND, rig.RATE, seed=4 + index).vertices, atol=1e-6)
    assert np.abs(together[0].vertices - together[1].vertices).max() > 1e-4
    double = animator.animate(SOUND, rig.RATE, seed=4, fps=60)
    assert double.n_frames == 54
    np.testing.assert_allclose(double.vertices[::2], together[0].vertices, atol=1e-6)
    likeliest = animator.animate(SOUND, rig.RATE, argmax=True).vertices
    np.testing.assert_array_equal(animator.animate(SOUND, rig.RATE, top_p=1e-6).vertices, likeliest)
    other = (case("5x7").template_mm * 1.02).astype(np.float32) / 1e3
    assert np.abs(animator.animate(SOUND, rig.RATE, template=other).template - other).max() == 0


@pytest.mark.parametrize("suffix", [".npz", ".glb", ".mp4"])
def test_exports_without_any_region(case, tmp_path, suffix):
    if suffix != ".npz":
        pytest.importorskip("av" if suffix == ".mp4" else "pygltflib")
    clip = case("3x11 on the rig").animator().animate(SOUND[:3000], rig.RATE)
    assert not clip.topology.regions
    assert clip.save(tmp_path / f"clip{suffix}").stat().st_size > 1000
    if suffix == ".npz":
        np.testing.assert_allclose(Clip.load(tmp_path / "clip.npz").vertices, clip.vertices, atol=1e-6)


def test_measures_ask_the_same_networks(case):
    model: Case = case("5x7")
    reference, clip = model.reference(), some_expression(model)
    measured = LatentAnimator(load_checkpoint(model.model))
    heard = reference.hear(SOUND, FRAMES)
    codes = reference.express(clip.vertices.astype(np.float64) * 1e3, heard)
    np.testing.assert_array_equal(measured.codes(clip), codes)
    np.testing.assert_allclose(measured.held_out_nll([clip]), -reference.log_probs(codes, heard).mean(0), rtol=1e-5)
    assert_close(measured.reconstruct(clip).vertices, reference.decode(model.template_mm, codes))
    np.testing.assert_array_equal(measured.swap(clip, clip).vertices, measured.reconstruct(clip).vertices)


def test_evaluating_goes_by_the_corpus_regions(case, rig_corpus, tmp_path):
    model: Case = case("3x11 on the rig")
    assert evaluate(LatentAnimator(load_checkpoint(model.model)), rig_corpus, EvaluationConfig(limit=1)).n_clips == 1
    half = replace(rig.TOPOLOGY, landmarks={})
    with pytest.raises(InputError, match=r"has no inner lips.*meshtalk regions"):
        replace(some_expression(model), topology=half).lip_opening_mm()
    rig.TOPOLOGY.save(tmp_path / "topology.npz")
    made = import_official(
        model.folder / "official",
        tmp_path / "model",
        template=model.folder / "face.obj",
        topology=tmp_path / "topology.npz",
    )
    assert set(made.regions) == {"mouth", "upper_face", "eyelids", "lips"}
    report = evaluate(LatentAnimator(load_checkpoint(tmp_path / "model")), rig_corpus, EvaluationConfig(limit=1))
    assert report.n_clips == 1


def test_the_release_cannot_stream(case):
    animator = case("5x7").animator()
    with pytest.raises(InputError, match="mean loudness"):
        animator.start()
    with pytest.raises(InputError, match="mean loudness"):
        _ = animator.lookahead_s


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_templates_in_either_unit(case, tmp_path, unit):
    model: Case = case("5x7")
    vertices, faces = head_mm(33)
    trimesh = pytest.importorskip("trimesh")
    trimesh.Trimesh(vertices * unit, faces, process=False).export(tmp_path / "face.ply")
    made = import_official(model.folder / "official", tmp_path / "model", template=tmp_path / "face.ply")
    assert f"read as {'mm' if unit == 1 else 'm'};" in str(made)
    np.testing.assert_allclose(load_checkpoint(tmp_path / "model").template, vertices / 1e3, atol=1e-7)


def test_a_template_elsewhere_is_mentioned(case, tmp_path):
    model: Case = case("5x7")
    np.save(tmp_path / "face.npy", head_mm(33)[0][::-1])
    load_checkpoint(model.model).topology.save(tmp_path / "topology.npz")
    with pytest.warns(UserWarning, match="mm from the weights' mean face"):
        import_official(
            model.folder / "official",
            tmp_path / "model",
            template=tmp_path / "face.npy",
            topology=tmp_path / "topology.npz",
        )


def test_another_frame_rate_inside_needs_other_weights(case):
    """Windows begin at k/fps at whatever rate the networks would run."""
    animator = case("5x7").animator()
    config = replace(animator.config, fps=Fraction(25))
    starts = OfficialGenerator(animator.network, config, "float32").frame_starts(0, 4)
    np.testing.assert_array_equal(starts, [0, 640, 1280, 1920])


def test_settings_of_other_models_do_not_mention_it(case):
    """A run that began before this front end existed must find its own settings again."""
    assert "official" not in to_json(ModelConfig())["audio"]
    config = case("3x11 on the rig").animator().config
    told = to_json(config)
    assert told["audio"]["official"] == {"n_mels": 20, "n_fft": 1024, "window": 400, "frame_starts": "exact"}
    assert from_json(ModelConfig, told) == config


def test_the_command_line_streams_no_official_weights(case, capsys):
    with pytest.raises(SystemExit) as end:
        main(["stream", "--format", "vertices", "--model", str(case("5x7").model)])
    assert end.value.code == 2
    assert "mean loudness" in capsys.readouterr().err


def test_the_folder_stays_as_downloaded(case):
    files = sorted(path.name for path in Path(case("5x7").folder / "official").iterdir())
    assert files == ["context_model.pkl", "encoder.pkl", "vertex_unet.pkl"]
