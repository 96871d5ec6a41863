"""Miniature data sets, written straight from their layouts, with the truth that a conversion has to find again."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import rig
import soundfile

from meshtalk.clip import Clip
from meshtalk.convert.arkit import Rows, placed
from meshtalk.convert.clocks import settled
from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert

V = rig.TOPOLOGY.n_vertices


class OldPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes text and bytes as Python 2 did."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


def old_pickle(value) -> bytes:
    """As Python 2's protocol 2 wrote it, numpy's module named as it was then."""
    stream = io.BytesIO()
    OldPickler(stream, 2, fix_imports=True).dump(value)
    return stream.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def write_mesh(path: Path, vertices: np.ndarray = rig.NEUTRAL, faces: np.ndarray = rig.TOPOLOGY.faces) -> Path:
    """OBJ or PLY."""
    v = np.asarray(vertices, np.float64)
    if path.suffix == ".obj":
        lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in v] + [
            f"f {a} {b} {c}" for a, b, c in np.asarray(faces) + 1
        ]
    else:
        lines = ["ply", "format ascii 1.0", f"element vertex {len(v)}", "property float x", "property float y"]
        lines += [
            "property float z",
            f"element face {len(faces)}",
            "property list uchar int vertex_indices",
            "end_header",
        ]
        lines += [f"{x:.9g} {y:.9g} {z:.9g}" for x, y, z in v] + [f"3 {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n")
    return path


def take(seed: int, subject: str, fps: int, seconds: float = 1.0) -> Clip:
    """A performance of the rig, as vertices."""
    return rig.as_dense(rig.make_clip(seed, seconds, subject, Fraction(fps)))


def write_noise(path: Path, samples: int, rate: int) -> None:
    """So many samples of 16 bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = np.random.default_rng(samples).uniform(-0.3, 0.3, samples)
    soundfile.write(path, audio, rate, subtype="PCM_16")


def write_wav(path: Path, clip: Clip, rate: int | None = None) -> None:
    """The clip's sound as 16 bit; at another rate it is noise of the same length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if rate is None:
        soundfile.write(path, clip.audio, clip.sample_rate, subtype="PCM_16")
    else:
        write_noise(path, round(clip.duration_s * rate), rate)


def options(folder: Path, **changes: object) -> Options:
    """With the rig's mesh and regions, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rig.TOPOLOGY.save(folder / "regions.npz")
    write_mesh(folder / "face.ply")
    return replace(Options(template=folder / "face.ply", topology=folder / "regions.npz"), **changes)


def converted(kind: str, source: Path, root: Path, given: Options, workers: int = 1):
    """(corpus, report, id → clip)."""
    corpus, report = convert(kind, source, root, given, workers=workers)
    corpus.verify()
    return corpus, report, {info.id: corpus.load(info) for info in corpus.clips}


def same_motion(clip: Clip, truth: np.ndarray, atol_mm: float = 0.02) -> None:
    """(T,V,3) metres, where frames are valid."""
    seen = np.ones(clip.n_frames, bool) if clip.valid is None else clip.valid
    assert clip.n_frames == len(truth)
    np.testing.assert_allclose(clip.vertices[seen] * 1e3, truth[seen] * 1e3, atol=atol_mm)


# ------------------------------------------------------------------------------------------------ VOCASET

VOCA = {
    "s0": "FaceTalk_170728_03272_TA",
    "s1": "FaceTalk_170904_00128_TA",
    "s2": "FaceTalk_170811_03275_TA",
    "s3": "FaceTalk_170809_00138_TA",
}
"""Two people of train, one of val, one of test."""
VOCA_SAID = (("s0", 1), ("s0", 40), ("s1", 7), ("s2", 21), ("s2", 5), ("s3", 40), ("s3", 32))
VOCA_RATE = 22_000


def vocaset_release(root: Path, seconds: float = 0.5):
    """Rows shuffled, frames listed out of order with a gap, no motion for one sentence, no sound for another.

    Returns (id → Clip at 60 frames a second, id → sound as stored).
    """
    root.mkdir(parents=True)
    rng = np.random.default_rng(1)
    truth, sounds, blocks, index, audio = {}, {}, [], {}, {}
    for seed, (who, sentence) in enumerate(VOCA_SAID):
        subject, name = VOCA[who], f"sentence{sentence:02d}"
        clip = take(seed, who, 60, seconds)
        stored = (rng.uniform(-0.4, 0.4, round(clip.duration_s * VOCA_RATE)) * 32768).astype(np.int16)
        audio.setdefault(subject, {})[name] = {"audio": stored, "sample_rate": VOCA_RATE}
        index.setdefault(subject, {})
        if (who, sentence) == ("s3", 32):
            continue
        first = sum(len(block) for block in blocks)
        frames = [k for k in range(clip.n_frames) if not (sentence == 40 and who == "s0" and k in (9, 10))]
        index[subject][name] = {int(k): first + int(k) for k in rng.permutation(frames)}
        blocks.append(clip.vertices)
        truth[f"{subject}-{name}"], sounds[f"{subject}-{name}"] = clip, stored / np.float32(32768)
    del audio[VOCA["s1"]]["sentence07"]
    order = rng.permutation(sum(len(block) for block in blocks))
    place = np.argsort(order)
    index = {s: {q: {f: int(place[r]) for f, r in rows.items()} for q, rows in of.items()} for s, of in index.items()}
    np.save(root / "data_verts.npy", np.concatenate(blocks)[order].astype(np.float32))
    (root / "subj_seq_to_idx.pkl").write_bytes(old_pickle(index))
    (root / "raw_audio_fixed.pkl").write_bytes(old_pickle(audio))
    (root / "templates.pkl").write_bytes(
        old_pickle({VOCA[who]: rig.face(int(who[1:])).astype(np.float64) for who in VOCA})
    )
    return truth, sounds


def vocaset_arrays(root: Path, fps: int = 60, seconds: float = 0.5, said=VOCA_SAID):
    """The form of later papers, all of it right. id → Clip."""
    (root / "vertices_npy").mkdir(parents=True)
    truth = {}
    for seed, (who, sentence) in enumerate(said):
        name = f"{VOCA[who]}_sentence{sentence:02d}"
        clip = take(seed, who, fps, seconds)
        np.save(root / "vertices_npy" / f"{name}.npy", clip.vertices.reshape(clip.n_frames, -1))
        write_wav(root / "wav" / f"{name}.wav", clip)
        truth[name.replace("_sentence", "-sentence")] = clip
    (root / "templates.pkl").write_bytes(pickle.dumps({VOCA[who]: rig.face(int(who[1:])) for who in VOCA}))
    return truth


# ------------------------------------------------------------------------------------------------ others


def vl(vertices: np.ndarray) -> bytes:
    return struct.pack("<i", len(vertices)) + np.asarray(vertices, "<f4").tobytes()


def pc2(frames: np.ndarray, version: int = 1) -> bytes:
    head = struct.pack("<12siiffi", b"POINTCACHE2\0", version, frames.shape[1], 0.0, 1.0, len(frames))
    return head + np.asarray(frames, "<f4").tobytes()


def _chunk(tag: bytes, content: bytes) -> bytes:
    return tag + struct.pack(">I", len(content)) + content + b"\0" * (-len(content) % 4)


def _group(kind: bytes, content: bytes) -> bytes:
    return b"FOR4" + struct.pack(">I", 4 + len(content)) + kind + content


def mc(samples: dict[int, np.ndarray], channel: str, doubles: bool = False, timed: bool = True) -> bytes:
    """One .mc file of samples by their ticks; without `timed` its header alone says when (one file a frame)."""
    ticks = list(samples)
    out = _group(
        b"CACH",
        _chunk(b"VRSN", b"0.1\0") + _chunk(b"STIM", struct.pack(">i", min(ticks))) + _chunk(b"ETIM", struct.pack(">i", max(ticks))),
    )  # fmt: skip
    for tick, points in samples.items():
        kind, numbers = (b"DVCA", ">f8") if doubles else (b"FVCA", ">f4")
        body = _chunk(b"TIME", struct.pack(">i", tick)) if timed else b""
        for name, vectors in (("otherShape", np.zeros((2, 3))), (channel, points)):
            body += _chunk(b"CHNM", name.encode() + b"\0") + _chunk(b"SIZE", struct.pack(">I", len(vectors)))
            body += _chunk(kind, np.asarray(vectors, numbers).tobytes())
        out += _group(b"MYCH", body)
    return out


def mc_xml(channel: str, ticks: int = 200, one_file: bool = True, format: str = "mcc") -> str:
    kind = "OneFile" if one_file else "OneFilePerFrame"
    return (
        f'<?xml version="1.0"?>\n<Autodesk_Cache_File>\n  <cacheType Type="{kind}" Format="{format}"/>\n'
        f'  <time Range="0-6000"/>\n  <cacheTimePerFrame TimePerFrame="{ticks}"/>\n  <cacheVersion Version="2.0"/>\n'
        f'  <Channels>\n    <channel0 ChannelName="{channel}" ChannelType="FloatVectorArray"'
        f' ChannelInterpretation="positions" SamplingType="Regular" SamplingRate="{ticks}"/>\n  </Channels>\n'
        "</Autodesk_Cache_File>\n"
    )


def timecode(frame: int, nominal: int, part: str = "") -> str:
    seconds, frames = divmod(frame, nominal)
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}{part}"


def livelink_csv(weights: np.ndarray, names, first: int, kept, nominal: int = 60) -> str:
    """Live Link Face's 63 columns, of the rows in `kept` in their order."""
    extra = [f"{what}{axis}" for what in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")]
    head = ["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in names), *extra]
    rows = [",".join(head)]
    for k in kept:
        numbers = [f"{value:.9f}" for value in weights[k]] + ["0.1"] * len(extra)
        rows.append(",".join([timecode(first + k, nominal, ".417"), "61", *numbers]))
    return "\n".join(rows) + "\n"


def beat_json(weights: np.ndarray, names=None, times=None) -> str:
    frames = [{"weights": [round(float(x), 6) for x in row], "rotation": []} for row in weights]
    if times is not None:
        frames = [frame | {"time": float(time)} for frame, time in zip(frames, times, strict=True)]
    return json.dumps(({"names": list(names)} if names is not None else {}) | {"frames": frames})


def rows_of(read: Callable[[Path], Rows], path: Path, fps: Fraction) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """(N names, (n,N) weights, (n,) frame number of each row) of a file at a rate that the user gave."""
    rows = read(path)
    order, index = placed(settled(rows.clock, fps, None), fps, path)
    return rows.names, rows.weights[order], index
