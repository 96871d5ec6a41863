"""Pictures of the packaged head: what lies behind lids and lips stays there, whatever the face does."""

from __future__ import annotations

import numpy as np
import pytest
from test_render import sphere

from meshtalk.mesh.head import Head, Person, load_head
from meshtalk.mesh.surface import edges_of
from meshtalk.mesh.topology import Topology
from meshtalk.render import CAMERAS, Look, Renderer, View, kernels, scene
from meshtalk.render.look import EYE, HOLLOW, SHELL, TONGUE, TOOTH

PX = 160


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def both(name: str, weight: float) -> dict[str, float]:
    return {f"{name}Left": weight, f"{name}Right": weight}


def posed(head: Head, person: Person, weights: dict[str, float]) -> np.ndarray:
    vector = np.array([weights.get(name, 0.0) for name in head.topology.shape_names]) * person.gains
    return person.template + np.tensordot(vector, head.topology.shapes, 1).astype(np.float32)


class Seen:
    """What each sample of a small picture shows, and how far away it and the skin alone are."""

    def __init__(self, head: Head, person: Person, camera: str) -> None:
        topology = head.topology
        self.camera = scene.fit_camera(person.template, topology, PX, PX, CAMERAS[camera])
        self.kinds = scene.kinds(topology)[1]
        self.faces = np.ascontiguousarray(topology.faces, np.uint32)

    def __call__(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        c, screen = self.camera, np.empty(vertices.shape)
        view = np.array([c.focal_px, c.cx, c.cy])
        kernels.project(vertices, c.rotation, c.centre, c.distance_m, view, screen)
        cells = (PX, PX, kernels.N_SAMPLES)
        owner, near = np.empty(cells, np.int32), np.empty(cells, np.float32)
        kernels.rasterise(screen, self.faces, self.kinds, near, owner)
        kind = np.where(owner >= 0, self.kinds[np.maximum(owner, 0)], SHELL)
        skin, skin_near = self.faces[self.kinds == SHELL], np.empty(cells, np.float32)
        kernels.rasterise(screen, skin, np.zeros(len(skin), np.uint8), skin_near, owner)
        skin_near[owner < 0] = 1e-6
        return kind, 1 / np.maximum(near, 1e-6), 1 / skin_near


def test_every_part_of_the_head_has_its_kind(head: Head) -> None:
    of_vertex, of_face = scene.kinds(head.topology)
    names = np.array(head.topology.part_names)[head.topology.parts]
    for name, kind in {"eye_left": EYE, "upper_teeth": TOOTH, "inner_mouth": HOLLOW, "skin": SHELL}.items():
        assert set(of_vertex[names == name]) == {kind}
    # a face on the rim of the mouth is mouth, not skin
    rim = np.any(names[head.topology.faces] == "inner_mouth", axis=1)
    assert set(of_face[rim]) == {HOLLOW}


@pytest.mark.parametrize("camera", ["face", "three-quarter", "profile"])
def test_closed_lids_show_no_eye_and_closed_lips_no_tooth(head: Head, camera: str) -> None:
    poses: tuple[dict[str, float], ...] = (
        both("eyeBlink", 1.0),
        both("eyeBlink", 1.0) | both("eyeLookDown", 1.0),
        both("eyeBlink", 1.0) | both("eyeLookUp", 1.0) | {"jawOpen": 0.3, "mouthClose": 0.3},
        both("eyeBlink", 1.0) | {"mouthPucker": 1.0} | both("mouthPress", 1.0),
        both("eyeBlink", 1.0) | {"cheekPuff": 1.0} | both("cheekSquint", 1.0),
    )
    for name in ("p00", "p03", "p04", "p07", "p12", "p27"):
        person = head.person(name)
        look = Seen(head, person, camera)
        for pose in poses:
            kind, _, _ = look(posed(head, person, pose))
            assert (kind == EYE).sum() == 0, (name, pose)
            # lips at rest are 0.06 mm apart, and where the upper stands far before the lower, some of the hundred
            # thousand samples fall between them: on teeth that get no light
            assert (kind == TOOTH).sum() < 20, (name, pose)


@pytest.mark.parametrize(("name", "camera"), [("p02", "face"), ("p15", "three-quarter")])
def test_no_shape_drives_eyes_or_teeth_through_the_skin(head: Head, name: str, camera: str) -> None:
    """Where one shows, the skin alone would leave a hole, or lie well behind it: it is not the lid or lip around it."""
    person = head.person(name)
    look = Seen(head, person, camera)
    n_eyes = n_teeth = 0
    for shape in head.topology.shape_names:
        for jaw in (0.0, 0.4):
            kind, depth, skin = look(posed(head, person, {"jawOpen": jaw} | {shape: 1.0}))
            eyes, teeth = kind == EYE, kind == TOOTH
            assert np.all(skin[eyes] - depth[eyes] > 0.0024), shape
            assert np.all(skin[teeth] - depth[teeth] > 0.0014), shape
            n_eyes, n_teeth = n_eyes + eyes.sum(), n_teeth + teeth.sum()
    assert n_eyes > 10_000
    assert n_teeth > 500


def test_what_comes_through_the_skin_stays_hidden() -> None:
    """A tooth 1 mm before a lip is the lip's; 20 mm before it, it is seen."""
    back, front = [(0, 0, 1.0), (0, 64, 1.0), (64, 64, 1.0)], []
    for before_m, expected in ((0.001, 0), (0.02, 1)):
        near = 1 / (1 - before_m)
        front = [(0, 0, near), (0, 64, near), (64, 64, near)]
        nearness, owner = np.empty((64, 64, 4), np.float32), np.empty((64, 64, 4), np.int32)
        faces = np.array([(0, 1, 2), (3, 4, 5)], np.uint32)
        kernels.rasterise(np.array(back + front), faces, np.array([SHELL, TOOTH], np.uint8), nearness, owner)
        assert set(np.unique(owner)) == {-1, expected}


def test_lids_shade_the_eye_and_lips_the_mouth(head: Head) -> None:
    person = head.person("p00")
    renderer = Renderer(head.topology, person.template, PX, PX, Look("face"), tint=person.tint)
    kinds = scene.kinds(head.topology)[0]

    def reach(weights: dict[str, float]) -> np.ndarray:
        renderer.frame(posed(head, person, weights))
        return renderer._buffers.reach[: head.topology.n_vertices, 0]

    eyes = kinds == EYE
    assert reach(both("eyeBlink", 0.6))[eyes].mean() < reach(both("eyeWide", 1.0))[eyes].mean() - 0.08
    assert reach({})[kinds == SHELL].min() == 1
    front, tongue = head.topology.landmarks["upper_teeth"], kinds == TONGUE
    assert reach({})[front].max() < 0.05
    # the wider the lips part the more light comes in, without a jump
    opening = np.array([reach({"jawOpen": x})[front].mean() for x in np.linspace(0, 0.5, 11)])
    assert (np.diff(opening) > 0).all()
    assert np.diff(opening).max() < 0.2
    assert opening[-1] > 0.4
    deep = np.array([reach({"jawOpen": x})[tongue].mean() for x in (0.0, 0.1, 0.3, 0.5)])
    assert (np.diff(deep) > 0).all()


def test_a_mouth_is_darker_in_its_depth_than_at_the_lips(head: Head) -> None:
    person = head.person("p01")
    renderer = Renderer(head.topology, person.template, 256, 256, Look("mouth"), tint=person.tint)
    open_mouth = posed(head, person, {"jawOpen": 0.55})
    image = renderer.frame(open_mouth).astype(float).sum(2)
    owner = renderer._buffers.owner[..., 0]
    kind = np.where(owner >= 0, renderer._face_kinds[np.maximum(owner, 0)], SHELL)
    near = renderer._buffers.nearness[..., 0]
    throat = np.isin(kind, (HOLLOW, TONGUE)) & (near < np.quantile(near[kind == TOOTH], 0.02))
    assert throat.sum() > 50
    assert image[throat].mean() < 0.35 * image[kind == SHELL].mean()


def test_the_rounded_surface_is_nearer_to_a_ball_than_its_triangles() -> None:
    topology, vertices = sphere(12, 0.1)
    edges, faces, parent = scene.finer(topology.faces, len(vertices), np.ones(topology.faces.shape, bool))
    np.testing.assert_array_equal(parent, np.repeat(np.arange(len(topology.faces)), 4))
    normals, refined = np.empty(vertices.shape), np.empty((len(vertices) + len(edges), 3))
    kernels.vertex_normals(vertices, np.ascontiguousarray(topology.faces, np.uint32), np.eye(3), normals)
    kernels.refine(vertices, normals, edges, refined)
    middles = np.linalg.norm(vertices[edges].mean(1), axis=1)
    rounded = np.linalg.norm(refined[len(vertices) :], axis=1)
    assert np.abs(rounded - 0.1).max() < 0.25 * np.abs(middles - 0.1).max()
    assert len(faces) == 4 * len(topology.faces)

    def area(points: np.ndarray, which: np.ndarray) -> np.ndarray:
        a, b, c = points[which[:, 0]], points[which[:, 1]], points[which[:, 2]]
        return np.linalg.norm(np.cross(b - a, c - a), axis=1)

    flat = np.concatenate([vertices, vertices[edges].mean(1)])
    np.testing.assert_allclose(
        area(flat, faces).reshape(-1, 4).sum(1), area(vertices, topology.faces), rtol=1e-4, atol=1e-9
    )


def test_cutting_some_edges_leaves_no_crack() -> None:
    topology, vertices = sphere(8, 0.1)
    edges, sides = edges_of(topology.faces)
    split = (np.random.default_rng(4).random(len(edges)) < 0.5)[sides]
    assert set(split.sum(1)) == {0, 1, 2, 3}
    cut, faces, parent = scene.finer(topology.faces, len(vertices), split)
    assert len(cut) == len(np.unique(sides[split]))
    points = np.concatenate([vertices, vertices[cut].mean(1)])

    def normal(points: np.ndarray, which: np.ndarray) -> np.ndarray:
        a, b, c = points[which[:, 0]], points[which[:, 1]], points[which[:, 2]]
        return np.cross(b - a, c - a)

    # the pieces of each face are it again, and face the same way
    whole, pieces = normal(vertices, topology.faces), normal(points, faces)
    total = np.stack([np.bincount(parent, pieces[:, k], len(whole)) for k in range(3)], 1)
    np.testing.assert_allclose(total, whole, atol=1e-9)
    assert ((pieces * whole[parent]).sum(1) >= 0).all()
    # as many sides have one face only as before
    counts = [np.bincount(edges_of(f)[1].ravel()) for f in (topology.faces, faces)]
    open_before = (counts[0] == 1).sum() + split[(counts[0] == 1)[sides]].sum()
    assert (counts[1] == 1).sum() == open_before
    assert counts[1].max() == counts[0].max()


@pytest.mark.parametrize("yaw_deg", [-32.0, 32.0])
def test_a_row_of_teeth_darkens_smoothly_towards_the_back(head: Head, yaw_deg: float) -> None:
    """Through an open mouth from one side, the far half shows the tongue's side: warm and dimmer, no splinter and no stone."""
    person = head.person("p00")
    renderer = Renderer(head.topology, person.template, 512, 512, Look(View(yaw_deg)), tint=person.tint, subject="p03")
    for weights in ({"jawOpen": 0.45}, {"jawOpen": 0.12} | both("mouthStretch", 0.5) | both("mouthLowerDown", 0.4)):
        vertices = posed(head, person, weights)
        image = renderer.frame(vertices).astype(float)
        owner = renderer._buffers.owner
        kinds = np.where(owner >= 0, renderer._face_kinds[np.maximum(owner, 0)], SHELL)
        # an ordinary depth test loses no sample of a tooth to skin behind it
        screen, cells = renderer._buffers.screen[: renderer._n_surface], owner.shape
        plain, plain_near = np.empty(cells, np.int32), np.empty(cells, np.float32)
        as_skin = np.zeros(len(renderer._skin_faces), np.uint8)
        kernels.rasterise(screen, renderer._skin_faces, as_skin, plain_near, plain)
        true_kind = np.where(plain >= 0, renderer._face_kinds[np.maximum(plain, 0)], SHELL)
        lost = (true_kind == TOOTH) & (kinds != TOOTH)
        assert lost.sum() < 0.02 * (kinds == TOOTH).sum()
        teeth = (kinds == TOOTH).all(2)
        z = renderer._buffers.points[renderer._skin_faces[owner[..., 0][teeth]], 2].mean(1)
        bins = ((z.max() - z) / 0.005).astype(int)
        colour = np.array([image[teeth][bins == k].mean(0) for k in range(bins.max() + 1) if (bins == k).sum() > 8])
        grey = colour.mean(1)
        assert len(grey) >= 4
        assert grey[-1] < 0.6 * grey[0]
        assert (grey[1:] < 1.15 * grey[:-1]).all()
        assert (grey[1:] > 0.5 * grey[:-1]).all()
        assert (colour[:, 0] > 1.02 * colour[:, 2]).all()


def test_each_tooth_gets_less_light_than_the_one_before_it(head: Head) -> None:
    """Along both arches, in a smile: what reaches the lips' side of the teeth, times their own colour."""
    person = head.person("p03")
    renderer = Renderer(head.topology, person.template, 64, 64, Look("mouth"), tint=person.tint)
    renderer.frame(posed(head, person, {"jawOpen": 0.3} | both("mouthSmile", 0.5)))
    light = renderer._buffers.reach[: head.topology.n_vertices].sum(1) * renderer._surface[
        : head.topology.n_vertices, :3
    ].mean(1)
    names = np.array(head.topology.part_names)[head.topology.parts]
    for part in ("upper_teeth", "lower_teeth"):
        rows = light[names == part].reshape(8, -1)  # from gum to gum
        half = rows.shape[1] // 2
        edge = rows[3 if part == "upper_teeth" else 4]  # the belly of the crowns
        for side in (edge[half:], edge[half::-1]):
            whole = side[: len(side) // 3 * 3].reshape(-1, 3).mean(1)
            assert (np.diff(whole) < 0).all(), part
            assert np.diff(whole).min() > -0.45 * whole[0], part


def test_tongue_that_is_put_out_is_lit_as_the_lips_are(head: Head) -> None:
    person = head.person("default")
    renderer = Renderer(head.topology, person.template, 2 * PX, 2 * PX, Look(CAMERAS["mouth"]))
    face = posed(head, person, {"jawOpen": 0.35, "tongueOut": 1.0})
    tongue = np.flatnonzero(head.topology.parts == head.topology.part_names.index("tongue"))
    tip = face[tongue[face[tongue, 2].argmax()]]
    camera, picture = renderer.camera, renderer.frame(face).astype(float)

    def shown(spot: np.ndarray) -> np.ndarray:
        x, y, z = camera.rotation @ (spot - camera.centre)
        scale = camera.focal_px / (camera.distance_m - z)
        row, column = int(camera.cy - scale * y), int(camera.cx + scale * x)
        return picture[row - 2 : row + 3, column - 2 : column + 3].mean((0, 1))

    red, green, _ = shown(tip)
    assert red > 0.5 * shown(face[head.topology.landmarks["chin"][0]])[0]
    assert red > 1.3 * green


@pytest.mark.parametrize("order", ["head first", "body first", "shuffled"])
@pytest.mark.parametrize("crop", ["portrait", "face", "mouth"])
def test_the_camera_does_not_depend_on_how_vertices_are_numbered(order, crop):
    """A landmark's number in the whole mesh says nothing of the part of it that the camera looks at."""
    head = load_head()
    named = {"chin": head.topology.landmarks["chin"], "forehead": np.array([int(head.neutral[:, 1].argmax())])}
    body = np.random.default_rng(0).uniform([-0.3, -1.6, -0.2], [0.3, -0.2, 0.1], (5000, 3))
    whole = np.concatenate([head.neutral, body])
    place = np.arange(len(whole))
    if order == "body first":
        place = np.roll(place, len(body))
    elif order == "shuffled":
        place = np.random.default_rng(1).permutation(len(whole))
    vertices = np.empty_like(whole)
    vertices[place] = whole
    landmarks = {name: place[index] for name, index in named.items()}
    topology = Topology(np.zeros((0, 3), np.int32), len(whole), landmarks=landmarks)
    camera = scene.fit_camera(vertices, topology, 400, 300, View(0.0, 0.0, crop))
    alone = Topology(np.zeros((0, 3), np.int32), len(whole), landmarks=named)
    expected = scene.fit_camera(whole, alone, 400, 300, View(0.0, 0.0, crop))
    np.testing.assert_allclose(camera.centre, expected.centre, atol=1e-12)
    for name in ("distance_m", "focal_px", "cx", "cy"):
        assert getattr(camera, name) == pytest.approx(getattr(expected, name))
