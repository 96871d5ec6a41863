"""Draw eyebrows, eyelashes and scalp hair in rendered pictures, as ribbons attached to the skin.

No mesh, clip or export knows of it. Everything is drawn from fixed random numbers: the same face has the same hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshtalk.mesh.surface import edges_of
from meshtalk.mesh.topology import Topology

UP, AHEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
LASHES, BROW_HAIRS = (84, 36), 230
"""On an upper and a lower lid; in both brows."""
ROUND = 0.45
"""How far the normals by which a strip is lit lean to its sides, as if it were round."""
FINEST_PX = 0.55
"""No hair is drawn narrower than this at its root, or it would break up into dots."""


@dataclass(frozen=True)
class Ribbons:
    """Strips of triangles; each strip sits on an edge of the mesh and turns with it."""

    roots: np.ndarray
    """(S,2) uint32 vertices whose middle carries strip s."""
    strip: np.ndarray
    """(P,) uint32 strip of each point."""
    local: np.ndarray
    """(P,3) metres: the point seen from its root, along the edge, the skin's normal, and across both."""
    leaning: np.ndarray
    """(P,3) the normal it is lit by, in the same terms."""
    colour: np.ndarray
    """(P,3) linear."""
    shine: np.ndarray
    """(P,) specular strength."""
    faces: np.ndarray
    """(F,3) into the points."""


def ribbons(
    template: np.ndarray,
    normals: np.ndarray,
    roots: np.ndarray,
    lines: np.ndarray,
    leaning: np.ndarray,
    width_m: np.ndarray,
    colour: np.ndarray,
    shine: float,
) -> Ribbons:
    """Strips along lines.

    Args:
        template, normals: (V,3) of the face at rest.
        roots: (S,2) vertices.
        lines: (S,K,3) metres.
        leaning: (S,K,3) towards where each strip shows its face.
        width_m: (S,K).
        colour: (S,K,3) linear; shine: specular strength.
    """
    n, k = lines.shape[:2]
    along = np.gradient(lines, axis=1)
    side = np.cross(along, leaning)
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    half = 0.5 * width_m[..., None] * side
    points = np.stack([lines - half, lines + half], 2)
    lit = np.stack([leaning - ROUND * side, leaning + ROUND * side], 2)
    lit /= np.maximum(np.linalg.norm(lit, axis=-1, keepdims=True), 1e-9)
    first = (np.arange(n * k) * 2).reshape(n, k)[:, :-1].ravel()
    faces = np.concatenate([first[:, None] + [0, 1, 3], first[:, None] + [0, 3, 2]])
    origin, axes = frames(template, normals, roots)
    local = np.einsum("sij,skwj->skwi", axes, points - origin[:, None, None])
    return Ribbons(
        roots.astype(np.uint32),
        np.repeat(np.arange(n, dtype=np.uint32), 2 * k),
        local.reshape(-1, 3),
        np.einsum("sij,skwj->skwi", axes, lit).reshape(-1, 3),
        np.repeat(colour, 2, axis=1).reshape(-1, 3),
        np.full(2 * n * k, shine),
        faces,
    )


def frames(vertices: np.ndarray, normals: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,3) middles of edges and (S,3,3) rows: along each edge, the skin's normal square to it, across both."""
    a, b = vertices[roots[:, 0]].astype(np.float64), vertices[roots[:, 1]].astype(np.float64)
    along = (b - a) / np.maximum(np.linalg.norm(b - a, axis=1, keepdims=True), 1e-12)
    out = normals[roots[:, 0]] + normals[roots[:, 1]]
    out = out - (out * along).sum(1, keepdims=True) * along
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    return (a + b) / 2, np.stack([along, out, np.cross(along, out)], 1)


def joined(parts: list[Ribbons]) -> Ribbons:
    """All of them as one."""
    strips = np.cumsum([0, *(len(p.roots) for p in parts)])
    points = np.cumsum([0, *(len(p.local) for p in parts)])
    return Ribbons(
        np.concatenate([p.roots for p in parts]),
        np.concatenate([p.strip + np.uint32(s) for p, s in zip(parts, strips, strict=False)]),
        np.concatenate([p.local for p in parts]),
        np.concatenate([p.leaning for p in parts]),
        np.concatenate([p.colour for p in parts]),
        np.concatenate([p.shine for p in parts]),
        np.concatenate([p.faces + s for p, s in zip(parts, points, strict=False)]),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def lid_edges(topology: Topology) -> np.ndarray:
    """(E,2) edges of the lids' rims, around both eyes: between skin and socket."""
    assert topology.parts is not None
    names = np.array(topology.part_names)[topology.parts]
    socket = np.any(names[topology.faces] == "eye_socket", axis=1)
    skin = np.all(names[topology.faces] == "skin", axis=1)

    def edges(which: np.ndarray) -> set[tuple[int, int]]:
        return set(map(tuple, edges_of(topology.faces[which])[0].tolist()))

    return np.array(sorted(edges(socket) & edges(skin)), np.int64).reshape(-1, 2)


def lashes(topology: Topology, template: np.ndarray, normals: np.ndarray, px_m: float) -> list[Ribbons]:
    """Upper and lower lashes of both eyes; px_m: a pixel's size at the face."""
    assert topology.parts is not None
    rng = np.random.default_rng(71)
    names = np.array(topology.part_names)[topology.parts]
    rim = lid_edges(topology)
    middles = template[rim].mean(1)
    made = []
    for sign, part in ((1, "eye_left"), (-1, "eye_right")):
        centre = template[names == part].mean(0)
        mine = rim[np.abs(middles[:, 0] - centre[0]) < 0.03]
        spots = template[mine].mean(1)
        inner, outer = spots[np.argmin(sign * spots[:, 0])], spots[np.argmax(sign * spots[:, 0])]
        place = (spots[:, 0] - inner[0]) / (outer[0] - inner[0])  # 0 at the nose, 1 at the temple
        above = spots[:, 1] > inner[1] + place * (outer[1] - inner[1])
        for up, count in ((True, LASHES[0]), (False, LASHES[1])):
            here = np.flatnonzero(above == up)
            here = here[np.argsort(place[here])]
            wanted = np.linspace(0.13 if up else 0.35, 0.98, count) + rng.normal(0, 0.006, count)
            nearest = here[np.abs(place[here][None] - wanted[:, None]).argmin(1)]
            x = inner[0] + wanted * (outer[0] - inner[0])
            y, z = (np.interp(wanted, place[here], spots[here, axis]) for axis in (1, 2))
            root = np.stack([x, y - 0.0005, z + 0.0011], 1)  # on the outer edge of the lid's rim
            fan = sign * (wanted - 0.42)[:, None] * [1.25, 0, 0]
            rise = -0.12 if up else -0.45
            start = unit(fan + AHEAD + rise * UP + rng.normal(0, 0.07, (count, 3)))
            length = (0.0078 if up else 0.0040) * (0.55 + 0.45 * np.sin(np.pi * np.clip(wanted, 0.1, 0.85)))
            length = (length * rng.uniform(0.8, 1.1, count))[:, None, None]
            s = np.linspace(0, 1, 4)[None, :, None]
            bend = (0.40 if up else -0.15) * UP
            lines = root[:, None] + length * (s * start[:, None] + s * s * bend)
            width = np.maximum(0.00030 if up else 0.00018, 0.45 * px_m) * np.array([1.0, 0.85, 0.6, 0.15])
            made.append(
                ribbons(
                    template, normals, mine[nearest], lines, np.broadcast_to(AHEAD, lines.shape),
                    np.broadcast_to(width, lines.shape[:2]), np.broadcast_to([0.006, 0.005, 0.0045], lines.shape), 0.0,
                )
            )  # fmt: skip
    return made


def scattered(
    topology: Topology, template: np.ndarray, cover: np.ndarray, count: int, seed: int, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Random spots on some faces, the denser the more hair covers them there.

    Args:
        cover: (H,W) in [0,1], over the texture; faces: (n,) indices.

    Returns:
        (count,) face of each, (count,3) barycentric shares; fewer where there is hardly any hair.
    """
    assert topology.uvs is not None
    assert topology.uv_faces is not None
    rng = np.random.default_rng(seed)
    a, b, c = (template[topology.faces[faces, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    tries = rng.choice(faces, 24 * count, p=area / area.sum())
    shares = rng.dirichlet([1.0, 1.0, 1.0], len(tries))
    u, v = np.einsum("nk,nkc->cn", shares, topology.uvs[topology.uv_faces[tries]].astype(np.float64))
    tall, wide = cover.shape
    there = cover[np.clip((1 - v) * tall, 0, tall - 1).astype(int), np.clip(u * wide, 0, wide - 1).astype(int)]
    kept = np.flatnonzero(rng.random(len(tries)) < there)[:count]
    return tries[kept], shares[kept]


def brow_hairs(
    topology: Topology, template: np.ndarray, normals: np.ndarray, cover: np.ndarray, colour: np.ndarray, px_m: float
) -> list[Ribbons]:
    """Hairs of both brows; cover: (H,W) where the texture has them; colour: (3,) linear."""
    rng = np.random.default_rng(73)
    eyes = np.flatnonzero(np.char.startswith(np.array(topology.part_names)[topology.parts], "eye_left"))
    eye = template[eyes].mean(0)
    spots = template[topology.faces].mean(1)
    near = (np.abs(spots[:, 1] - eye[1] - 0.016) < 0.020) & (spots[:, 2] > eye[2] - 0.02)
    skin = np.array(topology.part_names)[topology.parts][topology.faces] == "skin"
    chosen, shares = scattered(topology, template, cover, BROW_HAIRS, 74, np.flatnonzero(near & skin.all(1)))
    if not len(chosen):
        return []
    corners = topology.faces[chosen]
    root = np.einsum("nk,nkc->nc", shares, template[corners].astype(np.float64))
    out = unit(np.einsum("nk,nkc->nc", shares, normals[corners]))
    along = np.clip((np.abs(root[:, 0]) - np.abs(root[:, 0]).min()) / np.ptp(np.abs(root[:, 0])), 0, 1)
    lean = np.radians(56 - 54 * along**0.6) + rng.normal(0, 0.10, len(root))
    way = np.stack([np.sign(root[:, 0]) * np.cos(lean), np.sin(lean), 0 * lean], 1)
    way = unit(way - (way * out).sum(1, keepdims=True) * out)
    length = (0.0058 * rng.uniform(0.7, 1.15, len(root)) * (1 - 0.25 * along))[:, None, None]
    s = np.linspace(0, 1, 4)[None, :, None]
    outwards = np.sign(root[:, :1]) * np.array([[1.0, -0.25, 0.0]])
    lines = root[:, None] + length * (s * way[:, None] + 0.25 * s * s * outwards[:, None]) + 0.0003 * out[:, None]
    lines = lines + 0.0009 * (s * (1 - s) * 4 * out[:, None])
    width = np.maximum(0.00026, FINEST_PX * px_m) * np.array([1.0, 0.9, 0.65, 0.15])
    shade = colour * rng.uniform(0.75, 1.25, (len(root), 1, 1))
    return [
        ribbons(
            template, normals, corners[:, :2], lines, np.broadcast_to(out[:, None], lines.shape),
            np.broadcast_to(width, lines.shape[:2]), np.broadcast_to(shade, lines.shape), 0.02,
        )
    ]  # fmt: skip


def lift(topology: Topology, template: np.ndarray, cover: np.ndarray, style: Style) -> np.ndarray:
    """(V,) metres by which hair stands over the scalp; cover: (H,W) where the texture has it."""
    at_vertex = np.zeros(topology.n_vertices)
    assert topology.uvs is not None
    assert topology.uv_faces is not None
    tall, wide = cover.shape
    rows = np.clip((1 - topology.uvs[:, 1]) * tall, 0, tall - 1).astype(int)
    columns = np.clip(topology.uvs[:, 0] * wide, 0, wide - 1).astype(int)
    skin = np.all(np.array(topology.part_names)[topology.parts][topology.faces] == "skin", axis=1)
    at_vertex[topology.faces[skin].ravel()] = cover[rows, columns][topology.uv_faces[skin].ravel()]
    ends = np.concatenate([topology.faces[:, [0, 1]], topology.faces[:, [1, 2]], topology.faces[:, [2, 0]]])
    count = np.bincount(ends[:, 0], minlength=len(at_vertex)) + 1e-9
    for _ in range(2):
        around = np.bincount(ends[:, 0], at_vertex[ends[:, 1]], len(at_vertex)) / count
        at_vertex = np.minimum(at_vertex, 0.5 * at_vertex + 0.5 * around)
    y = template[:, 1]
    height = np.clip((y - 0.02) / (y.max() - 0.02), 0, 1)
    thick = style.sides_m + (style.top_m - style.sides_m) * height
    thick = thick * (1 + style.bumps * np.random.default_rng(77).uniform(-1, 1, len(thick)))
    return thick * np.clip((at_vertex - 0.15) / 0.6, 0, 1) ** 1.5


def locks(
    topology: Topology,
    template: np.ndarray,
    normals: np.ndarray,
    raised_m: np.ndarray,
    cover: np.ndarray,
    style: Style,
    colour: np.ndarray,
    px_m: float,
) -> Ribbons | None:
    """Hair of the scalp over the raised surface; None where a style has none.

    Args:
        raised_m: (V,) from `lift`; cover: (H,W) where the texture has hair; colour: (3,) linear.
    """
    if style.locks == 0:
        return None
    rng = np.random.default_rng(75)
    scalp = np.flatnonzero((raised_m[topology.faces] > 1e-4).all(1))
    # at the hairline single locks would stand out as spikes
    dense = np.where(cover > 0.85, cover, 0.0) if style.cut == "short" else cover
    chosen, shares = scattered(topology, template, dense, style.locks, 76, scalp)
    if not len(chosen):
        return None
    corners = topology.faces[chosen]
    raised = template + raised_m[:, None] * normals
    out = unit(np.einsum("nk,nkc->nc", shares, normals[corners]))
    at = np.einsum("nk,nkc->nc", shares, raised[corners].astype(np.float64)) - 0.001 * out
    chin = float(template[topology.landmarks["chin"], 1].mean())
    skin = np.flatnonzero((np.array(topology.part_names)[topology.parts] == "skin") & (raised[:, 1] > chin - 0.04))[::2]
    wide = float(np.abs(template[raised_m > 1e-4, 0]).max())
    skin = skin[np.abs(raised[skin, 0]) < wide + 0.012]  # without the ears
    ground, upright = raised[skin].astype(np.float32), normals[skin].astype(np.float32)
    crown = np.array([0.012, template[:, 1].max() - 0.012, -0.03])
    steps, n = style.steps, len(at)
    layer = rng.uniform(0.0004, style.layers_m, n)
    lines, facing = [at.copy()], [out.copy()]
    away = at - crown
    jitter = rng.normal(0, style.unruly, (n, 3))
    for k in range(steps):
        comb = unit(away * [1, 0.4, 1]) + np.array([0.25, -0.30 * min(1.0, k / 3), 0.20])
        way = unit(comb + jitter)
        way = unit(way - 0.85 * (way * out).sum(1, keepdims=True) * out)
        at = at + style.step_m * way
        # |a - g|² less |a|², which is the same for all g
        nearest = ((ground**2).sum(1)[None] - 2 * at.astype(np.float32) @ ground.T).argmin(1)
        # below the ears it hangs round the neck, whatever the surface does there
        hangs = at[:, 1:2] < -0.02
        out = unit(np.where(hangs, at * [1, 0, 1] + [0, 0, 0.02], upright[nearest].astype(np.float64)))
        above = ((at - ground[nearest]) * out).sum(1)
        wanted = layer * min(1.0, (k + 1) / 3)
        # never within the head; near it, it lies on it
        push = np.where(
            above < wanted,
            wanted - above,
            np.where((above < 0.02) & (at[:, 1] > 0), style.lying * (wanted - above), 0.0),
        )
        at = at + push[:, None] * out
        lines.append(at.copy())
        facing.append(out.copy())
    curves, facing_out = np.stack(lines, 1), np.stack(facing, 1)
    if style.cut == "short":  # one that ends on bare skin is a spike
        within = raised_m[skin][nearest] > 0.25 * style.sides_m
        curves, facing_out, corners, n = curves[within], facing_out[within], corners[within], int(within.sum())
    facing_out = unit(facing_out + np.roll(facing_out, 1, 1) + 0.25 * AHEAD)
    share = np.linspace(0, 1, steps + 1)
    shape = np.sqrt(np.clip(1.02 - share**3, 0, 1)) * (0.55 + 0.45 * np.clip(share * 6, 0, 1))
    width = style.width_m * rng.uniform(0.6, 1.2, (n, 1)) * shape
    shade = rng.uniform(1 - style.streaks, 1 + style.streaks, (n, 1, 1)) * (0.82 + 0.26 * share)[None, :, None]
    return ribbons(
        template,
        normals,
        corners[:, :2],
        curves,
        facing_out,
        np.maximum(width, 0.3 * px_m),
        shade * colour,
        style.shine,
    )


@dataclass(frozen=True)
class Style:
    """A haircut."""

    cut: str = "short"
    """crop, short, long or curls."""
    top_m: float = 0.008
    sides_m: float = 0.003
    """How thick it stands over the scalp."""
    bumps: float = 0.0
    """How unevenly."""
    locks: int = 0
    steps: int = 6
    step_m: float = 0.004
    """How many ribbons, of how many pieces, each so long."""
    width_m: float = 0.003
    layers_m: float = 0.003
    """How far over each other they lie."""
    unruly: float = 0.2
    streaks: float = 0.15
    """How much their brightness varies."""
    lying: float = 0.35
    """How much of their distance to the scalp they lose with each piece."""
    hem_m: float = 0.0
    """Where long hair ends, above the chin."""
    shine: float = 0.05


CUTS = {
    "crop": Style("crop", 0.002, 0.001),
    "short": Style("short", 0.010, 0.004, 0.05, 2200, 3, 0.0056, 0.0014, 0.0014, 0.14, 0.08, 0.8, 0.0, 0.03),
    "long": Style("long", 0.009, 0.006, 0.0, 1300, 14, 0.0165, 0.0034, 0.0090, 0.018, 0.13, 0.5, -0.004, 0.11),
    "curls": Style("curls", 0.028, 0.020, 0.13, 2600, 2, 0.0042, 0.0014, 0.0045, 0.8, 0.10, 0.35, 0.0, 0.02),
}
