"""Motion transfer from the packaged head to another mesh: a linear map for one person's face and one mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import diags

from meshtalk.jit import compiled
from meshtalk.mesh.head import Seam, load_head
from meshtalk.mesh.landmarks import head_landmarks
from meshtalk.mesh.surface import crosses, laplacian, sphere
from meshtalk.retarget.source_head import load_model

STRETCH = (0.4, 2.5)
"""Least and most that motion is scaled in any direction."""
ROUNDS = 40
"""Of smoothing: how a face is stretched is told over a centimetre, not from triangle to triangle."""
EVEN = 1.0
"""Weight of even corrections along a slit against exact ones."""
LIDS_RATIO = (0.2, 4.0)
"""Least and most height of a mesh's eye, that of the person's being 1."""


@dataclass(frozen=True, eq=False)
class Contacts:
    """The slits of a mesh with V vertices that have both edges, all their columns one after the other (K)."""

    points: np.ndarray
    """(K,4) int32 vertices: two of the upper and two of the lower edge."""
    shares: np.ndarray
    """(K,4) float64."""
    slit: np.ndarray
    """(K,) which of SLITS."""
    column: np.ndarray
    """(K,) which of the head's columns."""

    def opening(self, moves: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(…,K) how far the edges of (…,V,3) vertices or displacements are apart along (3,) `up`."""
        corner = moves[..., self.points, :] @ up * self.shares
        return corner[..., :2].sum(-1) - corner[..., 2:].sum(-1)

    def edges(self, moves: np.ndarray) -> np.ndarray:
        """(…,K,2,3) where the upper and the lower edge of (…,V,3) vertices or displacements are."""
        corner = moves[..., self.points, :] * self.shares[..., None].astype(moves.dtype)
        return np.stack([corner[..., :2, :].sum(-2), corner[..., 2:, :].sum(-2)], -2)


@dataclass(frozen=True, eq=False)
class Unroll:
    """J moves that keep the rims of slits from rolling over; each goes with the motion of the edges of K contacts."""

    rows: np.ndarray
    """(b,) int32 vertices of the mesh."""
    moves: np.ndarray
    """(b,3,J) float32 metres."""
    levers: np.ndarray
    """(J,K,2,3) float32: how much of each there is for a metre that the upper and the lower edge of a contact goes."""


NO_UNROLL = Unroll(np.zeros(0, np.int32), np.zeros((0, 3, 0), np.float32), np.zeros((0, 0, 2, 3), np.float32))


@dataclass(frozen=True, eq=False)
class Part:
    """A rigid part of a mesh that follows one of the head's."""

    source: np.ndarray
    """(n,) vertices of the head."""
    vertices: np.ndarray
    """(m,) of the mesh."""
    away: np.ndarray
    """(m,3) metres in the head's space, from the point that stands for the head's centre."""
    round: bool
    """Whether it turns about the middle of a sphere, as an eye does; else about its own mean."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Binding:
    """How one mesh of W vertices is bound to the packaged head. Metres, +Y up, +Z out of the face."""

    template: np.ndarray
    """(W,3) float32 metres: the mesh at rest, lips closed."""
    fit: np.ndarray
    """(n,3) float32 metres: the packaged head's flexible vertices laid over the mesh, in the head's space."""
    turn: np.ndarray
    """(3,3) from the head's space to the mesh's: a rotation and a size."""
    rows: np.ndarray
    """(a,) int32 vertices that move with the skin."""
    source: np.ndarray
    """(a,k) int32: the head's vertices they move with."""
    shares: np.ndarray
    """(a,k) float32: how much with each; they add to the part of the motion they take."""
    contacts: Contacts
    parts: Mapping[str, Part]
    """Eyes and what hangs on the jaw."""
    unroll: Unroll = NO_UNROLL


@compiled(fastmath=True)
def carry(moves, source, shares, frames, rows, out):  # type: ignore[no-untyped-def]
    """out[rows] = frames · Σ shares · moves[source], for a rows with several sources each."""
    for a in range(len(rows)):
        x = y = z = np.float32(0)
        for k in range(source.shape[1]):
            share, s = shares[a, k], source[a, k]
            x += share * moves[s, 0]
            y += share * moves[s, 1]
            z += share * moves[s, 2]
        v = rows[a]
        for c in range(3):
            out[v, c] = frames[a, c, 0] * x + frames[a, c, 1] * y + frames[a, c, 2] * z


class Transfer:
    """Carries displacements of one person of the packaged head, (V,3) metres, to a mesh that is bound to it."""

    def __init__(self, person: np.ndarray, bound: Binding) -> None:
        model, head = load_model(), load_head()
        template, turn, contacts = person.astype(np.float64), bound.turn, bound.contacts
        rows, source, shares = bound.rows, bound.source, bound.shares
        self.n_source, self.n_vertices = len(template), len(bound.template)
        frames = np.zeros((len(template), 3, 3))
        frames[model.rows] = stretch(template[model.rows], bound.fit, model.surface.faces)
        self._rows, self._source, self._shares = rows, source, np.ascontiguousarray(shares, np.float32)
        amount = np.maximum(shares.sum(1), 1e-9)
        mean = np.einsum("ak,akij->aij", shares / amount[:, None], frames[source])
        self._frames = np.ascontiguousarray(turn @ mean, np.float32)
        self.up = turn[:, 1] / np.linalg.norm(turn[:, 1])
        self._contacts, self._unroll = contacts, bound.unroll
        self._seams = seams = list(head.seams.values())
        vertical = np.einsum(
            "i,kij,j->k", self.up, turn @ frames[np.concatenate([s.upper for s in seams])], [0.0, 1, 0]
        )
        start = np.cumsum([0, *(len(s.upper) for s in seams)])[contacts.slit] + contacts.column
        own = self._openings(template)[start]
        gap = contacts.opening(bound.template.astype(np.float64), self.up)
        scale = np.linalg.norm(turn[:, 1])
        lids = np.clip(gap / np.maximum(own, 1e-4), LIDS_RATIO[0] * scale, LIDS_RATIO[1] * scale)
        self._ratio = np.where(contacts.slit == 0, vertical[start], lids)
        self._start = start
        self._fields(head.seams, rows, source, shares)
        self._parts = [_rigid(template, part, frames, turn) for part in bound.parts.values()]

    def _fields(self, seams: Mapping[str, Seam], rows: np.ndarray, source: np.ndarray, shares: np.ndarray) -> None:
        """Moves along `up` that change the opening of one column by one, the same as the head's own."""
        contacts = self._contacts
        columns = []
        for slit, seam in enumerate(seams.values()):
            values = np.zeros((self.n_source, seam.field.shape[1]))
            values[seam.rows] = seam.field
            columns.append(np.einsum("ak,akc->ac", shares, values[source])[:, contacts.column[contacts.slit == slit]])
        field = np.concatenate(columns, 1) if len(contacts.slit) else np.zeros((len(rows), 0))
        whole = np.zeros((self.n_vertices, field.shape[1]))
        whole[rows] = field
        corner = whole[contacts.points] * contacts.shares[..., None]
        answer = corner[:, :2].sum(1) - corner[:, 2:].sum(1)
        # less than the inverse: neighbouring columns are corrected alike, or the edges would come out jagged
        bend = np.zeros((len(answer), len(answer)))
        for k in np.flatnonzero(contacts.slit[:-2] == contacts.slit[2:]):
            bend[k + 1, k : k + 3] = 1, -2, 1
        solve = np.linalg.solve(answer.T @ answer + EVEN * bend.T @ bend + 1e-3 * np.eye(len(answer)), answer.T)
        moved = np.flatnonzero(np.abs(field).max(1, initial=0) > 1e-4)
        self._field_rows = rows[moved]
        self._field = (field[moved] @ solve).astype(np.float32)

    def apply(self, moves: np.ndarray) -> np.ndarray:
        """(T,V,3) displacements of the head → (T,W,3) float32 metres of the mesh."""
        out = np.zeros((len(moves), self.n_vertices, 3), np.float32)
        for frame, move in enumerate(np.ascontiguousarray(moves, np.float32)):
            self._frame(move, out[frame])
        return out

    def opened(self, change: np.ndarray) -> np.ndarray:
        """(W,3) float32 metres: moves that add (K,) to the opening of the mesh's contacts."""
        moves = np.zeros((self.n_vertices, 3), np.float32)
        moves[self._field_rows] = (self._field @ change)[:, None] * self.up
        return moves

    def _openings(self, vertices: np.ndarray) -> np.ndarray:
        """(K,) vertical distances of the edges of all the head's seams, of (V,3) vertices or displacements."""
        return np.concatenate([seam.opening_m(vertices) for seam in self._seams])

    def _frame(self, move: np.ndarray, out: np.ndarray) -> None:
        carry(move, self._source, self._shares, self._frames, self._rows, out)
        if len(self._start):
            wanted = self._ratio * self._openings(move)[self._start]
            change = self._field @ (wanted - self._contacts.opening(out, self.up)).astype(np.float32)
            out[self._field_rows] += change[:, None] * self.up.astype(np.float32)
        if len(self._unroll.rows):
            levers = np.tensordot(self._unroll.levers, self._contacts.edges(out), 3)
            out[self._unroll.rows] += self._unroll.moves @ levers
        for source, fitted, vertices, away, turn, shift in self._parts:
            linear = fitted @ move[source]  # (4,3): a matrix and a shift
            out[vertices] = away @ (linear[:3] @ turn.T) + linear[3] @ shift.T


def _rigid(template: np.ndarray, part: Part, frames: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, ...]:
    """What `apply` needs of a part: least squares of an affine motion, about the centre that the mesh's part has too."""
    points = template[part.source]
    centre = sphere(points)[0] if part.round else points.mean(0)
    local = np.c_[points - centre, np.ones(len(points))]
    fitted = np.linalg.solve(local.T @ local + 1e-9 * np.eye(4), local.T)
    shift = turn
    if not part.round:  # the jaw goes as far as the lip and the chin before it
        marks = head_landmarks()
        shift = turn @ frames[[marks["lip_lower_outer"], marks["chin"]]].mean(0)
    values = (fitted, part.vertices, part.away, turn, shift)
    return (part.source, *(v if v.dtype.kind in "iu" else v.astype(np.float32) for v in values))


def stretch(template: np.ndarray, fit: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(n,3,3) how the surface around each of n points is turned and stretched from `template` to `fit`, smoothly.

    Deformation gradients of triangles with their normals (Sumner and Popović, 2004), the mean over each point's
    triangles and neighbours.
    """

    def sides(points: np.ndarray) -> np.ndarray:
        a, b, c = points[faces].transpose(1, 0, 2)
        normal = crosses(points[faces])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        return np.stack([b - a, c - a, normal / np.sqrt(np.maximum(length, 1e-14))], 2)

    rest, posed = sides(template), sides(fit)
    size = np.linalg.det(rest)
    good = size > 1e-13
    gradient = np.zeros((len(faces), 3, 3))
    gradient[good] = posed[good] @ np.linalg.inv(rest[good])
    weight = np.where(good, np.abs(size) ** (2 / 3), 0.0)
    corners = faces.ravel()
    total = np.bincount(corners, np.repeat(weight, 3), len(template))
    flat = (gradient * weight[:, None, None]).reshape(-1, 9)
    mean = np.stack([np.bincount(corners, np.repeat(flat[:, k], 3), len(template)) for k in range(9)], 1)
    mean /= np.maximum(total, 1e-15)[:, None]
    spread = diags(np.ones(len(template))) - 0.5 * laplacian(template, faces)
    for _ in range(ROUNDS):
        mean = spread @ mean
    u, s, v = np.linalg.svd(mean.reshape(-1, 3, 3))
    turned = np.linalg.det(u @ v) < 0
    u[turned, :, 2] *= -1
    return u @ (np.clip(s, *STRETCH)[:, :, None] * v)
