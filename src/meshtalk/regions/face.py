"""A neutral mesh with its topology, from meshes, clips, models and corpora."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.files import NUMBERED
from meshtalk.mesh.files import read_face as read_surface
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import parse_axes


@dataclass(frozen=True, eq=False)
class Face:
    """A topology with its vertices at rest."""

    topology: Topology
    vertices: np.ndarray
    """(V,3) float64, in the mesh's own order."""


def read_mesh_face(path: Path, axes: str | None = None) -> Face:
    """A mesh file (.obj, .ply, .glb, .vrm) or a clip (.npz), as it is; `axes` as `corpus convert` takes them.

    Raises:
        InputError: missing or unreadable, without triangles or vertices, NaN, a mesh of no size, or no such axes.
    """
    if path.suffix.lower() == ".npz":
        return read_face(path)
    vertices, topology = read_surface(path, NUMBERED, fewest=4)
    if axes is not None:
        columns, signs = parse_axes(axes)
        vertices = vertices[:, columns] * signs
    return Face(Topology(topology.faces, len(vertices)), vertices)


def read_face(path: Path, mesh: Path | None = None, axes: str | None = None) -> Face:
    """The topology and a face at rest of a corpus (the mean of its people), a model, a clip, or a topology with its mesh.

    Args:
        path: folder of a corpus or a model, or .npz of a clip or of `Topology.save`.
        mesh: where the vertices are, for a topology other than the packaged head's.

    Raises:
        InputError: nothing of these, damaged, or a topology without a mesh.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise InputError(f"there is no topology, clip, model or corpus at {path}")
    if _holds_template(path):
        from meshtalk.clip import Clip

        clip = Clip.load(path)
        return Face(clip.topology, np.asarray(clip.template, np.float64))
    topology = Topology.load(path)
    if mesh is not None:
        vertices = read_mesh_face(mesh, axes).vertices
        if len(vertices) != topology.n_vertices:
            raise InputError(
                f"{mesh} must have the {topology.n_vertices} vertices of {path}, got {len(vertices)}. Give its own mesh."
            )
        return Face(topology, vertices)
    head = load_head()
    if topology.hash != head.topology.hash:
        raise InputError(f"{path} holds no vertex positions. Give --mesh FACE.ply, its neutral mesh.")
    return Face(topology, np.asarray(head.neutral, np.float64))


def _of_folder(path: Path) -> Face:
    if (path / "config.json").is_file():
        from meshtalk.model.checkpoint import load_checkpoint

        model = load_checkpoint(path)
        return Face(model.topology, np.asarray(model.template, np.float64))
    if (path / "manifest.json").is_file():
        from meshtalk.corpus.store import Corpus

        corpus = Corpus.open(path)
        if not corpus.subjects:
            raise InputError(f"the corpus {path} has no people, so no face to draw on")
        return Face(corpus.topology, np.stack([corpus.template(name) for name in corpus.subjects]).mean(0, np.float64))
    raise InputError(f"{path} is neither a model nor a corpus. It must hold config.json or manifest.json.")


def _holds_template(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "template.npy" in archive.namelist()
    except Exception:  # whatever it is, `Topology.load` says so
        return False
