"""Both geometries: there and back, and masked vertex errors that mean the same thing."""

from dataclasses import replace

import numpy as np
import pytest
import rig
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from scipy.spatial.transform import Rotation

from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.model.geometry import (
    IDENTITY_REACH,
    LIP_EMPHASIS,
    LOSS_REGIONS,
    TIP_SHARE,
    BasisGeometry,
    DenseGeometry,
    Identity,
    Pose,
    mouth_functionals,
    opening_pairs,
    region_arrays,
)
from meshtalk.training.fit_geometry import fit_geometry

CLIP = rig.make_clip(0, 1.0)
OTHER = rig.make_clip(1, 1.0)
TEMPLATE = torch.from_numpy(CLIP.template)
DISPLACEMENT, OTHER_DISPLACEMENT = (torch.from_numpy(c.displacements()) for c in (CLIP, OTHER))


@pytest.fixture(scope="module", params=["basis", "dense"])
def geometry(request) -> BasisGeometry | DenseGeometry:
    return rig.basis_geometry() if request.param == "basis" else rig.dense_geometry()


def explicit_error(region: str) -> float:
    """Σ M‖a−b‖² / ΣM in mm², from vertices."""
    weights = region_arrays(rig.TOPOLOGY)[region].astype(np.float64)
    difference_mm = (CLIP.displacements().astype(np.float64) - OTHER.displacements()) * 1e3
    return float(((difference_mm**2).sum(-1) @ weights).mean() / weights.sum())


@pytest.mark.parametrize("region", LOSS_REGIONS)
def test_region_error_is_the_masked_vertex_error(geometry, region):
    a = geometry.to_motion(DISPLACEMENT, TEMPLATE)
    b = geometry.to_motion(OTHER_DISPLACEMENT, TEMPLATE)
    assert float(geometry.region_error((a - b)[None], region)) == pytest.approx(explicit_error(region), rel=1e-5)


@pytest.mark.parametrize("region", LOSS_REGIONS)
def test_gradients_agree_between_the_geometries(region):
    """The slope of the error along a motion is the same number in both."""
    slopes = []
    for geometry in (rig.basis_geometry(), rig.dense_geometry()):
        size = torch.tensor(1.0, requires_grad=True)
        moved = geometry.to_motion(DISPLACEMENT * size, TEMPLATE) - geometry.to_motion(OTHER_DISPLACEMENT, TEMPLATE)
        geometry.region_error(moved[None], region).backward()
        slopes.append(float(size.grad))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)


def test_there_and_back(geometry):
    motion = geometry.to_motion(DISPLACEMENT, TEMPLATE)
    assert motion.shape == (CLIP.n_frames, geometry.n_motion)
    torch.testing.assert_close(geometry.to_displacement(motion, TEMPLATE), DISPLACEMENT, atol=1e-7, rtol=0)
    torch.testing.assert_close(geometry.denormalise(geometry.normalise(motion)), motion, atol=1e-4, rtol=0)


def test_dense_motion_is_the_meshes_in_millimetres():
    geometry = rig.dense_geometry()
    np.testing.assert_allclose(
        geometry.to_motion(DISPLACEMENT, TEMPLATE).unflatten(-1, (-1, 3)), CLIP.vertices * 1e3, atol=1e-4
    )
    still = geometry.template_input(TEMPLATE[None])
    torch.testing.assert_close(geometry.denormalise(still)[0], TEMPLATE.flatten() * 1e3, atol=1e-4, rtol=0)


@pytest.mark.parametrize("turned_deg", [0.0, 10.0, 90.0, 179.0])
def test_a_dense_head_anywhere_moves_as_it_does_upright(turned_deg):
    """What the network sees does not depend on where a head stands and looks; what comes out is turned as it is."""
    geometry = rig.dense_geometry()
    axis = np.array([0.36, 0.48, 0.8])
    rotation = torch.from_numpy(Rotation.from_rotvec(axis * turned_deg, degrees=True).as_matrix()).float()
    shift = torch.tensor([0.1, 1.6, -0.4])
    mean = geometry.mean.view(-1, 3) / 1e3
    laid = Pose.between(TEMPLATE, mean, torch.ones(len(mean))).lay(TEMPLATE)  # so that both are laid alike
    there, moved = laid @ rotation.T + shift, DISPLACEMENT @ rotation.T
    assert geometry._pose(laid) is None
    assert geometry._pose(there) is not None
    torch.testing.assert_close(
        geometry.template_input(there[None]), geometry.template_input(laid[None]), atol=1e-3, rtol=0
    )
    motion = geometry.to_motion(moved, there)
    torch.testing.assert_close(motion, geometry.to_motion(DISPLACEMENT, laid), atol=2e-3, rtol=0)
    torch.testing.assert_close(geometry.to_displacement(motion, there), moved, atol=2e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely")
@given(arrays(np.float32, (12, 3), elements=st.floats(-100, 100, width=32)), st.integers(0, 9))
def test_a_pose_is_a_proper_rigid_motion_and_the_best_one(points, seed):
    rng = np.random.default_rng(seed)
    wanted = rng.normal(0, 30, (12, 3)).astype(np.float32)
    weights = rng.uniform(0.1, 3, 12).astype(np.float32)
    pose = Pose.between(torch.from_numpy(points), torch.from_numpy(wanted), torch.from_numpy(weights))
    torch.testing.assert_close(pose.rotation @ pose.rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(pose.rotation)) == pytest.approx(1, abs=1e-4)
    from_, to = (np.average(x, 0, weights) for x in (points, wanted))
    best, _ = Rotation.align_vectors(wanted - to, points - from_, weights)

    def apart(laid: np.ndarray) -> float:
        return float(np.square(laid - wanted).sum(1) @ weights)

    reference = apart(best.apply(points - from_) + to)
    assert apart(pose.lay(torch.from_numpy(points)).numpy()) <= reference * (1 + 1e-4) + 1e-3
    np.testing.assert_allclose(pose.back(pose.lay(torch.from_numpy(points))), points, atol=1e-3)


def test_opening_in_millimetres():
    truth = CLIP.lip_opening_mm()
    basis, dense = rig.basis_geometry(), rig.dense_geometry()
    np.testing.assert_allclose(dense.opening(dense.to_motion(DISPLACEMENT, TEMPLATE)), truth, atol=1e-3)
    at_rest = float((TEMPLATE[27:29, 1] * -1 + TEMPLATE[35:37, 1]).mean() * 1e3)
    np.testing.assert_allclose(basis.opening(basis.to_motion(DISPLACEMENT, TEMPLATE)) + at_rest, truth, atol=1e-3)


def test_what_is_seen_of_the_mouth_beside_its_opening_in_millimetres():
    """Of the packaged head, whose jaw drops, lips pucker and tongue comes out: the same by both geometries as by its vertices."""
    head = load_head()
    marks, names, shapes = head.topology.landmarks, head.topology.shape_names, head.topology.shapes
    moved = shapes[[names.index(n) for n in ("jawOpen", "mouthPucker", "tongueOut")]] * np.array(
        [[[0.3]], [[0.8]], [[0.5]]]
    )
    q = np.linalg.qr(moved.reshape(3, -1).T.astype(np.float64))[0].T.reshape(moved.shape)
    regions, functionals = region_arrays(head.topology), mouth_functionals(head.topology)
    identity = Identity(np.arange(4), np.zeros((4, 3)), np.eye(2, 12), np.ones(2))
    basis = BasisGeometry(q, np.ones(3), identity, regions, None, functionals)
    dense = DenseGeometry(head.neutral * 1e3, np.ones_like(head.neutral), regions, None, functionals)
    template, motion = torch.from_numpy(head.neutral), torch.from_numpy(moved.astype(np.float32))
    tongue = moved[2, :, 2] * (head.topology.parts == head.topology.part_names.index("tongue"))
    tip = tongue >= TIP_SHARE * tongue.max()
    lower, upper, teeth = (marks[n] for n in ("lip_inner_lower", "lip_inner_upper", "upper_teeth"))
    expected = 1e3 * np.stack(
        [
            moved[:, marks["lip_corners"][1], 0] - moved[:, marks["lip_corners"][0], 0],
            (moved[:, lower, 2].mean(1) + moved[:, upper, 2].mean(1)) / 2,
            moved[:, lower, 1].mean(1) - moved[:, teeth, 1].mean(1),
            moved[:, lower, 2].mean(1) - moved[:, teeth, 2].mean(1),
            moved[:, tip, 2].mean(1),
            moved[:, tip, 1].mean(1),
        ],
        1,
    )
    assert expected[1, 0] < -3  # a pucker narrows
    assert expected[1, 1] > 3  # and protrudes
    assert expected[0, 2] < -5  # a jaw takes the lower lip away from the teeth
    assert expected[2, 4] > 5  # a tongue comes out
    np.testing.assert_allclose(basis.mouth(basis.to_motion(motion, template)), expected, atol=2e-3)
    at_rest = dense.mouth(dense.to_motion(torch.zeros_like(motion[:1]), template))
    np.testing.assert_allclose(dense.mouth(dense.to_motion(motion, template)) - at_rest, expected, atol=2e-3)


def test_a_mesh_is_asked_for_what_of_the_mouth_it_has():
    bare = mouth_functionals(replace(rig.TOPOLOGY, landmarks={}))
    assert bare.shape == (0, rig.TOPOLOGY.n_vertices, 3)
    mean = rig.NEUTRAL * 1e3
    assert not DenseGeometry(mean, mean * 0 + 1, region_arrays(rig.TOPOLOGY), None, bare).has_mouth
    assert len(mouth_functionals(rig.TOPOLOGY)) == 1  # it has inner lips, no corners, teeth or tongue


def test_identity_does_not_depend_on_where_a_face_stands_but_on_its_shape():
    geometry = rig.basis_geometry()
    faces = torch.stack([torch.from_numpy(rig.face(seed)) for seed in range(3)])
    there = geometry.template_input(faces)
    assert there.shape == (3, 2)
    torch.testing.assert_close(
        geometry.template_input(faces + torch.tensor([0.3, -1.0, 0.05])), there, atol=2e-3, rtol=0
    )
    assert torch.pdist(there).min() > 0.2


def test_beyond_the_reach_only_the_direction_of_an_identity_is_told():
    geometry = rig.basis_geometry()
    mean, offset = (torch.from_numpy(part) for part in (rig.NEUTRAL, rig.face(1) - rig.NEUTRAL))
    near, far, further = geometry.template_input(torch.stack([mean + k * offset for k in (1, 1e4, 2e4)]))
    assert near.norm() < IDENTITY_REACH
    torch.testing.assert_close(torch.stack([far, further]).norm(dim=1), torch.full((2,), IDENTITY_REACH))
    torch.testing.assert_close(far, further, atol=1e-3, rtol=0)


def test_plain_norms_are_for_dense_geometry():
    error = torch.randn(2, 4, 6)
    with pytest.raises(InputError, match="dense"):
        rig.basis_geometry().region_error(error, "mouth", "plain")
    dense = rig.dense_geometry()
    error = torch.zeros(1, 1, 96, 3)
    error[0, 0, :, 0], error[0, 0, :, 1] = 3.0, 4.0
    error = error.flatten(2).requires_grad_()
    assert dense.region_error(error, "mouth", "plain").item() == pytest.approx(5.0)
    assert dense.region_error(error, "mouth", "squared").item() == pytest.approx(25.0)
    still = torch.zeros(1, 1, 288, requires_grad=True)
    dense.region_error(still, "mouth", "plain").backward()
    assert still.grad is not None
    assert torch.isfinite(still.grad).all()


def test_an_empty_region_is_named():
    mean = np.zeros((96, 3))
    with pytest.raises(InputError, match="eyelids"):
        DenseGeometry(mean, mean + 1, {"eyelids": np.zeros(96, np.float32)}, None)


def test_wrong_shapes_fail(geometry):
    with pytest.raises(TypeCheckError):
        geometry.to_displacement(torch.zeros(5, geometry.n_motion + 1), TEMPLATE)
    with pytest.raises(TypeCheckError):
        geometry.normalise(torch.zeros(1, 5, geometry.n_motion + 1))
    with pytest.raises(TypeCheckError):
        geometry.region_error(torch.zeros(1, 5, geometry.n_motion - 1), "mouth")


# --- fitted to a corpus --------------------------------------------------------------------------------------


def corpus_motion_mm(corpus) -> np.ndarray:
    return np.concatenate([corpus.load(i).displacements() for i in corpus.split("train")]) * 1e3


@pytest.mark.parametrize("kind", ["rig", "sampled"])
def test_fitted_basis_is_orthonormal_and_within_tolerance(kind, rig_corpus, dense_corpus):
    corpus = rig_corpus if kind == "rig" else dense_corpus
    geometry, mix = fit_geometry(corpus, rig.TINY.geometry)
    basis = geometry.basis.double()
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)).double(), atol=1e-5, rtol=0)
    truth = torch.from_numpy(corpus_motion_mm(corpus)).flatten(1)
    residual = (truth - truth @ geometry.basis.T @ geometry.basis).unflatten(1, (-1, 3)).norm(dim=-1)
    assert residual.max() < rig.TINY.geometry.basis_tolerance_mm + (0.01 if kind == "sampled" else 1e-3)
    assert geometry.n_motion <= len(rig.SHAPES)
    assert (mix is not None) == (kind == "rig")
    coefficients = truth @ geometry.basis.T
    torch.testing.assert_close(geometry.scale[:1], coefficients.square().mean(0).sqrt()[:1], rtol=1e-3, atol=1e-3)


def test_mix_turns_coefficients_into_blendshape_weights(rig_corpus):
    geometry, mix = fit_geometry(rig_corpus, rig.TINY.geometry)
    clip = rig_corpus.load(rig_corpus.split("val")[0])
    coefficients = geometry.to_motion(torch.from_numpy(clip.displacements()), torch.from_numpy(clip.template)).numpy()
    again = np.einsum("ts,svc->tvc", coefficients @ mix / 1e3, rig_corpus.topology.shapes)
    assert np.abs(again - clip.displacements()).max() < 2e-5  # 0.02 mm


def test_dense_statistics_are_those_of_the_meshes(rig_corpus):
    geometry, mix = fit_geometry(rig_corpus, rig.TINY_DENSE.geometry)
    frames = np.concatenate([rig_corpus.load(i).vertices for i in rig_corpus.split("train")]) * 1e3
    assert mix is None
    np.testing.assert_allclose(geometry.mean, frames.mean(0).ravel(), atol=1e-2)
    std = frames.std(0).ravel()
    np.testing.assert_allclose(geometry.std, np.maximum(std, 0.02 * std.max()), rtol=1e-3, atol=1e-3)


def test_identities_are_few_and_bounded(rig_corpus):
    geometry, _ = fit_geometry(rig_corpus, rig.TINY.geometry)
    assert geometry.n_template == 5  # six people differ in five directions
    stranger = geometry.template_input(torch.from_numpy(rig.face(9))[None])
    assert stranger.norm() <= IDENTITY_REACH * 1.0001


def test_regions_and_pairs_of_a_topology_without_landmarks():
    bare = replace(rig.TOPOLOGY, landmarks={})
    assert opening_pairs(bare) is None
    assert not rig.basis_geometry(bare).has_opening
    assert set(region_arrays(bare)) == {*LOSS_REGIONS, "face"}


def test_lips_weigh_more_in_the_mouths_mask():
    masks = region_arrays(rig.TOPOLOGY)
    lips = rig.TOPOLOGY.indices("lips")
    assert (masks["mouth"][lips] == 1 + LIP_EMPHASIS).all()
    np.testing.assert_array_equal(masks["upper_face"], rig.TOPOLOGY.regions["upper_face"])
    without = {name: weights for name, weights in rig.TOPOLOGY.regions.items() if name != "lips"}
    plain = region_arrays(replace(rig.TOPOLOGY, regions=without))
    np.testing.assert_array_equal(plain["mouth"], rig.TOPOLOGY.regions["mouth"])


def test_a_silenced_mouth_rests_and_the_upper_face_stays():
    geometry = rig.basis_geometry()
    motion = geometry.to_motion(DISPLACEMENT, TEMPLATE)
    silent = geometry.silence_mouth(motion)
    assert silent.shape == motion.shape
    mouth_left = geometry.region_error(silent[None], "mouth") / geometry.region_error(motion[None], "mouth")
    upper_lost = geometry.region_error((silent - motion)[None], "upper_face") / geometry.region_error(
        motion[None], "upper_face"
    )
    assert float(mouth_left) < 0.05
    assert float(upper_lost) < 0.1
