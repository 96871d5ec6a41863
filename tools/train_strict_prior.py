"""Train a prior with the official release's strict mask on a finished run's codes, to compare likelihoods.

    python tools/train_strict_prior.py RUN CORPUS -o STRICT [--steps N]

Everything but the prior (encoders, decoder, features) is RUN's, so that both priors predict the same codes.
`tools/write_results.py RUN CORPUS --strict STRICT` then puts both into one table.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from meshtalk.config import TrainConfig, from_json
from meshtalk.corpus.store import Corpus
from meshtalk.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from meshtalk.model.networks import MeshTalk
from meshtalk.training.data import WindowData, print_progress
from meshtalk.training.loop import Trainer
from meshtalk.training.steps import Stage2
from meshtalk.training.validation import validate_stage2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="finished run folder of `meshtalk train`")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder to make")
    parser.add_argument("--steps", type=int, help="of the prior's training (default: as many as RUN's)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    settings = json.loads((options.run / "training.json").read_text(encoding="utf-8"))
    training = from_json(TrainConfig, settings["training"])
    if options.steps is not None:
        training = replace(training, stage2=replace(training.stage2, steps=options.steps))
    finished = load_checkpoint(options.run / "model")
    assert isinstance(finished.network, MeshTalk)
    config = replace(finished.config, prior=replace(finished.config.prior, mask="strict"))
    model = MeshTalk(config, finished.network.geometry)
    shared = {k: v for k, v in finished.network.state_dict().items() if not k.startswith("prior.")}
    model.load_state_dict(shared, strict=False)
    assert model.prior_audio is not None
    model.prior_audio.load_state_dict(model.audio.state_dict())  # as stage 2 starts

    corpus, cache = Corpus.open(options.corpus), options.run / "features"
    versions = training.augmentations
    data = WindowData(corpus, "train", config, model.geometry, cache, versions=versions, progress=print_progress)
    held_out = WindowData(corpus, "val", config, model.geometry, cache, versions=0, progress=print_progress)

    model.requires_grad_(False)
    model.prior.requires_grad_(True)
    model.prior_audio.requires_grad_(True)
    stage = training.stage2
    groups = [
        (model.prior.parameters(), stage.learning_rate, 0.0),
        (model.prior_audio.parameters(), stage.audio_learning_rate, 0.0),
    ]
    trainer = Trainer(
        "stage2", model, list(groups), stage, seed=training.seed, folder=options.output, log=lambda *_: None,
        progress=print_progress, validate=lambda: validate_stage2(model, held_out),
        validate_every=training.validate_every, checkpoint_every=training.checkpoint_every,
    )  # fmt: skip
    trainer.resume()
    stage2 = Stage2(model, data, training)
    trainer.run(stage2, stage2.read)
    checkpoint = Checkpoint(model, config, finished.topology, finished.template, finished.mix)
    save_checkpoint(options.output / "model", checkpoint)
    print(f"{sum(p.numel() for p in model.prior.parameters())} parameters: {options.output / 'model'}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
