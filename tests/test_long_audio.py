"""Hours: sound in bounded memory, whatever the blocks, and frames that are exactly where the clock says."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.audio import files as audio_files
from meshtalk.audio.files import frame_hops, n_frames, read_audio, to_mono
from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip, exact_rate
from meshtalk.export import write_glb, write_mp4
from meshtalk.export.morph_targets import TOLERANCE_M, components
from meshtalk.mesh.topology import Topology
from meshtalk.render import Renderer
from meshtalk.resample import Resampler

NTSC = Fraction(30000, 1001)
RATES = [Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(60)]
NATIVE = Fraction(30)
HOUR_S = 3600


# --- sound -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize(
    "n", [1, 2, 3, 160, audio_files.BLOCK - 1, audio_files.BLOCK, audio_files.BLOCK + 1, 3 * audio_files.BLOCK + 77]
)
def test_block_by_block_is_all_at_once(tmp_path, rate, n):
    samples = np.random.default_rng(n).uniform(-0.5, 0.5, (n, 2)).astype(np.float32)
    at_once = soxr.resample(samples.mean(1, dtype=np.float32), rate, 16000)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav")[0]
    assert len(read) == max(n * 16000 // rate, 1)
    # shorter than half a sample it is one of silence; otherwise the last of the rounded length may be missing
    expected = at_once[: len(read)] if len(at_once) else np.zeros(1)
    np.testing.assert_allclose(read, expected, atol=1e-6)
    assert len(at_once) - len(read) <= 1
    np.testing.assert_array_equal(to_mono(samples, rate), read)


@settings(max_examples=30)
@given(st.integers(1, 2 * 96000), st.sampled_from([8000, 22050, 44100, 48000, 96000]), st.sampled_from(RATES))
def test_resampling_never_begins_another_frame(n, rate, fps):
    """Rounded to the nearest 16 kHz sample, a film's sound of exactly m frames would last m frames and a little."""
    there, here = n_frames(n, rate, fps), n_frames(len(to_mono(np.zeros(n, np.float32), rate)), 16000, fps)
    assert here <= there or n * 16000 < rate
    assert there - here <= 1
    # a frame may be missing only if it begins in the last 62.5 microseconds
    assert here == there or Fraction(n, rate) - Fraction(there - 1) / fps < Fraction(1, 16000)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("frames", [1, 2, 5, 17, 100])
def test_a_film_keeps_its_number_of_frames(rate, fps, frames):
    n = math.floor(frames / fps * rate)
    assert n_frames(len(to_mono(np.zeros(n, np.float32), rate)), 16000, fps) == frames


def test_reading_holds_the_result_and_little_else(tmp_path):
    """Two minutes of 96 kHz 5.1 are 277 MB as floating point and 7.7 MB as mono at 16 kHz."""
    piece = np.random.default_rng(0).integers(-3000, 3000, (96000, 6), np.int16)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 96000, 6) as file:
        for _ in range(120):
            file.write(piece)
    samples = []
    soundfile.write(tmp_path / "short.wav", piece[:9600], 96000)
    read_audio(tmp_path / "short.wav")  # modules that the first reading imports are not what it holds
    assert rig.traced_peak_mb(lambda: samples.append(read_audio(tmp_path / "a.wav")[0])) < 15
    assert len(samples[0]) == 120 * 16000


def test_samples_in_memory_are_not_multiplied():
    whole = np.random.default_rng(0).integers(-3000, 3000, (60 * 48000, 2), np.int16)
    assert rig.traced_peak_mb(lambda: to_mono(whole, 48000)) < 10, "the result takes 3.8, the whole in doubles 46"


def test_mel_of_much_sound_at_once_is_made_in_pieces(monkeypatch):
    frontend, speech = MelFrontend("logmel"), np.tile(rig.speech(0, 4.0)[0], 30)
    whole = []
    # 12000 spectra of 1025 complex numbers would be 98 MB and more
    assert rig.traced_peak_mb(lambda: whole.append(frontend.all(speech))) < 80
    monkeypatch.setattr("meshtalk.audio.mel._FRAMES_AT_ONCE", 10**9)
    np.testing.assert_allclose(whole[0], frontend.all(speech), atol=2e-5)


# --- time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES)
def test_an_hour_has_exactly_its_frames(fps):
    assert n_frames(HOUR_S * 16000, 16000, fps) == math.ceil(HOUR_S * fps)
    assert n_frames(HOUR_S * 16000 + 1, 16000, fps) == math.floor(HOUR_S * fps) + 1
    assert n_frames(600 * 16000, 16000, Fraction(30)) == 18_000


@given(
    st.integers(1, 10**9),
    st.sampled_from([8000, 16000, 44100, 48000]),
    st.fractions(Fraction(1), Fraction(240), max_denominator=1001),
)
def test_every_frame_begins_within_the_sound_and_none_is_missing(n, rate, fps):
    frames, seconds = n_frames(n, rate, fps), Fraction(n, rate)
    assert (frames - 1) / fps < seconds <= frames / fps
    last = frame_hops(fps, frames - 1, 1).item()
    assert last == pytest.approx(float((frames - 1) * 100 / fps), rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("meant", "fps"),
    [
        (NTSC, 29.97),
        (NTSC, "29.97"),
        (Fraction(24000, 1001), 23.976),
        (Fraction(60000, 1001), 59.94),
        (Fraction(25), 25.0),
        (Fraction(25, 2), 12.5),
        (NTSC, "30000/1001"),
        (Fraction(2997, 100), Fraction(2997, 100)),
        (Fraction(30), 30),
    ],
)
def test_rates_are_the_fractions_that_are_meant(meant, fps):
    assert exact_rate(fps) == meant


def stream(resampler: Resampler, frames: torch.Tensor, cuts: list[int], total: int) -> torch.Tensor:
    state, parts = resampler.start(), []
    edges = [0, *sorted(cuts), len(frames)]
    for begin, end in pairwise(edges[:-1]):
        part, state = resampler.process(frames[begin:end], state)
        parts.append(part)
    return torch.cat([*parts, resampler.finish(frames[edges[-2] :], state, total)])


@pytest.mark.parametrize("fps", RATES)
def test_after_an_hour_frame_k_is_at_k_over_fps(fps):
    """The motion is time itself, and a cubic follows a straight line exactly."""
    native = torch.arange(HOUR_S * 30, dtype=torch.float64)[:, None] / 30
    total = math.ceil(HOUR_S * fps)
    out = stream(Resampler(NATIVE, fps), native, list(range(300, len(native), 300)), total)[:, 0].numpy()
    assert len(out) == total
    exact = np.arange(total) * fps.denominator / fps.numerator
    # before and after, a slope is missing; past the last frame it is held
    inside = (exact >= 1 / 30) & (exact <= native[-3].item())
    assert np.abs(out - exact)[inside].max() < 1e-9
    assert np.abs(out - exact)[~inside].max() <= 1 / 30
    assert inside.sum() >= total - 8


@pytest.mark.parametrize("fps", RATES)
def test_single_precision_keeps_time_too(fps):
    """As in use: 32 bits. They hold no microsecond of an hour, so the line starts again every 2 seconds."""
    native = (torch.arange(HOUR_S * 30) % 60)[:, None] / np.float32(30)
    total = math.ceil(HOUR_S * fps)
    out = stream(Resampler(NATIVE, fps), native, list(range(300, len(native), 300)), total)[:, 0]
    assert out.dtype == torch.float32
    # whole numbers: time within the line in units of 1/numerator seconds
    units = np.arange(total, dtype=np.int64) * fps.denominator % (2 * fps.numerator)
    exact = units / fps.numerator
    smooth = (exact >= 2 / 30) & (exact <= 57 / 30)
    assert np.abs(out.numpy() - exact)[smooth].max() < 1e-6
    assert smooth.mean() > 0.85


@settings(max_examples=25)
@given(
    st.fractions(Fraction(1), Fraction(240), max_denominator=1001),
    st.lists(st.integers(0, 200), max_size=12),
    st.integers(0, 10**6),
)
def test_any_rate_and_any_chunks_are_one_call(fps, cuts, seed):
    native = torch.randn(200, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total, resampler = math.ceil(200 / NATIVE * fps), Resampler(NATIVE, fps)
    whole = resampler.finish(native, resampler.start(), total)
    assert len(whole) == total
    torch.testing.assert_close(stream(resampler, native, cuts, total), whole, atol=1e-12, rtol=0)


def test_a_rate_of_huge_numbers_is_exact():
    """A rate that came as a float has a denominator of 2^40s; its products pass 64 bits."""
    fps = Fraction(29.97)
    native = torch.arange(30_000, dtype=torch.float64)[:, None] / 30
    out = Resampler(NATIVE, fps).finish(native, Resampler(NATIVE, fps).start(), 29_000)[:, 0].numpy()
    exact = np.array([float(k / fps) for k in range(29_000)])
    assert np.abs(out - exact)[:-5].max() < 1e-9


# --- exports of long clips ---------------------------------------------------------------------------------------


def tetrahedron() -> tuple[Topology, np.ndarray]:
    template = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.1]], np.float32)
    return Topology(faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32), n_vertices=4), template


def long_clip(seconds: int, fps: Fraction) -> Clip:
    topology, template = tetrahedron()
    n = n_frames(seconds * 16000, 16000, fps)
    return Clip(
        topology=topology,
        template=template,
        fps=fps,
        audio=np.zeros(seconds * 16000, np.float32),
        sample_rate=16000,
        weights=(np.arange(n) % 2).astype(np.float32)[:, None],
        basis=np.full((1, 4, 3), 0.01, np.float32),
    )


@pytest.mark.parametrize(("seconds", "fps"), [(60, NTSC), pytest.param(200, Fraction(30), marks=pytest.mark.slow)])
def test_a_long_film_ends_on_its_last_frame(tmp_path, monkeypatch, seconds, fps):
    av = pytest.importorskip("av")
    picture = np.zeros((32, 32, 3), np.uint8)
    monkeypatch.setattr(Renderer, "frame", lambda self, vertices: picture)
    write_mp4(long_clip(seconds, fps), tmp_path / "a.mp4", size=(32, 32), threads=1)
    with av.open(str(tmp_path / "a.mp4")) as film:
        times = sorted(p.pts * p.time_base for p in film.demux(video=0) if p.size)
    with av.open(str(tmp_path / "a.mp4")) as film:
        sound = max((p.pts + p.duration) * p.time_base for p in film.demux(audio=0) if p.size)
    assert len(times) == {60: 1799, 200: 6000}[seconds]
    assert max(abs(time - k / fps) for k, time in enumerate(times)) < Fraction(1, 10_000)
    assert abs(sound - seconds) < Fraction(1024, 16000), "whole AAC blocks"


def test_an_hour_of_glb_keeps_time(tmp_path):
    pygltflib = pytest.importorskip("pygltflib")
    write_glb(long_clip(HOUR_S, Fraction(60)), tmp_path / "a.glb")
    doc = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    accessor = doc.accessors[doc.animations[0].samplers[0].input]
    offset = doc.bufferViews[accessor.bufferView].byteOffset
    times = np.frombuffer(doc.binary_blob(), np.float32, accessor.count, offset)
    assert len(times) == 216_000
    assert (np.diff(times) > 0).all()
    assert np.abs(times.astype(np.float64) - np.arange(216_000) / 60).max() < 0.5 / 60 / 50


@pytest.fixture(scope="module")
def spooled(tmp_path_factory) -> Clip:
    """93 s of 6000 vertices, all moving in two ways: 202 MB of dense motion in a file."""
    n, n_vertices = 2800, 6000
    rng = np.random.default_rng(0)
    ways = rng.normal(0, 1e-3, (2, n_vertices * 3)).astype(np.float32)
    shape, path = (n, n_vertices, 3), tmp_path_factory.mktemp("spool") / "motion"
    motion = np.memmap(path, np.float32, mode="w+", shape=shape)
    for k in range(0, n, 100):
        times = np.arange(k, k + 100)[:, None] / 30
        motion[k : k + 100] = (np.sin(times * np.array([3, 8], np.float32)) @ ways).reshape(100, n_vertices, 3)
    motion.flush()
    template = rng.uniform(0, 0.2, (n_vertices, 3)).astype(np.float32)
    return Clip(
        topology=Topology(faces=np.arange(n_vertices, dtype=np.int32).reshape(-1, 3), n_vertices=n_vertices),
        template=template,
        fps=Fraction(30),
        audio=np.zeros(n * 16000 // 30, np.float32),
        sample_rate=16000,
        displacement=np.memmap(path, np.float32, mode="r", shape=shape),
    )


def test_dense_motion_in_a_file_stays_there(tmp_path, spooled):
    assert spooled.displacement is not None
    assert spooled.displacement.nbytes > 200e6
    assert rig.traced_peak_mb(spooled.validate) < 30
    assert rig.traced_peak_mb(lambda: spooled.save(tmp_path / "a.npz")) < 40
    loaded = []
    assert rig.traced_peak_mb(lambda: loaded.append(Clip.load(tmp_path / "a.npz"))) < 30
    np.testing.assert_array_equal(loaded[0].displacements(2700), spooled.displacements(2700))


@pytest.mark.slow
def test_a_film_of_dense_motion_is_drawn_piece_by_piece(tmp_path, monkeypatch, spooled):
    class Drawing:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def frames(self, meshes, threads):
            return (np.full((32, 32, 3), 100 * mesh[0, 0] > 5, np.uint8) for mesh in meshes)

    monkeypatch.setattr("meshtalk.export.mp4.Renderer", Drawing)
    clip = replace(spooled, displacement=spooled.displacement[:600], audio=spooled.audio[:320_000])
    peak_mb = rig.traced_peak_mb(lambda: write_mp4(clip, tmp_path / "a.mp4", size=(32, 32)))
    assert peak_mb < 15, "the motion takes 43"


def test_a_glb_of_dense_motion_is_made_piece_by_piece(tmp_path, spooled):
    """In double precision the motion takes 404 MB."""
    assert rig.traced_peak_mb(lambda: spooled.save(tmp_path / "a.glb")) < 150


def test_components_read_only_the_frames_they_are_asked_for(spooled):
    """A piece holds 128 frames, also where nearly all between them are missing."""
    sparse = np.arange(0, 2800, 20)
    results = []
    assert rig.traced_peak_mb(lambda: results.append(components(spooled, sparse))) < 150
    weights, shapes = results[0]
    error = np.einsum("tk,kvc->tvc", weights, shapes) - spooled.displacement[sparse]
    assert np.linalg.norm(error, axis=2).max() <= TOLERANCE_M * 1.001


# --- all of it -----------------------------------------------------------------------------------------------------

_MEASURE = """
import sys
from meshtalk.cli.main import main
main(sys.argv[1:])
# of this very program: getrusage would begin with what its parent, the whole suite, held
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a program took is read from /proc")
@pytest.mark.parametrize("minutes", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_ten_minutes_stay_under_a_gigabyte(tmp_path, tiny_model, minutes):
    speech = np.tile(np.repeat(rig.speech(0, 10.0)[0], 3), 6 * minutes)
    soundfile.write(tmp_path / "a.flac", np.stack([speech, speech], 1), 48000)
    command = [sys.executable, "-c", _MEASURE, "animate", tmp_path / "a.flac", "-o", tmp_path / "a.npz"]
    done = subprocess.run([*command, "--model", tiny_model], check=True, capture_output=True, text=True)
    assert int(done.stdout.split()[-1]) / 1024 < {1: 700, 10: 1000}[minutes], "megabytes"
    clip = Clip.load(Path(tmp_path / "a.npz"))
    assert clip.n_frames == 1800 * minutes
    assert len(clip.audio) == 60 * minutes * 16000
