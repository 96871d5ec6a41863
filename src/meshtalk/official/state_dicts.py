"""Safe reader of the official release's three state dicts, with checks of all shapes and values."""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meshtalk.errors import InputError

FILES = ("encoder.pkl", "vertex_unet.pkl", "context_model.pkl")
WRAPPINGS = ("state_dict", "model_state_dict", "model")
DILATIONS = (2, 4, 6, 2, 4, 6)
"""Of the audio convolutions; a state dict does not tell."""
PRIOR_DILATIONS = (1, 2, 4, 8)
UNUSED = tuple(f"{layer}.unmasked_linear.{part}" for layer in ("embedding", "logits") for part in ("weight", "bias"))
"""Saved by the release, but nothing there reads them: they may be missing, and of any shape."""
Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """All sizes that the tensors leave open; letters as in docs/equations.md."""

    heads: int
    classes: int
    vertices: int
    width: int
    """Channels of the audio convolutions."""
    audio_code: int
    expression_code: int
    channels: int
    """Of the prior, per head."""
    n_mels: int
    n_fft: int
    window: int

    def __str__(self) -> str:
        return f"{self.heads} heads of {self.classes} classes, {self.vertices} vertices"


@dataclass(frozen=True)
class OfficialWeights:
    """Arrays of each file by their official names, float32, and the sizes they agree on."""

    sizes: Sizes
    encoder: Arrays
    decoder: Arrays
    """Of vertex_unet.pkl."""
    prior: Arrays
    """Of context_model.pkl."""


def read_weights(folder: str | Path) -> OfficialWeights:
    """Read and check the release's three files.

    Raises:
        InputError: a file is missing, damaged, holds anything but tensors, or a tensor is missing, unknown, not finite, of a
            wrong shape, or contradicts the others.
    """
    folder = Path(folder)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}. Download the official release's three .pkl files into it."
        )
    encoder, decoder, prior = (read_state_dict(folder / name) for name in FILES)
    masks = {f"{layer}.mask" for layer in _prior_layers()}
    for name, found, expected in zip(FILES, (encoder, decoder, prior), _shapes(Sizes(*[1] * 10)), strict=True):
        _check_names(str(folder / name), found, set(expected) | (masks if found is prior else set()))
    sizes = _sizes(folder, encoder, decoder, prior)
    for name, found, shapes in zip(FILES, (encoder, decoder, prior), _shapes(sizes), strict=True):
        for key, shape in shapes.items():
            if found[key].shape != shape:
                raise InputError(f"{folder / name}: {key} has shape {found[key].shape}, but {shape} goes with {sizes}")
    _check_numbers(folder, sizes, encoder, decoder, prior)
    return OfficialWeights(sizes, encoder, decoder, prior)


def read_state_dict(path: Path) -> Arrays:
    """name → float32 array of a file that `torch.save` wrote; nothing in it is run.

    Raises:
        InputError: it cannot be read, or holds anything but finite dense tensors of numbers.
    """
    damaged = f"{path} is damaged, or holds more than tensors, which is never run. Download it again."
    try:
        with path.open("rb") as file:
            limit = file.seek(0, 2)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    try:
        loaded = _load(path)
    except Exception:  # an unpickler fails in many ways; its messages advise to trust the file, which nobody should
        raise InputError(damaged) from None
    if isinstance(loaded, Mapping) and len(loaded) == 1 and (name := next(iter(loaded))) in WRAPPINGS:
        loaded = loaded[name]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{path} holds {type(loaded).__name__}, not a state dict. Give the release's own file.")
    arrays: dict[str, np.ndarray] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise InputError(
                f"{path}: {name} is {type(value).__name__}, not a dense tensor. Give the release's own file."
            )
        limit -= value.numel() * value.element_size()
        # a tensor may repeat one number without end, or lie nowhere
        if limit < 0 or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise InputError(damaged)
        arrays[name] = value.detach().float().numpy()
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} holds NaN or infinite values. Download it again.")
    if all(name.startswith("module.") for name in arrays):
        arrays = {name[7:]: value for name, value in arrays.items()}
    return arrays


def _load(path: Path) -> Any:
    """What `torch.save` wrote, if nothing has to be run for it; any exception if not."""
    if tarfile.is_tarfile(path):  # some versions of torch read these with an unpickler that runs code
        raise ValueError("a tar file")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("compressed entries, which may grow without limit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wonders about what is refused right afterwards
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_names(path: str, found: Arrays, expected: set[str]) -> None:
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected - set(UNUSED))
    for what, names in (("lacks", missing), ("holds unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(f"{path} {what} {', '.join(names[:3])}{more}. Give the release's own file.")


def _sizes(folder: Path, encoder: Arrays, decoder: Arrays, prior: Arrays) -> Sizes:
    """The sizes that single tensors determine; `_shapes` then checks the others."""

    def size(name: str, arrays: Arrays, key: str, axis: int, rank: int) -> int:
        shape = arrays[key].shape
        if len(shape) != rank or 0 in shape:
            raise InputError(f"{folder / name}: {key} has shape {shape}, not {rank} axes with something in each")
        return shape[axis]

    in_encoder, in_decoder, in_prior = FILES
    codes = {
        "fusion_model.mlp.4.weight": size(in_encoder, encoder, "fusion_model.mlp.4.weight", 0, 2),
        "fusion.weight": size(in_decoder, decoder, "fusion.weight", 1, 2) - 128,
        "logits.masked_linear.weight": size(in_prior, prior, "logits.masked_linear.weight", 0, 3),
        "embedding.masked_linear.weight": size(in_prior, prior, "embedding.masked_linear.weight", 1, 3),
    }
    if len(set(codes.values())) > 1:
        told = ", ".join(f"{name} {value}" for name, value in codes.items())
        raise InputError(f"the files in {folder} are of different models, their heads times classes differ: {told}")
    # H·C alone could be cut in many ways: the mask tells how wide a head is, because the first head sees nothing
    key = "context_layers.0.mask"
    width = size(in_prior, prior, key, 0, prior[key].ndim)
    sees = prior[key].reshape(width, -1).any(1)
    channels = int(sees.argmax()) if sees.any() else width
    heads, together = (width // channels if channels else 0), codes["logits.masked_linear.weight"]
    if heads == 0 or width % channels or together % heads or together // heads < 2:
        raise InputError(
            f"{folder / in_prior}: {key} does not cut {width} channels and {together} classes into heads. Download it again."
        )
    mel = "audio_encoder.melspec"
    return Sizes(
        heads=heads,
        classes=together // heads,
        vertices=size(in_decoder, decoder, "mean", 2, 4),
        width=size(in_encoder, encoder, "audio_encoder.convert_dimensions.weight", 0, 3),
        audio_code=size(in_encoder, encoder, "audio_encoder.code.weight", 0, 2),
        expression_code=size(in_encoder, encoder, "expression_encoder.code.weight", 0, 2),
        channels=channels,
        n_mels=size(in_encoder, encoder, f"{mel}.mel_scale.fb", 1, 2),
        n_fft=2 * size(in_encoder, encoder, f"{mel}.mel_scale.fb", 0, 2) - 2,
        window=size(in_encoder, encoder, f"{mel}.spectrogram.window", 0, 1),
    )


def _prior_layers() -> list[str]:
    return ["embedding", *(f"context_layers.{i}" for i in range(len(PRIOR_DILATIONS))), "logits"]


def _shapes(s: Sizes) -> tuple[dict[str, Shape], dict[str, Shape], dict[str, Shape]]:
    """name → shape of everything in the three files but the masks, whose rank is open. Names do not depend on sizes."""
    numbers, codes, audio, heads = s.vertices * 3, s.heads * s.classes, s.audio_code, s.heads * s.channels

    def pair(layer: str, *shape: int) -> dict[str, Shape]:
        return {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}

    def lstm(prefix: str, layers: int) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {
            "weight_ih": (512, 128),
            "weight_hh": (512, 128),
            "bias_ih": (512,),
            "bias_hh": (512,),
        }
        return {f"{prefix}.{kind}_l{layer}": shape for layer in range(layers) for kind, shape in shapes.items()}

    moments: dict[str, Shape] = {name: (1, 1, s.vertices, 3) for name in ("mean", "stddev")}
    encoder = pair("audio_encoder.convert_dimensions", s.width, s.n_mels, 5) | pair(
        "audio_encoder.code", audio, s.width
    )
    for i in range(len(DILATIONS)):
        encoder |= pair(f"audio_encoder.convs.{i}", s.width, s.width, 5)
    encoder |= {"audio_encoder.melspec.spectrogram.window": (s.window,)}
    encoder |= {"audio_encoder.melspec.mel_scale.fb": (s.n_fft // 2 + 1, s.n_mels)}
    encoder |= {f"expression_encoder.{name}": shape for name, shape in moments.items()}
    encoder |= pair("expression_encoder.layers.0", 256, numbers) | pair("expression_encoder.layers.1", 128, 256)
    encoder |= lstm("expression_encoder.lstm", 1) | pair("expression_encoder.code", s.expression_code, 128)
    encoder |= pair("fusion_model.mlp.0", 256, s.expression_code + audio)
    encoder |= pair("fusion_model.mlp.2", 256, 256) | pair("fusion_model.mlp.4", codes, 256)

    decoder = moments | {"vertex_bias": (numbers,)} | lstm("temporal", 2) | pair("fusion", 128, codes + 128)
    for half, widths in (("encoder", (numbers, 512, 256, 128)), ("decoder", (128, 256, 512, numbers))):
        for i in range(3):
            decoder |= pair(f"{half}.{i}", widths[i + 1], widths[i])

    prior = pair("embedding.masked_linear", heads, codes, 1) | pair("logits.masked_linear", codes, heads, 1)
    for layer in _prior_layers()[1:-1]:
        prior |= pair(f"{layer}.masked_linear", heads, heads, 1) | pair(f"{layer}.historic", heads, heads, 2)
        prior |= pair(f"{layer}.unmasked_linear", heads, audio, 1)
    return encoder, decoder, prior


def _check_numbers(folder: Path, sizes: Sizes, encoder: Arrays, decoder: Arrays, prior: Arrays) -> None:
    """Checks of values: no division by zero, and every mask is the strict one."""
    for name, arrays, key in (
        (FILES[0], encoder, "expression_encoder.stddev"),
        (FILES[1], decoder, "stddev"),
    ):
        if not (arrays[key] > 0).all():
            raise InputError(f"{folder / name}: {key} is not positive everywhere, and vertices are divided by it")
    classes, channels = sizes.classes, sizes.channels
    for layer in _prior_layers():
        outputs, inputs = {"embedding": (channels, classes), "logits": (classes, channels)}.get(
            layer, (channels, channels)
        )
        strict = np.tri(sizes.heads, k=-1).repeat(outputs, 0).repeat(inputs, 1)
        mask = prior[f"{layer}.mask"]
        if mask.size != strict.size or not np.array_equal(mask.reshape(strict.shape), strict):
            raise InputError(
                f"{folder / FILES[2]}: {layer}.mask is not the release's, in which a head sees those below it in {sizes}"
            )
