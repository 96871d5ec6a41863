"""Retargeting on the command line: meshes in files, maps that are kept, and one sentence for what is no face."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import retarget_rig as meshes
import rig
import soundfile

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.mesh.files import read_face
from meshtalk.mesh.landmarks import REQUIRED, read_landmarks
from meshtalk.mesh.scene import MOST
from meshtalk.model.checkpoint import save_checkpoint
from meshtalk.retarget.map import load_map
from meshtalk.retarget.show import draw_landmarks, write_picker
from meshtalk.stream.sinks import Vertices


def write_obj(path: Path, mesh: meshes.Mesh, texture: bool = False) -> None:
    lines = ["mtllib face.mtl"] if texture else []
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices]
    lines += [f"vt {x:.4f} {y:.4f}" for x, y, _ in mesh.vertices] if texture else []
    lines += ["f " + " ".join(f"{v + 1}/{v + 1}" if texture else f"{v + 1}" for v in face) for face in mesh.faces]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A mesh in a file with a kept map to it, its landmarks, a clip, a recording and a model of the packaged head."""
    folder = tmp_path_factory.mktemp("retarget")
    mesh = meshes.coarse()
    # a triangle twice, once wound the other way, a fin on an edge, and a quad
    more = [mesh.faces[0], mesh.faces[0, ::-1], [*mesh.faces[0, :2], mesh.faces[9, 2]]]
    write_obj(folder / "face.obj", replace(mesh, faces=np.concatenate([mesh.faces, more])), texture=True)
    with open(folder / "face.obj", "a") as file:
        file.write("f 1/1 2/2 3/3 4/4\n")
    (folder / "face.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    from PIL import Image

    Image.new("RGB", (8, 8), (200, 150, 120)).save(folder / "skin.png")
    marks = {name: mesh.landmarks[name].tolist() for name in REQUIRED}
    (folder / "marks.json").write_text(json.dumps(marks))
    meshes.speaking(12).save(folder / "clip.npz")
    soundfile.write(folder / "speech.wav", rig.speech(1, 0.6)[0], 16000)
    save_checkpoint(folder / "model", rig.head_checkpoint())
    make = ("retarget", folder / "clip.npz", "--to", folder / "face.obj", "--landmarks", folder / "marks.json")
    main([str(word) for word in (*make, "--map", folder / "face.map", "-o", folder / "made.npz")])
    return folder


def run(*words: object) -> None:
    main([str(word) for word in words])


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "Traceback" not in "".join(said)
    return said[-1]


def test_a_kept_map_does_without_the_mesh(folder, tmp_path):
    run("retarget", folder / "clip.npz", "--map", folder / "face.map", "-o", tmp_path / "again.npz")
    again, made = Clip.load(tmp_path / "again.npz"), Clip.load(folder / "made.npz")
    assert np.array_equal(again.vertices, made.vertices)
    assert made.topology.texture_png is not None
    assert made.topology.uvs is not None


def test_animating_a_mesh_is_animating_and_then_retargeting(folder, tmp_path):
    performing = ("animate", folder / "speech.wav", "--model", folder / "model", "--seed", 3)
    run(*performing, "-o", tmp_path / "head.npz")
    run(*performing, "--template", folder / "face.obj", "--map", folder / "face.map", "-o", tmp_path / "mine.npz")
    run("retarget", tmp_path / "head.npz", "--map", folder / "face.map", "-o", tmp_path / "then.npz")
    mine, then = Clip.load(tmp_path / "mine.npz"), Clip.load(tmp_path / "then.npz")
    assert np.array_equal(mine.vertices, then.vertices)
    assert mine.n_frames == 18


def test_a_stream_gives_the_same_frames(folder):
    from meshtalk.inference.animator import load_model

    animator, made = load_model(folder / "model"), load_map(folder / "face.map")
    state = animator.start(seed=3)
    sink = Vertices(animator, state, None, made)
    sound = soundfile.read(folder / "speech.wav", dtype="float32")[0]
    motion, state = animator.advance(sound, state)
    frames = np.concatenate([sink.values(motion), sink.values(animator.finish(state))])
    whole = made.retarget(animator.animate(sound, 16000, seed=3)).vertices
    np.testing.assert_allclose(frames, whole, atol=2e-5)


def test_landmarks_are_written_drawn_and_offered_to_click(folder, tmp_path, capsys, monkeypatch):
    # the map of this mesh and these marks, which takes seconds to make again
    monkeypatch.setattr("meshtalk.retarget.build_map.make_map", lambda *_, **__: load_map(folder / "face.map"))
    marks = ("landmarks", folder / "face.obj", "--landmarks", folder / "marks.json")
    run(*marks, "-o", tmp_path / "all.json")
    vertices = read_face(folder / "face.obj")[0]
    found = read_landmarks(tmp_path / "all.json", vertices)
    assert len(found) == 25
    assert all(isinstance(value, int) for value in json.loads((tmp_path / "all.json").read_text()).values())
    numbers, made = json.loads((tmp_path / "all.json").read_text()), load_map(folder / "face.map")
    places = {name: made.template[vertex] for name, vertex in numbers.items()}
    draw_landmarks(made.template, made.topology, places, tmp_path / "all.png")
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "all.png"), int)
    assert (np.abs(picture - [255, 214, 64]).sum(2) < 30).sum() > 25 * 10
    write_picker(vertices, made.topology.faces, numbers, tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text()
    told = json.loads(re.search(r"const data = (.*);\n", page)[1])  # type: ignore[index]
    assert told["found"] == numbers
    assert "http" not in page.replace("http-equiv", "")
    assert "landmarks must be written to" in refused(capsys, *marks, "-o", tmp_path / "all.txt")


BAD = {
    "empty.obj": ("", "is empty"),
    "points.obj": ("v 0 0 0\nv 1 0 0\n" * 200, "points and no triangles"),
    "few.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "vertices on its surface, got 3"),
    "nan.obj": ("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinite"),
    "beyond.obj": ("v 0 0 0\nf 1 2 9\n", "names a vertex that is not among"),
    "text.obj": ("v a b c\n", "cannot be read as a mesh"),
    "broken.glb": ("glTF nothing", "cannot be read as a mesh"),
    "huge.ply": (f"ply\nformat ascii 1.0\nelement vertex {10**7}\nend_header\n", f"at most {MOST:,}"),
    "points.ply": (
        "ply\nformat ascii 1.0\nelement vertex 2\n"
        "property float x\nproperty float y\nproperty float z\nend_header\n1 1 1\n2 2 0\n",
        "no triangles",
    ),
    "empty.ply": ("", "is empty"),
    "empty.stl": ("", "is empty"),
    "empty.glb": ("", "is empty"),
    "nan.stl": (
        "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 nan\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid a\n",
        "NaN or infinite",
    ),
    "face.fbx": ("", "must be one of .obj"),
}


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".stl"])
def test_every_format_holds_the_same_surface(suffix, tmp_path):
    import trimesh

    mesh = meshes.coarse()
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / f"face{suffix}")
    vertices, topology = read_face(tmp_path / f"face{suffix}")
    # an STL numbers no vertices, yet has each place once
    assert len(vertices) == len(mesh.vertices)
    np.testing.assert_allclose(vertices[topology.faces], mesh.vertices[mesh.faces], atol=1e-5)
    if suffix != ".stl":
        assert np.array_equal(topology.faces, mesh.faces)


def test_quads_are_split_and_a_surface_need_not_be_manifold(folder):
    vertices, topology = read_face(folder / "face.obj")
    assert topology.faces[-2:].tolist() == [[0, 1, 2], [0, 2, 3]]
    edges = np.sort(topology.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() > 2
    clip = Clip.load(folder / "made.npz")
    assert len(clip.template) == len(vertices)
    assert np.isfinite(clip.vertices).all()
    assert np.abs(clip.vertices - clip.template).max() > 2e-3


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_face_gets_one_sentence(name, folder, tmp_path, capsys):
    text, says = BAD[name]
    (tmp_path / name).write_text(text)
    said = refused(capsys, "retarget", folder / "clip.npz", "--to", tmp_path / name, "-o", tmp_path / "out.npz")
    assert says in said
    assert not (tmp_path / "out.npz").exists()


def test_options_that_contradict_each_other(folder, tmp_path, capsys):
    clip, out = folder / "clip.npz", tmp_path / "out.npz"
    assert "needs a target mesh" in refused(capsys, "retarget", clip, "-o", out)
    assert "needs a target mesh" in refused(capsys, "retarget", clip, "--map", tmp_path / "none.map", "-o", out)
    (tmp_path / "other.obj").write_text((folder / "face.obj").read_text().replace("f ", "f ", 1) + "f 1 2 3\n")
    assert "another mesh" in refused(
        capsys, "retarget", clip, "--to", tmp_path / "other.obj", "--map", folder / "face.map", "-o", out
    )
    animate = ("animate", folder / "speech.wav", "--model", folder / "model", "-o", out)
    assert "--landmarks needs a --template" in refused(capsys, *animate, "--landmarks", folder / "marks.json")
    assert "no map" in refused(capsys, *animate, "--map", tmp_path / "none.map")
    assert not out.exists()


@pytest.mark.parametrize("library", ["rtree", "scipy"])
@pytest.mark.parametrize("command", ["landmarks face.obj -o face.json", "regions landmarks face.obj -o face.npz"])
def test_a_missing_library_is_said_with_its_extra(tmp_path, library, command):
    write_obj(tmp_path / "face.obj", meshes.mask())
    words = f"import sys; sys.modules[{library!r}] = None; from meshtalk.cli.main import main; main({command.split()})"
    end = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, capture_output=True, text=True)
    assert end.returncode == 2
    assert re.search(
        rf"needs? {library}\S* \(not installed\)\. Run pip install 'meshtalk\[media\]'\.$", end.stderr.strip()
    )
    assert len(end.stderr.strip().splitlines()) == 1
