"""Regions from motion: a mouth that opens and lids that fall are found on a mesh that nobody named; data trains with them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import regions_rig
import rig
import soundfile

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.evaluation.bench import check_measurable
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.topology import REGIONS, Topology
from meshtalk.regions.motion import find_landmarks, regions_from_motion

HEAD = regions_rig.HEAD
LEAST = {"mouth": 0.95, "upper_face": 0.95, "eyelids": 0.8, "lips": 0.8}
"""Mouth and upper face are broad; of lids and lips, a few vertices wide, part of the rim falls on either side of one half."""


def corpus_of(root: Path, mesh: regions_rig.Foreign, seconds: float = 3.0, clips: int = 4, **how: float) -> Corpus:
    """A person of the head as that mesh, upright in metres, without regions."""
    template = mesh.of_head(HEAD.person("p00").template).astype(np.float32)
    topology = Topology(mesh.faces, len(template))
    writer = CorpusWriter(root, topology, Fraction(30), ["none"])
    infos = []
    for seed in range(clips):
        moved, audio = regions_rig.performance(seed, seconds, **how)
        clip = Clip(
            topology=topology, template=template, fps=Fraction(30), audio=audio, sample_rate=rig.RATE,
            displacement=np.stack([mesh.of_head(frame) for frame in moved]).astype(np.float32), subject="p00",
        )  # fmt: skip
        infos.append(writer.add(clip, id=f"c{seed}", split="train", voice="p00"))
    return writer.finish(infos)


@pytest.fixture(scope="module")
def permuted(tmp_path_factory):
    mesh = regions_rig.foreign()
    return mesh, corpus_of(tmp_path_factory.mktemp("motion") / "corpus", mesh)


def test_landmarks_are_where_the_head_has_them(permuted):
    _, corpus = permuted
    vertices = corpus.template("p00").astype(np.float64)
    found = find_landmarks(corpus, vertices)
    true = {name: HEAD.person("p00").template[vertex] for name, vertex in head_landmarks().items()}
    assert len(found) == 13
    for name, point in found.items():  # edges are 4 mm long, and lips touch over some depth
        assert np.linalg.norm(point - true[name]) < (6e-3 if name.startswith("lip") else 4e-3), name


def test_regions_are_the_heads(permuted):
    mesh, corpus = permuted
    topology = regions_from_motion(corpus).topology
    got = mesh.agreement(topology)
    assert all(got[name] >= least for name, least in LEAST.items()), got
    upper, lower = (topology.landmarks[f"lip_inner_{side}"] for side in ("upper", "lower"))
    assert len(upper) >= 4
    back = np.argsort(mesh.into)
    jaw = HEAD.topology.shapes[HEAD.topology.shape_names.index("jawOpen")]
    true = jaw[HEAD.topology.landmarks["lip_inner_upper"], 1] - jaw[HEAD.topology.landmarks["lip_inner_lower"], 1]
    assert (jaw[back[upper], 1] - jaw[back[lower], 1]).mean() == pytest.approx(true.mean(), rel=0.1)


@pytest.mark.parametrize(
    ("how", "words"), [({"mouth": 0.0}, "no mouth opening was found"), ({"blinks": 0.0}, "no blink was found")]
)
def test_what_does_not_move_is_not_found(tmp_path, how, words):
    corpus = corpus_of(tmp_path / "corpus", regions_rig.foreign(2), clips=1, **how)
    with pytest.raises(InputError, match=words):
        regions_from_motion(corpus)


MESH = Path(os.environ.get("MESHTALK_MESHES", "")) / "ict_facekit.npz"


@pytest.mark.skipif(not MESH.is_file(), reason="MESHTALK_MESHES names no folder with ict_facekit.npz")
def test_ict_facekit_moved_by_its_own_shapes(tmp_path):
    """Where motion and hand-picked landmarks agree, and regions hold what a blink and a jaw move."""
    with np.load(MESH) as data:
        neutral = data["neutral"] * np.float32(0.01)
        shapes = {
            name: delta * np.float32(0.01) for name, delta in zip(data["names"].tolist(), data["deltas"], strict=True)
        }
        topology = Topology(data["tris"].astype(np.int32), len(neutral))
    writer = CorpusWriter(tmp_path / "corpus", topology, Fraction(30), ["none"])
    t = np.arange(150) / 30
    blink = np.clip(1 - np.abs((t % 1.5) - 1) / 0.15, 0, 1)
    brow = np.sin(t) ** 2
    moved = {
        "jawOpen": 0.3 * np.sin(9 * t) ** 2,
        "eyeBlink_L": blink,
        "eyeBlink_R": blink,
        "browInnerUp_L": brow,
        "browInnerUp_R": brow,
    }
    displacement = sum(curve[:, None, None].astype(np.float32) * shapes[name] for name, curve in moved.items())
    clip = Clip(
        topology=topology, template=neutral, fps=Fraction(30), audio=np.zeros(5 * rig.RATE, np.float32),
        sample_rate=rig.RATE, displacement=displacement, subject="ict",
    )  # fmt: skip
    found = regions_from_motion(writer.finish([writer.add(clip, id="c", split="train", voice="v")])).topology
    fallen = np.linalg.norm(shapes["eyeBlink_L"] + shapes["eyeBlink_R"], axis=1)
    lids = found.regions["eyelids"] > 0.5
    assert (lids & (fallen > 0.1 * fallen.max())).sum() / lids.sum() > 0.95
    assert (lids & (fallen > 0.4 * fallen.max())).sum() / (fallen > 0.4 * fallen.max()).sum() > 0.85
    jaw = (shapes["jawOpen"] ** 2).sum(1)
    assert jaw @ found.regions["mouth"] / jaw.sum() > 0.9
    assert jaw @ found.regions["upper_face"] / jaw.sum() < 0.02
    upper, lower = (found.landmarks[f"lip_inner_{side}"] for side in ("upper", "lower"))
    apart = shapes["jawOpen"][:, 1]
    assert (apart[upper] - apart[lower]).mean() == pytest.approx(apart[5533] - apart[5517], rel=0.1)  # the very middle


@pytest.mark.slow
@pytest.mark.usefixtures("inline_features")
def test_a_folder_of_a_foreign_mesh_trains_and_is_measured(tmp_path, monkeypatch, capsys):
    """Converted without regions, refused with the way out, given what its motion tells, trained for a few steps, measured."""
    from meshtalk.training.run import train

    monkeypatch.chdir(tmp_path)
    mesh = regions_rig.foreign(2)
    template = mesh.of_head(HEAD.person("p00").template)
    for seed in range(5):  # centimetres, z up
        moved, audio = regions_rig.performance(seed, 1.6)
        frames = 100 * np.stack([template + mesh.of_head(frame) for frame in moved])[..., [0, 2, 1]] * [1, -1, 1]
        folder = Path("recordings") / f"person{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"take{seed}.npy", frames.astype(np.float32))
        soundfile.write(folder / f"take{seed}.wav", audio, rig.RATE)
    lines = [f"v {x} {-z} {y}" for x, y, z in 100 * template] + [f"f {a} {b} {c}" for a, b, c in mesh.faces + 1]
    Path("face.obj").write_text("\n".join(lines))
    convert = [
        "corpus",
        "convert",
        "folder",
        "recordings",
        "corpus",
        "--template",
        "face.obj",
        "--fps",
        "30",
        "--axes",
        "x,z,-y",
        "--workers",
        "1",
    ]
    main(convert)
    assert "meshtalk regions" in capsys.readouterr().out
    corpus = Corpus.open("corpus")
    with pytest.raises(InputError, match=r"mouth, upper_face, eyelids.*`meshtalk regions motion CORPUS"):
        train(corpus, "run", rig.TINY, rig.quick_training(1, 2, 2), progress=lambda _: None)
    with pytest.raises(InputError, match="mouth, upper_face, lips, which are measured"):
        check_measurable(corpus.topology)

    main(["regions", "motion", "corpus", "-o", "face.npz"])
    assert Path("face.png").is_file()
    got = mesh.agreement(Topology.load("face.npz"))
    assert all(got[name] >= least - 0.1 for name, least in LEAST.items()), got
    main(["regions", "apply", "corpus", "face.npz"])
    main(convert)  # goes on with the same corpus, and leaves it its regions
    corpus = Corpus.open("corpus")
    corpus.verify()
    assert corpus.topology.region_hash == Topology.load("face.npz").region_hash
    assert corpus.topology.lacks() == []

    train(corpus, "run", rig.TINY, rig.quick_training(1, 2, 2), progress=lambda _: None)
    main(["evaluate", "run/model", "corpus", "--limit", "1"])
    assert "truth" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("other.npz", "other.npz must have topology"),
        ("bare.npz", "bare.npz has no regions"),
        ("none.npz", "no topology at none.npz"),
    ],
)
def test_what_cannot_be_applied(tmp_path, monkeypatch, capsys, given, words):
    monkeypatch.chdir(tmp_path)
    rig.build(Path("corpus"), seconds=0.5)
    Topology(rig.TOPOLOGY.faces[1:], rig.TOPOLOGY.n_vertices, regions=rig.TOPOLOGY.regions).save("other.npz")
    Topology(rig.TOPOLOGY.faces, rig.TOPOLOGY.n_vertices).save("bare.npz")
    before = Path("corpus/manifest.json").read_bytes()
    with pytest.raises(SystemExit) as end:
        main(["regions", "apply", "corpus", given])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert Path("corpus/manifest.json").read_bytes() == before
    assert set(Corpus.open("corpus").topology.regions) == set(REGIONS)
