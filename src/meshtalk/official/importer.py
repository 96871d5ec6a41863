"""Import of the official weights to a model folder: `meshtalk import-official`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meshtalk.config import AudioConfig, GeometryConfig, ModelConfig, OfficialSound, PriorConfig
from meshtalk.errors import InputError
from meshtalk.files import atomic_folder
from meshtalk.mesh.files import read_mesh
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import HEIGHT_M
from meshtalk.model.checkpoint import Checkpoint, save_checkpoint
from meshtalk.model.geometry import MM, DenseGeometry, opening_pairs, region_arrays
from meshtalk.model.networks import MeshTalk
from meshtalk.official.state_dicts import DILATIONS, PRIOR_DILATIONS, Arrays, OfficialWeights, Sizes, read_weights

FAR_MM = 50.0
"""A template this far from the mean face of the weights is another one's, or its vertices are in another order."""


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    folder: Path
    sizes: Sizes
    template_unit: str
    """`mm` or `m`."""
    regions: tuple[str, ...]

    def __str__(self) -> str:
        measures = "" if self.regions else "; it has no regions, so it cannot be evaluated"
        return f"{self.folder}: {self.sizes}; the template was read as {self.template_unit}{measures}"


def import_official(
    folder: str | Path, output: str | Path, *, template: str | Path, topology: str | Path | None = None
) -> Imported:
    """Make a model folder of the official release's weights; `load_model` and everything behind it take it.

    Args:
        folder: with encoder.pkl, vertex_unet.pkl and context_model.pkl.
        output: model folder to create, written atomically.
        template: mesh file of the default face in the weights' vertex order, +Y up, in
            millimetres or metres: a head is 0.15-0.40 m tall.
        topology: `.npz` of `Topology.save` with the faces, and with the regions that evaluation needs. Without it faces
            are the template's, and there are no regions.

    Raises:
        InputError: anything that cannot be read, is not what it should be, or contradicts the rest.
    """
    with atomic_folder(output) as temporary:
        weights = read_weights(folder)
        face, shape, unit = _read_face(
            Path(template), None if topology is None else Topology.load(topology), weights.sizes
        )
        checkpoint = to_checkpoint(weights, face, shape)
        save_checkpoint(temporary, checkpoint)
    return Imported(Path(output), weights.sizes, unit, tuple(shape.regions))


def to_checkpoint(weights: OfficialWeights, template: np.ndarray, topology: Topology) -> Checkpoint:
    """Our networks with their weights.

    Args:
        template: (V,3) metres.
    """
    sizes, config = weights.sizes, config_of(weights.sizes)
    mean, std = (weights.decoder[name].reshape(-1, 3) for name in ("mean", "stddev"))
    off_mm = float(np.linalg.norm(template * MM - mean, axis=1).mean())
    if off_mm > FAR_MM:
        warnings.warn(
            f"the template's vertices lie {off_mm:.0f} mm from the weights' mean face. Check their order and position.",
            stacklevel=3,
        )
    regions = region_arrays(topology) if topology.regions else {}
    network = MeshTalk(config, DenseGeometry(mean, std, regions, opening_pairs(topology)))
    state = _hearing(weights.encoder, sizes) | _seeing(weights) | _prior(weights.prior)
    state |= {f"decoder.{name}": value for name, value in weights.decoder.items() if name not in ("mean", "stddev")}
    tensors: dict[str, Tensor] = {name: torch.from_numpy(np.asarray(v, np.float32)) for name, v in state.items()}
    network.load_state_dict(tensors | {f"geometry.{k}": v for k, v in network.geometry.state_dict().items()})
    return Checkpoint(network.eval(), config, topology, template.astype(np.float32), None)


def config_of(sizes: Sizes) -> ModelConfig:
    """The release's layers in our terms."""
    return ModelConfig(
        preset="official weights",
        heads=sizes.heads,
        classes=sizes.classes,
        expression_code=sizes.expression_code,
        smoothing=0.0,
        audio=AudioConfig(
            frontend="official",
            width=sizes.width,
            code=sizes.audio_code,
            input_kernel=5,
            dilations=DILATIONS,
            lookahead_hops=50,
            official=OfficialSound(sizes.n_mels, sizes.n_fft, sizes.window),
        ),
        geometry=GeometryConfig(kind="dense"),
        prior=PriorConfig(
            channels=sizes.channels,
            dilations=PRIOR_DILATIONS,
            mask="strict",
            use_sampled_expression=False,
            own_audio_encoder=False,
        ),
    )


def _hearing(encoder: Arrays, sizes: Sizes) -> dict[str, np.ndarray]:
    """Front end and audio encoder. Their features are not normalised."""
    names = {"convert_dimensions": "input", "code": "code"} | {
        f"convs.{i}": f"layers.{i}" for i in range(len(DILATIONS))
    }
    state = {
        f"audio.{ours}.{part}": encoder[f"audio_encoder.{theirs}.{part}"]
        for theirs, ours in names.items()
        for part in ("weight", "bias")
    }
    return state | {
        "audio.feature_mean": np.zeros(sizes.n_mels),
        "audio.feature_std": np.ones(sizes.n_mels),
        "official_mel.window": encoder["audio_encoder.melspec.spectrogram.window"],
        "official_mel.filters": encoder["audio_encoder.melspec.mel_scale.fb"],
    }


def _seeing(weights: OfficialWeights) -> dict[str, np.ndarray]:
    """Expression encoder and fusion, whose names are ours."""
    renamed = {"expression_encoder": "expression", "fusion_model": "fusion"}
    state = {}
    for name, value in weights.encoder.items():
        network, _, rest = name.partition(".")
        if network in renamed and rest not in ("mean", "stddev"):
            state[f"{renamed[network]}.{rest}"] = value
    # ours sees what the decoder's moments made of a mesh: where the encoder has others, its first layer makes up for it
    theirs, ours = (
        [arrays[prefix + name].astype(np.float64).ravel() for name in ("mean", "stddev")]
        for prefix, arrays in (("expression_encoder.", weights.encoder), ("", weights.decoder))
    )
    weight, bias = (state[f"expression.layers.0.{part}"] for part in ("weight", "bias"))
    if not all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True)):
        state["expression.layers.0.weight"] = weight * (ours[1] / theirs[1])
        state["expression.layers.0.bias"] = bias + weight.astype(np.float64) @ ((ours[0] - theirs[0]) / theirs[1])
    return state


def _prior(prior: Arrays) -> dict[str, np.ndarray]:
    """The prior. A layer's three biases are always summed, so that one is enough."""
    state = {}
    for name in ("embedding", "logits", *(f"context_layers.{i}" for i in range(len(PRIOR_DILATIONS)))):
        ours, bias = (
            f"prior.{name.replace('context_layers', 'layers')}",
            prior[f"{name}.masked_linear.bias"].astype(np.float64),
        )
        state[f"{ours}.masked_linear.weight"] = prior[f"{name}.masked_linear.weight"][..., 0]
        if name.startswith("context_layers"):
            state[f"{ours}.audio.weight"] = prior[f"{name}.unmasked_linear.weight"][..., 0]
            state[f"{ours}.history.weight"] = prior[f"{name}.historic.weight"]
            bias = bias + prior[f"{name}.unmasked_linear.bias"] + prior[f"{name}.historic.bias"]
        state[f"{ours}.masked_linear.bias"] = bias
    return state


def _read_face(path: Path, topology: Topology | None, sizes: Sizes) -> tuple[np.ndarray, Topology, str]:
    """((V,3) metres, topology, the unit that the file was in)."""
    mesh = read_mesh(path)
    vertices, faces = mesh.vertices, mesh.faces
    for name, count in ((path, len(vertices)), *([] if topology is None else [("the topology", topology.n_vertices)])):
        if count != sizes.vertices:
            raise InputError(
                f"{name} must have the weights' {sizes.vertices} vertices, got {count}. Give a mesh of their topology."
            )
    if topology is None and len(faces) == 0:
        raise InputError(f"{path.name} holds no triangles. Give an .obj, .ply or .glb, or a topology beside it.")
    height, (low, high) = float(np.ptp(vertices[:, 1])), HEIGHT_M
    unit = "m" if low <= height <= high else "mm" if low <= height / MM <= high else None
    if unit is None:
        raise InputError(
            f"{path} is {height:.4g} units tall; a head is {low:.2f}-{high:.2f} m or {low * MM:.0f}-{high * MM:.0f} mm"
            ". Scale it, +Y up."
        )
    shape = Topology(faces, n_vertices=len(vertices)) if topology is None else topology
    return vertices / (MM if unit == "mm" else 1), shape, unit
