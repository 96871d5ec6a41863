"""Compiled shading kernels: light and colour of each pixel.

Imported late: it needs the `media` extra. As in `kernels`, no fast-math, no transcendental function, no threads.
"""

from __future__ import annotations

import numba
import numpy as np

from meshtalk.jit import compiled
from meshtalk.render.kernels import BACKGROUND, N_SAMPLES, SAMPLES
from meshtalk.render.look import HAIR

LIT = 11
"""Columns of the table that `light` writes."""
BLEED = (0.6, 0.1, 0.0)
"""How much red, green and blue light seeps into half-shadowed skin."""
INSIDE = 0.12
"""Brightness of back faces, which are seen only through holes of an open mesh."""

CORNEA, IRIS = 1.5, 1.6
"""How much more the cornea's normals lean outwards than the eyeball's, and how much more inwards those of the iris."""
ONE_SURFACE_M = 0.0012
"""Faces of one kind whose depths within a pixel differ by less are taken for one surface."""
THROWN = (0.62, 0.32, 0.25)
"""Red, green and blue of the light that the walls of the mouth throw about, of what comes between the lips."""

_compiled = compiled(error_model="numpy")

_inlined = numba.njit(nogil=True, error_model="numpy", inline="always")
"""For what runs once a pixel: passing arrays to a function costs as much as the work inside."""


@_inlined
def _bilinear(texture, start, wide, tall, u, v):
    """r, g, b, shine of one level of the texture pyramid; v points up, the edges repeat."""
    # in this order NaN becomes a number
    x = min(max(0.0, u), 1.0) * wide - 0.5
    y = (1.0 - min(max(0.0, v), 1.0)) * tall - 0.5
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
        waa * texture[aa, 3] + wab * texture[ab, 3] + wba * texture[ba, 3] + wbb * texture[bb, 3],
    )


@_inlined
def _textured(texture, levels, uvs, uv_faces, f, area, wa, wb, wc):
    """r, g, b, shine between the two pyramid levels that fit the triangle's texels per pixel."""
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
    red, green, blue, shine = _bilinear(texture, levels[level, 0], levels[level, 1], levels[level, 2], u, v)
    if level < last and ratio > 1.0:
        part = np.sqrt(ratio) - 1.0
        level += np.uint32(1)
        red2, green2, blue2, shine2 = _bilinear(texture, levels[level, 0], levels[level, 1], levels[level, 2], u, v)
        red, green, blue = red + (red2 - red) * part, green + (green2 - green) * part, blue + (blue2 - blue) * part
        shine += (shine2 - shine) * part
    return red, green, blue, shine


@_compiled
def light(normals, screen, view, surface, reach, lights, wrap, lit):
    """What each vertex sends to the eye, apart from texture and sharp highlights.

    Args:
        normals: (V,3) unit, camera space; screen: (V,3) from `project`; view: (3,) focal, cx, cy in pixels.
        surface: (V,8) base colour r g b, openness to the sky, openness to the key light, specular strength, gloss, and
            how much the vertex belongs to the cornea (negative: of the other eye).
        reach: (V,2) share of the light that lids and lips leave; light thrown about in the mouth.
        lights: (M,6) direction towards the light in camera space and its colour; light 0 is the key, which alone
            casts shadows; the last two rows hold no lights but the ambient colours of sky and ground in 3:6.
        wrap: (3,) how far r g b light creeps round the terminator (skin scatters red farthest).
        lit: (V,LIT) written: light received times base colour, r g b; light mirrored softly, r g b; normal; strengths of
            the sharp and of the middling highlight of the key light.
    """
    n_lights = lights.shape[0] - 2
    sky, ground = n_lights, n_lights + 1
    axes = np.zeros((2, 3))
    for v in range(normals.shape[0]):
        if surface[v, 7] != 0.0:
            for k in range(3):
                axes[0 if surface[v, 7] > 0.0 else 1, k] += normals[v, k]
    for m in range(2):
        axes[m] /= np.sqrt(axes[m, 0] ** 2 + axes[m, 1] ** 2 + axes[m, 2] ** 2) + 1e-9
    for v in range(normals.shape[0]):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        mx, my, mz = nx, ny, nz  # what mirrors: the cornea, more strongly curved than the eyeball
        cornea, eye = abs(surface[v, 7]), 0 if surface[v, 7] > 0.0 else 1
        if cornea > 0.0:
            along = nx * axes[eye, 0] + ny * axes[eye, 1] + nz * axes[eye, 2]
            ox, oy, oz = nx - along * axes[eye, 0], ny - along * axes[eye, 1], nz - along * axes[eye, 2]
            mx, my, mz = nx + CORNEA * cornea * ox, ny + CORNEA * cornea * oy, nz + CORNEA * cornea * oz
            scale = 1.0 / np.sqrt(mx * mx + my * my + mz * mz)
            mx, my, mz = mx * scale, my * scale, mz * scale
            # the iris behind it is hollow: the side away from the light is the bright one
            nx, ny, nz = nx - IRIS * cornea * ox, ny - IRIS * cornea * oy, nz - IRIS * cornea * oz
            scale = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx * scale, ny * scale, nz * scale
        ex, ey = (view[1] - screen[v, 0]) / view[0], (screen[v, 1] - view[2]) / view[0]
        ez = 1.0 / np.sqrt(ex * ex + ey * ey + 1.0)
        ex, ey = ex * ez, ey * ez
        gloss, clear = surface[v, 6], reach[v, 0]
        open_sky, open_key = surface[v, 3] * clear, surface[v, 4] * clear * clear
        # surfaces mirror more at grazing angles
        rest = 1.0 - max(mx * ex + my * ey + mz * ez, 0.0)
        strength = surface[v, 5] * (0.25 + 2.0 * rest * rest * rest * rest)
        for k in range(3):
            # red light bleeds into shadows as it creeps round the terminator
            bleed = BLEED[k] * open_sky * (1.0 - open_sky)
            up = 0.5 + 0.5 * ny
            received = (lights[ground, 3 + k] + (lights[sky, 3 + k] - lights[ground, 3 + k]) * up) * (open_sky + bleed)
            received += reach[v, 1] * THROWN[k] * (lights[sky, 3 + k] + lights[0, 3 + k])
            mirrored = 0.0
            for m in range(n_lights):
                lx, ly, lz = lights[m, 0], lights[m, 1], lights[m, 2]
                if lz < 0.0 and reach[v, 1] > 0.0:  # no lamp behind the head shines into the mouth
                    continue
                lambert = nx * lx + ny * ly + nz * lz
                shadow = open_key if m == 0 else open_sky
                bleed = BLEED[k] * shadow * (1.0 - shadow)
                received += max((lambert + wrap[k]) / (1.0 + wrap[k]), 0.0) * (shadow + bleed) * lights[m, 3 + k]
                hx, hy, hz = lx + ex, ly + ey, lz + ez
                cosine = mx * hx + my * hy + mz * hz
                if lambert > 0.0 and cosine > 0.0:
                    power = cosine * cosine / (hx * hx + hy * hy + hz * hz)
                    power *= power
                    power *= power
                    power *= power  # cos^16
                    mirrored += (1.0 - gloss) * strength * shadow * min(lambert * 5.0, 1.0) * power * lights[m, 3 + k]
            lit[v, k] = received * surface[v, k]
            lit[v, 3 + k] = mirrored
        lit[v, 6], lit[v, 7], lit[v, 8] = mx, my, mz
        # a lid that dims the eye does not yet cover the lamp
        lit[v, 9] = (14.0 + 26.0 * cornea) * gloss * strength * surface[v, 4] * max(min(1.0, 2.1 * clear - 0.4), 0.0)
        lit[v, 10] = 1.3 * (1.0 - gloss) * strength * open_key


@_compiled
def shade(
    screen, faces, kinds, uvs, uv_faces, lit, texture, levels, nearness, owner, view, lights, tone, backdrop,
    backdrop_bytes, first_still, still, image,
):  # fmt: skip
    """Colour every pixel: one evaluation for each surface a pixel sees, averaged in linear light, then encoded.

    Args:
        screen: (V,3) from `project`; faces: (F,3); kinds: (F,) SHELL and so on; lit: (V,LIT) from `light`.
        uvs: (N,2), uv_faces: (F,3) into them.
        texture: (P,4) float32 linear light and factor on what is mirrored, all pyramid levels in turn; levels: (L,3)
            start, width, height.
        nearness, owner: (H,W,N_SAMPLES) from `rasterise`.
        view, lights: as for `light`.
        tone: (K,) uint8: encoding of linear light 0..2.
        backdrop: (H,W,3) float32 linear; backdrop_bytes: (H,W,3) the same encoded.
        first_still: faces from this one on have been coloured before, in still: (H,W,3) uint8.
        image: (H,W,3) uint8, written.
    """
    height, width = np.uint32(owner.shape[0]), np.uint32(owner.shape[1])
    tone_scale, brightest = tone.shape[0] / 2.0 / N_SAMPLES, tone.shape[0] - 1.0
    s = np.empty(LIT)
    marks, groups = np.empty(N_SAMPLES, np.int32), np.empty(N_SAMPLES, np.int32)
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
            if min(marks[0], marks[1], marks[2], marks[3]) >= first_still:
                for k in range(3):
                    image[y, x, k] = still[y, x, k]
                continue
            total[:] = 0.0
            if not same:  # triangles of one kind that lie side by side are one surface
                same = True
                for i in range(N_SAMPLES):
                    groups[i] = i
                    for j in range(i):
                        if groups[j] == j and groups[i] == i:
                            one = marks[i] == marks[j]
                            if not one and marks[i] >= 0 and marks[j] >= 0 and kinds[marks[i]] == kinds[marks[j]]:
                                near = nearness[y, x, i]
                                one = abs(near - nearness[y, x, j]) < ONE_SURFACE_M * near * near
                            if one:
                                groups[i] = j
                    same = same and groups[i] == 0
            for i in range(1 if same else N_SAMPLES):
                mark = marks[i]
                count, px, py = float(N_SAMPLES), x + 0.5, y + 0.5
                if not same:
                    if groups[i] != i:  # it has been counted with an earlier sample
                        continue
                    count, px, py = 0.0, 0.0, 0.0
                    for j in range(i, N_SAMPLES):
                        if groups[j] == i:
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
                # of a neighbour's sample the nearest point of this triangle
                wa, wb, wc = max(wa * scale, 0.0), max(wb * scale, 0.0), max(wc * scale, 0.0)
                scale = 1.0 / (wa + wb + wc)
                wa, wb, wc = wa * scale, wb * scale, wc * scale
                red = green = blue = shine = 1.0
                if kinds[f] != HAIR:
                    red, green, blue, shine = _textured(texture, levels, uvs, uv_faces, f, area, wa, wb, wc)
                for k in range(LIT):
                    s[k] = wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k]
                if mark < 0:  # the inside of an open shell: hardly any light gets there
                    count *= INSIDE
                    s[9] = s[10] = 0.0
                if s[9] + s[10] > 1e-3:  # the key light's reflection: sharp on eyes, lips and teeth, less so on skin
                    ex, ey = (view[1] - px) / view[0], (py - view[2]) / view[0]
                    ez = 1.0 / np.sqrt(ex * ex + ey * ey + 1.0)
                    hx, hy, hz = lights[0, 0] + ex * ez, lights[0, 1] + ey * ez, lights[0, 2] + ez
                    cosine = max(s[6] * hx + s[7] * hy + s[8] * hz, 0.0)
                    power = (s[6] * s[6] + s[7] * s[7] + s[8] * s[8]) * (hx * hx + hy * hy + hz * hz)
                    power = cosine * cosine / (power + 1e-20)
                    if power > 0.88:
                        for _ in range(4):
                            power *= power  # cos^32
                        flash = s[10] * power
                        for _ in range(3):
                            power *= power  # cos^256
                        flash += s[9] * power
                        for k in range(3):
                            s[3 + k] += flash * lights[0, 3 + k]
                total[0] += count * (red * s[0] + shine * s[3])
                total[1] += count * (green * s[1] + shine * s[4])
                total[2] += count * (blue * s[2] + shine * s[5])
            for k in range(3):
                image[y, x, k] = tone[np.uint32(min(max(0.0, total[k] * tone_scale), brightest))]
