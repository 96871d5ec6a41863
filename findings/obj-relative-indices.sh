#!/usr/bin/env bash
# One expects: "f -3 -2 -1" in an OBJ, which the format counts back from the last vertex so far, is understood or refused.
# What happens: trimesh counts from the last vertex of the whole file: each group gets the triangles of the last one. meshio takes
# 1 off, as from numbers that count up, and NumPy then picks vertices one too early, also from the end of the file. No error.
# Why it matters: files whose parts (head, eyes, teeth) were put behind each other can use such numbers: they need no renumbering.
# (Known upstream for trimesh: issue 2364.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check meshio==5.3.5 trimesh==5.2.0 numpy==2.4.6
printf '%s\n' 'v 0 0 0' 'v 1 0 0' 'v 0 1 0' 'f -3 -2 -1' 'v 0 0 9' 'v 1 0 9' 'v 0 1 9' 'f -3 -2 -1' > parts.obj
venv/bin/python - <<'PYTHON'
import sys

import meshio
import trimesh

mesh = meshio.read("parts.obj")
found = {
    f"meshio {meshio.__version__}": mesh.points[mesh.cells_dict["triangle"]],
    f"trimesh {trimesh.__version__}": trimesh.load("parts.obj", process=False).triangles,
}
written = [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 9], [1, 0, 9], [0, 1, 9]]]
print(f"{'written':14} {written}")
for reader, triangles in found.items():
    print(f"{reader:14} {triangles.astype(int).tolist()}")
    if triangles.tolist() == written:
        sys.exit("the behaviour has changed")
PYTHON
