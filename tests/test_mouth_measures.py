"""Width, protrusion and tongue of clips whose figures are known by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from meshtalk.clip import Clip, Phone
from meshtalk.evaluation import aggregate, score
from meshtalk.measures import sync, tracks
from meshtalk.mesh.topology import Topology

CORNERS, UPPER, LOWER, TEETH, TONGUE = [0, 1], [2], [3], [4, 5], [6, 7]
TOPOLOGY = Topology(
    faces=np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6]], np.int32),
    n_vertices=8,
    landmarks={
        "lip_corners": np.array(CORNERS),
        "lip_inner_upper": np.array(UPPER),
        "lip_inner_lower": np.array(LOWER),
        "upper_teeth": np.array(TEETH),
    },
    parts=np.array([0] * 4 + [1] * 2 + [2] * 2, np.uint8),
    part_names=("skin", "upper_teeth", "tongue"),
)
TEMPLATE = 1e-3 * np.array(
    [[-20, 0, 0], [20, 0, 0], [0, 1, 5], [0, 1, 5], [0, 0, 0], [5, 0, -3], [0, -4, -10], [0, -4, -30]], np.float32
)
PHONES = (Phone("w", 0.0, 0.2), Phone("uw", 0.2, 0.6), Phone("dh", 0.6, 0.8), Phone("th", 0.8, 1.0))


def clip(narrowing: list[float], tongue: list[float], lower: list[float]) -> Clip:
    """12 frames at 10 fps, values in mm: both corners in by half, the tongue forward, the lower lip down and forward."""
    moved = np.zeros((12, 8, 3), np.float32)
    moved[:, 0, 0], moved[:, 1, 0] = np.array(narrowing) / 2e3, -np.array(narrowing) / 2e3
    moved[:, TONGUE, 2] = np.array(tongue)[:, None] / 1e3
    moved[:, LOWER, 1] = -np.array(lower)[:, None] / 1e3
    moved[:, LOWER, 2] = np.array(lower)[:, None] / 1e3
    return Clip(
        topology=TOPOLOGY,
        template=TEMPLATE,
        fps=Fraction(10),
        audio=np.zeros(19200, np.float32),
        sample_rate=16000,
        displacement=moved,
        phones=PHONES,
    )


#                   w: frames 0-2    uw: 2-6             dh: 6-8  th: 8-10
TRUE = clip(
    [0, 4, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0], [0] * 7 + [10.5, 0, 12] + [0] * 2, [2, 3, 4, 4, 5, 4, 4, 3, 2, 1, 0, 0]
)
OURS = clip(
    [0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], [0] * 7 + [9.5, 0, 12] + [0] * 2, [2, 6, 4, 4, 7, 4, 4, 3, 2, 1, 0, 0]
)


def test_tracks_by_hand():
    assert tracks.width_mm(TRUE) == pytest.approx([40, 36, 40, 40, 32, 40, 40, 40, 40, 40, 40, 40], abs=1e-4)
    assert tracks.protrusion_mm(TRUE)[:3] == pytest.approx([6, 6.5, 7], abs=1e-4)
    assert tracks.tongue_past_teeth_mm(TRUE)[6:10] == pytest.approx([-10, 0.5, -10, 2], abs=1e-4)


def test_width_is_the_distance_of_the_corners_in_space():
    turned = replace(TRUE, displacement=TRUE.displacement.copy())
    turned.displacement[3, 1] = [-0.010, 0.040, 0.0]  # 30 mm beside the other corner, and 40 mm above it
    assert tracks.width_mm(turned)[3] == pytest.approx(50, abs=1e-4)


def test_narrowing_is_against_the_clips_average():
    found = sync.narrowing_mm(tracks.width_mm(TRUE), 10, PHONES)
    assert found == pytest.approx([4 - 1, 8 - 1], abs=1e-4)  # w and uw; the average is 12/12 mm narrower than rest
    assert len(sync.narrowing_mm(np.ones(12), 10, PHONES[2:])) == 0


def test_figures_of_the_mouth_by_hand():
    ours, true = score.Tracked(OURS), score.Tracked(TRUE)
    parts = score.follow(ours, true) | score.articulation(ours, PHONES)
    assert parts["width_r"] == pytest.approx((1, 1))
    assert parts["width_change_ratio"] == pytest.approx((3 - 0.5, 12 - 2), abs=1e-3)
    lower = np.array([2, 6, 4, 4, 7, 4, 4, 3, 2, 1, 0, 0]), np.array([2, 3, 4, 4, 5, 4, 4, 3, 2, 1, 0, 0])
    assert parts["protrusion_r"] == pytest.approx((np.corrcoef(*lower)[0, 1], 1), abs=1e-4)
    assert parts["opening_w_mm"] == pytest.approx((6, 1), abs=1e-4)
    assert parts["opening_uw_mm"] == pytest.approx((7, 1), abs=1e-4)
    assert parts["tongue_at_th"] == (1, 2)  # half a millimetre short of the teeth at dh
    assert score.articulation(true, PHONES)["tongue_at_th"] == (2, 2)
    values = score.values_of(parts)
    assert values["width_change_ratio"] == pytest.approx(0.25, abs=1e-3)
    assert values["tongue_at_th"] == 0.5


def test_a_clip_whose_truth_widens_counts_with_its_sign():
    """Dropping such clips would leave only those that narrow."""
    figure = aggregate.estimate("width_change_ratio", [(1.0, 3.0), (0.5, -1.0), (0.0, 0.0)])
    assert figure is not None
    assert figure.value == pytest.approx(0.75)


def test_what_a_mesh_does_not_mark_and_a_clip_does_not_say_is_no_figure():
    bare = replace(
        TOPOLOGY,
        landmarks={name: where for name, where in TOPOLOGY.landmarks.items() if name.startswith("lip_inner")},
        parts=None,
        part_names=(),
    )
    there = score.Tracked(replace(TRUE, topology=bare))
    assert tracks.width_mm(there.clip) is None
    assert tracks.tongue_past_teeth_mm(there.clip) is None
    assert not {"width_r", "width_change_ratio"} & set(score.follow(there, there))
    assert "tongue_at_th" not in score.articulation(there, PHONES)
    silent = score.Tracked(replace(TRUE, phones=()))
    mute = score.values_of(score.follow(silent, silent) | score.articulation(silent, ()))
    assert not {"width_change_ratio", "opening_uw_mm", "opening_w_mm", "tongue_at_th", "lip_to_teeth_mm"} & set(mute)
    assert mute["width_r"] == pytest.approx(1)
