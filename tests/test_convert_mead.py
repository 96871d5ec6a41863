"""3DMEAD through FLAME: its equations written out once more, and the user's model file in all its forms."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import rig
from convert_rig import V, converted, write_noise

from meshtalk.convert import mead3d
from meshtalk.convert.flame import read_flame, rotations
from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology

h5py = pytest.importorskip("h5py")
PARENTS = [-1, 0, 1, 1, 1]


def model_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A FLAME of the rig's face: 300 + 100 directions, 5 joints, all of it random but small."""
    rng = np.random.default_rng(seed)
    joints = rng.dirichlet(np.ones(V) * 0.1, 5)
    weights = rng.dirichlet(np.ones(5), V)
    tree = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32)
    return {
        "v_template": rig.NEUTRAL.astype(np.float64),
        "shapedirs": rng.normal(0, 1e-3, (V, 3, 400)),
        "posedirs": rng.normal(0, 1e-3, (V, 3, 36)),
        "J_regressor": joints,
        "weights": weights,
        "kintree_table": tree,
        "f": rig.TOPOLOGY.faces.astype(np.uint32),
    }


def skinned(model: dict[str, np.ndarray], shape, expression, jaw) -> np.ndarray:
    """(V,3): linear blend skinning over the whole tree of joints, one vertex at a time, as the papers have it."""
    betas = np.zeros(400)
    betas[: len(shape)], betas[300 : 300 + len(expression)] = shape, expression
    shaped = model["v_template"] + model["shapedirs"] @ betas
    joints = model["J_regressor"] @ shaped
    turns = [np.eye(3) for _ in PARENTS]
    angle = float(np.linalg.norm(jaw))
    if angle:
        x, y, z = np.asarray(jaw) / angle
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turns[2] = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    posed = shaped + model["posedirs"] @ np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    world: list[np.ndarray] = []
    for k, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turns[k], joints[k] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    made = np.zeros((V, 3))
    for v in range(V):
        for k, matrix in enumerate(world):
            relative = posed[v] - joints[k]
            made[v] += model["weights"][v, k] * (matrix[:3, :3] @ relative + matrix[:3, 3])
    return made


def as_mpi(path: Path, model: dict[str, np.ndarray], monkeypatch, ran: list) -> None:
    """The release's form: chumpy's arrays and scipy's matrix by columns, whose classes note when they are run."""

    def kind(module: str, name: str) -> type:
        made = type(name, (), {"__module__": module, "__setstate__": lambda self, state: ran.append(name)})
        place = types.ModuleType(module)
        setattr(place, name, made)
        parts = module.split(".")
        for k in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:k]), types.ModuleType(".".join(parts[:k])))
        monkeypatch.setitem(sys.modules, module, place)
        return made

    def chumpy(value: np.ndarray):
        made = ch()
        made.__dict__.update(x=value, _dirty_vars=set(), dterms=("x",))
        return made

    ch, csc = kind("chumpy.ch", "Ch"), kind("scipy.sparse.csc", "csc_matrix")
    dense = model["J_regressor"]
    columns, rows = np.nonzero(dense.T)
    starts = np.searchsorted(columns, np.arange(V + 1)).astype(np.int32)
    sparse = csc()
    sparse.__dict__.update(_shape=dense.shape, data=dense[rows, columns], indices=rows.astype(np.int32), indptr=starts)
    content = dict(model) | {"J_regressor": sparse, "bs_style": "lbs", "bs_type": "lrotmin"}
    content |= {name: chumpy(model[name]) for name in ("v_template", "shapedirs", "weights")}
    path.write_bytes(pickle.dumps(content, 2))


def test_rotations_are_rodrigues():
    turned = rotations(np.array([[0, 0, np.pi / 2], [np.pi, 0, 0], [0, 0, 0]]))
    np.testing.assert_allclose(turned[0] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned[1], np.diag([1, -1, -1]), atol=1e-12)
    np.testing.assert_allclose(turned[2], np.eye(3))


def test_flame_is_linear_blend_skinning(tmp_path):
    model = model_arrays()
    np.savez(tmp_path / "flame.npz", **model)
    flame = read_flame(tmp_path / "flame.npz")
    rng = np.random.default_rng(1)
    shape, expression, jaw = rng.normal(size=300), rng.normal(size=(70, 50)), rng.normal(0, 0.3, (70, 3))
    made = flame.vertices(shape, expression, jaw)
    for k in (0, 33, 69):
        np.testing.assert_allclose(made[k], skinned(model, shape, expression[k], jaw[k]), atol=1e-7)


def test_mpis_own_file_is_read_and_none_of_it_run(tmp_path, monkeypatch):
    model, ran = model_arrays(), []
    as_mpi(tmp_path / "generic_model.pkl", model, monkeypatch, ran)
    flame = read_flame(tmp_path / "generic_model.pkl")
    np.savez(tmp_path / "flame.npz", **model)
    plain = read_flame(tmp_path / "flame.npz")
    for name in ("template", "directions", "correctives", "joint", "follows", "faces"):
        np.testing.assert_allclose(getattr(flame, name), getattr(plain, name), atol=1e-15, err_msg=name)
    assert not ran


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("posedirs"),
        lambda m: m.update(shapedirs=m["shapedirs"][:, :, :100]),
        lambda m: m.update(kintree_table=np.array([[0, 0, 1, 2, 3], [0, 1, 2, 3, 4]])),
        lambda m: m.update(weights=m["weights"][:, :4]),
        lambda m: m.update(v_template=np.array(["x"])),
    ],
)
def test_what_is_no_flame(tmp_path, change):
    model = model_arrays()
    change(model)
    np.savez(tmp_path / "m.npz", **model)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    for name in ("m.npz", "m.pkl"):
        with pytest.raises(InputError, match="not a FLAME model"):
            read_flame(tmp_path / name)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "m.npz").write_bytes(b"PK")
    for name in ("m.npz", "m.pkl", "none.pkl"):
        with pytest.raises(InputError):
            read_flame(tmp_path / name)


def write_sequence(root: Path, person: str, emotion: str, level: int, name: str, shape, expression, jaw) -> Path:
    folder = root / person / "front" / emotion / f"level_{level}" / name
    folder.mkdir(parents=True)
    frames = len(jaw)
    with h5py.File(folder / "shape_pose_cam.hdf5", "w") as file:
        file["shape"] = np.broadcast_to(shape, (frames, len(shape)))[None].astype(np.float32)
        file["exp"], file["jaw"] = expression[None].astype(np.float32), jaw[None].astype(np.float32)
    write_noise(root / person / "audio" / emotion / f"level_{level}" / f"{name}.wav", frames * 1764, 44_100)
    return folder / "shape_pose_cam.hdf5"


def test_mead(tmp_path):
    model = model_arrays()
    np.savez(tmp_path / "flame.npz", **model)
    rng, root = np.random.default_rng(2), tmp_path / "mead"
    shapes = {person: rng.normal(size=300).astype(np.float32) for person in ("M003", "W011")}
    other = rng.normal(size=300).astype(np.float32)  # what the tracker saw in another video of the same person
    truth = {}
    for person, emotion, level, name, shape in (
        ("M003", "angry", 2, "001", other),
        ("M003", "neutral", 1, "004", shapes["M003"]),
        ("W011", "happy", 3, "012", shapes["W011"]),
    ):
        expression, jaw = rng.normal(size=(25, 100)).astype(np.float32), rng.normal(0, 0.2, (25, 3)).astype(np.float32)
        write_sequence(root, person, emotion, level, name, shape, expression, jaw)
        meshes = [skinned(model, shapes[person], e, j) for e, j in zip(expression, jaw, strict=True)]
        truth[f"{person}-{emotion}-level_{level}-{name}"] = np.array(meshes)
    for name in ("broken", "silent", "short"):
        path = write_sequence(root, "W011", "sad", 1, name, other, np.zeros((25, 100)), np.zeros((25, 3)))
        if name == "broken":
            path.write_bytes(path.read_bytes()[:500])
    (root / "W011/audio/sad/level_1/silent.wav").unlink()
    with h5py.File(root / "W011/front/sad/level_1/short/shape_pose_cam.hdf5", "a") as file:
        del file["jaw"]
        file["jaw"] = np.zeros((1, 24, 3))
    corpus, report, clips = converted("mead3d", root, tmp_path / "c", Options(flame=tmp_path / "flame.npz"))
    assert corpus.fps == 25
    assert set(clips) == set(truth)
    for name, clip in clips.items():
        np.testing.assert_allclose(clip.vertices, truth[name], atol=2e-5)
        person = name.split("-")[0]
        np.testing.assert_allclose(clip.template, skinned(model, shapes[person], [], [0, 0, 0]), atol=1e-6)
        assert (clip.subject, clip.emotion) == (person, name.split("-")[1])
        assert len(clip.audio) == 44_100
    assert {name.split("-")[-1] for name in report.dropped} == {"broken", "silent", "short"}
    assert corpus.topology.hash == rig.TOPOLOGY.hash
    given = tmp_path / "regions.npz"
    rig.TOPOLOGY.save(given)
    corpus, _, _ = converted("mead3d", root, tmp_path / "c", Options(flame=tmp_path / "flame.npz", topology=given))
    assert corpus.topology.region_hash == rig.TOPOLOGY.region_hash


def test_what_mead_needs(tmp_path, monkeypatch):
    np.savez(tmp_path / "flame.npz", **model_arrays())
    with pytest.raises(InputError, match="Give --flame, your own model file"):
        convert("mead3d", tmp_path, tmp_path.parent / "c", Options())
    with pytest.raises(InputError, match="is not 3DMEAD"):
        convert("mead3d", tmp_path, tmp_path.parent / "c", Options(flame=tmp_path / "flame.npz"))
    Topology(np.array([[0, 1, 2]], np.int32), 3).save(tmp_path / "t.npz")
    given = Options(flame=tmp_path / "flame.npz", topology=tmp_path / "t.npz")
    with pytest.raises(InputError, match="3 vertices"):
        convert("mead3d", tmp_path, tmp_path.parent / "c", given)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install .meshtalk\[convert\]"):
        mead3d.plan(tmp_path, Options(flame=tmp_path / "flame.npz"))
