"""`meshtalk retarget` and `landmarks`: other meshes."""

from __future__ import annotations

import sys
from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import FlatLooking, Looking, OptionalPath, Output, find_map
from meshtalk.errors import InputError

_AS_USUAL = Looking()


def retarget(
    clip: Positional[Path],
    /,
    output: Output,
    to: OptionalPath = None,
    landmarks: OptionalPath = None,
    map: OptionalPath = None,
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Retarget a clip of the packaged head to any face or head mesh.

    Args:
        clip: clip (.npz) of the packaged head.
        output: output file, in any format of animate.
        to: the mesh, in any unit and axes (.obj, .ply, .stl, .glb, .vrm).
        landmarks: its landmarks (.json of `meshtalk landmarks`), if its face is not detected.
        map: retarget map (.map): read if it exists, else computed and saved. With an existing one --to can be left out.
    """
    from meshtalk.clip import Clip
    from meshtalk.export import check_output

    look = looking.look()
    check_output(output, look)
    if to is None and (map is None or not map.exists()):
        raise InputError("retarget needs a target mesh. Give --to MESH, or --map with an existing map.")
    loaded = Clip.load(clip)
    print(find_map(to, map, landmarks).retarget(loaded).save(output, look))


def landmarks(mesh: Positional[Path], /, output: Output, landmarks: OptionalPath = None) -> None:
    """Detect the facial landmarks of a mesh: write them, draw them, or make a page to edit them.

    Args:
        mesh: of a face or a head (.obj, .ply, .stl, .glb, .vrm).
        output: .json (names with vertex indices), .png (a picture of the face with them) or .html (a self-contained page to
            click them; where no face is detected it starts with none).
        landmarks: known landmarks (.json), to find the others or to show.
    """
    from meshtalk.files import check_writable
    from meshtalk.mesh.files import read_face
    from meshtalk.mesh.landmarks import DESCRIPTIONS, read_landmarks, write_landmarks

    suffix = output.suffix.lower()
    if suffix not in (".json", ".png", ".html"):
        raise InputError(f"landmarks must be written to .json, .png or .html, got {output}")
    check_writable(output)
    vertices, topology = read_face(mesh)
    marks = None if landmarks is None else read_landmarks(landmarks, vertices)
    try:
        made = find_map(mesh, None, landmarks)
        found = {name: int(made.topology.landmarks[name][0]) for name in DESCRIPTIONS}
    except InputError as error:
        if suffix != ".html":
            raise
        print(f"meshtalk: {error}", file=sys.stderr)
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
