"""The terms of stage 1's loss that the official code has and the paper does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rig
import torch
from test_training import windows

from meshtalk.config import PRESETS, TrainConfig
from meshtalk.model.networks import MeshTalk
from meshtalk.training.loop import Step
from meshtalk.training.steps import Stage1


@pytest.mark.parametrize("dense", [True, False])
def test_the_official_presets_terms(rig_corpus, dense_corpus, tmp_path, inline_features, dense):
    config, corpus = (rig.TINY_DENSE, dense_corpus) if dense else (rig.TINY, rig_corpus)
    config = replace(config, prior=replace(config.prior, imagines_expression=False))
    data = windows(corpus, tmp_path, config, versions=0)
    loss = PRESETS["official"][1].loss
    torch.manual_seed(0)
    model = MeshTalk(config, data.geometry).eval()
    train = TrainConfig(loss=loss, stage1=replace(TrainConfig().stage1, batch=3, frames=8))

    def terms(**changes: float) -> dict[str, float]:
        torch.manual_seed(0)
        stage1 = Stage1(model, data, replace(train, loss=replace(loss, **changes)))
        step = Step(0, 0.0, np.random.default_rng(1))
        found = stage1(step, stage1.read(step))
        return {name: value.item() for name, value in found.items()}

    once = terms()
    assert {name for name, value in once.items() if value} == {"loss", "whole_face", "eyelid_points", "cross_modality"}
    assert terms(whole_face=2.0)["whole_face"] == pytest.approx(2 * once["whole_face"], rel=1e-6)
    assert "whole_face" not in terms(whole_face=0.0)


def test_whole_face_is_the_mean_over_all_vertices(rig_corpus, tmp_path, inline_features):
    geometry = windows(rig_corpus, tmp_path, versions=0).geometry
    error = torch.randn(2, 3, geometry.n_motion)
    vertices = torch.stack([geometry.to_displacement(e, torch.zeros(geometry.n_vertices, 3)) for e in error]) * 1e3
    mean = vertices.square().sum(-1).mean()
    torch.testing.assert_close(geometry.region_error(error, "face"), mean, rtol=1e-4, atol=1e-6)
