"""Audio: the frame clock, every format in, one streaming mel whatever the chunks, levels."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.audio.files import frame_hops, n_frames, read_audio, to_mono
from meshtalk.audio.mel import MelFrontend, follow_level, htk_filters
from meshtalk.errors import InputError

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]
SPEECH = rig.speech(0, 2.0)[0]
KINDS = ["logmel", "phonetic"]
FRONTENDS = {kind: MelFrontend(kind) for kind in KINDS}


# --- clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES)
def test_an_hour_keeps_time(fps):
    frames = n_frames(3600 * 16000, 16000, fps)
    assert frames == -(-3600 * fps // 1)
    hops = frame_hops(fps, frames - 3, 3)
    exact = [Fraction(k) * 100 / fps for k in range(frames - 3, frames)]
    assert max(abs(float(e) - h) for e, h in zip(exact, hops.tolist(), strict=True)) < 1e-9
    assert float(exact[-1]) < 3600 * 100


@pytest.mark.parametrize("fps", RATES)
def test_a_frame_begins_before_the_sound_ends(fps):
    for samples in (1, 159, 533, 534, 16000, 31999):
        count = n_frames(samples, 16000, fps)
        assert Fraction(count - 1) / fps < Fraction(samples, 16000) <= Fraction(count) / fps


# --- mel -------------------------------------------------------------------------------------------------------


def in_chunks(frontend: MelFrontend, samples: np.ndarray, sizes: list[int]) -> np.ndarray:
    state, parts, at = frontend.start(), [], 0
    for size in sizes:
        new, state = frontend.process(samples[at : at + size], state)
        parts.append(new)
        at += size
    new, state = frontend.process(samples[at:], state)
    return np.concatenate([*parts, new, frontend.flush(state, len(samples))])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.integers(1, 3000), st.lists(st.sampled_from([0, 1, 2, 159, 160, 161, 400, 799, 1000]), max_size=8))
def test_any_cutting_gives_the_same_mel(kind, length, sizes):
    samples = SPEECH[:length]
    whole = FRONTENDS[kind].all(samples)
    assert len(whole) == -(-length // 160)
    np.testing.assert_allclose(in_chunks(FRONTENDS[kind], samples, sizes), whole, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_by_sample_is_the_same(kind):
    np.testing.assert_allclose(
        in_chunks(FRONTENDS[kind], SPEECH[:900], [1] * 900), FRONTENDS[kind].all(SPEECH[:900]), atol=2e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_frame_j_is_centred_on_sample_160_j(kind):
    click = np.zeros(16000, np.float32)
    click[50 * 160] = 0.5
    energy = np.exp(FRONTENDS[kind].all(click)).sum(1)
    width = FRONTENDS[kind].spec.window // 2 // 160
    # the tracked level jumps with the click, so look at which frames hold it at all
    loud = np.flatnonzero(energy > 1.01 * energy[0])
    assert loud.min() >= 50 - width
    assert loud.max() <= 50 + width
    assert abs((loud.min() + loud.max()) / 2 - 50) <= 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain_db", [-40, 12])
def test_a_whisper_and_a_clipped_recording_look_alike(kind, gain_db):
    speech = rig.speech(1, 8.0)[0]
    speech = speech * (0.7 / np.abs(speech).max())
    changed = np.clip(speech * 10 ** (gain_db / 20), -1, 1).astype(np.float32)
    settled = slice(600, None)  # the level falls 3 dB a second from where it starts
    there, here = FRONTENDS[kind].all(speech)[settled], FRONTENDS[kind].all(changed)[settled]
    # a change of gain alone would move every log band by 4.6 (magnitude) or 9.2 (power) at -40 dB
    assert np.abs(here - there).mean() < (0.05 if gain_db < 0 else 0.6)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_finite_and_known(kind):
    mel = FRONTENDS[kind].all(np.zeros(8000, np.float32))
    np.testing.assert_allclose(mel, FRONTENDS[kind].silence)
    assert np.isfinite(FRONTENDS[kind].silence)
    after_speech = FRONTENDS[kind].all(np.concatenate([SPEECH, np.zeros(16000, np.float32)]))
    np.testing.assert_allclose(after_speech[-50:], FRONTENDS[kind].silence)


def test_level_rises_fast_falls_slowly_and_spares_pauses():
    up, _ = follow_level(np.full(20, -10.0), -45.0)
    assert up[9] > -13  # within 100 ms
    down, _ = follow_level(np.full(100, -20.0), -10.0)
    assert down[-1] == pytest.approx(-13, abs=0.1)  # 3 dB in a second
    pause, _ = follow_level(np.full(3000, -60.0), -20.0)
    assert pause[-1] == pytest.approx(-35, abs=0.1)  # a pause's noise stays 25 dB below speech
    silence, state = follow_level(np.full(3000, -120.0), -20.0)
    assert state == -20.0
    assert (silence == -20).all()


def test_htk_filters_are_triangles_of_peak_1():
    filters = htk_filters(80, 2048)
    assert filters.shape == (1025, 80)
    assert filters.min() == 0
    assert 0.9 < filters[:, 20:].max(0).min() <= filters.max() <= 1
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82)[1:-1] / 2595) - 1)
    found = filters.argmax(0) * 8000 / 1024
    assert np.abs(found - centres).max() < 8000 / 1024
    inside = filters[(np.linspace(0, 8000, 1025) > centres[0]) & (np.linspace(0, 8000, 1025) < centres[-1])]
    np.testing.assert_allclose(inside.sum(1), 1, atol=1e-5)  # neighbours cross at one half


# --- reading ---------------------------------------------------------------------------------------------------


def tone(rate: int, seconds: float = 1.0, hz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def write_media(path: Path, samples: np.ndarray, rate: int, codec: str, video: bool = False) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        picture = None
        if video:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 32
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if picture is not None:
            for _ in range(10):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(image))
            container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def is_the_tone(samples: np.ndarray, seconds: float = 1.0) -> None:
    assert samples.dtype == np.float32
    assert abs(len(samples) / 16000 - seconds) < 0.15  # lossy codecs pad
    middle = samples[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(8000)))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=3)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_rates_and_formats(tmp_path, rate, suffix):
    soundfile.write(tmp_path / f"a{suffix}", tone(rate), rate)
    samples, out_rate = read_audio(tmp_path / f"a{suffix}")
    assert out_rate == 16000
    assert len(samples) == 16000
    is_the_tone(samples)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_every_sample_format(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000, subtype=subtype)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0], tone(16000), atol=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "video"), [("a.mp3", "mp3", False), ("a.m4a", "aac", False), ("a.mp4", "aac", True)]
)
def test_compressed_files_and_videos(tmp_path, name, codec, video):
    write_media(tmp_path / name, tone(44100), 44100, codec, video)
    is_the_tone(read_audio(tmp_path / name)[0])


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(16000), np.zeros(16000, np.float32)], 1)
    soundfile.write(tmp_path / "s.wav", stereo, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "s.wav")[0], tone(16000) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8])
def test_integer_samples_are_scaled(kind):
    info = np.iinfo(kind)
    middle = 128 if kind == np.uint8 else 0
    integers = np.round(tone(16000) * info.max / (2 if middle else 1) + middle).astype(kind)
    np.testing.assert_allclose(to_mono(integers, 16000), tone(16000), atol=0.01)


@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000])
def test_one_sample_stays_a_sound(rate):
    assert len(to_mono(np.ones(1, np.float32), rate)) >= 1


def test_bad_samples_are_refused():
    for samples, rate, words in (
        (np.zeros(0), 16000, r"must have samples of shape \(samples,\)"),
        (np.zeros((0, 2)), 16000, r"must have samples of shape \(samples,\)"),
        (np.zeros((2, 2, 2)), 16000, r"must have samples of shape \(samples,\)"),
        (np.zeros((2, 16000)), 16000, r"\(samples, channels\) with 1 to 32 channels, got \(2, 16000\)"),
        (np.zeros((10, 0)), 16000, r"1 to 32 channels, got \(10, 0\)"),
        (np.zeros(10, complex), 16000, "integer or floating-point samples, got complex128"),
        (np.array(["loud"]), 16000, "integer or floating-point samples, got <U4"),
        (np.full(10, 1e30), 16000, "beyond"),
        (np.zeros(10), 0, "sample rate of 1000 to 1000000 Hz, got 0"),
        (np.zeros(10), -1, "sample rate of 1000 to 1000000 Hz, got -1"),
        (np.zeros(10), 1, "sample rate of 1000 to 1000000 Hz, got 1"),
        (np.array([0.0, np.nan, np.inf]), 16000, "NaN, infinite or beyond .* at 0.000 s"),
    ):
        with pytest.raises(InputError, match=words):
            to_mono(samples, rate)


def test_files_that_are_no_sound(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
    (tmp_path / "text.wav").write_text("this is no sound, it only says so\n" * 20)
    (tmp_path / "nothing.mp3").write_bytes(b"")
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    for name, words in (
        ("nan.wav", "NaN"),
        ("empty.wav", "holds no samples"),
        ("text.wav", "not audio"),
        ("nothing.mp3", "not audio"),
        ("noise.mp3", "not audio"),
        ("missing.wav", "no audio file"),
        (".", "folder"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_video_without_sound(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="not audio"):
        read_audio(tmp_path / "v.mp4")


@pytest.mark.parametrize("kind", ["logmel", "phonetic"])
def test_sums_of_filters_that_do_not_overlap_are_the_whole_product(kind):
    frontend = MelFrontend(kind)
    bank = np.zeros((frontend.spec.n_fft // 2 + 1, frontend.n_mels))
    for apart in frontend._filters:
        for band, start, stop in zip(apart.bands, apart.starts, [*apart.starts[1:], len(bank)], strict=True):
            bank[start:stop, band] = apart.weights[start:stop]
    if kind == "logmel":
        np.testing.assert_array_equal(bank, htk_filters(80, 2048))
    assert len(frontend._filters) == 2
    magnitude = np.random.default_rng(0).uniform(0, 9, (50, len(bank))).astype(np.float32)
    wanted = np.log(magnitude.astype(np.float64) ** frontend.spec.power @ bank + frontend.spec.offset)
    np.testing.assert_allclose(frontend.from_magnitude(magnitude), wanted, atol=2e-6)
