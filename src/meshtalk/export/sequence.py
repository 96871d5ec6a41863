"""Mesh sequences: a folder with one OBJ (text, with texture) or PLY (binary) per frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import captured, colours, keys, normals, write_sound
from meshtalk.files import atomic_folder
from meshtalk.mesh.topology import Topology
from meshtalk.progress import Show

PATTERN = re.compile("%(0[1-9])?d")
"""Where a frame's number stands in a file name, as in C: `%05d`."""


def check_pattern(path: Path) -> None:
    """Raise InputError unless the file name has one place for the frame's number."""
    if not PATTERN.search(path.name) or path.name.count("%") != 1:
        folder = path.stem.partition("%")[0] or "face"
        raise InputError(
            f"cannot write {path}: {path.suffix} holds one mesh, so a clip needs one file per frame"
            f". Give a folder and a pattern for the number, such as {folder}/%05d{path.suffix}."
        )


def write_obj(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write frame k to `path` with k in place of `%05d`: positions, texture coordinates, normals, triangles.

    The folder of `path` is made; it also gets `face.mtl`, the texture and `sound.wav`. Frames that capture missed have no file.

    Raises:
        InputError: no place for the number in the name, the folder exists and is not empty, or an empty clip.
    """
    found, which = colours(clip)
    heading, triangles = _obj_ends(clip.topology, which)
    heading = ["mtllib face.mtl\n", *heading]

    def write(file: Path, mesh: np.ndarray) -> None:
        with open(file, "w", encoding="ascii", newline="\n") as stream:
            stream.writelines(
                (_rows("v", 7, mesh), *heading, _rows("vn", 4, normals(mesh, clip.topology.faces)), triangles)
            )

    def extras(folder: Path) -> None:
        (folder / "face.mtl").write_text(_materials(found, clip.topology.texture_png is not None), encoding="ascii")
        if clip.topology.texture_png is not None:
            (folder / "texture.png").write_bytes(clip.topology.texture_png)

    _write(clip, path, write, extras, progress)


def write_ply(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write frame k to `path` with k in place of `%05d`, binary: positions, normals, triangles.

    The folder of `path` is made; it also gets `sound.wav`. Frames that capture missed have no file.

    Raises:
        InputError: no place for the number in the name, the folder exists and is not empty, or an empty clip.
    """
    n_vertices, faces = clip.topology.n_vertices, np.asarray(clip.topology.faces, "<i4")
    triangles = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, faces
    ending = triangles.tobytes()
    fields = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment meshtalk, metres\nelement vertex {n_vertices}\n{fields}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode("ascii")

    def write(file: Path, mesh: np.ndarray) -> None:
        rows = np.concatenate([mesh, normals(mesh, faces)], 1).astype("<f4")
        file.write_bytes(header + rows.tobytes() + ending)

    _write(clip, path, write, lambda folder: None, progress)


def write_neutral(clip: Clip, path: Path) -> None:
    """Write the neutral face as one OBJ, its vertices in the clip's order."""
    heading, triangles = _obj_ends(clip.topology)
    text = (
        _rows("v", 7, clip.template),
        *heading,
        _rows("vn", 4, normals(clip.template, clip.topology.faces)),
        triangles,
    )
    path.write_text("".join(text), encoding="ascii", newline="\n")


def _write(
    clip: Clip,
    path: Path,
    write: Callable[[Path, np.ndarray], None],
    extras: Callable[[Path], None],
    progress: Show | None,
) -> None:
    check_pattern(path)
    keys(clip)
    with atomic_folder(path.parent) as folder:
        for k, mesh in captured(clip, progress):
            write(folder / (path.name % k), mesh)
        if len(clip.audio):
            write_sound(clip, folder / "sound.wav")
        extras(folder)


def _rows(word: str, digits: int, values: np.ndarray) -> str:
    """Lines of a keyword and numbers: seven digits of a metre are a tenth of a micrometre."""
    line = f"{word}{f' %.{digits}f' * values.shape[1]}\n"
    return (line * len(values)) % tuple(values.ravel().tolist())


def _obj_ends(topology: Topology, which: np.ndarray | None = None) -> tuple[list[str], str]:
    """What follows the positions and does not move: texture coordinates; triangles with OBJ's numbers, which start at 1.

    Args:
        which: (F,) number of each triangle's material.
    """
    faces = np.asarray(topology.faces) + 1
    heading, corner, columns = [], "%d//%d", [faces, faces]
    if topology.uvs is not None and topology.uv_faces is not None:
        heading, corner = [_rows("vt", 6, topology.uvs)], "%d/%d/%d"
        columns = [faces, np.asarray(topology.uv_faces) + 1, faces]
    line = f"f {corner} {corner} {corner}\n"
    lines = [line] * len(faces)
    if which is not None:  # in the clip's order, so a material may be named more than once
        for first in np.flatnonzero(np.diff(which, prepend=-1)):
            lines[first] = f"usemtl face_{which[first]}\n{line}"
    return heading, "".join(lines) % tuple(np.stack(columns, 2).ravel().tolist())


def _materials(found: np.ndarray, textured: bool) -> str:
    """MTL of base colours (M,3), which are linear light."""
    texture = "map_Kd texture.png\n" if textured else ""
    return "".join(
        f"newmtl face_{k}\nKd {red:.4f} {green:.4f} {blue:.4f}\nKs 0.04 0.04 0.04\nNs 30\n{texture}"
        for k, (red, green, blue) in enumerate(found.tolist())
    )
