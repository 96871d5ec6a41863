"""A browser for the player page, and the page's data read back in Python."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshtalk.clip import Clip
from meshtalk.export import html
from meshtalk.mesh.head import load_head

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    # WebGL without a graphics card, sound without a click or a sound card
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"),
    *("--autoplay-policy=no-user-gesture-required", "--disable-background-networking", "--disable-component-update"),
]
TYPES = {"i8": np.int8, "u8": np.uint8, "i16": "<i2", "u16": "<u2", "u32": "<u4", "f32": "<f4"}

needs_page = pytest.mark.skipif(
    not html.PAGE.is_file(), reason="the player page was not built when meshtalk was installed"
)


@contextmanager
def browser(*flags: str) -> Iterator[Any]:
    """Playwright's own Chromium, or the machine's; skips the test if there is neither."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        path = str(own) if own.exists() else next((found for name in NAMES if (found := shutil.which(name))), None)
        if path is None:
            pytest.skip("no Chromium is installed : apt-get install chromium, or playwright install chromium")
        running = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        yield running
        running.close()


@contextmanager
def opened(running: Any, path: Path, width: int = 900, height: int = 700) -> Iterator[Any]:
    """The page in a browser without network; fails on any request that leaves it and on any error."""
    context = running.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    page.evaluate("meshtalk.ready.then(() => null)")
    settle(page)
    yield page
    context.close()
    assert not wrong
    assert [url for url in asked if url != path.as_uri() and not url.startswith("blob:")] == []


def settle(page: Any) -> None:
    """Wait until the page has drawn what the clock says now."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(null))))")


def seek(page: Any, time_s: float) -> dict[str, Any]:
    """What the page drew for a time."""
    page.evaluate("(time) => meshtalk.clock.seek(time)", time_s)
    settle(page)
    return page.evaluate("meshtalk.drawn")


def drawn_vertices(page: Any, clip: int) -> np.ndarray:
    """(V,3) the mesh that the page shows."""
    text = page.evaluate(
        "(i) => btoa(Array.from(new Uint8Array(meshtalk.motions[i].positions.buffer), (b) => String.fromCharCode(b)).join(''))",
        clip,
    )
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 3)


def unpack(text: str) -> tuple[dict[str, Any], Any]:
    """The manifest of `Payload.encode`, and a function from a reference in it to the array."""
    content = gzip.decompress(base64.b64decode(text))
    size = int.from_bytes(content[:4], "little")
    start = 4 + (size + 3) // 4 * 4

    def array(reference: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(content, TYPES[reference["type"]], reference["length"], start + reference["at"])

    return json.loads(content[4 : 4 + size]), array


def data_of(path: Path) -> tuple[dict[str, Any], Any]:
    """`unpack` for a written page."""
    found = re.search(r'<script id="payload"[^>]*>([A-Za-z0-9+/=]*)</script>', path.read_text(encoding="utf-8"))
    assert found
    return unpack(found[1])


def displacements(motion: dict[str, Any], array: Any, n_frames: int, n_vertices: int) -> np.ndarray:
    """(T,V,3) metres, as the docstring of `encode_motion` says."""
    scale = array(motion["shapeScale"]).astype(np.float64)
    moves = array(motion["moves"]).reshape(-1, 3)
    if motion["weights"] is None:
        return moves.reshape(n_frames, n_vertices, 3) * scale[:, None, None]
    starts, gaps = array(motion["starts"]), array(motion["gaps"]).astype(np.int64)
    shapes = np.zeros((len(scale), n_vertices, 3))
    for k, (a, b) in enumerate(pairwise(starts)):
        shapes[k, np.cumsum(gaps[a:b])] = moves[a:b] * scale[k]
    weights = array(motion["weights"]).reshape(n_frames, len(scale)) * array(motion["weightScale"]).astype(np.float64)
    return np.einsum("tk,kvc->tvc", weights, shapes)


def head_clip(seconds: float = 2.0, seed: int = 0, person: str = "default") -> Clip:
    """The packaged head with all its shapes moving and noise for a sound."""
    head, rng, fps = load_head(), np.random.default_rng(seed), Fraction(30)
    n_frames = round(seconds * fps)
    count = len(head.topology.shape_names)
    time = np.arange(n_frames)[:, None] / float(fps)
    weights = 0.25 - 0.25 * np.cos(rng.uniform(3, 15, count) * time)
    face = head.person(person)
    return Clip(
        topology=head.topology,
        template=face.template,
        fps=fps,
        audio=rng.normal(0, 0.1, round(seconds * 16_000)).astype(np.float32),
        sample_rate=16_000,
        weights=weights.astype(np.float32),
        basis=head.topology.shapes,
        basis_names=head.topology.shape_names,
        subject=person,
        tint=face.tint,
    )
