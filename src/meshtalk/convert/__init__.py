"""Public data sets and anybody's folders → a corpus. One file a data set; each only plans, `run` does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from meshtalk.convert import arkit, audio2face, biwi, folder, mead3d, multiface, vocaset
from meshtalk.convert.plan import Options, Plan

CONVERTERS: Mapping[str, Callable[[Path, Options], Plan]] = {
    "vocaset": vocaset.plan,
    "biwi": biwi.plan,
    "multiface": multiface.plan,
    "mead3d": mead3d.plan,
    "beat": arkit.beat,
    "arkit": arkit.arkit,
    "livelink": arkit.livelink,
    "audio2face": audio2face.plan,
    "folder": folder.plan,
}
"""Kind → (folder, what the user says) → plan."""
