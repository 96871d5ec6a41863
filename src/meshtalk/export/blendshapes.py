"""ARKit's 52 weights as text: CSV in two layouts and JSON (docs/arkit.md)."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from meshtalk.arkit.names import NAMES, as_arkit, clip_name
from meshtalk.arkit.solve import Weights, weights_of
from meshtalk.clip import CHUNK, Clip
from meshtalk.files import atomic
from meshtalk.mesh.surface import nearest_rotation

LIVE_LINK = ".livelink.csv"
"""A name that ends so gets Live Link Face's layout."""
ROTATIONS = tuple(f"{part}{turn}" for part in ("Head", "LeftEye", "RightEye") for turn in ("Yaw", "Pitch", "Roll"))
DECIMALS = 6


def write_weights(clip: Clip, path: Path, weights: Weights | None = None) -> None:
    """A clip's weights in the layout that the file's name asks for. Frames that capture missed have no row.

    NAME.csv: frame, time (seconds) and ARKit's names. NAME.livelink.csv: as Live Link Face records them. NAME.json:
    {"names": […], "frames": [{"weights": […], "time": seconds}, …]}, BEAT's form.

    Args:
        weights: default: `weights_of` the clip.

    Raises:
        InputError: the rig has too few of ARKit's shapes, there is no rig, or `path` cannot be written.
    """
    weights = weights or weights_of(clip)
    values = as_arkit(weights.names, weights.values).round(DECIMALS)
    name = path.name.lower()
    times_s = [round(float(k / clip.fps), DECIMALS) for k in range(clip.n_frames)]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        if name.endswith(".json"):
            frames = [{"weights": _plain(values[k]), "time": times_s[k]} for k in weights.frames]
            json.dump({"names": NAMES, "frames": frames}, stream)
            return
        table = csv.writer(stream, lineterminator="\n")
        if name.endswith(LIVE_LINK):
            turns = np.concatenate([np.zeros((clip.n_frames, 3)), eye_turns(clip)], 1).round(DECIMALS)
            table.writerow(["Timecode", "BlendShapeCount", *map(clip_name, NAMES), *ROTATIONS])
            count = len(NAMES) + len(ROTATIONS)
            for k in weights.frames:
                table.writerow([timecode(int(k), clip.fps), count, *_plain(values[k]), *_plain(turns[k])])
        else:
            table.writerow(["frame", "time", *NAMES])
            table.writerows([k, times_s[k], *_plain(values[k])] for k in weights.frames)


def timecode(frame: int, fps: Fraction) -> str:
    """HH:MM:SS:FF.000 of a frame, FF counting to the whole rate that `fps` is named after (30 at 29.97: no frames are dropped)."""
    nominal = math.ceil(fps)
    seconds = frame // nominal
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame % nominal:02}.000"


def eye_turns(clip: Clip) -> np.ndarray:
    """(T,6) yaw, pitch and roll of the left and the right eyeball in radians, as Live Link Face has them: yaw grows
    towards the face's right, pitch downwards; roll is 0. All 0 on a mesh without eyeballs.

    The app's documents do not say so; in its recordings EyeLookOutLeft comes with negative yaw, EyeLookUp with negative
    pitch, and 0.36 rad with half an EyeLookOutLeft.
    """
    turns = np.zeros((clip.n_frames, 6))
    topology = clip.topology
    for column, part in ((0, "eye_left"), (3, "eye_right")):
        if topology.parts is None or part not in topology.part_names:
            continue
        rows = np.flatnonzero(topology.parts == topology.part_names.index(part))
        rest = clip.template[rows].astype(np.float64)
        rest -= rest.mean(0)
        for start in range(0, clip.n_frames, CHUNK):
            moved = clip.frames(start, start + CHUNK)[:, rows].astype(np.float64)
            ahead = _turned_z(rest, moved - moved.mean(1, keepdims=True))
            turns[start : start + len(moved), column] = -np.arctan2(ahead[:, 0], ahead[:, 2])
            turns[start : start + len(moved), column + 1] = -np.arcsin(np.clip(ahead[:, 1], -1, 1))
    return turns


def _turned_z(rest: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(T,3) where the rotation that takes (n,3) points nearest to each of (T,n,3) takes the z axis (Kabsch 1976)."""
    return nearest_rotation(np.einsum("tni,nj->tij", moved, rest))[0][:, :, 2]


def _plain(row: np.ndarray) -> list[float]:
    """Python's numbers without the noise of float32, and without -0."""
    return [round(float(value), DECIMALS) + 0.0 for value in row]
