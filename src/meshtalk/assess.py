"""Measure a model folder on a corpus and on real recordings: what `meshtalk evaluate` prints."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meshtalk import evaluation
from meshtalk.animate import Animator, load_model
from meshtalk.assets import asset
from meshtalk.audio import MelFrontend
from meshtalk.checkpoint import load_checkpoint
from meshtalk.clip import Clip
from meshtalk.corpus.head import load_head
from meshtalk.corpus.motion import clip_from_recording
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.evaluation import Report
from meshtalk.evaluation.evaluate import seed_of
from meshtalk.evaluation.nearest import Features
from meshtalk.evaluation.page import Strip, ranked, telling_frames
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.files import check_writable
from meshtalk.measured import MeasuredAnimator
from meshtalk.model.phonetic_trunk import HOPS, PhoneticTrunk
from meshtalk.render import Look, Renderer
from meshtalk.resample import at_rate

OURS = "meshtalk"
STRIPS, MOMENTS, PICTURE_PX = 3, 6, 320
"""Worst clips of which the page shows pictures, pictures of each, and their side."""
PIECE = 1000
"""Mel frames that the phonetic trunk hears at a time."""


def load_measured(model: Path | None) -> MeasuredAnimator:
    """A model folder (None: the packaged model) ready to be measured."""
    return MeasuredAnimator(load_checkpoint(model if model is not None else asset("model")))


def evaluate_model(
    model: Path | None,
    corpus: Corpus,
    *,
    split: str = "test",
    baseline: Path | None = None,
    real: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    samples: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> list[Report]:
    """Print the table of a model beside references, and write the numbers to `json` and a page to `html` if given.

    Args:
        baseline: regressor folder of a training run.
        real: folder with transcripts.tsv, or None.

    Raises:
        InputError: a model, corpus, recording or output that cannot be used.
    """
    if samples < 1:
        raise InputError(f"{samples} samples came; measure one animation of each clip at least")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; measure one clip at least")
    for output in (json, html):
        if output is not None:
            check_writable(output)
    if html is not None:
        _check_drawing()
    ours = load_measured(model)
    speaking: dict[str, Animator] = {OURS: ours}
    if baseline is not None:
        speaking["regressor"] = load_model(baseline)
    for name, system in speaking.items():
        _check_topology(name, system, corpus)
    if real is not None:
        _check_recordings(speaking, real)
    seen = at_model_rate(corpus, ours.config.fps)
    systems: dict[str, Any] = evaluation.references(seen, split, phonetic_features(), _show_reading)
    systems |= {name: speaking[name] for name in speaking if name != OURS}
    systems |= {"encoder's codes": evaluation.Oracle(ours), OURS: ours}
    reports = evaluation.evaluate_all(
        systems, seen, split, data=corpus.root.name, seed=seed, samples=samples, limit=limit, progress=_show
    )
    reports = _with_hashes(reports, speaking)
    print(evaluation.table(reports))
    spoken: list[Report] = []
    if real is not None:
        spoken = _with_hashes(measure_real(speaking, real, seed), speaking)
        print(evaluation.table(spoken))
    if json is not None:
        evaluation.write_json(reports + spoken, json)
    if html is not None:
        evaluation.write_page(html, reports, OURS, real=spoken, strips=worst_strips(ours, seen, reports[-1]))
    return reports + spoken


class _AtRate:
    """A corpus whose clips come at another frame rate."""

    def __init__(self, corpus: Corpus, fps: Fraction) -> None:
        self.corpus, self.fps, self.topology, self.clips = corpus, fps, corpus.topology, corpus.clips

    def load(self, info: Any) -> Clip:
        return at_rate(self.corpus.load(info), self.fps)


def at_model_rate(corpus: Corpus, fps: Fraction) -> Corpus | _AtRate:
    """The corpus as a model sees it, whose codes are at its own rate: every second frame of 60 for a model at 30."""
    return corpus if corpus.fps == fps else _AtRate(corpus, fps)


def measure_real(systems: dict[str, Animator], folder: Path, seed: int = 0) -> list[Report]:
    """Reports on real recordings against the articulation made from their forced alignment; three seeds each."""
    _check_recordings(systems, folder)
    person = load_head().person("default")
    recordings = evaluation.read_recordings(
        folder, lambda audio, rate, text: clip_from_recording(audio, rate, text, person, seed)
    )
    return evaluation.evaluate_real(systems, recordings, data=folder.name, seeds=(seed, seed + 1, seed + 2))


def phonetic_features() -> Features:
    """How the nearest-clip baseline hears: the phonetic trunk, its reach of 0.4 s centred on each row."""
    frontend, trunk = MelFrontend("phonetic"), PhoneticTrunk()

    def features(samples: np.ndarray) -> np.ndarray:
        reach = ((HOPS // 2, HOPS - 1 - HOPS // 2), (0, 0))
        mel = torch.from_numpy(np.pad(frontend.all(samples), reach, constant_values=frontend.silence))
        tails, parts = (), []
        for piece in mel.split(PIECE):
            heard, tails = trunk.stream(piece[None], tails)
            parts.append(heard[0])
        return torch.cat(parts).numpy()

    return features


def worst_strips(ours: MeasuredAnimator, corpus: Corpus | _AtRate, report: Report) -> list[Strip]:
    """Pictures of the clips with the largest lip errors, by the truth and, animated again, by the model."""
    from PIL import Image

    infos = {info.id: info for info in corpus.clips}
    strips = []
    for place in reversed(ranked(report)[-STRIPS:]):
        true = corpus.load(infos[report.clips[place]["id"]])
        seed = seed_of(report.seed, place, 0)
        clip = ours.animate(true.audio, true.sample_rate, template=true.template, seed=seed)
        renderer = Renderer(true.topology, true.template, PICTURE_PX, PICTURE_PX, Look("face"), tint=true.tint)
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
        raise InputError("a page with pictures needs Pillow (not installed) : pip install 'meshtalk[media]'") from None


def _check_topology(name: str, system: Animator, corpus: Corpus) -> None:
    has, needed = system.topology, corpus.topology
    if has.hash != needed.hash:
        raise InputError(
            f"{name} moves topology {has.hash} ({has.n_vertices} vertices) and the corpus has {needed.hash} "
            f"({needed.n_vertices} vertices) : measure a model on a corpus of its own topology"
        )


def _check_recordings(systems: dict[str, Animator], folder: Path) -> None:
    for system in systems.values():
        if system.topology.hash != load_head().topology.hash:
            raise InputError("real recordings are articulated on the packaged head; this model has another topology")
    read_transcripts(folder)


def _show(done: int, total: int) -> None:
    print(f"\r{done}/{total} clips", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _show_reading(done: int, total: int) -> None:
    print(f"\rnearest clip: heard {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
