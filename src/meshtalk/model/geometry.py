"""Motion representations of the networks (dense or basis), and the masked vertex errors of eqs. 4 and 5.

"Motion" is the networks' representation of a frame: all vertex coordinates (dense) or coefficients of the displacement in an
orthonormal basis (basis). Both measure errors in millimetres over the same vertices: for an orthonormal or any other
linear basis B, Σ_v M_v ‖(e·B)_v‖² = e·G·eᵀ with the Gram matrix G = Σ_v M_v B_v B_vᵀ, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from meshtalk.errors import InputError
from meshtalk.mesh.surface import nearest_rotation
from meshtalk.mesh.topology import Topology

MM = 1000.0
"""Millimetres in a metre: clips are in metres, networks and losses in millimetres."""


SILENCE = 0.1
"""Weight of a resting mouth against an unchanged upper face where their regions overlap; see `silence_mouth`."""


IDENTITY_REACH = 2.0
"""Largest norm of a network's identity input, in standard deviations of the largest component: the packaged people lie within
1.94. A decoder extrapolates badly beyond its training identities, and motion drifts with the face (docs/retarget.md)."""


FAR = 2.0
"""Root mean square of a template's normalised coordinates from which its pose differs from the training heads'."""


class Geometry(nn.Module):
    """Base of both geometries: regions and the vertex pairs of the lip opening."""

    kind: str
    n_motion: int
    n_template: int

    mouth_rows: Tensor

    def __init__(
        self,
        regions: Mapping[str, np.ndarray],
        opening: tuple[np.ndarray, np.ndarray] | None,
        mouth: np.ndarray | None,
    ) -> None:
        super().__init__()
        self.regions = tuple(regions)
        self.has_opening = opening is not None and len(opening[0]) > 0
        self.has_mouth = mouth is not None and len(mouth) > 0
        for name, weights in regions.items():
            if not weights.sum() > 0:
                raise InputError(f"region {name!r} is empty. Give the topology weights for it.")

    def mouth(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch functionals"]:
        """(...,n) → (...,F) the functionals of `mouth_functionals`, mm, from an origin of their own."""
        return motion @ self.mouth_rows

    def normalise(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch {self.n_motion}"]:
        """Motion (B,T,n) in mm → network input."""
        raise TypeError("use a subclass")

    def region_energy(
        self, error: Float[Tensor, "batch frames {self.n_motion}"], region: str, norm: str = "squared"
    ) -> Float[Tensor, "batch frames"]:
        """Masked vertex error of each frame of a motion difference (B,T,n): Σ_v M_v‖e_v‖²/Σ_v M_v, mm²."""
        raise TypeError("use a subclass")

    def region_error(
        self, error: Float[Tensor, "batch frames {self.n_motion}"], region: str, norm: str = "squared"
    ) -> Float[Tensor, ""]:
        """Mean of `region_energy` over B and T."""
        return self.region_energy(error, region, norm).mean()


class Identity(NamedTuple):
    """Principal components of templates at a few vertices."""

    index: np.ndarray
    """(n,) vertices that distinguish identities."""
    mean: np.ndarray
    """(n,3) mm, centred."""
    basis: np.ndarray
    """(m,n·3)"""
    scale: np.ndarray
    """(m,) mm"""


class BasisGeometry(Geometry):
    """Displacement from the template in K orthonormal components; identity as m principal components.

    Args:
        basis: (K,V,3) orthonormal over V·3.
        scale: (K,) standard deviation of each component in training, mm: the unit of network input and output.
        identity: principal components of the identity.
        regions: name → (V,) weights.
        opening: index arrays of the upper and the lower inner lip.
        mouth: (F,V,3) of `mouth_functionals`.
    """

    kind = "basis"
    basis: Tensor
    scale: Tensor
    identity_index: Tensor
    identity_mean: Tensor
    identity_basis: Tensor
    identity_scale: Tensor
    opening_rows: Tensor
    silencing: Tensor

    def __init__(
        self,
        basis: np.ndarray,
        scale: np.ndarray,
        identity: Identity,
        regions: Mapping[str, np.ndarray],
        opening: tuple[np.ndarray, np.ndarray] | None,
        mouth: np.ndarray | None = None,
    ) -> None:
        super().__init__(regions, opening, mouth)
        self.n_motion, self.n_template = len(basis), len(identity.basis)
        self.n_vertices = basis.shape[1]
        self.register_buffer("basis", _float(basis.reshape(len(basis), -1)), persistent=False)
        self.register_buffer("scale", _float(scale))
        self.register_buffer("identity_index", torch.as_tensor(np.asarray(identity.index, np.int64)), persistent=False)
        self.register_buffer("identity_mean", _float(identity.mean))
        self.register_buffer("identity_basis", _float(identity.basis))
        self.register_buffer("identity_scale", _float(identity.scale))
        for name, weights in regions.items():
            # products and sums one by one: a linear-algebra library's depend on its threads
            gram = np.einsum("avc,bvc->ab", basis * weights[:, None], basis, dtype=np.float64) / weights.sum()
            self.register_buffer(f"gram_{name}", _float(gram), persistent=False)
        above, below = (self.get_buffer(f"gram_{name}").double() for name in ("upper_face", "mouth"))
        ridge = 1e-6 * torch.eye(len(basis), dtype=torch.float64)
        keep = torch.linalg.solve(above + SILENCE * below + ridge, above)
        self.register_buffer("silencing", keep.T.float(), persistent=False)
        if opening is not None and self.has_opening:
            upper, lower = opening
            rows = basis[:, upper, 1] - basis[:, lower, 1]  # (K, pairs)
            self.register_buffer("opening_rows", _float(rows.mean(1)), persistent=False)
        if mouth is not None and self.has_mouth:
            rows = np.einsum("kvc,fvc->kf", basis, mouth, dtype=np.float64)
            self.register_buffer("mouth_rows", _float(rows), persistent=False)

    def to_motion(
        self, displacement: Float[Tensor, "frames {self.n_vertices} 3"], template: Float[Tensor, "{self.n_vertices} 3"]
    ) -> Float[Tensor, "frames {self.n_motion}"]:
        """(T,V,3) metres of a person with template (V,3) → (T,K) mm."""
        return displacement.flatten(1) @ self.basis.T * MM

    def to_displacement(
        self, motion: Float[Tensor, "frames {self.n_motion}"], template: Float[Tensor, "{self.n_vertices} 3"]
    ) -> Float[Tensor, "frames {self.n_vertices} 3"]:
        """(T,K) mm → (T,V,3) metres."""
        return (motion @ self.basis / MM).unflatten(-1, (self.n_vertices, 3))

    def template_input(
        self, template: Float[Tensor, "batch {self.n_vertices} 3"]
    ) -> Float[Tensor, "batch {self.n_template}"]:
        """(B,V,3) metres → (B,m) identity components, no longer than IDENTITY_REACH."""
        local = template[:, self.identity_index] * MM
        # identity is shape, independent of a mesh's position
        local = local - local.mean(1, keepdim=True)
        identity = (local - self.identity_mean).flatten(1) @ self.identity_basis.T / self.identity_scale
        # exactly 1 within reach: identities of the training people do not change
        return identity * (IDENTITY_REACH / identity.norm(dim=1, keepdim=True).clamp(min=IDENTITY_REACH))

    def normalise(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch {self.n_motion}"]:
        return motion / self.scale

    def denormalise(self, output: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch {self.n_motion}"]:
        """Network output → motion in mm."""
        return output * self.scale

    def region_energy(
        self, error: Float[Tensor, "batch frames {self.n_motion}"], region: str, norm: str = "squared"
    ) -> Float[Tensor, "batch frames"]:
        if norm != "squared":
            raise InputError("plain norms need dense geometry. Use squared norms with a basis.")
        return ((error @ self.get_buffer(f"gram_{region}")) * error).sum(-1)

    def silence_mouth(self, motion: Float[Tensor, "*frames motion"]) -> Float[Tensor, "*frames motion"]:
        """The motion with the same upper face and a resting mouth: weighted least squares over the vertices.

        argmin_y Σ_v M_v^upper ‖(y−x)_v‖² + SILENCE Σ_v M_v^mouth ‖y_v‖², in closed form through the Gram matrices.
        """
        return motion @ self.silencing

    def opening(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch"]:
        """(...,K) → (...) lip opening relative to the template's, mm."""
        return motion @ self.opening_rows


class Pose(NamedTuple):
    """A rigid motion x → R·x + t."""

    rotation: Tensor
    """(3,3)"""
    shift: Tensor
    """(3,), of the unit of the points"""

    @classmethod
    def between(cls, points: Float[Tensor, "n 3"], wanted: Float[Tensor, "n 3"], weights: Float[Tensor, " n"]) -> Pose:
        """The least-squares alignment of weighted points to others (Kabsch 1976)."""
        shares = weights[:, None] / weights.sum()
        centres = (shares * points).sum(0), (shares * wanted).sum(0)
        # nine numbers, for which not every device has the decomposition
        covariance = ((shares * (wanted - centres[1])).T @ (points - centres[0])).cpu().double()
        rotation = torch.from_numpy(nearest_rotation(covariance.numpy())[0]).to(points)
        return cls(rotation, centres[1] - rotation @ centres[0])

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation, 0 to 180."""
        cosine = (float(self.rotation.trace()) - 1) / 2
        return math.degrees(math.acos(min(max(cosine, -1), 1)))

    def lay(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """R·x + t"""
        return points @ self.rotation.T + self.shift

    def back(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """The x of R·x + t."""
        return (points - self.shift) @ self.rotation


class DenseGeometry(Geometry):
    """Every vertex coordinate, (x − mean)/std, exactly as the paper.

    A head in another pose than the training heads' is aligned to their mean first, and its motion is transformed back.

    Args:
        mean: (V,3) mm, std: (V,3) mm of the training meshes.
        regions: name → (V,) weights.
        opening: index arrays of the upper and the lower inner lip.
        mouth: (F,V,3) of `mouth_functionals`.
    """

    kind = "dense"
    mean: Tensor
    std: Tensor
    upper_lip: Tensor
    lower_lip: Tensor

    def __init__(
        self,
        mean: np.ndarray,
        std: np.ndarray,
        regions: Mapping[str, np.ndarray],
        opening: tuple[np.ndarray, np.ndarray] | None,
        mouth: np.ndarray | None = None,
    ) -> None:
        super().__init__(regions, opening, mouth)
        self.n_motion = self.n_template = mean.size
        self.n_vertices = len(mean)
        self.register_buffer("mean", _float(mean.reshape(-1)))
        self.register_buffer("std", _float(std.reshape(-1)))
        for name, weights in regions.items():
            self.register_buffer(f"weights_{name}", _float(weights / weights.sum()), persistent=False)
        if opening is not None and self.has_opening:
            self.register_buffer("upper_lip", torch.as_tensor(np.asarray(opening[0], np.int64)), persistent=False)
            self.register_buffer("lower_lip", torch.as_tensor(np.asarray(opening[1], np.int64)), persistent=False)
        if mouth is not None and self.has_mouth:
            self.register_buffer("mouth_rows", _float(mouth.reshape(len(mouth), -1).T), persistent=False)

    def to_motion(
        self, displacement: Float[Tensor, "frames {self.n_vertices} 3"], template: Float[Tensor, "{self.n_vertices} 3"]
    ) -> Float[Tensor, "frames {self.n_motion}"]:
        """(T,V,3) metres of a person with template (V,3) → (T,V·3) mm, absolute."""
        moved = (displacement + template).mul_(MM)  # in place, because fresh memory is what costs here
        pose = self._pose(template)
        return (moved if pose is None else pose.lay(moved)).flatten(1)

    def to_displacement(
        self, motion: Float[Tensor, "frames {self.n_motion}"], template: Float[Tensor, "{self.n_vertices} 3"]
    ) -> Float[Tensor, "frames {self.n_vertices} 3"]:
        """(T,V·3) mm → (T,V,3) metres."""
        moved, pose = motion.unflatten(-1, (self.n_vertices, 3)), self._pose(template)
        return (moved if pose is None else pose.back(moved)) / MM - template

    def template_input(
        self, template: Float[Tensor, "batch {self.n_vertices} 3"]
    ) -> Float[Tensor, "batch {self.n_template}"]:
        """(B,V,3) metres → (B,V·3) normalised."""
        return self.normalise(torch.cat([self.to_motion(torch.zeros_like(one)[None], one) for one in template]))

    def _pose(self, template: Float[Tensor, "{self.n_vertices} 3"]) -> Pose | None:
        """Alignment of a template to the mean head; None if its pose is that of the training heads."""
        there = template * MM
        if self.normalise(there.flatten()).square().mean() <= FAR**2:
            return None
        # where the training's faces differ little shows how they were aligned; but never a handful of vertices alone
        variance = self.std.view(-1, 3).square().mean(1)
        weights = variance.clamp(min=float(variance.median()) / 16) ** -2
        return Pose.between(there, self.mean.view(-1, 3), weights)

    def normalise(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch {self.n_motion}"]:
        return (motion - self.mean) / self.std

    def denormalise(self, output: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch {self.n_motion}"]:
        """Network output → motion in mm."""
        return output * self.std + self.mean

    def region_energy(
        self, error: Float[Tensor, "batch frames {self.n_motion}"], region: str, norm: str = "squared"
    ) -> Float[Tensor, "batch frames"]:
        squared = error.unflatten(-1, (self.n_vertices, 3)).square().sum(-1)
        # the root's slope is infinite at zero, which a perfect vertex would reach
        distance = squared if norm == "squared" else (squared + 1e-12).sqrt()
        return (distance * self.get_buffer(f"weights_{region}")).sum(-1)

    def opening(self, motion: Float[Tensor, "*batch {self.n_motion}"]) -> Float[Tensor, "*batch"]:
        """(...,V·3) → (...) lip opening, mm."""
        y = motion.unflatten(-1, (self.n_vertices, 3))[..., 1]
        return (y[..., self.upper_lip] - y[..., self.lower_lip]).mean(-1)


def _float(array: np.ndarray) -> Tensor:
    # in torch's own memory: a product's last bit may depend on how its factors are aligned
    return torch.tensor(np.asarray(array, np.float32))


LOSS_REGIONS = ("mouth", "upper_face", "eyelids")


LIP_EMPHASIS = 2.0
"""Weight of a lip vertex in M^mouth relative to its neighbours: lips are small, and viewers watch them."""


def region_arrays(topology: Topology) -> dict[str, np.ndarray]:
    """The regions of eqs. 4 and 5: M^mouth (lips emphasised), M^upper, M^eyelid; and the whole face."""
    regions = {name: topology.region(name) for name in LOSS_REGIONS} | {
        "face": np.ones(topology.n_vertices, np.float32)
    }
    if "lips" in topology.regions:
        regions["mouth"] = regions["mouth"] * (1 + LIP_EMPHASIS * topology.region("lips"))
    return regions


def opening_pairs(topology: Topology) -> tuple[np.ndarray, np.ndarray] | None:
    """Index arrays of the inner lips, or None where the topology has no such landmarks."""
    if not topology.names_inner_lips:
        return None
    return topology.landmarks["lip_inner_upper"], topology.landmarks["lip_inner_lower"]


TIP_SHARE = 0.8
"""Vertices of the tongue that go at least so far with tongueOut as the one that goes furthest."""


def mouth_functionals(topology: Topology) -> np.ndarray:
    """(F,V,3) what of the mouth beside its opening a viewer sees, each a weighted sum of coordinates: distance of the corners,
    way forward of the inner lips, height and depth of the lower lip against the upper teeth, way forward and height of the
    tongue's tip; of these, those whose landmarks, part and shape the topology has.
    """
    marks, count = topology.landmarks, topology.n_vertices
    found: list[np.ndarray] = []

    def add(axis: int, *terms: tuple[np.ndarray, float]) -> None:
        one = np.zeros((count, 3), np.float32)
        for index, sign in terms:
            np.add.at(one[:, axis], index, sign / len(index))
        found.append(one)

    if "lip_corners" in marks:
        right, left = marks["lip_corners"][:1], marks["lip_corners"][1:2]
        add(0, (left, 1.0), (right, -1.0))
    if topology.names_inner_lips:
        lower = marks["lip_inner_lower"]
        add(2, (lower, 0.5), (marks["lip_inner_upper"], 0.5))
        if "upper_teeth" in marks:
            add(1, (lower, 1.0), (marks["upper_teeth"], -1.0))
            add(2, (lower, 1.0), (marks["upper_teeth"], -1.0))
    names = topology.shape_names
    if (
        topology.parts is not None
        and "tongue" in topology.part_names
        and topology.shapes is not None
        and "tongueOut" in names
    ):
        far = topology.shapes[names.index("tongueOut"), :, 2] * (topology.parts == topology.part_names.index("tongue"))
        tip = np.flatnonzero(far >= TIP_SHARE * far.max())
        if far.max() > 0:
            add(2, (tip, 1.0))
            add(1, (tip, 1.0))
    return np.stack(found) if found else np.zeros((0, count, 3), np.float32)
