"""The player page to the eye: the same face as in films, what the switches change, what is told when nothing can be drawn."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import player_rig
import pytest
from player_rig import head_clip, needs_page, opened, seek, settle

from meshtalk.export import write_player
from meshtalk.render import Renderer

pytestmark = needs_page
SIDE = 440


@pytest.fixture(scope="module")
def browser():
    with player_rig.browser() as running:
        yield running


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    clip = head_clip(1.0, person="clara")
    return clip, clip.save(tmp_path_factory.mktemp("head") / "head.html")


def picture(page) -> np.ndarray:
    """(H,W,3) in [0,255]: the stage without what lies over it."""
    from PIL import Image

    page.add_style_tag(content="#cells .label, #cells .far, #scale { visibility: hidden }")
    settle(page)
    with Image.open(io.BytesIO(page.locator("#stage").screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def stage_of(page, side: int) -> None:
    """Give the stage a square of `side` pixels."""
    page.add_style_tag(
        content=f"main {{ grid-template-rows: auto {side}px auto !important; width: {side}px; height: auto }}"
    )
    page.wait_for_timeout(300)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


HEAD = np.s_[int(0.04 * SIDE) : int(0.9 * SIDE), int(0.15 * SIDE) : int(0.85 * SIDE)]
FACE = np.s_[int(0.2 * SIDE) : int(0.85 * SIDE), int(0.33 * SIDE) : int(0.67 * SIDE)]


def around_lips(films: Renderer, vertices: np.ndarray) -> tuple[slice, ...]:
    """Rows and columns of a picture of (V,3) vertices."""
    away = (vertices[films.topology.indices("lips")] - films.camera.centre)[:, [1, 0]] * [-1, 1]
    places = SIDE / 2 + films.camera.focal_px / films.camera.distance_m * away
    return tuple(slice(int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))


def test_the_page_shows_the_face_that_the_films_show(browser, head):
    """The same place, hair, light and texture; the film alone has rounded triangles."""
    clip, path = head
    films = Renderer(clip.topology, clip.template, SIDE, SIDE, tint=clip.tint, subject=clip.subject)
    with opened(browser, path, SIDE, 700) as page:
        stage_of(page, SIDE)
        for time in (0.0, 0.5):
            frame = seek(page, time)["frames"][0]
            seen, vertices = picture(page), clip.frames(frame, frame + 1)[0]
            assert seen.shape == (SIDE, SIDE, 3)
            film = films.frame(vertices)
            for part in (HEAD, FACE, around_lips(films, vertices)):
                # without hair .94 in the head, without brows .987 in the face, without light through the lips .80 in the mouth
                assert np.abs(seen - film)[part].mean() < 3.5
                assert correlation(seen[part], film[part]) > 0.988
            alike = correlation(seen[FACE], film[FACE])
            for pixels, axis in ((3, 0), (-3, 0), (3, 1), (-3, 1)):
                assert correlation(seen[FACE], np.roll(film, pixels, axis)[FACE]) < alike - 0.01


@pytest.mark.slow
def test_switches_change_the_picture_and_change_it_back(browser, head):
    with opened(browser, head[1], SIDE, 640) as page:
        seek(page, 0.5)
        plain = picture(page)
        for key in ("w", "h"):
            page.keyboard.press(key)
            assert np.abs(picture(page) - plain).mean() > 2, key
            page.keyboard.press(key)
            assert np.abs(picture(page) - plain).mean() < 0.1, key
        page.keyboard.press("v")
        page.wait_for_timeout(200)
        assert np.abs(picture(page) - plain).mean() > 2
        page.click("#front")
        page.wait_for_timeout(200)
        assert np.abs(picture(page) - plain).mean() < 0.1


@pytest.mark.slow
def test_the_heat_is_where_the_clips_differ(browser, tmp_path):
    clip = head_clip(1.0)
    names = list(clip.basis_names)
    assert clip.weights is not None
    louder = clip.weights.copy()
    louder[:, names.index("browInnerUp")] += 0.8
    with opened(
        browser, write_player(tmp_path / "x.html", [clip, replace(clip, weights=louder)]), 2 * SIDE, 640
    ) as page:
        seek(page, 0.5)
        page.keyboard.press("h")
        image = picture(page)
        first, second = image[:, :SIDE], image[:, SIDE:]
        colourful = np.ptp(second, axis=2) - np.ptp(first, axis=2)
        upper, lower = np.array_split(colourful, 2)
        assert np.quantile(upper, 0.99) > 60  # the brows
        assert np.quantile(np.abs(lower), 0.99) < 15  # mouth and chin move alike


@pytest.mark.slow
def test_nothing_is_cut_off_at_any_size(browser, tmp_path):
    clips = [head_clip(1.0, seed) for seed in range(2)]
    file = write_player(tmp_path / "x.html", clips, ["truth", "a rather long name of a clip"])
    with opened(browser, file, 360, 640) as page:
        for size in ((360, 640), (390, 844), (820, 1180), (1440, 900)):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            outside = page.evaluate(
                """[...document.querySelectorAll("button, select, #strip, #clock, .label")].filter((e) => {
                  const r = e.getBoundingClientRect();
                  return r.width > 0 && (r.left < 0 || r.top < 0 || r.right > innerWidth || r.bottom > innerHeight);
                }).map((e) => e.id || e.className)"""
            )
            assert outside == [], size
            assert page.locator("#stage").bounding_box()["height"] > 0.4 * size[1], size


@pytest.mark.slow
def test_four_heads_cost_no_more_than_a_few_plain_sums_of_their_shapes(browser, tmp_path):
    """All that the processor does for a frame, beside adding up whole shapes for every vertex: idle, about the same."""
    clips = [head_clip(1.0, seed, "clara") for seed in range(4)]
    with opened(browser, write_player(tmp_path / "x.html", clips), 420, 420) as page:
        frame_ms, sums_ms = page.evaluate(
            """(() => {
              const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
              const timed = (work) => { const began = performance.now(); work(); return performance.now() - began; };
              const shape = new Float32Array(meshtalk.motions[0].template.length).fill(1e-3), out = shape.slice();
              const frames = [], sums = [];
              for (let k = 0; k < 40; k++) {
                frames.push(timed(() => {
                  for (const [i, motion] of meshtalk.motions.entries()) {
                    motion.show((motion.frame + 1) % motion.nFrames);
                    meshtalk.stage.faces[i].upload();
                  }
                }));
                sums.push(timed(() => {
                  for (let n = 0; n < 4 * meshtalk.motions[0].shapeScale.length; n++)
                    for (let i = 0; i < out.length; i++) out[i] += k * shape[i];
                }));
              }
              return [median(frames), median(sums)];
            })()"""
        )
        print(f"{frame_ms:.1f} ms a frame, {sums_ms:.1f} ms for the sums")
        assert frame_ms < 2 * sums_ms


def test_without_webgl_the_sound_and_the_curves_still_work(browser, head):
    page = browser.new_page()
    page.add_init_script(
        """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
          return kind.startsWith("webgl") ? null : get.call(this, kind, ...more);
        };"""
    )
    page.goto(head[1].as_uri())
    page.evaluate("meshtalk.ready.then(() => null)")
    assert "WebGL" in page.locator("#trouble").inner_text()
    assert seek(page, 0.5)["frames"] == [15]
    page.click("#play")
    page.wait_for_timeout(300)
    assert page.evaluate("meshtalk.clock.time") > 0.5
    page.close()
