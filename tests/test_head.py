"""The head asset: what every consumer relies on, proved on all people."""

from importlib.resources import files

import numpy as np
import pytest
from head_rig import both, posed

from meshtalk.errors import InputError
from meshtalk.mesh.head import Head, load_head
from meshtalk.mesh.topology import lip_opening_m

HASH = "5f7b5e2d1b98fcd3"
ARKIT = 52


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def shape(head: Head, name: str) -> np.ndarray:
    assert head.topology.shapes is not None
    return head.topology.shapes[head.topology.shape_names.index(name)]


def hidden(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(n,) whether a triangle lies before each point, seen along -Z."""
    near = np.abs(vertices[faces][:, :, :2].mean(1)[:, None] - points[None, :, :2]).max(-1).min(1) < 0.02
    a, b, c = (vertices[faces[near]][:, k] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    x, y = points[:, None, 0], points[:, None, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        v = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (y - a[:, 1])) / area
        w = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (x - a[:, 0]) * (b[:, 1] - a[:, 1])) / area
        depth = (1 - v - w) * a[:, 2] + v * b[:, 2] + w * c[:, 2]
    return ((v >= 0) & (w >= 0) & (v + w <= 1) & (depth > points[:, None, 2])).any(1)


def mirror_of(head: Head) -> np.ndarray:
    """(V,) index of each vertex's mirror image."""
    spots = head.neutral.astype(np.float64)
    ours, theirs = np.round(spots * 1e6), np.round(spots * [-1, 1, 1] * 1e6)
    twin = np.empty(len(spots), int)
    for start in range(0, len(spots), 500):
        block = theirs[start : start + 500]
        twin[start : start + 500] = np.abs(block[:, None] - ours[None]).sum(-1).argmin(1)
    return twin


def test_topology_is_the_one_that_models_are_trained_on(head: Head) -> None:
    topology = head.topology
    assert (topology.hash, topology.n_vertices, len(topology.faces)) == (HASH, 6322, 12376)
    assert len(topology.shape_names) == ARKIT
    assert {"jawOpen", "mouthClose", "eyeBlinkLeft", "tongueOut"} <= set(topology.shape_names)
    assert topology.parts is not None
    assert {topology.part_names[i] for i in np.unique(topology.parts)} == set(topology.part_names)


def test_asset_is_small() -> None:
    asset = files("meshtalk") / "assets" / "head.npz"
    with asset.open("rb") as stream:
        assert len(stream.read()) <= 1_900_000
    assert "CC0" in (files("meshtalk") / "assets" / "HEAD_LICENSE.txt").read_text(encoding="utf-8")


def test_mesh_is_sound(head: Head) -> None:
    faces = head.topology.faces
    assert set(np.unique(faces)) == set(range(head.topology.n_vertices))
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "an edge is run through twice in one direction: not a manifold"
    _, counts = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    assert counts.max() == 2
    # open are the neck, both eyeballs' backs and both dental arches' rims, and nothing else
    ends = np.unique(np.sort(edges, axis=1), axis=0)[counts == 1]
    assert head.topology.parts is not None
    open_parts = {head.topology.part_names[i] for i in head.topology.parts[ends].ravel()}
    assert open_parts == {"skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth"}
    neck = ends[np.isin(head.topology.parts[ends], [head.topology.part_names.index("skin")]).all(1)]
    spots = head.neutral[np.unique(neck)]
    normal = np.linalg.svd(spots - spots.mean(0))[2][2]
    assert np.abs((spots - spots.mean(0)) @ normal).max() < 5e-5, "the neck's edge is not flat"
    assert len(neck) == len(np.unique(neck)), "the neck's edge is not one closed line"


def test_every_person_has_real_size_and_no_degenerate_face(head: Head) -> None:
    assert len(head.people) >= 32
    assert [p.name for p in head.people[:2]] == ["p00", "p01"]
    faces = head.topology.faces
    for person in head.people:
        height_m = np.ptp(person.template[:, 1])
        assert 0.20 < height_m < 0.31, person.name
        assert np.abs(person.template[head.origin].mean(0)).max() < 1e-5, person.name
        a, b, c = (person.template[faces[:, k]].astype(np.float64) for k in range(3))
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-9, person.name
        assert all(0.15 <= t <= 1.2 for t in person.tint)


def test_people_differ(head: Head) -> None:
    flat = np.stack([p.template for p in head.people]).reshape(len(head.people), -1)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1) / np.sqrt(head.topology.n_vertices)
    assert (distances + np.eye(len(flat))).min() > 0.8e-3, "two persons are within 0.8 mm of each other"


def test_persons_are_reproducible(head: Head) -> None:
    first, again, other = head.person(7), head.person(7), head.person(8)
    np.testing.assert_array_equal(first.template, again.template)
    np.testing.assert_array_equal(first.gains, again.gains)
    assert first.tint == again.tint
    assert np.abs(first.template - other.template).max() > 1e-3
    np.testing.assert_array_equal(head.person("p05").template, head.people[5].template)
    with pytest.raises(InputError, match="p31"):
        head.person("nobody")
    with pytest.raises(InputError, match="from 0 on, got -1"):
        head.person(-1)


@pytest.mark.parametrize("jaw", [0.0, 0.1, 0.35, 0.6])
def test_lips_close_on_everybody_at_every_jaw_angle(head: Head, jaw: float) -> None:
    lips = head.seams["lips"]
    for person in (*head.people, *(head.person(seed) for seed in range(12))):
        face = posed(head, person, jawOpen=jaw, mouthClose=jaw)
        assert -0.1 < lip_opening_m(face, head.topology) * 1e3 < 0.4, person.name
        assert np.abs(lips.opening_m(face)).max() * 1e3 < 0.5, person.name


def test_lip_shapes_neither_cross_nor_gape(head: Head) -> None:
    lips = head.seams["lips"]
    for person in head.people:
        for pose in (
            {"mouthPucker": 0.85},
            both("mouthSmile", 1.0),
            both("mouthPress", 1.0),
            both("mouthFrown", 1.0) | {"mouthShrugLower": 0.5},
            {"mouthPucker": 0.5, "mouthRollLower": 0.5, "jawOpen": 0.3, "mouthClose": 0.3},
        ):
            assert np.abs(lips.opening_m(posed(head, person, **pose))).max() * 1e3 < 0.5, (person.name, pose)
        for pose in ({"mouthFunnel": 1.0}, both("mouthUpperUp", 1.0), {"jawOpen": 0.3}):
            assert lips.opening_m(posed(head, person, **pose)).min() * 1e3 > -0.3, (person.name, pose)
            assert lip_opening_m(posed(head, person, **pose), head.topology) * 1e3 > 3, (person.name, pose)


def test_jaw_opens_as_measured(head: Head) -> None:
    openings = [float(lip_opening_m(posed(head, head.person("default"), jawOpen=w), head.topology)) for w in (0.2, 0.6)]
    assert openings == pytest.approx([6.2e-3, 18.5e-3], abs=0.8e-3)


def test_lids_close_on_everybody_and_clear_the_eyeball(head: Head) -> None:
    assert head.topology.parts is not None
    lids = head.topology.regions["eyelids"]
    skin = head.topology.faces[(head.topology.parts[head.topology.faces] == 0).all(1)]
    for person in head.people:
        blinking = {weight: posed(head, person, **both("eyeBlink", weight)) for weight in (0.25, 0.5, 0.75, 1.0)}
        for side, sign in (("left", 1), ("right", -1)):
            eyeball = person.template[head.topology.parts == head.topology.part_names.index(f"eye_{side}")]
            system = np.c_[2 * eyeball, np.ones(len(eyeball))].astype(np.float64)
            centre = np.linalg.lstsq(system, (eyeball.astype(np.float64) ** 2).sum(1), rcond=None)[0][:3]
            radius = np.linalg.norm(eyeball - centre, axis=1).mean()
            seam = head.seams[f"lids_{side}"]
            front = eyeball[eyeball[:, 2] > centre[2] + 0.5 * radius]
            assert hidden(front, blinking[1.0], skin).all()
            outside = (lids > 0.5) & (head.topology.parts == 0) & (person.template[:, 0] * sign > 0)
            outside &= np.linalg.norm(person.template - centre, axis=1) > 1.02 * radius
            for weight, face in blinking.items():
                depth_mm = (radius - np.linalg.norm(face[outside] - centre, axis=1).min()) * 1e3
                assert depth_mm < 0.5, (person.name, side, weight)
            opening = seam.opening_m(blinking[1.0]) * 1e3
            assert opening.max() < 0.0, (person.name, side)
            assert opening.min() > -0.5, (person.name, side)
            assert seam.opening_m(person.template).max() * 1e3 > 4, (person.name, side)


def test_left_and_right_are_mirror_images(head: Head) -> None:
    twin = mirror_of(head)
    spots = head.neutral
    np.testing.assert_allclose(spots[twin] * [-1, 1, 1], spots, atol=2e-6)
    for name in head.topology.shape_names:
        if name.endswith("Left"):
            left, right = shape(head, name), shape(head, name[:-4] + "Right")
            gap_mm = np.linalg.norm(left[twin] * [-1, 1, 1] - right, axis=1).max() * 1e3
            assert gap_mm < 0.02, name
            if name in ("jawLeft", "mouthLeft"):
                assert left[head.topology.landmarks["lip_inner_lower"], 0].min() > 2e-3, name
            else:
                size = np.abs(left).sum(1)
                assert size[spots[:, 0] > 1e-3].sum() > 1.5 * size[spots[:, 0] < -1e-3].sum(), name
    eye = head.topology.part_names.index("eye_left")
    assert head.topology.parts is not None
    assert spots[head.topology.parts == eye, 0].min() > 0, "the left eye is at +X"


def test_regions_are_smooth_weights_that_overlap_in_the_cheeks(head: Head) -> None:
    topology = head.topology
    assert set(topology.regions) == {"mouth", "upper_face", "eyelids", "lips"}
    for name, weights in topology.regions.items():
        assert weights.min() >= 0, name
        assert weights.max() <= 1, name
    mouth, upper = topology.regions["mouth"], topology.regions["upper_face"]
    shared = (mouth > 0.1) & (upper > 0.1)
    assert 150 < shared.sum() < 600
    spots = head.neutral
    lips_y, eyes_y = spots[topology.landmarks["lip_corners"], 1].mean(), head.neutral[topology.parts == 3, 1].mean()
    assert (spots[shared, 1] > lips_y).all()
    assert (spots[shared, 1] < eyes_y).all()
    assert 200 <= len(topology.indices("lips")) <= 300
    assert (mouth[topology.indices("lips")] > 0.99).all()
    assert (upper[topology.indices("eyelids")] > 0.8).all()
    jumps = np.abs(mouth[topology.faces[:, [0, 1, 2]]] - mouth[topology.faces[:, [1, 2, 0]]])
    assert jumps.max() < 0.4


def test_regions_hold_the_motion_they_are_named_for(head: Head) -> None:
    regions = head.topology.regions
    for name, region in (("jawOpen", "mouth"), ("mouthPucker", "mouth"), ("browInnerUp", "upper_face")):
        motion = (shape(head, name) ** 2).sum(1)
        assert (motion * regions[region]).sum() > 0.9 * motion.sum(), name
    blink = (shape(head, "eyeBlinkLeft") ** 2).sum(1)
    assert (blink * regions["eyelids"]).sum() > 0.65 * blink.sum()


def test_teeth_stay_behind_closed_lips(head: Head) -> None:
    """Seen from the front, no tooth lies before the lips or outside the mouth's width in any closed mouth."""
    topology = head.topology
    assert topology.parts is not None
    teeth = np.isin(topology.parts, [topology.part_names.index(n) for n in ("upper_teeth", "lower_teeth")])
    lips = topology.indices("lips")
    for person in head.people:
        for pose in ({}, {"mouthPucker": 0.85}, both("mouthSmile", 1.0), both("mouthStretch", 1.0)):
            face = posed(head, person, **pose)
            for tooth in face[teeth]:
                near = lips[np.linalg.norm(face[lips, :2] - tooth[:2], axis=1) < 4e-3]
                if len(near):
                    assert tooth[2] < face[near, 2].max() - 1e-3, (person.name, pose)


def test_texture_and_map(head: Head) -> None:
    topology = head.topology
    assert topology.texture_png is not None
    assert topology.texture_png.startswith(b"\x89PNG")
    assert topology.uvs is not None
    assert topology.uv_faces is not None
    assert topology.uv_faces.shape == topology.faces.shape
    assert topology.uvs.min() >= 0
    assert topology.uvs.max() <= 1
