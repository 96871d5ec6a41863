"""ARPAbet phones and the articulatory segments that a phone sequence consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshtalk.clip import Phone
from meshtalk.errors import InputError

SILENCE = "pau"
BILABIAL = frozenset({"p", "b", "m"})
LABIODENTAL = frozenset({"f", "v"})
MONOPHTHONGS = frozenset({"aa", "ae", "ah", "ao", "eh", "er", "ih", "iy", "uh", "uw"})
CONSONANTS = frozenset(
    {"b", "ch", "d", "dh", "f", "g", "hh", "jh", "k", "l", "m", "n", "ng", "p", "r", "s", "sh", "t", "th", "v"}
    | {"w", "y", "z", "zh"}
)

DIPHTHONGS: Mapping[str, float] = {"ay": 0.62, "aw": 0.60, "oy": 0.58, "ey": 0.50, "ow": 0.62}
"""The part of a diphthong's time that belongs to its start; its segments are named `ay1` and `ay2`."""

PHONES = MONOPHTHONGS | CONSONANTS | frozenset(DIPHTHONGS) | {SILENCE}
"""Phone names: ARPAbet's 39 and `pau`."""

VOWEL_SEGMENTS = MONOPHTHONGS | {name + half for name in DIPHTHONGS for half in "12"}
SEGMENTS: tuple[str, ...] = (*sorted(VOWEL_SEGMENTS), *sorted(CONSONANTS), SILENCE)
"""Names of segments: phones, of a diphthong its two halves."""


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one set of articulatory targets; a diphthong is two."""

    name: str
    start_s: float
    end_s: float

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
        if phone.name in DIPHTHONGS:
            turn_s = phone.start_s + DIPHTHONGS[phone.name] * (phone.end_s - phone.start_s)
            found += [
                Segment(phone.name + "1", phone.start_s, turn_s),
                Segment(phone.name + "2", turn_s, phone.end_s),
            ]
        else:
            found.append(Segment(phone.name, phone.start_s, phone.end_s))
    return tuple(found)
