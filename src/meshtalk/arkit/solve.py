"""Blendshape solver: least squares in [0,1] on a rig's shapes, smooth in time, for whole clips or frame by frame.

The problem of a clip with displacements d_t and shapes s_i, each vertex weighted by FOCUS (⟨·,·⟩), g_i = ⟨s_i, s_i⟩:

    minimise over 0 ≤ w ≤ 1:  Σ_t ½ |d_t − Σ_i w_t,i s_i|² + Σ_i g_i (SPARSE w_t,i + ½ REST w_t,i² + ½ smoothing (w_t,i − w_t−1,i)²)

Everything is relative to g_i, the size of a shape, so that it means the same for any rig in any unit. SPARSE and REST decide
between shapes that do nearly the same; smoothing costs a wrong frame-to-frame change so much of what a misfit of that size
costs. A clip is solved as one problem: its smoothing looks both ways and delays nothing. A stream has the past alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meshtalk.arkit import kernels
from meshtalk.arkit.names import FEWEST_SHAPES, known
from meshtalk.clip import CHUNK, Clip
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.parallel import one_thread

SMOOTHING = 0.005
REST = 1e-5
SPARSE = 2e-5
FOCUS = {"lips": 4.0, "eyelids": 4.0}
"""Region → how much more than others its vertices count."""
EYES, EYES_FOCUS = ("eye_left", "eye_right"), 16.0
"""Parts that only gaze moves, so that they decide it, not the lids."""
SWEEPS, SETTLED = 300, 1e-5
"""A clip is solved when no weight moves by more than SETTLED in a sweep."""
_UNSEEN = 1e-9
"""A shape that moves less than this share of the largest one is treated as empty: its weight is 0."""


def check_smoothing(smoothing: float) -> None:
    """Raise InputError unless it is finite and not negative."""
    if not (math.isfinite(smoothing) and smoothing >= 0):
        raise InputError(f"smoothing must be 0 or positive, got {smoothing}. Try {SMOOTHING}.")


@dataclass(frozen=True, eq=False)
class Solver:
    """The problem's constants for one rig. It holds no state: one serves any number of clips and streams.

    Args:
        topology: with blendshapes.
        smoothing: ≥ 0; see the module.
    """

    topology: Topology
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)
        shapes = self.topology.shapes
        if shapes is None or not len(shapes):
            raise InputError(
                f"topology {self.topology.hash} has no blendshapes to solve for. Give --rig RIG, the same mesh with its shapes."
            )
        if not np.isfinite(shapes).all() or not np.any(shapes):
            raise InputError("the rig's shapes hold NaN or infinite moves, or none at all. Repair the rig.")

    @property
    def names(self) -> tuple[str, ...]:
        return self.topology.shape_names

    @cached_property
    def fields(self) -> np.ndarray:
        """(S,V,3) float32: shapes times the weight of each vertex, in mm² per metre of displacement."""
        assert self.topology.shapes is not None
        return self.topology.shapes * (focus(self.topology) * 1e6)[:, None].astype(np.float32)

    @cached_property
    def energies(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(S,S) ⟨s_i, s_j⟩, its diagonal g with 1 for unseen shapes, and (S,) whether a shape is seen."""
        assert self.topology.shapes is not None
        size = len(self.names)
        plain = self.topology.shapes.reshape(size, -1).astype(np.float64)
        gram = self.fields.reshape(size, -1).astype(np.float64) @ plain.T
        gram = 0.5 * (gram + gram.T)
        seen = np.diag(gram) > _UNSEEN * np.diag(gram).max()
        gram = np.where(seen[:, None] & seen, gram, 0.0)
        return gram, np.where(seen, np.diag(gram), 1.0), seen

    @cached_property
    def grams(self) -> np.ndarray:
        """(3,S,S): the quadratic part of a frame tied to 0, 1 and 2 neighbours."""
        gram, size, seen = self.energies
        rest = np.diag(np.where(seen, REST * size, 1.0))
        return np.stack([gram + rest + n * np.diag(self.tie) for n in range(3)])

    @cached_property
    def tie(self) -> np.ndarray:
        """(S,): what a change from frame to frame costs."""
        return self.smoothing * self.energies[1]

    def asked(self, clip: Clip) -> np.ndarray:
        """(T,S) ⟨d_t, s_i⟩ of a clip on this topology, without making a mesh of a linear clip."""
        self.topology.require(clip.topology, "the clip")
        return clip.project(self.fields).astype(np.float64)

    def right(self, asked: np.ndarray) -> np.ndarray:
        """(…,S) linear part of the problem for ⟨d, s_i⟩."""
        _, size, seen = self.energies
        return np.where(seen, asked - SPARSE * size, 0.0)

    def track(self, asked: np.ndarray) -> np.ndarray:
        """(T,S) weights in [0,1] of (T,S) `asked`, all frames together."""
        right = np.ascontiguousarray(self.right(asked))
        weights = np.zeros_like(right)
        if len(right):
            for frame, row in enumerate(right):  # each frame from the one before: near the optimum of all
                weights[frame] = self.step(row, weights[frame - 1] if frame else None, ready=True)
            kernels.solve_track(self.grams, right, self.tie, weights, SWEEPS, SETTLED)
        return weights

    def step(self, asked: np.ndarray, before: np.ndarray | None, *, ready: bool = False) -> np.ndarray:
        """The next frame of a stream.

        Args:
            asked: (S,) ⟨d, s_i⟩ (or, if `ready`, what `right` makes of it).
            before: (S,) the frame before, None at the start: all the state there is.

        Returns:
            (S,) weights in [0,1].
        """
        right = asked if ready else self.right(asked)
        n = len(right)
        weights = np.zeros(n) if before is None else before.copy()
        if before is not None:
            right = right + self.tie * before
        work = np.empty(n), np.full(n + 1, -1), np.empty((n, n)), np.empty(n)
        kernels.solve_frame(self.grams[0 if before is None else 1], right, weights, *work)
        return weights


def focus(topology: Topology) -> np.ndarray:
    """(V,) how much each vertex counts: 1, more on lips, lids and eyeballs where the topology names them."""
    weights = np.ones(topology.n_vertices)
    for region, more in FOCUS.items():
        if region in topology.regions:
            weights += (more - 1) * topology.regions[region]
    if topology.parts is not None:
        eyes = [k for k, name in enumerate(topology.part_names) if name in EYES]
        weights[np.isin(topology.parts, eyes)] = EYES_FOCUS
    return weights


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitting error of weights on a clip."""

    names: tuple[str, ...]
    weights: np.ndarray
    """(T,S) in [0,1]."""
    error_mm: dict[str, float]
    """mean, p95 and max over vertices and frames; lips and lids: the mean over those, where the topology names them."""
    unmet: np.ndarray
    """(S,) how much more of each shape one frame would want at most, were it free of bounds and of its neighbours; signed."""

    def __str__(self) -> str:
        """The errors in a line, and a table of the shapes that are used."""
        lines = ["error: " + ", ".join(f"{name} {value:.3f} mm" for name, value in self.error_mm.items())]
        if len(self.weights):
            lines.append(f"{'shape':22}{'mean':>7}{'max':>7}{'active':>8}{'unmet':>8}")
            mean, most, active = self.weights.mean(0), self.weights.max(0), (self.weights > 0.05).mean(0)
            for k in np.argsort(-mean, kind="stable"):
                if most[k] > 0.005:
                    lines.append(f"{self.names[k]:22}{mean[k]:7.3f}{most[k]:7.3f}{active[k]:8.0%}{self.unmet[k]:+8.3f}")
        return "\n".join(lines)


_BIN_MM, _BINS = 1e-3, 200_000


def measure(clip: Clip, solver: Solver, weights: np.ndarray, frames: Sequence[int] | np.ndarray) -> Fit:
    """Measure the fitting error of (T,S) weights on a clip.

    Args:
        frames: which of the clip's frames to look at.
    """
    assert solver.topology.shapes is not None
    frames = np.asarray(frames, int)
    flat = solver.topology.shapes.reshape(len(solver.names), -1)
    regions = {"lips": "lips", "lids": "eyelids"}
    named = {name: clip.topology.regions[region] for name, region in regions.items() if region in clip.topology.regions}
    histogram, most, total, of_region = np.zeros(_BINS, np.int64), 0.0, 0.0, dict.fromkeys(named, 0.0)
    for start in range(0, clip.n_frames, CHUNK):
        inside = frames[(frames >= start) & (frames < start + CHUNK)]
        if not len(inside):
            continue
        made = (weights[inside].astype(np.float32) @ flat).reshape(len(inside), -1, 3)
        away_mm = np.linalg.norm(clip.displacements(start, start + CHUNK)[inside - start] - made, axis=-1) * 1e3
        most, total = max(most, float(away_mm.max())), total + float(away_mm.sum(dtype=np.float64))
        histogram += np.bincount(np.minimum(away_mm / _BIN_MM, _BINS - 1).astype(np.int64).ravel(), minlength=_BINS)
        for name, region in named.items():
            of_region[name] += float((away_mm @ region).sum() / max(region.sum(), 1e-9))
    count = len(frames) * clip.topology.n_vertices
    errors = {"mean": 0.0, "p95": 0.0, "max": 0.0} | of_region
    if count:
        p95 = float(np.searchsorted(np.cumsum(histogram), 0.95 * count) + 1) * _BIN_MM
        errors = {"mean": total / count, "p95": min(p95, most), "max": most}
        errors |= {name: value / len(frames) for name, value in of_region.items()}
    gram, size, seen = solver.energies
    left = np.where(seen, (solver.asked(clip)[frames] - weights[frames] @ gram) / size, 0.0)
    unmet = left[np.abs(left).argmax(0), np.arange(len(size))] if len(left) else np.zeros(len(size))
    return Fit(tuple(solver.names), weights, errors, unmet)


# ------------------------------------------------------------------------------------------------ weights of a clip


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


@one_thread()
def weights_of(clip: Clip, rig: Topology | None = None, *, smoothing: float = SMOOTHING) -> Weights:
    """A clip's weights.

    Args:
        rig: the clip's topology with other shapes (see `load_rig`), to solve for. Default: a clip whose basis has
            ARKit's names gives its own weights, clamped to [0,1]; any other is solved for its topology's shapes.
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
