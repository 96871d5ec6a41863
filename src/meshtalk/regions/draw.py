"""Pictures of regions: every region on the mesh from the front and the side, the inner lips close up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meshtalk.files import atomic, check_picture
from meshtalk.mesh.topology import INNER_LIPS, REGIONS
from meshtalk.mesh.units import HEIGHT_M
from meshtalk.regions.face import Face
from meshtalk.render import Look, Renderer, View
from meshtalk.render.scene import Camera, fit_camera, to_linear

CLAY = np.array([0.60, 0.60, 0.58])
PAINT = {
    "mouth": (0.86, 0.20, 0.16),
    "upper_face": (0.16, 0.58, 0.26),
    "eyelids": (0.10, 0.55, 0.85),
    "lips": (0.85, 0.10, 0.65),
}
"""sRGB at weight 1."""
UPPER, LOWER = (255, 210, 40), (40, 220, 255)
_PX, _CAPTION_PX, _SIDE_DEG = 300, 44, 55.0


def draw_regions(face: Face, path: str | Path) -> Path:
    """Write a PNG: a column a region with the number of its vertices above one half, and a column of the inner lips.

    The mesh is drawn as it stands, +Y up and +Z out of the face; one that is no head's size is scaled to it.

    Raises:
        InputError: see `meshtalk.files.check_picture`.
    """
    path = check_picture(path)
    from PIL import Image, ImageDraw, ImageFont

    vertices = _scaled(face.vertices)
    topology = replace(face.topology, texture_png=None, parts=None)
    # one renderer for both: where light reaches is worked out once, and need not be exact here
    renderer = Renderer(topology, vertices, _PX, _PX, Look(View(crop="face"), "soft"))
    cameras = [fit_camera(vertices, topology, _PX, _PX, View(yaw, crop="face")) for yaw in (0.0, _SIDE_DEG)]
    names = [*REGIONS, *(name for name in topology.regions if name not in REGIONS)]
    size = ((len(names) + 1) * _PX, 2 * _PX + _CAPTION_PX)
    with atomic(path) as temporary:
        sheet = Image.new("RGB", size, (16, 20, 24))
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
        for column, name in enumerate(names):
            weights = np.asarray(topology.regions.get(name, np.zeros(topology.n_vertices)), np.float64)
            paint = np.array(PAINT.get(name, (0.9, 0.6, 0.1)))
            renderer.paint(to_linear(CLAY + np.clip(weights, 0, 1)[:, None] * (paint - CLAY)))
            for row, renderer.camera in enumerate(cameras):
                sheet.paste(Image.fromarray(renderer.frame(vertices)), (column * _PX, row * _PX))
            told = f"{np.count_nonzero(weights > 0.5):,} vertices" if weights.any() else "nothing"
            pen.text((column * _PX + 8, 2 * _PX + 12), f"{name}: {told}", (236, 240, 243), font)
        left = len(names) * _PX
        renderer.paint(to_linear(np.tile(CLAY, (topology.n_vertices, 1))))
        told = _inner_lips(sheet, renderer, cameras, vertices, left)
        pen.text((left + 8, 2 * _PX + 12), told, (236, 240, 243), font)
        sheet.save(temporary, format="PNG")
    return path


def _scaled(vertices: np.ndarray) -> np.ndarray:
    """(V,3) float32 as tall as a head."""
    height = float(np.ptp(vertices[:, 1]))
    low, high = HEIGHT_M
    scale = 1.0 if low <= height <= high else 0.25 / height
    return (vertices * scale).astype(np.float32)


def _inner_lips(sheet, renderer: Renderer, cameras: list[Camera], vertices: np.ndarray, left: int) -> str:
    """Draws the mouth close up with its pairs, the upper ones yellow and the lower ones blue; the caption."""
    from PIL import Image, ImageDraw

    pen = ImageDraw.Draw(sheet)
    topology = renderer.topology
    if not topology.names_inner_lips:
        return "inner lips: none"
    pairs = [topology.landmarks[name] for name in INNER_LIPS]
    points = vertices[np.concatenate(pairs)].astype(np.float64)
    lips = vertices[np.asarray(topology.regions.get("lips", np.zeros(topology.n_vertices))) > 0.5]
    across = max(float(np.ptp(points[:, 0])) * 2.5, float(np.ptp(lips[:, 0])) * 1.15 if len(lips) else 0.0, 0.01)
    for row, wide in enumerate(cameras):
        focal_px = _PX / across * wide.distance_m
        close = replace(wide, centre=points.mean(0), cx=_PX / 2, cy=_PX / 2, focal_px=focal_px)
        renderer.camera = close
        sheet.paste(Image.fromarray(renderer.frame(vertices)), (left, row * _PX))
        seen = (points - close.centre) @ close.rotation.T
        at = close.focal_px * seen[:, :2] / (close.distance_m - seen[:, 2:])
        for k, (x, y) in enumerate(at):
            x, y, r = left + _PX / 2 + x, row * _PX + _PX / 2 - y, 3
            colour = UPPER if k < len(pairs[0]) else LOWER
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(0, 0, 0))
    return f"inner lips: {len(pairs[0])} pairs"
