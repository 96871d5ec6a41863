"""Evaluation on real recordings: no captured face, but phones from forced alignment.

A recording is a Clip whose phones are the alignment's and whose motion is the articulation made from them:
not the truth, but a mouth known to close, open and rest at the right times. That clip is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.evaluation import baselines, score
from meshtalk.evaluation.aggregate import Part, estimates, mean_part
from meshtalk.evaluation.bench import in_order, seed_of
from meshtalk.evaluation.report import Report
from meshtalk.measures import metrics, sync, tracks

Sound = tuple[np.ndarray, int]
"""(S,) mono float32 and its rate."""
Damage = Callable[[np.ndarray, int], Sound]


def quiet(audio: np.ndarray, sample_rate: int) -> Sound:
    """20 dB softer."""
    return audio * np.float32(0.1), sample_rate


def clipped(audio: np.ndarray, sample_rate: int) -> Sound:
    """10 dB louder, cut off at full scale as a converter would."""
    return np.clip(audio * np.float32(10**0.5), -1, 1), sample_rate


def noisy(audio: np.ndarray, sample_rate: int) -> Sound:
    """White noise 20 dB below the recording's RMS, from a fixed seed."""
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    noise = np.random.default_rng(0).normal(scale=0.1 * rms, size=len(audio))
    return (audio + noise).astype(np.float32), sample_rate


def telephone(audio: np.ndarray, sample_rate: int) -> Sound:
    """Sampled at 8 kHz."""
    import soxr

    return np.asarray(soxr.resample(audio, sample_rate, 8000), np.float32), 8000


DAMAGES: Mapping[str, Damage] = {
    "-20 dB": quiet,
    "+10 dB, clipped": clipped,
    "noise at 20 dB SNR": noisy,
    "8 kHz": telephone,
}
"""What happens to recordings, each compared with the clean run."""
ANOTHER_SEED = "another seed"
"""The clean sound sampled again: how much of a change is the sampler's own."""


def read_transcripts(folder: str | Path) -> dict[str, tuple[Path, str]]:
    """Recording name → (sound file, words), from `transcripts.tsv` (file, tab, words) in a folder.

    Raises:
        InputError: there is no such list, a line has no words, a file it names is missing, or see `markup.spoken`.
    """
    from meshtalk.synth.markup import spoken
    from meshtalk.synth.recordings import LISTING, read_listing

    if not (Path(folder) / LISTING).is_file():
        raise InputError(f"no {LISTING} in {folder}. Write one, with one line per sound: file, tab, words.")
    found = {}
    for name, text, speaker in read_listing(Path(folder)):
        if isinstance(text, InputError):
            raise InputError(f"{Path(folder) / LISTING} names {name}, which is not in {folder}")
        found[Path(name).stem] = (Path(folder) / name, spoken(text, [speaker]).words)
    return found


def read_recordings(folder: str | Path, build: Callable[[np.ndarray, int, str], Clip]) -> dict[str, Clip]:
    """Recording name → reference clip, of all recordings that `transcripts.tsv` lists.

    Args:
        build: (audio, sample_rate, text) → clip with aligned phones and the articulation they make.

    Raises:
        InputError: see `read_transcripts`; or a sound cannot be read or aligned.
    """
    from meshtalk.audio.files import read_audio

    return {name: build(*read_audio(path), text) for name, (path, text) in read_transcripts(folder).items()}


def evaluate_real(
    systems: Mapping[str, baselines.Animator],
    recordings: Mapping[str, Clip],
    *,
    data: str = "real recordings",
    seeds: Sequence[int] = (0,),
    damages: Mapping[str, Damage] = DAMAGES,
) -> list[Report]:
    """A Report of the reference, of each system, and of each system under every damage to the sound.

    Closures, wrong closures, lip opening against the articulation and against loudness, stillness in silence,
    blinks, popping; under damage also the correlation of the opening with the clean run of the same seed.

    Args:
        systems: name for the table → animator.
        recordings: name → reference clip, see `read_recordings`.
        seeds: every recording is animated with each; few recordings hold few bilabials, and seeds average the
            sampler's luck out. Intervals resample recordings, not seeds.

    Raises:
        InputError: no recordings, or a system answers with another topology, rate or length.
    """
    if not recordings or not seeds:
        raise InputError("recordings and seeds must not be empty. Give at least one of each.")
    rows = {name: _clean_rows([clip] * len(seeds), clip, name) for name, clip in recordings.items()}
    reports = [_report("articulation", list(rows.values()), recordings, data, seeds[0])]
    for system, animator in systems.items():
        clean: dict[str, list[Clip]] = {}
        for index, (name, clip) in enumerate(recordings.items()):
            clean[name] = [_animate(animator, clip, clip.audio, clip.sample_rate, s, index) for s in seeds]
        measured = [_clean_rows(clean[name], clip, system) for name, clip in recordings.items()]
        reports.append(_report(system, measured, recordings, data, seeds[0]))
        for damage, spoil in damages.items():
            damaged = []
            for index, (name, clip) in enumerate(recordings.items()):
                audio, rate = spoil(clip.audio, clip.sample_rate)
                again = [_animate(animator, clip, audio, rate, s, index) for s in seeds]
                damaged.append(_damaged_rows(again, clean[name], clip, f"{system} ({damage})"))
            reports.append(_report(f"{system}, {damage}", damaged, recordings, data, seeds[0]))
        if damages:
            other = []
            for index, (name, clip) in enumerate(recordings.items()):
                unlike = [max(seeds) + 1 + s for s in range(len(seeds))]
                again = [_animate(animator, clip, clip.audio, clip.sample_rate, s, index) for s in unlike]
                other.append(_damaged_rows(again, clean[name], clip, system))
            reports.append(_report(f"{system}, {ANOTHER_SEED}", other, recordings, data, seeds[0]))
    return reports


def _animate(animator: baselines.Animator, clip: Clip, audio: np.ndarray, rate: int, seed: int, index: int) -> Clip:
    return animator.animate(audio, rate, template=clip.template, seed=seed_of(seed, index, 0))


def _clean_rows(animated: Sequence[Clip], reference: Clip, name: str) -> list[score.Row]:
    rows = []
    for clip in animated:
        predicted, true = (score.Tracked(c) for c in tracks.aligned(clip, reference, name))
        parts = score.follow(predicted, true) | score.behaviour(predicted, true)
        parts |= score.articulation(predicted, reference.phones)
        moves, true_moves = metrics.frame_moves_mm(predicted.lips), metrics.frame_moves_mm(true.lips)
        rows.append(score.Row(parts, moves, true_moves, reference.duration_s / 60))
    return rows


def _damaged_rows(animated: Sequence[Clip], clean: Sequence[Clip], reference: Clip, name: str) -> list[score.Row]:
    rows = []
    for clip, undamaged in zip(animated, clean, strict=True):
        predicted, true = (score.Tracked(c) for c in tracks.aligned(clip, reference, name))
        before = tracks.opening_mm(undamaged)
        n = min(len(before), len(predicted.opening_mm))
        parts = score.follow(predicted, true) | score.articulation(predicted, reference.phones)
        parts["clean_r"] = mean_part(sync.correlation(predicted.opening_mm[:n], before[:n]))
        rows.append(score.Row(parts, np.zeros(0), np.zeros(0), reference.duration_s / 60))
    return rows


def _pooled(rows: Sequence[score.Row]) -> dict[str, Part]:
    """The parts of one recording, summed over seeds."""
    keys = {key for row in rows for key in row.parts}
    found = [(key, [row.parts[key] for row in rows if key in row.parts]) for key in keys]
    return {key: (sum(p[0] for p in parts), sum(p[1] for p in parts)) for key, parts in found}


def _report(
    system: str, rows: Sequence[Sequence[score.Row]], recordings: Mapping[str, Clip], data: str, seed: int
) -> Report:
    pooled = [_pooled(of_one) for of_one in rows]
    first = next(iter(recordings.values()))
    flat = [row for of_one in rows for row in of_one]
    return Report(
        system=system,
        data=data,
        split="real",
        seed=seed,
        n_clips=len(recordings),
        seconds=sum(clip.duration_s for clip in recordings.values()),
        topology_hash=first.topology.hash,
        region_hash=first.topology.region_hash,
        measures=in_order(estimates(pooled, list(recordings)) | score.popping(flat)),
        clips=[{"id": name} | score.values_of(parts) for name, parts in zip(recordings, pooled, strict=True)],
    )
