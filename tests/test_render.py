"""Pictures: what is covered, what is in front, what is lit, and that the bytes never change by themselves."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.render import LIGHTS, Look, Renderer, View, kernels, scene


def sphere(rings: int = 24, radius_m: float = 0.12) -> tuple[Topology, np.ndarray]:
    """A closed ball with texture coordinates: (topology, (V,3) vertices)."""
    theta = np.linspace(0, np.pi, rings + 1)
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    vertices = radius_m * np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1)
    across = 2 * rings
    faces = []
    for i in range(rings):
        for j in range(across):
            a, b = i * across + j, i * across + (j + 1) % across
            faces += [(a, a + across, b), (b, a + across, b + across)]
    flat = vertices.reshape(-1, 3).astype(np.float32)
    uvs = np.stack([p.ravel() / (2 * np.pi), 1 - t.ravel() / np.pi], 1).astype(np.float32)
    faces = np.array(faces, np.int32)
    return Topology(faces=faces, n_vertices=len(flat), uvs=uvs, uv_faces=faces), flat


def with_texture(topology: Topology, image: np.ndarray) -> Topology:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return Topology(
        faces=topology.faces,
        n_vertices=topology.n_vertices,
        uvs=topology.uvs,
        uv_faces=topology.uv_faces,
        texture_png=buffer.getvalue(),
    )


@pytest.fixture(scope="module")
def ball() -> tuple[Topology, np.ndarray]:
    return sphere()


@pytest.fixture(scope="module")
def renderer(ball) -> Renderer:
    return Renderer(*ball, 160, 160)


def drawn(screen: np.ndarray, faces: list, size: int = 64) -> np.ndarray:
    nearness, owner = np.empty((size, size, 4), np.float32), np.empty((size, size, 4), np.int32)
    kernels.rasterise(
        np.array(screen, float), np.array(faces, np.uint32), np.zeros(len(faces), np.uint8), nearness, owner
    )
    return owner


def test_coverage_of_a_triangle_equals_its_area():
    owner = drawn([(5.25, 4.5, 1), (3.75, 58.0, 1), (60.5, 50.25, 1)], [(0, 1, 2)])
    a, b = np.array([-1.5, 53.5]), np.array([55.25, 45.75])
    area = abs(a[0] * b[1] - a[1] * b[0]) / 2
    assert (owner == 0).sum() / 4 == pytest.approx(area, abs=4)


def test_samples_lie_exactly_inside_the_edges():
    corners = np.array([(10.5, 7.25), (8.0, 50.75), (55.125, 33.0)])
    owner = drawn(np.column_stack([corners, np.ones(3)]), [(0, 1, 2)])
    y, x, s = np.mgrid[0:64, 0:64, 0:4]
    at = np.stack([x, y], -1) + kernels.SAMPLES[s]
    inside = np.ones(owner.shape, bool)
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        inside &= (b[0] - a[0]) * (at[..., 1] - a[1]) - (b[1] - a[1]) * (at[..., 0] - a[0]) <= 0
    np.testing.assert_array_equal(owner == 0, inside)


def test_neighbours_share_an_edge_without_crack_or_overlap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        inner = np.round(rng.uniform(12, 52, 2) * 256) / 256
        points = [(4, 4, 1), (60, 4, 1), (60, 60, 1), (4, 60, 1), (*inner, 1)]
        fan = [(4, 1, 0), (4, 2, 1), (4, 3, 2), (4, 0, 3)]
        owner = drawn(points, fan)
        expected = np.zeros((64, 64, 4), bool)
        expected[4:60, 4:60] = True
        np.testing.assert_array_equal(owner >= 0, expected)
        reverse = drawn(points, fan[::-1])  # equal depth: with an overlap the first drawn would win
        np.testing.assert_array_equal(np.where(owner >= 0, 3 - owner, -1), reverse)


def test_the_nearer_triangle_wins_in_either_order():
    far, near = [(0, 0, 1), (0, 64, 1), (64, 64, 1)], [(0, 0, 2), (0, 64, 2), (64, 64, 2)]
    assert set(np.unique(drawn(far + near, [(0, 1, 2), (3, 4, 5)]))) == {-1, 1}
    assert set(np.unique(drawn(near + far, [(0, 1, 2), (3, 4, 5)]))) == {-1, 0}


def test_crossing_triangles_are_cut_where_they_meet():
    left = [(0, 0, 2), (0, 64, 2), (64, 32, 1)]
    right = [(64, 64, 2), (64, 0, 2), (0, 32, 1)]
    owner = drawn(left + right, [(0, 1, 2), (3, 4, 5)])
    assert owner[32, 8, 0] == 0
    assert owner[32, 56, 0] == 1


def test_back_faces_show_only_where_nothing_covers_them():
    back = [(0, 0, 2), (64, 64, 2), (0, 64, 2)]
    assert set(np.unique(drawn(back, [(0, 1, 2)]))) == {-1, -2}
    near_front = [(0, 0, 3), (0, 64, 3), (64, 64, 3)]
    assert set(np.unique(drawn(back + near_front, [(0, 1, 2), (3, 4, 5)]))) == {-1, 1}
    far_front = [(0, 0, 1), (0, 64, 1), (64, 64, 1)]
    assert set(np.unique(drawn(back + far_front, [(0, 1, 2), (3, 4, 5)]))) == {-1, -2}


def test_the_same_mesh_gives_the_same_bytes_on_any_number_of_threads(ball, renderer):
    topology, vertices = ball
    meshes = [vertices * np.float32(scale) for scale in np.linspace(0.7, 1, 9)]
    alone = [renderer.frame(mesh) for mesh in meshes]
    for threads in (1, 3):
        for one, other in zip(alone, renderer.frames(meshes, threads), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(Renderer(topology, vertices, 160, 160).frame(meshes[0]), alone[0])


def test_a_ball_is_round_centred_and_fits(ball, renderer):
    differs = np.any(renderer.frame(ball[1]) != renderer.frame(ball[1] * np.float32(1e-6)), axis=2)
    y, x = np.nonzero(differs)
    assert x.min() > 2
    assert y.min() > 2
    assert (x.max() + x.min() + 1) / 2 == pytest.approx(80, abs=1.5)
    assert (y.max() + y.min() + 1) / 2 == pytest.approx(80, abs=1.5)
    assert np.ptp(x) == pytest.approx(np.ptp(y), abs=2)
    assert len(x) == pytest.approx(np.pi / 4 * (np.ptp(x) + 1) ** 2, rel=0.02)
    assert np.ptp(x) > 110


def test_edges_are_smooth(ball):
    """Against a black backdrop an untextured ball has intermediate values along its outline."""
    renderer = Renderer(*ball, 160, 160, Look(light=replace(LIGHTS["studio"], backdrop=(0.0, 0.0, 0.0))))
    row = renderer.frame(ball[1])[:, 80].sum(1).astype(float)
    inner = row[row > 0]
    assert inner[0] < 0.9 * inner[3]


def test_the_key_light_comes_from_the_upper_left(ball, renderer):
    image = renderer.frame(ball[1]).astype(float).sum(2)
    assert image[50, 50] > image[110, 110] + 40


def test_texture_lands_where_its_coordinates_say(ball):
    topology, vertices = ball
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32] = (220, 30, 30)  # north
    image[32:] = (30, 30, 220)  # south
    picture = Renderer(with_texture(topology, image), vertices, 160, 160).frame(vertices).astype(int)
    assert picture[50, 80, 0] > 2 * picture[50, 80, 2]
    assert picture[110, 80, 2] > 2 * picture[110, 80, 0]


def test_a_fine_texture_is_averaged_not_aliased(ball):
    topology, vertices = ball
    checks = (np.indices((1024, 1024)).sum(0) % 2 * 255).astype(np.uint8)
    fine = with_texture(topology, np.repeat(checks[..., None], 3, 2))
    grey = with_texture(topology, np.full((8, 8, 3), 188, np.uint8))  # 188 is half of white in linear light
    centre = np.s_[60:100, 60:100]
    one, other = (Renderer(t, vertices, 160, 160).frame(vertices)[centre].astype(float) for t in (fine, grey))
    assert np.abs(one - other).max() < 6


def test_tint_colours_the_skin_and_not_the_eyes(ball):
    topology, vertices = ball
    parts = (vertices[:, 1] > 0).astype(np.uint8)
    topology = Topology(
        faces=topology.faces, n_vertices=topology.n_vertices, parts=parts, part_names=("skin", "eye_left")
    )
    plain = Renderer(topology, vertices, 96, 96).frame(vertices)
    tinted = Renderer(topology, vertices, 96, 96, tint=(0.4, 0.3, 0.25)).frame(vertices)
    assert tinted[65, 48].sum() < 0.8 * plain[65, 48].sum()
    np.testing.assert_array_equal(tinted[25, 48], plain[25, 48])


def test_hollows_are_dark_and_open_skin_is_not():
    """A ball inside a bowl: the bowl's floor sees little of the sky."""
    topology, outer = sphere(16, 0.12)
    keep = outer[topology.faces].mean(1)[:, 2] < 0.02
    bowl = topology.faces[keep][:, ::-1]  # seen from within
    both = np.concatenate([bowl, topology.faces + len(outer)])
    vertices = np.concatenate([outer, outer * np.float32(0.4) + np.float32((0, 0, 0.16))])
    renderer = Renderer(Topology(faces=both, n_vertices=len(vertices)), vertices, 64, 64)
    sky = renderer.surface[:, 3]
    floor = np.argmin(outer[:, 2])
    nose = len(outer) + np.argmax(outer[:, 2])
    assert sky[nose] > 0.9
    assert sky[floor] < 0.6


def test_a_turned_head_shows_its_other_side(ball):
    topology, vertices = ball
    image = np.zeros((8, 64, 3), np.uint8)
    image[:, :32] = 255  # longitudes 0..180: the ball's +X half
    textured = with_texture(topology, image)
    front, turned = (Renderer(textured, vertices, 96, 96, Look(View(yaw))).frame(vertices)[48] for yaw in (0, -80))
    assert front[20].sum() < front[75].sum()
    assert turned[40].sum() > front[40].sum() + 100


@pytest.mark.parametrize("crop", ["portrait", "face", "mouth"])
def test_the_chin_landmark_frames_the_portrait(ball, crop):
    topology, vertices = ball
    chin = np.array([np.argmin(np.abs(vertices[:, 1] + 0.06) + np.abs(vertices[:, 0]) - vertices[:, 2])])
    topology = Topology(faces=topology.faces, n_vertices=topology.n_vertices, landmarks={"chin": chin})
    camera = scene.fit_camera(vertices, topology, 100, 100, View(crop=crop))
    screen = np.empty(vertices.shape)
    view = np.array([camera.focal_px, camera.cx, camera.cy])
    kernels.project(vertices, camera.rotation, camera.centre, camera.distance_m, view, screen)
    assert 50 < screen[chin[0], 1] < 97
    assert screen[:, 1].max() > 100, "the lower edge of the mesh is out of the picture"
    assert (screen[:, 1].min() < 0) == (crop != "portrait")


def test_bad_input_is_told(ball, renderer):
    topology, vertices = ball
    with pytest.raises(InputError, match=r"\(10, 3\)"):
        renderer.frame(np.zeros((10, 3)))
    broken = vertices.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        renderer.frame(broken)
    with pytest.raises(InputError, match="NaN"):
        Renderer(topology, broken)
    with pytest.raises(InputError, match="8x160"):
        Renderer(topology, vertices, 8, 160)
    damaged = Topology(
        faces=topology.faces,
        n_vertices=topology.n_vertices,
        uvs=topology.uvs,
        uv_faces=topology.uv_faces,
        texture_png=b"no image",
    )
    with pytest.raises(InputError, match="texture"):
        Renderer(damaged, vertices)


def test_an_error_in_one_frame_ends_the_sequence(ball, renderer):
    broken = np.full_like(ball[1], np.inf)
    with pytest.raises(InputError, match="NaN or infinite"):
        list(renderer.frames([ball[1], broken, ball[1]], threads=2))


def test_a_vertex_behind_the_camera_spoils_nothing(ball, renderer):
    far = ball[1].copy()
    far[0] = (0, 0, 50)
    assert renderer.frame(far).shape == (160, 160, 3)
