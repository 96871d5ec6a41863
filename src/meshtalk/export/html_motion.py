"""Compact motion for the player page: 16-bit weights of 16-bit shapes, or 16-bit frames, within ERROR_M."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.morph_targets import components

ERROR_M = 5e-5
"""No vertex of any frame is drawn farther than this from where the clip has it (unless it moves by more than 1.8 m)."""
_COMPONENTS_ERROR_M = 3e-5
"""Share of it for principal components; rounding has the rest."""
_LEVELS = 32767


def encode_motion(clip: Clip, payload: Payload) -> dict[str, Any]:
    """The clip's motion for the page: `displacement[t] = Σ_k weights[t,k] · weight_scale[k] · shape_k`, metres.

    A linear clip keeps its basis. A dense one (or a basis whose rounding errors could add up to too much) becomes
    principal components or, where that is smaller, its own frames (`weights` is then null, and frame t is shape t).
    A frame the capture missed (`clip.valid`) shows the last one that was there, and the neutral face before the first.

    Raises:
        InputError: there is no valid frame, or the page would be larger than browsers open.
    """
    keys = np.arange(clip.n_frames) if clip.valid is None else np.flatnonzero(clip.valid)
    if len(keys) == 0:
        raise InputError("the clip has no frames, so there is nothing to play")
    # position in `keys` of the frame to show at each time; -1: none yet
    shown = np.searchsorted(keys, np.arange(clip.n_frames), side="right") - 1
    if clip.weights is not None and clip.basis is not None:
        rounded = _Rounded(np.asarray(clip.weights, np.float64)[keys], np.asarray(clip.basis, np.float32))
        if rounded.error_m <= ERROR_M:
            return _linear(rounded, shown, payload)
    weights, shapes = components(clip, keys, _COMPONENTS_ERROR_M)
    rounded = _Rounded(weights.astype(np.float64), shapes)
    if rounded.error_m <= ERROR_M - _COMPONENTS_ERROR_M and len(shapes) < len(keys):
        return _linear(rounded, shown, payload)
    return _frames(clip, keys, shown, payload)


class _Rounded:
    """(T,K) weights and (K,V,3) shapes as 16-bit integers with their (K,) scales."""

    def __init__(self, weights: np.ndarray, shapes: np.ndarray) -> None:
        self.weights, self.weight_scale = _integers(weights, axis=0)
        self.shapes, self.shape_scale = _integers(shapes, axis=(1, 2))
        # each number is off by half a step at most, a vertex by √3 of that
        length = np.linalg.norm(shapes, axis=2)  # (K,V)
        off = (length > 0) * (self.shape_scale * np.sqrt(3) / 2)[:, None]
        each = np.abs(weights).max(0, initial=0.0) @ off + (self.weight_scale / 2) @ (length + off)
        self.error_m = float(each.max(initial=0.0))
        """The farthest any vertex can be from where exact numbers would put it."""


def _integers(values: np.ndarray, axis: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """int16 and the scale along the other axis that gives the values back."""
    # float32 is what the page reads, so it is what values are divided by
    scale = (np.abs(values).max(axis, initial=0.0) / _LEVELS).astype(np.float32).astype(np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    whole = np.rint(values / np.expand_dims(scale, axis))
    return np.clip(whole, -_LEVELS, _LEVELS).astype(np.int16), scale


def _linear(rounded: _Rounded, shown: np.ndarray, payload: Payload) -> dict[str, Any]:
    """Sparse shapes: the vertices each one moves, as steps from one to the next, and how far."""
    held = np.where(shown[:, None] >= 0, rounded.weights[shown], np.int16(0))
    moved = np.any(rounded.shapes != 0, axis=2)
    vertices = np.nonzero(moved)[1]
    starts = np.concatenate([[0], np.cumsum(moved.sum(1))])
    gaps = np.diff(vertices, prepend=0)
    first = starts[:-1][starts[:-1] < starts[1:]]
    gaps[first] = vertices[first]
    return {
        "weights": payload.add(held),
        "weightScale": payload.add(rounded.weight_scale.astype(np.float32)),
        "shapeScale": payload.add(rounded.shape_scale.astype(np.float32)),
        "starts": payload.add(starts.astype(np.uint32)),
        "gaps": payload.add(gaps.astype(np.uint16 if moved.shape[1] <= 65536 else np.uint32)),
        "moves": payload.add(rounded.shapes[moved]),
    }


def _frames(clip: Clip, keys: np.ndarray, shown: np.ndarray, payload: Payload) -> dict[str, Any]:
    """Every frame as a shape of its own, all vertices in it."""
    if clip.n_frames * clip.template.size * 2 > MOST_BYTES:
        raise InputError(
            f"{clip.n_frames} frames of {len(clip.template)} vertices are more than a page can hold"
            ". Write a shorter part of the clip, or an .mp4."
        )
    moves = np.zeros((clip.n_frames, *clip.template.shape), np.int16)
    scales = np.ones(clip.n_frames, np.float32)
    for t, k in enumerate(shown):
        if k >= 0:
            frame = int(keys[k])
            moves[t], scales[t] = _integers(clip.displacements(frame, frame + 1)[0], axis=(0, 1))
    return {"weights": None, "shapeScale": payload.add(scales), "moves": payload.add(moves)}


# ------------------------------------------------------------------------------------------------ the payload of the page


MOST_BYTES = 256 << 20
"""A page is one string to the browser, and those end at 512 MB; this much becomes 340 MB of text at worst."""
_TYPES = {"i1": "i8", "u1": "u8", "i2": "i16", "u2": "u16", "u4": "u32", "f4": "f32"}


class Payload:
    """Collects arrays; equal ones are stored once, so what clips share (mesh, texture, sound) costs nothing again.

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
                    ". Write a shorter part of the clip, or an .mp4."
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
