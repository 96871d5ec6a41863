"""Vertices, meshes and pictures as files, read back by other programs' readers: all numbers are the clip's."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from test_export import RATE, make_clip
from test_mp4 import read_film

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export import export, write_mp4
from meshtalk.render import Look, Renderer
from meshtalk.render.scene import looks
from meshtalk.resample import at_rate

GAP = slice(7, 10)


def with_gap(clip: Clip) -> Clip:
    """The same, of which capture missed some frames: they hold what nobody may see."""
    displacement, valid = clip.displacements().copy(), np.ones(clip.n_frames, bool)
    displacement[GAP], valid[GAP] = 0.07, False
    return replace(clip, displacement=displacement, weights=None, basis=None, basis_names=(), valid=valid)


def check_sound(path: Path, clip: Clip) -> None:
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == clip.sample_rate
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(sound, np.clip(clip.audio, -1, 1), atol=2**-15)


def read_pc2(path: Path) -> tuple[np.ndarray, float, float]:
    """(samples, points, 3), first frame, frames between samples: by the format's description."""
    data = path.read_bytes()
    signature, version, points, first, step, samples = struct.unpack_from("<12siiffi", data)
    assert signature == b"POINTCACHE2\0"
    assert version == 1
    assert len(data) == 32 + 12 * points * samples
    return np.frombuffer(data, "<f4", offset=32).reshape(samples, points, 3), first, step


@pytest.mark.parametrize("gap", [False, True])
def test_vertices_alone(tmp_path, gap):
    clip = with_gap(make_clip()) if gap else make_clip()
    expected = clip.frames()
    if gap:
        expected[GAP] = np.nan
    stored = np.load(export(clip, tmp_path / "a.npy"), mmap_mode="r")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, expected)
    check_sound(tmp_path / "a_sound.wav", clip)

    if gap:
        expected[GAP] = expected[GAP.start - 1]
    cache, first, step = read_pc2(export(clip, tmp_path / "b.pc2"))
    assert (first, step) == (0, 1)
    np.testing.assert_array_equal(cache, expected)
    check_sound(tmp_path / "b_sound.wav", clip)
    neutral = read_mesh(tmp_path / "b_neutral.obj")
    np.testing.assert_allclose(neutral.triangles, clip.template[clip.topology.faces], atol=1e-7)
    assert set(os.listdir(tmp_path)) == {"a.npy", "a_sound.wav", "b.pc2", "b_sound.wav", "b_neutral.obj"}


def read_mesh(path: Path):
    import trimesh

    return trimesh.load(path, process=False, maintain_order=True, force="mesh")


def outward(mesh) -> float:
    """Smallest cosine between a ball's normals and the way out, away from its poles."""
    vertices = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    return float((vertices * mesh.vertex_normals).sum(1)[np.abs(vertices[:, 1]) < 0.8].min())


@pytest.mark.parametrize("textured", [False, True])
def test_obj_files(tmp_path, textured):
    clip = with_gap(make_clip(textured=textured))
    clip.displacement = clip.displacement / 4  # still a ball
    export(clip, tmp_path / "face" / "f_%04d.obj")
    files = sorted((tmp_path / "face").glob("*.obj"))
    assert [path.name for path in files] == [f"f_{k:04d}.obj" for k in range(20) if not GAP.start <= k < GAP.stop]
    for k, path in ((k, tmp_path / "face" / f"f_{k:04d}.obj") for k in (0, 6, 10, 19)):
        mesh = read_mesh(path)
        np.testing.assert_allclose(mesh.triangles, clip.frames(k, k + 1)[0][clip.topology.faces], atol=1e-7)
        assert outward(mesh) > 0.9
        np.testing.assert_allclose(mesh.visual.uv[mesh.faces], clip.topology.uvs[clip.topology.uv_faces], atol=1e-6)
    if textured:
        with Image.open(tmp_path / "face" / "texture.png") as stored:
            np.testing.assert_array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), np.asarray(stored))
        assert (tmp_path / "face" / "texture.png").read_bytes() == clip.topology.texture_png
    else:
        assert not (tmp_path / "face" / "texture.png").exists()
    check_sound(tmp_path / "face" / "sound.wav", clip)


def test_obj_has_the_colours_of_skin_and_parts(tmp_path):
    clip = make_clip(n_frames=1)
    parts = (clip.template[:, 0] > 0.02).astype(np.uint8)
    clip.topology, clip.tint = replace(clip.topology, parts=parts, part_names=("skin", "upper_teeth")), (0.5, 0.4, 0.3)
    export(clip, tmp_path / "face" / "%d.obj")
    words = [line.split() for line in (tmp_path / "face" / "face.mtl").read_text().splitlines()]
    starts = [k for k, (word, *_) in enumerate(words) if word == "newmtl"]
    colours = {words[k][1]: [float(number) for number in words[k + 1][1:]] for k in starts}
    used, found = "", []
    for word, *rest in (line.split() for line in (tmp_path / "face" / "0.obj").read_text().splitlines()):
        if word == "usemtl":
            used = rest[0]
        elif word == "f":
            found.append(colours[used])
    np.testing.assert_allclose(found, looks(clip.topology, clip.tint)[clip.topology.faces[:, 0], :3], atol=1e-4)
    assert len(np.unique(found, axis=0)) == 2


def test_obj_without_texture_coordinates(tmp_path):
    clip = make_clip(n_frames=2)
    clip.topology = replace(clip.topology, uvs=None, uv_faces=None)
    export(clip, tmp_path / "face" / "%d.obj")
    mesh = read_mesh(tmp_path / "face" / "1.obj")
    np.testing.assert_allclose(mesh.vertices, clip.frames(1, 2)[0], atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, clip.topology.faces)


def test_ply_files(tmp_path):
    clip = with_gap(make_clip())
    clip.displacement = clip.displacement / 4
    export(clip, tmp_path / "face" / "%d.ply")
    expected = {f"{k}.ply" for k in range(20) if not GAP.start <= k < GAP.stop} | {"sound.wav"}
    assert set(os.listdir(tmp_path / "face")) == expected
    for k in (0, 6, 10, 19):
        mesh = read_mesh(tmp_path / "face" / f"{k}.ply")
        np.testing.assert_array_equal(mesh.vertices.astype(np.float32), clip.frames(k, k + 1)[0])
        np.testing.assert_array_equal(mesh.faces, clip.topology.faces)
        assert outward(mesh) > 0.9
    check_sound(tmp_path / "face" / "sound.wav", clip)


@pytest.mark.parametrize(
    "name", ["face.obj", "face/mesh.ply", "face/%d_%d.obj", "face/%s.ply", "face/%5d.obj", "100%.ply"]
)
def test_meshes_need_one_place_for_the_number(tmp_path, name):
    with pytest.raises(InputError, match=r"one file per frame\. Give .*/%05d\.(obj|ply)\.$"):
        export(make_clip(n_frames=2), tmp_path / name)
    assert not os.listdir(tmp_path)


def read_gif(path: Path) -> list[tuple[float, np.ndarray]]:
    """[(seconds, (H,W,3))]."""
    import av

    with av.open(str(path)) as film:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in film.decode(video=0)]


@pytest.mark.parametrize(("fps", "every"), [(12, 1), (Fraction(30000, 1001), 1), (50, 1), (60, 2)])
def test_gif_shows_frames_at_their_time_in_their_colours(tmp_path, fps, every):
    clip = make_clip(fps, n_frames=9, textured=True)
    export(clip, tmp_path / "a.gif", Look(light="soft"))
    pictures = read_gif(tmp_path / "a.gif")
    assert len(pictures) == -(-9 // every)
    assert max(abs(time - n * every / fps) for n, (time, _) in enumerate(pictures)) <= 0.005 + 1e-9
    renderer = Renderer(clip.topology, clip.template, 320, 320, Look(light="soft"))
    for n in (0, len(pictures) - 1):
        drawn = renderer.frame(clip.frames(n * every, n * every + 1)[0]).astype(int)
        assert np.abs(drawn - pictures[n][1]).mean() < 6
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.info["loop"] == 0, "for ever"
        durations = []
        for n in range(picture.n_frames):
            picture.seek(n)
            durations.append(picture.info["duration"] / 1e3)
    assert sum(durations) == pytest.approx(float(9 / fps), abs=0.005 + 1e-9), "as long as the clip"


def test_gif_holds_the_picture_where_capture_missed_a_frame(tmp_path):
    export(with_gap(make_clip(12)), tmp_path / "a.gif")
    times = [time for time, _ in read_gif(tmp_path / "a.gif")]
    pictures = [picture.astype(int) for _, picture in read_gif(tmp_path / "a.gif")]
    assert times[-1] == pytest.approx(19 / 12, abs=0.006)
    for k in range(GAP.start, GAP.stop):
        np.testing.assert_array_equal(pictures[k], pictures[GAP.start - 1])
    assert np.abs(pictures[GAP.stop] - pictures[GAP.start - 1]).mean() > 0.1


def test_png_is_a_sheet_of_frames_and_curves(tmp_path):
    clip = make_clip()
    sizes = set()
    for name, look in (("front", None), ("side", Look("profile", "dramatic"))):
        with Image.open(export(clip, tmp_path / f"{name}.png", look)) as picture:
            sizes.add(picture.size)
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels.std() > 20
    assert len(sizes) == 1
    assert (tmp_path / "front.png").read_bytes() != (tmp_path / "side.png").read_bytes()


@pytest.mark.parametrize("fps", [24, 50, Fraction(30000, 1001)])
def test_sound_and_picture_stay_together_at_another_rate(tmp_path, fps):
    """A ball that jumps away and back, and a click in the middle of it."""
    at_s = 0.5
    clip = make_clip(30, n_frames=30)
    clip.basis = np.broadcast_to(np.float32((0.1, 0, 0)), clip.basis.shape).copy()
    clip.weights = np.zeros_like(clip.weights)
    clip.weights[14:17] = 1 / 3
    clip.audio = np.zeros_like(clip.audio)
    clip.audio[round(at_s * RATE) - 20 : round(at_s * RATE) + 20] = 0.9
    write_mp4(at_rate(clip, Fraction(fps)), tmp_path / "a.mp4", size=(64, 64))
    pictures, sound, rate = read_film(tmp_path / "a.mp4")
    assert len(pictures) == np.ceil(fps)
    assert float(pictures[-1][0]) == pytest.approx((len(pictures) - 1) / fps, abs=1e-3)
    away = np.array([np.abs(picture.astype(int) - pictures[0][1]).mean() for _, picture in pictures])
    seen_s = np.mean([float(time) for time, _ in np.array(pictures, object)[away > away.max() / 2]])
    loud = np.flatnonzero(np.abs(sound) > 0.45) / rate
    assert abs(seen_s - (loud[0] + loud[-1]) / 2) < 0.5 / fps


def test_the_recipe_of_contributing_writes_what_it_says(tmp_path):
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    code = re.search(r" *```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    made: dict[str, Any] = {}
    exec(dedent(code[1]), made)
    clip = with_gap(make_clip())
    made["write_xyz"](clip, tmp_path / "a.xyz")
    expected = clip.vertices.copy()
    expected[GAP] = expected[GAP.start - 1]
    np.testing.assert_allclose(np.loadtxt(tmp_path / "a.xyz"), expected.reshape(-1, 3), atol=1e-6)
    check_sound(tmp_path / "a_sound.wav", clip)
