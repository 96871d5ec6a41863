#!/usr/bin/env bash
# One expects: safetensors.numpy.save and load give back the array that was saved, or an error.
# What happens: since 0.8.0 the bytes are taken as they lie in memory. A transposed, sliced or Fortran-ordered array
# comes back with its shape and dtype right and its numbers in the wrong places. No warning. 0.7.0 was right.
# Why it matters: basis.T, landmarks[:, ::2] and what scikit-learn's PCA returns are such arrays: a blendshape basis is scrambled.
# What helps: np.ascontiguousarray before saving. (Known upstream: safetensors issue 825.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

basis = np.arange(6, dtype=np.float32).reshape(2, 3)
views = {
    "as made": basis,
    "transposed": basis.T,
    "Fortran order": np.asfortranarray(basis),
    "every second column": basis[:, ::2],
}
print(f"safetensors {safetensors.__version__}")
kept = {}
for name, array in views.items():
    back = load(save({"basis": np.ascontiguousarray(array)}))["basis"]
    assert np.array_equal(back, array)
    back = load(save({"basis": array}))["basis"]
    kept[name] = np.array_equal(back, array)
    print(f"{name:20} {array.tolist()} -> {back.tolist()} {'' if kept[name] else 'WRONG'}")
if kept != {name: name == "as made" for name in kept}:
    sys.exit("the behaviour has changed")
PYTHON
