"""Fitted articulation: where phones want jaw and lips to be, how strongly, and how fast they get there.

The numbers are data, `assets/articulation.json`, written by `tools/fit_articulation.py` from tracked speech of people;
the file names its source, licence and date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meshtalk import assets
from meshtalk.synth.phones import SEGMENTS, VOWEL_SEGMENTS

ARTICULATORS = ("lips", "width", "jaw", "tongue")
"""Gap between the lips, distance of the mouth's corners from where they rest, drop of the chin, all in 1/100 of the
distance between the outer corners of the eyes; and the tongue's way forward, 0 to 1."""

PATH = Path(assets.__file__).with_name("articulation.json")


@dataclass(frozen=True)
class Articulation:
    """Parameters of the dominance model: P segments' names, V articulators, two classes (consonants, vowels)."""

    target: Tensor
    """(P,V)"""
    dominance: Tensor
    """(P,V) natural logarithm."""
    before_hz: Tensor
    """(2,V) how fast a segment's dominance rises before it, 1/s: anticipation is long where it is small."""
    after_hz: Tensor
    """(2,V) how fast it falls after it."""
    duration: Tensor
    """(V,) exponent of a segment's length over 90 ms in its dominance."""
    lead_s: Tensor
    """(V,) how much earlier than its sound an articulator moves."""
    inertia_s: Tensor
    """(V,) deviation of the Gaussian that smooths an articulator's way."""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Articulation:
        """From the content of the file."""
        phones, timing = content["phones"], content["timing"]
        table = torch.tensor([[phones[name][part] for part in ARTICULATORS] for name in SEGMENTS], dtype=torch.float64)
        rows = {key: torch.tensor(value, dtype=torch.float64) for key, value in timing.items()}
        return cls(target=table[..., 0], dominance=table[..., 1], **rows)

    def content(self) -> dict[str, Any]:
        """What `parse` reads."""
        table = torch.stack([self.target, self.dominance], -1)
        phones = {
            name: {part: [round(x, 4) for x in table[k, v].tolist()] for v, part in enumerate(ARTICULATORS)}
            for k, name in enumerate(SEGMENTS)
        }
        timing = {
            key: [[round(x, 5) for x in row] if isinstance(row, list) else round(row, 5) for row in value.tolist()]
            for key, value in vars(self).items()
            if key not in ("target", "dominance")
        }
        return {"phones": phones, "timing": timing}


@cache
def fitted() -> Articulation:
    """The parameters in the package."""
    return Articulation.parse(json.loads(PATH.read_text(encoding="utf-8")))


IS_VOWEL = torch.tensor([int(name in VOWEL_SEGMENTS) for name in SEGMENTS])
