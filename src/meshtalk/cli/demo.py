"""`meshtalk demo`: real recordings, two people, one of them with another performance's emotion."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip, Phone
from meshtalk.errors import InputError
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.export.contact_sheet import contact_sheet
from meshtalk.inference.animator import load_model
from meshtalk.measures import sync, tracks
from meshtalk.mesh.head import load_head
from meshtalk.synth.align import align
from meshtalk.synth.clips import make_clip


@dataclass(frozen=True)
class Scene:
    """One clip of the demo."""

    name: str
    recording: str
    person: str
    emotion: str | None = None
    """Expression signal from a silent performance of the embedded corpus's upper face; None: sampled from the prior."""
    seed: int = 0


SCENES = (
    Scene("1_speech", "librivox_0890", "clara"),
    Scene("2_happy", "librivox_0930", "kenji", emotion="happy"),
)


def expression_clip(emotion: str, person: str, seconds: float = 4.0, seed: int = 0) -> Clip:
    """A silent performance of an emotion, as an expression signal."""
    audio = np.zeros(round(seconds * 16_000), np.float32)
    silence = (Phone("pau", 0.0, seconds),)
    face = load_head().person(person)
    return make_clip(audio, 16_000, silence, face, emotion=emotion, strength=1.0, seed=seed)


def run(folder: Path) -> None:
    """Write a video and a GLB for every scene and a contact sheet of all into `folder`; print paths and measures.

    Raises:
        InputError: the folder cannot be created, or an extra is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {folder} ({error.strerror}). Choose another output.") from None
    animator = load_model()
    recordings = read_transcripts(asset("speech"))
    clips: dict[str, Clip] = {}
    for scene in SCENES:
        path, text = recordings[scene.recording]
        expression = expression_clip(scene.emotion, "p09", seed=scene.seed) if scene.emotion else None
        began = time.monotonic()
        clip = animator.animate(path, person=scene.person, expression=expression, seed=scene.seed)
        took_s = time.monotonic() - began
        phones = align(*read_audio(path), text)
        clip = replace(clip, sentence=text, phones=phones or ())
        clips[f"{scene.person}{', ' + scene.emotion if scene.emotion else ''}: {text}"] = clip
        for suffix in (".mp4", ".glb"):
            print(clip.save(folder / f"{scene.name}{suffix}"), flush=True)
        if expression is not None:
            print(expression.save(folder / f"{scene.name}_expression.npz"))
        print(f"  {describe(clip)}; animated in {took_s / clip.duration_s:.2f} of its length", file=sys.stderr)
    print(contact_sheet(clips, folder / "contact_sheet.png"))


def describe(clip: Clip) -> str:
    """Measures of a clip with aligned phones as text: closures, correlation of lip opening and loudness, blinks."""
    opening = tracks.opening_mm(clip)
    fps = float(clip.fps)
    closed = sync.closure_rate(opening, fps, clip.phones)
    wrongly = sync.false_closure_rate(opening, fps, clip.phones)
    loudness = sync.loudness_correlation(opening, clip.audio, clip.sample_rate, fps)
    return (
        f"lips closed at {closed:.0%} of the p, b and m (and at {wrongly:.0%} of k, g, h, n, t, d, l); "
        f"lip opening follows loudness with r = {loudness:.2f}"
    )
