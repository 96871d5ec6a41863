"""From a corpus to a model folder: regression, stage 1, stage 2, each resumable."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from meshtalk.checkpoint import Checkpoint, save_checkpoint
from meshtalk.config import ModelConfig, TrainConfig, to_json
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.files import atomic
from meshtalk.model.autoencoder import MeshTalk
from meshtalk.model.regressor import Regressor
from meshtalk.training import stages
from meshtalk.training.data import Progress, WindowData, feature_statistics
from meshtalk.training.fit_geometry import check_regions, fit_geometry
from meshtalk.training.loop import Trainer

CONFIG = "training.json"
Groups = list[tuple[Iterable[torch.nn.Parameter], float, float]]


def train(
    corpus: Corpus,
    folder: str | Path,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    device: str = "cpu",
    progress: Progress,
    features: str | Path | None = None,
) -> Path:
    """Train a model on the train split of a corpus, watching the val split; continues an interrupted run.

    Args:
        folder: of the run: features, training state, TensorBoard logs, `regressor/` and the finished `model/`.
        features: folder that several runs share for the audio features, which do not depend on a run's seed.

    Returns:
        the model folder

    Raises:
        InputError: the folder holds a run with other settings, or the corpus lacks a split or a region.
    """
    folder = Path(folder)
    check_regions(corpus.topology)
    _claim(folder, corpus, model_config, train_config)
    geometry, mix = fit_geometry(corpus, model_config.geometry)
    progress(f"geometry: {geometry.kind}, {geometry.n_motion} numbers a frame, {geometry.n_template} a template")
    geometry = geometry.to(device)
    cache = folder / "features" if features is None else Path(features)
    versions = train_config.augmentations
    data = WindowData(corpus, "train", model_config, geometry, cache, versions=versions, progress=progress)
    held_out = WindowData(corpus, "val", model_config, geometry, cache, versions=0, progress=progress)
    first = corpus.template(corpus.split("train")[0].subject)

    torch.manual_seed(train_config.seed)
    model = MeshTalk(model_config, geometry)
    regressor = Regressor(model_config.audio, geometry)
    mean, std = feature_statistics(data)
    for encoder in (model.audio, regressor.audio):
        encoder.feature_mean.copy_(mean)
        encoder.feature_std.copy_(std)
    model, regressor = model.to(device), regressor.to(device)

    def checkpoint(network: MeshTalk | Regressor) -> Checkpoint:
        return Checkpoint(network, model_config, corpus.topology, first, mix)

    with _Logger(folder / "tensorboard") as logger:
        common = {
            "seed": train_config.seed,
            "folder": folder,
            "log": logger,
            "progress": progress,
            "validate_every": train_config.validate_every,
            "checkpoint_every": train_config.checkpoint_every,
        }
        if train_config.regression.steps:
            stage = train_config.regression
            groups: Groups = [
                (regressor.audio.parameters(), stage.audio_learning_rate, 0.0),
                (_others(regressor, "audio."), stage.learning_rate, 0.0),
            ]
            trainer = Trainer(
                "regression", regressor, groups, stage,
                validate=lambda: stages.validate_regression(regressor, held_out), **common,
            )  # fmt: skip
            trainer.resume()
            trainer.run(lambda step: stages.regression_step(regressor, data, train_config, step))
            save_checkpoint(folder / "regressor", checkpoint(regressor))
            model.audio.load_state_dict(regressor.audio.state_dict())

        stage = train_config.stage1
        if stage.steps:
            groups: Groups = [
                (model.audio.parameters(), stage.audio_learning_rate, 0.0),
                (model.decoder.parameters(), stage.learning_rate, train_config.weight_decay),
                ([*model.expression.parameters(), *model.fusion.parameters()], stage.learning_rate, 0.0),
            ]
            trainer = Trainer(
                "stage1", model, groups, stage, validate=lambda: stages.validate_stage1(model, held_out), **common
            )
            trainer.resume()
            trainer.run(lambda step: stages.stage1_step(model, data, train_config, step))

        stage = train_config.stage2
        if stage.steps:
            model.requires_grad_(False)
            model.prior.requires_grad_(True)
            groups: Groups = [(model.prior.parameters(), stage.learning_rate, 0.0)]
            if model.prior_audio is not None:
                model.prior_audio.load_state_dict(model.audio.state_dict())
                model.prior_audio.requires_grad_(True)
                groups.append((model.prior_audio.parameters(), stage.audio_learning_rate, 0.0))
            step_function = stages.Stage2(model, data, train_config)
            trainer = Trainer(
                "stage2", model, groups, stage, validate=lambda: stages.validate_stage2(model, held_out), **common
            )
            trainer.resume()
            trainer.run(step_function)
    save_checkpoint(folder / "model", checkpoint(model.cpu()))
    return folder / "model"


def quick(train_config: TrainConfig, factor: float) -> TrainConfig:
    """The same training with every stage's steps multiplied by `factor` (at least one)."""

    def scaled(stage):
        return replace(stage, steps=max(1, round(stage.steps * factor)) if stage.steps else 0)

    return replace(
        train_config,
        regression=scaled(train_config.regression),
        stage1=scaled(train_config.stage1),
        stage2=scaled(train_config.stage2),
    )


def _others(module: torch.nn.Module, prefix: str) -> list[torch.nn.Parameter]:
    return [p for name, p in module.named_parameters() if not name.startswith(prefix)]


def _claim(folder: Path, corpus: Corpus, model_config: ModelConfig, train_config: TrainConfig) -> None:
    """Record a run's settings, or check that they are the ones the folder was started with."""
    settings = {
        "model": to_json(model_config),
        "training": to_json(train_config),
        "topology": corpus.topology.hash,
        "regions": corpus.topology.region_hash,
        "clips": len(corpus.clips),
    }
    path = folder / CONFIG
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != settings:
            raise InputError(
                f"{folder} holds a run with other settings or another corpus : resume with those, or choose a new folder"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run folder {folder}: {error.strerror} : choose another output") from None
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


class _Logger:
    """TensorBoard scalars; without TensorBoard installed the progress lines are all there is."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.writer = None
        else:
            self.writer = SummaryWriter(str(folder))

    def __enter__(self) -> _Logger:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def __call__(self, name: str, numbers: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for key, value in numbers.items():
                self.writer.add_scalar(f"{name}/{key}", value, step)
