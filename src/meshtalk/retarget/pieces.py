"""Classification of a mesh's connected pieces: skin, brows and lashes, eyeballs, teeth, and rigid parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshtalk.mesh.head import load_head
from meshtalk.mesh.surface import Surface, sphere
from meshtalk.retarget.source_head import Model

KINDS = ("still", "skin", "on_skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue")
STILL, SKIN, ON_SKIN, EYE_LEFT, EYE_RIGHT, UPPER_TEETH, LOWER_TEETH, TONGUE = range(len(KINDS))
LEAST_SHARE = 0.02
"""Of the face's front: a piece that makes up as much is skin."""
ON_SKIN_M = 0.008
"""Brows, lashes and stubble are nearer to the skin than this; hair is not."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Of a mesh with P points."""

    kind: np.ndarray
    """(P,) uint8 index into KINDS."""
    eyes: np.ndarray
    """(2,3) metres: centres of the left and the right eyeball, NaN where none was found."""


def eye_spheres() -> tuple[np.ndarray, np.ndarray]:
    """((2,3) centres, (2,) radii) of the packaged head's eyeballs, metres."""
    head = load_head()
    balls = [head.topology.parts == head.topology.part_names.index(KINDS[k]) for k in (EYE_LEFT, EYE_RIGHT)]
    centres, radii = zip(*(sphere(head.neutral[ball].astype(np.float64)) for ball in balls), strict=True)
    return np.stack(centres), np.array(radii)


def find_pieces(model: Model, skin: np.ndarray, mesh: Surface) -> Pieces:
    """Tell the pieces of a mesh apart.

    Args:
        model: the packaged head.
        skin: (n,3) metres: its flexible vertices, laid over the mesh.
        mesh: in the head's space.
    """
    number = mesh.pieces
    count = number.max() + 1
    kind = np.full(count, STILL, np.uint8)
    face, distance = mesh.closest(skin[model.front])
    hit = distance < 0.006
    piece = number[mesh.faces[face, 0]]
    share = np.bincount(piece[hit], model.trust[model.front][hit], count) / model.trust.sum()
    kind[share >= LEAST_SHARE] = SKIN
    if not (kind == SKIN).any():
        kind[share.argmax()] = SKIN
    low, high = (np.full((count, 3), sign * np.inf) for sign in (1, -1))
    np.minimum.at(low, number, mesh.vertices)
    np.maximum.at(high, number, mesh.vertices)
    middle = np.stack([np.bincount(number, mesh.vertices[:, k], count) for k in range(3)], 1)
    middle /= np.maximum(np.bincount(number, minlength=count), 1)[:, None]
    loose = np.flatnonzero(kind != SKIN)
    eyes = np.full((2, 3), np.nan)
    for side, name in enumerate(("lids_left", "lids_right")):
        eyes[side] = _find_eye(model, skin, mesh, number, loose, side, name, kind)
    loose = np.flatnonzero(kind == STILL)
    _find_teeth(model, skin, mesh.vertices, number, loose, low, high, kind)
    loose = np.flatnonzero(kind == STILL)
    rows = np.flatnonzero(np.isin(number, loose))
    if len(rows):
        face, distance = Surface(skin, model.surface.faces).closest(mesh.vertices[rows])
        close = (distance < ON_SKIN_M) & (model.trust[model.surface.faces[face]] > 0).any(1)
        near = np.bincount(number[rows], close, count) / np.maximum(np.bincount(number[rows], minlength=count), 1)
        kind[loose[near[loose] > 0.8]] = ON_SKIN
    return Pieces(kind[number], eyes)


def _find_eye(model, skin, mesh, number, loose, side, name, kind):  # type: ignore[no-untyped-def]
    """(3,) centre of an eyeball; marks its pieces in `kind`. NaN if there is none."""
    centres, radii = eye_spheres()
    expected, scale = model.beside(name, skin, centres[side])
    radius = scale * radii[side]
    away = np.linalg.norm(mesh.vertices - expected, axis=1)
    furthest = np.zeros(len(kind))
    np.maximum.at(furthest, number, away)
    inside = loose[furthest[loose] < 2.0 * radius]
    points = {k: mesh.vertices[number == k] for k in inside}
    balls = [k for k in inside if len(points[k]) >= 8 and np.ptp(points[k], axis=0).max() > 0.9 * radius]
    fitted = {k: sphere(points[k]) for k in balls}
    # lashes and lids are no spheres
    round_ = {
        k: size
        for k, (centre, size) in fitted.items()
        if 0.5 * radius < size < 1.7 * radius
        and np.abs(np.linalg.norm(points[k] - centre, axis=1) - size).mean() < 0.08 * size
    }
    if not round_:
        return np.full(3, np.nan)
    ball = max(round_, key=lambda k: len(points[k]))
    centre, size = fitted[ball]
    for k in inside:
        if np.linalg.norm(points[k] - centre, axis=1).max() < 1.2 * size:
            kind[k] = EYE_LEFT + side
    return centre


def _find_teeth(model, skin, points, number, loose, low, high, kind):  # type: ignore[no-untyped-def]
    """Mark pieces inside the mouth: those above the contact of the lips belong to the skull, those below to the jaw."""
    lip = np.mean(model.edges("lips", skin), axis=(0, 1))
    scale = model.beside("lips", skin, lip)[1]
    front = skin[model.seams["lips"].upper, 2].max()
    least = [lip[0] - 0.042 * scale, lip[1] - 0.040 * scale, front - 0.11 * scale]
    most = [lip[0] + 0.042 * scale, lip[1] + 0.040 * scale, front + 0.004 * scale]
    for k in loose:
        if (low[k] < least).any() or (high[k] > most).any():
            continue
        y = points[number == k, 1]
        above, below = float((y > lip[1]).mean()), high[k, 1] - lip[1]
        if below > 0.012 * scale and lip[1] - low[k, 1] > 0.012 * scale and 0.2 < above < 0.8:
            kind[k] = SKIN  # the inside of the mouth, not joined to the lips
        elif above > 0.5:
            kind[k] = UPPER_TEETH
        else:
            long = high[k, 2] - low[k, 2] > high[k, 0] - low[k, 0]
            kind[k] = TONGUE if long else LOWER_TEETH
