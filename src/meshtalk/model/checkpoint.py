"""Model folders: config.json, model.safetensors and, for other meshes than the packaged head, topology.npz."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from meshtalk.config import ModelConfig, from_json, to_json
from meshtalk.errors import MISSING, InputError, reading
from meshtalk.files import atomic
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology
from meshtalk.model.geometry import BasisGeometry, DenseGeometry, Identity, opening_pairs, region_arrays
from meshtalk.model.networks import MeshTalk, Regressor

FORMAT = "meshtalk-model-1"
PACKAGED_HEAD = "packaged head"
"""Name of the packaged topology in config.json."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with its configuration, topology and default template: everything that inference needs."""

    network: MeshTalk | Regressor
    config: ModelConfig
    topology: Topology
    template: np.ndarray
    """(V,3) float32 metres: the default neutral face."""
    mix: np.ndarray | None
    """(K,S) float32: the geometry's basis in terms of the topology's blendshapes, if it has one."""
    hash: str = ""
    """16 hex digits of config and weights; empty until saved or loaded."""


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a model folder; weights in half precision (geometry, and official weights, in single).

    Raises:
        InputError: the folder cannot be created.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the model folder {folder}: {error.strerror}. Choose another output.") from None
    network, geometry = checkpoint.network, checkpoint.network.geometry
    # weights that others trained are kept as they are
    precision = np.float32 if checkpoint.config.audio.frontend == "official" else np.float16
    arrays: dict[str, np.ndarray] = {"template": checkpoint.template.astype(np.float32)}
    for name, value in network.state_dict().items():
        if not name.startswith("geometry."):
            arrays[f"network.{name}"] = value.detach().cpu().numpy().astype(precision)
    arrays |= {f"geometry.{name}": value for name, value in geometry_arrays(geometry).items()}
    if checkpoint.mix is not None:  # which describes the basis in less
        arrays["geometry.mix"] = checkpoint.mix.astype(np.float32)
        del arrays["geometry.basis"]
    packaged = _is_packaged_head(checkpoint.topology)
    description = {
        "format": FORMAT,
        "network": "regressor" if isinstance(network, Regressor) else "meshtalk",
        "config": to_json(checkpoint.config),
        "topology": PACKAGED_HEAD if packaged else "topology.npz",
        "topology_hash": checkpoint.topology.hash,
        "region_hash": checkpoint.topology.region_hash,
    }
    if not packaged:
        checkpoint.topology.save(folder / "topology.npz")
    with atomic(folder / "model.safetensors") as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)
    with atomic(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _network(
    description: Mapping[str, Any], config: ModelConfig, geometry: BasisGeometry | DenseGeometry
) -> MeshTalk | Regressor:
    return Regressor(config.audio, geometry) if description["network"] == "regressor" else MeshTalk(config, geometry)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Build a model from its folder, on the CPU and in eval mode.

    Raises:
        InputError: no model there, another format, a damaged file, or weights that do not fit the config.
    """
    folder = Path(folder)
    try:
        with reading(f"the model in {folder} cannot be read", "Copy or train it again.", *MISSING):
            text = (folder / "config.json").read_text(encoding="utf-8")
            description: dict[str, Any] = json.loads(text)
            weights = (folder / "model.safetensors").read_bytes()
            arrays = load_file(folder / "model.safetensors")
    except MISSING:
        raise InputError(
            f"{folder} is not a model folder. It must hold config.json and model.safetensors, as `meshtalk train` writes."
        ) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{folder}/config.json is not of format {FORMAT!r}. Use a model of this version of meshtalk.")
    if missing := {"config", "topology", "topology_hash", "network"} - set(description):
        raise InputError(f"{folder}/config.json lacks {', '.join(sorted(missing))}. Copy or train the model again.")
    with reading(f"{folder}/config.json cannot be used", "Copy or train the model again."):
        config: ModelConfig = from_json(ModelConfig, description["config"])
    packaged = description["topology"] == PACKAGED_HEAD
    topology = load_head().topology if packaged else Topology.load(folder / "topology.npz")
    if topology.hash != description["topology_hash"]:
        raise InputError(
            f"the model in {folder} was made for topology {description['topology_hash']}, not {topology.hash}"
        )
    if bad := [name for name, value in arrays.items() if not np.isfinite(value).all()]:
        raise InputError(f"the weights {bad[0]} in {folder} hold NaN or infinite values. Train the model again.")
    with reading(f"the weights in {folder} do not fit its config.json", "Copy or train the model again."):
        mix = arrays.get("geometry.mix")
        part = {k[9:]: v for k, v in arrays.items() if k.startswith("geometry.")}
        if mix is not None:
            if topology.shapes is None:
                raise ValueError("the topology has no blendshapes")
            # one by one: a linear-algebra library's sums depend on its threads
            part["basis"] = np.einsum("ks,svc->kvc", mix, topology.shapes)
        geometry = build_geometry(config, part, topology)
        state = {k[8:]: torch.from_numpy(v).float() for k, v in arrays.items() if k.startswith("network.")}
        state |= {f"geometry.{k}": v for k, v in geometry.state_dict().items()}
        with torch.device("meta"):  # sizes alone: a config may claim more than any memory holds
            sizes = {name: value.shape for name, value in _network(description, config, geometry).state_dict().items()}
        if strange := sorted(
            name for name in sizes.keys() | state if sizes.get(name) != getattr(state.get(name), "shape", None)
        ):
            raise ValueError(f"{strange[0]} is missing or of another size")
        build = _network(description, config, geometry)
        build.load_state_dict(state)
        template = arrays["template"]
        if template.shape != (topology.n_vertices, 3):
            raise ValueError(f"the template has shape {template.shape}")
    digest = hashlib.sha256(text.encode() + weights).hexdigest()[:16]
    return Checkpoint(build.eval(), config, topology, template, mix, digest)


def geometry_arrays(geometry: BasisGeometry | DenseGeometry) -> dict[str, np.ndarray]:
    """Arrays from which `build_geometry` builds the same geometry."""
    arrays = {name: value.detach().cpu().numpy() for name, value in geometry.state_dict().items()}
    if isinstance(geometry, BasisGeometry):
        arrays["basis"] = geometry.basis.cpu().numpy()
        arrays["identity_index"] = geometry.identity_index.cpu().numpy().astype(np.int32)
    return arrays


def build_geometry(
    config: ModelConfig, arrays: dict[str, np.ndarray], topology: Topology
) -> BasisGeometry | DenseGeometry:
    """Build a geometry from its arrays and the topology's regions and inner lips.

    Raises:
        KeyError, ValueError: arrays are missing or have wrong shapes.
    """
    dense = config.geometry.kind == "dense"
    # whole meshes can move without anybody having named their regions; only training and measures ask for them
    regions = {} if dense and not topology.regions else region_arrays(topology)
    opening = opening_pairs(topology)
    if dense:
        shape = (topology.n_vertices, 3)
        return DenseGeometry(arrays["mean"].reshape(shape), arrays["std"].reshape(shape), regions, opening)
    basis = arrays["basis"].reshape(len(arrays["basis"]), -1, 3)
    if not 0 <= arrays["identity_index"].min() <= arrays["identity_index"].max() < topology.n_vertices:
        raise ValueError("identity_index has vertices that do not exist")
    identity = Identity(*(arrays[f"identity_{name}"] for name in Identity._fields))
    return BasisGeometry(basis, arrays["scale"], identity, regions, opening)


def _is_packaged_head(topology: Topology) -> bool:
    """Whether a model can point at the packaged topology instead of carrying a copy."""
    head = load_head().topology
    same = head.hash == topology.hash and head.region_hash == topology.region_hash
    return same and head.shape_names == topology.shape_names and np.array_equal(head.shapes, topology.shapes)  # type: ignore[arg-type]
