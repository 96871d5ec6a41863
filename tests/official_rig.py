"""Imported models with random weights, and the reference that knows what they must say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rig
from official_reference import Arrays, Reference, random_weights, save

from meshtalk.inference.animator import Animator, load_model
from meshtalk.official.importer import import_official

SIZES: dict[str, tuple[int, int, int, dict[str, int]]] = {
    "16x128": (16, 128, 41, {"channels": 12, "n_mels": 80, "width": 32, "audio_code": 16}),
    "5x7": (5, 7, 33, {}),
    "3x11 on the rig": (3, 11, 96, {"channels": 5, "expression_code": 9, "n_fft": 1024, "window": 400}),
    "a single head": (1, 4, 10, {"channels": 3}),
}
"""name → H, C, V and what else is unusual."""


def head_mm(vertices: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """((V,3) mm, (F,3)) of something as tall as a head; of 96 vertices it is the rig's face."""
    if vertices == rig.TOPOLOGY.n_vertices:
        return rig.face(seed) * 1e3, rig.TOPOLOGY.faces
    points = np.random.default_rng([vertices, seed]).uniform(-90, 90, (vertices, 3)).astype(np.float32)
    points[:2, 1] = -110, 110
    first = np.arange(vertices - 2, dtype=np.int32)
    return points, np.stack([first, first + 1, first + 2], 1)


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Path:
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices]
    lines += [f"f {a + 1}//1 {b + 1}//1 {c + 1}//1" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class Case:
    """A model as downloaded, as imported, and as arithmetic."""

    folder: Path
    weights: tuple[Arrays, Arrays, Arrays]
    template_mm: np.ndarray

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def animator(self, frame_starts: str = "exact") -> Animator:
        """The imported model; "533" is a word in its config.json."""
        if frame_starts == "exact":
            return load_model(self.model)
        folder = self.folder / frame_starts
        if not folder.exists():
            folder.mkdir()
            for file in self.model.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            told = json.loads((folder / "config.json").read_text())
            told["config"]["audio"].setdefault("official", {})["frame_starts"] = frame_starts
            (folder / "config.json").write_text(json.dumps(told))
        return load_model(folder)

    def reference(self, frame_starts: str = "exact") -> Reference:
        return Reference(self.weights, frame_starts)


def make_case(folder: Path, name: str) -> Case:
    heads, classes, vertices, more = SIZES[name]
    template_mm, faces = head_mm(vertices)
    weights = random_weights(heads, classes, template_mm, seed=len(name), **more)
    save(folder / "official", weights)
    write_obj(folder / "face.obj", template_mm, faces)
    import_official(folder / "official", folder / "model", template=folder / "face.obj")
    # as the file has it, to seven digits
    return Case(folder, weights, load_model(folder / "model").checkpoint.template.astype(np.float64) * 1e3)
