"""How training says what it does: one line rewritten on a terminal, lines now and then in a file, TensorBoard for the curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from meshtalk.progress import meter
from meshtalk.training.data import Say, print_progress

LAYOUT = "{percentage:3.0f}% |{bar}| {desc}{n_fmt}/{total_fmt}{postfix}"
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
    """Progress on a terminal: messages stay, the current step is shown below them."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream, self.name, self.bar = stream, "", None

    def __call__(self, message: str) -> None:
        tqdm.write(message, file=self.stream)

    def tick(self, name: str, step: int, steps: int, numbers: Mapping[str, float], pace: Pace) -> None:
        """Show a step, a few times a second at most: the loss and its largest terms, means since the last checkpoint; the pace."""
        if self.bar is None or self.name != name:
            self.name, self.bar = name, meter(steps, "steps", name, self.stream, LAYOUT)
            self.bar.leave = False  # a message tells the last step
        terms = [item for item in numbers.items() if item[0] not in ("loss", GRADIENT)]
        largest = sorted(terms, key=lambda item: -abs(item[1]))[:TERMS]
        words = f"{told({'loss': numbers['loss']} | dict(largest))}  ({pace.told(steps - step)})"
        self.bar.n = step
        self.bar.set_postfix_str(words, refresh=False)
        self.bar.update(0)
        if step == steps:
            self.bar.close()


def console() -> Say:
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
