"""Print why the packaged model moves people differently, and what it is worth: see measure_identity_leak.py.

python experiments/measure_identity_cause.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, islice

import numpy as np
from _faces import middle
from measure_identity_leak import REGIONS, SEED, Sound, packaged_sounds

from meshtalk.clip import Clip
from meshtalk.config import SAMPLE_RATE
from meshtalk.evaluation.run import load_measured
from meshtalk.inference.latents import MeasuredAnimator
from meshtalk.measures import metrics
from meshtalk.mesh.head import Person, load_head
from meshtalk.model.geometry import MM
from meshtalk.synth.build import casts, jobs, listening
from meshtalk.synth.clips import FPS, make_clip
from meshtalk.synth.upper_face import EMOTIONS, upper_face

SPEAKING, LISTENING = 1222, 21
"""Training clips of the packaged model: docs and MODEL_CARD.md."""
MOOD_FRAMES = 90
"""Of each clip's mood: three seconds, as long as the clips."""


def moods(people: list[Person]) -> np.ndarray:
    """(N,S) mean weights of the upper face and the mood over each person's training clips, less the mean of all people.

    People, moods and chances of the corpus's plan follow from its seed; nothing of it was drawn with faces in mind.
    """
    shown: dict[str, list[np.ndarray]] = {person.name: [] for person in people}
    for job in chain(islice(jobs("train", SEED), SPEAKING), islice(listening(SEED), LISTENING)):
        _, chance = np.random.default_rng(job.seed).spawn(2)
        shown[job.person].append(upper_face(MOOD_FRAMES, FPS, job.emotion, chance).mean(0))
    found = np.stack([np.mean(each, 0) for each in shown.values()])
    return found - found.mean(0)


def drifts(model: MeasuredAnimator, sound: Sound, people: list[Person], mean: Person) -> np.ndarray:
    """(N,S) mean weights of the same codes decoded on each face, less the mean of all."""
    clip = model.animate(sound.audio, SAMPLE_RATE, template=mean.template, seed=SEED)
    codes = model.codes(clip)
    decoded = [model.decoded(codes, replace(clip, template=person.template)).weights for person in people]
    found = np.mean(decoded, 1)
    return found - found.mean(0)


def remembered(chance: np.ndarray, drift: np.ndarray, region: str) -> tuple[float, float]:
    """(correlation, slope) of what the decoder does to people on what their training clips happened to show, over vertices."""
    shapes, at = load_head().topology.shapes, load_head().topology.indices(region)
    assert shapes is not None
    moved = shapes[:, at].reshape(len(shapes), -1)
    shown, ours = chance @ moved, drift @ moved
    both = float(np.vdot(shown, ours))
    return both / float(np.linalg.norm(shown) * np.linalg.norm(ours)), both / float(np.vdot(shown, shown))


def errors_mm(
    model: MeasuredAnimator, sounds: Mapping[str, Sound], people: list[Person], mean: Person
) -> dict[str, np.ndarray]:
    """Region → (2,) mean vertex error of articulations coded and decoded: told whose face it is, and told the mean face."""
    rows: dict[str, list[tuple[float, float]]] = {region: [] for region in REGIONS}
    names = list(EMOTIONS)
    for k, person in enumerate(people):
        for j, sound in enumerate(sounds.values()):
            mood, seed = names[(k + j) % len(names)], len(sounds) * k + j
            true = make_clip(sound.audio, SAMPLE_RATE, sound.phones, person, emotion=mood, seed=seed)
            codes = model.codes(true)
            told, untold = (model.decoded(codes, on) for on in (true, replace(true, template=mean.template)))
            for region in REGIONS:
                rows[region].append((_error_mm(told, true, region), _error_mm(untold, true, region)))
    return {region: np.mean(each, 0) for region, each in rows.items()}


def _error_mm(ours: Clip, true: Clip, region: str) -> float:
    at = true.topology.indices(region)
    return metrics.mve_mm(ours.displacements()[:, at], true.displacements()[:, at])


def main() -> None:
    head, model, sounds = load_head(), load_measured(None), packaged_sounds()
    cast = {split: [head.person(name) for name in of["people"]] for split, of in casts(SEED).items()}
    trained, held_out = cast["train"], [*cast["val"], *cast["test"]]
    mean = middle(trained)
    chance, drift = moods(trained), drifts(model, next(iter(sounds.values())), trained, mean)
    error = errors_mm(model, sounds, held_out, mean)
    shapes = head.topology.shapes
    assert shapes is not None
    print(
        "| region | mood by chance, mm | drift with the mood, r | slope | error told the face, mm | told the mean face, mm |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for region in REGIONS:
        r, slope = remembered(chance, drift, region)
        shown = np.tensordot(chance, shapes[:, head.topology.indices(region)], 1) * MM
        rms = np.sqrt(np.square(shown).sum(-1).mean())
        told, untold = error[region]
        print(f"| {region.replace('_', ' ')} | {rms:.2f} | {r:.2f} | {slope:.2f} | {told:.3f} | {untold:.3f} |")


if __name__ == "__main__":
    main()
