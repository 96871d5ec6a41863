"""Options that several verbs share, as dataclasses: what they say here is what `--help` says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from meshtalk.errors import InputError

if TYPE_CHECKING:  # what the verbs import when they run: the command line itself starts without them
    from meshtalk.inference.animator import Animator, Options
    from meshtalk.inference.direction import Direction
    from meshtalk.mesh.topology import Topology
    from meshtalk.render import Look
    from meshtalk.retarget.map import Map

Output = Annotated[Path, arg(aliases=["-o"])]
Words = Annotated[tuple[tuple[str, ...], ...], UseAppendAction]
"""`--option a b --option c`: all of them count."""
Word = TypeVar("Word", str, int)
Numbers = Annotated[tuple[tuple[int, ...], ...], UseAppendAction]


@dataclass(frozen=True)
class Directing:
    """Small direction of a performance."""

    blinks: float | None = None
    """so many a minute instead of the model's own."""
    no_blinks: Annotated[bool, FlagCreatePairsOff] = False
    """eyes do not blink."""
    hold_gaze: Annotated[bool, FlagCreatePairsOff] = False
    """eyes look straight ahead."""
    intensity: Words = ()
    """REGION=FACTOR …: how much a region moves, 0 to 3; regions: mouth, upper_face, eyelids, lips."""
    freeze: Words = ()
    """REGION …: these stay at rest."""
    smooth: Words = ()
    """REGION=SECONDS …: moving average over so long; a stream waits half of it longer."""
    lead_in: float = 0.0
    """seconds in which motion grows out of the neutral face."""
    lead_out: float = 0.0
    """seconds after the sound in which the face becomes neutral again."""

    def direction(self) -> Direction:
        """The library's `Direction`.

        Raises:
            InputError: options that cannot be followed, or that contradict each other.
        """
        from meshtalk.inference.direction import Direction

        if self.no_blinks and self.blinks:
            raise InputError(f"--no-blinks and --blinks {self.blinks:g} came : give one of them")
        intensity, still = dict(named_numbers(self.intensity, "intensity")), joined(self.freeze)
        if both := set(intensity) & set(still):
            raise InputError(f"--freeze and --intensity came for {', '.join(sorted(both))} : give one of them")
        return Direction(
            intensity=intensity | dict.fromkeys(still, 0.0),
            smoothing_s=named_numbers(self.smooth, "smooth"),
            blinks_per_min=0.0 if self.no_blinks else self.blinks,
            hold_gaze=self.hold_gaze,
            lead_in_s=self.lead_in,
            lead_out_s=self.lead_out,
        )


@dataclass(frozen=True)
class Performing:
    """Who performs, and how."""

    template: Path | None = None
    """face to animate: any face or head mesh (.obj, .ply, .stl, .glb, .vrm), or one of the model's topology (.npy and .npz too)."""
    landmarks: Path | None = None
    """named points of such a mesh (.json of `meshtalk landmarks`), if its face is not found."""
    map: Path | None = None
    """how such a mesh moves with the packaged head (.map): read if it is there, else made and kept."""
    expression: Path | None = None
    """clip (.npz) whose upper face and emotion are mixed in."""
    strength: Words = ()
    """FACTOR on the expression, 0 to 2, or REGION=FACTOR … (default: 1)."""
    person: str | None = None
    """clara, amara, kenji or henrik, another of the packaged people, p00, p01, …, or an integer seed for a new face."""
    seed: int = 0
    """of the sampling; the same seed gives the same animation."""
    temperature: float = 1.0
    """of the sampling; below 1 is calmer."""
    top_p: float = 1.0
    """draw among the likeliest codes that hold this share of the probability."""
    argmax: bool = False
    """take the likeliest codes instead of sampling."""
    fps: str | None = None
    """frames a second of the output, e.g. 25, 30, 60, 30000/1001 (default: the model's)."""
    model: Path | None = None
    """model folder (default: the one in the package)."""
    device: str = "cpu"
    """torch device, e.g. cpu, cuda, mps."""
    directing: Annotated[Directing, arg(name="")] = field(default_factory=Directing)

    def options(self) -> Options:
        """Keyword arguments of `Animator.animate`, without the seed.

        Raises:
            InputError: options that cannot be followed, or that contradict each other.
        """
        if joined(self.strength) and self.expression is None:
            raise InputError("--strength came without --expression : it says how strong an expression is")
        return {
            "template": self.template, "person": parse_person(self.person), "expression": self.expression,
            "strength": parse_strength(self.strength), "temperature": self.temperature, "top_p": self.top_p,
            "argmax": self.argmax, "fps": self.fps, "direction": self.directing.direction(),
        }  # fmt: skip

    def animator(self) -> Animator:
        """The model, loaded."""
        return load_animator(self.model, self.device)

    def is_carried(self, animator: Animator) -> bool:
        """Whether the motion goes to a mesh of another topology than the model's.

        Raises:
            InputError: mesh, map or landmarks do not go together, or not with the model.
        """
        from meshtalk.mesh.head import load_head

        foreign = self.template is not None and is_foreign(self.template, animator.topology)
        if not foreign and self.map is None:
            if self.landmarks is not None:
                raise InputError("--landmarks came without a mesh of another topology : they are of a --template")
            return False
        if self.template is not None and not foreign:
            raise InputError(f"{self.template} has the model's own topology and needs no map : leave --map out")
        if animator.topology.hash != load_head().topology.hash:
            raise InputError(
                "motion is carried from the packaged head, and this model moves another mesh : give one of its own"
            )
        return True

    def target(self, animator: Animator, options: Options) -> Map | None:
        """The `Map` to that mesh, which is taken out of the options; None if there is none.

        Raises:
            InputError: the mesh, map or landmarks cannot be used.
        """
        if not self.is_carried(animator):
            return None
        options["template"] = None
        return find_map(self.template, self.map, self.landmarks)


@dataclass(frozen=True)
class Looking:
    """How pictures and films are taken."""

    camera: str | None = None
    """of .mp4: front (default), three-quarter, profile, face or mouth."""
    light: str | None = None
    """of .mp4: studio (default), soft or dramatic."""

    def look(self) -> Look | None:
        """The library's `Look`, or None if nothing was asked for.

        Raises:
            InputError: a camera or light that is not there.
        """
        from meshtalk.render import Look

        named = {name: value for name, value in vars(self).items() if value is not None}
        return Look(**named) if named else None


Flat = Annotated[Performing, arg(name="")]
FlatLooking = Annotated[Looking, arg(name="")]
FlatDirecting = Annotated[Directing, arg(name="")]


def joined(words: tuple[tuple[Word, ...], ...]) -> tuple[Word, ...]:
    """All words of an option that may come more than once."""
    return tuple(word for some in words for word in some)


def named_numbers(words: tuple[tuple[str, ...], ...], option: str) -> Mapping[str, float]:
    """(("mouth=1.2", …), …) → {"mouth": 1.2, …}.

    Raises:
        InputError: a word that is not NAME=NUMBER, or a name that came twice.
    """
    found: dict[str, float] = {}
    for text in joined(words):
        name, _, number = text.partition("=")
        value = parse_number(number)
        if not name or value is None:
            raise InputError(f"--{option} {text} came; REGION=NUMBER is needed, such as mouth=0.8")
        if name in found:
            raise InputError(f"--{option} came twice for {name} : give it once")
        found[name] = value
    return found


def parse_strength(words: tuple[tuple[str, ...], ...]) -> float | Mapping[str, float]:
    """One number, or numbers of regions.

    Raises:
        InputError: neither.
    """
    texts = joined(words)
    if not texts:
        return 1.0
    alone = parse_number(texts[0]) if len(texts) == 1 else None
    if alone is None and not any("=" in text for text in texts):
        raise InputError(f"--strength {' '.join(texts)} came; a number or REGION=NUMBER … is needed, such as 0.5")
    return alone if alone is not None else named_numbers(words, "strength")


def parse_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def parse_person(text: str | None) -> str | int | None:
    """A person's name, or the seed of a new one."""
    return int(text) if text is not None and re.fullmatch("[0-9]+", text) else text


def is_foreign(path: Path, topology: Topology) -> bool:
    """Whether a template is a mesh that does not have a topology's vertices."""
    from meshtalk.mesh.files import SURFACES, read_mesh

    if path.suffix.lower() not in SURFACES:
        return False
    return path.suffix.lower() == ".stl" or len(read_mesh(path).vertices) != topology.n_vertices


def find_map(mesh: Path | None, kept: Path | None, landmarks: Path | None) -> Map:
    """See `meshtalk.retarget.build_map.find_map`.

    Raises:
        InputError: as it does, or the extra that it needs is not installed.
    """
    try:
        from meshtalk.retarget import build_map
    except ImportError as error:
        raise InputError(f"retargeting needs {error.name} (not installed) : pip install 'meshtalk[media]'") from None
    return build_map.find_map(mesh, kept, landmarks)


def load_animator(model: Path | None, device: str = "cpu") -> Animator:
    """A model folder or the packaged model, on a device that exists here."""
    from meshtalk.inference.animator import load_model

    return load_model(model, device=check_device(device))


def check_device(name: str) -> str:
    """A torch device that exists here, or InputError."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError):  # torch was built without it, or its extension is not installed
        raise InputError(f"device {name!r} is not available here : use cpu") from None
    return name
