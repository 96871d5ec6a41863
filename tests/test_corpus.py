"""The corpus on disk and how it is built: whole, verified, resumable, and honest about its splits."""

import itertools
import json
import re
import shutil
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.clip import Clip, Phone
from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.synth import build
from meshtalk.synth.clips import Recording, clip_from_recording, corpus_from_recordings, make_clip, mixed
from meshtalk.synth.speech import VOICES, Utterance

RATE_HZ = 16_000
FPS = Fraction(30)


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


def a_clip(seed=0, person="default"):
    phones = (Phone("pau", 0.0, 0.2), Phone("aa", 0.2, 0.4), Phone("m", 0.4, 0.5), Phone("pau", 0.5, 0.8))
    return make_clip(
        noise(0.8, seed), RATE_HZ, phones, load_head().person(person), emotion="sad", sentence="Am.", seed=seed
    )


def dense(clip):
    return Clip(
        topology=clip.topology,
        template=clip.template,
        fps=clip.fps,
        audio=clip.audio,
        sample_rate=clip.sample_rate,
        displacement=clip.displacements(),
        subject=clip.subject,
        phones=clip.phones,
        valid=np.arange(clip.n_frames) % 5 != 0,
    )


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    writer = CorpusWriter(tmp_path_factory.mktemp("pristine"), load_head().topology, FPS, ["CC0"])
    infos = [
        writer.add(a_clip(), id="one", split="train", voice="v1"),
        writer.add(dense(a_clip()), id="two", split="test", voice="v2"),
    ]
    return writer.finish(infos)


@pytest.fixture
def small(pristine, tmp_path):
    return Corpus.open(shutil.copytree(pristine.root, tmp_path / "c"))


def test_what_was_written_is_read(small):
    small.verify()
    clip = a_clip()
    linear, full = (small.load(info).validate() for info in small.clips)
    assert isinstance(linear.weights, np.memmap)
    np.testing.assert_array_equal(linear.weights, clip.weights)
    np.testing.assert_array_equal(linear.template, clip.template)
    assert linear.phones == clip.phones
    assert linear.basis_names == small.topology.shape_names
    assert (linear.subject, linear.sentence, linear.emotion) == ("default", "Am.", "sad")
    np.testing.assert_allclose(linear.audio, clip.audio, atol=1 / 32000)
    assert np.abs(linear.vertices - clip.vertices).max() < 1e-8
    # half precision moves no vertex by more than a hundredth of a millimetre
    assert np.abs(full.vertices - clip.vertices).max() < 1e-5
    np.testing.assert_array_equal(full.valid, np.arange(clip.n_frames) % 5 != 0)
    info = small.clips[0]
    assert (info.split, info.voice, info.n_frames, info.duration_s) == ("train", "v1", 24, 0.8)
    assert small.split("test") == (small.clips[1],)
    assert small.fps == FPS
    assert small.subjects == ("default",)
    assert small.licences == ("CC0",)


def edited(change):
    def edit(root):
        path = root / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "manifest.json").unlink(),
        lambda root: (root / "manifest.json").write_text("{"),
        lambda root: (root / "manifest.json").write_text("[]"),
        lambda root: (root / "manifest.json").write_text((root / "manifest.json").read_text()[:-40]),
        edited(lambda m: m.update(version=99)),
        edited(lambda m: m.update(format="something else")),
        edited(lambda m: m.update(fps="30/0")),
        edited(lambda m: m.pop("topology")),
        edited(lambda m: m["topology"].update(hash="0123")),
        edited(lambda m: m["clips"][0].pop("voice")),
        edited(lambda m: m["clips"][0].update(split="holdout")),
        edited(lambda m: m["clips"][0].update(id="../../etc")),
        edited(lambda m: m.update(clips=3)),
        lambda root: (root / "topology.npz").unlink(),
        lambda root: (root / "topology.npz").write_bytes(b"PK"),
    ],
)
def test_a_damaged_corpus_does_not_open(small, damage):
    damage(small.root)
    with pytest.raises(InputError):
        Corpus.open(small.root)


@pytest.mark.parametrize("name", ["weights.npy", "audio.flac", "phones.json"])
@pytest.mark.parametrize("how", ["missing", "truncated", "empty"])
def test_a_damaged_clip_does_not_load(small, name, how):
    path = small.root / "clips" / "one" / name
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[: len(data) // 2] if how == "truncated" else b"")
    with pytest.raises(InputError):
        small.load(small.clips[0]).validate()  # a cut FLAC may still decode, but then it is short
    with pytest.raises(InputError, match=name):
        small.verify()


def test_verify_finds_one_changed_byte(small):
    path = small.root / "clips" / "two" / "displacement.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    small.load(small.clips[1])
    with pytest.raises(InputError, match="two/displacement"):
        small.verify()


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["fps", "clips", "topology", "subjects", "licences", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_corpus_or_an_input_error(tmp_path_factory, value):
    root = tmp_path_factory.mktemp("any")
    body = value if isinstance(value, dict) else {"clips": value}
    (root / "manifest.json").write_text(json.dumps({"format": "meshtalk corpus", "version": 1} | body))
    with pytest.raises(InputError):
        Corpus.open(root)


def test_the_writer_refuses_what_does_not_fit(tmp_path):
    writer = CorpusWriter(tmp_path / "c", load_head().topology, FPS, [])
    with pytest.raises(InputError, match="split"):
        writer.add(a_clip(), id="a", split="dev", voice="v")
    with pytest.raises(InputError, match="letters, digits and any of"):
        writer.add(a_clip(), id="../a", split="train", voice="v")
    with pytest.raises(InputError, match="must have the corpus's frame rate"):
        CorpusWriter(tmp_path / "d", load_head().topology, Fraction(25), []).add(
            a_clip(), id="a", split="train", voice="v"
        )
    clip = a_clip()
    assert clip.weights is not None
    clip.weights[3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        writer.add(clip, id="a", split="train", voice="v")
    assert list((tmp_path / "c" / "clips").iterdir()) == []  # nothing half-written
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="another folder"):
        CorpusWriter(blocked, load_head().topology, FPS, [])
    with pytest.raises(InputError, match="split must be one of"):
        writer.finish([]).split("dev")


# ------------------------------------------------------------------------------------------------ plan


def test_a_test_clip_shares_nothing_with_training():
    plans = {s: list(itertools.islice(build.jobs(s, 0), 400)) for s in ("train", "val", "test")}
    for one, other in itertools.combinations(plans.values(), 2):
        for field in ("voice", "sentence", "person"):
            assert not {getattr(job, field) for job in one} & {getattr(job, field) for job in other}, field
    assert sum(len({job.voice for job in plan}) for plan in plans.values()) >= 24
    assert sum(len({job.person for job in plan}) for plan in plans.values()) >= 24
    held_out = {job.voice for job in plans["val"] + plans["test"]}
    parts = {name for job in plans["train"] for name, _ in VOICES[job.voice].parts}
    assert not held_out & parts  # not even inside a blend
    assert {VOICES[name].sex for name in held_out} == {"f", "m"}
    assert len({job.id for plan in plans.values() for job in plan}) == 1200
    assert {job.emotion for job in plans["train"]} == set(build.EMOTIONS)


def test_another_sentence_leaves_the_other_jobs_alone(monkeypatch):
    before = set(itertools.islice(build.jobs("test", 0), 40))
    told = (*build.sentences(), "A brand new sentence about nothing.")
    build.casts.cache_clear()
    monkeypatch.setattr(build, "sentences", lambda: told)
    after = set(itertools.islice(build.jobs("test", 0), 41))
    build.casts.cache_clear()
    assert len(before & after) >= 40 - 1


# ----------------------------------------------------------------------------------------------- build


def fake_speech(voice, text, seed):
    """Noise with plausible phones, every eighth time a failed alignment; no voice needed."""
    rng = np.random.default_rng(seed)
    if seed % 8 == 0:
        return None
    names = rng.choice(["aa", "m", "s", "iy", "t", "ow", "b"], 8)
    bounds_s = np.concatenate([[0.0], 0.2 + 0.1 * np.arange(9), [1.3]]).round(3).tolist()
    phones = tuple(
        Phone(str(name), a, b) for name, a, b in zip(["pau", *names, "pau"], bounds_s[:-1], bounds_s[1:], strict=True)
    )
    return Utterance(noise(1.3, seed), phones, text, voice, VOICES[voice].sex)


@pytest.fixture
def spoken(tmp_path, monkeypatch):
    """Fake voices and a cache of the test's own; returns the list of what was spoken."""
    said = []
    monkeypatch.setenv("MESHTALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "synthesize", lambda *job: said.append(job) or fake_speech(*job))
    return said


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.usefixtures("forked_workers")
def test_the_corpus_does_not_depend_on_workers_or_interruptions(tmp_path, spoken):
    lines = []
    whole = build.build_corpus(tmp_path / "a", minutes=0.4, seed=3, workers=1, progress=lines.append)
    whole.verify()
    assert sum(info.duration_s for info in whole.split("train")) >= 24
    assert {info.split for info in whole.clips} == {"train", "val", "test"}
    clips, dropped = re.fullmatch(r"(\d+) clips, (\d+) dropped", lines[-1].note).groups()
    assert int(clips) == len(whole.clips)
    assert int(dropped) > 0
    assert lines[-1].unit == "min"
    assert lines[-1].done >= lines[-1].total > 0

    class Stop(Exception):
        pass

    def stop_at_ten(progress):
        if progress.note.startswith("10 clips"):
            raise Stop

    count = len(spoken)
    with pytest.raises(Stop):
        build.build_corpus(tmp_path / "b", minutes=0.4, seed=3, workers=1, progress=stop_at_ten)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "b" / "clips").glob("*/weights.npy")}
    build.build_corpus(tmp_path / "b", minutes=0.4, seed=3, workers=1)
    assert len(made) == 10
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in made.items())  # kept, not made again
    assert len(spoken) == count  # all speech came from the cache
    assert contents(tmp_path / "b") == contents(tmp_path / "a")

    for split in ("train", "val", "test"):  # two workers run ahead a little: have that speech ready
        for job in itertools.islice(build.jobs(split, 3), 60):
            build.cached_utterance(job, tmp_path / "cache" / "utterances")
    build.build_corpus(tmp_path / "c", minutes=0.4, seed=3, workers=2)
    assert contents(tmp_path / "c") == contents(tmp_path / "a")


def test_a_longer_corpus_begins_with_the_shorter_one(tmp_path, spoken):
    short = build.build_corpus(tmp_path / "a", minutes=0.1, seed=1, workers=1)
    long = build.build_corpus(tmp_path / "a", minutes=0.3, seed=1, workers=1)
    assert {info.id for info in short.clips} < {info.id for info in long.clips}
    assert {info for info in short.clips} < {info for info in long.clips}
    again = build.build_corpus(tmp_path / "a", minutes=0.1, seed=1, workers=1)
    assert again.clips == short.clips
    assert len(list((tmp_path / "a" / "clips").iterdir())) == len(short.clips)


def test_another_aligner_aligns_again_without_speaking(tmp_path, spoken, monkeypatch):
    job = next(job for job in build.jobs("train", 0) if job.seed % 8)
    first = build.cached_utterance(job, tmp_path / "u")
    monkeypatch.setattr(build, "ALIGNER_VERSION", 1001)
    moved = tuple(Phone(p.name, p.start_s, p.end_s) for p in reversed(first.phones))
    monkeypatch.setattr(build, "align", lambda audio, rate, text: moved)
    second = build.cached_utterance(job, tmp_path / "u")
    assert len(spoken) == 1
    assert second.phones == moved
    np.testing.assert_array_equal(first.audio, second.audio)
    monkeypatch.setattr(build, "ALIGNER_VERSION", 1002)
    monkeypatch.setattr(build, "align", lambda audio, rate, text: None)
    assert build.cached_utterance(job, tmp_path / "u") is None


@pytest.mark.parametrize("kwargs", [{"minutes": 0}, {"minutes": float("nan")}, {"workers": 0}])
def test_nonsense_is_one_sentence(tmp_path, kwargs):
    with pytest.raises(InputError):
        build.build_corpus(tmp_path / "a", **kwargs)


# ------------------------------------------------------------------------------------ own recordings


@pytest.fixture(scope="module")
def recordings():
    pytest.importorskip("pocketsphinx")
    from importlib.resources import files

    from meshtalk.audio.files import read_audio

    folder = files("meshtalk") / "assets" / "speech"
    found = []
    for line in (folder / "transcripts.tsv").read_text().splitlines():
        name, text = line.split("\t")
        audio, rate = read_audio(str(folder / name))
        found.append(Recording(audio, rate, text, voice=name, split="test" if not found else "train"))
    return found


def test_recordings_become_a_corpus(tmp_path, recordings):
    corpus = corpus_from_recordings(tmp_path / "real", recordings, seed=1)
    corpus.verify()
    assert len(corpus.clips) == len(recordings) >= 5
    assert len(corpus.subjects) == len(recordings)
    for info, recording in zip(corpus.clips, recordings, strict=True):
        clip = corpus.load(info).validate()
        assert info.sentence == recording.text
        opening_mm = clip.lip_opening_mm()
        assert np.percentile(opening_mm, 95) > 8
        bilabials = [p for p in clip.phones if p.name in ("p", "b", "m")]
        assert bilabials
        for p in bilabials:
            assert opening_mm[round(p.start_s * 30) : round(p.end_s * 30) + 1].min() < 1


def test_a_wrong_transcript_is_one_sentence(tmp_path, recordings):
    person = load_head().person("default")
    with pytest.raises(InputError, match="transcript"):
        clip_from_recording(noise(0.3), RATE_HZ, "completely unrelated words " * 8, person, seed=0)
    with pytest.raises(InputError, match="at least one with its transcript"):
        corpus_from_recordings(tmp_path / "none", [])


def test_a_corpus_can_be_moved(small, tmp_path):
    shutil.move(small.root, tmp_path / "elsewhere")
    moved = Corpus.open(tmp_path / "elsewhere")
    moved.verify()
    moved.load(moved.clips[0])


def test_a_built_clip_mixed_with_itself_is_itself(tmp_path, spoken):
    corpus = build.build_corpus(tmp_path / "a", minutes=0.2, seed=3, workers=1)
    first, second = corpus.split("train")[:2]
    assert np.array_equal(mixed(corpus, first, first, first).weights, corpus.load(first).weights)
    other = mixed(corpus, first, second, first)
    assert other.n_frames == first.n_frames
    assert not np.array_equal(other.weights, corpus.load(first).weights)
