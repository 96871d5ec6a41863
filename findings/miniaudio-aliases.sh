#!/usr/bin/env bash
# One expects: miniaudio.decode_file(..., sample_rate=16000) removes what 16 kHz cannot hold before it resamples.
# What happens: its filter is so soft that a tone of 9 kHz comes back as one of 7 kHz, only 6 dB lower, and one of 10 kHz as 6 kHz
# 10 dB lower. Much of s and f lies up there. soxr's alias is below -100 dB.
# Why it matters: mel features of fricatives fed to lip sync and recognition are wrong, only for recordings above 16 kHz.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check miniaudio==1.71 soxr==1.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys
import wave

import miniaudio
import numpy as np
import soxr

RATE, LOW = 48000, 16000


def level_db(samples, hz):
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) * 4 / len(middle)
    near = np.abs(np.fft.rfftfreq(len(middle), 1 / LOW) - hz) < 50
    return float(20 * np.log10(spectrum[near].max() + 1e-9))


print(f"miniaudio {importlib.metadata.version('miniaudio')}")
found = {}
for hz in (3000, 9000, 10000, 12000):
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    with wave.open("tone.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(32767 * tone).astype("<i2").tobytes())
    kind = miniaudio.SampleFormat.FLOAT32
    read = np.array(miniaudio.decode_file("tone.wav", output_format=kind, nchannels=1, sample_rate=LOW).samples)
    heard = min(hz, LOW - hz)
    found[hz] = level_db(read, heard)
    other = level_db(soxr.resample(tone, RATE, LOW), heard)
    print(f"{hz:5} Hz comes out as {heard} Hz at {found[hz]:5.1f} dB, with soxr {other:6.1f} dB")
if abs(found[3000]) > 1 or found[9000] < -12:
    sys.exit("the behaviour has changed")
PYTHON
