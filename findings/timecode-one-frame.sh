#!/usr/bin/env bash
# One expects: a timecode minus the one a second before is a second, and start_seconds=1.0 is 00:00:01:00.
# What happens: the package counts the frame 00:00:00:00 as 1. Differences are a frame short, sums and seconds a frame long:
# 01:00:01:00 - 01:00:00:00 is 00:00:00:29, and start_seconds=1.0 is 00:00:00:29 too.
# Why it matters: face captures (Live Link Face) and sound are laid beside each other by such differences: 33 ms are heard as off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check timecode==1.5.1
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

from timecode import Timecode

slate, line = Timecode(30, "01:00:00:00"), Timecode(30, "01:00:01:00")
second = Timecode(30, "00:00:01:00")
found = {
    f"{line} - {slate}": str(line - slate),
    f"{slate} + {second}": str(slate + second),
    "start_seconds=1.0": str(Timecode(30, start_seconds=1.0)),
    f"seconds of {second}": f"{second.float:.4f}",
}
print(f"timecode {importlib.metadata.version('timecode')}, 30 frames a second")
for what, value in found.items():
    print(f"{what} = {value}")
if list(found.values()) != ["00:00:00:29", "01:00:01:01", "00:00:00:29", "1.0333"]:
    sys.exit("the behaviour has changed")
PYTHON
