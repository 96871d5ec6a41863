"""NVIDIA's Audio2Face-3D data, such as "Claire": shots as arrays, PC2 or Maya caches, with their sound."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from meshtalk.convert.maya import read_cache, read_description
from meshtalk.convert.plan import Capture, Job, Options, Plan, name_of, read_sound, sound_beside
from meshtalk.convert.vertices import as_frames, mesh_vertices, read_array, read_pc2, spread
from meshtalk.errors import InputError
from meshtalk.mesh.files import SCENES
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import find_space, find_topology

FPS = 30
FORMATS = (".npy", ".pc2", ".xml")
"""Of a shot that comes in several, the first is read."""
MESHES = (".obj", ".ply", *SCENES, ".npy")


def plan(source: Path, options: Options) -> Plan:
    """cache/skin/SHOT.npy, .pc2 or .xml with .mc; audio/SHOT.wav; a neutral mesh in geom/skin.

    Raises:
        InputError: no such folders, or no mesh with triangles.
    """
    skin = source / "cache" / "skin"
    shots: dict[str, Path] = {}
    for suffix in reversed(FORMATS):
        shots |= {path.stem: path for path in skin.glob(f"*{suffix}")}
    if not shots:
        raise InputError(
            f"{source} is not Audio2Face-3D data. It must have cache/skin with .npy, .pc2 or .xml and .mc."
        )
    topology, neutral = _mesh(source, options)
    space = find_space(neutral, options.unit, options.axes, default=None, kind="audio2face")
    first = next((path for _, path in sorted(shots.items()) if path.suffix == ".xml"), None)
    fps = options.rate(FPS, "audio2face")
    if options.fps is None and first is not None:
        fps = read_description(first).fps
    person = name_of(source.resolve().name)
    jobs = []
    for name, path in sorted(shots.items()):
        sound = sound_beside(source / "audio" / name)
        sources = (path, *sorted(skin.glob(f"{name}*.mc"))) if path.suffix == ".xml" else (path,)
        jobs.append(
            Job(
                id=name_of(name),
                subject=person,
                read=partial(_read, path, sound, fps),
                sources=(*sources, *([sound] if sound else [])),
                voice=person,
                sentence=name,
            )
        )
    return Plan(
        kind="audio2face",
        topology=topology,
        fps=fps,
        jobs=tuple(jobs),
        templates={person: space.apply(neutral)},
        licence="data: Audio2Face-3D, under its own licence, and this corpus with it",
        space=space,
    )


def _mesh(source: Path, options: Options) -> tuple[Topology, np.ndarray]:
    """Triangles and the neutral face: the given template, else a mesh of geom/skin, one named neutral before the others."""
    meshes = [path for path in sorted((source / "geom" / "skin").glob("*")) if path.suffix.lower() in MESHES]
    meshes.sort(key=lambda path: ("neutral" not in path.stem.lower(), path.name))
    template = options.template or next((path for path in meshes if path.suffix != ".npy"), None)
    topology, given = find_topology(template, options.topology, "audio2face")
    neutral = given if given is not None else mesh_vertices(meshes[0]) if meshes else None
    if neutral is None:
        raise InputError(f"{source} has no neutral mesh in geom/skin. Give --template FACE.obj.")
    if neutral.shape != (topology.n_vertices, 3):
        raise InputError(f"the neutral mesh must have shape ({topology.n_vertices}, 3), got {neutral.shape}")
    return topology, neutral


def _read(path: Path, sound: Path | None, fps: object) -> Capture:
    if path.suffix == ".npy":
        motion = as_frames(read_array(path), path.name)
    elif path.suffix == ".pc2":
        motion = np.asarray(read_pc2(path), np.float32)
    else:
        samples, index, own_fps = read_cache(path)
        if own_fps != fps:
            raise InputError(f"its frame rate must be the corpus's {fps}, got {own_fps}")
        motion = spread(samples, index)
    return Capture(motion, *read_sound(sound, path.stem))
