"""What `experiments/reproduce.py` measures of a trained experiment: plain numbers on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _claims import Experiment

from meshtalk import evaluation
from meshtalk.clip import Clip
from meshtalk.config import EvaluationConfig
from meshtalk.corpus.store import Corpus
from meshtalk.evaluation.bench import seed_of, spread
from meshtalk.evaluation.disentangle import common_length
from meshtalk.evaluation.run import PhoneticFeatures, load_measured
from meshtalk.inference.animator import Animator, load_model
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import metrics, tracks

SPLIT = "test"
CLIPS = 48
"""Of the test split's, evenly spread: all of its voices and people are among them."""
BLINKING = 0.5
"""Lids this far down are in a blink."""


class EncoderOnly:
    """A model without a prior: its codes and what they decode to."""

    def __init__(self, model: LatentAnimator) -> None:
        self.model = model

    def predict(self, info: Any, clip: Clip, seed: int) -> Clip:
        return self.model.reconstruct(clip)

    def swap(self, audio_clip: Clip, expression_clip: Clip) -> Clip:
        return self.model.swap(audio_clip, expression_clip)

    def codes(self, clip: Clip) -> np.ndarray:
        return self.model.codes(clip)


def measure(folder: Path, experiment: Experiment, corpus: Corpus) -> dict[str, Any]:
    """Every number of one experiment."""
    if experiment.only_hears:
        return {"heard": _figures({"heard": load_model(folder / "regressor")}, corpus)["heard"]}
    model = load_measured(folder / "model")
    systems: dict[str, Any] = {"codes": EncoderOnly(model)}
    if experiment.has_prior:
        systems["sampled"] = model
    return _figures(systems, corpus) | {"eyelids": eyelids(model, corpus)}


def _figures(systems: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    found = {}
    for report in evaluation.evaluate_all(systems, corpus, EvaluationConfig(SPLIT, limit=CLIPS)):
        told = report.to_dict()
        found[report.system] = {
            "measures": {key: figure["value"] for key, figure in told["measures"].items()},
            "swap": told["swap_rows_audio_expression_columns_mouth_upper"],
            "true_swap": told["true_swap"],
        }
    return found


def eyelids(model: LatentAnimator, corpus: Corpus) -> dict[str, float]:
    """Mean error of the lids' vertices, mm, with the true sound and with another clip's; in blinks alone; and their correlation."""
    infos = spread(corpus.split(SPLIT), CLIPS)
    lids = corpus.topology.indices("eyelids")
    rows: dict[str, list[np.ndarray]] = {"true sound": [], "other sound": []}
    blinking, closures = [], []
    for info, other in zip(infos, infos[1:] + infos[:1], strict=True):
        truth, sound = common_length(corpus.load(info), corpus.load(other))
        true_lids, closure = tracks.positions(truth, lids), tracks.eyelid_closure(truth)
        assert closure is not None
        blinking.append(closure > BLINKING)
        made = {
            "true sound": model.reconstruct(truth),
            "other sound": model.swap(replace(sound, template=truth.template), truth),
        }
        for name, clip in made.items():
            rows[name].append(metrics.distances_m(tracks.positions(clip, lids), true_lids).mean(1) * metrics.MM)
        ours = tracks.eyelid_closure(made["other sound"])
        assert ours is not None
        closures.append((ours, closure))
    down = np.concatenate(blinking)
    found = {}
    for name, parts in rows.items():
        errors = np.concatenate(parts)
        found[f"{name}, mm"] = float(errors.mean())
        found[f"{name}, in blinks, mm"] = float(errors[down].mean())
    ours, theirs = (np.concatenate(part) for part in zip(*closures, strict=True))
    return found | {"other sound, closure r": float(np.corrcoef(ours, theirs)[0, 1])}


# ------------------------------------------------------------------------------------------------ the finished model


class Way:
    """One way to get a clip from a sampler: one sample, the most likely codes, or the mean of several samples."""

    def __init__(self, model: Animator, *, argmax: bool = False, mean_of: int = 1) -> None:
        self.model, self.argmax, self.mean_of = model, argmax, mean_of

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip:
        takes = self.model.takes(
            audio, sample_rate, n=self.mean_of, seed=seed, template=template, argmax=self.argmax
        )  # fmt: skip
        return mean_clip(takes)


def mean_clip(takes: Sequence[Clip]) -> Clip:
    """The mean mesh of several clips of one sound on one face."""
    first = takes[0]
    if first.weights is not None:
        return replace(first, weights=np.mean([take.weights for take in takes], 0, dtype=np.float32))
    return replace(first, displacement=np.mean([take.displacement for take in takes], 0, dtype=np.float32))


def ways(model: Animator, corpus: Corpus) -> dict[str, Any]:
    """(e) sampled, argmax, mean of ten."""
    return _figures(
        {"sampled": Way(model), "argmax": Way(model, argmax=True), "mean of 10": Way(model, mean_of=10)}, corpus
    )


def systems(model: LatentAnimator, regressor: Path, corpus: Corpus) -> dict[str, Any]:
    """(f) the model beside simple answers to the same sound: mean face, nearest training clip, regressor."""
    answers: dict[str, Any] = evaluation.references(corpus, SPLIT, PhoneticFeatures())
    answers |= {"regressor": load_model(regressor), "codes of the truth": evaluation.Oracle(model), "meshtalk": model}
    return _figures(answers, corpus)


def best_of_ten(model: Animator, corpus: Corpus) -> dict[str, float]:
    """LVE of ten samples of each clip: mean and best, and how far they lie apart, mm."""
    lips = corpus.topology.indices("lips")
    upper = corpus.topology.indices("upper_face")
    rows = []
    for index, info in enumerate(spread(corpus.split(SPLIT), CLIPS)):
        truth = corpus.load(info)
        takes = model.takes(
            truth.audio, truth.sample_rate, n=10, seed=seed_of(0, index, 0) % 2**32, template=truth.template
        )
        samples = [tracks.positions(tracks.aligned(take, truth, "model")[0], lips) for take in takes]
        true_lips = tracks.positions(truth, lips)[: len(samples[0])]
        rows.append([
            metrics.mean_of_n_lve_mm(samples, true_lips),
            metrics.best_of_n_lve_mm(samples, true_lips),
            metrics.diversity_mm(samples),
            metrics.diversity_mm([tracks.positions(take, upper) for take in takes]),
        ])  # fmt: skip
    names = ("mean of 10, mm", "best of 10, mm", "lips apart, mm", "upper face apart, mm")
    return dict(zip(names, np.mean(rows, 0).tolist(), strict=True))
