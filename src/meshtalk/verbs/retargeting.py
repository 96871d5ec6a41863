"""`meshtalk retarget`, `landmarks`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from meshtalk.errors import InputError
from meshtalk.verbs.options import FlatLooking, Looking, Output

_AS_USUAL = Looking()


def retarget(
    clip: Positional[Path],
    /,
    output: Output,
    to: Path | None = None,
    landmarks: Path | None = None,
    map: Path | None = None,
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Let another face say it: carry a clip of the packaged head to any face or head mesh.

    Args:
        clip: clip (.npz) of the packaged head.
        output: what to write, as for animate.
        to: the mesh, in any unit and axes (.obj, .ply, .stl, .glb).
        landmarks: named points of it (.json of `meshtalk landmarks`), if its face is not found.
        map: how the mesh moves with the head (.map): read if it is there, else made and kept. With one, --to can be left out.
    """
    from meshtalk.clip import Clip
    from meshtalk.export import check_output

    look = looking.look()
    check_output(output, look)
    if to is None and (map is None or not map.exists()):
        raise InputError("no mesh came to retarget to : give --to MESH, or --map with a map that was made before")
    loaded = Clip.load(clip)
    print(find_map(to, map, landmarks).retarget(loaded).save(output, look))


def landmarks(mesh: Positional[Path], /, output: Output, landmarks: Path | None = None) -> None:
    """Find the named points of a face on a mesh: write them, draw them, or make a page to click them.

    Args:
        mesh: of a face or a head (.obj, .ply, .stl, .glb).
        output: .json (names with vertex numbers), .png (a picture of the face with them) or .html (a page in which they are
            clicked; it needs no other file, and where no face is found it starts with none).
        landmarks: points that are known (.json), to find the others or to show.
    """
    from meshtalk.files import check_writable
    from meshtalk.landmarks import DESCRIPTIONS, read_landmarks, write_landmarks
    from meshtalk.retarget.reading import read_face

    suffix = output.suffix.lower()
    if suffix not in (".json", ".png", ".html"):
        raise InputError(f"cannot write landmarks to {output} : use .json, .png or .html")
    check_writable(output)
    vertices, topology = read_face(mesh)
    marks = None if landmarks is None else read_landmarks(landmarks, vertices)
    try:
        made = find_map(mesh, None, landmarks)
        found = {name: int(made.topology.landmarks[name][0]) for name in DESCRIPTIONS}
    except InputError as error:
        if suffix != ".html":
            raise
        _say(str(error))
        made, found = None, {}
    if marks is not None:
        found |= {name: int(((vertices - place) ** 2).sum(1).argmin()) for name, place in marks.items()}
    if suffix == ".json":
        write_landmarks(output, found)
    else:
        from meshtalk.retarget.show import draw_landmarks, write_picker

        if suffix == ".html":
            write_picker(vertices, topology.faces, found, output)
        else:
            assert made is not None
            draw_landmarks(made.template, made.topology, {k: made.template[v] for k, v in found.items()}, output)
    print(output)


def find_map(mesh: Path | None, kept: Path | None, landmarks: Path | None) -> Any:
    """The map kept in a file; or a new one to a mesh, kept there if a file is named. What was found is said on standard error.

    Raises:
        InputError: neither is usable, or the kept map is of another mesh.
    """
    from meshtalk.files import check_writable
    from meshtalk.landmarks import read_landmarks

    try:
        from meshtalk.retarget.make import make_map
    except ImportError as error:
        raise InputError(f"retargeting needs {error.name} (not installed) : pip install 'meshtalk[media]'") from None
    from meshtalk.retarget.map import load_map
    from meshtalk.retarget.reading import read_face

    if kept is not None and kept.exists():
        made = load_map(kept)
        if mesh is not None and read_face(mesh)[1].hash != made.mesh:
            raise InputError(f"{kept} is a map to another mesh than {mesh} : name another file, and it is made")
        if landmarks is not None:
            raise InputError(
                f"{kept} is there already, so that --landmarks has no say : name another file, or leave one out"
            )
        return made
    if mesh is None:
        return load_map(kept)  # type: ignore[arg-type]  # says that there is none
    if kept is not None:
        check_writable(kept)
    vertices, topology = read_face(mesh)
    marks = None if landmarks is None else read_landmarks(landmarks, vertices)
    made = make_map(vertices, topology, marks, name=str(mesh), say=_say)
    for note in made.notes:
        _say(note)
    if kept is not None:
        made.save(kept)
    return made


def _say(text: str) -> None:
    print(f"meshtalk: {text}", file=sys.stderr)
