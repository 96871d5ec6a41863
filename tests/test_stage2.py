"""What counts in the prior's likelihood."""

from __future__ import annotations

import rig
import torch
from test_training import windows

from meshtalk.config import TrainConfig
from meshtalk.model.networks import MeshTalk
from meshtalk.training import steps


def test_frames_in_which_lids_move_count_more(inline_features, rig_corpus, tmp_path):
    data = windows(rig_corpus, tmp_path)
    step = steps.Stage2.__new__(steps.Stage2)
    step.train, step.model = TrainConfig(event_weight=2.0), MeshTalk(rig.TINY, data.geometry)
    shapes = torch.from_numpy(rig.TOPOLOGY.shapes[[5, 0]]).float()  # a blink, an open jaw
    blink, jaw = data.geometry.to_motion(shapes, torch.from_numpy(rig.NEUTRAL))
    motion = torch.stack([0 * jaw, 0 * jaw, jaw, jaw + blink, jaw + blink, jaw + 1e-5 * blink])[None]
    weight = step._event_weight(motion)[0]
    torch.testing.assert_close(weight, torch.tensor([1.0, 1, 1, 3, 1, 3]), atol=0.02, rtol=0)
