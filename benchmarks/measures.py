"""The measurements, each a function that returns numbers; nothing here prints."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from models import speech
from reference import animate_slowly

from meshtalk.audio.files import SAMPLE_RATE, frame_hops
from meshtalk.audio.mel import MelFrontend
from meshtalk.config import PRESETS, GeometryConfig
from meshtalk.corpus.store import Corpus
from meshtalk.inference.animator import Animator
from meshtalk.model.fast_sampler import Sampler
from meshtalk.model.networks import MeshTalk, gumbel_noise
from meshtalk.render import Renderer
from meshtalk.training import steps
from meshtalk.training.data import WindowData
from meshtalk.training.fit_geometry import fit_geometry
from meshtalk.training.loop import Step

PACKET_S = 0.02
ALLOWANCE_S = 0.05
"""A streamed frame is late if it comes more than this after its sound and the look-ahead."""


@dataclass(frozen=True)
class Timing:
    """Seconds that something took, over repeats."""

    median_s: float
    low_s: float
    high_s: float

    def scaled(self, factor: float) -> Timing:
        return Timing(self.median_s * factor, self.low_s * factor, self.high_s * factor)


def timed(work: Callable[[], object], repeats: int, warm: bool = False) -> Timing:
    """Median and extremes of `repeats` runs, after one that warms up (compiled kernels, caches) unless all is warm."""
    if not warm:
        work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return Timing(float(np.median(took)), min(took), max(took))


def animating(animator: Animator, seconds: float, repeats: int, warm: bool = False) -> Timing:
    """`Animator.animate`, from samples to clip, as a part of real time."""
    samples = speech(seconds)
    return timed(lambda: animator.animate(samples, SAMPLE_RATE), repeats, warm).scaled(1 / seconds)


def beside_a_busy_core(animator: Animator, seconds: float, repeats: int) -> tuple[Timing, Timing]:
    """`animating` on an idle machine, and while another process keeps one core busy without a pause."""
    idle = animating(animator, seconds, repeats, warm=True)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return idle, animating(animator, seconds, repeats, warm=True)
    finally:
        busy.kill()
        busy.wait()


def memory_floor(animator: Animator) -> tuple[float, float]:
    """The bound of a prior larger than the caches: bytes that sampling must read a frame, and how many a second can be.

    A frame reads every near tap, its share of the far ones (d+1 frames share them) and the half of the other weights that
    the mask leaves. The rate is of a plain sum over a gigabyte, on as many threads as torch has.
    """
    network = animator.network
    assert isinstance(network, MeshTalk)
    prior, bytes_each = network.prior, 2 if animator.precision == "bfloat16" else 4
    width, dilations = prior.heads * prior.config.channels, prior.config.dilations
    taps = sum(width**2 * (1 + 1 / (dilation + 1)) for dilation in dilations)
    within = width * (width * len(dilations) + prior.heads * prior.classes) * (1 + 1 / prior.heads) / 2
    block = torch.ones(2**28)
    return (taps + within) * bytes_each, block.numel() * 4 / timed(block.sum, 5).median_s


@torch.no_grad()
def modules(animator: Animator, seconds: float, repeats: int) -> dict[str, Timing]:
    """Each module by itself over a recording, as seconds a frame."""
    network, config = animator.network, animator.config
    assert isinstance(network, MeshTalk)
    frontend, encoder = MelFrontend(config.audio.frontend), network.prior_audio_encoder
    samples = speech(seconds)
    mel = np.pad(frontend.all(samples), ((encoder.reach, encoder.lookahead), (0, 0)), constant_values=frontend.silence)
    padded = torch.from_numpy(mel)[None]
    features = network.extract(padded)
    frames = int(seconds * config.fps)
    hops = frame_hops(config.fps, 0, frames)
    audio = encoder.at(features, hops)
    noise = gumbel_noise([0], 0, (frames, config.heads, config.classes))
    sampler = Sampler(network.prior, animator.precision)
    labels, _ = sampler.sample(audio, sampler.start(), noise)
    template = network.geometry.template_input(torch.from_numpy(animator.checkpoint.template)[None])
    motion = network.decode(template, network.one_hot(labels))
    work: dict[str, Callable[[], object]] = {
        "log-mel": lambda: frontend.all(samples),
        "phonetic trunk": lambda: network.extract(padded),
        "audio encoder": lambda: encoder.at(features, hops),
        "prior": lambda: sampler.sample(audio, sampler.start(), noise),
        "decoder": lambda: network.decode(template, network.one_hot(labels)),
        "expression and fusion": lambda: network.labels(motion, audio),
    }
    if config.audio.frontend == "logmel":
        del work["phonetic trunk"]
    if not config.prior.use_sampled_expression:
        del work["expression and fusion"]
    return {name: timed(run, repeats).scaled(1 / frames) for name, run in work.items()}


def slow_way(animator: Animator, seconds: float, repeats: int) -> dict[str, float]:
    """The fast way against the slow one on the same recording, in turns; and how far their meshes are apart."""
    samples, pairs, apart_m = speech(seconds), [], 0.0
    fast = animator.animate(samples, SAMPLE_RATE, seed=1).vertices
    for _ in range(repeats):
        began = time.perf_counter()
        animator.animate(samples, SAMPLE_RATE, seed=1)
        between = time.perf_counter()
        slow = animate_slowly(animator, samples, 1)
        pairs.append((between - began, time.perf_counter() - between))
        apart_m = max(apart_m, float(np.abs(slow - fast).max()))
    fast_s, slow_s = np.median(pairs, 0)
    return {"slow_rtf": slow_s / seconds, "fast_rtf": fast_s / seconds, "ratio": slow_s / fast_s, "apart_m": apart_m}


def takes(animator: Animator, seconds: float, n: int, repeats: int) -> float:
    """Cost of n takes sampled together over that of one."""
    samples = speech(seconds)
    one = timed(lambda: animator.animate(samples, SAMPLE_RATE), repeats)
    many = timed(lambda: animator.takes(samples, SAMPLE_RATE, n=n), repeats)
    return many.median_s / one.median_s


def late_over_early(animator: Animator, early: int, late: int, repeats: int) -> float:
    """Time of ten seconds that begin at frame `late` over that at frame `early`, taken in turns from kept states."""
    fps = float(animator.config.fps)
    sound = speech(late / fps + 11)
    states = {}
    state, at = animator.start(), 0
    for frame in (early, late):
        stop = round(frame / fps * SAMPLE_RATE)
        while at < stop:
            after = min(at + 10 * SAMPLE_RATE, stop)
            _, state = animator.advance(sound[at:after], state)
            at = after
        states[frame] = (state, sound[at : at + 10 * SAMPLE_RATE])
    took: dict[int, list[float]] = {early: [], late: []}
    for _ in range(repeats):
        for frame, (kept, samples) in states.items():
            began = time.perf_counter()
            animator.advance(samples, kept)
            took[frame].append(time.perf_counter() - began)
    return float(np.median(took[late]) / np.median(took[early]))


def streaming(animator: Animator, seconds: float) -> dict[str, float]:
    """Packets of PACKET_S at their own pace, on a clock that runs by the time measured: nothing sleeps.

    A packet is worked on when it has come and the one before is done. A frame's compute is what was spent since the
    frame before it.
    """
    fps, size = float(animator.config.fps), round(PACKET_S * SAMPLE_RATE)
    sound, state = speech(seconds), animator.start()
    animator.advance(sound[:SAMPLE_RATE], state)  # compiled kernels; a state can be used twice
    gc.freeze()  # as `meshtalk stream` does
    done_s, spent_s, frame = 0.0, 0.0, 0
    waits_s, computes_s, delays_s = [], [], []
    for begin in range(0, len(sound), size):
        packet = sound[begin : begin + size]
        came_s = (begin + len(packet)) / SAMPLE_RATE
        started = time.perf_counter()
        motion, state = animator.advance(packet, state)
        animator.shape_weights(motion)
        took_s = time.perf_counter() - started
        done_s = max(came_s, done_s) + took_s
        spent_s += took_s
        for _ in range(len(motion)):
            waits_s.append(came_s - frame / fps)
            delays_s.append(done_s - frame / fps)
            computes_s.append(spent_s / len(motion))
            frame += 1
        if len(motion):
            spent_s = 0.0
    late = int((np.array(delays_s) > animator.lookahead_s + ALLOWANCE_S).sum())
    return {
        "lookahead_ms": animator.lookahead_s * 1e3,
        "latency_ms": max(waits_s) * 1e3,
        "p50_ms": float(np.percentile(computes_s, 50)) * 1e3,
        "p99_ms": float(np.percentile(computes_s, 99)) * 1e3,
        "max_ms": max(computes_s) * 1e3,
        "frames": frame,
        "late": late,
    }


_CLI = """
import sys
from meshtalk.cli.main import main
main(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The peak of this very program: the kernel's usage counter would begin with what its parent held."""


def peak_memory(folder: Path, minutes: float) -> dict[str, float]:
    """Largest resident memory of `meshtalk animate` on a long recording (Linux), and the frames that it wrote."""
    path, out = folder / "long.wav", folder / "long.npz"
    soundfile.write(path, speech(minutes * 60), SAMPLE_RATE, subtype="PCM_16")
    command = [sys.executable, "-c", _CLI, "animate", str(path), "-o", str(out)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    with np.load(out) as stored:
        frames = len(stored["weights"])
    return {"minutes": minutes, "peak_gb": int(said.split()[-2]) * 1024 / 1e9, "frames": frames}


def drawing(animator: Animator, repeats: int) -> Timing:
    """Seconds a frame of 640x640 pixels, drawn one after the other on one thread."""
    vertices = animator.animate(speech(1.0), SAMPLE_RATE).vertices
    renderer = Renderer(animator.topology, animator.checkpoint.template)
    few = vertices[:: max(1, len(vertices) // 10)][:10]
    return timed(lambda: [renderer.frame(frame) for frame in few], repeats).scaled(1 / len(few))


def training(corpus: Corpus, cache: Path, kind: str, stage: int, repeats: int) -> float:
    """Frames a second of one whole training step, batch and optimiser included, of the compact model."""
    model_config, train_config = PRESETS["compact"]
    config = replace(
        model_config,
        geometry=GeometryConfig(kind="dense" if kind == "dense" else "basis"),
        prior=replace(model_config.prior, use_sampled_expression=kind == "basis"),
    )
    geometry, _ = fit_geometry(corpus, config.geometry)
    torch.manual_seed(0)
    network = MeshTalk(config, geometry)
    data = WindowData(corpus, "train", config, geometry, cache, versions=0)
    parts = [network.audio, network.expression, network.fusion, network.decoder]
    task: steps.Stage1 | steps.Stage2 = steps.Stage1(network, data, train_config)
    size = train_config.stage1.batch * train_config.stage1.frames
    if stage == 2:
        network.requires_grad_(False)
        parts = [network.prior.requires_grad_(True), network.prior_audio_encoder.requires_grad_(True)]
        task = steps.Stage2(network, data, train_config)
        size = train_config.stage2.batch * train_config.stage2.frames
    optimizer = torch.optim.Adam([p for part in parts for p in part.parameters()], lr=1e-4)
    network.train()

    def step() -> None:
        now = Step(0, 0.0, np.random.default_rng(0))
        terms = task(now, task.read(now))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()

    return size / timed(step, repeats).median_s
