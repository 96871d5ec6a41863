"""Keep triangles at the rims of lips and eyelids from flipping: correction shapes that follow the motion of the edges.

A lid's rim lies across the way that the lid goes, and so do the inner edges of lips: where one end of it goes further
than the other, its triangles turn over half-way. The moves that keep them from it are sought once, when a map is made;
they are linear in the motion of the slit's edges, as all motion that is carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, kron
from scipy.spatial import KDTree

from meshtalk.mesh.head import load_head
from meshtalk.mesh.surface import Surface
from meshtalk.retarget.lift import Poses, lifted
from meshtalk.retarget.map import Map
from meshtalk.retarget.source_head import SLITS
from meshtalk.retarget.transfer import Contacts, Unroll
from meshtalk.retarget.untangle import TOGETHER, alone

PERSONS = ("default", "p05", "p07", "p12")
"""Whose motion is tried: people move a mesh a little differently."""
REACH_M = (0.03, 0.012, 0.012)
"""How far from their edges the rims of lips and lids are looked for."""
MOST_POINTS = 20_000
"""Near one slit: finer meshes would take minutes, and keep their rims as they are carried."""
KINDS = (10, 2, 2)
"""Principal motions of the edges of lips and lids that have moves of their own."""
MIXED = (
    ("mouthFunnel",),
    ("mouthPucker",),
    ("mouthSmileLeft", "mouthSmileRight"),
    ("mouthStretchLeft", "mouthStretchRight"),
    ("mouthUpperUpLeft", "mouthUpperUpRight"),
    ("mouthLowerDownLeft", "mouthLowerDownRight"),
)
MIXTURES = 80
"""Of the jaw and some of `MIXED`."""


def lip_poses() -> list[Mapping[str, float]]:
    """Weights of what lips do in speech: each blendshape alone, some that go together, and mixtures, the same each time."""
    rng = np.random.default_rng(0)
    mixed = []
    for _ in range(MIXTURES):
        weights = {"jawOpen": float(rng.uniform(0, 0.7))}
        for names in MIXED:
            if rng.random() < 0.5:
                weights |= dict.fromkeys(names, float(rng.uniform(0.1, 0.6)))
        mixed.append(weights)
    return [*alone(), *TOGETHER, *mixed]


def lid_poses(side: str) -> list[Mapping[str, float]]:
    """Weights of what one eye (Left or Right) does: blinks in quarters, with squints and gazes, and what it does open."""
    blink, squint, down = f"eyeBlink{side}", f"eyeSquint{side}", f"eyeLookDown{side}"
    return [
        *({blink: amount} for amount in (0.25, 0.5, 0.75, 1.0)),
        *({blink: amount, other: 0.5} for amount in (0.5, 1.0) for other in (squint, down)),
        {blink: 1.0, f"eyeLookUp{side}": 0.5},
        {blink: 1.0, f"cheekSquint{side}": 1.0},
        {squint: 1.0},
        *({f"eye{other}{side}": 0.7} for other in ("LookDown", "LookUp", "LookIn", "LookOut")),
        {f"eyeWide{side}": 1.0},
    ]


def unrolled(made: Map, weld: np.ndarray) -> Map:
    """The same map with moves that keep rims from rolling over.

    Args:
        made: a map without such moves.
        weld: (W,) welded point of each vertex of its mesh.
    """
    head = load_head()
    names, shapes = head.topology.shape_names, head.topology.shapes
    assert shapes is not None
    scale = float(np.linalg.norm(made.turn[:, 1]))
    first = np.unique(weld, return_index=True)[1]
    mesh = Surface(made.template[first].astype(np.float64), weld[made.topology.faces])
    contacts = replace(made.contacts, points=weld[made.contacts.points])
    close = _close(mesh, contacts, scale)
    fine = close.sum(1) > MOST_POINTS
    close[fine] = False
    used = np.flatnonzero(close.any(0))
    free, near = (close & np.isin(first, made.rows))[:, used], _cut(mesh, used)
    moved, went = [], []
    for person in map(head.person, PERSONS):
        carried = made.transfer(person.template).apply(shapes * person.gains[:, None, None])[:, first]
        moved.append(carried[:, used])
        went.append(contacts.edges(carried).astype(np.float64))
    rims, levers = [np.zeros((len(used), 3, 0))], [np.zeros((0, 6 * len(contacts.slit)))]
    for slit, poses in enumerate((lip_poses(), lid_poses("Left"), lid_poses("Right"))):
        mine = contacts.slit == slit
        if fine[slit] or not mine.any():
            continue
        weights = np.array([[pose.get(name, 0.0) for name in names] for pose in poses], np.float32)
        edges = np.concatenate([np.tensordot(weights, edge * mine[:, None, None], 1) for edge in went])
        edges = edges.reshape(len(edges), -1)
        levers.append(_principal(edges, KINDS[slit]))
        posed = np.concatenate([np.tensordot(weights, move, 1) for move in moved])
        held = _held(contacts, mine, made.turn[:, :2].T / scale, len(first))
        held = held[:, (3 * used[:, None] + np.arange(3)).ravel()]
        rims.append(lifted(near, free[slit], Poses(posed, edges @ levers[-1].T), held, scale))
    whole = np.zeros((len(first), 3, sum(len(lever) for lever in levers)), np.float32)
    whole[used] = np.concatenate(rims, 2)
    rows = np.flatnonzero(np.abs(whole[weld]).max((1, 2), initial=0) > 0)
    lever = np.concatenate(levers).reshape(-1, len(contacts.slit), 2, 3).astype(np.float32)
    notes = tuple(
        f"its {SLITS[slit].replace('_', ' ')}: too fine to keep rims from rolling over" for slit in np.flatnonzero(fine)
    )
    return replace(made, unroll=Unroll(rows.astype(np.int32), whole[weld[rows]], lever), notes=made.notes + notes)


def _close(mesh: Surface, contacts: Contacts, scale: float) -> np.ndarray:
    """(slits,P) bool: what lies near the edges of each."""
    edges = contacts.edges(mesh.vertices)
    close = np.zeros((len(REACH_M), len(mesh.vertices)), bool)
    for slit, reach_m in enumerate(REACH_M):
        mine = edges[contacts.slit == slit].reshape(-1, 3)
        if len(mine):
            close[slit] = KDTree(mine).query(mesh.vertices, distance_upper_bound=scale * reach_m)[0] < np.inf
    return close


def _cut(mesh: Surface, rows: np.ndarray) -> Surface:
    """The part of a mesh between some of its points, in their numbers."""
    number = np.full(len(mesh.vertices), -1)
    number[rows] = np.arange(len(rows))
    faces = number[mesh.faces]
    return Surface(mesh.vertices[rows], faces[(faces >= 0).all(1)])


def _principal(went: np.ndarray, count: int) -> np.ndarray:
    """(J,e) levers for the motions that (m,e) poses are mostly made of, J at most `count`; a pose has at most 1 of each."""
    _, size, kinds = np.linalg.svd(went, full_matrices=False)
    kinds = kinds[:count][size[:count] > 1e-6 * size[0]]
    return kinds / np.abs(went @ kinds.T).max(0)[:, None]


def _held(contacts: Contacts, mine: np.ndarray, across: np.ndarray, count: int) -> Any:
    """(h,3P) sparse: how much moves of P points part the edges of chosen columns along (2,3) directions."""
    shares = contacts.shares[mine] * [1, 1, -1, -1]
    row = np.repeat(np.arange(mine.sum()), 4)
    opened: Any = coo_matrix((shares.ravel(), (row, contacts.points[mine].ravel())), (mine.sum(), count))
    return kron(opened, across).tocsc()
