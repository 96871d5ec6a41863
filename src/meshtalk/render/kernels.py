"""Compiled rasterisation kernels: visibility of triangles in each pixel.

Imported late: it needs the `media` extra.

Nothing here uses fast-math, a transcendental function or threads, so that every machine draws the same bytes.
Screen space has its origin at the top left, pixel (x, y) covers [x, x+1) × [y, y+1), and nearness grows towards
the viewer.
"""

from __future__ import annotations

import numpy as np

from meshtalk.jit import compiled
from meshtalk.render.look import HAIR, SHELL, TOOTH

BACKGROUND = -1
SUBPIXEL = 256.0
"""Screen positions are snapped to 1/256 pixel: edge functions are then exact integers, and two triangles that
share an edge neither overlap nor leave a crack."""
FARTHEST_PX = 1e6
"""Screen positions farther away are put there: numbers of pixels stay what integers hold, whatever a vertex's place is."""
N_SAMPLES = 4
SAMPLES = np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]])
"""Positions inside a pixel, on a rotated grid: edges near the horizontal and the vertical get four steps, not two."""
YIELDS_M = (0.0, 0.0005, 0.0025, 0.0015, 0.003, 0.0)
"""By kind: how much nearer than skin a face has to be to cover it. What comes through a lid or a lip in an extreme pose
stays hidden; the cornea seen from the side, far before the other lid, does not."""
SHELTER_M = (0.0, 0.022, 0.0046, 0.006, 0.022, 0.0)
"""By kind: how far on the picture lids and lips keep the light off."""
DARK_M = (0.0, 0.040, 0.0, 0.0, 0.052, 0.0)
"""By kind: how far behind lips all around it is dark; 0 where that does not matter, but only how much they cover."""
SHELTERS = (0.0, 0.62, 0.80, 0.55, 0.85, 0.0)
"""By kind: share of the light that lids and lips all around keep off."""
TILE = 8
"""Pixels along a side of the coarse depth cells that let hidden back faces be skipped."""


_compiled = compiled(error_model="numpy")


@_compiled
def vertex_normals(vertices, faces, rotation, normals):
    """Area-weighted unit normals in camera space. vertices (V,3), faces (F,3), rotation (3,3) → normals (V,≥3)."""
    normals[:, :3] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux = float(vertices[b, 0]) - vertices[a, 0]
        uy = float(vertices[b, 1]) - vertices[a, 1]
        uz = float(vertices[b, 2]) - vertices[a, 2]
        vx = float(vertices[c, 0]) - vertices[a, 0]
        vy = float(vertices[c, 1]) - vertices[a, 1]
        vz = float(vertices[c, 2]) - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(normals.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        length = np.sqrt(x * x + y * y + z * z)
        scale = 1.0 / length if length > 1e-20 else 0.0
        for k in range(3):
            normals[v, k] = (rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * z) * scale


@_compiled
def project(vertices, rotation, centre, distance, view, screen):
    """Perspective: vertices (V,3) metres → screen (V,3): x, y in pixels (snapped), nearness 1/depth (0: behind).

    view (3,) is the focal length and the x and y of the centre of the picture, pixels.
    """
    focal, cx, cy = view[0], view[1], view[2]
    for v in range(vertices.shape[0]):
        x, y, z = vertices[v, 0] - centre[0], vertices[v, 1] - centre[1], vertices[v, 2] - centre[2]
        depth = distance - (rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z)
        if not depth >= 1e-3:  # or no number
            screen[v, 0] = screen[v, 1] = screen[v, 2] = 0.0
            continue
        near = 1.0 / depth
        px = cx + focal * near * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
        py = cy - focal * near * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
        # in this order NaN becomes a number
        px, py = min(max(-FARTHEST_PX, px), FARTHEST_PX), min(max(-FARTHEST_PX, py), FARTHEST_PX)
        screen[v, 0] = np.floor(px * SUBPIXEL + 0.5) / SUBPIXEL
        screen[v, 1] = np.floor(py * SUBPIXEL + 0.5) / SUBPIXEL
        screen[v, 2] = near


@_compiled
def _fill(
    x0, y0, z0, x1, y1, z1, x2, y2, z2, mark, yields, kinds, left, right, top, bottom, offset, nearness, owner
):  # fmt: skip
    """Give the samples of one triangle, clockwise on screen, to `mark` where it is the nearest so far; see `YIELDS_M`."""
    # E_k(p) = a px + b py + c >= 0 inside; a sample exactly on an edge belongs to the triangle that has it as a top
    # or left edge
    half_step = 0.5 / (SUBPIXEL * SUBPIXEL)
    a0, b0 = y1 - y2, x2 - x1
    a1, b1 = y2 - y0, x0 - x2
    a2, b2 = y0 - y1, x1 - x0
    c0 = -a0 * x1 - b0 * y1 - (0.0 if (a0 > 0.0 or (a0 == 0.0 and b0 > 0.0)) else half_step)
    c1 = -a1 * x2 - b1 * y2 - (0.0 if (a1 > 0.0 or (a1 == 0.0 and b1 > 0.0)) else half_step)
    c2 = -a2 * x0 - b2 * y0 - (0.0 if (a2 > 0.0 or (a2 == 0.0 and b2 > 0.0)) else half_step)
    area = b2 * (y2 - y0) + a2 * (x2 - x0)
    az, bz = (a0 * z0 + a1 * z1 + a2 * z2) / area, (b0 * z0 + b1 * z1 + b2 * z2) / area
    cz = z0 - az * x0 - bz * y0
    most0 = most1 = most2 = -1e300
    for s in range(N_SAMPLES):
        sx, sy = SAMPLES[s, 0], SAMPLES[s, 1]
        offset[0, s], offset[1, s], offset[2, s] = a0 * sx + b0 * sy, a1 * sx + b1 * sy, a2 * sx + b2 * sy
        offset[3, s] = az * sx + bz * sy
        most0, most1, most2 = max(most0, offset[0, s]), max(most1, offset[1, s]), max(most2, offset[2, s])
    slope0 = -1.0 / a0 if a0 != 0.0 else 0.0
    slope1 = -1.0 / a1 if a1 != 0.0 else 0.0
    slope2 = -1.0 / a2 if a2 != 0.0 else 0.0
    for y in range(top, bottom + 1):
        e0, e1, e2, ez = b0 * y + c0, b1 * y + c1, b2 * y + c2, bz * y + cz
        # pixels of this row with any sample inside; a hair wider than exact, because the division rounds
        low, high = float(left), float(right)
        for bound, slope in (
            ((e0 + most0) * slope0, slope0),
            ((e1 + most1) * slope1, slope1),
            ((e2 + most2) * slope2, slope2),
        ):
            if slope < 0.0:
                low = max(low, bound - 1e-6)
            elif slope > 0.0:
                high = min(high, bound + 1e-6)
        for x in range(np.uint32(low), np.uint32(max(high + 1.0, 0.0))):
            p0, p1, p2, pz = e0 + a0 * x, e1 + a1 * x, e2 + a2 * x, ez + az * x
            for s in range(N_SAMPLES):
                z = np.float32(pz + offset[3, s])
                old = nearness[y, x, s]
                inside = (p0 + offset[0, s] >= 0.0) & (p1 + offset[1, s] >= 0.0) & (p2 + offset[2, s] >= 0.0)
                wins = inside & (z > old)
                if yields > 0.0 and wins:
                    covered = owner[y, x, s]
                    if covered >= 0 and kinds[covered] == SHELL:  # a metre of depth is z² of nearness
                        wins = z - yields * z * z > old
                nearness[y, x, s] = z if wins else old
                owner[y, x, s] = mark if wins else owner[y, x, s]


@_compiled
def rasterise(screen, faces, kinds, nearness, owner):
    """Which triangle each sample of each pixel sees.

    Args:
        screen: (V,3) from `project`.
        faces: (F,3); kinds: (F,) uint8, SHELL and so on; of all but SHELL the back is never seen.
        nearness: (H,W,N_SAMPLES) float32, written.
        owner: (H,W,N_SAMPLES) int32, written: face f seen from the front is f, from behind -2-f, nothing BACKGROUND.
    """
    height, width = owner.shape[0], owner.shape[1]
    nearness[:] = 0.0
    owner[:] = BACKGROUND
    offset = np.empty((4, N_SAMPLES))
    farthest = np.zeros(((height - 1) // TILE + 1, (width - 1) // TILE + 1), np.float32)
    # what lies in the head comes after the skin, to which it yields; last come back faces, nearly all of them hidden
    for turn in range(3):
        back = turn == 2
        if turn == 1:  # one look at the coarse depth spares what the skin hides
            farthest[:] = np.inf
            for y in range(height):
                for x in range(width):
                    for s in range(N_SAMPLES):
                        farthest[y // TILE, x // TILE] = min(farthest[y // TILE, x // TILE], nearness[y, x, s])
        for f in range(faces.shape[0]):
            if (kinds[f] != SHELL) != (turn == 1):
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            x0, y0, z0 = screen[a, 0], screen[a, 1], screen[a, 2]
            x1, y1, z1 = screen[b, 0], screen[b, 1], screen[b, 2]
            x2, y2, z2 = screen[c, 0], screen[c, 1], screen[c, 2]
            # y points down, so a front face has a negative area here
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if area == 0.0 or ((area > 0.0) != back and kinds[f] != HAIR) or min(z0, z1, z2) <= 0.0:
                continue
            left, right = max(int(np.floor(min(x0, x1, x2))), 0), min(int(np.floor(max(x0, x1, x2))), width - 1)
            top, bottom = max(int(np.floor(min(y0, y1, y2))), 0), min(int(np.floor(max(y0, y1, y2))), height - 1)
            if left > right or top > bottom:
                continue
            mark = np.int32(f)
            if turn > 0:
                near, hidden = np.float32(max(z0, z1, z2)), True
                for y in range(top // TILE, bottom // TILE + 1):
                    for x in range(left // TILE, right // TILE + 1):
                        hidden = hidden and near < farthest[y, x]
                if hidden:
                    continue
            if back:
                mark = np.int32(-2 - f)
            elif area < 0.0:
                x1, y1, z1, x2, y2, z2 = x2, y2, z2, x1, y1, z1
            _fill(
                x0, y0, z0, x1, y1, z1, x2, y2, z2, mark, YIELDS_M[kinds[f]], kinds, left, right, top, bottom, offset,
                nearness, owner,
            )  # fmt: skip


@_compiled
def overlay(samples, near, marks, nearness, owner):
    """Put what has been drawn before over what has been drawn now, where it is nearer.

    Args:
        samples: (N,) where in the flattened nearness and owner; near: (N,) float32; marks: (N,) int32.
        nearness, owner: from `rasterise`, changed.
    """
    depths, owners = nearness.reshape(-1), owner.reshape(-1)
    for k in range(samples.shape[0]):
        if near[k] > depths[samples[k]]:
            depths[samples[k]] = near[k]
            owners[samples[k]] = marks[k]


@_compiled
def visibility(screen, nearness, bias, visible):
    """Fraction of the samples around each vertex that hide nothing in front of it: screen (V,3) → visible (V,)."""
    height, width = nearness.shape[0], nearness.shape[1]
    for v in range(screen.shape[0]):
        x = min(max(int(np.floor(screen[v, 0])), 0), width - 1)
        y = min(max(int(np.floor(screen[v, 1])), 0), height - 1)
        free = 0
        for s in range(N_SAMPLES):
            if nearness[y, x, s] <= screen[v, 2] + bias:
                free += 1
        visible[v] = free / N_SAMPLES


@_compiled
def refine(vertices, normals, edges, refined):
    """Points for the middles of edges on the rounded surface through the vertices: the cubic of a PN triangle's border.

    Args:
        vertices: (V,3); normals: (V,3) unit, of the same space.
        edges: (E,2) vertices at the ends.
        refined: (V+E,3) written: the vertices, then a point for each edge.
    """
    n = vertices.shape[0]
    refined[:n] = vertices
    for e in range(edges.shape[0]):
        a, b = edges[e, 0], edges[e, 1]
        rise_a = rise_b = length = 0.0
        for k in range(3):
            d = float(vertices[b, k]) - vertices[a, k]
            rise_a -= d * normals[a, k]
            rise_b += d * normals[b, k]
            length += d * d
        # a fold is no arc
        most = 0.5 * np.sqrt(length)
        rise_a, rise_b = max(-most, min(most, rise_a)), max(-most, min(most, rise_b))
        for k in range(3):
            middle = 0.5 * (float(vertices[a, k]) + vertices[b, k])
            refined[n + e, k] = middle + 0.125 * (rise_a * normals[a, k] + rise_b * normals[b, k])


@_compiled
def raise_hair(vertices, normals, height, raised):
    """The surface of short hair: vertices (V,3) moved along normals (V,3) by height (V,) metres → raised (V,3)."""
    for v in range(vertices.shape[0]):
        for k in range(3):
            raised[v, k] = vertices[v, k] + height[v] * normals[v, k]


@_compiled
def grow(vertices, normals, roots, strip, local, leaning, rotation, points, lit_by):
    """Where ribbons of hair are on a face in motion.

    Args:
        vertices, normals: (V,3) of the face.
        roots, strip, local, leaning: see `hair.Ribbons`.
        rotation: (3,3) world to camera.
        points: (P,3) written, metres; lit_by: (P,3) written, normals in camera space.
    """
    axes = np.zeros((3, 3))
    last = -1
    a = b = 0
    for p in range(strip.shape[0]):
        if strip[p] != last:
            last = strip[p]
            a, b = roots[last, 0], roots[last, 1]
            dot = size = 0.0
            for k in range(3):
                axes[0, k] = vertices[b, k] - vertices[a, k]
                axes[1, k] = normals[a, k] + normals[b, k]
                size += axes[0, k] ** 2
            for k in range(3):
                axes[0, k] /= max(np.sqrt(size), 1e-12)
                dot += axes[0, k] * axes[1, k]
            size = 0.0
            for k in range(3):
                axes[1, k] -= dot * axes[0, k]
                size += axes[1, k] ** 2
            for k in range(3):
                axes[1, k] /= max(np.sqrt(size), 1e-12)
            axes[2, 0] = axes[0, 1] * axes[1, 2] - axes[0, 2] * axes[1, 1]
            axes[2, 1] = axes[0, 2] * axes[1, 0] - axes[0, 0] * axes[1, 2]
            axes[2, 2] = axes[0, 0] * axes[1, 1] - axes[0, 1] * axes[1, 0]
        nx = ny = nz = 0.0
        for k in range(3):
            points[p, k] = 0.5 * (float(vertices[a, k]) + vertices[b, k])
            lean = 0.0
            for j in range(3):
                points[p, k] += local[p, j] * axes[j, k]
                lean += leaning[p, j] * axes[j, k]
            nx, ny, nz = nx + rotation[0, k] * lean, ny + rotation[1, k] * lean, nz + rotation[2, k] * lean
        lit_by[p, 0], lit_by[p, 1], lit_by[p, 2] = nx, ny, nz


@_compiled
def shelter(screen, normals, which, vertex_kinds, face_kinds, focal, taps, nearness, owner, reach):
    """How much light lids and lips leave to what lies behind them, in this pose and seen from here.

    Args:
        screen: (V,3) from `project`; normals: (V,3), camera space.
        which: (M,) vertices to look at; vertex_kinds: (V,) and face_kinds: (F,), SHELL and so on.
        taps: (K,2) spots of a disc of radius 1 around a vertex where skin in front is looked for.
        nearness, owner: from `rasterise`.
        reach: (V,2) of which the first column is written, for these vertices: 1 all; 1 for what is turned away.
    """
    height, width = owner.shape[0], owner.shape[1]
    for m in range(which.shape[0]):
        v = which[m]
        kind = vertex_kinds[v]
        reach[v, 0] = 1.0
        near = screen[v, 2]
        if near <= 0.0 or normals[v, 2] < -0.3:
            continue
        spread = SHELTER_M[kind] * focal * near
        before = near + 0.0003 * near * near
        total, gap = 0, 0.0
        for t in range(taps.shape[0]):
            x, y = int(screen[v, 0] + spread * taps[t, 0]), int(screen[v, 1] + spread * taps[t, 1])
            if 0 <= x < width and 0 <= y < height:
                s = t % N_SAMPLES
                face = owner[y, x, s]
                if face >= 0 and face_kinds[face] == SHELL and nearness[y, x, s] > before:
                    total += 1
                    gap += 1.0 / near - 1.0 / nearness[y, x, s]
        covered = total / taps.shape[0]
        if DARK_M[kind] > 0.0:
            covered = min(1.0, 1.6 * gap / (taps.shape[0] * DARK_M[kind]))
        reach[v, 0] = 1.0 - SHELTERS[kind] * covered
        if kind == TOOTH:  # behind a mere slit it is dark
            reach[v, 0] *= 1.0 - covered**6
