"""A training run from a corpus to a model folder: regression, stage 1, stage 2, each resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from meshtalk.config import ModelConfig, StageConfig, TrainConfig, to_json
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.files import atomic, disk_errors
from meshtalk.model.checkpoint import Checkpoint, build_geometry, geometry_arrays, save_checkpoint
from meshtalk.model.geometry import BasisGeometry, DenseGeometry
from meshtalk.model.networks import MeshTalk, Regressor
from meshtalk.training import checkpoints, engine, steps, validation
from meshtalk.training.data import Say, WindowData, feature_statistics
from meshtalk.training.fit_geometry import check_regions, fit_geometry
from meshtalk.training.loop import Trainer
from meshtalk.training.progress import Curves
from meshtalk.training.signals import at_once, handling

if TYPE_CHECKING:
    from lightning_fabric.fabric import Fabric

CONFIG, GEOMETRY = "training.json", "geometry.safetensors"
Groups = list[tuple[Iterable[torch.nn.Parameter], float, float]]


def train(
    corpus: Corpus,
    folder: str | Path,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    device: str = "cpu",
    precision: str = "32",
    accumulate: int = 1,
    progress: Say,
    features: str | Path | None = None,
) -> Path:
    """Train a model on the train split of a corpus, validating on the val split; resumes an interrupted run.

    Device, precision, processes (those that torchrun or SLURM started) and accumulation are not part of a run's settings: it
    can be resumed with others.

    Args:
        folder: of the run: features, training state, TensorBoard logs, `regressor/` and the finished `model/`.
        device: see `engine.start`.
        precision: see `engine.start`.
        accumulate: number of micro-batches of each process's share of a batch: less memory, the same training.
        features: folder that several runs share for the audio features, which do not depend on a run's seed.

    Returns:
        the model folder

    Raises:
        InputError: the folder holds a run with other settings, the corpus lacks a split or a region, a clip or a checkpoint is
            damaged, batches cannot be divided by the number of processes, the disk is full, or training diverged.
        Stopped: Ctrl-C, SIGTERM or SIGUSR1 was received; progress is saved.
    """
    folder = Path(folder)
    with handling(at_once), disk_errors(folder):
        fabric = engine.start(device, precision)
        if fabric.global_rank > 0:
            progress = _silent
        _check_parts(train_config, fabric.world_size, accumulate)
        run = _Run(corpus, folder, train_config, fabric, accumulate, progress)
        path = run.train(model_config, folder / "features" if features is None else Path(features))
        engine.finish(fabric)
    return path


class _Run:
    """Shared state of the stages of a run."""

    def __init__(
        self,
        corpus: Corpus,
        folder: Path,
        config: TrainConfig,
        fabric: Fabric,
        accumulate: int,
        progress: Say,
    ) -> None:
        self.corpus, self.folder, self.config = corpus, folder, config
        self.fabric, self.accumulate, self.progress = fabric, accumulate, progress

    def train(self, model_config: ModelConfig, cache: Path) -> Path:
        """Run all stages; returns the model folder."""
        corpus, folder, config, fabric = self.corpus, self.folder, self.config, self.fabric
        check_regions(corpus.topology)
        with engine.first(fabric):
            _claim(folder, corpus, model_config, config)
            if fabric.global_rank == 0:
                checkpoints.clean(folder, *(folder / name for name in ("features", "regressor", "model")))
            fitted = self._geometry(model_config) if fabric.global_rank == 0 else (None, None)
        geometry, mix = fabric.broadcast(fitted)
        assert geometry is not None
        self.progress(
            f"geometry: {geometry.kind}, {geometry.n_motion} values per frame, {geometry.n_template} per template"
        )
        geometry = geometry.to(fabric.device)
        with engine.first(fabric):
            self.data, self.held_out = (
                WindowData(corpus, split, model_config, geometry, cache, versions=versions, progress=self.progress)
                for split, versions in (("train", config.augmentations), ("val", 0))
            )
        template = corpus.template(corpus.split("train")[0].subject)

        torch.manual_seed(config.seed)
        model = MeshTalk(model_config, geometry)
        regressor = Regressor(model_config.audio, geometry)
        mean, std = feature_statistics(self.data)
        for encoder in (model.audio, regressor.audio):
            encoder.feature_mean.copy_(mean)
            encoder.feature_std.copy_(std)
        model, regressor = model.to(fabric.device), regressor.to(fabric.device)

        def save(name: str, network: MeshTalk | Regressor) -> None:
            if fabric.global_rank == 0:
                save_checkpoint(folder / name, Checkpoint(network, model_config, corpus.topology, template, mix))

        with Curves(folder / "tensorboard", write=fabric.global_rank == 0) as curves:
            self.curves = curves
            self.regression(regressor)
            if config.regression.steps:
                save("regressor", regressor)
                model.audio.load_state_dict(regressor.audio.state_dict())
            self.stage1(model)
            self.stage2(model)
        save("model", model.cpu())
        return folder / "model"

    def _geometry(self, config: ModelConfig) -> tuple[BasisGeometry | DenseGeometry, np.ndarray | None]:
        """The run's geometry, and the mix of its basis.

        A resumed run reuses its own: another machine's libraries may flip the sign of a component, which all weights depend on.
        """
        path, topology = self.folder / GEOMETRY, self.corpus.topology
        if kept := checkpoints.read(path, self.progress):
            arrays = {name: tensor.numpy() for name, tensor in kept.tensors.items()}
            return build_geometry(config, arrays, topology), arrays.get("mix")
        geometry, mix = fit_geometry(self.corpus, config.geometry)
        arrays = geometry_arrays(geometry) | ({} if mix is None else {"mix": mix})
        checkpoints.write(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, {"step": "0"})
        return geometry, mix

    def regression(self, regressor: Regressor) -> None:
        """Audio → motion, without latents: warms up the audio encoder."""
        stage = self.config.regression
        groups: Groups = [
            (regressor.audio.parameters(), stage.audio_learning_rate, 0.0),
            (_others(regressor, "audio."), stage.learning_rate, 0.0),
        ]
        self._stage(
            "regression", regressor, groups, stage, lambda: validation.validate_regression(regressor, self.held_out),
            lambda: steps.Regression(regressor, self.data, self.config),
        )  # fmt: skip

    def stage1(self, model: MeshTalk) -> None:
        """The autoencoder, eqs. 1-5."""
        stage = self.config.stage1
        groups: Groups = [
            (model.audio.parameters(), stage.audio_learning_rate, 0.0),
            (model.decoder.parameters(), stage.learning_rate, self.config.weight_decay),
            ([*model.expression.parameters(), *model.fusion.parameters()], stage.learning_rate, 0.0),
        ]
        self._stage(
            "stage1", model, groups, stage, lambda: validation.validate_stage1(model, self.held_out),
            lambda: steps.Stage1(model, self.data, self.config),
        )  # fmt: skip

    def stage2(self, model: MeshTalk) -> None:
        """The prior, eq. 6."""
        stage = self.config.stage2
        groups: Groups = [(model.prior.parameters(), stage.learning_rate, 0.0)]
        if model.prior_audio is not None:
            if stage.steps:
                model.prior_audio.load_state_dict(model.audio.state_dict())
            groups.append((model.prior_audio.parameters(), stage.audio_learning_rate, 0.0))
        self._stage(
            "stage2", model, groups, stage, lambda: validation.validate_stage2(model, self.held_out),
            lambda: steps.Stage2(model, self.data, self.config, self.fabric),
        )  # fmt: skip

    def _stage(
        self,
        name: str,
        network: MeshTalk | Regressor,
        groups: Groups,
        stage: StageConfig,
        validate: Callable[[], dict[str, float]],
        make: Callable[[], steps.Regression | steps.Stage1 | steps.Stage2],
    ) -> None:
        """Run or resume a stage; its data is prepared only if steps are left."""
        if not stage.steps:
            return
        trainer = Trainer(
            name, network, groups, stage, seed=self.config.seed, folder=self.folder, log=self.curves,
            progress=self.progress, fabric=self.fabric, accumulate=self.accumulate, validate=validate,
            validate_every=self.config.validate_every, checkpoint_every=self.config.checkpoint_every,
        )  # fmt: skip
        trainer.resume()
        if trainer.step < stage.steps:
            self.curves.open(name, trainer.step)
            made = make()
            trainer.run(made, made.read)


def quick(train_config: TrainConfig, factor: float) -> TrainConfig:
    """A training configuration with every stage's steps multiplied by `factor` (at least one)."""

    def scaled(stage):
        return replace(stage, steps=max(1, round(stage.steps * factor)) if stage.steps else 0)

    return replace(
        train_config,
        regression=scaled(train_config.regression),
        stage1=scaled(train_config.stage1),
        stage2=scaled(train_config.stage2),
    )


def slower(train_config: TrainConfig, factor: float) -> TrainConfig:
    """A training configuration with every learning rate multiplied by `factor`."""

    def scaled(stage: StageConfig) -> StageConfig:
        rates = {"learning_rate": stage.learning_rate, "audio_learning_rate": stage.audio_learning_rate}
        return replace(stage, **{name: rate * factor for name, rate in rates.items()})

    return replace(
        train_config,
        regression=scaled(train_config.regression),
        stage1=scaled(train_config.stage1),
        stage2=scaled(train_config.stage2),
    )


def _others(module: torch.nn.Module, prefix: str) -> list[torch.nn.Parameter]:
    return [p for name, p in module.named_parameters() if not name.startswith(prefix)]


def _claim(folder: Path, corpus: Corpus, model_config: ModelConfig, train_config: TrainConfig) -> None:
    """Record a run's settings, or check that they equal those the folder was started with."""
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
                f"{folder} holds a run with other settings or another corpus. Resume with those, or choose a new folder."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the run folder {folder}: {error.strerror}. Choose another output.") from None
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _check_parts(config: TrainConfig, processes: int, accumulate: int) -> None:
    """Check that slices of a batch are equal: else the mean of their losses would not be the batch's."""
    if accumulate < 1:
        raise InputError(f"accumulate must be at least 1 micro-batch, got {accumulate}")
    for name in ("regression", "stage1", "stage2"):
        stage: StageConfig = getattr(config, name)
        if stage.steps and stage.batch % (processes * accumulate):
            raise InputError(
                f"a batch of {stage.batch} ({name}) cannot be divided into equal parts for {processes} processes with "
                f"{accumulate} micro-batches each. Choose numbers whose product divides it."
            )


def _silent(_: str) -> None:
    """Discard progress, in all processes but the first."""
