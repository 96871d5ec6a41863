"""Scene around the mesh: camera, surface properties, texture pyramid, backdrop. numpy only."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.surface import edges_of, sphere
from meshtalk.mesh.topology import Topology
from meshtalk.render.look import EYE, HOLLOW, SHELL, TONGUE, TOOTH, Lighting, View

WRAP = (0.38, 0.20, 0.14)
"""A cheap stand-in for light scattered under the skin: how far beyond the terminator red, green and blue still glow."""

SKIN = (0.76, 0.57, 0.48)
"""sRGB colour of skin where a topology has no texture."""
PART_LOOKS = (
    # word in the part's name → kind, sRGB colour where there is no texture, specular strength, gloss, least openness to
    # light: what lies in the mouth is in the dark of the neutral face and has to be seen when lips part a little
    ("socket", HOLLOW, (0.62, 0.38, 0.33), 0.05, 0.0, 0.0),
    ("eye_left", EYE, (0.93, 0.93, 0.94), 0.45, 1.0, 0.85),
    ("eye_right", EYE, (0.93, 0.93, 0.94), 0.45, 1.0, 0.85),
    ("teeth", TOOTH, (0.90, 0.87, 0.80), 0.22, 0.6, 0.75),
    ("inner_mouth", HOLLOW, (0.55, 0.24, 0.24), 0.06, 0.3, 0.4),
    ("tongue", TONGUE, (0.72, 0.36, 0.36), 0.20, 0.45, 0.35),
)
SKIN_SHINE = (0.17, 0.0)
LIP_SHINE = (0.20, 0.35)
MOST_PIXELS, MOST_SIDE_PX = 1 << 26, 4096
"""Of a texture: more is refused, a longer side made shorter: linear light takes eight times the bytes."""
FINEST = 30_000
"""Meshes of up to so many triangles are rounded."""
BULGE_PX = 0.22
"""An edge that the rounded surface leaves by more, with the face at rest, is cut in the middle."""
PORES = 0.45
"""How uneven the sheen of skin is."""
TAPS, FROM_ABOVE = 48, 0.3
"""Spots around a vertex where lids and lips are looked for, and how far above it (of their radius) their middle lies."""
CORNEA_DEG = (25.0, 31.0)
"""The cornea of an eyeball ends between these angles from its front."""

FIELD_OF_VIEW = 0.30
"""Height of the picture divided by the distance to the face: a portrait lens."""
NEAREST = 0.6
"""Share of a head's height: closer views use a longer lens instead of a nearer camera."""


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0,1] to linear light, any shape."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def tone_table(size: int = 16384) -> np.ndarray:
    """(size,) uint8: linear light in [0,2) to sRGB bytes with a soft shoulder instead of clipped highlights."""
    linear = (np.arange(size) + 0.5) * (2.0 / size)
    knee = 0.72
    over = np.maximum(linear - knee, 0.0)
    room = 1.0 - knee
    linear = np.minimum(linear, knee) + room * over / (over + room)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.clip(np.round(srgb * 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Camera:
    """Perspective view of a point; camera space has +X right, +Y up, +Z towards the viewer."""

    rotation: np.ndarray
    """(3,3) world to camera."""
    centre: np.ndarray
    """(3,) metres, the point looked at."""
    distance_m: float
    focal_px: float
    cx: float
    cy: float


def rotation_of(yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """(3,3) world to camera for a head turned `yaw_deg` to its left and seen from `pitch_deg` above."""
    yaw, pitch = np.deg2rad([yaw_deg, pitch_deg])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return nod @ turn


def fit_camera(template: np.ndarray, topology: Topology, width: int, height: int, view: View) -> Camera:
    """A portrait of the template: the crown near the top, the neck leaving through the lower edge.

    Without a `chin` landmark the whole mesh is fitted, whatever the view's crop.
    """
    rotation = rotation_of(view.yaw_deg, view.pitch_deg)
    points = _around_head(template.astype(np.float64), topology)
    bottom, top = float(points[:, 1].min()), float(points[:, 1].max())
    margin = 0.06 * (top - bottom)
    low, high = bottom - margin, top + margin
    whole = True
    if "chin" in topology.landmarks:
        chin = float(template[topology.landmarks["chin"], 1].mean())
        whole = view.crop == "portrait"
        if view.crop == "face":
            low, high = chin - 0.14 * (top - chin), chin + 0.72 * (top - chin)
        elif view.crop == "mouth":
            low, high = chin - 0.05 * (top - chin), chin + 0.36 * (top - chin)
        elif chin - bottom > 0.1 * (top - bottom):
            # the cut edge of a neck is no pretty sight: let some of the neck, but not the edge, into the picture
            low = chin - 0.5 * (chin - bottom)
    seen = points[(points[:, 1] >= low) & (points[:, 1] <= high)]
    across = (seen @ rotation.T)[:, 0]
    span = high - low
    if whole:
        span = max(span, 1.12 * float(np.ptp(across)) * height / width)
    centre = (points.min(0) + points.max(0)) / 2
    # what is spare goes above the crown, so that a neck still leaves the picture
    centre[1] = (low + high) / 2 if low < bottom else low + span / 2
    turned = (seen - centre) @ rotation.T
    centre = centre + rotation[0] * (turned[:, 0].max() + turned[:, 0].min()) / 2
    front = float(turned[:, 2].max())
    distance = max(span, NEAREST * (top - bottom)) / FIELD_OF_VIEW + front
    # to scale half-way between the nose and the middle of the head
    focal = height / span * (distance - front / 2)
    return Camera(rotation, centre, distance, focal, width / 2, height / 2)


def _around_head(points: np.ndarray, topology: Topology) -> np.ndarray:
    """Those of (V,3) points that are near the head, if the topology says where its forehead and chin are: there may be a body."""
    marks = topology.landmarks
    if not {"chin", "forehead"} <= set(marks):
        return points
    chin, forehead = points[marks["chin"]].mean(0), points[marks["forehead"]].mean(0)
    face = float(np.linalg.norm(forehead - chin))
    near = (np.abs(points - (chin + forehead) / 2) < face * np.array([1.2, 1.5, 2.2])).all(1)
    return points[near]


def directions(count: int) -> np.ndarray:
    """(count,3) unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = k * (np.pi * (3 - 5**0.5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def light_table(lighting: Lighting) -> np.ndarray:
    """(M,6) direction (unit, camera space) and colour of each lamp, then two rows with the sky's and the ground's colour."""
    towards = np.array([direction for direction, _ in lighting.lamps])
    table = np.zeros((len(towards) + 2, 6))
    table[:-2, :3] = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    table[:-2, 3:] = [colour for _, colour in lighting.lamps]
    table[-2:, 3:] = lighting.sky, lighting.ground
    return table


def looks(topology: Topology, tint: tuple[float, float, float]) -> np.ndarray:
    """(V,7) float32 surface table: linear base colour, least openness to sky and key, specular strength, gloss.

    With a texture the base colour multiplies it: `tint` on the skin and white elsewhere. Without one it is the
    colour itself.
    """
    table = np.zeros((topology.n_vertices, 7), np.float32)
    textured = topology.texture_png is not None
    table[:, :3] = (np.ones(3) if textured else to_linear(np.array(SKIN))) * np.asarray(tint)
    lips = np.asarray(topology.regions.get("lips", np.zeros(len(table))))[:, None]
    table[:, 5:] = (1 - lips) * SKIN_SHINE + lips * LIP_SHINE
    if topology.parts is not None:
        for index, name in enumerate(topology.part_names):
            for word, _, colour, strength, gloss, openness in PART_LOOKS:
                if word in name.lower():
                    mine = topology.parts == index
                    table[mine, :3] = 1.0 if textured else to_linear(np.array(colour))
                    table[mine, 3:] = openness, openness, strength, gloss
    return table


def kinds(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """(V,) and (F,) uint8: what each vertex and each face is, SHELL and so on; a face on a rim is what lies within."""
    of_vertex = np.full(topology.n_vertices, SHELL, np.uint8)
    for index, name in enumerate(topology.part_names if topology.parts is not None else ()):
        for word, kind, *_ in PART_LOOKS:
            if word in name.lower():
                of_vertex[topology.parts == index] = kind
    return of_vertex, of_vertex[topology.faces].max(1) if len(topology.faces) else np.zeros(0, np.uint8)


def corneas(topology: Topology, template: np.ndarray) -> np.ndarray:
    """(V,) how much each vertex belongs to the cornea of an eyeball that looks ahead; negative in the right eye."""
    weight = np.zeros(topology.n_vertices)
    for index, name in enumerate(topology.part_names if topology.parts is not None else ()):
        mine = np.flatnonzero(topology.parts == index)
        if "eye_left" in name.lower() or "eye_right" in name.lower():
            if len(mine) < 4:
                continue
            points = template[mine].astype(np.float64)
            away = points - sphere(points)[0]
            cosine = away[:, 2] / np.maximum(np.linalg.norm(away, axis=1), 1e-9)
            near, far = np.cos(np.deg2rad(CORNEA_DEG))
            weight[mine] = np.clip((cosine - far) / (near - far), 0, 1) * (-1 if "right" in name.lower() else 1)
    return weight


def finer(faces: np.ndarray, n_vertices: int, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles cut at the middles of some of their edges, into two, three or four.

    Args:
        faces: (F,3).
        split: (F,3) whether the sides ab, bc, ca are cut; the same from both faces at an edge.

    Returns:
        edges (E,2) that are cut and faces (G,3), the middle of edge e being vertex `n_vertices` + e; (G,) which face
        each was a piece of.
    """
    edges, index = edges_of(faces)
    cut = np.zeros(len(edges), bool)
    cut[index[split]] = True
    middle = (np.cumsum(cut) - 1 + n_vertices)[index]
    pieces, whose = [], []
    for count in range(4):
        here = np.flatnonzero(split.sum(1) == count)
        # turned so that the cut sides come first
        turn = np.argmax([split[here, k] & ~split[here, k - 1] for k in range(3)], axis=0)
        order = (turn[:, None] + np.arange(3)) % 3
        a, b, c = np.take_along_axis(np.asarray(faces, np.int64)[here], order, 1).T
        ab, bc, ca = np.take_along_axis(middle[here], order, 1).T
        patterns = (
            [(a, b, c)],
            [(a, ab, c), (ab, b, c)],
            [(ab, b, bc), (a, ab, bc), (a, bc, c)],
            [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
        )
        pieces += [np.stack(corners, 1) for corners in patterns[count]]
        whose += [here] * len(patterns[count])
    parent = np.concatenate(whose)
    # in the order of the faces they come from, which lie side by side in memory
    order = np.argsort(parent, kind="stable")
    return edges[cut].astype(np.uint32), np.ascontiguousarray(np.concatenate(pieces)[order], np.uint32), parent[order]


def texture_pyramid(
    topology: Topology, shine: np.ndarray | None = None, dye: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, ...]:
    """Texture and coordinates as the kernels want them.

    Args:
        shine: (H,W) factors on what the skin mirrors.
        dye: what becomes of the picture (H,W,3), linear light.

    Returns:
        texels (P,4) float32 linear light and factor on what is mirrored, levels (L,3) (start, width, height), uvs (N,2),
        uv_faces (F,3). A topology without texture gets one white texel.

    Raises:
        InputError: the texture is no image.
    """
    if topology.texture_png is None or topology.uvs is None or topology.uv_faces is None:
        return (
            np.ones((1, 4), np.float32),
            np.array([[0, 1, 1]], np.uint32),
            np.zeros((1, 2), np.float32),
            np.zeros((len(topology.faces), 3), np.uint32),
        )
    colours = linear_picture(topology).astype(np.float32)
    if dye is not None:
        colours = dye(colours)
    factors = np.ones(colours.shape[:2]) if shine is None else shine * pores(*shine.shape)
    level = np.dstack([colours, factors]).astype(np.float32)
    texels, levels, start = [], [], 0
    while True:
        tall, wide = level.shape[:2]
        texels.append(level.reshape(-1, 4))
        levels.append((start, wide, tall))
        start += tall * wide
        if min(tall, wide) < 8:
            break
        even = level[: tall // 2 * 2, : wide // 2 * 2]
        level = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)
    uvs = np.ascontiguousarray(topology.uvs, np.float32)
    return np.concatenate(texels), np.array(levels, np.uint32), uvs, np.ascontiguousarray(topology.uv_faces, np.uint32)


def picture_of(topology: Topology) -> np.ndarray:
    """(H,W,3) uint8 sRGB: the texture, which has to be there; made smaller if it is larger than MOST_SIDE_PX.

    Raises:
        InputError: it is no image, or one of more than MOST_PIXELS.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # told below
            picture = Image.open(io.BytesIO(topology.texture_png or b""))
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels are too many. Use up to 8192 x 8192")
        with picture:
            colours = picture.convert("RGB")
        colours.thumbnail((MOST_SIDE_PX, MOST_SIDE_PX))
        return np.asarray(colours)
    except Exception as error:  # decoders fail in as many ways as pictures are damaged
        raise InputError(f"the texture of topology {topology.hash} is no readable image: {error}") from None


def linear_picture(topology: Topology) -> np.ndarray:
    """(H,W,3) float64 linear light: `picture_of` the topology."""
    return to_linear(np.arange(256) / 255.0)[picture_of(topology)]


def pores(height: int, width: int) -> np.ndarray:
    """(H,W) factors around 1 that break up the sheen of skin: random, of two or three texels' size."""
    grain = np.random.default_rng(5).random((height, width))
    for axis in (0, 1):
        grain = (grain + np.roll(grain, 1, axis)) / 2
    return np.clip(1 + PORES * (grain - 0.5) * 4, 0.2, 2.0)


def backdrop(width: int, height: int, colour: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A soft pool of light behind the head, darker towards the corners.

    Args:
        colour: sRGB in [0,1] at its brightest.

    Returns:
        (H,W,3) float32 linear light and the same as (H,W,3) sRGB bytes, dithered so that it shows no bands.
    """
    y, x = np.mgrid[0:height, 0:width]
    across = (x + 0.5 - width / 2) / max(width, height)
    down = (y + 0.5 - 0.42 * height) / max(width, height)
    away = np.clip((across**2 + down**2) / 0.48, 0, 1)
    glow = 1 - 0.80 * (away * (2 - away))
    linear = to_linear(np.array(colour)) * glow[..., None]
    bayer = np.array([[0]])
    for _ in range(3):
        bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
    noise = (bayer[y % 8, x % 8] + 0.5) / 64.0
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return linear.astype(np.float32), np.floor(srgb * 255 + noise[..., None]).clip(0, 255).astype(np.uint8)
