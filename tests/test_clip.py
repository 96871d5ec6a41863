"""Clip: what is valid, and that nothing is lost on disk."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig

from meshtalk.clip import Clip
from meshtalk.errors import InputError

CLIP = rig.make_clip(0, 1.0)


def test_both_forms_hold_the_same_motion():
    dense = rig.as_dense(CLIP)
    np.testing.assert_allclose(CLIP.vertices, dense.vertices, atol=1e-8)
    np.testing.assert_allclose(
        CLIP.vertices, CLIP.template + np.einsum("tk,kvc->tvc", CLIP.weights, CLIP.basis), atol=1e-7
    )
    np.testing.assert_allclose(CLIP.lip_opening_mm(), dense.lip_opening_mm(), atol=1e-4)


def test_chunks_are_the_frames_in_order():
    np.testing.assert_array_equal(np.concatenate(list(CLIP.chunks(7))), CLIP.vertices)
    assert [len(chunk) for chunk in CLIP.chunks(16)] == [16, 14]


def test_opening_is_linear_in_the_jaw():
    opening = CLIP.lip_opening_mm()
    assert np.corrcoef(opening, CLIP.weights[:, 0])[0, 1] > 0.999
    assert CLIP.n_frames == 30
    assert CLIP.duration_s == 1.0


@pytest.mark.parametrize("dense", [False, True])
def test_saved_and_loaded_it_is_the_same(tmp_path, dense):
    clip = replace(CLIP, fps=Fraction(30000, 1001), valid=np.arange(30) != 7)
    clip = rig.as_dense(clip) if dense else clip
    assert clip.save(tmp_path / "c.npz") == tmp_path / "c.npz"
    again = Clip.load(tmp_path / "c.npz")
    assert again.fps == Fraction(30000, 1001)
    assert again.phones == clip.phones
    assert again.basis_names == clip.basis_names
    assert (again.subject, again.sentence, again.emotion) == ("s0", "sentence 0", "neutral")
    assert again.sample_rate == 16000
    np.testing.assert_array_equal(again.vertices, clip.vertices)
    np.testing.assert_array_equal(again.audio, clip.audio)
    np.testing.assert_array_equal(again.valid, clip.valid)
    assert again.topology.hash == clip.topology.hash


@pytest.mark.parametrize("audio_frames", [29, 31])
def test_audio_may_differ_by_a_frame(audio_frames):
    replace(CLIP, audio=np.zeros(round(audio_frames * 16000 / 30), np.float32)).validate()


def nan_at(array: np.ndarray, *index: int) -> np.ndarray:
    array = array.copy()
    array[index] = np.nan
    return array


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"template": rig.NEUTRAL[:-1]}, r"\(95, 3\)"),
        ({"weights": CLIP.weights[:, :-1]}, "weights"),
        ({"basis": CLIP.basis[:, :-1]}, "basis"),
        ({"weights": nan_at(CLIP.weights, 3, 0)}, "NaN"),
        ({"audio": nan_at(CLIP.audio, 3)}, "NaN"),
        ({"template": nan_at(CLIP.template, 3, 0)}, "NaN"),
        ({"template": CLIP.template * 1000}, "metres"),
        ({"valid": np.ones(29, bool)}, "valid"),
        ({"audio": np.zeros(16000 * 2, np.float32)}, "one frame"),
    ],
)
def test_what_consumers_rely_on_is_checked(changes, words):
    with pytest.raises(InputError, match=words):
        replace(CLIP, **changes).validate()


def test_dense_motion_is_checked():
    dense = rig.as_dense(CLIP)
    with pytest.raises(InputError, match="NaN"):
        replace(dense, displacement=nan_at(dense.displacement, 2, 1, 0)).validate()
    with pytest.raises(InputError, match="motion has shape"):
        replace(dense, displacement=dense.displacement[:, :-1]).validate()


def test_exactly_one_form_of_motion():
    with pytest.raises(InputError, match="exactly one"):
        replace(CLIP, displacement=CLIP.displacements())
    with pytest.raises(InputError, match="exactly one"):
        replace(CLIP, weights=None)


def test_nothing_half_written_and_old_file_kept(tmp_path):
    CLIP.save(tmp_path / "c.npz")
    before = (tmp_path / "c.npz").read_bytes()
    with pytest.raises(InputError):
        replace(CLIP, audio=nan_at(CLIP.audio, 0)).save(tmp_path / "c.npz")
    assert (tmp_path / "c.npz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"RIFFxxxx", b"PK\x03\x04 truncated"])
def test_loading_what_is_no_clip(tmp_path, content):
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a meshtalk clip"):
        Clip.load(path)


def test_loading_other_archives_folders_and_nothing(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for path, words in ((tmp_path / "other.npz", "not a meshtalk clip"), (tmp_path, "folder"), ("no.npz", "no clip")):
        with pytest.raises(InputError, match=words):
            Clip.load(path)


def test_a_pickle_is_never_opened(tmp_path):
    bomb = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "bomb.npz", template=bomb, allow_pickle=True)
    with pytest.raises(InputError):
        Clip.load(tmp_path / "bomb.npz")
