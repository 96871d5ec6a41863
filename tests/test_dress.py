"""What people wear in pictures: hair, brows and lashes, the colours of hair and eyes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from meshtalk.errors import InputError
from meshtalk.mesh.head import NAMED, Head, load_head
from meshtalk.render import Look, Renderer, View, dress, kernels
from meshtalk.render.look import HAIR

PX = 96


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="module")
def named(head: Head) -> dict[str, Renderer]:
    people = {name: head.person(name) for name in NAMED}
    return {
        name: Renderer(head.topology, p.template, PX, PX, Look("face"), tint=p.tint, subject=p.name)
        for name, p in people.items()
    }


def test_names_are_people_of_the_head(head: Head) -> None:
    assert dress.NAMED == NAMED
    for name, plain in NAMED.items():
        np.testing.assert_array_equal(head.person(name).template, head.person(plain).template)
        assert head.person(name).name == name
        assert dress.dress_of(name) == dress.dress_of(plain)
    with pytest.raises(InputError, match="clara, amara, kenji, henrik"):
        head.person("nobody")
    assert len(head.people) == 32 == len(dress.HAIRS) == len(dress.IRISES)


def test_the_named_four_differ_in_hair_eyes_and_skin(head: Head) -> None:
    worn = [dress.dress_of(name) for name in NAMED]
    assert len({d.style.cut for d in worn}) >= 3
    assert len({d.hair for d in worn}) == 3
    assert len({d.iris for d in worn}) >= 3
    assert len({head.person(name).tint for name in NAMED}) == 4


def test_the_other_people_vary_by_themselves(head: Head) -> None:
    worn = [dress.dress_of(person.name) for person in head.people]
    assert len({d.hair for d in worn}) >= 5
    assert len({d.iris for d in worn}) >= 4
    assert len({(d.style.cut, d.style.hem_m, d.style.top_m) for d in worn}) >= 8
    seeds = [head.person(seed) for seed in range(40)]
    drawn = [dress.dress_of(person.name) for person in seeds]
    assert drawn == [dress.dress_of(person.name) for person in seeds]
    assert len({(d.style.cut, d.hair, d.iris) for d in drawn}) >= 12
    # they have the hair of those whose skin is most like theirs
    tints, away = np.array([person.tint for person in head.people]), []
    for person, d in zip(seeds, drawn, strict=True):
        away.append(min(np.abs(tints[k] - person.tint).mean() for k, other in enumerate(worn) if other == d))
    assert np.mean(away) < 0.6 * np.abs(tints[:, None] - tints).mean()
    assert dress.dress_of("seed") == dress.dress_of("") == dress.dress_of("someone")


@pytest.mark.parametrize(("name", "yaw_deg"), [("clara", 0.0), ("p14", 32.0), ("p22", -32.0), ("clara", 86.0)])
def test_a_bob_covers_the_ears_and_leaves_the_face_free(head: Head, name: str, yaw_deg: float) -> None:
    size = 320
    person = head.person(name)
    look = Look(View(yaw_deg))
    renderer = Renderer(head.topology, person.template, size, size, look, tint=person.tint, subject=person.name)
    bare = Renderer(head.topology, person.template, size, size, look, tint=person.tint)
    shown = {}
    for who, drawn in (("hair", renderer), ("bare", bare)):
        drawn.frame(person.template)
        owner = drawn._buffers.owner[..., 0]
        face = np.maximum(owner, 0)
        of_mesh = (owner >= 0) & (face < len(drawn._skin_faces))
        at = drawn._buffers.points[drawn._skin_faces[np.where(of_mesh, face, 0)]].mean(2)
        shown[who] = of_mesh, at
    of_mesh, at = shown["bare"]
    # beside the head where there is no scalp: the ears
    ear = of_mesh & (np.abs(at[..., 0]) > 0.072) & (np.abs(at[..., 1]) < 0.03) & (np.abs(at[..., 2]) < 0.03)
    assert ear.sum() > 20
    assert (ear & shown["hair"][0]).sum() < 0.02 * ear.sum()
    face_front = of_mesh & (at[..., 2] > 0.06) & (np.abs(at[..., 0]) < 0.035) & (at[..., 1] < 0.05)
    assert (face_front & ~shown["hair"][0]).sum() < 0.12 * face_front.sum()


def test_the_hem_of_a_bob_is_an_even_line(head: Head) -> None:
    for name in ("clara", "p14", "p22"):
        person, worn = head.person(name), dress.dress_of(name)
        normals = np.empty(person.template.shape)
        kernels.vertex_normals(person.template, np.ascontiguousarray(head.topology.faces), np.eye(3), normals)
        where = dress.masks(head.topology)
        assert where is not None
        _, _, locks = dress.grown(head.topology, person.template, normals, where, worn, 0.0005)
        assert locks is not None
        points, lit = np.empty(locks.local.shape), np.empty(locks.local.shape)
        kernels.grow(
            person.template, normals, locks.roots, locks.strip, locks.local, locks.leaning, np.eye(3), points, lit
        )
        points = points.reshape(len(locks.roots), -1, 2, 3).mean(2)
        ends_m = points[:, -1, 1]
        chin = person.template[head.topology.landmarks["chin"], 1].mean()
        assert np.ptp(np.quantile(ends_m, [0.02, 0.98])) < 0.010
        assert abs(ends_m.mean() - chin - worn.style.hem_m) < 0.003
        # strands part at the top and are denser than they are wide all around
        turn = np.sort(np.arctan2(points[:, -1, 0], -0.012 - points[:, -1, 2]))
        assert np.diff(turn).max() < np.deg2rad(3.0)
        assert np.ptp(turn) > np.deg2rad(220.0)


def test_pictures_of_two_people_on_one_face_differ_by_what_they_wear(head: Head, named: dict[str, Renderer]) -> None:
    person = head.person("clara")
    own = named["clara"].frame(person.template)
    again = Renderer(head.topology, person.template, PX, PX, Look("face"), tint=person.tint, subject="p00")
    np.testing.assert_array_equal(own, again.frame(person.template))
    other = Renderer(head.topology, person.template, PX, PX, Look("face"), tint=person.tint, subject="henrik")
    assert np.any(own != other.frame(person.template))


def test_hair_is_for_pictures_alone(head: Head, named: dict[str, Renderer]) -> None:
    """Ribbons add to what is drawn, and to nothing that is exported."""
    for renderer in named.values():
        assert renderer.topology.n_vertices == len(renderer.surface) == 6322
        assert renderer.topology.hash == head.topology.hash
        assert (renderer._face_kinds == HAIR).sum() > 1000
        assert len(renderer._coarse) == 12376


def test_lashes_and_brows_go_where_the_lids_and_brows_go(head: Head, named: dict[str, Renderer]) -> None:
    renderer, person = named["henrik"], head.person("henrik")
    names = list(head.topology.shape_names)

    def points(shape: str) -> np.ndarray:
        moved = person.template + head.topology.shapes[names.index(shape)] if shape else person.template
        renderer.frame(moved.astype(np.float32))
        return renderer._buffers.points[renderer._n_surface :].copy()  # lashes and brows

    rest = points("")
    lids = np.linalg.norm(points("eyeBlinkLeft") - rest, axis=1)
    brows = np.linalg.norm(points("browOuterUpLeft") - rest, axis=1)
    assert 0.004 < lids.max() < 0.025
    assert (lids > 0.003).sum() > 300, "the upper lid's lashes"
    assert (brows > 0.002).sum() > 100
    # no lash leaves its lid: the distance to where it stands does not change
    assert renderer.brows is not None
    root = person.template[renderer.brows.roots].mean(1)[renderer.brows.strip]
    assert np.linalg.norm(rest - root, axis=1)[lids > 0.003].max() < 0.02


def test_dyeing_changes_hair_and_irises_and_leaves_the_skin(head: Head) -> None:
    plain = dress.picture(head.topology, "nobody", (1.0, 1.0, 1.0)).astype(int)
    blond = dress.picture(head.topology, "p16", (1.0, 1.0, 1.0)).astype(int)
    where = dress.masks(head.topology)
    assert where is not None
    scalp, skin = where[..., 0] > 0.7, (where[..., 0] == 0) & (where[..., 1] == 0)
    assert (blond - plain)[scalp].mean() > 60
    assert np.abs(blond - plain)[skin].max() <= 1
    iris = where[:200, ..., 1] > 0.9
    change = (blond - plain)[:200][iris].mean(0)
    assert change[2] > change[0] + 10, "blue eyes"
    # what multiplies the skin does not darken the hair
    dark = dress.picture(head.topology, "p16", (0.5, 0.5, 0.5)).astype(int)
    assert dark[scalp].mean() > blond[scalp].mean() + 20


def test_another_texture_is_left_alone(head: Head) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 150)).save(stream, "PNG")
    other = replace(head.topology, texture_png=stream.getvalue())
    assert dress.masks(other) is None
    assert set(np.unique(dress.picture(other, "clara", (1.0, 1.0, 1.0)))) == {90, 120, 150}
    template = head.neutral
    assert not (Renderer(other, template, 64, 64)._face_kinds == HAIR).any()


def test_ribbons_turn_with_the_head(head: Head, named: dict[str, Renderer]) -> None:
    """A rigid turn of the mesh turns every ribbon with it."""
    renderer, template = named["amara"], head.person("amara").template
    hung = renderer.locks
    assert hung is not None
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    found = []
    for vertices in (template, template @ turn.T):
        vertices, normals = np.ascontiguousarray(vertices, np.float32), np.empty(template.shape)
        kernels.vertex_normals(vertices, renderer._coarse, np.eye(3), normals)
        points, lit = np.empty(hung.local.shape), np.empty(hung.local.shape)
        kernels.grow(vertices, normals, hung.roots, hung.strip, hung.local, hung.leaning, np.eye(3), points, lit)
        found.append((points, lit))
    np.testing.assert_allclose(found[0][0] @ turn.T, found[1][0], atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found[0][1], axis=1), 1, atol=1e-3)


def test_locks_drawn_once_are_where_they_would_be_drawn_anew(head: Head, named: dict[str, Renderer]) -> None:
    """At rest a picture does not tell whether hair was laid over it; a head that turns takes its hair along."""
    renderer, template = named["clara"], head.person("clara").template
    own = renderer.frame(template)
    anew, normals = template.astype(np.float32), np.empty(template.shape)
    kernels.vertex_normals(anew, renderer._coarse, np.eye(3), normals)
    assert renderer.locks is not None
    renderer._still = renderer._hair(renderer.locks, anew, normals)
    np.testing.assert_array_equal(own, renderer.frame(template))
    assert len(renderer._still[0]) > 500
    moved = renderer.frame(template + np.float32([0.02, 0, 0]))
    # hair and all it is the old picture, moved
    px = 0.02 * renderer.camera.focal_px / renderer.camera.distance_m
    shifted = np.roll(own, round(px), 1).astype(int)
    inner = slice(PX // 4, PX * 3 // 4)
    assert np.abs(shifted - moved)[inner, inner].mean() < 0.5 * np.abs(own.astype(int) - moved)[inner, inner].mean()
