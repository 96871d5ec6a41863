"""From a data set's units and axes to metres, +Y up, +Z out of the face; and the mesh that its files leave unsaid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.template import HEIGHT_M, read_mesh
from meshtalk.topology import Topology

UNITS_M = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}
_HEAD = f"a head is {HEIGHT_M[0]:.2f}-{HEIGHT_M[1]:.2f} m tall"


@dataclass(frozen=True)
class Space:
    """How a data set's coordinates become ours."""

    metres: float
    """In one of its units."""
    axes: str = "x,y,z"
    """Its axes that become +X (the face's own left), +Y (up) and +Z (out of the face)."""

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """(…,V,3) float32 metres.

        Raises:
            InputError: `axes` is no right-handed choice of x, y and z.
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
        raise InputError(
            f"axes {text!r} came; x, y and z are needed, each once, such as x,z,-y for a mesh whose up is z"
        )
    signs = np.array([-1.0 if word.startswith("-") else 1.0 for word in words])
    turned = np.eye(3)[columns] * signs[:, None]
    if np.linalg.det(turned) < 0:
        raise InputError(f"axes {text!r} would mirror the face : give a turn, such as x,z,-y for a mesh whose up is z")
    return columns, signs


def find_space(neutral: np.ndarray, unit: str | None, axes: str | None, *, default: str | None, kind: str) -> Space:
    """Units and axes of a data set, checked by the size of a head.

    Args:
        neutral: (V,3) a neutral face of the data set, as its files have it.
        unit: what the user says: a name of UNITS_M or metres in a unit.
        default: the unit in which this kind of data comes; None tries those of UNITS_M.

    Raises:
        InputError: no such unit or axes, or no head of plausible size.
    """
    axes = axes or "x,y,z"
    if not np.isfinite(neutral).all():
        raise InputError(f"{kind}: the neutral face holds NaN or infinite vertices : repair it")
    height = float(np.ptp(Space(1.0, axes).apply(neutral)[:, 1]))
    fitting = [name for name, metres in UNITS_M.items() if HEIGHT_M[0] <= height * metres <= HEIGHT_M[1]]
    if unit is None and default is None:
        if not fitting:
            raise InputError(
                f"{kind}: the neutral face is {height:.4g} units tall; {_HEAD} : give --unit, metres in a unit"
            )
        return Space(UNITS_M[fitting[0]], axes)
    name = unit or default or ""
    metres = UNITS_M.get(name) or _number(name)
    if not (math.isfinite(metres) and metres > 0):
        raise InputError(f"unit {name!r} came; {', '.join(UNITS_M)} or a number of metres is needed")
    if not HEIGHT_M[0] <= height * metres <= HEIGHT_M[1]:
        advice = f"give --unit {fitting[0]}" if fitting else "give --unit, metres in a unit, or --axes"
        raise InputError(
            f"{kind}: in units of {name} the neutral face is {height * metres:.4g} m tall; {_HEAD} : {advice}"
        )
    return Space(metres, axes)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_axes(neutral: np.ndarray, topology: Topology) -> None:
    """Where the topology names its regions: the mouth is below the upper face and in front of the head's middle.

    Raises:
        InputError: it is not, so the axes are others.
    """
    if not {"mouth", "upper_face"} <= set(topology.regions):
        return
    mouth, upper = (np.average(neutral, axis=0, weights=topology.region(name)) for name in ("mouth", "upper_face"))
    middle = neutral.mean(0)
    if mouth[1] >= upper[1] or mouth[2] <= middle[2]:
        where = "above the upper face" if mouth[1] >= upper[1] else "behind the middle of the head"
        raise InputError(f"with these axes the mouth is {where} : give --axes, such as x,z,-y for a mesh whose up is z")


def find_topology(template: Path | None, topology: Path | None, kind: str) -> tuple[Topology, np.ndarray | None]:
    """(triangles and regions, vertices of the template as its file has them if there is one).

    Args:
        template: mesh with the data's vertices in their order.
        topology: `.npz` of `Topology.save`, whose regions and triangles go before the template's.

    Raises:
        InputError: neither came, they disagree, or the template has no triangles.
    """
    if template is None and topology is None:
        raise InputError(
            f"{kind} files carry no triangles : give --template FACE.ply, a mesh with the data's vertices in their order,"
            " or --topology FACE.npz"
        )
    vertices, faces = read_mesh(template) if template is not None else (None, np.zeros((0, 3), np.int32))
    if topology is not None:
        found = Topology.load(topology)
        if vertices is not None and len(vertices) != found.n_vertices:
            raise InputError(
                f"{template} has {len(vertices)} vertices, {topology} {found.n_vertices} : give those of one mesh"
            )
        return found, vertices
    assert vertices is not None
    if not len(faces):
        raise InputError(f"{template} carries no triangles : give a .ply or .obj mesh")
    return Topology(faces=np.asarray(faces, np.int32), n_vertices=len(vertices)), vertices
