"""The faces that measure_identity_leak.py performs on: people of the packaged head, extremes, and scans that stand for no one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from meshtalk.mesh.head import Person, load_head
from meshtalk.mesh.topology import vertex_normals
from meshtalk.model.geometry import MM
from meshtalk.synth.build import casts

DRAWN = 16
NOISE_MM = 0.3
RIPPLE_MM, RIPPLE_PERIOD_MM = 0.5, 6.0
"""Height and period of a relief over the whole skin, as fine as wrinkles: the head's targets have nothing like it."""
MOVED_M = (0.0, 0.03, 0.0)
NOD_DEG = 10.0
_COS, _SIN = np.cos(np.radians(NOD_DEG)), np.sin(np.radians(NOD_DEG))
NOD = np.array([[1, 0, 0], [0, _COS, _SIN], [0, -_SIN, _COS]], np.float32)
"""Rows of points, times this, look down."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face to perform on, and the one whose motion it is expected to have but for its gains."""

    group: str
    person: Person
    base: Person
    turn: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    """(3,3) by which the person's points were multiplied."""


def middle(people: Sequence[Person]) -> Person:
    """The mean of people: what the network's identity input calls zero if these are the training's people."""
    template = np.mean([person.template for person in people], 0, dtype=np.float64)
    return Person("mean", template.astype(np.float32), np.mean([person.gains for person in people], 0))


def stretched(person: Person, about: Person, factor: float) -> Person:
    """A person whose offset from another is multiplied; lips and lids still meet, because all of that is linear."""
    template = about.template + factor * (person.template - about.template)
    return Person(f"{person.name} x {factor:g}", template, about.gains + factor * (person.gains - about.gains))


def noisy(person: Person, seed: int) -> Person:
    """Every coordinate off by independent normal noise."""
    noise = np.random.default_rng([seed, 0x5CA9]).normal(scale=NOISE_MM / MM, size=person.template.shape)
    return replace(person, name=f"{person.name}, noise", template=(person.template + noise).astype(np.float32))


def rippled(person: Person) -> Person:
    """A relief along the normals."""
    phase = person.template * (2 * np.pi / RIPPLE_PERIOD_MM * MM)
    height_m = RIPPLE_MM / MM * np.sin(phase[:, :1]) * np.sin(phase[:, 1:2])
    normals = vertex_normals(person.template, load_head().topology.faces)
    template = (person.template + height_m * normals).astype(np.float32)
    return replace(person, name=f"{person.name}, relief", template=template)


def moved(person: Person) -> Person:
    """The same face elsewhere in space."""
    template = (person.template + np.asarray(MOVED_M)).astype(np.float32)
    return replace(person, name=f"{person.name}, moved", template=template)


def nodding(person: Person) -> Person:
    """The same face looking down, as a scan may lie that was not set upright."""
    return replace(person, name=f"{person.name}, nodding", template=person.template @ NOD)


def all_faces() -> list[Face]:
    """The people of training (for reference), those held out, new ones, extremes and scans; ordered by base."""
    head = load_head()
    people = {split: [head.person(name) for name in cast["people"]] for split, cast in casts(0).items()}
    held_out, mean = [*people["val"], *people["test"]], middle(people["train"])
    upright = np.eye(3, dtype=np.float32)
    return [
        *(Face("training's people", person, mean) for person in people["train"]),
        *(Face("held-out people", person, mean) for person in held_out),
        *(Face("drawn people", head.person(seed), mean) for seed in range(DRAWN)),
        *(Face("held out, doubled", stretched(person, mean, 2.0), mean) for person in held_out),
        *(
            Face(f"held out, {name}", scan, person, turn)
            for number, person in enumerate(held_out)
            for name, scan, turn in (
                (f"{NOISE_MM} mm of noise", noisy(person, number), upright),
                (f"{RIPPLE_MM} mm relief", rippled(person), upright),
                ("30 mm higher", moved(person), upright),
                (f"nodding {NOD_DEG:.0f}°", nodding(person), NOD),
            )
        ),
    ]
