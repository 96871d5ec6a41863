"""Values that are finite but absurd, of another length or too large: refused when read, harmless in compiled loops."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig
import soundfile
from PIL import Image

from meshtalk.clip import Phone, Recipe
from meshtalk.config import (
    AudioConfig,
    GeometryConfig,
    LossConfig,
    ModelConfig,
    OfficialSound,
    PriorConfig,
    StageConfig,
    TrainConfig,
)
from meshtalk.corpus.store import CorpusWriter, read_array
from meshtalk.errors import InputError
from meshtalk.files import read_arrays
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.render import kernels
from meshtalk.render.scene import picture_of
from meshtalk.retarget.map import Map, load_map
from meshtalk.retarget.transfer import Contacts

CLIP = rig.make_clip(4, 0.4)
HEAD = load_head()


def with_value(array: np.ndarray, value: float, *at: int) -> np.ndarray:
    array = np.array(array)
    array[at or (0,) * array.ndim] = value
    return array


# --- clips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({"weights": with_value(CLIP.weights, 1e25, 3, 2)}, "within 2 m"),
    ({"weights": with_value(CLIP.weights, -400, 0, 0)}, "within 2 m"),
    ({"basis": with_value(CLIP.basis, 3e7, 1, 5, 2)}, "within 2 m"),
    ({"basis": with_value(CLIP.basis, -np.inf, 1, 5, 2)}, "infinite"),
    ({"basis_names": CLIP.basis_names[:-1]}, "basis_names must be 6"), ({"basis_names": (*CLIP.basis_names, "x")}, "got 7"),
    ({"audio": with_value(CLIP.audio, 1e30, 7)}, "audio must be in -1 to 1"),
    ({"tint": (1.0, float("nan"), 1.0)}, "tint must be"), ({"phones": (Phone("a", 0.3, 0.2),)}, "phones"),
    ({"valid": np.full(12, "yes")}, "booleans"), ({"valid": np.ones((12, 1), bool)}, "booleans"),
    ({"recipe": Recipe({}, np.full((4, 3), np.nan, np.float32))}, "expression of a recipe"),
    ({"recipe": Recipe({}, np.zeros(4, np.float32))}, "expression of a recipe"),
    ({"weights": CLIP.weights[:, :, None]}, "weights and basis must be"),
])  # fmt: skip
def test_a_clip_of_absurd_values(changes, words):
    with pytest.raises(InputError, match=words):
        replace(CLIP, **changes).validate()


def test_dense_motion_stays_near_the_template():
    dense = rig.as_dense(CLIP)
    assert dense.validate() is dense
    with pytest.raises(InputError, match=r"within 2 m of where they rest, got 50 m"):
        replace(dense, displacement=with_value(dense.displacement, -50, 9, 3, 1)).validate()


def test_large_weights_that_cancel_are_no_damage():
    pair = np.stack([CLIP.basis[0], -CLIP.basis[0]]) * 50
    many = np.repeat(CLIP.weights[:, :1] + 7, 2, 1)
    assert replace(CLIP, basis=pair, weights=many, basis_names=()).validate().n_frames == 12


@pytest.mark.parametrize("rates", [{"fps": Fraction(10**9)}, {"sample_rate": 10**12}])
def test_rates_that_nothing_has(rates):
    with pytest.raises(InputError, match="fps must be at most 1000 and sample_rate 1,000,000 Hz"):
        replace(CLIP, **rates)


# --- topologies --------------------------------------------------------------------------------------------------

UVS = {"uvs": np.zeros((4, 2), np.float32), "uv_faces": np.zeros_like(rig.TOPOLOGY.faces)}


@pytest.mark.parametrize(("changes", "words"), [
    ({"landmarks": {"chin": np.array([-5])}}, "landmark 'chin' must index"), ({"landmarks": {"chin": np.array([10**9])}}, "'chin'"),
    ({"landmarks": {"chin": np.array(5)}}, "list of vertices"), ({"landmarks": {"chin": np.array([[1, 2]])}}, "list of vertices"),
    ({"landmarks": {**rig.TOPOLOGY.landmarks, "lip_inner_upper": np.array([3])}}, "must pair up"),
    ({"uvs": with_value(UVS["uvs"], 1e30)}, "uvs must be within"), ({"uvs": with_value(UVS["uvs"], np.nan)}, "uvs hold NaN"),
    ({"uvs": np.full((4, 2), "x")}, "uvs must be numbers"),
    ({"shapes": with_value(rig.TOPOLOGY.shapes, -1e25)}, "blendshapes must be"),
    ({"regions": {"mouth": np.full(96, np.inf, np.float32)}}, "'mouth'"),
    ({"n_vertices": 10**9, "regions": {}, "shapes": None}, "at most"),
    ({"n_vertices": -1}, "at most"),
])  # fmt: skip
def test_a_topology_of_absurd_values(changes, words):
    with pytest.raises(InputError, match=words):
        replace(rig.TOPOLOGY, **{**UVS, **changes})


@pytest.mark.parametrize(("name", "value"), [
    ("n_vertices", np.array([10**9])), ("shape_rows", np.array([[0, -1]], np.int32)), ("shape_rows", np.array([[7, 0]], np.int32)),
    ("shape_rows", np.array([[0.5, 0]])), ("shape_names", np.array([f"{k}" for k in range(1_100_000)])),
])  # fmt: skip
def test_blendshapes_of_a_file_that_point_nowhere(tmp_path, name, value):
    np.savez_compressed(tmp_path / "t.npz", **rig.TOPOLOGY.to_arrays() | {name: value})
    with pytest.raises(InputError):
        Topology.load(tmp_path / "t.npz")


# --- corpora -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "array", "words"), [
    ("weights.npy", np.full((12, 6), np.nan, np.float32), "finite floats"), ("weights.npy", np.zeros((12, 6), np.int64), "int64"),
    ("weights.npy", np.zeros((12, 7), np.float32), r"\(12, 7\)"), ("valid.npy", np.ones(11, bool), r"\(12,\) booleans"),
    ("valid.npy", np.full(12, 0.5), "booleans"), ("audio.flac", np.zeros(16000 * 60), "960,000 samples of 1 channels"),
    ("audio.flac", np.zeros((6400, 2)), "6,400 samples of 2 channels"),
])  # fmt: skip
def test_a_corpus_of_absurd_arrays(tmp_path, name, array, words):
    writer = CorpusWriter(tmp_path, rig.TOPOLOGY, rig.FPS, ["none"])
    corpus = writer.finish([writer.add(replace(CLIP, valid=np.arange(12) > 3), id="a", split="test", voice="v")])
    assert corpus.load(corpus.clips[0]).validate().n_frames == 12
    if name.endswith(".npy"):
        np.save(tmp_path / "clips/a" / name, array)
    else:
        soundfile.write(tmp_path / "clips/a" / name, array, 16000)
    with pytest.raises(InputError, match=words):
        corpus.load(corpus.clips[0])


@pytest.mark.parametrize(("value", "words"), [(np.nan, "finite floats"), (np.inf, "finite floats")])
def test_a_corpus_of_absurd_people(tmp_path, value, words):
    writer = CorpusWriter(tmp_path, rig.TOPOLOGY, rig.FPS, ["none"])
    corpus = writer.finish([writer.add(CLIP, id="a", split="test", voice="v")])
    np.save(tmp_path / "subjects/s0.npy", with_value(CLIP.template, value, 0, 1))
    with pytest.raises(InputError, match=words):
        corpus.template("s0")


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npy is damaged \(ValueError: it is an archive of arrays\)"):
        read_array(tmp_path / "a.npy")


# --- maps --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face_map() -> Map:
    """The packaged head bound to itself, each vertex to its own."""
    from meshtalk.retarget.source_head import load_model

    n = HEAD.topology.n_vertices
    order = np.arange(n, dtype=np.int32)
    none = Contacts(np.zeros((0, 4), np.int32), np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, np.int32))
    return Map(
        mesh="x", topology=replace(HEAD.topology, shapes=None, shape_names=()), template=HEAD.neutral, turn=np.eye(3),
        fit=HEAD.neutral[load_model().rows], rows=order, source=order[:, None], shares=np.ones((n, 1), np.float32),
        contacts=none, parts={},
    )  # fmt: skip


def test_a_map_of_absurd_values(tmp_path, face_map):
    face_map.save(tmp_path / "good.map")
    assert len(load_map(tmp_path / "good.map").rows) == HEAD.topology.n_vertices
    for changes in (
        {"shares": with_value(face_map.shares, 1e30)}, {"shares": with_value(face_map.shares, np.nan)},
        {"rows": with_value(face_map.rows, -1)}, {"rows": with_value(face_map.rows, 10**9)}, {"rows": face_map.rows[:-1]},
        {"source": with_value(face_map.source, 10**6)}, {"source": face_map.source[:-1]}, {"turn": np.eye(3) * 1e20},
        {"fit": with_value(face_map.fit, 1e20)}, {"template": face_map.template[:-1]},
    ):  # fmt: skip
        replace(face_map, **changes).save(tmp_path / "bad.map")
        with pytest.raises(InputError, match=r"bad\.map is not a retarget map \(|must index vertices"):
            load_map(tmp_path / "bad.map")


# --- configs and models ------------------------------------------------------------------------------------------

ABSURD = (
    (AudioConfig, {"width": 10**7}), (AudioConfig, {"width": 0}), (AudioConfig, {"dilations": (2, 10**9)}),
    (AudioConfig, {"dilations": (2,) * 65}), (AudioConfig, {"dilations": [2, 4]}), (AudioConfig, {"dropout": float("nan")}),
    (AudioConfig, {"frontend": "mfcc"}), (AudioConfig, {"kernel": 5.0}), (AudioConfig, {"past_hops": -1}),
    (AudioConfig, {"trunk_lookahead_hops": 40}), (AudioConfig, {"official": None}), (OfficialSound, {"n_mels": 10**6}),
    (OfficialSound, {"frame_starts": "534"}), (GeometryConfig, {"kind": "pca"}), (GeometryConfig, {"basis_max": 10**9}),
    (GeometryConfig, {"basis_tolerance_mm": -1.0}), (PriorConfig, {"channels": 10**6}), (PriorConfig, {"mask": "none"}),
    (PriorConfig, {"dilations": (10**8,)}), (ModelConfig, {"heads": 10**9}), (ModelConfig, {"heads": True}),
    (ModelConfig, {"classes": 10**6}), (ModelConfig, {"fps": Fraction(10**12)}), (ModelConfig, {"fps": 30}),
    (ModelConfig, {"smoothing": "0.07"}), (ModelConfig, {"preset": 7}), (ModelConfig, {"audio": PriorConfig()}),
    (LossConfig, {"norm": "L1"}), (LossConfig, {"velocity": -1.0}),
    (LossConfig, {"eyelid": float("inf")}), (StageConfig, {"steps": -1}), (StageConfig, {"steps": 5, "batch": 0}),
    (StageConfig, {"steps": 5, "learning_rate": float("nan")}), (TrainConfig, {"context_corruption": 1.5}),
    (TrainConfig, {"tau_end": 0.0}), (TrainConfig, {"checkpoint_every": 0}), (TrainConfig, {"loss": "L1"}),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), ABSURD, ids=[f"{kind.__name__}-{values}" for kind, values in ABSURD])
def test_a_config_made_in_python_is_checked(kind, values):
    with pytest.raises(InputError, match=rf"\b{list(values)[-1]}\b"):
        kind(**values)


# --- compiled loops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e25, -1e25, np.inf, -np.inf, np.nan, 1e300])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_rasteriser_survives_any_vertex(value, axis):
    vertices = rig.NEUTRAL.astype(np.float64)
    vertices[::5, axis] = value
    screen = np.zeros((len(vertices), 3))
    kernels.project(vertices, np.eye(3), np.zeros(3), 0.6, np.array([300.0, 32.0, 32.0]), screen)
    assert np.isfinite(screen).all()
    assert np.abs(screen[:, :2]).max() <= kernels.FARTHEST_PX
    nearness, owner = np.zeros((64, 64, 4), np.float32), np.zeros((64, 64, 4), np.int32)
    faces = rig.TOPOLOGY.faces.astype(np.uint32)
    kernels.rasterise(screen, faces, np.zeros(len(faces), np.uint8), nearness, owner)
    assert owner.max() < len(faces)
    visible = np.zeros(len(vertices))
    kernels.visibility(screen, nearness, 0.0, visible)
    assert ((visible >= 0) & (visible <= 1)).all()


# --- pictures ----------------------------------------------------------------------------------------------------


def png(width: int, height: int, cut: int | None = None) -> bytes:
    held = io.BytesIO()
    Image.new("L", (width, height)).save(held, format="PNG")
    return held.getvalue()[:cut]


@pytest.mark.parametrize("data", [png(9000, 9000), png(64, 64, 60), b"GIF89a", b"", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_texture_that_is_too_large_or_none(data):
    def refused() -> None:
        with pytest.raises(InputError, match="is no readable image"):
            picture_of(replace(rig.TOPOLOGY, **UVS, texture_png=data))

    assert rig.traced_peak_mb(refused) < 20  # modules of pillow among them


def test_a_large_texture_is_made_smaller(monkeypatch):
    monkeypatch.setattr("meshtalk.render.scene.MOST_SIDE_PX", 50)
    topology = replace(rig.TOPOLOGY, **UVS, texture_png=png(100, 40))
    assert picture_of(topology).shape == (20, 50, 3)


# --- archives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_of_unusual_compression_are_not_unpacked(tmp_path, method):
    """They give as much at once as a piece holds, whatever is asked for: ours have none."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive, archive.open("faces.npy", "w") as stream:
        np.lib.format.write_array(stream, np.zeros((1_000_000, 3), np.float32))

    def refused() -> None:
        with pytest.raises(ValueError, match="compressed in an unusual way"):
            read_arrays(tmp_path / "a.npz")

    assert rig.traced_peak_mb(refused) < 1
