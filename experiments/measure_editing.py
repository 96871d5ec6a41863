"""Write docs/results_editing.md: re-dubbing and takes of the packaged model, measured on the held-out split of a corpus.

python experiments/measure_editing.py CORPUS [--clips 48]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from meshtalk.clip import Clip
from meshtalk.corpus.store import ClipInfo, Corpus
from meshtalk.evaluation.bench import spread
from meshtalk.evaluation.run import load_measured
from meshtalk.files import atomic
from meshtalk.inference.edit import redub
from meshtalk.inference.latents import MeasuredAnimator
from meshtalk.measures import metrics, sync, tracks
from meshtalk.mesh.topology import Topology

SPLIT, PAGE = "test", "results_editing.md"
BROW_MM, STILL_MM = 3.0, 0.5
"""Brows: what brow shapes move so far, and no mouth or jaw shape further than the second."""
SEAM_S = 0.5
"""Before the end of a performance that goes on its loop may have begun."""
TAKES = 8
FEATURE_VERTICES = 120
RIDGE = 1.0


class Mouth(NamedTuple):
    """How a mouth follows the speech of a true clip."""

    r: float
    closed: np.ndarray
    wrongly: np.ndarray


def mouth_of(clip: Clip, true: Clip) -> Mouth:
    ours, theirs = tracks.opening_mm(clip), tracks.opening_mm(true)
    frames = min(len(ours), len(theirs))
    fps = float(true.fps)
    return Mouth(
        sync.correlation(ours[:frames], theirs[:frames]),
        sync.closed(ours, fps, true.phones, sync.BILABIALS),
        sync.closed(ours, fps, true.phones, sync.OPEN_CONSONANTS),
    )


def brow_vertices(topology: Topology) -> np.ndarray:
    """Vertices that the brows' shapes move and the mouth's do not."""
    assert topology.shapes is not None

    def reach_mm(*prefixes: str) -> np.ndarray:
        named = [i for i, name in enumerate(topology.shape_names) if name.startswith(prefixes)]
        return np.sqrt(metrics.squared_norm(topology.shapes[named])).max(0) * metrics.MM

    return np.flatnonzero((reach_mm("brow") > BROW_MM) & (reach_mm("mouth", "jaw") < STILL_MM))


def moved(clip: Clip, where: np.ndarray, frames: int) -> np.ndarray:
    """(frames,n,3) displacement from rest."""
    return tracks.positions(clip, where)[:frames] - clip.template[where]


def error_mm(clip: Clip, true: Clip) -> tuple[float, float]:
    """Mean vertex error of the whole face and of the lips."""
    frames, lips = min(clip.n_frames, true.n_frames), true.topology.indices("lips")
    return (
        metrics.mve_mm(clip.frames(0, frames), true.frames(0, frames)),
        metrics.mve_mm(tracks.positions(clip, lips)[:frames], tracks.positions(true, lips)[:frames]),
    )


# ------------------------------------------------------------------------------------------------ re-dubbing


def measure_redub(
    model: MeasuredAnimator, corpus: Corpus, infos: Sequence[ClipInfo], made: list[Clip]
) -> dict[str, Any]:
    """Every held-out performance with the speech of another held-out clip; the results are appended to `made`."""
    brows = brow_vertices(corpus.topology)
    plain, redubbed, lids, brow, errors = [], [], [], [], []
    shift = len(infos) // 3
    for index, (info, other) in enumerate(zip(infos, [*infos[shift:], *infos[:shift]], strict=True)):
        performance, speech = corpus.load(info), corpus.load(other)
        sound = (speech.audio, speech.sample_rate)
        plain.append(mouth_of(model.animate(*sound, template=performance.template, seed=index), speech))
        result = redub(model, performance, *sound)
        made.append(result)
        redubbed.append(mouth_of(result, speech))
        frames = min(result.n_frames, performance.n_frames - round(SEAM_S * performance.fps))
        lids.append([tracks.eyelid_closure(clip)[:frames] for clip in (result, performance)])  # type: ignore[index]
        brow.append([moved(clip, brows, frames) for clip in (result, performance)])
        own = redub(model, performance, performance.audio, performance.sample_rate)
        errors.append([*error_mm(own, performance), *error_mm(model.reconstruct(performance), performance)])
        print(f"\rre-dubbed {index + 1}/{len(infos)}", end="", flush=True)
    print()
    ours, theirs = (np.concatenate(part) for part in zip(*lids, strict=True))
    brow_pair = [np.concatenate(part) for part in zip(*brow, strict=True)]
    own_mm, own_lips_mm, coded_mm, coded_lips_mm = np.mean(errors, 0)
    return {
        "animate": told(plain), "redub": told(redubbed),
        "lids_r": float(np.corrcoef(ours, theirs)[0, 1]),
        "brows_r": metrics.motion_correlation(brow_pair[0], brow_pair[1], centred=False),
        "own_mm": own_mm, "own_lips_mm": own_lips_mm, "coded_mm": coded_mm, "coded_lips_mm": coded_lips_mm,
    }  # fmt: skip


def told(mouths: Sequence[Mouth]) -> dict[str, float]:
    return {
        "r": float(np.nanmean([m.r for m in mouths])),
        "closed": float(np.concatenate([m.closed for m in mouths]).mean()),
        "wrongly": float(np.concatenate([m.wrongly for m in mouths]).mean()),
    }


# ------------------------------------------------------------------------------------------------ emotion


def upper_face_features(clip: Clip) -> np.ndarray:
    """Mean displacement and its deviation over time of some vertices of the upper face, mm."""
    upper = clip.topology.indices("upper_face")
    some = moved(clip, upper[:: max(1, len(upper) // FEATURE_VERTICES)], clip.n_frames) * metrics.MM
    return np.concatenate([some.mean(0).ravel(), some.std(0).ravel(), [1.0]])


def measure_emotion(corpus: Corpus, infos: Sequence[ClipInfo], made: Sequence[Clip]) -> dict[str, float]:
    """Share of clips whose emotion a linear classifier tells from the upper face: trained on true training clips."""
    train = [info for info in corpus.split("train") if info.emotion]
    names = sorted({info.emotion for info in train} - {"neutral"})
    train = [info for info in train if info.emotion in names]
    features = np.stack([upper_face_features(corpus.load(info)) for info in train])
    wanted = np.array([[info.emotion == name for name in names] for info in train], float)
    weights = np.linalg.solve(features.T @ features + RIDGE * np.eye(features.shape[1]), features.T @ wanted)
    rows = [(info, clip) for info, clip in zip(infos, made, strict=True) if info.emotion in names]

    def accuracy(clips: Sequence[Clip]) -> float:
        guessed = [names[int(np.argmax(upper_face_features(clip) @ weights))] for clip in clips]
        return float(np.mean([guess == info.emotion for guess, (info, _) in zip(guessed, rows, strict=True)]))

    return {
        "labels": float(len(names)), "clips": float(len(rows)),
        "source": accuracy([corpus.load(info) for info, _ in rows]), "redub": accuracy([clip for _, clip in rows]),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ takes


def measure_takes(model: MeasuredAnimator, corpus: Corpus, infos: Sequence[ClipInfo]) -> dict[str, float]:
    """How far takes of one line lie apart, mm: upper face everywhere, lips everywhere, lips at p, b and m."""
    upper, lips = (corpus.topology.indices(name) for name in ("upper_face", "lips"))
    rows, closures = [], []
    for index, info in enumerate(infos):
        true = corpus.load(info)
        takes = model.takes(true.audio, true.sample_rate, n=TAKES, seed=1000 * index, template=true.template)
        rows.append(
            [metrics.diversity_mm([tracks.positions(take, where) for take in takes]) for where in (upper, lips)]
        )
        at = np.zeros(takes[0].n_frames, bool)
        for phone in true.phones:
            if phone.name in sync.BILABIALS:
                at[sync.phone_frames(phone.start_s, phone.end_s, float(true.fps), len(at))] = True
        if at.any():
            closures.append(metrics.diversity_mm([tracks.positions(take, lips)[at] for take in takes]))
        print(f"\rtakes of {index + 1}/{len(infos)} lines", end="", flush=True)
    print()
    apart = np.mean(rows, 0)
    return {"upper_mm": float(apart[0]), "lips_mm": float(apart[1]), "bilabials_mm": float(np.mean(closures))}


# ------------------------------------------------------------------------------------------------ page


def page(model: str, clips: int, dub: dict[str, Any], emotion: dict[str, float], takes: dict[str, float]) -> str:
    plain, ours = dub["animate"], dub["redub"]
    rows = [
        ("lip opening, correlation with the new speech's truth", f"{plain['r']:.3f} (`animate`)", f"{ours['r']:.3f}"),
        ("lips closed at p b m", f"{plain['closed']:.3f} (`animate`)", f"{ours['closed']:.3f}"),
        ("lips closed at k g h n t d l", f"{plain['wrongly']:.3f} (`animate`)", f"{ours['wrongly']:.3f}"),
        ("eyelids, correlation with the performance", "1", f"{dub['lids_r']:.3f}"),
        ("brows, correlation with the performance, from rest", "1", f"{dub['brows_r']:.3f}"),
        ("its own speech again: vertex error, mm", f"{dub['coded_mm']:.3f} (its codes decoded)", f"{dub['own_mm']:.3f}"),
        ("its own speech again: lip error, mm", f"{dub['coded_lips_mm']:.3f} (its codes decoded)", f"{dub['own_lips_mm']:.3f}"),
        (
            f"emotion told from the upper face ({emotion['labels']:.0f} labels, {emotion['clips']:.0f} clips)",
            f"{emotion['source']:.2f} (performance)", f"{emotion['redub']:.2f}",
        ),
    ]  # fmt: skip
    lines = [
        "# Editing, measured", "", "<!-- written by experiments/measure_editing.py -->", "",
        f"Model {model}; {clips} held-out performances (voices, sentences and people of the test split).", "",
        "## Re-dubbing", "",
        "Every performance gets the speech of another held-out clip. Its correlations count the frames before the performance's "
        f"own end and half a second; emotion is told by a linear classifier on mean and deviation of {FEATURE_VERTICES} vertices, "
        "trained on true training clips.", "",
        "| figure | to compare | re-dubbed |", "|---|---|---:|", *(f"| {a} | {b} | {c} |" for a, b, c in rows), "",
        f"## {TAKES} takes of a line", "", "| mean distance of two takes | mm |", "|---|---:|",
        f"| upper face | {takes['upper_mm']:.2f} |", f"| lips | {takes['lips_mm']:.2f} |",
        f"| lips at p b m | {takes['bilabials_mm']:.2f} |",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=48, help="of the split, evenly spread (default %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder (default %(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    corpus, model, made = Corpus.open(options.corpus), load_measured(None), []
    infos = spread(corpus.split(SPLIT), options.clips)
    dub = measure_redub(model, corpus, infos, made)
    emotion = measure_emotion(corpus, infos, made)
    takes = measure_takes(model, corpus, infos[::2])
    text = page(model.checkpoint.hash, len(infos), dub, emotion, takes)
    with atomic(options.output / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
