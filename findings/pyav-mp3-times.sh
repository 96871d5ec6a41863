#!/usr/bin/env bash
# One expects: a click 0.5 s into a recording is at 0.5 s whether one counts decoded samples or believes frame.time.
# What happens: of an MP3, FFmpeg drops the encoder's delay from the samples, but leaves the time stamps where they were: the first
# frame says 0.023 s, and so do start_time and each later frame. Of M4A, Ogg Opus and WebM samples and stamps agree.
# Why it matters: sound that starts late in a container (browser recordings) is in time only if stamps are honoured, and then the
# lips of every MP3 come two thirds of a frame late at 30 a second. MP3 is the exception to make.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
import numpy as np

RATE = 48000
sound = np.zeros(2 * RATE, np.float32)
sound[RATE // 2 : RATE // 2 + 480] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(480) / RATE)


def write(name, codec, kind):
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        for at in range(0, len(sound), 960):
            piece = sound[None, at : at + 960]
            if kind == "s16":
                piece = np.round(32767 * piece).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def click(name):
    """Seconds to the click, by samples counted and by the stamp of its frame."""
    with av.open(name) as container:
        count = 0
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray()[0].astype(np.float64))
            loud = np.flatnonzero(samples > (3277 if frame.format.name.startswith("s16") else 0.1))
            if len(loud):
                return (count + loud[0]) / RATE, frame.time + loud[0] / RATE
            count += frame.samples
    raise AssertionError("no click")


print(f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}; a click at 0.5 s")
apart_s = {}
for name, codec, kind in (("a.mp3", "libmp3lame", "fltp"), ("a.m4a", "aac", "fltp"), ("a.ogg", "libopus", "s16"),
                          ("a.webm", "libopus", "s16")):  # fmt: skip
    write(name, codec, kind)
    counted_s, stamped_s = click(name)
    apart_s[name] = stamped_s - counted_s
    print(f"{name:7} by samples {counted_s:.4f} s, by time stamps {stamped_s:.4f} s")
if apart_s.pop("a.mp3") < 0.02 or max(map(abs, apart_s.values())) > 0.002:
    sys.exit("the behaviour has changed")
PYTHON
