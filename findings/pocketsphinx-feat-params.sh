#!/usr/bin/env bash
# One expects: Decoder(cmn="none") decodes without cepstral mean normalisation; what a caller asks for goes before a file's words.
# What happens: the acoustic model's feat.params is read last and wins over the arguments, without a message: cmn="none" becomes
# "batch", lowerf=200 becomes 130. Only decoder.config tells.
# Why it matters: whoever tunes features for alignment compares settings that were never in force.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pocketsphinx==5.1.1
venv/bin/python - <<'PYTHON'
import importlib.metadata
import sys

import pocketsphinx

asked = {"cmn": "none", "lowerf": 200.0, "remove_noise": False}
decoder = pocketsphinx.Decoder(loglevel="FATAL", **asked)
used = {name: decoder.config[name] for name in asked}
config = pocketsphinx.Config(**asked)
print(f"pocketsphinx {importlib.metadata.version('pocketsphinx')}")
print(f"asked for {asked}\nin force  {used}\nbefore the decoder was made: { {name: config[name] for name in asked} }")
if used == asked:
    sys.exit("the behaviour has changed")
PYTHON
