"""`meshtalk train`, `evaluate` and `import-official`: models."""

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
    """Train a model on a corpus. Interruptible and resumable: run the same command again.

    With several GPUs or machines: `torchrun --nproc-per-node 4 -m meshtalk train …`, or `srun` in a SLURM script.

    Args:
        corpus: corpus folder, as `meshtalk corpus build`, `convert` or `from-speech` writes it.
        output: run folder; the finished model is its `model` subfolder.
        preset: compact, official or paper.
        steps_factor: multiplies the steps of every stage.
        learning_rate_factor: multiplies every learning rate; use less than 1 after a divergence.
        seed: of weight initialisation and batches.
        device: auto (cuda if available, else cpu), cpu, cuda or mps.
        precision: 32, bf16-mixed, or 16-mixed (with a GPU).
        accumulate: gradient accumulation: split every batch into so many micro-batches; less memory, the same training.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.training.engine import world
    from meshtalk.training.progress import console
    from meshtalk.training.run import quick, slower
    from meshtalk.training.run import train as run
    from meshtalk.training.signals import Stopped

    if preset not in PRESETS:
        raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    for name, factor in (("steps", steps_factor), ("learning rate", learning_rate_factor)):
        if not (math.isfinite(factor) and factor > 0):
            raise InputError(f"{name} factor must be positive, got {factor}. Try 0.5.")
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
    """Evaluate a model on a corpus, beside the ground truth and simple baselines.

    Args:
        model: model folder, or "-" for the packaged one.
        corpus: corpus folder.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.evaluation.run import evaluate_model

    evaluate_model(None if str(model) == "-" else model, Corpus.open(corpus), config)


def import_official(folder: Positional[Path], /, output: Output, template: Path, topology: Path | None = None) -> None:
    """Convert the official MeshTalk weights, which you downloaded, to a model folder.

    Args:
        folder: folder of encoder.pkl, vertex_unet.pkl and context_model.pkl. No code in them is run.
        output: model folder to create, for --model.
        template: neutral mesh with the weights' vertices in their order, in millimetres or metres (.obj, .ply, .glb, .vrm, .npy,
            .npz).
        topology: triangles and regions (.npz of Topology.save). Default: the template's triangles and no regions, which only
            evaluate needs.
    """
    from meshtalk.official.importer import import_official as run

    print(run(folder, output, template=template, topology=topology))
