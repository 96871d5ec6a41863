"""The boundary of errors: the one exception that means "your input, not our bug", and what turns others into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MISSING = (FileNotFoundError, NotADirectoryError)
"""How a file that is not there is told."""
LONGEST_REASON = 300
"""Characters of another library's message that are passed on."""


class InputError(ValueError):
    """Bad input. The message says what must be, what was got and what to try: `n must be positive, got -1. Try 5.`

    The command line prints the message alone, on one line, and exits with code 2; library users may catch ValueError.
    """


class DiskError(InputError):
    """A full or failing disk: what is wrong with every output, not with one input of many."""


def one_line(text: str) -> str:
    """Text on one line, without characters that a terminal would obey."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)


def shortened(text: str, most: int) -> str:
    """Text of at most so many characters, and a sign that there were more."""
    return text if len(text) <= most else text[: most - 2] + " …"


def reason_of(error: BaseException) -> str:
    """What an exception says, on one line: the system's word for a file that cannot be opened, else its kind and message."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    said = shortened(one_line(str(error)), LONGEST_REASON)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def reading(what: str, advice: str, *passing: type[Exception]) -> Iterator[None]:
    """Whatever fails within means that a file is damaged: `{what} ({reason}). {advice}`

    Files are damaged in more ways than any list of exceptions holds: JSON nested too deep, numbers too large, archives that lie.
    An InputError passes, and so do those in `passing`, such as MISSING where a missing file is no damage.

    Raises:
        InputError: anything else was raised within.
    """
    try:
        yield
    except (InputError, *passing):
        raise
    except Exception as error:
        raise InputError(f"{what} ({reason_of(error)}). {advice}") from error
