"""The verbs of `meshtalk regions`: landmarks, painted, motion, apply, show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from meshtalk.cli.options import Output


def landmarks(mesh: Positional[Path], points: Positional[Path], /, output: Output) -> None:
    """Carry the packaged head's regions to a mesh whose landmarks you name; any unit, any axes.

    Args:
        mesh: face at rest (.ply, .obj, .glb, .vrm, or a clip's .npz), with your data's vertices in their order.
        points: JSON of landmark names with vertex numbers or points: {"nose_tip": 331, "chin": [0.0, -7.9, 8.8]}.
        output: topology to write (.npz), for `corpus convert --topology` or `regions apply`; a picture goes beside it (.png).
    """
    from meshtalk.mesh.landmarks import read_landmarks
    from meshtalk.regions.face import read_mesh_face
    from meshtalk.regions.result import check_output, save_regions
    from meshtalk.regions.warp import regions_from_landmarks

    check_output(output)
    face = read_mesh_face(mesh)
    print(save_regions(regions_from_landmarks(face, read_landmarks(points, face.vertices)), output))


def painted(
    mesh: Positional[Path],
    /,
    output: Output,
    mouth: Path | None = None,
    upper_face: Path | None = None,
    eyelids: Path | None = None,
    lips: Path | None = None,
    axes: str | None = None,
) -> None:
    """Take regions from vertex colours, or from a file for each; inner lips are found between painted lips.

    Without files the mesh's own colours count: red is the mouth, magenta the lips, green the upper face, cyan the eyelids,
    yellow where mouth and upper face overlap; grey, black and white are nothing.

    Args:
        mesh: face at rest (.ply, .obj, .glb, .vrm), with your data's vertices in their order.
        output: topology to write (.npz), for `corpus convert --topology` or `regions apply`; a picture goes beside it (.png).
        mouth: mesh with the region in any colour, or list of vertex numbers or weights (.npy, .txt, .csv).
        upper_face: the same of the upper face.
        eyelids: the same of the eyelids.
        lips: the same of the lips.
        axes: the mesh's axes that are left, up and out of the face, such as x,z,-y where z is up.
    """
    from meshtalk.regions.face import read_mesh_face
    from meshtalk.regions.painted import regions_from_paint
    from meshtalk.regions.result import check_output, save_regions

    check_output(output)
    given = {"mouth": mouth, "upper_face": upper_face, "eyelids": eyelids, "lips": lips}
    files = {name: path for name, path in given.items() if path is not None}
    print(save_regions(regions_from_paint(read_mesh_face(mesh, axes), mesh, files), output))


def motion(corpus: Positional[Path], /, output: Output) -> None:
    """Find the regions by what a corpus does: its mouth is what opens in speech, its lids are what falls in blinks.

    Args:
        corpus: corpus folder; some seconds of speech with three blinks are enough, minutes are better.
        output: topology to write (.npz), for `regions apply`; a picture goes beside it (.png).
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.regions.motion import regions_from_motion
    from meshtalk.regions.result import check_output, save_regions

    check_output(output)
    print(save_regions(regions_from_motion(Corpus.open(corpus)), output))


def apply(corpus: Positional[Path], regions: Positional[Path], /) -> None:
    """Give a corpus regions and inner lips, in place of those it may have; no clip is made again.

    Args:
        corpus: corpus folder.
        regions: topology of its mesh (.npz), as the other verbs here write it.
    """
    from meshtalk.regions.result import apply as run

    given = run(corpus, regions)
    print(f"{given.root} has regions {given.topology.region_hash}: {', '.join(given.topology.regions)}")


def show(source: Positional[Path], /, output: Output, mesh: Path | None = None, axes: str | None = None) -> None:
    """Draw the regions of a topology, a clip, a model or a corpus.

    Args:
        source: .npz of a topology or a clip, or folder of a model or a corpus.
        output: picture to write (.png).
        mesh: the mesh of a topology, which says which vertices but not where they are.
        axes: of that mesh: those that are left, up and out of the face, such as x,z,-y where z is up.
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
