"""The inner loops of the software renderer, compiled by numba. Imported late: it needs the `media` extra.

Nothing here uses fast-math, a transcendental function or threads, so that every machine draws the same bytes.
Screen space has its origin at the top left, pixel (x, y) covers [x, x+1) × [y, y+1), and nearness grows towards
the viewer.
"""

from __future__ import annotations

import numba
import numpy as np

from meshtalk.compiled import compiled

BACKGROUND = -1
SUBPIXEL = 256.0
"""Screen positions are snapped to 1/256 pixel: edge functions are then exact integers, and two triangles that
share an edge neither overlap nor leave a crack."""
N_SAMPLES = 4
SAMPLES = np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]])
"""Positions inside a pixel, on a rotated grid: edges near the horizontal and the vertical get four steps, not two."""
LIT = 10
"""Columns of the table that `light` writes."""
BLEED = (0.6, 0.1, 0.0)
"""How much red, green and blue light seeps into half-shadowed skin."""
INSIDE = 0.12
"""Brightness of back faces, which are seen only through holes of an open mesh."""
TILE = 8
"""Pixels along a side of the coarse depth cells that let hidden back faces be skipped."""


_compiled = compiled(error_model="numpy")

_inlined = numba.njit(nogil=True, error_model="numpy", inline="always")
"""For what runs once a pixel: passing arrays to a function costs as much as the work inside."""


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
        if depth < 1e-3:
            screen[v, 0] = screen[v, 1] = screen[v, 2] = 0.0
            continue
        near = 1.0 / depth
        px = cx + focal * near * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
        py = cy - focal * near * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
        screen[v, 0] = np.floor(px * SUBPIXEL + 0.5) / SUBPIXEL
        screen[v, 1] = np.floor(py * SUBPIXEL + 0.5) / SUBPIXEL
        screen[v, 2] = near


@_compiled
def _fill(x0, y0, z0, x1, y1, z1, x2, y2, z2, mark, left, right, top, bottom, offset, nearness, owner):
    """Give the samples of one triangle, clockwise on screen, to `mark` where it is the nearest so far."""
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
                nearness[y, x, s] = z if wins else old
                owner[y, x, s] = mark if wins else owner[y, x, s]


@_compiled
def rasterise(screen, faces, nearness, owner):
    """Which triangle each sample of each pixel sees.

    Args:
        screen: (V,3) from `project`.
        faces: (F,3).
        nearness: (H,W,N_SAMPLES) float32, written.
        owner: (H,W,N_SAMPLES) int32, written: face f seen from the front is f, from behind -2-f, nothing BACKGROUND.
    """
    height, width = owner.shape[0], owner.shape[1]
    nearness[:] = 0.0
    owner[:] = BACKGROUND
    offset = np.empty((4, N_SAMPLES))
    farthest = np.zeros(((height - 1) // TILE + 1, (width - 1) // TILE + 1), np.float32)
    for back in range(2):
        if back:  # nearly all back faces lie behind front faces: one look at the coarse depth spares them
            farthest[:] = np.inf
            for y in range(height):
                for x in range(width):
                    for s in range(N_SAMPLES):
                        farthest[y // TILE, x // TILE] = min(farthest[y // TILE, x // TILE], nearness[y, x, s])
        for f in range(faces.shape[0]):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            x0, y0, z0 = screen[a, 0], screen[a, 1], screen[a, 2]
            x1, y1, z1 = screen[b, 0], screen[b, 1], screen[b, 2]
            x2, y2, z2 = screen[c, 0], screen[c, 1], screen[c, 2]
            # y points down, so a front face has a negative area here
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if area == 0.0 or (area > 0.0) != (back == 1) or min(z0, z1, z2) <= 0.0:
                continue
            left, right = max(int(np.floor(min(x0, x1, x2))), 0), min(int(np.floor(max(x0, x1, x2))), width - 1)
            top, bottom = max(int(np.floor(min(y0, y1, y2))), 0), min(int(np.floor(max(y0, y1, y2))), height - 1)
            if left > right or top > bottom:
                continue
            if back:
                near, hidden = np.float32(max(z0, z1, z2)), True
                for y in range(top // TILE, bottom // TILE + 1):
                    for x in range(left // TILE, right // TILE + 1):
                        hidden = hidden and near < farthest[y, x]
                if not hidden:
                    _fill(
                        x0, y0, z0, x1, y1, z1, x2, y2, z2, np.int32(-2 - f), left, right, top, bottom, offset,
                        nearness, owner,
                    )  # fmt: skip
            else:
                _fill(
                    x0, y0, z0, x2, y2, z2, x1, y1, z1, np.int32(f), left, right, top, bottom, offset, nearness, owner
                )


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


@_inlined
def _bilinear(texture, start, wide, tall, u, v):
    """r, g, b of one level of the texture pyramid; v points up, the edges repeat."""
    x = min(max(u, 0.0), 1.0) * wide - 0.5
    y = (1.0 - min(max(v, 0.0), 1.0)) * tall - 0.5
    left, top = np.floor(x), np.floor(y)
    tx, ty = x - left, y - top
    xa, xb = np.uint32(max(left, 0.0)), np.uint32(min(left + 1.0, wide - 1.0))
    ya, yb = np.uint32(max(top, 0.0)) * wide + start, np.uint32(min(top + 1.0, tall - 1.0)) * wide + start
    aa, ab, ba, bb = np.uint32(ya + xa), np.uint32(ya + xb), np.uint32(yb + xa), np.uint32(yb + xb)
    waa, wab, wba, wbb = (1.0 - tx) * (1.0 - ty), tx * (1.0 - ty), (1.0 - tx) * ty, tx * ty
    return (
        waa * texture[aa, 0] + wab * texture[ab, 0] + wba * texture[ba, 0] + wbb * texture[bb, 0],
        waa * texture[aa, 1] + wab * texture[ab, 1] + wba * texture[ba, 1] + wbb * texture[bb, 1],
        waa * texture[aa, 2] + wab * texture[ab, 2] + wba * texture[ba, 2] + wbb * texture[bb, 2],
    )


@_inlined
def _textured(texture, levels, uvs, uv_faces, f, area, wa, wb, wc):
    """r, g, b between the two pyramid levels that fit the triangle's texels per pixel."""
    a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
    ua, va = uvs[a, 0], uvs[a, 1]
    ub, vb = uvs[b, 0], uvs[b, 1]
    uc, vc = uvs[c, 0], uvs[c, 1]
    u, v = wa * ua + wb * ub + wc * uc, wa * va + wb * vb + wc * vc
    ratio = abs(((ub - ua) * (vc - va) - (uc - ua) * (vb - va)) / area) * levels[0, 1] * levels[0, 2]
    level = np.uint32(0)
    last = np.uint32(levels.shape[0] - 1)
    while level < last and ratio >= 4.0:
        ratio *= 0.25
        level += np.uint32(1)
    red, green, blue = _bilinear(texture, levels[level, 0], levels[level, 1], levels[level, 2], u, v)
    if level < last and ratio > 1.0:
        part = np.sqrt(ratio) - 1.0
        level += np.uint32(1)
        red2, green2, blue2 = _bilinear(texture, levels[level, 0], levels[level, 1], levels[level, 2], u, v)
        red, green, blue = red + (red2 - red) * part, green + (green2 - green) * part, blue + (blue2 - blue) * part
    return red, green, blue


@_compiled
def light(normals, screen, view, surface, lights, wrap, lit):
    """What each vertex sends to the eye, apart from texture and sharp highlights.

    Args:
        normals: (V,3) unit, camera space; screen: (V,3) from `project`; view: (3,) focal, cx, cy in pixels.
        surface: (V,7) base colour r g b, openness to the sky, openness to the key light, specular strength, gloss.
        lights: (M,6) direction towards the light in camera space and its colour; light 0 is the key, which alone
            casts shadows; the last two rows hold no lights but the ambient colours of sky and ground in 3:6.
        wrap: (3,) how far r g b light creeps round the terminator (skin scatters red farthest).
        lit: (V,LIT) written: light received times base colour, r g b; light mirrored softly, r g b; normal; strength
            of sharp highlights.
    """
    n_lights = lights.shape[0] - 2
    sky, ground = n_lights, n_lights + 1
    for v in range(normals.shape[0]):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        ex, ey = (view[1] - screen[v, 0]) / view[0], (screen[v, 1] - view[2]) / view[0]
        ez = 1.0 / np.sqrt(ex * ex + ey * ey + 1.0)
        ex, ey = ex * ez, ey * ez
        open_sky, open_key, gloss = surface[v, 3], surface[v, 4], surface[v, 6]
        # surfaces mirror more at grazing angles
        rest = 1.0 - max(nx * ex + ny * ey + nz * ez, 0.0)
        strength = surface[v, 5] * (0.25 + 2.0 * rest * rest * rest * rest)
        for k in range(3):
            # red light bleeds into shadows as it creeps round the terminator
            bleed = BLEED[k] * open_sky * (1.0 - open_sky)
            up = 0.5 + 0.5 * ny
            received = (lights[ground, 3 + k] + (lights[sky, 3 + k] - lights[ground, 3 + k]) * up) * (open_sky + bleed)
            mirrored = 0.0
            for m in range(n_lights):
                lx, ly, lz = lights[m, 0], lights[m, 1], lights[m, 2]
                lambert = nx * lx + ny * ly + nz * lz
                shadow = open_key if m == 0 else open_sky
                bleed = BLEED[k] * shadow * (1.0 - shadow)
                received += max((lambert + wrap[k]) / (1.0 + wrap[k]), 0.0) * (shadow + bleed) * lights[m, 3 + k]
                hx, hy, hz = lx + ex, ly + ey, lz + ez
                cosine = nx * hx + ny * hy + nz * hz
                if lambert > 0.0 and cosine > 0.0:
                    power = cosine * cosine / (hx * hx + hy * hy + hz * hz)
                    power *= power
                    power *= power
                    power *= power  # cos^16
                    mirrored += (1.0 - gloss) * strength * shadow * min(lambert * 5.0, 1.0) * power * lights[m, 3 + k]
            lit[v, k] = received * surface[v, k]
            lit[v, 3 + k] = mirrored
            lit[v, 6 + k] = normals[v, k]
        lit[v, 9] = 14.0 * gloss * strength * open_key


@_compiled
def shade(
    screen, faces, uvs, uv_faces, lit, texture, levels, owner, view, lights, tone, backdrop, backdrop_bytes, image
):  # fmt: skip
    """Colour every pixel: one evaluation for each triangle a pixel sees, averaged in linear light, then encoded.

    Args:
        screen: (V,3) from `project`; faces: (F,3); lit: (V,LIT) from `light`.
        uvs: (N,2), uv_faces: (F,3) into them.
        texture: (P,3) float32 linear light, all pyramid levels one after the other; levels: (L,3) start, width, height.
        owner: (H,W,N_SAMPLES) from `rasterise`.
        view, lights: as for `light`.
        tone: (K,) uint8: encoding of linear light 0..2.
        backdrop: (H,W,3) float32 linear; backdrop_bytes: (H,W,3) the same encoded.
        image: (H,W,3) uint8, written.
    """
    height, width = np.uint32(owner.shape[0]), np.uint32(owner.shape[1])
    tone_scale, brightest = tone.shape[0] / 2.0 / N_SAMPLES, tone.shape[0] - 1.0
    s = np.empty(LIT)
    marks = np.empty(N_SAMPLES, np.int32)
    total = np.empty(3)
    for y in range(height):
        for x in range(width):
            same = True
            for i in range(N_SAMPLES):
                marks[i] = owner[y, x, i]
                same = same and marks[i] == marks[0]
            if same and marks[0] == BACKGROUND:
                for k in range(3):
                    image[y, x, k] = backdrop_bytes[y, x, k]
                continue
            total[:] = 0.0
            for i in range(1 if same else N_SAMPLES):
                mark = marks[i]
                count, px, py = float(N_SAMPLES), x + 0.5, y + 0.5
                if not same:
                    seen = False
                    for j in range(i):  # then it has been counted with the earlier sample
                        seen = seen or marks[j] == mark
                    if seen:
                        continue
                    count, px, py = 0.0, 0.0, 0.0
                    for j in range(i, N_SAMPLES):
                        if marks[j] == mark:
                            count += 1.0
                            px += SAMPLES[j, 0]
                            py += SAMPLES[j, 1]
                    px, py = x + px / count, y + py / count
                if mark == BACKGROUND:
                    for k in range(3):
                        total[k] += count * backdrop[y, x, k]
                    continue
                f = np.uint32(mark if mark >= 0 else -2 - mark)
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                ax, ay, bx, by = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
                cx, cy = screen[c, 0], screen[c, 1]
                area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
                wa = ((bx - px) * (cy - py) - (cx - px) * (by - py)) * screen[a, 2]
                wb = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) * screen[b, 2]
                wc = ((ax - px) * (by - py) - (bx - px) * (ay - py)) * screen[c, 2]
                scale = 1.0 / (wa + wb + wc)
                wa, wb, wc = wa * scale, wb * scale, wc * scale
                red, green, blue = _textured(texture, levels, uvs, uv_faces, f, area, wa, wb, wc)
                for k in range(LIT):
                    s[k] = wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k]
                if mark < 0:  # the inside of an open shell: hardly any light gets there
                    count *= INSIDE
                    s[9] = 0.0
                if s[9] > 1e-3:  # eyes, lips, teeth: the key light's reflection, sharp
                    ex, ey = (view[1] - px) / view[0], (py - view[2]) / view[0]
                    ez = 1.0 / np.sqrt(ex * ex + ey * ey + 1.0)
                    hx, hy, hz = lights[0, 0] + ex * ez, lights[0, 1] + ey * ez, lights[0, 2] + ez
                    cosine = max(s[6] * hx + s[7] * hy + s[8] * hz, 0.0)
                    power = (s[6] * s[6] + s[7] * s[7] + s[8] * s[8]) * (hx * hx + hy * hy + hz * hz)
                    power = cosine * cosine / (power + 1e-20)
                    for _ in range(7):
                        power *= power  # cos^256
                    for k in range(3):
                        s[3 + k] += s[9] * power * lights[0, 3 + k]
                total[0] += count * (red * s[0] + s[3])
                total[1] += count * (green * s[1] + s[4])
                total[2] += count * (blue * s[2] + s[5])
            for k in range(3):
                image[y, x, k] = tone[np.uint32(min(max(total[k] * tone_scale, 0.0), brightest))]
