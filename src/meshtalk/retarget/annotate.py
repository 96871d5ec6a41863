"""Transfer of regions, parts and landmarks from the packaged head to a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import DESCRIPTIONS
from meshtalk.mesh.surface import Surface
from meshtalk.mesh.topology import Topology
from meshtalk.retarget import pieces as kinds
from meshtalk.retarget.fit import Fit
from meshtalk.retarget.lip_and_lid_slits import Slit
from meshtalk.retarget.source_head import Model

PART_NAMES = (
    "skin",
    "inner_mouth",
    "eye_socket",
    "eye_left",
    "eye_right",
    "upper_teeth",
    "lower_teeth",
    "tongue",
    "other",
)
_NAMED = {
    kinds.EYE_LEFT: "eye_left", kinds.EYE_RIGHT: "eye_right", kinds.UPPER_TEETH: "upper_teeth",
    kinds.LOWER_TEETH: "lower_teeth", kinds.TONGUE: "tongue", kinds.STILL: "other", kinds.ON_SKIN: "other",
}  # fmt: skip


def described(
    topology: Topology,
    model: Model,
    fit: Fit,
    mesh: Surface,
    first: np.ndarray,
    slits: Mapping[str, Slit],
    kind: np.ndarray,
    source: np.ndarray,
    shares: np.ndarray,
) -> Topology:
    """The topology of a mesh with what was found on it.

    Args:
        fit: the head laid over it.
        mesh: welded, P points, in the head's space.
        first: (P,) a vertex of each point.
        slits: of the mesh.
        kind: (W,) of `KINDS`.
        source: (W,k) the head's vertices that each vertex moves with.
        shares: (W,k) and how much; all 0 for what stays still.
    """
    head = load_head().topology
    assert head.parts is not None
    regions = {name: (weights[source] * shares).sum(1) for name, weights in head.regions.items()}
    for number, name in _NAMED.items():
        if name in head.part_names:
            inside = head.parts == head.part_names.index(name)
            for region, weights in head.regions.items():
                regions[region][kind == number] = weights[inside].mean()
    most = np.take_along_axis(source, shares.argmax(1)[:, None], 1)[:, 0]
    parts = np.full(len(kind), PART_NAMES.index("skin"), np.uint8)
    moving = (kind == kinds.SKIN) & (shares.sum(1) > 0.5)
    for name in ("inner_mouth", "eye_socket"):
        parts[moving & (head.parts[most] == head.part_names.index(name))] = PART_NAMES.index(name)
    for number, name in _NAMED.items():
        parts[kind == number] = PART_NAMES.index(name)
    return replace(
        topology,
        regions={name: np.clip(weights, 0, 1).astype(np.float32) for name, weights in regions.items()},
        landmarks=_landmarks(model, fit, mesh, first, slits, kind),
        parts=parts,
        part_names=PART_NAMES,
    )


def _landmarks(
    model: Model, fit: Fit, mesh: Surface, first: np.ndarray, slits: Mapping[str, Slit], kind: np.ndarray
) -> dict[str, np.ndarray]:
    skin = np.flatnonzero(kind[first] == kinds.SKIN)
    tree = KDTree(mesh.points[skin])

    def nearest(places: np.ndarray) -> np.ndarray:
        return first[skin[tree.query(places)[1]]].astype(np.int32)

    found = {name: nearest(fit.skin[[model.row(name)]]) for name in DESCRIPTIONS}
    found["lip_corners"] = np.concatenate([found["mouth_right"], found["mouth_left"]])
    lips = slits["lips"]
    if lips.open:
        head = load_head()
        # the columns of the head's own pairs
        wanted = [
            int(np.flatnonzero(head.seams["lips"].upper == v)[0]) for v in head.topology.landmarks["lip_inner_upper"]
        ]
        pairs = np.unique([_pair(lips, k) for k in wanted if lips.there[k]], axis=0)
        found["lip_inner_upper"], found["lip_inner_lower"] = first[pairs].T.astype(np.int32)
    else:
        found["lip_inner_upper"], found["lip_inner_lower"] = found["lip_upper_inner"], found["lip_lower_inner"]
    return found


def _pair(lips: Slit, column: int) -> tuple[int, int]:
    """The point of each edge that is nearest to a column."""
    points, shares = lips.points[column], lips.shares[column]
    return int(points[:2][shares[:2].argmax()]), int(points[2:][shares[2:].argmax()])
