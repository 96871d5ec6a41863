"""Blendshape weights of a stream's frames, for any model."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from meshtalk.arkit.solve import Solver
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator, AnimatorState


class LiveWeights:
    """Converts motion to blendshape weights, packet after packet.

    A model of blendshapes provides them itself, clamped to [0,1]. Any other is solved for the blendshapes of its mesh, each
    frame from the one before.

    Raises:
        InputError: the model's mesh has no blendshapes.
    """

    def __init__(self, animator: Animator, state: AnimatorState) -> None:
        self._animator, self._state, self.names = animator, state, tuple(animator.topology.shape_names)
        own = animator.checkpoint.mix is not None
        if not own and animator.topology.shapes is None:
            raise InputError(
                "this model's mesh has no blendshapes, so it has no weights to stream. Stream --format vertices, or use a"
                " model of a topology with blendshapes."
            )
        self._solver = None if own else Solver(animator.topology)
        self._before: np.ndarray | None = None
        if self._solver is not None:  # compiled before anybody speaks
            self._solver.step(np.zeros(len(self.names)), None)

    def __call__(self, motion: Tensor) -> np.ndarray:
        """(t,n_motion) of the next frames → (t,S) float32 weights in [0,1]."""
        if self._solver is None:
            return np.clip(self._animator.shape_weights(motion), 0, 1)
        solved = np.zeros((len(motion), len(self.names)), np.float32)
        if len(motion):
            moves = self._animator.vertices(motion, self._state) - self._state.spec.template
            asked = moves.reshape(len(moves), -1) @ self._solver.fields.reshape(len(self.names), -1).T
            for frame, row in enumerate(asked.astype(np.float64)):
                solved[frame] = self._before = self._solver.step(row, self._before)
        return solved
