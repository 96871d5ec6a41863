"""From named landmarks, or the mesh alone: the packaged head's regions, carried to a mesh of any topology, unit and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from meshtalk.mesh.topology import REGIONS
from meshtalk.regions.face import Face
from meshtalk.retarget.annotate import described
from meshtalk.retarget.find import find_face

NAMED = ("lip_inner_upper", "lip_inner_lower", "upper_teeth", "chin", "nose_tip")
"""Landmarks that measures and pictures ask for."""


def regions_from_landmarks(
    face: Face, landmarks: Mapping[str, np.ndarray] | None = None, name: str = "the mesh"
) -> Face:
    """The face with regions, inner lips, upper teeth, chin and nose, turned and scaled to the packaged head's space.

    The packaged head is laid over the mesh, beginning where the landmarks lie on the head's, as `retarget` does; then each
    vertex takes the weights of the nearest place on it whose surface faces the same way.

    Args:
        landmarks: name of `meshtalk.mesh.landmarks` → (3,) point in the mesh's own units and axes, as `read_landmarks` gives; None:
            the face is looked for along the mesh's axes.
        name: of the mesh, for messages.

    Raises:
        InputError: landmarks in one line or one place, left and right exchanged, or none of a face; no face was found.
    """
    found = find_face(face.vertices, face.topology.faces, landmarks, name=name)
    told = described(face.topology, found)
    regions = {region: told.regions[region] for region in REGIONS}
    marks = {mark: told.landmarks[mark] for mark in NAMED if mark in told.landmarks}
    return Face(replace(face.topology, regions=regions, landmarks=marks), found.fit.pose.apply(face.vertices))
