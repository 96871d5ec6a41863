"""Takes of one line: ranked by what was measured, written whole or not at all, refused before the work."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
from player_rig import data_of, needs_page
from test_animate import AUDIO, TINY, whole
from test_cli import refused, run

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, load_model
from meshtalk.inference.edit import again, same_motion
from meshtalk.inference.takes import ON_THE_PAGE, RankedClip, check_takes, rank, table, write_takes
from meshtalk.measures import sync, tracks

FILES = {"takes.json", "contact_sheet.png", "takes.html"}


def acted(lips: float = 1.0, upper: float = 1.0, shaking_mm: float = 0.0, noise: float = 0.0) -> Clip:
    """The rig's clip with lips that follow its sound so well, an upper face that lives so much, and a jaw that shakes."""
    clip, rng = rig.make_clip(3, 3.0), np.random.default_rng(0)
    weights = clip.weights.copy()
    weights[:, :2] = lips * weights[:, :2] + (1 - lips) * 0.5
    weights[:, 0] += noise * rng.normal(size=len(weights))
    weights[:, 3:] = 0.4 + upper * (weights[:, 3:] - 0.4)
    weights[:, 0] += shaking_mm / 18 * (-1) ** np.arange(len(weights))
    return replace(clip, weights=weights.astype(np.float32))


# --- ranking -----------------------------------------------------------------------------------------------------


def test_the_best_is_best_in_all_and_the_worst_in_none():
    good, middling, bad = acted(), acted(upper=0.7, noise=0.2), acted(upper=0.3, noise=0.5)
    ranked = rank([middling, bad, good], seed=10)
    assert [take.seed for take in ranked] == [12, 10, 11]
    assert [take.place for take in ranked] == [1, 2, 3]
    assert ranked[0].clip is good


@pytest.mark.parametrize(
    ("worse", "measure", "factor"),
    [
        ({"noise": 0.4}, "loudness_r", 0.9),
        ({"upper": 0.5}, "upper_motion_mm", 0.6),
        ({"shaking_mm": 3.0}, "jitter_mm", 1.5),
    ],
)
def test_each_measure_sees_its_own(worse, measure, factor):
    one, other = (getattr(take, measure) for take in sorted(rank([acted(), acted(**worse)], 0), key=lambda t: t.seed))
    assert other > factor * one if factor > 1 else other < factor * one
    if measure != "upper_motion_mm":  # what moves less shakes less: these two weigh the same
        assert rank([acted(**worse), acted()], 0)[0].seed == 1


def test_equals_stay_in_order_and_share_a_place():
    ranked = rank([acted(), acted(), acted(noise=0.5, upper=0.5)], 5)
    assert [take.seed for take in ranked] == [5, 6, 7]
    assert [take.place for take in ranked] == [1, 1, 3]
    assert rank([], 0) == []


def test_the_numbers_are_the_measures():
    clip = acted()
    (take,) = rank([clip], 4)
    assert take.loudness_r == sync.loudness_correlation(tracks.opening_mm(clip), clip.audio, 16000, 30)
    lids = tracks.eyelid_closure(clip)
    assert take.blinks_per_min == len(sync.blinks(lids, 30)) / 0.05
    still = np.broadcast_to(clip.template + 0.001, (90, 96, 3))
    around = np.sqrt(np.square(clip.vertices - clip.vertices.mean(0)).sum(-1).mean(0))[
        clip.topology.indices("upper_face")
    ]
    assert take.upper_motion_mm == pytest.approx(1e3 * np.sqrt(np.square(around).mean()), rel=1e-4)
    silent = replace(clip, audio=np.zeros_like(clip.audio))
    assert rank([silent], 0)[0].loudness_r == 0
    frozen = replace(clip, weights=None, basis=None, displacement=still - clip.template)
    assert rank([frozen], 0)[0].upper_motion_mm == pytest.approx(0, abs=1e-6)


def test_faces_without_lids_to_measure():
    bare = replace(rig.TOPOLOGY, shapes=None, shape_names=())
    takes = rank([replace(rig.as_dense(acted()), topology=bare)], 0)
    assert takes[0].blinks_per_min is None
    assert takes[0].numbers()["blinks_per_min"] is None
    assert " - " in table(takes)


def test_short_takes_are_ranked():
    for samples in (1, 600, 3000):
        takes = TINY.takes(AUDIO[:samples], 16000, n=3)
        assert sorted(take.seed for take in rank(takes, 0)) == [0, 1, 2]


def test_takes_are_what_animate_makes():
    for index, take in enumerate(TINY.takes(AUDIO, 16000, n=3, seed=20)):
        np.testing.assert_allclose(take.vertices, whole(seed=20 + index), atol=1e-5)


# --- the folder --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranked() -> list[RankedClip]:
    return rank(TINY.takes(AUDIO, 16000, n=6, seed=3), 3)


@needs_page
def test_the_folder_holds_all(tmp_path, ranked):
    folder = write_takes(tmp_path / "takes", ranked)
    told = json.loads((folder / "takes.json").read_text())
    assert {path.name for path in folder.iterdir()} == FILES | {row["file"] for row in told}
    assert [row["seed"] for row in told] == [take.seed for take in ranked]
    assert [row["file"] for row in told] == [f"take_{i}_seed_{t.seed}.npz" for i, t in enumerate(ranked, 1)]
    for row, take in zip(told, ranked, strict=True):
        assert set(row) == {"file", "seed", "loudness_r", "upper_motion_mm", "blinks_per_min", "jitter_mm", "place"}
        assert row["loudness_r"] == pytest.approx(take.loudness_r, abs=1e-4)
        clip = Clip.load(folder / row["file"])
        assert same_motion(clip, take.clip)
        assert same_motion(again(TINY, clip), clip)
    page, _ = data_of(folder / "takes.html")
    names = [clip["name"] for clip in page["clips"]]
    assert names == [f"take {i}, seed {t.seed}" for i, t in enumerate(ranked[:ON_THE_PAGE], 1)]
    assert len(table(ranked).splitlines()) == 7


@needs_page
@pytest.mark.parametrize(
    "broken", ["meshtalk.inference.takes.contact_sheet", "meshtalk.inference.takes.write_player", "json.dumps"]
)
def test_a_failure_in_the_middle_leaves_nothing(tmp_path, monkeypatch, ranked, broken):
    def fails(*_: object, **__: object) -> None:
        raise InputError("no more room")

    monkeypatch.setattr(broken, fails)
    with pytest.raises(InputError, match="no more room"):
        write_takes(tmp_path / "takes", ranked)
    assert list(tmp_path.iterdir()) == []


def test_no_takes_make_no_folder(tmp_path):
    with pytest.raises(InputError, match="at least one clip"):
        write_takes(tmp_path / "takes", [])
    assert list(tmp_path.iterdir()) == []


@needs_page
def test_what_could_not_be_made_is_known_before(tmp_path, monkeypatch):
    nothing = replace(rig.TOPOLOGY, regions={})
    lipless = replace(rig.TOPOLOGY, landmarks={})
    for topology, words in ((nothing, "region 'upper_face' is empty or missing"), (lipless, "has no inner lips")):
        with pytest.raises(InputError, match=words):
            check_takes(tmp_path / "takes", topology)
    check_takes(tmp_path / "takes", rig.TOPOLOGY)
    monkeypatch.setattr("meshtalk.inference.takes.PAGE", tmp_path / "no page")
    with pytest.raises(InputError, match="not in this installation"):
        check_takes(tmp_path / "takes", rig.TOPOLOGY)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"meshtalk\[media\]"):
        check_takes(tmp_path / "takes", rig.TOPOLOGY)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("line.wav", AUDIO, 16000, subtype="FLOAT")
    Path("full").mkdir()
    Path("full/old.txt").write_text("precious")
    Path("empty").mkdir()
    return tmp_path


@needs_page
def test_the_command_makes_them(capsys, here, tiny_model):
    out = run(
        capsys, "takes", "line.wav", "-o", "empty", "-n", "3", "--seed", "7", "--fps", "25", "--model", tiny_model
    )
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "empty"
    told = json.loads(Path("empty/takes.json").read_text())
    assert sorted(row["seed"] for row in told) == [7, 8, 9]
    animator = load_model(tiny_model)
    for row in told:
        clip = Clip.load(Path("empty") / row["file"])
        np.testing.assert_allclose(clip.vertices, whole(animator, seed=row["seed"], fps=25), atol=1e-5)


@needs_page
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-n", "0"], "n must be 1 to 64 takes, got 0"),
        (["-n", "65"], "n must be 1 to 64 takes, got 65"),
        (["-n", "-1"], "n must be 1 to 64 takes, got -1"),
        (["-o", "full"], "it exists"),
        (["-o", "line.wav"], "it exists"),
        (["-o", "nowhere/takes"], "there is no folder nowhere"),
        (["--strength", "1"], "--strength scales an expression and needs --expression"),
    ],
)
def test_what_is_refused_is_refused_before_the_work(capsys, here, tiny_model, monkeypatch, args, words):
    def works(*_: object) -> None:
        raise AssertionError("sound was read")

    monkeypatch.setattr(Animator, "samples", works)
    args = args if "-o" in args else [*args, "-o", "takes"]
    assert words in refused(capsys, here, "takes", "line.wav", "--model", tiny_model, *args)
    assert Path("full/old.txt").read_text() == "precious"
