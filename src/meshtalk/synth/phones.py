"""Articulatory targets of ARPAbet phones: gesture weights, their dominance, and constrictions.

Targets are weights of gestures (see GESTURES), each with a dominance: a phone without an opinion on a gesture
is nearly transparent there and its neighbours shine through (Cohen & Massaro, "Modeling coarticulation in
synthetic visual speech", 1993). Values are our own, tuned by eye on the project's head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshtalk.clip import Phone
from meshtalk.errors import InputError

GESTURES: tuple[str, ...] = ("jaw", "pucker", "funnel", "stretch", "lower", "upper", "tongue")
"""Jaw drop, lip protrusion, lip rounding, lip spreading, lower lip down, upper lip up, tongue forward."""

SILENCE = "pau"
BILABIAL = frozenset({"p", "b", "m"})
LABIODENTAL = frozenset({"f", "v"})
VOWELS = frozenset({"aa", "ae", "ah", "ao", "aw", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"})

TRANSPARENT = 0.08
"""Dominance of a phone over a gesture it does not care about."""


@dataclass(frozen=True)
class Target:
    """Where a phone wants a gesture to be (weight) and how strongly (dominance, 1 = a full vowel's jaw)."""

    value: float
    dominance: float


def _phone(jaw: float, jaw_dominance: float = 1.0, **others: tuple[float, float]) -> Mapping[str, Target]:
    return {"jaw": Target(jaw, jaw_dominance)} | {k: Target(*v) for k, v in others.items()}


def _open(
    jaw: float, stretch: float, lower: float, upper: float, dominance: float = 0.7, jaw_dominance: float = 1.0
) -> Mapping[str, Target]:
    """An unrounded vowel: lips apart and more or less spread, rounding actively undone."""
    return _phone(
        jaw,
        jaw_dominance,
        pucker=(0.0, dominance),
        funnel=(0.0, dominance),
        stretch=(stretch, dominance),
        lower=(lower, 0.6),
        upper=(upper, 0.6),
    )


def _round(
    jaw: float, pucker: float, funnel: float, dominance: float, jaw_dominance: float = 1.0
) -> Mapping[str, Target]:
    """A rounded sound: protruded, not spread, lips not lifted off the teeth."""
    return _phone(
        jaw,
        jaw_dominance,
        pucker=(pucker, dominance),
        funnel=(funnel, dominance),
        stretch=(0.0, dominance),
        lower=(0.04, 0.5),
        upper=(0.03, 0.5),
    )


TARGETS: Mapping[str, Mapping[str, Target]] = {
    # vowels, open to close
    "aa": _open(0.58, 0.00, 0.12, 0.06),
    "ae": _open(0.46, 0.32, 0.30, 0.28, dominance=0.8),
    "ah": _open(0.34, 0.06, 0.16, 0.08, dominance=0.5, jaw_dominance=0.85),
    "eh": _open(0.34, 0.28, 0.28, 0.22),
    "ih": _open(0.19, 0.28, 0.28, 0.20, dominance=0.6, jaw_dominance=0.85),
    "iy": _open(0.11, 0.52, 0.42, 0.28, dominance=1.0, jaw_dominance=1.3),
    "ao": _round(0.46, 0.18, 0.45, 1.1),
    "oh": _round(0.32, 0.45, 0.50, 1.3),
    "uh": _round(0.20, 0.42, 0.28, 1.0),
    "uw": _round(0.11, 0.78, 0.20, 1.7, jaw_dominance=1.3),
    "er": _round(0.18, 0.28, 0.36, 0.9),
    # glides and liquids
    "w": _round(0.07, 0.80, 0.12, 2.4, jaw_dominance=1.8),
    "r": _round(0.13, 0.34, 0.32, 1.2, jaw_dominance=1.2),
    "y": _open(0.10, 0.42, 0.28, 0.12, dominance=0.7, jaw_dominance=1.3),
    "l": _phone(0.19, 0.9, lower=(0.24, 0.5), upper=(0.10, 0.5), tongue=(0.10, 0.8)),
    # fricatives and affricates: the teeth come together and are seen
    "s": _phone(0.05, 3.0, stretch=(0.30, 0.6), lower=(0.50, 1.0), upper=(0.32, 1.0)),
    "sh": _phone(
        0.06,
        2.8,
        pucker=(0.22, 1.2),
        funnel=(0.45, 1.5),
        stretch=(0.0, 0.8),
        lower=(0.22, 0.8),
        upper=(0.16, 0.8),
    ),
    "th": _phone(0.14, 1.6, stretch=(0.06, 0.3), lower=(0.36, 0.8), upper=(0.22, 0.8), tongue=(0.40, 1.5)),
    "f": _phone(0.07, 2.0, pucker=(0.0, 0.3), stretch=(0.08, 0.3), lower=(0.0, 1.2), upper=(0.2, 1.2)),
    "hh": _phone(0.22, 0.25, lower=(0.20, 0.3), upper=(0.10, 0.3)),
    # stops and nasals
    "t": _phone(0.11, 1.7, stretch=(0.10, 0.15), lower=(0.36, 0.6), upper=(0.20, 0.6)),
    "k": _phone(0.18, 0.8, lower=(0.26, 0.4), upper=(0.10, 0.4)),
    "p": _phone(0.10, 1.0, lower=(0.05, 0.5), upper=(0.03, 0.5)),
    # a short pause: relaxed, lips a little apart
    SILENCE: _phone(0.06, 0.6, stretch=(0.0, 0.3), lower=(0.08, 0.5), upper=(0.03, 0.5)),
}

_SAME = {
    "z": "s", "zh": "sh", "ch": "sh", "jh": "sh", "dh": "th", "v": "f",
    "d": "t", "n": "t", "g": "k", "ng": "k", "b": "p", "m": "p",
}  # fmt: skip

_DIPHTHONGS: Mapping[str, tuple[str, str, float]] = {
    "ay": ("aa", "ih", 0.62),
    "aw": ("aa", "uw", 0.60),
    "oy": ("ao", "ih", 0.58),
    "ey": ("eh", "iy", 0.50),
    "ow": ("oh", "uw", 0.62),
}
"""Start, end and the part of the time that belongs to the start."""

PHONES = frozenset(TARGETS) - {"oh"} | frozenset(_SAME) | frozenset(_DIPHTHONGS)
"""Phone names: ARPAbet's 39 and `pau`."""


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one set of targets; a diphthong is two."""

    name: str
    start_s: float
    end_s: float
    targets: Mapping[str, Target]

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def segments(phones: Sequence[Phone]) -> tuple[Segment, ...]:
    """The articulatory segments of a phone sequence, in order.

    Raises:
        InputError: a name that is not in PHONES, a phone that ends before it starts, or phones out of order.
    """
    found: list[Segment] = []
    previous_s = 0.0
    for phone in phones:
        if phone.name not in PHONES:
            raise InputError(f"phones must be ARPAbet in lower case without stress digits, got {phone.name!r}")
        if not previous_s - 1e-6 <= phone.start_s <= phone.end_s:
            raise InputError(
                f"phones must be in order and not overlap, got {phone.name!r} from {phone.start_s} to {phone.end_s} s after"
                f" one that ends at {previous_s} s"
            )
        previous_s = phone.end_s
        if phone.name in _DIPHTHONGS:
            first, second, part = _DIPHTHONGS[phone.name]
            middle_s = phone.start_s + part * (phone.end_s - phone.start_s)
            found.append(Segment(phone.name, phone.start_s, middle_s, TARGETS[first]))
            found.append(Segment(phone.name, middle_s, phone.end_s, TARGETS[second]))
        else:
            targets = TARGETS[_SAME.get(phone.name, phone.name)]
            found.append(Segment(phone.name, phone.start_s, phone.end_s, targets))
    return tuple(found)
