"""Valid files of each kind that meshtalk reads, small, and the command that reads them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import convert_rig
import official_rig
import rig

from meshtalk.clip import Clip
from meshtalk.export import export
from meshtalk.mesh.head import load_head
from meshtalk.model.checkpoint import save_checkpoint

SOUND_S = 0.4


@dataclass(frozen=True)
class Kind:
    """Files of one kind and what reads them: `{file}` is the mutated one, `{all}` its folder, `{more}` the other files."""

    files: tuple[str, ...]
    """Names in the folder of seeds, of which one is mutated; those of a folder are copied together."""
    commands: tuple[tuple[str, ...], ...]
    weight: int = 1
    """How often it is drawn, relative to the others."""


def outputs(*suffixes: str) -> tuple[tuple[str, ...], ...]:
    return tuple(("export", "{file}", "-o", f"out/{name}") for name in suffixes)


ANIMATE = ("animate", "{file}", "-o", "out/a.npz", "--model", "{more}/model")
ON_FACE = ("animate", "{more}/speech.wav", "-o", "out/a.npz", "--model", "{more}/model", "--template", "{file}")
MADE = ("out/c", "--workers", "1")
RIG = ("arkit", "{more}/linear.npz", "-o", "out/w.csv", "--rig", "{file}")
KINDS: Mapping[str, Kind] = {
    "sound": Kind(("s.wav", "s.flac", "s.ogg", "s.mp3", "s.m4a", "s.mp4"), (ANIMATE,), 3),
    "clip": Kind(
        ("linear.npz", "dense.npz", "take.npz"),
        (
            *outputs("a.csv", "a.npy", "a.pc2", "a.glb", "a.html", "a.usda", "a.abc", "s/%03d.obj", "a.npz", "a.json"),
            ("again", "{file}", "-o", "out/a.npz", "--model", "{more}/model"),
            ("redub", "{file}", "{more}/speech.wav", "-o", "out/a.npz", "--model", "{more}/model"),
            ("arkit", "{file}", "-o", "out/w.csv"),
            ("animate", "{more}/speech.wav", "-o", "out/a.npz", "--model", "{more}/model", "--expression", "{file}"),
        ),
        4,
    ),
    "topology": Kind(("topology.npz",), (("regions", "show", "{file}", "-o", "out/a.png", "--mesh", "{more}/face.ply"),)),
    "map": Kind(("face.map",), (("retarget", "{more}/head.npz", "-o", "out/a.npz", "--map", "{file}"),)),
    "mesh": Kind(
        ("face.obj", "face.ply", "colours.ply", "face.stl", "face.glb", "shapes.glb"),
        (ON_FACE, ("regions", "painted", "{file}", "-o", "out/r.npz"), RIG),
        3,
    ),
    "points": Kind(("points.json",), (("regions", "landmarks", "{more}/face.ply", "{file}", "-o", "out/r.npz"),)),
    "model": Kind(
        ("model/config.json", "model/model.safetensors", "model/topology.npz"),
        (("animate", "{more}/speech.wav", "-o", "out/a.npz", "--model", "{all}"),),
        2,
    ),
    "corpus": Kind(
        ("corpus/manifest.json", "corpus/topology.npz", "corpus/@weights.npy", "corpus/@audio.flac", "corpus/@phones.json"),
        (("corpus", "info", "{all}", "--verify"), ("corpus", "split", "{all}"), ("corpus", "check", "{all}", "--workers", "1")),
        2,
    ),
    "livelink": Kind(("livelink/s0/take.csv",), (("corpus", "convert", "livelink", "{all}", *MADE),)),
    "arkit": Kind(("arkit/s0/take.csv", "arkit/s0/take.json"), (("corpus", "convert", "arkit", "{all}", *MADE),)),
    "beat": Kind(("beat/1/1_wayne_0_1_1.json",), (("corpus", "convert", "beat", "{all}", *MADE),)),
    "transcripts": Kind(("spoken/transcripts.tsv", "spoken/s.wav"), (("corpus", "from-speech", "{all}", *MADE),)),
    "official": Kind(
        ("official/encoder.pkl", "official/vertex_unet.pkl", "official/context_model.pkl"),
        (("import-official", "{all}", "-o", "out/m", "--template", "{more}/official_face.obj"),),
    ),
}  # fmt: skip
"""Name → kind. Folders are copied whole, because their files belong together."""


SLOW = ("map", "official")
"""Kinds whose seeds take seconds to make."""


def make(folder: Path, slow: bool = True) -> None:
    """Write the seeds into an empty folder; those of SLOW kinds only if asked for."""
    clip = replace(rig.make_clip(3, SOUND_S), subject="Zoë <b>&amp;")
    _clips(folder, clip)
    _sounds(folder, clip)
    _meshes(folder)
    if slow:
        _slow(folder)
    _corpora(folder, clip)
    (folder / "speech.wav").write_bytes((folder / "s.wav").read_bytes())


def _clips(folder: Path, clip: Clip) -> None:
    checkpoint = rig.random_checkpoint()
    save_checkpoint(folder / "model", checkpoint)
    clip.save(folder / "linear.npz")
    rig.as_dense(clip).save(folder / "dense.npz")
    rig.TOPOLOGY.save(folder / "topology.npz")
    from meshtalk.inference.animator import load_model

    load_model(folder / "model").animate(clip.audio, clip.sample_rate, seed=1).save(folder / "take.npz")
    load_model().animate(clip.audio, clip.sample_rate, seed=1).save(folder / "head.npz")


def _sounds(folder: Path, clip: Clip) -> None:
    for name, options in {"wav": {}, "flac": {}, "ogg": {}, "mp3": {}}.items():
        soundfile.write(folder / f"s.{name}", clip.audio, clip.sample_rate, format=name.upper(), **options)
    export(clip, folder / "s.mp4")
    import av

    with av.open(str(folder / "s.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=clip.sample_rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(clip.audio[None, :4096].copy(), format="fltp", layout="mono")
        frame.sample_rate = clip.sample_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def _meshes(folder: Path) -> None:
    import json

    from test_scene import Glb
    from trimesh import Trimesh

    from meshtalk.mesh.landmarks import head_landmarks

    convert_rig.write_mesh(folder / "face.ply")
    convert_rig.write_mesh(folder / "face.obj")
    mesh = Trimesh(rig.NEUTRAL, rig.TOPOLOGY.faces, process=False)
    mesh.export(folder / "face.stl")
    mesh.visual.vertex_colors = np.tile([255, 0, 0, 255], (len(rig.NEUTRAL), 1))
    mesh.export(folder / "colours.ply")
    mesh.export(folder / "face.glb")
    made = Glb()
    moves = {
        name: made.sparse(shape) for name, shape in zip(rig.TOPOLOGY.shape_names, rig.TOPOLOGY.shapes, strict=True)
    }
    made.node(mesh=made.mesh(made.array(rig.NEUTRAL), rig.TOPOLOGY.faces, shapes=moves), translation=[0, 0.1, 0])
    made.write(folder / "shapes.glb")
    points = {name: rig.NEUTRAL[k % len(rig.NEUTRAL)].tolist() for k, name in enumerate(head_landmarks())}
    (folder / "points.json").write_text(json.dumps(points))


def _slow(folder: Path) -> None:
    from meshtalk.retarget.build_map import make_map

    head = load_head()
    make_map(head.person("p05").template, head.topology).save(folder / "face.map")
    (folder / "theirs").mkdir()
    official_rig.make_case(folder / "theirs", "5x7")
    (folder / "theirs/official").replace(folder / "official")
    (folder / "theirs/face.obj").replace(folder / "official_face.obj")


def _corpora(folder: Path, clip: Clip) -> None:
    rig.build(folder / "corpus", seconds=SOUND_S)
    for kind in ("livelink", "arkit"):
        (folder / kind / "s0").mkdir(parents=True)
    named = replace(Clip.load(folder / "head.npz"), subject="s0")
    for name in ("livelink/s0/take.livelink.csv", "arkit/s0/take.csv", "arkit/s0/other.json"):
        export(named, folder / name)
    (folder / "livelink/s0/take.livelink.csv").replace(folder / "livelink/s0/take.csv")
    (folder / "arkit/s0/other.json").replace(folder / "arkit/s0/take.json")
    (folder / "beat/1").mkdir(parents=True)
    weights = np.random.default_rng(0).uniform(0, 1, (24, 51))
    (folder / "beat/1/1_wayne_0_1_1.json").write_text(convert_rig.beat_json(weights))
    (folder / "spoken").mkdir()
    (folder / "spoken/transcripts.tsv").write_text("s.wav\tHello there.\tann\n", encoding="utf-8")
    for name in ("livelink/s0/take.wav", "arkit/s0/take.wav", "beat/1/1_wayne_0_1_1.wav", "spoken/s.wav"):
        soundfile.write(folder / name, clip.audio, clip.sample_rate)
