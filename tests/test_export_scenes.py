"""USD and Alembic, read back and evaluated by their own libraries: meshes, times, coordinates, materials, sound."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from alembic3d.Abc import IArchive, ISampleSelector
from alembic3d.AbcGeom import IPolyMesh
from pxr import Usd, UsdGeom, UsdMedia, UsdShade, UsdSkel, UsdValidation
from test_export import make_clip
from test_export_formats import GAP, check_sound, with_gap

from meshtalk.clip import Clip
from meshtalk.export import export
from meshtalk.mesh.topology import Topology
from meshtalk.render.scene import looks

NTSC = Fraction(30000, 1001)


def complaints(path: Path) -> list[str]:
    """What OpenUSD's own validators (those of `usdchecker`) say."""
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20
    found = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    return [f"{each.GetName()}: {each.GetMessage()}" for each in found]


def baked(path: Path, clip: Clip) -> tuple[Usd.Stage, np.ndarray, np.ndarray]:
    """The scene, and its mesh's points and normals (T,V,3) at every time code, blendshapes evaluated by UsdSkel."""
    stage = Usd.Stage.Open(str(path))
    root = stage.GetDefaultPrim()
    if UsdSkel.Root(root):
        assert UsdSkel.BakeSkinning(UsdSkel.Root(root))
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/head/face"))
    times = range(clip.n_frames)
    points, normals = (
        np.array([attribute.Get(k) for k in times]) for attribute in (mesh.GetPointsAttr(), mesh.GetNormalsAttr())
    )
    return stage, points, normals


def check_normals(normals: np.ndarray, meshes: np.ndarray, faces: np.ndarray, least: float) -> None:
    """They are as the triangles around each vertex have them, where these are not degenerate (a ball's poles are)."""
    corner = meshes[:, faces].astype(np.float64)
    across = np.cross(corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0])
    total = np.zeros(meshes.shape)
    for column in faces.T:
        for mesh, each in zip(total, across, strict=True):
            np.add.at(mesh, column, each)
    good = np.abs(meshes[0, :, 1]) < 0.09
    length = np.linalg.norm(total, axis=2)[:, good] * np.linalg.norm(normals, axis=2)[:, good]
    assert ((total * normals).sum(2)[:, good] / length).min() > least


@pytest.mark.parametrize("suffix", [".usdc", ".usda"])
@pytest.mark.parametrize(("kind", "fps"), [("blendshapes", NTSC), ("dense", 25), ("components", 30)])
def test_usd_moves_as_the_clip_does(tmp_path, monkeypatch, suffix, kind, fps):
    monkeypatch.setattr("meshtalk.export.usd._FRAMES_A_SAVE", 8)
    clip = make_clip(fps, dense=kind == "dense", textured=True)
    if kind == "components":
        clip.basis_names = tuple(f"component_{k:03d}" for k in range(3))
    path = export(clip, tmp_path / f"a{suffix}")
    assert complaints(path) == []
    stage = Usd.Stage.Open(str(path))
    assert stage.GetTimeCodesPerSecond() == float(clip.fps)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, clip.n_frames - 1)
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y
    assert bool(UsdSkel.Root(stage.GetDefaultPrim())) == (kind == "blendshapes")
    stage, points, normals = baked(path, clip)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/head/face"))
    np.testing.assert_allclose(points, clip.frames(), atol=1e-6)
    check_normals(normals, clip.frames(), clip.topology.faces, 0.9 if kind == "blendshapes" else 0.9999)
    np.testing.assert_array_equal(mesh.GetFaceVertexIndicesAttr().Get(), clip.topology.faces.ravel())
    np.testing.assert_array_equal(mesh.GetFaceVertexCountsAttr().Get(), np.full(len(clip.topology.faces), 3))
    box = UsdGeom.BBoxCache(7, [UsdGeom.Tokens.default_]).ComputeWorldBound(stage.GetDefaultPrim()).GetRange()
    low, high = clip.frames(7, 8)[0].min(0), clip.frames(7, 8)[0].max(0)
    assert (np.array(box.GetMin()) <= low + 1e-6).all()
    assert (np.array(box.GetMax()) >= high - 1e-6).all()
    uvs = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened()
    np.testing.assert_allclose(uvs, clip.topology.uvs[clip.topology.uv_faces.ravel()], atol=1e-7)
    assert set(os.listdir(tmp_path)) == {path.name, "a_sound.wav", "a_texture.png"}


def test_usd_blendshapes_have_names_and_weights_from_0_to_1(tmp_path):
    clip = make_clip()
    clip.weights[:, 0] *= 1.5
    path = export(clip, tmp_path / "a.usda")
    stage = Usd.Stage.Open(str(path))
    animation = UsdSkel.Animation(stage.GetPrimAtPath("/head/skeleton/speech"))
    names = list(animation.GetBlendShapesAttr().Get())
    assert names == ["jawOpen", "eyeBlinkLeft", "jawOpen_above1", "eyeBlinkLeft_below0"]
    weights = np.array([animation.GetBlendShapeWeightsAttr().Get(k) for k in range(clip.n_frames)])
    np.testing.assert_allclose(weights[:, :2], clip.weights[:, :2].clip(0, 1), atol=1e-7)
    assert weights.min() >= 0
    assert weights.max() <= 1
    np.testing.assert_allclose(baked(path, clip)[1], clip.frames(), atol=1e-6)


def test_usd_of_a_still_face(tmp_path):
    clip = make_clip(n_frames=3)
    clip.weights = np.zeros_like(clip.weights)
    path = export(clip, tmp_path / "a.usdc")
    assert complaints(path) == []
    np.testing.assert_allclose(baked(path, clip)[1], clip.frames(), atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_usd_has_no_sample_where_capture_missed_a_frame(tmp_path, dense):
    clip = make_clip(12, dense=dense)
    clip.valid = np.ones(20, bool)
    clip.valid[GAP] = False
    stage = Usd.Stage.Open(str(export(clip, tmp_path / "a.usdc")))
    prim, name = ("/head/face", "points") if dense else ("/head/skeleton/speech", "blendShapeWeights")
    times = stage.GetPrimAtPath(prim).GetAttribute(name).GetTimeSamples()
    assert times == np.flatnonzero(clip.valid).tolist()


def test_usd_plays_the_sound_from_the_first_frame(tmp_path):
    clip = make_clip(NTSC)
    stage = Usd.Stage.Open(str(export(clip, tmp_path / "talk.usdc")))
    sound = UsdMedia.SpatialAudio(stage.GetPrimAtPath("/head/sound"))
    asset = sound.GetFilePathAttr().Get()
    assert asset.path == "./talk_sound.wav"
    assert Path(asset.resolvedPath).samefile(tmp_path / "talk_sound.wav")
    assert sound.GetStartTimeAttr().Get() == 0
    assert sound.GetMediaOffsetAttr().Get() == 0
    assert sound.GetPlaybackModeAttr().Get() == UsdMedia.Tokens.onceFromStart
    assert sound.GetAuralModeAttr().Get() == UsdMedia.Tokens.nonSpatial
    check_sound(tmp_path / "talk_sound.wav", clip)


def materials(path: Path) -> dict[int, tuple[np.ndarray, str | None]]:
    """Face → its linear colour (a factor, if there is a texture) and the texture's file, as a renderer finds them."""
    stage = Usd.Stage.Open(str(path))
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/head/face"))
    n_faces = len(mesh.GetFaceVertexCountsAttr().Get())
    bound = {
        tuple(subset.GetIndicesAttr().Get()): subset
        for subset in UsdShade.MaterialBindingAPI(mesh).GetMaterialBindSubsets()
    }
    found = {}
    for faces, prim in (bound or {tuple(range(n_faces)): mesh}).items():
        material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        surface = material.ComputeSurfaceSource()[0]
        diffuse = surface.GetInput("diffuseColor")
        source, _ = diffuse.GetConnectedSources()
        if source:
            image = UsdShade.Shader(source[0].source.GetPrim())
            colour, file = image.GetInput("scale").Get()[:3], image.GetInput("file").Get().resolvedPath
            reader = image.GetInput("st").GetConnectedSources()[0][0].source
            assert UsdShade.Shader(reader.GetPrim()).GetInput("varname").Get() == "st"
        else:
            colour, file = diffuse.Get(), None
        found |= dict.fromkeys(faces, (np.array(colour), file))
    return found


@pytest.mark.parametrize("textured", [False, True])
def test_usd_has_the_colours_of_skin_and_parts(tmp_path, textured):
    clip = make_clip(n_frames=2, textured=textured)
    parts = (clip.template[:, 1] > 0.02).astype(np.uint8)
    clip.topology = replace(clip.topology, parts=parts, part_names=("skin", "upper_teeth"))
    clip.tint = (0.5, 0.4, 0.3)
    path = export(clip, tmp_path / "a.usda")
    assert complaints(path) == []
    found = materials(path)
    table = looks(clip.topology, clip.tint)[:, :3]
    assert sorted(found) == list(range(len(clip.topology.faces)))
    for face, (colour, file) in found.items():
        np.testing.assert_allclose(colour, table[clip.topology.faces[face, 0]], atol=1e-5)
        assert (file is not None) == textured
    if textured:
        assert Path(found[0][1]).read_bytes() == clip.topology.texture_png


def read_abc(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, list[float]]:
    """(T,V,3) positions, (T,V,3) normals, (F,3) corners counter-clockwise, (F,3,2) coordinates of corners, (T,) seconds."""
    archive = IArchive(str(path))
    schema = IPolyMesh(archive.getTop(), "face").getSchema()
    assert schema.isConstant() is (schema.getNumSamples() == 1)
    count, sampling = schema.getNumSamples(), schema.getTimeSampling()
    positions, normals = [], []
    for k in range(count):
        selector = ISampleSelector(sampling.getSampleTime(k))
        positions.append(np.array(schema.getValue(selector).getPositions()))
        normals.append(np.array(schema.getNormalsParam().getExpandedValue(selector).getVals()))
    sample = schema.getValue(ISampleSelector(0.0))
    assert set(sample.getFaceCounts()) == {3}
    corners = np.array(list(sample.getFaceIndices())).reshape(-1, 3)[:, ::-1]
    uvs = None
    if schema.getUVsParam().valid():
        values = schema.getUVsParam().getExpandedValue(ISampleSelector(0.0)).getVals()
        uvs = np.array(values).reshape(-1, 3, 2)[:, ::-1]
    return np.array(positions), np.array(normals), corners, uvs, [sampling.getSampleTime(k) for k in range(count)]


@pytest.mark.parametrize(("fps", "gap"), [(NTSC, False), (25, True)])
def test_alembic_moves_as_the_clip_does(tmp_path, fps, gap):
    clip = make_clip(fps)
    clip = with_gap(clip) if gap else clip
    expected = clip.frames()
    if gap:
        expected[GAP] = expected[GAP.start - 1]
    positions, normals, corners, uvs, times_s = read_abc(export(clip, tmp_path / "a.abc"))
    np.testing.assert_array_equal(positions.astype(np.float32), expected)
    np.testing.assert_allclose(times_s, [float(k / clip.fps) for k in range(clip.n_frames)], atol=1e-9)
    np.testing.assert_array_equal(corners, clip.topology.faces)
    np.testing.assert_allclose(uvs, clip.topology.uvs[clip.topology.uv_faces], atol=1e-7)
    check_normals(normals, expected, clip.topology.faces, 0.9999)
    check_sound(tmp_path / "a_sound.wav", clip)
    assert set(os.listdir(tmp_path)) == {"a.abc", "a_sound.wav"}


def test_alembic_without_texture_coordinates(tmp_path):
    clip = make_clip(n_frames=2)
    clip.topology = Topology(clip.topology.faces, clip.topology.n_vertices)
    positions, _, corners, uvs, _ = read_abc(export(clip, tmp_path / "a.abc"))
    np.testing.assert_array_equal(positions.astype(np.float32), clip.frames())
    np.testing.assert_array_equal(corners, clip.topology.faces)
    assert uvs is None
