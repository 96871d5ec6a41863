"""A little talking head with a mouth, brows and lids, and corpora and animators made of it, for the measures' tests."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np

from meshtalk.clip import Clip, Phone
from meshtalk.mesh.topology import Topology

FPS = Fraction(30)
RATE = 16000
SHAPES = ("jawOpen", "browInnerUp", "eyeBlinkLeft")
LIPS_MM = 0.2
"""Opening of the template's lips."""


def topology() -> Topology:
    """12 vertices: 0-1 upper lip, 2-3 lower lip, 4 teeth, 5-7 brows, 8-9 lids, 10 crown, 11 chin's end."""
    jaw, brow, blink = np.zeros((3, 12, 3), np.float32)
    jaw[[2, 3, 11], 1] = -0.02
    brow[5:8, 1] = 0.01
    blink[8:10, 1] = -0.008
    regions = {
        "mouth": [0, 1, 2, 3, 11],
        "lips": [0, 1, 2, 3],
        "upper_face": [5, 6, 7, 8, 9],
        "eyelids": [8, 9],
    }
    return Topology(
        faces=np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6], [7, 8, 9], [9, 10, 11]], np.int32),
        n_vertices=12,
        regions={k: np.isin(np.arange(12), v).astype(np.float32) for k, v in regions.items()},
        landmarks={
            "lip_inner_upper": np.array([0, 1]),
            "lip_inner_lower": np.array([2, 3]),
            "upper_teeth": np.array([4]),
        },
        shape_names=SHAPES,
        shapes=np.stack([jaw, brow, blink]),
    )


TOPOLOGY = topology()
TEMPLATE = np.array(
    [[-0.01, 0, 0], [0.01, 0, 0], [-0.01, -LIPS_MM / 1e3, 0], [0.01, -LIPS_MM / 1e3, 0], [0, 0, -0.005]]
    + [[x, 0.08, 0] for x in (-0.02, 0, 0.02)]
    + [[-0.03, 0.06, 0], [0.03, 0.06, 0], [0, 0.15, 0], [0, -0.08, 0]],
    np.float32,
)


@dataclass(frozen=True)
class Info:
    id: str
    split: str
    sentence: str
    emotion: str
    n_frames: int


def speech(seed: int, seconds: float) -> tuple[np.ndarray, np.ndarray, tuple[Phone, ...]]:
    """Sound, jaw opening (T,) and phones that agree: loud and open in vowels, shut at m and in pauses."""
    rng = np.random.default_rng(seed)
    phones, now = [Phone("pau", 0.0, 0.6)], 0.6
    while now < seconds - 0.9:
        for name, length in (("m", 0.1), ("ae", rng.uniform(0.15, 0.3)), ("t", 0.1), ("aa", 0.2)):
            phones.append(Phone(name, now, now + length))
            now += length
    phones.append(Phone("pau", now, seconds))
    n_frames = round(seconds * FPS)
    time = np.arange(n_frames) / float(FPS)
    level = {"pau": 0.0, "m": 0.0, "t": 0.35, "ae": 1.0, "aa": 0.8}
    jaw = np.zeros(n_frames)
    for name, start, end in phones:
        jaw[(time >= start) & (time < end)] = level[name]
    jaw = np.convolve(np.pad(jaw, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    for name, start, end in phones:
        if name == "m":
            jaw[round((start + end) / 2 * FPS)] = 0
    loud = np.interp(np.arange(round(seconds * RATE)) / RATE, time, jaw) + 0.003
    return (loud * rng.normal(scale=0.2, size=len(loud))).astype(np.float32), jaw, tuple(phones)


def upper(seed: int, n_frames: int) -> np.ndarray:
    """(T,2) brow and blink weights, independent of the sound."""
    rng = np.random.default_rng(seed + 1000)
    brow = 0.5 + 0.5 * np.sin(np.arange(n_frames) / 12 + rng.uniform(0, 6))
    blink = np.zeros(n_frames)
    at = int(rng.integers(10, n_frames - 20))
    blink[at : at + 5] = [0.4, 0.9, 1, 0.6, 0.2]
    return np.stack([brow, blink], 1)


def make_clip(seed: int, seconds: float = 3.0, emotion: str = "neutral") -> Clip:
    audio, jaw, phones = speech(seed, seconds)
    weights = np.concatenate([0.6 * jaw[:, None], upper(seed, len(jaw))], 1).astype(np.float32)
    return Clip(
        topology=TOPOLOGY,
        template=TEMPLATE,
        fps=FPS,
        audio=audio,
        sample_rate=RATE,
        weights=weights,
        basis=TOPOLOGY.shapes,
        basis_names=SHAPES,
        sentence=f"sentence {seed}",
        emotion=emotion,
        phones=phones,
    )


class LittleCorpus:
    """Clips of the rig in memory, half for training."""

    def __init__(self, n: int = 6, dense: bool = False) -> None:
        self.topology = TOPOLOGY
        self._clips = {}
        for i in range(n):
            clip = make_clip(i, 3.0 + 0.4 * (i % 2), ("neutral", "happy")[i % 2])
            if dense:
                clip = replace(clip, displacement=clip.displacements(), weights=None, basis=None, basis_names=())
            self._clips[f"c{i}"] = clip
        self.clips = tuple(
            Info(k, "train" if i < n // 2 else "test", c.sentence, c.emotion, c.n_frames)
            for i, (k, c) in enumerate(self._clips.items())
        )

    def load(self, info: Info) -> Clip:
        return self._clips[info.id]


def loudness_jaw(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """(T,) what an honest animator can know of the jaw: the sound's envelope at the frames."""
    n_frames = -int(-(len(audio) * FPS) // sample_rate)
    edges = np.clip((np.arange(n_frames)[:, None] / float(FPS) + [-0.01, 0.01]) * sample_rate, 0, len(audio))
    power = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    first, last = np.round(edges).astype(int).T
    rms = np.sqrt((power[last] - power[first]) / np.maximum(last - first, 1))
    return np.clip((rms / max(np.percentile(rms, 95), 1e-9) - 0.12) / 0.88, 0, 1.1)


class LoudnessAnimator:
    """A deterministic stand-in for a model: the jaw follows the sound's level, the upper face its seed.

    Its codes are the quantised jaw and brow; it has every hook the measures know of.
    """

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip:
        jaw = 0.6 * loudness_jaw(audio, sample_rate)
        weights = np.concatenate([jaw[:, None], upper(seed, len(jaw))], 1).astype(np.float32)
        return Clip(TOPOLOGY, template, FPS, audio, sample_rate, weights=weights, basis=TOPOLOGY.shapes)

    def reconstruct(self, clip: Clip) -> Clip:
        return replace(clip, weights=np.round(np.asarray(clip.weights), 1))

    def swap(self, audio_clip: Clip, expression_clip: Clip) -> Clip:
        weights = np.array(expression_clip.weights)
        weights[:, 0] = 0.6 * loudness_jaw(audio_clip.audio, audio_clip.sample_rate)[: len(weights)]
        return replace(audio_clip, weights=weights)

    def held_out_nll(self, clips: list[Clip]) -> np.ndarray:
        return np.array([np.log(2), np.log(8)])

    def codes(self, clip: Clip) -> np.ndarray:
        return np.stack([np.round(np.asarray(clip.weights)[:, 1] * 4), np.zeros(clip.n_frames)], 1).astype(int)


class Page(HTMLParser):
    """What a browser would see of an HTML text: elements with their attributes, and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._in_style = False
        self.paths: list[tuple[str, dict[str, str | None]]] = []
        """(class of the group that it is in, attributes) of each path."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        if tag == "path":
            groups = (a.get("class") for t, a in reversed(self.elements) if t == "g")
            self.paths.append((next(groups, None) or "", dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def lines(self, kind: str) -> list[np.ndarray]:
        """(n,2) pixels of each curve of a CSS class, without its gaps."""
        return [points(attributes) for group, attributes in self.paths if group == f"line {kind}"]


def points(path: dict[str, str | None]) -> np.ndarray:
    """(n,2) pixels of the corners of a path."""
    return np.array(re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path["d"] or ""), float)
