"""Finding the face on a mesh: which way it looks, the packaged head laid over it, and what its pieces are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import rtree  # noqa: F401  # trimesh's closest points fail late without it
from scipy.spatial import KDTree

from meshtalk.errors import InputError
from meshtalk.mesh.surface import Surface, weld
from meshtalk.retarget.detect import find_poses
from meshtalk.retarget.fit import Fit, lay, pose_of
from meshtalk.retarget.pieces import Pieces, find_pieces
from meshtalk.retarget.source_head import Model, load_model

SCORE, FOUND = 0.65, 0.6
"""Least likeness of a face that is looked for, and least share of its front that has to be found on the mesh."""


@dataclass(frozen=True, eq=False)
class Found:
    """A face found on a mesh of W vertices, of which P are places of their own."""

    fit: Fit
    mesh: Surface
    """P vertices in the head's space, metres, its triangles facing outwards."""
    inwards: bool
    """Whether the file has them the other way round."""
    weld: np.ndarray
    """(W,) which of the P each vertex is."""
    first: np.ndarray
    """(P,) a vertex of each."""
    pieces: Pieces


def say_nothing(_: str) -> None:
    pass


def find_face(
    vertices: np.ndarray,
    faces: np.ndarray,
    landmarks: Mapping[str, np.ndarray] | None = None,
    *,
    name: str = "the mesh",
    say: Callable[[str], None] = say_nothing,
) -> Found:
    """Find the face on a mesh.

    Args:
        vertices: (W,3) in any unit and axes.
        faces: (F,3) triangles, wound either way.
        landmarks: name → (3,) place in the mesh's own space; None: they are found.
        name: of the mesh, for messages.
        say: told what is being done.

    Raises:
        InputError: no face was found, or the landmarks fit none.
    """
    number = weld(vertices)
    first = np.unique(number, return_index=True)[1]
    faces, model = number[faces], load_model()
    fit = _lay(Surface(vertices[first], faces), landmarks, name, say)
    mesh = Surface(fit.pose.apply(vertices[first]), faces)
    inwards = _looks_inwards(model, fit, mesh)
    if inwards:
        mesh = Surface(mesh.vertices, faces[:, ::-1])
    say("looking for lips, lids, eyes and teeth")
    return Found(fit, mesh, inwards, number, first, find_pieces(model, fit.skin, mesh))


def _lay(mesh: Surface, landmarks: Mapping[str, np.ndarray] | None, name: str, say: Callable[[str], None]) -> Fit:
    if landmarks:
        poses = [pose_of(landmarks)]
    else:
        say("looking for the face")
        poses = [pose for pose in find_poses(mesh) if pose.score >= SCORE]
    say("laying the head over it")
    best: Fit | None = None
    for pose in poses:
        fit = lay(mesh, pose, landmarks)
        if best is None or fit.found > best.found:
            best = fit
        if fit.found > 0.9:
            break
    if best is None or best.found < FOUND:
        if landmarks:
            raise InputError(
                f"the landmarks of {name} do not lie on a face. Check them, left being the person's own left."
            )
        raise InputError(
            f"no face was found on {name}. Name its landmarks (meshtalk landmarks {name} -o marks.html shows them to click), or"
            " turn it so that it looks along an axis."
        )
    return best


def _looks_inwards(model: Model, fit: Fit, mesh: Surface) -> bool:
    """Whether the mesh's triangles are wound the other way round."""
    nearest = KDTree(mesh.vertices).query(fit.skin[model.front])[1]
    cosine = (mesh.normals[nearest] * model.normals(fit.skin)[model.front]).sum(1)
    return float(cosine @ model.trust[model.front]) < 0
