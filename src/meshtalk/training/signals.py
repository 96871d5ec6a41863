"""Early stops of training: signals and divergence."""

from __future__ import annotations

import math
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from meshtalk.config import StageConfig
from meshtalk.errors import InputError

SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; a scheduler that ends a job; SLURM's warning before it (`--signal=USR1@120`)."""
SECOND_THOUGHT_S = 1.0
"""Ctrl-C again after so long does not wait for the step. Sooner, it is a launcher passing on what all processes got."""


class Stopped(KeyboardInterrupt):
    """A signal was received; progress is saved, and the same command resumes."""

    def __init__(self, number: int, step: str | None = None) -> None:
        reached = f"stopped at {step}, which is saved" if step else "stopped; finished work is saved"
        super().__init__(f"{reached}: the same command resumes")
        self.code = 128 + number
        """Exit code of a program that obeys the signal."""


class Asked:
    """A handler that records the last signal; 0: none."""

    number = 0
    since_s = 0.0

    @property
    def received(self) -> tuple[float, float]:
        """(number, whether there is one): their means over processes identify a signal that only some received."""
        return float(self.number), float(self.number != 0)

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number == number == signal.SIGINT and time.monotonic() - self.since_s > SECOND_THOUGHT_S:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self.since_s = number, time.monotonic()


def at_once(number: int, _: FrameType | None) -> None:
    """A handler for the time between steps, when everything is saved."""
    raise Stopped(number)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGNALS go to `handler`; in the main thread alone, which is the only one that may ask for it."""
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, handler) for number in SIGNALS}
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


EXPLOSION = 10.0
"""A loss is exploding at so many times its usual value…"""
RECENT, USUAL = 25, 500
"""…the median of so many last steps against that of as many before them, once there are RECENT of these too."""
SKIPPED = 50
"""In half precision a step whose gradients overflow is left out and the scale halved; so many in a row are no search for it."""


class Watch:
    """Monitors a stage's losses for divergence."""

    def __init__(self, name: str, stage: StageConfig, precision: str) -> None:
        self.name, self.stage, self.precision = name, stage, precision
        self.losses: deque[float] = deque(maxlen=USUAL + RECENT)
        self.skipped = 0

    def calm(self) -> bool:
        """Whether weights should be saved at the last loss."""
        before = list(self.losses)[:-1]
        return len(before) < RECENT or self.losses[-1] <= EXPLOSION * statistics.median(before)

    def see(self, step: int, loss: float, gradient: float, kept: int) -> None:
        """Record a step's loss and gradient norm, before the weights change.

        Args:
            kept: step of the last checkpoint.

        Raises:
            InputError: either is not finite, or the loss has exploded; the message names the setting to change.
        """
        half = self.precision == "16-mixed"
        self.skipped = self.skipped + 1 if half and not math.isfinite(gradient) else 0
        if not math.isfinite(loss):
            self._stop(f"the loss of {self.name} became {loss} at step {step}", kept)
        if not math.isfinite(gradient) and (not half or self.skipped > SKIPPED):
            self._stop(f"the gradient of {self.name} became {gradient} at step {step}", kept)
        self.losses.append(loss)
        if step % 10 == 0 and len(self.losses) >= 2 * RECENT:
            losses = list(self.losses)
            usual, recent = statistics.median(losses[:-RECENT]), statistics.median(losses[-RECENT:])
            if recent > EXPLOSION * usual:
                message = f"the loss of {self.name} rose from {usual:.4g} to {recent:.4g} by step {step}"
                self._stop(message, kept)

    def _stop(self, what: str, kept: int) -> None:
        saved = f"the checkpoint of step {kept} is intact" if kept else "there is no checkpoint yet"
        if self.precision != "32":
            advice = "Run the same command with --precision 32, which resumes from there"
        else:
            clips = "Look for NaN in the clips, or " if not self.losses and not kept else ""
            rate = f"{self.name}.learning_rate {self.stage.learning_rate:g}"
            advice = f"{clips}{'lower' if clips else 'Lower'} {rate}: start a new run with --learning-rate-factor 0.3"
        raise InputError(f"training diverged: {what}; {saved}. {advice}.")
