"""Hyperparameters of models and training, as frozen dataclasses that are saved in the checkpoint."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal

from meshtalk.errors import InputError

SAMPLE_RATE = 16_000
"""Hz of all audio inside the package."""
HOP_RATE = 100
"""Feature frames per second: one every 10 ms (160 samples)."""
MOST_LAYERS = 64
MOST_FPS = 1000


_NEWER = {"left out of JSON at its default": True}
"""Metadata of fields added later: settings written before them compare equal, and their caches are found."""


_INF = math.inf
_BOUNDS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("width", "code", "expression_code"), (1, 8192)), **dict.fromkeys(("kernel", "input_kernel"), (1, 65)),
    **dict.fromkeys(("frames", "batch"), (1, 10**5)), **dict.fromkeys(("validate_every", "checkpoint_every"), (1, 10**9)),
    **dict.fromkeys(("tau_start", "tau_end"), (1e-3, 1e3)), **dict.fromkeys(("learning_rate", "audio_learning_rate"), (0, 10)),
    **dict.fromkeys(("reconstruction", "whole_face", "eyelid_points", "cross_modality", "upper_face"), (0, _INF)),
    **dict.fromkeys(("eyelid", "opening", "velocity", "mouth_weight", "event_weight", "weight_decay", "clip_norm"), (0, _INF)),
    **dict.fromkeys(("lookahead_hops", "past_hops"), (0, 1000)), "trunk_lookahead_hops": (0, 39), "heads": (1, 1024),
    "dilations": (1, 1024), "dropout": (0, 0.99), "n_mels": (1, 512), "channels": (1, 1024),
    "basis_tolerance_mm": (0, 100), "basis_max": (1, 4096), "identity_components": (0, 1024), "classes": (2, 4096),
    "context_corruption": (0, 1), "augmentations": (0, 1000),
}  # fmt: skip
"""Least and greatest value of a setting, or of each number of a tuple; the trunk sees 40 hops, of which one is now."""


class _Checked:
    """Settings made in Python are held to the types of their fields, as those that are read from a file are."""

    def __post_init__(self) -> None:
        for name, kind in _hints(type(self)).items():
            value = getattr(self, name)
            if typing.get_origin(kind) is Literal and value not in typing.get_args(kind):
                raise InputError(f"{name} must be one of {', '.join(map(repr, typing.get_args(kind)))}, got {value!r}")
            if kind is float and not (isinstance(value, (int, float)) and math.isfinite(value)):
                raise InputError(f"{name} must be a finite number, got {value!r}")
            if kind in (str, bool, Fraction) or dataclasses.is_dataclass(kind):
                if not isinstance(value, kind):  # type: ignore[arg-type]
                    raise InputError(f"{name} must be a {getattr(kind, '__name__', kind)}, got {value!r:.100}")
                continue
            if isinstance(value, bool) or (kind == tuple[int, ...]) != isinstance(value, tuple):
                raise InputError(f"{name} must be of type {getattr(kind, '__name__', kind)}, got {value!r:.100}")
            numbers = value if isinstance(value, tuple) else (value,)
            if kind in (int, tuple[int, ...]) and not all(isinstance(n, int) and 0 <= n < 2**31 for n in numbers):
                raise InputError(f"{name} must be a whole number from 0 on, got {value!r}")
            low, high = _BOUNDS.get(name, (-_INF, _INF))
            if name in _BOUNDS and not all(low <= number <= high for number in numbers):
                limits = f"{low:g} to {high:g}" if high < _INF else f"at least {low:g}"
                raise InputError(f"{name} must be {limits}, got {value!r:.100}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@dataclass(frozen=True)
class OfficialSound(_Checked):
    """Audio front end of the official weights: every frame has its own window of sound, see `OfficialMel`."""

    n_mels: int = 80
    n_fft: int = 2048
    window: int = 800
    """Samples per spectrum."""
    frame_starts: Literal["exact", "533"] = "exact"
    """Where frame k's window begins: at k/fps seconds, rounded to a sample, or at 533·k samples as in the release, which falls
    behind the sound by 37.5 ms a minute. All else is the release's arithmetic either way."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.window <= self.n_fft < 2 * SAMPLE_RATE:
            raise InputError(
                f"spectra of {self.window} samples in {self.n_fft} must have a window of at most n_fft, and n_fft of at most 2 s"
            )


_OFFICIAL_SOUND = OfficialSound()


@dataclass(frozen=True)
class AudioConfig(_Checked):
    """Audio encoder: waveform features at 100 Hz, a stack of dilated convolutions, a code for every video frame."""

    frontend: Literal["logmel", "phonetic", "official"] = "phonetic"
    """`logmel`: the paper's 80 log-mel bands. `phonetic`: the pretrained trunk's 384 features. `official`: as the authors' own
    weights need it, for those alone (`meshtalk import-official`)."""
    stack: Literal["dense", "window"] = "dense"
    """`dense`: one unpadded convolution over the clip, layers cropped to the target frame (official form).
    `window`: each video frame encodes its own padded window and averages over it (paper form)."""
    width: int = 128
    """Channels of the convolutions."""
    code: int = 128
    """Size of the audio code."""
    kernel: int = 5
    """Taps of each convolution."""
    input_kernel: int = 1
    """Taps of the layer that brings the features to `width` channels (1: a linear layer, as in the paper)."""
    dilations: tuple[int, ...] = (2, 4, 6)
    """Dilation of each residual layer."""
    lookahead_hops: int = 2
    """10 ms hops after the target time that the stack may see (dense), or the window's future half (window)."""
    past_hops: int = 50
    """10 ms hops before the target time in the window (window stack only; a dense stack has its own reach)."""
    trunk_lookahead_hops: int = 15
    """Of the phonetic trunk's 40 hops, how many lie after the target time (phonetic front end only)."""
    dropout: float = 0.2
    official: OfficialSound = field(default=_OFFICIAL_SOUND, metadata=_NEWER)
    """Sizes of the `official` front end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.dilations) > MOST_LAYERS:
            raise InputError(
                f"an audio encoder must have up to {MOST_LAYERS} dilations, got {len(self.dilations)} layers"
            )


@dataclass(frozen=True)
class GeometryConfig(_Checked):
    """How a mesh enters and leaves the networks."""

    kind: Literal["dense", "basis"] = "basis"
    """`dense`: every vertex coordinate, (x−mean)/std (the paper). `basis`: displacement from the template in an
    orthonormal linear basis; losses are the same masked vertex errors, computed through Gram matrices."""
    basis_tolerance_mm: float = 0.01
    """Components are added until no training vertex is further than this from its reconstruction…"""
    basis_max: int = 64
    """…or this many are in use."""
    identity_components: int = 16
    """Principal components of the training templates that condition the decoder on identity (basis only)."""


@dataclass(frozen=True)
class PriorConfig(_Checked):
    """p(c|a), eq. 6."""

    channels: int = 32
    """Channels per head."""
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    """One causal layer each; a layer sees frames t−1 and t−1−dilation."""
    mask: Literal["inclusive", "strict"] = "inclusive"
    """`inclusive`: a head sees all lower heads of its own frame. `strict`: the official release's defect, where
    the first head sees nothing; kept for its weights and for comparison."""
    use_sampled_expression: bool = True
    """At inference, take from the prior's sample only the expression: its mouth is silenced and the encoder of eq. 3, which
    learned to take the mouth from sound alone, encodes it again with the audio (basis geometry only). False decodes the
    sampled codes as they are, as the paper does."""
    own_audio_encoder: bool = True
    """Fine-tune a copy of the audio encoder with the prior instead of sharing that of stage 1."""


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """A whole model. Symbols as in docs/equations.md."""

    preset: str = "compact"
    heads: int = 16
    """H: categorical variables per frame."""
    classes: int = 32
    """C: values of each."""
    fps: Fraction = Fraction(30)
    """Frame rate the networks run at; any output rate is resampled from it."""
    expression_code: int = 128
    smoothing: float = 0.07
    """Share of each neighbouring frame in a frame of the output (0: none, no frame of delay); see `resample.Smoother`."""
    audio: AudioConfig = field(default_factory=AudioConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing <= 1 / 3:
            raise InputError(f"smoothing must be 0 to 1/3, got {self.smoothing}")
        if not 0 < self.fps <= MOST_FPS:
            raise InputError(f"fps must be up to {MOST_FPS}, got {self.fps}")


@dataclass(frozen=True)
class StageConfig(_Checked):
    """One stage of training."""

    steps: int
    frames: int = 32
    """T: consecutive frames of a window."""
    batch: int = 8
    learning_rate: float = 1e-3
    audio_learning_rate: float = 5e-4
    """For the audio encoder, which arrives pre-trained at the second and third stage."""
    clip_norm: float = 1.0
    warmup_steps: int = 100


@dataclass(frozen=True)
class LossConfig(_Checked):
    """Weights of the terms of eqs. 4 and 5 and of those added to them; squared norms, in mm²."""

    reconstruction: float = 1.0
    """Both true signals, all regions: without it the emotional part of the mouth is lost."""
    whole_face: float = field(default=0.0, metadata=_NEWER)
    """Both true signals, every vertex alike: the official code's plain MSE."""
    eyelid_points: float = field(default=0.0, metadata=_NEWER)
    """Both true signals, eyelids: the official code's MSE on 62 eyelid points, here all of the region."""
    cross_modality: float = 1.0
    """Eq. 4."""
    upper_face: float = 5.0
    """How much more an error of the upper face weighs than one of the mouth, in all terms: brows move a third as far as
    lips do, and unweighted they are learned last."""
    eyelid: float = 1.0
    """Eq. 5."""
    opening: float = 0.3
    """Squared error of the lip opening itself, closed frames emphasised, so that closures close; of the reconstruction, and
    of what a sampled expression is decoded to."""
    mouth: float = field(default=0.0, metadata=_NEWER)
    """Squared error of width, protrusion, lip to teeth and tongue over their variance, rare positions emphasised; of the same
    two outputs."""
    velocity: float = 4.0
    """Squared error of the frame-to-frame change: less jitter. Of the same two outputs."""
    norm: Literal["squared", "plain"] = "squared"
    """Squared vertex norms (the paper), or plain ones (dense geometry only)."""


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """Three steps: audio regression (warms up the audio encoder), stage 1 (autoencoder), stage 2 (prior)."""

    seed: int = 0
    regression: StageConfig = field(
        default_factory=lambda: StageConfig(steps=10_000, batch=16, audio_learning_rate=1e-3)
    )
    stage1: StageConfig = field(default_factory=lambda: StageConfig(steps=16_000))
    stage2: StageConfig = field(default_factory=lambda: StageConfig(steps=5000, frames=48, clip_norm=5.0))
    loss: LossConfig = field(default_factory=LossConfig)
    tau_start: float = 1.0
    """Gumbel-softmax temperature at the first step of stage 1…"""
    tau_end: float = 1.0
    """…and at the last, geometric between."""
    context_corruption: float = 0.1
    """Stage 2: mean share of the context codes that are replaced by the prior's own samples. It keeps free-running lips
    in time, but teaches the prior to take back what it alone has sampled: blinks."""
    mouth_weight: float = 0.0
    """Stage 2: weight of the mouth error of decoded samples beside the negative log-likelihood; of use where sampled codes
    are decoded as they are."""
    event_weight: float = 0.8
    """Stage 2: how much more a frame counts while lids move. A blink begins in one frame of a hundred and nothing foretells it;
    what is so rare is learned last, and blinks were sampled at a third of their rate."""
    augmentations: int = 8
    """Augmented versions of every clip's audio that are cached beside the clean one."""
    weight_decay: float = 0.0
    validate_every: int = 500
    checkpoint_every: int = 250


_OFFICIAL_AUDIO = AudioConfig(
    frontend="logmel", input_kernel=5, dilations=(2, 4, 6, 2, 4, 6), lookahead_hops=50, trunk_lookahead_hops=0
)
PRESETS: dict[str, tuple[ModelConfig, TrainConfig]] = {
    "compact": (ModelConfig(), TrainConfig(loss=LossConfig(mouth=0.5))),
    "official": (
        ModelConfig(
            preset="official",
            heads=16,
            classes=128,
            smoothing=0.0,
            audio=_OFFICIAL_AUDIO,
            geometry=GeometryConfig(kind="dense"),
            prior=PriorConfig(channels=64, use_sampled_expression=False, own_audio_encoder=False),
        ),
        TrainConfig(
            regression=StageConfig(steps=0),
            stage1=StageConfig(steps=50_000, learning_rate=1e-4, audio_learning_rate=1e-4),
            stage2=StageConfig(steps=15_000, frames=64, learning_rate=1e-4, audio_learning_rate=1e-4),
            loss=LossConfig(
                reconstruction=0.0,
                whole_face=1.0,
                eyelid_points=1.0,
                eyelid=0.0,
                upper_face=1.0,
                opening=0.0,
                velocity=0.0,
            ),
            context_corruption=0.0,
            event_weight=0.0,
            augmentations=0,
            weight_decay=1e-3,
        ),
    ),
    "paper": (
        ModelConfig(
            preset="paper",
            heads=64,
            classes=128,
            smoothing=0.0,
            audio=dataclasses.replace(_OFFICIAL_AUDIO, stack="window", input_kernel=1, lookahead_hops=10, past_hops=50),
            geometry=GeometryConfig(kind="dense"),
            prior=PriorConfig(channels=64, use_sampled_expression=False, own_audio_encoder=False),
        ),
        TrainConfig(
            regression=StageConfig(steps=0),
            stage1=StageConfig(steps=50_000, audio_learning_rate=1e-3),
            stage2=StageConfig(steps=15_000, frames=64),
            loss=LossConfig(reconstruction=0.0, upper_face=1.0, opening=0.0, velocity=0.0),
            context_corruption=0.0,
            event_weight=0.0,
            augmentations=0,
        ),
    ),
}
"""name → (model, training). What differs between them, and why, stands in docs/equations.md."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Options of `meshtalk evaluate`; their docstrings are its `--help` texts.

    Raises:
        InputError: fewer than one sample, or a limit below one.
    """

    split: str = "test"
    """train, val or test."""
    baseline: Path | None = None
    """folder of another model, or the regressor/ of a training run, evaluated beside the model."""
    real: Path | None = None
    """folder of real recordings with transcripts.tsv, also evaluated against forced alignment."""
    json: Path | None = None
    """write all results to this file."""
    html: Path | None = None
    """write a self-contained page with the table, curves and pictures of clips, and code usage to this file."""
    samples: int = 1
    """animations per clip; 2 or more add diversity measures."""
    limit: int | None = None
    """evaluate at most so many clips, spread over the split."""
    seed: int = 0
    """random seed of the sampling; the seed of every clip and sample is derived from it."""
    workers: int = 1
    """number of processes; results do not depend on it."""
    ray: bool = False
    """distribute the clips with Ray Data: on the cluster of RAY_ADDRESS, or else on local processes."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples must be at least 1 per clip, got {self.samples}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1 clip, got {self.limit}")


def to_json(config: Any) -> Any:
    """Plain JSON types of a config dataclass; fractions become "n/d" strings."""
    if dataclasses.is_dataclass(config):
        named = {f: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {f.name: to_json(value) for f, value in named.items() if not (f.metadata and value == f.default)}
    if isinstance(config, Fraction):
        return f"{config.numerator}/{config.denominator}"
    return list(config) if isinstance(config, tuple) else config


def from_json(kind: Any, data: Any) -> Any:
    """Inverse of `to_json` for the dataclass `kind`.

    Raises:
        InputError: an unknown or missing field, or a value of the wrong type.
    """
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(data, dict) or (unknown := set(data) - set(hints)):
            names = sorted(unknown) if isinstance(data, dict) else type(data).__name__
            raise InputError(f"{getattr(kind, '__name__', kind)} has no field {names}; its fields are {sorted(hints)}")
        try:
            return kind(**{name: from_json(hints[name], value) for name, value in data.items()})  # type: ignore[operator]
        except TypeError as error:  # a field without a default is missing; Python's message names it
            raise InputError(f"{getattr(kind, '__name__', kind)} is incomplete: {error}") from None
    origin = typing.get_origin(kind)
    if kind is Fraction and isinstance(data, str):
        try:
            return Fraction(data)
        except (ValueError, ZeroDivisionError):
            raise InputError(f"a fraction such as 30/1 is required, got {data!r}") from None
    if origin is tuple:
        if not isinstance(data, list):
            raise InputError(f"a list is required, got {data!r}")
        return tuple(from_json(typing.get_args(kind)[0], value) for value in data)
    if origin is typing.Literal:
        if data not in typing.get_args(kind):
            raise InputError(f"value must be one of {typing.get_args(kind)}, got {data!r}")
        return data
    if isinstance(kind, types.UnionType):  # of None and one other
        return None if data is None else from_json(next(k for k in typing.get_args(kind) if k is not type(None)), data)
    if origin is Mapping:
        if not isinstance(data, dict):
            raise InputError(f"a mapping is required, got {data!r}")
        return {name: from_json(typing.get_args(kind)[1], value) for name, value in data.items()}
    accepted = (int, float) if kind is float else kind
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise InputError(f"{getattr(kind, '__name__', kind)} is required, got {str(data)[:100]!r}")
    if kind is float and not -sys.float_info.max <= data <= sys.float_info.max:
        raise InputError(f"a finite number is required, got {str(data)[:100]}")
    if isinstance(data, str) and not data.isprintable():  # a terminal would obey it
        raise InputError(f"printable text is required, got {data[:100]!r}")
    return data
