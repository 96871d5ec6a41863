"""What corpora of 13, 400 and 10,000 hours take: bytes, reads, processors, training. The tables of docs/scale.md.

    python benchmarks/plan.py [--hours 13 400 10000] [--windows build/windows.json] [--gpu-tflops 10] [--gpu-step-ms 10]
                              [--quick]

Measures on this machine, in processor seconds of one thread, so that what else runs does not count: storing a dense clip,
the features of its sound, animating, and a training step (its networks forwards and backwards, and the optimizer), whose
floating-point operations PyTorch counts. Everything else is arithmetic, which `plan` holds.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from models import PUBLISHED_VERTICES, random_animator, sheet, speech
from torch.utils.flop_counter import FlopCounterMode

from meshtalk.audio.files import frame_hops
from meshtalk.clip import Clip
from meshtalk.config import PRESETS, TrainConfig
from meshtalk.corpus.store import CorpusWriter
from meshtalk.inference.animator import load_model
from meshtalk.model.networks import MeshTalk
from meshtalk.training.data import clip_features

FPS, FRAME_RATE_HOPS = 30, 100
RAW_VERTEX_BYTES, STORED_VERTEX_BYTES = 12, 6
"""Three float32 as data sets come, three float16 as a corpus keeps them."""
RAW_SOUND_BYTES_S, STORED_SOUND_BYTES_S = 48000 * 2, 16000 * 2 * 0.6
"""48 kHz of 16 bit; 16 kHz in FLAC, which leaves some 60 % of speech."""
FEATURES = {"phonetic": 384, "logmel": 80}
WINDOW_HOPS = 160
"""Of features that a window's encoder hears, about."""
DAY_H = 24
ONE_PASS_HOURS = 13
"""The presets' steps are meant for so many hours; a larger corpus is planned with as many passes over each frame."""


@dataclass(frozen=True)
class Costs:
    """Of one preset, measured."""

    preset: str
    basis: int | None
    """Coefficients a frame; None: dense."""
    versions: int
    features: int
    step_flop: tuple[float, float]
    """Floating-point operations of a step of stage 1 and of stage 2."""
    step_s: tuple[float, float]
    """Processor seconds."""
    features_s: float
    """Processor seconds of the features of one second of sound, all versions of it."""


@dataclass(frozen=True)
class Planned:
    """One corpus with one preset."""

    raw_gb: float
    converted_gb: float
    shards_gb: float
    convert_cpu_h: float
    features_cpu_h: float
    processes_for_a_day: int
    """That convert it and make its features within 24 hours."""
    steps: tuple[int, int]
    petaflop: float
    gpu_h: float
    cpu_h: float
    """Of training on one thread."""
    windows_s: float
    """That the GPU takes."""
    window_mb: float
    reads_mb_s: float


def plan(hours: float, costs: Costs, store_s: float, gpu_tflops: float, gpu_step_s: float) -> Planned:
    """Arithmetic.

    Args:
        hours: of captured motion, dense.
        store_s: processor seconds that a second of motion takes to convert.
        gpu_tflops: that the GPU sustains in training.
        gpu_step_s: below which no step gets, however few its operations: batches of 8 windows are small, and starting
            hundreds of kernels takes its time.
    """
    seconds = hours * 3600
    frame_bytes = PUBLISHED_VERTICES * STORED_VERTEX_BYTES
    raw = seconds * (FPS * PUBLISHED_VERTICES * RAW_VERTEX_BYTES + RAW_SOUND_BYTES_S)
    converted = seconds * (FPS * frame_bytes + STORED_SOUND_BYTES_S)
    coefficients = 0 if costs.basis is None else FPS * costs.basis * 4
    shards = seconds * (FRAME_RATE_HOPS * costs.features * 2 * (1 + costs.versions) + coefficients)
    convert_h, features_h = hours * store_s, hours * costs.features_s
    train: TrainConfig = PRESETS[costs.preset][1]
    passes = max(1.0, hours / ONE_PASS_HOURS)
    steps = (round(train.stage1.steps * passes), round(train.stage2.steps * passes))
    flop = sum(count * each for count, each in zip(steps, costs.step_flop, strict=True))
    step_s = [max(each / gpu_tflops / 1e12, gpu_step_s) for each in costs.step_flop]
    gpu_s = sum(count * each for count, each in zip(steps, step_s, strict=True))
    windows = steps[0] * train.stage1.batch + steps[1] * train.stage2.batch
    window = 32 * (frame_bytes if costs.basis is None else costs.basis * 4) + WINDOW_HOPS * costs.features * 2
    return Planned(
        raw_gb=raw / 1e9,
        converted_gb=converted / 1e9,
        shards_gb=shards / 1e9,
        convert_cpu_h=convert_h,
        features_cpu_h=features_h,
        processes_for_a_day=math.ceil((convert_h + features_h) / DAY_H),
        steps=steps,
        petaflop=flop / 1e15,
        gpu_h=gpu_s / 3600,
        cpu_h=sum(count * each for count, each in zip(steps, costs.step_s, strict=True)) / 3600,
        windows_s=windows / gpu_s,
        window_mb=window / 1e6,
        reads_mb_s=windows / gpu_s * window / 1e6,
    )


def cpu_s(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of one time, after one that warms up."""
    work()
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def storing(repeats: int) -> float:
    """Processor seconds that a second of dense motion takes to be checked and stored."""
    topology, template = sheet(PUBLISHED_VERTICES)
    rng = np.random.default_rng(0)
    moved = rng.normal(0, 0.002, (300, PUBLISHED_VERTICES, 3)).astype(np.float32)
    clip = Clip(topology, template, FPS, speech(10.0), 16000, displacement=moved, subject="s")  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        writer = CorpusWriter(folder, topology, clip.fps, ["random numbers"])
        return cpu_s(lambda: writer.add(clip, id="c", split="train", voice="v"), repeats) / clip.duration_s


def network_of(preset: str) -> MeshTalk:
    """A preset with random weights; dense ones at the published mesh size."""
    network = load_model().network if preset == "compact" else random_animator(preset).network
    assert isinstance(network, MeshTalk)
    return network.train()


def step_of(network: MeshTalk, stage: int, train: TrainConfig) -> Callable[[], None]:
    """One step of a stage on random windows: the networks that it runs, as often as it does, and Adam."""
    told = train.stage1 if stage == 1 else train.stage2
    hops = frame_hops(network.config.fps, 0, told.frames)
    span = int(hops[-1]) + 1 + network.audio.stack_reach + network.audio.stack_lookahead
    features = torch.randn(told.batch, span, network.audio.n_features)
    motion = torch.randn(told.batch, told.frames, network.geometry.n_motion)
    faces = torch.randn(told.batch, network.geometry.n_template)
    codes = torch.randn(told.batch, told.frames, network.config.heads, network.config.classes).softmax(-1)
    sides = 4 if network.imagines else 3
    trained = [p for name, p in network.named_parameters() if name.startswith("prior") == (stage == 2)]
    adam = torch.optim.Adam(trained, 1e-6)

    def step() -> None:
        adam.zero_grad()
        if stage == 1:
            audio = network.audio.at(features, hops)
            signals = motion.repeat(sides - 2, 1, 1)
            expression = network.expression(network.geometry.normalise(signals))[0]
            mixed = torch.cat([expression, expression[: told.batch].repeat(2, 1, 1)])
            probabilities = network.fusion(mixed, audio.repeat(sides, 1, 1)).exp()
            loss = network.decode(faces.repeat(sides, 1), probabilities).square().mean()
        else:
            loss = network.prior(codes, network.prior_audio_encoder.at(features, hops)).square().mean()
        loss.backward()
        adam.step()

    return step


def costs_of(preset: str, repeats: int) -> Costs:
    """Measure a preset."""
    config, train = PRESETS[preset]
    network = network_of(preset)
    flop, seconds = [], []
    for stage in (1, 2):
        step = step_of(network, stage, train)
        with FlopCounterMode(display=False) as counter:
            step()
        flop.append(float(counter.get_total_flops()))
        seconds.append(cpu_s(step, repeats))
    topology, template = sheet(8)
    still = np.zeros((300, 8, 3), np.float32)
    clip = Clip(topology, template, config.fps, speech(10.0), 16000, displacement=still)
    rng = np.random.default_rng(0)
    clean = cpu_s(lambda: clip_features(clip, config, None), repeats)
    changed = cpu_s(lambda: clip_features(clip, config, rng), repeats) if train.augmentations else 0.0
    basis = None if config.geometry.kind == "dense" else network.geometry.n_motion
    heard = (clean + train.augmentations * changed) / clip.duration_s
    width = FEATURES[config.audio.frontend]
    return Costs(preset, basis, train.augmentations, width, (flop[0], flop[1]), (seconds[0], seconds[1]), heard)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[13, 400, 10_000])
    parser.add_argument("--windows", type=Path, default=Path("build/windows.json"))
    parser.add_argument("--gpu-tflops", type=float, default=10.0)
    parser.add_argument("--gpu-step-ms", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="measure everything once")
    told = parser.parse_args()
    torch.set_num_threads(1)
    repeats = 1 if told.quick else 3
    store_s = storing(repeats)
    animator, sound = load_model(), speech(10.0)
    animate_s = cpu_s(lambda: animator.animate(sound, 16000), repeats) / 10
    print("| measured on one thread | processor seconds |\n|---|---:|")
    print(f"| store one second of dense motion ({PUBLISHED_VERTICES:,} vertices) | {store_s:.3f} |")
    print(f"| animate one second of speech, packaged model | {animate_s:.3f} |")
    presets = [costs_of(preset, repeats) for preset in ("compact", "official")]
    for costs in presets:
        print(
            f"| features of one second of sound, {costs.preset}, {1 + costs.versions} versions | {costs.features_s:.3f} |"
        )
        for stage, flop, seconds in zip((1, 2), costs.step_flop, costs.step_s, strict=True):
            name = f"a step of stage {stage}, {costs.preset}"
            print(f"| {name}: {flop / 1e9:,.0f} GFLOP, {flop / seconds / 1e9:.0f} GFLOP/s | {seconds:.3f} |")
    if told.windows.exists():
        for line in json.loads(told.windows.read_text(encoding="utf-8"))["measured"]:
            if line["name"].startswith(("dense", "basis")):
                print(f"| a window, {line['name']} | {line['cpu'] / line['windows_s']:.5f} |")
    for costs in presets:
        plans = [plan(hours, costs, store_s, told.gpu_tflops, told.gpu_step_ms / 1e3) for hours in told.hours]
        print(f"\n| {costs.preset} | " + " | ".join(f"{hours:,g} h" for hours in told.hours) + " |")
        print("|---|" + "---:|" * len(plans))
        for name, show in ROWS.items():
            print(f"| {name} | " + " | ".join(show(one) for one in plans) + " |")


ROWS: dict[str, Callable[[Planned], str]] = {
    "raw: float32 vertices, 48 kHz sound, GB": lambda p: f"{p.raw_gb:,.0f}",
    "corpus, GB": lambda p: f"{p.converted_gb:,.0f}",
    "shards: features, coefficients, GB": lambda p: f"{p.shards_gb:,.0f}",
    "convert, processor hours": lambda p: f"{p.convert_cpu_h:,.1f}",
    "features, processor hours": lambda p: f"{p.features_cpu_h:,.1f}",
    "processes to do both in a day": lambda p: f"{p.processes_for_a_day}",
    "steps of stage 1, of stage 2": lambda p: f"{p.steps[0]:,}, {p.steps[1]:,}",
    "operations of training, 10¹⁵": lambda p: f"{p.petaflop:,.0f}",
    "training, GPU hours (estimate)": lambda p: f"{p.gpu_h:,.1f}",
    "training, hours on one thread": lambda p: f"{p.cpu_h:,.0f}",
    "windows a second that the GPU takes": lambda p: f"{p.windows_s:,.0f}",
    "MB of a window, MB/s read": lambda p: f"{p.window_mb:.2f}, {p.reads_mb_s:,.0f}",
}


if __name__ == "__main__":
    main()
