"""Draw the pictures of docs/regions.md, and print its table: how well landmarks find the regions of the head's people.

python experiments/draw_regions.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import REQUIRED, head_landmarks
from meshtalk.mesh.topology import REGIONS, Topology
from meshtalk.regions.draw import CLAY, draw_regions
from meshtalk.regions.face import Face
from meshtalk.regions.warp import regions_from_landmarks
from meshtalk.render import Look, Renderer, View
from meshtalk.render.scene import to_linear

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PX, WIDE_PX = 520, 1100


def numbered_landmarks(path: Path) -> None:
    """The packaged head from the front and the side, with the landmarks' numbers in the order of the table."""
    head = load_head()
    plain = Topology(head.topology.faces, head.topology.n_vertices, landmarks=head.topology.landmarks)
    sheet = Image.new("RGB", (2 * PX, PX))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, yaw in enumerate((0.0, -40.0)):
        renderer = Renderer(plain, head.neutral, PX, PX, Look(View(yaw, crop="face"), "soft"))
        renderer.paint(to_linear(np.tile(CLAY, (plain.n_vertices, 1))))
        sheet.paste(Image.fromarray(renderer.frame(head.neutral)), (column * PX, 0))
        camera = renderer.camera
        for number, (name, vertex) in enumerate(head_landmarks().items(), 1):
            seen = camera.rotation @ (head.neutral[vertex] - camera.centre)
            x, y = camera.focal_px * seen[:2] / (camera.distance_m - seen[2])
            x, y = column * PX + camera.cx + x, camera.cy - y
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(200, 30, 30))
            below = name.startswith(("eye_lower", "lip_lower", "nose_base"))
            at = (x, y + 12) if below else (x, y - 11)
            pen.text(at, str(number), (20, 24, 28), font, anchor="mm", stroke_width=2, stroke_fill=(235, 235, 232))
    sheet.quantize(256).save(path, optimize=True)


def carried(person: str, names: Iterable[str]) -> tuple[Face, np.ndarray]:
    """(A person with regions from the landmarks of these names, if there are any, vertices in another order; (V,) that order)."""
    head, vertices = load_head(), load_head().person(person).template.astype(np.float64)
    order = np.random.default_rng(0).permutation(len(vertices))
    new = np.argsort(order)
    face = Face(Topology(new[head.topology.faces].astype(np.int32), len(order)), vertices[order])
    return regions_from_landmarks(face, {name: vertices[head_landmarks()[name]] for name in names} or None), order


def agreement(names: Iterable[str]) -> str:
    """Least and greatest share over all people, region by region: a row of the table."""
    head, shares = load_head(), {name: [] for name in REGIONS}
    for person in head.people:
        found, order = carried(person.name, names)
        for name in REGIONS:
            ours, true = found.topology.regions[name] > 0.5, head.topology.regions[name][order] > 0.5
            shares[name].append((ours & true).sum() / (ours | true).sum())
    return " | ".join(f"{min(values):.2f}-{max(values):.2f}" for values in shares.values())


def picture(path: Path) -> None:
    """What `meshtalk regions landmarks` draws for another person."""
    draw_regions(carried("p03", head_landmarks())[0], path)
    drawn = Image.open(path)
    drawn.resize((WIDE_PX, round(drawn.height * WIDE_PX / drawn.width)), Image.Resampling.LANCZOS).save(path)


if __name__ == "__main__":
    numbered_landmarks(IMAGES / "landmarks.png")
    picture(IMAGES / "regions.png")
    print("| all 25 |", agreement(tuple(head_landmarks())), "|")
    print("| the five |", agreement(REQUIRED), "|")
    print("| none |", agreement(()), "|")
