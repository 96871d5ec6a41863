"""Who is held out: whole people (or sentences, or voices), by their names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

HELD_OUT = 0.1
"""Of all, for val, and as much for test."""
ENOUGH = 3
"""Of fewer nothing is held out: each split needs one."""


def hold_out(
    person_of: Mapping[str, str],
    enough_people: int,
    *,
    val: float = HELD_OUT,
    test: float = HELD_OUT,
    seed: int = 0,
) -> dict[str, str]:
    """Clip id → split, of clip id → person: people are held out, or single clips where there are fewer than `enough_people`.

    Who is held out follows from the names and the seed alone. Of fewer than ENOUGH all are for training.

    Args:
        val, test: share of the people (or clips) for each, at least one of them unless the share is 0; one is always left for
            training.
    """
    by_people = len(set(person_of.values())) >= enough_people
    unit = {id: person if by_people else id for id, person in person_of.items()}
    salt = f"{seed}/" if seed else ""
    order = sorted(set(unit.values()), key=lambda name: hashlib.sha256((salt + name).encode()).hexdigest())
    n_val, n_test = (max(1, round(share * len(order))) if share > 0 else 0 for share in (val, test))
    while n_val + n_test >= len(order) >= ENOUGH:  # rounded shares may leave nobody for training: the larger gives way
        n_val, n_test = (n_val - 1, n_test) if n_val > n_test else (n_val, n_test - 1)
    if len(order) < ENOUGH:
        n_val = n_test = 0
    of = {name: "val" if k < n_val else "test" if k < n_val + n_test else "train" for k, name in enumerate(order)}
    return {id: of[name] for id, name in unit.items()}
