"""The data of a player page: a JSON manifest and the arrays it names, gzipped, as base64 text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import numpy as np

from meshtalk.errors import InputError

MOST_BYTES = 256 << 20
"""A page is one string to the browser, and those end at 512 MB; this much becomes 340 MB of text at worst."""
_TYPES = {"i1": "i8", "u1": "u8", "i2": "i16", "u2": "u16", "u4": "u32", "f4": "f32"}


class Payload:
    """Collects arrays; equal ones are kept once, so what clips share (mesh, texture, sound) costs nothing again.

    The bytes are: length of the manifest (uint32), the manifest (JSON, UTF-8), zeros up to a multiple of 4, then the
    arrays, each from a multiple of 4 on. All numbers are little-endian.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: np.ndarray) -> dict[str, Any]:
        """Store int8, uint8, int16, uint16, uint32 or float32 values; returns what stands for them in the manifest.

        Raises:
            InputError: the page would be larger than browsers open.
        """
        values = np.ascontiguousarray(values)
        kind = _TYPES[values.dtype.newbyteorder("<").str[1:]]
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        key = hashlib.sha256(kind.encode() + data).digest()
        if key not in self._known:
            if self._size + len(data) > MOST_BYTES:
                raise InputError(
                    f"the page would hold more than {MOST_BYTES >> 20} MB, which browsers do not open"
                    " : write a shorter part of the clip, or an .mp4"
                )
            self._known[key] = {"type": kind, "at": self._size, "length": values.size}
            self._parts.append(data + bytes(-len(data) % 4))
            self._size += len(self._parts[-1])
        return self._known[key]

    def encode(self, manifest: dict[str, Any]) -> str:
        """Manifest and arrays as base64; the same content gives the same text."""
        head = json.dumps(manifest, separators=(",", ":"), allow_nan=False).encode()
        whole = b"".join([len(head).to_bytes(4, "little"), head, bytes(-len(head) % 4), *self._parts])
        return base64.b64encode(gzip.compress(whole, 6, mtime=0)).decode("ascii")
