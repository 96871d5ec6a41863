"""The boundary of errors: the one exception that means "your input, not our bug", and what turns others into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

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


def harmless(text: str, kept: str = "") -> str:
    """Text without characters that a terminal would obey, or that cannot be written; those in `kept` stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """Text on one line, without characters that a terminal would obey."""
    return harmless(" ".join(text.split()))


class HarmlessStream:
    """A text stream on which names out of files give a terminal no orders; bytes written to its buffer stay as they are."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write harmless text; a bar's return to the beginning of its line is let through, and nothing else."""
        start = "\r" if text.startswith("\r") else ""
        self._stream.write(start + harmless(text[len(start) :], "\n\t"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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
