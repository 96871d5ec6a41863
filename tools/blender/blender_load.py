"""Opens what meshtalk wrote in Blender, ready to play: mesh, motion, sound, frame rate.

    blender --python tools/blender/blender_load.py -- talk.glb
    blender --background --python tools/blender/blender_load.py -- talk.glb --save talk.blend

Also for .usdc, .usda, .abc, and NAME.pc2 beside its NAME_neutral.obj. It needs nothing but Blender (4.5), or `pip install bpy`.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from fractions import Fraction
from pathlib import Path

import bpy  # type: ignore[reportMissingImports]


def load(path: Path, fps: Fraction | None = None) -> bpy.types.Object:
    """Make the scene anew with one of our files in it; frame k of the scene is frame k of the clip.

    Args:
        fps: frames a second, for all but a .glb, which tells; default 30.

    Returns:
        The mesh object.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = nominal(fps or Fraction(30))
    kind = path.suffix.lower()
    if kind == ".glb":
        rate, last = glb_timing(path)
        whole, base = nominal(rate)
        # Blender's reader counts fps · fps_base frames a second, its clock fps / fps_base
        scene.render.fps, scene.render.fps_base = whole, 1 / base
        bpy.ops.import_scene.gltf(filepath=str(path))
        scene.render.fps_base = base
        set_range(scene, last)
    elif kind in (".usdc", ".usda"):
        bpy.ops.wm.usd_import(filepath=str(path), set_frame_range=True)
    elif kind == ".abc":
        bpy.ops.wm.alembic_import(filepath=str(path), set_frame_range=True, as_background_job=False)
    elif kind == ".pc2":
        bpy.ops.wm.obj_import(filepath=str(path.with_name(path.stem + "_neutral.obj")))
        set_range(scene, add_cache(mesh_of(scene), path))
    else:
        raise SystemExit(f"{path.name}: give a .glb, .usdc, .usda, .abc or .pc2")
    add_sound(scene, path)
    return mesh_of(scene)


def glb_timing(path: Path) -> tuple[Fraction, int]:
    """Frame rate and number of the last frame, as meshtalk writes them."""
    with path.open("rb") as stream:
        size = struct.unpack("<5I", stream.read(20))[3]
        document = json.loads(stream.read(size))
    animation = document["animations"][0]
    rate = Fraction(animation["extras"]["fps"]).limit_denominator(1001)
    end_s = document["accessors"][animation["samplers"][0]["input"]]["max"][0]
    return rate, round(end_s * rate)


def nominal(rate: Fraction) -> tuple[int, float]:
    """Blender's fps and fps_base: 30 and 1.001 for 30000/1001."""
    whole = -(-rate.numerator // rate.denominator)
    return whole, float(whole / rate)


def set_range(scene: bpy.types.Scene, last: int) -> None:
    scene.frame_start, scene.frame_end = 0, last


def add_cache(mesh: bpy.types.Object, path: Path) -> int:
    """Let a .pc2 move a mesh; returns the number of its last frame."""
    cache = mesh.modifiers.new("speech", "MESH_CACHE")
    cache.cache_format, cache.filepath = "PC2", str(path)
    cache.frame_start = 0
    # as the OBJ reader turned the object and not its points, the points are still ours
    cache.forward_axis, cache.up_axis = "POS_Y", "POS_Z"
    with path.open("rb") as stream:
        frames = struct.unpack("<12siiffi", stream.read(32))[5]
    return frames - 1


def add_sound(scene: bpy.types.Scene, path: Path) -> None:
    sound = path.with_name(path.stem + "_sound.wav")
    if sound.is_file():
        editor = scene.sequence_editor_create()
        strips = editor.strips if hasattr(editor, "strips") else editor.sequences
        strips.new_sound(sound.stem, str(sound), channel=1, frame_start=0)
        scene.sync_mode = "AUDIO_SYNC"


def mesh_of(scene: bpy.types.Scene) -> bpy.types.Object:
    return next(thing for thing in scene.objects if thing.type == "MESH")


def main() -> None:
    parser = argparse.ArgumentParser(prog="blender_load.py", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--fps", type=Fraction, help="of all but a .glb: 30 (default), 25, 30000/1001, …")
    parser.add_argument("--save", type=Path, help="write a .blend and end")
    given = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
    load(given.file.absolute(), given.fps)
    if given.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(given.save.absolute()))


if __name__ == "__main__":
    main()
