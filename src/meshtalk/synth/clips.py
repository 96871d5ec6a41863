"""Clips from phones and a person, and small corpora from recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from meshtalk.clip import Clip, Phone
from meshtalk.corpus.store import ClipInfo, Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.mesh.head import Person, load_head
from meshtalk.synth.align import align
from meshtalk.synth.articulation import articulate
from meshtalk.synth.lips import compose
from meshtalk.synth.markup import spoken
from meshtalk.synth.upper_face import upper_face

FPS = Fraction(30)
VERSION = 1
"""Raise when the same phones, sound, person and seed give other weights (phone targets, coarticulation, articulation, lips,
upper face): clips in a corpus are then made again."""


def make_clip(
    audio: np.ndarray,
    sample_rate: int,
    phones: Sequence[Phone],
    person: Person,
    *,
    emotion: str = "neutral",
    strength: float | None = None,
    sentence: str = "",
    seed: int | Sequence[int] = 0,
    fps: Fraction = FPS,
) -> Clip:
    """Synthesise a clip of `person` saying `phones`, with blinks, gaze and an emotion.

    Args:
        audio: (S,) float32 mono.
        phones: covering the audio, silences as `pau`.
        emotion, strength: see `upper_face`.
        seed: of the articulation's style and of everything in the upper face, in separate streams.

    Returns:
        A linear clip; the person's gains are already in the weights.
    """
    topology = load_head().topology
    style_rng, face_rng = np.random.default_rng(seed).spawn(2)
    mouth = articulate(phones, audio, sample_rate, fps, style_rng)
    upper = upper_face(len(mouth), fps, emotion, face_rng, strength=strength)
    return Clip(
        topology=topology,
        template=person.template,
        fps=fps,
        audio=np.asarray(audio, np.float32),
        sample_rate=sample_rate,
        weights=compose(mouth, upper, person) * person.gains,
        basis=topology.shapes,
        basis_names=topology.shape_names,
        subject=person.name,
        tint=person.tint,
        sentence=sentence,
        emotion=emotion,
        phones=tuple(phones),
    )


def mixed_clip(
    said: Clip, speech_seed: int, emotion: str, expression_frames: int, expression_seed: int, person_name: str
) -> Clip:
    """Synthesise a clip's speech on another person with the upper face and emotion of another performance.

    Args:
        said: a clip of `make_clip` with its phones, made with `speech_seed`.
        emotion, expression_frames, expression_seed: of the other performance; it is played ping-pong.

    Returns:
        A linear clip as long as `said`; with the same performance and person it is `said` itself.
    """
    person = load_head().person(person_name)
    style_rng, _ = np.random.default_rng(speech_seed).spawn(2)
    _, face_rng = np.random.default_rng(expression_seed).spawn(2)
    mouth = articulate(said.phones, said.audio, said.sample_rate, said.fps, style_rng)
    upper = upper_face(expression_frames, said.fps, emotion, face_rng)
    upper = np.concatenate([upper, upper[::-1]])[np.arange(len(mouth)) % (2 * len(upper))]
    weights = (compose(mouth, upper, person) * person.gains).astype(np.float32)
    return replace(said, template=person.template, weights=weights, subject=person.name, emotion=emotion)


def mixed(corpus: Corpus, speech: ClipInfo, expression: ClipInfo, face: ClipInfo) -> Clip:
    """Ground truth of a mixed performance: one clip's speech, another's upper face and emotion, a third's person.

    As long as `speech`; a shorter expression is played ping-pong. Composed again from the seeds, because an emotion
    moves the mouth too and the stored weights cannot be taken apart.

    Raises:
        InputError: the clips were not made by `meshtalk corpus build`.
    """
    if speech.seed is None or expression.seed is None:
        raise InputError("captured clips cannot be composed again. Use a corpus of `meshtalk corpus build`.")
    said = corpus.load(speech)
    return mixed_clip(said, speech.seed, expression.emotion, expression.n_frames, expression.seed, face.subject)


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording with its transcript."""

    audio: np.ndarray
    """(S,) float32 mono."""
    sample_rate: int
    text: str
    voice: str
    split: str = "train"


def clip_from_recording(
    audio: np.ndarray, sample_rate: int, text: str, person: Person, seed: int, *, emotion: str = "neutral"
) -> Clip:
    """A clip made from a real recording and its transcript: forced alignment, then articulation.

    Args:
        audio: (S,) float32 mono.
        text: the words said, in any case, without digits; see `markup.spoken`.
        person: of the face; see `Head.person`.

    Raises:
        InputError: the words cannot be found in the sound, or are not in the dictionary.
    """
    phones = align(audio, sample_rate, text)
    if phones is None:
        raise InputError(
            f"the words {text[:60]!r} could not be aligned with the recording. Check transcript and language."
        )
    return make_clip(audio, sample_rate, phones, person, emotion=emotion, sentence=spoken(text).words, seed=seed)


def corpus_from_recordings(root: str | Path, recordings: Iterable[Recording], *, seed: int = 0) -> Corpus:
    """Align recordings and write them as a corpus; voices get different faces.

    Raises:
        InputError: no recordings, or the first one whose transcript does not fit.
    """
    head = load_head()
    recordings = tuple(recordings)
    if not recordings:
        raise InputError("recordings must have at least one with its transcript, got none")
    voices = sorted({recording.voice for recording in recordings})
    licences = ["audio: as the recordings", "head: CC0 (MakeHuman)", "motion: CC0"]
    writer = CorpusWriter(root, head.topology, FPS, licences)
    infos = []
    for k, recording in enumerate(recordings):
        person = head.people[voices.index(recording.voice) % len(head.people)]
        own = seed * 100_003 + k
        clip = clip_from_recording(recording.audio, recording.sample_rate, recording.text, person, own)
        infos.append(writer.add(clip, id=f"{k:05d}", split=recording.split, voice=recording.voice, seed=own))
    return writer.finish(infos)
