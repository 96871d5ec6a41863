"""Train a small autoencoder over dense vertices, whose decoder sees every coordinate of the template: measure_identity_leak.py.

    python experiments/train_small_dense.py FOLDER [--minutes 6] [--steps-factor 0.08]

It takes about a quarter of an hour of one core. Its prior is not trained: it is there to see what such a decoder does
with new faces.
The corpus is that of `meshtalk corpus build` with flite's voices alone, which are fast; the same people are held out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from meshtalk.config import PRESETS, GeometryConfig
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.mesh.head import load_head
from meshtalk.synth.build import LICENCES, casts, performance, rng_of
from meshtalk.synth.clips import FPS, make_clip
from meshtalk.synth.speech import synthesize
from meshtalk.training.data import print_progress
from meshtalk.training.run import quick, train

VOICES = {"train": ("rms", "slt", "kal16"), "val": ("awb",)}
VAL_SHARE = 0.1
BATCH, FRAMES = 4, 24
"""Small: a dense frame costs several hundred times one of a basis."""


def small_corpus(root: Path, minutes: float, seed: int = 0) -> Corpus:
    """`minutes` of training speech and a tenth of that for validation, spoken by flite."""
    writer, infos = CorpusWriter(root, load_head().topology, FPS, LICENCES), []
    for split, goal_s in (("train", 60 * minutes), ("val", 60 * minutes * VAL_SHARE)):
        cast, done_s = casts(seed)[split], 0.0
        for number, text in enumerate(cast["sentences"]):
            rng = rng_of(seed, "small", split, text)
            person, emotion, draw = performance(rng, cast["people"])
            voice = VOICES[split][number % len(VOICES[split])]
            said = synthesize(voice, text, draw)
            if said is None:
                continue
            face = load_head().person(person)
            sound = (said.audio, said.sample_rate, said.phones)
            clip = make_clip(*sound, face, emotion=emotion, sentence=text, seed=draw)
            infos.append(writer.add(clip, id=f"{split}-{number:04d}", split=split, voice=voice, seed=draw))
            done_s += clip.duration_s
            if done_s >= goal_s:
                break
    return writer.finish(infos)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where `corpus` and `run` are made; the model is run/model")
    parser.add_argument("--minutes", type=float, default=6.0, help="of training speech (default %(default)s)")
    parser.add_argument("--steps-factor", type=float, default=0.08, help="of compact's steps (default %(default)s)")
    options = parser.parse_args()
    model, training = PRESETS["compact"]
    model = replace(
        model,
        geometry=GeometryConfig(kind="dense"),
        prior=replace(model.prior, imagines_expression=False),  # which a dense geometry cannot
    )
    stages = {
        name: replace(getattr(training, name), batch=BATCH, frames=FRAMES)
        for name in ("regression", "stage1", "stage2")
    }
    training = replace(quick(replace(training, **stages), options.steps_factor), augmentations=0)
    training = replace(training, stage2=replace(training.stage2, steps=1))
    corpus = small_corpus(options.folder / "corpus", options.minutes)
    print(train(corpus, options.folder / "run", model, training, progress=print_progress))


if __name__ == "__main__":
    main()
