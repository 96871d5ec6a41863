"""What the tests of streaming share: sound as bytes in packets, sinks that keep frames, the documents' readers."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import rig

from meshtalk.inference.animator import Animator
from meshtalk.stream.sinks import Frame, JsonLines

DOCUMENT = Path(__file__).parent.parent / "docs/streaming.md"
ANIMATOR = rig.random_animator()
FPS = Fraction(30)
ROUNDED = 6e-5
"""Weights are written with 4 decimals."""


def pcm16(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, seed: int = 1) -> np.ndarray:
    """(S,) or (S, channels) int16 speech-like sound."""
    sound = rig.speech(seed, seconds * rate / 16_000)[0][: round(seconds * rate)]
    sound = np.stack([sound * (1 + 0.3 * channel) for channel in range(channels)], 1).squeeze(
        -1 if channels == 1 else ()
    )
    return (np.clip(sound, -1, 1) * 32767).astype("<i2")


def as_float(sound: np.ndarray) -> np.ndarray:
    """As decoders give 16-bit files."""
    return sound.astype(np.float32) / 32768


class Packets(io.RawIOBase):
    """A pipe that gives bytes in packets of the given sizes, over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._data, self._sizes, self._turn = data, sizes, 0

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._sizes[self._turn % len(self._sizes)])
        self._turn += 1
        packet, self._data = self._data[:size], self._data[size:]
        return packet


class Kept(JsonLines):
    """A sink that keeps its frames; it may be slow."""

    def __init__(self, animator: Animator = ANIMATOR, state: Any = None, lag: Any = lambda: None) -> None:
        super().__init__(animator, state or animator.start(), io.BytesIO())
        self.frames: list[Frame] = []
        self._lag = lag

    def write(self, frames: Sequence[Frame]) -> None:
        self._lag()
        self.frames += frames

    @property
    def numbers(self) -> list[int]:
        return [frame.number for frame in self.frames]

    @property
    def weights(self) -> np.ndarray:
        return np.stack([frame.values for frame in self.frames])


def documented(name: str) -> Any:
    """A reader as docs/streaming.md prints it."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.S)
    block = next(block for block in blocks if f"def {name}" in block)
    assert len(block.splitlines()) <= 12
    scope: dict[str, Any] = {}
    exec(block, scope)
    return scope[name]


def frames_of(numbers: Iterable[int], made_s: float = 0.0) -> list[Frame]:
    return [Frame(number, np.full(6, number, np.float32), made_s) for number in numbers]


def udp_receiver() -> socket.socket:
    """A socket on a free port of this machine, with room for what is sent before it is read."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    udp.settimeout(20)
    return udp
