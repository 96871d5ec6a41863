"""Outcomes of work on many items, and reports of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MADE, KEPT, FAILED, DROPPED = "made", "kept", "failed", "dropped"
SHOWN = 8
"""Names or words that a printed report lists of each kind; its JSON has all."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one item."""

    item: str
    status: str
    """MADE; KEPT: it was there already; FAILED or DROPPED: there is nothing of it."""
    why: str = ""
    """Why it failed, or what was odd about it."""


def told(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for each status and reason; a reason ends at its first colon, what follows is told where it is of one item alone."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        if one.why:
            groups.setdefault((one.status, one.why.split(": ")[0]), []).append(one)
    return [
        f"  {status} {some[0].item}: {some[0].why}"
        if len(some) == 1
        else f"  {status} {len(some)} ({reason}): {some_of([one.item for one in some])}"
        for (status, reason), some in groups.items()
    ]


def some_of(names: Sequence[str]) -> str:
    """The first SHOWN in one line, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
