"""The page that landmarks are clicked in, in a real browser."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import player_rig
import pytest

from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import REQUIRED, head_landmarks, read_landmarks
from meshtalk.retarget.show import write_picker

WIDTH, HEIGHT, ASIDE = 1220, 900, 320
NEXT = "nose_tip"
"""The first point of the list: it is what a page without any asks for."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory):
    """The page of the packaged head in millimetres, no point found, without a network."""
    path = tmp_path_factory.mktemp("picker") / "marks.html"
    head = load_head()
    write_picker(1e3 * head.neutral.astype(np.float64), head.topology.faces, {}, path)
    wrong: list[str] = []
    with player_rig.browser() as running:
        context = running.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True, accept_downloads=True)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        player_rig.settle(page)
        yield page
        context.close()
    assert not wrong


def on_page(page: Any, place_mm: np.ndarray) -> tuple[float, float]:
    """Pixels of (3,) millimetres, seen from the front as the page begins: what was scaled to 1 is `zoom` half heights."""
    vertices = 1e3 * load_head().neutral[np.unique(load_head().topology.faces)].astype(np.float64)
    low, high = vertices.min(0), vertices.max(0)
    at = (place_mm - (low + high) / 2) / (high - low).max() * page.evaluate("zoom") * HEIGHT / 2
    return (WIDTH - ASIDE) / 2 + at[0], HEIGHT / 2 - at[1]


def test_the_mesh_is_drawn(page):
    from io import BytesIO

    from PIL import Image

    picture = np.asarray(
        Image.open(BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 900, "height": HEIGHT}))), int
    )
    skin = np.abs(picture[..., 0] - picture[..., 2]) > 20
    assert 0.2 < skin.mean() < 0.9
    # the nose's sides are not lit alike
    assert picture[skin].std() > 15


def test_clicks_place_the_named_points_one_after_the_other_and_are_saved(page, tmp_path):
    head, marks = load_head(), head_landmarks()
    vertices = 1e3 * head.neutral.astype(np.float64)
    assert page.locator("li.now").inner_text().split("\n")[0].endswith(NEXT)
    page.mouse.click(*on_page(page, vertices[marks[NEXT]]))
    assert page.locator("li.set").count() == 1
    following = page.locator("li.now").inner_text()
    assert NEXT not in following
    for name in REQUIRED:
        if name != NEXT:
            page.locator("li", has_text=re.compile(rf"^{name}")).click()
            page.mouse.click(*on_page(page, vertices[marks[name]]))
    assert page.locator("#told").inner_text() == "All that is needed is set."
    page.mouse.click(5, 5)  # beside the mesh: nothing is placed
    assert page.locator("li.set").count() == len(REQUIRED)
    with page.expect_download() as saving:
        page.locator("#save").click()
    saving.value.save_as(tmp_path / "marks.json")
    assert set(json.loads((tmp_path / "marks.json").read_text())) == set(REQUIRED)
    for name, place in read_landmarks(tmp_path / "marks.json", vertices).items():
        assert np.linalg.norm(place - vertices[marks[name]]) < 4, name


def test_a_turned_mesh_is_still_clicked_where_it_is_seen(page):
    before = page.evaluate("[...turn]")
    page.mouse.move(450, 450)
    page.mouse.down()
    page.mouse.move(520, 460, steps=4)
    page.mouse.up()
    assert np.abs(np.subtract(page.evaluate("turn"), before)).max() > 0.2
    page.locator("li", has_text=re.compile("^nose_tip")).click()
    x, y, _ = page.evaluate("seen(set.nose_tip)")
    vertex = page.evaluate("set.nose_tip")
    page.locator("#clear").click()
    assert page.evaluate("set.nose_tip") is None
    page.mouse.click(x, y)
    assert page.evaluate("set.nose_tip") == vertex
