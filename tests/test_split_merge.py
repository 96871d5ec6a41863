"""`meshtalk corpus split` and `merge`: no leak whatever the labels, and a merged corpus is its sources, clip by clip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rig
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cli import refused, run

from meshtalk.corpus.merge import merge
from meshtalk.corpus.ownership import Maker
from meshtalk.corpus.splits import LABELS, hold_out, read_names, resplit
from meshtalk.corpus.store import SPLITS, ClipInfo, Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.files import write_json
from meshtalk.progress import Progress


def relabelled(corpus: Corpus, root: Path, clips: list[ClipInfo]) -> Path:
    """A corpus of `clips` whose motion nobody reads."""
    root.mkdir(exist_ok=True)
    shutil.copy(corpus.root / "topology.npz", root)
    manifest = json.loads((corpus.root / "manifest.json").read_text())
    write_json(root / "manifest.json", manifest | {"clips": [asdict(info) for info in clips]})
    return root


def entry(k: int, subject: str, voice: str, sentence: str, split: str = "train", official: str = "") -> ClipInfo:
    return ClipInfo(f"c{k}", split, voice, subject, sentence, "", 10, 0.5, 16000, official=official)


def values(corpus: Corpus, label: str, split: str) -> set[str]:
    return {getattr(info, label) for info in corpus.split(split)}


# --------------------------------------------------------------------------------------------------------------- split


@settings(max_examples=60)
@given(
    st.lists(st.tuples(*[st.sampled_from("abcdefgh")] * 3), min_size=1, max_size=30),
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=3, unique=True),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
    st.integers(0, 3),
)
@example([(name, "a", "a") for name in "abcd"], ["subject"], 0.375, 0.375, 0)  # shares that round up to everybody
@example([(name, "a", "a") for name in "abc"], ["subject"], 0.9, 0.05, 0)
def test_no_split_leaks(rig_corpus, tmp_path_factory, drawn, by, val, test, seed):
    clips = [entry(k, *labels) for k, labels in enumerate(drawn)]
    root = relabelled(rig_corpus, tmp_path_factory.mktemp("dealt"), clips)
    try:
        dealt = resplit(root, by, val_share=val, test_share=test, seed=seed)
    except InputError:
        # refused only where the clips do not fall into three groups: count them by joining what shares a label
        groups = [{(label, getattr(info, label)) for label in by} for info in clips]
        while joined := next(((a, b) for a in groups for b in groups if a is not b and a & b), None):
            groups = [group for group in groups if group not in joined and group is not joined[1]] + [
                set.union(*joined)
            ]
        assert len(groups) < 3
        return
    assert sorted(info.id for info in dealt.clips) == sorted(info.id for info in clips)
    for label in by:
        found = [values(dealt, label, split) for split in SPLITS]
        assert sum(map(len, found)) == len(set.union(*found)), label
    assert dealt.split("train")
    assert bool(dealt.split("val")) == (val > 0)
    assert bool(dealt.split("test")) == (test > 0)
    again = {info.id: info.split for info in resplit(root, by, val_share=val, test_share=test, seed=seed).clips}
    assert again == {info.id: info.split for info in dealt.clips}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_are_read_with_any_byte_order_mark(tmp_path, encoding):
    (tmp_path / "names.txt").write_text("ann\nzoë\n", encoding=encoding)
    assert read_names(tmp_path / "names.txt") == ("ann", "zoë")


def test_shares_are_of_people_and_the_seed_changes_who():
    people = {f"c{k}": f"p{k % 40}" for k in range(200)}
    dealt = hold_out(people, 3, val=0.25, test=0.1)
    held = {split: {people[id] for id, s in dealt.items() if s == split} for split in SPLITS}
    assert {split: len(names) for split, names in held.items()} == {"train": 26, "val": 10, "test": 4}
    other = hold_out(people, 3, val=0.25, test=0.1, seed=1)
    assert other != dealt
    assert sorted(other.values()) == sorted(dealt.values())


@pytest.fixture
def here(tmp_path, monkeypatch, rig_corpus) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rig_corpus.root, "mine")
    return tmp_path


def test_split_by_names_from_a_file(here, capsys):
    before = {path: path.read_bytes() for path in here.rglob("clips/*/*")}
    Path("val.txt").write_text("s0\n\ns7\n")
    Path("test.txt").write_text("s3\n")
    out = run(capsys, "corpus", "split", "mine", "--val-names", "val.txt", "--test-names", "test.txt")
    assert "shared with train: no subject, voice" in out
    dealt = Corpus.open("mine")
    assert values(dealt, "subject", "val") == {"s0", "s7"}
    assert values(dealt, "subject", "test") == {"s3"}
    assert values(dealt, "subject", "train") == {"s1", "s2", "s4", "s5", "s6"}
    assert before == {path: path.read_bytes() for path in here.rglob("clips/*/*")}  # only the manifest changes
    dealt.verify()


def test_official_splits_stay_unless_told(rig_corpus, tmp_path):
    clips = [
        entry(k, f"s{k}", f"v{k}", f"t{k}", "test" if k < 2 else "train", "test_a" if k < 2 else "") for k in range(9)
    ]
    clips.append(entry(9, "s0", "v9", "t9"))  # somebody of the official test, again
    root = relabelled(rig_corpus, tmp_path / "a", clips)
    dealt = {info.id: info for info in resplit(root, val_share=0.3, test_share=0).clips}
    assert [dealt[name].split for name in ("c0", "c1", "c9")] == ["test"] * 3
    assert sum(info.split == "val" for info in dealt.values()) == 2
    anew = resplit(root, val_share=0.3, test_share=0, replace_official=True)
    assert not anew.split("test")
    assert not any(info.official for info in anew.clips)
    everything = relabelled(rig_corpus, tmp_path / "b", [replace(info, official="x") for info in clips])
    with pytest.raises(InputError, match="--replace-official"):
        resplit(everything)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--by", "age"], "subject, sentence, voice"),
        (["--val-share", "0.6", "--test-share", "0.4"], "less than 1"),
        (["--val-share", "nan"], "less than 1"),
        (["--val-names", "nobody.txt"], "Did you mean 's3'"),
        (["--val-names", "nothing.txt"], "no name"),
        (["--val-names", "missing.txt"], "cannot be read"),
        (["--val-names", "s3.txt", "--test-names", "s3.txt"], "must be in one list only"),
        (["--val-names", "s3.txt", "--by", "subject", "voice"], "one label"),
        (["--val-names", "all.txt"], "at least one group must remain"),
        (["--seed", "-1"], "0 or more"),
    ],
)
def test_a_split_that_cannot_be_is_one_sentence(here, capsys, options, word):
    for name, text in {"nobody": "s33\n", "nothing": "\n", "s3": "s3\n", "all": "\n".join(rig.SUBJECTS)}.items():
        Path(f"{name}.txt").write_text(text)
    manifest = Path("mine/manifest.json").read_bytes()
    assert word in refused(capsys, here, "corpus", "split", "mine", *options)
    assert Path("mine/manifest.json").read_bytes() == manifest


def test_labels_that_hold_everything_together_are_refused(rig_corpus, tmp_path):
    clips = [entry(k, f"s{k}", f"v{k}", "the same words") for k in range(6)]
    root = relabelled(rig_corpus, tmp_path / "a", clips)
    with pytest.raises(InputError, match="1 group by subject and sentence"):
        resplit(root, ["subject", "sentence"])


# --------------------------------------------------------------------------------------------------------------- merge


def part(root: Path, seeds: range, fps: Fraction = rig.FPS, people: int = 0, rate: int = 1) -> Corpus:
    """Clips of the rig; `people` shifts whose face a name stands for, `rate` divides the sample rate."""
    writer = CorpusWriter(root, rig.TOPOLOGY, fps, [f"audio: {root.name}"])
    infos = []
    for seed in seeds:
        clip = rig.make_clip(seed, 0.5, f"s{seed % 3 + people}", fps)
        clip = replace(clip, subject=f"s{seed % 3}", audio=clip.audio[::rate], sample_rate=clip.sample_rate // rate)
        clip = rig.as_dense(clip) if seed % 2 else clip
        infos.append(writer.add(clip, id=f"c{seed}", split=SPLITS[seed % 3], voice=f"v{seed}"))
    return writer.finish(infos)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, Corpus]:
    folder = tmp_path_factory.mktemp("parts")
    made = {"a": part(folder / "a", range(0, 6)), "b": part(folder / "b", range(4, 9))}
    made |= {
        "other": part(folder / "other", range(3), people=4, rate=2),
        "25": part(folder / "fps25", range(2), Fraction(25)),
    }
    return made


def test_a_merged_corpus_is_its_sources(parts, tmp_path, capsys):
    out = run(capsys, "corpus", "merge", parts["a"].root, parts["other"].root, "-o", tmp_path / "m")
    merged = Corpus.open(tmp_path / "m")
    merged.verify()
    report = json.loads((tmp_path / "m/merge.json").read_text())
    assert report["clips"] == len(merged.clips) == len(parts["a"].clips) + len(parts["other"].clips)
    assert set(merged.licences) == {"audio: a", "audio: other"}
    clips = {info.id: info for info in merged.clips}
    for name in ("a", "other"):
        for was in parts[name].clips:
            here = clips[report["renamed"].get(f"{parts[name].root}/{was.id}", was.id)]
            old, new = parts[name].load(was), merged.load(here)
            assert (here.split, here.voice, here.sentence, here.sample_rate) == (
                was.split, was.voice, was.sentence, was.sample_rate,
            )  # fmt: skip
            np.testing.assert_array_equal(old.vertices, new.vertices)
            np.testing.assert_array_equal(old.audio, new.audio)
            assert old.phones == new.phones
            for file in was.files:
                assert os.path.samefile(
                    parts[name].root / "clips" / was.id / file, merged.root / "clips" / here.id / file
                )
    # the same names, other faces: nobody becomes somebody else
    assert sorted(report["people"].values()) == ["other-s0", "other-s1", "other-s2"]
    assert "8000, 16000 Hz" in out
    assert "voices of several sources, taken to be the same: v0, v1, v2" in out
    assert [info.split for info in merged.clips] == sorted((info.split for info in merged.clips), key=SPLITS.index)


def test_a_clip_that_both_have_is_taken_once(parts, tmp_path):
    merged, report = merge([parts["a"].root, parts["b"].root], tmp_path / "m")
    assert sorted(info.id for info in merged.clips) == [f"c{k}" for k in range(9)]
    assert sorted(report.same.values()) == ["c4", "c5"]
    assert not report.renamed
    assert not report.people


def test_where_links_are_impossible_files_are_copied(parts, tmp_path, monkeypatch):
    linked, _ = merge([parts["a"].root, parts["b"].root], tmp_path / "linked")

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    copied, report = merge([parts["a"].root, parts["b"].root], tmp_path / "copied")
    assert report.copied == len(copied.clips) == 9
    assert (copied.root / "manifest.json").read_bytes() == (linked.root / "manifest.json").read_bytes()
    copied.verify()
    victim = next(copied.root.glob("clips/*/audio.flac"))
    assert victim.stat().st_nlink == 1


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("after", [0, 4, 8])
def test_an_interrupted_merge_goes_on(parts, tmp_path, after):
    sources, placed = [parts["a"].root, parts["b"].root], []
    merge(sources, tmp_path / "straight")

    def stop(progress: Progress) -> None:
        if progress.done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(sources, tmp_path / "m", progress=stop)
    assert not (tmp_path / "m/manifest.json").exists()
    with pytest.raises(InputError, match="Choose another folder"):
        Maker("conversion.json", "folder").check(tmp_path / "m", [])  # what was begun is nobody else's
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").glob("clips/*/clip.json")}
    merge(sources, tmp_path / "m", progress=placed.append)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert contents(tmp_path / "m") == contents(tmp_path / "straight")


def test_a_killed_merge_leaves_whole_clips(parts, tmp_path):
    sources = [str(parts["a"].root), str(parts["b"].root)]
    code = (
        "import os, signal, sys\n"
        "from meshtalk.corpus.merge import merge\n"
        "merge(sys.argv[2:], sys.argv[1], progress=lambda p: p.done == 3 and os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m"), *sources], timeout=120)
    assert ended.returncode == -9
    for folder in (tmp_path / "m/clips").iterdir():
        assert (folder / "clip.json").is_file()
    merge(sources, tmp_path / "m")[0].verify()
    merge(sources, tmp_path / "straight")
    assert contents(tmp_path / "m") == contents(tmp_path / "straight")


def test_corpora_that_do_not_fit_are_one_sentence(parts, tmp_path, capsys, dense_corpus):
    a = parts["a"].root
    bare = replace(rig.TOPOLOGY, faces=rig.TOPOLOGY.faces[::-1].copy())
    clip = rig.make_clip(1, 0.5)
    mesh = CorpusWriter(tmp_path / "mesh", bare, rig.FPS, [])
    mesh.finish([mesh.add(replace(clip, topology=bare), id="x", split="train", voice="v")])
    shaped = replace(rig.TOPOLOGY, shapes=2 * np.asarray(rig.TOPOLOGY.shapes))
    shapes = CorpusWriter(tmp_path / "shapes", shaped, rig.FPS, [])
    shapes.finish([shapes.add(replace(clip, topology=shaped, basis=shaped.shapes), id="x", split="train", voice="v")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("mine")
    out = tmp_path / "m"
    for sources, root, word in (
        ([a], out, "two or more different corpora, got 1"),
        ([a, a], out, "two or more different corpora, got 1"),
        ([a, tmp_path / "mesh"], out, "Only corpora of one mesh"),
        ([a, parts["25"].root], out, "25 frames per second"),
        ([a, tmp_path / "shapes"], out, "different blendshapes"),
        ([a, tmp_path / "full"], out, "no corpus at"),
        ([a, parts["b"].root], tmp_path / "full", "holds files that are not a corpus"),
        ([a, parts["b"].root], dense_corpus.root, "is a corpus of another maker"),
        ([a, parts["b"].root], a / "inside", "must be outside its source"),
    ):
        assert word in refused(capsys, tmp_path, "corpus", "merge", *sources, "-o", root)


def test_a_clip_that_lost_a_file_is_one_sentence(parts, tmp_path):
    shutil.copytree(parts["a"].root, tmp_path / "a")
    (tmp_path / "a/clips/c2/audio.flac").unlink()
    with pytest.raises(InputError, match=r"c2/audio.flac is missing"):
        merge([tmp_path / "a", parts["b"].root], tmp_path / "m")
    assert not (tmp_path / "m/manifest.json").exists()
