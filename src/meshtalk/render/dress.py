"""Hair styles, hair colours and eye colours of the packaged people in pictures."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np

from meshtalk.mesh.topology import Topology
from meshtalk.render import bob
from meshtalk.render.hair import CUTS, Ribbons, Style, brow_hairs, joined, lashes, lift, locks
from meshtalk.render.scene import linear_picture, picture_of, to_linear

HAIR = {
    "k": (0.085, 0.070, 0.065), "d": (0.165, 0.118, 0.095), "b": (0.300, 0.195, 0.130), "a": (0.400, 0.190, 0.105),
    "l": (0.640, 0.500, 0.320), "e": (0.470, 0.455, 0.440), "w": (0.760, 0.745, 0.725),
}  # fmt: skip
"""sRGB of black, dark brown, brown, auburn, blond, grey and white hair."""
PAINTED_HAIR, PAINTED_IRIS = (0.165, 0.118, 0.095), (0.290, 0.205, 0.150)
"""sRGB in which the texture has them."""
IRIS = {
    "n": PAINTED_IRIS, "d": (0.185, 0.125, 0.095), "u": (0.300, 0.400, 0.500), "g": (0.300, 0.345, 0.225),
    "z": (0.350, 0.290, 0.165),
}  # fmt: skip
"""sRGB of brown, dark, blue, green and hazel irises."""
HAIRS, IRISES = "bdkkkkewkkdkkeekladkbdbkkkwekkdk", "gudddduudzndddndugndzundduzdnndn"
CURLY = (2, 3, 8, 12, 13, 23, 24)
"""Of p00, p01, …; those with even numbers are women."""
LENGTHS = ((0.0, 1.0), (0.026, 0.85), (-0.016, 1.2))
"""By twos of them: how much lower long hair ends, in metres, and how much fuller hair stands."""
SEED = 0x4EAD
"""Beside a person's own seed, as in `mesh.head`."""
NAMED = {"clara": "p00", "amara": "p02", "kenji": "p05", "henrik": "p07"}
"""The same as `mesh.head.NAMED`, which a renderer may not know."""


@dataclass(frozen=True)
class Dress:
    """One person's."""

    style: Style
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    """sRGB."""


def dress_of(subject: str) -> Dress:
    """The style of a person, by name; unknown people have short dark hair and brown eyes.

    A person sampled from a seed has the style of the packaged person they resemble most: see `mesh.head.Head.person`.
    """
    subject = NAMED.get(subject, subject)
    if subject[:4] == "seed" and subject[4:].isdigit():
        rng = np.random.default_rng([int(subject[4:]), SEED])
        parents = rng.choice(len(HAIRS), 3, replace=False)
        subject = f"p{parents[np.argmax(rng.dirichlet([1.0, 1.0, 1.0]))]:02d}"
    if not (subject[:1] == "p" and subject[1:].isdigit() and int(subject[1:]) < len(HAIRS)):
        return Dress(CUTS["short"], HAIR["d"], IRIS["n"])
    k = int(subject[1:])
    cut = ("curls", "crop")[k % 2] if k in CURLY else ("long", "short")[k % 2]
    lower_m, fuller = LENGTHS[k // 2 % len(LENGTHS)]
    style = CUTS[cut]
    style = replace(style, top_m=fuller * style.top_m, hem_m=style.hem_m - lower_m)
    return Dress(style, HAIR[HAIRS[k]], IRIS[IRISES[k]])


@cache
def _asset() -> dict[str, np.ndarray]:
    """`look.npz`, which `assets_build/build_head.py` makes together with the head."""
    with (files("meshtalk") / "assets" / "look.npz").open("rb") as stream, np.load(stream) as archive:
        return {name: archive[name] for name in archive.files}


def masks(topology: Topology) -> np.ndarray | None:
    """(H,W,3) in [0,1]: how much of each texel is hair of the head; brow or iris; half of how strongly it mirrors.

    None for any other texture than the packaged head's.
    """
    if topology.texture_png is None:
        return None
    asset = _asset()
    if hashlib.sha256(topology.texture_png).hexdigest() != str(asset["texture_sha256"]):
        return None
    from PIL import Image

    with Image.open(io.BytesIO(asset["masks_png"].tobytes())) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def sheen(where: np.ndarray) -> np.ndarray:
    """(H,W) factors on what the skin mirrors, less of it under hair; where: (H,W,3) from `masks`."""
    return 2 * where[..., 2] * (1 - 0.6 * where[..., 0])


def dyed(linear: np.ndarray, where: np.ndarray, dress: Dress, tint: tuple[float, float, float]) -> np.ndarray:
    """The texture (H,W,3), linear light, with this person's hair and irises.

    Args:
        where: (H,W,3) from `masks`.
        tint: of the skin, by which the renderer will multiply hair as well, so that here it is divided by it.
    """
    eyes = np.zeros(where.shape[:2], bool)
    eyes[: int(0.21 * len(eyes))] = True  # the upper edge of the map has no brows
    hair, iris = np.where(eyes, 0, np.minimum(1.25 * where[..., 0], 1)), np.where(eyes, where[..., 1], 0)
    brow = np.where(eyes, 0, where[..., 1])
    old, new = to_linear(np.array(PAINTED_HAIR)), to_linear(np.array(dress.hair)) / np.asarray(tint)
    grain = linear.mean(2)
    grain = (0.6 + 0.4 * np.clip(grain / np.median(grain[hair > 0.7]), 0.4, 1.6))[..., None]
    # skin between brow hairs stays skin
    result = linear + hair[..., None] * (new * grain - linear) + brow[..., None] * (0.8 * new - old)
    ratio = to_linear(np.array(dress.iris)) / to_linear(np.array(PAINTED_IRIS))
    return np.maximum(result * (1 + iris[..., None] * (ratio - 1)), 0).astype(np.float32)


def picture(topology: Topology, subject: str, tint: tuple[float, float, float]) -> np.ndarray:
    """(H,W,3) uint8 sRGB: the texture with a person's hair and irises, to be multiplied by the tint of the skin.

    Raises:
        InputError: it is no image.
    """
    where = masks(topology)
    if where is None:
        return picture_of(topology)
    linear = np.clip(dyed(linear_picture(topology), where, dress_of(subject), tint), 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def grown(
    topology: Topology, template: np.ndarray, normals: np.ndarray, where: np.ndarray, dress: Dress, px_m: float
) -> tuple[np.ndarray, Ribbons, Ribbons | None]:
    """(V,) metres by which hair raises the scalp; brows and lashes; locks, which stay where the head is.

    Args:
        template, normals: (V,3); where: from `masks`; px_m: a pixel's size at the face.
    """
    colour = to_linear(np.array(dress.hair))
    scalp = where[..., 0]
    raised = lift(topology, template, scalp, dress.style)
    brows = brow_hairs(topology, template, normals, where[..., 1], np.minimum(0.8 * colour, 0.12), px_m)
    return (
        raised,
        joined([*lashes(topology, template, normals, px_m), *brows]),
        bob.strands(topology, template, normals, raised, dress.style, colour, px_m)
        if dress.style.cut == "long"
        else locks(topology, template, normals, raised, scalp, dress.style, colour, px_m),
    )
