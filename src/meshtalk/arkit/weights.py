"""Where a clip's ARKit weights come from: its own, if it is made of them; else they are solved for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshtalk.arkit.names import FEWEST_SHAPES, known
from meshtalk.arkit.solve import SMOOTHING, Solver
from meshtalk.clip import Clip
from meshtalk.mesh.topology import Topology


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a rig's shapes, frame by frame."""

    names: tuple[str, ...]
    """Of the rig's S shapes; `meshtalk.arkit.names.as_arkit` makes ARKit's 52 of them."""
    values: np.ndarray
    """(T,S) in [0,1]; frames that capture missed are between their neighbours."""
    frames: np.ndarray
    """The frames that capture did not miss."""
    solved: bool
    """False: they are the clip's own."""


def weights_of(clip: Clip, rig: Topology | None = None, *, smoothing: float = SMOOTHING) -> Weights:
    """A clip's weights.

    Args:
        rig: the clip's topology with other shapes (see `load_rig`), to solve for. Default: a clip whose basis has
            ARKit's names gives its own weights, cut to [0,1]; any other is solved for its topology's shapes.
        smoothing: of the solve.

    Raises:
        InputError: there are no shapes to solve for.
    """
    frames = np.arange(clip.n_frames) if clip.valid is None else np.flatnonzero(clip.valid)
    if rig is None and clip.weights is not None and known(clip.basis_names) >= FEWEST_SHAPES:
        return Weights(clip.basis_names, np.clip(clip.weights, 0, 1).astype(np.float32), frames, solved=False)
    solver = Solver(clip.topology if rig is None else rig, smoothing)
    found = solver.track(solver.asked(clip)[frames])
    if len(frames) and len(frames) < clip.n_frames:
        found = np.stack([np.interp(np.arange(clip.n_frames), frames, column) for column in found.T], 1)
    elif not len(frames):
        found = np.zeros((clip.n_frames, len(solver.names)))
    return Weights(tuple(solver.names), found.astype(np.float32), frames, solved=True)
