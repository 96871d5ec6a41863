"""The slow way that speed is compared with says the same as the fast one: the ratio is of equal work."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rig

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from measures import streaming
from reference import animate_slowly

AUDIO = rig.speech(5, 0.7)[0]


@pytest.mark.parametrize(
    "config",
    [
        replace(rig.TINY, prior=replace(rig.PRIOR, use_sampled_expression=True), smoothing=0.07),
        replace(rig.TINY, audio=rig.PHONETIC, prior=replace(rig.PRIOR, own_audio_encoder=False)),
        rig.TINY_DENSE,
    ],
    ids=["compact's way", "phonetic", "dense"],
)
def test_the_slow_way_says_the_same(config):
    animator = rig.random_animator(config)
    fast = animator.animate(AUDIO, 16000, seed=3).vertices
    np.testing.assert_allclose(animate_slowly(animator, AUDIO, 3), fast, atol=1e-6)


def test_a_streams_latency_is_the_lookahead():
    found = streaming(rig.random_animator(rig.TINY), 2.0)
    assert found["frames"] > 50
    assert found["lookahead_ms"] <= found["latency_ms"] <= found["lookahead_ms"] + 40
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
