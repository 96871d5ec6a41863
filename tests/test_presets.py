"""Every preset builds, trains, saves, loads and animates: its structure and losses, with fewer channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rig

from meshtalk.config import PRESETS
from meshtalk.inference.animator import load_model
from meshtalk.inference.latents import MeasuredAnimator
from meshtalk.training.run import quick, train

AUDIO = rig.speech(3, 1.0)[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_lives_through_everything(preset, rig_corpus, dense_corpus, tmp_path, inline_features):
    model, training = PRESETS[preset]
    corpus = rig_corpus if model.geometry.kind == "basis" else dense_corpus
    config = replace(
        model,
        heads=model.heads // 4,
        audio=replace(model.audio, width=16, code=16),
        prior=replace(model.prior, channels=4),
    )
    short = quick(training, 1e-9)
    stages = {name: replace(getattr(short, name), batch=3, frames=16) for name in ("regression", "stage1", "stage2")}
    said: list[str] = []
    folder = train(
        corpus, tmp_path / "run", config, replace(short, **stages, augmentations=min(short.augmentations, 1)),
        progress=said.append,
    )  # fmt: skip
    assert any(line.startswith("stage2 1/1") for line in said)
    animator = load_model(folder)
    assert animator.config == config
    clip = animator.animate(AUDIO, rig.RATE, template=rig.NEUTRAL, seed=1)
    assert clip.validate().n_frames == 30
    assert np.isfinite(clip.vertices).all()
    reconstructed = MeasuredAnimator(animator.checkpoint).reconstruct(clip)
    assert reconstructed.n_frames == clip.n_frames
