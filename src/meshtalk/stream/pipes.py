"""Standard input and output as unbuffered binary pipes."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from meshtalk.errors import InputError

EXAMPLES = (
    "`ffmpeg -i talk.mp3 -f s16le -ac 1 -ar 16000 - | meshtalk stream` or "
    "`arecord -t raw -f S16_LE -r 16000 -c 1 | meshtalk stream --live --vmc 127.0.0.1:39539`"
)


def standard_input() -> Any:
    """Standard input without a buffer: a thread that reads it holds no lock that the interpreter's end would wait for.

    Raises:
        InputError: it is closed or a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(f"standard input must be raw 16-bit PCM. Pipe some, e.g. {EXAMPLES}.")
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def standard_output(binary: bool) -> Any:
    """Standard output without a buffer.

    Raises:
        InputError: it is closed, or a terminal that would get binary.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed. Open it for the frames.")
    if binary and sys.stdout.isatty():
        raise InputError("binary vertices cannot be written to a terminal. Pipe or redirect standard output.")
    return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)


def say(sentence: str) -> None:
    """Print a sentence on standard error, where it does not mix with frames."""
    print(f"meshtalk: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def ends_quietly() -> Iterator[None]:
    """Map the ordinary ends of a live stream to exit codes: 0 when the reader closes the pipe, 130 for Ctrl-C."""
    try:
        yield
    except BrokenPipeError:
        say("standard output was closed by its reader")
    except KeyboardInterrupt:
        say("stream interrupted")
        raise SystemExit(130) from None


def read_some(source: Any, n_bytes: int) -> bytes:
    """Available bytes, at most `n_bytes`; empty at the end."""
    read = getattr(source, "read1", source.read)  # a buffered file's `read` would wait for all of it
    while (data := read(n_bytes)) is None:  # a non-blocking pipe
        select.select([source], [], [])
    return data


def write_all(output: Any, data: bytes) -> None:
    """Write all bytes; blocks while the reader is slow."""
    rest = memoryview(data)
    while rest:
        written = output.write(rest)
        if written is None:  # a non-blocking pipe
            select.select([], [output], [])
        else:
            rest = rest[written:]
    output.flush()
