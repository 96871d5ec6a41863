"""ARKit weights over UDP as VMC messages (https://protocol.vmc.info), which VTuber tools and game engines receive."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from torch import Tensor

from meshtalk.arkit.names import clip_name
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, AnimatorState
from meshtalk.stream.sinks import Frame
from meshtalk.stream.weights import LiveWeights

MAX_DATAGRAM_BYTES = 1400
"""Fits an Ethernet packet with its headers: a datagram in pieces is lost if any piece is."""
_BUNDLE_BYTES, _SIZE_BYTES = 16, 4


def parse_endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT, or [HOST]:PORT for IPv6 → (host, port).

    Raises:
        InputError: it is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--vmc must be HOST:PORT, got {text!r}. Try 127.0.0.1:39539.")
    return host, int(port)


def datagrams(names: Sequence[str], weights: Sequence[float], time_s: float) -> list[bytes]:
    """One frame as OSC bundles: the sender's state and time, a value for every name, and last of all Apply."""
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder

    messages = [_message("/VMC/Ext/OK", 1), _message("/VMC/Ext/T", time_s)]
    messages += [_message("/VMC/Ext/Blend/Val", name, weight) for name, weight in zip(names, weights, strict=True)]
    messages.append(_message("/VMC/Ext/Blend/Apply"))
    groups, size = [[]], _BUNDLE_BYTES
    for message in messages:
        if size + _SIZE_BYTES + message.size > MAX_DATAGRAM_BYTES:
            groups.append([])
            size = _BUNDLE_BYTES
        groups[-1].append(message)
        size += _SIZE_BYTES + message.size
    made = []
    for group in groups:
        bundle = OscBundleBuilder(IMMEDIATELY)  # type: ignore[arg-type]
        for message in group:
            bundle.add_content(message)
        made.append(bundle.build().dgram)
    return made


def _message(address: str, *values: str | int | float):
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build()


class Pacer:
    """When frames are due: frame k at t0 + k/fps, with t0 such that the first frame is due at once, when it is sent.

    A live source has its own clock, and its sound comes in lumps. Once a second, t0 is moved so that the latest frame
    of that second would have been just in time: back if every frame had to wait (we fell behind and caught up, or the
    source's clock is fast); forth if each of the last three seconds had late ones (lumps, or a slow clock; a single
    stall is not worth a delay).
    """

    WINDOW_S = 1.0

    def __init__(self, fps: Fraction, live: bool) -> None:
        self._fps, self._live = fps, live
        self._start_s: float | None = None
        self._window_s, self._spare_s = 0.0, np.inf
        self._before_s = (0.0, 0.0)

    def due_s(self, frame: Frame, now_s: float) -> float:
        """When to show a frame, on the clock of its `made_s` and of `now_s`; in the past if it is late."""
        if self._start_s is None:
            # a file can wait: frames that were made long before the first is sent would follow it at once, unseen
            begin_s = frame.made_s if self._live else now_s
            self._start_s, self._window_s = begin_s - frame.number / self._fps, begin_s
        if self._live:
            self._follow(frame.made_s, self._start_s + frame.number / self._fps - frame.made_s)
        return self._start_s + frame.number / self._fps

    def _follow(self, made_s: float, spare_s: float) -> None:
        assert self._start_s is not None
        self._spare_s = min(self._spare_s, spare_s)
        if made_s - self._window_s >= self.WINDOW_S:
            move_s = self._spare_s if self._spare_s > 0 else min(max(self._spare_s, *self._before_s), 0.0)
            self._start_s -= move_s
            self._before_s = (self._before_s[1] - move_s, self._spare_s - move_s)
            self._window_s, self._spare_s = made_s, np.inf


class VmcSender:
    """Sends each frame when it is due. A datagram the network refuses is counted, not an error: it may recover.

    Args:
        animator: a model of blendshapes.
        state: of `animator.start`.
        host: name or address.
        port: UDP; receivers listen on 39539 by custom.
        live: the frames' source has its own clock.
        clock: seconds; the same as the stream's.
        sleep: seconds.

    Raises:
        InputError: python-osc is missing, the host is unknown, or the model's mesh has no blendshapes.
    """

    def __init__(
        self,
        animator: Animator,
        state: AnimatorState,
        host: str,
        port: int,
        *,
        live: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_osc()
        self._fps, self._clock, self._sleep = state.spec.fps, clock, sleep
        self._weights = LiveWeights(animator, state)
        self._names = [clip_name(name) for name in self._weights.names]  # VMC names are case-sensitive
        self._socket, self._address = _udp(host, port)
        self._pacer = Pacer(state.spec.fps, live)
        datagrams(
            self._names, [0.0] * len(self._names), 0.0
        )  # what is imported at first use takes several frames' time
        self.name, self.lost = f"VMC to {host}:{port}", 0

    def begin(self, lookahead_s: float) -> None:
        pass

    def values(self, motion: Tensor) -> np.ndarray:
        return self._weights(motion)

    def write(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            now_s = self._clock()
            wait_s = self._pacer.due_s(frame, now_s) - now_s
            if wait_s > 0:
                self._sleep(wait_s)
            try:
                for datagram in datagrams(self._names, frame.values.tolist(), float(frame.number / self._fps)):
                    self._socket.sendto(datagram, self._address)
            except OSError:
                self.lost += 1


def check_osc() -> None:
    """Raise InputError if python-osc is not installed."""
    try:
        import pythonosc  # noqa: F401
    except ImportError:
        raise InputError('VMC needs python-osc. Run pip install "meshtalk[live]".') from None


def _udp(host: str, port: int) -> tuple[socket.socket, tuple]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        return socket.socket(family, kind, protocol), address
    except (OSError, UnicodeError):
        raise InputError(f"VMC receiver {host!r} cannot be found. Give a name or address that resolves.") from None
