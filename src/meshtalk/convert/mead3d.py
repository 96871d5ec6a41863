"""3DMEAD: FLAME parameters of MEAD's videos, 25 frames per second, eight emotions in three strengths, with MEAD's sound."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np

from meshtalk.convert.flame import Flame, read_flame
from meshtalk.convert.plan import Capture, Job, Options, Plan, name_of, read_sound, sound_beside
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import find_space

FPS = 25
PARAMETERS = "shape_pose_cam.hdf5"
NAMES = ("shape", "exp", "jaw")
_flame = cache(read_flame)
"""The FLAME model of a worker process (cached)."""


def plan(source: Path, options: Options) -> Plan:
    """Folders PERSON/front/EMOTION/level_N/SEQUENCE with PERSON/audio/EMOTION/level_N beside them.

    Raises:
        InputError: no such folders, no model file, or h5py is not installed.
    """
    if options.flame is None:
        raise InputError(
            "mead3d files hold FLAME parameters. Give --flame, your own model file (generic_model.pkl, flame2023.pkl)."
        )
    _h5py()
    model = _flame(options.flame)
    topology = Topology(faces=model.faces, n_vertices=len(model.template))
    if options.topology is not None:
        given = Topology.load(options.topology)
        topology.require(given, str(options.topology))
        topology = given
    paths = sorted(source.glob(f"*/front/*/*/*/{PARAMETERS}"))
    if not paths:
        raise InputError(f"{source} is not 3DMEAD. It must have PERSON/front/EMOTION/level_N/SEQUENCE/{PARAMETERS}.")
    shapes, left_out = _shapes(paths)
    space = find_space(model.template, options.unit, options.axes, default="m", kind="mead3d")
    jobs = []
    for path in paths:
        person, _, emotion, level, sequence, _ = path.relative_to(source).parts
        if person not in shapes:
            continue
        stem = source / person / "audio" / emotion / level / sequence
        sound = sound_beside(stem)
        jobs.append(
            Job(
                id=name_of(person, emotion, level, sequence),
                subject=name_of(person),
                read=partial(_read, path, options.flame, shapes[person], sound),
                sources=(path, sound or stem),
                voice=person,
                sentence=sequence,
                emotion=emotion,
            )
        )
    neutrals = {name: model.vertices(shape, np.zeros((1, 1)), np.zeros((1, 3)))[0] for name, shape in shapes.items()}
    return Plan(
        kind="mead3d",
        topology=topology,
        fps=options.rate(FPS, "mead3d"),
        jobs=tuple(jobs),
        templates={name_of(name): space.apply(neutral) for name, neutral in neutrals.items()},
        licence="data: MEAD, 3DMEAD and FLAME, under their own licences, and this corpus with them",
        space=space,
        left_out=tuple(left_out),
        notes=("one shape for each person, the middle one of a first recording; the head does not turn",),
    )


def _shapes(paths: list[Path]) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """(person → (S,) shape, what was left out): the middle over the frames of a neutral recording, or of the first.

    A person has one skull: that it changes from frame to frame, or from video to video, is the tracker's noise.
    """
    found: dict[str, np.ndarray] = {}
    people: dict[str, list[Path]] = {}
    for path in paths:
        people.setdefault(path.parts[-6], []).append(path)
    left_out = []
    for person, own in people.items():
        for path in sorted(own, key=lambda path: path.parts[-4] != "neutral"):
            try:
                found[person] = np.nanmedian(read_parameters(path)["shape"], axis=0)
                break
            except InputError:
                continue
        else:
            left_out += [(name_of(*path.parts[-6:-1]), f"{person}: none of its parameters can be read") for path in own]
    return found, left_out


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """ "shape" (T,S), "exp" (T,E) and "jaw" (T,3) of one sequence.

    Raises:
        InputError: damaged, or of other sizes.
    """
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: np.array(file[name], np.float64) for name in NAMES}
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError):
        raise InputError(f"{path} is damaged, or lacks {', '.join(NAMES)}") from None
    arrays = {name: array[0] if array.ndim == 3 and len(array) == 1 else array for name, array in arrays.items()}
    sizes = {name: array.shape for name, array in arrays.items()}
    if any(len(size) != 2 for size in sizes.values()) or len({size[0] for size in sizes.values()}) != 1:
        raise InputError(f"{path} must have parameters of shape [1, frames, numbers], got {sizes}")
    if (
        sizes["jaw"][1] != 3
        or not 1 <= sizes["shape"][1] <= 300
        or not 1 <= sizes["exp"][1] <= 100
        or not sizes["exp"][0]
    ):
        raise InputError(f"{path} must have up to 300, up to 100 and 3 parameters, got {sizes}")
    return arrays


def _read(path: Path, flame: Path, shape: np.ndarray, sound: Path | None) -> Capture:
    parameters = read_parameters(path)
    model: Flame = _flame(flame)
    motion = model.vertices(shape, parameters["exp"], parameters["jaw"])
    return Capture(motion, *read_sound(sound, path.parent.name))


def _h5py():
    try:
        import h5py
    except ImportError:
        raise InputError('mead3d needs h5py. Run pip install "meshtalk[convert]".') from None
    return h5py
