"""The boundary of errors: whatever is wrong with a file or an option is one sentence, said before anything is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rig
from safetensors.numpy import load_file, save_file
from test_cli import refused, run

from meshtalk.cli import main as command_line
from meshtalk.clip import Phone
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError, one_line, reading, reason_of
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.model.checkpoint import load_checkpoint, save_checkpoint
from meshtalk.retarget.map import FORMAT, load_map

CLIP = rig.make_clip(3, 0.4)
DEEP = "[" * 100_000


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    CLIP.save("take.npz")
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, rig.random_checkpoint())
    return folder


# --- what nobody expected ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "said"), [
    (RecursionError("maximum recursion depth exceeded"), "take.npz: RecursionError: maximum recursion depth exceeded. If"),
    (RuntimeError("sizes differ:\n\tone\n\ttwo \x1b[31m"), r"take.npz: RuntimeError: sizes differ: one two \x1b[31m. If"),
    (MemoryError(), "take.npz: MemoryError. If"),
    (KeyError("x" * 5000), "take.npz: KeyError: 'xxx"),
    (OSError(5, "Input/output error", "deep/file.bin"), "deep/file.bin: Input/output error. "),
])  # fmt: skip
def test_any_exception_is_one_line_with_a_file_s_name(capsys, here, monkeypatch, error, said):
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("meshtalk.clip.Clip.load", failing)
    line = refused(capsys, here, "export", "take.npz", "-o", "a.npy")
    assert line.startswith(f"meshtalk: {said}")
    assert len(line) < 600


def test_debug_shows_where(capsys, here):
    with pytest.raises(SystemExit) as end:
        command_line.main(["export", "--debug", "missing.npz", "-o", "a.npy"])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1] == "meshtalk: there is no clip at missing.npz"


def test_debug_changes_nothing_else(capsys, here):
    assert run(capsys, "export", "take.npz", "-o", "a.npy", "--debug").strip() == "a.npy"


def test_reading_tells_the_reason_and_keeps_what_was_said():
    said = r"^a is damaged \(ZeroDivisionError: division by zero\)\. Copy it\.$"
    with pytest.raises(InputError, match=said), reading("a is damaged", "Copy it."):
        1 / 0  # noqa: B018
    with pytest.raises(InputError, match=r"^said already$"), reading("a is damaged", "Copy it."):
        raise InputError("said already")
    with pytest.raises(FileNotFoundError), reading("a is damaged", "Copy it.", FileNotFoundError):
        raise FileNotFoundError("a")


def test_reasons_and_lines_are_short_and_harmless():
    assert one_line(" a\n\tb \x1b]0;title\x07 ü \u202e") == r"a b \x1b]0;title\x07 ü \u202e"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("x" * 10_000))) < 330


# --- manifests and configs ---------------------------------------------------------------------------------------


def changed(text: str, *path: str | int, to: object) -> str:
    """JSON with another value at a path."""
    told = json.loads(text)
    place = told
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(told)


@pytest.mark.parametrize(("path", "to"), [
    (("fps",), "1/0"), (("fps",), None), (("fps",), "-30"), (("fps",), [30]), (("clips",), {"a": 1}), (("clips", 0), "one"),
    (("clips", 0, "id"), 7), (("clips", 0, "n_frames"), "12"), (("clips", 0, "n_frames"), True), (("clips", 0, "files"), ["a"]),
    (("clips", 0, "duration_s"), float("nan")), (("clips", 0, "duration_s"), 10**400), (("clips", 0, "subject"), "\x1b[31mred"),
    (("clips", 0, "seed"), "x"), (("clips", 0, "stranger"), 1), (("clips", 0, "split"), 3), (("licences",), "CC0"),
    (("topology",), []), (("subjects",), {"../../x": "0"}), (("subjects",), ["a"]), (("topology", "sha256"), 3),
])  # fmt: skip
def test_a_manifest_of_wrong_types(tmp_path, rig_corpus, path, to):
    text = changed((rig_corpus.root / "manifest.json").read_text(), *path, to=to)
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "topology.npz").write_bytes((rig_corpus.root / "topology.npz").read_bytes())
    with pytest.raises(InputError, match=r"manifest\.json is damaged \(.*\)\. Build or copy the corpus again\.$"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(("path", "to"), [
    (("config",), None), (("config", "fps"), "x"), (("config", "heads"), "9"), (("config", "heads"), 1e400),
    (("config", "smoothing"), float("inf")), (("config", "audio"), [1]), (("config", "audio", "stack"), {}),
    (("config", "prior", "channels"), False),
])  # fmt: skip
def test_a_config_of_wrong_types(tmp_path, model, path, to):
    text = changed((model / "config.json").read_text(), *path, to=to)
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_json_nested_deeper_than_python(capsys, here, model, name):
    (here / "deep").mkdir()
    (here / "deep/model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (here / "deep" / name).write_text(DEEP)
    command = {"manifest.json": ("corpus", "info", "deep"), "config.json": ("heads", "--model", "deep")}[name]
    assert "RecursionError" in refused(capsys, here, *command)


def test_a_model_whose_sizes_differ_is_one_sentence(capsys, here, model):
    folder = here / "model"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    arrays = load_file(folder / "model.safetensors")
    save_file(
        {k: np.ascontiguousarray(v[:1]) if v.ndim > 1 else v for k, v in arrays.items()}, folder / "model.safetensors"
    )
    line = refused(capsys, here, "heads", "--model", "model")
    assert "do not fit its config.json" in line
    assert len(line) < 500


# --- names and options -------------------------------------------------------------------------------------------

LONG = "n" * 300


@pytest.mark.parametrize("args", [
    ("export", f"{LONG}.npz", "-o", "a.npy"), ("export", "take.npz", "-o", f"{LONG}.npy"),
    ("export", "take.npz", "-o", f"{LONG}/a.npy"), ("export", "take.npz", "-o", "n" * 248 + ".pc2"),
    ("export", "take.npz", "-o", f"{LONG}/%05d.ply"), ("animate", f"{LONG}.wav", "-o", "a.npz"),
    ("corpus", "info", LONG), ("corpus", "split", LONG), ("arkit", "take.npz", "-o", f"{LONG}.csv"),
    ("batch", LONG, "-o", "out"), ("heads", "--model", LONG), ("retarget", "take.npz", "--to", f"{LONG}.obj", "-o", "a.npz"),
    ("landmarks", f"{LONG}.obj", "-o", "a.json"), ("regions", "show", LONG, "-o", "a.png"),
    ("corpus", "convert", "folder", LONG, "out"), ("takes", f"{LONG}.wav", "-o", "t"), ("evaluate", LONG, LONG),
])  # fmt: skip
def test_names_that_are_too_long(capsys, here, args):
    refused(capsys, here, *args)


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize("options", [(), ("--rig", "missing.glb")])
def test_smoothing_is_checked_before_anything(capsys, here, value, options):
    assert "smoothing must be 0 or positive" in refused(
        capsys, here, "arkit", "none.npz", f"--smoothing={value}", *options
    )


# --- arrays that compiled loops trust ----------------------------------------------------------------------------

TOPOLOGY = rig.TOPOLOGY.to_arrays() | {
    "uvs": np.zeros((4, 2), np.float32), "uv_faces": np.zeros_like(rig.TOPOLOGY.faces),
    "parts": np.zeros(rig.TOPOLOGY.n_vertices, np.uint8), "part_names": np.array(["skin"]),
}  # fmt: skip


def with_value(name: str, value: float) -> dict[str, np.ndarray]:
    array = np.array(TOPOLOGY[name])
    array.reshape(-1)[0] = value
    return TOPOLOGY | {name: array}


@pytest.mark.parametrize("arrays", [
    with_value("faces", -1), with_value("faces", 10**6), with_value("landmark/lip_inner_upper", 96), with_value("uv_faces", 4),
    with_value("uv_faces", -1), with_value("parts", 1), with_value("uvs", np.nan), with_value("shape_mm", np.inf),
    with_value("region/mouth", -np.inf), with_value("region/lips", 2), TOPOLOGY | {"uv_faces": TOPOLOGY["uv_faces"][:-1]},
    TOPOLOGY | {"parts": TOPOLOGY["parts"][:-1]}, TOPOLOGY | {"faces": TOPOLOGY["faces"].astype(float)},
    TOPOLOGY | {"uvs": TOPOLOGY["uvs"][:, :1]},
])  # fmt: skip
def test_a_topology_whose_numbers_point_nowhere(arrays):
    assert Topology.from_arrays(TOPOLOGY).n_vertices == 96
    with pytest.raises(InputError):
        Topology.from_arrays(arrays)


@pytest.mark.parametrize("changes", [
    {"tint": (float("nan"), 1.0, 1.0)}, {"tint": (1e30, 1.0, 1.0)}, {"phones": (Phone("a", float("nan"), 1.0),)},
    {"template": np.full(CLIP.template.shape, "x")}, {"audio": np.zeros(len(CLIP.audio), bool)},
])  # fmt: skip
def test_a_clip_of_values_that_are_none(changes):
    with pytest.raises(InputError, match=r"must be"):
        replace(CLIP, **changes).validate()


def test_a_map_whose_parts_do_not_fit(tmp_path):
    head = load_head()
    rows, n = np.zeros((0, 3)), head.topology.n_vertices
    arrays = {f"topology/{k}": v for k, v in head.topology.to_arrays().items()} | {"template": head.neutral}
    arrays |= {
        "fit": np.zeros((n, 3)),
        "turn": rows,
        "rows": rows,
        "source": rows,
        "shares": rows,
        "mesh": np.array("x"),
    }
    with open(tmp_path / "a.map", "wb") as stream:
        np.savez(stream, format=np.array(FORMAT), head=np.array(head.topology.hash), notes=np.array([]), **arrays)
    with pytest.raises(InputError, match=r"a\.map is not a retarget map \(.*\)\. Compute it again"):
        load_map(tmp_path / "a.map")
