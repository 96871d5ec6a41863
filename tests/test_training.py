"""Training on the rig: windows aligned with their sound, learning that is real, resuming that is exact."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from safetensors.numpy import load_file

from meshtalk.clip import Clip
from meshtalk.config import LossConfig, ModelConfig, StageConfig, TrainConfig
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.inference.latents import LatentAnimator
from meshtalk.model.checkpoint import load_checkpoint
from meshtalk.model.networks import MeshTalk
from meshtalk.training import steps
from meshtalk.training.data import WindowData, clip_features, feature_statistics
from meshtalk.training.fit_geometry import fit_geometry
from meshtalk.training.loop import FINAL_RATE, Step, Trainer, learning_rate
from meshtalk.training.run import train

pytestmark = pytest.mark.usefixtures("inline_features")


def windows(
    corpus: Corpus, tmp_path: Path, config: ModelConfig = rig.TINY, split: str = "train", **kwargs
) -> WindowData:
    geometry, _ = fit_geometry(corpus, config.geometry)
    return WindowData(corpus, split, config, geometry, tmp_path / "cache", **({"versions": 1} | kwargs))


# --- windows ---------------------------------------------------------------------------------------------------


def loudness(features: torch.Tensor, hops: torch.Tensor, reach: int) -> np.ndarray:
    """(B,T) mean log-mel of the feature frame at each video frame's time."""
    return features[:, (hops.round().long() + reach)].mean(-1).numpy()


def test_sound_and_motion_of_a_window_are_aligned(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path, versions=0)
    reach = data.encoder.stack_reach
    rng = np.random.default_rng(0)
    sound, opening = [], []
    for _ in range(4):
        batch = rig.batch(data, rng, 6, 30)
        sound.append(loudness(batch.features, batch.hops, reach))
        opening.append(data.geometry.opening(batch.motion).numpy())
        assert batch.motion.shape == (6, 30, data.geometry.n_motion)
        assert (batch.starts % data.start_grid == 0).all()
    sound, opening = np.concatenate(sound), np.concatenate(opening)

    def correlation(lag: int) -> float:
        a = sound[:, 5 + lag : 25 + lag]
        return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, opening[:, 5:25], strict=True)]))

    by_lag = {lag: correlation(lag) for lag in range(-5, 6)}
    assert max(by_lag, key=by_lag.__getitem__) == 0
    assert by_lag[0] > 0.8


def test_features_of_a_window_are_those_of_the_clip(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path, versions=0)
    batch = rig.batch(data, np.random.default_rng(3), 5, 24)
    for row, (clip, start) in enumerate(zip(batch.clip_ids.tolist(), batch.starts, strict=True)):
        whole, hops = data.clip_window(clip)
        first = int(start * 100 / rig.FPS)
        torch.testing.assert_close(batch.features[row], whole[0, first : first + batch.features.shape[1]])
        np.testing.assert_allclose(batch.hops + first, hops[start : start + 24], atol=1e-9)
        torch.testing.assert_close(batch.motion[row], data.motion(clip)[start : start + 24])


def test_augmented_versions_are_used_and_clean_ones_kept(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path, versions=2)
    assert data.features.rows.parts == 3
    batch = rig.batch(data, np.random.default_rng(1), 16, 24)
    length = batch.features.shape[1]
    firsts = [int(start * 100 / rig.FPS) for start in batch.starts]
    clips = zip(batch.features, batch.clip_ids.tolist(), firsts, strict=True)
    same = [torch.equal(row, data.clip_window(clip)[0][0, first : first + length]) for row, clip, first in clips]
    assert 0 < sum(same) < 16


def test_a_batch_always_holds_two_clips(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path, split="val", versions=0)
    for seed in range(20):
        assert len(rig.batch(data, np.random.default_rng(seed), 2, 24).clip_ids.unique()) == 2


def test_windows_longer_than_the_clips(rig_corpus, tmp_path):
    with pytest.raises(InputError, match="at least two clips with 61 frames without a gap, got 0"):
        rig.batch(windows(rig_corpus, tmp_path), np.random.default_rng(0), 2, 61)


def test_features_are_made_once(rig_corpus, tmp_path, monkeypatch):
    first = windows(rig_corpus, tmp_path)
    monkeypatch.setattr("meshtalk.training.data._features_job", None)
    again = windows(rig_corpus, tmp_path)
    np.testing.assert_array_equal(first.features.every(1, 1), again.features.every(1, 1))
    with pytest.raises(TypeError):
        windows(rig_corpus, tmp_path, versions=2)


def test_statistics_are_over_all_versions(rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path)
    mean, std = feature_statistics(data)
    rows = np.concatenate([data.features.every(part, 1).astype(np.float32) for part in range(2)])
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(std, rows.std(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_a_model_may_run_at_another_rate_than_the_corpus(rig_corpus, tmp_path, fps):
    data = windows(rig_corpus, tmp_path, replace(rig.TINY, fps=fps), versions=0)
    truth = rig_corpus.load(data.infos[0])
    motion = data.motion(0)
    assert len(motion) == int(59 * fps / 30) + 1
    jaw = data.geometry.opening(motion).numpy()
    opening = truth.lip_opening_mm() - rig.LIPS_APART_M * 1e3 * truth.template[32, 1] / rig.NEUTRAL[32, 1]
    wanted = np.interp(np.arange(len(jaw)) / float(fps), np.arange(60) / 30, opening)
    assert np.abs(jaw - wanted).max() < 0.3
    part = data.motion(0, 7, 19)
    torch.testing.assert_close(part, motion[7:19])


def test_dense_windows_are_the_meshes(dense_corpus, tmp_path):
    data = windows(dense_corpus, tmp_path, rig.TINY_DENSE, versions=0)
    clip = dense_corpus.load(data.infos[2])
    np.testing.assert_allclose(data.motion(2, 3, 9).unflatten(-1, (-1, 3)), clip.frames(3, 9) * 1e3, atol=0.02)


@pytest.mark.parametrize("config", [rig.TINY, replace(rig.TINY, audio=rig.PHONETIC)], ids=["logmel", "phonetic"])
def test_clips_whose_sound_ends_a_frame_early_are_whole(tmp_path, config):
    writer = CorpusWriter(tmp_path / "c", rig.TOPOLOGY, rig.FPS, ["none"])
    infos = []
    for seed in range(3):
        clip = rig.make_clip(seed, 1.0)
        clip = replace(clip, weights=np.concatenate([clip.weights, clip.weights[-1:]]))  # 31 frames, 1 s of sound
        infos.append(writer.add(clip, id=f"c{seed}", split="train", voice="v"))
    data = windows(writer.finish(infos), tmp_path, config, versions=0)
    for index in range(3):
        features, hops = data.clip_window(index)
        assert len(hops) == 31
        encoder = data.encoder.eval()
        assert encoder.at(features, hops).shape[1] == 31
    for seed in range(5):
        batch = rig.batch(data, np.random.default_rng(seed), 3, 31)
        for row, clip in enumerate(batch.clip_ids.tolist()):
            torch.testing.assert_close(batch.features[row], data.clip_window(clip)[0][0, : batch.features.shape[1]])


def test_phonetic_features_are_aligned_too(rig_corpus):
    """A burst of sound shows in the features around its own time."""
    clip = rig_corpus.load(rig_corpus.clips[0])
    burst = np.zeros(32000, np.float32)
    burst[16000:16400] = 0.3 * np.random.default_rng(0).normal(size=400)
    config = replace(rig.TINY, audio=rig.PHONETIC)
    quiet = clip_features(replace(clip, audio=np.zeros(32000, np.float32)), config, None)
    changed = np.abs(clip_features(replace(clip, audio=burst), config, None).astype(np.float32) - quiet).max(1)
    from meshtalk.model.audio_encoder import AudioEncoder

    hops = np.flatnonzero(changed > 1e-2) - AudioEncoder(config.audio).stack_reach
    assert hops.min() == pytest.approx(100 - rig.PHONETIC.trunk_lookahead_hops, abs=4)


# --- the loop --------------------------------------------------------------------------------------------------


def test_learning_rate_warms_up_and_cools_down():
    stage = StageConfig(steps=1000, warmup_steps=100)
    rates = [learning_rate(step, stage) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert int(np.argmax(rates)) == 99
    assert rates[1000] == pytest.approx(FINAL_RATE)
    assert all(b < a for a, b in pairwise(rates[100:]))


def test_a_step_that_explodes_stops_the_run(tmp_path):
    module = torch.nn.Linear(1, 1)
    trainer = Trainer(
        "t", module, [(module.parameters(), 1e-3, 0.0)], StageConfig(steps=3), seed=0, folder=tmp_path,
        log=lambda *_: None, progress=lambda _: None,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"diverged: the loss of t became nan at step 1.*learning_rate 0.001"):
        trainer.run(lambda *_: {"loss": module.weight.sum() * float("nan")})
    assert torch.isfinite(module.weight).all()


def test_every_step_has_randomness_of_its_own(tmp_path):
    def draws(name: str) -> list[tuple[float, float]]:
        module, seen = torch.nn.Linear(1, 1), []

        def step(step: Step, _: None) -> dict[str, torch.Tensor]:
            seen.append((step.rng.random(), float(torch.rand(()))))
            return {"loss": module.weight.sum()}

        Trainer(
            name, module, [(module.parameters(), 1e-3, 0.0)], StageConfig(steps=4), seed=0, folder=tmp_path,
            log=lambda *_: None, progress=lambda _: None,
        ).run(step)  # fmt: skip
        return seen

    first = draws("a")
    assert len({*first}) == 4
    assert draws("a") == first
    assert draws("b") != first


# --- whole runs ------------------------------------------------------------------------------------------------


class Recorder:
    """Progress lines, kept; raises KeyboardInterrupt at the first line that holds `stop_at`."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.lines: list[str] = []
        self.stop_at = stop_at

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self.stop_at is not None and self.stop_at in line:
            raise KeyboardInterrupt

    def values(self, stage: str, name: str) -> list[float]:
        """Numbers called `name` on the training lines of a stage."""
        found = [line.split() for line in self.lines if line.startswith(f"{stage} ") and "validation" not in line]
        return [float(words[words.index(name) + 1]) for words in found]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("stop_at", ["regression 5/", "stage1 5/", "stage2 5/", "regression 10 validation"])
def test_an_interrupted_run_ends_bit_for_bit_like_a_straight_one(rig_corpus, straight_run, tmp_path, stop_at):
    config, training, straight = straight_run
    with pytest.raises(KeyboardInterrupt):
        train(rig_corpus, tmp_path / "run", config, training, progress=Recorder(stop_at))
    assert not (tmp_path / "run/model/model.safetensors").exists()
    resumed = train(rig_corpus, tmp_path / "run", config, training, progress=Recorder())
    for name, value in weights(straight).items():
        np.testing.assert_array_equal(weights(resumed)[name], value, err_msg=name)
    assert load_checkpoint(resumed).hash == load_checkpoint(straight).hash


@pytest.fixture(scope="module")
def straight_run(rig_corpus, tmp_path_factory) -> tuple[ModelConfig, TrainConfig, Path]:
    from conftest import InlineExecutor

    training = rig.quick_training(10, 10, 10, tau_end=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshtalk.training.data.ProcessPoolExecutor", InlineExecutor)
        folder = tmp_path_factory.mktemp("straight") / "run"
        return rig.TINY, training, train(rig_corpus, folder, rig.TINY, training, progress=Recorder())


def test_a_finished_run_is_left_as_it_is(rig_corpus, straight_run):
    config, training, folder = straight_run
    before = load_checkpoint(folder).hash
    recorder = Recorder()
    assert train(rig_corpus, folder.parent, config, training, progress=recorder) == folder
    assert load_checkpoint(folder).hash == before
    assert not recorder.values("stage1", "loss")


def test_a_folder_belongs_to_its_settings(rig_corpus, dense_corpus, straight_run, tmp_path):
    config, training, folder = straight_run
    run = folder.parent
    for model, settings in ((replace(config, heads=4), training), (config, replace(training, seed=1))):
        with pytest.raises(InputError, match="other settings"):
            train(rig_corpus, run, model, settings, progress=Recorder())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the run folder"):
        train(rig_corpus, tmp_path / "file", config, training, progress=Recorder())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/training.json").write_text("{ half")
    with pytest.raises(InputError, match="other settings"):
        train(rig_corpus, tmp_path / "broken", config, training, progress=Recorder())


def test_a_corpus_without_validation_clips(tmp_path):
    writer = CorpusWriter(tmp_path / "c", rig.TOPOLOGY, rig.FPS, ["none"])
    corpus = writer.finish([writer.add(rig.make_clip(0, 1.0), id="a", split="train", voice="v")])
    with pytest.raises(InputError, match="val"):
        train(corpus, tmp_path / "run", rig.TINY, rig.quick_training(1, 1, 1), progress=Recorder())


def test_tensorboard_and_the_regressor_are_written(straight_run):
    _, _, folder = straight_run
    assert list((folder.parent / "tensorboard").iterdir())
    assert json.loads((folder.parent / "regressor/config.json").read_text())["network"] == "regressor"


@pytest.mark.parametrize("window", [False, True], ids=["official", "paper"])
def test_dense_geometry_trains(dense_corpus, tmp_path, window):
    """The paper's form: vertices in, vertices out, eqs. 4 and 5 alone, no regression first."""
    config = replace(
        rig.TINY_DENSE,
        audio=rig.WINDOW if window else rig.AUDIO,
        prior=replace(rig.PRIOR, own_audio_encoder=False),
    )
    training = rig.quick_training(
        0, 15, 2, loss=rig.DENSE_LOSS, context_corruption=0.0, mouth_weight=0.0, augmentations=0, weight_decay=1e-3
    )
    recorder = Recorder()
    folder = train(dense_corpus, tmp_path / "run", config, training, progress=recorder)
    losses = recorder.values("stage1", "loss")
    assert losses[-1] < losses[0]
    assert not (tmp_path / "run/regressor").exists()
    assert not any("reconstruction" in line for line in recorder.lines)
    model = load_checkpoint(folder)
    assert model.network.geometry.kind == "dense"


def test_plain_norms_train_in_dense_geometry(dense_corpus, tmp_path):
    training = rig.quick_training(
        0, 5, 1, loss=replace(rig.DENSE_LOSS, norm="plain"), mouth_weight=0.0, augmentations=0
    )
    recorder = Recorder()
    train(dense_corpus, tmp_path / "run", rig.TINY_DENSE, training, progress=recorder)
    assert np.isfinite(recorder.values("stage1", "loss")).all()


def test_stage_2_leaves_the_codes_alone(straight_run, rig_corpus, tmp_path):
    """Its step changes neither what the encoder says nor what the decoder makes of it."""
    _, training, folder = straight_run
    data = windows(rig_corpus, folder.parent)
    network = load_checkpoint(folder).network
    assert isinstance(network, MeshTalk)
    network.requires_grad_(False)
    network.prior.requires_grad_(True)
    before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith("prior")}
    stage2 = steps.Stage2(network, data, replace(training, mouth_weight=1.0))
    step = Step(0, 0.0, np.random.default_rng(0))
    terms = stage2(step, stage2.read(step))
    assert set(terms) == {"loss", "nll", "mouth"}
    terms["loss"].backward()
    assert all(p.grad is None for n, p in network.named_parameters() if not n.startswith("prior."))
    for name, value in before.items():
        assert torch.equal(network.state_dict()[name], value), name


def learned(corpus: Corpus, folder: Path, *steps: int) -> tuple[Recorder, LatentAnimator]:
    """A model after so many steps of regression, stage 1 and stage 2."""
    training = rig.quick_training(
        *steps, loss=LossConfig(velocity=0.0), checkpoint_every=10, validate_every=1000, augmentations=2
    )
    training = replace(training, stage1=replace(training.stage1, learning_rate=6e-3))
    recorder = Recorder()
    model = train(corpus, folder, replace(rig.TINY, heads=6), training, progress=recorder)
    return recorder, LatentAnimator(load_checkpoint(model))


def reconstruction_shares(model: LatentAnimator, corpus: Corpus, clip: Clip) -> dict[str, float]:
    """Region → squared error of a clip's reconstruction, as a share of that of the training's mean pose."""
    mean = np.concatenate([corpus.load(i).displacements() for i in corpus.split("train")]).mean(0)
    again, shares = model.reconstruct(clip), {}
    for region in ("mouth", "upper_face"):
        rows = corpus.topology.indices(region)
        truth = clip.displacements()[:, rows]
        ours = np.square(again.displacements()[:, rows] - truth).sum(-1).mean()
        shares[region] = float(ours / np.square(mean[rows] - truth).sum(-1).mean())
    return shares


def learns_what_moves_what(model: LatentAnimator, corpus: Corpus) -> None:
    """The mouth from audio, the rest from expression, on people and sounds never trained on."""
    a, b = clips = [corpus.load(info) for info in corpus.split("val")]
    for clip in clips:
        shares = reconstruction_shares(model, corpus, clip)
        assert shares["mouth"] < 0.4
        assert shares["upper_face"] < 0.85
    opening = model.swap(a, b).lip_opening_mm()
    of_sound, of_expression = (np.corrcoef(opening, clip.lip_opening_mm())[0, 1] for clip in (a, b))
    assert of_sound > max(0.8, of_expression + 0.2)  # the mouth of the sound…
    sampled = model.animate(a.audio, a.sample_rate, template=a.template, seed=1)
    assert np.corrcoef(sampled.lip_opening_mm(), a.lip_opening_mm())[0, 1] > 0.7


def test_a_few_steps_already_learn(rig_corpus, tmp_path):
    recorder, model = learned(rig_corpus, tmp_path / "run", 20, 100, 20)
    for stage, name, share in (("regression", "loss", 0.7), ("stage1", "loss", 0.5), ("stage2", "nll", 1.0)):
        values = recorder.values(stage, name)
        assert values[-1] < share * values[0], stage
    learns_what_moves_what(model, rig_corpus)


@pytest.mark.slow
def test_it_learns(rig_corpus, tmp_path):
    recorder, model = learned(rig_corpus, tmp_path / "run", 60, 450, 100)
    for stage in ("regression", "stage1"):
        losses = recorder.values(stage, "loss")
        assert losses[-1] < 0.5 * losses[0], stage
    nll = recorder.values("stage2", "nll")
    assert nll[-1] < 0.9 * nll[0]

    learns_what_moves_what(model, rig_corpus)
    a, b = (rig_corpus.load(info) for info in rig_corpus.split("val"))
    brow = rig_corpus.topology.shapes[3].any(1)
    moved = model.swap(a, b).displacements()[:, brow, 1].mean(1)
    assert np.corrcoef(moved, b.displacements()[:, brow, 1].mean(1))[0, 1] > 0.5  # …and the brow of the expression
    validation = {line.split()[0] for line in recorder.lines if "validation" in line}
    assert validation == {"regression", "stage1", "stage2"}


def test_features_from_worker_processes_are_the_same(rig_corpus, tmp_path, monkeypatch, request):
    inline = windows(rig_corpus, tmp_path / "inline", split="val")
    monkeypatch.undo()
    request.getfixturevalue("forked_workers")
    pooled = windows(rig_corpus, tmp_path / "pooled", split="val")
    for part in range(2):
        np.testing.assert_array_equal(inline.features.every(part, 1), pooled.features.every(part, 1))
    torch.testing.assert_close(inline.motion(0), pooled.motion(0), rtol=0, atol=1e-5)
