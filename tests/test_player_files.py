"""What the player page's file holds: the motion within its stated error, everything once, and refusals in one sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st
from player_rig import data_of, displacements, head_clip, needs_page, unpack

from meshtalk.errors import InputError
from meshtalk.export import EXPORTERS, html, write_player
from meshtalk.export import html_motion as html_payload
from meshtalk.export.html_motion import ERROR_M, Payload, encode_motion

STUB = f'<title>{html.TITLE_MARK}</title><script id="payload" type="x">{html.PAYLOAD_MARK}</script>'


@pytest.fixture
def page(monkeypatch, tmp_path):
    """A page without a player in place of the built one."""
    path = tmp_path / "player.html"
    path.write_text(STUB)
    monkeypatch.setattr(html, "PAGE", path)
    return path


def farthest_m(clip, entry, array, frames: Any = ...) -> float:
    error = (
        displacements(entry["motion"], array, clip.n_frames, clip.topology.n_vertices)[frames]
        - clip.displacements()[frames]
    )
    return float(np.sqrt((error**2).sum(2)).max())


@pytest.mark.parametrize("kind", ["linear", "dense", "noise"])
def test_the_motion_is_within_its_stated_error(page, tmp_path, kind):
    clip = rig.make_clip(3)
    if kind != "linear":
        clip = rig.as_dense(clip)
    if kind == "noise":
        clip.displacement = np.random.default_rng(0).normal(0, 0.01, clip.vertices.shape).astype(np.float32)
    manifest, array = data_of(write_player(tmp_path / "x.html", [clip]))
    entry = manifest["clips"][0]
    assert farthest_m(clip, entry, array) <= ERROR_M
    assert (entry["motion"]["weights"] is None) == (kind == "noise")  # no components are fewer than the frames
    np.testing.assert_array_equal(array(entry["template"]).reshape(-1, 3), clip.template)
    np.testing.assert_allclose(array(entry["opening"]) / 100, clip.lip_opening_mm(), atol=0.0051)


def test_the_error_of_the_head_is_a_fifth_of_what_is_allowed(page, tmp_path):
    clip = head_clip()
    manifest, array = data_of(write_player(tmp_path / "x.html", [clip]))
    assert farthest_m(clip, manifest["clips"][0], array) <= ERROR_M / 5


@settings(max_examples=60)
@given(
    n_frames=st.integers(1, 12),
    n_shapes=st.integers(1, 6),
    size_m=st.sampled_from([1e-7, 1e-3, 0.05, 0.5]),
    weight=st.sampled_from([1e-6, 1.0, 1e4]),
    dense=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_motion_keeps_to_the_error(n_frames, n_shapes, size_m, weight, dense, seed):
    """Also bases whose large weights cancel each other, where rounding alone would move vertices too far."""
    rng = np.random.default_rng(seed)
    clip = rig.make_clip(0, seconds=n_frames / 30 + 1e-6)
    basis = rng.normal(0, size_m, (n_shapes, clip.topology.n_vertices, 3)) * (rng.random((n_shapes, 96, 1)) < 0.4)
    weights = rng.normal(0, 1, (n_frames, n_shapes))
    if n_shapes > 1:
        basis[1] = basis[0] + 1e-6
        weights[:, :2] += rng.normal(0, weight, (n_frames, 1)) * [1, -1]
    clip = replace(clip, weights=weights.astype(np.float32), basis=basis.astype(np.float32))
    clip = rig.as_dense(clip) if dense else clip
    payload = Payload()
    manifest, array = unpack(payload.encode({"motion": encode_motion(clip, payload)}))
    error = displacements(manifest["motion"], array, n_frames, 96) - clip.displacements()
    # 16 bits do not resolve more of a move of metres, nor float32 of large numbers that cancel
    own = np.abs(clip.displacements()).max() * (np.sqrt(3) / 2 / 32767)
    own = max(own, ERROR_M) + (0 if dense else 4e-7 * n_shapes * np.abs(weights).max() * np.abs(basis).max())
    assert np.sqrt((error**2).sum(2)).max() <= own


def test_missing_frames_hold_the_last_one(page, tmp_path):
    clip = rig.make_clip(0)
    valid = np.ones(clip.n_frames, bool)
    valid[[0, 1, 7, 8]] = False
    for kind in (clip, rig.as_dense(clip)):
        manifest, array = data_of(write_player(tmp_path / "x.html", [replace(kind, valid=valid)]))
        entry = manifest["clips"][0]
        seen = displacements(entry["motion"], array, clip.n_frames, clip.topology.n_vertices)
        assert farthest_m(clip, entry, array, valid) <= ERROR_M
        assert not seen[:2].any()
        np.testing.assert_array_equal(seen[7:9], seen[[6, 6]])
        assert set(np.flatnonzero(array(entry["opening"]) == html.NO_OPENING)) == {0, 1, 7, 8}


def test_what_clips_share_is_there_once(page, tmp_path):
    first, second = head_clip(seed=0), head_clip(seed=1)
    second.audio = first.audio
    one = write_player(tmp_path / "1.html", [first]).stat().st_size
    two = write_player(tmp_path / "2.html", [first, second], ["truth", "ours"]).stat().st_size
    assert two - one < 30_000
    manifest, _ = data_of(tmp_path / "2.html")
    a, b = manifest["clips"]
    assert (a["sound"], a["texture"], a["motion"]["moves"]) == (b["sound"], b["texture"], b["motion"]["moves"])
    assert [clip["name"] for clip in manifest["clips"]] == ["truth", "ours"]


def test_the_same_clip_gives_the_same_bytes(page, tmp_path):
    a, b = (write_player(tmp_path / f"{k}.html", [rig.make_clip(0)]) for k in range(2))
    assert a.read_bytes() == b.read_bytes()


def test_sound_is_kept_or_brought_to_a_rate_that_browsers_play(page, tmp_path):
    clip = rig.make_clip(0)
    manifest, array = data_of(write_player(tmp_path / "x.html", [clip]))
    sound = manifest["clips"][0]["sound"]
    assert sound["rate"] == clip.sample_rate
    np.testing.assert_allclose(array(sound["samples"]) / 32767, clip.audio.clip(-1, 1), atol=2e-5)
    for rate, wanted in ((4000, 8000), (96000, 48000)):
        audio = np.sin(np.arange(2 * rate) * (2 * np.pi * 440 / rate)).astype(np.float32)
        manifest, array = data_of(write_player(tmp_path / "x.html", [replace(clip, audio=audio, sample_rate=rate)]))
        sound = manifest["clips"][0]["sound"]
        samples = array(sound["samples"])
        assert (sound["rate"], len(samples)) == (wanted, 2 * wanted)
        assert np.argmax(np.abs(np.fft.rfft(samples))) == 880
    silent = replace(clip, audio=np.zeros_like(clip.audio))
    assert data_of(write_player(tmp_path / "x.html", [silent]))[0]["clips"][0]["sound"] is None
    loud = replace(clip, audio=clip.audio * 30000)
    manifest, array = data_of(write_player(tmp_path / "x.html", [loud]))
    samples = array(manifest["clips"][0]["sound"]["samples"])
    assert np.corrcoef(samples, clip.audio)[0, 1] > 0.9999


def test_the_title_is_text_and_nothing_else(page, tmp_path):
    hostile = "</title><script>alert(1)</script>&"
    path = write_player(tmp_path / "x.html", [replace(rig.make_clip(0), sentence=hostile)], [hostile])
    text = path.read_text()
    assert text.count("<script") == 1
    assert re.findall("<title>(.*?)</title>", text) == ["&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;"]
    assert data_of(path)[0]["clips"][0]["name"] == hostile


@pytest.mark.parametrize(
    ("clips", "names", "words"),
    [
        ([], None, "at least one clip"),
        ([rig.make_clip(0)], ["a", "b"], "names must be one per clip, got 2 for 1 clips"),
        (
            [replace(rig.make_clip(0), weights=np.zeros((0, 6), np.float32), audio=np.zeros(0, np.float32))],
            None,
            "no frames",
        ),
        ([replace(rig.make_clip(0), valid=np.zeros(60, bool))], None, "no frames"),
        ([replace(rig.make_clip(0), fps=Fraction(60))], None, "must differ by at most one frame"),
    ],
)
def test_refusals(page, tmp_path, clips, names, words):
    with pytest.raises(InputError, match=words):
        write_player(tmp_path / "x.html", clips, names)
    assert [path.name for path in tmp_path.iterdir()] == ["player.html"]


def test_a_page_too_large_for_browsers_is_refused(page, tmp_path, monkeypatch):
    monkeypatch.setattr(html_payload, "MOST_BYTES", 20_000)
    with pytest.raises(InputError, match="Write a shorter part"):
        write_player(tmp_path / "x.html", [rig.make_clip(0)])
    assert not (tmp_path / "x.html").exists()


def test_without_the_built_page_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "PAGE", tmp_path / "nowhere.html")
    with pytest.raises(InputError, match="pip install"):
        rig.make_clip(0).save(tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


@needs_page
def test_ten_seconds_of_the_head_are_under_three_megabytes(tmp_path):
    path = head_clip(10.0).save(tmp_path / "face.html")
    assert EXPORTERS[".html"] is html.write_html
    assert path.stat().st_size < 3_000_000
    text = path.read_text(encoding="utf-8")
    assert "Permission is hereby granted" in text  # three.js goes with its licence
    assert "three.js authors" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", text.split("<script>")[0])
