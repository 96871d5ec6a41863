"""What training says while it runs, what it waits for, and when it gives up."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from meshtalk import progress
from meshtalk.config import StageConfig
from meshtalk.errors import InputError
from meshtalk.training.loop import Step, Trainer
from meshtalk.training.prefetch import DEPTH, Prefetcher
from meshtalk.training.progress import Pace, Terminal, time_left
from meshtalk.training.signals import EXPLOSION, RECENT, SKIPPED, Watch

STAGE = StageConfig(steps=1000, learning_rate=2e-3)


def trained(
    folder: Path, loss: Callable[[int], float], steps: int, say: Callable[[str], None], read: Callable[[Step], object]
) -> Trainer:
    """A single weight whose loss at each step is given."""
    module = nn.Linear(1, 1)

    def step(step: Step, _: object) -> dict[str, Tensor]:
        return {"loss": loss(step.index) + 0 * module.weight.sum(), "term": torch.tensor(0.5)}

    trainer = Trainer(
        "t", module, [(module.parameters(), 1e-3, 0.0)], StageConfig(steps=steps), seed=0, folder=folder,
        log=lambda *_: None, progress=say, checkpoint_every=10,
    )  # fmt: skip
    trainer.run(step, read)
    return trainer


# --- reading ahead -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers()))
def test_things_are_read_in_order_and_once(asked):
    read = []

    def reading(thing: int) -> int:
        read.append(thing)
        return thing * 2

    with Prefetcher(reading, asked) as ahead:
        assert [ahead.next() for _ in asked] == [(thing, thing * 2) for thing in asked]
        with pytest.raises(StopIteration):
            ahead.next()
    assert read == asked


def test_the_next_things_are_read_while_one_is_worked_on():
    done = [threading.Event() for _ in range(4)]
    with Prefetcher(lambda k: done[k].set(), range(4)) as ahead:
        ahead.next()
        assert all(event.wait(10) for event in done[: 1 + DEPTH])
        assert not done[1 + DEPTH].is_set()


def test_only_the_wait_for_the_disk_is_counted():
    release = threading.Event()
    with Prefetcher(lambda _: release.wait(10), range(2)) as ahead:
        threading.Timer(0.2, release.set).start()
        ahead.next()
        waited = ahead.waited_s
        assert waited > 0.1
        time.sleep(0.2)
        ahead.next()
        assert ahead.waited_s - waited < 0.1


def test_what_cannot_be_read_is_told_when_it_is_needed():
    def reading(thing: int) -> int:
        if thing == 1:
            raise InputError("a shard is gone")
        return thing

    with Prefetcher(reading, range(3)) as ahead:
        assert ahead.next() == (0, 0)
        with pytest.raises(InputError, match="a shard is gone"):
            ahead.next()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("meshtalk-ahead")]


def test_every_step_gets_what_was_read_for_it(tmp_path):
    """Its own randomness goes on where the reading stopped."""
    module, seen = nn.Linear(1, 1), []

    def step(step: Step, read: float) -> dict[str, Tensor]:
        again = np.random.default_rng([0, sum(b"t"), step.index])
        seen.append((step.index, read == again.random(), step.rng.random() == again.random()))
        return {"loss": module.weight.sum()}

    Trainer(
        "t", module, [(module.parameters(), 1e-3, 0.0)], StageConfig(steps=5), seed=0, folder=tmp_path,
        log=lambda *_: None, progress=lambda _: None,
    ).run(step, lambda step: step.rng.random())  # fmt: skip
    assert seen == [(index, True, True) for index in range(5)]


# --- divergence --------------------------------------------------------------------------------------------------


def fed(watch: Watch, losses: Iterator[float] | list[float], gradient: float = 1.0, kept: int = 0) -> None:
    for step, loss in enumerate(losses, 1):
        watch.see(step, loss, gradient, kept)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_advice(loss):
    watch = Watch("stage1", STAGE, "32")
    with pytest.raises(
        InputError, match=r"stage1 became .* at step 1; there is no checkpoint .*\. Look for NaN in the clips, or lower"
    ):
        fed(watch, [loss])
    with pytest.raises(
        InputError, match=r"step 250 is intact\. Lower stage1.learning_rate 0.002: .* --learning-rate-factor"
    ):
        fed(Watch("stage1", STAGE, "32"), [1.0, loss], kept=250)


def test_in_mixed_precision_the_advice_is_to_leave_it():
    with pytest.raises(InputError, match="--precision 32, which resumes from there"):
        fed(Watch("stage1", STAGE, "bf16-mixed"), [float("nan")])


def test_a_loss_that_explodes_stops_and_one_that_only_wobbles_does_not():
    rng = np.random.default_rng(0)
    usual = rng.lognormal(0, 0.5, 600).tolist()
    outliers = [loss * (50 if k % 9 == 0 else 1) for k, loss in enumerate(usual)]
    fed(Watch("stage1", STAGE, "32"), outliers)
    watch = Watch("stage1", STAGE, "32")
    with pytest.raises(InputError, match=r"the loss of stage1 rose from [01]\.\d+ to [12]\d\.\d+ by step 6[123]0"):
        fed(watch, usual + [loss * 25 for loss in usual])


def test_no_checkpoint_is_made_of_an_explosion():
    watch = Watch("stage1", STAGE, "32")
    fed(watch, [1.0] * (RECENT + 5))
    assert watch.calm()
    watch.see(RECENT + 6, 1.1 * EXPLOSION, 1.0, 0)
    assert not watch.calm()


def test_half_precision_may_look_for_its_scale_but_not_for_ever():
    watch = Watch("stage1", STAGE, "16-mixed")
    fed(watch, [1.0] * SKIPPED, gradient=float("inf"))
    watch.see(51, 1.0, 1.0, 0)
    fed(watch, [1.0] * SKIPPED, gradient=float("inf"))
    with pytest.raises(InputError, match="the gradient of stage1 became inf"):
        watch.see(102, 1.0, float("inf"), 0)
    with pytest.raises(InputError, match="the gradient of stage1 became inf"):
        fed(Watch("stage1", STAGE, "32"), [1.0], gradient=float("inf"))


def test_an_exploding_run_keeps_the_checkpoint_before(tmp_path):
    with pytest.raises(InputError, match=r"rose from 1 to 100 by step 130; the checkpoint of step 110 is intact"):
        trained(tmp_path, lambda k: 1.0 if k < 115 else 100.0, 200, lambda _: None, lambda _: None)


# --- what it says ------------------------------------------------------------------------------------------------


def test_a_terminal_shows_one_line_with_the_largest_terms(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_S", 0.0)
    monkeypatch.setenv("COLUMNS", "121")
    monkeypatch.setenv("LINES", "40")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    terminal = Terminal(stream)
    numbers = {"loss": 9.0, "small": 0.5, "a": 3.0, "b": 2.5, "c": 3.0, "gradient": 40.0}
    terminal.tick("stage1", 10, 100, numbers, Pace(0.5, 0.003))
    terminal.tick("stage1", 11, 100, numbers | {"loss": 8.0}, Pace(0.5, 0.003))
    terminal("stage1 11 validation  x 1")
    _, first, second, cleared, message, again = stream.getvalue().split("\r")[1:]
    assert first.split("| ")[1].startswith(
        "stage1 10/100, loss 9  a 3  c 3  b 2.5  (500 ms/step, waited for data 0.3 %, 45 s left)"
    )
    assert "small" not in first
    assert "gradient" not in first
    assert " stage1 11/100, loss 8" in second
    assert not cleared.strip()
    assert len(cleared) >= len(second)
    assert message == "stage1 11 validation  x 1\n"
    assert again.split() == second.split()
    assert all(len(line) <= 120 for line in (first, second))


def test_a_log_gets_a_line_for_every_checkpoint(tmp_path):
    lines = []
    trained(tmp_path, lambda k: float(k), 25, lines.append, lambda _: time.sleep(0.002))
    pattern = r"t (\d+)/25  loss ([\d.]+)  term 0.5  gradient 0  \(\d+ ms/step, waited for data [\d.]+ %, .* left\)"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert [match.groups() for match in found if match] == [("10", "4.5"), ("20", "14.5"), ("25", "22")]


@pytest.mark.parametrize(("seconds", "told"), [(40, "40 s"), (700, "12 min"), (11_100, "3 h 05 min")])
def test_time_left(seconds, told):
    assert time_left(seconds) == told
