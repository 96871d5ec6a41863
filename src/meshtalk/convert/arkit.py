"""Captures of ARKit blendshape weights (BEAT's JSON, Live Link Face's CSV, and similar) on a head with those shapes."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.arkit.names import FEWEST_SHAPES, NAMES, spelled
from meshtalk.convert.plan import Capture, Job, Options, Plan, name_of, read_sound, sound_beside
from meshtalk.convert.vertices import spread
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.mesh.units import find_space, find_topology

FPS = 60
TIMES = ("time", "timestamp", "time_s", "seconds")
"""Columns of seconds."""
TIMECODE = "timecode"
DAY_S = 24 * 3600
WITHOUT_NAMES = tuple(sorted(set(NAMES) - {"tongueOut"}))
"""Of a BEAT frame's 51 weights."""
Rows = tuple[Sequence[str], np.ndarray, np.ndarray]
"""(N names, (n,N) weights, (n,) frame number of each row, rising from 0)."""


def beat(source: Path, options: Options) -> Plan:
    """BEAT (Liu et al. 2022): NAME.json beside NAME.wav."""
    return _plan("beat", source, options, {".json": _read_beat})


def arkit(source: Path, options: Options) -> Plan:
    """Any JSON with names and frames, any CSV with ARKit's names over its columns."""
    return _plan("arkit", source, options, {".json": read_json, ".csv": read_csv})


def livelink(source: Path, options: Options) -> Plan:
    """Live Link Face's CSV with its timecodes, beside its video or a WAV."""
    return _plan("livelink", source, options, {".csv": _read_livelink})


def _plan(kind: str, source: Path, options: Options, readers: dict[str, Callable[[Path, Fraction], Rows]]) -> Plan:
    """Every file of these suffixes, on a face of its own for each speaker.

    Raises:
        InputError: no files, or a given mesh without ARKit's shapes.
    """
    fps = options.rate(FPS, kind)
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in readers and path.is_file())
    speakers = sorted({_speaker(path, source) for path in paths})
    if options.topology is None and options.template is None:
        topology, space_note = (
            load_head().topology,
            "the packaged head moves, with another of its people for each speaker",
        )
        people = load_head().people
        faces = {s: people[k] if k < len(people) else load_head().person(k) for k, s in enumerate(speakers)}
        subjects = {speaker: face.name for speaker, face in faces.items()}
        templates = {face.name: face.template for face in faces.values()}
        gains = {face.name: face.gains for face in faces.values()}
    else:
        topology, neutral = find_topology(options.template, options.topology, kind)
        if topology.shapes is None or neutral is None:
            raise InputError(
                f"{kind} files hold ARKit weights. Give --topology FACE.npz with ARKit's shapes and --template, its neutral"
                " face, or neither of them for the packaged head."
            )
        space = find_space(neutral, options.unit, options.axes, default="m", kind=kind)
        subjects = dict.fromkeys(speakers, "face")
        templates = {"face": space.apply(neutral)}
        gains = {"face": np.ones(len(topology.shape_names), np.float32)}
        space_note = "the given mesh moves"
    shapes = topology.shape_names
    if len({spelled(name) for name in shapes} & {spelled(name) for name in NAMES}) < FEWEST_SHAPES:
        raise InputError(f"the given mesh has no ARKit shapes; it has: {', '.join(shapes)[:100] or 'none'}")
    jobs = []
    for path in paths:
        speaker, sound = _speaker(path, source), sound_beside(path.with_suffix(""))
        jobs.append(
            Job(
                id=name_of(*path.relative_to(source).with_suffix("").parts),
                subject=subjects[speaker],
                read=partial(_read, path, readers[path.suffix.lower()], shapes, fps, sound),
                sources=(path, *([sound] if sound else [])),
                voice=speaker,
                sentence=path.stem,
            )
        )
    return Plan(
        kind=kind,
        topology=topology,
        fps=fps,
        jobs=tuple(jobs),
        templates=templates,
        licence=f"data: {kind} recordings, under their own licence, and this corpus with them",
        gains=gains,
        notes=(space_note,),
    )


def _speaker(path: Path, source: Path) -> str:
    """Of BEAT's names, such as 1_wayne_0_1_1, the person's; else the folder's."""
    named = re.match(r"[0-9]+_([A-Za-z]+)_[0-9]", path.stem)
    folder = path.parent.relative_to(source)
    return named[1] if named else name_of(*folder.parts) if folder.parts else "speaker"


def _read(
    path: Path, reader: Callable[[Path, Fraction], Rows], shapes: Sequence[str], fps: Fraction, sound: Path | None
) -> Capture:
    names, weights, index = reader(path, fps)
    column = {spelled(name): k for k, name in enumerate(names)}
    known = [(k, column[spelled(shape)]) for k, shape in enumerate(shapes) if spelled(shape) in column]
    if len(known) < FEWEST_SHAPES:
        raise InputError(f"it must have ARKit's names, got {len(known)} of the head's shapes")
    motion = np.zeros((len(weights), len(shapes)), np.float32)
    ours, theirs = np.array(known).T
    motion[:, ours] = weights[:, theirs]
    return Capture(spread(motion, index), *read_sound(sound, path.stem))


def read_json(path: Path, fps: Fraction, names: Sequence[str] | None = None) -> Rows:
    """{"names": […], "frames": [{"weights": […], "time": seconds}, …]}; without times, frame after frame.

    Raises:
        InputError: damaged, of another form, or without names where none are known.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path} is damaged, or no JSON") from None
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{path} has no "frames"')
    said = content.get("names", names)
    if not isinstance(said, Sequence) or isinstance(said, str) or not all(isinstance(name, str) for name in said):
        raise InputError(f'{path} has no "names" of its weights')
    try:
        weights = np.array([frame["weights"] for frame in frames], np.float32)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise InputError(f"{path} has frames without weights, or with weights that are no numbers") from None
    if weights.shape != (len(frames), len(said)):
        raise InputError(f"{path} has weights of shape {weights.shape} for {len(said)} names")
    times = [frame.get("time") for frame in frames]
    if all(isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time) for time in times):
        return _timed(said, weights, np.array([Fraction(time) for time in times]), fps, path)
    return said, weights, np.arange(len(frames))


def _read_beat(path: Path, fps: Fraction) -> Rows:
    return read_json(path, fps, WITHOUT_NAMES)


def read_csv(path: Path, fps: Fraction) -> Rows:
    """A line of names, then a line of numbers a frame; a column of timecodes or of seconds tells when, if there is one.

    Raises:
        InputError: damaged, or a line that does not fit the first one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error):
        raise InputError(f"{path} is damaged, or no CSV") from None
    if len(table) < 2:
        raise InputError(f"{path} has no rows")
    head = [cell.strip() for cell in table[0]]
    lowered = [cell.lower() for cell in head]
    clock = next((k for k, name in enumerate(lowered) if name in (TIMECODE, *TIMES)), None)
    columns = [k for k in range(len(head)) if k != clock]
    weights = np.full((len(table) - 1, len(columns)), np.nan, np.float32)
    times: list[Fraction] = []
    for number, row in enumerate(table[1:]):
        if len(row) != len(head):
            raise InputError(f"{path}, row {number + 1}: {len(row)} cells under {len(head)} names")
        if clock is not None:
            at = timecode_s(row[clock], fps) if lowered[clock] == TIMECODE else _seconds(row[clock])
            if at is None:
                raise InputError(
                    f"{path}, row {number + 1}: {row[clock]!r} is no {head[clock]} at {float(fps):g} frames per second"
                )
            times.append(at)
        weights[number] = [_float(row[k]) for k in columns]
    names = [head[k] for k in columns]
    if clock is None:
        return names, weights, np.arange(len(weights))
    moments = np.array(times)
    if lowered[clock] == TIMECODE:  # midnight may have passed
        day = DAY_S * math.ceil(fps) / fps
        moments = np.array([moment + (day if moment < moments[0] - day / 2 else 0) for moment in moments])
    return _timed(names, weights, moments, fps, path)


def _read_livelink(path: Path, fps: Fraction) -> Rows:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline().split(",")[0].strip().lower()
    if first != TIMECODE:
        raise InputError(f"{path} is no Live Link Face CSV: its first column is not Timecode")
    return read_csv(path, fps)


def timecode_s(text: str, fps: Fraction) -> Fraction | None:
    """HH:MM:SS:FF or HH:MM:SS:FF.mmm as seconds of the day, FF counting frames at the rate that `fps` is named after.

    None if it is no time.
    """
    match = re.fullmatch(r"\s*([0-9]{1,2}):([0-9]{2}):([0-9]{2}):([0-9]{2,3}(?:\.[0-9]+)?)\s*", text)
    if match is None:
        return None
    hours, minutes, seconds = (int(match[k]) for k in (1, 2, 3))
    frames, nominal = Fraction(match[4]), math.ceil(fps)
    if hours > 23 or minutes > 59 or seconds > 59 or frames >= nominal:
        return None
    # at 29.97 the clock of a timecode runs at 30 frames per second of its own
    return (((hours * 60 + minutes) * 60 + seconds) * nominal + frames) / fps


def _seconds(text: str) -> Fraction | None:
    value = _float(text)
    return Fraction(value) if math.isfinite(value) else None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _timed(names: Sequence[str], weights: np.ndarray, moments: np.ndarray, fps: Fraction, path: Path) -> Rows:
    """Rows in order of their times, at the nearest frame after the first one; of two at one frame the first stays.

    Raises:
        InputError: times that do not go with the frame rate.
    """
    order = np.argsort(moments, kind="stable")
    try:
        index = np.array([round((moments[k] - moments[order[0]]) * fps) for k in order], np.int64)
    except OverflowError:
        raise InputError(f"{path} has times of more than a lifetime") from None
    kept = np.concatenate([[True], np.diff(index) > 0])
    steps = np.diff(index[kept])
    if len(index) > 10 and (kept.mean() < 0.75 or (len(steps) and np.median(steps) >= 2)):
        raise InputError(f"{path} has other than {float(fps):g} frames per second. Give --fps.")
    return names, weights[order][kept], index[kept]
