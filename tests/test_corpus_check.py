"""`meshtalk corpus check`: every fault that is put into a corpus is found, and a sound corpus has none."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rig
import soundfile
import soxr
from test_cli import refused, run

from meshtalk.check import page
from meshtalk.check.check import Report, check
from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.corpus.store import AUDIO, DENSE, VALID, Corpus, CorpusWriter
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import Space

SECONDS, CLIPS = 2.0, 24
BARE = Topology(rig.TOPOLOGY.faces, rig.TOPOLOGY.n_vertices)
TURNED = "x,z,-y"
"""Axes of a mesh whose up is z."""


@pytest.fixture(scope="module", autouse=True)
def measures(tmp_path_factory):
    """One cache folder: a clip that several tests have is measured once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHTALK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def written(root: Path, clips: Mapping[str, Clip], topology: Topology = rig.TOPOLOGY, **labels: Any) -> Corpus:
    """A corpus of clips as they are, also of those that a writer would refuse; dense, one person and voice each."""
    safe = {
        name: replace(clip, displacement=np.zeros((clip.n_frames, 96, 3)), template=rig.NEUTRAL)
        for name, clip in clips.items()
    }
    safe = {
        name: replace(c, audio=np.zeros(round(c.duration_s * c.sample_rate), np.float32)) for name, c in safe.items()
    }
    writer, infos = CorpusWriter(root, topology, rig.FPS, []), []
    for k, (name, clip) in enumerate(safe.items()):
        split = ("train", "train", "val", "test")[k % 4]
        infos.append(writer.add(replace(clip, topology=topology, subject=f"p{k}"), id=name, split=split, voice=f"v{k}"))
    for k, (info, (name, clip)) in enumerate(zip(infos, clips.items(), strict=True)):
        folder = root / "clips" / name
        soundfile.write(folder / AUDIO, clip.audio, clip.sample_rate, format="FLAC", subtype="PCM_16")
        np.save(folder / DENSE, np.asarray(clip.displacement, np.float16))
        np.save(root / "subjects" / f"p{k}.npy", clip.template)
        files = [AUDIO, DENSE, "phones.json", *([VALID] if clip.valid is not None else [])]
        digests = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
        infos[k] = replace(info, files=digests, sample_rate=clip.sample_rate, **labels.get(name, {}))
    return writer.finish(infos)


def talking(seed: int, seconds: float = SECONDS) -> Clip:
    return rig.as_dense(rig.make_clip(seed, seconds, f"s{seed % 8}"))


def shifted(clip: Clip, ms: float) -> Clip:
    """The sound comes so much later."""
    n = round(ms / 1e3 * clip.sample_rate)
    hiss = 1e-3 * np.random.default_rng(0).normal(size=abs(n)).astype(np.float32)
    audio = np.concatenate([hiss, clip.audio[:-n]]) if n > 0 else np.concatenate([clip.audio[-n:], hiss])
    return replace(clip, audio=audio)


def moved(clip: Clip, change: Any) -> Clip:
    return replace(clip, displacement=change(np.array(clip.displacement)))


def spike(motion: np.ndarray) -> np.ndarray:
    motion[30, 90] += (0, 0, 0.012)
    return motion


def stands_still(motion: np.ndarray) -> np.ndarray:
    motion[20:44] = motion[20]
    return motion


def not_finite(motion: np.ndarray) -> np.ndarray:
    motion[17, 5, 1] = np.nan
    return motion


def of(report: Report, where: str) -> list[tuple[str, bool]]:
    return [(one.kind, one.problem) for one in report.findings if one.where == where]


def value(report: Report, where: str, kind: str) -> float:
    (found,) = [one for one in report.findings if (one.where, one.kind) == (where, kind)]
    return found.value


LAGS = {"late": 130.0, "later": 260.0, "early": -90.0, "earlier": -210.0}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Report:
    clips = {f"c{k:02}": talking(k) for k in range(CLIPS)}
    sound = {name: talking(100 + k) for k, name in enumerate((
        *LAGS, "spike", "broken", "silent", "frozen", "original", "small", "mm", "swapped", "damaged", "gap",
        "repeated", "quiet", "clipped", "short", "speechless",
    ))}  # fmt: skip
    faults = {name: shifted(sound[name], ms) for name, ms in LAGS.items()}
    faults["spike"] = moved(sound["spike"], spike)
    faults["broken"] = moved(sound["broken"], not_finite)
    faults["silent"] = replace(sound["silent"], audio=np.zeros_like(sound["silent"].audio))
    faults["frozen"] = moved(sound["frozen"], stands_still)
    faults["original"] = sound["original"]
    # the same performance at another level and rate, cut a little at both ends
    again = sound["original"]
    faults["again"] = replace(
        again,
        audio=0.3 * soxr.resample(again.audio[533:-533], 16000, 8000),
        sample_rate=8000,
        displacement=again.displacements(1, -1),
    )
    faults["mm"] = moved(sound["mm"], lambda motion: motion * 1000)
    faults["swapped"] = moved(sound["swapped"], lambda motion: motion[..., [1, 0, 2]])
    faults["damaged"] = sound["damaged"]
    lost = np.ones(60, bool)
    lost[[29, 30, 31]] = False
    faults["gap"] = replace(moved(sound["gap"], spike), valid=lost)  # nobody looks into a gap
    faults["repeated"] = moved(sound["repeated"], lambda motion: motion[::2].repeat(2, 0))
    faults["quiet"] = replace(sound["quiet"], audio=0.03 * sound["quiet"].audio)
    faults["clipped"] = replace(sound["clipped"], audio=np.clip(4 * sound["clipped"].audio, -0.5, 0.5))
    faults["short"] = replace(sound["short"], audio=sound["short"].audio[:-8000])
    faults["apart"] = replace(talking(400, 5.0), audio=talking(300, 5.0).audio)
    faults["speechless"] = moved(sound["speechless"], lambda motion: motion * 1e-3)
    clips = {**clips, **{name: replace(clip, sentence=f"said by {name}") for name, clip in faults.items()}}
    root = tmp_path_factory.mktemp("faulty") / "corpus"
    corpus = written(root, clips)
    path = root / "clips/damaged" / AUDIO
    path.write_bytes(path.read_bytes()[:-20])
    return check(corpus.root, workers=1)


@pytest.mark.parametrize(("name", "ms"), LAGS.items())
def test_a_lag_is_found_to_10_ms_with_its_sign(faulty, name, ms):
    assert abs(value(faulty, name, "lag") - ms) < 10
    told = next(one.told for one in faulty.findings if one.where == name)
    assert ("late" if ms > 0 else "early") in told


@pytest.mark.parametrize(
    ("name", "kind", "problem", "word"),
    [
        ("spike", "spike", True, r"12\.\d mm in frame 30 \(1.00 s\)"),
        ("broken", "broken", True, "NaN.* frame 17"),
        ("silent", "silent", True, "digital silence"),
        ("frozen", "frozen", True, "from 0.67 s on"),
        ("speechless", "frozen", True, "varies by 0.0"),
        ("mm", "unit", True, "the motion looks like mm"),
        ("swapped", "axes", True, "sideways"),
        ("damaged", "broken", True, "audio.flac differs from its hash in the manifest"),
        ("repeated", "repeated", True, "5.% of its frames"),
        ("quiet", "quiet", False, "dB of full scale"),
        ("clipped", "clipped", False, "cut off at its peaks"),
        ("short", "length", True, "0.50 s shorter"),
        ("apart", "apart", True, "does not follow its sound"),
        ("again", "duplicate", True, "sound and motion of original"),
    ],
)
def test_a_fault_is_found(faulty, name, kind, problem, word):
    assert (kind, problem) in of(faulty, name)
    told = next(one.told for one in faulty.findings if (one.where, one.kind) == (name, kind))
    assert re.search(word, told), told


def test_nothing_else_is_found(faulty):
    """No finding on a clip in which nothing is wrong, and none of another kind than the fault's own."""
    for k in range(CLIPS):
        assert not of(faulty, f"c{k:02}")
    assert not of(faulty, "gap")
    assert not of(faulty, "")
    assert of(faulty, "frozen") in ([("frozen", True)], [("spike", True), ("frozen", True)])  # it jumps when it goes on
    for name in (*LAGS, "spike", "silent", "broken", "damaged", "quiet", "clipped", "apart"):
        assert len(of(faulty, name)) == 1, of(faulty, name)
    assert faulty.problems == sum(problem for one in faulty.findings for problem in [one.problem])
    ranks = [not one.problem for one in faulty.findings]
    assert ranks == sorted(ranks)  # problems come first


@pytest.mark.parametrize("corpus", ["rig_corpus", "dense_corpus"])
def test_a_sound_corpus_has_no_findings(corpus, request):
    report = check(request.getfixturevalue(corpus).root, workers=1)
    assert not report.findings
    assert abs(report.usual.loudness.lag_ms) < 10
    assert report.usual.loudness.r > 0.8


def test_a_mesh_without_regions_is_checked_as_far_as_it_goes(tmp_path):
    clips = {f"c{k:02}": replace(talking(k), topology=BARE) for k in range(14)}
    clips["late"] = shifted(clips["c03"], 150)
    clips["late"] = replace(shifted(replace(talking(50), topology=BARE), 150), sentence="late")
    clips["spike"] = moved(replace(talking(51), topology=BARE), spike)
    report = check(written(tmp_path / "bare", clips, BARE).root, workers=1)
    assert "the mesh has no inner lips, so the motion of the whole mesh is measured instead of their opening" in str(
        report
    )
    assert {one.where for one in report.findings} == {"late", "spike"}
    assert abs(value(report, "late", "lag") - 150) < 20


def test_a_corpus_that_is_late_as_a_whole(tmp_path):
    corpus = written(tmp_path / "late", {f"c{k:02}": shifted(talking(k), 120) for k in range(8)})
    report = check(corpus.root, workers=1)
    assert of(report, "") == [("lag", True)]
    assert abs(report.usual.loudness.lag_ms - 120) < 10
    assert len(report.findings) == 1  # the clips are as the corpus is


def test_two_clips_are_enough_for_loudness(tmp_path):
    corpus = written(tmp_path / "two", {"a": shifted(talking(0), -150), "b": talking(1)})
    report = check(corpus.root, workers=1)
    assert abs(value(report, "a", "lag") + 150) < 10
    assert not of(report, "b")


def turned(clip: Clip, space: Space, topology: Topology) -> Clip:
    """A clip as a data set with other units and axes has it: `space` would turn it upright."""
    columns = ["xyz".index(word.strip("-")) for word in space.axes.split(",")]
    signs = np.array([-1.0 if "-" in word else 1.0 for word in space.axes.split(",")])
    back = np.zeros((3, 3))
    back[range(3), columns] = signs
    template = (clip.template @ back / space.metres).astype(np.float32)
    return replace(clip, topology=topology, template=template, displacement=clip.displacements() @ back / space.metres)


@pytest.mark.parametrize("topology", [rig.TOPOLOGY, BARE], ids=["regions", "bare"])
@pytest.mark.parametrize("axes", ["x,z,-y", "z,y,-x", "-x,y,-z", "x,-y,-z", "y,z,x"])
def test_axes_are_found_and_guessed(tmp_path, topology, axes):
    clips = {f"c{k}": turned(talking(k), Space(1.0, axes), topology) for k in range(4)}
    report = check(written(tmp_path / "turned", clips, topology).root, workers=1)
    (found,) = [one for one in report.findings if "neutral faces" in one.told]
    assert found.told.endswith(f"out of the face may be {axes}"), found.told
    assert "all 4 neutral faces" in found.told


@pytest.mark.parametrize(("unit", "metres"), [("mm", 0.001), ("cm", 0.01), ("dm", 0.1)])
def test_units_are_found_and_guessed(tmp_path, unit, metres):
    clips = {"good": talking(0), "bad": turned(talking(1), Space(metres), rig.TOPOLOGY)}
    report = check(written(tmp_path / "units", clips).root, workers=1)
    assert of(report, "p0") == []
    told = next(one.told for one in report.findings if (one.where, one.kind) == ("p1", "unit"))
    assert told.endswith(f"it looks like {unit}")


def test_leaks_are_told(rig_corpus, tmp_path):
    shutil.copytree(rig_corpus.root, tmp_path / "leaky")
    path = tmp_path / "leaky/manifest.json"
    manifest = json.loads(path.read_text())
    first, held = manifest["clips"][0], manifest["clips"][-1]
    assert (first["split"], held["split"]) == ("train", "test")
    for label in ("subject", "voice", "sentence"):
        manifest["clips"][-1] = held | {label: first[label]}
        path.write_text(json.dumps(manifest))
        (leak,) = check(tmp_path / "leaky", workers=1).findings
        assert (leak.kind, leak.problem, leak.where) == ("leak", label != "sentence", "")
        assert f"test shares 1 {label} with train ({first[label]})" in leak.told
        # a data set's own test split is as its authors want it
        manifest["clips"][-1] |= {"official": "test_a"}
        path.write_text(json.dumps(manifest))
        assert not check(tmp_path / "leaky", workers=1).problems
    for clip in manifest["clips"]:
        clip["split"] = "test"
    path.write_text(json.dumps(manifest))
    assert [(one.kind, one.problem) for one in check(tmp_path / "leaky", workers=1).findings] == [("splits", False)] * 2


def test_the_same_recording_in_two_splits(rig_corpus, tmp_path):
    shutil.copytree(rig_corpus.root, tmp_path / "twice")
    path = tmp_path / "twice/manifest.json"
    manifest = json.loads(path.read_text())
    shutil.copytree(tmp_path / "twice/clips/c00", tmp_path / "twice/clips/copy")
    copy = manifest["clips"][0] | {"id": "copy", "split": "test", "subject": "s7", "voice": "vs7"}
    manifest["clips"].append(copy | {"sentence": "other words"})
    path.write_text(json.dumps(manifest))
    (found,) = check(tmp_path / "twice", workers=1).findings
    assert (found.kind, found.where, found.problem) == ("duplicate", "c00", True)
    assert "sound and motion of copy (r = 1.000), which is in test and this in train" in found.told


# ---------------------------------------------------------------------------------------------- the verb and its page


class Page(HTMLParser):
    """Tags in order, ids, and everything that points somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sections = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, word in attrs:
            self.ids += [word or ""] if name == "id" else []
            self.links += [word or ""] if name in ("href", "src") else []
        self.sections += tag == "section"
        if tag not in ("meta", "path", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_shows_the_worst_first(faulty, monkeypatch):
    text = page.page(faulty)
    found = Page(text)
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert "url(" not in text
    assert "@import" not in text
    with_findings = {one.where for one in faulty.findings} - {"", "broken", "damaged"}
    assert set(found.ids) == with_findings
    assert found.sections == text.count("<svg") == len(with_findings)
    problems = [any(one.where == id and one.problem for one in faulty.findings) for id in found.ids]
    assert problems == sorted(problems, reverse=True)
    assert text == page.page(faulty)
    monkeypatch.setattr(page, "STRIPS", 3)
    assert Page(page.page(faulty)).ids == found.ids[:3]
    assert "3 of 42 clips (at most 3)" in page.page(faulty)


def test_a_page_needs_matplotlib_and_says_so_at_once(rig_corpus, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as end:
        main(["corpus", "check", str(rig_corpus.root), "--html", str(tmp_path / "f.html")])
    assert end.value.code == 2
    assert "pip install 'meshtalk[report]'" in capsys.readouterr().err


def test_the_page_of_a_sound_corpus_shows_examples(rig_corpus):
    text = page.page(check(rig_corpus.root, workers=1))
    assert "<p>None.</p>" in text
    assert Page(text).sections == page.EXAMPLES


def test_the_verb_ends_as_a_linter_does(faulty, rig_corpus, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = run(capsys, "corpus", "check", rig_corpus.root, "--json", "sound.json", "--workers", 1)
    assert out.endswith("0 problems, 0 remarks\n")
    told = json.loads(Path("sound.json").read_text())
    assert told["problems"] == 0
    assert [row["id"] for row in told["clips"]] == [info.id for info in rig_corpus.clips]
    with pytest.raises(SystemExit) as end:
        main(["corpus", "check", str(faulty.corpus.root), "--json", "f.json", "--html", "f.html", "--workers", "1"])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert f"{faulty.problems} problems, " in out
    told = json.loads(Path("f.json").read_text(), parse_constant=pytest.fail)  # no NaN: other readers do not know it
    assert len(told["findings"]) == len(faulty.findings)
    rows = {row["id"]: row for row in told["clips"]}
    assert abs(rows["late"]["model"]["lag_ms"] - LAGS["late"]) < 10
    assert rows["silent"]["model"]["lag_ms"] is None
    Page(Path("f.html").read_text())


@pytest.mark.parametrize(
    "args",
    [
        ["nowhere"],
        ["empty"],
        ["corpus", "--html", "no/such/folder.html"],
        ["corpus", "--json", "corpus"],
        ["corpus", "--workers", "0"],
    ],
)
def test_what_cannot_be_checked_is_one_sentence(rig_corpus, capsys, tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rig_corpus.root, "corpus")
    CorpusWriter("empty", rig.TOPOLOGY, rig.FPS, []).finish([])
    refused(capsys, tmp_path, "corpus", "check", *args)
