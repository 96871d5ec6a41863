#!/usr/bin/env bash
# One expects: UsdSkel.BakeSkinning turns a blendshape with an in-between into moving points that follow the in-between.
# What happens: points are baked at the weights' own time samples only. Between two keys they go straight, so an in-between,
# which bends the path there, is lost: a lid that closes around the eyeball cuts through it.
# Why it matters: baking is the way into programs without UsdSkel; in-betweens are there so that few keys are enough.
# What helps: a weight sample for each frame before baking.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check usd-core==26.11
venv/bin/python - <<'PYTHON'
import sys

from pxr import Gf, Usd, UsdGeom, UsdSkel, Vt


def baked(keys):
    """y of the one vertex at time codes 0, 15 and 30, after baking; the whole shape moves it by -1, half of it by -0.9."""
    stage = Usd.Stage.CreateInMemory()
    root = UsdSkel.Root.Define(stage, "/head")
    mesh = UsdGeom.Mesh.Define(stage, "/head/face")
    mesh.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (0, 0, 1)])
    mesh.CreateFaceVertexCountsAttr([3])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2])
    skeleton = UsdSkel.Skeleton.Define(stage, "/head/skeleton")
    skeleton.CreateJointsAttr(["root"])
    still = Vt.Matrix4dArray([Gf.Matrix4d(1)])
    skeleton.CreateBindTransformsAttr(still)
    skeleton.CreateRestTransformsAttr(still)
    shape = UsdSkel.BlendShape.Define(stage, "/head/face/eyeBlinkLeft")
    shape.CreateOffsetsAttr([(0, -1, 0)] * 3)
    half = shape.CreateInbetween("half")
    half.SetWeight(0.5)
    half.SetOffsets([(0, -0.9, 0)] * 3)
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateBlendShapesAttr(["eyeBlinkLeft"])
    binding.CreateBlendShapeTargetsRel().SetTargets([shape.GetPath()])
    motion = UsdSkel.Animation.Define(stage, "/head/skeleton/blink")
    motion.CreateBlendShapesAttr(["eyeBlinkLeft"])
    weights = motion.CreateBlendShapeWeightsAttr()
    for time in keys:
        weights.Set([time / 30], time)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([motion.GetPath()])
    assert UsdSkel.BakeSkinning(root)
    return [round(mesh.GetPointsAttr().Get(time)[0][1], 4) for time in (0, 15, 30)]


few, many = baked((0, 30)), baked(range(31))
print(f"OpenUSD {'.'.join(map(str, Usd.GetVersion()))}; y at weights 0, 0.5 and 1; the in-between says -0.9 at 0.5")
print(f"keys at 0 and 30, baked:    {few}\na key for each, baked:      {many}")
if few != [0, -0.5, -1] or many != [0, -0.9, -1]:
    sys.exit("the behaviour has changed")
PYTHON
