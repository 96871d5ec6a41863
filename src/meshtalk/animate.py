"""Animator: audio in, mesh out. `animate` is one run of `step` over chunks and a `flush`; all state is the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meshtalk.assets import asset
from meshtalk.audio import MelFrontend, MelState, frame_hops, n_frames, read_audio, to_mono
from meshtalk.checkpoint import Checkpoint, load_checkpoint
from meshtalk.clip import Clip
from meshtalk.config import HOP_RATE, SAMPLE_RATE
from meshtalk.corpus.head import Person, load_head
from meshtalk.errors import InputError
from meshtalk.model.autoencoder import MeshTalk, gumbel_noise
from meshtalk.model.expression_encoder import LstmState
from meshtalk.model.geometry import MM, BasisGeometry, DenseGeometry
from meshtalk.model.prior import PriorState
from meshtalk.model.regressor import Regressor
from meshtalk.resample import Resampler, ResamplerState
from meshtalk.smooth import Smoother
from meshtalk.template import check_template, read_template

CHUNK_S = 10
"""Seconds of audio that `animate` feeds at a time, so that memory does not grow with the recording."""


@dataclass(frozen=True)
class Take:
    """What does not change during a performance."""

    template: np.ndarray
    """(V,3) metres."""
    encoded: list[Tensor]
    """The decoder's view of the template, computed once."""
    temperature: float
    argmax: bool
    fps: Fraction
    expression: Tensor | None
    """(N,n_motion) mm at the model's rate, played there and back; None lets the prior imagine the upper face."""


@dataclass(frozen=True)
class AnimatorState:
    """All that the next samples depend on. `step` returns a new one; only the generator is advanced in place."""

    take: Take
    generator: torch.Generator
    n_samples: int
    mel: MelState
    mel_tail: np.ndarray
    """Mel frames that the next features still need."""
    features: Tensor
    """(1,L,n_features) that the next frames still need."""
    first_hop: int
    """Hop that `features` begins at, counted with the encoder's reach: frame 0 needs features from hop 0 on."""
    frame: int
    """Frames made so far, at the model's rate."""
    prior: PriorState | None
    decoder: LstmState | None
    expression: LstmState | None
    imagined: LstmState | None
    smoother: Tensor | None
    resampler: ResamplerState


class Animator:
    """A loaded model. It holds no state of any performance: one animator serves many at once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.network, self.config, self.topology = checkpoint.network, checkpoint.config, checkpoint.topology
        self.geometry = self.network.geometry
        self._frontend = MelFrontend(self.config.audio.frontend)
        self._imagines = self.config.prior.imagines_expression and isinstance(self.geometry, BasisGeometry)

    @property
    def lookahead_s(self) -> float:
        """Seconds of sound after a frame's time that it waits for: encoder, analysis window and the smoother's frame."""
        window_s = self._frontend.spec.window / 2 / SAMPLE_RATE
        smoother_s = float(1 / self.config.fps) if self.config.smoothing else 0.0
        return self.network.audio.lookahead / HOP_RATE + window_s + smoother_s

    # --- the whole of a recording --------------------------------------------------------------------------

    def animate(
        self,
        audio: str | Path | np.ndarray,
        sample_rate: int | None = None,
        *,
        template: str | Path | np.ndarray | None = None,
        person: str | int | None = None,
        expression: str | Path | Clip | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        argmax: bool = False,
        fps: Fraction | float | int | str | None = None,
    ) -> Clip:
        """Animate a face with speech.

        Args:
            audio: a file, or (S,) or (S, channels) samples at `sample_rate` Hz.
            template: mesh file or (V,3) metres of the model's topology; or
            person: name ("p00"…) or seed of one of the packaged head's people.
            expression: a clip of the same topology whose upper face and emotion are mixed in (eqs. 1-3).
            seed: of the sampling: the same seed gives the same animation.
            temperature: of the sampling; below 1 is calmer.
            argmax: the most likely codes instead of a sample.
            fps: frame rate of the result (default the model's own).

        Returns:
            A Clip with the audio at 16 kHz; frame k is at k/fps seconds.

        Raises:
            InputError: audio, template, person or expression that cannot be used.
        """
        samples = self._samples(audio, sample_rate)
        state = self.start(
            template=template, person=person, expression=expression, seed=seed, temperature=temperature,
            argmax=argmax, fps=fps,
        )  # fmt: skip
        motion = torch.cat(list(self._run(samples, state)))
        assert len(motion) == n_frames(len(samples), SAMPLE_RATE, state.take.fps)
        clip = self.clip_of(motion, state.take.template, state.take.fps, samples)
        if person is None:
            return clip
        who = self._person(person)
        return replace(clip, subject=who.name, tint=who.tint)

    def _run(self, samples: np.ndarray, state: AnimatorState) -> Iterator[Tensor]:
        for begin in range(0, len(samples), CHUNK_S * SAMPLE_RATE):
            motion, state = self.advance(samples[begin : begin + CHUNK_S * SAMPLE_RATE], state)
            yield motion
        yield self.finish(state)

    def _samples(self, audio: str | Path | np.ndarray, sample_rate: int | None) -> np.ndarray:
        if isinstance(audio, (str, Path)):
            return read_audio(audio)[0]
        if sample_rate is None:
            raise InputError("samples came without their rate : pass sample_rate in Hz")
        return to_mono(audio, sample_rate)

    def clip_of(self, motion: Tensor, template: np.ndarray, fps: Fraction, samples: np.ndarray) -> Clip:
        """A Clip of (T,n_motion) motion with (S,) samples at 16 kHz; blendshape weights where the geometry has them."""
        common = {
            "topology": self.topology,
            "template": template,
            "fps": fps,
            "audio": samples,
            "sample_rate": SAMPLE_RATE,
        }
        if isinstance(self.geometry, DenseGeometry):
            displacement = self.geometry.to_displacement(motion, torch.from_numpy(template).to(motion.device))
            return Clip(displacement=displacement.cpu().numpy(), **common)
        if self.checkpoint.mix is not None:
            names = self.topology.shape_names
            return Clip(weights=self.shape_weights(motion), basis=self.topology.shapes, basis_names=names, **common)
        basis = self.geometry.basis.cpu().numpy().reshape(self.geometry.n_motion, -1, 3) / MM
        names = tuple(f"component_{i:02d}" for i in range(len(basis)))
        return Clip(weights=motion.cpu().numpy(), basis=basis, basis_names=names, **common)

    # --- piece by piece -------------------------------------------------------------------------------------

    def start(
        self,
        *,
        template: str | Path | np.ndarray | None = None,
        person: str | int | None = None,
        expression: str | Path | Clip | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        argmax: bool = False,
        fps: Fraction | float | int | str | None = None,
    ) -> AnimatorState:
        """State before the first sample; arguments as in `animate`."""
        if not (np.isfinite(temperature) and temperature > 0):
            raise InputError(
                f"temperature {temperature} came; a positive number is needed (argmax for the likeliest codes)"
            )
        if not 0 <= seed < 2**63:
            raise InputError(f"seed {seed} came; a whole number from 0 to 2^63 is needed")
        rate = _rate(fps) if fps is not None else self.config.fps
        face = self._template(template, person)
        network, encoder = self.network, self.network.audio
        face_input = self.geometry.template_input(torch.from_numpy(face)[None].to(self._device))
        if isinstance(network, MeshTalk):
            encoded = network.decoder.encode_template(face_input)
            prior: PriorState | None = network.prior.start(1)
        else:
            if expression is not None:
                raise InputError("a regressor has no expression input : use a MeshTalk model with --expression")
            encoded, prior = [face_input], None
        moves = self._expression(expression) if expression is not None else None
        return AnimatorState(
            take=Take(face, [e.detach() for e in encoded], temperature, argmax, rate, moves),
            generator=torch.Generator().manual_seed(seed),
            n_samples=0,
            mel=self._frontend.start(),
            mel_tail=np.full((encoder.reach, self._frontend.n_mels), self._frontend.silence, np.float32),
            features=torch.zeros(1, 0, encoder.n_features, device=self._device),
            first_hop=0,
            frame=0,
            prior=prior,
            decoder=None,
            expression=None,
            imagined=None,
            smoother=None,
            resampler=Resampler(self.config.fps, rate).start(),
        )

    def step(self, samples: np.ndarray, state: AnimatorState) -> tuple[np.ndarray, AnimatorState]:
        """Take (n,) new mono 16 kHz samples, n ≥ 0; give the frames that became certain.

        Returns:
            ((t,V,3) metres, new state)

        Raises:
            InputError: samples that are not finite.
        """
        motion, state = self.advance(samples, state)
        return self.vertices(motion, state), state

    def flush(self, state: AnimatorState) -> np.ndarray:
        """The frames that were waiting for look-ahead: (t,V,3) metres. In all there are ceil(seconds · fps)."""
        return self.vertices(self.finish(state), state)

    def vertices(self, motion: Tensor, state: AnimatorState) -> np.ndarray:
        """(t,n_motion) of `advance` or `finish` → (t,V,3) metres on the performance's face."""
        template = torch.from_numpy(state.take.template)
        return (self.geometry.to_displacement(motion, template.to(motion.device)).cpu() + template).numpy()

    def shape_weights(self, motion: Tensor) -> np.ndarray:
        """(t,n_motion) of `advance` or `finish` → (t,S) weights of the topology's blendshapes (ARKit's 52 on the packaged head).

        Raises:
            InputError: the model's motion is not made of blendshapes.
        """
        if self.checkpoint.mix is None:
            raise InputError(
                "this model moves vertices, not blendshapes : use one trained on a topology with blendshapes"
            )
        # a basis vector is a metre of motion, a coefficient millimetres
        return motion.cpu().numpy() @ self.checkpoint.mix / MM

    @torch.no_grad()
    def advance(self, samples: np.ndarray, state: AnimatorState) -> tuple[Tensor, AnimatorState]:
        """`step` before motion becomes vertices: ((t,n_motion), new state)."""
        if not np.isfinite(samples).all():
            raise InputError("audio holds samples that are NaN or infinite : repair it")
        mel, mel_state = self._frontend.process(samples, state.mel)
        state = replace(state, mel=mel_state, n_samples=state.n_samples + len(samples))
        native, state = self._advance(mel, state, last_frame=None)
        smooth, smoother = Smoother(self.config.smoothing).process(native, state.smoother)
        motion, resampler = Resampler(self.config.fps, state.take.fps).process(smooth, state.resampler)
        return motion, replace(state, smoother=smoother, resampler=resampler)

    @torch.no_grad()
    def finish(self, state: AnimatorState) -> Tensor:
        """`flush` before motion becomes vertices: (t,n_motion)."""
        mel = self._frontend.flush(state.mel, state.n_samples)
        silence = np.full((self.network.audio.lookahead, self._frontend.n_mels), self._frontend.silence, np.float32)
        native, state = self._advance(
            np.concatenate([mel, silence]), state, last_frame=n_frames(state.n_samples, SAMPLE_RATE, self.config.fps)
        )
        smooth = Smoother(self.config.smoothing).finish(native, state.smoother)
        total = n_frames(state.n_samples, SAMPLE_RATE, state.take.fps)
        return Resampler(self.config.fps, state.take.fps).finish(smooth, state.resampler, total)

    def _advance(self, mel: np.ndarray, state: AnimatorState, last_frame: int | None) -> tuple[Tensor, AnimatorState]:
        """Mel frames → motion at the model's own rate."""
        encoder = self.network.audio
        mel = np.concatenate([state.mel_tail, mel])
        hops_used = self.network.extract.hops
        features = state.features
        if len(mel) > hops_used:
            new = torch.from_numpy(mel)[None].to(self._device)
            features = torch.cat([features, self.network.extract(new)], 1)
            mel = mel[len(mel) - hops_used :]
        # frame k looks at features first..floor(hop_k)+reach+lookahead, all counted from hop 0
        end_hop = state.first_hop + features.shape[1] - encoder.stack_reach - encoder.stack_lookahead
        ready = int(max(Fraction(end_hop) * self.config.fps / HOP_RATE, 0).__ceil__())
        stop = ready if last_frame is None else min(ready, last_frame)
        count = max(stop - state.frame, 0)
        state = replace(state, mel_tail=mel.copy(), features=features)
        if count == 0:
            return torch.zeros(0, self.geometry.n_motion, device=self._device), state
        hops = frame_hops(self.config.fps, state.frame, count) - state.first_hop
        motion, state = self._frames(features, hops, state, count)
        frame = state.frame + count
        keep_hop = int(frame * HOP_RATE / self.config.fps)
        cut = keep_hop - state.first_hop
        return motion, replace(state, frame=frame, first_hop=keep_hop, features=features[:, cut:].clone())

    def _frames(self, features: Tensor, hops: Tensor, state: AnimatorState, count: int) -> tuple[Tensor, AnimatorState]:
        network, take = self.network, state.take
        if isinstance(network, Regressor):
            return network(features, hops, take.encoded[0])[0], state
        if take.expression is not None:
            index = _there_and_back(state.frame, count, len(take.expression))
            labels, state = self._fuse(take.expression[index][None], features, hops, state)
        else:
            audio = network.prior_audio_encoder.at(features, hops)[0]
            labels, prior = self._sample(audio, state)
            state = replace(state, prior=prior)
            if self._imagines:
                output, imagined = network.decoder(take.encoded, network.one_hot(labels[None]), state.imagined)
                motion = self.geometry.silence_mouth(self.geometry.denormalise(output))  # type: ignore[operator]
                labels, state = self._fuse(motion, features, hops, replace(state, imagined=imagined))
        output, decoder = network.decoder(take.encoded, network.one_hot(labels[None]), state.decoder)
        return self.geometry.denormalise(output)[0], replace(state, decoder=decoder)

    def _fuse(
        self, motion: Tensor, features: Tensor, hops: Tensor, state: AnimatorState
    ) -> tuple[Tensor, AnimatorState]:
        """Eq. 3: (1,T,n_motion) expression signal and audio → (T,H) likeliest codes."""
        assert isinstance(self.network, MeshTalk)
        code, expression = self.network.expression(self.geometry.normalise(motion), state.expression)
        labels = self.network.fusion(code, self.network.audio.at(features, hops))[0].argmax(-1)
        return labels, replace(state, expression=expression)

    def _sample(self, audio: Tensor, state: AnimatorState) -> tuple[Tensor, PriorState]:
        assert isinstance(self.network, MeshTalk)
        assert state.prior is not None
        take, prior = state.take, state.prior
        shape = (1, self.config.heads, self.config.classes)
        labels = []
        for frame in audio:
            noise = None if take.argmax else gumbel_noise(shape, state.generator).to(audio.device)
            label, prior = self.network.prior.step(frame[None], prior, noise, take.temperature)
            labels.append(label)
        return torch.cat(labels), prior

    # --- inputs -----------------------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self.network.audio.feature_mean.device

    def _template(self, template: str | Path | np.ndarray | None, person: str | int | None) -> np.ndarray:
        if template is not None and person is not None:
            raise InputError("a template and a person came : give one of them")
        if person is not None:
            return self._person(person).template
        if template is None:
            return self.checkpoint.template
        if isinstance(template, np.ndarray):
            return check_template(template, self.topology, "the template")
        return read_template(template, self.topology)

    def _person(self, person: str | int) -> Person:
        if load_head().topology.hash != self.topology.hash:
            raise InputError(
                "people belong to the packaged head, and this model has another topology : pass a template"
            )
        return load_head().person(person)

    def _expression(self, expression: str | Path | Clip) -> Tensor:
        """(N,n_motion) motion of an expression clip at the model's rate."""
        clip = expression if isinstance(expression, Clip) else Clip.load(expression)
        self.topology.require(clip.topology, "the expression clip")
        if clip.n_frames == 0:
            raise InputError("the expression clip has no frames : give at least one")
        template = torch.from_numpy(np.asarray(clip.template, np.float32)).to(self._device)
        parts = []
        for start in range(0, clip.n_frames, 256):
            chunk = torch.from_numpy(clip.displacements(start, start + 256)).to(self._device)
            parts.append(self.geometry.to_motion(chunk, template))
        resampler = Resampler(clip.fps, self.config.fps)
        total = max(1, int(clip.n_frames * self.config.fps / clip.fps))
        return resampler.finish(torch.cat(parts), resampler.start(), total)


def _there_and_back(start: int, count: int, length: int) -> np.ndarray:
    """(count,) indices of an animation of `length` frames played forwards and backwards without a seam."""
    period = max(2 * length - 2, 1)
    phase = np.arange(start, start + count) % period
    return np.where(phase < length, phase, period - phase)


def _rate(fps: Fraction | float | int | str) -> Fraction:
    try:
        # 29.97 and 23.976 mean the broadcast rates
        decimal = isinstance(fps, float) or (isinstance(fps, str) and "/" not in fps)
        rate = _broadcast(float(fps)) if decimal else Fraction(fps)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"{fps!r} is no frame rate : give a number such as 25, 30, 60 or 30000/1001") from None
    if not 1 <= rate <= 240:
        raise InputError(f"{fps} frames a second came; 1 to 240 are allowed")
    return rate


def _broadcast(fps: float) -> Fraction:
    thousand = Fraction(round(fps) * 1000, 1001)
    return thousand if abs(float(thousand) - fps) < 2e-3 else Fraction(fps).limit_denominator(1001)


def load_model(path: str | Path | None = None, *, device: str = "cpu") -> Animator:
    """Load a model folder, by default the one that ships with the package.

    Raises:
        InputError: there is no usable model at `path`.
    """
    checkpoint = load_checkpoint(path if path is not None else asset("model"))
    checkpoint.network.to(device)
    return Animator(checkpoint)
