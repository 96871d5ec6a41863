"""Captures of ARKit blendshape weights (BEAT's JSON, Live Link Face's CSV, and similar) on a head with those shapes."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.arkit.names import FEWEST_SHAPES, NAMES, spelled
from meshtalk.clip import exact_rate
from meshtalk.convert.clocks import NEAR, Clock, clock_column, read_clock, settled, stamps
from meshtalk.convert.plan import Capture, Job, Options, Plan, common_step, name_of, read_sound, sound_beside
from meshtalk.convert.vertices import spread
from meshtalk.errors import InputError, reading
from meshtalk.files import Json, read_text
from meshtalk.mesh.head import load_head
from meshtalk.mesh.units import find_space, find_topology

FPS = 60
WITHOUT_NAMES = tuple(sorted(set(NAMES) - {"tongueOut"}))
"""Of a BEAT frame's 51 weights."""
FRAME_RATES = ("exportFps", "fps", "frameRate")
"""Keys of a JSON file's frame rate: Audio2Face's, and usual ones."""
ENOUGH_FILES = 16
"""Files, evenly spread, in which the frame rate is looked for."""
TIED = ("_raw", "_neutral")
"""Ends of the names of what Live Link Face writes beside a take; and FRAME_LOG."""
FRAME_LOG = "frame_log"


@dataclass(frozen=True, eq=False)
class Rows:
    """Weights as a file has them."""

    names: Sequence[str]
    weights: np.ndarray
    """(n,N)."""
    clock: Clock
    """Of n rows; without times it counts them."""


def beat(source: Path, options: Options) -> Plan:
    """BEAT (Liu et al. 2022): NAME.json beside NAME.wav."""
    return _plan("beat", source, options, {".json": _read_beat})


def arkit(source: Path, options: Options) -> Plan:
    """Any JSON with names and frames, any CSV with ARKit's names over its columns."""
    return _plan("arkit", source, options, {".json": read_json, ".csv": read_csv})


def livelink(source: Path, options: Options) -> Plan:
    """Live Link Face's CSV with its timecodes, beside its video or a WAV."""
    return _plan("livelink", source, options, {".csv": _read_livelink})


def _plan(kind: str, source: Path, options: Options, readers: dict[str, Callable[[Path], Rows]]) -> Plan:
    """Every file of these suffixes, on a face of its own for each speaker.

    Raises:
        InputError: no files, or a given mesh without ARKit's shapes.
    """
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in readers and path.is_file())
    beside = {path for path in paths if _is_beside(path)}
    paths = [path for path in paths if path not in beside]
    found = _found_rate(paths, readers) if options.fps is None else None
    fps = found or options.rate(FPS, kind)
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
    jobs, asked = [], fps if options.fps is not None else None
    for path in paths:
        speaker, sound = _speaker(path, source), sound_beside(path.with_suffix(""))
        jobs.append(
            Job(
                id=name_of(*path.relative_to(source).with_suffix("").parts),
                subject=subjects[speaker],
                read=partial(_read, path, readers[path.suffix.lower()], shapes, fps, asked, sound),
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
        left_out=tuple(
            (path.relative_to(source).as_posix(), "files that the app writes beside a take") for path in beside
        ),
        notes=(space_note, *([f"{float(found):g} rows a second, as their times say"] if found else [])),
    )


def _is_beside(path: Path) -> bool:
    """Whether Live Link Face wrote a file beside a take that is there too."""
    if path.suffix.lower() != ".csv":
        return False
    ending = next((end for end in TIED if path.stem.endswith(end)), None)
    return path.stem.lower() == FRAME_LOG or (
        ending is not None and path.with_name(path.stem.removesuffix(ending) + path.suffix).is_file()
    )


def _speaker(path: Path, source: Path) -> str:
    """Of BEAT's names, such as 1_wayne_0_1_1, the person's; else the first folder's on the way to the file.

    A take's own folder, such as 20240131_scene_1 of scene_1_iPhone.csv, is nobody's.
    """
    named = re.match(r"[0-9]+_([A-Za-z]+)_[0-9]", path.stem)
    folder = path.parent.relative_to(source).parts[:1]
    dated = re.match(r"[0-9]{8}_(.+)", folder[0]) if folder else None
    own = dated is not None and path.stem.startswith(dated[1])
    return named[1] if named else name_of(*folder) if folder and not own else "speaker"


def _read(
    path: Path,
    reader: Callable[[Path], Rows],
    shapes: Sequence[str],
    fps: Fraction,
    asked: Fraction | None,
    sound: Path | None,
) -> Capture:
    rows = reader(path)
    column: dict[str, int] = {}
    for k, name in enumerate(rows.names):
        if column.setdefault(spelled(name), k) != k and spelled(name) in {spelled(shape) for shape in shapes}:
            raise InputError(f"it has two columns of {name}. Delete one.")
    known = [(k, column[spelled(shape)]) for k, shape in enumerate(shapes) if spelled(shape) in column]
    if len(known) < FEWEST_SHAPES:
        raise InputError(f"it must have ARKit's names, got {len(known)} of the head's shapes")
    audio, rate, note = read_sound(sound, path.stem)
    clock = settled(rows.clock, asked, len(audio) / rate)
    order, index = placed(clock, fps, path)
    motion = np.zeros((len(order), len(shapes)), np.float32)
    ours, theirs = np.array(known).T
    motion[:, ours] = rows.weights[order][:, theirs]
    twice = len(rows.weights) - len(order)
    notes = (note, f"{twice} of its rows are at the time of another" if twice else "")
    return Capture(spread(motion, index), audio, rate, "; ".join(part for part in notes if part))


def _found_rate(paths: Sequence[Path], readers: Mapping[str, Callable[[Path], Rows]]) -> Fraction | None:
    """The rate of most rows of these files; None if none tells."""
    rows: Counter[Fraction] = Counter()
    for k in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), ENOUGH_FILES)).astype(int)) if paths else ():
        path = paths[k]
        try:
            clock = readers[path.suffix.lower()](path).clock
            if (
                clock.frames is not None
                and np.ptp(clock.seconds) == 0
                and (sound := sound_beside(path.with_suffix("")))
            ):
                audio, hz, _ = read_sound(sound, path.stem)
                clock = settled(clock, None, len(audio) / hz)
            else:
                clock = settled(clock, None, None)
        except InputError:
            continue
        if clock.rate is not None and 1 <= clock.rate <= 1000:
            rows[clock.rate] += len(clock.seconds)
    return rows.most_common(1)[0][0] if rows else None


def read_json(path: Path, names: Sequence[str] | None = None) -> Rows:
    """{"names": […], "frames": [{"weights": […], "time": …}, …]}, or Audio2Face's {"facsNames": […], "weightMat": [[…], …],
    "exportFps": …}. Without times, frame after frame.

    Raises:
        InputError: damaged, of another form, or without names where none are known.
    """
    text = read_text(path)
    with reading(f"{path} is damaged, or no JSON", "Export it again."):
        content: Json = json.loads(text)
    content = content if isinstance(content, dict) else {}
    if "weightMat" in content:
        said, matrix, times = content.get("facsNames"), content["weightMat"], []
    else:
        frames, said = content.get("frames"), content.get("names", names)
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
            raise InputError(
                f'{path} has no "frames". Give names and frames, or Audio2Face\'s facsNames and weightMat.'
            )
        matrix, times = [frame.get("weights") for frame in frames], [frame.get("time") for frame in frames]
    if not isinstance(said, Sequence) or isinstance(said, str) or not all(isinstance(name, str) for name in said):
        raise InputError(f'{path} has no "names" of its weights. Add them, in the order of the weights.')
    with reading(f"{path} has frames without weights, or with weights that are no numbers", "Export it again."):
        weights = np.array(matrix, np.float32)
    if weights.ndim != 2 or not len(weights) or weights.shape[1] != len(said):
        raise InputError(f"{path} has weights of shape {weights.shape} for {len(said)} names")
    if times and all(_is_number(time) for time in times):
        return Rows(said, weights, stamps(np.array(times, float)))
    rate = next((content[key] for key in FRAME_RATES if _is_number(content.get(key))), 0)
    told = exact_rate(float(rate)) if 1 <= rate <= 1000 else None
    return Rows(said, weights, Clock(np.arange(len(weights), dtype=float), counting=True, rate=told))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _read_beat(path: Path) -> Rows:
    return read_json(path, WITHOUT_NAMES)


def read_csv(path: Path, first: str | None = None) -> Rows:
    """A line of names, then a line of numbers a frame; a column of timecodes, times or frame numbers tells when, if there is one.

    Cells are separated by commas, or by semicolons or tabs, and then numbers may have decimal commas.

    Args:
        first: name that the first column must have.

    Raises:
        InputError: damaged, or a line that does not fit the first one.
    """
    text = read_text(path)
    head = next((line for line in text.splitlines() if line.strip()), "")
    mark = max(",;\t", key=head.count)
    with reading(f"{path} is damaged, or no CSV", "Export it again."):
        table = [row for row in csv.reader(text.splitlines(), delimiter=mark) if any(cell.strip() for cell in row)]
    if len(table) < 2:
        raise InputError(f"{path} has no rows")
    names = [cell.strip() for cell in table[0]]
    if first is not None and names[0].lower() != first:
        raise InputError(f"{path} is no Live Link Face CSV: its first column is not Timecode. Convert it as arkit.")
    when = clock_column(names)
    columns = [k for k in range(len(names)) if k != when]
    weights = np.full((len(table) - 1, len(columns)), np.nan, np.float32)
    for number, row in enumerate(table[1:]):
        if len(row) != len(names):
            raise InputError(
                f"{path}, row {number + 1}: {len(row)} cells under {len(names)} names. With decimal commas, separate cells by ;"
            )
        weights[number] = [_float(row[k] if mark == "," else row[k].replace(",", ".")) for k in columns]
    if when is None:
        clock = Clock(np.arange(len(weights), dtype=float), counting=True)
    else:
        try:
            clock = read_clock([row[when] for row in table[1:]], names[when])
        except InputError as error:
            raise InputError(f"{path}, {error}") from None
    return Rows([names[k] for k in columns], weights, clock)


def _read_livelink(path: Path) -> Rows:
    return read_csv(path, "timecode")


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def placed(clock: Clock, fps: Fraction, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(rows in order of their times, (n,) frame number of each, rising from 0). Of two rows at one frame the first stays.

    Raises:
        InputError: times that do not go with the frame rate.
    """
    if clock.counting:
        numbers = clock.seconds - clock.seconds.min()
        at = numbers / common_step(numbers)
    else:
        at = (clock.seconds - clock.seconds.min()) * float(fps)
    order = np.argsort(at, kind="stable")
    index = np.round(at[order]).astype(np.int64)
    kept = np.concatenate([[True], np.diff(index) > 0])
    if clock.rate is not None and len(index) > 10 and not 1 - NEAR < clock.rate / fps < 1 + NEAR:
        raise InputError(
            f"{path} has {float(clock.rate):g} rows a second, not {float(fps):g}. Give --fps {float(clock.rate):g}, and convert"
            " recordings of another rate by themselves."
        )
    if len(index) > 10 and (kept.mean() < 0.75 or np.median(np.diff(index[kept])) >= 2):
        raise InputError(f"{path} has other than {float(fps):g} frames per second. Give --fps.")
    return order[kept], index[kept]
