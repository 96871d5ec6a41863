"""Categorical latents by straight-through Gumbel-softmax (eq. 2; Jang, Gu, Poole 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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


def gumbel_noise(seeds: Sequence[int], first: int, shape: tuple[int, int, int]) -> Float[Tensor, "takes _ _ _"]:
    """Standard Gumbel noise for frames first.. of N takes, drawn on the CPU so that a seed means the same on every device.

    A counter-based generator (Philox; Salmon et al. 2011) makes a frame's noise a function of seed and frame number: it
    does not matter which frames were drawn before, or in what portions.

    Args:
        seeds: one for each take.
        first: number of the first frame.
        shape: (T,H,C).

    Returns:
        (N,T,H,C) float32
    """
    frames, size = shape[0], shape[1] * shape[2]
    blocks = -(-size // 4)  # the counter gives four numbers a step
    drawn = np.empty((len(seeds), frames, size), np.float32)
    for take, seed in enumerate(seeds):
        generator = np.random.Generator(np.random.Philox(key=seed).advance(first * blocks))
        uniform = generator.random((frames, blocks * 4))[:, :size]
        drawn[take] = -np.log(-np.log1p(-np.maximum(uniform, 1e-300)))
    return torch.from_numpy(drawn).unflatten(-1, shape[1:])


def one_hot(labels: Int[Tensor, "*batch"], classes: int) -> Float[Tensor, "*batch {classes}"]:
    """(...) long labels → (...,C) float32 one-hot."""
    return F.one_hot(labels, classes).float()
