"""Baselines and references: truth, the encoder's oracle, a sampler's floor, mean and neutral face."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np

from meshtalk.clip import CHUNK, Clip
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.synth import clips

SPEECH_SHAPES = ("mouth", "jaw", "tongue")
"""Prefixes of the blendshapes that speech drives, for a corpus without seeds."""


class Info(Protocol):
    """What the measures read of a clip's entry in a corpus."""

    @property
    def id(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def sentence(self) -> str: ...
    @property
    def emotion(self) -> str: ...
    @property
    def n_frames(self) -> int: ...


class ClipSource(Protocol):
    """The interface of a corpus that measures need."""

    @property
    def topology(self) -> Topology: ...
    @property
    def clips(self) -> Sequence[Any]: ...
    def load(self, info: Any) -> Clip: ...


@runtime_checkable
class Animator(Protocol):
    """Speech in, animated face out. The result is at the corpus's rate, on the template given."""

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip: ...


@runtime_checkable
class Reconstructs(Protocol):
    """An animator that can encode a clip (sound and motion) and decode its own codes."""

    def reconstruct(self, clip: Clip) -> Clip: ...


@runtime_checkable
class Swaps(Protocol):
    """An animator that can decode the sound of one clip with the expression of another."""

    def swap(self, audio_clip: Clip, expression_clip: Clip) -> Clip:
        """The codes of audio_clip's sound and expression_clip's motion, decoded on audio_clip's template.

        Both clips have the same number of frames, and so has the result.
        """
        ...


@runtime_checkable
class Likelihood(Protocol):
    """An animator whose prior gives the likelihood of true codes."""

    def held_out_nll(self, clips: Sequence[Clip]) -> np.ndarray:
        """(H,) mean over all frames of −log p of each head's true code, nats."""
        ...


@runtime_checkable
class Codes(Protocol):
    """An animator that can encode a ground-truth clip."""

    def codes(self, clip: Clip) -> np.ndarray:
        """(T,H) int labels of the most likely codes."""
        ...


Predict = Callable[[Any, Clip, int], Clip]
"""(info, true clip, seed) → the system's clip. Only references look beyond the sound and the template."""


def predictor(system: object) -> Predict:
    """The predictor of a system: its own `predict` if it has one, else `animate` on audio alone.

    Raises:
        InputError: it has neither.
    """
    own = getattr(system, "predict", None)
    if own is not None:
        return own
    if not isinstance(system, Animator):
        raise InputError(f"{type(system).__name__} has neither animate() nor predict(). Pass an animator.")

    def animate(_: Any, clip: Clip, seed: int) -> Clip:
        return system.animate(clip.audio, clip.sample_rate, template=clip.template, seed=seed)

    return animate


class Truth:
    """The clip itself: what a perfect system would score, and the rates that are not 0 or 1 even then."""

    def predict(self, info: Any, clip: Clip, seed: int) -> Clip:
        return clip


class Oracle:
    """Reconstruction of the true clip from its codes: an upper bound for predictors of codes."""

    def __init__(self, animator: Reconstructs) -> None:
        self.animator = animator

    def predict(self, info: Any, clip: Clip, seed: int) -> Clip:
        return self.animator.reconstruct(clip)


def frames_of(audio: np.ndarray, rate: int, fps: Fraction) -> int:
    """Frames of an animation of (S,) samples: those that begin before the sound ends, one at least."""
    return max(1, math.ceil(Fraction(len(audio), rate) * fps))


def _still(topology: Topology, template: np.ndarray, fps: Fraction, audio: np.ndarray, rate: int) -> Clip:
    """A clip of zero motion as long as the sound, one weightless basis shape wide."""
    return Clip(
        topology=topology,
        template=template,
        fps=fps,
        audio=audio,
        sample_rate=rate,
        weights=np.zeros((frames_of(audio, rate, fps), 1), np.float32),
        basis=np.zeros((1, topology.n_vertices, 3), np.float32),
    )


class Neutral:
    """The template, unmoved."""

    def __init__(self, corpus: ClipSource) -> None:
        self.topology = corpus.topology
        self.fps = corpus.load(corpus.clips[0]).fps

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip:
        return _still(self.topology, template, self.fps, audio, sample_rate)


class MeanFace(Neutral):
    """The mean displacement of the training split, unmoved: the best that ignoring the sound can do."""

    def __init__(self, corpus: ClipSource, split: str = "train") -> None:
        """Raise InputError if the split has no clips."""
        super().__init__(corpus)
        total, frames = np.zeros((corpus.topology.n_vertices, 3)), 0
        for info in split_of(corpus, split):
            clip = corpus.load(info)
            if clip.weights is not None and clip.basis is not None:
                total += np.tensordot(np.asarray(clip.weights, np.float64).sum(0), clip.basis, 1)
            else:
                for start in range(0, clip.n_frames, CHUNK):
                    total += clip.displacements(start, start + CHUNK).sum(0, dtype=np.float64)
            frames += clip.n_frames
        self.mean = (total / frames).astype(np.float32)

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip:
        still = super().animate(audio, sample_rate, template=template, seed=seed)
        ones = np.ones((still.n_frames, 1), np.float32)
        return dataclasses.replace(still, weights=ones, basis=self.mean[None])


class Floor:
    """A perfect mouth with another clip's emotion, blinks and brows: the score of a perfect SAMPLER.

    Sound does not determine the emotion, and an emotion moves the mouth; so even the right distribution
    misses the one take that was recorded. The clip has its own speech and the rest of another clip, chosen
    by the seed.
    """

    def __init__(self, corpus: ClipSource, split: str = "test") -> None:
        """Raise InputError if the clips are not linear or there are fewer than two."""
        self.corpus = corpus
        self.infos = split_of(corpus, split)
        if len(self.infos) < 2:
            raise InputError(f"split {split!r} must have two clips for the sampler's floor, got one")
        mixed(corpus, self.infos[0], self.infos[1], self.infos[0])

    def predict(self, info: Any, clip: Clip, seed: int) -> Clip:
        others = [other for other in self.infos if other.id != info.id]
        other = others[int(np.random.default_rng(seed).integers(len(others)))]
        return mixed(self.corpus, info, other, info)


def split_of(corpus: ClipSource, split: str) -> list[Any]:
    """The entries of a split, in order; a data set's own name of a part of it, e.g. test_a, names that part.

    Raises:
        InputError: there are none.
    """
    names = [(info.split, getattr(info, "official", "") or info.split) for info in corpus.clips]
    infos = [info for info, known in zip(corpus.clips, names, strict=True) if split in known]
    if not infos:
        had = ", ".join(sorted({name for known in names for name in known})) or "no clips"
        raise InputError(f"the corpus has no clips in split {split!r}; it has: {had}")
    return infos


def mixed(corpus: ClipSource, speech: Any, expression: Any, face: Any) -> Clip:
    """The speech of one clip with the emotion, brows and blinks of another, on the face of a third.

    Composed again from the seeds (`synth.clips.mixed`) where the corpus was built by this project. Else the mouth,
    jaw and tongue blendshapes come from the first and the rest from the second, which takes an emotion's
    mouth for speech and every face to move alike. As long as `speech`; a shorter expression is played
    ping-pong.

    Raises:
        InputError: the clips are not linear over named blendshapes.
    """
    if isinstance(corpus, Corpus) and speech.seed is not None:  # a captured clip has no seed to compose it from
        return clips.mixed(corpus, speech, expression, face)
    said, felt = corpus.load(speech), corpus.load(expression)
    if said.weights is None or felt.weights is None or not said.basis_names:
        raise InputError(
            f"clip {speech.id} has no named blendshape weights. This measure needs a corpus of linear clips."
        )
    spoken = np.array([name.startswith(SPEECH_SHAPES) for name in said.basis_names])
    ping_pong = np.concatenate([felt.weights, felt.weights[::-1]])
    rest = ping_pong[np.arange(said.n_frames) % len(ping_pong)]
    weights = np.where(spoken, said.weights, rest).astype(np.float32)
    return dataclasses.replace(said, weights=weights, template=corpus.load(face).template)
