"""`meshtalk corpus info`: every number it prints is that of the corpus, and a damaged one is one sentence."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run

from meshtalk.corpus.store import SPLITS, VALID, ClipInfo, Corpus, CorpusWriter
from meshtalk.corpus.summary import summary

FPS = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    writer = CorpusWriter(tmp_path_factory.mktemp("info"), rig.TOPOLOGY, FPS, ["audio: mine", "motion: yours"])
    infos = []
    for k, (split, seconds) in enumerate([("train", 1.0), ("train", 2.5), ("val", 1.0), ("test", 1.0)]):
        clip = replace(
            rig.make_clip(k, seconds, fps=FPS), subject=f"s{k}", emotion="sad" if k else "", sentence=f"t{k}"
        )
        valid = np.arange(clip.n_frames) % 10 != 0
        clip = replace(clip, valid=valid if k == 1 else None)
        infos.append(writer.add(clip, id=f"c{k}", split=split, voice=f"v{k % 2}"))
    return writer.finish(infos)


@pytest.fixture
def here(tmp_path, monkeypatch, pristine):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pristine.root, tmp_path / "made")
    return tmp_path


def row(text: str, split: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(f"{split} ")).split()[1:]


def test_it_tells_what_is_there(here, capsys, pristine):
    out = run(capsys, "corpus", "info", "made", "--verify")
    assert "4 clips, 0.1 minutes, 29.97 (30000/1001) frames per second" in out
    assert f"{rig.TOPOLOGY.n_vertices} vertices, {len(rig.TOPOLOGY.faces)} triangles" in out
    assert rig.TOPOLOGY.hash in out
    for name in rig.TOPOLOGY.regions:
        assert name in out
    short, long, val, _ = (info.duration_s for info in pristine.clips)
    lengths = [f"{s:.2f}" for s in (short, (short + long) / 2, long)]
    assert row(out, "train") == ["2", "0.1", "2", "2", "2", "2", *lengths]
    assert row(out, "val") == ["1", "0.0", "1", "1", "1", "1", *[f"{val:.2f}"] * 3]
    assert row(out, "all")[0] == "4"
    assert "shared with train: val has 1 voice, test has 1 voice" in out
    frames = sum(info.n_frames for info in pristine.clips)
    lost = -(-pristine.clips[1].n_frames // 10)
    assert f"gaps: {lost} of {frames} frames were not captured, in 1 clips" in out
    assert "subjects (clips): s0 1, s1 1, s2 1, s3 1" in out
    assert "voices (clips): v0 2, v1 2" in out
    assert "emotions (clips): (none) 1, sad 3" in out
    assert "  audio: mine\n  motion: yours\n" in out
    assert "all match the manifest" in out
    assert "all match the manifest" not in run(capsys, "corpus", "info", "made")


def a_mask_of_another_length(root):
    np.save(root / "clips/c1" / VALID, np.ones(3, bool))


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: shutil.rmtree(root),
        lambda root: (root / "manifest.json").write_text("{"),
        lambda root: (root / "clips/c1" / VALID).unlink(),
        lambda root: (root / "clips/c1" / VALID).write_bytes(b"no array"),
        a_mask_of_another_length,
    ],
)
def test_a_damaged_corpus_is_one_sentence(here, capsys, damage):
    damage(here / "made")
    refused(capsys, here, "corpus", "info", "made")


def test_verify_reads_the_files(here, capsys):
    path = here / "made/clips/c2/audio.flac"
    path.write_bytes(path.read_bytes() + b"x")
    run(capsys, "corpus", "info", "made")
    assert "audio.flac" in refused(capsys, here, "corpus", "info", "made", "--verify")


label = st.sampled_from(["", "a", "b", "a long name", "ü"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SPLITS), label, label, label, st.floats(0.01, 1e4)), max_size=12))
def test_counts_add_up(pristine, drawn):
    clips = tuple(
        ClipInfo(f"c{k}", split, voice, subject, "", emotion, 10, seconds, 16000)
        for k, (split, voice, subject, emotion, seconds) in enumerate(drawn)
    )
    text = summary(Corpus(pristine.root, pristine.topology, FPS, clips, (), {}))
    assert sum(int(row(text, split)[0]) for split in SPLITS) == int(row(text, "all")[0]) == len(drawn)
    for kind in ("subject", "voice", "emotion"):
        told = re.search(rf"^{kind}s \(clips\): (.*(?:\n  .*)*)", text, re.M)
        assert told
        counts = re.findall(r"(\d+)(?:,|$)", told[1].partition("\nlicences")[0], re.M)
        assert sum(map(int, counts)) == len(drawn)


def test_a_name_stays_with_its_count(pristine):
    clips = tuple(ClipInfo(f"c{k}", "train", f"voice {k}", "s", "", "", 10, 1.0, 16000) for k in range(60))
    lines = summary(Corpus(pristine.root, pristine.topology, FPS, clips, (), {})).splitlines()
    told = [line for line in lines if "voice " in line and "shared" not in line]
    assert len(told) > 3
    assert all(line.endswith((" 1", " 1,")) and len(line) <= 120 for line in told)
