"""Appearance of a face on the player page: compact data of surface, hair, mouth and light."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from meshtalk.export.html_motion import Payload
from meshtalk.mesh.topology import Topology
from meshtalk.render import STILL_M, Look, Renderer, dress, look, scene
from meshtalk.render.hair import FINEST_PX, ROUND, Ribbons, lid_edges, unit

_TEXTURE_QUALITY = 88
_BYTE, _WORD = 127, 32767


def look_of(renderer: Renderer, payload: Payload) -> dict[str, Any]:
    """Surface, hair and mouth of one person."""
    table = renderer.surface
    peaks = np.maximum(np.abs(table).max(0), 1e-6)
    shares = table / peaks
    raised = renderer.raised_m
    inside = np.zeros(len(table), np.uint8)
    inside[renderer.inside] = 1
    return {
        # colours of the mouth go far beyond those of the skin, which need their precision
        "base": payload.add(np.rint(shares[:, :3] * _WORD).astype(np.int16)),
        "rest": payload.add(np.rint(shares[:, 3:] * _BYTE).astype(np.int8)),
        "peaks": peaks.tolist(),
        "kinds": payload.add(scene.kinds(renderer.topology)[0]),
        "inside": payload.add(inside),
        "lips": None if renderer.opening is None else payload.add(renderer.opening.astype(np.uint32)),
        "lids": payload.add(lids_of(renderer.topology).astype(np.uint32)),
        "raised": None if raised is None else payload.add(raised.astype(np.float32)),
        "brows": None if renderer.brows is None else _hair(renderer.brows, payload),
        "locks": None if renderer.locks is None else _hair(renderer.locks, payload),
    }


def lids_of(topology: Topology) -> np.ndarray:
    """(E,2) edges of the rims of both eyes' lids; none where the parts of the mesh do not tell them."""
    if topology.parts is None or not {"eye_left", "eye_socket", "skin"} <= set(topology.part_names):
        return np.zeros((0, 2), np.int64)
    return lid_edges(topology)


def _hair(hair: Ribbons, payload: Payload) -> dict[str, Any]:
    """Middle, half of the width and facing of each pair of points, from which the page makes strips again.

    Numbers of a kind stand together, and a strip's points as steps from one to the next, which zips better.
    """
    count = len(hair.roots)
    pairs = hair.local.reshape(count, -1, 2, 3)
    middles, halves = pairs.mean(2), (pairs[:, :, 1] - pairs[:, :, 0]) / 2
    facing = unit(hair.leaning.reshape(pairs.shape).sum(2))
    colour = hair.colour.reshape(pairs.shape)[:, :, 0]
    shine = hair.shine.reshape(count, -1)[:, 0]
    middle_scale, half_scale = np.abs(middles).max() / _WORD, np.abs(halves).max() / _BYTE
    peaks = np.maximum(colour.max((0, 1)), 1e-6)
    places = np.rint(middles / middle_scale).astype(np.int32)
    steps = np.diff(places, axis=1, prepend=0).astype(np.int16)  # wraps around, as the page's sum does

    def columns(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, -1, 0)

    return {
        "roots": payload.add(hair.roots),
        "points": middles.shape[1],
        "steps": payload.add(columns(steps)),
        "stepM": float(middle_scale),
        "halves": payload.add(columns(np.rint(halves / half_scale)).astype(np.int8)),
        "halfM": float(half_scale),
        "facing": payload.add(columns(np.rint(facing * _BYTE)).astype(np.int8)),
        "colour": payload.add(columns(np.rint(colour / peaks * 255)).astype(np.uint8)),
        "peaks": peaks.tolist(),
        "shine": payload.add(shine.astype(np.float32)),
    }


def texture(topology: Topology, subject: str, tint: tuple[float, float, float]) -> np.ndarray:
    """The picture with this person's hair and eyes, as WebP, a tenth of the PNG's size; how it mirrors, halved, in its alpha."""
    from PIL import Image

    picture, where = dress.picture(topology, subject, tint), dress.masks(topology)
    if where is not None:
        halved = np.rint(dress.sheen(where) / 2 * 255).clip(0, 255).astype(np.uint8)
        picture = np.dstack([picture, halved])
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "WEBP", quality=_TEXTURE_QUALITY, alpha_quality=60, exact=True)
    return np.frombuffer(packed.getvalue(), np.uint8)


def light() -> dict[str, Any]:
    """Lamps, backdrop, skin, hair and mouth of the pictures and films, for the page's shader."""
    from meshtalk.render import kernels, mouth, shading

    lighting = Look().lighting
    return {
        "lamps": [{"towards": list(towards), "colour": list(colour)} for towards, colour in lighting.lamps],
        "sky": list(lighting.sky),
        "ground": list(lighting.ground),
        "backdrop": scene.to_linear(np.array(lighting.backdrop)).tolist(),
        "wrap": list(scene.WRAP),
        "bleed": list(shading.BLEED),
        "inside": shading.INSIDE,
        "cornea": shading.CORNEA,
        "iris": shading.IRIS,
        "pores": scene.PORES,
        "thrown": list(shading.THROWN),
        "yields": list(kernels.YIELDS_M),
        "round": ROUND,
        "finest": FINEST_PX,
        "still": STILL_M,
        "lids": {
            "kind": look.EYE,
            "reach": kernels.SHELTER_M[look.EYE],
            "share": kernels.SHELTERS[look.EYE],
            "above": scene.FROM_ABOVE,
        },
        "mouth": {
            "along": mouth.ALONG,
            "upright": mouth.UPRIGHT,
            "soft": mouth.SOFT,
            "level": mouth.FROM_LEVEL,
            "above": mouth.FROM_ABOVE,
            "out": mouth.OUT_M,
        },
    }
