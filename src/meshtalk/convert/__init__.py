"""Converters of public data sets and folders to corpora. One module per data set makes a plan; `run` executes it."""

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
"""Kind → planner: (folder, options) → plan."""
