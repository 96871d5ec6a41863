"""Evaluation of a model folder on a corpus and on real recordings, as `meshtalk evaluate` does it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meshtalk import evaluation, parallel
from meshtalk.assets import asset
from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip
from meshtalk.config import EvaluationConfig
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.evaluation import Report
from meshtalk.evaluation.bench import Bench, here, seed_of
from meshtalk.evaluation.page import Strip, ranked, telling_frames
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.files import check_writable
from meshtalk.inference.animator import Animator, load_model
from meshtalk.inference.latents import LatentAnimator
from meshtalk.mesh.head import load_head
from meshtalk.model.checkpoint import load_checkpoint
from meshtalk.model.networks import Regressor
from meshtalk.model.phonetic_trunk import HOPS, PhoneticTrunk
from meshtalk.parallel import WorkerDied, check_workers, one_thread
from meshtalk.progress import bar
from meshtalk.render import Look, Renderer
from meshtalk.report_page import check_plots
from meshtalk.resample import at_rate
from meshtalk.synth.clips import clip_from_recording

OURS, BASELINE, REGRESSOR = "meshtalk", "baseline", "regressor"
STRIPS, MOMENTS, PICTURE_PX = 3, 6, 320
"""Worst clips of which the page shows pictures, pictures of each, and their side."""
PIECE = 1000
"""Mel frames per batch of the phonetic trunk."""
_TEST_SPLIT = EvaluationConfig()


def load_measured(model: Path | None) -> LatentAnimator:
    """A model folder (None: the packaged model) ready to be measured."""
    return LatentAnimator(load_checkpoint(model if model is not None else asset("model")))


def evaluate_model(model: Path | None, corpus: Corpus, config: EvaluationConfig = _TEST_SPLIT) -> list[Report]:
    """Print the table of a model beside references, and write the numbers and a page where the config says so.

    The numbers do not depend on the number of processes: linear algebra runs on one thread in each.

    Raises:
        InputError: a model, corpus, recording or output that cannot be used.
    """
    for output in (config.json, config.html):
        if output is not None:
            check_writable(output)
    if config.html is not None:
        _check_drawing()
    check_workers(config.workers)
    with one_thread():
        return _evaluate(model, corpus, config)


def _evaluate(model: Path | None, corpus: Corpus, config: EvaluationConfig) -> list[Report]:
    speaking = _speaking(model, config.baseline)
    ours = speaking[OURS]
    assert isinstance(ours, LatentAnimator)
    for name, system in speaking.items():
        _check_topology(name, system, corpus)
    if config.real is not None:
        _check_recordings(speaking, config.real)
    seen = at_model_rate(corpus, ours.config.fps)
    with bar() as show:
        references = evaluation.references(seen, config.split, PhoneticFeatures(), show)

    def share(bench: Bench, jobs: Sequence[Any]) -> Iterable[tuple[int, Any]]:
        if config.workers == 1 and not config.ray:
            return here(bench, jobs)
        measure = _Measure(model, references, seen, config)
        return _all_there((parallel.as_done_on_ray if config.ray else parallel.as_done)(measure, jobs, config.workers))

    systems = _systems(references, speaking)
    with bar() as show:
        reports = evaluation.evaluate_all(systems, seen, config, data=corpus.root.name, progress=show, share=share)
    reports = _with_hashes(reports, speaking)
    print(evaluation.table(reports))
    spoken: list[Report] = []
    if config.real is not None:
        spoken = _with_hashes(measure_real(speaking, config.real, config.seed), speaking)
        print(evaluation.table(spoken))
    if config.json is not None:
        evaluation.write_json(reports + spoken, config.json)
    if config.html is not None:
        strips = worst_strips(ours, seen, reports[-1])
        evaluation.write_page(config.html, reports, OURS, real=spoken, strips=strips)
    return reports + spoken


def _speaking(model: Path | None, baseline: Path | None) -> dict[str, Animator]:
    """The systems that are models, loaded."""
    speaking: dict[str, Animator] = {OURS: load_measured(model)}
    if baseline is not None:
        other = load_model(baseline)
        speaking[REGRESSOR if isinstance(other.checkpoint.network, Regressor) else BASELINE] = other
    return speaking


def _systems(references: Mapping[str, Any], speaking: Mapping[str, Animator]) -> dict[str, Any]:
    """All systems, in the order of the table."""
    ours = speaking[OURS]
    assert isinstance(ours, LatentAnimator)
    others = {name: system for name, system in speaking.items() if name != OURS}
    return {**references, **others, "encoder's codes": evaluation.Oracle(ours), OURS: ours}


@dataclass
class _Measure:
    """The bench of an evaluation, in another process: models are loaded there, references are sent along."""

    model: Path | None
    references: dict[str, Any]
    corpus: Corpus | _AtRate
    config: EvaluationConfig

    @cached_property
    def _bench(self) -> Bench:
        return Bench(_systems(self.references, _speaking(self.model, self.config.baseline)), self.corpus, self.config)

    def __call__(self, job: Any) -> Any:
        return self._bench(job)


def _all_there(results: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    for place, result in results:
        if isinstance(result, WorkerDied):
            raise InputError(f"a clip could not be measured: {result.why}. Run again with --workers 1.")
        yield place, result


class _AtRate:
    """A corpus whose clips are resampled to another frame rate."""

    def __init__(self, corpus: Corpus, fps: Fraction) -> None:
        self.corpus, self.fps, self.topology, self.clips = corpus, fps, corpus.topology, corpus.clips

    def load(self, info: Any) -> Clip:
        return at_rate(self.corpus.load(info), self.fps)


def at_model_rate(corpus: Corpus, fps: Fraction) -> Corpus | _AtRate:
    """The corpus at a model's frame rate: every second frame of 60 for a model at 30."""
    return corpus if corpus.fps == fps else _AtRate(corpus, fps)


def measure_real(systems: dict[str, Animator], folder: Path, seed: int = 0) -> list[Report]:
    """Reports on real recordings against the articulation made from their forced alignment; three seeds each."""
    _check_recordings(systems, folder)
    person = load_head().person("default")
    recordings = evaluation.read_recordings(
        folder, lambda audio, rate, text: clip_from_recording(audio, rate, text, person, seed)
    )
    return evaluation.evaluate_real(systems, recordings, data=folder.name, seeds=(seed, seed + 1, seed + 2))


class PhoneticFeatures:
    """Audio features of the nearest-clip baseline: the phonetic trunk, its reach of 0.4 s centred on each row."""

    def __init__(self) -> None:
        self._frontend, self._trunk = MelFrontend("phonetic"), PhoneticTrunk()

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """(S,) mono 16 kHz → (L,F), row j at j · 10 ms."""
        reach = ((HOPS // 2, HOPS - 1 - HOPS // 2), (0, 0))
        silence = self._frontend.silence
        mel = torch.from_numpy(np.pad(self._frontend.all(samples), reach, constant_values=silence))
        tails, parts = (), []
        for piece in mel.split(PIECE):
            outputs, tails = self._trunk.stream(piece[None], tails)
            parts.append(outputs[0])
        return torch.cat(parts).numpy()


def worst_strips(ours: LatentAnimator, corpus: Corpus | _AtRate, report: Report) -> list[Strip]:
    """Pictures of the clips with the largest lip errors, by the truth and, animated again, by the model."""
    from PIL import Image

    infos = {info.id: info for info in corpus.clips}
    strips = []
    for place in reversed(ranked(report)[-STRIPS:]):
        true = corpus.load(infos[report.clips[place]["id"]])
        seed = seed_of(report.seed, place, 0)
        clip = ours.animate(true.audio, true.sample_rate, template=true.template, seed=seed)
        renderer = Renderer(
            true.topology, true.template, PICTURE_PX, PICTURE_PX, Look("face"), tint=true.tint, subject=true.subject
        )
        frames = telling_frames(report.curves[place], MOMENTS)
        rows = []
        for shown in (true, clip):
            pictures = []
            for image in renderer.frames(shown.frames(k, k + 1)[0] for k in frames):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "JPEG", quality=85, optimize=True)
                pictures.append(buffer.getvalue())
            rows.append(pictures)
        strips.append(Strip(place, frames, *rows))
    return strips


def _with_hashes(reports: list[Report], models: dict[str, Animator]) -> list[Report]:
    return [
        replace(report, model_hash=models[report.system].checkpoint.hash) if report.system in models else report
        for report in reports
    ]


def _check_drawing() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise InputError(
            "a page with pictures needs Pillow (not installed). Run pip install 'meshtalk[media]'."
        ) from None
    check_plots()


def _check_topology(name: str, system: Animator, corpus: Corpus) -> None:
    has, needed = system.topology, corpus.topology
    if has.hash != needed.hash:
        raise InputError(
            f"{name} moves topology {has.hash} ({has.n_vertices} vertices) and the corpus has {needed.hash} "
            f"({needed.n_vertices} vertices). Measure a model on a corpus of its own topology."
        )


def _check_recordings(systems: dict[str, Animator], folder: Path) -> None:
    for system in systems.values():
        if system.topology.hash != load_head().topology.hash:
            raise InputError("real recordings are articulated on the packaged head; this model has another topology")
    read_transcripts(folder)
