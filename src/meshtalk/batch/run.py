"""Batch animation of recordings into a folder, in parallel; finished outputs are not made again."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from meshtalk import parallel
from meshtalk.batch.ledger import Done, Ledger, sha256, stored_bytes
from meshtalk.batch.recordings import Recording, find_recordings
from meshtalk.batch.task import Animate, output_of, write
from meshtalk.errors import InputError
from meshtalk.files import write_json
from meshtalk.inference.animator import load_model
from meshtalk.outcomes import FAILED, KEPT, MADE, Outcome, told
from meshtalk.parallel import WorkerDied, check_workers, one_thread
from meshtalk.progress import Show, followed

REPORT, LOCK = "batch.json", ".batch.lock"
TOLD = 20
"""Lines of reasons in the printed report; the file has all."""


@dataclass(frozen=True)
class RecordingOutcome(Outcome):
    """Outcome of one recording."""

    output: str = ""
    duration_s: float = 0.0
    """Of the animation."""
    took_s: float = 0.0


@dataclass(frozen=True)
class Report:
    """Outcomes of all recordings, in order, saved in the output folder as batch.json; `str()` formats them for people."""

    folder: Path
    outcomes: tuple[RecordingOutcome, ...]
    took_s: float
    settings: Mapping[str, Any]
    """Settings of the outputs, as JSON."""

    @property
    def failed(self) -> tuple[RecordingOutcome, ...]:
        return self._of(FAILED)

    def _of(self, status: str) -> tuple[RecordingOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == status)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        counts = {status: len(self._of(status)) for status in (MADE, KEPT, FAILED)}
        how = {"took_s": round(self.took_s, 3), "settings": self.settings}
        return counts | how | {"recordings": [asdict(outcome) for outcome in self.outcomes]}

    def __str__(self) -> str:
        lines = [f"{'':6}  recordings  minutes of sound"]
        for status in (MADE, KEPT, FAILED):
            part = self._of(status)
            minutes = f"{sum(outcome.duration_s for outcome in part) / 60:16.1f}" if status != FAILED else f"{'-':>16}"
            lines.append(f"{status:6}  {len(part):10d}  {minutes}")
        sound_s = sum(outcome.duration_s for outcome in self._of(MADE))
        if sound_s:
            lines.append(f"{self.took_s / 60:.1f} min, {sound_s / self.took_s:.1f} times as fast as speech")
        odd = told(sorted(self.outcomes, key=lambda outcome: outcome.status != FAILED))
        lines += odd[:TOLD]
        if len(odd) > TOLD:
            lines.append(f"  … and {len(odd) - TOLD} more in {self.folder / REPORT}")
        # names of files need not be text
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def animate_all(
    inputs: Sequence[str | Path],
    folder: str | Path,
    suffix: str = ".npz",
    *,
    model: Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    look: Any = None,
    n_workers: int = 1,
    ray: bool = False,
    progress: Show | None = None,
) -> Report:
    """Animate every recording into `folder`, or resume an interrupted run.

    Each output has the bytes that `Animator.animate` and `Clip.save` give with these options on one thread, whatever the number of
    workers. It is made again if the recording, the model, an option or the version has changed, or if it is missing.
    A recording that cannot be animated is listed in the report and does not stop the others.

    Args:
        inputs: see `find_recordings`.
        suffix: of the outputs, see `meshtalk.export.EXPORTERS`.
        model: model folder; None is the packaged one.
        seed: of every recording's sampling.
        options: of `Animator.animate`.
        look: camera and light of pictures and films.
        n_workers: processes, each with its own model and about one core's work.
        ray: distribute the work with Ray Data, see `parallel.as_done_on_ray`.
        progress: called after every recording.

    Raises:
        InputError: inputs, options or outputs that cannot be used, a folder in which another batch is at work, or a full disk.
    """
    folder = Path(folder)
    check_workers(n_workers)
    recordings = find_recordings(inputs, folder)
    task = Animate(folder.resolve(), suffix, model and model.resolve(), device, seed, _absolute(options or {}), look)
    names = [output_of(recording, suffix) for recording in recordings]
    if REPORT in names:
        raise InputError(f"{recordings[names.index(REPORT)].path} would be written to {REPORT}, the report. Rename it.")
    settings = _tried(task)
    made_with = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another batch is at work in {folder}. Wait for its end, or choose another folder.") from None
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}. Choose another output.") from None
    with lock:
        _sweep(folder)
        with closing(Ledger(folder)) as ledger:
            return _run(task, recordings, names, ledger, made_with, settings, n_workers, ray, progress)


def _run(
    task: Animate,
    recordings: Sequence[Recording],
    names: Sequence[str],
    ledger: Ledger,
    made_with: str,
    settings: Mapping[str, Any],
    n_workers: int,
    ray: bool,
    progress: Show | None,
) -> Report:
    began = time.monotonic()
    outcomes: dict[int, RecordingOutcome] = {}
    for place, (recording, name) in enumerate(zip(recordings, names, strict=True)):
        if (entry := ledger.holds(name, recording.path, made_with)) is not None:
            outcomes[place] = RecordingOutcome(
                str(recording.path), KEPT, entry.note, name, entry.duration_s, entry.took_s
            )
    todo = [place for place in range(len(recordings)) if place not in outcomes]
    for name in {Path(names[place]).parent for place in todo}:
        _make(ledger.folder / name)
    share = parallel.as_done_on_ray if ray else parallel.as_done
    sound_s, failed = 0.0, 0

    def note() -> str:
        return f"{failed} failed, {sound_s / max(time.monotonic() - began, 1e-9):.1f} times as fast as speech"

    with closing(share(task, [recordings[place] for place in todo], n_workers)) as results:
        for index, result in followed(results, len(todo), "recordings", progress, note=note):
            place = todo[index]
            path, name = str(recordings[place].path), names[place]
            if isinstance(result, Outcome | WorkerDied):
                outcomes[place] = RecordingOutcome(path, FAILED, result.why)
                failed += 1
            else:
                ledger.add(Done(name, stored_bytes(ledger.folder / name), path, made_with=made_with, **asdict(result)))
                outcomes[place] = RecordingOutcome(path, MADE, result.note, name, result.duration_s, result.took_s)
                sound_s += result.duration_s
    took_s = time.monotonic() - began
    report = Report(ledger.folder, tuple(outcomes[place] for place in range(len(recordings))), took_s, settings)
    write_json(ledger.folder / REPORT, report.to_dict())
    return report


def _absolute(options: Mapping[str, Any]) -> dict[str, Any]:
    """Paths that mean the same in any process's folder."""
    return {name: value.resolve() if isinstance(value, Path) else value for name, value in options.items()}


def _tried(task: Animate) -> dict[str, Any]:
    """Settings of the outputs, verified by animating and writing a moment of silence, so that no option fails later."""
    animator = load_model(task.model, device=task.device)
    with tempfile.TemporaryDirectory(prefix="meshtalk-") as folder, one_thread():
        clip = animator.animate(np.zeros(1600, np.float32), 16000, seed=task.seed, **task.options)
        write(clip, Path(folder) / output_of(Recording(Path("trial"), "trial"), task.suffix), task.look)
    direction = task.options.get("direction")
    return {
        "meshtalk": version("meshtalk"),
        "model": animator.checkpoint.hash,
        "device": task.device,
        "format": task.suffix,
        "look": None if task.look is None else asdict(task.look),
        "seed": task.seed,
        "options": {
            name: {"file": value.name, "sha256": sha256(value)} if isinstance(value, Path) else value
            for name, value in task.options.items()
            if name != "direction"
        },
        "direction": None if direction is None else _plain(vars(direction)),
    }


def _plain(value: Any) -> Any:
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {folder}: {error.strerror}. Choose another output.") from None


def _sweep(folder: Path) -> None:
    """Remove partial files of a killed run; no other process writes here now."""
    for path in list(folder.rglob(".meshtalk-*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
