"""Draw the picture of the player page in README.md: two performances of one line, side by side.

python tools/draw_player.py        (needs playwright and a Chromium: apt-get install chromium)
"""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import tyro
from PIL import Image
from playwright.sync_api import sync_playwright

from meshtalk.animate import load_model
from meshtalk.assets import asset
from meshtalk.audio import read_audio
from meshtalk.clip import Clip
from meshtalk.corpus.align import align
from meshtalk.demo import expression_clip
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.export import write_player

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "player.png"
RECORDING, PERSON, EMOTION, ACTOR = "librivox_0890", "clara", "happy", "p09"
SHOWN_S = 1.5
SIZE_PX, SHARPER = (1180, 720), 2
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
"""WebGL without a graphics card."""


def performances() -> list[Clip]:
    """The line as the model imagines it, and with a happy performance mixed in."""
    path, text = read_transcripts(asset("speech"))[RECORDING]
    phones = align(*read_audio(path), text)
    assert phones is not None
    animator = load_model()
    return [
        replace(animator.animate(path, person=PERSON, expression=expression), sentence=text, phones=phones)
        for expression in (None, expression_clip(EMOTION, ACTOR))
    ]


def photograph(page_path: Path) -> Image.Image:
    """The page at SHOWN_S, drawn SHARPER times as large and made smaller."""
    width, height = SIZE_PX
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        path = str(own) if own.exists() else shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=SHARPER)
        page.goto(page_path.as_uri())
        page.evaluate("meshtalk.ready.then(() => null)")
        page.evaluate("(time) => meshtalk.clock.seek(time)", SHOWN_S)
        page.wait_for_function("(time) => Math.abs(meshtalk.drawn.time - time) < 0.01", arg=SHOWN_S)
        shot = Image.open(io.BytesIO(page.screenshot(timeout=120_000)))
        browser.close()
    return shot.convert("RGB").resize(SIZE_PX, Image.Resampling.LANCZOS)


def draw(output: Path = IMAGE) -> None:
    """Write player.png."""
    with tempfile.TemporaryDirectory() as folder:
        page = write_player(Path(folder) / "player.html", performances(), ["as the model imagines", EMOTION])
        picture = photograph(page)
    picture.quantize(256).save(output, optimize=True)
    print(output, f"{output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(draw)
