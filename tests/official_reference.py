"""The official release's arithmetic from waveform to mesh, in plain float64 numpy: none of the package's networks or audio code.

Also weights with the release's names, random, of any size, and its mel filters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

Arrays = dict[str, np.ndarray]
RATE, WINDOW, HOP, PADDING = 16_000, 16_000, 160, (16_000 - 533) // 2
DILATIONS, PRIOR_DILATIONS = (2, 4, 6, 2, 4, 6), (1, 2, 4, 8)


# --- weights ---------------------------------------------------------------------------------------------------


def random_weights(
    heads: int,
    classes: int,
    template_mm: np.ndarray,
    *,
    seed: int = 0,
    channels: int = 8,
    width: int = 24,
    audio_code: int = 12,
    expression_code: int = 10,
    n_mels: int = 20,
    n_fft: int = 2048,
    window: int = 800,
) -> tuple[Arrays, Arrays, Arrays]:
    """Content of encoder.pkl, vertex_unet.pkl and context_model.pkl: codes that vary, and move the face by millimetres."""
    rng = np.random.default_rng(seed)
    vertices = len(template_mm)
    n, hc, hd = vertices * 3, heads * classes, heads * channels

    def pair(name: str, *shape: int, gain: float = 1.0) -> Arrays:
        scale = gain * np.sqrt(2 / np.prod(shape[1:]))
        return {f"{name}.weight": rng.normal(0, scale, shape), f"{name}.bias": rng.normal(0, 0.1, shape[0])}

    def lstm(name: str, layer: int) -> Arrays:
        shapes = {"weight_ih": (512, 128), "weight_hh": (512, 128), "bias_ih": (512,), "bias_hh": (512,)}
        return {f"{name}.{kind}_l{layer}": rng.normal(0, 0.08, shape) for kind, shape in shapes.items()}

    def moments(prefix: str) -> Arrays:
        mean = template_mm[None, None] + rng.normal(0, 2, (1, 1, vertices, 3))
        return {f"{prefix}mean": mean, f"{prefix}stddev": rng.uniform(1, 5, (1, 1, vertices, 3))}

    encoder = pair("audio_encoder.convert_dimensions", width, n_mels, 5, gain=0.1)
    for i in range(6):
        encoder |= pair(f"audio_encoder.convs.{i}", width, width, 5, gain=1.5)
    encoder |= pair("audio_encoder.code", audio_code, width)
    encoder |= {"audio_encoder.melspec.spectrogram.window": 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)}
    encoder |= {"audio_encoder.melspec.mel_scale.fb": mel_filters(n_mels, n_fft)}
    encoder |= moments("expression_encoder.") | pair("expression_encoder.layers.0", 256, n)
    encoder |= pair("expression_encoder.layers.1", 128, 256) | lstm("expression_encoder.lstm", 0)
    encoder |= pair("expression_encoder.code", expression_code, 128, gain=4)
    encoder |= pair("fusion_model.mlp.0", 256, expression_code + audio_code)
    encoder |= pair("fusion_model.mlp.2", 256, 256) | pair("fusion_model.mlp.4", hc, 256)

    decoder = moments("") | pair("encoder.0", 512, n) | pair("encoder.1", 256, 512) | pair("encoder.2", 128, 256)
    decoder |= pair("fusion", 128, hc + 128, gain=4) | lstm("temporal", 0) | lstm("temporal", 1)
    decoder |= pair("decoder.0", 256, 128, gain=4) | pair("decoder.1", 512, 256) | pair("decoder.2", n, 512, gain=0.3)
    decoder |= {"vertex_bias": rng.normal(0, 0.1, n)}

    prior: Arrays = {}
    for name, into, out, dilation in [
        ("embedding", classes, channels, 0),
        *((f"context_layers.{i}", channels, channels, d) for i, d in enumerate(PRIOR_DILATIONS)),
        ("logits", channels, classes, 0),
    ]:
        prior |= pair(
            f"{name}.masked_linear", heads * out, heads * into, 1, gain=np.sqrt(heads) if name != "logits" else 3
        )
        prior |= pair(f"{name}.unmasked_linear", heads * out, audio_code, 1, gain=0.3)
        prior |= {f"{name}.mask": np.tri(heads, k=-1).repeat(out, 0).repeat(into, 1)}
        if dilation:
            prior |= pair(f"{name}.historic", hd, hd, 2, gain=0.7)
    assert prior["logits.masked_linear.weight"].shape == (hc, hd, 1)
    return tuple({k: v.astype(np.float32) for k, v in arrays.items()} for arrays in (encoder, decoder, prior))  # type: ignore[return-value]


def mel_filters(n_mels: int, n_fft: int) -> np.ndarray:
    """(n_fft/2+1, n_mels) triangles, equally spaced on the HTK scale."""
    points_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), n_mels + 2) / 2595) - 1)
    hz = np.linspace(0, 8000, n_fft // 2 + 1)[:, None]
    up = (hz - points_hz[:-2]) / np.diff(points_hz)[:-1]
    down = (points_hz[2:] - hz) / np.diff(points_hz)[1:]
    return np.clip(np.minimum(up, down), 0, None)


def save(folder: Path, weights: tuple[Arrays, Arrays, Arrays]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in zip(("encoder.pkl", "vertex_unet.pkl", "context_model.pkl"), weights, strict=True):
        torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, folder / name)
    return folder


# --- arithmetic ------------------------------------------------------------------------------------------------


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Reference:
    """The release, told by its formulas.

    Args:
        frame_starts: "exact" for windows that begin at frame k's time, "533" for the release's own.
    """

    def __init__(self, weights: tuple[Arrays, Arrays, Arrays], frame_starts: str = "exact") -> None:
        self.encoder, self.decoder, self.prior = (
            {k: v.astype(np.float64) for k, v in part.items()} for part in weights
        )
        self.starts = frame_starts
        self.channels = int(self.prior["context_layers.0.mask"].any(1).argmax()) or len(
            self.prior["context_layers.0.mask"]
        )
        self.heads = len(self.prior["context_layers.0.mask"]) // self.channels
        self.classes = len(self.prior["logits.mask"]) // self.heads

    @staticmethod
    def linear(part: Arrays, name: str, x: np.ndarray) -> np.ndarray:
        return x @ part[f"{name}.weight"].reshape(len(part[f"{name}.bias"]), -1).T + part[f"{name}.bias"]

    @staticmethod
    def lstm(part: Arrays, name: str, layer: int, x: np.ndarray) -> np.ndarray:
        """(T,128) → (T,128)."""
        ih, hh, bias_ih, bias_hh = (
            part[f"{name}.{k}_l{layer}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden, cell, out = np.zeros(128), np.zeros(128), []
        for frame in x:
            i, f, g, o = np.split(ih @ frame + bias_ih + hh @ hidden + bias_hh, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            out.append(hidden)
        return np.array(out)

    def hear(self, samples: np.ndarray, frames: int) -> np.ndarray:
        """(S,) at 16 kHz → (T,A) audio codes."""
        samples = samples.astype(np.float64)
        level = np.abs(samples).mean()
        samples = samples * (0.01 / level if level > 0 else 0)
        starts = [533 * k if self.starts == "533" else int(np.floor(k * 16000 / 30 + 0.5)) for k in range(frames)]
        padded = np.concatenate([np.zeros(PADDING), samples, np.zeros(2 * WINDOW)])
        return np.array([self.audio_code(self.log_mel(padded[start : start + WINDOW])) for start in starts])

    def log_mel(self, sound: np.ndarray) -> np.ndarray:
        """(16000,) → (n_mels,101): short-time Fourier transform with mirrored ends, the taper in the middle of each frame."""
        taper, filters = (
            self.encoder[f"audio_encoder.melspec.{name}"] for name in ("spectrogram.window", "mel_scale.fb")
        )
        n_fft = 2 * len(filters) - 2
        before = (n_fft - len(taper)) // 2
        taper = np.pad(taper, (before, n_fft - len(taper) - before))
        mirrored = np.pad(sound, n_fft // 2, mode="reflect")
        frames = np.array([mirrored[HOP * j : HOP * j + n_fft] for j in range(WINDOW // HOP + 1)])
        return np.log(np.maximum(np.abs(np.fft.rfft(frames * taper)) ** 2 @ filters, 1e-10)).T

    def audio_code(self, mel: np.ndarray) -> np.ndarray:
        """(n_mels,101) → (A,): unpadded convolutions, skips averaged and cropped in the middle, until one frame is left."""
        x = leaky(self.convolve("audio_encoder.convert_dimensions", mel, 1))
        for i, dilation in enumerate(DILATIONS):
            y = leaky(self.convolve(f"audio_encoder.convs.{i}", x, dilation))
            x = (x[:, 2 * dilation : -2 * dilation] + y) / 2
        assert x.shape[1] == 1
        return self.linear(self.encoder, "audio_encoder.code", x[:, 0])

    def convolve(self, name: str, x: np.ndarray, dilation: int) -> np.ndarray:
        weight, bias = self.encoder[f"{name}.weight"], self.encoder[f"{name}.bias"]
        length = x.shape[1] - 4 * dilation
        return sum(weight[:, :, k] @ x[:, k * dilation : k * dilation + length] for k in range(5)) + bias[:, None]

    def express(self, meshes_mm: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """Eq. 3: (T,V,3), (T,A) → (T,H) likeliest codes."""
        part = self.encoder
        mean, std = (part[f"expression_encoder.{name}"][0, 0] for name in ("mean", "stddev"))
        x = ((meshes_mm - mean) / std).reshape(len(meshes_mm), -1)
        for i in (0, 1):
            x = leaky(self.linear(part, f"expression_encoder.layers.{i}", x))
        expression = self.linear(part, "expression_encoder.code", self.lstm(part, "expression_encoder.lstm", 0, x))
        x = np.concatenate([expression, audio], 1)
        for i in (0, 2):
            x = leaky(self.linear(part, f"fusion_model.mlp.{i}", x))
        return self.linear(part, "fusion_model.mlp.4", x).reshape(len(x), self.heads, self.classes).argmax(-1)

    def sample(self, audio: np.ndarray, noise: np.ndarray | None, temperature: float = 1.0) -> np.ndarray:
        """Eq. 6: (T,A), Gumbel noise (T,H,C) or None for the likeliest → (T,H) codes; every head from the whole frame anew."""
        codes = np.zeros((len(audio), self.heads), int)
        past: list[list[np.ndarray]] = [[] for _ in PRIOR_DILATIONS]
        for t in range(len(audio)):
            for head in range(self.heads):
                scores = self.scores(codes[t, :head], audio[t], past)[0][head]
                codes[t, head] = np.argmax(scores if noise is None else scores / temperature + noise[t, head])
            for layer, inputs in zip(past, self.scores(codes[t], audio[t], past)[1], strict=True):
                layer.append(inputs)
        return codes

    def log_probs(self, codes: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """(T,H) given codes → (T,H) log-probability of each, given those before."""
        past: list[list[np.ndarray]] = [[] for _ in PRIOR_DILATIONS]
        found = []
        for frame, heard in zip(codes, audio, strict=True):
            scores, inputs = self.scores(frame, heard, past)
            shifted = scores - scores.max(1, keepdims=True)
            found.append((shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(self.heads), frame])
            for layer, known in zip(past, inputs, strict=True):
                layer.append(known)
        return np.array(found)

    def scores(
        self, known: np.ndarray, audio: np.ndarray, past: list[list[np.ndarray]]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """((H,C) of a frame whose first heads are known, the inputs of the four layers)."""
        one_hot = np.zeros((self.heads, self.classes))
        one_hot[np.arange(len(known)), known] = 1
        x, inputs = self.masked("embedding", one_hot.ravel()), []
        for i, dilation in enumerate(PRIOR_DILATIONS):
            name, seen = f"context_layers.{i}", past[i]
            weight, nothing = self.prior[f"{name}.historic.weight"], np.zeros(len(x))
            before = seen[-1] if seen else nothing
            long_before = seen[-1 - dilation] if len(seen) > dilation else nothing
            inputs.append(x)
            y = self.masked(name, x) + self.linear(self.prior, f"{name}.unmasked_linear", audio)
            x = leaky(
                y + weight[:, :, 1] @ before + weight[:, :, 0] @ long_before + self.prior[f"{name}.historic.bias"]
            )
        return self.masked("logits", x).reshape(self.heads, self.classes), inputs

    def masked(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self.prior[f"{name}.masked_linear.weight"][:, :, 0] * self.prior[f"{name}.mask"]
        return weight @ x + self.prior[f"{name}.masked_linear.bias"]

    def decode(self, template_mm: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Eq. 1: (V,3), (T,H) → (T,V,3) mm."""
        part, frames = self.decoder, len(codes)
        x, skips = ((template_mm - part["mean"][0, 0]) / part["stddev"][0, 0]).ravel(), []
        for i in range(3):
            skips.append(x)
            x = leaky(self.linear(part, f"encoder.{i}", x))
        one_hot = np.eye(self.classes)[codes].reshape(frames, -1)
        y = leaky(self.linear(part, "fusion", np.concatenate([np.tile(x, (frames, 1)), one_hot], 1)))
        y = self.lstm(part, "temporal", 1, self.lstm(part, "temporal", 0, y))
        for i in range(3):
            y = skips[2 - i] + leaky(self.linear(part, f"decoder.{i}", y))
        y = (y + part["vertex_bias"]).reshape(frames, -1, 3)
        return y * part["stddev"][0, 0] + part["mean"][0, 0]
