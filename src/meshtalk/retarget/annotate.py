"""What a clip's readers ask of a mesh: regions, parts, landmarks and where its lips meet, carried from the packaged head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import DESCRIPTIONS
from meshtalk.mesh.surface import Surface
from meshtalk.mesh.topology import Topology
from meshtalk.retarget import pieces as kinds
from meshtalk.retarget.correspond import STILL_M, nearest
from meshtalk.retarget.find import Found
from meshtalk.retarget.source_head import load_model

COLUMNS = 7
"""Pairs of lips that are looked for, evenly across the middle of the mouth; coarse meshes give fewer."""
ACROSS = 0.4
"""Of the width of the lips, which end a little beyond the corners: where pairs are looked for."""
CONTACT = 0.01
"""Of the mouth's width: gaps that are wider by no more than this are the same contact, and its front counts."""


def described(topology: Topology, found: Found) -> Topology:
    """The topology of a mesh with regions, parts and landmarks of the face that was found on it.

    A vertex takes what the nearest place of the laid head has whose surface faces the same way. The head is laid as it was
    found: tied to the slits (`fit.settle`) it would move better and tell regions worse (lids on coarse meshes 0.75 for 0.88).
    """
    head, model = load_head().topology, load_model()
    assert head.parts is not None
    mesh, kind = found.mesh, found.pieces.kind
    rows = np.flatnonzero((kind == kinds.SKIN) | (kind == kinds.ON_SKIN))
    face, shares, away_m, _ = nearest(model, found.fit.skin, {}, rows, mesh.vertices[rows], mesh.normals[rows])
    source = model.rows[model.surface.faces[face]]
    regions = {name: np.zeros(len(kind)) for name in head.regions}
    for name, weights in head.regions.items():
        regions[name][rows] = (weights[source] * shares).sum(1) * (away_m < STILL_M)
    names = (*head.part_names, "other")
    parts = np.full(len(kind), names.index("other"), np.uint8)
    parts[kind == kinds.SKIN] = names.index("skin")
    most = head.parts[source[np.arange(len(rows)), shares.argmax(1)]]
    for name in ("inner_mouth", "eye_socket"):
        parts[rows[(most == names.index(name)) & (away_m < STILL_M) & (kind[rows] == kinds.SKIN)]] = names.index(name)
    for number in (kinds.EYE_LEFT, kinds.EYE_RIGHT, kinds.UPPER_TEETH, kinds.LOWER_TEETH, kinds.TONGUE):
        part = parts[kind == number] = names.index(kinds.KINDS[number])
        for region, weights in head.regions.items():
            regions[region][kind == number] = weights[head.parts == part].mean()
    regions = {name: np.clip(weights, 0, 1)[found.weld].astype(np.float32) for name, weights in regions.items()}
    lips = inner_lips(Surface(mesh.vertices[found.weld], topology.faces), regions["lips"])
    return replace(
        topology,
        regions=regions,
        landmarks=_landmarks(found, *lips),
        parts=parts[found.weld],
        part_names=names,
    )


def _landmarks(found: Found, upper: np.ndarray, lower: np.ndarray) -> dict[str, np.ndarray]:
    model, points = load_model(), found.mesh.vertices
    head, skin = load_head(), found.fit.skin

    def nearest_of(kind: int, places: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(found.pieces.kind == kind)
        return found.first[rows[KDTree(points[rows]).query(places)[1]]].astype(np.int32)

    marks = {name: nearest_of(kinds.SKIN, skin[[model.row(name)]]) for name in DESCRIPTIONS}
    marks["lip_corners"] = np.concatenate([marks["mouth_right"], marks["mouth_left"]])
    if len(upper):
        marks["lip_inner_upper"], marks["lip_inner_lower"] = upper, lower
    if (found.pieces.kind == kinds.UPPER_TEETH).any():
        edge = head.neutral[head.topology.landmarks["upper_teeth"]].astype(np.float64)
        marks["upper_teeth"] = np.unique(nearest_of(kinds.UPPER_TEETH, model.beside("lips", skin, edge)[0]))
    return marks


def inner_lips(mesh: Surface, lips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of vertices that lie on each other when the mouth is shut, the foremost of the contact.

    Upper and lower lip are told apart along the surface: which of the region's upper and lower rim is nearer.

    Args:
        mesh: any unit, +Y up, +Z out of the face, lips shut or a little open.
        lips: (V,) weights of the lips in [0,1].

    Returns:
        (n,) int32 indices of the upper and (n,) of the lower lip, from -X to +X; n is 0 where none are found.
    """
    none = np.zeros(0, np.int32)
    inside = np.flatnonzero(lips > 0.5)
    if len(inside) < 4:
        return none, none
    x = mesh.vertices[inside, 0]
    width, middle = float(np.ptp(x)), float(x.min() + x.max()) / 2
    core = inside[np.abs(x - middle) <= 0.25 * width]
    if len(core) < 2 or not width > 0:
        return none, none
    y = mesh.vertices[core, 1]
    rim = 0.15 * np.ptp(y)
    to_upper, to_lower = mesh.ways(core[y >= y.max() - rim]), mesh.ways(core[y <= y.min() + rim])
    inside = inside[np.abs(x - middle) <= 0.75 * ACROSS * width]
    upper, lower = inside[(to_upper < to_lower)[inside]], inside[(to_lower < to_upper)[inside]]
    if not len(upper) or not len(lower):
        return none, none
    above, below = mesh.vertices[upper][:, None], mesh.vertices[lower][None]
    # an opening is vertical, and lips touch in a patch: how high they are apart counts twice, how deep a third
    gap = np.linalg.norm((above - below) * [1, 2, 0.3], axis=2)
    column, depth = (above + below)[..., 0] / 2 - middle, (above + below)[..., 2]
    step = ACROSS * width / (COLUMNS - 1)
    found: list[tuple[int, int]] = []
    for k in range(COLUMNS):
        here = (np.abs(column - (k - COLUMNS // 2) * step) <= step / 2) & (np.abs(above - below)[..., 0] <= step)
        if here.any():
            touching = here & (gap <= gap[here].min() + CONTACT * width)
            u, w = np.unravel_index(np.argmax(np.where(touching, depth, -np.inf)), gap.shape)
            # where vertices are sparse, two columns may have the same one nearest
            if not any(upper[u] == one or lower[w] == other for one, other in found):
                found.append((int(upper[u]), int(lower[w])))
    pairs = np.array(found, np.int32).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
