"""The training loop: steps, schedule, logs, two generations of checkpoints, exact resume, on one device or many.

All randomness of a step is a function of seed, stage and step number, and so are its windows of the data; the learning rate is
one of the step number. So a checkpoint needs no generator's state and no position in the data: weights, the optimiser's
moments and the step are complete, and a run that was killed and resumed computes what it would have computed (on one process
bit for bit).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from meshtalk.config import StageConfig
from meshtalk.errors import InputError
from meshtalk.training import checkpoints, engine
from meshtalk.training.data import Say
from meshtalk.training.prefetch import Prefetcher
from meshtalk.training.progress import GRADIENT, Pace, Terminal, told
from meshtalk.training.rng import Part
from meshtalk.training.signals import Asked, Stopped, Watch, handling

if TYPE_CHECKING:
    from lightning_fabric.fabric import Fabric

FINAL_RATE = 0.02
"""Share of the learning rate that the cosine ends at."""
LARGEST = 1e6
"""Gradient norms are logged up to here: those that overflow, where 16-mixed looks for its scale, would hide all others."""


@dataclass
class Step:
    """Argument of a step function: its index and randomness, so that a resumed run repeats it exactly."""

    index: int
    progress: float
    """0 at the first step, 1 at the last."""
    rng: np.random.Generator
    part: Part = field(default_factory=Part)
    """Slice of the step's batch to compute. All slices share the same randomness, see rng.py."""


StepFunction = Callable[[Step, Any], dict[str, Tensor]]
"""Maps a step and the data read for it to named scalars whose mean over all slices is the batch's; "loss" is minimised, all are
logged."""


def nothing(_: Step) -> None:
    """The `read` of steps that need no data from disk."""


def learning_rate(step: int, stage: StageConfig) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to FINAL_RATE."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(stage.steps, 1)))
    return min(1.0, (step + 1) / max(stage.warmup_steps, 1)) * (cosine * (1 - FINAL_RATE) + FINAL_RATE)


class _Runner(nn.Module):
    """Calls its argument. The module that Fabric wraps, so that gradients are averaged whatever a step function uses.

    It holds only trained parameters: nothing else has to be exchanged between processes.
    """

    def __init__(self, trained: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(trained)

    def forward(self, call: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return call()


class Trainer:
    """Runs one stage: optimises `groups` of `module`, freezes the rest, saves everything a resume needs into `folder`.

    Args:
        name: of the stage, for files and logs.
        groups: (parameters, learning rate, weight decay) triples.
        fabric: where it runs, of `engine.start`; None is this process's CPU.
        accumulate: number of micro-batches of each process's share of a batch.
        validate: called periodically by the first process with the module in eval mode; returns scalars to log.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        groups: list[tuple[Iterable[nn.Parameter], float, float]],
        stage: StageConfig,
        *,
        seed: int,
        folder: Path,
        log: Callable[[str, dict[str, float], int], None],
        progress: Say,
        fabric: Fabric | None = None,
        accumulate: int = 1,
        validate: Callable[[], dict[str, float]] | None = None,
        validate_every: int = 500,
        checkpoint_every: int = 250,
    ) -> None:
        self.name, self.module, self.stage, self.seed = name, module, stage, seed
        self.folder, self.log, self.progress = folder, log, progress
        self.fabric, self.accumulate = engine.start() if fabric is None else fabric, accumulate
        self.validate, self.validate_every, self.checkpoint_every = validate, validate_every, checkpoint_every
        self.rates = [rate for _, rate, _ in groups]
        module.requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            [
                {"params": [p.requires_grad_(True) for p in params], "lr": rate, "weight_decay": decay}
                for params, rate, decay in groups
            ]
        )
        runner = _Runner(p for group in self.optimizer.param_groups for p in group["params"])
        self._runner, self._stepper = self.fabric.setup(runner, self.optimizer)
        self.step = self.kept = 0
        self._sums: dict[str, float] = {}
        self._counted = 0

    @property
    def _tensors(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def save(self) -> None:
        """Write weights, optimizer moments, step and running means of the logs, by the first process."""
        self.kept = self.step
        if self.fabric.global_rank > 0:
            return
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        means = {"sums": self._sums, "counted": self._counted}
        scale = self.fabric.strategy.precision.state_dict()  # of 16-mixed
        checkpoints.write(
            self._tensors, tensors, {"step": str(self.step), "means": json.dumps(means), "scale": json.dumps(scale)}
        )

    def resume(self) -> None:
        """Resume from the last intact checkpoint of this stage in `folder`, if there is one.

        Raises:
            InputError: all checkpoints are damaged, or processes see different ones.
        """
        kept = checkpoints.read(self._tensors, self.progress)
        self.step = self.kept = int(kept.metadata["step"]) if kept else 0
        if self.step != self.fabric.broadcast(self.step):
            raise InputError(
                f"processes find different checkpoints in {self.folder}. Use a run folder that all machines share."
            )
        if kept is None:
            return
        self.module.load_state_dict({k[7:]: v for k, v in kept.tensors.items() if k.startswith("module.")})
        state: dict[int, dict[str, Any]] = {}
        for key, value in kept.tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        means = json.loads(kept.metadata.get("means", "{}"))  # older checkpoints have none
        self._sums, self._counted = means.get("sums", {}), means.get("counted", 0)
        if scale := json.loads(kept.metadata.get("scale", "{}")):
            self.fabric.strategy.precision.load_state_dict(scale)

    def run(self, step_function: StepFunction, read: Callable[[Step], Any] = nothing) -> None:
        """Train to the stage's last step, from wherever `resume` left off.

        Args:
            read: reads a step's data from disk. Called in a thread, ahead of the step; a function of the step alone.

        Raises:
            InputError: training diverged, see `Watch`; or what `read` raises.
            Stopped: a signal was received; the current step is saved.
        """
        precision = getattr(self.fabric.strategy.precision, "precision", "32")
        watch = Watch(self.name, self.stage, "32" if precision == "32-true" else precision)
        since, began = self.step, time.monotonic()
        asked = Asked()
        with handling(asked), Prefetcher(read, self._parts()) as ahead:
            while self.step < self.stage.steps:
                numbers, stop = self._one(step_function, ahead, watch, asked)
                for name, value in numbers.items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
                self._counted += 1
                means = {name: value / self._counted for name, value in self._sums.items()}
                elapsed_s = time.monotonic() - began
                pace = Pace(elapsed_s / (self.step - since), ahead.waited_s / elapsed_s)
                last = self.step == self.stage.steps
                if isinstance(self.progress, Terminal):
                    self.progress.tick(self.name, self.step, self.stage.steps, means, pace)
                if last or (self.step % self.checkpoint_every == 0 and watch.calm()):
                    self._sums, self._counted = {}, 0
                    self.log(self.name, means | pace.numbers(), self.step)
                    self.save()
                    if last or not isinstance(self.progress, Terminal):
                        self.progress(
                            f"{self.name} {self.step}/{self.stage.steps}  {told(means)}  ({pace.told(self._left)})"
                        )
                if self.validate is not None and (self.step % self.validate_every == 0 or last):
                    self._validate(self.validate)
                if last:  # signals after the exchange of the last step
                    stop = self._agreed(self.optimizer.param_groups[0]["params"][0].new_tensor(asked.received))
                if stop:
                    if self.kept != self.step:
                        self.save()
                    self.fabric.barrier()  # launchers end all processes as soon as one has ended: not before all is saved
                    raise Stopped(stop, f"{self.name} {self.step}/{self.stage.steps}")

    def _agreed(self, received: Tensor) -> int:
        """The signal that any process has received, from each one's `Asked.received`; 0: none."""
        shared = self.fabric.all_reduce(received, reduce_op="mean")
        assert isinstance(shared, Tensor)
        signals, share = shared.tolist()
        return round(signals / share) if share else 0

    @property
    def _left(self) -> int:
        return self.stage.steps - self.step

    def _parts(self) -> Iterator[Step]:
        """This process's slices of all remaining steps, in order."""
        count = self.fabric.world_size * self.accumulate
        for index in range(self.step, self.stage.steps):
            for k in range(self.accumulate):
                part = Part(self.fabric.global_rank * self.accumulate + k, count)
                yield Step(index, index / max(self.stage.steps - 1, 1), np.random.default_rng(self._seeds(index)), part)

    def _seeds(self, index: int) -> list[int]:
        return [self.seed, sum(self.name.encode()), index]

    def _one(
        self, step_function: StepFunction, ahead: Prefetcher[Step, Any], watch: Watch, asked: Asked
    ) -> tuple[dict[str, float], int]:
        """One step: (scalars over the whole batch, the signal that any process received or 0)."""
        fabric, n = self.fabric, self.accumulate
        self.module.train()
        factor = learning_rate(self.step, self.stage)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        seed = int(np.random.SeedSequence(self._seeds(self.step)).generate_state(1)[0])
        self._stepper.zero_grad()
        names, total = [], None
        for k in range(n):
            step, read = ahead.next()
            torch.manual_seed(seed)
            with fabric.no_backward_sync(self._runner, enabled=k < n - 1):
                scalars = self._runner(partial(step_function, step, read))
                fabric.backward(scalars["loss"] / n if n > 1 else scalars["loss"])
            values = torch.stack([value.detach().float() for value in scalars.values()])
            names, total = list(scalars), values if total is None else total + values
        gradient = fabric.clip_gradients(
            self._runner, self._stepper, max_norm=self.stage.clip_norm, error_if_nonfinite=False
        )
        assert total is not None
        assert gradient is not None
        # one exchange: all processes see the same numbers, and stop at the same step
        shared = torch.cat([total / n, total.new_tensor([gradient, *asked.received])])
        shared = fabric.all_reduce(shared, reduce_op="mean")
        assert isinstance(shared, Tensor)
        *means, norm, signals, share = shared.tolist()
        numbers = dict(zip(names, means, strict=True))
        watch.see(self.step + 1, numbers["loss"], norm, self.kept)
        self._stepper.step()
        self.step += 1
        return numbers | {GRADIENT: norm if norm < LARGEST else LARGEST}, round(signals / share) if share else 0

    def _validate(self, validate: Callable[[], dict[str, float]]) -> None:
        if self.fabric.global_rank > 0:
            return
        self.module.eval()
        with torch.no_grad():
            numbers = validate()
        self.log(f"{self.name}/val", numbers, self.step)
        self.progress(f"{self.name} {self.step} validation  {told(numbers)}")


def read_step(path: Path) -> int:
    """Step at which a training checkpoint was written."""
    with open(path, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return int(header["__metadata__"]["step"])
