"""Hyperparameters of models and training, as frozen dataclasses that are saved in the checkpoint."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from meshtalk.errors import InputError

SAMPLE_RATE = 16_000
"""Hz of all audio inside the package."""
HOP_RATE = 100
"""Feature frames per second: one every 10 ms (160 samples)."""


_NEWER = {"left out of JSON at its default": True}
"""Metadata of fields added later: settings written before them compare equal, and their caches are found."""


MOST_WEIGHTS = 2**30
"""Of a model: 4 GB."""
_INF = float("inf")


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


def _check(config: Any, **bounds: tuple[float, float]) -> None:
    """Raise InputError unless the fields have their types, also in a config made in Python, and numbers lie within bounds.

    Numbers of a tuple have the bounds of each; a field without bounds may have any finite value of its type.
    """
    kind = type(config).__name__
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, hint):  # type: ignore[arg-type]
                raise InputError(f"{name} of {kind} must be a {getattr(hint, '__name__', hint)}, got {value!r:.100}")
            continue
        if typing.get_origin(hint) is tuple and not isinstance(value, tuple):
            raise InputError(f"{name} of {kind} must be a tuple, got {value!r:.100}")
        try:
            from_json(hint, to_json(value))
        except InputError as error:
            raise InputError(f"{name} of {kind}: {error}") from None
        if name in bounds:
            low, high = bounds[name]
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    limits = f"{low:g} to {high:g}" if high < _INF else f"at least {low:g}"
                    raise InputError(f"{name} of {kind} must be {limits}, got {str(number)[:40]}")


@dataclass(frozen=True)
class OfficialSound:
    """Audio front end of the official weights: every frame has its own window of sound, see `OfficialMel`."""

    n_mels: int = 80
    n_fft: int = 2048
    window: int = 800
    """Samples per spectrum."""
    frame_starts: Literal["exact", "533"] = "exact"
    """Where frame k's window begins: at k/fps seconds, rounded to a sample, or at 533·k samples as in the release, which falls
    behind the sound by 37.5 ms a minute. All else is the release's arithmetic either way."""

    def __post_init__(self) -> None:
        _check(self, n_mels=(1, 512))
        if not 1 <= self.window <= self.n_fft < 2 * SAMPLE_RATE:
            raise InputError(
                f"spectra of {self.window} samples in {self.n_fft} must have a window of at most n_fft, and n_fft of at most 2 s"
            )


_OFFICIAL_SOUND = OfficialSound()


@dataclass(frozen=True)
class AudioConfig:
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
        _check(
            self, width=(1, 8192), code=(1, 8192), kernel=(1, 65), input_kernel=(1, 65), dilations=(1, 1024),
            lookahead_hops=(0, 1000), past_hops=(0, 1000), trunk_lookahead_hops=(0, 39), dropout=(0, 0.99),
        )  # fmt: skip
        if len(self.dilations) > 64:
            raise InputError(f"dilations of AudioConfig must be at most 64 layers, got {len(self.dilations)}")

    @property
    def least_weights(self) -> int:
        """How many weights the convolutions have at least, whatever the front end."""
        return self.width * (self.width * self.kernel * len(self.dilations) + self.code)


@dataclass(frozen=True)
class GeometryConfig:
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

    def __post_init__(self) -> None:
        _check(self, basis_tolerance_mm=(0, 100), basis_max=(1, 4096), identity_components=(0, 1024))


@dataclass(frozen=True)
class PriorConfig:
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

    def __post_init__(self) -> None:
        _check(self, channels=(1, 1024), dilations=(1, 1024))
        if len(self.dilations) > 64:
            raise InputError(f"dilations of PriorConfig must be at most 64 layers, got {len(self.dilations)}")


@dataclass(frozen=True)
class ModelConfig:
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
        _check(self, heads=(1, 1024), classes=(2, 4096), expression_code=(1, 8192))
        if not 0 <= self.smoothing <= 1 / 3:
            raise InputError(f"smoothing must be 0 to 1/3, got {self.smoothing}")
        if not 0 < self.fps <= 1000:
            raise InputError(f"fps of ModelConfig must be more than 0 and at most 1000, got {self.fps}")
        if self.least_weights > MOST_WEIGHTS:
            raise InputError(
                f"a model must have at most {MOST_WEIGHTS:,} weights, got {self.least_weights:,} with {self.heads} heads of "
                f"{self.classes} classes, {self.prior.channels} channels and width {self.audio.width}. Choose fewer."
            )

    @property
    def least_weights(self) -> int:
        """How many weights audio encoder, fusion and prior have at least."""
        channels, layers = self.prior.channels, len(self.prior.dilations)
        prior = self.heads**2 * channels * (2 * self.classes + 3 * layers * channels)
        return self.audio.least_weights + 256 * self.heads * self.classes + prior


@dataclass(frozen=True)
class StageConfig:
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

    def __post_init__(self) -> None:
        _check(
            self, steps=(0, 10**9), frames=(1, 10**5), batch=(1, 10**5), learning_rate=(0, 10), audio_learning_rate=(0, 10),
            clip_norm=(0, _INF), warmup_steps=(0, 10**9),
        )  # fmt: skip


@dataclass(frozen=True)
class LossConfig:
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
    velocity: float = 4.0
    """Squared error of the frame-to-frame change: less jitter. Of the same two outputs."""
    norm: Literal["squared", "plain"] = "squared"
    """Squared vertex norms (the paper), or plain ones (dense geometry only)."""

    def __post_init__(self) -> None:
        _check(self, **{each.name: (0, _INF) for each in dataclasses.fields(self) if each.name != "norm"})


@dataclass(frozen=True)
class TrainConfig:
    """Three steps: audio regression (warms up the audio encoder), stage 1 (autoencoder), stage 2 (prior)."""

    seed: int = 0
    regression: StageConfig = field(default_factory=lambda: StageConfig(steps=2500, batch=16, audio_learning_rate=1e-3))
    stage1: StageConfig = field(default_factory=lambda: StageConfig(steps=7000))
    stage2: StageConfig = field(default_factory=lambda: StageConfig(steps=3500, frames=48, clip_norm=5.0))
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
    augmentations: int = 5
    """Augmented versions of every clip's audio that are cached beside the clean one."""
    weight_decay: float = 0.0
    validate_every: int = 500
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        _check(
            self, tau_start=(1e-3, 1e3), tau_end=(1e-3, 1e3), context_corruption=(0, 1), mouth_weight=(0, _INF),
            event_weight=(0, _INF), augmentations=(0, 1000), weight_decay=(0, _INF), validate_every=(1, 10**9),
            checkpoint_every=(1, 10**9),
        )  # fmt: skip


_OFFICIAL_AUDIO = AudioConfig(
    frontend="logmel", input_kernel=5, dilations=(2, 4, 6, 2, 4, 6), lookahead_hops=50, trunk_lookahead_hops=0
)
PRESETS: dict[str, tuple[ModelConfig, TrainConfig]] = {
    "compact": (ModelConfig(), TrainConfig()),
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
    """another model folder, such as the regressor of a training run, evaluated beside the model."""
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
