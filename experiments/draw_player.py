"""Draw the player's picture of docs/export.md: the player page with two performances of one line, as a browser shows it.

python experiments/draw_player.py
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import tyro
from PIL import Image

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.cli.demo import SCENES, expression_clip
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.export import write_player
from meshtalk.inference.animator import load_model
from meshtalk.synth.align import align

ROOT = Path(__file__).parents[1]
EMOTION, OTHER = "happy", "p09"
"""Mixed into the second performance, from a silent one of this person."""
SIZE_PX, TIME_S = (1180, 720), 1.5


def main(output: Path = ROOT / "docs" / "images" / "player.png") -> None:
    """Write player.png; needs the packages and the browser of the player's tests."""
    sys.path.append(str(ROOT / "tests"))
    from player_rig import browser, opened, seek

    scene, animator = SCENES[0], load_model()
    path, text = read_transcripts(asset("speech"))[scene.recording]
    plain, mixed = (
        animator.animate(path, person=scene.person, expression=expression, seed=scene.seed)
        for expression in (None, expression_clip(EMOTION, OTHER))
    )
    phones = align(*read_audio(path), text) or ()
    clips = [replace(clip, sentence=text, phones=phones) for clip in (plain, mixed)]
    with tempfile.TemporaryDirectory() as folder:
        page_path = write_player(Path(folder) / "player.html", clips, ["as the model imagines", EMOTION])
        with browser() as running, opened(running, page_path, *SIZE_PX) as page:
            seek(page, TIME_S)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # seven bits of eight: the eye misses nothing, and the file is a quarter smaller
    picture.point(lambda level: level & 254).save(output, optimize=True)
    print(output, f"{output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(main)
