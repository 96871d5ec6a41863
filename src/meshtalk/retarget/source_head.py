"""The packaged head as what is laid over other meshes: its flexible skin, how people differ, and which side of a slit is which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from meshtalk.mesh.head import Seam, load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.surface import Surface, crosses
from meshtalk.mesh.topology import vertex_normals

SLITS = ("lips", "lids_left", "lids_right")
ENDS = {
    "lips": ("mouth_right", "mouth_left"),
    "lids_left": ("eye_inner_left", "eye_outer_left"),
    "lids_right": ("eye_outer_right", "eye_inner_right"),
}
"""Slit → landmarks of its corners, -X first."""
ROOF_M = (3e-4, 2e-3)
"""What a blink moves by so much inside the mouth is its roof, wholly from the second on."""
KINDS = 20
"""Principal components of the packaged people."""


@dataclass(frozen=True, eq=False)
class Model:
    """The part of the head that is one surface (skin, inner mouth, eye sockets) with n of its V vertices."""

    rows: np.ndarray
    """(n,) vertices of the head."""
    surface: Surface
    """Of those rows, metres, the default person."""
    kinds: np.ndarray
    """(KINDS,n,3) metres: one standard deviation of how people differ."""
    skin: np.ndarray
    """(n,) bool."""
    trust: np.ndarray
    """(n,) in [0,1]: how much of a face is expected to be on another mesh there, by area."""
    sides: dict[str, np.ndarray]
    """Slit → (n,) metres along the surface from the slit's edge, positive above, negative below; NaN far away."""
    seams: dict[str, Seam]
    """The head's own, with rows for vertices."""
    corners: dict[str, np.ndarray]
    """Slit → (2,) rows where it ends, -X first."""
    loose: np.ndarray
    """(n,) in [0,1]: 0 for the roof of the mouth, which belongs to the skull; the packaged head's goes with its lids."""

    @cached_property
    def front(self) -> np.ndarray:
        """Rows of the face that are looked for on another mesh."""
        return np.flatnonzero(self.trust > 0)

    def row(self, landmark: str) -> int:
        """Of a landmark."""
        return int(np.searchsorted(self.rows, head_landmarks()[landmark]))

    def normals(self, skin: np.ndarray) -> np.ndarray:
        """(n,3) unit normals of (n,3) rows elsewhere."""
        return vertex_normals(skin, self.surface.faces)

    def beside(self, slit: str, skin: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, float]:
        """((…,3) where places of the head beside a slit are, by its corners, beside that of (n,3) rows elsewhere, how much
        larger that one is)."""
        ours, theirs = self.surface.vertices[self.corners[slit]], skin[self.corners[slit]]
        scale = float(np.linalg.norm(theirs[1] - theirs[0]) / np.linalg.norm(ours[1] - ours[0]))
        return theirs.mean(0) + scale * (places - ours.mean(0)), scale

    def edges(self, name: str, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((K,3) upper, (K,3) lower) edge of a slit in its columns, of (n,3) rows."""
        seam = self.seams[name]
        a, b = skin[seam.lower[:, 0]], skin[seam.lower[:, 1]]
        return skin[seam.upper], a + seam.share[:, None] * (b - a)


@cache
def load_model() -> Model:
    """The packaged head, prepared once."""
    head = load_head()
    topology, neutral = head.topology, head.neutral.astype(np.float64)
    parts = topology.parts
    assert parts is not None
    part = {name: parts == number for number, name in enumerate(topology.part_names)}
    flexible = part["skin"] | part["inner_mouth"] | part["eye_socket"]
    rows = np.flatnonzero(flexible)
    number = np.full(len(neutral), -1)
    number[rows] = np.arange(len(rows))
    faces = number[topology.faces[flexible[topology.faces].all(1)]]
    surface = Surface(neutral[rows], faces)
    people = np.stack([person.template[rows] for person in head.people]).astype(np.float64) - neutral[rows]
    people -= people.mean(0)
    _, size, kinds = np.linalg.svd(people.reshape(len(people), -1), full_matrices=False)
    kinds = (size / np.sqrt(len(people)))[:KINDS, None] * kinds[:KINDS]
    skin = part["skin"][rows]
    x, y, z = surface.vertices.T
    front = (z > 0.015) & (y > -0.10) & (y < 0.085) & (np.abs(x) < 0.072) & skin
    area = np.linalg.norm(crosses(surface.vertices[faces]), axis=1)
    share = np.zeros(len(rows))
    for k in range(3):
        np.add.at(share, faces[:, k], area / 6)
    # dense lips and lids count more than their area, or they would be lost beside the forehead
    trust = front * np.sqrt(share / np.median(share[front])).clip(0.2, 2.0)
    seams = {
        name: replace(seam, upper=number[seam.upper], lower=number[seam.lower], rows=number[seam.rows])
        for name, seam in head.seams.items()
    }
    corners = {name: number[[head_landmarks()[mark] for mark in marks]] for name, marks in ENDS.items()}
    kinds = kinds.reshape(-1, len(rows), 3)
    return Model(rows, surface, kinds, skin, trust, _sides(surface, seams), seams, corners, _loose(rows, part))


def _loose(rows: np.ndarray, part: Mapping[str, np.ndarray]) -> np.ndarray:
    topology = load_head().topology
    assert topology.shapes is not None
    blink = topology.shapes[[topology.shape_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]].sum(0)
    fixed = np.clip((np.linalg.norm(blink[rows], axis=1) - ROOF_M[0]) / (ROOF_M[1] - ROOF_M[0]), 0, 1)
    return np.where(part["inner_mouth"][rows], 1 - fixed * fixed * (3 - 2 * fixed), 1.0)


def _sides(surface: Surface, seams: Mapping[str, Seam]) -> dict[str, np.ndarray]:
    sides = {}
    reach = {"lips": 0.030, "lids_left": 0.016, "lids_right": 0.016}
    for name in SLITS:
        seam = seams[name]
        to_upper, to_lower = (surface.ways(np.unique(edge)) for edge in (seam.upper, seam.lower))
        side = np.where(to_upper < to_lower, to_upper, -to_lower)
        sides[name] = np.where(np.minimum(to_upper, to_lower) <= reach[name], side, np.nan)
    return sides
