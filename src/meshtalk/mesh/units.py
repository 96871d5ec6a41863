"""Conversion of units and axes to metres, +Y up, +Z out of the face; and plausibility checks of both."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.files import read_mesh
from meshtalk.mesh.topology import Topology

HEIGHT_M = (0.15, 0.40)
"""Smallest and largest head."""
UNITS_M = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}
_HEAD = f"a head is {HEIGHT_M[0]:.2f}-{HEIGHT_M[1]:.2f} m tall"


@dataclass(frozen=True)
class Space:
    """Coordinate system of a data set: unit and axes."""

    metres: float
    """Metres per unit."""
    axes: str = "x,y,z"
    """Its axes that become +X (the face's own left), +Y (up) and +Z (out of the face)."""

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """Convert to (…,V,3) float32 metres.

        Raises:
            InputError: `axes` is not a right-handed permutation of x, y and z.
        """
        columns, signs = parse_axes(self.axes)
        moved = np.asarray(vertices, np.float32)
        if self.axes == "x,y,z":
            return moved if self.metres == 1 else moved * np.float32(self.metres)
        return moved[..., columns] * (signs * self.metres).astype(np.float32)


def parse_axes(text: str) -> tuple[list[int], np.ndarray]:
    """ "x,z,-y" → ([0, 2, 1], [1, 1, -1]).

    Raises:
        InputError: not the three axes, each once with or without a minus, or a choice that mirrors the face.
    """
    words = [word.strip() for word in text.split(",")]
    columns = ["xyz".find(word.removeprefix("-") or "?") for word in words]
    if sorted(columns) != [0, 1, 2]:
        raise InputError(f"axes must be x, y and z, each once, got {text!r}. Try x,z,-y for a mesh whose up is z.")
    signs = np.array([-1.0 if word.startswith("-") else 1.0 for word in words])
    turned = np.eye(3)[columns] * signs[:, None]
    if np.linalg.det(turned) < 0:
        raise InputError(
            f"axes must be a rotation, got {text!r}, which mirrors the face. Try x,z,-y for a mesh whose up is z."
        )
    return columns, signs


TURNS = tuple(
    ",".join(("-" if sign < 0 else "") + "xyz"[axis] for axis, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(np.eye(3)[list(order)]) * math.prod(signs) > 0
)
"""The 24 choices of axes that mirror nothing, those of the file itself first."""


def find_space(neutral: np.ndarray, unit: str | None, axes: str | None, *, default: str | None, kind: str) -> Space:
    """The coordinate system of a data set, checked by the size of a head.

    Args:
        neutral: (V,3) a neutral face of the data set, in its coordinates.
        unit: given by the user: a name of UNITS_M or metres per unit.
        default: usual unit of this kind of data; None tries those of UNITS_M.

    Raises:
        InputError: unknown unit or axes, or an implausible size of the head.
    """
    axes = axes or "x,y,z"
    if not np.isfinite(neutral).all():
        raise InputError(f"{kind}: the neutral face holds NaN or infinite vertices. Repair it.")
    height = float(np.ptp(Space(1.0, axes).apply(neutral)[:, 1]))
    fitting = [name for name, metres in UNITS_M.items() if HEIGHT_M[0] <= height * metres <= HEIGHT_M[1]]
    if unit is None and default is None:
        if not fitting:
            raise InputError(
                f"{kind}: the neutral face is {height:.4g} units tall; {_HEAD}. Give --unit, metres per unit."
            )
        return Space(UNITS_M[fitting[0]], axes)
    name = unit or default or ""
    metres = UNITS_M.get(name) or _number(name)
    if not (math.isfinite(metres) and metres > 0):
        raise InputError(f"unit must be {', '.join(UNITS_M)} or metres per unit, got {name!r}")
    if not HEIGHT_M[0] <= height * metres <= HEIGHT_M[1]:
        advice = f"Give --unit {fitting[0]}" if fitting else "Give --unit, metres per unit, or --axes"
        raise InputError(
            f"{kind}: in units of {name} the neutral face is {height * metres:.4g} m tall; {_HEAD}. {advice}."
        )
    return Space(metres, axes)


def find_like(vertices: np.ndarray, reference: np.ndarray, *, numbered: bool) -> Space:
    """Unit and axes in which a mesh lies nearest to another; metres and its own axes unless others halve the distance.

    Args:
        vertices: (N,3) in any unit of UNITS_M and any axes.
        reference: (V,3) metres.
        numbered: whether the vertices are those of the reference, of anybody and anywhere; else some of them lie on it.
    """
    rows = np.linspace(0, len(reference) - 1, min(len(reference), 300)).astype(int)
    wanted = np.asarray(reference[rows], np.float64)
    if numbered:
        own = vertices[rows] - vertices[rows].mean(0)
        wanted = wanted - wanted.mean(0)

        def distances(points: np.ndarray) -> np.ndarray:
            return np.linalg.norm(points - own, axis=1)
    else:
        from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

        tree = KDTree(vertices)

        def distances(points: np.ndarray) -> np.ndarray:
            return np.asarray(tree.query(points)[0])  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]

    far_m: dict[Space, float] = {}
    for metres, axes in itertools.product(UNITS_M.values(), TURNS):
        columns, signs = parse_axes(axes)
        back = np.empty_like(wanted)  # where the reference lies in the file's space
        back[:, columns] = wanted * signs / metres
        far_m[Space(metres, axes)] = metres * float(np.median(distances(back)))
    best = min(far_m, key=far_m.__getitem__)
    return best if far_m[best] < 0.5 * far_m[Space(1.0)] else Space(1.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_axes(neutral: np.ndarray, topology: Topology) -> None:
    """Check that the mouth is below the upper face and in front of the head's centre, if the topology has regions.

    Raises:
        InputError: it is not, so the axes are wrong.
    """
    if not {"mouth", "upper_face"} <= set(topology.regions):
        return
    mouth, upper = (np.average(neutral, axis=0, weights=topology.region(name)) for name in ("mouth", "upper_face"))
    middle = neutral.mean(0)
    if mouth[1] >= upper[1] or mouth[2] <= middle[2]:
        where = "above the upper face" if mouth[1] >= upper[1] else "behind the middle of the head"
        raise InputError(f"with these axes the mouth is {where}. Give --axes, such as x,z,-y for a mesh whose up is z.")


def read_template(path: str | Path, topology: Topology, like: np.ndarray | None = None) -> np.ndarray:
    """The vertices of a mesh with a topology's vertices, in file order.

    Args:
        path: see `read_mesh`.
        like: (V,3) metres of another person: the file's unit and axes are then those in which it lies nearest to that.
            None: metres, +Y up.

    Returns:
        (V,3) float32 metres

    Raises:
        InputError: as `read_mesh`; or another vertex count (both are named), or the wrong size of head.
    """
    path = Path(path)
    mesh = read_mesh(path)
    if path.suffix.lower() == ".npz":
        topology.require(mesh.topology, str(path))
    vertices = mesh.vertices
    if like is not None and vertices.shape == like.shape:
        vertices = find_like(vertices, like, numbered=True).apply(vertices)
    return check_template(vertices, topology, str(path))


def check_template(vertices: np.ndarray, topology: Topology, name: str) -> np.ndarray:
    """(V,3) float32 of a template that fits the topology, or InputError saying what does not."""
    vertices = np.asarray(vertices, np.float32)
    if vertices.shape != (topology.n_vertices, 3):
        count = vertices.shape[0] if vertices.ndim else 0
        raise InputError(
            f"{name} must have the {topology.n_vertices} vertices of the model's topology, got {count}"
            ". Export the model's own head, or train a model on that mesh."
        )
    if not np.isfinite(vertices).all():
        raise InputError(f"{name} holds NaN or infinite vertices. Repair the mesh.")
    height_m = float(np.ptp(vertices[:, 1]))
    if not HEIGHT_M[0] <= height_m <= HEIGHT_M[1]:
        raise InputError(
            f"{name} must be {HEIGHT_M[0]:.2f} to {HEIGHT_M[1]:.2f} m tall, got {height_m:.4g}. Scale it to metres, +Y up."
        )
    return vertices


def find_topology(template: Path | None, topology: Path | None, kind: str) -> tuple[Topology, np.ndarray | None]:
    """(topology, vertices of the template in file coordinates if there is one).

    Args:
        template: mesh in the data's vertex order.
        topology: `.npz` of `Topology.save`, whose regions and triangles take precedence over the template's.

    Raises:
        InputError: neither is given, they disagree, or the template has no triangles.
    """
    if template is None and topology is None:
        raise InputError(
            f"{kind} files carry no triangles. Give --template FACE.ply, a mesh in the data's vertex order,"
            " or --topology FACE.npz."
        )
    mesh = None if template is None else read_mesh(template)
    vertices = None if mesh is None else mesh.vertices
    if topology is not None:
        found = Topology.load(topology)
        if vertices is not None and len(vertices) != found.n_vertices:
            raise InputError(
                f"{template} has {len(vertices)} vertices, {topology} has {found.n_vertices}. Give files of one mesh."
            )
        return found, vertices
    assert mesh is not None
    if not len(mesh.faces):
        raise InputError(f"{template} has no triangles. Give a .ply or .obj mesh.")
    return Topology(mesh.faces, len(mesh.vertices)), vertices


# ------------------------------------------------------------------------------------------------ guesses


CLEAR = 0.03
"""Share of the mesh's longest side by which the mouth is clearly on one side of the head's middle."""
OPEN = 0.3
"""Length of the mean normal from which a surface looks to one side."""
UPRIGHT = 0.5
"""Cosine of the angle up to which a face is upright."""
SIDEWAYS = 1.5
"""Speech moves a mouth up and down; so many times more sideways is another axis."""
LYING = "it may lie on its side"
NEAR_M, FAR_M = 2e-4, 0.06
"""The vertex that is furthest from the neutral face is between these distances from it in speech."""


def unit_of(size: float, low_m: float, high_m: float) -> str | None:
    """Name of the unit in which `size` is between two lengths, the first of UNITS_M; None if there is none."""
    return next((name for name, metres in UNITS_M.items() if low_m <= size * metres <= high_m), None)


def wrong_size(neutral: np.ndarray) -> str:
    """Description of an implausible size of a neutral face (V,3), with a guess; empty if it fits a head in metres."""
    sides = np.ptp(neutral, axis=0)
    if HEIGHT_M[0] <= sides[1] <= HEIGHT_M[1]:
        return ""
    unit = unit_of(float(sides.max()), *HEIGHT_M)
    guess = {None: "", "m": f"; {LYING}"}.get(unit, f"; it looks like {unit}")
    return f"is {sides[1]:.4g} tall, where a head is {HEIGHT_M[0]:.2f}-{HEIGHT_M[1]:.2f} m{guess}"


def wrong_axes(neutral: np.ndarray, topology: Topology, moving: np.ndarray) -> str:
    """Description of implausible axes of a neutral face (V,3), with a guess; empty if they are plausible.

    With regions, the mouth has to be below the upper face and look out of the face; without them what moves stands for the
    mouth. Where the mouth is not clearly on one side of the head's middle, because the mesh is a mask, the side to which
    its triangles look stands for the front.

    Args:
        moving: (3,) where the face moves, from the middle of its vertices; NaN if nothing does.
    """
    named = {"mouth", "upper_face"} <= set(topology.regions)
    if named and all(np.any(topology.regions[name] > 0) for name in ("mouth", "upper_face")):
        weights, what = topology.region("mouth"), "the mouth"
        mouth, upper = (np.average(neutral, axis=0, weights=topology.region(name)) for name in ("mouth", "upper_face"))
        up, front = upper - mouth, mouth - neutral.mean(0)
    elif np.isfinite(moving).all():
        weights, what = np.ones(len(neutral)), "what moves"
        up, front = -moving, moving
    else:
        return ""
    size = float(np.ptp(neutral, axis=0).max())
    looks = facing(neutral, topology.faces, weights)
    ahead = _across(front, up) if what == "the mouth" else front
    if np.linalg.norm(looks) > OPEN and (what == "what moves" or np.linalg.norm(ahead) < CLEAR * size):
        front = looks
        up = up if what == "the mouth" else _across(up, looks)
    elif what == "what moves":
        # a closed head says only that its mouth is low and in front: which is which, its longer side decides
        if front[1] < 0 and front[2] > -CLEAR * size and abs(front[0]) < CLEAR * size:
            return ""
        sides = np.ptp(neutral, axis=0)
        sides[np.argmin(np.abs(moving))] = 0.0
        up = -np.sign(moving) * (np.arange(3) == np.argmax(sides))
    front = _across(front, up)
    up, front = (vector / (np.linalg.norm(vector) + 1e-12) for vector in (up, front))
    if up[1] > UPRIGHT and front[2] > UPRIGHT:
        return ""
    return f"has {what} where it should not be; its left, up and out of the face may be {guess_axes(up, front)}"


def facing(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3,) mean normal of triangles, weighted with area and (V,) weights; its length is 1 for a plane, 0 for a closed surface."""
    if not len(faces):
        return np.zeros(3)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * weights[faces].mean(1)[:, None]
    area = float(np.linalg.norm(normals, axis=1).sum())
    return normals.sum(0) / area if area > 0 else np.zeros(3)


def _across(vector: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The part of a vector at right angles to another."""
    return vector - other * (vector @ other) / (other @ other + 1e-18)


def guess_axes(up: np.ndarray, front: np.ndarray) -> str:
    """The axes, as `--axes` of `meshtalk corpus convert` takes them, that turn a face upright.

    Args:
        up: (3,) unit vector, in the face's own axes.
        front: (3,) unit vector out of the face, in the same axes.
    """
    columns = {axes: parse_axes(axes) for axes in TURNS}
    score = {axes: signs[1] * up[rows[1]] + signs[2] * front[rows[2]] for axes, (rows, signs) in columns.items()}
    return max(TURNS, key=score.__getitem__)


def wrong_motion(far_m: float, neutral: np.ndarray) -> str:
    """Description of an implausible size of motion, with a guess; empty if it fits a speaking face in metres.

    Args:
        far_m: distance of the furthest vertex from the neutral face, in the median frame.
    """
    if far_m <= 0.1 or not HEIGHT_M[0] <= np.ptp(neutral[:, 1]) <= HEIGHT_M[1]:
        return ""
    unit = unit_of(far_m, NEAR_M, FAR_M)
    guess = f"; the motion looks like {unit}" if unit else "; another order of vertices, or a head that walks"
    return f"vertices lie {far_m:.3g} m from the neutral face{guess}"
