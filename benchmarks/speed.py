"""Speed on this machine: animating, drawing, training. Read the ratios; absolute times do not carry over to others.

    python benchmarks/speed.py [--model FOLDER] [--json build/speed.json]

Without --model the packaged model is measured, or one with random weights if none is packaged: speed does not depend on
the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from meshtalk.animate import Animator, load_model
from meshtalk.assets import asset
from meshtalk.audio import SAMPLE_RATE, MelFrontend, frame_hops, read_audio
from meshtalk.checkpoint import Checkpoint
from meshtalk.config import PRESETS, GeometryConfig, ModelConfig
from meshtalk.corpus.motion import Recording, corpus_from_recordings
from meshtalk.corpus.store import Corpus
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.files import atomic
from meshtalk.model.autoencoder import MeshTalk
from meshtalk.render import Renderer
from meshtalk.training import stages
from meshtalk.training.data import WindowData
from meshtalk.training.fit_geometry import fit_geometry
from meshtalk.training.loop import Step

SECONDS = 10
THREADS = (1, 2)
REPEATS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds that something took, over repeats."""

    median_s: float
    low_s: float
    high_s: float

    def scaled(self, factor: float) -> Timing:
        return Timing(self.median_s * factor, self.low_s * factor, self.high_s * factor)


def timed(work: Callable[[], object], repeats: int = REPEATS) -> Timing:
    """Median and extremes of `repeats` runs after one that warms up."""
    work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return Timing(float(np.median(took)), min(took), max(took))


def recordings_corpus(folder: Path) -> Corpus:
    """The packaged recordings, aligned and articulated: a corpus small enough to be made on the spot."""
    listed = read_transcripts(asset("speech"))
    return corpus_from_recordings(
        folder, [Recording(*read_audio(path), text, voice=name) for name, (path, text) in listed.items()]
    )


def random_model(corpus: Corpus, config: ModelConfig) -> Checkpoint:
    """A model of the right sizes whose weights are random."""
    torch.manual_seed(0)
    geometry, mix = fit_geometry(corpus, config.geometry)
    template = corpus.template(corpus.clips[0].subject)
    return Checkpoint(MeshTalk(config, geometry).eval(), config, corpus.topology, template, mix)


def speech(seconds: float) -> np.ndarray:
    """(S,) float32 at 16 kHz: the packaged recordings on end, over and over."""
    sounds = [read_audio(path)[0] for path, _ in read_transcripts(asset("speech")).values()]
    return np.resize(np.concatenate(sounds), round(seconds * SAMPLE_RATE))


@torch.no_grad()
def animating(animator: Animator) -> dict[str, Timing]:
    """Times of animating SECONDS of speech as parts of its length: the whole, and each part by itself."""
    network, config = animator.network, animator.config
    assert isinstance(network, MeshTalk)
    samples, frontend, encoder = speech(SECONDS), MelFrontend(config.audio.frontend), network.prior_audio_encoder
    mel = frontend.all(samples)
    around = ((encoder.reach, encoder.lookahead), (0, 0))
    padded = torch.from_numpy(np.pad(mel, around, constant_values=frontend.silence))[None]
    features = network.extract(padded)
    hops = frame_hops(config.fps, 0, int(SECONDS * config.fps))
    audio = encoder.at(features, hops)
    generator = torch.Generator().manual_seed(0)
    codes = network.one_hot(network.sample(audio, generator))
    template = network.geometry.template_input(torch.from_numpy(animator.checkpoint.template)[None])
    work: dict[str, Callable[[], object]] = {
        "animate, whole": lambda: animator.animate(samples, SAMPLE_RATE),
        "  log-mel": lambda: frontend.all(samples),
        "  phonetic trunk": lambda: network.extract(padded),
        "  audio code": lambda: encoder.at(features, hops),
        "  sampling the prior": lambda: network.sample(audio, generator),
        "  decoder": lambda: network.decode(template, codes),
    }
    return {name: timed(run).scaled(1 / SECONDS) for name, run in work.items()}


def drawing(animator: Animator) -> Timing:
    """Seconds a frame of 640x640 pixels, drawn one after the other."""
    vertices = animator.animate(speech(1.0), SAMPLE_RATE).vertices
    renderer = Renderer(animator.topology, animator.checkpoint.template)
    few = vertices[:: max(1, len(vertices) // 10)][:10]
    return timed(lambda: [renderer.frame(frame) for frame in few], 3).scaled(1 / len(few))


def training_step(corpus: Corpus, cache: Path, kind: str) -> Callable[[], object]:
    """One whole step of stage 1, batch and optimiser included, of the compact model in either geometry."""
    model_config, train_config = PRESETS["compact"]
    config = replace(model_config, geometry=GeometryConfig(kind="basis" if kind == "basis" else "dense"))
    network = random_model(corpus, config).network
    assert isinstance(network, MeshTalk)
    data = WindowData(corpus, "train", config, network.geometry, cache, seed=0, versions=0)
    trained = [*network.audio.parameters(), *network.expression.parameters(), *network.fusion.parameters()]
    optimizer = torch.optim.Adam([*trained, *network.decoder.parameters()], lr=1e-4)
    network.train()

    def step() -> None:
        terms = stages.stage1_step(network, data, train_config, Step(0, 0.0, np.random.default_rng(0)))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()

    return step


def table(rows: list[tuple[str, str, float, dict[int, Timing]]]) -> str:
    """Rows of (name, unit, factor to the unit, threads → timing) as aligned text."""
    cells = [["", "unit", *(f"{n} thread{'s' * (n > 1)}" for n in THREADS), f"1 / {THREADS[-1]}"]]
    for name, unit, factor, timings in rows:
        shown = [timings[n].scaled(factor) for n in THREADS]
        line = [f"{t.median_s:.4g} ({t.low_s:.3g}-{t.high_s:.3g})" for t in shown]
        cells.append([name, unit, *line, f"{shown[0].median_s / shown[-1].median_s:.2f}"])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="model folder (default: the packaged one)")
    parser.add_argument("--json", type=Path, default=Path("build/speed.json"), help="where the numbers go")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        corpus = recordings_corpus(Path(name) / "corpus")
        packaged = asset("model").is_dir()
        random = options.model is None and not packaged
        animator = Animator(random_model(corpus, PRESETS["compact"][0])) if random else load_model(options.model)
        steps = {kind: training_step(corpus, Path(name) / "features", kind) for kind in ("basis", "dense")}
        found: dict[str, dict[int, Timing]] = {}
        for threads in THREADS:
            torch.set_num_threads(threads)
            measured = animating(animator)
            for kind, step in steps.items():
                measured[f"stage 1 step, {kind}"] = timed(step, REPEATS if kind == "basis" else 2)
            for row, timing in measured.items():
                found.setdefault(row, {})[threads] = timing
        drawn = drawing(animator)  # the rasteriser itself runs on one thread
        found["drawing, 640x640"] = dict.fromkeys(THREADS, drawn)
    units = {row: ("of real time", 1.0) for row in found if row.startswith(("animate", "  "))}
    rows = [(row, *units.get(row, ("ms", 1e3)), timings) for row, timings in found.items()]
    print(
        f"{'random weights' if random else options.model or 'packaged model'}: median (lowest-highest)\n{table(rows)}"
    )
    ratios = {n: found["stage 1 step, dense"][n].median_s / found["stage 1 step, basis"][n].median_s for n in THREADS}
    print("a training step in basis geometry is " + ", ".join(f"{r:.1f} times ({n})" for n, r in ratios.items())
          + f" faster than in dense geometry of {corpus.topology.n_vertices} vertices (threads)")  # fmt: skip
    result = {"rows": {row: {n: vars(t) for n, t in by.items()} for row, by in found.items()}, "dense/basis": ratios}
    with atomic(options.json) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(options.json)


if __name__ == "__main__":
    main()
