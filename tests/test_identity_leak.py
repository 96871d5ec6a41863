"""experiments/measure_identity_leak.py tells a planted share of identity as that share, and none where there is none."""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))

import _faces
import measure_identity_leak as tool

from meshtalk.clip import Clip
from meshtalk.inference.animator import load_model
from meshtalk.mesh.head import Person, load_head
from meshtalk.model.geometry import IDENTITY_REACH
from meshtalk.synth.build import casts

HEAD = load_head()
FRAMES, FPS = 16, Fraction(30)
SOUNDS = ("one", "two")


@cache
def weights(sound: str) -> np.ndarray:
    """(T,S) something that a face does, blinks included; nothing in silence."""
    rng = np.random.default_rng([SOUNDS.index(sound) if sound in SOUNDS else 9, 5])
    shape = (FRAMES, len(HEAD.topology.shape_names))
    return np.zeros(shape, np.float32) if sound == tool.SILENCE else rng.uniform(0, 0.3, shape).astype(np.float32)


@cache
def mean() -> Person:
    return _faces.middle([HEAD.person(name) for name in casts(0)["train"]["people"]])


def by_rule(sound: str, person: Person) -> Clip:
    """Blendshapes times the person's gains, as in the corpus."""
    own = weights(sound) * person.gains
    sounding = {"audio": np.zeros(FRAMES * 16000 // 30, np.float32), "sample_rate": 16000}
    shapes, names = HEAD.topology.shapes, HEAD.topology.shape_names
    return Clip(HEAD.topology, person.template, FPS, weights=own, basis=shapes, basis_names=names, **sounding)


def leaking(curve: np.ndarray) -> tool.Perform:
    """The rule, and (T,) so much of the identity."""

    def perform(sound: str, person: Person) -> Clip:
        clip = by_rule(sound, person)
        moves = clip.displacements() + curve[:, None, None] * (person.template - mean().template)
        return Clip(HEAD.topology, person.template, FPS, clip.audio, 16000, displacement=moves.astype(np.float32))

    return perform


@pytest.fixture(scope="module")
def faces() -> list[_faces.Face]:
    cast = casts(0)
    names = [*cast["train"]["people"][:2], *cast["test"]["people"][:3]]
    return [_faces.Face("some", HEAD.person(name), mean()) for name in names]


def offset_mm(leaks: list[tool.Leak]) -> float:
    return float(np.sqrt(np.mean([np.square(leak.offset).sum(1).mean() for leak in leaks])))


@pytest.mark.parametrize("perform", [by_rule, leaking(np.zeros(FRAMES))], ids=["shapes", "vertices"])
def test_what_a_face_may_do_differently_is_no_leak(faces, perform):
    found = tool.measure(perform, SOUNDS, faces)
    assert max(row.leaks["eyelids"].differs for row in found) > 0.05  # larger eyes
    for region in tool.REGIONS:
        leaks = [row.leaks[region] for row in found]
        assert min(leak.motion for leak in leaks) > 0.5
        assert max(max(leak[2:6]) for leak in leaks) < 0.005
        assert tool.coefficient(leaks) == pytest.approx((0, 0, 0), abs=1e-4)


def test_a_planted_share_is_told_as_that_share(faces):
    found = tool.measure(leaking(np.full(FRAMES, 0.05)), SOUNDS, faces)
    for region in tool.REGIONS:
        leaks = [row.leaks[region] for row in found]
        assert tool.coefficient(leaks) == pytest.approx((0.05, 0.05, 0.05), abs=2e-4)
        planted_mm = 0.05 * offset_mm(leaks)
        for field in ("leak", "steady", "at_rest"):
            rms_mm = np.sqrt(np.mean([getattr(leak, field) ** 2 for leak in leaks]))
            assert rms_mm == pytest.approx(planted_mm, rel=0.02), field
        assert max(leak.varying for leak in leaks) < 0.01


def test_identity_that_comes_and_goes_is_told_apart(faces):
    curve = 0.05 * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES)
    found = tool.measure(leaking(curve), SOUNDS, faces)
    for region in tool.REGIONS:
        leaks = [row.leaks[region] for row in found]
        assert tool.coefficient(leaks) == pytest.approx((0, 0, 0), abs=2e-4)
        assert max(leak.steady for leak in leaks) < 0.01
        varying_mm = np.sqrt(np.mean([leak.varying**2 for leak in leaks]))
        assert varying_mm == pytest.approx(0.05 / np.sqrt(2) * offset_mm(leaks), rel=0.02)


def test_people_of_the_head_are_told_as_they_are():
    geometry = load_model().geometry
    faces = [*HEAD.people, *(HEAD.person(seed) for seed in range(8))]
    told = geometry.template_input(torch.from_numpy(np.stack([face.template for face in faces])))
    assert told.norm(dim=1).max() < IDENTITY_REACH


def test_who_is_measured():
    faces = _faces.all_faces()
    every = {group: rows for group, rows, _ in tool.of_groups(faces, faces)}
    trained = {face.person.name for face in every["training's people"]}
    held_out = {face.person.name for face in every["held-out people"]}
    assert (len(trained), len(held_out), trained & held_out) == (24, 8, set())
    noise = every["held out, 0.3 mm of noise"][0]
    assert noise.base.name in held_out
    assert (noise.person.template - noise.base.template).std() == pytest.approx(0.0003, rel=0.05)
    for face in every["held out, doubled"]:
        opening_m = HEAD.seams["lips"].opening_m(face.person.template.astype(float))
        np.testing.assert_allclose(opening_m, 6e-5, atol=1e-6)
        for side in ("left", "right"):
            opening = HEAD.seams[f"lids_{side}"].opening_m(face.person.template.astype(float))
            gain = face.person.gains[HEAD.topology.shape_names.index(f"eyeBlink{side.capitalize()}")]
            np.testing.assert_allclose(opening, gain * HEAD.lids_open_m[f"lids_{side}"], atol=2e-5)
