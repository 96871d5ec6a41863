"""Print how much of a template's identity leaks into the motion: the packaged model (or --model) on people and scans.

    python experiments/measure_identity_leak.py [--model FOLDER]

The packaged recordings are performed with one seed on every face, so that nothing but the template differs. What a face may
do differently follows from the corpus's rule: a person's motion is the head's blendshapes times that person's gains (lids
have further to go on larger eyes). The leak is what is left: motion - (motion on the base face · gains).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _faces import Face, all_faces, middle

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip, Phone
from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.evaluation.run import load_measured
from meshtalk.inference.latents import MeasuredAnimator
from meshtalk.measures import sync, tracks
from meshtalk.mesh.head import Person, load_head
from meshtalk.model.geometry import MM, BasisGeometry
from meshtalk.synth.align import align
from meshtalk.synth.build import casts
from meshtalk.synth.clips import make_clip

REGIONS = ("lips", "mouth", "upper_face", "eyelids")
SEED = 0
SILENCE = "silence"
RULES = "the corpus's own rules"
SILENCE_S = 4.0
RESAMPLES = 2000
RIDGE = 1e-6


class Sound(NamedTuple):
    """Something to say, with its phones."""

    audio: np.ndarray
    """(S,) mono float32 at 16 kHz."""
    phones: tuple[Phone, ...]


Perform = Callable[[str, Person], Clip]
"""(name of a sound, face) → clip."""


# ------------------------------------------------------------------------------------------------ measure


class Leak(NamedTuple):
    """One region of one face over all recordings; root mean squares over vertices and frames, mm."""

    motion: float
    """Of what is expected, from rest."""
    differs: float
    """From the base face's motion, whatever the reason."""
    leak: float
    """From what is expected."""
    steady: float
    """The leak's mean over time: identity that drifts into the neutral."""
    varying: float
    """The rest of the leak."""
    at_rest: float
    """The leak in silence."""
    drift: np.ndarray
    """(n,3) mm, the leak's mean over time."""
    offset: np.ndarray
    """(n,3) mm, template - base's template."""


class Measured(NamedTuple):
    """One face."""

    leaks: dict[str, Leak]
    """Of each region."""
    opening_mm: dict[str, np.ndarray]
    """Sound → (T,) lip opening."""


@cache
def _solver() -> np.ndarray:
    """(V·3,S) from displacement to weights of the head's blendshapes, least squares."""
    shapes = load_head().topology.shapes
    assert shapes is not None
    flat = shapes.reshape(len(shapes), -1).astype(np.float64)
    gram = flat @ flat.T
    return np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), flat).T


def expected(clip: Clip, base: Person, person: Person) -> np.ndarray:
    """(T,V,3) metres: what a performance on `base` is on `person`."""
    shapes = load_head().topology.shapes
    assert shapes is not None
    moves, ratio = clip.displacements(), person.gains / base.gains
    other = np.flatnonzero(ratio != 1)
    if len(other) == 0:
        return moves
    if clip.basis_names == load_head().topology.shape_names and clip.weights is not None:
        weights = clip.weights[:, other]
    else:
        weights = moves.reshape(len(moves), -1) @ _solver()[:, other]
    return moves + np.tensordot(weights * (ratio[other] - 1), shapes[other], 1).astype(np.float32)


def squares(moves: np.ndarray) -> np.ndarray:
    """(V,) squared lengths of (T,V,3), summed over time."""
    return np.einsum("tvc,tvc->v", moves, moves).astype(np.float64)


def measure(perform: Perform, sounds: Sequence[str], faces: Sequence[Face], *, turns: bool = False) -> list[Measured]:
    """Perform all sounds on every face.

    Args:
        perform: knows the sound SILENCE, too.
        sounds: names of those with speech.
        faces: those of one base in a row.
        turns: whether motion turns with the head; then it is turned back before it is compared.
    """
    found = []
    for _, of_base in groupby(faces, key=lambda face: face.base.name):
        played: dict[str, Clip] = {}
        for face in of_base:
            played = played or {sound: perform(sound, face.base) for sound in (*sounds, SILENCE)}
            found.append(_measured(perform, played, face, face.turn.T if turns else np.eye(3, dtype=np.float32)))
    return found


def _measured(perform: Perform, played: Mapping[str, Clip], face: Face, back: np.ndarray) -> Measured:
    """Of one face; `played`: every sound's performance on its base; `back` (3,3) turns the face's motion upright."""
    n_vertices = len(face.person.template)
    motion, differs, leak, rest = np.zeros((4, n_vertices))
    drift, opening_mm = np.zeros((n_vertices, 3)), {}
    frames = sum(clip.n_frames for sound, clip in played.items() if sound != SILENCE)
    for sound, clip in played.items():
        own = perform(sound, face.person)
        opening_mm[sound] = tracks.opening_mm(own)
        ours, theirs = own.displacements() @ back * MM, expected(clip, face.base, face.person) * MM
        if sound == SILENCE:
            rest = squares(ours - theirs) / clip.n_frames
            continue
        motion += squares(theirs) / frames
        differs += squares(ours - clip.displacements() * MM) / frames
        leak += squares(ours - theirs) / frames
        drift += (ours - theirs).sum(0, dtype=np.float64) / frames
    steady = np.square(drift).sum(1)
    offset = (face.person.template - face.base.template) * MM
    energies = (motion, differs, leak, steady, np.maximum(leak - steady, 0), rest)
    where = {name: load_head().topology.indices(name) for name in REGIONS}
    leaks = {
        name: Leak(*(float(np.sqrt(energy[at].mean())) for energy in energies), drift[at], offset[at])
        for name, at in where.items()
    }
    return Measured(leaks, opening_mm)


def coefficient(leaks: Sequence[Leak]) -> tuple[float, float, float]:
    """How much of the identity offset the mean displacement holds: regression through zero over all faces and vertices.

    0: nothing; 1: the offset is there twice; -1: it is cancelled.

    Returns:
        (coefficient, its 95 % interval's ends: percentiles of draws of the faces)
    """
    both = np.array([np.vdot(leak.drift, leak.offset) for leak in leaks])
    size = np.array([np.vdot(leak.offset, leak.offset) for leak in leaks])
    drawn = np.random.default_rng(0).integers(len(leaks), size=(RESAMPLES, len(leaks)))
    low, high = np.percentile(both[drawn].sum(1) / size[drawn].sum(1), [2.5, 97.5])
    return float(both.sum() / size.sum()), float(low), float(high)


def expressible(faces: Sequence[Face], basis: np.ndarray, region: str) -> float:
    """The largest part of identity offsets that a motion basis (K,V,3) could show in a region: how far least squares come."""
    at = load_head().topology.indices(region)
    offsets = np.stack([(face.person.template - face.base.template)[at].ravel() for face in faces]).astype(np.float64)
    span, _ = np.linalg.qr(basis[:, at].reshape(len(basis), -1).T.astype(np.float64))
    return float(np.sqrt(np.square(offsets @ span).sum() / np.square(offsets).sum()))


def closures(measured: Measured, sounds: Mapping[str, Sound], fps: float) -> float:
    """Share of all p, b and m at which the lips close."""
    curves = measured.opening_mm
    hits = [sync.closed(curves[name], fps, sound.phones, sync.BILABIALS) for name, sound in sounds.items()]
    return float(np.concatenate(hits).mean())


def follows(measured: Measured, true: Measured, sounds: Sequence[str]) -> float:
    """Correlation of the lip opening with that of this face's articulation, mean over sounds."""
    pairs = [(measured.opening_mm[name], true.opening_mm[name]) for name in sounds]
    return float(np.mean([sync.correlation(a[: len(b)], b[: len(a)]) for a, b in pairs]))


# ------------------------------------------------------------------------------------------------ who performs


def packaged_sounds() -> dict[str, Sound]:
    """The recordings that ship with the package, aligned."""
    found = {}
    for name, (path, text) in read_transcripts(asset("speech")).items():
        audio, _ = read_audio(path)
        phones = align(audio, SAMPLE_RATE, text)
        if phones is None:
            raise InputError(f"the words of {name} were not found in it : install pocketsphinx anew")
        found[name] = Sound(audio, phones)
    return found


def performers(model: MeasuredAnimator, sounds: Mapping[str, Sound]) -> dict[str, Perform]:
    """Title → the model as it performs, its decoder alone with the same codes on every face, and the corpus's rules.

    The first only where it says more than the second: where what a face's decoder made is coded anew. The codes of the second are
    those of the first on the mean face; elsewhere the articulation's, so that nothing depends on a prior.
    """
    head = load_head()
    mean = middle([head.person(name) for name in casts(0)["train"]["people"]])

    def animate(sound: str, person: Person) -> Clip:
        return model.animate(sounds[sound].audio, SAMPLE_RATE, template=person.template, seed=SEED)

    def articulate(sound: str, person: Person) -> Clip:
        return make_clip(sounds[sound].audio, SAMPLE_RATE, sounds[sound].phones, person, seed=SEED)

    performed: dict[str, Perform] = {"as performed": animate} if model.network.imagines else {}
    played = {sound: (animate if performed else articulate)(sound, mean) for sound in sounds}
    codes = {sound: model.codes(clip) for sound, clip in played.items()}

    def decode(sound: str, person: Person) -> Clip:
        return model.decoded(codes[sound], replace(played[sound], template=person.template))

    return {**performed, "the same codes on every face": decode, RULES: articulate}


# ------------------------------------------------------------------------------------------------ tables


def of_groups(faces: Sequence[Face], rows: Sequence) -> Iterator[tuple[str, list[Face], list]]:
    """(group, its faces, its rows), in the order of first appearance."""
    for group in dict.fromkeys(face.group for face in faces):
        places = [place for place, face in enumerate(faces) if face.group == group]
        yield group, [faces[place] for place in places], [rows[place] for place in places]


def leak_table(faces: Sequence[Face], found: Sequence[Measured]) -> list[str]:
    lines = [
        "| people | region | motion, mm | differs, mm | leak, mm | of motion | worst face | steady, mm | varying, mm "
        "| in silence, mm | coefficient |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for group, members, rows in of_groups(faces, found):
        for region in REGIONS:
            leaks: list[Leak] = [row.leaks[region] for row in rows]
            values = np.sqrt(np.square([leak[:6] for leak in leaks]).mean(0))
            motion, differs, leak, steady, varying, rest = values
            worst = max(leak.leak / leak.motion for leak in leaks)
            middle, low, high = coefficient(leaks)
            lines.append(
                f"| {group} ({len(members)}) | {region.replace('_', ' ')} | {motion:.2f} | {differs:.3f} | {leak:.3f} "
                f"| {leak / motion:.1%} | {worst:.1%} | {steady:.3f} | {varying:.3f} | {rest:.3f} "
                f"| {middle:.4f} ({low:.4f} to {high:.4f}) |"
            )
    return lines


def mouth_table(
    faces: Sequence[Face], ours: Sequence[Measured], theirs: Sequence[Measured], sounds: Mapping[str, Sound], fps: float
) -> list[str]:
    lines = [
        "| people | lips closed at p b m | fewest of a face | articulation | lip opening, r | lowest of a face |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for group, members, pairs in of_groups(faces, list(zip(ours, theirs, strict=True))):
        shares, wanted = np.array([[closures(one, sounds, fps) for one in pair] for pair in pairs]).T
        r = [follows(*pair, list(sounds)) for pair in pairs]
        lines.append(
            f"| {group} ({len(members)}) | {np.mean(shares):.3f} | {min(shares):.3f} | {np.mean(wanted):.3f} "
            f"| {np.mean(r):.3f} | {min(r):.3f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a model of the packaged head (default: the packaged one)")
    options = parser.parse_args()
    torch.manual_seed(0)
    try:
        model = load_measured(options.model)
        if model.topology.hash != load_head().topology.hash:
            raise InputError("the model is of another mesh, whose people are not known : give one of the packaged head")
    except InputError as error:
        parser.error(str(error))
    speech, faces = packaged_sounds(), all_faces()
    silence = Sound(np.zeros(round(SILENCE_S * SAMPLE_RATE), np.float32), (Phone("pau", 0.0, SILENCE_S),))
    ways = performers(model, {**speech, SILENCE: silence})
    fps = float(model.config.fps)
    print(f"Model {model.checkpoint.hash}, {model.geometry.kind}; {len(speech)} recordings, seed {SEED}.")
    if isinstance(model.geometry, BasisGeometry):
        basis = model.geometry.basis.numpy().reshape(model.geometry.n_motion, -1, 3)
        for group, members, _ in of_groups(faces, faces):
            told = ", ".join(
                f"{region.replace('_', ' ')} {expressible(members, basis, region):.2f}" for region in REGIONS
            )
            print(f"\n{group}: of the offset the motion basis could show {told}")
    found = {}
    for title, perform in ways.items():
        turns = title != RULES and not isinstance(model.geometry, BasisGeometry)
        found[title] = measure(perform, list(speech), faces, turns=turns)
        print("\n".join(["", f"## {title}", "", *leak_table(faces, found[title])]), flush=True)
    print("\n".join(["", "## Lips", "", *mouth_table(faces, found[next(iter(ways))], found[RULES], speech, fps)]))


if __name__ == "__main__":
    main()
