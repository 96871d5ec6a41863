"""`meshtalk corpus from-speech`: a folder of recordings becomes a corpus with honest splits, and says what it left out."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run
from test_convert_run import contents

from meshtalk.cli.main import main
from meshtalk.corpus.store import SPLITS, Corpus
from meshtalk.errors import InputError
from meshtalk.synth import from_speech
from meshtalk.synth.from_speech import corpus_from_speech
from meshtalk.synth.recordings import TranscribedRecording, read_folder, splits_of

pytest.importorskip("pocketsphinx")

SPEECH = Path(str(package_files("meshtalk") / "assets" / "speech"))
LISTED = [line.split("\t") for line in (SPEECH / "transcripts.tsv").read_text().splitlines()]
SHORT, WORDS = LISTED[1]
OTHER, OTHER_WORDS = LISTED[4]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path, monkeypatch, cache) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHTALK_CACHE", str(cache))
    return tmp_path


def put(folder: Path, name: str, words: str | None = WORDS, sound: str = SHORT) -> None:
    path = folder / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SPEECH / sound, path)
    if words is not None:
        path.with_suffix(".txt").write_text(words + "\n", encoding="utf-8")


def speakers(folder: Path, n: int = 4) -> Path:
    for k in range(n):
        put(folder, f"speaker {k}/one")
        put(folder, f"speaker {k}/chapter/two", OTHER_WORDS, OTHER)
    return folder


def test_speakers_become_a_corpus_and_what_is_bad_is_told(here, capsys):
    speakers(here / "said")
    put(here / "said", "speaker 0/unknown", "he was not a blorple or a zzyzx")
    put(here / "said", "speaker 1/digits", "he was 30")
    put(here / "said", "speaker 1/other", "completely unrelated words " * 9)
    put(here / "said", "speaker 2/wordless", None)
    put(here / "said", "speaker 2/punctuation", "…!")
    (here / "said/speaker 3/text.wav").write_text("I am not a sound\n" * 50)
    (here / "said/speaker 3/text.txt").write_text("I am not a sound")
    out = run(capsys, "corpus", "from-speech", "said", "made", "--workers", "1")
    assert out.splitlines()[0].startswith("8 clips, ")
    assert out.splitlines()[0].endswith("; 6 recordings dropped")
    assert "unknown words: blorple (1), zzyzx (1), 30 (1)" in out
    assert out.splitlines()[-1] == "made"
    report = json.loads((here / "made/speech.json").read_text())
    why = report["dropped"]
    assert set(why) == {
        "speaker 0/unknown.flac", "speaker 1/digits.flac", "speaker 1/other.flac", "speaker 2/wordless.flac",
        "speaker 2/punctuation.flac", "speaker 3/text.wav",
    }  # fmt: skip
    assert why["speaker 0/unknown.flac"].endswith(": blorple, zzyzx")
    assert why["speaker 1/other.flac"] == from_speech.NOT_FOUND
    assert why["speaker 2/wordless.flac"].startswith("it has no words")
    assert why["speaker 2/punctuation.flac"] == "its text has no words"
    assert why["speaker 3/text.wav"].startswith("unreadable sound: ")
    corpus = Corpus.open("made")
    corpus.verify()
    assert sum(part["clips"] for part in report["splits"].values()) == len(corpus.clips) == 8
    assert report["seconds"] == pytest.approx(sum(info.duration_s for info in corpus.clips), abs=1e-3)
    for kind in ("voice", "subject"):
        sets = [{getattr(info, kind) for info in corpus.split(split)} for split in SPLITS]
        assert all(sets), kind
        assert sum(map(len, sets)) == len(set.union(*sets)), kind
    assert {info.voice for info in corpus.clips} == {f"speaker-{k}" for k in range(4)}
    for info in corpus.clips:
        clip = corpus.load(info).validate()
        assert {p.name for p in clip.phones} > {"pau"}
        closed = [p for p in clip.phones if p.name in ("p", "b", "m")]
        assert closed or info.sentence == WORDS
        opening_mm = clip.lip_opening_mm()
        assert np.percentile(opening_mm, 95) > 5
        for p in closed:
            assert opening_mm[round(p.start_s * 30) : round(p.end_s * 30) + 1].min() < 1


def test_the_list_names_speakers(here):
    shutil.copytree(SPEECH, here / "said")
    lines = [
        f"{name}\t{words}\t{'anna' if k < 2 else 'ben' if k < 4 else ''}" for k, (name, words) in enumerate(LISTED)
    ]
    (here / "said/transcripts.tsv").write_text("file\twords\tspeaker\n" + "\n".join([*lines, "gone.wav\tno\tanna"]))
    folder = read_folder(here / "said")
    assert [spoken.speaker for spoken in folder.recordings] == ["anna", "anna", "ben", "ben", "said"]
    assert [spoken.text for spoken in folder.recordings] == [words for _, words in LISTED]
    assert dict(folder.dropped) == {"gone.wav": "there is no such file"}


def test_the_packaged_speech_is_one_speaker(here):
    corpus, report = corpus_from_speech(SPEECH, here / "made", workers=1)
    assert {info.sentence for info in corpus.clips} == {words for _, words in LISTED}
    assert [report.splits[split]["clips"] for split in SPLITS] == [3, 1, 1]
    assert "fewer than 3 speakers" in str(report)
    again, _ = corpus_from_speech(SPEECH, here / "again", workers=1)
    assert contents(corpus.root) == contents(again.root)
    other, _ = corpus_from_speech(SPEECH, here / "other", workers=1, seed=1)
    assert [info.seed for info in other.clips] != [info.seed for info in corpus.clips]


def stop_at(doing: str, nth: int):
    def progress(state) -> None:
        if (state.doing, state.done) == (doing, nth):
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("doing", "nth", "written"), [("aligned", 3, 0), ("performed", 3, 3)])
def test_an_interrupted_run_goes_on(here, monkeypatch, tmp_path_factory, doing, nth, written):
    speakers(here / "said", 3)
    whole, _ = corpus_from_speech("said", "whole", workers=1)
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path_factory.mktemp("other")))
    with pytest.raises(KeyboardInterrupt):
        corpus_from_speech("said", "made", workers=1, progress=stop_at(doing, nth))
    assert len(list((here / "made").glob("clips/*"))) == written
    assert not (here / "made/manifest.json").exists()
    monkeypatch.setattr(from_speech, "align", lambda *_: pytest.fail("aligned again"))  # two sounds, both heard by now
    performed = []
    make_clip = from_speech.make_clip
    monkeypatch.setattr(from_speech, "make_clip", lambda *a, **k: performed.append(1) or make_clip(*a, **k))
    made, _ = corpus_from_speech("said", "made", workers=1)
    assert len(performed) == 6 - written
    assert contents(made.root) == contents(whole.root)


@pytest.mark.usefixtures("forked_workers")
def test_the_number_of_workers_does_not_matter(here):
    speakers(here / "said", 3)
    one, _ = corpus_from_speech("said", "one", workers=1)
    two, _ = corpus_from_speech("said", "two", workers=2)
    assert contents(one.root) == contents(two.root)


names = st.text("abcdefgh", min_size=1, max_size=4)


@given(st.lists(st.tuples(names, st.sampled_from("ABCDE")), unique_by=lambda pair: pair[0]), st.randoms())
def test_splits_hold_out_speakers(pairs, random):
    recordings = [TranscribedRecording(id, Path(id), "", speaker) for id, speaker in pairs]
    splits = splits_of(recordings)
    assert set(splits) == {id for id, _ in pairs}
    found = {split: {s.speaker for s in recordings if splits[s.id] == split} for split in SPLITS}
    if len({speaker for _, speaker in pairs}) >= 3:
        assert sum(map(len, found.values())) == len({speaker for _, speaker in pairs})
    assert all(found.values()) == (len(pairs) >= 3)
    random.shuffle(recordings)
    assert splits_of(recordings) == splits


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text("ab\t\n \ufeff1/.é", max_size=60).map(str.encode)))
def test_any_list_is_read_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("list")
    (folder / "a").write_bytes(b"")
    (folder / "transcripts.tsv").write_bytes(content)
    try:
        found = read_folder(folder)
    except InputError as error:
        told = str(error)
    else:
        told = ""
        assert found.recordings or found.dropped
    assert "\n" not in told


def nothing(here: Path) -> None:
    (here / "said").mkdir()


def only_sounds(here: Path) -> None:
    put(here / "said", "one", None)


def all_unknown(here: Path) -> None:
    put(here / "said", "one", "blorple")
    put(here / "said", "two", "blorple zzyzx")


def twice(here: Path) -> None:
    put(here / "said", "a/b")
    put(here / "said", "a-b")


def no_tab(here: Path) -> None:
    put(here / "said", "one")
    (here / "said/transcripts.tsv").write_text("one.flac he was not\n")


def latin(here: Path) -> None:
    put(here / "said", "one")
    (here / "said/one.txt").write_bytes(b"caf\xe9")


def something_there(here: Path) -> None:
    put(here / "said", "one")
    (here / "made").mkdir()
    (here / "made/thesis.txt").write_text("mine")


def a_file_there(here: Path) -> None:
    put(here / "said", "one")
    (here / "made").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda here: None, "must be a folder of recordings"),
        (nothing, "no sounds with their words"),
        (only_sounds, "no sounds with their words"),
        (
            all_unknown,
            "Most frequent reason (2): words that the dictionary does not have",
        ),
        (twice, "two recordings would be called a-b"),
        (no_tab, "line 1 of"),
        (latin, "UTF-8"),
        (something_there, "Choose another folder"),
        (a_file_there, "got the file"),
    ],
)
def test_bad_input_is_one_sentence(here, capsys, prepare, words):
    prepare(here)
    assert words in refused(capsys, here, "corpus", "from-speech", "said", "made", "--workers", "1")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("said", "said/made"), "must be outside its source"),
        (("said", "made", "--workers", "0"), "at least 1"),
        (("said", "made", "--seed", "-1"), "seed"),
    ],
)
def test_bad_arguments_are_one_sentence(here, capsys, args, words):
    put(here / "said", "one")
    assert words in refused(capsys, here, "corpus", "from-speech", *args)


def test_damaged_sound_is_used_and_told(here):
    put(here / "said", "one")
    path = here / "said/one.flac"
    samples, rate = soundfile.read(path)
    hiss = np.random.default_rng(0).normal(0, 1e-3, 3 * rate)
    soundfile.write(path, np.concatenate([samples, hiss]), rate)
    path.write_bytes(path.read_bytes()[:-6000])
    corpus, report = corpus_from_speech("said", "made", workers=1)
    assert [info.note for info in corpus.clips] == ["its sound is damaged or cut off"]
    assert any("training needs val clips" in note for note in report.notes)


def test_no_other_corpus_is_overwritten(here, capsys, rig_corpus):
    put(here / "said", "one")
    shutil.copytree(rig_corpus.root, here / "made")
    assert "a corpus of another maker" in refused(capsys, here, "corpus", "from-speech", "said", "made")
    main(["corpus", "info", "made", "--verify"])
