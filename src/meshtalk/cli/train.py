"""The verb that trains."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from meshtalk.cli.options import Output, check_device
from meshtalk.config import PRESETS, EvaluationConfig
from meshtalk.errors import InputError

_TEST_SPLIT = EvaluationConfig()


def train(
    corpus: Positional[Path],
    /,
    output: Output,
    preset: str = "compact",
    steps_factor: float = 1.0,
    learning_rate_factor: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    accumulate: int = 1,
) -> None:
    """Train a model on a corpus; run the same command again to continue an interrupted training.

    With several GPUs or machines: `torchrun --nproc-per-node 4 -m meshtalk train …`, or `srun` in a SLURM script.

    Args:
        corpus: corpus folder, as `meshtalk corpus build`, `convert` or `from-speech` writes it.
        output: run folder; the finished model is its `model` subfolder.
        preset: compact, official or paper.
        steps_factor: multiplies the steps of every stage.
        learning_rate_factor: multiplies every learning rate: below 1 where training diverged.
        seed: of weights and batches.
        device: auto (cuda where there is one, else cpu), cpu, cuda or mps.
        precision: 32, bf16-mixed, or 16-mixed (with a GPU).
        accumulate: compute every batch in so many pieces, one after the other: less memory, the same training.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.training.engine import world
    from meshtalk.training.progress import console
    from meshtalk.training.run import quick, slower
    from meshtalk.training.run import train as run
    from meshtalk.training.signals import Stopped

    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r} : choose one of {', '.join(PRESETS)}")
    for name, factor in (("steps", steps_factor), ("learning rate", learning_rate_factor)):
        if not (math.isfinite(factor) and factor > 0):
            raise InputError(f"{name} factor {factor} came; a positive number is needed")
    model_config, train_config = PRESETS[preset]
    train_config = replace(slower(quick(train_config, steps_factor), learning_rate_factor), seed=seed)
    device = device if device == "auto" else check_device(device)
    first = world().rank == 0
    try:
        folder = run(
            Corpus.open(corpus), output, model_config, train_config, device=device, precision=precision,
            accumulate=accumulate, progress=console(),
        )  # fmt: skip
    except Stopped as stopped:
        if first:
            print(f"\nmeshtalk: {stopped}", file=sys.stderr)
        raise SystemExit(stopped.code) from None
    if first:
        print(folder)


def evaluate(
    model: Positional[Path],
    corpus: Positional[Path],
    /,
    config: Annotated[EvaluationConfig, arg(name=""), FlagCreatePairsOff] = _TEST_SPLIT,
) -> None:
    """Measure a model on a corpus: one table, with the truth and simple baselines beside it.

    Args:
        model: model folder, or "-" for the packaged one.
        corpus: corpus folder.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.evaluation.run import evaluate_model

    evaluate_model(None if str(model) == "-" else model, Corpus.open(corpus), config)


def import_official(folder: Positional[Path], /, output: Output, template: Path, topology: Path | None = None) -> None:
    """Make a model folder of the official MeshTalk weights, which you downloaded: encoder.pkl, vertex_unet.pkl, context_model.pkl.

    Args:
        folder: the three files' folder. Nothing in them is run.
        output: model folder to make, for --model.
        template: neutral mesh with the weights' vertices in their order, in millimetres or metres (.obj, .ply, .glb, .vrm, .npy,
            .npz).
        topology: triangles and regions (.npz of Topology.save). Default: the template's triangles and no regions, which only
            evaluate asks for.
    """
    from meshtalk.official.importer import import_official as run

    print(run(folder, output, template=template, topology=topology))
