#!/usr/bin/env bash
# One expects: a glTF face of 29.97 frames a second, imported into a Blender scene of 30 / 1.001, has its keys on the frames,
# and a shape key's range is widened to the weights that the animation has.
# What happens: the importer counts fps * fps_base frames a second, the scene fps / fps_base: keys drift by a frame in 17 s
# (2 in 1000), and at 60 / 2.002 all is four times too slow. Ranges are widened downwards only: 1.5 is cut to 1, -0.5 is not.
# Why it matters: 29.97 is the rate of video, lips leave the sound in each longer take; jaws driven past 1 stop at 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv # Blender's own Python is needed, 350 MB are fetched; apt: libgl1 libsm6 libxi6 libxrender1 libxkbcommon0
venv/bin/pip install --quiet --disable-pip-version-check bpy==4.5.15 numpy==1.26.4
cat > face.py <<'PYTHON'
import base64
import json
import sys

import bpy
import numpy as np

FRAMES = 61
times_s = (np.arange(FRAMES) * 1001 / 30000).astype(np.float32)
weights = np.linspace(-0.5, 1.5, FRAMES).astype(np.float32)
points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
moved = np.full((3, 3), [0, -1, 0], np.float32)
views, blob = [], b""
for array in (points, moved, times_s, weights):
    views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes})
    blob += array.tobytes()
kinds = [("VEC3", 3), ("VEC3", 3), ("SCALAR", FRAMES), ("SCALAR", FRAMES)]
accessors = [{"bufferView": k, "componentType": 5126, "type": t, "count": n} for k, (t, n) in enumerate(kinds)]
accessors[0] |= {"min": [0, 0, 0], "max": [1, 1, 0]}
accessors[1] |= {"min": [0, -1, 0], "max": [0, -1, 0]}
accessors[2] |= {"min": [0], "max": [float(times_s[-1])]}
uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
json.dump({
    "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
    "meshes": [{"weights": [0], "extras": {"targetNames": ["jawOpen"]},
                "primitives": [{"attributes": {"POSITION": 0}, "targets": [{"POSITION": 1}]}]}],
    "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(blob), "uri": uri}],
    "animations": [{"samplers": [{"input": 2, "output": 3}], "channels": [channel]}],
}, open("face.gltf", "w"))  # fmt: skip

lines, end_s = [f"Blender {bpy.app.version_string}; the last of {FRAMES} keys is at {times_s[-1]:.4f} s"], {}
for fps, base in ((30, 1.0), (30, 1.001), (60, 2.002)):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, base
    bpy.ops.import_scene.gltf(filepath="face.gltf")
    keys = next(thing for thing in bpy.data.objects if thing.type == "MESH").data.shape_keys
    jaw = keys.key_blocks["jawOpen"]
    last = keys.animation_data.action.fcurves[0].keyframe_points[-1].co[0]
    end_s[fps, base] = last * base / fps
    lines.append(f"scene of {fps} / {base}: the last key is at frame {last:.3f}, which is {end_s[fps, base]:.4f} s")
scene.frame_set(round(last))
lines.append(f"weights go from -0.5 to 1.5, the key's range is {jaw.slider_min} to {jaw.slider_max}, at the last it is {jaw.value}")
print("\n".join(lines), file=sys.stderr)
off_s = {rate: end - float(times_s[-1]) for rate, end in end_s.items()}
if off_s[30, 1.001] < 0.003 or off_s[60, 2.002] < 1 or (jaw.slider_min, jaw.slider_max) != (-0.5, 1.0):
    sys.exit("the behaviour has changed")
PYTHON
venv/bin/python face.py > log || { cat log; exit 1; }
