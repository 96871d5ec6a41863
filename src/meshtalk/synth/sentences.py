"""Sentences of the embedded corpus, and their coverage of English diphones."""

from __future__ import annotations

import functools
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from meshtalk.synth.align import dictionary, language_model, words_of

COMMON_WORDS = 5000
"""The most probable words of the dictionary: the English whose diphones are counted."""
FREQUENT = 1e-4
"""A diphone is frequent when at least one in ten thousand of running speech is it."""


@functools.cache
def sentences() -> tuple[str, ...]:
    """The corpus's sentences, in a fixed order; every word is in the pronunciation dictionary."""
    text = (files("meshtalk.synth") / "sentences.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@dataclass(frozen=True)
class Coverage:
    """Phone and diphone coverage of a list of sentences, by the dictionary's first pronunciations."""

    phones: Mapping[str, int]
    """Occurrences of each of the dictionary's phones, 0 for those missing."""
    diphones: int
    """Different diphones, those across words included."""
    missing_frequent: tuple[str, ...]
    """Frequent diphones of English ("p-m") that no sentence has, most frequent first."""
    n_frequent: int
    """Frequent diphones of English."""
    mass: float
    """Share of the diphones of running English that the sentences have, in [0,1]."""


def coverage(texts: Iterable[str]) -> Coverage:
    """Count the phones and diphones of sentences and compare them with those of running English.

    Raises:
        InputError: pocketsphinx is not installed.
    """
    phones: Counter[str] = Counter(dict.fromkeys(_phone_set(), 0))
    said: set[tuple[str, str]] = set()
    for text in texts:
        spoken = [phone for word in words_of(text) for phone in dictionary()[word][0]]
        phones.update(spoken)
        said.update(itertools.pairwise(spoken))
    english = english_diphones()
    frequent = [pair for pair, share in english.items() if share >= FREQUENT]
    missing = sorted((p for p in frequent if p not in said), key=lambda p: -english[p])
    return Coverage(
        phones=dict(phones),
        diphones=len(said),
        missing_frequent=tuple("-".join(pair) for pair in missing),
        n_frequent=len(frequent),
        mass=sum(share for pair, share in english.items() if pair in said),
    )


@functools.cache
def _phone_set() -> frozenset[str]:
    return frozenset(phone for variants in dictionary().values() for variant in variants for phone in variant)


@functools.cache
def english_diphones() -> Mapping[tuple[str, str], float]:
    """Diphone → its share in running English, made from the common words' probabilities.

    Inside words by the words' own probability; across words as if neighbours were independent.
    """
    probability = language_model()
    common = sorted(dictionary(), key=probability, reverse=True)[:COMMON_WORDS]
    inside: dict[tuple[str, str], float] = defaultdict(float)
    first: dict[str, float] = defaultdict(float)
    last: dict[str, float] = defaultdict(float)
    total = sum(map(probability, common))
    for word in common:
        share, phones = probability(word) / total, dictionary()[word][0]
        first[phones[0]] += share
        last[phones[-1]] += share
        for pair in itertools.pairwise(phones):
            inside[pair] += share
    for (a, share_a), (b, share_b) in itertools.product(last.items(), first.items()):
        inside[a, b] += share_a * share_b
    everything = sum(inside.values())
    return {pair: share / everything for pair, share in inside.items()}
