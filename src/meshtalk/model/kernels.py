"""The sampler's inner loops, compiled by numba. Shapes: L layers, N takes, D frames of past, R = heads · channels rows.

Weights are float32, or bfloat16 as uint16 bits. No kernel allocates with the number of frames or keeps anything.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from meshtalk.compiled import compiled

FAST = {"reassoc", "contract", "nsz"}
"""Sums may be vectorised; the order is the compiled code's, the same for every call."""


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
def dot(weights, row, x, n):
    """Σ_k weights[row,k]·x[k] over the first n."""
    total = np.float32(0)
    for k in range(n):
        total += _value(weights[row, k]) * x[k]
    return total


@compiled(fastmath=FAST)
def recall(near, far, dilations, past, ahead, frame, history, first, stop):
    """history[l,n,r] for rows first..stop: what the past gives to every layer of a frame.

    Args:
        near, far: (L,R,R) weights of the taps t−1 and t−1−d.
        past: (L,D,N,R) ring of inputs.
        ahead: (L,D,N,R) far taps of the present block; remade where a block of d+1 frames begins.
    """
    layers, depth, takes, width = past.shape
    for layer in range(layers):
        block = dilations[layer] + 1
        place = frame % block
        begins = place == 0
        last = (frame - 1) % depth
        for row in range(first, stop):
            if begins:
                for step in range(block):
                    slot = (frame + step - block) % depth
                    for take in range(takes):
                        ahead[layer, step, take, row] = dot(far[layer], row, past[layer, slot, take], width)
            for take in range(takes):
                history[layer, take, row] = ahead[layer, place, take, row] + dot(
                    near[layer], row, past[layer, last, take], width
                )


@compiled(fastmath=FAST)
def choose(within, logits, embedding, own, strict, base, history, noise, temperature, top_p, past, slot, labels):
    """One frame, head by head: labels (N,H) are drawn, and the frame's inputs become past.

    Args:
        within: (L,R,R) masked weights, logits: (H·C,R), embedding: (H·C,R), a row for each label.
        own: (H,C,channels) what later frames see of a head's own label, or empty.
        base: (N,R+L·R+H·C) audio and biases of embedding, layers and logits; used up.
        history: (L,N,R) of `recall`.
        noise: (N,H,C) Gumbel noise; empty for the likeliest.
        past, slot: (L,D,N,R) and where in this ring the frame lies.
    """
    layers, takes, width = history.shape
    heads = labels.shape[1]
    channels, classes = width // heads, len(embedding) // heads
    logits_base = width + layers * width
    top = np.empty((takes, width), np.float32)
    scores = np.empty((takes, classes), np.float32)
    memory = np.empty((takes, width), np.float32)
    for head in range(heads):
        begin, end = head * channels, (head + 1) * channels
        seen = begin if strict else end
        past[0, slot, :, begin:end] = base[:, begin:end]
        for layer in range(layers):
            bias = width + layer * width
            for row in range(begin, end):
                for take in range(takes):
                    value = base[take, bias + row] + history[layer, take, row]
                    value += dot(within[layer], row, past[layer, slot, take], seen)
                    value = value if value > 0 else np.float32(0.2) * value
                    if layer + 1 < layers:
                        past[layer + 1, slot, take, row] = value
                    else:
                        top[take, row] = value
        for index in range(classes):
            row = head * classes + index
            for take in range(takes):
                scores[take, index] = base[take, logits_base + row] + dot(logits, row, top[take], seen)
        for take in range(takes):
            label = _draw(scores[take], noise, take, head, temperature, top_p)
            labels[take, head] = label
            for row in range(end, width):
                base[take, row] += embedding[head * classes + label, row]
            if len(own) > 0:
                for row in range(channels):
                    memory[take, begin + row] = past[0, slot, take, begin + row] + own[head, label, row]
    if len(own) > 0:
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
