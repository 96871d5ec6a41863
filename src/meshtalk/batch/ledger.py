"""Ledger of finished outputs: a line is appended for each, so that a killed run loses none of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from meshtalk.files import atomic

LEDGER = ".batch.jsonl"


@dataclass(frozen=True)
class Done:
    """An output, and everything that determines it."""

    output: str
    """Below the output folder."""
    output_bytes: int
    recording: str
    recording_bytes: int
    recording_mtime_ns: int
    recording_sha256: str
    made_with: str
    """Digest of model, options, format and version."""
    duration_s: float
    """Of the animation."""
    took_s: float
    note: str = ""
    """Note on defects of the recording."""


def sha256(path: Path) -> str:
    """Hex digest of a file, which is read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def stored_bytes(output: Path) -> int:
    """Size of a file, or of all files of a folder.

    Raises:
        OSError: it is not there.
    """
    return sum(file.stat().st_size for file in output.iterdir()) if output.is_dir() else output.stat().st_size


class Ledger:
    """The finished outputs of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LEDGER
        self.entries: dict[str, Done] = {}
        """By output; of several lines about one, the last."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                entry = Done(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the line at which a run was killed: its output is made again
            self.entries[entry.output] = entry
        # whole lines alone, so that the next one is appended to none that was interrupted
        with atomic(self.path) as temporary:
            temporary.write_text("".join(_line(entry) for entry in self.entries.values()), encoding="utf-8")
        self._stream = open(self.path, "a", encoding="utf-8")  # noqa: SIM115

    def close(self) -> None:
        self._stream.close()

    def add(self, entry: Done) -> None:
        """An output is whole."""
        self.entries[entry.output] = entry
        self._stream.write(_line(entry))
        self._stream.flush()

    def holds(self, output: str, recording: Path, made_with: str) -> Done | None:
        """The entry of an output that is there and would be made the same again; else None.

        A recording that was touched is read, and counts as the same if its content is.
        """
        entry = self.entries.get(output)
        if entry is None or entry.made_with != made_with:
            return None
        try:
            if stored_bytes(self.folder / output) != entry.output_bytes:
                return None
            now = recording.stat()
            if now.st_size != entry.recording_bytes:
                return None
            same = now.st_mtime_ns == entry.recording_mtime_ns or sha256(recording) == entry.recording_sha256
        except OSError:
            return None
        return entry if same else None


def _line(entry: Done) -> str:
    return json.dumps(asdict(entry)) + "\n"
