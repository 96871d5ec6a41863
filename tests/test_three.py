"""The page docs/recipes/three.html in a real browser: three.js shows the clip's vertices, and the sound is its clock."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import player_rig
import pytest
from PIL import Image
from player_rig import head_clip
from test_glb import between, dense, wild

from meshtalk.clip import Clip
from meshtalk.export.glb import split_seams
from meshtalk.export.morph_targets import TOLERANCE_M

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "web/node_modules"
HOST = "http://recipe.test/"
TYPES = {".html": "text/html", ".js": "text/javascript", ".glb": "model/gltf-binary", ".wav": "audio/wav"}
VERTICES = """(time) => {
  const { THREE, face, show } = talk;
  show(time);
  const mesh = face.getObjectByProperty("isMesh", true), point = new THREE.Vector3();
  face.updateMatrixWorld(true);
  const points = new Float32Array(3 * mesh.geometry.attributes.position.count);
  for (let i = 0; i < points.length / 3; i++) {
    mesh.getVertexPosition(i, point).applyMatrix4(mesh.matrixWorld).toArray(points, 3 * i);
  }
  return btoa(Array.from(new Uint8Array(points.buffer), (byte) => String.fromCharCode(byte)).join(""));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (MODULES / "three").is_dir():
        pytest.skip("no three.js in web/node_modules : npm ci in web/")
    with player_rig.browser() as running:
        yield running


@contextmanager
def opened(running: Any, folder: Path) -> Iterator[Any]:
    """The page with the files of a folder and npm's three.js beside it, and no network; fails on any error."""
    context = running.new_context(viewport={"width": 400, "height": 400}, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix(HOST).partition("?")[0]
        places = {"three.html": ROOT / "docs/recipes", "node_modules": MODULES.parent}
        path = places.get(name.partition("/")[0], folder) / name
        route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix])

    page.route(f"{HOST}**", answer)
    page.goto(f"{HOST}three.html")
    page.wait_for_function("globalThis.talk")
    yield page
    context.close()
    assert [text for text in wrong if "GPU stall" not in text] == []


def vertices(page: Any, time_s: float) -> np.ndarray:
    return np.frombuffer(base64.b64decode(page.evaluate(VERTICES, time_s)), "<f4").reshape(-1, 3)


@pytest.mark.parametrize(
    ("make", "within_m"),
    [
        (lambda: wild(textured=True), 1e-6),
        (lambda: dense(wild()), TOLERANCE_M + 1e-6),
        (lambda: head_clip(1.0, person="p05"), 1e-6),
    ],
    ids=["textured", "dense", "head"],
)
def test_three_shows_the_clips_vertices(browser, tmp_path, make, within_m):
    clip: Clip = make()
    clip.save(tmp_path / "talk.glb")
    rows = split_seams(clip.topology)[0]
    with opened(browser, tmp_path) as page:
        for frame in (0, 1, 7.25, 13, clip.n_frames - 1):
            time_s = frame / float(clip.fps)
            error_m = np.linalg.norm(vertices(page, time_s) - between(clip, time_s)[rows], axis=1).max()
            assert error_m <= within_m, frame


def test_the_sound_is_the_clock_and_the_face_is_seen(browser, tmp_path):
    clip = head_clip(2.0)
    clip.save(tmp_path / "talk.glb")
    with opened(browser, tmp_path) as page:
        page.wait_for_function("document.querySelector('#sound').readyState >= 2")
        assert page.evaluate("document.querySelector('#sound').duration") == pytest.approx(2.0, abs=1e-3)
        page.evaluate("document.querySelector('#sound').currentTime = 1.3")
        page.wait_for_function("Math.abs(talk.action.time - 1.3) < 1e-3")
        picture = page.screenshot()
        page.evaluate("document.querySelector('#sound').play()")
        page.wait_for_function("talk.action.time > 1.4")
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(float)
    face, background = (pixels[rows, 160:240].mean((0, 1)) for rows in (slice(160, 240), slice(0, 20)))
    assert face[0] > face[2] + 15, "skin is warm"
    np.testing.assert_allclose(background, (0x23, 0x27, 0x2B), atol=8)
