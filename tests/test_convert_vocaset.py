"""VOCASET in both forms: every frame at its place, the official splits, and what is missing is said."""

from __future__ import annotations

import json
import shutil

import convert_rig
import numpy as np
import pytest
import rig
from convert_rig import VOCA, converted, options, same_motion

from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voca")
    truth, sounds = convert_rig.vocaset_release(folder / "VOCASET")
    return folder, truth, sounds, converted("vocaset", folder / "VOCASET", folder / "corpus", options(folder))


def test_the_release_frame_by_frame(release):
    _, truth, sounds, (corpus, _, clips) = release
    assert corpus.fps == 60
    assert set(clips) == {f"{VOCA[w]}-sentence{n:02d}" for w, n in (("s0", 1), ("s0", 40), ("s2", 21), ("s3", 40))}
    for name, clip in clips.items():
        same_motion(clip, truth[name].vertices)
        np.testing.assert_array_equal(clip.template, truth[name].template)
        assert clip.sample_rate == 22_000
        np.testing.assert_array_equal(clip.audio, sounds[name])
        assert len(clip.audio) == round(clip.n_frames * 22_000 / 60)
        assert (clip.subject, clip.sentence) == tuple(name.rsplit("-", 1))
    assert corpus.topology.hash == rig.TOPOLOGY.hash
    assert corpus.topology.region_hash == rig.TOPOLOGY.region_hash


def test_gaps_are_marked_not_closed(release):
    _, truth, _, (_, report, clips) = release
    name = f"{VOCA['s0']}-sentence40"
    gap = clips[name]
    assert np.flatnonzero(~gap.valid).tolist() == [9, 10]
    assert gap.n_frames == truth[name].n_frames
    between = truth[name].vertices[8] * 2 / 3 + truth[name].vertices[11] / 3
    np.testing.assert_allclose(gap.vertices[9], between, atol=1e-5)
    assert report.missing_frames == 2
    assert report.clip_notes[name] == "2 of 30 frames are missing"


def test_official_splits_and_what_was_left_out(release):
    folder, _, _, (corpus, report, _) = release
    split = {info.id.rsplit("_TA-", 1)[0][9:] + "/" + info.sentence[-2:]: info.split for info in corpus.clips}
    assert split == {
        "170728_03272/01": "train", "170728_03272/40": "train", "170811_03275/21": "val", "170809_00138/40": "test",
    }  # fmt: skip
    assert report.left_out == {"outside the official splits": 1}  # the validation person's sentence 5
    assert report.dropped == {
        f"{VOCA['s1']}-sentence07": "it has no sound",
        f"{VOCA['s3']}-sentence32": "it has no motion",
    }
    written = json.loads((folder / "corpus/conversion.json").read_text())
    assert written["dropped"] == report.dropped
    assert written["clips"] == 4
    assert written["splits"]["train"] == {"clips": 2, "seconds": 1.0, "people": 1}
    assert "a unit is 1 m; left, up and out of the face are x,y,z" in written["notes"]
    assert not any("official" in note for note in written["notes"])
    assert str(folder) not in json.dumps(written)
    for words in ("4 clips", "dropped FaceTalk", "left out: 1"):
        assert words in str(report)


def test_arrays_with_wavs(tmp_path):
    truth = convert_rig.vocaset_arrays(tmp_path / "v")
    broken = tmp_path / "v/vertices_npy" / f"{VOCA['s0']}_sentence40.npy"
    broken.write_bytes(broken.read_bytes()[:-1000])
    (tmp_path / "v/wav" / f"{VOCA['s1']}_sentence07.wav").unlink()
    np.save(tmp_path / "v/vertices_npy" / f"{VOCA['s3']}_sentence32.npy", np.zeros((30, 7), np.float32))
    _, report, clips = converted("vocaset", tmp_path / "v", tmp_path / "c", options(tmp_path))
    assert set(clips) == {f"{VOCA[w]}-sentence{n:02d}" for w, n in (("s0", 1), ("s2", 21), ("s3", 40))}
    for name, clip in clips.items():
        same_motion(clip, truth[name].vertices)
        np.testing.assert_allclose(clip.audio, truth[name].audio[: len(clip.audio)], atol=1e-4)
    assert set(report.dropped) == {f"{VOCA[w]}-sentence{n:02d}" for w, n in (("s0", 40), ("s1", 7), ("s3", 32))}
    assert "damaged" in report.dropped[f"{VOCA['s0']}-sentence40"]
    assert "no sound" in report.dropped[f"{VOCA['s1']}-sentence07"]
    assert "(30, 7)" in report.dropped[f"{VOCA['s3']}-sentence32"]


def test_another_frame_rate_is_noticed(tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", fps=30, seconds=1.0, said=[("s0", 1), ("s0", 2)])
    given = options(tmp_path)
    with pytest.raises(InputError, match=r"none of 2 clips.*0\.50 s at 60.*1\.00 s\. Try another --fps"):
        convert("vocaset", tmp_path / "v", tmp_path / "c", given, workers=1)
    assert not (tmp_path / "c").exists()
    corpus, _, _ = converted("vocaset", tmp_path / "v", tmp_path / "c", options(tmp_path, fps="30"))
    assert corpus.fps == 30


def test_what_is_missing_is_one_sentence(tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", said=[("s0", 1)])
    given = options(tmp_path)

    def refused(words: str, source: str = "v", **changes: object) -> None:
        with pytest.raises(InputError, match=words):
            convert("vocaset", tmp_path / source, tmp_path / "c", options(tmp_path, **changes), workers=1)
        assert not (tmp_path / "c").exists()

    refused("carry no triangles. Give --template FACE.ply", template=None, topology=None)
    refused(r"in units of mm the neutral face is 0.000.*\. Give --unit m", unit="mm")
    refused("mirror", axes="x,y,-z")
    refused("mouth is above the upper face", axes="-x,-y,z")
    refused("axes must be x, y and z", axes="up")
    refused("fps must be a frame rate", fps="0")
    refused("must be the folder of the data set", source="nowhere")
    convert_rig.write_mesh(tmp_path / "small.ply", rig.NEUTRAL[:50], rig.TOPOLOGY.faces[:20])
    refused("50 vertices", template=tmp_path / "small.ply")
    refused("templates of 96 vertices, the given mesh 50", template=tmp_path / "small.ply", topology=None)
    np.save(tmp_path / "face.npy", rig.NEUTRAL)
    refused("no triangles", template=tmp_path / "face.npy", topology=None)
    shutil.rmtree(tmp_path / "v/vertices_npy")
    refused("is not VOCASET")
    with pytest.raises(InputError, match="vocaset, biwi"):
        convert("vocalset", tmp_path / "v", tmp_path / "c", given)
    with pytest.raises(InputError, match="must be outside its source"):
        convert("vocaset", tmp_path / "v", tmp_path / "v/corpus", given)
    with pytest.raises(InputError, match="at least 1"):
        convert("vocaset", tmp_path / "v", tmp_path / "c", given, workers=0)


def test_regions_may_come_later(tmp_path):
    convert_rig.vocaset_arrays(tmp_path / "v", said=[("s0", 1), ("s2", 21)])
    bare = Options(template=options(tmp_path).template)
    corpus, report, _ = converted("vocaset", tmp_path / "v", tmp_path / "c", bare)
    assert not corpus.topology.regions
    assert any(
        "lacks regions mouth, upper_face, eyelids, lips" in note and "--topology" in note for note in report.notes
    )
    before = (tmp_path / "c/clips" / corpus.clips[0].id / "displacement.npy").stat().st_mtime_ns
    again, report, _ = converted("vocaset", tmp_path / "v", tmp_path / "c", options(tmp_path))
    assert again.topology.region_hash == rig.TOPOLOGY.region_hash
    assert not any("lacks regions" in note for note in report.notes)
    assert (tmp_path / "c/clips" / corpus.clips[0].id / "displacement.npy").stat().st_mtime_ns == before
    assert Corpus.open(tmp_path / "c").clips == corpus.clips
