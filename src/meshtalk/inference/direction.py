"""Direction of a performance: intensity and smoothing by region, blinks, gaze, fades.

Everything acts on motion (displacement from the template, in a geometry's own coordinates) frame by frame, so that streaming
and offline results are equal; randomness is a function of seed and frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.model.geometry import MM, BasisGeometry, DenseGeometry

MAX_INTENSITY = 3.0
ARTICULATIONS = (0.5, 1.5)
PARTED_MM = 2.0
"""Lips that speech holds together are left alone by `articulation`, those this far apart get all of it."""
MAX_STRENGTH = 2.0
"""Of an expression: the encoder does not generalise far beyond its training data."""
WHOLE_FACE = ""
MAX_SMOOTHING_S = 1.0
MAX_BLINKS_PER_MIN = 40.0
MAX_LEAD_S = 60.0
CLOSING_S, OPENING_S = 0.12, 0.2
"""Duration of a directed blink, as in people."""
PAUSE_S = 0.6
"""Minimum time between the beginnings of two blinks."""
MEMORY_S = 0.4
"""Lids come down no further than where they were once in this time: longer than a blink, shorter than a mood."""


@dataclass(frozen=True)
class Direction:
    """Adjustments of a performance on top of the model's output."""

    intensity: Mapping[str, float] = field(default_factory=dict[str, float])
    """Region → factor on its motion, 0 to 3; 0 keeps it at rest. Where regions overlap, factors multiply."""
    smoothing_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """Region → width of a Hann window over time, up to a second. Half of the widest adds to a stream's latency."""
    articulation: float = 1.0
    """How far the mouth moves in speech, 0.5 (mumbled) to 1.5 (exaggerated); closed lips stay closed."""
    blinks_per_min: float | None = None
    """Blinks per minute that replace the model's own; 0 for none, None for the model's."""
    hold_gaze: bool = False
    """Eyes look straight ahead."""
    lead_in_s: float = 0.0
    """Fade from the neutral face at the beginning."""
    lead_out_s: float = 0.0
    """Fade to the neutral face after the end of the sound; the clip and its sound are this much longer."""

    def __post_init__(self) -> None:
        for what, table, limit in (
            ("intensity", self.intensity, MAX_INTENSITY), ("smoothing", self.smoothing_s, MAX_SMOOTHING_S)
        ):  # fmt: skip
            for region, value in table.items():
                if not 0 <= value <= limit:
                    raise InputError(f"{what} of {region!r} must be 0 to {limit:g}, got {value}")
        if not ARTICULATIONS[0] <= self.articulation <= ARTICULATIONS[1]:
            raise InputError("articulation must be {:g} to {:g}, got {:g}".format(*ARTICULATIONS, self.articulation))
        blinks = self.blinks_per_min
        if blinks is not None and not 0 <= blinks <= MAX_BLINKS_PER_MIN:
            raise InputError(f"blinks per minute must be 0 to {MAX_BLINKS_PER_MIN:g}, got {blinks}")
        for name, value in (("lead-in", self.lead_in_s), ("lead-out", self.lead_out_s)):
            if not 0 <= value <= MAX_LEAD_S:
                raise InputError(f"{name} must be 0 to {MAX_LEAD_S:g} s, got {value}")

    @property
    def lead_out_samples(self) -> int:
        """Samples of silence at 16 kHz after the sound, for the fade to neutral."""
        return round(self.lead_out_s * SAMPLE_RATE)

    def lengthened(self, samples: np.ndarray) -> np.ndarray:
        """(S,) samples at 16 kHz with that silence; without any, the same array and no copy."""
        silence = np.zeros(self.lead_out_samples, np.float32)
        return np.concatenate([samples, silence]) if len(silence) else samples


@dataclass(frozen=True)
class DirectorState:
    """State of a `Director`; owned by the caller, never changed in place."""

    held: Tensor | None = None
    """(2k,N,n) frames that the smoothing window still needs."""
    frame: int = 0
    closures: np.ndarray | None = None
    """(w,N) lid closure of the model in the last MEMORY_S."""
    blinking: np.ndarray | None = None
    """(N,) frames since the last blink began."""


class Director:
    """A direction bound to a geometry, a face and N seeds. It is stateless: one serves any number of sessions.

    Args:
        template: (V,3) metres.
        seeds: of the takes' blinks.
        fps: of the input frames.

    Raises:
        InputError: the topology lacks a region or blendshapes.
    """

    def __init__(
        self, direction: Direction, geometry: BasisGeometry | DenseGeometry, topology: Topology, template: np.ndarray,
        seeds: Sequence[int], fps: Fraction,
    ) -> None:  # fmt: skip
        self.direction, self._seeds, self._fps = direction, tuple(seeds), float(fps)
        self.rest = rest_motion(geometry, template)
        """(n,) motion of the neutral face."""
        self._scale = region_scale(geometry, topology, direction.intensity)
        self._windows = [
            (_hann(round(seconds * self._fps / 2)), region_share(geometry, topology, region))
            for region, seconds in direction.smoothing_s.items()
        ]
        self.delay = max((len(window) // 2 for window, _ in self._windows), default=0)
        """Frames of delay by smoothing."""
        self._articulate = (
            None if direction.articulation == 1 else _Articulator(geometry, topology, self.rest, direction.articulation)
        )
        self._gaze = _Remover(geometry, topology, "eyeLook") if direction.hold_gaze else None
        self._blink = self._lids = None
        if direction.blinks_per_min is not None:
            self._blink = _fields(geometry, topology, "eyeBlink").sum(0)
            self._lids = _measure(geometry, topology, self._blink)

    def start(self) -> DirectorState:
        """State before the first frame."""
        return DirectorState()

    def process(self, motion: Tensor, state: DirectorState) -> tuple[Tensor, DirectorState]:
        """(t,N,n) new frames → ((t',N,n) directed frames that are final, new state)."""
        if not len(motion):
            return motion, state
        moved = motion - self.rest
        held = None
        if self.delay:
            before = moved[:1].expand(self.delay, -1, -1) if state.held is None else state.held
            padded = torch.cat([before, moved])
            held, moved = padded[-2 * self.delay :], self._smooth(padded)
        moved, state = self._act(moved, DirectorState(held, state.frame, state.closures, state.blinking))
        return moved + self.rest, state

    def finish(self, motion: Tensor, state: DirectorState) -> Tensor:
        """The last (t,N,n) frames → all that remain."""
        out, after = self.process(motion, state)
        if after.held is None:
            return out
        last = after.held[-1:].expand(self.delay, -1, -1)
        remaining, _ = self._act(self._smooth(torch.cat([after.held, last])), after)
        return torch.cat([out, remaining + self.rest])

    def fade_out(self, motion: Tensor, first: int, total: int, fps: Fraction) -> Tensor:
        """(t,N,n) frames from `first` on of `total` → the same with the fade to neutral at the end."""
        count = min(round(self.direction.lead_out_s * fps), total)
        if not count or first + len(motion) <= total - count:
            return motion
        left = (total - 1 - np.arange(first, first + len(motion))) / count
        share = torch.as_tensor(_smoothstep(np.clip(left, 0, 1))).to(motion)[:, None, None]
        return (motion - self.rest) * share + self.rest

    def _smooth(self, padded: Tensor) -> Tensor:
        """(t+2k,N,n) → (t,N,n): every region by its own window."""
        delay, count = self.delay, max(len(padded) - 2 * self.delay, 0)
        out = padded[delay : delay + count]
        change = torch.zeros_like(out)
        for window, share in self._windows:
            reach = len(window) // 2
            parts = [w * padded[delay - reach + i :][:count] for i, w in enumerate(window.tolist())]
            change = change + share(torch.stack(parts).sum(0) - out)
        return out + change

    def _act(self, moved: Tensor, state: DirectorState) -> tuple[Tensor, DirectorState]:
        """All that needs no later frame."""
        if not len(moved):
            return moved, state
        closures, blinking = state.closures, state.blinking
        if self._blink is not None and self._lids is not None:
            change, closures, blinking = self._lid_change((moved @ self._lids).cpu().numpy(), state)
            moved = moved + torch.as_tensor(change).to(moved)[..., None] * self._blink
        if self._gaze is not None:
            moved = self._gaze(moved)
        moved = self._scale(moved)
        if self._articulate is not None:
            moved = self._articulate(moved)
        frames = state.frame + np.arange(len(moved))
        if self.direction.lead_in_s and state.frame < self.direction.lead_in_s * self._fps:
            share = _smoothstep(np.minimum(frames / (self.direction.lead_in_s * self._fps), 1))
            moved = moved * torch.as_tensor(share).to(moved)[:, None, None]
        return moved, DirectorState(state.held, state.frame + len(moved), closures, blinking)

    def _lid_change(self, closure: np.ndarray, state: DirectorState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(t,N) how far lids are down → (how much further they shall be, what to remember of both kinds of blink)."""
        width = math.ceil(MEMORY_S * self._fps)
        before = closure[:1].repeat(width, 0) if state.closures is None else state.closures
        known = np.concatenate([before, closure])
        lowest = np.lib.stride_tricks.sliding_window_view(known, width + 1, 0).min(-1)  # (t,N)
        wanted = np.minimum(closure, lowest)
        takes = closure.shape[1]
        since = np.full(takes, 10**9) if state.blinking is None else state.blinking.copy()
        rate = self.direction.blinks_per_min or 0.0
        if rate:
            dead = CLOSING_S + OPENING_S + PAUSE_S
            chance = 1 / ((60 / rate - dead) * self._fps)
            for index in range(len(closure)):
                since += 1
                for take, seed in enumerate(self._seeds):
                    free = since[take] > dead * self._fps
                    if free and _uniform(seed, state.frame + index) < chance:
                        since[take] = 0
                down = _blink_curve(since / self._fps)
                wanted[index] += down * (1 - wanted[index])
        return (wanted - closure).astype(np.float32), known[-width:], since


def check_strength(strength: float | Mapping[str, float]) -> Mapping[str, float]:
    """Strength of an expression as factors of its regions; "" stands for the whole face.

    Raises:
        InputError: a factor that is not between 0 and 2.
    """
    factors = strength if isinstance(strength, Mapping) else {WHOLE_FACE: strength}
    for region, factor in factors.items():
        if not 0 <= factor <= MAX_STRENGTH:
            where = f" of {region!r}" if region else ""
            raise InputError(f"strength{where} must be 0 to {MAX_STRENGTH:g}, got {factor}")
    return factors


def rest_motion(geometry: BasisGeometry | DenseGeometry, template: np.ndarray) -> Tensor:
    """(n,) motion of the unmoved face: zero where motion is a displacement, the template where it is a mesh."""
    device = next(geometry.buffers()).device
    still = torch.as_tensor(np.asarray(template, np.float32)).to(device)
    return geometry.to_motion(torch.zeros_like(still)[None], still)[0]


class RegionMap:
    """A linear map of displacements in motion coordinates: a factor per vertex, projected back onto the basis."""

    def __init__(self, geometry: BasisGeometry | DenseGeometry, factors: np.ndarray) -> None:
        """`factors` (V,)."""
        self._mixes = isinstance(geometry, BasisGeometry)
        if isinstance(geometry, BasisGeometry):
            basis = geometry.basis.cpu().double()
            # least squares over all vertices: the basis is orthonormal
            matrix = (basis * torch.as_tensor(factors.repeat(3))) @ basis.T
        else:
            matrix = torch.as_tensor(factors.repeat(3))
        self._factors = matrix.float().to(next(geometry.buffers()).device)

    def __call__(self, moved: Tensor) -> Tensor:
        """(…,n) displacement → (…,n)."""
        return moved @ self._factors if self._mixes else moved * self._factors


def region_scale(
    geometry: BasisGeometry | DenseGeometry, topology: Topology, factors: Mapping[str, float]
) -> RegionMap | _Same:
    """Scale a displacement region by region; factors of overlapping regions multiply.

    Raises:
        InputError: the topology lacks a region.
    """
    field = np.ones(topology.n_vertices)
    for region, factor in factors.items():
        field *= 1 + (factor - 1) * region_weights(topology, region)
    return RegionMap(geometry, field) if any(factor != 1 for factor in factors.values()) else _Same()


def region_share(geometry: BasisGeometry | DenseGeometry, topology: Topology, region: str) -> RegionMap:
    """The map from a displacement to its share in a region."""
    return RegionMap(geometry, region_weights(topology, region))


def region_weights(topology: Topology, region: str) -> np.ndarray:
    """(V,) weights of a region of a topology.

    Raises:
        InputError: it has no such region.
    """
    if region == WHOLE_FACE:
        return np.ones(topology.n_vertices)
    if region not in topology.regions:
        had = ", ".join(topology.regions) or "none"
        raise InputError(f"there is no region {region!r}. This topology has {had}.")
    return topology.region(region)


class _Same:
    def __call__(self, moved: Tensor) -> Tensor:
        return moved


class _Articulator:
    """Scales the mouth's motion, frame by frame, by how far apart the lips are."""

    def __init__(
        self, geometry: BasisGeometry | DenseGeometry, topology: Topology, rest: Tensor, articulation: float
    ) -> None:
        if not geometry.has_opening:
            raise InputError("--articulation needs a topology that marks the inner lips. Use --intensity mouth=1.2.")
        self._geometry, self._rest, self._more = geometry, rest, articulation - 1
        self._mouth = region_share(geometry, topology, "mouth")

    def __call__(self, moved: Tensor) -> Tensor:
        parted_mm = self._geometry.opening(moved + self._rest) - self._geometry.opening(self._rest)
        share = (parted_mm / PARTED_MM).clamp(0, 1)
        share = share * share * (3 - 2 * share)
        return moved + self._more * share[..., None] * self._mouth(moved)


class _Remover:
    """Takes some blendshapes out of a displacement that is explained by all of them (least squares over the vertices)."""

    def __init__(self, geometry: BasisGeometry | DenseGeometry, topology: Topology, prefix: str) -> None:
        every, gone = _fields(geometry, topology, ""), _named(topology, prefix)
        self._shapes, self._dual = every[gone], torch.pinverse(every, 1e-4)[:, gone]

    def __call__(self, moved: Tensor) -> Tensor:
        return moved - (moved @ self._dual) @ self._shapes


def _fields(geometry: BasisGeometry | DenseGeometry, topology: Topology, prefix: str) -> Tensor:
    """(k,n) the topology's blendshapes of this name as motions, mm."""
    names = _named(topology, prefix)
    assert topology.shapes is not None
    shapes = topology.shapes[names]
    device = next(geometry.buffers()).device
    if isinstance(geometry, BasisGeometry):
        flat = torch.as_tensor(shapes.reshape(len(shapes), -1).astype(np.float32)).to(device)
        return flat @ geometry.basis.T * MM
    return torch.as_tensor(shapes.reshape(len(shapes), -1).astype(np.float32) * MM).to(device)


def _named(topology: Topology, prefix: str) -> list[int]:
    """Indices of the blendshapes of this name.

    Raises:
        InputError: there are none.
    """
    names = [i for i, name in enumerate(topology.shape_names) if name.startswith(prefix)]
    if not names or topology.shapes is None:
        raise InputError(
            f"blinks and gaze need {prefix}… blendshapes, and this model's topology has none. Leave these options out."
        )
    return names


def _measure(geometry: BasisGeometry | DenseGeometry, topology: Topology, shape: Tensor) -> Tensor:
    """(n,) functional that measures a shape's (n,) weight in a displacement (least squares over its eyelids)."""
    lids = region_share(geometry, topology, "eyelids")(shape[None])[0]
    return lids / (lids @ shape)


def _hann(reach: int) -> np.ndarray:
    """(2·reach+1,) weights of a window that ends beyond its last frame; their sum is 1."""
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(-reach, reach + 1) / (reach + 1))
    return window / window.sum()


def _smoothstep(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)


def _blink_curve(seconds: np.ndarray) -> np.ndarray:
    """Lid closure at (…,) seconds after a blink began: down within CLOSING_S, up within OPENING_S."""
    down = _smoothstep(np.clip(seconds / CLOSING_S, 0, 1))
    return down * (1 - _smoothstep(np.clip((seconds - CLOSING_S) / OPENING_S, 0, 1)))


def _uniform(seed: int, frame: int) -> float:
    """A random number in [0,1) as a function of seed and frame."""
    return np.random.Generator(np.random.Philox(key=[seed, 0xB11C], counter=[0, 0, 0, frame])).random()
