#!/usr/bin/env bash
# One expects: trimesh.load(path, process=False, maintain_order=True) gives the vertices of an OBJ as the file has them.
# What happens: a textured OBJ of two materials is cut by material, a piece's vertices come in the order of its faces, and
# force="mesh" puts the pieces behind each other: vertices on the border are there twice, and numbers mean other places.
# Why it matters: landmark and blendshape files of faces (ICT-FaceKit, FLAME, MakeHuman) address vertices by their number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check trimesh==5.2.0 pillow==13.0.0 numpy==2.4.6
cat > face.mtl <<'MTL'
newmtl skin
Kd 1 0 0
newmtl eye
Kd 0 0 1
MTL
cat > face.obj <<'OBJ'
mtllib face.mtl
v 0 0 0
v 1 0 0
v 0 1 0
v 1 1 0
v 2 0 0
v 2 1 0
vt 0 0
vt 1 0
vt 0 1
vt 1 1
usemtl skin
f 5/1 6/2 4/3
usemtl eye
f 1/1 2/2 3/3
usemtl skin
f 2/1 4/4 3/3
OBJ
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import trimesh

written = np.array([line.split()[1:] for line in open("face.obj") if line.startswith("v ")], float)
mesh = trimesh.load("face.obj", process=False, maintain_order=True, force="mesh")
read = np.asarray(mesh.vertices)
print(f"trimesh {trimesh.__version__}")
print(f"in the file: {written[:, :2].astype(int).tolist()}")
print(f"loaded:      {read[:, :2].astype(int).tolist()}")
wrong = [k for k in range(len(written)) if not np.array_equal(written[k], read[k])]
print(f"{len(written)} vertices became {len(read)}; numbers that mean another place: {wrong}")
if len(read) == len(written) or not wrong:
    sys.exit("the behaviour has changed")
PYTHON
