"""Disentanglement: which signal determines which region, measured by swapping audio or expression between clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.evaluation import baselines
from meshtalk.measures import metrics, sync, tracks
from meshtalk.mesh.topology import Topology


def swap_pairs(infos: Sequence[Any]) -> list[tuple[int, int]]:
    """A partner for every clip: another sentence, and another emotion where there is one.

    A clip swapped with its own sentence or emotion would show no natural change to compare with.
    """
    pairs = []
    for i, info in enumerate(infos):
        order = [(i + step) % len(infos) for step in range(1, len(infos))]
        told = [j for j in order if infos[j].sentence != info.sentence]
        both = [j for j in told if infos[j].emotion != info.emotion]
        partner = next(iter(both or told or order), None)
        if partner is not None:
            pairs.append((i, partner))
    return pairs


def common_length(a: Clip, b: Clip) -> tuple[Clip, Clip]:
    """Both clips cut to the shorter one's frames."""
    n_frames = min(a.n_frames, b.n_frames)
    return tracks.crop(a, n_frames), tracks.crop(b, n_frames)


class SwapTables(NamedTuple):
    """One system's changes under swaps, in two scales; rows audio, expression swapped; columns mouth, upper face."""

    table: np.ndarray
    """(2,2) `metrics.swap_table`."""
    shares: np.ndarray
    """(2,2) `metrics.swap_shares`."""


class Region:
    """`metrics.region_change_mm` of a named region, exact and cheap for clips of one basis and template.

    There a difference of motions is a difference of weights d, and its weighted squared norm is d·G·d with the
    Gram matrix G = Σ_v w_v B_v·B_vᵀ of the basis, made once.
    """

    def __init__(self, topology: Topology, name: str) -> None:
        weights = topology.region(name)
        self.inside = np.flatnonzero(weights > 0)
        self.weights = weights[self.inside].astype(np.float64)
        self._basis: np.ndarray | None = None
        self._gram = np.zeros((0, 0))

    def change_mm(self, one: Clip, two: Clip) -> float:
        """Root mean square over frames and vertices of the weighted difference of two clips' meshes, mm."""
        basis = one.basis if one.basis is two.basis and np.array_equal(one.template, two.template) else None
        if basis is None or one.weights is None or two.weights is None:
            a, b = tracks.positions(one, self.inside), tracks.positions(two, self.inside)
            return metrics.region_change_mm(a, b, self.weights)
        if self._basis is not basis:
            self._basis = basis
            parts = np.take(basis, self.inside, axis=1).astype(np.float64)
            self._gram = np.einsum("kvc,v,lvc->kl", parts, self.weights, parts, optimize=True)
        apart = np.subtract(one.weights, two.weights, dtype=np.float64)
        squared = np.einsum("tk,kl,tl->t", apart, self._gram, apart, optimize=True).mean()
        return float(np.sqrt(max(squared, 0.0) / self.weights.sum()) * metrics.MM)


class Changes(NamedTuple):
    """What swaps between one clip and its partner change, mm in each of mouth and upper face."""

    of: Mapping[str, Sequence[Sequence[float]]]
    """System → (2,2): sound swapped, expression swapped."""
    natural: Sequence[float]
    """(2,) from the clip's motion to the partner's."""
    own: Sequence[Sequence[float]] | None
    """(2,2) of the truth, if the corpus is linear."""


class Swapping:
    """Swaps between the clips of a corpus and their partners, one pair at a time."""

    def __init__(
        self, systems: Mapping[str, baselines.Swaps], corpus: baselines.ClipSource, infos: Sequence[Any]
    ) -> None:
        self.systems, self.corpus, self.infos = systems, corpus, infos
        self.pairs = swap_pairs(infos) if systems else []
        """Places in `infos`; none without systems or with fewer than two clips."""

    @cached_property
    def _regions(self) -> list[Region]:
        return [Region(self.corpus.topology, name) for name in ("mouth", "upper_face")]

    @cached_property
    def _whole(self) -> bool:
        return _is_linear(self.corpus.load(self.infos[0]))

    def _between(self, one: Clip, two: Clip) -> list[float]:
        return [region.change_mm(one, two) for region in self._regions]

    def changes(self, pair: tuple[int, int]) -> Changes:
        """For a pair (a, b) cut to equal length, on a's template.

        The system's own decoding of a against a with the sound of b, and against a with the expression of b. The natural
        change, the same for all, is from a's true motion to b's as a's face would make it. The truth's swaps exchange the
        speech and the expression that its clips were composed from (see `baselines.mixed`).
        """
        first, second = (self.infos[place] for place in pair)
        a, b = common_length(self.corpus.load(first), self.corpus.load(second))
        b_on_a = dataclasses.replace(b, template=a.template)
        found = {}
        for name, system in self.systems.items():
            base = system.swap(a, a)
            swaps = [system.swap(b_on_a, a), system.swap(a, b)]
            found[name] = [self._between(*tracks.aligned(other, base, name)) for other in swaps]
        if not self._whole:
            return Changes(found, self._between(b_on_a, a), None)
        other, swapped_audio, swapped_expression = (
            tracks.crop(baselines.mixed(self.corpus, said, meant, first), a.n_frames)
            for said, meant in ((second, second), (second, first), (first, second))
        )
        return Changes(
            found, self._between(other, a), [self._between(swapped_audio, a), self._between(swapped_expression, a)]
        )


def swap_tables(changes: Sequence[Changes]) -> tuple[dict[str, SwapTables], SwapTables | None]:
    """The tables of each system over all pairs, and those of the corpus itself if its clips are linear; none of no pairs."""
    if not changes:
        return {}, None
    natural = np.array([change.natural for change in changes])

    def tables(cells: Sequence[Any]) -> SwapTables:
        return SwapTables(metrics.swap_table(np.array(cells), natural), metrics.swap_shares(np.array(cells)))

    own = [change.own for change in changes if change.own is not None]
    return {name: tables([c.of[name] for c in changes]) for name in changes[0].of}, tables(own) if own else None


class Mixing(NamedTuple):
    """Does the mouth stay when the expression changes, and does the upper face follow it?"""

    mouth_r: float
    """Lowest correlation of lip opening between any two mixes of one sound."""
    upper_r: tuple[float, ...]
    """Per expression: correlation of the mix's upper face with the expression clip's own, both from the rest pose."""
    upper_change_r: tuple[float, ...]
    """The same about each one's mean: what is held does not count, so that a still clip has next to nothing to follow."""


def mixing(system: baselines.Swaps, speech: Clip, expressions: Sequence[Clip]) -> Mixing:
    """Mix one sound with several expressions, each over the frames that all clips share.

    Args:
        speech: gives sound and template.
        expressions: two clips at least; only their motion is used.

    Raises:
        InputError: fewer than two expressions.
    """
    if len(expressions) < 2:
        raise InputError(f"mixing needs at least two expressions, got {len(expressions)}")
    n_frames = min(clip.n_frames for clip in (speech, *expressions))
    said = tracks.crop(speech, n_frames)
    meant = [tracks.crop(clip, n_frames) for clip in expressions]
    mixes = [system.swap(said, clip) for clip in meant]
    openings = [tracks.opening_mm(clip) for clip in mixes]
    mouth = [sync.correlation(a, b) for i, a in enumerate(openings) for b in openings[i + 1 :]]
    where = speech.topology.indices("upper_face")
    moved = [
        [tracks.positions(clip, where) - clip.template[where] for clip in pair]
        for pair in zip(mixes, meant, strict=True)
    ]
    return Mixing(
        min(mouth),
        tuple(metrics.motion_correlation(*pair, centred=False) for pair in moved),
        tuple(metrics.motion_correlation(*pair) for pair in moved),
    )


def _is_linear(clip: Clip) -> bool:
    return clip.weights is not None and bool(clip.basis_names)
