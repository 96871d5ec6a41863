"""Cameras and lights of pictures, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from meshtalk.errors import InputError

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """Where a camera stands, and how much of the head it sees."""

    yaw_deg: float = 0.0
    """The head is turned so far to its own left."""
    pitch_deg: float = 0.0
    """It is seen from so far above."""
    crop: Literal["portrait", "face", "mouth"] = "portrait"
    """The whole head, the face from the chin to the forehead, or from the chin to the nose."""


@dataclass(frozen=True)
class Lighting:
    """Lamps and surroundings."""

    lamps: tuple[tuple[RGB, RGB], ...]
    """Direction towards each lamp in camera space (+X right, +Y up, +Z to the viewer) and its linear colour.
    The first is the key light, which alone casts shadows."""
    sky: RGB
    ground: RGB
    """Linear light from above and from below."""
    backdrop: RGB
    """sRGB in [0,1] behind the head where it is brightest."""


CAMERAS: Mapping[str, View] = {
    "front": View(),
    "three-quarter": View(yaw_deg=32.0),
    "profile": View(yaw_deg=86.0),
    "face": View(crop="face"),
    "mouth": View(crop="mouth"),
}
LIGHTS: Mapping[str, Lighting] = {
    "studio": Lighting(
        lamps=(
            ((-0.55, 0.55, 0.75), (1.10, 1.02, 0.93)),
            ((0.85, 0.10, 0.60), (0.13, 0.16, 0.20)),
            ((-0.80, 0.35, -0.55), (0.30, 0.42, 0.55)),
            ((0.85, 0.45, -0.60), (0.62, 0.58, 0.55)),
        ),
        sky=(0.30, 0.33, 0.37),
        ground=(0.13, 0.105, 0.095),
        backdrop=(0.36, 0.42, 0.47),
    ),
    "soft": Lighting(
        lamps=(
            ((-0.25, 0.50, 0.90), (0.62, 0.60, 0.57)),
            ((0.70, 0.15, 0.75), (0.34, 0.34, 0.35)),
            ((-0.75, 0.10, 0.60), (0.22, 0.22, 0.23)),
        ),
        sky=(0.44, 0.45, 0.47),
        ground=(0.22, 0.20, 0.19),
        backdrop=(0.74, 0.75, 0.76),
    ),
    "dramatic": Lighting(
        lamps=(
            ((-0.92, 0.42, 0.42), (1.55, 1.30, 1.02)),
            ((0.90, 0.25, -0.45), (0.34, 0.52, 0.86)),
            ((0.60, 0.05, 0.75), (0.03, 0.04, 0.06)),
        ),
        sky=(0.085, 0.10, 0.13),
        ground=(0.030, 0.026, 0.026),
        backdrop=(0.17, 0.18, 0.21),
    ),
}


@dataclass(frozen=True)
class Look:
    """A camera and a light.

    Raises:
        InputError: a name that is none of CAMERAS or LIGHTS.
    """

    camera: str | View = "front"
    """One of CAMERAS, or a view of one's own."""
    light: str | Lighting = "studio"
    """One of LIGHTS, or one's own."""

    def __post_init__(self) -> None:
        for what, given, known in (("camera", self.camera, CAMERAS), ("light", self.light, LIGHTS)):
            if isinstance(given, str) and given not in known:
                raise InputError(f"{what} must be one of {', '.join(known)}, got {given!r}")

    @property
    def view(self) -> View:
        return CAMERAS[self.camera] if isinstance(self.camera, str) else self.camera

    @property
    def lighting(self) -> Lighting:
        return LIGHTS[self.light] if isinstance(self.light, str) else self.light


# ------------------------------------------------------------------------------------------------ kinds of faces and vertices


SHELL, HOLLOW, EYE, TOOTH, TONGUE, HAIR = range(6)
"""Skin and everything unclassified; the walls of the mouth and of the eye sockets; what lies in them; ribbons of hair, which
have no texture and are seen from both sides."""
