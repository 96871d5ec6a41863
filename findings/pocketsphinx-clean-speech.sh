#!/usr/bin/env bash
# One expects: the cleaner the recording, the surer the forced alignment of its own words.
# What happens: clean synthetic speech finds no path through its own words, because a tenth of its samples are exact zeros. With
# noise of one step of 16 bits on those alone, which nobody hears, all words are aligned; with noise on the others it still fails.
# Why it matters: synthesised and gated speech is what corpora of talking faces are aligned from.
# What helps: noise of one step before aligning, or Decoder(dither=True).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pocketsphinx==5.1.1 espeakng-loader==0.2.4 soxr==1.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import ctypes
import importlib.metadata
import sys

import espeakng_loader
import numpy as np
import pocketsphinx
import soxr

WORDS = "the quick brown fox jumps over the lazy dog"
library = ctypes.CDLL(espeakng_loader.get_library_path())
heard = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def collect(samples, count, events):
    if count > 0:
        heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0


library.espeak_Initialize(1, 0, espeakng_loader.get_data_path().encode(), 0)
library.espeak_SetSynthCallback(collect)
library.espeak_SetVoiceByName(b"en-us")
library.espeak_Synth(WORDS.encode(), len(WORDS) + 1, 0, 1, 0, 1, None, None)
library.espeak_Synchronize()
clean = soxr.resample(np.concatenate(heard).astype(np.float32), 22050, 16000)


def aligned(samples):
    """Each word with its first frame of 10 ms, or nothing."""
    decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL", lm=None)
    decoder.set_align_text(WORDS)
    decoder.start_utt()
    decoder.process_raw(np.clip(samples, -32768, 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return []
    return [(part.word, part.start_frame) for part in decoder.seg() if not part.word.startswith("<")]


clean = np.round(np.clip(clean, -32768, 32767))
noise = np.random.default_rng(0).integers(-1, 2, len(clean))
silent = clean == 0
found = {
    "as synthesised": aligned(clean),
    "noise where there is sound": aligned(clean + noise * ~silent),
    f"noise on the {100 * silent.mean():.0f} % of zeros": aligned(clean + noise * silent),
}
print(f"pocketsphinx {importlib.metadata.version('pocketsphinx')}; each word with its first frame of 10 ms")
for name, words in found.items():
    print(f"{name}: {words or 'nothing'}")
if [[word for word, _ in words] for words in found.values()] != [[], [], WORDS.split()]:
    sys.exit("the behaviour has changed")
PYTHON
