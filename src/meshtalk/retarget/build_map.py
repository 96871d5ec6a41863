"""Making a map: find the face and its slits and parts, and say what moves with what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from meshtalk.errors import InputError
from meshtalk.mesh.head import LIPS_APART_M, load_head
from meshtalk.mesh.surface import Surface
from meshtalk.mesh.topology import Topology
from meshtalk.parallel import one_thread
from meshtalk.retarget import pieces as kinds
from meshtalk.retarget.annotate import described
from meshtalk.retarget.correspond import Places, find_places
from meshtalk.retarget.detect import Pose
from meshtalk.retarget.find import Found, find_face, say_nothing
from meshtalk.retarget.fit import Fit, settle
from meshtalk.retarget.lip_and_lid_slits import Slit, find_slit
from meshtalk.retarget.map import Map
from meshtalk.retarget.pieces import Pieces
from meshtalk.retarget.source_head import SLITS, Model, load_model
from meshtalk.retarget.transfer import Contacts, Part
from meshtalk.retarget.unroll import unrolled
from meshtalk.retarget.untangle import poses, untangled

UNITS_M = (1.0, 0.1, 0.01, 0.001, 0.0254, 0.3048)
"""Metre, decimetre, centimetre, millimetre, inch, foot: what a mesh's unit is taken to be if the face then has a human size."""
NEAR_M = 0.16
"""From the middle of the face: where slits are looked for."""
PARTED_M = 1e-3
"""Lips that are further apart at rest are closed once and for all: nobody says p with a gap."""
TILT_DEG, HUMAN = 15.0, 1.3
"""A face is left in its file's axes if it is turned by no more, and in its file's unit if its size is human to this factor."""
ORDERS = tuple(permutations(range(3)))


@one_thread()
def make_map(
    vertices: np.ndarray,
    topology: Topology,
    landmarks: Mapping[str, np.ndarray] | None = None,
    *,
    name: str = "the mesh",
    say: Callable[[str], None] = say_nothing,
) -> Map:
    """Make the map to a mesh.

    Args:
        vertices: (W,3) in any unit and axes.
        topology: its triangles, and its texture if it has one.
        landmarks: name → (3,) place in the mesh's own space; None: they are found.
        name: of the mesh, for messages.
        say: told what is being done.

    Raises:
        InputError: no face was found.
    """
    vertices = np.asarray(vertices, np.float64)
    model, file_hash = load_model(), topology.hash
    found = find_face(vertices, topology.faces, landmarks, name=name, say=say)
    mesh, pose = found.mesh, found.fit.pose
    if found.inwards:
        uv_faces = None if topology.uv_faces is None else topology.uv_faces[:, ::-1]
        topology = replace(topology, faces=topology.faces[:, ::-1], uv_faces=uv_faces)
    flexible = found.pieces.kind == kinds.SKIN
    near = flexible & (np.linalg.norm(mesh.vertices - [0, 0, 0.05], axis=1) < NEAR_M)
    slits = {slit: find_slit(model, found.fit.skin, mesh, near, slit) for slit in SLITS}
    marks = {mark: pose.apply(place) for mark, place in (landmarks or {}).items()}
    fit = settle(model, mesh, found.fit, slits, marks)
    say("finding what moves with what")
    places = find_places(model, fit.skin, mesh, flexible, slits)
    places = _on_skin(mesh, found.pieces, untangled(mesh, places, poses(model, fit.skin)))
    made = _assemble(model, fit, found, vertices, described(topology, found), slits, places)
    say("keeping rims from rolling over")
    return unrolled(sealed(replace(made, mesh=file_hash)), found.weld)


def _on_skin(mesh: Surface, found: Pieces, places: Places) -> Places:
    """Brows and lashes take the place of the skin next to them."""
    worn, skin = np.flatnonzero(found.kind == kinds.ON_SKIN), np.flatnonzero(found.kind == kinds.SKIN)
    if len(worn):
        under = skin[KDTree(mesh.vertices[skin]).query(mesh.vertices[worn])[1]]
        for values in (places.rows, places.shares):
            values[worn] = values[under]
    return places


def space_of(pose: Pose) -> tuple[np.ndarray, float]:
    """((3,3) rotation, metres) that bring a mesh to metres, +Y up, +Z forward.

    Exact quarter turns and a usual unit where they nearly do, so that a mesh stays in line with the scene it is from.
    """
    turns = [
        np.eye(3)[list(order)] * np.array(signs)[:, None] for order in ORDERS for signs in product((1, -1), repeat=3)
    ]
    turns = [turn for turn in turns if np.linalg.det(turn) > 0]
    best = max(turns, key=lambda turn: np.trace(turn @ pose.rotation.T))
    close = (np.trace(best @ pose.rotation.T) - 1) / 2 > np.cos(np.deg2rad(TILT_DEG))
    unit = min(UNITS_M, key=lambda unit: abs(np.log(unit / pose.metres)))
    usual = abs(np.log(unit / pose.metres)) < np.log(HUMAN)
    return best if close else pose.rotation, unit if usual else pose.metres


def _assemble(
    model: Model,
    fit: Fit,
    found: Found,
    vertices: np.ndarray,
    topology: Topology,
    slits: Mapping[str, Slit],
    places: Places,
) -> Map:
    rotation, metres = space_of(fit.pose)
    weld, kind = found.weld, found.pieces.kind[found.weld]
    moving = (places.shares * model.loose[places.rows])[weld]
    rows = np.flatnonzero(moving.sum(1) > 1e-3)
    return Map(
        mesh=topology.hash,
        topology=topology,
        template=(metres * vertices @ rotation.T).astype(np.float32),
        fit=fit.skin.astype(np.float32),
        turn=metres / fit.pose.metres * rotation @ fit.pose.rotation.T,
        rows=rows.astype(np.int32),
        source=model.rows[places.rows][weld[rows]].astype(np.int32),
        shares=moving[rows].astype(np.float32),
        contacts=_contacts(slits, found.first),
        parts=_parts(found.mesh.vertices[weld], kind, found.pieces.eyes),
        notes=_notes(slits, kind, metres, rotation),
    )


def _contacts(slits: Mapping[str, Slit], first: np.ndarray) -> Contacts:
    used = {name: slit.there if slit.open else slit.there & False for name, slit in slits.items()}
    return Contacts(
        points=np.concatenate([first[slit.points[used[name]]] for name, slit in slits.items()]).astype(np.int32),
        shares=np.concatenate([slit.shares[used[name]] for name, slit in slits.items()]),
        slit=np.concatenate([np.full(used[name].sum(), SLITS.index(name)) for name in slits]),
        column=np.concatenate([np.flatnonzero(used[name]) for name in slits]),
    )


def _parts(points: np.ndarray, kind: np.ndarray, eyes: np.ndarray) -> dict[str, Part]:
    topology = load_head().topology
    assert topology.parts is not None

    def source(name: str) -> np.ndarray:
        return np.flatnonzero(topology.parts == topology.part_names.index(name))

    found = {}
    for side, number in enumerate((kinds.EYE_LEFT, kinds.EYE_RIGHT)):
        vertices = np.flatnonzero(kind == number)
        if len(vertices):
            name = kinds.KINDS[number]
            found[name] = Part(source(name), vertices, points[vertices] - eyes[side], True)
    vertices = np.flatnonzero(np.isin(kind, (kinds.LOWER_TEETH, kinds.TONGUE)))
    if len(vertices):
        teeth = np.flatnonzero(kind == kinds.LOWER_TEETH)
        middle = points[teeth if len(teeth) else vertices].mean(0)
        found["lower_teeth"] = Part(source("lower_teeth"), vertices, points[vertices] - middle, False)
    return found


def _notes(slits: Mapping[str, Slit], kind: np.ndarray, metres: float, rotation: np.ndarray) -> tuple[str, ...]:
    axes = ", ".join(
        "".join(("-" if row[k] < 0 else "") + "xyz"[k] for k in [int(np.abs(row).argmax())]) for row in rotation
    )
    told = [f"one unit is {metres:.4g} m; its axes left, up and forward are {axes}"]
    if not slits["lips"].open:
        told.append("its lips are one surface: the mouth stretches and cannot open. Cut it along the lips.")
    if not (slits["lids_left"].open and slits["lids_right"].open):
        told.append("its lids are one surface: the eyes cannot close")
    parts = [
        f"{kinds.KINDS[k].replace('_', ' ')} ({(kind == k).sum()})"
        for k in range(len(kinds.KINDS))
        if (kind == k).any()
    ]
    return (*told, "vertices: " + ", ".join(parts))


def sealed(made: Map) -> Map:
    """The same map with its mesh's lips closed at rest, if they stood apart."""
    transfer = made.transfer(load_head().neutral)
    gap = made.contacts.opening(made.template.astype(np.float64), transfer.up)
    lips = made.contacts.slit == 0
    scale = float(np.linalg.norm(made.turn[:, 1]))
    if not lips.any() or np.median(gap[lips]) < PARTED_M * scale:
        return made
    change = np.where(lips, LIPS_APART_M * scale - gap, 0.0)
    note = f"its lips stood {1e3 * gap[lips].max():.1f} mm apart at rest and are closed now, as speech has them"
    return replace(made, template=made.template + transfer.opened(change), notes=(*made.notes, note))


def find_map(mesh: Path | None, kept: Path | None, landmarks: Path | None) -> Map:
    """The map kept in a file; or a new one to a mesh, kept there if a file is named. What was found is said on standard error.

    Raises:
        InputError: neither is usable, or the kept map is of another mesh.
    """
    from meshtalk.files import check_writable
    from meshtalk.mesh.files import read_face
    from meshtalk.mesh.landmarks import read_landmarks
    from meshtalk.retarget.map import load_map

    if kept is not None and kept.exists():
        made = load_map(kept)
        if mesh is not None and read_face(mesh)[1].hash != made.mesh:
            raise InputError(f"{kept} must be a map to {mesh}, got another mesh. Give another file for a new map.")
        if landmarks is not None:
            raise InputError(
                f"{kept} exists, so that --landmarks would be ignored. Give another file, or leave one out."
            )
        return made
    if mesh is None:
        return load_map(kept)  # type: ignore[arg-type]  # says that there is none
    if kept is not None:
        check_writable(kept)
    vertices, topology = read_face(mesh)
    marks = None if landmarks is None else read_landmarks(landmarks, vertices)
    made = make_map(vertices, topology, marks, name=str(mesh), say=_say)
    for note in made.notes:
        _say(note)
    if kept is not None:
        made.save(kept)
    return made


def _say(text: str) -> None:
    print(f"meshtalk: {text}", file=sys.stderr)
