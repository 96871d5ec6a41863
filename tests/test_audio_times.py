"""Time stamps of containers: time 0 of a sound is its container's, or the first picture's."""

from __future__ import annotations

import numpy as np
import pytest
from media_rig import burst_times_s, bursts, write_film

from meshtalk.audio.files import StampedTimeline, read_audio
from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.convert.plan import read_sound

RATE = 48_000
TO_S = 0.004
"""A codec's block begins so much before what it holds; Matroska rounds to milliseconds."""
FILMS = [
    ("a.mp4", "aac"),
    ("a.mov", "pcm_s16le"),
    ("a.mov", "aac"),
    ("a.mkv", "flac"),
    ("a.mkv", "libopus"),
    ("a.webm", "libopus"),
]


def film(folder, name, codec, **times):
    if name.endswith(".webm"):  # VP8 and Opus only: without pictures here
        times["picture_at_s"] = None
    return write_film(folder / name, bursts(RATE, (0.3, 1.2)), RATE, codec, **times)


@pytest.mark.parametrize(("name", "codec"), FILMS)
@pytest.mark.parametrize("late_s", [0.0, 0.25, 0.8, 3.0])
def test_sound_that_begins_later_than_its_container(tmp_path, name, codec, late_s):
    path = film(tmp_path, name, codec, sound_at_s=late_s)
    for rate in (16_000, RATE):
        sound, _ = read_audio(path, rate)
        assert burst_times_s(sound, rate) == pytest.approx([late_s + 0.3, late_s + 1.2], abs=TO_S)
        assert len(sound) / rate == pytest.approx(late_s + 2, abs=0.03)
        assert not sound[: round(max(late_s - 0.03, 0) * rate)].any()


@pytest.mark.parametrize(("name", "codec"), [film for film in FILMS if film[0] != "a.webm"])
@pytest.mark.parametrize(("sound_at_s", "picture_at_s"), [(0.0, 0.25), (0.5, 0.2), (0.4, 0.0), (0.3, 0.3)])
def test_beside_a_capture_the_first_picture_is_time_0(tmp_path, name, codec, sound_at_s, picture_at_s):
    path = film(tmp_path, name, codec, sound_at_s=sound_at_s, picture_at_s=picture_at_s)
    sound, rate, note = read_sound(path, "a")
    late_s = sound_at_s - picture_at_s
    assert burst_times_s(sound, rate) == pytest.approx([late_s + 0.3, late_s + 1.2], abs=TO_S)
    assert len(sound) / rate == pytest.approx(late_s + 2, abs=0.03)
    assert not note
    assert burst_times_s(read_audio(path)[0], 16_000) == pytest.approx([sound_at_s + 0.3, sound_at_s + 1.2], abs=TO_S)


def test_a_piece_of_a_longer_stream_begins_with_its_first_sample(tmp_path):
    path = film(tmp_path, "a.mkv", "flac", sound_at_s=3600.5, picture_at_s=3600.0)
    assert burst_times_s(read_audio(path)[0], 16_000) == pytest.approx([0.8, 1.7], abs=TO_S)
    path = film(tmp_path, "b.mkv", "flac", sound_at_s=3600.5, picture_at_s=None)
    assert burst_times_s(read_audio(path)[0], 16_000) == pytest.approx([0.3, 1.2], abs=TO_S)


def test_transport_streams_begin_at_any_time(tmp_path):
    for name, picture_at_s, late_s in (("a.ts", 0.0, 0.5), ("b.ts", None, 0.0)):
        path = film(tmp_path, name, "aac", sound_at_s=0.5, picture_at_s=picture_at_s)
        found = burst_times_s(read_audio(path)[0], 16_000)
        # without an edit list, the 1,024 samples that AAC begins with are heard
        assert found == pytest.approx([late_s + 0.3, late_s + 1.2], abs=0.03)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.webm", "libopus")])
def test_gaps_between_time_stamps_are_silence(tmp_path, name, codec):
    sound, _ = read_audio(film(tmp_path, name, codec, gap=(0.8, 0.7)))
    assert burst_times_s(sound, 16_000) == pytest.approx([0.3, 1.9], abs=TO_S)
    jitter, _ = read_audio(film(tmp_path, name, codec, gap=(0.8, 0.05)))
    assert burst_times_s(jitter, 16_000) == pytest.approx([0.3, 1.2], abs=TO_S)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "flac"), ("a.mkv", "libopus"), ("a.webm", "libopus")])
def test_a_cut_container_is_told(tmp_path, name, codec, recwarn):
    path = film(tmp_path, name, codec, sound_at_s=0.5)
    whole, _ = read_audio(path)
    assert not recwarn.list
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"is damaged or cut off. The [01]\.\d\d s"):
        part, _ = read_audio(path)
    assert 8_000 < len(part) < 0.9 * len(whole)


def put(stamps, origin_s: float | None = 0.0, ends_s=np.inf, count=100, rate=1000):
    """Where blocks of a tenth of a second come out, by their stamps: (first sample, samples) of each."""
    timeline, at, placed = StampedTimeline(origin_s, ends_s), 0, []
    for stamp_s in stamps:
        silent, skipped = timeline.place(stamp_s, rate, count)
        placed.append((at + silent, count - skipped))
        at += silent + count - skipped
    return placed


def test_stamps_of_any_kind():
    even = [0.0, 0.1, 0.2, 0.3]
    assert put(even) == put([None] * 4) == [(0, 100), (100, 100), (200, 100), (300, 100)]
    assert put([0.0, 0.13, 0.18, 0.32]) == put(even), "jitter"
    assert put([0.5, 0.6]) == [(500, 100), (600, 100)]
    assert put([0.5, 0.6], origin_s=None) == [(0, 100), (100, 100)]
    assert put([-0.25, -0.15, -0.05, 0.05]) == [(0, 0), (0, 0), (0, 50), (50, 100)], "before time 0"
    assert put([0.0, 0.1, 1.2, 1.3]) == [(0, 100), (100, 100), (1200, 100), (1300, 100)], "a gap"
    assert put([0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 0.3])[3:] == [(300, 0), (300, 0), (300, 0), (300, 100)], "twice"
    assert put([0.0, 0.1, 9.9, 10.0], ends_s=1.0)[2:] == [(200, 100), (300, 100)], "beyond the container's end"
    assert put([50.0, 50.1, 0.0, 0.1], origin_s=50.0)[2:] == [(200, 100), (300, 100)], "begun anew"
    assert put([0.0, 1e6])[1:] == [(100, 100)], "damaged"


def test_the_mouth_moves_when_the_film_speaks(tmp_path, tiny_model, monkeypatch):
    """The verb's clip has the film's time: as many frames, and the sound where it is in the film."""
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "a.mp4", bursts(RATE, (0.1,), 0.5), RATE, "aac", sound_at_s=0.5)
    main(["animate", "a.mp4", "-o", "out.npz", "--model", str(tiny_model)])
    clip = Clip.load("out.npz")
    assert burst_times_s(clip.audio, clip.sample_rate) == pytest.approx([0.6], abs=TO_S)
    assert clip.n_frames >= 30
