"""A model folder: builds itself, and whatever else lies there is one clear error."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from safetensors.numpy import load_file, save_file

from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.model.checkpoint import FORMAT, load_checkpoint, save_checkpoint

FORMS = {
    "basis": (rig.TINY, False),
    "dense": (rig.TINY_DENSE, False),
    "regressor": (rig.TINY, True),
    "phonetic": (replace(rig.TINY, audio=rig.PHONETIC), False),
    "window": (replace(rig.TINY, audio=rig.WINDOW), False),
    "shared audio encoder": (replace(rig.TINY, prior=replace(rig.PRIOR, own_audio_encoder=False)), False),
}


@pytest.mark.parametrize("form", FORMS)
def test_saved_and_loaded_it_is_the_same(tmp_path, form):
    config, regressor = FORMS[form]
    ours = rig.random_checkpoint(config, regressor=regressor)
    save_checkpoint(tmp_path / "m", ours)
    again = load_checkpoint(tmp_path / "m")
    assert again.config == config
    assert type(again.network) is type(ours.network)
    assert not again.network.training
    assert again.topology.hash == rig.TOPOLOGY.hash
    np.testing.assert_array_equal(again.template, ours.template)
    state = again.network.state_dict()
    for name, value in ours.network.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=1e-3)  # half precision
    motion = torch.randn(4, ours.network.geometry.n_motion)
    template = torch.from_numpy(rig.NEUTRAL)
    torch.testing.assert_close(
        again.network.geometry.to_displacement(motion, template),
        ours.network.geometry.to_displacement(motion, template),
        atol=2e-5,
        rtol=1e-3,
    )


@pytest.mark.parametrize("form", ["basis", "dense"])
def test_saving_what_was_loaded_changes_nothing(tmp_path, form):
    save_checkpoint(tmp_path / "a", rig.random_checkpoint(FORMS[form][0]))
    first = load_checkpoint(tmp_path / "a")
    save_checkpoint(tmp_path / "b", first)
    second = load_checkpoint(tmp_path / "b")
    assert first.hash == second.hash == load_checkpoint(tmp_path / "a").hash
    assert len(first.hash) == 16


def test_the_hash_is_of_weights_and_config(tmp_path):
    hashes = set()
    for index, (config, seed) in enumerate([(rig.TINY, 0), (rig.TINY, 1), (replace(rig.TINY, preset="other"), 0)]):
        save_checkpoint(tmp_path / str(index), rig.random_checkpoint(config, seed))
        hashes.add(load_checkpoint(tmp_path / str(index)).hash)
    assert len(hashes) == 3


def test_a_basis_without_blendshapes_is_stored_itself(tmp_path):
    ours = replace(rig.random_checkpoint(), mix=None)
    save_checkpoint(tmp_path / "m", ours)
    again = load_checkpoint(tmp_path / "m")
    assert again.mix is None
    torch.testing.assert_close(again.network.geometry.basis, ours.network.geometry.basis)


def test_a_model_of_the_packaged_head_carries_no_copy_of_it(tmp_path):
    save_checkpoint(tmp_path / "m", rig.head_checkpoint())
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]
    assert load_checkpoint(tmp_path / "m").topology is load_head().topology


# --- damage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def refused(folder: Path, words: str = ".") -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "topology.npz"])
def test_missing_files(folder, name):
    (folder / name).unlink()
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "topology.npz"])
@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_truncated_files(folder, name, keep):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(keep if keep in (0, 1) else keep * len(whole))])
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "topology.npz"])
def test_garbage(folder, name):
    (folder / name).write_bytes(np.random.default_rng(0).bytes(3000))
    refused(folder)


def test_paths_that_are_no_folder(folder, tmp_path):
    refused(tmp_path / "nowhere", "not a model folder")
    refused(folder / "config.json", "not a model folder")
    refused(tmp_path, "not a model folder")


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(
    "change",
    [
        lambda d: [],
        lambda d: None,
        lambda d: d | {"format": FORMAT + "0"},
        lambda d: d | {"config": None},
        lambda d: d | {"config": d["config"] | {"heads": 4}},
        lambda d: d | {"config": d["config"] | {"heads": -1}},
        lambda d: d | {"config": d["config"] | {"heads": "many"}},
        lambda d: d | {"config": d["config"] | {"fps": "0/1"}},
        lambda d: d | {"config": d["config"] | {"fps": "1/0"}},
        lambda d: d | {"config": d["config"] | {"colour": 1}},
        lambda d: d | {"config": d["config"] | {"audio": d["config"]["audio"] | {"dilations": ["x"]}}},
        lambda d: d | {"config": d["config"] | {"audio": d["config"]["audio"] | {"dilations": [0, 4]}}},
        lambda d: d | {"config": d["config"] | {"audio": d["config"]["audio"] | {"kernel": 0}}},
        lambda d: d | {"config": d["config"] | {"audio": d["config"]["audio"] | {"width": -3}}},
        lambda d: d | {"config": d["config"] | {"audio": d["config"]["audio"] | {"frontend": "phonetic"}}},
        lambda d: d | {"config": d["config"] | {"geometry": d["config"]["geometry"] | {"kind": "dense"}}},
        lambda d: d | {"topology": "packaged head"},
        lambda d: d | {"topology_hash": "0" * 16},
        lambda d: d | {"network": "regressor"},
        lambda d: {k: v for k, v in d.items() if k != "config"},
        lambda d: {k: v for k, v in d.items() if k != "topology"},
        lambda d: {k: v for k, v in d.items() if k != "topology_hash"},
        lambda d: {k: v for k, v in d.items() if k != "network"},
    ],
)
def test_configs_that_lie(folder, change):
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    refused(folder)


def reshaped(name: str):
    return lambda a: a | {name: a[name][:-1]}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {},
        lambda a: a | {"network.extra": np.zeros(3, np.float32)},
        lambda a: {k: v for k, v in a.items() if k != "template"},
        lambda a: {k: v for k, v in a.items() if k != "geometry.scale"},
        lambda a: {k: v for k, v in a.items() if k != "geometry.mix"},
        lambda a: {k: v for k, v in a.items() if k != "network.fusion.mlp.0.weight"},
        lambda a: a | {"geometry.mix": a["geometry.mix"][:, :-1]},
        lambda a: a | {"geometry.mix": a["geometry.mix"].ravel()},
        lambda a: a | {"geometry.identity_index": a["geometry.identity_index"] + 1000},
        reshaped("network.fusion.mlp.0.weight"),
        reshaped("geometry.mix"),
        reshaped("template"),
        lambda a: a | {"template": np.full_like(a["template"], np.nan)},
        lambda a: a | {"network.vertex": np.zeros(0, np.float32)},
        lambda a: a | {"network.decoder.vertex_bias": np.full_like(a["network.decoder.vertex_bias"], np.nan)},
    ],
)
def test_weights_that_do_not_fit(folder, change):
    path = folder / "model.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in change(load_file(path)).items()}, path)
    refused(folder)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the model folder"):
        save_checkpoint(tmp_path / "file/model", rig.random_checkpoint())
