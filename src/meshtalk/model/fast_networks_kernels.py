"""Compiled kernels of the networks for a few new frames: convolution stacks, encoder, decoder."""

from __future__ import annotations

import numpy as np

from meshtalk.jit import compiled
from meshtalk.model.fast_sampler_kernels import FAST, TILE, tile

PLAIN, LEAKY, CLAMPED, STEM = 0, 1, 2, 3
"""Activations: none, leaky ReLU of slope 0.2, that and at least −0.4, ReLU with an affine map before the last."""


@compiled(fastmath=FAST)
def run_stack(program, weights, tails, x, frames):
    """All steps over `frames` new frames: x flat (frames,bands,channels); `tails` are updated in place."""
    at = 0
    for index in range(len(program)):
        is_convolution, over_time, over_bands, dilation, span, bands, channels, outputs = program[index, :8]
        weight_at, activation, crop, halves = program[index, 8:]
        size = bands * channels
        known = span * size
        joined = np.empty(known + frames * size, np.float32)
        joined[:known] = tails[at : at + known]
        joined[known:] = x
        tails[at : at + known] = joined[frames * size :]
        at += known
        if is_convolution:
            columns = _columns(joined, frames, over_time, over_bands, dilation, bands, channels)
            x = _multiply(weights, weight_at, columns, outputs, activation)
            if crop >= 0:
                skip = joined[crop * size :][: len(x)]
                for i in range(len(x)):
                    x[i] = (skip[i] + x[i]) * np.float32(0.5)
            if halves:
                x = _halve(x, outputs)
        else:
            later = joined[known:]
            x = np.empty(frames * size, np.float32)
            for i in range(len(x)):
                x[i] = max(joined[i], later[i])
    return x


@compiled()
def _columns(joined, frames, over_time, over_bands, dilation, bands, channels):
    """(frames·bands, over_time·over_bands·channels) inputs of every output, one after the other."""
    columns = np.zeros((frames * bands, over_time * over_bands * channels), np.float32)
    margin = over_bands // 2
    for frame in range(frames):
        for band in range(bands):
            column = columns[frame * bands + band]
            first, last = max(band - margin, 0), min(band + margin, bands - 1)
            length = (last - first + 1) * channels
            for tap in range(over_time):
                source = ((frame + tap * dilation) * bands + first) * channels
                target = (tap * over_bands + first - band + margin) * channels
                column[target : target + length] = joined[source : source + length]
    return columns


@compiled(fastmath=FAST)
def _multiply(weights, at, columns, outputs, activation):
    """(positions·outputs,) of columns (positions,n), weights (outputs,n) from `at` on, their bias after them."""
    positions, n = columns.shape
    out = np.empty(positions * outputs, np.float32)
    constants = weights[at + outputs * n :]
    for row in range(0, outputs, TILE):
        rows = min(TILE, outputs - row)
        for position in range(positions):
            sums = tile(weights, at + row * n, rows, columns[position], n)
            place = out[position * outputs + row :]
            for i in range(rows):
                value = sums[i] + constants[row + i]
                if activation == STEM:
                    value = max(value, np.float32(0)) * constants[outputs + row + i] + constants[2 * outputs + row + i]
                if activation != PLAIN and value < 0:
                    value *= np.float32(0.2)
                    if activation != LEAKY:
                        value = max(value, np.float32(-0.4))
                place[i] = value
    return out


@compiled()
def _halve(x, channels):
    """(…,bands,channels) flat → the larger of each pair of bands, flat."""
    out = np.empty(len(x) // 2, np.float32)
    for pair in range(len(out) // channels):
        for channel in range(channels):
            at = 2 * pair * channels + channel
            out[pair * channels + channel] = max(x[at], x[at + channels])
    return out


@compiled()
def _outputs(layer, inputs):
    """Output size of a linear layer."""
    return len(layer) // (inputs + 1)


@compiled(fastmath=FAST)
def _linear(layer, x, out, leaks):
    """out (O,) of a linear layer as `_dense` lays it out, with a leaky ReLU or without."""
    n, outputs = len(x), len(out)
    bias = layer[outputs * n :]
    for row in range(0, outputs, TILE):
        rows = min(TILE, outputs - row)
        sums = tile(layer, row * n, rows, x, n)
        for i in range(rows):
            value = sums[i] + bias[row + i]
            out[row + i] = np.float32(0.2) * value if leaks and value < 0 else value


@compiled()
def _sigmoid(x):
    return np.float32(1) / (np.float32(1) + np.exp(-x))


@compiled(fastmath=FAST)
def _lstm(layer, x, hidden, cell):
    """One step of an LSTM layer: hidden (n,) and cell (n,) are updated in place."""
    n = len(hidden)
    gates = np.empty(4 * n, np.float32)
    _linear(layer, np.concatenate((x, hidden)), gates, False)
    for i in range(n):
        cell[i] = _sigmoid(gates[n + i]) * cell[i] + _sigmoid(gates[i]) * np.tanh(gates[2 * n + i])
        hidden[i] = _sigmoid(gates[3 * n + i]) * np.tanh(cell[i])


@compiled()
def encode(first, second, lstm, last, fuse_1, fuse_2, fuse_3, motion, code, hidden, cell, classes, labels):
    takes, frames, heads = labels.shape
    x = np.empty(_outputs(first, motion.shape[2]), np.float32)
    y = np.empty(_outputs(second, len(x)), np.float32)
    expression = _outputs(last, hidden.shape[1])
    joined = np.empty(expression + code.shape[2], np.float32)
    one = np.empty(_outputs(fuse_1, len(joined)), np.float32)
    two = np.empty(_outputs(fuse_2, len(one)), np.float32)
    logits = np.empty(heads * classes, np.float32)
    for take in range(takes):
        for frame in range(frames):
            _linear(first, motion[take, frame], x, True)
            _linear(second, x, y, True)
            _lstm(lstm, y, hidden[take], cell[take])
            _linear(last, hidden[take], joined[:expression], False)
            joined[expression:] = code[take, frame]
            _linear(fuse_1, joined, one, True)
            _linear(fuse_2, one, two, True)
            _linear(fuse_3, two, logits, False)
            for head in range(heads):
                labels[take, frame, head] = np.argmax(logits[head * classes : (head + 1) * classes])


@compiled()
def decode(
    face_layer, codes, lstm_1, lstm_2, up_1, up_2, up_3, vertex_bias, skip_1, skip_2, skip_3, face, dense, classes,
    labels, hidden, cell, out,
):  # fmt: skip
    takes, frames, heads = labels.shape
    size = face.shape[1]
    known, x = np.empty(size, np.float32), np.empty(size, np.float32)
    one, two = np.empty(skip_1.shape[1], np.float32), np.empty(skip_2.shape[1], np.float32)
    for take in range(takes):
        _linear(face_layer, face[take], known, False)
        for frame in range(frames):
            x[:] = known
            for head in range(heads):
                x += codes[head * classes + labels[take, frame, head]]
            for i in range(size):
                x[i] = x[i] if x[i] > 0 else np.float32(0.2) * x[i]
            _lstm(lstm_1, x, hidden[0, take], cell[0, take])
            _lstm(lstm_2, hidden[0, take], hidden[1, take], cell[1, take])
            x = hidden[1, take].copy() if dense else x + hidden[1, take]
            _linear(up_1, x, one, True)
            one += skip_1[take]
            _linear(up_2, one, two, True)
            two += skip_2[take]
            _linear(up_3, two, out[take, frame], dense)
            if dense:
                out[take, frame] += skip_3[take]
            out[take, frame] += vertex_bias
