"""The head's texture, painted by formula in the space of the face: no picture of anybody goes into it."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from _regions import smoothstep

SIZE = 1024
SKIN = np.array([0.840, 0.665, 0.575])
BLUSH = np.array([0.820, 0.500, 0.445])
SALLOW = np.array([0.845, 0.690, 0.555])
SHADE = np.array([0.620, 0.445, 0.420])
LIP = np.array([0.735, 0.430, 0.405])
HAIR = np.array([0.165, 0.118, 0.095])
MOUTH = np.array([0.420, 0.155, 0.150])
TONGUE = np.array([0.700, 0.365, 0.365])
TOOTH = np.array([0.930, 0.900, 0.840])
GUM = np.array([0.690, 0.380, 0.370])
SCLERA = np.array([0.885, 0.865, 0.850])
IRIS = np.array([0.290, 0.205, 0.150])
"""sRGB colours, 0..1."""


class Canvas:
    """Texels covered by triangles, with any vertex field brought onto them."""

    def __init__(self, uvs: np.ndarray, uv_faces: np.ndarray, faces: np.ndarray, keep: np.ndarray) -> None:
        self._faces = faces
        self.triangle = np.full((SIZE, SIZE), -1, np.int32)
        self._shares = np.zeros((SIZE, SIZE, 3))
        spots = uvs * SIZE
        spots = np.stack([spots[:, 0], SIZE - spots[:, 1]], axis=1)
        for k in np.flatnonzero(keep):
            a, b, c = spots[uv_faces[k]]
            area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
            if area == 0:
                continue
            low = np.clip(np.floor(np.min([a, b, c], axis=0) - 0.5).astype(int), 0, SIZE - 1)
            high = np.clip(np.ceil(np.max([a, b, c], axis=0) + 0.5).astype(int), 1, SIZE)
            x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
            wb = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
            wc = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
            shares = np.stack([1 - wb - wc, wb, wc], axis=-1)
            inside = shares.min(-1) >= -1e-9
            rows, columns = np.nonzero(inside)
            self.triangle[rows + low[1], columns + low[0]] = k
            self._shares[rows + low[1], columns + low[0]] = shares[inside]
        self.texels = np.nonzero(self.triangle >= 0)

    def bring(self, field: np.ndarray) -> np.ndarray:
        """(n,...) values of a (V,...) vertex field at the covered texels."""
        return self.bring_corners(field[self._faces])

    def bring_corners(self, corner_field: np.ndarray) -> np.ndarray:
        """(n,...) values of a field given at the corners of every triangle (F,3,...)."""
        corners = corner_field[self.triangle[self.texels]]
        return np.einsum("nk,nk...->n...", self._shares[self.texels], corners)


def noise(points: np.ndarray, cell_m: float, seed: int) -> np.ndarray:
    """(n,) smooth random values in [-1,1] with features of the size `cell_m`, the same in space whatever the map."""
    table = np.random.default_rng(seed).uniform(-1, 1, 4096)
    scaled = points / cell_m
    base = np.floor(scaled).astype(np.int64)
    t = scaled - base
    t = t * t * (3 - 2 * t)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        at = base + corner
        value = table[(at[:, 0] * 73856093 ^ at[:, 1] * 19349663 ^ at[:, 2] * 83492791) % 4096]
        total += value * np.prod(np.where(np.array(corner) == 1, t, 1 - t), axis=1)
    return total


def visibility(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, rays: int = 96) -> np.ndarray:
    """(V,) share of the sky above each vertex that the head does not hide, from depth pictures of many sides."""
    cell = 1.2e-3
    weights = np.array([[i, j, 6 - i - j] for i in range(7) for j in range(7 - i)]) / 6
    samples = np.einsum("sk,fkc->fsc", weights, vertices[faces]).reshape(-1, 3)
    seen, sky = np.zeros(len(vertices)), np.zeros(len(vertices))
    index = np.arange(rays) + 0.5
    polar, turn = np.arccos(1 - 2 * index / rays), np.pi * (1 + 5**0.5) * index
    for direction in np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], axis=1):
        helper = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.7 else np.array([0, 1.0, 0])
        right = np.cross(helper, direction)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(direction, right)], axis=1)
        grid = np.floor((samples @ axes + 0.4) / cell).astype(int)
        depth = np.full((700, 700), -np.inf)
        np.maximum.at(depth, (grid[:, 0], grid[:, 1]), samples @ direction)
        lifted = vertices + 1.5e-3 * normals
        own = np.floor((lifted @ axes + 0.4) / cell).astype(int)
        clear = lifted @ direction >= depth[own[:, 0], own[:, 1]] - 1e-3
        cosine = np.clip(normals @ direction, 0, None)
        seen += cosine * clear
        sky += cosine
    return seen / np.maximum(sky, 1e-9)


def mix(colour: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return colour + np.clip(amount, 0, 1)[:, None] * (other - colour)


def bump(points: np.ndarray, centre: np.ndarray, radii_m: tuple[float, float, float]) -> np.ndarray:
    """(n,) Gaussian hill around a spot and around its mirror image across x = 0."""
    mirrored = np.abs(points - [0, centre[1], centre[2]]) * [1, 1, 1]
    offset = mirrored - [abs(centre[0]), 0, 0]
    return np.exp(-0.5 * ((offset / radii_m) ** 2).sum(1))


def brows(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """(n,) how much brow hair covers a spot; `eye` is the centre of the left eyeball."""
    x = np.abs(points[:, 0]) - eye[0]  # from the pupil outwards
    along = (x + 0.0185) / 0.0420  # 0 at the inner end, 1 at the tail
    held = np.clip(along, 0, 1)
    ridge = eye[1] + 0.0158 + 0.0052 * np.sin(np.pi * held * 0.80) - 0.017 * np.clip(along - 0.58, 0, 1) ** 2
    half = 0.0040 * (1 - 0.70 * held**1.6) * (0.72 + 0.28 * smoothstep(along, 0.0, 0.22))
    across = (points[:, 1] - ridge) / half
    body = smoothstep(along, -0.05, 0.30) * (1 - smoothstep(along, 0.86, 1.05)) * (points[:, 2] > eye[2] - 0.01)
    body = body * (1 - smoothstep(np.abs(across + 0.10 * noise(points, 0.0016, 13)), 0.20, 1.30))
    # strokes: stretched noise, standing up at the inner end, lying along the brow at the tail
    lean = np.radians(74 - 66 * held**0.8)
    across_hair = x * np.sin(lean) - points[:, 1] * np.cos(lean)
    along_hair = x * np.cos(lean) + points[:, 1] * np.sin(lean)
    sideways = np.stack([across_hair, 0.10 * along_hair, 0 * x], axis=1)
    strokes = 0.70 + 0.42 * noise(sideways, 0.00060, 11) + 0.16 * noise(points, 0.0035, 12)
    return body * np.clip(strokes, 0.10, 1)


HAIRLINE_MM = (
    *((-110, -62), (-62, -57), (-40, -46), (-27, -30), (-20, 8), (-10, 20), (6, 18), (12, 0), (15, -16), (25, -14)),
    *((29, 4), (34, 30), (42, 46), (50, 56), (58, 66), (66, 80), (74, 100)),
)
"""z and y of the hairline seen from the side, from the nape to where the forehead begins."""


def hair(points: np.ndarray, eye: np.ndarray, ear: np.ndarray) -> np.ndarray:
    """(n,) how much short-cropped hair covers a spot; `ear`: (n,) 1 on the ears. The origin lies between the ears."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    ragged = 0.004 * noise(points, 0.012, 21) + 0.0025 * noise(points, 0.003, 22)
    front = eye[1] + 0.063 + 0.003 * np.cos(x / 0.03 * np.pi)
    # seen from the side: from the forehead down the temple to a sideburn, round the ear, down to the nape
    side = np.interp(z, *np.array(HAIRLINE_MM).T * 1e-3)
    edge = np.minimum(front, np.where(z > HAIRLINE_MM[-1][0] * 1e-3, front, side))
    cover = smoothstep(y + ragged - edge, -0.003, 0.009)
    grain = 0.86 + 0.16 * noise(points, 0.0009, 23)
    return cover * grain * (1 - smoothstep(ear, 0.2, 0.6))


def skin(
    points: np.ndarray, fields: Mapping[str, np.ndarray], marks: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(n,3) colours; (n,3) how much of each is hair of the head and of a brow, and half of how strongly it mirrors.

    Args:
        fields: texel values of `lip_ring`, `lid_ring`, `ear`.
        marks: spots `eye`, `nose`, `chin`, `lips`.
    """
    eye, nose, lips = marks["eye"], marks["nose"], marks["lips"]
    mottle = 0.6 * noise(points, 0.018, 1) + 0.4 * noise(points, 0.006, 2)
    colour = np.repeat(SKIN[None], len(points), axis=0)
    forehead = np.array([0, eye[1] + 0.045, eye[2] + 0.02])
    brow = bump(points, forehead, (0.04, 0.022, 0.05))
    cheek = np.array([eye[0] + 0.012, 0.5 * (eye[1] + lips[1]) + 0.002, eye[2]])
    tip = bump(points, np.add(nose, (0, -0.002, 0)), (0.014, 0.010, 0.022))
    chin = bump(points, np.add(marks["chin"], (0, 0.006, 0)), (0.014, 0.010, 0.02))
    colour = mix(colour, SALLOW, 0.5 * brow)
    colour = mix(colour, BLUSH, (0.30 + 0.16 * mottle) * bump(points, cheek, (0.020, 0.015, 0.04)))
    colour = mix(colour, BLUSH, (0.34 + 0.10 * mottle) * tip + 0.20 * chin)
    colour = mix(colour, BLUSH, 0.40 * np.clip(fields["ear"], 0, 1))
    under = np.array([eye[0] - 0.003, eye[1] - 0.0115, eye[2] + 0.012])
    colour = mix(colour, SHADE, 0.22 * bump(points, under, (0.012, 0.0042, 0.03)))
    upper_lid = np.array([eye[0], eye[1] + 0.0085, eye[2] + 0.012])
    colour = mix(colour, SHADE, 0.07 * bump(points, upper_lid, (0.013, 0.0040, 0.03)))
    pores = 0.016 * noise(points, 0.0011, 3) + 0.012 * noise(points, 0.0022, 4)
    spots = smoothstep(noise(points, 0.0026, 9), 0.62, 0.95) * smoothstep(noise(points, 0.02, 10), -0.4, 0.8)
    colour = colour * (1 + 0.030 * mottle + pores - 0.05 * spots)[:, None]
    lined = LIP * (1 + 0.07 * noise(points * [1.0, 0.15, 0.15], 0.0009, 5) + 0.04 * noise(points, 0.004, 6))[:, None]
    ring = fields["lip_ring"] + 0.18 * noise(points, 0.003, 7)
    red = 1 - smoothstep(ring, 4.1, 5.8)
    colour = mix(colour, lined, 0.80 * red)
    colour = mix(colour, MOUTH, 0.6 * (1 - smoothstep(fields["lip_ring"], 0.0, 1.3)))
    lash = fields["lid_ring"]
    upper = smoothstep(points[:, 1] - eye[1], -0.0020, 0.0005)
    rim = smoothstep(lash, 0.7, 1.2) * (1 - smoothstep(lash, 1.5, 2.6))
    colour = mix(colour, HAIR * 0.8, (0.16 + 0.66 * upper) * rim)
    colour = mix(colour, BLUSH * 0.9, 0.6 * (1 - smoothstep(lash, 0.2, 1.0)))
    tuft, cover = 0.80 * brows(points, eye), 0.90 * hair(points, eye, fields["ear"])
    colour = mix(colour, HAIR, tuft)
    colour = mix(colour, HAIR * (1 + 0.25 * noise(points, 0.0007, 8))[:, None], cover)
    hairy = 1 - (1 - tuft) * (1 - cover)
    shine = 0.80 + 0.30 * brow + 0.45 * tip + 0.15 * chin + 0.10 * mottle
    shine = shine * (1 - red) + red * (1.25 + 0.35 * noise(points * [1.0, 0.15, 0.15], 0.0009, 5))
    return colour, np.stack([cover, tuft, 0.5 * shine * (1 - 0.72 * hairy)], axis=1)


def eyeball(angle_deg: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,3) colours at a polar angle from the pupil and a turn (radians, 0 at +X, a quarter at +Y); (n,) share of iris."""
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    swing = ring * (4.0 + 0.10 * smoothstep(angle_deg, 8, 25))[:, None]
    rays = noise(swing, 0.20, 31) + 0.7 * noise(swing, 0.075, 32)
    colour = np.repeat(SCLERA[None], len(turn), axis=0)
    colour = mix(colour, BLUSH, 0.40 * smoothstep(angle_deg, 36, 72))
    ball = np.stack([angle_deg * np.cos(turn), angle_deg * np.sin(turn), 0 * turn], axis=1)
    veins = 1 - smoothstep(np.abs(noise(ball + 3 * noise(ball, 9.0, 34)[:, None], 6.0, 33)), 0.0, 0.06)
    colour = mix(colour, BLUSH * 0.9, 0.28 * veins * smoothstep(angle_deg, 32, 60))
    depth = smoothstep(angle_deg, 8, 24)
    collarette = np.exp(-(((angle_deg - 12.5 - 1.2 * rays) / 2.6) ** 2))
    iris = IRIS * (1.05 - 0.25 * depth + 0.34 * rays * smoothstep(angle_deg, 8, 12) + 0.45 * collarette)[:, None]
    iris = mix(iris, IRIS * [1.35, 1.10, 0.85], 0.5 * collarette)
    iris = mix(iris, IRIS * 0.22, smoothstep(angle_deg, 19.5, 24.6))
    share = smoothstep(angle_deg, 8.0, 9.2) * (1 - smoothstep(angle_deg, 23.6, 26.4))
    iris = mix(np.full_like(colour, 0.015), iris, smoothstep(angle_deg, 8.0, 9.4))
    return mix(iris, colour, smoothstep(angle_deg, 23.6, 26.4)), share


def teeth(along: np.ndarray, up: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """(n,3) colours. `up`: 0 at the biting edge, 1 at the gum line, beyond in the gum; `gap`: 1 between two teeth."""
    colour = np.repeat(TOOTH[None], len(along), axis=0) * (1 - 0.06 * smoothstep(up, 0.3, 1.0))[:, None]
    colour = mix(colour, TOOTH * [0.72, 0.64, 0.55], 0.55 * gap**3)
    colour = colour * (1 - 0.38 * smoothstep(np.abs(along - 0.5), 0.14, 0.42))[:, None]  # darker towards the back
    return mix(colour, GUM * (1 - 0.4 * smoothstep(np.abs(along - 0.5), 0.2, 0.5))[:, None], smoothstep(up, 0.93, 1.07))


def fill_gutters(image: np.ndarray, covered: np.ndarray, rounds: int = 12) -> np.ndarray:
    """Spread colours past the islands' edges, so that filtering finds no background there."""
    image, covered = image.copy(), covered.copy()
    for _ in range(rounds):
        total, count = np.zeros_like(image), np.zeros(covered.shape)
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near = np.roll(covered, shift, axis=(0, 1))
            near[{1: 0, -1: -1}.get(shift[0], slice(0, 0))] = False  # nothing comes round the picture's border
            near[:, {1: 0, -1: -1}.get(shift[1], slice(0, 0))] = False
            total += np.roll(image, shift, axis=(0, 1)) * near[..., None]
            count += near
        fresh = ~covered & (count > 0)
        image[fresh] = total[fresh] / count[fresh][:, None]
        covered |= fresh
    image[~covered] = image[covered].mean(0)
    return image


def encode(image: np.ndarray) -> bytes:
    """PNG bytes of an (H,W,3) picture in 0..1; the same picture gives the same bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()
