"""Options that several commands share, as dataclasses; their field docstrings are the `--help` texts."""

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
"""`--option a b --option c`: values accumulate."""
OptionalPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]
OptionalText = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
OptionalNumber = Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")]
"""Options that may be left out; their help says what happens then."""
Word = TypeVar("Word", str, int)
Numbers = Annotated[tuple[tuple[int, ...], ...], UseAppendAction]


@dataclass(frozen=True)
class Directing:
    """Direction of a performance: blinks, gaze, intensity, smoothing, fades."""

    blinks: OptionalNumber = None
    """blinks per minute instead of the model's own."""
    no_blinks: Annotated[bool, FlagCreatePairsOff] = False
    """eyes do not blink."""
    hold_gaze: Annotated[bool, FlagCreatePairsOff] = False
    """eyes look straight ahead."""
    articulation: float = 1.0
    """how far the mouth moves in speech, 0.5 (mumbled) to 1.5 (exaggerated); closed lips stay closed."""
    intensity: Words = ()
    """REGION=FACTOR …: scale the motion of a region, 0 to 3; regions: mouth, upper_face, eyelids, lips."""
    freeze: Words = ()
    """REGION …: keep these at rest."""
    smooth: Words = ()
    """REGION=SECONDS …: width of a moving average; adds half of it to a stream's latency."""
    lead_in: float = 0.0
    """seconds of fade from the neutral face at the beginning."""
    lead_out: float = 0.0
    """seconds of fade to the neutral face after the sound."""

    def direction(self) -> Direction:
        """These options as a `Direction`.

        Raises:
            InputError: invalid or contradictory options.
        """
        from meshtalk.inference.direction import Direction

        if self.no_blinks and self.blinks:
            raise InputError(f"--no-blinks excludes --blinks, got --blinks {self.blinks:g}. Give one of them.")
        intensity, still = dict(named_numbers(self.intensity, "intensity")), joined(self.freeze)
        if both := set(intensity) & set(still):
            raise InputError(
                f"--freeze excludes --intensity, got both for {', '.join(sorted(both))}. Give one of them."
            )
        return Direction(
            articulation=self.articulation,
            intensity=intensity | dict.fromkeys(still, 0.0),
            smoothing_s=named_numbers(self.smooth, "smooth"),
            blinks_per_min=0.0 if self.no_blinks else self.blinks,
            hold_gaze=self.hold_gaze,
            lead_in_s=self.lead_in,
            lead_out_s=self.lead_out,
        )


@dataclass(frozen=True)
class Performing:
    """Face, expression and sampling of a performance."""

    template: OptionalPath = None
    """face to animate: any face or head mesh (.obj, .ply, .stl, .glb, .vrm), or one of the model's topology (.npy and .npz too)."""
    landmarks: OptionalPath = None
    """landmarks of a template of another topology (.json of `meshtalk landmarks`), if its face is not detected."""
    map: OptionalPath = None
    """retarget map of a template of another topology (.map): read if it exists, else computed and saved."""
    expression: OptionalPath = None
    """clip (.npz) that provides the expression signal: upper face and emotion."""
    strength: Words = ()
    """FACTOR of the expression, 0 to 2, or REGION=FACTOR … (default: 1)."""
    person: OptionalText = None
    """clara, amara, kenji or henrik, another of the packaged people, p00, p01, …, or an integer seed for a new face."""
    seed: int = 0
    """random seed; the same seed gives the same animation."""
    temperature: float = 1.0
    """sampling temperature; below 1 is calmer."""
    top_p: float = 1.0
    """nucleus sampling: sample among the most likely codes with this total probability."""
    argmax: bool = False
    """use the most likely codes instead of sampling."""
    fps: OptionalText = None
    """frame rate of the output, e.g. 25, 30, 60, 30000/1001 (default: the model's)."""
    model: OptionalPath = None
    """model folder (default: the packaged model)."""
    device: str = "cpu"
    """torch device, e.g. cpu, cuda, mps."""
    directing: Annotated[Directing, arg(name="")] = field(default_factory=Directing)

    def options(self) -> Options:
        """Keyword arguments of `Animator.animate`, without the seed.

        Raises:
            InputError: invalid or contradictory options.
        """
        if joined(self.strength) and self.expression is None:
            raise InputError(
                "--strength scales an expression and needs --expression. Give a clip, or leave --strength out."
            )
        return {
            "template": self.template, "person": parse_person(self.person), "expression": self.expression,
            "strength": parse_strength(self.strength), "temperature": self.temperature, "top_p": self.top_p,
            "argmax": self.argmax, "fps": self.fps, "direction": self.directing.direction(),
        }  # fmt: skip

    def animator(self) -> Animator:
        """The loaded model."""
        return load_animator(self.model, self.device)

    def is_carried(self, animator: Animator) -> bool:
        """Whether the template has another topology than the model, so that motion is retargeted.

        Raises:
            InputError: mesh, map or landmarks do not match each other or the model.
        """
        from meshtalk.mesh.head import load_head

        foreign = self.template is not None and is_foreign(self.template, animator.topology)
        if not foreign and self.map is None:
            if self.landmarks is not None:
                raise InputError(
                    "--landmarks needs a --template of another topology. Give the mesh, or leave --landmarks out."
                )
            return False
        if self.template is not None and not foreign:
            raise InputError(f"{self.template} has the model's own topology and needs no map. Leave --map out.")
        if animator.topology.hash != load_head().topology.hash:
            raise InputError(
                "only motion of the packaged head can be retargeted, and this model has another topology. Give a mesh of its own."
            )
        return True

    def target(self, animator: Animator, options: Options) -> Map | None:
        """The retarget map to the template, which is removed from the options; None if the template needs none.

        Raises:
            InputError: the mesh, map or landmarks cannot be used.
        """
        if not self.is_carried(animator):
            return None
        options["template"] = None
        return find_map(self.template, self.map, self.landmarks)


@dataclass(frozen=True)
class Looking:
    """Camera and light of pictures and films."""

    camera: OptionalText = None
    """camera of .mp4, .gif and .png: front (default), three-quarter, profile, face or mouth."""
    light: OptionalText = None
    """light of .mp4, .gif and .png: studio (default), soft or dramatic."""

    def look(self) -> Look | None:
        """These options as a `Look`; None for the defaults.

        Raises:
            InputError: an unknown camera or light.
        """
        from meshtalk.render import Look

        named = {name: value for name, value in vars(self).items() if value is not None}
        return Look(**named) if named else None


Flat = Annotated[Performing, arg(name="")]
FlatLooking = Annotated[Looking, arg(name="")]
FlatDirecting = Annotated[Directing, arg(name="")]


def joined(words: tuple[tuple[Word, ...], ...]) -> tuple[Word, ...]:
    """All values of an option that may be repeated."""
    return tuple(word for some in words for word in some)


def named_numbers(words: tuple[tuple[str, ...], ...], option: str) -> Mapping[str, float]:
    """(("mouth=1.2", …), …) → {"mouth": 1.2, …}.

    Raises:
        InputError: a value that is not NAME=NUMBER, or a repeated name.
    """
    found: dict[str, float] = {}
    for text in joined(words):
        name, _, number = text.partition("=")
        value = parse_number(number)
        if not name or value is None:
            raise InputError(f"--{option} must be REGION=NUMBER, got {text}. Try mouth=0.8.")
        if name in found:
            raise InputError(f"--{option} must be given once per region, got two for {name}")
        found[name] = value
    return found


def parse_strength(words: tuple[tuple[str, ...], ...]) -> float | Mapping[str, float]:
    """A number, or numbers by region.

    Raises:
        InputError: it is neither.
    """
    texts = joined(words)
    if not texts:
        return 1.0
    alone = parse_number(texts[0]) if len(texts) == 1 else None
    if alone is None and not any("=" in text for text in texts):
        raise InputError(f"--strength must be a number or REGION=NUMBER …, got {' '.join(texts)}. Try 0.5.")
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
    """Whether a template is a mesh of another topology."""
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
        raise InputError(
            f"retargeting needs {error.name} (not installed). Run pip install 'meshtalk[media]'."
        ) from None
    return build_map.find_map(mesh, kept, landmarks)


def load_animator(model: Path | None, device: str = "cpu") -> Animator:
    """Load a model folder or the packaged model on an available device."""
    from meshtalk.inference.animator import load_model

    return load_model(model, device=check_device(device))


def check_device(name: str) -> str:
    """The name of a torch device that is available, or InputError."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError):  # torch was built without it, or its extension is not installed
        raise InputError(f"device {name!r} is not available here. Use cpu.") from None
    return name
