#!/usr/bin/env bash
# One expects: the mean of a float32 array in a numba function is the one that NumPy gives, to six digits or so.
# What happens: numba adds up in float32, one by one. In a long recording the sum is soon so large that small squares are rounded
# away: the level of an hour at 16 kHz comes out 7 % low, and of 48 million ones the mean is a third.
# Why it matters: the same line is right for a sentence, for NumPy, and in tests; the hour is what it runs on in production.
# What helps: a.astype(np.float64), or a sum that starts with 0.0. (Known upstream: numba issues 2855, 3702, 10647.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numba
import numpy as np


def rms(samples):
    return np.sqrt(np.mean(samples * samples))


compiled = numba.njit(rms)
hour = np.random.default_rng(0).standard_normal(3600 * 16000, np.float32)
hour *= np.float32(0.1)
print(f"numba {numba.__version__}, NumPy {np.__version__}; root mean square of noise of level 0.1")
found = {}
for name, count in (("a sentence of 5 s", 5 * 16000), ("an hour", len(hour))):
    found[name] = float(compiled(hour[:count])), float(rms(hour[:count]))
    print(f"{name}: numba {found[name][0]:.5f}, NumPy {found[name][1]:.5f}")
ones = np.ones(3 << 24, np.float32)
mean = float(numba.njit(lambda array: array.mean())(ones))
print(f"the mean of {len(ones):,} ones: numba {mean:.3f}, NumPy {ones.mean():.3f}")
sentence, whole = found.values()
if abs(sentence[0] - sentence[1]) > 1e-5 or abs(whole[0] - whole[1]) < 1e-3 or mean > 0.9:
    sys.exit("the behaviour has changed")
PYTHON
