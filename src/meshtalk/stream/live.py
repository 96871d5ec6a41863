"""Bounded buffers of a live stream, which count what they drop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from meshtalk.audio.files import n_frames
from meshtalk.config import SAMPLE_RATE
from meshtalk.stream.pcm import PACKET_S, Pcm
from meshtalk.stream.pipes import read_some
from meshtalk.stream.sinks import Frame, Sink

WAITING_S = 2.0
"""Size of the buffers: sound not animated yet, and per sink frames not delivered yet."""
_CTRL_C_S = 0.5
"""Polling interval for Ctrl-C where a waiting thread cannot be interrupted (Windows)."""


class LiveSound:
    """Buffer of sound not animated yet, at most 2 s. All of it is taken at once, up to half a second: larger packets cost
    less per second, so that a machine that fell behind catches up. If it does not, the oldest sound is skipped in whole
    frames: frame numbers skip as many, and stay in sync."""

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self._samples = np.zeros(0, np.float32)
        self._changed = threading.Condition()
        self._skipped = self._skipped_samples = self._untold = 0
        self._ended = self.stopped = False
        self._error: Exception | None = None

    def put(self, samples: np.ndarray) -> None:
        """Add (n,) samples at 16 kHz; never blocks."""
        with self._changed:
            self._samples = np.concatenate([self._samples, samples])
            excess = len(self._samples) - int(WAITING_S * SAMPLE_RATE)
            if excess > 0:
                frames = n_frames(excess, SAMPLE_RATE, self._fps)
                # rounded in total, so that frames never stray from their time by more than half a sample
                until = round((self._skipped + frames) * SAMPLE_RATE / self._fps)
                self._samples = self._samples[until - self._skipped_samples :]
                self._skipped, self._skipped_samples = self._skipped + frames, until
                self._untold += frames
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """End of the sound; `error` is raised by `take`."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """The consumer has stopped."""
        self.stopped = True

    def take(self) -> tuple[np.ndarray, int] | None:
        """Wait for sound: ((n,) samples, frames skipped before them), or None at the end."""
        with self._changed:
            _wait(self._changed, lambda: self._ended or len(self._samples))
            if self._error is not None:
                raise self._error
            if not len(self._samples):
                return None
            cut = int(PACKET_S * SAMPLE_RATE)
            samples, self._samples = self._samples[:cut], self._samples[cut:]
            skipped, self._untold = self._untold, 0
            return samples, skipped


def live_packets(source: Any, pcm: Pcm, sound: LiveSound) -> Iterator[tuple[np.ndarray, int]]:
    """As `packets`, while a thread keeps reading."""

    def read() -> None:
        try:
            while not sound.stopped and (data := read_some(source, pcm.packet_bytes)):
                sound.put(pcm.feed(data))
            sound.put(pcm.finish())
            sound.end()
        except Exception as error:  # raised in the thread that takes
            sound.end(error)

    threading.Thread(target=read, daemon=True, name="meshtalk sound").start()
    while (taken := sound.take()) is not None:
        yield taken


class LiveQueue:
    """A sink in a thread of its own, behind a queue of at most `limit` frames. It never blocks the stream: when the queue is
    full the oldest frame is dropped and counted, for a late frame is worth less than a current one."""

    def __init__(self, sink: Sink, limit: int) -> None:
        self.name, self._sink, self._limit, self._dropped = sink.name, sink, limit, 0
        self._waiting: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"meshtalk {sink.name}")
        self._thread.start()

    @property
    def lost(self) -> int:
        return self._dropped + self._sink.lost

    def write(self, frames: Sequence[Frame]) -> None:
        """Queue frames; raises an exception of the sink's thread."""
        with self._changed:
            if self._error is not None:
                raise self._error
            self._waiting.extend(frames)
            while len(self._waiting) > self._limit:
                self._waiting.popleft()
                self._dropped += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until the queue is empty."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(_CTRL_C_S)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Discard the queue."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    _wait(self._changed, lambda: self._waiting or self._ended)
                    if not self._waiting:
                        return
                    frame = self._waiting.popleft()
                self._sink.write([frame])
        except Exception as error:  # raised in the thread that writes
            self._error = error


def frames_within(seconds: float, fps: Fraction) -> int:
    """Number of frames in so many seconds, at least one."""
    return max(1, int(seconds * fps))


def _wait(changed: threading.Condition, ready: Callable[[], object]) -> None:
    while not changed.wait_for(ready, _CTRL_C_S):
        pass
