"""Scenes in files: GLBs made here by hand, read by every verb in the one way that a viewer would show them."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rig
from PIL import Image

from meshtalk.arkit.rig import load_rig
from meshtalk.cli.options import is_foreign
from meshtalk.errors import InputError
from meshtalk.mesh.files import read_face, read_mesh
from meshtalk.mesh.units import TURNS, Space, find_like, read_template
from meshtalk.regions.painted import colours_of

FACE, FACES = rig.face(5).astype(np.float64), rig.TOPOLOGY.faces
JAW = np.asarray(rig.TOPOLOGY.shapes[0], np.float64)  # type: ignore[index]
KINDS = {"b": 5120, "B": 5121, "h": 5122, "H": 5123, "I": 5125, "f": 5126}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


@dataclass
class Glb:
    """A document with its one buffer."""

    document: dict[str, Any] = field(default_factory=lambda: {"asset": {"version": "2.0"}, "meshes": [], "nodes": []})
    binary: bytearray = field(default_factory=bytearray)

    def view(self, data: bytes, **more: Any) -> int:
        self.binary += bytes(-len(self.binary) % 4)
        views = self.document.setdefault("bufferViews", [])
        views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **more})
        self.binary += data
        return len(views) - 1

    def array(self, values: np.ndarray, kind: str = "f", pad: int = 0, **more: Any) -> int:
        """An accessor of (n,k) values, each row followed by some bytes of nothing."""
        data = np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<"))
        rows = data.view(np.uint8).reshape(len(data), -1)
        rows = np.concatenate([rows, np.full((len(data), pad), 255, np.uint8)], 1)
        view = self.view(rows.tobytes(), **({"byteStride": rows.shape[1]} if pad else {}))
        return self.accessor(len(data), data.shape[1], kind, bufferView=view, **more)

    def accessor(self, count: int, width: int, kind: str = "f", **more: Any) -> int:
        accessors = self.document.setdefault("accessors", [])
        accessors.append({"count": count, "componentType": KINDS[kind], "type": WIDTHS[width], **more})
        return len(accessors) - 1

    def sparse(self, values: np.ndarray, kind: str = "f", **more: Any) -> int:
        """The same of values that are zero but for some rows."""
        rows = np.flatnonzero(values.any(1))
        held = {
            "count": len(rows),
            "indices": {"bufferView": self.view(rows.astype("<u2").tobytes()), "componentType": KINDS["H"]},
            "values": {"bufferView": self.view(np.ascontiguousarray(values[rows], f"<{kind}").tobytes())},
        }
        return self.accessor(*values.shape, kind, sparse=held, **more)

    def mesh(self, position: int, faces: np.ndarray, *, shapes: dict[str, int] | None = None, **more: Any) -> int:
        primitive = {"attributes": {"POSITION": position, **more.pop("attributes", {})}, **more}
        primitive["indices"] = self.array(faces.reshape(-1, 1), "H")
        if shapes:
            primitive["targets"] = [{"POSITION": index} for index in shapes.values()]
        names = {"extras": {"targetNames": list(shapes)}} if shapes else {}
        self.document["meshes"].append({"primitives": [primitive], **names})
        return len(self.document["meshes"]) - 1

    def node(self, **told: Any) -> int:
        self.document["nodes"].append(told)
        return len(self.document["nodes"]) - 1

    def write(self, path: Path, roots: list[int] | None = None) -> Path:
        document = {**self.document, "buffers": [{"byteLength": len(self.binary)}], "scene": 0}
        document["scenes"] = [{"nodes": list(range(len(self.document["nodes"]))) if roots is None else roots}]
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + bytes(-len(self.binary) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path


def single(path: Path, kind: str = "f", **node: Any) -> Path:
    """The rig as one mesh on one node, with its first blendshape."""
    made = Glb()
    mesh = made.mesh(made.array(FACE, kind), FACES, shapes={"jawOpen": made.array(JAW)})
    made.node(mesh=mesh, **node)
    return made.write(path)


# --- where things stand ------------------------------------------------------------------------------------------


def test_nodes_move_turn_and_scale_what_hangs_below_them(tmp_path):
    """A parent in centimetres that lies on its back, and a child that is moved: the whole is the face again."""
    half = np.sqrt(0.5)
    stored = (FACE[:, [0, 2, 1]] * [1, -1, 1] - [0.1, 0.2, 0.3]) * 100  # z is up
    made = Glb()
    mesh = made.mesh(made.array(stored), FACES)
    child = made.node(mesh=mesh, translation=[10, 20, 30])
    parent = made.node(children=[child], rotation=[-half, 0, 0, half], scale=[0.01] * 3)
    found = read_mesh(made.write(tmp_path / "a.glb", [parent]))
    np.testing.assert_allclose(found.vertices, FACE, atol=1e-6)
    np.testing.assert_array_equal(found.faces, FACES)


def test_a_mirror_turns_triangles_over(tmp_path):
    made = Glb()
    matrix = np.diag([-1.0, 1, 1, 1])
    made.node(mesh=made.mesh(made.array(FACE), FACES), matrix=matrix.T.ravel().tolist())
    found = read_mesh(made.write(tmp_path / "a.vrm"))
    np.testing.assert_allclose(found.vertices, FACE * [-1, 1, 1], atol=1e-7)
    np.testing.assert_array_equal(found.faces, FACES[:, ::-1])


def test_meshes_come_in_the_order_of_trimesh(tmp_path):
    """Files that were read before keep their numbers: maps and corpora hang on them."""
    trimesh = pytest.importorskip("trimesh")
    made, rng = Glb(), np.random.default_rng(0)
    nodes = []
    for k in range(5):
        mesh = made.mesh(made.array(FACE[k:] + k), FACES[(k <= FACES).all(1)] - k)
        nodes.append(made.node(mesh=mesh, translation=rng.normal(size=3).tolist(), name=f"n{k}"))
    made.document["nodes"][1]["children"] = [nodes[3], nodes[4]]
    path = made.write(tmp_path / "a.glb", nodes[:3])
    found, theirs = read_mesh(path), trimesh.load(path, process=False, force="mesh")
    np.testing.assert_allclose(found.vertices, theirs.vertices, atol=1e-6)
    np.testing.assert_array_equal(found.faces, theirs.faces)


def test_skins_place_vertices_and_their_own_node_does_not(tmp_path):
    """Two joints, one of them raised by 5 cm: its half of the face goes with it, in whatever place the node of the mesh is."""
    made, lower = Glb(), FACE[:, 1] < 0
    joints = np.zeros((len(FACE), 4))
    joints[lower, 0] = 1
    weights = np.tile([255, 0, 0, 0], (len(FACE), 1))
    bind = np.tile(np.eye(4).T.ravel(), (2, 1))
    attributes = {"JOINTS_0": made.array(joints, "B"), "WEIGHTS_0": made.array(weights, "B", normalized=True)}
    mesh = made.mesh(made.array(FACE), FACES, shapes={"jawOpen": made.array(JAW)}, attributes=attributes)
    made.node(mesh=mesh, skin=0, translation=[7, 7, 7], scale=[9, 9, 9])
    made.node()
    made.node(translation=[0, 0.05, 0])
    made.document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": made.array(bind)}]
    found = read_mesh(made.write(tmp_path / "a.glb"), shapes=True)
    np.testing.assert_allclose(found.vertices, FACE + np.where(lower[:, None], [0, 0.05, 0], 0), atol=1e-6)
    np.testing.assert_allclose(found.shapes["jawOpen"], JAW, atol=1e-6)


def test_strips_and_fans_are_triangles(tmp_path):
    for mode, triangles in ((5, [[0, 1, 2], [3, 2, 1], [2, 3, 4]]), (6, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])):
        made = Glb()
        made.node(mesh=made.mesh(made.array(FACE[:5]), np.arange(5), mode=mode))
        assert read_mesh(made.write(tmp_path / "a.glb")).faces.tolist() == triangles


# --- how numbers are held ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "normalized", "most"), [("h", True, 32767), ("B", True, 255), ("h", False, 1), ("b", True, 127)]
)
def test_quantised_vertices_and_shapes(tmp_path, kind, normalized, most):
    """KHR_mesh_quantization: integers, most often from -1 to 1, and a node that says how large that is."""
    signed, low = kind.islower(), FACE.min(0)
    step = float(np.ptp(FACE)) / most if normalized else 1e-4
    stored, moved = np.round((FACE - low) / step), np.round((JAW if signed else np.abs(JAW)) / step)
    made = Glb()
    position = made.array(stored, kind, pad=-3 * np.dtype(kind).itemsize % 4, normalized=normalized)
    shapes = {"jawOpen": made.array(moved, kind, normalized=normalized)}
    scale = step * most
    made.node(mesh=made.mesh(position, FACES, shapes=shapes), scale=[scale] * 3, translation=low.tolist())
    made.document["extensionsRequired"] = made.document["extensionsUsed"] = ["KHR_mesh_quantization"]
    found = read_mesh(made.write(tmp_path / "a.glb"), shapes=True)
    np.testing.assert_allclose(found.vertices, FACE, atol=0.51 * step)
    np.testing.assert_allclose(found.shapes["jawOpen"], JAW if signed else np.abs(JAW), atol=0.51 * step)


def test_sparse_values_of_vertices_and_shapes(tmp_path):
    made = Glb()
    dense = FACE.copy()
    dense[[3, 50]] = 0
    position = made.array(dense)
    change = np.zeros_like(FACE)
    change[[3, 50]] = FACE[[3, 50]]
    made.document["accessors"][position]["sparse"] = made.document["accessors"][made.sparse(change)]["sparse"]
    made.node(mesh=made.mesh(position, FACES, shapes={"jawOpen": made.sparse(JAW)}))
    found = read_mesh(made.write(tmp_path / "a.glb"), shapes=True)
    np.testing.assert_allclose(found.vertices, FACE, atol=1e-7)
    np.testing.assert_allclose(found.shapes["jawOpen"], JAW, atol=1e-7)


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "ACME_unheard_of"])
def test_extensions_that_cannot_be_decoded_are_named(tmp_path, name):
    made = Glb()
    made.node(mesh=made.mesh(made.accessor(len(FACE), 3), FACES, extensions={name: {}}))
    with pytest.raises(InputError, match=rf"a.glb .*needs {name}.*\. Export it without"):
        read_mesh(made.write(tmp_path / "a.glb"))  # used, though not said to be required
    made.document["extensionsRequired"] = ["KHR_materials_unlit", name]
    with pytest.raises(InputError, match=rf"a.glb .*needs {name},.*\. Export it without"):
        read_mesh(made.write(tmp_path / "a.glb"))


def damaged(made: Glb, what: str) -> None:
    document = made.document
    if what == "circle":
        document["nodes"][0]["children"] = [0]
    elif what == "beyond":
        document["bufferViews"][0]["byteOffset"] = 10**9
    elif what == "before":
        document["bufferViews"][0]["byteOffset"] = -5
    elif what == "kind":
        document["accessors"][0]["type"] = "VEC9"
    elif what == "huge":
        document["accessors"][0] = {"count": 2**33, "componentType": 5126, "type": "VEC3", "sparse": {}}
    elif what == "corner":
        made.document["meshes"][0]["primitives"][0]["indices"] = made.array(np.array([[0], [1], [999]]), "H")
    elif what == "elsewhere":
        document["bufferViews"][0]["buffer"] = 1
    elif what == "width":
        document["accessors"][0]["type"] = "VEC2"


@pytest.mark.parametrize("what", ["circle", "beyond", "before", "kind", "huge", "corner", "elsewhere", "width"])
def test_damage_is_one_sentence(tmp_path, what):
    made = Glb()
    made.node(mesh=made.mesh(made.array(FACE), FACES))
    damaged(made, what)
    with pytest.raises(InputError, match=r"a\.glb cannot be read as a mesh"):
        read_mesh(made.write(tmp_path / "a.glb"))


# --- looks -------------------------------------------------------------------------------------------------------


def test_pictures_of_several_materials_become_one(tmp_path):
    """Each part looks up in it the colours that it had: two pictures, and a plain colour."""
    made, rng = Glb(), np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (8, 8 + 8 * k, 3), dtype=np.uint8) for k in range(2)]
    uvs = rng.integers(0, 8, (len(FACE), 2)) / 8 + 1 / 32
    made.document["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}]
    made.document |= {"images": [], "textures": []}
    for k, picture in enumerate(pictures):
        held = io.BytesIO()
        Image.fromarray(picture).save(held, format="PNG")
        made.document["images"].append({"bufferView": made.view(held.getvalue()), "mimeType": "image/png"})
        made.document["textures"].append({"source": k})
        made.document["materials"].append({"pbrMetallicRoughness": {"baseColorTexture": {"index": k}}})
    for k in range(3):
        attributes = {"TEXCOORD_0": made.array(uvs)} if k else {}
        made.node(mesh=made.mesh(made.array(FACE), FACES, material=k, attributes=attributes))
    topology = read_face(made.write(tmp_path / "a.glb"), fewest=4)[1]
    sheet = np.asarray(Image.open(io.BytesIO(topology.texture_png)))  # type: ignore[arg-type]
    height, width = sheet.shape[:2]
    u, v = topology.uvs.T  # type: ignore[union-attr]
    shown = sheet[((1 - v) * height).astype(int), (u * width).astype(int)]
    wanted = [p[(uvs[:, 1] * p.shape[0]).astype(int), (uvs[:, 0] * p.shape[1]).astype(int)] for p in pictures[::-1]]
    wanted.append(np.tile([255, 0, 0], (len(FACE), 1)))
    np.testing.assert_array_equal(shown, np.concatenate(wanted))
    np.testing.assert_array_equal(topology.uv_faces, topology.faces)


def test_plain_colours_are_no_picture(tmp_path):
    """Who has none is drawn as ever, though a part of the scene could be mapped."""
    made = Glb()
    for attributes in ({"TEXCOORD_0": made.array(FACE[:, :2])}, {}):
        made.node(mesh=made.mesh(made.array(FACE), FACES, attributes=attributes))
    topology = read_face(made.write(tmp_path / "a.glb"), fewest=4)[1]
    assert topology.texture_png is None
    assert topology.uvs is None


def test_one_picture_stays_as_it_is_and_integers_map_into_it(tmp_path):
    """gltfpack holds texture coordinates as integers, with a scale for the picture."""
    made, held = Glb(), io.BytesIO()
    Image.new("RGB", (4, 4), (9, 99, 199)).save(held, format="JPEG")
    made.document["images"] = [{"bufferView": made.view(held.getvalue())}]
    made.document["textures"] = [{"source": 0}]
    moved = {"KHR_texture_transform": {"scale": [1 / 4096] * 2, "offset": [0.25, 0]}}
    texture = {"index": 0, "extensions": moved}
    made.document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": texture}}]
    attributes = {"TEXCOORD_0": made.array(np.tile([1024, 1024], (len(FACE), 1)), "H")}
    made.node(mesh=made.mesh(made.array(FACE), FACES, material=0, attributes=attributes))
    topology = read_face(made.write(tmp_path / "a.glb"), fewest=4)[1]
    assert topology.texture_png == held.getvalue()
    np.testing.assert_allclose(topology.uvs, np.tile([0.5, 0.75], (len(FACE), 1)))


def test_painted_glbs(tmp_path):
    made, colours = Glb(), np.random.default_rng(0).integers(0, 256, (len(FACE), 4))
    attributes = {"COLOR_0": made.array(colours, "B", normalized=True)}
    made.node(mesh=made.mesh(made.array(FACE), FACES, attributes=attributes))
    np.testing.assert_allclose(colours_of(made.write(tmp_path / "a.glb"), len(FACE)), colours[:, :3] / 255)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("f 1/1 2/2 3/9", "names a texture coordinate that is not among its 2"),
        ("vt nan 0\nf 1/1 2/2 3/3", "NaN or infinite values, first in texture coordinate 2"),
        ("v 1 1e999 0\nf 1 2 3", "NaN or infinite values, first in vertex 3"),
        ("f 1 2 7", "names a vertex that is not among its 3"),
    ],
)
def test_objs_that_point_nowhere(tmp_path, line, says):
    (tmp_path / "a.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 1 1\nvt 0 0\nvt 1 0\n{line}\n")
    with pytest.raises(InputError, match=says):
        read_face(tmp_path / "a.obj", fewest=3)


def test_obj_lines_of_many_hands(tmp_path):
    """A byte order mark, lines that go on, comments after numbers, and a material file without a name."""
    lines = [
        "mtllib",
        "v 0 0 0 # first",
        "v 1 0 \\",
        "0",
        "v 0 1 0",
        "v 0 0 1",
        "f 1 2 3 # a triangle",
        "f -1 \\",
        " 1 2",
    ]
    (tmp_path / "a.obj").write_text("\ufeff" + "\n".join([*lines[1:], lines[0]]), encoding="utf-8")
    found = read_mesh(tmp_path / "a.obj")
    assert found.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found.faces.tolist() == [[0, 1, 2], [3, 0, 1]]


# --- every verb reads the same -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["x,y,z", "x,z,-y", "-z,y,x"])
@pytest.mark.parametrize(("unit", "metres"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001)])
def test_rig_and_template_read_a_file_alike(tmp_path, axes, unit, metres):
    """Another person's face in any unit and axes, on a node that says a part of it."""
    space = Space(metres, axes)
    undo = next(
        turn for turn in TURNS if np.allclose(space.apply(Space(1.0, turn).apply(np.eye(3))), metres * np.eye(3))
    )

    def back(points: np.ndarray) -> np.ndarray:
        return Space(1.0, undo).apply(points).astype(np.float64) / metres

    made = Glb()
    mesh = made.mesh(made.array(back(FACE) - 1), FACES, shapes={"jawOpen": made.array(back(JAW))})
    made.node(mesh=mesh, translation=[1, 1, 1])
    path = made.write(tmp_path / "a.glb")
    np.testing.assert_allclose(space.apply(read_mesh(path).vertices), FACE, atol=1e-5)
    np.testing.assert_allclose(read_template(path, rig.TOPOLOGY, rig.NEUTRAL), FACE, atol=1e-5)
    clip = rig.as_dense(rig.make_clip(1, 0.3))
    np.testing.assert_allclose(load_rig(path, clip).shapes[0], JAW, atol=1e-5)  # type: ignore[index]


def test_a_rig_of_several_meshes_moves_as_a_whole(tmp_path):
    """Upper and lower half in two meshes, of which one names a shape that the other lacks, and a body that nobody asked for."""
    clip = rig.as_dense(rig.make_clip(1, 0.3))
    person, made = clip.template.astype(np.float64), Glb()
    lower = person[:, 1] < np.median(person[:, 1])
    for rows, names in ((np.flatnonzero(lower), ("jawOpen", "mouthSmile")), (np.flatnonzero(~lower), ("mouthSmile",))):
        moves = {"jawOpen": JAW[rows], "mouthSmile": 0.5 * JAW[rows][:, [1, 0, 2]]}
        inside = FACES[np.isin(FACES, rows).all(1)]
        shapes = {name: made.array(100 * moves[name]) for name in names}
        mesh = made.mesh(made.array(100 * (person[rows] - 0.01)), np.searchsorted(rows, inside), shapes=shapes)
        made.node(mesh=mesh, translation=[1, 1, 1])
    body = np.random.default_rng(0).uniform(-80, -20, (5000, 3))
    made.node(mesh=made.mesh(made.array(body), np.arange(4998)))
    found = load_rig(made.write(tmp_path / "a.glb"), clip)
    shapes = dict(zip(found.shape_names, found.shapes, strict=True))  # type: ignore[arg-type]
    np.testing.assert_allclose(shapes["jawOpen"], np.where(lower[:, None], JAW, 0), atol=1e-5)
    np.testing.assert_allclose(shapes["mouthSmile"], 0.5 * JAW[:, [1, 0, 2]], atol=1e-5)


def test_the_same_file_is_foreign_or_not_for_all_its_parts(tmp_path):
    path = single(tmp_path / "a.vrm")
    assert not is_foreign(path, rig.TOPOLOGY)
    assert is_foreign(path, replace(rig.TOPOLOGY, n_vertices=97, regions={}, shapes=None, shape_names=(), parts=None))
    with pytest.raises(InputError, match="there is no mesh at"):
        is_foreign(tmp_path / "none.glb", rig.TOPOLOGY)


def test_a_space_is_changed_only_for_a_better_one():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 3)) * 0.1
    assert find_like(noise[::-1], noise, numbered=True) == Space(1.0)
    leaning = FACE @ np.array([[1, 0, 0], [0, 0.94, 0.34], [0, -0.34, 0.94]])
    assert find_like(leaning, FACE, numbered=True) == Space(1.0)
    assert find_like(1000 * FACE, rig.face(7), numbered=True) == Space(0.001)
    assert find_like(np.concatenate([100 * FACE, np.full((9, 3), 500.0)]), FACE, numbered=False) == Space(0.01)
