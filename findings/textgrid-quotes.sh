#!/usr/bin/env bash
# One expects: a label with quotation marks, say "hi", that Praat wrote into a TextGrid, is read as it was by praat-textgrids.
# What happens: Praat doubles a mark inside a label. The package does not undo that in the text format, and takes the last ones
# away: say ""hi. From Praat's binary format the same label is right.
# Why it matters: transcripts with quoted speech are aligned by words; a changed label is an unknown word or a failed match.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check praat-parselmouth==0.4.7 praat-textgrids==1.4.0 praatio==6.2.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import parselmouth
import textgrids
from parselmouth.praat import call
from praatio import textgrid as praatio

LABEL = 'say "hi"'
grid = call("Create TextGrid", 0, 1, "words", "")
call(grid, "Set interval text", 1, 1, LABEL)
found = {}
for kind in ("text", "binary"):
    call(grid, f"Save as {kind} file", f"{kind}.TextGrid")
    found[kind] = textgrids.TextGrid(f"{kind}.TextGrid")["words"][0].text
other = praatio.openTextgrid("text.TextGrid", includeEmptyIntervals=True).tiers[0].entries[0].label
back = call(parselmouth.Data.read("text.TextGrid"), "Get label of interval", 1, 1)
print(f"praat-textgrids {importlib.metadata.version('praat-textgrids')}, label {LABEL} written by Praat {parselmouth.PRAAT_VERSION}")
print(f"read from text: {found['text']}\nread from binary: {found['binary']}\nby praatio: {other}\nby Praat: {back}")
if (found["binary"], other, back) != (LABEL,) * 3 or found["text"] == LABEL:
    sys.exit("the behaviour has changed")
PYTHON
