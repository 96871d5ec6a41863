"""When the rows of a capture were taken: timecodes, time stamps of any unit, or frame numbers, and the rate found in them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from meshtalk.errors import InputError

RATES = (10, 12, 15, 24, 25, 30, 48, 50, 60, 90, 96, 100, 120, 240)
"""What timecodes count to and capture is made at, when it is one of these within NEAR."""
BROADCAST = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
NEAR = 0.03
USUAL = 60
"""Of timecodes from which nothing can be found."""
UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
"""Ticks a second of time stamps; whole numbers in steps of up to LARGEST_STEP are frame numbers."""
SLOWEST, FASTEST = 5, 250
LARGEST_STEP = 10
UNLIKELY = 0.01
"""Chance of lost rows that looks like drop-frame, from which on it is taken for that."""
DAY_S = 24 * 3600
LONGEST_S = 1e9
NAMED = {
    "timecode": ("timecode",),
    "time": (
        "time",
        "times",
        "timestamp",
        "seconds",
        "timems",
        "timestampms",
        "timeus",
        "timens",
        "milliseconds",
        "ms",
    ),
    "frame": ("frame", "frames", "framenumber", "frameid", "frameindex", "framenum"),
}
"""Columns that tell when, the most precise first; without signs and in lower case."""
_TIMECODE = re.compile(r"([0-9]{1,2})([:;])([0-9]{2})[:;]([0-9]{2})([:;])([0-9]{2,3}(?:[.,][0-9]+)?)")
_TIME = re.compile(r"(?:([0-9]+):)?([0-9]{1,2}):([0-9]{2}(?:[.,][0-9]+)?)")


@dataclass(frozen=True, eq=False)
class Clock:
    """What a file says of the times of its n rows."""

    seconds: np.ndarray
    """(n,) whole seconds of timecodes; or seconds; or frame numbers."""
    frames: np.ndarray | None = None
    """(n,) frames of timecodes, perhaps with a fraction."""
    dropping: bool = False
    """Timecodes leave out numbers, so that they keep up with the day at 29.97 or 59.94 frames per second."""
    counting: bool = False
    """`seconds` are frame numbers."""
    rate: Fraction | None = None
    """Told or found rows a second."""


def clock_column(names: Sequence[str]) -> int | None:
    """The column that tells when, by its name; None if none does."""
    plain = [re.sub("[^a-z]", "", name.lower()) for name in names]
    return next((k for known in NAMED.values() for k, name in enumerate(plain) if name in known), None)


def read_clock(texts: Sequence[str], name: str) -> Clock:
    """The clock that a column holds.

    Raises:
        InputError: a cell that is no time, or times of more than a lifetime.
    """
    found = [_TIMECODE.fullmatch(text.strip()) for text in texts]
    if any(found) and not all(found):
        row = found.index(None)
        raise InputError(f"row {row + 1}: {texts[row]!r} is no timecode. Write HH:MM:SS:FF.")
    if all(found):
        return _timecodes([match for match in found if match])
    values = [_seconds(text) for text in texts]
    if not all(map(math.isfinite, values)):
        row = next(k for k, value in enumerate(values) if not math.isfinite(value))
        raise InputError(f"row {row + 1}: {texts[row]!r} under {name} is no time. Write HH:MM:SS:FF or seconds.")
    return stamps(np.array(values))


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text.strip())
    try:
        if match is None:
            return float(text.replace(",", "."))
        return (int(match[1] or 0) * 60 + int(match[2])) * 60 + float(match[3].replace(",", "."))
    except ValueError:
        return math.nan


def stamps(values: np.ndarray) -> Clock:
    """The clock of (n,) numbers: seconds, milli-, micro- or nanoseconds, by which of them is a rate of capture; or frame numbers.

    Raises:
        InputError: they span more than a lifetime.
    """
    distinct, times = np.unique(values, return_counts=True)
    step, alike = _middle(np.diff(distinct)), _middle(times)
    whole = bool((values == np.round(values)).all())
    unit = next((unit for unit in UNITS if step and SLOWEST <= alike * unit / step < FASTEST), None)
    if unit is None and whole and 0 < step <= LARGEST_STEP:
        return Clock(np.round(values - values[0]), counting=True)
    seconds = (_apart(values) - values[0]) / (unit or 1)
    if np.ptp(seconds) > LONGEST_S:
        raise InputError("its times span more than a lifetime. Give seconds or milliseconds.")
    return Clock(seconds, rate=_rate_of(seconds))


def _timecodes(found: Sequence[re.Match[str]]) -> Clock:
    """The clock of timecodes, which go on over midnight.

    Raises:
        InputError: hours, minutes or seconds that no clock shows.
    """
    parts = np.array([[int(match[1]), int(match[3]), int(match[4])] for match in found])
    for row, (hour, minute, second) in enumerate(parts):
        if hour > 23 or minute > 59 or second > 59:
            raise InputError(f"row {row + 1}: {found[row][0]!r} is no timecode. Write HH:MM:SS:FF.")
    seconds = parts @ [3600, 60, 1]
    seconds = seconds + DAY_S * (seconds < seconds[0] - DAY_S / 2)
    frames = np.array([float(match[6].replace(",", ".")) for match in found])
    # a ; before the frames is how drop-frame is written; between all parts it is somebody's spelling
    dropping = all(match[5] == ";" and match[2] == ":" for match in found) or _skips_numbers(seconds, frames)
    return Clock(seconds.astype(float), frames, dropping)


def _skips_numbers(seconds: np.ndarray, frames: np.ndarray) -> bool:
    """Whether the first numbers of minutes are missing, but for every tenth one, more often than lost rows explain."""
    rows = np.unique(np.stack([seconds, np.floor(frames)], 1), axis=0)
    begins = np.concatenate([[False], np.diff(rows[:, 0]) == 1])
    minute = begins & (rows[:, 0] % 60 == 0) & (rows[:, 0] % 600 != 0)
    steps = np.diff(rows[:, 1])[np.diff(rows[:, 0]) == 0]
    lost = float((steps > _middle(steps)).mean()) if len(steps) else 1.0
    return bool((rows[minute, 1] >= 2).all() and minute.any() and lost ** minute.sum() < UNLIKELY)


def settled(clock: Clock, fps: Fraction | None, sound_s: float | None) -> Clock:
    """Timecodes as seconds with their rate; other clocks as they are.

    Args:
        fps: rate that the user gave, which tells 29.97 from 30, and what timecodes of less than a second count to.
        sound_s: length of the sound, which tells it too.
    """
    if clock.frames is None:
        return clock
    base = timebase(clock, fps, sound_s)
    dropping = clock.dropping and base % 30 == 0
    minutes = np.floor(clock.seconds / 60)
    skipped = (minutes - np.floor(minutes / 10)) * 2 * (base // 30) if dropping else 0.0
    exact = (fps is not None and fps.denominator == 1001) or dropping
    counted = _apart(clock.seconds * base + clock.frames - skipped)
    seconds = (counted - counted[0]) * (1.001 if exact else 1.0) / base
    return replace(clock, seconds=seconds, frames=None, rate=_rate_of(seconds, exact))


def timebase(clock: Clock, fps: Fraction | None = None, sound_s: float | None = None) -> int:
    """Number of frames that timecodes count in a second: found where one second ends and the next begins.

    Where a take does not tell, it is the rate that the user gave, else the one that fits the length of the sound.
    """
    assert clock.frames is not None
    rows = np.unique(np.stack([clock.seconds, clock.frames], 1), axis=0)
    seconds, frames = rows.T
    most = int(frames.max())
    steps, inside = np.diff(frames), np.diff(seconds) == 0
    step = _middle(steps[inside]) or 1.0
    # lost rows, and the numbers that drop-frame leaves out, make these smaller, nothing makes them larger
    ends = np.round(step - steps[np.diff(seconds) == 1]).astype(int)
    found = max(int(ends.max()) if len(ends) else 0, 0)
    asked = math.ceil(fps) if fps is not None and math.ceil(fps) > most else None
    if found:
        nearest = min(
            (rate for rate in (*RATES, found) if rate > most), key=lambda rate: abs(rate - found), default=most + 1
        )
        sure = found in RATES and found > most and Counter(ends.tolist())[found] > 2
        if asked is not None and not sure and (abs(found - asked) <= 0.1 * asked or found not in RATES):
            return asked
        return nearest if abs(nearest - found) <= 0.1 * nearest or found <= most else found
    if asked is not None:
        return asked
    fitting = [rate for rate in RATES if rate > most and rate >= 24] or [most + 1]
    if sound_s:
        span = (clock.seconds[-1] - clock.seconds[0], frames[-1] - frames[0] + step)
        return min(fitting, key=lambda rate: abs(math.log((span[0] + span[1] / rate) / sound_s)))
    return USUAL if USUAL in fitting else fitting[0]


def _middle(values: np.ndarray) -> float:
    """The lower middle value; 0 of none."""
    return float(np.sort(values)[(len(values) - 1) // 2]) if len(values) else 0.0


def _apart(values: np.ndarray) -> np.ndarray:
    """Values that several rows share, because the clock is coarser than the capture, as evenly as these rows were taken."""
    order = np.argsort(values, kind="stable")
    distinct, first, times = np.unique(values[order], return_index=True, return_counts=True)
    if len(distinct) < 2 or _middle(times) < 2:
        return values
    tick = _middle(np.diff(distinct))
    apart = np.array(values, float)
    for run in np.split(np.arange(len(distinct)), np.flatnonzero(np.diff(distinct) > 1.5 * tick) + 1):
        # the first and the last value may have been there before the first row and after the last one
        inner = run[1:-1] if len(run) > 2 else run
        every = tick * len(inner) / times[inner].sum()
        rows = np.arange(int(first[run[0]]), int(first[run[-1]] + times[run[-1]]))
        apart[order[rows]] = distinct[inner[0]] + (rows - first[inner[0]]) * every
    return apart


def _rate_of(seconds: np.ndarray, is_broadcast: bool | None = None) -> Fraction | None:
    """Rows a second where none are lost; None of a single row. Whether it is 29.97 rather than 30 may be known."""
    steps = np.diff(np.unique(seconds))
    middle = _middle(steps)
    if middle <= 0:
        return None
    rate = 1 / steps[np.abs(steps - middle) < middle / 2].mean()

    def off(known: int | Fraction) -> float:
        return abs(math.log(rate / known))

    whole, broadcast = min(RATES, key=off), min(BROADCAST, key=off)
    # rounded times of a short take do not tell 30 from 29.97
    is_broadcast = off(broadcast) < off(whole) / 3 if is_broadcast is None else is_broadcast
    nearest = broadcast if is_broadcast else whole
    if off(nearest) < NEAR:
        return Fraction(nearest)
    return Fraction(rate).limit_denominator(100 if rate > 1 else 10**6)
