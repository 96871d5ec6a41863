#!/usr/bin/env bash
# One expects: a glTF whose positions are normalized integers (KHR_mesh_quantization, as glTF-Transform's quantize writes them) or
# a sparse accessor (glTF 2.0 core) is loaded at its size, or refused.
# What happens: trimesh takes the integers as metres (a face of 10 cm is 3 km) and leaves the sparse values out (points at 0).
# Neither a warning nor an error, though the file says extensionsRequired.
# Why it matters: faces from the web are often quantised, and morph targets are often sparse.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check trimesh==5.2.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import base64
import json
import sys

import numpy as np
import trimesh

POINTS_M = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0.1, 0.1, 0.05]], np.float32)
FACES = np.array([0, 1, 2, 1, 3, 2], np.uint16)


def load(arrays, positions, node, **document):
    views, blob = [], b""
    for array in arrays:
        padded = {"byteStride": array.strides[0]} if array.shape[1:] == (4,) else {}
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes, **padded})
        blob += array.tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
    document |= {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, **node}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [{"count": 4, "type": "VEC3", **positions},
                      {"bufferView": 0, "componentType": 5123, "count": 6, "type": "SCALAR"}],
        "bufferViews": views, "buffers": [{"byteLength": len(blob), "uri": uri}],
    }  # fmt: skip
    with open("face.gltf", "w") as file:
        json.dump(document, file)
    return np.asarray(trimesh.load("face.gltf", process=False).to_geometry().vertices)


integers = np.zeros((4, 4), np.int16)  # each position padded to 8 bytes
integers[:, :3] = np.round(POINTS_M / 0.1 * 32767)
limits = {"min": integers.min(0).tolist()[:3], "max": integers.max(0).tolist()[:3]}
quantised = load(
    [FACES, integers], {"bufferView": 1, "componentType": 5122, "normalized": True, **limits},
    {"scale": [0.1] * 3}, extensionsUsed=["KHR_mesh_quantization"], extensionsRequired=["KHR_mesh_quantization"],
)  # fmt: skip
limits = {"min": POINTS_M.min(0).tolist(), "max": POINTS_M.max(0).tolist()}
sparse = load(
    [FACES, np.arange(4, dtype=np.uint16), POINTS_M],
    {"componentType": 5126, **limits, "sparse": {"count": 4, "values": {"bufferView": 2},
                                                 "indices": {"bufferView": 1, "componentType": 5123}}}, {},
)  # fmt: skip
print(f"trimesh {trimesh.__version__}; the largest coordinate of a mesh of 0.1 m:")
print(f"normalized 16-bit integers: {quantised.max():.1f} m\nsparse accessor: {sparse.max():.1f} m")
if np.abs(quantised).max() < 1000 or np.any(sparse):
    sys.exit("the behaviour has changed")
PYTHON
