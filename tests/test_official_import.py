"""Whatever is wrong with official weights or the face beside them is one sentence, and nothing is run or half-written."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import official_reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_rig import SIZES, head_mm, write_obj

from meshtalk.cli.main import main
from meshtalk.errors import InputError
from meshtalk.inference.animator import load_model
from meshtalk.mesh.files import read_obj
from meshtalk.mesh.topology import Topology
from meshtalk.official.importer import import_official
from meshtalk.official.state_dicts import FILES, read_state_dict, read_weights

HEADS, CLASSES, VERTICES, MORE = SIZES["3x11 on the rig"]
FACE_MM, FACES = head_mm(VERTICES)
WEIGHTS = official_reference.random_weights(HEADS, CLASSES, FACE_MM, **MORE)
ENCODER, DECODER, PRIOR = FILES


@pytest.fixture
def folder(tmp_path) -> Path:
    """A download and a face, both in order."""
    official_reference.save(tmp_path / "official", WEIGHTS)
    write_obj(tmp_path / "face.obj", FACE_MM, FACES)
    return tmp_path


def refused(folder: Path, words: str, **options: Path) -> None:
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    with pytest.raises(InputError, match=words) as caught:
        import_official(folder / "official", folder / "model", **({"template": folder / "face.obj"} | options))
    told = str(caught.value)
    assert "\n" not in told
    assert "weights_only" not in told, "nobody is advised to trust a file"
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before


def change(folder: Path, file: str, **values: object) -> None:
    """Save one file anew; `None` removes a tensor, a function is called with the tensor. Names are written with `__`."""
    tensors = torch.load(folder / "official" / file, weights_only=True)
    for name, value in values.items():
        key = name.replace("__", ".")
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value(tensors[key]) if callable(value) else value
    torch.save(tensors, folder / "official" / file)


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(folder, file):
    (folder / "official" / file).unlink()
    refused(folder, f"lacks {file}")


def test_a_missing_folder_names_all_three(folder):
    with pytest.raises(InputError, match=r"lacks encoder.pkl, vertex_unet.pkl, context_model.pkl"):
        read_weights(folder / "nowhere")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("keep", [0, 1, 0.3, 0.999])
def test_truncated_files(folder, file, keep):
    whole = (folder / "official" / file).read_bytes()
    (folder / "official" / file).write_bytes(whole[: int(keep if keep in (0, 1) else keep * len(whole))])
    refused(folder, "damaged")


@pytest.mark.parametrize(
    "content", [b"not a pickle" * 99, np.random.default_rng(0).bytes(3000), b"PK\x03\x04" + b"\0" * 99]
)
def test_garbage(folder, content):
    (folder / "official" / PRIOR).write_bytes(content)
    refused(folder, "damaged")


SMALL = io.BytesIO()
torch.save({"a": torch.ones(7), "b": torch.ones(2, 3)}, SMALL)


@settings(max_examples=60)
@given(st.data())
def test_any_cut_and_any_changed_byte_is_told_or_harmless(tmp_path_factory, data):
    whole = SMALL.getvalue()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        if at < len(damaged):
            damaged[at] = value
    path = tmp_path_factory.getbasetemp() / "small.pkl"
    path.write_bytes(damaged)
    try:
        arrays = read_state_dict(path)
    except InputError:
        return
    assert sum(array.size for array in arrays.values()) <= len(whole)


# --- hostile files -------------------------------------------------------------------------------------------------


class Attack:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def as_pickle(attack: Attack, path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": attack}))


def as_legacy(attack: Attack, path: Path) -> None:
    torch.save({"a": attack}, path, _use_new_zipfile_serialization=False)


def as_zip(attack: Attack, path: Path) -> None:
    torch.save(OrderedDict(WEIGHTS[0], a=attack), path)


def as_tar(attack: Attack, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            content = pickle.dumps(attack)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("write", [as_pickle, as_legacy, as_zip, as_tar])
def test_a_file_that_would_run_code_does_not(folder, file, write):
    marker = folder / "official/it_ran"
    write(Attack(marker), folder / "official" / file)
    refused(folder, "damaged, or holds more than tensors, which is never run")
    assert not marker.exists()


def test_the_attack_would_work(tmp_path):
    """Otherwise the test above would prove nothing."""
    as_pickle(Attack(tmp_path / "it_ran"), tmp_path / "a.pkl")
    pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert (tmp_path / "it_ran").exists()


def test_a_file_that_unpacks_to_more_than_it_is(folder):
    path = folder / "official" / DECODER
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    refused(folder, "damaged")


def test_a_number_that_stands_for_a_terabyte(folder):
    change(folder, DECODER, mean=torch.zeros(1).expand(1, 1, 10**11, 3))
    refused(folder, "damaged")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(3)], "holds list, not a state dict"),
        ({}, "holds dict, not a state dict"),
        (torch.ones(3), "holds Tensor, not a state dict"),
        ({"a": 3}, "a is int, not a dense tensor"),
        ({"a": {"b": torch.ones(3)}}, "a is dict, not a dense tensor"),
        ({1: torch.ones(3)}, "1 is Tensor, not a dense tensor"),
        ({"a": torch.ones(3).to_sparse()}, "a is Tensor, not a dense tensor"),
        ({"a": torch.ones(3, dtype=torch.complex64)}, "damaged"),
        ({"a": torch.ones(3, device="meta")}, "damaged"),
        ({"a": torch.tensor([1.0, torch.nan])}, "a holds NaN or infinite"),
    ],
)
def test_files_of_something_else(folder, content, words):
    torch.save(content, folder / "official" / ENCODER)
    refused(folder, words)


# --- tensors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        (ENCODER, {"fusion_model__mlp__2__bias": None}, "lacks fusion_model.mlp.2.bias"),
        (DECODER, {"stddev": None}, "lacks stddev"),
        (PRIOR, {"context_layers__2__historic__weight": None}, "lacks context_layers.2.historic.weight"),
        (PRIOR, {"logits__mask": None}, "lacks logits.mask"),
        (DECODER, {"encoder__3__weight": torch.ones(1)}, "holds unknown encoder.3.weight"),
        (PRIOR, {f"x{i}": torch.ones(1) for i in range(5)}, "holds unknown x0, x1, x2 and 2 more"),
        (ENCODER, {"audio_encoder__convs__5__weight": lambda t: t[:, :, :3]}, r"audio_encoder.convs.5.weight has shape"),
        (ENCODER, {"expression_encoder__mean": lambda t: t[:, :, :-1]}, "expression_encoder.mean has shape"),
        (DECODER, {"vertex_bias": lambda t: t[None]}, "vertex_bias has shape"),
        (DECODER, {"temporal__weight_hh_l1": lambda t: t.T}, "temporal.weight_hh_l1 has shape"),
        (DECODER, {"mean": lambda t: t.flatten()}, r"mean has shape \(288,\), not 4 axes"),
        (DECODER, {"mean": lambda t: t[:, :, :0]}, "something in each"),
        (ENCODER, {"audio_encoder__melspec__spectrogram__window": torch.ones(5000)}, "spectra of 5000 samples in 1024"),
        (DECODER, {"decoder__2__bias": lambda t: t / 0}, "decoder.2.bias holds NaN or infinite"),
        (ENCODER, {"audio_encoder__code__weight": lambda t: t.double() * 1e39}, "audio_encoder.code.weight holds NaN"),
        (DECODER, {"stddev": lambda t: t * 0}, "stddev is not positive everywhere"),
        (ENCODER, {"expression_encoder__stddev": lambda t: -t}, "expression_encoder.stddev is not positive"),
        (PRIOR, {"logits__mask": lambda t: t.T.contiguous()}, "logits.mask is not the release's"),
        (PRIOR, {"embedding__mask": lambda t: t * 0 + 1}, "embedding.mask is not the release's"),
        (PRIOR, {"context_layers__0__mask": lambda t: t * 0 + 1}, "does not cut 15 channels and 33 classes into heads"),
        (PRIOR, {"context_layers__3__mask": torch.ones(2)}, "context_layers.3.mask is not the release's"),
        (ENCODER, {"fusion_model__mlp__4__weight": lambda t: t[:-1]}, "heads times classes differ: fusion_model.mlp.4.weight 32"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_what_they_should_be(folder, file, values, words):
    change(folder, file, **values)
    refused(folder, words)


@pytest.mark.parametrize("other", range(3))
def test_files_of_different_models(folder, other):
    mixed = official_reference.random_weights(HEADS, CLASSES + 1, FACE_MM, **MORE)
    official_reference.save(folder / "official", tuple((mixed if i == other else WEIGHTS)[i] for i in range(3)))  # type: ignore[misc]
    refused(folder, "of different models")


@pytest.mark.parametrize(("heads", "classes"), [(8, 3), (3, 8), (1, 24), (12, 2)])
def test_the_mask_tells_heads_from_classes(folder, heads, classes):
    """Their product alone is the same in all of these."""
    official_reference.save(folder / "official", official_reference.random_weights(heads, classes, FACE_MM, channels=4))
    sizes = read_weights(folder / "official").sizes
    assert (sizes.heads, sizes.classes, sizes.channels) == (heads, classes, 4)


def test_harmless_differences_are_taken(folder):
    """Wrapped, in parallel training's names, in other precisions, without what the release never reads."""
    encoder, decoder, prior = (
        {k: torch.from_numpy(v) for k, v in part.items() if "unmasked_linear" not in k or "context" in k}
        for part in WEIGHTS
    )
    prior = {k: v.bool()[..., None] if k.endswith("mask") else v.double() for k, v in prior.items()}
    torch.save({"state_dict": OrderedDict(encoder)}, folder / "official" / ENCODER)
    torch.save({f"module.{k}": torch.nn.Parameter(v) for k, v in decoder.items()}, folder / "official" / DECODER)
    torch.save(prior, folder / "official" / PRIOR, _use_new_zipfile_serialization=False)
    import_official(folder / "official", folder / "model", template=folder / "face.obj")
    official_reference.save(folder / "official", WEIGHTS)
    import_official(folder / "official", folder / "plain", template=folder / "face.obj")
    sound = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    a, b = (load_model(folder / name).animate(sound, 16_000).vertices for name in ("model", "plain"))
    np.testing.assert_array_equal(a, b)


# --- faces ---------------------------------------------------------------------------------------------------------


def test_faces_that_do_not_fit(folder):
    write_obj(folder / "cube.obj", FACE_MM[:8], np.array([[0, 1, 2]]))
    np.save(folder / "face.npy", FACE_MM)
    write_obj(folder / "inches.obj", FACE_MM / 25.4, FACES)
    write_obj(folder / "outside.obj", FACE_MM, FACES + 90)
    (folder / "flat.obj").write_text("v 1 2\nv 3 4\nv 5 6\nf 1 2 3\n")
    (folder / "words.obj").write_text("v one two three\n")
    np.save(folder / "nan.npy", FACE_MM * np.nan)
    Topology(np.array([[0, 1, 2]]), n_vertices=3).save(folder / "small.npz")
    Topology(FACES, VERTICES, regions={"mouth": np.ones(VERTICES, np.float32)}).save(folder / "half.npz")
    Topology(FACES, VERTICES).save(folder / "fits.npz")
    for template, topology, words in (
        ("cube.obj", None, "cube.obj must have the weights' 96 vertices, got 8"),
        ("nowhere.obj", None, "there is no mesh"),
        ("face.npy", None, "face.npy holds no triangles"),
        ("inches.obj", None, r"inches.obj is 8.\d+ units tall; a head is 0.15-0.40 m or 150-400 mm"),
        ("outside.obj", None, "names a vertex that is not among"),
        ("flat.obj", None, r"flat.obj cannot be read as a mesh: its .* array must have shape \(n, 3\), got \(3, 2\)"),
        ("words.obj", None, "cannot be read as a mesh"),
        ("nan.npy", "fits.npz", "NaN"),
        ("face.obj", "small.npz", "the topology must have the weights' 96 vertices, got 3"),
        ("face.obj", "half.npz", "region 'upper_face' is empty or missing"),
        ("face.obj", "none.npz", "no topology at"),
    ):
        more = {} if topology is None else {"topology": folder / topology}
        refused(folder, words, template=folder / template, **more)


@given(
    st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 3), min_size=5, max_size=20),
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=6), max_size=5),
    st.sampled_from(["{}", "{}/1", "{}//2", "{}/3/4"]),
    st.booleans(),
)
def test_polygons_become_fans(vertices, polygons, corner, backwards):
    lines = ["# a mesh", "o head", *(f"v {x!r} {y!r} {z!r} 1.0" for x, y, z in vertices), "vn 0 0 1", "vt 0 0"]
    for polygon in polygons:
        numbers = [i - len(vertices) if backwards else i + 1 for i in polygon]
        lines.append("f " + " ".join(corner.format(number) for number in numbers))
    part = read_obj(lines, Path())
    np.testing.assert_array_equal(part.vertices, vertices)
    expected = [(p[0], p[k], p[k + 1]) for p in polygons for k in range(1, len(p) - 1)]
    assert [tuple(t) for t in part.faces.tolist()] == expected


# --- output and command line -----------------------------------------------------------------------------------------


def test_outputs_that_cannot_be_made(folder):
    (folder / "file").write_text("")
    (folder / "full").mkdir()
    (folder / "full/mine.txt").write_text("")
    (folder / "empty").mkdir()
    for output, words in (("file", "it exists"), ("full", "it exists"), ("no/where", "there is no folder")):
        with pytest.raises(InputError, match=words):
            import_official(folder / "official", folder / output, template=folder / "face.obj")
    import_official(folder / "official", folder / "empty", template=folder / "face.obj")
    assert {path.name for path in (folder / "empty").iterdir()} == {"config.json", "model.safetensors", "topology.npz"}


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    main(["import-official", "official", "-o", "mine", "--template", "face.obj"])
    told = capsys.readouterr().out
    assert "mine: 3 heads of 11 classes, 96 vertices; the template was read as mm" in told
    assert "cannot be evaluated" in told
    assert load_model("mine").config.prior.mask == "strict"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["official", "--template", "nowhere.obj"], "there is no mesh at nowhere.obj"),
        (["nowhere", "--template", "face.obj"], "nowhere lacks encoder.pkl"),
        (["bad", "--template", "face.obj"], "damaged"),
    ],
)
def test_the_command_refuses_in_one_sentence(folder, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(folder)
    Path("bad").mkdir()
    for file in FILES:
        as_pickle(Attack(folder / "it_ran"), Path("bad") / file)
    before = {str(path) for path in folder.rglob("*")}
    with pytest.raises(SystemExit) as end:
        main(["import-official", *arguments, "-o", "mine"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert {str(path) for path in folder.rglob("*")} == before
