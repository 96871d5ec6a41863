"""Landmark pictures, and a page to click landmarks on a mesh."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np

from meshtalk.files import atomic
from meshtalk.mesh.landmarks import DESCRIPTIONS, REQUIRED
from meshtalk.mesh.topology import Topology
from meshtalk.render import Look, Renderer

SIZE_PX = 900


def draw_landmarks(
    template: np.ndarray, topology: Topology, landmarks: Mapping[str, np.ndarray], path: str | Path
) -> None:
    """Write a PNG of a face with its landmarks and their names.

    Args:
        template: (W,3) metres, +Y up, +Z out of the face.
        landmarks: name → (3,) place in that space.

    Raises:
        InputError: `path` cannot be written, or the `media` extra is missing.
    """
    renderer = Renderer(topology, template, SIZE_PX, SIZE_PX, Look("face"))
    from PIL import Image, ImageDraw, ImageFont

    camera = renderer.camera
    picture = Image.fromarray(renderer.frame(template))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for name, place in landmarks.items():
        x, y, z = camera.rotation @ (np.asarray(place) - camera.centre)
        scale = camera.focal_px / (camera.distance_m - z)
        at = camera.cx + scale * x, camera.cy - scale * y
        pen.ellipse([at[0] - 3, at[1] - 3, at[0] + 3, at[1] + 3], fill=(255, 214, 64), outline=(20, 24, 28))
        left = name.endswith("_right")
        label = name.removesuffix("_left").removesuffix("_right")
        pen.text((at[0] + (-7 if left else 7), at[1]), label, (255, 255, 255), font, anchor="rm" if left else "lm")
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def write_picker(vertices: np.ndarray, faces: np.ndarray, landmarks: Mapping[str, int], path: str | Path) -> None:
    """Write one self-contained page in which landmarks are clicked on a mesh and saved as a `.json`.

    Args:
        vertices: (W,3) as the file has them.
        faces: (F,3) triangles.
        landmarks: name → vertex of those that are known.

    Raises:
        InputError: `path` cannot be written.
    """
    used = np.unique(faces)
    low, high = vertices[used].min(0), vertices[used].max(0)
    scaled = ((vertices - (low + high) / 2) / max(float((high - low).max()), 1e-30)).astype("<f4")
    data = {
        "vertices": base64.b64encode(scaled.tobytes()).decode(),
        "faces": base64.b64encode(np.asarray(faces, "<u4").tobytes()).decode(),
        "names": [[name, text, name in REQUIRED] for name, text in DESCRIPTIONS.items()],
        "found": {name: int(vertex) for name, vertex in landmarks.items()},
    }
    page = files("meshtalk").joinpath("retarget/picker.html").read_text(encoding="utf-8")
    with atomic(path) as temporary:
        temporary.write_text(page.replace("/*DATA*/null", json.dumps(data)), encoding="utf-8")
