"""Categorical latents by straight-through Gumbel-softmax (eq. 2; Jang, Gu, Poole 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def gumbel_softmax(
    log_probs: Float[Tensor, "*batch classes"], tau: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "*batch classes"], Int[Tensor, "*batch"]]:
    """Sample one class per head; exact one-hot forward, the softmax's gradient backward.

    Args:
        log_probs: (...,C) log-probabilities.
        tau: temperature of the relaxation; the sampled class does not depend on it.
        generator: randomness; None uses torch's global one.

    Returns:
        ((...,C) one-hot with straight-through gradient, (...) long labels)
    """
    noise = torch.empty_like(log_probs).exponential_(generator=generator).log_()
    soft = ((log_probs - noise) / tau).softmax(-1)
    labels = soft.argmax(-1)
    hard = one_hot(labels, log_probs.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft, labels


def one_hot(labels: Int[Tensor, "*batch"], classes: int) -> Float[Tensor, "*batch {classes}"]:
    """(...) long labels → (...,C) float32 one-hot."""
    return F.one_hot(labels, classes).float()
