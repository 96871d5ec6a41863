"""Data sets of vertices: BIWI, Audio2Face-3D and any folder, against the performances they were written from."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import convert_rig
import numpy as np
import pytest
import rig
from convert_rig import V, converted, mc, mc_xml, options, pc2, same_motion, take, vl, write_mesh, write_wav

from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert
from meshtalk.errors import InputError

# ------------------------------------------------------------------------------------------------ BIWI

BIWI_SAID = (("F2", "e01"), ("F2", "e34"), ("M5", "e40"), ("F1", "e37"), ("F1", "e12"), ("F2", "05"), ("M9", "e01"))


def biwi(root: Path) -> dict[str, convert_rig.Clip]:
    """The form of later papers, in decimetres."""
    (root / "vertices_npy").mkdir(parents=True)
    truth = {}
    for seed, (who, sentence) in enumerate(BIWI_SAID):
        clip = take(seed, f"s{seed}", 25)
        np.save(root / "vertices_npy" / f"{who}_{sentence}.npy", (clip.vertices * 10).reshape(clip.n_frames, -1))
        write_wav(root / "wav" / f"{who}_{sentence}.wav", clip, 44_100)
        truth[f"{who}-{sentence}"] = replace(clip, template=clip.template)
    faces = {who: truth[f"{who}-{s}"].template * 10.0 for who, s in BIWI_SAID if who != "M9"}
    # one neutral face a person: that of their last recording here
    (root / "templates.pkl").write_bytes(pickle.dumps(faces, 2))
    return truth


def test_biwi_arrays_and_their_four_parts(tmp_path):
    truth = biwi(tmp_path / "b")
    (tmp_path / "b/wav/M5_e40.wav").write_bytes(b"RIFF")
    corpus, report, clips = converted("biwi", tmp_path / "b", tmp_path / "c", options(tmp_path))
    assert corpus.fps == 25
    assert {info.id: (info.split, info.official) for info in corpus.clips} == {
        "F2-e01": ("train", "train"), "F2-e34": ("val", "val"), "F1-e37": ("test", "test_b"),
    }  # fmt: skip
    for name, clip in clips.items():
        same_motion(clip, truth[name].vertices, atol_mm=0.03)
        assert (clip.sample_rate, len(clip.audio)) == (44_100, 44_100)
    assert "M5-e40" in report.dropped
    assert report.left_out == {"outside the official splits": 2, "M9 has no template": 1}
    assert report.notes[0].startswith("a unit is 0.1 m")
    assert report.splits["test_b"]["clips"] == report.splits["test"]["clips"] == 1


def test_official_parts_are_splits_for_measures(tmp_path):
    from meshtalk.evaluation.baselines import split_of

    biwi(tmp_path / "b")
    corpus, _, _ = converted("biwi", tmp_path / "b", tmp_path / "c", options(tmp_path))
    assert [info.id for info in split_of(corpus, "test_a")] == ["M5-e40"]
    assert [info.id for info in split_of(corpus, "test")] == ["M5-e40", "F1-e37"]
    with pytest.raises(InputError, match="it has: test, test_a, test_b, train, val"):
        split_of(corpus, "test_c")


def test_biwi_release(tmp_path):
    """A file a frame, in millimetres, numbers with a gap, one file broken, sound and neutral mesh in folders of their own."""
    clip = take(3, "s1", 25)
    folder = tmp_path / "b/faces/F2/e01"
    folder.mkdir(parents=True)
    for k, frame in enumerate(clip.vertices * 1e3):
        (folder / f"frame_{k + 98}.vl").write_bytes(vl(frame))
    (folder / "frame_101.vl").unlink()
    (folder / "frame_105.vl").write_bytes(vl(clip.vertices[7])[:-4])
    write_wav(tmp_path / "b/audio/F2/e01_cut.wav", clip, 44_100)
    (tmp_path / "b/rigid").mkdir()
    write_mesh(tmp_path / "b/rigid/F2.obj", rig.face(1) * 1e3)
    _, report, clips = converted("biwi", tmp_path / "b", tmp_path / "c", options(tmp_path))
    assert np.flatnonzero(~clips["F2-e01"].valid).tolist() == [3, 7]
    same_motion(clips["F2-e01"], clip.vertices)
    assert report.clip_notes["F2-e01"] == "1 of its frame files cannot be read; 2 of 25 frames are missing"
    (tmp_path / "b/rigid/F2.obj").unlink()
    with pytest.raises(InputError, match="no neutral faces"):
        convert("biwi", tmp_path / "b", tmp_path / "d", options(tmp_path))


# ------------------------------------------------------------------------------------------------ Audio2Face-3D


def test_audio2face_in_all_its_formats(tmp_path):
    """Centimetres; a shot as array, one as PC2, one as a Maya cache in one file, one in a file a frame with a gap."""
    root = tmp_path / "claire"
    skin = root / "cache/skin"
    skin.mkdir(parents=True)
    (root / "geom/skin").mkdir(parents=True)
    write_mesh(root / "geom/skin/a_smile.obj", rig.face(2) * 100)
    write_mesh(root / "geom/skin/neutral.obj", rig.face(0) * 100)
    truth = {name: take(seed, "s0", 30) for seed, name in enumerate(("array", "pc", "maya", "frames", "silent", "cut"))}
    for name, clip in truth.items():
        if name != "silent":
            write_wav(root / "audio" / f"{name}.wav", clip)
    cm = {name: clip.vertices * 100 for name, clip in truth.items()}
    np.save(skin / "array.npy", cm["array"])
    (skin / "array.pc2").write_bytes(b"not read, the array is there")
    (skin / "pc.pc2").write_bytes(pc2(cm["pc"]))
    (skin / "maya.xml").write_text(mc_xml("skinShape"))
    (skin / "maya.mc").write_bytes(mc({200 * (k + 1): f for k, f in enumerate(cm["maya"])}, "skinShape", doubles=True))
    (skin / "frames.xml").write_text(mc_xml("skinShape", one_file=False))
    for k, frame in enumerate(cm["frames"]):
        if k != 4:
            (skin / f"framesFrame{k - 3}.mc").write_bytes(mc({200 * (k - 3): frame}, "skinShape", timed=False))
    np.save(skin / "silent.npy", cm["silent"])
    (skin / "cut.pc2").write_bytes(pc2(cm["cut"])[:-12])
    given = replace(options(tmp_path), template=None)
    corpus, report, clips = converted("audio2face", root, tmp_path / "c", given)
    assert corpus.fps == 30
    assert set(clips) == {"array", "pc", "maya", "frames"}
    for name, clip in clips.items():
        same_motion(clip, truth[name].vertices)
        np.testing.assert_allclose(clip.template, rig.face(0), atol=1e-6)
        assert clip.subject == "claire"
    assert np.flatnonzero(~clips["frames"].valid).tolist() == [4]
    assert report.dropped.keys() == {"silent", "cut"}
    assert "is cut off" in report.dropped["cut"]
    assert report.notes[0].startswith("a unit is 0.01 m")
    # the mesh's own triangles serve too
    corpus, _, _ = converted("audio2face", root, tmp_path / "d", Options())
    assert corpus.topology.hash == rig.TOPOLOGY.hash


# ------------------------------------------------------------------------------------------------ any folder


def test_any_folder(tmp_path):
    """Z is up, two people, one with a face of their own; arrays, archives and mesh sequences."""
    root = tmp_path / "mine"

    def there(vertices: np.ndarray) -> np.ndarray:
        return vertices[..., [0, 2, 1]] * np.array([1, -1, 1], np.float32)

    truth = {name: take(seed, "s1", 25) for seed, name in enumerate(("an/a", "an/b", "an/c", "an/d", "bo/e", "bo/f"))}
    moved = {name: there(clip.vertices) for name, clip in truth.items()}
    for name, clip in truth.items():
        write_wav(root / f"{name}.wav", clip)
    np.save(root / "an/a.npy", moved["an/a"].astype(np.float64))
    seen = np.arange(25) != 6
    np.savez(root / "an/b.npz", vertices=moved["an/b"], valid=seen, other=np.zeros(3))
    for name, suffix, step in (("an/c", "obj", 1), ("an/d", "ply", 5)):
        (root / name).mkdir()
        for k in np.random.default_rng(0).permutation(25):
            if (name, k) != ("an/c", 13):
                write_mesh(root / name / f"take2_{k * step}.{suffix}", moved[name][k])
    (root / "an/d/take2_20.ply").write_text("ply\nbroken")
    (root / "an/d/notes.txt").write_text("not a frame")
    (root / "bo/e.pc2").write_bytes(pc2(moved["bo/e"]))
    write_mesh(root / "an/template.obj", there(rig.face(1)))
    given = options(tmp_path, fps="25", axes="x,z,-y")
    write_mesh(given.template, there(rig.face(1)))
    corpus, report, clips = converted("folder", root, tmp_path / "c", given)
    assert corpus.fps == 25
    assert set(clips) == {"an-a", "an-b", "an-c", "an-d", "bo-e"}
    for name, clip in clips.items():
        same_motion(clip, truth[name.replace("-", "/")].vertices)
        assert clip.subject == name[:2]
    missing = {name: np.flatnonzero(~clip.valid).tolist() for name, clip in clips.items() if clip.valid is not None}
    assert missing == {"an-b": [6], "an-c": [13], "an-d": [4]}
    assert report.dropped == {"bo-f": "there is no motion beside f.wav"}
    assert "no official splits: a tenth of the clips is held out for val, a tenth for test" in report.notes
    assert {info.split for info in corpus.clips} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda m: np.save(m, np.zeros((25, V, 2))), "must have shape"),
        (lambda m: np.save(m, np.zeros((25, V - 1, 3))), r"got \(25, 95, 3\)"),
        (lambda m: np.save(m, np.array([{}] * 3)), "damaged"),
        (lambda m: np.save(m, np.load(m) * 1000), "m from the neutral face"),
        (lambda m: np.save(m, np.load(m)[:, ::-1]), "m from the neutral face"),
        (lambda m: np.save(m, np.load(m)[:1]), "another --fps"),
        (lambda m: np.save(m, np.full((25, V, 3), np.nan)), "none of its frames was captured"),
        (lambda m: np.save(m, np.load(m)[:, :, :].astype("U5")), "no .npy of numbers"),
        (lambda m: m.write_bytes(b""), "damaged"),
    ],
)
def test_a_bad_recording_is_dropped_with_its_reason(tmp_path, damage, why):
    root = tmp_path / "mine"
    root.mkdir()
    for name in ("good", "bad"):
        np.save(root / f"{name}.npy", take(1, "s0", 25).vertices)
        write_wav(root / f"{name}.wav", take(1, "s0", 25))
    damage(root / "bad.npy")
    given = options(tmp_path, fps="25")
    write_mesh(given.template, rig.face(0))
    _, report, clips = converted("folder", root, tmp_path / "c", given)
    assert set(clips) == {"good"}
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(report.dropped["bad"])
    assert str(root) not in report.dropped["bad"]


def test_frames_that_hold_no_number_are_missing(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    clip = take(1, "s0", 25)
    frames = clip.vertices.copy()
    frames[5, 3, 1], frames[24] = np.nan, np.inf
    np.save(root / "a.npy", frames)
    write_wav(root / "a.wav", clip)
    given = options(tmp_path, fps="25")
    write_mesh(given.template, rig.face(0))
    _, _, clips = converted("folder", root, tmp_path / "c", given)
    assert np.flatnonzero(~clips["a"].valid).tolist() == [5, 24]
    same_motion(clips["a"], clip.vertices)


def test_a_folder_has_to_be_told_what_it_does_not_say(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    given = options(tmp_path)
    for changes, words in (
        ({}, "Give --fps"),
        ({"fps": "25"}, "has no sound"),
        ({"fps": "fast"}, "fps must be a frame rate"),
        ({"fps": "25", "template": None, "topology": None}, "carry no triangles"),
    ):
        with pytest.raises(InputError, match=words):
            convert("folder", root, tmp_path / "c", replace(given, **changes))
    write_wav(root / "a.wav", take(1, "s0", 25))
    with pytest.raises(InputError, match="no neutral face"):
        convert("folder", root, tmp_path / "c", replace(given, fps="25", template=None))
    write_wav(root / "a .wav", take(1, "s0", 25))
    with pytest.raises(InputError, match="two clips would be called a"):
        convert("folder", root, tmp_path / "c", replace(given, fps="25"))
    assert not (tmp_path / "c").exists()
