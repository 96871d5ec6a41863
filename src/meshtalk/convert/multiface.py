"""Multiface (Wuu et al. 2022): 13 people, 30 frames per second, millimetres, 7,306 vertices, or MeshTalk's 6,172 of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.convert.plan import Capture, Job, Options, Plan, name_of, read_sound
from meshtalk.convert.vertices import read_frames
from meshtalk.errors import InputError
from meshtalk.mesh.units import find_space, find_topology

FPS = 30
STEP = 3
"""What the numbers of frames grow by, where it is not 1."""
RATE_HZ = 48_000
NEUTRAL = "E001_Neutral_Eyes_Open"
NEUTRAL_FRAMES = 31
"""Of the neutral segment, whose middle position is the template: one frame alone may be a blink."""
POSE_FRAMES = 48
POSES = ("removed", "applied", "as stored")
"""Ways to treat the head's transforms; the one that leaves the head most at rest is used."""
LIKE_BEST = 1.01


def plan(source: Path, options: Options) -> Plan:
    """A folder of sessions `m--DATE--0000--ID--GHS`, or one session.

    Raises:
        InputError: no sessions, no mesh, or no neutral segment in any.
    """
    sessions = [path for path in sorted(source.glob("m--*--GHS")) if path.is_dir()]
    sessions = [source] if (source / "frame_list.txt").is_file() else sessions
    if not sessions:
        raise InputError(f"{source} is not Multiface. It must have folders m--DATE--0000--ID--GHS with frame_list.txt.")
    topology, _ = find_topology(options.template, options.topology, "multiface")
    rows = None if options.rows is None else read_rows(options.rows, topology.n_vertices)
    jobs: list[Job] = []
    left_out: list[tuple[str, str]] = []
    neutrals: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for session in sessions:
        parts = session.resolve().name.split("--")
        date, person = (parts[1], parts[3]) if len(parts) == 5 else ("", session.resolve().name)
        subject, frames = name_of(person, date), read_frame_list(session / "frame_list.txt")
        try:
            pose, measured = _find_pose(session, frames)
            neutrals[subject] = _neutral(session, frames.get(NEUTRAL, []), pose, rows, topology.n_vertices)
        except InputError as error:
            left_out += [(name_of(subject, segment), f"{subject}: {error}") for segment in frames]
            continue
        step = frame_step(frames)
        notes.append(f"{subject}: head pose {measured}; frames are numbered in steps of {step}")
        for segment, numbers in sorted(frames.items()):
            sound = session / "audio" / f"{segment}.wav"
            if not sound.is_file() and not segment.startswith("SEN"):
                left_out.append((name_of(subject, segment), "segments without speech"))
                continue
            read = partial(_read_segment, session, segment, np.array(numbers), step, pose, rows)
            sources = session / "tracked_mesh" / segment, sound, session / "frame_list.txt"
            jobs.append(
                Job(
                    id=name_of(subject, segment),
                    subject=subject,
                    read=read,
                    sources=sources,
                    voice=person,
                    sentence=segment,
                )
            )
    if not neutrals:
        raise InputError(
            f"{source} has no session that can be used. {left_out[0][1] if left_out else 'all are empty'}."
        )
    space = find_space(next(iter(neutrals.values())), options.unit, options.axes, default="mm", kind="multiface")
    return Plan(
        kind="multiface",
        topology=topology,
        fps=options.rate(FPS, "multiface"),
        jobs=tuple(jobs),
        templates={name: space.apply(neutral) for name, neutral in neutrals.items()},
        licence="data: Multiface, under its own licence, and this corpus with it",
        space=space,
        left_out=tuple(left_out),
        notes=tuple(notes),
    )


def read_frame_list(path: Path) -> dict[str, list[int]]:
    """Segment → its frame numbers, rising; the file may have them in any order.

    Raises:
        InputError: missing, or a line that is not "SEGMENT FRAME".
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    frames: dict[str, set[int]] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isascii() or not words[1].isdigit():
            raise InputError(f"{path}, line {number}: {line[:60]!r} is not a segment and a frame number")
        frames.setdefault(words[0], set()).add(int(words[1]))
    return {segment: sorted(numbers) for segment, numbers in frames.items()}


def read_rows(path: Path, count: int) -> np.ndarray:
    """(count,) vertex numbers to keep, of an `.npy` or a text file.

    Raises:
        InputError: unreadable, not so many, or not of 7,306.
    """
    try:
        rows = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path} must be a list of vertex indices. Give an .npy or a text file of integers.") from None
    if rows.shape != (count,) or rows.dtype.kind not in "iu" or rows.min() < 0:
        raise InputError(f"{path} must have an index for each of the mesh's {count} vertices, got {rows.size}")
    return rows.astype(np.int64)


def read_transform(path: Path) -> np.ndarray:
    """(3,4) rotation and translation of a head pose.

    Raises:
        InputError: unreadable, or no rotation.
    """
    try:
        numbers = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except (OSError, ValueError):
        raise InputError(f"{path} must be a head pose of 3x4 numbers") from None
    if numbers.shape != (12,) or not np.isfinite(numbers).all():
        raise InputError(f"{path} must be a head pose of 3x4 numbers")
    pose = numbers.reshape(3, 4)
    if np.abs(pose[:, :3] @ pose[:, :3].T - np.eye(3)).max() > 1e-2 or np.linalg.det(pose[:, :3]) < 0:
        raise InputError(f"{path} must be a rotation")
    return pose


def _read_frame(folder: Path, pose: str, rows: np.ndarray | None, number: int) -> np.ndarray:
    """(V,3) of one frame, without its head pose.

    Raises:
        InputError: the file or its pose is missing or truncated.
    """
    try:
        data = (folder / f"{number:06d}.bin").read_bytes()
    except OSError as error:
        raise InputError(f"frame {number} cannot be read: {error.strerror}") from None
    if not data or len(data) % 12:
        raise InputError(f"frame {number} must have 12 bytes per vertex, got {len(data)} bytes")
    vertices = np.frombuffer(data, "<f4").reshape(-1, 3).astype(np.float64)
    if rows is not None and len(vertices) > rows.max():
        vertices = vertices[rows]
    if pose == "as stored":
        return vertices
    transform = read_transform(folder / f"{number:06d}_transform.txt")
    turn, shift = transform[:, :3], transform[:, 3]
    return (vertices - shift) @ turn if pose == "removed" else vertices @ turn.T + shift


def _find_pose(session: Path, frames: dict[str, list[int]]) -> tuple[str, str]:
    """(which of POSES, a note on it): the vertices of a head without pose stay in their places through all segments.

    Raises:
        InputError: not two frames can be read.
    """
    everywhere = [(segment, number) for segment in sorted(frames) for number in frames[segment]]
    picked = np.unique(np.linspace(0, len(everywhere) - 1, min(POSE_FRAMES, len(everywhere))).astype(int))
    spreads = {}
    for pose in POSES:
        seen: list[np.ndarray] = []
        for k in picked:
            segment, number = everywhere[k]
            try:
                seen.append(_read_frame(session / "tracked_mesh" / segment, pose, None, number))
            except InputError:
                continue
        sizes = {len(vertices) for vertices in seen}
        if len(seen) > 1 and len(sizes) == 1:
            spreads[pose] = float(np.sqrt(np.stack(seen).var(0).sum(-1)).mean())
    if not spreads:
        raise InputError("its frames cannot be read")
    best = min(spreads.values())
    chosen = next(pose for pose in POSES if pose in spreads and spreads[pose] <= LIKE_BEST * best)
    told = ", ".join(f"{spreads[pose]:.2f} units {pose}" for pose in POSES if pose in spreads)
    return chosen, f"{chosen} (vertices move {told})"


def _neutral(session: Path, numbers: list[int], pose: str, rows: np.ndarray | None, n_vertices: int) -> np.ndarray:
    """(V,3) middle position of the neutral segment."""
    picked = (
        [numbers[k] for k in np.unique(np.linspace(0, len(numbers) - 1, NEUTRAL_FRAMES).astype(int))] if numbers else []
    )
    frames = []
    for number in picked:
        try:
            frames.append(_read_frame(session / "tracked_mesh" / NEUTRAL, pose, rows, number))
        except InputError:
            continue
    if not frames:
        raise InputError(f"there is no neutral segment {NEUTRAL}")
    if {len(frame) for frame in frames} != {n_vertices}:
        raise InputError(
            f"its files hold {len(frames[0])} vertices, the given mesh {n_vertices}. Give the data's own mesh, or with --rows"
            " which of its vertices yours has."
        )
    return np.median(frames, axis=0)


def frame_step(frames: Mapping[str, Sequence[int]]) -> int:
    """What the numbers of a session's frames grow by: 3, as in the published lists, if that divides all distances, else 1."""
    apart = [step for numbers in frames.values() for step in np.diff(numbers).tolist()]
    return STEP if apart and not any(step % STEP for step in apart) else 1


def _read_segment(
    session: Path, segment: str, numbers: np.ndarray, step: int, pose: str, rows: np.ndarray | None
) -> Capture:
    """All listed frames at their places; the first listed one is the start of the sound."""
    folder = session / "tracked_mesh" / segment
    if not folder.is_dir():
        raise InputError("its meshes are missing")
    read = partial(_read_frame, folder, pose, rows)
    motion, broken = read_frames(numbers.tolist(), (numbers - numbers[0]) // step, read)
    audio, rate, note = read_sound(session / "audio" / f"{segment}.wav", segment)
    if rate != RATE_HZ:
        note = "; ".join(part for part in (note, f"its sample rate is {rate} Hz, not {RATE_HZ}") if part)
    return Capture(motion, audio, rate, "; ".join(part for part in (broken, note) if part))
