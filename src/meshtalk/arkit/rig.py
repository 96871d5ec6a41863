"""A user's rig on a clip's mesh: blendshapes from a GLB, a topology, or a folder of meshes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meshtalk.arkit.names import ABOVE, BELOW
from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.mesh.files import SCENES, read_mesh
from meshtalk.mesh.scene import Mesh
from meshtalk.mesh.topology import Topology
from meshtalk.mesh.units import check_template, find_like

NEUTRAL = ("neutral", "base", "basis", "rest")
"""Names of a folder's neutral mesh, in any case."""
SAME_M = 2e-4
"""Vertices of rig and clip that are nearer are one."""


def load_rig(path: str | Path, clip: Clip) -> Topology:
    """A clip's topology with the shapes of a rig of the same mesh.

    Args:
        path: a `.npz` of `Topology.save`; a `.glb` or `.vrm` with named morph targets, whose meshes are joined as everywhere;
            or a folder with neutral.obj and a mesh for each shape, named after it (.obj, .ply). Unit and axes are found. A
            scene may double vertices at seams, or hold more than the clip's mesh: then those of the clip are found by their
            place, on the same person's face.

    Raises:
        InputError: no rig, or of another mesh.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        rig = Topology.load(path)
        if rig.shapes is None:
            raise InputError(f"{path} is a topology without blendshapes. Give one with shapes, or a GLB.")
        if rig.hash != clip.topology.hash:
            raise _other_mesh(path, rig.n_vertices, clip)
        return replace(clip.topology, shape_names=rig.shape_names, shapes=rig.shapes)
    if path.is_dir():
        mesh, shapes = _read_folder(path)
    elif path.suffix.lower() in SCENES:
        mesh = read_mesh(path, SCENES, shapes=True)
        # a clip's own file: what carries its weights beyond 0 and 1 is no shape of the rig
        shapes = {name: shape for name, shape in mesh.shapes.items() if not name.endswith((BELOW, ABOVE))}
        if not shapes:
            raise InputError(f"{path} has no mesh with named morph targets. Export it with its shape keys.")
    else:
        raise InputError(
            f"a rig must be a .glb with morph targets, a topology (.npz) or a folder of meshes, got {path}"
        )
    return _on_clip(mesh, shapes, clip, path)


def _other_mesh(path: Path, n_vertices: int, clip: Clip) -> InputError:
    return InputError(
        f"{path} is a rig of another mesh ({n_vertices} vertices, the clip has {clip.topology.n_vertices}). Retarget the"
        " clip to the rig's mesh first, or give the shapes on the clip's mesh."
    )


def _on_clip(mesh: Mesh, shapes: dict[str, np.ndarray], clip: Clip, path: Path) -> Topology:
    """The clip's topology with the shapes of its vertices: the same ones if the triangles agree, else those at their places."""
    n_vertices, faces = clip.topology.n_vertices, clip.topology.faces
    numbered = len(mesh.vertices) == n_vertices and (not len(mesh.faces) or np.array_equal(mesh.faces, faces))
    space = find_like(mesh.vertices, clip.template, numbered=numbered)
    neutral, rows = space.apply(mesh.vertices), np.arange(n_vertices)
    if numbered:
        check_template(neutral, clip.topology, str(path))
    else:
        from scipy.spatial import KDTree

        far, rows = KDTree(neutral).query(clip.template)
        if far.max() > SAME_M:
            raise _other_mesh(path, len(neutral), clip)
    moved = np.stack([space.apply(shape[rows]) for shape in shapes.values()])
    return replace(clip.topology, shape_names=tuple(shapes), shapes=moved)


def _read_folder(path: Path) -> tuple[Mesh, dict[str, np.ndarray]]:
    """(neutral mesh, name → (V,3) displacement)."""
    meshes = sorted(file for file in path.iterdir() if file.suffix.lower() in (".obj", ".ply"))
    neutral = [file for file in meshes if file.stem.lower() in NEUTRAL]
    moved = [file for file in meshes if file not in neutral]
    if len(neutral) != 1 or not moved:
        raise InputError(
            f"{path} has {len(neutral)} neutral meshes and {len(moved)} shapes. Put neutral.obj there and a mesh for each shape"
            " under its name, such as jawOpen.obj."
        )
    mesh, shapes = read_mesh(neutral[0]), {}
    for file in moved:
        vertices = read_mesh(file).vertices
        if vertices.shape != mesh.vertices.shape:
            raise InputError(
                f"{file} has {len(vertices)} vertices, {neutral[0].name} has {len(mesh.vertices)}. Export both alike."
            )
        shapes[file.stem] = vertices - mesh.vertices
    return mesh, shapes
