"""How much of a mesh turns over in a clip, and how much of that the packaged head's own surface does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix

from meshtalk.clip import Clip
from meshtalk.mesh.head import load_head
from meshtalk.retarget.map import Map


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(T,F,3) of (T,V,3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def areas_mm2(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) of (V,3) metres."""
    return np.linalg.norm(_normals(vertices[None].astype(float), faces)[0], axis=1) / 2 * 1e6


def turned(clip: Clip) -> np.ndarray:
    """(T,F) bool: triangles that look the other way than at rest."""
    rest = _normals(clip.template[None], clip.topology.faces)[0]
    return np.concatenate([(_normals(chunk, clip.topology.faces) * rest).sum(-1) < 0 for chunk in clip.chunks(16)])


def stands_on(made: Map) -> np.ndarray:
    """(F,) the triangle of the head whose corners the corners of each triangle of a mesh move with most; -1: none."""
    head, count = load_head().topology.faces, load_head().topology.n_vertices
    faces, k = made.topology.faces, made.source.shape[1]
    places = (made.shares.ravel(), (np.repeat(made.rows, k), made.source.ravel()))
    shares = coo_matrix(places, (len(made.template), count)).tocsr()
    corners = coo_matrix((np.ones(head.size), (head.ravel(), np.repeat(np.arange(len(head)), 3))), (count, len(head)))
    shared = ((shares[faces[:, 0]] + shares[faces[:, 1]] + shares[faces[:, 2]]) @ corners.tocsr()).tocsr()
    best = np.asarray(shared.argmax(1)).ravel()
    return np.where(np.asarray(shared.max(1).todense()).ravel() > 0, best, -1)


@dataclass(frozen=True)
class Turned:
    """Square millimetres that are turned over in each of T frames."""

    blinks: np.ndarray
    """(T,) bool: frames with the lids on their way."""
    source: np.ndarray
    """(T,) of the head."""
    plain: np.ndarray
    """(T,) of the mesh."""
    beyond: np.ndarray
    """(T,) of the mesh where the triangle of the head that it stands on is not."""
    lids: float
    """Area of the mesh's lids."""
    source_lids: float
    """Area of the head's."""

    def __str__(self) -> str:
        def both(areas: np.ndarray) -> str:
            return f"{areas[self.blinks].mean():.2f} / {areas[~self.blinks].mean():.2f}"

        share, own = (
            1e3 * areas[self.blinks].mean() / lids
            for areas, lids in ((self.plain, self.lids), (self.source, self.source_lids))
        )
        return (
            f"turned over in blinks / elsewhere, mm2: head {both(self.source)}, mesh {both(self.plain)}, beyond the head's"
            f" {both(self.beyond)} (worst frame {self.beyond.max():.2f});"
            f" in blinks, per mille of the lids' area: head {own:.2f}, mesh {share:.2f}"
        )


def measured(made: Map, clip: Clip) -> Turned:
    """What a clip of the head turns over on a mesh."""
    carried, names = made.retarget(clip), load_head().topology.shape_names
    assert clip.weights is not None
    theirs, ours = turned(carried), turned(clip)
    under = stands_on(made)
    allowed = ours[:, np.maximum(under, 0)] & (under >= 0)
    area, own = areas_mm2(carried.template, made.topology.faces), areas_mm2(clip.template, clip.topology.faces)
    lids, own_lids = (
        float(areas[topology.region("eyelids")[topology.faces].mean(1) > 0.5].sum())
        for topology, areas in ((made.topology, area), (clip.topology, own))
    )
    return Turned(
        blinks=clip.weights[:, [names.index(f"eyeBlink{side}") for side in ("Left", "Right")]].max(1) > 0.05,
        source=ours @ own,
        plain=theirs @ area,
        beyond=(theirs & ~allowed) @ area,
        lids=lids,
        source_lids=own_lids,
    )
