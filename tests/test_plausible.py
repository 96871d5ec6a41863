"""Values that are finite and absurd, and files that claim more than they hold, are refused in one sentence."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rig
from hypothesis import given
from hypothesis import strategies as st
from test_cli import refused

from meshtalk.assets import asset
from meshtalk.check.check import check
from meshtalk.clip import FARTHEST_M, Clip
from meshtalk.config import AudioConfig, GeometryConfig, LossConfig, ModelConfig, StageConfig
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.files import read_arrays
from meshtalk.mesh.topology import Topology
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.checkpoint import load_checkpoint
from meshtalk.report_page import page_text

LINEAR = rig.make_clip(3, 0.5)
DENSE = Clip(
    LINEAR.topology, LINEAR.template, LINEAR.fps, LINEAR.audio, LINEAR.sample_rate, displacement=LINEAR.displacements()
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    changed = np.array(array, np.float64)
    changed.flat[changed.size // 2] = value
    return changed


@pytest.mark.parametrize("value", [1e25, -1e25, 1e38, 3e3])
@pytest.mark.parametrize("name", ["weights", "basis", "displacement"])
def test_a_vertex_that_flies_away_is_damage(capsys, here, name, value):
    clip = DENSE if name == "displacement" else LINEAR
    damaged = replace(clip, **{name: with_one(getattr(clip, name), value)})
    with pytest.raises(InputError, match="within 2 m"):
        damaged.validate()
    damaged.save_npz("damaged.npz")
    assert "within 2 m" in refused(capsys, here, "export", "damaged.npz", "-o", "out.png")


@given(st.floats(-1.9, 1.9))
def test_what_stays_near_is_no_damage(metres):
    displacement = with_one(DENSE.displacement, metres)
    replace(DENSE, displacement=displacement).validate()
    assert replace(DENSE, displacement=displacement)._farthest_m() <= FARTHEST_M


def test_parts_that_cancel_are_no_damage():
    """Weights of ±1000 on two equal components: together nothing moves, though each would by kilometres."""
    basis = np.concatenate([LINEAR.basis, np.ones((2, *LINEAR.basis.shape[1:]), np.float32)])
    weights = np.concatenate([LINEAR.weights, np.full((LINEAR.n_frames, 2), [1000.0, -1000.0])], 1).astype(np.float32)
    replace(LINEAR, basis=basis, weights=weights, basis_names=()).validate()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"basis_names": ("a",)}, "basis_names must be"),
        ({"valid": np.ones(LINEAR.n_frames, np.int64)}, "booleans"),
        ({"template": with_one(LINEAR.template, 1e9)}, "at most 5 m"),
        ({"tint": (float("nan"), 1.0, 1.0)}, "tint"),
        ({"tint": (1e30, 1.0, 1.0)}, "tint"),
    ],
)
def test_what_a_clip_hangs_on_is_checked(changes, says):
    with pytest.raises(InputError, match=says):
        replace(LINEAR, **changes).validate()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"landmarks": {"chin": np.array([-5])}}, "must index vertices"),
        ({"landmarks": {"chin": np.array([10**9])}}, "must index vertices"),
        ({"regions": {"mouth": np.full(LINEAR.topology.n_vertices, np.inf)}}, "must be 0 to 1"),
        ({"regions": {"mouth": np.full(LINEAR.topology.n_vertices, 1e30)}}, "must be 0 to 1"),
        ({"uvs": np.full((3, 2), np.nan), "uv_faces": np.zeros_like(LINEAR.topology.faces)}, "NaN"),
        ({"uvs": np.full((3, 2), 1e30), "uv_faces": np.zeros_like(LINEAR.topology.faces)}, "within 10000"),
        ({"shapes": np.full(LINEAR.topology.shapes.shape, 50.0)}, "within 2"),
    ],
)
def test_what_a_topology_hangs_on_is_checked(changes, says):
    with pytest.raises(InputError, match=says):
        replace(LINEAR.topology, **changes)


# --- archives that claim gigabytes -----------------------------------------------------------------------------


def add_zeros(path: Path, name: str, shape: tuple[int, ...], dtype: str = "<f4") -> None:
    """An array of zeros packed to a thousandth, written without ever being in memory."""
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as stream,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
        stream.write(header.getvalue())
        left, block = int(np.prod(shape)) * np.dtype(dtype).itemsize, bytes(1 << 22)
        while left > 0:
            stream.write(block[:left])
            left -= len(block)


def test_an_array_that_nobody_uses_is_not_unpacked(tmp_path):
    path = tmp_path / "clip.npz"
    LINEAR.save_npz(path)
    add_zeros(path, "unheard_of", (20_000_000,))
    add_zeros(path, "topology/other", (20_000_000,))
    assert rig.traced_peak_mb(lambda: Clip.load(path)) < 50


@pytest.mark.parametrize("name", ["topology/uvs", "recipe_expression", "phone_times_s"])
def test_an_array_that_claims_too_much_is_refused_before_it_is_unpacked(capsys, here, monkeypatch, name):
    monkeypatch.setattr("meshtalk.files.MOST_BYTES", 2**25)
    path = here / "clip.npz"
    LINEAR.save_npz(path)
    add_zeros(path, name, (15_000_000, 1))
    assert "would unpack to 0.1 GB" in refused(capsys, here, "export", path, "-o", "out.glb")
    LINEAR.topology.save("topology.npz")
    add_zeros(here / "topology.npz", "parts", (60_000_000,), "|u1")
    with pytest.raises(InputError, match="would unpack"):
        Topology.load("topology.npz")


def test_blendshapes_of_a_mesh_that_claims_too_many_vertices_are_refused(tmp_path):
    arrays = LINEAR.topology.to_arrays() | {"n_vertices": np.array([10**12])}
    np.savez(tmp_path / "topology.npz", **arrays)
    with pytest.raises(InputError, match="blendshapes must take at most"):
        Topology.load(tmp_path / "topology.npz")


def test_a_header_that_claims_more_than_its_entry_holds(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as stream:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
        stream.write(header.getvalue() + bytes(80))
    with pytest.raises(ValueError, match="shorter than its shape"):
        read_arrays(path)


@given(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(["<f4", "<f8", "<i4", "|u1", "|b1", "<U7"]))
def test_arrays_are_read_as_numpy_reads_them(shape, dtype):
    stream = io.BytesIO()
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    np.savez_compressed(stream, a=array, b=np.asfortranarray(array))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.npz").write_bytes(stream.getvalue())
        read = read_arrays(Path(folder) / "a.npz")
    assert set(read) == {"a", "b"}
    for name, found in read.items():
        np.testing.assert_array_equal(found, array, err_msg=name)
        assert found.dtype == array.dtype


# --- links and pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["motion.npy", "audio.flac", "phones.json", "."])
def test_a_link_out_of_a_strangers_corpus_is_refused(tmp_path, name):
    corpus = rig.build(tmp_path / "corpus", dense=True, seconds=1.0)
    info = corpus.clips[0]
    inside = tmp_path / "corpus/clips" / info.id
    names = {path.name for path in inside.iterdir()}
    linked = (
        inside if name == "." else inside / (name if name in names else min(n for n in names if n.endswith(".npy")))
    )
    shutil.move(linked, tmp_path / "private")
    linked.symlink_to(tmp_path / "private")
    with pytest.raises(InputError, match="leads out of the corpus"):
        Corpus.open(tmp_path / "corpus").load(info)
    with pytest.raises(InputError, match="leads out of the corpus"):
        Corpus.open(tmp_path / "corpus").verify()
    found = check(tmp_path / "corpus", workers=1)
    assert "leads out of the corpus" in str(found)


def test_a_corpus_that_is_reached_by_a_link_is_read(tmp_path):
    corpus = rig.build(tmp_path / "corpus", seconds=1.0)
    (tmp_path / "here").symlink_to(tmp_path / "corpus")
    Corpus.open(tmp_path / "here").load(corpus.clips[0])


def test_no_script_runs_in_a_report():
    page = page_text("a <script>alert(1)</script>", [])
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "script-src" not in page


# --- models and settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("heads",), 10**9),
        (("heads",), 1024),
        (("classes",), 10**9),
        (("fps",), "1000000000000/1"),
        (("expression_code",), 10**8),
        (("audio", "width"), 10**7),
        (("audio", "kernel"), 10**6 + 1),
        (("audio", "dilations"), [2, 4, 6] * 1000),
        (("audio", "dilations"), [10**9]),
        (("audio", "lookahead_hops"), 10**8),
        (("audio", "trunk_lookahead_hops"), 40),
        (("prior", "channels"), 10**6),
        (("prior", "dilations"), [10**9]),
    ],
)
def test_a_model_that_claims_more_than_its_weights_is_refused(tmp_path, field, value):
    shutil.copytree(asset("model"), tmp_path / "model")
    description = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    place = description["config"]
    for name in field[:-1]:
        place = place[name]
    place[field[-1]] = value
    (tmp_path / "model/config.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_checkpoint(tmp_path / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LossConfig(norm="L1"), "norm must be one of 'squared', 'plain', got 'L1'"),
        (lambda: GeometryConfig(kind="points"), "kind must be one of"),
        (lambda: LossConfig(opening=float("nan")), "opening must be a finite number"),
        (lambda: AudioConfig(width=-3), "width must be a whole number"),
        (lambda: AudioConfig(dilations=(1, 2.5)), "dilations must be a whole number"),
        (lambda: AudioConfig(kernel=0), "must be 1 to"),
        (lambda: StageConfig(steps="5"), "steps must be a whole number"),
        (lambda: ModelConfig(fps=Fraction(0)), "fps"),
    ],
)
def test_settings_made_in_python_are_checked(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize("dilations", [(2, 4, 6), (1, 2, 4), (3, 5, 7)])
def test_every_look_ahead_that_can_be_spent_is_planned(dilations):
    reached = {
        sum(dilation * steps for dilation, steps in zip(dilations, way, strict=True))
        for way in product(range(3), repeat=3)
    }
    for hops in range(max(reached) + 3):
        config = AudioConfig(dilations=dilations, lookahead_hops=hops, width=8, code=8)
        if hops in reached:
            encoder = AudioEncoder(config)
            spans = [4 * dilation for dilation in dilations]
            assert sum(span - crop for span, crop in zip(spans, encoder._crops, strict=True)) == hops
        else:
            with pytest.raises(InputError, match="Choose") as caught:
                AudioEncoder(config)
            proposed = [int(word) for word in str(caught.value).split("Choose ")[1].rstrip(".").split(" or ")]
            assert set(proposed) <= reached
