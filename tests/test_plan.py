"""The plan of large corpora: arithmetic that can be checked by hand, over steps that are those of training."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import rig
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from plan import ROWS, Costs, plan, step_of

OFFICIAL = Costs("official", None, 0, 80, (60e9, 30e9), (3.0, 2.0), 0.004)


def test_a_plan_by_hand():
    found = plan(13, OFFICIAL, 0.01, gpu_tflops=4, gpu_step_s=0.01)
    assert found.raw_gb == pytest.approx(13 * 3600 * (30 * 6172 * 12 + 96000) / 1e9)
    assert found.steps == (50_000, 15_000)
    # 60 GFLOP take 15 ms; 30 take 7.5, but no step less than 10
    assert found.gpu_h == pytest.approx((50_000 * 0.015 + 15_000 * 0.010) / 3600)
    assert found.cpu_h == pytest.approx((50_000 * 3 + 15_000 * 2) / 3600)
    assert found.windows_s == pytest.approx(65_000 * 8 / (found.gpu_h * 3600))
    assert found.reads_mb_s == pytest.approx(found.windows_s * found.window_mb)
    assert found.window_mb == pytest.approx((32 * 6172 * 6 + 160 * 80 * 2) / 1e6)
    assert all(show(found) for show in ROWS.values())


def test_more_hours_take_more_but_never_fewer_steps_than_the_preset():
    small, large = (plan(hours, OFFICIAL, 0.01, 4, 0.01) for hours in (1, 130))
    assert small.steps == (50_000, 15_000)
    assert large.steps == (500_000, 150_000)
    assert large.converted_gb == pytest.approx(130 * small.converted_gb)
    assert large.windows_s == pytest.approx(small.windows_s)
    slow = plan(2400, replace(OFFICIAL, features_s=0.09), 0.01, 4, 0.01)
    assert slow.processes_for_a_day == 10


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("config", [rig.TINY, rig.TINY_DENSE], ids=["basis", "dense"])
def test_a_step_trains_what_its_stage_trains(config, stage):
    network = rig.random_checkpoint(config).network.train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    with FlopCounterMode(display=False) as counter:
        step_of(network, stage, rig.quick_training(1, 1, 1))()
    assert counter.get_total_flops() > 0
    moved = {name.split(".")[0] for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    if stage == 1:
        assert {"audio", "expression", "fusion", "decoder"} <= moved
        assert "prior" not in moved
    else:
        assert {"prior"} <= moved <= {"prior", "prior_audio"}
