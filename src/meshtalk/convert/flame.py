"""FLAME (Li et al. 2017): vertices from shape, expression and jaw, with the user's own model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.convert.pickles import Inert, read_pickle
from meshtalk.errors import InputError, reading
from meshtalk.files import read_arrays

SHAPES = 300
"""Of the model's directions, the first are identity, the rest expression."""
JAW = 2
"""Of the five joints root, neck, jaw, left eye, right eye."""
PARENTS = (0, 1, 1, 1)
"""Of the joints after the root."""
CHUNK = 64
"""Frames computed at a time."""


@dataclass(frozen=True, eq=False)
class Flame:
    """The model's arrays, metres."""

    template: np.ndarray
    """(V,3)."""
    directions: np.ndarray
    """(V,3,D): SHAPES of identity, then expression."""
    correctives: np.ndarray
    """(V,3,9): what the jaw's rotation, less the identity, adds."""
    joint: np.ndarray
    """(V,): the jaw joint as a mean of vertices."""
    follows: np.ndarray
    """(V,): how much a vertex follows the jaw."""
    faces: np.ndarray
    """(F,3)."""

    def vertices(self, shape: np.ndarray, expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
        """(T,V,3) float32 of one person's (S,) shape, (T,E) expression and (T,3) jaw rotation as axis times radians.

        Root, neck and eyes are at rest, so the jaw alone turns, about its joint.

        Raises:
            InputError: more numbers than the model has directions.
        """
        n_shape, n_expression = len(shape), expression.shape[1]
        if n_shape > SHAPES or n_expression > self.directions.shape[2] - SHAPES:
            has = self.directions.shape[2] - SHAPES
            raise InputError(f"it has {n_shape} + {n_expression} parameters; the FLAME model has {SHAPES} + {has}")
        rest = self.template + self.directions[:, :, :n_shape] @ shape
        moves = self.directions[:, :, SHAPES : SHAPES + n_expression]
        made = np.empty((len(jaw), *self.template.shape), np.float32)
        for start in range(0, len(jaw), CHUNK):
            part = slice(start, start + CHUNK)
            shaped = rest + np.einsum("vce,te->tvc", moves, expression[part], optimize=True)
            turn = rotations(jaw[part])
            joint = np.einsum("v,tvc->tc", self.joint, shaped)[:, None]
            posed = shaped + np.einsum(
                "vck,tk->tvc", self.correctives, (turn - np.eye(3)).reshape(-1, 9), optimize=True
            )
            turned = np.einsum("tcd,tvd->tvc", turn, posed - joint) + joint
            made[part] = posed + self.follows[:, None] * (turned - posed)
        return made


def rotations(axes: np.ndarray) -> np.ndarray:
    """(T,3) axis times radians → (T,3,3), after Rodrigues."""
    angle = np.linalg.norm(axes, axis=1)
    x, y, z = (axes / np.maximum(angle, 1e-12)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def read_flame(path: Path) -> Flame:
    """Load MPI's model file: `.pkl` (no code in it is run), or its arrays as `.npz`.

    Raises:
        InputError: missing, damaged, or not a FLAME model.
    """
    if path.suffix == ".npz":
        with reading(f"{path} cannot be read as an .npz of plain arrays", "Give MPI's own .pkl."):
            model: Any = read_arrays(path)
    else:
        model = read_pickle(path, inert=("chumpy", "scipy"))
    if not isinstance(model, dict):
        raise InputError(f"{path} holds {type(model).__name__}, not a FLAME model")
    template, directions, poses, joints, weights, tree, faces = (
        _array(path, model, name)
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
    )
    count = len(template)
    fits = (
        template.shape == (count, 3)
        and directions.ndim == 3
        and directions.shape[:2] == (count, 3)
        and directions.shape[2] > SHAPES
        and poses.shape == (count, 3, 9 * len(PARENTS))
        and joints.shape == weights.T.shape == (1 + len(PARENTS), count)
        and tree.ndim == 2
        and tuple(tree[0, 1:]) == PARENTS
        and faces.ndim == 2
        and faces.shape[1] == 3
    )
    if not fits:
        raise InputError(f"{path} is not a FLAME model. Give generic_model.pkl or flame2023.pkl.")
    jaw = 9 * (JAW - 1)
    return Flame(template, directions, poses[:, :, jaw : jaw + 9], joints[JAW], weights[:, JAW], faces.astype(np.int32))


def _array(path: Path, model: dict[str, Any], name: str) -> np.ndarray:
    """An entry as a plain array; those of chumpy and scipy from their state.

    Raises:
        InputError: missing, or of another kind.
    """
    value = model.get(name)
    state = value.state if isinstance(value, Inert) else None
    if isinstance(state, dict) and "indptr" in state:
        value = _dense(state)
    elif isinstance(state, dict):
        value = state.get("x")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise InputError(f"{path} is not a FLAME model: it has no array {name}")
    return value.astype(np.float64) if value.dtype.kind == "f" else value.astype(np.int64)


def _dense(state: dict[str, Any]) -> np.ndarray | None:
    """The array behind the state of scipy's matrix by columns (csc); None if it is none."""
    try:
        rows, columns = (int(size) for size in state.get("_shape", state.get("shape")))  # type: ignore[union-attr]
        starts, data, indices = state["indptr"], state["data"], state["indices"]
        if len(starts) != columns + 1 or rows > 100 or columns > 1_000_000:
            return None
        dense = np.zeros((rows, columns))
        np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(starts))), data)
    except (TypeError, ValueError, IndexError, KeyError):
        return None
    return dense
