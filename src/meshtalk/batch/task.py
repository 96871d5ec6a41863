"""Animation of one recording, in any process."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from meshtalk.batch.ledger import sha256
from meshtalk.batch.recordings import Recording
from meshtalk.clip import Clip
from meshtalk.errors import DiskError, InputError, reason_of
from meshtalk.export import SEQUENCES
from meshtalk.files import disk_errors
from meshtalk.inference.animator import Animator, load_model
from meshtalk.outcomes import FAILED, Outcome

_loaded = lru_cache(1)(load_model)


@dataclass(frozen=True)
class Made:
    """A finished output."""

    recording_bytes: int
    recording_mtime_ns: int
    recording_sha256: str
    duration_s: float
    """Of the animation."""
    took_s: float
    note: str


def output_of(recording: Recording, suffix: str) -> str:
    """Path of a recording's output in the output folder; a folder for formats with a file per frame."""
    return recording.name + suffix


def write(clip: Clip, output: Path, look: Any) -> None:
    """Write a clip to an `output_of`, replacing an existing one."""
    if output.suffix.lower() in SEQUENCES:
        shutil.rmtree(output, ignore_errors=True)
        output = output / f"%05d{output.suffix}"
    clip.save(output, look)


@dataclass(frozen=True)
class Animate:
    """Animates recordings into `folder`."""

    folder: Path
    suffix: str
    model: Path | None
    device: str
    seed: int
    options: dict[str, Any]
    """Of `Animator.animate`."""
    look: Any

    def __call__(self, recording: Recording) -> Made | Outcome:
        """Write the output atomically.

        Raises:
            InputError: the disk is full.
        """
        began = time.monotonic()
        animator: Animator = _loaded(self.model, device=self.device)
        try:
            with warnings.catch_warnings(record=True) as odd:
                warnings.simplefilter("always", UserWarning)
                stat = recording.path.stat() if recording.path.exists() else None
                clip = animator.animate(recording.path, seed=self.seed, **self.options)
                output = self.folder / output_of(recording, self.suffix)
                with disk_errors(output):
                    write(clip, output, self.look)
                digest = sha256(recording.path)
        except DiskError:
            raise
        except InputError as error:
            return Outcome(str(recording.path), FAILED, str(error))
        except Exception as error:  # files are damaged in many ways; the other recordings are none the worse for it
            why = f"it cannot be animated: {reason_of(error)}"
            return Outcome(str(recording.path), FAILED, why)
        assert stat is not None
        note = "; ".join(str(warning.message) for warning in odd if issubclass(warning.category, UserWarning))
        took_s = round(time.monotonic() - began, 3)
        return Made(stat.st_size, stat.st_mtime_ns, digest, round(clip.duration_s, 3), took_s, note)
