"""Run by Blender's Python: loads a file with `blender_load` and writes the vertices that Blender shows, frame by frame."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import bpy  # type: ignore[reportMissingImports]
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from blender_load import load


def shown(mesh: bpy.types.Object, frame: float) -> np.ndarray:
    """(N,3) metres in our axes: the evaluated mesh in the world, which has +Z up in Blender."""
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
    graph = bpy.context.evaluated_depsgraph_get()
    final = mesh.evaluated_get(graph)
    vertices = final.to_mesh().vertices
    points = np.empty(len(vertices) * 3, np.float32)
    vertices.foreach_get("co", points)
    place = np.array(final.matrix_world)
    world = points.reshape(-1, 3) @ place[:3, :3].T + place[:3, 3]
    return np.stack([world[:, 0], world[:, 2], -world[:, 1]], 1)


def main() -> None:
    """OUT.npz FRAME,FRAME,… then FPS FILE for each: `vertices_0` (n,N,3) of the first and so on, and the scene's timing."""
    out, frames, *pairs = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    told = {"version": np.array(bpy.app.version_string)}
    for k, (fps, file) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        mesh = load(Path(file), Fraction(fps))
        scene = bpy.context.scene
        told[f"vertices_{k}"] = np.stack([shown(mesh, float(frame)) for frame in frames.split(",")])
        told[f"fps_{k}"] = np.array(scene.render.fps / scene.render.fps_base)
        told[f"range_{k}"] = np.array([scene.frame_start, scene.frame_end])
        editor = scene.sequence_editor
        strips = [] if editor is None else list(editor.strips if hasattr(editor, "strips") else editor.sequences)
        told[f"sound_{k}"] = np.array([[strip.frame_start, strip.frame_duration] for strip in strips])
    np.savez(out, **told)


if __name__ == "__main__":
    main()
