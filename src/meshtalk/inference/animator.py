"""Animator: audio in, mesh animation out. `animate` is `step` over chunks and a `flush`; the caller owns all state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from meshtalk.assets import asset
from meshtalk.audio.files import n_frames, read_audio, to_mono
from meshtalk.clip import CHUNK, Clip, Recipe
from meshtalk.config import SAMPLE_RATE
from meshtalk.errors import InputError
from meshtalk.files import Json, spooled
from meshtalk.inference.direction import Direction, Director, check_strength, region_scale, rest_motion
from meshtalk.inference.generator import (
    AnimatorState,
    Options,
    SamplingSpec,
    StreamingGenerator,
    check_sampling,
    frame_rate,
)
from meshtalk.inference.official import OfficialGenerator
from meshtalk.mesh.head import Person, load_head
from meshtalk.mesh.units import check_template, read_template
from meshtalk.model.checkpoint import Checkpoint, load_checkpoint
from meshtalk.model.fast_sampler import Precision
from meshtalk.model.geometry import MM, BasisGeometry, DenseGeometry, Pose
from meshtalk.model.networks import Regressor
from meshtalk.parallel import on_own_threads, threads_here
from meshtalk.resample import Resampler

MAX_TAKES = 64
SMALL_MODEL = 10_000_000
"""Weights, at most, of a model that gains nothing from a second thread."""
TURNED_DEG = 20.0
"""Of a template, at most: a mouth that opens along another head's axes is seen to be wrong."""


class Animator:
    """A loaded model. It is stateless: one animator serves many sessions at once, from many threads.

    Args:
        checkpoint: see `load_checkpoint`; its network's device is where everything runs.
        precision: of the prior's weights while sampling on a CPU.
        threads: of each call's linear algebra on a CPU. Sums over several threads round differently, so that the bytes of a
            result depend on it. Default: 1 for a model of up to SMALL_MODEL weights, such as the packaged one, which gains
            nothing from more and would wait for every busy core; as many as torch uses for larger ones. A process that was forked
            from one with torch loaded computes on one, whatever is asked for: torch's threads are not in it.

    Example:
        >>> import numpy as np
        >>> from meshtalk import load_model, read_audio
        >>> animator = load_model("model")  # load_model() is the packaged model
        >>> clip = animator.animate("speech.wav", seed=1)
        >>> samples, _ = read_audio("speech.wav")
        >>> state = animator.start(seed=1)
        >>> first, state = animator.step(samples[:8000], state)
        >>> second, state = animator.step(samples[8000:], state)
        >>> streamed = np.concatenate([first, second, animator.flush(state)])
        >>> bool(np.abs(streamed - clip.vertices).max() < 1e-6)
        True

    Raises:
        InputError: an unknown precision, or threads that are not positive.
    """

    def __init__(self, checkpoint: Checkpoint, precision: Precision = "float32", threads: int | None = None) -> None:
        self.checkpoint = checkpoint
        self.precision: Precision = precision
        self.network, self.config, self.topology = checkpoint.network, checkpoint.config, checkpoint.topology
        if threads is None:
            small = sum(weight.numel() for weight in self.network.parameters()) <= SMALL_MODEL
            threads = 1 if small else torch.get_num_threads()
        if threads < 1:
            raise InputError(f"threads must be positive, got {threads}. Try 1.")
        self.threads = threads
        self.geometry = self.network.geometry
        official = self.config.audio.frontend == "official"
        self._generator = (OfficialGenerator if official else StreamingGenerator)(self.network, self.config, precision)

    @property
    def lookahead_s(self) -> float:
        """Look-ahead: seconds of sound after a frame's time that it depends on (encoder, analysis window, smoother)."""
        return self.lookahead_at(self.config.fps)

    def lookahead_at(self, fps: Fraction) -> float:
        """`lookahead_s` at another frame rate than the model's, which adds two of its frames."""
        return self._streaming.lookahead_s(fps)

    @property
    def _streaming(self) -> StreamingGenerator:
        if isinstance(self._generator, StreamingGenerator):
            return self._generator
        raise InputError(
            "the official weights normalise a recording by its mean loudness, which is known only at its end"
            ". Animate whole recordings, or stream with a model that meshtalk trained."
        )

    # --- the whole of a recording --------------------------------------------------------------------------

    def animate(
        self,
        audio: str | Path | np.ndarray,
        sample_rate: int | None = None,
        *,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> Clip:
        """Animate a face with speech.

        Args:
            audio: a file, or (S,) or (S, channels) samples at `sample_rate` Hz.
            seed: of the sampling: the same seed gives the same animation.
            options: see `Options`.

        Returns:
            A Clip with the audio at 16 kHz; frame k is at k/fps seconds.

        Raises:
            InputError: audio or options that cannot be used.
        """
        return self.takes(audio, sample_rate, n=1, seed=seed, **options)[0]

    @on_own_threads
    def takes(
        self,
        audio: str | Path | np.ndarray,
        sample_rate: int | None = None,
        *,
        n: int,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> list[Clip]:
        """Sample several takes of one line in one batch, which costs far less than one after the other.

        Args:
            n: number of takes, up to MAX_TAKES; take i equals `animate` with seed + i.

        The other arguments, the clips and errors are those of `animate`.
        """
        if not 1 <= n <= MAX_TAKES:
            raise InputError(f"n must be 1 to {MAX_TAKES} takes, got {n}")
        spec = self._spec(
            range(seed, seed + n), **options
        )  # what is wrong with an option is said before anything is done
        samples = self.samples(audio, sample_rate)
        lasting = samples if spec.director is None else spec.director.direction.lengthened(samples)
        total = n_frames(len(lasting), SAMPLE_RATE, spec.fps)
        carried: list[np.ndarray] = []
        done = 0
        for motion in self._generator.run(samples, spec):
            for index in range(n):
                values = self._values(motion[:, index], spec.template)
                if len(carried) == index:
                    carried.append(spooled((total, *values.shape[1:]), values.dtype))
                carried[index][done : done + len(values)] = values
            done += len(motion)
        assert done == total
        recipe = self._recipe(spec, len(samples))
        clips = [
            replace(self._clip(values, spec.template, spec.fps, lasting), recipe=recipe(index))
            for index, values in enumerate(carried)
        ]
        person = options.get("person")
        if person is None:
            return clips
        who = self._person(person)
        return [replace(clip, subject=who.name, tint=who.tint) for clip in clips]

    def _recipe(self, spec: SamplingSpec, n_samples: int) -> Callable[[int], Recipe]:
        """The recipe of take `index`; takes that were sampled in one batch are reproduced in one, bit for bit."""
        directed = None if spec.director is None else vars(spec.director.direction)
        settings = {
            "meshtalk": version("meshtalk"), "model": self.checkpoint.hash, "precision": self.precision,
            "threads": threads_here(self.threads), "samples": n_samples, "seed": spec.seeds[0], "n": len(spec.seeds),
            "temperature": spec.temperature, "top_p": spec.top_p, "argmax": spec.argmax, "fps": str(spec.fps),
            "direction": None if directed is None else as_json(directed),
        }  # fmt: skip
        expression = None if spec.expression is None else spec.expression.cpu().numpy()
        return lambda index: Recipe(settings | {"index": index}, expression)

    @on_own_threads
    def perform(self, samples: np.ndarray, **options: Unpack[Options]) -> Tensor:
        """`animate` without making a clip: (S,) samples at 16 kHz → (T,n_motion) mm."""
        return torch.cat(list(self._generator.run(samples, self._spec([0], **options))))[:, 0]

    def samples(self, audio: str | Path | np.ndarray, sample_rate: int | None) -> np.ndarray:
        """(S,) mono 16 kHz samples of an `audio` argument of `animate`."""
        if isinstance(audio, (str, Path)):
            return read_audio(audio)[0]
        if sample_rate is None:
            raise InputError("samples need a sample rate. Pass sample_rate in Hz.")
        return to_mono(audio, sample_rate)

    @on_own_threads
    def clip_of(self, motion: Tensor, template: np.ndarray, fps: Fraction, samples: np.ndarray) -> Clip:
        """A Clip of (T,n_motion) motion with (S,) samples at 16 kHz; blendshape weights where the geometry has them."""
        return self._clip(self._values(motion, template), template, fps, samples)

    def _values(self, motion: Tensor, template: np.ndarray) -> np.ndarray:
        """What a clip stores of (t,n_motion): (t,V,3) displacements or (t,S) weights."""
        if isinstance(self.geometry, DenseGeometry):
            return self.geometry.to_displacement(motion, torch.as_tensor(template).to(motion.device)).cpu().numpy()
        return motion.cpu().numpy() if self.checkpoint.mix is None else self.shape_weights(motion)

    def _clip(self, values: np.ndarray, template: np.ndarray, fps: Fraction, samples: np.ndarray) -> Clip:
        clip = partial(Clip, topology=self.topology, template=template, fps=fps, audio=samples, sample_rate=SAMPLE_RATE)
        if isinstance(self.geometry, DenseGeometry):
            return clip(displacement=values)
        if self.checkpoint.mix is not None:
            return clip(weights=values, basis=self.topology.shapes, basis_names=self.topology.shape_names)
        basis = self.geometry.basis.cpu().numpy().reshape(self.geometry.n_motion, -1, 3) / MM
        names = tuple(f"component_{i:02d}" for i in range(len(basis)))
        return clip(weights=values, basis=basis, basis_names=names)

    # --- piece by piece -------------------------------------------------------------------------------------

    @on_own_threads
    def start(self, *, seed: int = 0, **options: Unpack[Options]) -> AnimatorState:
        """State of a new inference session; arguments as in `animate`."""
        return self._streaming.start(self._spec([seed], **options))

    def waits_s(self, state: AnimatorState) -> float:
        """`lookahead_at` of an inference session, with the delay of its direction."""
        director = state.spec.director
        delay = 0 if director is None else director.delay
        return self.lookahead_at(state.spec.fps) + float(delay / self.config.fps)

    def step(self, samples: np.ndarray, state: AnimatorState) -> tuple[np.ndarray, AnimatorState]:
        """Process (n,) new mono 16 kHz samples, n ≥ 0; return the frames that are final.

        Returns:
            ((t,V,3) metres, new state)

        Raises:
            InputError: samples that are not finite.
        """
        motion, state = self.advance(samples, state)
        return self.vertices(motion, state), state

    def flush(self, state: AnimatorState) -> np.ndarray:
        """The remaining frames, whose look-ahead is past the end: (t,V,3) metres; ceil(seconds · fps) in total."""
        return self.vertices(self.finish(state), state)

    @on_own_threads
    def advance(self, samples: np.ndarray, state: AnimatorState) -> tuple[Tensor, AnimatorState]:
        """`step` in motion coordinates: ((t,n_motion), new state)."""
        motion, state = self._streaming.advance(samples, state)
        return motion[:, 0], state

    @on_own_threads
    def finish(self, state: AnimatorState) -> Tensor:
        """`flush` in motion coordinates: (t,n_motion)."""
        return self._streaming.finish(state)[:, 0]

    @on_own_threads
    def vertices(self, motion: Tensor, state: AnimatorState) -> np.ndarray:
        """(t,n_motion) of `advance` or `finish` → (t,V,3) metres on the session's face."""
        template = torch.as_tensor(state.spec.template)
        return (self.geometry.to_displacement(motion, template.to(motion.device)).cpu() + template).numpy()

    @on_own_threads
    def shape_weights(self, motion: Tensor) -> np.ndarray:
        """(t,n_motion) of `advance` or `finish` → (t,S) weights of the topology's blendshapes (ARKit's 52 on the packaged head).

        Raises:
            InputError: the model's motion has no blendshape weights.
        """
        if self.checkpoint.mix is None:
            raise InputError(
                "this model predicts vertices, not blendshapes. Use one trained on a topology with blendshapes."
            )
        # a basis vector is a metre of motion, a coefficient millimetres
        mix = torch.as_tensor(self.checkpoint.mix)
        return (motion.cpu().to(mix.dtype) @ mix / MM).numpy()

    def _spec(
        self,
        seeds: Sequence[int],
        *,
        template: str | Path | np.ndarray | None = None,
        person: str | int | None = None,
        expression: str | Path | Clip | np.ndarray | None = None,
        strength: float | Mapping[str, float] = 1.0,
        temperature: float = 1.0,
        top_p: float = 1.0,
        argmax: bool = False,
        fps: Fraction | float | int | str | None = None,
        direction: Direction | None = None,
    ) -> SamplingSpec:
        seeds = tuple(seeds)
        check_sampling(temperature, top_p, seeds)
        rate = frame_rate(fps) if fps is not None else self.config.fps
        face = self._template(template, person)
        if expression is not None and isinstance(self.network, Regressor):
            raise InputError("a regressor has no expression input. Use a MeshTalk model with --expression.")
        factors = check_strength(strength)
        moves = self._expression(expression, factors) if expression is not None else None
        director = None
        if direction is not None and direction != Direction():
            director = Director(direction, self.geometry, self.topology, face, seeds, self.config.fps)
        return SamplingSpec(face, seeds, float(temperature), float(top_p), bool(argmax), rate, moves, director)

    # --- inputs -----------------------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self.network.audio.feature_mean.device

    def _template(self, template: str | Path | np.ndarray | None, person: str | int | None) -> np.ndarray:
        if template is not None and person is not None:
            raise InputError("template excludes person, got both. Give one of them.")
        if person is not None:
            return self._person(person).template
        if template is None:
            return self.checkpoint.template
        if isinstance(template, np.ndarray):
            return self._upright(check_template(template, self.topology, "the template"), "the template")
        return self._upright(read_template(template, self.topology, self.checkpoint.template), str(template))

    def _upright(self, template: np.ndarray, name: str) -> np.ndarray:
        """The template, if its orientation fits the model's motion. Dense geometry rotates its motion instead."""
        if isinstance(self.geometry, BasisGeometry):
            heads = torch.as_tensor(template), torch.as_tensor(self.checkpoint.template)
            turned_deg = Pose.between(*heads, torch.ones(len(template))).angle_deg
            if turned_deg > TURNED_DEG:
                raise InputError(
                    f"{name} is rotated by {turned_deg:.0f}° against the model's heads, whose motion has +Y up and +Z out"
                    f" of the face; up to {TURNED_DEG:.0f}° is allowed. Rotate it, or export it with those axes."
                )
        return template

    def _person(self, person: str | int) -> Person:
        if load_head().topology.hash != self.topology.hash:
            raise InputError(
                "people belong to the packaged head, and this model has another topology. Pass a template."
            )
        return load_head().person(person)

    def _expression(self, expression: str | Path | Clip | np.ndarray, factors: Mapping[str, float]) -> Tensor:
        """(N,n_motion) expression signal of a clip at the model's rate, scaled by region."""
        if isinstance(expression, np.ndarray):
            wanted = expression.ndim == 2 and expression.shape[1] == self.geometry.n_motion and len(expression) > 0
            if not (wanted and expression.dtype.kind == "f" and np.isfinite(expression).all()):
                raise InputError(
                    f"an expression signal must be (N, {self.geometry.n_motion}) finite floats, "
                    f"got {expression.shape} of {expression.dtype}"
                )
            return torch.as_tensor(expression.astype(np.float32)).to(self._device)
        clip = expression if isinstance(expression, Clip) else Clip.load(expression)
        self.topology.require(clip.topology, "the expression clip")
        if clip.n_frames == 0:
            raise InputError("the expression clip has no frames. Give at least one.")
        scale = region_scale(self.geometry, self.topology, factors)
        rest = rest_motion(self.geometry, clip.template)
        motion = scale(self.motion_of(clip) - rest) + rest
        resampler = Resampler(clip.fps, self.config.fps)
        total = max(1, int(clip.n_frames * self.config.fps / clip.fps))
        return resampler.finish(motion, resampler.start(), total)

    @on_own_threads
    def motion_of(self, clip: Clip) -> Tensor:
        """(T,n_motion) mm of a clip in the model's geometry, at its own rate.

        Raises:
            InputError: the motion is not finite.
        """
        template = torch.as_tensor(np.asarray(clip.template, np.float32)).to(self._device)
        starts = range(0, clip.n_frames, CHUNK)
        chunks = (torch.as_tensor(clip.displacements(start, start + CHUNK)).to(self._device) for start in starts)
        motion = torch.cat([self.geometry.to_motion(chunk, template) for chunk in chunks])
        if not motion.isfinite().all():
            raise InputError("the performance holds NaN or infinite values. Repair or drop those frames.")
        return motion


def as_json(value: Mapping[str, Any] | np.generic | Json) -> Json:
    """The value in JSON types: mappings become dicts, NumPy scalars plain numbers."""
    if isinstance(value, Mapping):
        return {name: as_json(each) for name, each in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def load_model(
    path: str | Path | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    threads: int | None = None,
) -> Animator:
    """Load a model folder, by default the one that ships with the package.

    Args:
        device: a torch device.
        precision: of the prior's weights while sampling on a CPU; `bfloat16` is faster where they outgrow the caches.
        threads: see `Animator`.

    Raises:
        InputError: there is no usable model at `path`, or precision or threads are invalid.
    """
    checkpoint = load_checkpoint(path if path is not None else asset("model"))
    checkpoint.network.to(device)
    return Animator(checkpoint, precision, threads)
