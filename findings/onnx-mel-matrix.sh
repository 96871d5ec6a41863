#!/usr/bin/env bash
# One expects: ONNX's MelWeightMatrix is the HTK mel filter bank that torchaudio and librosa (htk=True, norm=None) build.
# What happens: as ONNX defines it, corners of the triangles are rounded down to bins of the FFT. At 16 kHz, with 80 bands of 400
# points (Whisper's sizes), 26 bands are one bin each, and five are the same as the next. ONNX and onnxruntime agree on it.
# Why it matters: a model trained on a library's mels gets others when its front end is exported to ONNX with the mel operator.
# What helps: the library's own matrix as a constant.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

BANDS, POINTS, RATE = 80, 400, 16000
names = ["bands", "points", "rate", "low", "high"]
kinds = [TensorProto.INT64] * 3 + [TensorProto.FLOAT] * 2
inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in zip(names, kinds, strict=True)]
outputs = [helper.make_tensor_value_info("mel", TensorProto.FLOAT, None)]
graph = helper.make_graph([helper.make_node("MelWeightMatrix", names, ["mel"])], "mel", inputs, outputs)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
values = [np.array(v, np.int64) for v in (BANDS, POINTS, RATE)] + [np.array(v, np.float32) for v in (0, RATE / 2)]
feed = dict(zip(names, values, strict=True))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
runtime, reference = session.run(None, feed)[0], ReferenceEvaluator(model).run(None, feed)[0]

# triangles on the mel scale, sampled at the bins' own frequencies
corners_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2) / 2595) - 1)
bins_hz = np.arange(POINTS // 2 + 1) * RATE / POINTS
low, middle, high = (corners_hz[k : BANDS + k] for k in range(3))
rising = (bins_hz[:, None] - low) / (middle - low)
triangles = np.maximum(0, np.minimum(rising, (high - bins_hz[:, None]) / (high - middle)))

print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: {BANDS} bands of {POINTS} points at {RATE} Hz")
for name, mel in (("MelWeightMatrix", runtime), ("HTK triangles", triangles)):
    single = int(np.sum(np.count_nonzero(mel, axis=0) == 1))
    twins = [k for k in range(BANDS - 1) if np.array_equal(mel[:, k], mel[:, k + 1])]
    print(f"{name:15}: {single} bands of a single bin; the same as the next band: {twins}")
print(f"largest difference of a weight between them: {np.abs(runtime - triangles).max():.2f}", end=", ")
print(f"between onnxruntime and ONNX's own reference: {np.abs(runtime - reference).max():.2g}")
if len(np.unique(runtime, axis=1).T) == BANDS or not np.allclose(runtime, reference, atol=1e-6):
    sys.exit("the behaviour has changed")
PYTHON
