"""Step functions of the three training stages: audio regression, stage 1 (eqs. 1-5), stage 2 (eq. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meshtalk.config import LossConfig, TrainConfig
from meshtalk.model.networks import MeshTalk, Regressor, gumbel_softmax
from meshtalk.training import losses
from meshtalk.training.data import Batch, Draw, WindowData
from meshtalk.training.loop import Step
from meshtalk.training.rng import WholeDraws
from meshtalk.training.validation import clip_labels

if TYPE_CHECKING:
    from lightning_fabric.fabric import Fabric

EVENT_MM = 0.25
"""Lids that move so far in a frame (root mean square) are blinking; beside a blink they stay under a third of it."""


class Losses:
    """The terms of `losses` bound to a geometry, their weights and the motion of the whole batch (B,T,n), mm."""

    def __init__(self, model: MeshTalk | Regressor, config: LossConfig, whole: Tensor) -> None:
        self.geometry, self.config = model.geometry, config
        self.usual: losses.Usual | None = None
        if config.mouth and self.geometry.has_mouth:
            self.usual = losses.Usual.of(self.geometry.mouth(whole))

    def region(self, error: Tensor, region: str) -> Tensor:
        weight = self.config.upper_face if region == "upper_face" else 1.0
        return weight * self.geometry.region_error(error, region, self.config.norm)

    def details(
        self, output: Tensor, truth: Tensor, regions: tuple[str, ...] = ("mouth", "upper_face")
    ) -> dict[str, Tensor]:
        """Weighted auxiliary terms of outputs whose mouth should be the true one."""
        terms = {}
        if self.config.opening and self.geometry.has_opening:
            terms["opening"] = self.config.opening * losses.opening(output, truth, self.geometry.opening)
        if self.usual is not None:
            terms["mouth_shape"] = self.config.mouth * losses.mouth(output, truth, self.geometry.mouth, self.usual)
        if self.config.velocity:
            terms["velocity"] = self.config.velocity * losses.velocity(output, truth, self.region, regions)
        return terms


@dataclass
class Heard:
    """Slice of a batch, with the motion of the whole."""

    batch: Batch
    whole: Tensor
    """(size,T,n_motion) of the whole batch, mm."""


class Regression:
    """Audio → motion: the mouth follows; the upper face, which audio does not determine, ends at its mean."""

    def __init__(self, model: Regressor, data: WindowData, train: TrainConfig) -> None:
        self.model, self.data, self.train = model, data, train

    def read(self, step: Step) -> Heard:
        """The slice's rows of a batch."""
        size, frames = self.train.regression.batch, self.train.regression.frames
        draw = self.data.draw(step.rng, size, frames)
        batch = self.data.take(draw, step.part.rows(size))
        return Heard(batch, whole_motion(self.data, draw, batch))

    def __call__(self, step: Step, read: Heard) -> dict[str, Tensor]:
        model, size = self.model, self.train.regression.batch
        batch, whole = to_device(read.batch, model.output.weight), read.whole.to(model.output.weight.device)
        with WholeDraws(step.part.rows(size), size):
            output = model(batch.features, batch.hops, batch.template)
        with full_precision(output):
            bound = Losses(model, self.train.loss, whole)
            terms = {"reconstruction": losses.reconstruction(output, batch.motion, bound.region)}
            terms |= bound.details(output, batch.motion)
            return {"loss": total(terms), **terms}


@dataclass
class Swapped:
    """Slice of a batch, and the windows that its rows are swapped with."""

    read: np.ndarray
    """(R,) rows of the whole batch that were read, in order: `rows` and `partners`."""
    rows: np.ndarray
    """(B,) rows of this slice: a contiguous range."""
    partners: np.ndarray
    """(B,) row with which each of them is swapped."""
    batch: Batch
    """Of R windows."""
    whole: Tensor
    """(size,T,n_motion) of the whole batch, mm."""


class Stage1:
    """Autoencoder with cross-modality (eqs. 1-5): a batch decoded with true and swapped signals, and as at inference.

    Where inference gives the encoder expressions whose mouth is silenced (`PriorConfig.use_sampled_expression`), a fourth decoding
    is trained to have the true mouth and the foreign upper face of such an expression: no other term does.
    """

    def __init__(self, model: MeshTalk, data: WindowData, train: TrainConfig) -> None:
        self.model, self.data, self.train = model, data, train

    def read(self, step: Step) -> Swapped:
        """The slice's rows of a batch, with the windows that they are swapped with."""
        size = self.train.stage1.batch
        draw = self.data.draw(step.rng, size, self.train.stage1.frames)
        partners = losses.swap_partners(torch.from_numpy(draw.clips), int(step.rng.integers(size))).numpy()
        rows = step.part.rows(size)
        read = np.union1d(rows, partners[rows])
        batch = self.data.take(draw, read)
        return Swapped(read, rows, partners[rows], batch, whole_motion(self.data, draw, batch))

    def __call__(self, step: Step, read: Swapped) -> dict[str, Tensor]:
        model, train, size = self.model, self.train, self.train.stage1.batch
        batch = to_device(read.batch, model.decoder.vertex_bias)
        first = int(read.read.searchsorted(read.rows[0]))
        mine = slice(first, first + len(read.rows))
        other = torch.from_numpy(read.read.searchsorted(read.partners)).to(batch.motion.device)
        with WholeDraws(read.read, size):
            audio = model.audio.at(batch.features, batch.hops)
        truth, foreign, own = batch.motion[mine], batch.motion[other], audio[mine]
        signals, sounds = [batch.motion], [own, own, audio[other]]
        if model.uses_sampled_expression:
            with full_precision(truth):
                signals.append(model.geometry.silence_mouth(foreign))  # type: ignore[operator]
            sounds.append(own)
        encoded = model.expression(model.geometry.normalise(torch.cat(signals)))[0]
        expressions, imagined = encoded[: len(read.read)], encoded[len(read.read) :]
        expression = expressions[mine]
        mixed = torch.cat([expression, expressions[other], expression, imagined])
        tau = train.tau_start * (train.tau_end / train.tau_start) ** step.progress
        with WholeDraws(read.rows, size, blocks=len(sounds)):
            codes, _ = gumbel_softmax(model.fusion(mixed, torch.cat(sounds)), tau)
        decoded = model.decode(batch.template[mine].repeat(len(sounds), 1), codes)
        with full_precision(truth):
            bound = Losses(model, train.loss, read.whole.to(truth.device))
            terms = stage1_terms(bound, decoded.split(len(read.rows)), truth, foreign)
            return {"loss": total(terms), **terms}


def stage1_terms(bound: Losses, decoded: Sequence[Tensor], truth: Tensor, foreign: Tensor) -> dict[str, Tensor]:
    """Weighted terms of stage 1.

    Args:
        decoded: (B,T,n_motion) with both true signals, with true audio and another expression, with true expression and
            another audio and, for sampled expressions, with true audio and the other's expression with a silenced mouth; mm.
        truth: (B,T,n_motion) target motion.
        foreign: (B,T,n_motion) motion of the swapped window.

    Returns:
        name → scalar, mm²
    """
    output, from_audio, from_expression, *from_imagined = decoded
    weights = bound.config
    terms = {
        "cross_modality": weights.cross_modality
        * losses.cross_modality(from_expression, from_audio, truth, bound.region),
        "eyelid": weights.eyelid * losses.eyelid(from_expression, truth, bound.region),
    }
    if weights.reconstruction:
        terms["reconstruction"] = weights.reconstruction * losses.reconstruction(output, truth, bound.region)
    for name, weight, region in (
        ("whole_face", weights.whole_face, "face"), ("eyelid_points", weights.eyelid_points, "eyelids")
    ):  # fmt: skip
        if weight:
            terms[name] = weight * bound.region(output - truth, region)
    terms |= bound.details(output, truth)
    for made in from_imagined:
        terms["imagined"] = weights.cross_modality * (
            bound.region(made - truth, "mouth") + bound.region(made - foreign, "upper_face")
        )
        terms["imagined_eyelid"] = weights.eyelid * losses.eyelid(made, foreign, bound.region)
        terms |= {f"imagined_{name}": term for name, term in bound.details(made, truth, ("mouth",)).items()}
    return terms


@dataclass
class Labelled:
    """Slice of a batch with its codes."""

    batch: Batch
    labels: Tensor
    """(B,T,H)"""
    whole: Tensor
    """(size,T,n_motion) of the whole batch, mm."""


class Stage2:
    """The prior: teacher-forced likelihood of the frozen encoder's codes, and the mouth of decoded samples."""

    def __init__(self, model: MeshTalk, data: WindowData, train: TrainConfig, fabric: Fabric | None = None) -> None:
        self.model, self.data, self.train = model, data, train
        self.labels = all_labels(model, data, fabric)

    def read(self, step: Step) -> Labelled:
        """The slice's rows of a batch."""
        size, frames = self.train.stage2.batch, self.train.stage2.frames
        draw, rows = self.data.draw(step.rng, size, frames), step.part.rows(size)
        batch = self.data.take(draw, rows)
        windows = zip(batch.clip_ids.tolist(), batch.starts.tolist(), strict=True)
        labels = torch.stack([self.labels[clip][start : start + frames] for clip, start in windows]).long()
        return Labelled(batch, labels, whole_motion(self.data, draw, batch))

    def __call__(self, step: Step, read: Labelled) -> dict[str, Tensor]:
        model, train = self.model, self.train
        model.eval()  # the encoders and the decoder stay as stage 1 left them; only the prior's side has dropout
        model.prior_audio_encoder.train(model.prior_audio is not None)
        rows, size = step.part.rows(train.stage2.batch), train.stage2.batch
        batch = to_device(read.batch, model.decoder.vertex_bias)
        codes = model.one_hot(read.labels.to(batch.motion.device))
        with WholeDraws(rows, size):
            audio = model.prior_audio_encoder.at(batch.features, batch.hops)
            context = self._corrupt(codes, audio, step.rng, rows) if train.context_corruption else codes
            log_probs = model.prior(context, audio)
            sampled = gumbel_softmax(log_probs)[0] if train.mouth_weight else None
        output = None if sampled is None else model.decode(batch.template, sampled)
        with full_precision(batch.motion):
            likelihood = (codes * log_probs.float()).sum((-2, -1))
            whole = read.whole.to(batch.motion.device)
            usual_weight = self._event_weight(whole).mean()
            terms = {"nll": -(self._event_weight(batch.motion) * likelihood).mean() / usual_weight}
            if output is not None:
                bound = Losses(model, train.loss, whole)
                mouth = bound.region(output - batch.motion, "mouth")
                details = bound.details(output, batch.motion, ("mouth",)).values()
                terms["mouth"] = train.mouth_weight * (mouth + sum(details))
            return {"loss": total(terms), **terms}

    def _event_weight(self, motion: Tensor) -> Tensor:
        """(B,T) weight of each frame's likelihood: more while lids move."""
        if not self.train.event_weight:
            return motion.new_ones(motion.shape[:2])
        energy = self.model.geometry.region_energy(motion.diff(dim=1), "eyelids")
        moving = F.pad((energy.clamp(min=0).sqrt() / EVENT_MM).clamp(max=1), (1, 0))
        return 1 + self.train.event_weight * moving

    def _corrupt(self, codes: Tensor, audio: Tensor, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Replace some codes of the context by the prior's own samples: the errors of free-running inference."""
        with torch.no_grad():
            own, _ = gumbel_softmax(self.model.prior(codes, audio))
        size = self.train.stage2.batch
        share = torch.from_numpy(rng.random((size, 1, 1))[rows] * 2 * self.train.context_corruption).to(codes)
        replaced = torch.from_numpy(rng.random((size, *codes.shape[1:3]))[rows]).to(codes) < share
        return torch.where(replaced[..., None], own, codes)


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Single precision where training is mixed: errors in mm need it."""
    return torch.autocast(like.device.type, enabled=False)


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the weighted terms."""
    return torch.stack(list(terms.values())).sum()


def whole_motion(data: WindowData, draw: Draw, batch: Batch) -> Tensor:
    """(size,T,n_motion) of all windows drawn, of which the batch may hold a slice; mm."""
    size = len(draw.clips)
    return batch.motion if len(batch.motion) == size else data.draw_motion(draw, np.arange(size))


def to_device(batch: Batch, like: Tensor) -> Batch:
    """The batch on the device of a parameter."""
    device = like.device
    return Batch(
        features=batch.features.to(device),
        hops=batch.hops,
        motion=batch.motion.to(device),
        template=batch.template.to(device),
        clip_ids=batch.clip_ids.to(device),
        starts=batch.starts,
    )


def all_labels(model: MeshTalk, data: WindowData, fabric: Fabric | None) -> list[Tensor]:
    """`clip_labels` of all clips, distributed over processes, in the smallest sufficient dtype."""
    rank, count = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    kind = torch.uint8 if model.config.classes <= 256 else torch.int32
    parts: list[Any] = [[found.to(kind) for found in clip_labels(model, data, range(rank, len(data.infos), count))]]
    if count > 1:
        parts = parts * count
        torch.distributed.all_gather_object(parts, parts[rank])
    return [parts[index % count][index // count] for index in range(len(data.infos))]
