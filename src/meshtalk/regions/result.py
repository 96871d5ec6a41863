"""Output of all methods: the topology with its regions as a file, a picture beside it, and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meshtalk.corpus.store import Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.files import check_picture, check_writable
from meshtalk.mesh.topology import ADVICE, REGIONS, Topology, lip_opening_m
from meshtalk.regions.draw import draw_regions
from meshtalk.regions.face import Face


def check_output(path: str | Path) -> Path:
    """Check early that an output can be written; returns its path.

    Raises:
        InputError: another suffix than .npz, or it or the picture of its name cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError(f"regions must be written to .npz, got {path}")
    check_writable(path)
    check_picture(path.with_suffix(".png"))
    return path


def save_regions(face: Face, path: str | Path) -> str:
    """Write the topology as `path` (.npz) and the picture to check it by beside it (.png); the report of both.

    Raises:
        InputError: see `check_output`.
    """
    path = check_output(path)
    picture = draw_regions(face, path.with_suffix(".png"))
    face.topology.save(path)
    return f"{report(face)}\n{path}\n{picture}: review it before training"


def apply(root: str | Path, path: str | Path) -> Corpus:
    """Set the regions and landmarks of the corpus in folder `root` from a topology file; clips do not change.

    Raises:
        InputError: no corpus or file, a file of another mesh, or one without regions.
    """
    corpus, given = Corpus.open(root), Topology.load(path)
    corpus.topology.require(given, str(path))
    if not given.regions:
        raise InputError(f"{path} has no regions. {ADVICE}.")
    topology = replace(corpus.topology, regions=given.regions, landmarks=given.landmarks)
    return CorpusWriter(corpus.root, topology, corpus.fps, corpus.licences).finish(corpus.clips)


def report(face: Face) -> str:
    """What a mesh names: vertices of each region, the inner lips and how far apart they are at rest, and what is lacking."""
    topology = face.topology
    lines = [f"topology {topology.hash}: {topology.n_vertices:,} vertices, {len(topology.faces):,} triangles"]
    for name in (*REGIONS, *sorted(set(topology.regions) - set(REGIONS))):
        weights = topology.regions.get(name)
        if weights is not None and np.any(weights > 0):
            lines.append(f"{name}: {np.count_nonzero(weights > 0.5):,} vertices above one half")
        else:
            lines.append(f"{name}: nothing{LACK.get(name, '')}")
    if topology.names_inner_lips:
        pairs = topology.landmarks["lip_inner_upper"]
        share = float(lip_opening_m(face.vertices, topology)) / max(mouth_width(face.vertices, topology), 1e-12)
        lines.append(f"inner lips: {len(pairs)} pairs, {share:.1%} of the mouth's width apart at rest")
    else:
        lines.append("inner lips: nothing; measures need them")
    return "\n".join(lines)


LACK = {
    "mouth": "; training needs it",
    "upper_face": "; training needs it",
    "eyelids": "; training needs it",
    "lips": "; measures need it",
}


def mouth_width(vertices: np.ndarray, topology: Topology) -> float:
    """Extent of the lips along X (of the mouth, where no lips are named), in the vertices' unit."""
    weights = topology.regions.get("lips", topology.regions.get("mouth", np.zeros(len(vertices))))
    inside = vertices[np.asarray(weights) > 0.5, 0]
    return float(np.ptp(inside)) if len(inside) else 0.0
