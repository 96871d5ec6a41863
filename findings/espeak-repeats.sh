#!/usr/bin/env bash
# One expects: espeak-ng, a synthesiser by rules, speaks a sentence the same way each time, at least after a given seed.
# What happens: within a process each utterance differs from the one before, in its samples and in its length. Neither
# espeak_ng_SetRandSeed nor espeak_Terminate and espeak_Initialize bring the first one back; only a new process does.
# Why it matters: sound and phone times of a synthetic corpus then depend on order and on how sentences are shared by workers.
# What helps: one process a sentence, or keeping what was spoken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check espeakng-loader==0.2.4 numpy==2.4.6
cat > speak.py <<'PYTHON'
import ctypes
import hashlib
import sys

import espeakng_loader
import numpy as np

library = ctypes.CDLL(espeakng_loader.get_library_path())
heard: list[np.ndarray] = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def collect(samples, count, events):
    if count > 0:
        heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0


def speak(text: bytes) -> np.ndarray:
    heard.clear()
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    return np.concatenate(heard)


def start() -> None:
    assert library.espeak_Initialize(1, 0, espeakng_loader.get_data_path().encode(), 0) == 22050
    library.espeak_SetSynthCallback(collect)
    library.espeak_SetVoiceByName(b"en-us")


def restart() -> None:
    library.espeak_Terminate()
    start()
    seed()


def seed() -> None:
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))


start()
library.espeak_Info.restype = ctypes.c_char_p
print(f"espeak-ng {library.espeak_Info(None).decode()}, samples of the same words four times")
for name, prepare in {"plain": lambda: None, "seed before each": seed, "restart and seed before each": restart}.items():
    sounds = []
    for _ in range(4):
        prepare()
        sounds.append(speak(b"hello there"))
    print(f"{name:29} {[len(sound) for sound in sounds]}, the first is {hashlib.sha256(sounds[0].tobytes()).hexdigest()[:8]}")
    if any(np.array_equal(sounds[0], sound) for sound in sounds[1:]):
        sys.exit("the behaviour has changed")
PYTHON
venv/bin/python speak.py | tee first
venv/bin/python speak.py > second
cmp first second
echo "another process speaks the same twelve"
