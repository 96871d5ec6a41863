#!/usr/bin/env bash
# One expects: an MP3 read with soundfile in blocks (SoundFile.read(4096), soundfile.blocks) is the same sound as read whole.
# What happens: after every block soundfile seeks to where it already is. The MP3 decoder forgets its bit reservoir at a seek,
# so at low and variable bit rates the first frames of each block are decoded from what is left: 5 dB of signal to noise.
# Why it matters: block reading is how long recordings are fed to recognisers and lip sync; length and levels look right.
# What helps: a subclass whose seekable() is False once the file is open.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import soundfile

RATE = 44100
time_s = np.arange(4 * RATE) / RATE
noise = np.random.default_rng(0).standard_normal(len(time_s))
tone = np.sin(2 * np.pi * (200 + 300 * time_s) * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2
with soundfile.SoundFile(
    "a.mp3", "w", RATE, 1, format="MP3", compression_level=0.9, bitrate_mode="VARIABLE"
) as file:
    file.write(0.3 * tone + 0.02 * noise)


class Straight(soundfile.SoundFile):
    def seekable(self):
        return False


def in_blocks(kind, size):
    with kind("a.mp3") as file:
        blocks = []
        while len(block := file.read(size, dtype="float64")):
            blocks.append(block)
    return np.concatenate(blocks)


whole, _ = soundfile.read("a.mp3", dtype="float64")
print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
found = {}
for kind in (soundfile.SoundFile, Straight):
    for size in (4096, 65536):
        blocks = in_blocks(kind, size)
        assert len(blocks) == len(whole)
        error = np.square(blocks - whole).sum()
        found[kind, size] = 10 * np.log10(np.square(whole).sum() / error) if error else np.inf
        print(f"{kind.__name__:9} in blocks of {size:5}: {found[kind, size]:6.1f} dB against the file read whole")
if found[soundfile.SoundFile, 4096] > 20 or found[Straight, 4096] != np.inf:
    sys.exit("the behaviour has changed")
PYTHON
