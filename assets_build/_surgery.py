"""From the whole-body base mesh to a talking head: neck cut, smoother scalp, new teeth and eyes, triangles.

Every vertex of the result is a fixed linear combination of the base mesh's vertices, so that the same surgery
carries the base mesh, every identity target and every face unit over (`Surgery.apply`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from _makehuman import EYES, SKIN, TONGUE, MakeHuman

Row = dict[int, float]
"""Raw vertex index → weight."""


@dataclass
class Polygon:
    """One face under surgery: corners as indices into Surgery.rows and Surgery.uvs."""

    part: str
    corners: list[int]
    uv_corners: list[int]


@dataclass
class Surgery:
    """Polygons over vertices that are linear combinations of raw vertices."""

    raw: np.ndarray
    """(N,3) metres: positions of the raw vertices in the person that cuts are made on."""
    rows: list[Row] = field(default_factory=list)
    uvs: list[np.ndarray] = field(default_factory=list)
    polygons: list[Polygon] = field(default_factory=list)

    def position(self, index: int) -> np.ndarray:
        return sum(weight * self.raw[i] for i, weight in self.rows[index].items())

    def find(self, raw_index: int) -> int:
        """The vertex that is the raw vertex `raw_index` unchanged."""
        return next(k for k, row in enumerate(self.rows) if row == {raw_index: 1.0})

    def blend(self, terms: Sequence[tuple[int, float]]) -> Row:
        """The row of a weighted sum of existing vertices."""
        row: Row = {}
        for index, weight in terms:
            for i, w in self.rows[index].items():
                row[i] = row.get(i, 0.0) + weight * w
        return {i: w for i, w in row.items() if abs(w) > 1e-9}

    def add_vertex(self, row: Row) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def add_uv(self, uv: np.ndarray) -> int:
        self.uvs.append(np.asarray(uv, np.float64))
        return len(self.uvs) - 1

    def add_quads(self, source: MakeHuman, part: str) -> None:
        vertex_of = {}
        uv_of = {}
        for quad, uv_quad in zip(source.quads[part], source.uv_quads[part], strict=True):
            for v in quad:
                if v not in vertex_of:
                    vertex_of[v] = self.add_vertex({int(v): 1.0})
            for t in uv_quad:
                if t not in uv_of:
                    uv_of[t] = self.add_uv(source.uvs[t])
            self.polygons.append(Polygon(part, [vertex_of[v] for v in quad], [uv_of[t] for t in uv_quad]))

    def apply(self, field_xyz: np.ndarray) -> np.ndarray:
        """(V,3): any (N,3) field of the raw vertices carried over to the result."""
        out = np.zeros((len(self.rows), 3))
        to = np.concatenate([np.full(len(row), k) for k, row in enumerate(self.rows)])
        source = np.concatenate([np.fromiter(row.keys(), int, len(row)) for row in self.rows])
        weights = np.concatenate([np.fromiter(row.values(), float, len(row)) for row in self.rows])
        np.add.at(out, to, weights[:, None] * field_xyz[source])
        return out

    def compact(self) -> dict[int, int]:
        """Forget vertices and UVs that no polygon uses; returns old → new vertex index."""
        used = sorted({v for p in self.polygons for v in p.corners})
        used_uvs = sorted({t for p in self.polygons for t in p.uv_corners})
        new, new_uv = {v: k for k, v in enumerate(used)}, {t: k for k, t in enumerate(used_uvs)}
        self.rows = [self.rows[v] for v in used]
        self.uvs = [self.uvs[t] for t in used_uvs]
        for p in self.polygons:
            p.corners = [new[v] for v in p.corners]
            p.uv_corners = [new_uv[t] for t in p.uv_corners]
        return new


def clip_below(surgery: Surgery, point: np.ndarray, normal: np.ndarray, snap: float = 0.3) -> None:
    """Cut away the skin on the negative side of a plane, leaving an edge that lies in the plane.

    Vertices closer to the cut than `snap` of an edge are slid along that edge into the plane, so that the cut
    makes no slivers.
    """
    polygons = [p for p in surgery.polygons if p.part == SKIN]
    height = {v: float((surgery.position(v) - point) @ normal) for p in polygons for v in p.corners}
    slides: dict[int, tuple[float, int]] = {}
    for p in polygons:
        for a, b in zip(p.corners, [*p.corners[1:], p.corners[0]], strict=True):
            for v, w in ((a, b), (b, a)):
                if height[v] * height[w] < 0:
                    t = height[v] / (height[v] - height[w])
                    if t < min(snap, slides.get(v, (1.0, 0))[0]):
                        slides[v] = (t, w)
    moved = {v: surgery.blend([(v, 1 - t), (w, t)]) for v, (t, w) in slides.items()}
    for v, row in moved.items():
        surgery.rows[v] = row
        height[v] = 0.0
    crossings: dict[tuple[int, int], int] = {}
    uv_crossings: dict[tuple[int, int], int] = {}
    kept = [p for p in surgery.polygons if p.part != SKIN]
    for p in polygons:
        corners, uv_corners = [], []
        n = len(p.corners)
        for k in range(n):
            a, b, ta, tb = p.corners[k], p.corners[(k + 1) % n], p.uv_corners[k], p.uv_corners[(k + 1) % n]
            if height[a] >= 0:
                corners.append(a)
                uv_corners.append(ta)
            if height[a] * height[b] < 0:
                t = height[a] / (height[a] - height[b])
                key, uv_key = (min(a, b), max(a, b)), (min(ta, tb), max(ta, tb))
                if key not in crossings:
                    crossings[key] = surgery.add_vertex(surgery.blend([(a, 1 - t), (b, t)]))
                if uv_key not in uv_crossings:
                    uv_crossings[uv_key] = surgery.add_uv((1 - t) * surgery.uvs[ta] + t * surgery.uvs[tb])
                corners.append(crossings[key])
                uv_corners.append(uv_crossings[uv_key])
        if len(corners) >= 3 and any(height.get(v, 0.0) > 0 for v in corners):
            kept.append(Polygon(SKIN, corners, uv_corners))
    surgery.polygons = kept


def keep_connected(surgery: Surgery, seed: int) -> None:
    """Keep only the skin polygons that hang together with the vertex `seed`."""
    touching: dict[int, list[Polygon]] = {}
    for p in surgery.polygons:
        for v in p.corners if p.part == SKIN else ():
            touching.setdefault(v, []).append(p)
    reached, front = {seed}, [seed]
    while front:
        fresh = {v for p in touching[front.pop()] for v in p.corners} - reached
        reached |= fresh
        front.extend(fresh)
    surgery.polygons = [p for p in surgery.polygons if p.part != SKIN or p.corners[0] in reached]


def refine(surgery: Surgery, chosen: set[int]) -> None:
    """Split the chosen quads (indices into polygons) in four, on the smooth surface through their vertices.

    New edge points follow the four-point scheme (Dyn, Levin & Gregory 1987) along the quads' edge loops, so that
    the coarse scalp gets a round outline; quads beside the chosen ones take the new points as extra corners.
    """
    quads_at: dict[int, list[int]] = {}
    for k, p in enumerate(surgery.polygons):
        for v in p.corners:
            quads_at.setdefault(v, []).append(k)

    def onward(a: int, b: int) -> int | None:
        """The vertex that continues the edge loop a → b beyond b, if b is a regular vertex."""
        around = [surgery.polygons[k].corners for k in quads_at[b]]
        if len(around) != 4 or any(len(c) != 4 for c in around):
            return None
        beyond = {v for c in around if a not in c for v in (c[c.index(b) - 1], c[(c.index(b) + 1) % 4])}
        beside = {v for c in around if a in c for v in c}
        rest = beyond - beside
        return rest.pop() if len(rest) == 1 else None

    points: dict[tuple[int, int], int] = {}
    uv_points: dict[tuple[int, int], int] = {}

    def edge_point(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in points:
            terms = [(a, 0.5), (b, 0.5)]
            for near, far in ((a, b), (b, a)):
                beyond = onward(far, near)
                if beyond is not None:
                    terms += [(near, 1 / 16), (beyond, -1 / 16)]
            points[key] = surgery.add_vertex(surgery.blend(terms))
        return points[key]

    def uv_point(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in uv_points:
            uv_points[key] = surgery.add_uv((surgery.uvs[a] + surgery.uvs[b]) / 2)
        return uv_points[key]

    result: list[Polygon] = []
    for k in sorted(chosen):
        p = surgery.polygons[k]
        c, t = p.corners, p.uv_corners
        mids = [edge_point(c[i], c[(i + 1) % 4]) for i in range(4)]
        uv_mids = [uv_point(t[i], t[(i + 1) % 4]) for i in range(4)]
        centre = surgery.add_vertex(surgery.blend([(m, 0.5) for m in mids] + [(v, -0.25) for v in c]))
        uv_centre = surgery.add_uv(np.mean([surgery.uvs[i] for i in t], axis=0))
        for i in range(4):
            result.append(
                Polygon(p.part, [c[i], mids[i], centre, mids[i - 1]], [t[i], uv_mids[i], uv_centre, uv_mids[i - 1]])
            )
    for k, p in enumerate(surgery.polygons):
        if k in chosen:
            continue
        corners, uv_corners = [], []
        n = len(p.corners)
        for i in range(n):
            a, b = p.corners[i], p.corners[(i + 1) % n]
            corners.append(a)
            uv_corners.append(p.uv_corners[i])
            key = (min(a, b), max(a, b))
            if key in points:
                corners.append(points[key])
                uv_corners.append(uv_point(p.uv_corners[i], p.uv_corners[(i + 1) % n]))
        result.append(Polygon(p.part, corners, uv_corners))
    surgery.polygons = result


def triangulate(surgery: Surgery) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Triangles (F,3), their UV corners (F,3) and part names: each polygon by its best-shaped diagonals."""
    triangles, uv_triangles, parts = [], [], []

    def worst_angle(points: list[np.ndarray]) -> float:
        """Smallest sine of the triangle's corners: larger is better shaped."""
        a, b, c = points
        area = np.linalg.norm(np.cross(b - a, c - a))
        sides = sorted(float(np.linalg.norm(x - y)) for x, y in ((a, b), (b, c), (c, a)))
        return float(area / max(sides[1] * sides[2], 1e-15))

    for p in surgery.polygons:
        corners, uv_corners = list(p.corners), list(p.uv_corners)
        while len(corners) > 3:
            n = len(corners)
            spots = [surgery.position(v) for v in corners]
            # a diagonal is judged by both sides, so that mirror-image polygons are cut alike
            scores = []
            for i in range(n):
                ear = worst_angle([spots[i - 1], spots[i], spots[(i + 1) % n]])
                rest = worst_angle([spots[i - 1], spots[(i + 1) % n], spots[(i + 2) % n]]) if n == 4 else ear
                scores.append(round(min(ear, rest), 6))
            i = int(np.argmax(scores))
            triangles.append([corners[i - 1], corners[i], corners[(i + 1) % n]])
            uv_triangles.append([uv_corners[i - 1], uv_corners[i], uv_corners[(i + 1) % n]])
            parts.append(p.part)
            del corners[i], uv_corners[i]
        triangles.append(corners)
        uv_triangles.append(uv_corners)
        parts.append(p.part)
    return np.array(triangles, np.int32), np.array(uv_triangles, np.int32), parts


def affine_rows(raw: np.ndarray, anchors: np.ndarray, points: np.ndarray) -> list[Row]:
    """Rows that make (n,3) `points` follow the affine motion of the raw vertices `anchors` (indices)."""
    base = np.c_[raw[anchors], np.ones(len(anchors))]
    weights = np.c_[points, np.ones(len(points))] @ np.linalg.pinv(base)
    return [{int(a): float(w) for a, w in zip(anchors, row, strict=True)} for row in weights]


def add_grid(surgery: Surgery, part: str, rows: list[Row], shape: tuple[int, int], uv_grid: np.ndarray) -> np.ndarray:
    """Add a (n,m) grid of vertices as quads; returns (n,m) vertex indices. `uv_grid` is (n,m,2)."""
    n, m = shape
    index = np.array([surgery.add_vertex(row) for row in rows]).reshape(n, m)
    uv_index = np.array([surgery.add_uv(uv) for uv in uv_grid.reshape(-1, 2)]).reshape(n, m)
    for i in range(n - 1):
        for j in range(m - 1):
            at = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            surgery.polygons.append(Polygon(part, [int(index[a]) for a in at], [int(uv_index[a]) for a in at]))
    return index


def edge_loop(surgery: Surgery, start: int) -> np.ndarray:
    """(n,) vertices of the edge loop through a midline vertex, from -X to +X, until the quads turn irregular."""
    around: dict[int, list[list[int]]] = {}
    for p in surgery.polygons:
        for v in p.corners:
            around.setdefault(v, []).append(p.corners)

    def beside(v: int) -> set[int]:
        return {w for c in around[v] for w in (c[c.index(v) - 1], c[(c.index(v) + 1) % len(c)])}

    halves = []
    for side in (-1, 1):
        loop = [start, max(beside(start), key=lambda v: side * surgery.position(v)[0])]
        while len(around[loop[-1]]) == 4:
            last, before = loop[-1], loop[-2]
            near = {v for c in around[last] if before in c for v in c}
            onward = beside(last) - near
            if len(onward) != 1:
                break
            loop.append(onward.pop())
            if loop[-1] == start:
                break
        halves.append(loop)
    return np.array([*reversed(halves[0][1:]), *halves[1]])


def skin_islands(surgery: Surgery, source: MakeHuman) -> None:
    """Tell the inner mouth and the eye sockets from the skin, by the islands of MakeHuman's texture map."""
    leader = list(range(len(surgery.uvs)))

    def find(t: int) -> int:
        while leader[t] != t:
            leader[t] = leader[leader[t]]
            t = leader[t]
        return t

    skin = [p for p in surgery.polygons if p.part == SKIN]
    for p in skin:
        for t in p.uv_corners[1:]:
            leader[find(t)] = find(p.uv_corners[0])
    islands: dict[int, list[Polygon]] = {}
    for p in skin:
        islands.setdefault(find(p.uv_corners[0]), []).append(p)
    inside = {"inner_mouth": source.quads[TONGUE], **{f"eye_socket{k}": source.quads[e] for k, e in enumerate(EYES)}}
    middles = {name: surgery.raw[np.unique(q)].mean(0) for name, q in inside.items()}
    for polygons in islands.values():
        spots = np.array([surgery.position(v) for v in {v for p in polygons for v in p.corners}])
        middle = (spots.max(0) + spots.min(0)) / 2
        name, distance = min(((n, np.linalg.norm(middle - m)) for n, m in middles.items()), key=lambda x: x[1])
        label = name.rstrip("01") if distance < 0.02 else "skin"
        for p in polygons:
            p.part = label
