"""How far Blender's vertices are from a clip's: exports the clip, opens the files in Blender, compares frame by frame.

    python tools/blender/check_in_blender.py CLIP.npz [--formats .glb .usdc .pc2] [--blender PATH]

PATH is Blender or a Python with bpy; else MESHTALK_BLENDER, what `make blender` made, or `blender` on the path is taken.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.glb import split_seams

HERE = Path(__file__).parent
MADE = HERE.parents[1] / ".cache/blender"
"""Of `make blender`."""


class Seen(NamedTuple):
    """What Blender made of one file."""

    errors_mm: np.ndarray
    """(n,) the longest way of a vertex to where the clip has it, at each of the frames."""
    fps: float
    frame_range: tuple[int, int]
    sound: list[list[float]]
    """[first frame, length in frames] of each sound."""
    blender: str
    """Its version."""


def find_blender() -> str | None:
    """Blender, or a Python with bpy; None if there is neither."""
    if named := os.environ.get("MESHTALK_BLENDER"):
        return named
    return str(MADE / "bin/python") if (MADE / "ready").exists() else shutil.which("blender")


def see(blender: str, files: Sequence[tuple[Clip, Path]], frames: Sequence[float]) -> list[Seen]:
    """Open exports of clips in Blender and compare.

    Args:
        frames: numbers of frames, fractions between them too.

    Raises:
        InputError: Blender failed, or shows a mesh with another number of vertices.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen.npz"
        words = [str(out), ",".join(map(str, frames))]
        for clip, file in files:
            words += [str(clip.fps), str(file.absolute())]
        script = str(HERE / "_read_in_blender.py")
        is_python = Path(blender).name.startswith("python")
        start = [blender, script] if is_python else [blender, "--background", "--python", script, "--"]
        ran = subprocess.run([*start, *words], capture_output=True, text=True)
        if not out.is_file():
            raise InputError(f"{blender} failed : {ran.stdout[-1500:]}{ran.stderr[-1500:]}")
        told = dict(np.load(out))
    seen = []
    for k, (clip, file) in enumerate(files):
        rows = used_vertices(clip) if file.suffix.lower() == ".glb" else np.arange(clip.topology.n_vertices)
        vertices = told[f"vertices_{k}"]
        if vertices.shape[1] != len(rows):
            raise InputError(f"{file.name}: Blender shows {vertices.shape[1]} vertices, {len(rows)} were written")
        pairs = zip(vertices, frames, strict=True)
        errors = [1e3 * np.linalg.norm(mesh - at(clip, frame)[rows], axis=1).max() for mesh, frame in pairs]
        first, last = (int(n) for n in told[f"range_{k}"])
        sound = told[f"sound_{k}"].tolist()
        seen.append(Seen(np.array(errors), float(told[f"fps_{k}"]), (first, last), sound, str(told["version"])))
    return seen


def used_vertices(clip: Clip) -> np.ndarray:
    """The clip's vertex of each that Blender makes of a GLB: it leaves out those in no triangle."""
    source, _, corners = split_seams(clip.topology)
    return source[np.unique(corners)]


def at(clip: Clip, frame: float) -> np.ndarray:
    """(V,3) the clip at a frame, linear in between."""
    low, share = int(frame), frame - int(frame)
    near = clip.frames(low, low + 2)
    return near[0] if share == 0 else (1 - share) * near[0] + share * near[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--formats", nargs="+", default=[".glb"])
    parser.add_argument("--blender", default=find_blender())
    given = parser.parse_args()
    if given.blender is None:
        raise SystemExit("no Blender was found : make blender, or --blender PATH")
    clip = Clip.load(given.clip)
    last = clip.n_frames - 1
    frames = sorted({0, 1, last // 3, last // 2, last // 2 + 0.5, last})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the errors are told below
        files = [(clip, clip.save(Path(folder) / f"clip{kind}")) for kind in given.formats]
        for kind, seen in zip(given.formats, see(given.blender, files, frames), strict=True):
            print(
                f"Blender {seen.blender}, {kind}: largest vertex error {seen.errors_mm.max():.5f} mm at frames {frames};"
            )
            print(f"  {seen.fps:.3f} frames a second, frames {seen.frame_range}, sound {seen.sound}")


if __name__ == "__main__":
    main()
