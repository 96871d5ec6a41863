"""Measure a model folder on a corpus and on real recordings: what `meshtalk evaluate` prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from meshtalk import evaluation
from meshtalk.animate import Animator, load_model
from meshtalk.assets import asset
from meshtalk.checkpoint import load_checkpoint
from meshtalk.corpus.head import load_head
from meshtalk.corpus.motion import clip_from_recording
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.evaluation import Report
from meshtalk.files import check_writable
from meshtalk.measured import MeasuredAnimator


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
    samples: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> list[Report]:
    """Print the table of a model beside references, and write the numbers to `json` if given.

    Args:
        baseline: regressor folder of a training run.
        real: folder with transcripts.tsv, or None.

    Raises:
        InputError: a model, corpus, recording or output that cannot be used.
    """
    if samples < 1:
        raise InputError(f"{samples} samples came; measure one animation of each clip at least")
    if json is not None:
        check_writable(json)
    ours = load_measured(model)
    systems: dict[str, Any] = evaluation.references(corpus, split)
    if baseline is not None:
        systems["regressor"] = load_model(baseline)
    systems |= {"encoder's codes": evaluation.Oracle(ours), "meshtalk": ours}
    reports = evaluation.evaluate_all(
        systems, corpus, split, data=corpus.root.name, seed=seed, samples=samples, limit=limit, progress=_show
    )
    print(evaluation.table(reports))
    if real is not None:
        speaking: dict[str, Animator] = {"meshtalk": ours}
        if baseline is not None:
            speaking["regressor"] = systems["regressor"]
        spoken = measure_real(speaking, real, seed)
        print(evaluation.table(spoken))
        reports += spoken
    if json is not None:
        evaluation.write_json(reports, json)
    return reports


def measure_real(systems: dict[str, Animator], folder: Path, seed: int = 0) -> list[Report]:
    """Reports on real recordings against the articulation made from their forced alignment; three seeds each."""
    person = load_head().person("default")
    for system in systems.values():
        if system.topology.hash != load_head().topology.hash:
            raise InputError("real recordings are articulated on the packaged head; this model has another topology")
    recordings = evaluation.read_recordings(
        folder, lambda audio, rate, text: clip_from_recording(audio, rate, text, person, seed)
    )
    return evaluation.evaluate_real(systems, recordings, data=folder.name, seeds=(seed, seed + 1, seed + 2))


def _show(done: int, total: int) -> None:
    print(f"\r{done}/{total} clips", end="\n" if done == total else "", file=sys.stderr, flush=True)
