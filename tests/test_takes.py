"""Several takes of one line, and where the frames of large meshes wait."""

from __future__ import annotations

import numpy as np
import pytest
from test_animate import ANIMATORS, AUDIO, TINY, whole

from meshtalk.errors import InputError


@pytest.mark.parametrize("name", ANIMATORS)
def test_takes_together_are_takes_alone(name):
    animator = ANIMATORS[name]
    together = animator.takes(AUDIO, 16000, n=3, seed=5, fps=25)
    for index, clip in enumerate(together):
        np.testing.assert_allclose(clip.vertices, whole(animator, seed=5 + index, fps=25), atol=1e-5)
    if name != "phonetic":  # the trunk's features, not normalised in the rig, drown what a seed could decide
        assert np.abs(together[0].vertices - together[1].vertices).max() > 1e-4


def test_no_takes_are_refused():
    with pytest.raises(InputError, match="n must be 1 to 64 takes, got 0"):
        TINY.takes(AUDIO, 16000, n=0)


def test_frames_of_large_meshes_wait_in_a_file(monkeypatch):
    plain = whole(ANIMATORS["dense"])
    monkeypatch.setattr("meshtalk.files.SPOOL_BYTES", 1000)
    clip = ANIMATORS["dense"].animate(AUDIO, 16000)
    assert isinstance(clip.displacement, np.memmap)
    np.testing.assert_array_equal(clip.vertices, plain)
