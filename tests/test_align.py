"""Forced alignment: real recordings get phones that cover them, in the dictionary's order, at the right places."""

import csv
import itertools
from importlib.resources import files

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth import align as module
from meshtalk.synth.align import align, dictionary, words_of

pytest.importorskip("pocketsphinx")
SPEECH = files("meshtalk") / "assets" / "speech"


def _recordings() -> list[tuple[str, str]]:
    rows = csv.reader((SPEECH / "transcripts.tsv").read_text(encoding="utf-8").splitlines(), delimiter="\t")
    return [(name, text) for name, text in rows]


def _read(name: str) -> tuple[np.ndarray, int]:
    with (SPEECH / name).open("rb") as stream:
        return soundfile.read(stream, dtype="float32")


@pytest.fixture(scope="module")
def aligned() -> list[tuple[str, np.ndarray, tuple[Phone, ...]]]:
    result = []
    for name, text in _recordings():
        audio, rate_hz = _read(name)
        phones = align(audio, rate_hz, text)
        assert phones is not None, name
        result.append((text, audio, phones))
    return result


def test_phones_cover_the_recording_without_gap(aligned):
    assert len(aligned) == 5
    for _, audio, phones in aligned:
        assert phones[0].start_s == 0
        assert phones[-1].end_s == pytest.approx(len(audio) / 16_000)
        for before, after in itertools.pairwise(phones):
            assert before.end_s == after.start_s
            assert before.name != "pau" or after.name != "pau"
        assert all(p.end_s > p.start_s for p in phones)


def test_phones_are_a_pronunciation_of_the_words(aligned):
    for text, _, phones in aligned:
        rest = [p.name for p in phones if p.name != "pau"]
        reached = {0}
        for word in words_of(text):
            reached = {
                i + len(variant)
                for i in reached
                for variant in dictionary()[word]
                if tuple(rest[i : i + len(variant)]) == variant
            }
        assert len(rest) in reached, text


def test_closed_lips_are_quiet_and_vowels_loud(aligned):
    """If times were off by a phone, stops would be as loud as vowels."""
    stops, vowels = [], []
    for _, audio, phones in aligned:
        for name, start_s, end_s in phones:
            rms = np.sqrt(np.mean(audio[round(start_s * 16_000) : round(end_s * 16_000)] ** 2))
            if name in {"p", "b"}:
                stops.append(rms)
            elif name in {"aa", "ae", "ao", "ay", "eh", "ow"}:
                vowels.append(rms)
    assert len(stops) >= 8
    assert np.median(stops) < 0.4 * np.median(vowels)


def test_times_do_not_depend_on_what_was_aligned_before():
    name, text = _recordings()[1]
    audio, rate_hz = _read(name)
    alone = align(audio, rate_hz, text)
    other_name, other_text = _recordings()[4]
    align(*_read(other_name), other_text)
    assert align(audio, rate_hz, text) == alone


def test_another_sample_rate_gives_the_same_times():
    name, text = _recordings()[4]
    audio, _ = _read(name)
    native = align(audio, 16_000, text)
    doubled = align(np.repeat(audio, 3), 48_000, text)
    assert native is not None
    assert doubled is not None
    assert [p.name for p in native] == [p.name for p in doubled]
    assert np.median([abs(a.start_s - b.start_s) for a, b in zip(native, doubled, strict=True)]) <= 0.01


def test_words_that_were_not_said_are_refused():
    audio, rate_hz = _read(_recordings()[1][0])
    assert align(audio, rate_hz, "purple elephants juggle forty seven enormous burning umbrellas over Vermont") is None
    assert align(np.zeros(32_000, np.float32), 16_000, "hello there my friend") is None


def test_implausible_phone_lengths_are_refused():
    loud = np.ones(16_000, np.float32)
    assert module._plausible((Phone("pau", 0, 0.02), Phone("aa", 0.02, 0.4), Phone("m", 0.4, 1.0)), loud) is False
    assert module._plausible(tuple(Phone("t", i / 50, (i + 1) / 50) for i in range(50)), loud) is False
    assert module._plausible((Phone("aa", 0, 0.3), Phone("pau", 0.3, 1.0)), loud) is False
    assert module._plausible(tuple(Phone("aa", i / 10, (i + 1) / 10) for i in range(10)), loud) is True


def test_long_recordings_can_be_aligned_in_pieces(aligned):
    """The path taken when the phone pass of a whole recording fails."""
    text, audio, phones = aligned[2]
    pause = np.zeros(8_000, np.float32)
    joined = np.concatenate([audio, pause, audio])
    raw = module._align_pieces(joined, words_of(text) * 2)
    assert raw is not None
    names = [name for name, *_ in raw if name != "pau"]
    assert abs(len(names) - 2 * sum(p.name != "pau" for p in phones)) <= 3
    assert all(a[2] <= b[1] + 1e-9 for a, b in itertools.pairwise(raw))


def test_bad_input_is_told():
    with pytest.raises(InputError, match="qwrtzx"):
        align(np.zeros(16_000, np.float32), 16_000, "say qwrtzx")
    with pytest.raises(InputError, match="at least one word"):
        align(np.zeros(16_000, np.float32), 16_000, " ...")
    with pytest.raises(InputError, match="at least one word"):
        align(np.zeros(10, np.float32), 16_000, "hello")


@given(st.text())
def test_words_of_any_text_are_plain(text):
    for word in words_of(text):
        assert word
        assert word == word.lower()
        assert not word.startswith("'")


def test_words_keep_apostrophes_and_split_hyphens():
    assert words_of("“Don’t cold-hearted people, 'say', I'm?”") == [
        "don't",
        "cold",
        "hearted",
        "people",
        "say",
        "i'm",
    ]
