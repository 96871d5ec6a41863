"""The packaged head: a topology with ARKit blendshapes, and a generator of different people.

The asset is built by `assets_build/build_head.py` from MakeHuman's CC0 data (see docs/head.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology

LIPS_APART_M = 6e-5
"""Lip opening of the neutral face along the contact line: visibly closed, not pressed."""

NAMED = {"clara": "p00", "amara": "p02", "kenji": "p05", "henrik": "p07"}
"""Aliases of four of the people, who differ in sex, age and origin."""


@dataclass(frozen=True, eq=False)
class Person:
    """An identity: neutral vertices, and a gain for each blendshape."""

    name: str
    template: np.ndarray
    """(V,3) float32 metres, lips gently closed, eyes open; the origin lies between the ears."""
    gains: np.ndarray
    """(S,) float32: displacement at weights w is (w * gains) @ shapes, so that lips and lids meet on this face."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the linear red, green and blue of the skin (not of eyes, teeth and the inside of the mouth)."""


@dataclass(frozen=True, eq=False)
class Seam:
    """Two edges that can meet (the lips, the lids of one eye), compared in K columns across the face."""

    upper: np.ndarray
    """(K,) vertices of the upper edge."""
    lower: np.ndarray
    """(K,2) vertices of the lower edge either side of each column."""
    share: np.ndarray
    """(K,) how far the column lies from the first to the second of `lower`."""
    rows: np.ndarray
    """(n,) vertices that closing moves touch."""
    field: np.ndarray
    """(n,K) their vertical move for one unit of opening at each column: smooth, upper side up, lower side down."""

    def opening_m(self, vertices: np.ndarray) -> np.ndarray:
        """(...,K) vertical distance of the edges of (...,V,3) vertices or displacements, negative where they cross."""
        y = vertices[..., 1]
        return y[..., self.upper] - (1 - self.share) * y[..., self.lower[:, 0]] - self.share * y[..., self.lower[:, 1]]

    def opened(self, vertices: np.ndarray, change_m: np.ndarray) -> np.ndarray:
        """A copy of (V,3) vertices (or displacements) with (K,) added to the opening."""
        moved = vertices.copy()
        moved[self.rows, 1] += self.field @ change_m
        return moved


@dataclass(frozen=True, eq=False)
class Head:
    """The topology, its default person, and the generator of others."""

    topology: Topology
    base: np.ndarray
    """(V,3) float64 metres: MakeHuman's base mesh, to which targets are added."""
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """name → (vertex indices (n,), displacements (n,3) metres at weight 1)."""
    origin: np.ndarray
    """(n,) vertices whose mean is the origin: both ears."""
    seams: Mapping[str, Seam]
    """`lips`, `lids_left` and `lids_right`."""
    lids_open_m: Mapping[str, np.ndarray]
    """Lid seam → (K,) opening of the default person, which eyeBlink at weight 1 closes."""
    recipes: Mapping[str, Mapping[str, Any]]
    """Person's name → {"targets": {target: weight}, "tint": [r, g, b]}."""

    @property
    def neutral(self) -> np.ndarray:
        """(V,3) float32 metres: the default person."""
        return self.person("default").template

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """The named persons, p00, p01, ..."""
        return tuple(self.person(name) for name in self.recipes if name != "default")

    def person(self, name_or_seed: str | int) -> Person:
        """A named person (see NAMED, or p00, p01, ...), or one sampled from a seed; the same argument gives the same person.

        Raises:
            InputError: there is no person of that name, or the seed is negative.
        """
        if isinstance(name_or_seed, str):
            if NAMED.get(name_or_seed, name_or_seed) not in self.recipes:
                raise InputError(
                    f"person must be {', '.join(NAMED)}, p00 to p{len(self.recipes) - 2:02} or an integer,"
                    f" got {name_or_seed!r}. Try clara."
                )
            recipe = self.recipes[NAMED.get(name_or_seed, name_or_seed)]
            return self._make(name_or_seed, recipe["targets"], tuple(recipe["tint"]))
        if name_or_seed < 0:
            raise InputError(f"the seed of a person must be an integer from 0 on, got {name_or_seed}. Try 7.")
        rng = np.random.default_rng([name_or_seed, 0x4EAD])
        names = [name for name in self.recipes if name != "default"]
        chosen = rng.choice(len(names), 3, replace=False)
        shares = rng.dirichlet([1.0, 1.0, 1.0])
        mixed: dict[str, float] = {}
        tint = np.zeros(3)
        for index, share in zip(chosen, shares, strict=True):
            recipe = self.recipes[names[index]]
            tint += share * np.asarray(recipe["tint"])
            for target, weight in recipe["targets"].items():
                mixed[target] = mixed.get(target, 0.0) + float(share) * weight
        return self._make(f"seed{name_or_seed}", mixed, (float(tint[0]), float(tint[1]), float(tint[2])))

    def _make(self, name: str, targets: Mapping[str, float], tint: tuple[float, ...]) -> Person:
        vertices = self.base.copy()
        for target, weight in targets.items():
            rows, moves = self.targets[target]
            vertices[rows] += weight * moves
        vertices -= vertices[self.origin].mean(0)
        gains = np.ones(len(self.topology.shape_names), np.float32)
        # jawOpen and mouthClose have the same motion of the lip contact, so any opening of the template stays as it
        # is under both: shaping the template once closes the lips at every jaw angle
        lips = self.seams["lips"]
        vertices = lips.opened(vertices, LIPS_APART_M - lips.opening_m(vertices))
        for side in ("left", "right"):
            seam, wanted = self.seams[f"lids_{side}"], self.lids_open_m[f"lids_{side}"]
            opening = seam.opening_m(vertices)
            gain = float(opening @ wanted / (wanted @ wanted))
            vertices = seam.opened(vertices, gain * wanted - opening)
            for shape in ("eyeBlink", "eyeSquint", "eyeWide"):
                gains[self.topology.shape_names.index(shape + side.capitalize())] = gain
        return Person(name, vertices.astype(np.float32), gains, (tint[0], tint[1], tint[2]))


@cache
def load_head() -> Head:
    """The packaged head (cached)."""
    with (files("meshtalk") / "assets" / "head.npz").open("rb") as stream, np.load(stream) as archive:
        arrays = {name: archive[name] for name in archive.files}
    topology = Topology.from_arrays({k[9:]: v for k, v in arrays.items() if k.startswith("topology/")})
    starts = np.concatenate([[0], np.cumsum(arrays["target_sizes"])])
    rows, moves = arrays["target_rows"].astype(np.int64), arrays["target_mm"].astype(np.float64) / 1e3
    targets = {
        str(name): (rows[a:b], moves[a:b])
        for name, a, b in zip(arrays["target_names"], starts[:-1], starts[1:], strict=True)
    }
    seams = {
        name: Seam(*(arrays[f"seam/{name}/{field.name}"] for field in fields(Seam)))
        for name in ("lips", "lids_left", "lids_right")
    }
    return Head(
        topology=topology,
        base=arrays["base_mm"].astype(np.float64) / 1e3,
        targets=targets,
        origin=arrays["origin"],
        seams=seams,
        lids_open_m={name: arrays[f"open/{name}"].astype(np.float64) for name in seams if name != "lips"},
        recipes=json.loads(arrays["recipes"].tobytes()),
    )
