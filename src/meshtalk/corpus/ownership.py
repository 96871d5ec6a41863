"""Whose folder is it? Finishing a corpus removes the clips it does not name, so nobody else's may be in the folder.

Each maker leaves its report in the corpus. The report, or what stands for it until the corpus is finished, says that
the maker may go on in the folder.
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
    """Who makes a corpus: a report's file name, and the kind that is told in it."""

    report: str
    kind: str = ""
    """Empty for a maker that makes only one kind."""

    def check(self, root: Path, sources: Iterable[Path]) -> None:
        """Refuse a folder in which this maker may not write.

        Raises:
            InputError: `root` lies in one of the `sources`, is a file, cannot be written, or holds anything but a
                corpus that this maker has begun or finished.
        """
        for source in sources:
            if root.resolve().is_relative_to(source.resolve()):
                raise InputError(f"{root} lies in the source's own folder {source} : choose another one for the corpus")
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} is a file, and a corpus is a folder : choose another folder")
        if root.exists() and any(root.iterdir()) and self._kind_in(root) != self.kind:
            what = "of something else, whose clips would be removed"
            if (root / self.report).is_file():
                what = f"of {self._kind_in(root) or 'something else'}, whose clips would be removed"
            holds = f"is a corpus {what}" if (root / "manifest.json").exists() else "holds something that is no corpus"
            raise InputError(f"{root} {holds} : choose another folder")
        present = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
        if not os.access(present, os.W_OK):
            raise InputError(f"cannot write a corpus in {root} : choose another folder")

    def begin(self, root: Path) -> None:
        """Mark `root` as this maker's until its report is there; makes the folder."""
        root.mkdir(parents=True, exist_ok=True)
        if not (root / self.report).is_file():
            self.tell(root, {"kind": self.kind} if self.kind else {})

    def tell(self, root: Path, report: Mapping[str, Any]) -> None:
        """Write the report, JSON types."""
        write_json(root / self.report, report)

    def _kind_in(self, root: Path) -> str | None:
        """The kind that the report in `root` tells, "" if it tells none; None if there is no report of this maker."""
        try:
            told: Json = json.loads((root / self.report).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(told.get("kind", "")) if isinstance(told, dict) else None
