"""Ownership of a corpus folder: finishing a corpus removes clips it does not list, so a maker may only resume its own.

Each maker leaves its report in the corpus. The report, or its placeholder until the corpus is finished, marks the folder
as that maker's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshtalk.errors import InputError
from meshtalk.files import Json, write_json


@dataclass(frozen=True)
class Maker:
    """A maker of corpora: its report's file name, and the kind that the report records."""

    report: str
    kind: str = ""
    """Empty for a maker that makes only one kind."""

    def check(self, root: Path, sources: Iterable[Path]) -> None:
        """Check that this maker may write to a folder.

        Raises:
            InputError: `root` lies in one of the `sources`, is a file, cannot be written, or holds anything but a
                corpus that this maker has started or finished.
        """
        for source in sources:
            if root.resolve().is_relative_to(source.resolve()):
                raise InputError(f"the corpus must be outside its source {source}, got {root}. Choose another folder.")
        if root.exists() and not root.is_dir():
            raise InputError(f"a corpus must be a folder, got the file {root}. Choose another folder.")
        if root.exists() and any(root.iterdir()) and self._kind_in(root) != self.kind:
            what = "of another maker, whose clips would be removed"
            if (root / self.report).is_file():
                what = f"of {self._kind_in(root) or 'another maker'}, whose clips would be removed"
            holds = f"is a corpus {what}" if (root / "manifest.json").exists() else "holds files that are not a corpus"
            raise InputError(f"{root} {holds}. Choose another folder.")
        present = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
        if not os.access(present, os.W_OK):
            raise InputError(f"cannot write a corpus in {root}. Choose another folder.")

    def begin(self, root: Path) -> None:
        """Create `root` and mark it as this maker's until its report is written."""
        root.mkdir(parents=True, exist_ok=True)
        if not (root / self.report).is_file():
            self.write_report(root, {"kind": self.kind} if self.kind else {})

    def write_report(self, root: Path, report: Mapping[str, Any]) -> None:
        """Write the report (JSON types)."""
        write_json(root / self.report, report)

    def _kind_in(self, root: Path) -> str | None:
        """The kind that the report in `root` records, "" if it records none; None if there is no report of this maker."""
        try:
            told: Json = json.loads((root / self.report).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(told.get("kind", "")) if isinstance(told, dict) else None
