"""Regions from landmarks and paint: the packaged head finds its own again in other guises, and bad input is one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import convert_rig
import numpy as np
import pytest
import rig
from hypothesis import given
from hypothesis import strategies as st
from regions_rig import HEAD, foreign, iou, turned_person

from meshtalk.cli.main import main
from meshtalk.errors import InputError
from meshtalk.mesh.landmarks import REQUIRED, head_landmarks
from meshtalk.mesh.surface import Surface, similarity
from meshtalk.mesh.topology import REGIONS, Topology, lip_opening_m
from meshtalk.regions.face import Face
from meshtalk.regions.painted import by_colour, parse_list
from meshtalk.regions.result import report
from meshtalk.regions.warp import regions_from_landmarks
from meshtalk.retarget.annotate import inner_lips


def run(command: str) -> None:
    main(command.split())


@pytest.fixture(scope="module")
def carried():
    mesh = foreign()
    face, points = turned_person(mesh, "p12")
    return face, regions_from_landmarks(face, points), mesh.into


@pytest.mark.parametrize(("region", "least"), [("mouth", 0.95), ("upper_face", 0.95), ("eyelids", 0.9), ("lips", 0.85)])
def test_another_person_finds_the_heads_regions(carried, region, least):
    _, found, new = carried
    assert iou(found.topology.regions[region][new], HEAD.topology.regions[region]) >= least


@pytest.mark.parametrize("times", [1, 2])
def test_a_coarser_mesh_finds_the_heads_regions(times):
    """Mouth and upper face are broad; of lids and lips, a few vertices wide, part of the rim falls on either side of one half."""
    mesh = foreign(times)
    face, points = turned_person(mesh, "p12")
    assert len(face.vertices) < HEAD.topology.n_vertices * 0.62**times
    found = regions_from_landmarks(face, points)
    for region, least in (("mouth", 0.95), ("upper_face", 0.95), ("eyelids", 0.8), ("lips", 0.85)):
        assert mesh.agreement(found.topology)[region] >= least, region
    assert len(found.topology.landmarks["lip_inner_upper"]) >= 3


def test_inner_lips_open_like_the_heads(carried):
    face, found, new = carried
    upper, lower = (found.topology.landmarks[f"lip_inner_{side}"] for side in ("upper", "lower"))
    assert len(upper) >= 5
    assert len({*upper, *lower}) == 2 * len(upper)
    order = np.argsort(new)
    person = HEAD.person("p12")
    shapes = HEAD.topology.shapes[:, order]
    for jaw, shut in ((0.0, 0), (0.2, 0), (0.5, 0), (1.0, 0), (0.4, 0.4)):
        weights = np.zeros(len(shapes))
        weights[[HEAD.topology.shape_names.index(name) for name in ("jawOpen", "mouthClose")]] = jaw, shut
        posed = person.template[order] + np.tensordot(weights, shapes, 1)
        true = lip_opening_m(posed[new], HEAD.topology)
        assert lip_opening_m(posed, found.topology) == pytest.approx(true, rel=0.07, abs=1e-3)
    assert found.topology.faces is face.topology.faces


def test_upper_teeth_are_the_heads(carried):
    _, found, new = carried
    teeth = HEAD.topology.part_names.index("upper_teeth")
    assert set(HEAD.topology.parts[np.argsort(new)][found.topology.landmarks["upper_teeth"]]) == {teeth}


def test_what_is_drawn_stands_in_metres_and_upright(carried):
    _, found, _ = carried
    np.testing.assert_allclose(np.ptp(found.vertices, axis=0), np.ptp(HEAD.neutral, axis=0), rtol=0.15)
    nose = found.topology.landmarks["nose_tip"]
    assert found.vertices[nose, 2].item() > found.vertices[:, 2].mean() + 0.05


def test_winding_and_few_landmarks_do_not_matter():
    mesh = foreign()
    face, points = turned_person(mesh, "p03")
    inside_out = Face(replace(face.topology, faces=face.topology.faces[:, ::-1]), face.vertices)
    found = regions_from_landmarks(inside_out, {name: points[name] for name in REQUIRED})
    for region, least in (("mouth", 0.95), ("upper_face", 0.95), ("lips", 0.8), ("eyelids", 0.9)):
        assert mesh.agreement(found.topology)[region] >= least, region
    assert len(found.topology.landmarks["lip_inner_upper"]) >= 5


def test_other_things_in_the_file_get_nothing():
    face, points = turned_person(foreign(), "p12")
    body = face.vertices[:200] + np.array([0, 0, 400])  # four metres away
    faces = np.concatenate([face.topology.faces, face.topology.n_vertices + np.arange(198).reshape(-1, 3)])
    whole = Face(Topology(faces.astype(np.int32), len(face.vertices) + 200), np.concatenate([face.vertices, body]))
    found = regions_from_landmarks(whole, points).topology
    assert all(not found.regions[name][-200:].any() for name in REGIONS)


# --- pieces of it ------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
def test_a_similarity_is_found_again(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(6, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn) * rng.uniform(0.01, 100)
    found, scale, shift = similarity(points @ turn.T + 5, points)
    assert np.linalg.det(found) == pytest.approx(1)
    np.testing.assert_allclose(scale * (points @ turn.T + 5) @ found.T + shift, points, atol=1e-6)


def test_ways_along_a_surface():
    surface = Surface(rig.NEUTRAL.astype(np.float64), rig.TOPOLOGY.faces)
    found = surface.ways(np.array([0]))
    assert found[0] == 0
    assert found[1] == pytest.approx(np.linalg.norm(rig.NEUTRAL[1] - rig.NEUTRAL[0]))
    assert (found >= np.linalg.norm(rig.NEUTRAL - rig.NEUTRAL[0], axis=1) - 1e-7).all()
    assert set(surface.pieces) == {0}
    ends = np.array([[0, 1], [0, 95]])
    np.testing.assert_allclose(surface.separations(ends, np.inf), found[ends[:, 1]])
    np.testing.assert_allclose(surface.separations(ends, 1.5 * found[1]), [found[1], np.inf])


def test_pairs_stand_in_columns_across_the_slit():
    surface = Surface(rig.NEUTRAL.astype(np.float64), rig.TOPOLOGY.faces)
    upper, lower = inner_lips(surface, rig.TOPOLOGY.regions["lips"])
    assert len(upper) >= 3
    np.testing.assert_array_equal(upper - lower, 8)  # a row apart
    assert {*upper.tolist()} <= set(range(32, 40))


# --- paint -------------------------------------------------------------------------------------------------------

RED, MAGENTA, GREEN, CYAN, YELLOW, GREY, BLUE = np.array(
    [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [0.7, 0.7, 0.7], [0, 0, 1]], float
)


def test_colours_mean_regions():
    told = by_colour(np.stack([RED, MAGENTA, GREEN, CYAN, YELLOW, GREY, BLUE, 0.5 * RED + 0.5]))
    np.testing.assert_array_equal(told["mouth"], [1, 1, 0, 0, 1, 0, 0, 0.5])
    np.testing.assert_array_equal(told["lips"], [0, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(told["upper_face"], [0, 0, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(told["eyelids"], [0, 0, 0, 1, 0, 0, 0, 0])


def write_painted(path: Path, colours: np.ndarray) -> Path:
    """The rig as .ply or .obj with vertex colours."""
    if path.suffix == ".obj":
        lines = [f"v {' '.join(map(str, [*p, *c]))}" for p, c in zip(rig.NEUTRAL, colours, strict=True)]
        lines += [f"f {a} {b} {c}" for a, b, c in rig.TOPOLOGY.faces + 1]
    else:
        lines = ["ply", "format ascii 1.0", f"element vertex {len(colours)}"]
        lines += [f"property float {axis}" for axis in "xyz"] + [
            f"property uchar {c}" for c in ("red", "green", "blue")
        ]
        lines += [f"element face {len(rig.TOPOLOGY.faces)}", "property list uchar int vertex_indices", "end_header"]
        bytes_ = np.round(colours * 255).astype(int)
        lines += [f"{x} {y} {z} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(rig.NEUTRAL, bytes_, strict=True)]
        lines += [f"3 {a} {b} {c}" for a, b, c in rig.TOPOLOGY.faces]
    path.write_text("\n".join(lines) + "\n")
    return path


def paint(regions) -> np.ndarray:
    """(V,3) colours of regions of which no vertex has lids without the upper face, or lips without the mouth."""
    fine = np.maximum(
        np.minimum(regions["lips"], regions["mouth"]), np.minimum(regions["eyelids"], regions["upper_face"])
    )
    return np.stack([regions["mouth"], regions["upper_face"], fine], 1)


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_paint_becomes_regions(tmp_path, monkeypatch, capsys, suffix):
    monkeypatch.chdir(tmp_path)
    write_painted(Path(f"face{suffix}"), paint(rig.TOPOLOGY.regions))
    main(["regions", "painted", f"face{suffix}", "-o", "out.npz"])
    out = capsys.readouterr().out
    made = Topology.load("out.npz")
    assert made.hash == rig.TOPOLOGY.hash
    for name in REGIONS:
        np.testing.assert_allclose(made.regions[name], rig.TOPOLOGY.regions[name], atol=0.01)
    assert "out.png" in out
    assert Path("out.png").read_bytes()[:4] == b"\x89PNG"
    clip = rig.make_clip(1)
    truth = clip.lip_opening_mm()
    assert np.corrcoef(replace(clip, topology=made).lip_opening_mm(), truth)[0, 1] > 0.999


def test_a_file_a_region(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convert_rig.write_mesh(Path("face.obj"))
    regions = rig.TOPOLOGY.regions
    np.save("mouth.npy", regions["mouth"])
    Path("upper.txt").write_text("# weights\n" + "\n".join(map(str, regions["upper_face"])))
    Path("lids.csv").write_text(",".join(map(str, np.flatnonzero(regions["eyelids"]))))
    write_painted(Path("lips.obj"), np.where(regions["lips"][:, None] > 0, CYAN, GREY))
    files = "--mouth mouth.npy --upper-face upper.txt --eyelids lids.csv --lips lips.obj"
    run(f"regions painted face.obj -o out.npz {files}")
    made = Topology.load("out.npz")
    for name in REGIONS:
        np.testing.assert_allclose(made.regions[name], regions[name], atol=1e-3)
    assert "lip_inner_upper" in made.landmarks
    assert "apart at rest" in capsys.readouterr().out


def test_a_report_says_what_training_lacks():
    topology = replace(rig.TOPOLOGY, regions={"mouth": rig.TOPOLOGY.regions["mouth"]}, landmarks={})
    told = report(Face(topology, rig.NEUTRAL.astype(np.float64)))
    assert "eyelids: nothing; training needs it" in told
    assert "inner lips: nothing" in told


@given(st.lists(st.integers(0, 19), min_size=1, max_size=19))
def test_vertex_numbers(numbers):
    weights = parse_list(np.array(numbers), 20, "x")
    assert set(np.flatnonzero(weights)) == set(numbers)


@given(st.lists(st.floats(0, 1), min_size=20, max_size=20))
def test_weights(weights):
    np.testing.assert_array_equal(parse_list(np.array(weights), 20, "x"), weights)


def test_lists_that_fit_nothing():
    for numbers, words in (([0.5, 0.2], "must hold 20 weights from 0 to 1, got 2"), ([3, 20], "got 20"), ([-1], "got -1"),
                           ([np.nan], "must hold plain numbers")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            parse_list(np.array(numbers), 20, "x")


# --- the verbs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with the packaged head as a mesh and its landmarks, and much that is wrong."""
    monkeypatch.chdir(tmp_path)
    convert_rig.write_mesh(Path("face.obj"), HEAD.neutral, HEAD.topology.faces)
    marked = head_landmarks()
    mirrored = {n: marked[n.replace("left", "x").replace("right", "left").replace("x", "right")] for n in marked}
    line = {name: [float(k), 0.0, 0.0] for k, name in enumerate(REQUIRED)}
    for name, told in {
        "good": marked, "mirrored": mirrored, "line": line, "unknown": marked | {"ear": 3}, "far": marked | {"chin": 99999},
        "few": {"chin": 1704}, "odd": marked | {"chin": "here"},
    }.items():  # fmt: skip
        Path(f"{name}.json").write_text(json.dumps(told))
    np.save("points.npy", HEAD.neutral)
    convert_rig.write_mesh(Path("flat.obj"), HEAD.neutral * [1, 1, 0], HEAD.topology.faces)
    convert_rig.write_mesh(Path("nan.obj"), np.where(np.arange(3) == 1, np.nan, rig.NEUTRAL))
    convert_rig.write_mesh(Path("plain.ply"))
    write_painted(Path("grey.ply"), np.tile(GREY, (96, 1)))
    write_painted(Path("all.ply"), np.tile(RED, (96, 1)))
    write_painted(Path("bright.obj"), np.tile(RED * 255, (96, 1)))
    Path("words.txt").write_text("mouth and nose")
    Path("empty.txt").write_text("")
    np.save("many.npy", np.array([5, 6, 96]))
    rig.TOPOLOGY.save("rig.npz")
    return tmp_path


BAD = {
    "no mesh": ("landmarks none.obj good.json -o x.npz", "there is no mesh at none.obj"),
    "no triangles": ("landmarks points.npy good.json -o x.npz", "points and no triangles"),
    "flat": ("landmarks flat.obj good.json -o x.npz", "flat.obj must have width, height and depth"),
    "NaN": ("landmarks nan.obj good.json -o x.npz", "NaN or infinite"),
    "no landmarks": ("landmarks face.obj none.json -o x.npz", "none.json cannot be read: No such file"),
    "unknown": ("landmarks face.obj unknown.json -o x.npz", "has unknown landmarks ear"),
    "missing": ("landmarks face.obj few.json -o x.npz", "few.json lacks eye_outer_left"),
    "out of range": ("landmarks face.obj far.json -o x.npz", "chin must be a vertex from 0 to 6321, got 99999"),
    "no point": (
        "landmarks face.obj odd.json -o x.npz",
        "chin must be a vertex index or a point [x, y, z], got 'here'",
    ),
    "mirrored": ("landmarks face.obj mirrored.json -o x.npz", "only mirrored"),
    "in a line": ("landmarks face.obj line.json -o x.npz", "in one line"),
    "no .npz": ("landmarks face.obj good.json -o x.png", "regions must be written to .npz"),
    "no folder": ("landmarks face.obj good.json -o none/x.npz", "there is no folder none"),
    "no colours": ("painted plain.ply -o x.npz", "plain.ply has no vertex colours"),
    "nothing": ("painted grey.ply -o x.npz", "nothing is painted on grey.ply"),
    "everything": ("painted all.ply -o x.npz", "mouth is painted on every vertex"),
    "beyond 1": ("painted bright.obj -o x.npz", "colours outside 0 to 1"),
    "not a list": ("painted plain.ply --mouth words.txt -o x.npz", "words.txt must be a list of numbers"),
    "empty": ("painted plain.ply --lips empty.txt -o x.npz", "empty.txt paints nothing"),
    "too far": ("painted plain.ply --lips many.npy -o x.npz", "must name vertices 0 to 95, got 96"),
    "no list": ("painted plain.ply --lips none.txt -o x.npz", "none.txt cannot be read: No such file"),
    "another kind": (
        "painted plain.ply --lips good.json -o x.npz",
        "lips must be a painted mesh or a list, got good.json",
    ),
    "another mesh": ("painted face.obj --lips all.ply -o x.npz", "96 coloured vertices of 6322"),
    "bad axes": ("painted all.ply --axes x,y -o x.npz", "axes must be x, y and z, each once, got 'x,y'"),
    "nowhere": ("show none -o x.png", "no topology, clip, model or corpus at none"),
    "no place": ("show rig.npz -o x.png", "Give --mesh"),
    "another place": (
        "show rig.npz --mesh face.obj -o x.png",
        "face.obj must have the 96 vertices of rig.npz, got 6322",
    ),
    "an empty folder": ("show . -o x.png", "neither a model nor a corpus"),
    "no topology": ("show words.txt -o x.png", "words.txt is not a meshtalk topology"),
    "no picture": ("show rig.npz -o x.jpg", "must be written to .png, got x.jpg"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(here, capsys, case):
    command, words = BAD[case]
    before = sorted(here.iterdir())
    with pytest.raises(SystemExit) as end:
        main(["regions", *command.split()])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(here.iterdir()) == before


def test_a_face_is_found_where_nobody_names_landmarks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mesh = foreign(1)
    vertices = mesh.of_head(HEAD.person("p27").template.astype(np.float64))
    convert_rig.write_mesh(
        Path("face.obj"), 1000 * vertices @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T, mesh.faces
    )
    run("regions landmarks face.obj -o made.npz")
    made = Topology.load("made.npz")
    for region, least in (("mouth", 0.95), ("upper_face", 0.95), ("eyelids", 0.85), ("lips", 0.85)):
        assert mesh.agreement(made)[region] >= least, region


@pytest.mark.parametrize("points", ["", "good.json"])
def test_the_head_itself_and_show(here, capsys, points):
    from PIL import Image

    run(f"regions landmarks face.obj {points} -o made.npz")
    made = Topology.load("made.npz")
    assert made.hash == HEAD.topology.hash
    for name in REGIONS:
        assert iou(made.regions[name], HEAD.topology.regions[name]) > 0.93
    run("regions show rig.npz --mesh plain.ply -o rig.png")
    told = capsys.readouterr().out
    assert "inner lips: 2 pairs" in told
    made_picture, rig_picture = (np.asarray(Image.open(name)).astype(int) for name in ("made.png", "rig.png"))
    for picture in (made_picture, rig_picture):
        for column, (strong, weak) in enumerate(((0, 1), (1, 0), (2, 0), (0, 1))):  # red, green, blue, magenta
            tile = picture[:300, column * 300 : (column + 1) * 300]
            assert (tile[..., strong] > tile[..., weak] + 60).sum() > 100
    assert (np.abs(made_picture[:300, 1200:] - [255, 210, 40]).max(2) < 10).sum() > 5 * 9  # the upper lip's dots
