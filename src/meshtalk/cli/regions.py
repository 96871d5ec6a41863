"""`meshtalk regions`: define, apply and draw the regions of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from meshtalk.cli.options import OptionalPath, OptionalText, Output


def landmarks(mesh: Positional[Path], points: Positional[Path | None] = None, /, *, output: Output) -> None:
    """Carry the packaged head's regions to a mesh whose landmarks you name, or whose face is found; any unit, any axes.

    Args:
        mesh: neutral face (.ply, .obj, .glb, or a clip's .npz) in your data's vertex order.
        points: JSON that maps landmark names to vertex indices or points: {"nose_tip": 331, "chin": [0.0, -7.9, 8.8]}. Without it
            the face is looked for along the mesh's axes.
        output: topology to write (.npz), for `corpus convert --topology` or `regions apply`; a picture (.png) is written beside it.
    """
    from meshtalk.mesh.landmarks import read_landmarks
    from meshtalk.regions.face import read_mesh_face
    from meshtalk.regions.result import check_output, save_regions
    from meshtalk.regions.warp import regions_from_landmarks

    check_output(output)
    face = read_mesh_face(mesh)
    marks = None if points is None else read_landmarks(points, face.vertices)
    print(save_regions(regions_from_landmarks(face, marks, str(mesh)), output))


def painted(
    mesh: Positional[Path],
    /,
    output: Output,
    mouth: OptionalPath = None,
    upper_face: OptionalPath = None,
    eyelids: OptionalPath = None,
    lips: OptionalPath = None,
    axes: OptionalText = None,
) -> None:
    """Read regions from vertex colours, or from one file per region; inner lips are found between painted lips.

    Without files the mesh's own colours are read: red for mouth, magenta for lips, green for upper face, cyan for eyelids,
    yellow for mouth and upper face together; grey, black and white are in no region.

    Args:
        mesh: face at rest (.ply, .obj, .glb, .vrm), with your data's vertices in their order.
        output: topology to write (.npz), for `corpus convert --topology` or `regions apply`; a picture (.png) is written beside it.
        mouth: mesh with the region in any colour, or a list of vertex indices or weights (.npy, .txt, .csv).
        upper_face: the same for the upper face.
        eyelids: the same for the eyelids.
        lips: the same for the lips.
        axes: the mesh's axes that point left, up and out of the face, such as x,z,-y where z is up.
    """
    from meshtalk.regions.face import read_mesh_face
    from meshtalk.regions.painted import regions_from_paint
    from meshtalk.regions.result import check_output, save_regions

    check_output(output)
    given = {"mouth": mouth, "upper_face": upper_face, "eyelids": eyelids, "lips": lips}
    files = {name: path for name, path in given.items() if path is not None}
    print(save_regions(regions_from_paint(read_mesh_face(mesh, axes), mesh, files), output))


def motion(corpus: Positional[Path], /, output: Output) -> None:
    """Find the regions from a corpus's motion: the mouth opens in speech, the lids close in blinks.

    Args:
        corpus: corpus folder; a few seconds of speech with three blinks are enough, minutes are better.
        output: topology to write (.npz), for `regions apply`; a picture (.png) is written beside it.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.regions.motion import regions_from_motion
    from meshtalk.regions.result import check_output, save_regions

    check_output(output)
    print(save_regions(regions_from_motion(Corpus.open(corpus)), output))


def apply(corpus: Positional[Path], regions: Positional[Path], /) -> None:
    """Set the regions and inner lips of a corpus, replacing any it has; no clip is rewritten.

    Args:
        corpus: corpus folder.
        regions: topology of its mesh (.npz), as the other `regions` commands write it.
    """
    from meshtalk.regions.result import apply as run

    given = run(corpus, regions)
    print(f"{given.root} has regions {given.topology.region_hash}: {', '.join(given.topology.regions)}")


def show(source: Positional[Path], /, output: Output, mesh: OptionalPath = None, axes: OptionalText = None) -> None:
    """Draw the regions of a topology, a clip, a model or a corpus.

    Args:
        source: .npz of a topology or a clip, or a model or corpus folder.
        output: picture to write (.png).
        mesh: the neutral mesh of a topology, which holds no vertex positions.
        axes: axes of that mesh that point left, up and out of the face, such as x,z,-y where z is up.
    """
    from meshtalk.files import check_picture
    from meshtalk.regions.draw import draw_regions
    from meshtalk.regions.face import read_face
    from meshtalk.regions.result import report

    check_picture(output)
    face = read_face(source, mesh, axes)
    draw_regions(face, output)
    print(report(face))
    print(output)


VERBS: Mapping[str, Callable[..., Any]] = {
    "landmarks": landmarks,
    "painted": painted,
    "motion": motion,
    "apply": apply,
    "show": show,
}
