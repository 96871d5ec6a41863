#!/usr/bin/env bash
# One expects: GLTF2().load(a).save(b) keeps what glTF 2.0 defines, and a valid file stays valid.
# What happens: nodes[].weights is not known to pygltflib and is dropped: a face posed by its node goes back to the mesh's pose.
# And each accessor gets a byteOffset, also those without a bufferView (sparse morph targets), where glTF forbids it.
# Why it matters: the usual way to patch names or extras of a head's GLB changes its expression and fails Khronos' validator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pygltflib==1.16.5
npm install --silent --no-audit --no-fund gltf-validator@2.0.0-dev.3.10
venv/bin/python - <<'PYTHON'
import base64
import json
import struct
import sys

import pygltflib

blob = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + struct.pack("<Hxx", 2) + struct.pack("<3f", 0, -1, 0)
uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
sparse = {"count": 1, "indices": {"bufferView": 1, "componentType": 5123}, "values": {"bufferView": 2}}
json.dump({
    "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
    "nodes": [{"mesh": 0, "weights": [0.7]}],
    "meshes": [{"weights": [0], "primitives": [{"attributes": {"POSITION": 0}, "targets": [{"POSITION": 1}]}]}],
    "accessors": [
        {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]},
        {"componentType": 5126, "count": 3, "type": "VEC3", "min": [0, -1, 0], "max": [0, 0, 0], "sparse": sparse},
    ],
    "bufferViews": [{"buffer": 0, "byteOffset": at, "byteLength": size} for at, size in ((0, 36), (36, 2), (40, 12))],
    "buffers": [{"byteLength": len(blob), "uri": uri}],
}, open("before.gltf", "w"))  # fmt: skip
pygltflib.GLTF2().load("before.gltf").save("after.gltf")
before, after = (json.load(open(name)) for name in ("before.gltf", "after.gltf"))
print(f"pygltflib {pygltflib.__version__}")
print(f"the node before: {before['nodes'][0]}, after: {after['nodes'][0]}")
print(f"the sparse accessor's byteOffset: {before['accessors'][1].get('byteOffset')}, {after['accessors'][1].get('byteOffset')}")
if "weights" in after["nodes"][0] or "byteOffset" not in after["accessors"][1]:
    sys.exit("the behaviour has changed")
PYTHON
cat > validate.cjs <<'NODE'
const validator = require('gltf-validator'), fs = require('fs');
(async () => {
  const errors = {};
  for (const name of ['before', 'after']) {
    const { issues } = await validator.validateBytes(new Uint8Array(fs.readFileSync(name + '.gltf')));
    const wrong = issues.messages.filter((message) => message.severity === 0);
    errors[name] = wrong.map((message) => `${message.code} ${message.pointer}`);
    console.log(`errors of Khronos' validator ${name}: ${errors[name].join(', ') || 'none'}`);
  }
  process.exit(errors.before.length || !errors.after.length ? 1 : 0);
})();
NODE
node validate.cjs
