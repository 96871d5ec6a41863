"""Converting as a whole: workers, interruption, changed files, hostile pickles, units, and training on what came out."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import convert_rig
import numpy as np
import pytest
import rig
from convert_rig import VOCA, converted, options
from test_training import windows

from meshtalk.convert import run as running
from meshtalk.convert.make import fill_gaps
from meshtalk.convert.pickles import Inert, read_pickle
from meshtalk.convert.plan import own_splits
from meshtalk.convert.run import convert
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.mesh.units import Space, find_space, parse_axes
from meshtalk.progress import Progress
from meshtalk.training.run import train

SAID = (("s0", 1), ("s0", 2), ("s1", 3), ("s1", 4), ("s2", 21), ("s2", 22), ("s3", 21), ("s3", 22))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    convert_rig.vocaset_arrays(folder / "v", seconds=1.0, said=SAID)
    (folder / "v/wav" / f"{VOCA['s1']}_sentence04.wav").unlink()
    options(folder)
    return folder


@pytest.fixture(scope="module")
def straight(source) -> Corpus:
    return converted("vocaset", source / "v", source / "straight", options(source))[0]


@pytest.mark.usefixtures("forked_workers")
def test_two_workers_make_the_same_corpus(source, straight):
    converted("vocaset", source / "v", source / "two", options(source), workers=2)
    assert contents(source / "two") == contents(straight.root)


@pytest.mark.parametrize("after", [1, 3, 7])
def test_an_interrupted_conversion_goes_on(source, straight, tmp_path, monkeypatch, after):
    def stop(progress: Progress) -> None:
        if progress.done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert("vocaset", source / "v", tmp_path / "c", options(source), workers=1, progress=stop)
    assert not (tmp_path / "c/manifest.json").exists()
    (tmp_path / "c/clips/.new-left").mkdir()  # of a process that was killed
    read = []
    original = running.make
    monkeypatch.setattr(running, "make", lambda work: read.append(work.job.id) or original(work))
    clips = {
        path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "c/clips").glob("[!.]*/displacement.npy")
    }
    converted("vocaset", source / "v", tmp_path / "c", options(source))
    assert contents(tmp_path / "c") == contents(straight.root)
    for name, when in clips.items():
        assert (tmp_path / "c/clips" / name / "displacement.npy").stat().st_mtime_ns == when
    assert len(read) == len(SAID)


def test_a_second_run_touches_nothing_and_a_changed_file_is_read_again(source, tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", said=SAID[:3])
    converted("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    motions = sorted((tmp_path / "c/clips").glob("*/displacement.npy"))
    before = [path.stat().st_mtime_ns for path in motions]
    converted("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    assert [path.stat().st_mtime_ns for path in motions] == before
    changed = tmp_path / "v/vertices_npy" / f"{VOCA['s0']}_sentence02.npy"
    frames = np.load(changed)
    np.save(changed, frames[::-1])
    later = max(before) + 10**9
    os.utime(changed, ns=(later, later))
    _, _, clips = converted("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    after = [path.stat().st_mtime_ns for path in motions]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, False]
    name = f"{VOCA['s0']}-sentence02"
    np.testing.assert_allclose(clips[name].vertices.reshape(len(frames), -1), frames[::-1], atol=1e-5)


def test_a_clip_that_vanished_leaves_the_corpus(source, tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", said=SAID[:3])
    converted("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    for folder, suffix in (("vertices_npy", "npy"), ("wav", "wav")):
        (tmp_path / "v" / folder / f"{VOCA['s0']}_sentence01.{suffix}").unlink()
    corpus, _, _ = converted("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    assert [info.sentence for info in corpus.clips] == ["sentence02", "sentence03"]
    assert len(list((tmp_path / "c/clips").iterdir())) == 2


def test_another_corpus_is_left_alone(source, tmp_path, rig_corpus):
    root = tmp_path / "other"
    shutil.copytree(rig_corpus.root, root)
    before = contents(root)
    with pytest.raises(InputError, match="a corpus of another maker"):
        converted("vocaset", source / "v", root, options(source))
    assert contents(root) == before


def test_progress_is_told_after_every_clip(source, tmp_path):
    seen: list[Progress] = []
    convert("vocaset", source / "v", tmp_path / "c", options(source), workers=1, progress=seen.append)
    assert [one.done for one in seen] == list(range(1, len(SAID) + 1))
    assert seen[3] == Progress(4, 8, "clips", note="0.1 min of motion, 1 dropped")


@pytest.mark.slow
def test_only_a_clip_is_in_memory(source, tmp_path):
    """Motion of many clips passes through, but the peak hardly grows with their number."""
    rows = 400
    for count in (1, 10):
        folder = tmp_path / f"v{count}"
        (folder / "vertices_npy").mkdir(parents=True)
        truth = convert_rig.take(0, "s0", 60, rows / 60)
        for k in range(1, count + 1):
            name = f"{VOCA['s0']}_sentence{k:02d}"
            wide = np.repeat(truth.vertices, 40, axis=1)  # 3,840 vertices, 18 MB
            np.save(folder / "vertices_npy" / f"{name}.npy", wide.reshape(rows, -1))
            convert_rig.write_wav(folder / "wav" / f"{name}.wav", truth)
        (folder / "templates.pkl").write_bytes(pickle.dumps({VOCA["s0"]: np.repeat(rig.face(0), 40, axis=0)}))
    faces = rig.TOPOLOGY.faces * 40
    convert_rig.write_mesh(tmp_path / "wide.ply", np.repeat(rig.NEUTRAL, 40, axis=0), faces)
    code = (
        "import sys, resource; from pathlib import Path; from meshtalk.convert.plan import Options;"
        "from meshtalk.convert.run import convert; import trimesh, torch, soxr;"
        "go = lambda count: convert('vocaset', f'v{count}', f'c{count}', Options(template=Path('wide.ply')), workers=1);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(go(1) and peak(), go(10) and peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    peaks_mb = [int(word) / 1024 for word in done.stdout.split()[-2:]]
    assert peaks_mb[1] - peaks_mb[0] < 40, peaks_mb  # nine clips more are 166 MB


# ------------------------------------------------------------------------------------------------ pickles


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}"
    values = {
        "system": Runs(os.system, command),
        "eval": Runs(eval, f"__import__('os').system({command!r})"),
        "exec": Runs(exec, f"open({str(marker)!r}, 'w')"),
        "open": Runs(open, str(marker), "w"),
        "getattr": Runs(getattr, marker, "touch"),
        "process": Runs(subprocess.call, ["touch", str(marker)]),
        "memory": Runs(bytearray, 10**15),
        "array of objects": np.array([Runs(os.system, command), 1], dtype=object),
        "fields": np.zeros(2, [("a", "f4"), ("b", "O")]),
        "path": marker,
        "function": os.system,
        "class": dict,
    }
    return {name: pickle.dumps({"FaceTalk": value}, 2) for name, value in values.items()} | {
        "code by hand": f"cposix\nsystem\n(S'{command}'\ntR.".encode(),
        "import by hand": b"c__builtin__\n__import__\n(S'os'\ntR.",
        "numpy by hand": b"cnumpy\nload\n(S'x'\ntR.",
        "state of a class": b"cnumpy\nndarray\n(dS'x'\nI1\nsb.",
        "codec": b"c_codecs\nencode\n(Vabc\nVbz2\ntR.",
        "huge size": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
        "huge memo": b"\x80\x02cnumpy\nload\nr\xff\xff\xff\xff.",
        "deep": b"(" * 10 + b"]" * 3 + b"l" * 20000 + b".",
        "itself": b"\x80\x02]q\x00h\x00a.",
        "persistent": b"Pabc\n.",
        "registry": b"\x80\x02\x82\x01.",
        "nothing": b"",
        "text": b"hello",
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_hostile_pickles_are_refused(tmp_path, name):
    marker = tmp_path / "marker"
    path = tmp_path / "templates.pkl"
    path.write_bytes(hostile(marker)[name])
    for inert in ((), ("chumpy", "scipy")):
        with pytest.raises(InputError) as refusal:
            read_pickle(path, inert)
        assert len(str(refusal.value).splitlines()) == 1
    assert not marker.exists()


def test_a_hostile_data_set_is_refused_whole(source, tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", said=SAID[:1])
    (tmp_path / "v/templates.pkl").write_bytes(hostile(tmp_path / "marker")["system"])
    with pytest.raises(InputError, match=r"asks for posix\.system, which is never run"):
        convert("vocaset", tmp_path / "v", tmp_path / "c", options(source))
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_honest_pickles_are_read(tmp_path, protocol):
    shared = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = {
        "a": [shared, shared, (1, 2.5, None, True)],
        "b": {"columns": np.asfortranarray(shared), "big": shared.astype(">f8"), "none": np.zeros((0, 3))},
        "c": {
            "set": {1, 2},
            "bytes": b"\xff\0",
            "text": "é",
            "scalar": np.float64(0.5),
            "words": np.array(["x", "yz"]),
        },
    }
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol))
    read = read_pickle(tmp_path / "p.pkl")
    assert read["a"][0] is read["a"][1]
    assert read["a"][2] == (1, 2.5, None, True)
    for name, array in value["b"].items():
        np.testing.assert_array_equal(read["b"][name], array)
    assert {k: v for k, v in read["c"].items() if k != "words"} == {k: v for k, v in value["c"].items() if k != "words"}
    assert read["c"]["words"].tolist() == ["x", "yz"]


def test_pickles_of_python_2_are_read(tmp_path):
    value = {"FaceTalk": {"audio": np.arange(-300, 300, dtype=np.int16), "rate": 22000}, "old": b"caf\xe9"}
    (tmp_path / "p.pkl").write_bytes(convert_rig.old_pickle(value))
    assert b"numpy.core.multiarray" in (tmp_path / "p.pkl").read_bytes()
    read = read_pickle(tmp_path / "p.pkl")
    np.testing.assert_array_equal(read["FaceTalk"]["audio"], value["FaceTalk"]["audio"])
    assert read["old"] == "café"


def test_objects_of_named_packages_are_only_state(tmp_path, monkeypatch):
    ran = []
    module = types.ModuleType("chumpy.ch")
    kind = type("Ch", (), {"__module__": "chumpy.ch", "__setstate__": lambda self, state: ran.append(state)})
    module.Ch = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    value = kind()
    value.__dict__["x"] = np.arange(3.0)
    for protocol in (0, 2, 4):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps({"v": value}, protocol))
        with pytest.raises(InputError, match="chumpy"):
            read_pickle(tmp_path / "p.pkl")
        read = read_pickle(tmp_path / "p.pkl", ("chumpy",))["v"]
        assert isinstance(read, Inert)
        np.testing.assert_array_equal(read.state["x"], np.arange(3.0))
    assert not ran


# ------------------------------------------------------------------------------------------------ space, gaps, splits


def test_units_are_checked_by_the_size_of_a_head():
    for unit, metres in (("m", 1), ("dm", 0.1), ("cm", 0.01), ("mm", 0.001)):
        assert find_space(rig.NEUTRAL / metres, None, None, default=None, kind="k").metres == metres
        assert find_space(rig.NEUTRAL / metres, unit, None, default="m", kind="k").metres == metres
    assert find_space(rig.NEUTRAL * 4, "0.25", None, default=None, kind="k").metres == 0.25
    with pytest.raises(InputError, match="Give --unit, metres per unit"):
        find_space(rig.NEUTRAL * 4, None, None, default=None, kind="k")
    with pytest.raises(InputError, match="Give --unit mm"):
        find_space(rig.NEUTRAL * 1000, None, None, default="m", kind="k")
    for bad in ("inch", "-1", "nan", "0"):
        with pytest.raises(InputError, match="unit"):
            find_space(rig.NEUTRAL, bad, None, default="m", kind="k")


def test_axes_turn_the_face_upright():
    up_is_z = rig.NEUTRAL[:, [0, 2, 1]] * [1, -1, 1]  # as Blender has it: out of the face is -y
    np.testing.assert_allclose(Space(1.0, "x,z,-y").apply(up_is_z), rig.NEUTRAL)
    np.testing.assert_allclose(Space(0.5, "-x,y,-z").apply(rig.NEUTRAL), rig.NEUTRAL * [-0.5, 0.5, -0.5])
    columns, signs = parse_axes(" -z , x , -y ")
    assert (columns, signs.tolist()) == ([2, 0, 1], [-1, 1, -1])
    for bad in ("x,y", "x,x,z", "y,x,z", "a,b,c", "", "--x,y,z"):
        with pytest.raises(InputError, match="axes"):
            parse_axes(bad)


def test_gaps_are_bridged_by_lines():
    motion = np.array([np.nan, 1, np.nan, np.nan, 4, 5, np.nan], np.float32)[:, None]
    assert fill_gaps(motion, np.isfinite(motion[:, 0]))[:, 0].tolist() == [1, 1, 2, 3, 4, 5, 5]
    with pytest.raises(InputError, match="captured"):
        fill_gaps(motion, np.zeros(7, bool))


def test_own_splits_hold_out_people_and_do_not_depend_on_order():
    def jobs(people: int, each: int):
        return [types.SimpleNamespace(id=f"p{p}-{k}", voice=f"p{p}") for p in range(people) for k in range(each)]

    many = own_splits(jobs(20, 3))
    assert many == own_splits(reversed(jobs(20, 3)))
    of = {split: {id.split("-")[0] for id, s in many.items() if s == split} for split in ("train", "val", "test")}
    assert [len(of[s]) for s in ("train", "val", "test")] == [16, 2, 2]
    few = list(own_splits(jobs(1, 3)).values())
    assert sorted(few) == ["test", "train", "val"]
    assert set(own_splits(jobs(1, 2)).values()) == {"train"}


# ------------------------------------------------------------------------------------------------ training


@pytest.mark.usefixtures("inline_features")
def test_training_says_which_regions_are_missing(source, tmp_path):
    corpus, _, _ = converted("vocaset", source / "v", tmp_path / "c", replace(options(source), topology=None))
    with pytest.raises(InputError, match=r"mouth, upper_face, eyelids.*meshtalk regions apply"):
        train(corpus, tmp_path / "run", rig.TINY, rig.quick_training(1, 1, 1), progress=lambda _: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_sees_no_missing_frame(tmp_path):
    """Windows begin on the grid and lie between the gaps; a clip with too short pieces gives none."""
    writer = CorpusWriter(tmp_path / "c", rig.TOPOLOGY, Fraction(60), ["none"])
    masks = [None, np.ones(60, bool), np.arange(60) % 8 != 0]
    masks[1][[20, 45]] = False
    infos = []
    for k, mask in enumerate(masks):
        clip = replace(convert_rig.take(k, "s0", 60), valid=mask)
        infos.append(writer.add(clip, id=f"c{k}", split="train", voice="v"))
    data = windows(writer.finish(infos), tmp_path)
    # at 30 frames a second, 20 of 60 is frame 10, and 45 lies between two; windows begin at every third frame
    assert data.starts(0, 8).tolist() == list(range(0, 23, 3))
    assert data.starts(1, 8).tolist() == [0, 12, 15, 18, 21]
    assert data.starts(2, 8).tolist() == []
    rng = np.random.default_rng(0)
    drawn = [rig.batch(data, rng, 8, 8) for _ in range(20)]
    assert {int(c) for batch in drawn for c in batch.clip_ids} == {0, 1}
    assert {int(s) for batch in drawn for s in batch.starts[batch.clip_ids.numpy() == 1]} == {0, 12, 15, 18, 21}
