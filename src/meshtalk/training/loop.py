"""The training loop: steps, schedule, logs, atomic checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from meshtalk.config import StageConfig
from meshtalk.files import atomic
from meshtalk.training.data import Progress

FINAL_RATE = 0.02
"""Share of the learning rate that the cosine ends at."""


@dataclass
class Step:
    """What a step function gets: its number and randomness of its own, so that a resumed run repeats it exactly."""

    index: int
    progress: float
    """0 at the first step, 1 at the last."""
    rng: np.random.Generator


StepFunction = Callable[[Step], dict[str, Tensor]]
"""Returns named scalars; "loss" is minimised, all are logged."""


def learning_rate(step: int, stage: StageConfig) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to FINAL_RATE."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(stage.steps, 1)))
    return min(1.0, (step + 1) / max(stage.warmup_steps, 1)) * (cosine * (1 - FINAL_RATE) + FINAL_RATE)


class Trainer:
    """Runs one stage: optimises `groups` of `module`, saving everything a resume needs into `folder`.

    Args:
        name: of the stage, for files and logs.
        groups: (parameters, learning rate, weight decay) triples.
        validate: called now and then with the module in eval mode; returns numbers to log.
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
        progress: Progress,
        validate: Callable[[], dict[str, float]] | None = None,
        validate_every: int = 500,
        checkpoint_every: int = 250,
    ) -> None:
        self.name, self.module, self.stage, self.seed = name, module, stage, seed
        self.folder, self.log, self.progress = folder, log, progress
        self.validate, self.validate_every, self.checkpoint_every = validate, validate_every, checkpoint_every
        self.rates = [rate for _, rate, _ in groups]
        self.optimizer = torch.optim.Adam(
            [{"params": list(p), "lr": rate, "weight_decay": decay} for p, rate, decay in groups]
        )
        self.step = 0

    @property
    def _tensors(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def save(self) -> None:
        """Write weights, optimizer moments and step; atomically, so that an interruption leaves the last one whole."""
        tensors = {f"module.{k}": v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
        with atomic(self._tensors) as temporary:
            save_file({k: v.clone() for k, v in tensors.items()}, temporary, metadata={"step": str(self.step)})

    def resume(self) -> None:
        """Continue from the last checkpoint of this stage in `folder`, if there is one."""
        if not self._tensors.exists():
            return
        tensors = load_file(self._tensors)
        self.step = read_step(self._tensors)
        self.module.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("module.")})
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def run(self, step_function: StepFunction) -> None:
        """Train to the stage's last step, from wherever `resume` left off."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        sums: dict[str, float] = {}
        counted, since, began = 0, self.step, time.monotonic()
        while self.step < self.stage.steps:
            self.module.train()
            factor = learning_rate(self.step, self.stage)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            seeds = [self.seed, sum(self.name.encode()), self.step]
            torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
            scalars = step_function(
                Step(self.step, self.step / max(self.stage.steps - 1, 1), np.random.default_rng(seeds))
            )
            self.optimizer.zero_grad()
            scalars["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, self.stage.clip_norm, error_if_nonfinite=True)
            self.optimizer.step()
            self.step += 1
            counted += 1
            for name, value in scalars.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            last = self.step == self.stage.steps
            if self.step % self.checkpoint_every == 0 or last:
                self.save()
                means = {name: value / counted for name, value in sums.items()}
                self.log(self.name, means, self.step)
                pace_s = (time.monotonic() - began) / (self.step - since)
                left_min = (self.stage.steps - self.step) * pace_s / 60
                numbers = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
                self.progress(
                    f"{self.name} {self.step}/{self.stage.steps}  {numbers}  ({pace_s * 1e3:.0f} ms/step, {left_min:.1f} min left)"
                )
                sums, counted = {}, 0
            if self.validate is not None and (self.step % self.validate_every == 0 or last):
                self.module.eval()
                with torch.no_grad():
                    numbers = self.validate()
                self.log(f"{self.name}/val", numbers, self.step)
                self.progress(
                    f"{self.name} {self.step} validation  " + "  ".join(f"{k} {v:.4g}" for k, v in numbers.items())
                )


def read_step(path: Path) -> int:
    """Step at which a training checkpoint was written."""
    with open(path, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return int(header["__metadata__"]["step"])
