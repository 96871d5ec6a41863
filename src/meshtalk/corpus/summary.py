"""Summary of a corpus as text, from its manifest and masks."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np

from meshtalk.corpus.store import DENSE, LINEAR, SPLITS, ClipInfo, Corpus

WIDTH = 120
NO_BREAK = "\xa0"
"""Placeholder for a non-breaking space: a name stays with its count."""
KINDS = ("subject", "voice", "emotion")

"""Items of each kind that a printed report lists; its JSON has all."""


def summary(corpus: Corpus) -> str:
    """Mesh, clips, rate, splits, lengths, gaps, labels and licences; no motion or sound is read.

    Raises:
        InputError: a mask cannot be read, or is not as long as its clip.
    """
    clips, topology = corpus.clips, corpus.topology
    named = [f"{name} ({np.count_nonzero(weights)})" for name, weights in topology.regions.items() if np.any(weights)]
    motion = {kind: sum(file in info.files for info in clips) for kind, file in (("linear", LINEAR), ("dense", DENSE))}
    rate = f"{float(corpus.fps):.6g}" + (f" ({corpus.fps})" if corpus.fps.denominator > 1 else "")
    shapes = len(topology.shape_names)
    lines = [
        f"{corpus.root}: {len(clips)} clips, {_minutes(clips):.1f} minutes, {rate} frames per second",
        f"mesh: {topology.n_vertices} vertices, {len(topology.faces)} triangles, {shapes} blendshapes, hash {topology.hash}",
        *_wrapped("regions (vertices)", named or ["none: training and evaluation need them"]),
        f"motion: {motion['linear']} clips as blendshape weights, {motion['dense']} as vertices",
        f"sound: {', '.join(f'{n} clips at {hz} Hz' for hz, n in _counted(clips, 'sample_rate')) or 'none'}",
        "",
        *split_table(corpus),
        _gaps(corpus),
        "",
    ]
    for kind in KINDS:
        found = [f"{name or '(none)'} {n}" for name, n in _counted(clips, kind)]
        lines += _wrapped(f"{kind}s (clips)", found or ["none"])
    parts = [f"{name} {n}" for name, n in _counted(clips, "official") if name]
    lines += _wrapped("the data set's own parts (clips)", parts) if parts else []
    lines += ["licences:", *(f"  {line}" for line in corpus.licences or ("none are named",))]
    return "\n".join(lines)


def split_table(corpus: Corpus) -> list[str]:
    """Lines: clips, minutes and labels of each split, and what training shares with the others."""
    heading = (
        f"{'split':8}{'clips':>8}{'minutes':>10}{'subjects':>10}{'voices':>8}{'sentences':>11}{'emotions':>10}"
        f"{'shortest':>11}{'median':>9}{'longest s':>11}"
    )
    rows = [_row(split, corpus.split(split)) for split in SPLITS]
    return [heading, *rows, _row("all", corpus.clips), "", _shared(corpus)]


def _minutes(clips: Sequence[ClipInfo]) -> float:
    return sum(info.duration_s for info in clips) / 60


def _counted(clips: Sequence[ClipInfo], field: str) -> list[tuple[str, int]]:
    return sorted(Counter(getattr(info, field) for info in clips).items())


def _wrapped(title: str, items: Sequence[str]) -> list[str]:
    whole = [item.replace(" ", NO_BREAK) for item in items]
    text = f"{title.replace(' ', NO_BREAK)}: {', '.join(whole)}"
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


def _row(name: str, clips: Sequence[ClipInfo]) -> str:
    kinds = [len({getattr(info, field) for info in clips}) for field in ("subject", "voice", "sentence", "emotion")]
    lengths_s = np.array([info.duration_s for info in clips])
    ends = [lengths_s.min(), np.median(lengths_s), lengths_s.max()] if len(clips) else [0.0] * 3
    counts = "".join(f"{n:>{width}}" for n, width in zip(kinds, (10, 8, 11, 10), strict=True))
    return f"{name:8}{len(clips):>8}{_minutes(clips):>10.1f}{counts}{ends[0]:>11.2f}{ends[1]:>9.2f}{ends[2]:>11.2f}"


def shared_with_train(corpus: Corpus) -> dict[str, dict[str, set[str]]]:
    """val and test → label → values that are also in train, which flatters measures; only what is shared."""
    train = corpus.split("train")
    found: dict[str, dict[str, set[str]]] = {}
    for kind in ("subject", "voice", "sentence"):
        known = {getattr(info, kind) for info in train} - {""}
        for split in SPLITS[1:]:
            both = known & {getattr(info, kind) for info in corpus.split(split)}
            if both:
                found.setdefault(split, {})[kind] = both
    return found


def _shared(corpus: Corpus) -> str:
    found = shared_with_train(corpus)
    shared = [
        f"{split} has {len(found[split][kind])} {kind}{'s' if len(found[split][kind]) > 1 else ''}"
        for kind in ("subject", "voice", "sentence")
        for split in found
        if kind in found[split]
    ]
    return f"shared with train: {', '.join(shared)}" if shared else "shared with train: no subject, voice or sentence"


def _gaps(corpus: Corpus) -> str:
    missing, clips, frames = 0, 0, sum(info.n_frames for info in corpus.clips)
    for info in corpus.clips:
        valid = corpus.valid(info)
        lost = 0 if valid is None else int(np.count_nonzero(~valid))
        missing, clips = missing + lost, clips + (lost > 0)
    return f"gaps: {missing} of {frames} frames were not captured, in {clips} clips" if missing else "gaps: none"
