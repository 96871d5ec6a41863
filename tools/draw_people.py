"""Mouths of people and of the packaged head at the same instants: docs/images/people.png.

    python tools/draw_people.py TRACKED [--model MODEL] [--speakers s1 ga] [-o PICTURE]

For each phone the token of median length of each speaker: the tracked lips above; below, what the model makes of the same
sound (or, without a model, the rule of the same phones), on a man's and a woman's face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure_people import model_performer, rule
from PIL import Image, ImageDraw, ImageFont
from tracked_speech import TrackedClip, read

from meshtalk.clip import Clip
from meshtalk.mesh.head import load_head
from meshtalk.render import Look, Renderer
from meshtalk.synth.phones import SILENCE

SIZE = 120
COLUMNS = 10
OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
FACES = ("henrik", "clara")
SPAN = 1.15
"""Width of a drawing in distances of the outer corners of the eyes; the renderer's camera on the mouth sees as much."""


def tokens(clips: list[TrackedClip], speaker: str) -> dict[str, tuple[TrackedClip, float]]:
    """Phone → clip and instant of the speaker's token of median length."""
    found: dict[str, list[tuple[float, TrackedClip, float]]] = {}
    for clip in clips:
        if clip.speaker == speaker:
            for phone in clip.phones:
                length_s = phone.end_s - phone.start_s
                found.setdefault(phone.name, []).append((length_s, clip, (phone.start_s + phone.end_s) / 2))
    chosen = {name: sorted(every, key=lambda one: one[0])[len(every) // 2] for name, every in found.items()}
    return {name: one[1:] for name, one in sorted(chosen.items()) if name != SILENCE}


def lips(clip: TrackedClip, at_s: float) -> Image.Image:
    """The tracked lips at the nearest frame."""
    points = clip.landmarks[min(round(at_s * clip.fps), len(clip.landmarks) - 1)]
    rest = np.nanmedian(clip.landmarks[:, [61, 291]], (0, 1))
    picture = Image.new("RGB", (4 * SIZE, 4 * SIZE), (244, 240, 236))
    draw = ImageDraw.Draw(picture)

    def place(which: tuple[int, ...]) -> list[tuple[float, float]]:
        centred = (points[list(which), :2] - rest[:2]) / SPAN * [1, -1] + [0.5, 0.46]
        return [tuple(4 * SIZE * spot) for spot in centred]

    draw.polygon(place(OUTER), fill=(196, 110, 104))
    draw.polygon(place(INNER), fill=(60, 20, 22))
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracked", type=Path)
    parser.add_argument("--model", help="a model folder, or 'packaged'; the rule without it")
    parser.add_argument("--speakers", nargs=2, default=("s1", "ga"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/people.png"))
    options = parser.parse_args()
    clips = list(read(options.tracked))
    perform = model_performer(options.model) if options.model else rule
    font = ImageFont.load_default(14)
    rows = []
    for speaker, face in zip(options.speakers, FACES, strict=True):
        person = load_head().person(face)
        renderer = Renderer(
            load_head().topology,
            person.template,
            SIZE,
            SIZE,
            Look(camera="mouth"),
            tint=person.tint,
            subject=person.name,
        )
        done: dict[str, Clip] = {}
        cells = []
        for name, (clip, at_s) in tokens(clips, speaker).items():
            performed = done.setdefault(clip.name, perform(clip, 0)) if clip.name not in done else done[clip.name]
            k = min(round(at_s * float(performed.fps)), performed.n_frames - 1)
            moved = performed.frames(k, k + 1)[0] - performed.template + person.template
            cell = Image.new("RGB", (SIZE, 2 * SIZE))
            cell.paste(lips(clip, at_s), (0, 0))
            cell.paste(Image.fromarray(renderer.frame(moved.astype(np.float32))), (0, SIZE))
            ImageDraw.Draw(cell).text((6, 4), name, fill=(40, 30, 30), font=font)
            cells.append(cell)
        for first in range(0, len(cells), COLUMNS):
            row = Image.new("RGB", (COLUMNS * SIZE, 2 * SIZE + 8), (255, 255, 255))
            for column, cell in enumerate(cells[first : first + COLUMNS]):
                row.paste(cell, (column * SIZE, 0))
            rows.append(row)
    sheet = Image.new("RGB", (COLUMNS * SIZE, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.quantize(192).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
