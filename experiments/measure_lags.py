"""How many moved sounds `meshtalk corpus check` finds, and how well it tells by how much: the figures of docs/corpora.md.

    python experiments/measure_lags.py CORPUS [--ms 67 100 133]

The corpus is first checked as it is. Then copies of it are, in which the sound of every fourth clip is moved, half of them
to either side, until each clip has had its turn. `meshtalk corpus build -o CORPUS --minutes 5` makes one that serves.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from meshtalk.check.check import Report, check
from meshtalk.corpus.store import AUDIO, Corpus, read_manifest
from meshtalk.files import write_json

PARTS = 4
"""Corpora in which a lag is tried; in each the other clips are as they were."""


def moved(sound: np.ndarray, samples: int) -> np.ndarray:
    """(S,) sound that comes so many samples later, or earlier; silence takes the place of what is missing."""
    silence = np.zeros(abs(samples), sound.dtype)
    return np.concatenate([silence, sound[:-samples]] if samples > 0 else [sound[-samples:], silence])


def with_lags(corpus: Corpus, root: Path, lag_ms: Mapping[str, float]) -> None:
    """A copy of the corpus in folder `root`, with the sound of some clips moved."""
    shutil.copytree(corpus.root, root)
    manifest = read_manifest(root)
    for entry in manifest["clips"]:
        if entry["id"] in lag_ms:
            path = root / "clips" / entry["id"] / AUDIO
            sound, rate = soundfile.read(path, dtype="int16")
            late = moved(sound, round(lag_ms[entry["id"]] / 1e3 * rate))
            soundfile.write(path, late, rate, format="FLAC", subtype="PCM_16")
            entry["files"][AUDIO] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(root / "manifest.json", manifest)


def lags_of(report: Report) -> dict[str, float]:
    """Clip → lag that was found, ms."""
    return {one.where: one.value for one in report.findings if one.kind == "lag" and one.where}


def measure(corpus: Corpus, ms: float) -> tuple[int, int, int, list[float]]:
    """(clips that were moved, how many of them were found, clips that were not moved but found, errors in ms)."""
    speaking = [info.id for info in corpus.clips if info.sentence]
    tried = found = false = 0
    errors: list[float] = []
    for part in range(PARTS):
        lag_ms = {id: ms if k // PARTS % 2 else -ms for k, id in enumerate(speaking) if k % PARTS == part}
        with tempfile.TemporaryDirectory() as folder:
            with_lags(corpus, Path(folder) / "moved", lag_ms)
            told = lags_of(check(Path(folder) / "moved"))
        tried += len(lag_ms)
        found += len(told.keys() & lag_ms.keys())
        false += len(told.keys() - lag_ms.keys())
        errors += [abs(told[id] - lag_ms[id]) for id in told.keys() & lag_ms.keys()]
    return tried, found, false, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--ms", type=float, nargs="+", default=[67.0, 100.0, 133.0])
    options = parser.parse_args()
    corpus = Corpus.open(options.corpus)
    report = check(options.corpus)
    minutes = sum(info.duration_s for info in corpus.clips) / 60
    print(f"{len(corpus.clips)} clips, {minutes:.1f} min; late or early as they are: {len(lags_of(report))}")
    errors = []
    for ms in options.ms:
        tried, found, false, apart = measure(corpus, ms)
        errors += apart
        print(f"moved by {ms:.0f} ms: {found / tried:.0%} of {tried} found; {false} of the others said to be late")
    print(f"the lag told is within {np.quantile(errors, 0.95):.0f} ms for 95 % of {len(errors)}")


if __name__ == "__main__":
    main()
