"""Films read back: every frame at its time, and the sound with it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_export import RATE, make_clip

from meshtalk.errors import InputError
from meshtalk.export import write_mp4
from meshtalk.render import Look, Renderer


def read_film(path: Path) -> tuple[list[tuple[Fraction, np.ndarray]], np.ndarray, int]:
    """[(time, (H,W,3))] and the sound from time 0 with its rate, as a player presents them."""
    import av

    with av.open(str(path)) as film:
        pictures = [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in film.decode(video=0)]
    with av.open(str(path)) as film:
        rate = film.streams.audio[0].codec_context.sample_rate
        frames = list(film.decode(audio=0))
        assert frames[0].pts == 0
        return pictures, np.concatenate([f.to_ndarray()[0] for f in frames]), rate


@pytest.mark.parametrize("fps", [25, 30, 60, Fraction(30000, 1001)])
def test_mp4_has_every_frame_at_its_time_and_all_of_the_sound(tmp_path, fps):
    clip = make_clip(fps, n_frames=24)
    write_mp4(clip, tmp_path / "a.mp4", size=(64, 48))
    pictures, sound, rate = read_film(tmp_path / "a.mp4")
    assert len(pictures) == 24
    assert pictures[0][1].shape == (48, 64, 3)
    for k, (time, _) in enumerate(pictures):
        assert abs(float(time - k / clip.fps)) < 1e-4
    assert rate == RATE
    assert 0 <= len(sound) - len(clip.audio) < 2048, "whole AAC blocks"


def test_mp4_keeps_picture_and_sound_together(tmp_path):
    """The ball jumps and a click sounds at the same instant: a player shows them within a frame of each other."""
    fps, jump, n_frames = Fraction(30000, 1001), 23, 45
    clip = make_clip(fps, n_frames=n_frames)
    clip.basis = np.broadcast_to(np.float32((0.1, 0, 0)), clip.basis.shape).copy()
    clip.weights = np.repeat((np.arange(n_frames) >= jump).astype(np.float32)[:, None], 3, 1) / 3
    click = round(jump / fps * RATE)
    clip.audio = np.zeros_like(clip.audio)
    clip.audio[click : click + 40] = 0.9
    write_mp4(clip, tmp_path / "a.mp4", size=(64, 64))
    pictures, sound, rate = read_film(tmp_path / "a.mp4")
    changes = [np.abs(b.astype(int) - a.astype(int)).mean() for (_, a), (_, b) in pairwise(pictures)]
    seen_s = float(pictures[int(np.argmax(changes)) + 1][0])
    heard_s = np.argmax(np.abs(sound) > 0.45) / rate
    assert seen_s == pytest.approx(jump / fps, abs=1e-3)
    assert heard_s == pytest.approx(click / RATE, abs=0.002)


def test_mp4_resamples_a_rate_that_aac_does_not_know(tmp_path):
    clip = make_clip(n_frames=15)
    clip.sample_rate, clip.audio = 17000, np.zeros(8500, np.float32)
    clip.audio[4250:] = 0.5 * np.sin(np.arange(4250))
    write_mp4(clip, tmp_path / "a.mp4", size=(32, 32))
    _, sound, rate = read_film(tmp_path / "a.mp4")
    assert rate == 48000
    assert np.argmax(np.abs(sound) > 0.2) / rate == pytest.approx(0.25, abs=0.002)


def test_mp4_turns_down_integers_written_as_floating_point(tmp_path):
    clip = make_clip(n_frames=30)
    clip.audio = np.sin(np.arange(16000) * 0.17).astype(np.float32)
    sounds = []
    for gain in (0.999, 32767.0):
        write_mp4(replace(clip, audio=gain * clip.audio), tmp_path / "a.mp4", size=(32, 32))
        sounds.append(read_film(tmp_path / "a.mp4")[1])
    assert np.abs(sounds[1] - sounds[0]).mean() < 0.02  # a square wave would be 0.3 away


def test_mp4_holds_the_picture_where_capture_missed_a_frame(tmp_path):
    clip = make_clip(n_frames=12)
    clip.weights = np.zeros_like(clip.weights)
    clip.weights[6] = 30
    clip.valid = np.arange(12) != 6
    write_mp4(clip, tmp_path / "a.mp4", size=(64, 64))
    pictures, _, _ = read_film(tmp_path / "a.mp4")
    assert np.abs(pictures[6][1].astype(int) - pictures[5][1]).mean() < 1


def test_mp4_colours_survive(tmp_path):
    clip = make_clip(n_frames=3)
    write_mp4(clip, tmp_path / "a.mp4", size=(64, 64))

    drawn = Renderer(clip.topology, clip.template, 64, 64).frame(clip.frames(0, 1)[0]).astype(int)
    shown = read_film(tmp_path / "a.mp4")[0][0][1].astype(int)
    assert np.abs(shown[24:40, 24:40].mean((0, 1)) - drawn[24:40, 24:40].mean((0, 1))).max() < 6


def test_mp4_without_sound(tmp_path):
    clip = make_clip(n_frames=3)
    clip.audio = clip.audio[:0]
    write_mp4(clip, tmp_path / "a.mp4", size=(32, 32))
    import av

    with av.open(str(tmp_path / "a.mp4")) as film:
        assert not film.streams.audio


def test_a_look_is_for_what_is_drawn(tmp_path):
    clip = make_clip(n_frames=1)
    clip.save(tmp_path / "side.mp4", Look("profile"))
    clip.save(tmp_path / "front.mp4")
    side, front = (read_film(tmp_path / f"{name}.mp4")[0][0][1].astype(int) for name in ("side", "front"))
    assert np.abs(side - front).max() > 30, "the lamp is elsewhere on the ball"
    with pytest.raises(InputError, match=r"camera and light .* write \.mp4, \.gif, \.png\.$"):
        clip.save(tmp_path / "a.glb", Look("profile"))
    assert not (tmp_path / "a.glb").exists()
