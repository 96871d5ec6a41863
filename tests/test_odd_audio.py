"""Odd files: each is the right sound, or one clear sentence; never a traceback, never half a file."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
from media_rig import write_film
from test_audio import tone, write_media

from meshtalk.audio import files as audio_files
from meshtalk.audio.files import read_audio, to_mono
from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.errors import InputError

RATE = 16000


def cut(path: Path, share: float = 0.5) -> Path:
    """The first part of a file, beside it."""
    data = path.read_bytes()
    new = path.with_name(f"cut{path.suffix}")
    new.write_bytes(data[: int(len(data) * share)])
    return new


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt((samples**2).mean()))


def read(path: Path) -> np.ndarray:
    samples, rate = read_audio(path)
    assert rate == RATE
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return samples


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_audio(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is right ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        (".wav", "PCM_U8", 1 / 128),
        (".wav", "PCM_16", 1 / 2**15),
        (".wav", "PCM_24", 1 / 2**23),
        (".wav", "PCM_32", 1e-6),
        (".wav", "FLOAT", 1e-6),
        (".wav", "DOUBLE", 1e-6),
        (".wav", "ALAW", 0.02),
        (".wav", "ULAW", 0.02),
        (".aiff", "PCM_S8", 1 / 128),
        (".flac", "PCM_24", 1 / 2**23),
    ],
)
def test_every_number_format_to_its_own_precision(tmp_path, suffix, subtype, error):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(RATE), RATE, subtype=subtype)
    assert np.abs(read(path) - tone(RATE)).max() <= error


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_any_channels(tmp_path, rate, channels):
    gains = np.linspace(1, 0, channels) if channels > 1 else np.ones(1)
    soundfile.write(tmp_path / "a.wav", tone(rate)[:, None] * gains, rate, subtype="FLOAT")
    samples = read(tmp_path / "a.wav")
    assert len(samples) == RATE
    np.testing.assert_allclose(samples[500:-500], gains.mean() * tone(RATE)[500:-500], atol=1e-3)


ENCODED = {
    "cbr.mp3": {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.8},
    "vbr.mp3": {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5},
    "vorbis.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus.ogg": {"format": "OGG", "subtype": "OPUS"},
    "plain.flac": {"format": "FLAC"},
    "adpcm.wav": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "ulaw.wav": {"format": "WAV", "subtype": "ULAW"},
}


def loud_and_quiet(rate: int) -> np.ndarray:
    """Two seconds that are loud and quiet by turns, so that variable bit rates vary."""
    rng, t_s = np.random.default_rng(0), np.arange(2 * rate) / rate
    speech = 0.2 * np.sin(2 * np.pi * (180 * t_s + 40 * np.sin(3 * t_s))) + 0.1 * rng.standard_normal(len(t_s))
    return (speech * np.abs(np.sin(2 * t_s))).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("name", ENCODED)
def test_a_file_read_in_blocks_is_the_file_read_whole(tmp_path, name, rate):
    if name == "opus.ogg" and rate == 44100:
        rate = 24000  # Opus has five rates, and this is none of them
    soundfile.write(tmp_path / name, loud_and_quiet(rate), rate, **ENCODED[name])
    whole, _ = soundfile.read(tmp_path / name, dtype="float32")
    # a seek before the first read, which soundfile.read makes, leaves another last bit in MPEG-2's layer 3
    np.testing.assert_allclose(read_audio(tmp_path / name, rate)[0], whole, rtol=0, atol=6e-8 if rate == 16000 else 0)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.m4a", "aac"),
        ("a.m4a", "alac"),
        ("a.aac", "aac"),
        ("a.webm", "libopus"),
        ("a.mkv", "flac"),
        ("a.mov", "pcm_s16le"),
    ],
)
def test_a_file_that_ffmpeg_decodes_is_read_whole_too(tmp_path, name, codec, rate):
    """Frame after frame as FFmpeg gives them, nothing between and nothing lost; at the file's own rate no sample is touched."""
    av = pytest.importorskip("av")
    rate = 24000 if codec == "libopus" and rate == 44100 else rate
    write_film(tmp_path / name, loud_and_quiet(rate), rate, codec, picture_at_s=None)
    with av.open(str(tmp_path / name)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    whole = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    assert len(whole) >= 2 * rate
    if whole.dtype.kind == "i":
        whole = (whole / -float(np.iinfo(whole.dtype).min)).astype(np.float32)
    assert np.array_equal(audio_files.read_audio(tmp_path / name, rate)[0], whole)


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_compressed_channels_are_averaged_too(tmp_path, layout, channels):
    """FFmpeg's own downmix is no average: stereo comes out 3 dB louder, and 5.1 beyond full scale."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout=layout)
        stream.bit_rate = 128_000 * channels
        sound = np.ascontiguousarray(np.repeat(tone(48000)[None], channels, 0))
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    middle = read(tmp_path / "a.m4a")[4000:12000]
    silent_lfe = 5 / 6 if channels == 6 else 1  # an LFE channel keeps nothing of 440 Hz
    assert loudness(middle) == pytest.approx(0.5 / np.sqrt(2) * silent_lfe, rel=0.05)


def test_one_sample_silence_and_clipping(tmp_path):
    for name, samples in (
        ("one", np.full(1, 0.25)),
        ("silent", np.zeros(RATE)),
        ("clipped", np.clip(50 * tone(RATE), -1, 1)),
        ("loud", 32767 * tone(RATE)),  # integers that some program wrote as floating point
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        np.testing.assert_allclose(read(tmp_path / f"{name}.wav"), samples, rtol=1e-6)


@pytest.mark.parametrize("rate", [8000, 48000, 96000])
def test_one_sample_of_another_rate_is_a_sound(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.full(1, 0.5), rate)
    assert 1 <= len(read(tmp_path / "a.wav")) <= 2


def test_more_channels_than_an_array_may_have(tmp_path):
    """A file says which axis is which."""
    soundfile.write(tmp_path / "a.wav", np.repeat(tone(RATE, 0.1)[:, None], 40, 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "a.wav"), tone(RATE, 0.1), atol=1e-6)


# --- what is damaged -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".ogg", ".mp3"])
@pytest.mark.filterwarnings("ignore:.*is damaged or cut off")
def test_of_a_cut_file_the_first_part_is_used(tmp_path, suffix):
    path, sound = tmp_path / f"a{suffix}", rig.speech(0, 10.0)[0]
    soundfile.write(path, sound, RATE)
    whole, part = read(path), read(cut(path))
    assert 3.5 < len(part) / RATE < 6.5
    np.testing.assert_allclose(part[: 3 * RATE], whole[: 3 * RATE], atol=1e-4)


@pytest.mark.parametrize(("suffix", "codec"), [(".m4a", "aac"), (".aac", "aac"), (".mp3", "mp3")])
@pytest.mark.filterwarnings("ignore:.*is damaged or cut off")
def test_of_a_cut_compressed_file_the_first_part_is_used(tmp_path, suffix, codec):
    av = pytest.importorskip("av")
    path, sound = tmp_path / f"a{suffix}", rig.speech(0, 6.0)[0]
    # the index in front, as in every file made for the web
    with av.open(str(path), "w", options={"movflags": "+faststart"} if suffix == ".m4a" else {}) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole, part = read(path), read(cut(path))
    assert 2 < len(part) / RATE < 4
    np.testing.assert_allclose(part[: 2 * RATE - 4000], whole[: 2 * RATE - 4000], atol=1e-4)


def test_damage_is_told(tmp_path):
    soundfile.write(tmp_path / "a.flac", rig.speech(0, 4.0)[0], RATE)
    with pytest.warns(UserWarning, match=r"cut.flac is damaged or cut off. The [12]\.\d\d s"):
        read(cut(tmp_path / "a.flac"))


def test_what_follows_a_damaged_packet_keeps_its_time(tmp_path, monkeypatch):
    """A packet in the middle that cannot be decoded is silence, not a jump of everything after it."""
    av = pytest.importorskip("av")
    sound = rig.speech(0, 4.0)[0]
    write_media(tmp_path / "a.mp4", sound, RATE, "aac", video=True)
    whole = read(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.audio[0]
        packets = [p for p in container.demux(stream) if p.size]
        victim = packets[len(packets) // 2]
        position, size = victim.pos, victim.size
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[position : position + size] = b"\xff" * size
    (tmp_path / "b.mp4").write_bytes(data)
    with pytest.warns(UserWarning, match="damaged"):
        hurt = read(tmp_path / "b.mp4")
    assert len(hurt) == len(whole)
    np.testing.assert_allclose(hurt[:RATE], whole[:RATE], atol=1e-4)
    np.testing.assert_allclose(hurt[-RATE:], whole[-RATE:], atol=1e-4)
    assert np.abs(hurt - whole).max() > 0.01, "nothing was hurt"


def with_data_size(path: Path, size: int) -> None:
    """Rewrite what a WAV's header says about its length."""
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:4] + struct.pack("<I", size) + data[8:at] + struct.pack("<I", size) + data[at + 4 :])


@pytest.mark.parametrize("size", [0, 10**9, 2**32 - 1])
def test_a_header_that_lies_about_its_length(tmp_path, size):
    """A recorder that was switched off leaves 0, a pipe the largest number."""
    pytest.importorskip("av")
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE, subtype="PCM_16")
    with_data_size(tmp_path / "a.wav", size)
    np.testing.assert_allclose(read(tmp_path / "a.wav"), tone(RATE), atol=1e-4)


# --- what is refused -------------------------------------------------------------------------------------------


def test_files_without_any_sound(tmp_path):
    av = pytest.importorskip("av")
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    (tmp_path / "picture.wav").write_bytes((tmp_path / "picture.png").read_bytes())
    (tmp_path / "text.wav").write_text("I only say that I am a sound\n" * 50)
    (tmp_path / "text.mp3").write_text("I only say that I am a sound\n" * 50)
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "zeros.wav").write_bytes(bytes(5000))
    (tmp_path / "samples.raw").write_bytes(np.random.default_rng(0).bytes(5000))
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    cut(tmp_path / "a.wav", 30 / (tmp_path / "a.wav").stat().st_size).rename(tmp_path / "header.wav")
    write_media(tmp_path / "a.mp4", tone(RATE), RATE, "aac")
    cut(tmp_path / "a.mp4").rename(tmp_path / "index_lost.mp4")
    with av.open(str(tmp_path / "silent_film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    names = [
        "picture.png",
        "picture.wav",
        "text.wav",
        "text.mp3",
        "nothing.wav",
        "zeros.wav",
        "samples.raw",
        "header.wav",
    ]
    for name in [*names, "index_lost.mp4", "silent_film.mp4"]:
        assert "not audio that can be decoded" in refused(tmp_path / name), name


def test_files_of_no_samples(tmp_path):
    for suffix in (".wav", ".flac"):
        soundfile.write(tmp_path / f"a{suffix}", np.zeros((0, 2)), RATE)
        assert "holds no samples" in refused(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound_are_found_where_they_are(tmp_path, bad):
    sound = np.stack([tone(RATE, 10.0)] * 2, 1)
    sound[9 * RATE, 1] = bad
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    assert "NaN, infinite or beyond 2.14748e+09, the first at 9.000 s" in refused(tmp_path / "a.wav")


def test_a_rate_that_none_can_be(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(10**6), 1)
    assert "sample rate of 1000 to 1000000 Hz, got 1" in refused(tmp_path / "a.wav")


def test_places_that_hold_no_file(tmp_path):
    assert "no audio file" in refused(tmp_path / "missing.wav")
    assert "no audio file" in refused(tmp_path / ("long" * 100))
    assert "folder" in refused(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert "permission" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("known", [False, True])
def test_without_pyav(tmp_path, monkeypatch, known):
    """What soundfile reads is read, even damaged; for the rest the extra is named."""

    def missing(path: Path, fate: audio_files.DecodeStatus, from_picture: bool):
        raise ImportError
        yield

    monkeypatch.setattr("meshtalk.audio.files.DECODERS", (audio_files.soundfile_blocks, missing))
    if known:
        soundfile.write(tmp_path / "a.flac", rig.speech(0, 4.0)[0], RATE)
        with pytest.warns(UserWarning, match="damaged"):
            assert len(read(cut(tmp_path / "a.flac"))) > RATE
    else:
        (tmp_path / "a.m4a").write_bytes(b"something else")
        assert 'pip install "meshtalk[media]"' in refused(tmp_path / "a.m4a")


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8, np.uint16])
def test_integers_are_read_as_soundfile_reads_them(tmp_path, kind):
    info = np.iinfo(kind)
    ends = np.array([info.min, info.max], kind)
    np.testing.assert_allclose(to_mono(ends, RATE), [-1, 1], atol=2.0 ** (2 - info.bits))
    if kind == np.int16:
        soundfile.write(tmp_path / "a.wav", ends, RATE)
        np.testing.assert_array_equal(read(tmp_path / "a.wav"), to_mono(ends, RATE))


# --- the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("stereo.wav", np.stack([rig.speech(1, 1.0)[0]] * 2, 1), RATE)
    soundfile.write("whole.flac", rig.speech(1, 4.0)[0], 48000)
    cut(Path("whole.flac")).rename("cut.flac")
    soundfile.write("surround.wav", np.repeat(rig.speech(1, 1.0)[0][:, None], 6, 1), 96000)
    soundfile.write("one.wav", np.full(1, 0.5), RATE)
    soundfile.write("silent.wav", np.zeros(8000), RATE)
    soundfile.write("inf.wav", np.where(np.arange(8000) == 7, np.inf, 0.1), RATE, subtype="FLOAT")
    soundfile.write("rate.wav", np.zeros(1000), 1)
    write_media(tmp_path / "a.m4a", tone(RATE), RATE, "aac")
    cut(Path("a.m4a")).rename("lost.m4a")
    Path("empty.mp3").write_bytes(b"")
    return tmp_path


def animate(name: str, model: Path) -> int:
    """Exit code of animating a file to out.npz."""
    try:
        main(["animate", name, "-o", "out.npz", "--model", str(model)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(("name", "n_frames"), [("stereo", 30), ("surround", 5), ("one", 1), ("silent", 15)])
def test_odd_sounds_are_animated(here, tiny_model, name, n_frames):
    assert animate(f"{name}.wav", tiny_model) == 0
    clip = Clip.load("out.npz")
    assert clip.n_frames == n_frames
    assert np.isfinite(clip.vertices).all()


@pytest.mark.filterwarnings("ignore:.*is damaged or cut off")
def test_a_cut_recording_is_animated_as_far_as_it_goes(here, tiny_model):
    assert animate("cut.flac", tiny_model) == 0
    assert 15 <= Clip.load("out.npz").n_frames <= 25


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inf.wav", "0.000 s"),
        ("rate.wav", "sample rate of 1000 to 1000000 Hz, got 1"),
        ("lost.m4a", "not audio that can be decoded, or it is damaged"),
        ("empty.mp3", "not audio that can be decoded"),
    ],
)
def test_the_command_line_says_one_sentence(here, capfd, tiny_model, name, words):
    before = sorted(here.rglob("*"))
    assert animate(name, tiny_model) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("meshtalk: ")
    assert words in err
    assert sorted(here.rglob("*")) == before
