"""Transcripts: what is not spoken is not aligned, what is doubtful is told, and nobody's encoding stops a folder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.errors import InputError
from meshtalk.synth import recordings
from meshtalk.synth.align import align, words_of
from meshtalk.synth.from_speech import Report
from meshtalk.synth.markup import spoken
from meshtalk.synth.recordings import read_folder

SRT = """1
00:00:00,000 --> 00:00:01,500
<i>Good evening.</i>

2
00:00:01,500 --> 00:00:03,000 X1:40 X2:600
- [door slams] I have come
- to stay.
3
00:00:03,000 --> 00:00:04,000
{\\an8}Twenty of us.

Not one less.

4
00:00:04,000 --> 00:00:05,000
♪ la la ♪
"""
VTT = """WEBVTT - made by hand
Kind: captions

NOTE
this is for nobody
to say

STYLE
::cue { color: red }

intro
00:00.000 --> 00:01.500 align:start
<v Anna Smith>Good <00:00:00.700><c.loud>evening</c>.</v>

2
00:01.500 --> 00:03.000
I have come &amp;lt; no &nbsp;more
"""


@pytest.mark.parametrize(
    ("text", "words", "unspoken"),
    [
        ("he was not", "he was not", ()),
        ("[laughs] Hello (sighs deeply) there", "Hello there", ("[laughs]", "(sighs deeply)")),
        ("well {BREATH} then <noise> now", "well then now", ("{BREATH}",)),
        ("so [he (the other one) leaves] it goes", "so it goes", ("[he (the other one) leaves]",)),
        ("<i>Never</i> <b>ever</b>", "Never ever", ()),
        ("ANNA: Come here.", "Come here.", ("ANNA:",)),
        ("ANNA (whispering): Come here.", "Come here.", ("(whispering)", "ANNA:")),
        (">> DR. O'NEIL: Come.\n- BEN: No.", "Come. No.", ("DR. O'NEIL:", "BEN:")),
        ("Come here. ANNA: No.", "Come here. No.", ("ANNA:",)),
        ("Speaker 1: yes\nDr. Smith: no", "yes no", ("Speaker 1:", "Dr. Smith:")),
        ("Anna: yes\nBen: no\nAnna: why\nBen: so", "yes no why so", ("Anna:", "Ben:", "Anna:", "Ben:")),
        ("I tell you this now: go", "I tell you this now: go", ()),
        ("♪ oh what a day ♪ he sang", "he sang", ("oh what a day",)),
        ("♪ to the end", "", ("to the end",)),
        ("at 3:30", "at 3:30", ()),
        (
            SRT,
            "Good evening. - I have come - to stay. Twenty of us. Not one less.",
            ("[door slams]", "{\\an8}", "la la"),
        ),
        ("intro\n00:00.000 --> 00:01.000\nyes\n00:01.000 --> 00:02.000\nno", "yes no", ()),
    ],
)
def test_what_is_spoken(text, words, unspoken):
    found = spoken(text)
    assert found.words == words
    assert found.unspoken == unspoken


def test_webvtt():
    assert words_of(spoken(VTT.replace("&amp;lt;", "and")).words) == [
        "good",
        "evening",
        "i",
        "have",
        "come",
        "and",
        "no",
        "more",
    ]


def test_known_speakers_are_names():
    assert spoken("Anna: yes", ["anna"]).words == "yes"
    assert spoken("anna_lee: yes", ["Anna-Lee"]).words == "yes"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna: yes", "'Anna' and a colon"),
        ("Remember: be quiet", "'Remember' and a colon"),
        ("Anna Smith: yes", "'Anna Smith' and a colon"),
        ("REMEMBER: BE QUIET", "'REMEMBER' and a colon"),
        ("hello [laughs", r"a \[ without its \]"),
        ("hello laughs) you", r"a \) that ends nothing"),
        ("*laughs* hello", r"a '\*'"),
        ("Tom & Jerry", "a '&'"),
        ("a rise of ten %", "a '%'"),
        ("5 < 6", "a < without its >"),
    ],
)
def test_what_is_read_in_two_ways_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        spoken(text)


@given(st.text("aB:[]()<>♪>- \n01.,&*" + "é", max_size=60) | st.text(max_size=60))
def test_any_text_is_words_or_an_input_error(text):
    try:
        found = spoken(text)
    except InputError as error:
        told = str(error)
        assert "\n" not in told
        return
    assert not set(found.words) & set("[](){}<>♪\n")
    assert spoken(found.words).words == found.words or ":" in found.words


def test_letters_of_every_language_are_words():
    """Of which those that the dictionary has no idea of are left out with a word, not aligned as other words."""
    assert words_of("Café, naïve Ångström") == ["cafe", "naive", "angstrom"]
    assert words_of("I saw 日本 and straße") == ["i", "saw", "日本", "and", "straße"]


def test_what_is_not_spoken_is_not_aligned(monkeypatch):
    heard = []
    monkeypatch.setattr("meshtalk.synth.align._align", lambda samples, words: heard.append(words))
    monkeypatch.setattr("meshtalk.synth.align._align_pieces", lambda samples, words: None)
    assert align(np.zeros(16_000, np.float32), 16_000, "ANNA: [laughs] Hello you.") is None
    assert heard == [["hello", "you"]]


def put(folder, name, content, suffix=".txt"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).with_suffix(".wav").write_bytes(b"")
    data = content.encode() if isinstance(content, str) else content
    (folder / name).with_suffix(suffix).write_bytes(data)


def test_a_folder_of_all_kinds(tmp_path):
    pytest.importorskip("pocketsphinx")
    for name, content, suffix in (
        ("a/utf16", "Hello you.".encode("utf-16"), ".txt"),
        ("a/utf16be", b"\xfe\xff" + "Hello you.".encode("utf-16-be"), ".txt"),
        ("a/bom", "\ufeffHello you.", ".txt"),
        ("a/latin", b"caf\xe9", ".txt"),
        ("a/subtitles", SRT, ".srt"),
        ("a/web", VTT.replace("&amp;lt;", "and"), ".vtt"),
        ("a/in_txt", SRT, ".txt"),
        ("b/one", "Ben: hello [laughs]", ".txt"),
        ("b/two", "Ben: you", ".txt"),
        ("ben/named", "Anna: hello", ".txt"),
        ("anna/named", "Anna: hello", ".txt"),
        ("c/lone", "Remember: be quiet", ".txt"),
        ("c/open", "hello (you", ".txt"),
        ("c/foreign", "hello мир", ".txt"),
    ):
        put(tmp_path, name, content, suffix)
    folder = read_folder(tmp_path)
    said = {str(spoken.path.relative_to(tmp_path).with_suffix("")): spoken.text for spoken in folder.recordings}
    assert said["a/utf16"] == said["a/utf16be"] == said["a/bom"] == "Hello you."
    assert words_of(said["a/subtitles"])[-3:] == ["not", "one", "less"]
    assert said["a/in_txt"] == said["a/subtitles"]
    assert said["a/web"].startswith("Good evening.")
    assert (said["b/one"], said["b/two"], said["ben/named"], said["anna/named"]) == ("hello", "you", "hello", "hello")
    why = {name.removesuffix(".wav"): reason for name, reason in folder.dropped.items()}
    assert set(why) == {"a/latin", "c/lone", "c/open", "c/foreign"}
    assert "UTF-8" in why["a/latin"]
    assert "a speaker's name or be spoken" in why["c/lone"]
    assert why["c/foreign"].endswith("мир")
    assert folder.unspoken["Ben:"] == folder.unspoken["Anna:"] == 2
    assert folder.unspoken["[laughs]"] == 1


def test_a_list_of_another_encoding_and_its_speakers(tmp_path):
    pytest.importorskip("pocketsphinx")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / recordings.LISTING).write_bytes("a.wav\tKim: hello (waves)\tkim\nb.wav\tyou & me\n".encode("utf-16"))
    folder = read_folder(tmp_path)
    assert [(spoken.text, spoken.speaker) for spoken in folder.recordings] == [("hello", "kim")]
    assert "'&'" in folder.dropped["b.wav"]


def test_what_is_left_out_is_told_once():
    report = Report(1, 1.0, {}, {}, {}, {"[laughs]": 3, "ANNA:": 1}, ())
    assert str(report).count("[laughs]") == 1
    assert "  taken as not spoken: [laughs] (3), ANNA: (1)" in str(report).splitlines()
