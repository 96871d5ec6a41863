"""From the built mesh to its texture: which formula of `_paint` colours which texel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from _atlas import lay_out
from _paint import (
    MOUTH,
    SIZE,
    TONGUE,
    Canvas,
    encode,
    eyeball,
    fill_gutters,
    mix,
    noise,
    skin,
    teeth,
    visibility,
)
from _parts import EYE_RINGS_DEG, EYE_UV_POWER
from _regions import smoothstep
from _surgery import Polygon

TOOTH_ROWS = (1.6, 1.25, 1.0, 0.5, 0.0, 0.0, 0.6, 1.4)
"""Height of the rows of `_parts.tooth_profile`, 1 at the gum line; the map runs from the last row up to the first."""
NECK_ABOVE = 0.86
FAR = 12.0
"""Ring number of everything that is not near a ring's start."""


def rings(polygons: list[Polygon], n_vertices: int, start: np.ndarray) -> np.ndarray:
    """(V,) number of polygon edges from the vertices `start`, walking on the skin alone."""
    beside: dict[int, set[int]] = {}
    for p in polygons:
        for k, v in enumerate(p.corners) if p.part == "skin" else ():
            beside.setdefault(v, set()).update((p.corners[k - 1], p.corners[(k + 1) % len(p.corners)]))
    number = np.full(n_vertices, FAR)
    front = {int(v) for v in start}
    ring = 0
    while front and ring < FAR:
        number[list(front)] = ring
        front = {w for v in front for w in beside.get(v, ()) if number[w] == FAR}
        ring += 1
    return number


def islands(polygon_parts: list[str], uvs: np.ndarray, uv_faces: np.ndarray) -> np.ndarray:
    """(F,) name of each triangle's island in the atlas; the neck's lies at the top of MakeHuman's map."""
    names = np.array(polygon_parts, dtype="<U20")
    return np.where((names == "skin") & (uvs[uv_faces][:, :, 1].mean(1) > NECK_ABOVE), "neck", names)


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,3) unit normals, faces weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], np.cross(b - a, c - a))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def texture(
    vertices: np.ndarray,
    faces: np.ndarray,
    uvs: np.ndarray,
    uv_faces: np.ndarray,
    island: np.ndarray,
    fields: Mapping[str, np.ndarray],
    marks: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, bytes, bytes]:
    """The new map (N,2), the PNG of the colours, and the PNG of what is hair (red), brow or iris (green) and shiny (blue).

    Args:
        vertices: (V,3) metres, the default person, origin between the ears.
        uvs: the old map; those of eyes and teeth run over [0,1]² of their own.
        fields: (V,) `lip_ring`, `lid_ring`, `ear`, `tooth_gap`.
        marks: spots (3,) `eye` (left), `nose`, `chin`, `lips`.
    """
    new = lay_out(uvs, uv_faces, island)
    canvas = Canvas(new, uv_faces, faces, ~np.char.startswith(island, "eye_socket"))
    where = island[canvas.triangle[canvas.texels]]
    points = canvas.bring(vertices)
    local = canvas.bring_corners(uvs[uv_faces])
    open_sky = np.clip(canvas.bring(visibility(vertices, faces, normals(vertices, faces))), 0, 1)
    colours, masks = np.zeros((len(points), 3)), np.tile([0.0, 0.0, 0.5], (len(points), 1))
    on = (where == "skin") | (where == "neck")
    brought = {name: canvas.bring(field)[on] for name, field in fields.items()}
    bare, masks[on] = skin(points[on], brought, marks)
    colours[on] = bare * (0.70 + 0.30 * np.clip(open_sky[on] / 0.75, 0, 1) ** 0.8)[:, None]
    on = where == "inner_mouth"
    deep = smoothstep(points[on][:, 2].max() - points[on][:, 2], 0.010, 0.042)
    colours[on] = MOUTH * (1.25 - 1.10 * deep)[:, None] * (1 + 0.08 * noise(points[on], 0.003, 43))[:, None]
    on = where == "helper-tongue"
    rough = 1 + 0.06 * noise(points[on], 0.0008, 41) + 0.05 * noise(points[on], 0.004, 42)
    groove = np.exp(-((points[on][:, 0] / 0.0015) ** 2))
    far = smoothstep(points[on][:, 2].max() - points[on][:, 2], 0.006, 0.042)
    colours[on] = mix(TONGUE * (rough * (1 - 0.82 * far))[:, None], MOUTH, 0.25 * groove)
    for part in ("helper-upper-teeth", "helper-lower-teeth"):
        on = where == part
        along, height = local[on, 0], local[on, 1]
        up = np.interp(height, np.linspace(0, 1, len(TOOTH_ROWS)), TOOTH_ROWS[::-1])
        colours[on] = teeth(along, up, canvas.bring(fields["tooth_gap"])[on])
    on = np.char.startswith(where, "helper-l-eye") | np.char.startswith(where, "helper-r-eye")
    offset = local[on] - 0.5
    angle = EYE_RINGS_DEG[-1] * (2 * np.hypot(offset[:, 0], offset[:, 1])) ** (1 / EYE_UV_POWER)
    colours[on], masks[on, 1] = eyeball(angle, np.arctan2(offset[:, 1], offset[:, 0]))
    pictures = []
    for values in (colours, masks):
        image = np.zeros((SIZE, SIZE, 3))
        image[canvas.texels] = values
        pictures.append(encode(fill_gutters(image, canvas.triangle >= 0)))
    return new, pictures[0], pictures[1]
