#!/usr/bin/env bash
# One expects: 16-bit silence, resampled, is silence, and a 16-bit result is the float result, rounded.
# What happens: with int16 arrays libsoxr adds dither: digital silence becomes a hiss of -1, 0 and 1, and the error of
# every sample is twice that of rounding (0.50 of a step, 1.4 at worst). No parameter of python-soxr turns it off.
# Why it matters: tests for exact zeros (muted takes, padding, gates, "is there sound at all?") fail after resampling int16.
# What helps: resample float32 and round.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soxr==1.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import soxr

silence = np.zeros(48000, np.int16)
hiss = soxr.resample(silence, 48000, 16000)
tone = np.round(1000 * np.sin(0.05 * np.arange(48000))).astype(np.int16)
exact = soxr.resample(tone.astype(np.float64), 48000, 16000)
dithered = soxr.resample(tone, 48000, 16000) - exact
rounded = np.round(exact) - exact
print(f"soxr {soxr.__version__}")
print(f"int16 silence becomes {np.unique(hiss).tolist()}, {np.count_nonzero(hiss)} of {len(hiss)} samples are not 0")
print(f"float32 silence becomes {np.unique(soxr.resample(silence.astype(np.float32), 48000, 16000)).tolist()}")
print(f"error in steps of 16 bits: int16 {dithered.std():.2f} (at most {np.abs(dithered).max():.2f}),", end=" ")
print(f"float rounded {rounded.std():.2f} (at most {np.abs(rounded).max():.2f})")
if not np.any(hiss) or dithered.std() < 0.4:
    sys.exit("the behaviour has changed")
PYTHON
