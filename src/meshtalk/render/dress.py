"""What the packaged head wears in pictures: where its texture is hair, iris, and shiny."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from importlib.resources import files

import numpy as np

from meshtalk.topology import Topology


@cache
def _asset() -> dict[str, np.ndarray]:
    """`look.npz`, which `tools/build_head.py` makes together with the head."""
    with (files("meshtalk") / "assets" / "look.npz").open("rb") as stream, np.load(stream) as archive:
        return {name: archive[name] for name in archive.files}


def masks(topology: Topology) -> np.ndarray | None:
    """(H,W,3) in [0,1]: how much of each texel is hair and iris, and half of how strongly it mirrors.

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
