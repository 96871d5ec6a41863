"""Configs: JSON there and back, and nothing else accepted."""

import json
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction

import pytest

from meshtalk.config import PRESETS, ModelConfig, TrainConfig, from_json, to_json
from meshtalk.errors import InputError
from meshtalk.training.run import quick


@pytest.mark.parametrize("preset", PRESETS)
def test_json_there_and_back(preset):
    for config in PRESETS[preset]:
        text = json.dumps(to_json(config))
        assert from_json(type(config), json.loads(text)) == config


def test_fractions_survive():
    config = ModelConfig(fps=Fraction(30000, 1001))
    assert to_json(config)["fps"] == "30000/1001"
    assert from_json(ModelConfig, to_json(config)).fps == Fraction(30000, 1001)


def test_the_papers_sizes():
    model, train = PRESETS["paper"]
    assert (model.heads, model.classes, model.geometry.kind) == (64, 128, "dense")
    assert (model.audio.past_hops, model.audio.lookahead_hops, model.audio.dilations) == (50, 10, (2, 4, 6, 2, 4, 6))
    assert model.prior.channels == 64
    assert (train.stage1.batch, train.stage1.learning_rate, train.stage1.frames) == (8, 1e-3, 32)
    assert (PRESETS["official"][0].heads, PRESETS["official"][0].classes) == (16, 128)


def test_quick_scales_every_stage_but_keeps_absent_ones_absent():
    train = quick(PRESETS["paper"][1], 1e-9)
    assert [s.steps for s in (train.regression, train.stage1, train.stage2)] == [0, 1, 1]
    assert quick(TrainConfig(), 0.5).stage1.steps == TrainConfig().stage1.steps // 2


def changed(**values):
    data = to_json(ModelConfig())
    for name, value in values.items():
        place, *rest = name.split("__")
        if rest:
            data[place][rest[0]] = value
        else:
            data[place] = value
    return data


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "compact",
        changed(colour="red"),
        changed(heads="16"),
        changed(heads=True),
        changed(heads=0),
        changed(classes=1),
        changed(heads=16.5),
        changed(audio=None),
        changed(audio__stack="loop"),
        changed(audio__dilations=3),
        changed(audio__dilations=["2"]),
        changed(audio__dropout="0.2"),
        changed(geometry__kind="pca"),
        changed(prior__mask=["inclusive"]),
        changed(prior__own_audio_encoder=1),
        changed(fps="30/0"),
        changed(fps="thirty"),
        changed(fps="0/1"),
        changed(fps="-30/1"),
        changed(fps=None),
    ],
)
def test_anything_else_is_one_clear_error(data):
    with pytest.raises(InputError):
        from_json(ModelConfig, data)


def test_a_missing_field_without_default_is_named():
    data = to_json(TrainConfig())
    del data["stage1"]["steps"]
    with pytest.raises(InputError, match="steps"):
        from_json(TrainConfig, data)


def test_configs_are_frozen_and_every_field_is_typed():
    for kind in (ModelConfig, TrainConfig):
        for field in fields(kind):
            assert field.type
    assert is_dataclass(replace(ModelConfig(), heads=2))
    with pytest.raises(AttributeError):
        ModelConfig().heads = 3
