#!/usr/bin/env bash
# One expects: set_blendshape(JawOpen, 0.0) then encode() sends 0.0, and fps=30 is sent as 30 frames a second.
# What happens: what is sent is the mean of the last five values: lips that close for a frame stay 80 % open, and the first value
# is halved (the history starts with a 0). The rate goes out as 30/0, because its denominator is int(fps / 60).
# Why it matters: it is a way from Python to ARKit faces in Unreal, and the closures of p, b and m are a frame or two long.
# What helps: set_blendshape(..., no_filter=True), fps=60.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pylivelinkface==0.1 timecode==1.5.1
venv/bin/python - <<'PYTHON'
import importlib.metadata
import struct
import sys

from pylivelinkface import FaceBlendShape, PyLiveLinkFace


def sent(face):
    """(numerator, denominator) of the rate, and JawOpen, as they stand in the packet."""
    packet = face.encode()
    *rate, count = struct.unpack("!2IB", packet[-(61 * 4 + 9) : -61 * 4])
    assert count == 61
    return tuple(rate), struct.unpack("!61f", packet[-61 * 4 :])[FaceBlendShape.JawOpen.value]


face = PyLiveLinkFace(fps=30)
asked = [1.0] * 6 + [0.0] + [1.0] * 3
values = []
for value in asked:
    face.set_blendshape(FaceBlendShape.JawOpen, value)
    rate, jaw = sent(face)
    values.append(round(jaw, 3))
print(f"pylivelinkface {importlib.metadata.version('pylivelinkface')}, rate of fps=30: {rate[0]}/{rate[1]}")
print(f"JawOpen set:  {asked}\nJawOpen sent: {values}")
if rate != (30, 0) or values[0] != 0.5 or min(values[1:]) < 0.6:
    sys.exit("the behaviour has changed")
PYTHON
