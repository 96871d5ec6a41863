"""Who the named persons are: shares of MakeHuman's macro targets, own local targets, and a skin tone."""

from __future__ import annotations

from typing import NamedTuple


class Who(NamedTuple):
    """A person's recipe before it is spelled out in targets."""

    male: float
    old: float
    african: float
    asian: float
    caucasian: float
    weight: float
    """-1 lean .. 1 heavy."""
    tone: int
    """Index into TONES."""
    local: dict[str, float]
    """Local target (both sides at once) → weight."""


TONES = (
    (1.04, 1.03, 1.02),
    (1.00, 1.00, 1.00),
    (0.94, 0.88, 0.80),
    (0.78, 0.69, 0.60),
    (0.58, 0.48, 0.40),
    (0.42, 0.33, 0.27),
    (0.29, 0.22, 0.18),
)
"""Factors on the linear light of the texture, light to dark."""

PEOPLE: tuple[Who, ...] = (
    Who(0, 0.10, 0, 0, 1, 0.0, 1, {"nose/nose-point-up": 0.3, "mouth/mouth-upperlip-volume-incr": 0.3}),
    Who(1, 0.15, 0, 0, 1, 0.0, 1, {"chin/chin-width-incr": 0.4, "head/head-rectangular": 0.3}),
    Who(0, 0.05, 1, 0, 0, 0.1, 6, {"head/head-oval": 0.4}),
    Who(1, 0.20, 1, 0, 0, 0.2, 6, {"chin/chin-bones-incr": 0.3, "nose/nose-width2-incr": 0.2}),
    Who(0, 0.05, 0, 1, 0, -0.2, 1, {"head/head-oval": 0.4, "cheek/cheek-bones-incr": 0.2}),
    Who(1, 0.10, 0, 1, 0, 0.0, 2, {"head/head-square": 0.3}),
    Who(0, 0.60, 0, 0, 1, 0.3, 0, {"cheek/cheek-volume-incr": 0.3, "head/head-round": 0.3}),
    Who(1, 0.70, 0, 0, 1, 0.2, 0, {"nose/nose-hump-incr": 0.4, "ears/ear-wing-incr": 0.3}),
    Who(0, 0.20, 0.5, 0, 0.5, 0.0, 4, {"mouth/mouth-lowerlip-volume-incr": 0.3}),
    Who(1, 0.25, 0.5, 0, 0.5, -0.3, 4, {"head/head-diamond": 0.3, "nose/nose-scale-vert-incr": 0.3}),
    Who(0, 0.30, 0, 0.5, 0.5, 0.1, 2, {"eyes/eye-scale-incr": 0.25}),
    Who(1, 0.35, 0, 0.5, 0.5, 0.4, 2, {"cheek/cheek-volume-incr": 0.4, "head/head-fat-incr": 0.25}),
    Who(0, 0.55, 1, 0, 0, 0.5, 5, {"head/head-round": 0.4, "cheek/cheek-volume-incr": 0.3}),
    Who(1, 0.65, 1, 0, 0, 0.0, 6, {"head/head-rectangular": 0.4, "forehead/forehead-scale-vert-incr": 0.3}),
    Who(0, 0.65, 0, 1, 0, 0.2, 2, {"head/head-round": 0.4}),
    Who(1, 0.60, 0, 1, 0, -0.2, 3, {"head/head-invertedtriangular": 0.3, "nose/nose-scale-horiz-incr": 0.2}),
    Who(0.1, 0.0, 0, 0, 1, -0.5, 0, {"head/head-invertedtriangular": 0.4, "nose/nose-scale-horiz-decr": 0.4}),
    Who(0.9, 0.0, 0, 0, 1, -0.4, 0, {"nose/nose-point-up": 0.4, "chin/chin-height-incr": 0.3}),
    Who(0, 0.15, 0.3, 0.3, 0.4, 0.1, 3, {"mouth/mouth-scale-horiz-incr": 0.2, "head/head-diamond": 0.3}),
    Who(1, 0.20, 0.3, 0.3, 0.4, 0.1, 3, {"head/head-square": 0.4, "chin/chin-cleft-incr": 0.4}),
    Who(0, 0.40, 0, 0, 1, -0.3, 1, {"nose/nose-hump-incr": 0.35, "head/head-oval": 0.5}),
    Who(1, 0.45, 0, 0, 1, 0.7, 1, {"head/head-fat-incr": 0.4, "head/head-round": 0.4}),
    Who(0, 0.25, 0, 0.3, 0.7, 0.6, 1, {"head/head-fat-incr": 0.3, "nose/nose-volume-incr": 0.2}),
    Who(1, 0.05, 0.8, 0, 0.2, -0.4, 5, {"nose/nose-scale-horiz-decr": 0.2, "head/head-oval": 0.4}),
    Who(0, 0.05, 0.7, 0.3, 0, -0.1, 5, {"cheek/cheek-bones-incr": 0.4, "eyes/eye-scale-incr": 0.2}),
    Who(1, 0.10, 0, 0.8, 0.2, -0.5, 2, {"head/head-triangular": 0.25, "nose/nose-point-down": 0.2}),
    Who(0, 0.80, 0.1, 0, 0.9, -0.1, 1, {"head/head-rectangular": 0.25, "nose/nose-scale-depth-incr": 0.3}),
    Who(1, 0.80, 0, 0.2, 0.8, 0.4, 1, {"ears/ear-scale-incr": 0.4, "nose/nose-volume-incr": 0.4}),
    Who(0.2, 0.10, 0.2, 0.6, 0.2, 0.0, 3, {"nose/nose-greek-incr": 0.3, "chin/chin-triangle": 0.3}),
    Who(0.8, 0.25, 0, 0.1, 0.9, 0.1, 3, {"nose/nose-greek-incr": 0.4, "nose/nose-scale-depth-incr": 0.3}),
    Who(0, 0.35, 0.2, 0, 0.8, 0.2, 3, {"nose/nose-scale-vert-incr": 0.2, "chin/chin-prominent-incr": 0.2}),
    Who(1, 0.50, 0.4, 0.4, 0.2, 0.2, 4, {"chin/chin-jaw-drop-incr": 0.2, "head/head-trans-in": 0.0}),
)

DEFAULT = Who(0.5, 0.0, 1 / 3, 1 / 3, 1 / 3, 0.0, 1, {})


def target_weights(who: Who) -> dict[str, float]:
    """Target name → weight, zero weights left out. Macro weights sum to one within each family, as MakeHuman's do."""
    weights: dict[str, float] = {}
    bulk = {"minweight": max(-who.weight, 0), "averageweight": 1 - abs(who.weight), "maxweight": max(who.weight, 0)}
    for sex, sex_share in (("female", 1 - who.male), ("male", who.male)):
        for age, age_share in (("young", 1 - who.old), ("old", who.old)):
            share = sex_share * age_share
            for origin in ("african", "asian", "caucasian"):
                weights[f"macrodetails/{origin}-{sex}-{age}"] = share * getattr(who, origin)
            for name, amount in bulk.items():
                weights[f"macrodetails/universal-{sex}-{age}-averagemuscle-{name}"] = share * amount
    weights |= who.local
    return {name: round(weight, 5) for name, weight in weights.items() if weight > 1e-9}
