"""Regions of a mesh that is not ours, judged by its own blendshapes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from meshtalk.mesh.topology import Topology, lip_opening_m
from meshtalk.regions.face import Face
from meshtalk.regions.warp import regions_from_landmarks

MESH = Path(os.environ.get("MESHTALK_MESHES", "")) / "ict_facekit.npz"
"""ICT-FaceKit's face: neutral (V,3) cm, tris (F,3), names (S,), deltas (S,V,3)."""
needs_mesh = pytest.mark.skipif(not MESH.is_file(), reason="MESHTALK_MESHES names no folder with ict_facekit.npz")

ON_SKIN = {
    "nose_tip": 4857, "nose_base": 1147, "nose_bridge": 978, "eye_inner_left": 3742, "eye_inner_right": 1528,
    "eye_outer_left": 3721, "eye_outer_right": 1507, "mouth_left": 6213, "mouth_right": 5708, "lip_upper_outer": 0,
    "lip_upper_inner": 5533, "lip_lower_inner": 5517, "lip_lower_outer": 5518, "chin": 966, "brow_inner_left": 3615,
    "brow_inner_right": 1401, "brow_outer_left": 2509, "brow_outer_right": 268,
}  # fmt: skip
BETWEEN = {
    "eye_upper_left": (3751, 3756), "eye_upper_right": (1542, 1537), "eye_lower_left": (3725, 3732),
    "eye_lower_right": (1518, 1511),
}  # fmt: skip


@pytest.fixture(scope="module")
def foreign():
    """(neutral (V,3) cm, name → (V,3) shape, Topology with regions)."""
    with np.load(MESH) as data:
        neutral = data["neutral"].astype(np.float64)
        shapes = dict(zip(data["names"].tolist(), data["deltas"].astype(np.float64), strict=True))
        faces = data["tris"]
    points = {name: neutral[vertex] for name, vertex in ON_SKIN.items()}
    points |= {name: neutral[list(pair)].mean(0) for name, pair in BETWEEN.items()}
    found = regions_from_landmarks(Face(Topology(faces, len(neutral)), neutral), points)
    return neutral, shapes, found.topology


def energy(shapes, prefix: str) -> np.ndarray:
    """(V,) squared movement of all shapes of that prefix."""
    return sum((shape**2).sum(1) for name, shape in shapes.items() if name.startswith(prefix))


@needs_mesh
def test_inner_lips_follow_the_jaw(foreign):
    """Seven pairs over the middle of the mouth open as the two vertices in its very middle do, which were picked by hand."""
    neutral, shapes, topology = foreign
    upper, lower = ON_SKIN["lip_upper_inner"], ON_SKIN["lip_lower_inner"]
    jaw, shut = shapes["jawOpen"], shapes["mouthClose"]
    poses = [neutral + w * jaw for w in np.linspace(0, 1, 6)] + [neutral + w * (jaw + shut) for w in (0.25, 0.5)]
    for posed in poses:
        true = posed[upper, 1] - posed[lower, 1]
        assert float(lip_opening_m(posed, topology)) == pytest.approx(true, rel=0.1, abs=0.07)  # cm
    assert len(topology.landmarks["lip_inner_upper"]) == 7


@needs_mesh
def test_eyelids_are_what_a_blink_moves(foreign):
    _, shapes, topology = foreign
    moved = np.sqrt(energy(shapes, "eyeBlink"))
    lids = topology.regions["eyelids"] > 0.5
    strongly, at_all = moved > 0.3 * moved.max(), moved > 0.1 * moved.max()
    assert (strongly & lids).sum() / strongly.sum() > 0.9
    assert (at_all & lids).sum() / lids.sum() > 0.95


@needs_mesh
@pytest.mark.parametrize(
    ("shapes_of", "region", "least", "other"),
    [("brow", "upper_face", 0.9, "mouth"), ("jaw", "mouth", 0.95, "upper_face")],
)
def test_regions_hold_what_their_shapes_move(foreign, shapes_of, region, least, other):
    _, shapes, topology = foreign
    moved = energy(shapes, shapes_of)
    assert moved @ topology.regions[region] / moved.sum() > least
    assert moved @ topology.regions[other] / moved.sum() < 0.02


@needs_mesh
def test_lips_are_round_the_mouth(foreign):
    neutral, _, topology = foreign
    lips = neutral[topology.regions["lips"] > 0.5]
    left, right = neutral[ON_SKIN["mouth_left"], 0], neutral[ON_SKIN["mouth_right"], 0]
    assert lips[:, 0].min() == pytest.approx(right, abs=0.7)
    assert lips[:, 0].max() == pytest.approx(left, abs=0.7)
    assert lips[:, 1].max() < neutral[ON_SKIN["nose_base"], 1]
    assert lips[:, 1].min() > neutral[ON_SKIN["chin"], 1] + 1
