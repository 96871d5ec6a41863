"""Training logs: a progress line on a terminal, occasional lines in a file, TensorBoard curves."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from meshtalk.training.data import Progress, print_progress

TICK_S = 0.2
TERMS = 3
GRADIENT = "gradient"
"""Name of the gradient's norm among a step's numbers."""


@dataclass(frozen=True)
class Pace:
    """Training speed."""

    step_s: float
    wait_share: float
    """Share of the time spent waiting for data."""

    def numbers(self) -> dict[str, float]:
        """Scalars for TensorBoard."""
        return {"ms_per_step": self.step_s * 1e3, "data_wait_share": self.wait_share}

    def told(self, steps_left: int) -> str:
        """`12 ms/step, waited for data 0.3 %, 5 min left`"""
        wait = f"waited for data {self.wait_share:.1%}".replace("%", " %")
        return f"{self.step_s * 1e3:.0f} ms/step, {wait}, {time_left(steps_left * self.step_s)} left"


class Terminal:
    """Progress on a terminal: messages scroll, the current step is rewritten below them."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream, self.last_s, self.width = stream, 0.0, 0

    def __call__(self, message: str) -> None:
        self._rewrite(message)
        self.stream.write("\n")
        self.stream.flush()
        self.width = 0

    def tick(self, name: str, step: int, steps: int, numbers: Mapping[str, float], pace: Pace) -> None:
        """Show a step, a few times a second at most: the loss and its largest terms, means since the last checkpoint; the pace."""
        now = time.monotonic()
        if now - self.last_s < TICK_S and step < steps:
            return
        self.last_s = now
        terms = [item for item in numbers.items() if item[0] not in ("loss", GRADIENT)]
        largest = sorted(terms, key=lambda item: -abs(item[1]))[:TERMS]
        line = f"{name} {step}/{steps}  {told({'loss': numbers['loss']} | dict(largest))}  ({pace.told(steps - step)})"
        self._rewrite(line[: shutil.get_terminal_size().columns - 1])

    def _rewrite(self, text: str) -> None:
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width = len(text)


def console() -> Progress:
    """Progress on standard error."""
    return Terminal() if sys.stderr.isatty() else print_progress


def told(numbers: Mapping[str, float]) -> str:
    """`loss 1.2  opening 0.3`"""
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def time_left(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Curves:
    """TensorBoard scalars, one folder per stage; does nothing if TensorBoard is not installed."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self.write = folder, write
        self.writer = None

    def open(self, name: str, step: int) -> None:
        """Start or resume a stage after `step`: later scalars of an interrupted run are purged."""
        self.close()
        if not self.write:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writer = SummaryWriter(str(self.folder / name), purge_step=step + 1)

    def __call__(self, name: str, numbers: Mapping[str, float], step: int) -> None:
        if self.writer is not None:
            for key, value in numbers.items():
                self.writer.add_scalar(f"{name}/{key}", value, step)
            self.writer.flush()  # before the checkpoint that will not log it again

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
