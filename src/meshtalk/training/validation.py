"""Validation of the stages on held-out clips."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meshtalk.model.networks import MeshTalk, Regressor
from meshtalk.training.data import WindowData

VALIDATION_CLIPS = 24


def whole_clip(data: WindowData, index: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A clip on its own: (1,L,F) clean features, (T,) hops, (1,T,n) motion, (1,m) template."""
    features, hops = data.clip_window(index)
    template = data.templates(torch.tensor([index]))
    return features.to(device), hops, data.motion(index)[None].to(device), template.to(device)


@torch.no_grad()
def clip_labels(model: MeshTalk, data: WindowData, clips: Iterable[int]) -> list[Tensor]:
    """(T,H) codes of clips from their true motion and clean audio."""
    model.eval()
    device = model.decoder.vertex_bias.device
    labels = []
    for index in clips:
        features, hops, motion, _ = whole_clip(data, index, device)
        labels.append(model.labels(motion, model.audio.at(features, hops))[0].cpu())
    return labels


def lip_opening_r(model: MeshTalk | Regressor, output: Tensor, truth: Tensor) -> float:
    """Correlation of lip opening over the frames of a clip; 0 where the geometry has no inner lips."""
    if not model.geometry.has_opening:
        return 0.0
    pair = torch.stack([model.geometry.opening(output[0]), model.geometry.opening(truth[0])])
    return float(torch.nan_to_num(torch.corrcoef(pair)[0, 1]))


def validate_regression(model: Regressor, data: WindowData) -> dict[str, float]:
    """Held-out mouth error (root mean square, mm) and lip-opening correlation."""
    errors, correlations = [], []
    for index in range(min(VALIDATION_CLIPS, len(data.infos))):
        features, hops, truth, template = whole_clip(data, index, model.output.weight.device)
        output = model(features, hops, template)
        errors.append(float(model.geometry.region_error(output - truth, "mouth")))
        correlations.append(lip_opening_r(model, output, truth))
    return {"mouth_rms_mm": float(np.mean(errors)) ** 0.5, "lip_opening_r": float(np.mean(correlations))}


def validate_stage1(model: MeshTalk, data: WindowData) -> dict[str, float]:
    """Held-out reconstruction error, and leakage of swapped signals into the other region."""
    sums: dict[str, list[float]] = {}
    size = min(VALIDATION_CLIPS, len(data.infos))
    error = model.geometry.region_error
    items = []
    for index in range(size):
        features, hops, motion, template = whole_clip(data, index, model.decoder.vertex_bias.device)
        items.append((model.audio.at(features, hops), motion, template))
    for (audio, motion, template), (other_audio, other_motion, _) in zip(items, items[1:] + items[:1], strict=True):
        frames = min(motion.shape[1], other_motion.shape[1])
        output = model.decode(template, model.one_hot(model.labels(motion, audio)))
        swapped_audio = model.decode(template, model.one_hot(model.labels(motion[:, :frames], other_audio[:, :frames])))
        swapped_expression = model.decode(
            template, model.one_hot(model.labels(other_motion[:, :frames], audio[:, :frames]))
        )
        natural = motion[:, :frames] - other_motion[:, :frames]
        row = {
            "mouth_rms_mm": float(error(output - motion, "mouth")) ** 0.5,
            "upper_rms_mm": float(error(output - motion, "upper_face")) ** 0.5,
            "lip_opening_r": lip_opening_r(model, output, motion),
        }
        for name, swapped in (("audio", swapped_audio), ("expression", swapped_expression)):
            for region in ("mouth", "upper_face"):
                change = float(error(swapped - output[:, :frames], region)) / max(float(error(natural, region)), 1e-9)
                row[f"swap_{name}_{region}"] = change**0.5
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in sums.items()}


def validate_stage2(model: MeshTalk, data: WindowData) -> dict[str, float]:
    """Held-out likelihood of true codes, and lip opening of free-running samples against the truth."""
    labels = clip_labels(model, data, range(min(VALIDATION_CLIPS, len(data.infos))))
    nats, correlations, mouth, upper = [], [], [], []
    for index, label in enumerate(labels):
        features, hops, truth, template = whole_clip(data, index, model.decoder.vertex_bias.device)
        label = label.to(truth.device)
        audio = model.prior_audio_encoder.at(features, hops)
        log_probs = model.prior(model.one_hot(label[None]), audio)
        nats.append(F.nll_loss(log_probs.flatten(0, 2), label.flatten(), reduction="none").view(label.shape))
        sampled = model.sample(audio, seed=0)
        output = model.decode(template, model.one_hot(sampled))
        correlations.append(lip_opening_r(model, output, truth))
        mouth.append(float(model.geometry.region_error(output - truth, "mouth")))
        moves = [float(model.geometry.region_error(m.diff(dim=1), "upper_face")) for m in (output, truth)]
        upper.append(moves)
    per_head = torch.cat(nats).mean(0)
    return {
        "nats_per_frame": float(per_head.sum()),
        "perplexity": float(per_head.mean().exp()),
        "sampled_lip_opening_r": float(np.mean(correlations)),
        "sampled_mouth_rms_mm": float(np.mean(mouth)) ** 0.5,
        "sampled_upper_motion": float(np.sqrt(np.divide(*np.sum(upper, 0)))),
    }
