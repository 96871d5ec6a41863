"""Live streaming: raw PCM in, final frames out to any number of sinks, in bounded memory.

Two ways to treat a slow consumer. By default it applies back-pressure: nothing is lost, and no sound is read meanwhile. With
`live`, for sources that cannot wait such as a microphone, each sink has a queue of its own that drops the oldest frames and
counts them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from meshtalk.audio.files import n_frames
from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, AnimatorState
from meshtalk.stream.live import WAITING_S, LiveQueue, LiveSound, frames_within, live_packets
from meshtalk.stream.pcm import Pcm, packets
from meshtalk.stream.pipes import EXAMPLES
from meshtalk.stream.sinks import Frame, Sink

REPORT_S = 5.0
"""Seconds between two reports of lost sound or frames, at least."""


@dataclass(frozen=True)
class Summary:
    """Outcome of a stream."""

    frames: int
    """Frames animated."""
    skipped: int
    """Frames whose sound was skipped because it arrived faster than it could be animated (live only)."""
    lost: dict[str, int]
    """Sink → frames that were animated but not delivered."""

    def __str__(self) -> str:
        """The losses as text; empty if there are none."""
        parts = [f"frames dropped before {name}: {count}" for name, count in self.lost.items() if count]
        if self.skipped:
            parts.append(
                "frames skipped because sound arrived faster than it could be animated (a file needs no --live): "
                f"{self.skipped}"
            )
        return "; ".join(parts)


def stream(
    animator: Animator,
    state: AnimatorState,
    source: Any,
    sinks: Sequence[Sink],
    *,
    rate: int = SAMPLE_RATE,
    channels: int = 1,
    live: bool = False,
    report: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Animate raw sound until it ends.

    Args:
        animator: a model.
        state: of `animator.start`.
        source: binary file of little-endian signed 16-bit samples, channels interleaved; an unbuffered one is read as
            bytes arrive.
        sinks: receivers of the frames.
        rate: Hz of the source, 8000 to 192000. Other rates than 16 kHz are resampled to the very samples `animate` uses.
        channels: of the source, averaged.
        live: the source cannot wait: drop the oldest frames for a slow sink, skip the oldest sound on a slow machine.
        report: receives losses (at most every 5 seconds, and in total) and a truncated last sample, a sentence each.
        clock: seconds, for those 5 seconds and the frames' `made_s`.

    Raises:
        InputError: rate or channels out of range, or no sound at all.
        BrokenPipeError: the consumer of a sink has gone.
    """
    pcm = Pcm(rate, channels)
    lookahead_s = animator.waits_s(state)
    numbers = Numbers(state.spec.fps)
    if live:
        # what is compiled at first use must not be compiled while somebody speaks; a state can be used twice
        animator.advance(np.zeros(int((lookahead_s + 0.5) * SAMPLE_RATE), np.float32), state)
    for sink in sinks:
        sink.begin(lookahead_s + pcm.delay_s)
    queues = [LiveQueue(sink, frames_within(WAITING_S, state.spec.fps)) for sink in sinks] if live else []
    outputs: Sequence[Sink | LiveQueue] = queues or sinks
    sound = LiveSound(state.spec.fps) if live else None
    losses = _LossReporter(report, clock)

    def deliver(motion: Tensor) -> None:
        if not len(motion):
            return
        made_s, numbered = clock(), numbers.take(len(motion))
        for sink, output in zip(sinks, outputs, strict=True):
            output.write([Frame(n, v, made_s) for n, v in zip(numbered, sink.values(motion), strict=True)])

    def summary() -> Summary:
        return Summary(numbers.made, numbers.skipped, {output.name: output.lost for output in outputs})

    try:
        for samples, skipped in live_packets(source, pcm, sound) if sound else packets(source, pcm):
            numbers.add(len(samples), skipped)
            motion, state = animator.advance(samples, state)
            deliver(motion)
            losses.report(summary())
        if pcm.cut_bytes:
            report(f"the sound ended inside a sample: its last {pcm.cut_bytes} byte(s) were ignored")
        if not numbers.n_samples:
            raise InputError(f"standard input has no sound. Pipe raw 16-bit samples into it, e.g. {EXAMPLES}.")
        deliver(animator.finish(state))
        for queue in queues:
            queue.finish()
    finally:
        if sound:
            sound.stop()
        for queue in queues:
            queue.stop()
        losses.report(summary(), last=True)
    return summary()


class Numbers:
    """Frame numbers across skipped sound."""

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self.n_samples = self.made = self.skipped = self._offset = 0
        self._skips: deque[tuple[int, int]] = deque()

    def add(self, n_samples: int, skipped: int) -> None:
        """Register `n_samples` to animate after `skipped` frames of skipped sound."""
        if skipped:
            # frames before this sound may still be waiting for look-ahead: their numbers stay
            self._skips.append((n_frames(self.n_samples, SAMPLE_RATE, self._fps), skipped))
            self.skipped += skipped
        self.n_samples += n_samples

    def take(self, count: int) -> list[int]:
        """The numbers of the next `count` frames."""
        numbers = []
        for made in range(self.made, self.made + count):
            while self._skips and made >= self._skips[0][0]:
                self._offset += self._skips.popleft()[1]
            numbers.append(made + self._offset)
        self.made += count
        return numbers


class _LossReporter:
    """Reports losses: when they grow, at most every few seconds, and in total."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._report, self._clock, self._last, self._next_s = report, clock, "", -np.inf

    def report(self, summary: Summary, last: bool = False) -> None:
        if last and str(summary):
            self._report(f"in all, {summary.frames} frames were animated; {summary}")
        elif str(summary) != self._last and self._clock() >= self._next_s:
            self._report(f"so far: {summary}")
            self._last, self._next_s = str(summary), self._clock() + REPORT_S
