"""Making a map: find the face, lay the packaged head over it, find its slits and parts, and say what moves with what."""

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
from meshtalk.retarget import pieces as kinds
from meshtalk.retarget.annotate import described
from meshtalk.retarget.correspond import Places, find_places
from meshtalk.retarget.detect import Pose, find_poses
from meshtalk.retarget.fit import Fit, lay, pose_of, settle
from meshtalk.retarget.lip_and_lid_slits import Slit, find_slit
from meshtalk.retarget.map import Map
from meshtalk.retarget.pieces import Pieces, find_pieces
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
SCORE, FOUND = 0.65, 0.6
"""Least likeness of a face that is looked for, and least share of its front that has to be found on the mesh."""


def say_nothing(_: str) -> None:
    pass


def fit_face(
    mesh: Surface, landmarks: Mapping[str, np.ndarray] | None, name: str, say: Callable[[str], None] = say_nothing
) -> Fit:
    """The packaged head laid over a mesh.

    Raises:
        InputError: no face was found on it.
    """
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
                f"the landmarks of {name} do not lie on a face : check them, left being the person's own left"
            )
        raise InputError(
            f"no face was found on {name} : mark it (meshtalk landmarks {name} -o marks.html, then --landmarks), or turn it"
            " so that it looks along an axis"
        )
    return best


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
    model = load_model()
    raw = Surface(vertices, topology.faces)
    fit = fit_face(raw, landmarks, name, say)
    pose = fit.pose
    points = pose.apply(raw.points)
    mesh = Surface(points, raw.weld[raw.faces], welded=True)
    file_hash = topology.hash
    if _looks_inwards(model, fit, mesh):
        mesh = Surface(points, mesh.faces[:, ::-1], welded=True)
        uv_faces = None if topology.uv_faces is None else topology.uv_faces[:, ::-1]
        topology = replace(topology, faces=topology.faces[:, ::-1], uv_faces=uv_faces)
    say("looking for lips, lids, eyes and teeth")
    found = find_pieces(model, fit.skin, mesh)
    flexible = found.kind == kinds.SKIN
    near = flexible & (np.linalg.norm(points - [0, 0, 0.05], axis=1) < NEAR_M)
    slits = {slit: find_slit(model, fit.skin, mesh, near, slit) for slit in SLITS}
    fit = settle(model, mesh, fit, slits, {mark: pose.apply(place) for mark, place in (landmarks or {}).items()})
    say("finding what moves with what")
    places = find_places(model, fit.skin, mesh, flexible, slits)
    places = _on_skin(mesh, found, untangled(mesh, places, poses(model, fit.skin)))
    made = _assemble(model, fit, mesh, raw, topology, found, slits, places)
    say("keeping rims from rolling over")
    return unrolled(sealed(replace(made, mesh=file_hash)), raw.weld)


def _looks_inwards(model: Model, fit: Fit, mesh: Surface) -> bool:
    """Whether the mesh's triangles are wound the other way round."""
    nearest = KDTree(mesh.points).query(fit.skin[model.front])[1]
    cosine = (mesh.point_normals[nearest] * model.normals(fit.skin)[model.front]).sum(1)
    return float(cosine @ model.trust[model.front]) < 0


def _on_skin(mesh: Surface, found: Pieces, places: Places) -> Places:
    """Brows and lashes take the place of the skin next to them."""
    worn, skin = np.flatnonzero(found.kind == kinds.ON_SKIN), np.flatnonzero(found.kind == kinds.SKIN)
    if len(worn):
        under = skin[KDTree(mesh.points[skin]).query(mesh.points[worn])[1]]
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
    mesh: Surface,
    raw: Surface,
    topology: Topology,
    found: Pieces,
    slits: Mapping[str, Slit],
    places: Places,
) -> Map:
    rotation, metres = space_of(fit.pose)
    weld, first = raw.weld, np.unique(raw.weld, return_index=True)[1]
    source, shares = model.rows[places.rows], places.shares
    moving = (shares * model.loose[places.rows])[weld]
    rows = np.flatnonzero(moving.sum(1) > 1e-3)
    contacts = _contacts(slits, first)
    kind = found.kind[weld]
    return Map(
        mesh=topology.hash,
        topology=described(topology, model, fit, mesh, first, slits, kind, source[weld], shares[weld]),
        template=(metres * raw.vertices @ rotation.T).astype(np.float32),
        fit=fit.skin.astype(np.float32),
        turn=metres / fit.pose.metres * rotation @ fit.pose.rotation.T,
        rows=rows.astype(np.int32),
        source=source[weld[rows]].astype(np.int32),
        shares=moving[rows].astype(np.float32),
        contacts=contacts,
        parts=_parts(mesh.points[weld], kind, found.eyes),
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
        told.append("its lips are one surface: the mouth stretches and cannot open : cut it along the lips")
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
            raise InputError(f"{kept} is a map to another mesh than {mesh} : name another file, and it is made")
        if landmarks is not None:
            raise InputError(
                f"{kept} is there already, so that --landmarks has no say : name another file, or leave one out"
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
