"""Compiled kernels of the blendshape solver: least squares in the box [0,1], frame by frame."""

from __future__ import annotations

import numpy as np

from meshtalk.jit import compiled

_compiled = compiled(error_model="numpy")
STILL = 1e-8
"""A frame is solved when no weight moves by more."""
MOST_ROUNDS = 200
HALVINGS = 20


@_compiled
def _factorise(gram, free, factor):
    """Lower triangle of the Cholesky factor of the rows and columns `free` of a positive definite matrix."""
    n = len(free)
    for i in range(n):
        for j in range(i + 1):
            factor[j, i] = gram[free[i], free[j]]  # the upper triangle, so that what follows runs along rows
    for k in range(n):
        root = np.sqrt(factor[k, k])
        for i in range(k, n):
            factor[k, i] /= root
        for j in range(k + 1, n):
            part = factor[k, j]
            for i in range(j, n):
                factor[j, i] -= part * factor[k, i]


@_compiled
def _solve(factor, n, x):
    """x ← (RᵀR)⁻¹ x for the upper triangle R that `_factorise` leaves."""
    for k in range(n):
        x[k] /= factor[k, k]
        for i in range(k + 1, n):
            x[i] -= factor[k, i] * x[k]
    for k in range(n - 1, -1, -1):
        total = x[k]
        for i in range(k + 1, n):
            total -= factor[k, i] * x[i]
        x[k] = total / factor[k, k]


@_compiled
def solve_frame(gram, right, weights, slope, kept, factor, trial):
    """Minimise ½ wᵀ·gram·w − right·w over 0 ≤ w ≤ 1, from `weights`, in place.

    A round is a sweep of coordinate descent, which always goes down and finds the bounds, and a Newton step among the
    weights between them, which settles near-collinear shapes at once; then weights that a sweep leaves where they are
    are the optimum.

    Args:
        gram: (S,S) positive definite; right: (S,); weights: (S,) in [0,1], written.
        slope, trial: (S,) work space.
        kept: (S+1,) how many and which weights `factor` (S,S) is of, from a frame before with the same gram; -1 for none.

    Returns:
        The largest change of a weight by this call.
    """
    size = len(right)
    before = weights.copy()
    for i in range(size):
        total = -right[i]
        for j in range(size):
            total += gram[i, j] * weights[j]
        slope[i] = total
    for _ in range(MOST_ROUNDS):
        largest = 0.0
        for i in range(size):
            new = min(max(weights[i] - slope[i] / gram[i, i], 0.0), 1.0)
            change = new - weights[i]
            if change != 0.0:
                weights[i] = new
                largest = max(largest, abs(change))
                for j in range(size):
                    slope[j] += change * gram[i, j]
        if largest < STILL:
            break
        n, same = 0, True
        for i in range(size):
            if 0.0 < weights[i] < 1.0:
                same = same and n < kept[0] and kept[n + 1] == i
                kept[n + 1] = i
                n += 1
        if n == 0:
            continue
        if not (same and n == kept[0]):
            _factorise(gram, kept[1 : n + 1], factor)
            kept[0] = n
        for k in range(n):
            trial[k] = -slope[kept[k + 1]]
        _solve(factor, n, trial)
        _step(gram, weights, slope, kept[1 : n + 1], trial)
    largest = 0.0
    for i in range(size):
        largest = max(largest, abs(weights[i] - before[i]))
    return largest


@_compiled
def _step(gram, weights, slope, free, direction):
    """Go along `direction`, folded into the box, as far as halving finds less; weights and slope are written."""
    size, n = len(weights), len(free)
    change, turned = np.empty(n), np.empty(size)
    share = 1.0
    for _ in range(HALVINGS):
        turned[:] = 0.0
        for k in range(n):
            old = weights[free[k]]
            change[k] = min(max(old + share * direction[k], 0.0), 1.0) - old
            for j in range(size):
                turned[j] += change[k] * gram[free[k], j]
        gain = 0.0
        for k in range(n):
            gain += change[k] * (slope[free[k]] + 0.5 * turned[free[k]])
        if gain < 0.0:
            for k in range(n):
                weights[free[k]] += change[k]
            for j in range(size):
                slope[j] += turned[j]
            return
        share *= 0.5


@_compiled
def solve_track(grams, right, tie, weights, sweeps, tolerance):
    """Frames tied to their neighbours, all at once: minimise Σ_t (½ wᵀGw − right·w) + ½ Σ_t Σ_i tie_i (w_t,i − w_t−1,i)².

    Each sweep solves every frame beside its neighbours as they are, forwards and backwards in turn.

    Args:
        grams: (3,S,S): G with 0, 1 and 2 times `tie` added to its diagonal; right: (T,S); tie: (S,).
        weights: (T,S) where to start, written.

    Returns:
        How many sweeps it took until none moved a weight by more than `tolerance`.
    """
    length, size = right.shape
    slope, trial, wanted = np.empty(size), np.empty(size), np.empty(size)
    factors, kept = np.empty((3, size, size)), np.full((3, size + 1), -1)
    for sweep in range(sweeps):
        largest = 0.0
        for step in range(length):
            t = step if sweep % 2 == 0 else length - 1 - step
            wanted[:] = right[t]
            neighbours = 0
            for other in (t - 1, t + 1):
                if 0 <= other < length:
                    neighbours += 1
                    wanted += tie * weights[other]
            moved = solve_frame(
                grams[neighbours], wanted, weights[t], slope, kept[neighbours], factors[neighbours], trial
            )
            largest = max(largest, moved)
        if largest < tolerance:
            return sweep + 1
    return sweeps
