"""Splits of data that come without any: whole people are held out, by their names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

HELD_OUT = 0.1
"""Of all, for val, and as much for test."""
ENOUGH = 3
"""Of fewer nothing is held out: each split needs one."""


def hold_out(person_of: Mapping[str, str], enough_people: int) -> dict[str, str]:
    """Clip id → split, of clip id → person: people are held out, or single clips where there are fewer than `enough_people`.

    Who is held out follows from the names alone. Of fewer than ENOUGH all are for training.
    """
    by_people = len(set(person_of.values())) >= enough_people
    unit = {id: person if by_people else id for id, person in person_of.items()}
    order = sorted(set(unit.values()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held = max(1, round(HELD_OUT * len(order))) if len(order) >= ENOUGH else 0
    of = {name: "val" if k < held else "test" if k < 2 * held else "train" for k, name in enumerate(order)}
    return {id: of[name] for id, name in unit.items()}
