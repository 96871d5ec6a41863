"""The player page in a real browser: it plays what Python says, by mouse and keys, from disk and without a network."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import player_rig
import pytest
import rig
from player_rig import drawn_vertices, needs_page, opened, seek, settle

from meshtalk.export import write_player
from meshtalk.export.html_motion import ERROR_M

pytestmark = needs_page
FLOAT_M = 1e-6
"""What float32 sums may differ by."""


@pytest.fixture(scope="module")
def browser():
    with player_rig.browser() as running:
        yield running


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two clips of one face that differ, as a page of their own."""
    clips = [rig.make_clip(0, 3.0), rig.make_clip(1, 3.0)]
    clips[1].audio = clips[0].audio
    return clips, write_player(tmp_path_factory.mktemp("pair") / "pair.html", clips, ["truth", "ours"])


def state(page):
    return page.evaluate(
        "({time: meshtalk.clock.time, playing: meshtalk.clock.playing, frame: meshtalk.drawn.frames[0]})"
    )


def until(page, condition: str) -> None:
    """Wait for an expression; Playwright's own waiting evaluates it in the page, whose security policy forbids that."""
    for _ in range(1500):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"{condition} did not come true in 30 s")


def pressed(page, name: str) -> bool:
    return page.locator(f"#{name}").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_every_frame_is_drawn_at_its_time(browser, tmp_path, fps):
    clip = rig.make_clip(0, 2.0, fps=fps)
    with opened(browser, clip.save(tmp_path / "x.html")) as page:
        for k in [0, 1, 2, 7, 29, clip.n_frames - 1]:
            assert seek(page, float(k / fps))["frames"] == [k]
            assert seek(page, float((k + Fraction(9, 10)) / fps))["frames"] == [k]
        assert seek(page, 100.0)["frames"] == [clip.n_frames - 1]


@pytest.mark.parametrize("speed", [0.5, 1, 2])
def test_sound_and_mesh_stay_within_a_frame_while_playing(browser, pair, speed):
    """Every picture is compared with the audio element's own time, read when the picture has been made."""
    with opened(browser, pair[1], 420, 420) as page:
        page.select_option("#speed", str(speed))
        page.click("#play")
        samples = page.evaluate(
            """new Promise((done) => {
              const seen = [], began = performance.now();
              const look = (now) => {
                seen.push([meshtalk.clock.audio.currentTime, meshtalk.drawn.frames[0]]);
                if (now - began < 1200) requestAnimationFrame(look); else done(seen);
              };
              requestAnimationFrame(look);
            })"""
        )
        times, frames = np.array(samples).T
        assert times[-1] - times[0] > 0.5 * speed
        assert np.all(np.diff(frames) >= 0)
        assert len(set(frames)) >= 5
        # whatever the machine's load, most pictures are made without an interruption
        late = np.floor((times + 5e-4) * 30) - frames
        assert np.all(late >= 0)
        assert np.mean(late <= 1) >= 0.9, late
        assert page.evaluate("[meshtalk.clock.audio.playbackRate, meshtalk.clock.audio.preservesPitch]") == [
            speed,
            True,
        ]


def test_the_browser_computes_the_meshes_that_python_has(browser, tmp_path):
    missing = np.ones(60, bool)
    missing[20:23] = False
    clips = [
        rig.make_clip(0),
        rig.as_dense(rig.make_clip(1)),
        replace(rig.make_clip(2), valid=missing),
        rig.as_dense(rig.make_clip(3, 2.0, "s1", Fraction(25))),
    ]
    noise = np.random.default_rng(0).normal(0, 0.01, (50, 96, 3)).astype(np.float32)
    clips[3].displacement = noise
    with opened(browser, write_player(tmp_path / "x.html", clips)) as page:
        for time in (0.0, 0.41, 0.71, 1.9):
            frames = seek(page, time)["frames"]
            assert frames == [math.floor((time + 5e-4) * clip.fps) for clip in clips]
            for i, clip in enumerate(clips):
                k = 19 if i == 2 and frames[i] in (20, 21, 22) else frames[i]
                error = np.linalg.norm(drawn_vertices(page, i) - clip.frames(k, k + 1)[0], axis=1)
                assert error.max() <= ERROR_M + FLOAT_M, (i, k)


def test_heat_is_the_distance_from_the_first_clip(browser, pair):
    clips, path = pair
    with opened(browser, path) as page:
        page.keyboard.press("h")
        frame = seek(page, 1.5)["frames"][0]
        distance_mm = 1e3 * np.linalg.norm(
            clips[1].displacements(frame, frame + 1)[0] - clips[0].displacements(frame, frame + 1)[0], axis=1
        )
        highest = float(page.locator("#scale-ticks li").first.inner_text())
        values = np.array(page.evaluate("Array.from(meshtalk.heat.values[1])"))
        np.testing.assert_allclose(values * highest, distance_mm, atol=0.11)
        assert not np.any(page.evaluate("Array.from(meshtalk.heat.values[0])"))
        assert page.locator("#scale-title").inner_text() == "mm from truth"
        weights = clips[0].topology.regions["mouth"]
        mean = float(weights @ distance_mm / weights.sum())
        told = page.locator(".far").nth(1).inner_text()
        assert f"mouth {mean:.1f}"[:-1] in told
        assert "upper face" in told
        page.keyboard.press("h")
        assert not page.locator("#scale").is_visible()


def test_keys(browser, pair):
    with opened(browser, pair[1]) as page:
        press = page.keyboard.press

        def now():
            settle(page)
            return state(page)

        press("ArrowRight")
        press("ArrowRight")
        assert now() == {"time": pytest.approx(2 / 30, abs=1e-5), "playing": False, "frame": 2}
        press("ArrowLeft")
        assert now()["frame"] == 1
        press("Shift+ArrowRight")
        assert now()["frame"] == 31
        press("Shift+ArrowLeft")
        press("End")
        assert now()["frame"] == 89
        press("ArrowRight")
        assert now()["frame"] == 89
        press("Home")
        assert now()["time"] == 0
        press(" ")
        page.wait_for_timeout(200)
        assert now()["playing"]
        assert page.locator("#play").get_attribute("aria-label") == "Pause"
        press(" ")
        assert not now()["playing"]
        for key, button in (("w", "wire"), ("h", "heat"), ("l", "loop"), ("m", "mute")):
            press(key)
            assert pressed(page, button), key
            press(key)
            assert not pressed(page, button), key
        for key, speed in (("]", 1.25), ("[", 1), ("[", 0.75)):
            press(key)
            assert page.evaluate("meshtalk.clock.audio.playbackRate") == speed
        press("?")
        assert page.locator("#help").is_visible()
        press("Escape")
        assert not page.locator("#help").is_visible()


def test_every_control_is_reached_by_tab_named_visibly_focused_and_worked(browser, pair):
    with opened(browser, pair[1]) as page:
        reached = {}
        for _ in range(20):
            page.keyboard.press("Tab")
            focus = page.evaluate(
                """(() => { const e = document.activeElement, s = getComputedStyle(e);
                return {id: e.id, name: e.getAttribute("aria-label") || e.innerText.trim(),
                        ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2}; })()"""
            )
            reached[focus["id"]] = focus
        controls = page.evaluate(
            "[...document.querySelectorAll('#dock button, #dock select, #strip')].map((e) => e.id)"
        )
        assert set(controls) <= set(reached)
        for control in controls:
            assert reached[control]["name"], control
            assert reached[control]["ring"], control
        page.focus("#wire")
        page.keyboard.press("Enter")
        assert pressed(page, "wire")
        page.keyboard.press(" ")
        assert not pressed(page, "wire")
        assert not state(page)["playing"]
        page.focus("#strip")
        page.keyboard.press("ArrowRight")
        settle(page)
        assert page.locator("#strip").get_attribute("aria-valuetext") == "0.03 seconds, frame 1"


def test_the_mouse_scrubs_turns_and_presses(browser, pair):
    with opened(browser, pair[1]) as page:
        box = page.locator("#strip").bounding_box()
        left, right = box["x"] + 38, box["x"] + box["width"] - 14
        page.mouse.move((left + right) / 2, box["y"] + 40)
        page.mouse.down()
        settle(page)
        assert state(page)["time"] == pytest.approx(1.5, abs=0.01)
        page.mouse.move(left + (right - left) / 4, box["y"] + 40)
        settle(page)
        assert state(page)["frame"] == pytest.approx(22, abs=1)
        page.mouse.up()
        before = page.screenshot(clip={"x": 0, "y": 0, "width": 900, "height": 400})
        page.mouse.move(300, 200)
        page.mouse.down()
        page.mouse.move(420, 200)
        page.mouse.up()
        page.wait_for_timeout(300)
        assert page.screenshot(clip={"x": 0, "y": 0, "width": 900, "height": 400}) != before
        page.click("#wire")
        page.keyboard.press(" ")  # after a click, space still means play
        assert pressed(page, "wire")
        assert state(page)["playing"]


@pytest.mark.slow
def test_loop_begins_again_and_the_end_stops(browser, tmp_path):
    with opened(browser, rig.make_clip(0, 2.0).save(tmp_path / "x.html")) as page:
        page.keyboard.press(" ")
        until(page, "meshtalk.clock.playing && meshtalk.clock.time > 0")
        until(page, "!meshtalk.clock.playing")
        page.keyboard.press(" ")
        until(page, "meshtalk.clock.playing && meshtalk.clock.time > 0 && meshtalk.clock.time < 1.8")
        page.keyboard.press("l")
        until(page, "meshtalk.clock.time > 1.5")
        until(page, "meshtalk.clock.time < 1")
        assert state(page)["playing"]


def test_hostile_names_are_only_text(browser, tmp_path):
    hostile = "</script><img src=x onerror='window.evil=1'><script>window.evil=1</script>"
    clips = [replace(rig.make_clip(k), sentence=hostile) for k in range(2)]
    with opened(browser, write_player(tmp_path / "x.html", clips, [hostile, "<b>b"])) as page:
        page.keyboard.press("h")
        settle(page)
        assert page.evaluate("window.evil") is None
        assert page.locator(".label span").first.inner_text() == hostile
        assert page.locator("#sentence").inner_text() == hostile
        assert page.locator("#scale-title").inner_text() == f"mm from {hostile}"


def test_clips_of_different_length_rate_sound_and_mesh_play_together(browser, tmp_path):
    ball = replace(rig.make_clip(4, 2.0), sample_rate=16000)
    shorter = rig.make_clip(5, 1.0, "s2", Fraction(25))
    other = replace(shorter.topology, faces=shorter.topology.faces[:-20])
    silent = replace(rig.make_clip(6, 1.5), topology=other, audio=np.zeros(24_000, np.float32), subject="")
    with opened(browser, write_player(tmp_path / "x.html", [ball, shorter, silent])) as page:
        assert page.evaluate("meshtalk.duration") == 2.0
        assert [label.inner_text() for label in page.locator(".label").all()] == ["s0, neutral", "s2, happy", "neutral"]
        assert seek(page, 1.2)["frames"] == [36, 24, 36]
        assert seek(page, 1.8)["frames"] == [54, 24, 44]
        page.keyboard.press("2")
        settle(page)
        assert page.locator(".label").nth(1).get_attribute("aria-pressed") == "true"
        assert state(page)["time"] == pytest.approx(1.8)
        page.keyboard.press("3")  # has no sound
        assert page.locator(".label").nth(1).get_attribute("aria-pressed") == "true"
        page.keyboard.press("h")
        settle(page)
        assert "not comparable" in page.locator(".far").nth(2).inner_text()


def test_one_silent_frame_of_a_bare_mesh(browser, tmp_path):
    topology = replace(rig.TOPOLOGY, regions={}, landmarks={}, shapes=None, shape_names=())
    clip = replace(
        rig.as_dense(rig.make_clip(0, 1 / 30 + 1e-6)), topology=topology, audio=np.zeros(0, np.float32), phones=()
    )
    with opened(browser, clip.save(tmp_path / "x.html")) as page:
        page.keyboard.press("h")
        page.keyboard.press("End")
        page.keyboard.press(" ")
        page.wait_for_timeout(300)
        assert state(page)["frame"] == 0
        assert not page.locator("#mute").is_visible()
        np.testing.assert_allclose(drawn_vertices(page, 0), clip.frames()[0], atol=ERROR_M)
