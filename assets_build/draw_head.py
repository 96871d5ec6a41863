"""Draw the pictures of docs/head.md: people, poses, articulation, regions.

python assets_build/draw_head.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tyro
from _paint import SIZE, Canvas, encode, fill_gutters, mix
from PIL import Image, ImageDraw, ImageFont

from meshtalk.mesh.head import Head, Person, load_head
from meshtalk.mesh.topology import Topology
from meshtalk.render import Look, Renderer, View

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CLAY, HEAT = np.array([0.72, 0.70, 0.68]), np.array([0.86, 0.22, 0.08])


def both(name: str, weight: float) -> dict[str, float]:
    return {f"{name}Left": weight, f"{name}Right": weight}


POSES: tuple[dict[str, float], ...] = (
    {},
    both("eyeBlink", 1.0),
    both("mouthSmile", 0.8) | both("cheekSquint", 0.4),
    {"mouthPucker": 0.8},
    {"mouthFunnel": 0.7, "jawOpen": 0.15},
    {"browInnerUp": 0.9} | both("browOuterUp", 0.7) | both("eyeWide", 0.5),
    both("mouthFrown", 0.7) | both("browDown", 0.8),
    {"jawOpen": 0.12, "tongueOut": 0.5},
    {"jawOpen": 0.3, "mouthClose": 0.3} | both("mouthPress", 0.3),
    {"jawOpen": 0.45},
    {"jawOpen": 0.06, "mouthRollLower": 0.6} | both("mouthUpperUp", 0.25),
    {"jawOpen": 0.1} | both("mouthSmile", 0.9) | both("mouthUpperUp", 0.4),
)

SOUNDS: dict[str, dict[str, float]] = {
    "p b m": {"mouthRollLower": 0.15, "mouthRollUpper": 0.15},
    "f v": {"jawOpen": 0.09, "mouthRollLower": 0.85} | both("mouthUpperUp", 0.25),
    "th": {"jawOpen": 0.14, "tongueOut": 0.5} | both("mouthLowerDown", 0.15) | both("mouthUpperUp", 0.1),
    "t d n l": {"jawOpen": 0.12, "tongueOut": 0.25} | both("mouthLowerDown", 0.25) | both("mouthUpperUp", 0.2),
    "s z": {"jawOpen": 0.04, "tongueOut": 0.05}
    | both("mouthStretch", 0.2)
    | both("mouthSmile", 0.15)
    | both("mouthLowerDown", 0.5)
    | both("mouthUpperUp", 0.3),
    "sh": {"jawOpen": 0.06, "mouthFunnel": 0.5, "mouthPucker": 0.2},
    "r": {"jawOpen": 0.08, "mouthPucker": 0.35, "mouthFunnel": 0.25},
    "u w": {"jawOpen": 0.1, "mouthClose": 0.1, "mouthPucker": 0.75, "mouthFunnel": 0.3},
    "o": {"jawOpen": 0.2, "mouthPucker": 0.4, "mouthFunnel": 0.4},
    "aa": {"jawOpen": 0.42} | both("mouthLowerDown", 0.3) | both("mouthUpperUp", 0.2),
    "iy": {"jawOpen": 0.1}
    | both("mouthStretch", 0.3)
    | both("mouthSmile", 0.3)
    | both("mouthLowerDown", 0.3)
    | both("mouthUpperUp", 0.3),
    "tongueOut": {"jawOpen": 0.35, "tongueOut": 1.0},
}
"""What the shapes of speech are for."""
PER_ROW = 6


def pose(head: Head, person: Person, weights: dict[str, float]) -> np.ndarray:
    """(V,3) metres."""
    vector = np.array([weights.get(name, 0.0) for name in head.topology.shape_names]) * person.gains
    return person.template + np.tensordot(vector, head.topology.shapes, 1).astype(np.float32)


def heat(topology: Topology, region: str) -> Topology:
    """The topology with one region painted on clay instead of its texture."""
    keep = topology.parts[topology.faces].max(1) < 2
    canvas = Canvas(topology.uvs, topology.uv_faces, topology.faces, keep)
    image = np.repeat(CLAY[None], SIZE * SIZE, axis=0).reshape(SIZE, SIZE, 3)
    weights = canvas.bring(topology.regions[region])
    image[canvas.texels] = mix(np.repeat(CLAY[None], len(weights), axis=0), HEAT, weights)
    return dataclasses.replace(topology, texture_png=encode(fill_gutters(image, canvas.triangle >= 0)))


def sheet(pictures: list[np.ndarray], columns: int, path: Path) -> None:
    rows = [np.hstack(pictures[k : k + columns]) for k in range(0, len(pictures), columns)]
    Image.fromarray(np.vstack(rows)).convert("P", palette=Image.Palette.ADAPTIVE).save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1e3:.0f} kB")


def articulation(head: Head, path: Path) -> None:
    """The mouths of a woman and a man at each of SOUNDS, from ahead and below that from one side."""
    names, width, height = list(SOUNDS), 190, 150
    rows: dict[tuple[int, str, float], list[np.ndarray]] = {}
    for who, subject in (("clara", "p00"), ("henrik", "p07")):
        person = head.person(who)
        middle = person.template[head.topology.landmarks["lip_corners"]].mean(0)
        for yaw in (0.0, 35.0):
            renderer = Renderer(
                head.topology,
                person.template,
                480,
                480,
                Look(View(yaw, crop="face")),
                tint=person.tint,
                subject=subject,
            )
            camera = renderer.camera
            x, y, z = camera.rotation @ (middle - camera.centre)
            scale = camera.focal_px / (camera.distance_m - z)
            left, top = int(camera.cx + scale * x - width / 2), int(camera.cy - scale * y - height / 2)
            for k, name in enumerate(names):
                frame = renderer.frame(pose(head, person, SOUNDS[name]))
                picture = Image.fromarray(frame).crop((left, top, left + width, top + height))
                if yaw == 0.0:
                    ImageDraw.Draw(picture).text((5, 3), name, fill=(40, 20, 20), font=ImageFont.load_default(14))
                rows.setdefault((k // PER_ROW, who, yaw), []).append(np.asarray(picture))
    sheet([picture for key in sorted(rows) for picture in rows[key]], PER_ROW, path)


def draw(output: Path = IMAGES) -> None:
    """Write head_people.png, head_poses.png, head_articulation.png and head_regions.png."""
    head = load_head()
    faces = []
    for k, person in enumerate(head.people):
        yaw = (-28.0, 22.0, 0.0)[k % 3]
        renderer = Renderer(
            head.topology, person.template, 148, 164, Look(View(yaw)), tint=person.tint, subject=person.name
        )
        faces.append(renderer.frame(person.template))
    sheet(faces, 8, output / "head_people.png")
    default = head.person("default")
    views = [
        Renderer(
            head.topology, default.template, 260, 260, Look(View(yaw, crop="face")), tint=default.tint, subject="p17"
        )
        for yaw in (0.0, 30.0)
    ]
    pictures = [views[k % 4 == 3].frame(pose(head, default, weights)) for k, weights in enumerate(POSES)]
    sheet(pictures, 4, output / "head_poses.png")
    articulation(head, output / "head_articulation.png")
    maps = []
    for yaw in (0.0, 50.0):
        for region in ("mouth", "upper_face", "eyelids", "lips"):
            renderer = Renderer(heat(head.topology, region), default.template, 260, 280, Look(View(yaw)))
            maps.append(renderer.frame(default.template))
    sheet(maps, 4, output / "head_regions.png")


if __name__ == "__main__":
    tyro.cli(draw)
