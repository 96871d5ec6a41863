"""Exports read back: what a player, a 3D program or numpy finds in the file is what the clip says."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_render import sphere, with_texture

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export import COUNTED, EXPORTERS, SEQUENCES, export, write_mp4
from meshtalk.export.morph_targets import TOLERANCE_M, components
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.progress import Progress
from meshtalk.render import Renderer

RATE = 16000
NAMES = ("jawOpen", "eyeBlinkLeft", "cheekPuff")


def make_clip(fps: Fraction | int = 30, n_frames: int = 20, *, dense: bool = False, textured: bool = False) -> Clip:
    """A ball with a local, a sparse and an unused shape, moving; noise as its sound."""
    topology, template = sphere(12, 0.11)
    if textured:
        topology = with_texture(topology, np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    rng = np.random.default_rng(1)
    basis = np.zeros((3, len(template), 3), np.float32)
    basis[0] = rng.normal(0, 0.004, template.shape)
    basis[1, 40:60] = (0, -0.01, 0)
    basis[2, 5:9] = 0.01
    times = np.arange(n_frames) / float(fps)
    weights = np.stack([np.sin(5 * times) ** 2, np.cos(7 * times), 0 * times], 1).astype(np.float32)
    clip = Clip(
        topology=topology,
        template=template,
        fps=Fraction(fps),
        audio=rng.normal(0, 0.1, round(n_frames / fps * RATE)).astype(np.float32),
        sample_rate=RATE,
        weights=weights,
        basis=basis,
        basis_names=NAMES,
        sentence="hello",
    )
    if dense:
        clip.displacement, clip.weights, clip.basis, clip.basis_names = clip.displacements(), None, None, ()
    return clip


class Glb:
    """Reads a GLB the way a viewer does: accessors, sparse ones too, and the animation evaluated at a time."""

    def __init__(self, path: Path) -> None:
        import pygltflib

        self.doc = pygltflib.GLTF2().load(str(path))
        self.blob = self.doc.binary_blob()
        self.primitive = self.doc.meshes[0].primitives[0]

    def _raw(self, view: int, kind: int, count: int, width: int) -> np.ndarray:
        offset = self.doc.bufferViews[view].byteOffset or 0
        dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[kind]
        return np.frombuffer(self.blob, dtype, count * width, offset).reshape(count, width)

    def read(self, index: int) -> np.ndarray:
        accessor = self.doc.accessors[index]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor.type]
        if accessor.bufferView is not None:
            return self._raw(accessor.bufferView, accessor.componentType, accessor.count, width)
        values = np.zeros((accessor.count, width), np.float32)
        sparse = accessor.sparse
        rows = self._raw(sparse.indices.bufferView, sparse.indices.componentType, sparse.count, 1)[:, 0]
        values[rows] = self._raw(sparse.values.bufferView, 5126, sparse.count, width)
        return values

    def meshes(self) -> tuple[np.ndarray, np.ndarray]:
        """(T,) key times and (T,N,3) positions at the keys."""
        sampler = self.doc.animations[0].samplers[0]
        times = self.read(sampler.input)[:, 0]
        weights = self.read(sampler.output).reshape(len(times), -1)
        targets = np.stack([self.read(target["POSITION"]) for target in self.primitive.targets])
        return times, self.read(self.primitive.attributes.POSITION) + np.einsum("tk,knc->tnc", weights, targets)


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize("fps", [30, Fraction(30000, 1001)])
def test_glb_of_a_linear_clip_moves_as_the_clip_does(tmp_path, textured, fps):
    clip = make_clip(fps, textured=textured)
    glb = Glb(clip.save(tmp_path / "a.glb"))
    times, meshes = glb.meshes()
    np.testing.assert_allclose(times, np.arange(20) / float(fps), atol=1e-6)
    names = glb.doc.meshes[0].extras["targetNames"]
    assert names == ["jawOpen", "eyeBlinkLeft", "eyeBlinkLeft_below0"], "the unused shape is left out"
    # corner by corner, because vertices on seams are doubled
    corners = glb.read(glb.primitive.indices).reshape(-1, 3)
    np.testing.assert_allclose(meshes[:, corners], clip.frames()[:, clip.topology.faces], atol=1e-5)
    normals = glb.read(glb.primitive.attributes.NORMAL)[corners]
    outwards = clip.template[clip.topology.faces]
    cosine = (normals * outwards).sum(-1) / np.linalg.norm(outwards, axis=-1)
    assert cosine.min() > 0.98
    if textured:
        uvs = glb.read(glb.primitive.attributes.TEXCOORD_0)[corners]
        np.testing.assert_allclose(uvs[..., 1], 1 - clip.topology.uvs[clip.topology.uv_faces][..., 1], atol=1e-6)
        assert glb.doc.images[0].mimeType == "image/png"
        view = glb.doc.bufferViews[glb.doc.images[0].bufferView]
        assert glb.blob[view.byteOffset : view.byteOffset + view.byteLength] == clip.topology.texture_png
    else:
        assert glb.read(glb.primitive.attributes.COLOR_0).shape == (len(meshes[0]), 3)


def test_glb_doubles_only_vertices_on_seams(tmp_path):
    clip = make_clip(textured=True)
    faces, uv_faces = clip.topology.faces, clip.topology.faces.copy()
    uvs = np.concatenate([clip.topology.uvs, clip.topology.uvs[:1]])
    uv_faces[np.flatnonzero((faces == 0).any(1))[0]] = np.where(
        faces[(faces == 0).any(1)][0] == 0, len(uvs) - 1, faces[(faces == 0).any(1)][0]
    )
    clip.topology = Topology(
        faces=faces,
        n_vertices=clip.topology.n_vertices,
        uvs=uvs,
        uv_faces=uv_faces,
        texture_png=clip.topology.texture_png,
    )
    glb = Glb(clip.save(tmp_path / "a.glb"))
    used = len(np.unique(faces))
    assert used <= glb.doc.accessors[glb.primitive.attributes.POSITION].count <= used + 1


def test_glb_of_a_dense_clip_stays_within_the_tolerance(tmp_path):
    clip = make_clip(dense=True, n_frames=300)
    glb = Glb(clip.save(tmp_path / "a.glb"))
    _, meshes = glb.meshes()
    corners = glb.read(glb.primitive.indices).reshape(-1, 3)
    error = np.linalg.norm(meshes[:, corners] - clip.frames()[:, clip.topology.faces], axis=-1)
    assert error.max() <= TOLERANCE_M + 1e-6
    assert len(glb.primitive.targets) == 3, "the motion has two dimensions, and there is where they are counted from"


def test_components_of_noise_keep_the_tolerance_and_of_stillness_are_none():
    clip = make_clip(dense=True, n_frames=160)
    clip.displacement = np.random.default_rng(3).normal(0, 1e-4, clip.displacement.shape).astype(np.float32)
    weights, shapes = components(clip, np.arange(160))
    error = np.einsum("tk,kvc->tvc", weights, shapes) - clip.displacement
    assert np.linalg.norm(error, axis=2).max() <= TOLERANCE_M * 1.001
    assert np.abs(weights).max() <= 1 + 1e-6
    clip.displacement = np.zeros_like(clip.displacement)
    assert components(clip, np.arange(160))[1].shape == (0, clip.topology.n_vertices, 3)


@pytest.mark.parametrize("dense", [False, True])
def test_glb_of_a_still_face_is_a_mesh_without_animation(tmp_path, dense):
    clip = make_clip(dense=dense)
    if dense:
        clip.displacement = np.zeros_like(clip.displacement)
    else:
        clip.weights = np.zeros_like(clip.weights)
    glb = Glb(clip.save(tmp_path / "a.glb"))
    assert not glb.doc.animations
    assert not glb.primitive.targets


@pytest.mark.parametrize("dense", [False, True])
def test_glb_has_no_key_where_capture_missed_a_frame(tmp_path, dense):
    clip = make_clip(dense=dense)
    clip.valid = np.ones(20, bool)
    clip.valid[7:9] = False
    glb = Glb(clip.save(tmp_path / "a.glb"))
    times, meshes = glb.meshes()
    np.testing.assert_allclose(times, np.flatnonzero(clip.valid) / 30, atol=1e-6)
    corners = glb.read(glb.primitive.indices).reshape(-1, 3)
    expected = clip.frames()[clip.valid][:, clip.topology.faces]
    np.testing.assert_allclose(meshes[:, corners], expected, atol=6e-5)


def test_glb_is_read_by_another_program(tmp_path):
    import trimesh

    clip = make_clip(textured=True)
    scene = trimesh.load(clip.save(tmp_path / "a.glb"), process=False)
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(clip.topology.faces)
    np.testing.assert_allclose(mesh.bounds, [clip.template.min(0), clip.template.max(0)], atol=1e-6)


def test_npz_is_read_back_whole(tmp_path):
    clip = make_clip(Fraction(30000, 1001))
    back = Clip.load(clip.save(tmp_path / "a.npz"))
    assert back.fps == clip.fps
    np.testing.assert_array_equal(back.frames(), clip.frames())
    np.testing.assert_array_equal(back.audio, clip.audio)


def name_of(suffix: str) -> str:
    """A file name that `export` takes for this format."""
    return f"{suffix[1:]}/%03d{suffix}" if suffix in SEQUENCES else f"a{suffix}"


@pytest.mark.parametrize("suffix", sorted(set(EXPORTERS) - {".csv", ".json"}))  # a ball has no ARKit weights
def test_the_same_clip_gives_the_same_files(tmp_path, suffix):
    clip = make_clip(n_frames=4, textured=True)
    made = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        assert export(clip, folder / name_of(suffix)) == folder / name_of(suffix)
        made.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert made[0]


@pytest.mark.parametrize("suffix", sorted(EXPORTERS))
def test_bad_clips_and_bad_places_leave_nothing(tmp_path, suffix):
    clip = make_clip(n_frames=4)
    with pytest.raises(InputError, match="there is no folder"):
        export(clip, tmp_path / "missing" / name_of(suffix))
    (tmp_path / f"folder{suffix}").mkdir()
    there = f"folder{suffix}/%d{suffix}" if suffix in SEQUENCES else f"folder{suffix}"
    (tmp_path / f"folder{suffix}" / "old").touch()
    with pytest.raises(InputError, match=r"is a folder|it exists"):
        export(clip, tmp_path / there)
    clip.weights[2, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        export(clip, tmp_path / name_of(suffix))
    assert os.listdir(tmp_path) == [f"folder{suffix}"]


@pytest.mark.parametrize("suffix", COUNTED)
def test_an_interruption_leaves_nothing_and_what_was_there_before(tmp_path, monkeypatch, suffix):
    """In the middle, with frames of a dense clip coming two at a time."""
    monkeypatch.setattr("meshtalk.export.common._VERTICES_AT_ONCE", 2 * 312)
    clip, told = make_clip(n_frames=9, dense=True), []

    def interrupt(now: Progress) -> None:
        told.append((now.done, now.total))
        if now.done >= 6:
            raise KeyboardInterrupt

    before = set()
    if suffix not in SEQUENCES:
        (tmp_path / name_of(suffix)).write_bytes(b"an earlier one")
        before = {name_of(suffix)}
    with pytest.raises(KeyboardInterrupt):
        export(clip, tmp_path / name_of(suffix), progress=interrupt)
    assert told == [(2, 9), (4, 9), (6, 9)]
    assert set(os.listdir(tmp_path)) == before
    assert all((tmp_path / name).read_bytes() == b"an earlier one" for name in before)
    told.clear()
    export(clip, tmp_path / name_of(suffix), progress=lambda now: told.append((now.done, now.total)))
    assert told == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png"])
def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch, suffix):
    def fails(self, vertices):
        raise RuntimeError("half way")

    monkeypatch.setattr(Renderer, "frame", fails)
    with pytest.raises(RuntimeError, match="half way"):
        export(make_clip(n_frames=4), tmp_path / f"a{suffix}")
    assert not os.listdir(tmp_path)


NEEDS = {
    ".mp4": ("av", "media"), ".gif": ("av", "media"), ".glb": ("pygltflib", "media"), ".png": ("PIL", "media"),
    ".usdc": ("pxr", "usd"), ".usda": ("pxr", "usd"), ".abc": ("alembic3d.Abc", "alembic"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", NEEDS)
def test_a_missing_library_is_told_with_its_extra(tmp_path, monkeypatch, suffix):
    module, extra = NEEDS[suffix]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"not installed.* Run pip install 'meshtalk\[{extra}\]'\.$"):
        export(make_clip(n_frames=4), tmp_path / name_of(suffix))
    assert not os.listdir(tmp_path)


def test_the_place_is_checked_before_the_work(tmp_path, monkeypatch):
    clip = make_clip(n_frames=4)
    monkeypatch.setattr(Clip, "validate", lambda self: pytest.fail("work before the check"))
    for name in ("missing/a.mp4", "a.avi", "noname"):
        with pytest.raises(InputError):
            export(clip, tmp_path / name)


def test_unknown_formats_and_sizes_are_told(tmp_path):
    clip = make_clip(n_frames=4)
    with pytest.raises(InputError, match=rf"\.avi is not a known format. Use {', '.join(EXPORTERS)}\.$"):
        export(clip, tmp_path / "a.avi")
    with pytest.raises(InputError, match="no suffix"):
        export(clip, tmp_path / "a")
    with pytest.raises(InputError, match="even"):
        write_mp4(clip, tmp_path / "a.mp4", size=(63, 64))
    clip.weights, clip.audio = clip.weights[:0], clip.audio[:0]
    for suffix in set(EXPORTERS) - {".npz", ".csv", ".json"}:
        with pytest.raises(InputError, match="no frames"):
            export(clip, tmp_path / name_of(suffix))
    assert not os.listdir(tmp_path)


def test_a_skin_tone_is_drawn_and_exported(tmp_path):
    """The person's tint colours the skin of pictures and GLB, not the eyes."""
    import pygltflib

    head = load_head()
    shapes = head.topology.shapes
    common = {"topology": head.topology, "template": head.neutral, "fps": Fraction(30), "sample_rate": 16000}
    clip = Clip(
        weights=np.zeros((2, len(shapes)), np.float32), basis=shapes, audio=np.zeros(1067, np.float32), **common
    )
    clip = replace(clip, basis_names=head.topology.shape_names, tint=(0.5, 0.4, 0.3))
    clip.save(tmp_path / "c.npz")
    assert Clip.load(tmp_path / "c.npz").tint == pytest.approx((0.5, 0.4, 0.3))
    clip.save(tmp_path / "c.glb")
    primitive = pygltflib.GLTF2().load(str(tmp_path / "c.glb")).meshes[0].primitives[0]
    assert primitive.attributes.COLOR_0 is not None
    plain = Renderer(head.topology, clip.template, 64, 64).frame(clip.template).mean()
    assert Renderer(head.topology, clip.template, 64, 64, tint=clip.tint).frame(clip.template).mean() < plain


@pytest.mark.parametrize("suffix", [".gif", ".html", ".mp4", ".png"])
def test_people_are_drawn_as_themselves(tmp_path, monkeypatch, suffix):
    drawn = []

    def watched(self, *args, subject="", tint=(1.0, 1.0, 1.0), **options) -> None:
        drawn.append((subject, tint))
        raise InputError("seen enough")

    monkeypatch.setattr(Renderer, "__init__", watched)
    clip = replace(make_clip(n_frames=4), subject="clara", tint=(0.9, 0.8, 0.7))
    with pytest.raises(InputError, match="seen enough"):
        export(clip, tmp_path / f"a{suffix}")
    assert drawn == [("clara", (0.9, 0.8, 0.7))]
