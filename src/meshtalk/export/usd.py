"""USD: UsdSkel blendshapes for clips of blendshapes, animated points otherwise, with material and sound.

Axes and units are ours: metres, +Y up. Frame k is at time code k, and a second has `fps` time codes.
"""

# OpenUSD's modules are compiled and say nothing of what is in them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import (
    TEXTURE,
    beside,
    captured,
    colours,
    keys,
    normals,
    outputs,
    pieces,
    sound_of,
    write_sound,
)
from meshtalk.export.glb import NORMAL_STEP
from meshtalk.export.morph_targets import is_named, targets
from meshtalk.progress import Show

_FRAMES_A_SAVE = 512
"""Frames of a dense clip that are held in memory before they go into a `.usdc`."""


def write_usd(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write the clip, its texture (`NAME_texture.png`) and its sound (`NAME_sound.wav`, played from time code 0).

    A clip of blendshapes keeps them, see `targets`, and has the weights as time samples; any other has time samples of points
    and normals, which go into a `.usdc` as they come. Frames that capture missed have no sample.

    Args:
        progress: called as frames of points are written.

    Raises:
        InputError: an unwritable path, an empty clip, or the `usd` extra is missing.
    """
    try:
        from pxr import Sdf, Usd, UsdGeom, UsdMedia, UsdSkel
    except ImportError:
        raise InputError("USD needs usd-core, which is not installed. Run pip install 'meshtalk[usd]'.") from None
    keys(clip)
    texture = [TEXTURE] if clip.topology.texture_png is not None else []
    sound = sound_of(clip)
    with outputs(path, [*texture, *sound]) as [file, *companions]:
        stage = Usd.Stage.CreateNew(str(file))
        stage.SetTimeCodesPerSecond(float(clip.fps))
        stage.SetFramesPerSecond(float(clip.fps))
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(clip.n_frames - 1)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = (UsdSkel.Root if is_named(clip) else UsdGeom.Xform).Define(stage, "/head")
        Usd.ModelAPI(root).SetKind("component")
        stage.SetDefaultPrim(root.GetPrim())
        if sound:
            track = UsdMedia.SpatialAudio.Define(stage, "/head/sound")
            track.CreateFilePathAttr(Sdf.AssetPath(f"./{beside(path, *sound).name}"))
            track.CreateAuralModeAttr(UsdMedia.Tokens.nonSpatial)
            # from time code 0, which is where a track starts unless it says otherwise, to the sound's own end
            track.CreatePlaybackModeAttr(UsdMedia.Tokens.onceFromStart)
        mesh = _mesh(clip, stage)
        _materials(clip, stage, mesh, f"./{beside(path, *texture).name}" if texture else None)
        if is_named(clip):
            root.CreateExtentAttr(_reach(clip))
            _blendshapes(clip, stage, mesh)
        else:
            _points(clip, stage, mesh, path.suffix.lower() != ".usda", progress)
        stage.Save()
        for ending, companion in zip([*texture, *sound], companions, strict=True):
            if ending == TEXTURE:
                companion.write_bytes(clip.topology.texture_png or b"")
            else:
                write_sound(clip, companion)


def _mesh(clip: Clip, stage: Any) -> Any:
    from pxr import Sdf, UsdGeom, Vt

    topology, template = clip.topology, np.asarray(clip.template, np.float32)
    mesh = UsdGeom.Mesh.Define(stage, "/head/face")
    faces = np.ascontiguousarray(topology.faces, np.int32)
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateOrientationAttr(UsdGeom.Tokens.rightHanded)
    mesh.CreatePointsAttr(_vectors(template))
    mesh.CreateExtentAttr(_vectors(np.stack([template.min(0), template.max(0)])))
    mesh.CreateNormalsAttr(_vectors(normals(template, faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    if topology.uvs is not None and topology.uv_faces is not None:
        kind = Sdf.ValueTypeNames.TexCoord2fArray
        uvs = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", kind, UsdGeom.Tokens.faceVarying)
        uvs.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(topology.uvs, np.float32)))
        uvs.SetIndices(Vt.IntArray.FromNumpy(np.ascontiguousarray(topology.uv_faces, np.int32).ravel()))
    return mesh


def _materials(clip: Clip, stage: Any, mesh: Any, texture: str | None) -> None:
    """One material for each base colour: skin, eyes, teeth, …; a colour multiplies the texture where there is one."""
    from pxr import Gf, Sdf, UsdGeom, UsdShade, Vt

    found, which = colours(clip)
    types = Sdf.ValueTypeNames
    binding = UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim())
    for k, colour in enumerate(found.tolist()):
        material = UsdShade.Material.Define(stage, f"/head/looks/look_{k}")
        place = material.GetPath()
        surface = UsdShade.Shader.Define(stage, place.AppendChild("surface"))
        surface.CreateIdAttr("UsdPreviewSurface")
        surface.CreateInput("roughness", types.Float).Set(0.55)
        surface.CreateInput("metallic", types.Float).Set(0.0)
        diffuse = surface.CreateInput("diffuseColor", types.Color3f)
        if texture is None:
            diffuse.Set(Gf.Vec3f(*colour))
        else:
            reader = UsdShade.Shader.Define(stage, place.AppendChild("coordinates"))
            reader.CreateIdAttr("UsdPrimvarReader_float2")
            reader.CreateInput("varname", types.String).Set("st")
            image = UsdShade.Shader.Define(stage, place.AppendChild("texture"))
            image.CreateIdAttr("UsdUVTexture")
            image.CreateInput("file", types.Asset).Set(Sdf.AssetPath(texture))
            image.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
            image.CreateInput("scale", types.Float4).Set(Gf.Vec4f(*colour, 1.0))
            for side in ("wrapS", "wrapT"):
                image.CreateInput(side, types.Token).Set("clamp")
            at = reader.CreateOutput("result", types.Float2)
            image.CreateInput("st", types.Float2).ConnectToSource(at)
            diffuse.ConnectToSource(image.CreateOutput("rgb", types.Float3))
        material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
        if len(found) == 1:
            binding.Bind(material)
            continue
        mine = Vt.IntArray.FromNumpy(np.flatnonzero(which == k).astype(np.int32))
        subset = binding.CreateMaterialBindSubset(f"look_{k}", mine, UsdGeom.Tokens.face)
        UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)


def _blendshapes(clip: Clip, stage: Any, mesh: Any) -> None:
    """A skeleton of one still joint carries the animation, because UsdSkel has no blendshapes without a skeleton."""
    from pxr import Gf, Tf, Usd, UsdSkel, Vt

    found = targets(clip)
    tokens = [Tf.MakeValidIdentifier(name) for name in found.names]
    tokens = [f"{token}_{k}" if tokens.count(token) > 1 else token for k, token in enumerate(tokens)]
    still = Vt.Matrix4dArray([Gf.Matrix4d(1.0)])
    skeleton = UsdSkel.Skeleton.Define(stage, "/head/skeleton")
    skeleton.CreateJointsAttr(["head"])
    skeleton.CreateBindTransformsAttr(still)
    skeleton.CreateRestTransformsAttr(still)
    animation = UsdSkel.Animation.Define(stage, "/head/skeleton/speech")
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    bound = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    bound.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    bound.CreateJointIndicesPrimvar(True, 1).Set([0])
    bound.CreateJointWeightsPrimvar(True, 1).Set([1.0])
    template, faces = np.asarray(clip.template, np.float32), clip.topology.faces
    at_rest = normals(template, faces)
    for token, shape in zip(tokens, found.shapes, strict=True):
        turned = normals(template + shape, faces) - at_rest
        turned[np.abs(turned).max(1) < NORMAL_STEP] = 0.0
        rows = np.flatnonzero(np.any(shape != 0, 1) | np.any(turned != 0, 1))
        target = UsdSkel.BlendShape.Define(stage, mesh.GetPath().AppendChild(token))
        target.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(rows.astype(np.int32)))
        target.CreateOffsetsAttr(_vectors(shape[rows]))
        target.CreateNormalOffsetsAttr(_vectors(turned[rows]))
    bound.CreateBlendShapesAttr(tokens)
    bound.CreateBlendShapeTargetsRel().SetTargets([mesh.GetPath().AppendChild(token) for token in tokens])
    animation.CreateBlendShapesAttr(tokens)
    samples = animation.CreateBlendShapeWeightsAttr()
    for k, row in zip(keys(clip).tolist(), found.weights, strict=True):
        samples.Set(Vt.FloatArray.FromNumpy(np.ascontiguousarray(row)), Usd.TimeCode(k))


def _points(clip: Clip, stage: Any, mesh: Any, streams: bool, progress: Show | None) -> None:
    from pxr import Usd

    faces = clip.topology.faces
    points, turned, extent = mesh.GetPointsAttr(), mesh.GetNormalsAttr(), mesh.GetExtentAttr()
    for n, (k, vertices) in enumerate(captured(clip, progress), 1):
        points.Set(_vectors(vertices), Usd.TimeCode(k))
        turned.Set(_vectors(normals(vertices, faces)), Usd.TimeCode(k))
        extent.Set(_vectors(np.stack([vertices.min(0), vertices.max(0)])), Usd.TimeCode(k))
        if streams and n % _FRAMES_A_SAVE == 0:
            stage.Save()


def _reach(clip: Clip) -> Any:
    """The box that no frame leaves: a program that frames the head need not deform it at every time."""
    corners = [(meshes.min((0, 1)), meshes.max((0, 1))) for _, meshes in pieces(clip)]
    return _vectors(np.stack([np.min([low for low, _ in corners], 0), np.max([high for _, high in corners], 0)]))


def _vectors(values: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values, np.float32))
