"""The command line: `meshtalk animate | stream | evaluate | train | …`, see VERBS. Thin: every verb is a library call."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from meshtalk.errors import InputError

Output = Annotated[Path, arg(aliases=["-o"])]


def animate(
    audio: Positional[Path],
    /,
    output: Output,
    template: Path | None = None,
    expression: Path | None = None,
    person: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    argmax: bool = False,
    fps: str | None = None,
    model: Path | None = None,
    device: str = "cpu",
) -> None:
    """Animate a face with a voice recording.

    Args:
        audio: speech: WAV, FLAC, OGG, MP3, M4A, or a video with sound.
        output: what to write: .mp4 (video with sound), .glb (morph targets) or .npz (meshtalk clip).
        template: neutral mesh of the model's topology (.obj, .ply, .glb, .npy, .npz) to animate.
        expression: clip (.npz) whose upper face and emotion are mixed in.
        person: one of the packaged people, p00, p01, …, or an integer seed for a new face.
        seed: of the sampling; the same seed gives the same animation.
        temperature: of the sampling; below 1 is calmer.
        top_p: draw among the likeliest codes that hold this share of the probability.
        argmax: take the likeliest codes instead of sampling.
        fps: frames a second of the output, e.g. 25, 30, 60, 30000/1001 (default: the model's).
        model: model folder (default: the one in the package).
        device: torch device, e.g. cpu, cuda, mps.
    """
    from meshtalk.animate import load_model
    from meshtalk.export import check_output

    check_output(output)
    clip = load_model(model, device=check_device(device)).animate(
        audio, template=template, person=parse_person(person), expression=expression, seed=seed, temperature=temperature,
        top_p=top_p, argmax=argmax, fps=fps,
    )  # fmt: skip
    print(clip.save(output))


def stream(
    rate: int = 16000,
    channels: int = 1,
    format: str | None = None,
    vmc: str | None = None,
    live: bool = False,
    template: Path | None = None,
    expression: Path | None = None,
    person: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    argmax: bool = False,
    fps: str | None = None,
    model: Path | None = None,
    device: str = "cpu",
) -> None:
    """Animate raw 16-bit sound on standard input while it comes: frames on standard output, or over UDP as VMC.

    Args:
        rate: samples a second of the sound.
        channels: of the sound, interleaved; they are averaged.
        format: on standard output: jsonl (ARKit weights) or vertices (binary). Default: jsonl, and with --vmc nothing.
        vmc: HOST:PORT that gets ARKit weights as VMC messages, e.g. 127.0.0.1:39539.
        live: the sound does not wait, as a microphone: a slow consumer loses frames instead of stopping everything.
        template: neutral mesh of the model's topology (.obj, .ply, .glb, .npy, .npz) to animate.
        expression: clip (.npz) whose upper face and emotion are mixed in.
        person: one of the packaged people, p00, p01, …, or an integer seed for a new face.
        seed: of the sampling; the same seed gives the same animation.
        temperature: of the sampling; below 1 is calmer.
        top_p: draw among the likeliest codes that hold this share of the probability.
        argmax: take the likeliest codes instead of sampling.
        fps: frames a second of the output, e.g. 25, 30, 60, 30000/1001 (default: the model's).
        model: model folder (default: the one in the package).
        device: torch device, e.g. cpu, cuda, mps.
    """
    from meshtalk.animate import load_model
    from meshtalk.stream import stream as run
    from meshtalk.stream.pcm import check_sound
    from meshtalk.stream.pipes import ends_quietly, say, standard_input, standard_output
    from meshtalk.stream.sinks import Sink, check_format, open_format
    from meshtalk.stream.vmc import VmcSender, check_osc, parse_endpoint

    format = "jsonl" if format is None and vmc is None else format
    if format is not None:
        check_format(format)
    endpoint = parse_endpoint(vmc) if vmc is not None else None
    if endpoint:
        check_osc()
    check_sound(rate, channels)
    source = standard_input()
    output = standard_output(binary=format == "vertices") if format else None
    with ends_quietly():
        animator = load_model(model, device=check_device(device))
        state = animator.start(
            template=template, person=parse_person(person), expression=expression, seed=seed,
            temperature=temperature, top_p=top_p, argmax=argmax, fps=fps,
        )  # fmt: skip
        sinks: list[Sink] = [open_format(format, animator, state, output)] if format else []
        sinks += [VmcSender(animator, state, *endpoint, live=live)] if endpoint else []
        run(animator, state, source, sinks, rate=rate, channels=channels, live=live, report=say)


def train(
    corpus: Positional[Path],
    /,
    output: Output,
    preset: str = "compact",
    steps_factor: float = 1.0,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Train a model on a corpus; run the same command again to continue an interrupted training.

    Args:
        corpus: corpus folder, as `meshtalk corpus` or a converter writes it.
        output: run folder; the finished model is its `model` subfolder.
        preset: compact, official or paper.
        steps_factor: multiplies the steps of every stage.
        seed: of weights and batches.
        device: torch device, e.g. cpu, cuda, mps.
    """
    from meshtalk.config import PRESETS
    from meshtalk.corpus.store import Corpus
    from meshtalk.training.data import print_progress
    from meshtalk.training.run import quick
    from meshtalk.training.run import train as run

    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r} : choose one of {', '.join(PRESETS)}")
    if not (math.isfinite(steps_factor) and steps_factor > 0):
        raise InputError(f"steps factor {steps_factor} came; a positive number is needed")
    model_config, train_config = PRESETS[preset]
    train_config = replace(quick(train_config, steps_factor), seed=seed)
    checked = check_device(device)
    print(run(Corpus.open(corpus), output, model_config, train_config, device=checked, progress=print_progress))


def corpus(output: Output, minutes: float = 60.0, seed: int = 0, workers: int = 2) -> None:
    """Build the embedded corpus: synthetic performances with their sound. Interrupt and run again to continue.

    Args:
        output: folder to make.
        minutes: of training motion; validation and test clips come on top.
        seed: the same seed gives the same corpus.
        workers: processes.
    """
    from meshtalk.corpus.build import Progress, build_corpus

    def show(progress: Progress) -> None:
        print(f"\r{progress}", end="", file=sys.stderr, flush=True)

    made = build_corpus(output, minutes=minutes, seed=seed, workers=workers, progress=show)
    print(file=sys.stderr)
    print(f"{made.root}: {len(made.clips)} clips, {sum(c.duration_s for c in made.clips) / 60:.1f} minutes")


def evaluate(
    model: Positional[Path],
    corpus: Positional[Path],
    /,
    split: str = "test",
    baseline: Path | None = None,
    real: Path | None = None,
    json: Path | None = None,
    samples: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Measure a model on a corpus: one table, with the truth and simple baselines beside it.

    Args:
        model: model folder, or "-" for the packaged one.
        corpus: corpus folder.
        split: train, val or test.
        baseline: regressor folder of a training run, to stand beside the model.
        real: folder of real recordings with transcripts.tsv, to be measured against forced alignment too.
        json: write all numbers to this file.
        samples: animations per clip; 2 or more add the measures of samplers.
        limit: measure only so many clips, spread over the split.
        seed: of the sampling.
    """
    from meshtalk.assess import evaluate_model
    from meshtalk.corpus.store import Corpus

    evaluate_model(
        None if str(model) == "-" else model, Corpus.open(corpus), split=split, baseline=baseline,
        real=real, json=json, samples=samples, limit=limit, seed=seed,
    )  # fmt: skip


def import_official(folder: Positional[Path], /, output: Output, template: Path, topology: Path | None = None) -> None:
    """Make a model folder of the official MeshTalk weights, which you downloaded: encoder.pkl, vertex_unet.pkl, context_model.pkl.

    Args:
        folder: the three files' folder. Nothing in them is run.
        output: model folder to make, for --model.
        template: neutral mesh with the weights' vertices in their order, in millimetres or metres (.obj, .ply, .glb, .npy, .npz).
        topology: triangles and regions (.npz of Topology.save). Default: the template's triangles and no regions, which only
            evaluate asks for.
    """
    from meshtalk.official.importer import import_official as run

    print(run(folder, output, template=template, topology=topology))


def demo(output: Output = Path("demo")) -> None:
    """Let two people speak two real recordings, one of them with another's emotion; write pictures and measures.

    Args:
        output: folder for the videos, GLB files and the contact sheet.
    """
    from meshtalk.demo import run

    run(output)


VERBS: dict[str, Callable[..., Any]] = {
    "animate": animate,
    "stream": stream,
    "demo": demo,
    "evaluate": evaluate,
    "train": train,
    "corpus": corpus,
    "import-official": import_official,
}


def parse_person(text: str | None) -> str | int | None:
    """A person's name, or the seed of a new one."""
    return int(text) if text is not None and re.fullmatch("[0-9]+", text) else text


def check_device(name: str) -> str:
    """A torch device that exists here, or InputError."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {name!r} is not available here : use cpu") from None
    return name


def main(args: list[str] | None = None) -> None:
    """Entry point: exit code 0, 2 with one sentence for bad input, 130 when interrupted."""
    warnings.showwarning = lambda message, *_: print(f"meshtalk: {message}", file=sys.stderr)
    try:
        tyro.extras.subcommand_cli_from_dict(VERBS, prog="meshtalk", description=__doc__, args=args)
    except InputError as error:
        print(f"meshtalk: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("meshtalk: interrupted; what was finished is kept, and the same command continues", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
