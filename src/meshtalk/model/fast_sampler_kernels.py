"""The sampler's inner loops, compiled by numba. Shapes: L layers, N takes, D frames of past, R = heads · channels rows.

Weights are float32, or bfloat16 as uint16 bits. Memory does not grow with the number of frames, and kernels are stateless.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from meshtalk.jit import compiled

FAST = {"reassoc", "contract", "nsz"}
"""Sums may be vectorised; the order is the compiled code's, the same for every call."""
TILE = 4
"""Rows of weights that are multiplied together."""


@intrinsic
def _bits_to_float(_typing, bits):
    """uint32 → the float32 with these bits."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return types.float32(types.uint32), generate


def _value(weight):
    """A stored weight as float32; compiled by `_value_for`."""
    raise TypeError(f"{type(weight)} is compiled code's only")


@overload(_value, inline="always")
def _value_for(weight):
    if weight == types.uint16:
        return lambda weight: _bits_to_float(np.uint32(weight) << np.uint32(16))  # pyright: ignore
    return lambda weight: weight


@compiled(fastmath=FAST)
def tile(weights, at, rows, x, n):
    """Σ_k w[r,k]·x[k] for TILE rows of n weights that lie one after the other from `at` on: x is read once for them all.

    Where fewer than TILE are left, the last is repeated, so that every row is summed up in the same order.
    """
    # views, because an index that is a sum could be negative for all the compiler knows, and would not be vectorised
    w0 = weights[at : at + n]
    w1 = weights[at + min(1, rows - 1) * n :][:n]
    w2 = weights[at + min(2, rows - 1) * n :][:n]
    w3 = weights[at + min(3, rows - 1) * n :][:n]
    s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for k in range(n):
        s0 += _value(w0[k]) * x[k]
        s1 += _value(w1[k]) * x[k]
        s2 += _value(w2[k]) * x[k]
        s3 += _value(w3[k]) * x[k]
    return s0, s1, s2, s3


@compiled(fastmath=FAST)
def recall(near, far, dilations, past, ahead, frame, history, first, stop):
    """history[l,n,r] for rows first..stop: contribution of past frames to every layer of a frame.

    Args:
        near, far: (L·R·R,) weights of the taps t−1 and t−1−d.
        past: (L,D,N,R) ring of inputs.
        ahead: (L,D,N,R) far taps of the present block; remade where a block of d+1 frames begins.
        first: a multiple of TILE.
    """
    layers, depth, takes, width = past.shape
    for layer in range(layers):
        block = dilations[layer] + 1
        place = frame % block
        begins = place == 0
        last = (frame - 1) % depth
        for row in range(first, stop, TILE):
            rows = min(TILE, stop - row)
            at = (layer * width + row) * width
            if begins:
                for step in range(block):
                    slot = (frame + step - block) % depth
                    for take in range(takes):
                        sums = tile(far, at, rows, past[layer, slot, take], width)
                        for i in range(rows):
                            ahead[layer, step, take, row + i] = sums[i]
            for take in range(takes):
                sums = tile(near, at, rows, past[layer, last, take], width)
                for i in range(rows):
                    history[layer, take, row + i] = ahead[layer, place, take, row + i] + sums[i]


@compiled(fastmath=FAST)
def reach(within, at, begin, end, base, history, top, past, slot, first, stop):
    """Add the contribution of a frame's earlier groups of heads to units begin..end of the next group to `history` and `base`.

    It is known before the group's first label is sampled, so that threads can share the work: `first`..`stop` counts the rows of
    the group's layers, one after the other, and its logits.

    Args:
        within, at, base, history, top, past, slot: as of `choose`; here are (rows, begin) weights.
    """
    layers, takes, width = history.shape
    logits_base = width + layers * width
    scores = base.shape[1] - logits_base
    for layer in range(layers + 1):
        is_logits = layer == layers
        rows_before = layer * (end - begin)
        rows_until = rows_before + (scores * (end - begin) // width if is_logits else end - begin)
        last = min(stop, rows_until)
        for row in range(max(first, rows_before), last, TILE):
            rows = min(TILE, last - row)
            for take in range(takes):
                x = top[take] if is_logits else past[layer, slot, take]
                sums = tile(within, at + row * begin, rows, x, begin)
                for i in range(rows):
                    if is_logits:
                        base[take, logits_base + scores * begin // width + row - rows_before + i] += sums[i]
                    else:
                        history[layer, take, begin + row - rows_before + i] += sums[i]


@compiled(fastmath=FAST)
def choose(
    within, at, first, stop, embedding, own, strict, base, history, noise, temperature, top_p, top, memory, past, slot, labels
):  # fmt: skip
    """Sample labels (N,H) of heads first..stop of one frame, one by one, and store the frame's inputs as past.

    Args:
        within: masked weights of layers and logits, in the order in which they are used, the visible ones alone.
        at: where in `within` those of these heads begin: what they see of each other; the rest is in `history` and `base`.
        embedding: (H·C,R), a row for each label.
        own: (H,C,channels) embedding of a head's own label for later frames, or empty.
        base: (N,R+L·R+H·C) audio and biases of embedding, layers and logits; used up.
        history: (L,N,R) of `recall`.
        noise: (N,H,C) Gumbel noise; empty for the most likely class.
        top: (N,R) output of the last layer.
        memory: (N,R) replaces past[0] for later frames, where `own` is given.
        past, slot: (L,D,N,R) and where in this ring the frame lies.
    """
    layers, takes, width = history.shape
    heads = labels.shape[1]
    channels, classes = width // heads, len(embedding) // heads
    logits_base = width + layers * width
    scores = np.empty((takes, classes), np.float32)
    group = first * channels
    for head in range(first, stop):
        begin, end = head * channels, (head + 1) * channels
        seen = (begin if strict else end) - group
        past[0, slot, :, begin:end] = base[:, begin:end]
        for layer in range(layers):
            bias = width + layer * width
            for row in range(begin, end, TILE):
                rows = min(TILE, end - row)
                for take in range(takes):
                    sums = tile(within, at, rows, past[layer, slot, take, group:], seen)
                    for i in range(rows):
                        value = sums[i] + base[take, bias + row + i] + history[layer, take, row + i]
                        value = value if value > 0 else np.float32(0.2) * value
                        if layer + 1 < layers:
                            past[layer + 1, slot, take, row + i] = value
                        else:
                            top[take, row + i] = value
                at += rows * seen
        for label in range(0, classes, TILE):
            rows = min(TILE, classes - label)
            for take in range(takes):
                sums = tile(within, at, rows, top[take, group:], seen)
                for i in range(rows):
                    scores[take, label + i] = sums[i] + base[take, logits_base + head * classes + label + i]
            at += rows * seen
        for take in range(takes):
            label = _draw(scores[take], noise, take, head, temperature, top_p)
            labels[take, head] = label
            for row in range(end, width):
                base[take, row] += embedding[head * classes + label, row]
            if len(own) > 0:
                for row in range(channels):
                    memory[take, begin + row] = past[0, slot, take, begin + row] + own[head, label, row]
    if len(own) > 0 and stop == heads:
        past[0, slot] = memory


@compiled()
def _draw(scores, noise, take, head, temperature, top_p):
    """The label of one head; `scores` (C,) are used up."""
    if len(noise) == 0:
        return np.argmax(scores)
    scores /= np.float32(temperature)
    if top_p < 1:
        nucleus(scores, top_p)
    return np.argmax(scores + noise[take, head])


@compiled()
def nucleus(scores, top_p):
    """Set scores (C,) outside the smallest set of classes that holds `top_p` of the probability to −inf."""
    order = np.argsort(-scores)
    weights = np.exp(scores - scores[order[0]])
    wanted = top_p * weights.sum()
    held = 0.0
    for index in order:
        if held >= wanted:
            scores[index] = -np.inf
        held += weights[index]
