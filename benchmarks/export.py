"""Size, time and exactness of every format, for ten seconds of the packaged model's performance.

    python benchmarks/export.py

Time is the processor's, of all threads, as a share of what drawing and writing the film (`.mp4`) takes in the same run. The
error is the longest way of any vertex of any frame from where the clip has it, as the format's own reader finds it (`.glb`: as
the file states it).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip
from meshtalk.export import EXPORTERS, SEQUENCES, export
from meshtalk.inference.animator import load_model
from meshtalk.mesh.files import read_mesh

SECONDS = 10
EVERY = 10
"""Of the meshes in files of their own, every tenth is read: text takes long."""


def spoken() -> Clip:
    """Two packaged recordings, one after the other, spoken by the packaged model on one of its people."""
    sounds = [read_audio(asset("speech") / f"librivox_{name}.flac") for name in ("0870", "0880")]
    rate = sounds[0][1]
    return load_model().animate(np.concatenate([sound for sound, _ in sounds])[: SECONDS * rate], rate, person="p01")


def read_usd(path: Path, clip: Clip) -> np.ndarray:
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(path))
    if skeleton := UsdSkel.Root(stage.GetDefaultPrim()):
        UsdSkel.BakeSkinning(skeleton)
    points = UsdGeom.Mesh(stage.GetPrimAtPath("/head/face")).GetPointsAttr()
    return np.array([points.Get(k) for k in range(clip.n_frames)])


def read_abc(path: Path, clip: Clip) -> np.ndarray:
    from alembic3d.Abc import IArchive
    from alembic3d.AbcGeom import IPolyMesh

    samples = IPolyMesh(IArchive(str(path)).getTop(), "face").getSchema().getPositionsProperty().samples
    return np.stack([np.array(sample) for sample in samples])


def read_meshes(path: Path, clip: Clip) -> np.ndarray:
    some = [read_mesh(path.parent / (path.name % k)) for k in range(0, clip.n_frames, EVERY)]
    return np.stack([vertices for vertices, _ in some])


def read_pc2(path: Path, clip: Clip) -> np.ndarray:
    return np.fromfile(path, "<f4", offset=32).reshape(clip.n_frames, -1, 3)


def stated(path: Path, clip: Clip) -> float:
    import pygltflib

    document = pygltflib.GLTF2().load(str(path))
    assert document is not None
    return document.meshes[0].extras["maxErrorMm"] * 1e3


def error_um(read: Callable[[Path, Clip], np.ndarray]) -> Callable[[Path, Clip], float]:
    def measured(path: Path, clip: Clip) -> float:
        found = read(path, clip)
        expected = clip.frames()[:: 1 if len(found) == clip.n_frames else EVERY]
        return float(np.linalg.norm(found - expected, axis=2).max()) * 1e6

    return measured


ERRORS: dict[str, Callable[[Path, Clip], float]] = {
    ".usdc": error_um(read_usd), ".usda": error_um(read_usd), ".abc": error_um(read_abc), ".obj": error_um(read_meshes),
    ".ply": error_um(read_meshes), ".pc2": error_um(read_pc2), ".npy": error_um(lambda path, clip: np.load(path)),
    ".npz": error_um(lambda path, clip: Clip.load(path).frames()), ".glb": stated,
}  # fmt: skip


def measure(clip: Clip, suffix: str) -> tuple[float, int, float | None]:
    """(processor's seconds, bytes of all its files, error in micrometres or None)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (f"face/%05d{suffix}" if suffix in SEQUENCES else f"face{suffix}")
        start = time.process_time()
        export(clip, path)
        taken_s = time.process_time() - start
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        return taken_s, size, ERRORS[suffix](path, clip) if suffix in ERRORS else None


def main() -> None:
    clip = spoken()
    moves = {"displacement": clip.displacements(), "weights": None, "basis": None, "basis_names": ()}
    dense = replace(clip, **moves, recipe=None)
    start = replace(clip, weights=clip.weights[:2], audio=clip.audio[: 2 * len(clip.audio) // clip.n_frames])
    for suffix in (".mp4", ".gif", ".png", ".csv"):  # what is compiled or loaded once
        measure(start, suffix)
    rows = [("blendshapes", clip, suffix) for suffix in EXPORTERS]
    rows += [("vertices", dense, suffix) for suffix in (".glb", ".usdc", ".usda", ".html", ".npz", ".csv")]
    print(f"{clip.n_frames} frames of {len(clip.template)} vertices")
    film_s = 0.0
    for motion, one, suffix in rows:
        taken_s, size, error = measure(one, suffix)
        film_s = film_s or taken_s  # the film is the first
        told = f"{size / 1e6:9.2f} MB{taken_s * 1e3 / clip.n_frames:9.2f} ms a frame{taken_s / film_s:8.3f} x .mp4"
        print(f"{suffix:6}{motion:12}{told}" + ("" if error is None else f"{error:8.2f} um"), flush=True)


if __name__ == "__main__":
    main()
