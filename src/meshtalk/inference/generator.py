"""Streaming inference: sampling settings, session state, and the generator of motion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TypedDict, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio.files import frame_hops, n_frames
from meshtalk.audio.mel import MelFrontend, MelState
from meshtalk.clip import Clip, exact_rate
from meshtalk.config import HOP_RATE, SAMPLE_RATE, ModelConfig
from meshtalk.errors import InputError
from meshtalk.inference.direction import Direction, Director, DirectorState
from meshtalk.model.audio_stream import AudioStream, AudioStreamState
from meshtalk.model.fast_networks import SHORT, CompiledDecoder, CompiledEncoder
from meshtalk.model.fast_sampler import Precision, Sampler, SamplerState
from meshtalk.model.geometry import BasisGeometry
from meshtalk.model.networks import LstmState, MeshTalk, Regressor, gumbel_noise
from meshtalk.model.prior import Prior, PriorState
from meshtalk.resample import WAITS_FRAMES as RESAMPLER_FRAMES
from meshtalk.resample import Resampler, ResamplerState, Smoother

CHUNK_S = 10
"""Seconds of audio per chunk, so that memory does not grow with the recording."""


class Options(TypedDict, total=False):
    """Options of `Animator.animate`; all have defaults."""

    template: str | Path | np.ndarray | None
    """Mesh file or (V,3) metres of the model's topology; or"""
    person: str | int | None
    """name ("p00"…) or seed of one of the packaged head's people."""
    expression: str | Path | Clip | np.ndarray | None
    """Clip of the same topology that provides the expression signal (eqs. 1-3); or the (N,n_motion) signal of a recipe."""
    strength: float | Mapping[str, float]
    """Factor of the expression, for the whole face or by region, 0 to 2."""
    temperature: float
    """Sampling temperature; below 1 is calmer."""
    top_p: float
    """Nucleus sampling: sample among the most likely classes with this total probability."""
    argmax: bool
    """The most likely codes instead of a sample."""
    fps: Fraction | float | int | str | None
    """Frame rate of the result (default the model's own)."""
    direction: Direction | None
    """Intensity, smoothing, blinks, gaze, fades: see `Direction`."""


@dataclass(frozen=True)
class SamplingSpec:
    """Settings of an inference session of N takes, all of one recording on one face."""

    template: np.ndarray
    """(V,3) metres."""
    seeds: tuple[int, ...]
    """Random seeds of the sampling, one per take."""
    temperature: float
    top_p: float
    argmax: bool
    fps: Fraction
    expression: Tensor | None
    """(N,n_motion) mm at the model's rate, played ping-pong; None: the upper face is sampled from the prior."""
    director: Director | None = None
    """Direction at the model's rate."""

    @property
    def lead_out_samples(self) -> int:
        """See `Direction.lead_out_samples`."""
        return 0 if self.director is None else self.director.direction.lead_out_samples

    def fade_out(self, motion: Tensor, first: int, total: int) -> Tensor:
        """(t,N,n_motion) frames from `first` on of `total`, with the lead-out's fade to neutral."""
        return motion if self.director is None else self.director.fade_out(motion, first, total, self.fps)


@dataclass(frozen=True, kw_only=True)
class GeneratorState:
    """State of a session behind the audio front end."""

    spec: SamplingSpec
    encoded: list[Tensor]
    """(N,·) decoder input of the template, computed once."""
    frame: int = 0
    """Frames generated so far, at the model's rate."""
    prior: PriorState | SamplerState | None = None
    sampled_expression: LstmState | None = None
    expression: LstmState | None = None
    decoder: LstmState | None = None
    director: DirectorState = field(default_factory=DirectorState)
    smoother: Tensor | None = None
    resampler: ResamplerState = field(default_factory=lambda: ResamplerState(None, 0, 0))


State = TypeVar("State", bound=GeneratorState)


@dataclass(frozen=True, kw_only=True)
class AnimatorState(GeneratorState):
    """State of an inference session. `step` returns a new one and changes none: a state can be used twice."""

    n_samples: int
    mel: MelState
    pending_mel: np.ndarray
    """Buffered mel frames, too few for another frame."""
    n_mel: int
    """Mel frames in all, with the silence before the first sample."""
    audio: AudioStreamState


def ping_pong(start: int, count: int, length: int) -> np.ndarray:
    """(count,) frame indices of an animation of `length` frames played ping-pong from `start` on."""
    period = max(2 * length - 2, 1)
    phase = np.arange(start, start + count) % period
    return np.where(phase < length, phase, period - phase)


def frame_rate(fps: Fraction | float | int | str) -> Fraction:
    """Parse a frame rate, see `exact_rate`.

    Raises:
        InputError: it is not a number, or outside 1 to 240 frames per second.
    """
    try:
        rate = exact_rate(fps)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"fps must be a number, got {fps!r}. Try 25, 30, 60 or 30000/1001.") from None
    if not 1 <= rate <= 240:
        raise InputError(f"fps must be 1 to 240, got {fps}")
    return rate


def check_sampling(temperature: float, top_p: float, seeds: tuple[int, ...]) -> None:
    """Check sampling settings.

    Raises:
        InputError: temperature, top-p or a seed is out of range, or there is no seed.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(
            f"temperature must be positive, got {temperature}. Try 0.7 to 1, or argmax for the most likely codes."
        )
    if not 0 < top_p <= 1:
        raise InputError(f"top-p must be above 0 and at most 1, got {top_p}. Try 0.9.")
    if not seeds:
        raise InputError("n must be at least 1 take, got 0")
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InputError(f"seed must be a whole number from 0 to 2^63, got {seed}")


class MotionGenerator:
    """The half of a network behind the audio encoder: audio codes in, motion of N takes out."""

    def __init__(self, network: MeshTalk | Regressor, config: ModelConfig, precision: Precision) -> None:
        self.network, self.config = network, config
        self.precision: Precision = precision
        if precision not in get_args(Precision):
            raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
        if precision == "bfloat16" and self._device.type != "cpu":
            raise InputError(f"bfloat16 sampling needs device cpu, got {self._device}. Use float32.")

    @torch.no_grad()
    def begin(self, spec: SamplingSpec) -> GeneratorState:
        """State before the first frame."""
        network, takes = self.network, len(spec.seeds)
        face = network.geometry.template_input(torch.as_tensor(spec.template)[None].to(self._device))
        encoded, prior = [face], None
        if isinstance(network, MeshTalk):
            encoded = network.decoder.encode_template(face)
            if spec.expression is None:
                prior = self._sampler.start(takes)
        return GeneratorState(spec=spec, encoded=[e.expand(takes, -1) for e in encoded], prior=prior)

    @torch.no_grad()
    def generate(self, code: Tensor, prior_code: Tensor, state: State) -> tuple[Tensor, State]:
        """(1,T,A) audio codes of the next frames, for eq. 3 and for eq. 6 → ((T,N,n_motion) at the model's rate, new state)."""
        network, spec, takes = self.network, state.spec, len(state.spec.seeds)
        count, code = code.shape[1], code.expand(takes, -1, -1)
        if isinstance(network, Regressor):
            motion = network.motion(code, state.encoded[0])
        else:
            if spec.expression is not None:
                index = ping_pong(state.frame, count, len(spec.expression))
                labels, state = self._fuse(spec.expression[index].expand(takes, -1, -1), code, state)
            else:
                labels, state = self._sample(prior_code.expand(takes, -1, -1), state)
                if network.uses_sampled_expression:
                    motion, sampled_expression = self._decode(labels, state, state.sampled_expression)
                    assert isinstance(network.geometry, BasisGeometry)
                    motion = network.geometry.silence_mouth(motion)
                    labels, state = self._fuse(motion, code, replace(state, sampled_expression=sampled_expression))
            motion, decoder = self._decode(labels, state, state.decoder)
            state = replace(state, decoder=decoder)
        return motion.transpose(0, 1), replace(state, frame=state.frame + count)

    def postprocess(self, native: Tensor, state: State) -> tuple[Tensor, State]:
        """(T,N,n_motion) new frames at the model's rate → (the final ones, smoothed, at the output rate; new state)."""
        if state.spec.director is not None:
            native, directed = state.spec.director.process(native, state.director)
            state = replace(state, director=directed)
        smooth, smoother = Smoother(self.config.smoothing).process(native, state.smoother)
        motion, resampler = Resampler(self.config.fps, state.spec.fps).process(smooth, state.resampler)
        return motion, replace(state, smoother=smoother, resampler=resampler)

    def postprocess_last(self, native: Tensor, state: GeneratorState, total: int) -> Tensor:
        """The last frames at the model's rate → the remaining ones of `total` at the output rate."""
        if state.spec.director is not None:
            native = state.spec.director.finish(native, state.director)
        smooth = Smoother(self.config.smoothing).finish(native, state.smoother)
        return Resampler(self.config.fps, state.spec.fps).finish(smooth, state.resampler, total)

    def _fuse(self, motion: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        """Eq. 3: (N,T,n_motion) expression signal and (N,T,A) audio codes → (N,T,H) most likely codes."""
        network = self.network
        assert isinstance(network, MeshTalk)
        normalised = network.geometry.normalise(motion)
        if self._is_short(motion):
            labels, after = self._encoder.labels(normalised, code, state.expression)
        else:
            expression, after = network.expression(normalised, state.expression)
            labels = network.fusion(expression, code).argmax(-1)
        return labels, replace(state, expression=after)

    def _decode(self, labels: Tensor, state: GeneratorState, lstm: LstmState | None) -> tuple[Tensor, LstmState]:
        """Eq. 1: (N,T,H) codes → ((N,T,n_motion) mm, new state of the decoder)."""
        network = self.network
        assert isinstance(network, MeshTalk)
        if self._is_short(labels):
            output, after = self._decoder(state.encoded, labels, lstm)
        else:
            output, after = network.decoder(state.encoded, network.one_hot(labels), lstm)
        return network.geometry.denormalise(output), after

    def _is_short(self, frames: Tensor) -> bool:
        """Whether (N,T,·) is so small that compiled networks are faster."""
        return frames.shape[0] * frames.shape[1] <= SHORT and frames.device.type == "cpu"

    @cached_property
    def _encoder(self) -> CompiledEncoder:
        assert isinstance(self.network, MeshTalk)
        return CompiledEncoder(self.network.expression, self.network.fusion)

    @cached_property
    def _decoder(self) -> CompiledDecoder:
        assert isinstance(self.network, MeshTalk)
        return CompiledDecoder(self.network.decoder)

    def _sample(self, code: Tensor, state: State) -> tuple[Tensor, State]:
        """Eq. 6: (N,T,A) audio codes → (N,T,H) codes of the next frames."""
        spec, noise = state.spec, None
        if not spec.argmax:
            shape = (code.shape[1], self.config.heads, self.config.classes)
            noise = gumbel_noise(spec.seeds, state.frame, shape).to(code.device)
        labels, prior = self._sampler.sample(code, state.prior, noise, spec.temperature, spec.top_p)  # type: ignore[arg-type]
        return labels, replace(state, prior=prior)

    @cached_property
    def _sampler(self) -> Sampler | Prior:
        """The sampler: packed weights and fused kernels on a CPU, the network itself elsewhere."""
        assert isinstance(self.network, MeshTalk)
        prior = self.network.prior
        return Sampler(prior, self.precision) if self._device.type == "cpu" else prior

    @property
    def _device(self) -> torch.device:
        return self.network.audio.feature_mean.device


class StreamingGenerator(MotionGenerator):
    """A network with its front end: samples in, motion of N takes out. It is stateless."""

    def __init__(self, network: MeshTalk | Regressor, config: ModelConfig, precision: Precision) -> None:
        super().__init__(network, config, precision)
        self._frontend = MelFrontend(config.audio.frontend)

    def lookahead_s(self, fps: Fraction) -> float:
        """See `Animator.lookahead_at`."""
        window_s = self._frontend.spec.window / 2 / SAMPLE_RATE
        waiting = (1 if self.config.smoothing else 0) + (RESAMPLER_FRAMES if fps != self.config.fps else 0)
        return self.network.audio.lookahead / HOP_RATE + window_s + float(waiting / self.config.fps)

    def start(self, spec: SamplingSpec) -> AnimatorState:
        """State before the first sample."""
        audio = self.network.audio
        return AnimatorState(
            **vars(self.begin(spec)),
            n_samples=0,
            mel=self._frontend.start(),
            pending_mel=self._silence(audio.reach),
            n_mel=audio.reach,
            audio=self._audio_stream(spec).start(),
        )

    @torch.no_grad()
    def advance(self, samples: np.ndarray, state: AnimatorState) -> tuple[Tensor, AnimatorState]:
        """(n,) new samples, n ≥ 0 → ((t,N,n_motion) final frames, new state).

        Raises:
            InputError: samples that are not finite.
        """
        if not np.isfinite(samples).all():
            raise InputError("audio holds samples that are NaN or infinite. Repair it.")
        mel, mel_state = self._frontend.process(samples, state.mel)
        state = replace(state, mel=mel_state, n_samples=state.n_samples + len(samples))
        return self.postprocess(*self._frames(mel, state, last_frame=None))

    @torch.no_grad()
    def finish(self, state: AnimatorState) -> Tensor:
        """(t,N,n_motion) remaining frames, and those of the lead-out."""
        silence = np.zeros(state.spec.lead_out_samples, np.float32)
        before, state = self.advance(silence, state) if len(silence) else (None, state)
        mel = self._frontend.flush(state.mel, state.n_samples)
        mel = np.concatenate([mel, self._silence(self.network.audio.lookahead)])
        native, state = self._frames(mel, state, last_frame=n_frames(state.n_samples, SAMPLE_RATE, self.config.fps))
        total = n_frames(state.n_samples, SAMPLE_RATE, state.spec.fps)
        motion = self.postprocess_last(native, state, total)
        motion = motion if before is None else torch.cat([before, motion])
        return state.spec.fade_out(motion, total - len(motion), total)

    def run(self, samples: np.ndarray, spec: SamplingSpec) -> Iterator[Tensor]:
        """All (t,N,n_motion) frames of a whole recording (S,), piece by piece."""
        state = self.start(spec)
        for begin in range(0, len(samples), CHUNK_S * SAMPLE_RATE):
            motion, state = self.advance(samples[begin : begin + CHUNK_S * SAMPLE_RATE], state)
            yield motion
        yield self.finish(state)

    def _frames(self, mel: np.ndarray, state: AnimatorState, last_frame: int | None) -> tuple[Tensor, AnimatorState]:
        """Mel frames → (t,N,n_motion) at the model's own rate."""
        network, spec, fps = self.network, state.spec, self.config.fps
        encoder = network.audio
        mel, n_mel = np.concatenate([state.pending_mel, mel]), state.n_mel + len(mel)
        ready = int(max(Fraction(n_mel - encoder.reach - encoder.lookahead) * fps / HOP_RATE, 0).__ceil__())
        stop = ready if last_frame is None else min(ready, last_frame)
        count = max(stop - state.frame, 0)
        if count == 0:
            # a small piece costs the networks as much as a larger one: they run once a frame, not once a packet
            empty = torch.zeros(0, len(spec.seeds), network.geometry.n_motion, device=self._device)
            return empty, replace(state, pending_mel=mel, n_mel=n_mel)
        new = torch.as_tensor(mel)[None].to(self._device)
        hops, next_hop = frame_hops(fps, state.frame, count), int((state.frame + count) * HOP_RATE / fps)
        stream = self._audio_stream(spec)
        codes, audio = stream.read(hops, next_hop, stream.push(new, state.audio))
        state = replace(state, pending_mel=mel[:0], n_mel=n_mel, audio=audio)
        return self.generate(codes[0], codes[-1], state)

    def _audio_stream(self, spec: SamplingSpec) -> AudioStream:
        """Audio encoder of eq. 3, with the prior's own if it has one and is used."""
        return self._separate_encoders if spec.expression is None else self._shared_encoder

    @cached_property
    def _shared_encoder(self) -> AudioStream:
        return AudioStream(self.network.extract, [self.network.audio])

    @cached_property
    def _separate_encoders(self) -> AudioStream:
        network = self.network
        if not isinstance(network, MeshTalk) or network.prior_audio is None:
            return self._shared_encoder
        return AudioStream(network.extract, [network.audio, network.prior_audio])

    def _silence(self, frames: int) -> np.ndarray:
        return np.full((frames, self._frontend.n_mels), self._frontend.silence, np.float32)
