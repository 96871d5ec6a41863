"""Sinks of a stream: JSON lines and binary vertices."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, AnimatorState
from meshtalk.stream.pipes import write_all
from meshtalk.stream.weights import LiveWeights

if TYPE_CHECKING:
    from meshtalk.retarget.map import Map

MAGIC, VERSION = b"meshtalk", 1
VERTEX_HEADER = struct.Struct("<8sIIIIf")
"""Magic, version, number of vertices, fps numerator, fps denominator, look-ahead in seconds."""


@dataclass(frozen=True)
class Frame:
    """One frame on its way to a sink."""

    number: int
    """The frame shows the face at number/fps seconds of the sound; numbers that are missing were dropped."""
    values: np.ndarray
    """Result of the sink's `values`."""
    made_s: float
    """Time at which it became final, on the stream's clock."""


class Sink(Protocol):
    """A receiver of frames. `write` may block, which applies back-pressure."""

    name: str
    lost: int
    """Frames that could not be delivered."""

    def begin(self, lookahead_s: float) -> None:
        """Called before the first sound: a frame is `lookahead_s` seconds later than its time."""
        ...

    def values(self, motion: Tensor) -> np.ndarray:
        """(t,n_motion) motion → (t,…) values to send."""
        ...

    def write(self, frames: Sequence[Frame]) -> None: ...


class JsonLines:
    """ARKit weights as JSON lines, one per frame after a header line: docs/streaming.md.

    Raises:
        InputError: the model's mesh has no blendshapes.
    """

    name = "standard output"
    lost = 0

    def __init__(self, animator: Animator, state: AnimatorState, output: Any) -> None:
        self._output, self._fps = output, state.spec.fps
        self._weights = LiveWeights(animator, state)

    def begin(self, lookahead_s: float) -> None:
        fps = f"{self._fps.numerator}/{self._fps.denominator}"
        header = {
            "format": "meshtalk-stream-1",
            "fps": fps,
            "lookahead_s": round(lookahead_s, 4),
            "names": self._weights.names,
        }
        write_all(self._output, json.dumps(header).encode() + b"\n")

    def values(self, motion: Tensor) -> np.ndarray:
        return self._weights(motion)

    def write(self, frames: Sequence[Frame]) -> None:
        write_all(self._output, b"".join(self._line(frame) for frame in frames))

    def _line(self, frame: Frame) -> bytes:
        weights = dict(zip(self._weights.names, [round(value, 4) for value in frame.values.tolist()], strict=True))
        time_s = round(float(frame.number / self._fps), 6)
        return json.dumps({"frame": frame.number, "time_s": time_s, "weights": weights}).encode() + b"\n"


class Vertices:
    """Binary vertices in metres after a header: docs/streaming.md.

    Args:
        target: retarget map to another mesh, whose vertices are sent.
    """

    name = "standard output"
    lost = 0

    def __init__(self, animator: Animator, state: AnimatorState, output: Any, target: Map | None = None) -> None:
        self._animator, self._state, self._output, self._target = animator, state, output, target
        self._transfer = None if target is None else target.transfer(state.spec.template)
        if self._transfer is not None:  # compiled before anybody speaks
            self._transfer.apply(np.zeros((1, *state.spec.template.shape)))

    def begin(self, lookahead_s: float) -> None:
        fps = self._state.spec.fps
        n_vertices = (self._target or self._animator).topology.n_vertices
        header = VERTEX_HEADER.pack(MAGIC, VERSION, n_vertices, fps.numerator, fps.denominator, lookahead_s)
        write_all(self._output, header)

    def values(self, motion: Tensor) -> np.ndarray:
        vertices = self._animator.vertices(motion, self._state)
        if self._transfer is None or self._target is None:
            return vertices
        return self._transfer.apply(vertices - self._state.spec.template) + self._target.template

    def write(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            write_all(self._output, struct.pack("<I", frame.number) + frame.values.astype("<f4").tobytes())


FORMATS: dict[str, Callable[[Animator, AnimatorState, Any], Sink]] = {"jsonl": JsonLines, "vertices": Vertices}


def open_format(name: str, animator: Animator, state: AnimatorState, output: Any, target: Map | None = None) -> Sink:
    """The sink that writes format `name` to a binary file; weights do not depend on `target`."""
    check_format(name)
    if FORMATS[name] is Vertices:
        return Vertices(animator, state, output, target)
    return FORMATS[name](animator, state, output)


def check_format(name: str) -> None:
    """Raise InputError if there is no format `name`."""
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {name!r}")
