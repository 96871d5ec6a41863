"""Training checkpoints: written atomically, two generations, verified when read."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from meshtalk.errors import InputError, reason_of
from meshtalk.files import atomic
from meshtalk.training.data import Say


@dataclass(frozen=True)
class Kept:
    """A checkpoint in memory."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    """Metadata beside the tensors."""


def previous(path: Path) -> Path:
    """Path of the checkpoint before the one at `path`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a checkpoint; the existing one becomes the previous one. At every moment one of the two is intact.

    Raises:
        InputError: the disk is full or fails; nothing has changed then.
    """
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    payload = save(copies, metadata={**metadata, "crc32": str(_checksum(copies, metadata))})
    with atomic(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())  # before the old one gives way
        if path.exists():
            path.replace(previous(path))


def read(path: Path, progress: Say) -> Kept | None:
    """The last intact checkpoint at `path`: the newest or, if that is damaged, the previous; None if there is none.

    Raises:
        InputError: all existing ones are damaged.
    """
    damage = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            kept = _read(candidate)
        except Exception as error:  # it is damaged, in whatever way; the one before it may be whole
            damage.append(f"{candidate} is damaged ({reason_of(error)})")
            continue
        if candidate != path:
            reason = damage[0] if damage else f"{path} is missing"
            progress(f"{reason}: training resumes from the previous checkpoint, step {kept.metadata.get('step')}")
        return kept
    if damage:
        raise InputError(
            f"{' and '.join(damage)}. Restore a copy, or delete it to train that stage again from its beginning."
        )
    return None


def _read(path: Path) -> Kept:
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        # in memory of their own: what is computed with may depend on how a tensor is aligned
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 it is no dict
    if "step" not in metadata:
        raise ValueError("it does not record its step")
    # those of older versions have none
    if (checksum := metadata.pop("crc32", None)) is not None and int(checksum) != _checksum(tensors, metadata):
        raise ValueError("its checksum differs")
    return Kept(tensors, metadata)


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    total = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.numpy().reshape(-1).view("u1").data, total)
    return total


def clean(*folders: Path) -> None:
    """Remove partial files of a killed process from folders that belong to this run alone."""
    for folder in folders:
        for path in folder.glob(".meshtalk-*"):
            path.unlink(missing_ok=True)
