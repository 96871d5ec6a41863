#!/usr/bin/env bash
# One expects: the 52 blendshape scores of MediaPipe's face landmarker are ARKit's 52 blendshapes, perhaps in another order.
# What happens: the numbers agree by chance. MediaPipe counts a neutral as its number 0 and has no tongueOut. In alphabetical order
# all else is shifted by one: weights copied by number fit in length and open the jaw as jawRight. Live Link's order fits nowhere.
# Why it matters: arrays of 52 without names go between trackers, game engines and training data, and nothing complains.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pylivelinkface==0.1 timecode==1.5.1
venv/bin/pip install --quiet --disable-pip-version-check --no-deps mediapipe==1.2.3
venv/bin/python - <<'PYTHON'
import ast
import importlib.metadata
import sys

from pylivelinkface import FaceBlendShape

# read, not imported: that would need all of MediaPipe's own requirements
source = importlib.metadata.distribution("mediapipe").locate_file("mediapipe/tasks/python/vision/face_landmarker.py").read_text()
shapes = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Blendshapes")
numbered = {node.value.value: node.targets[0].id for node in shapes.body if isinstance(node, ast.Assign)}
mediapipe = [numbered[k].replace("_", "").lower() for k in range(len(numbered))]
live_link = [shape.name.lower() for shape in FaceBlendShape][:52]  # what follows are angles of head and eyes
arkit = sorted(live_link)

print(f"MediaPipe {importlib.metadata.version('mediapipe')}: {len(mediapipe)} shapes, ARKit: {len(arkit)}")
print(f"only MediaPipe's: {set(mediapipe) - set(arkit)}, only ARKit's: {set(arkit) - set(mediapipe)}")
jaw = mediapipe.index("jawopen")
same = {name: sum(a == b for a, b in zip(mediapipe, order, strict=True)) for name, order in
        (("alphabetical", arkit), ("Live Link's", live_link))}  # fmt: skip
print(f"number {jaw} is jawopen for MediaPipe, {arkit[jaw]} in alphabetical order, {live_link[jaw]} in Live Link's")
print(f"numbers that mean the same: {same}")
shifted = mediapipe[1:] == [name for name in arkit if name != "tongueout"]
if len(mediapipe) != 52 or len(arkit) != 52 or not shifted or any(same.values()):
    sys.exit("the behaviour has changed")
PYTHON
