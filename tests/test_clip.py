"""Clip: what is valid, that nothing is lost on disk, and that dense motion need not fit in memory."""

import warnings
import zipfile
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import rig
import torch

from meshtalk import clip as clips
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
        ({"audio": np.zeros((16000, 2), np.float32)}, r"\(16000, 2\)"),
        ({"audio": np.zeros(16000, np.int16)}, "int16"),
    ],
)
def test_what_consumers_rely_on_is_checked(changes, words):
    with pytest.raises(InputError, match=words):
        replace(CLIP, **changes).validate()


def test_dense_motion_is_checked():
    dense = rig.as_dense(CLIP)
    with pytest.raises(InputError, match="NaN"):
        replace(dense, displacement=nan_at(dense.displacement, 2, 1, 0)).validate()
    with pytest.raises(InputError, match="displacement must have shape"):
        replace(dense, displacement=dense.displacement[:, :-1]).validate()


def test_exactly_one_form_of_motion():
    with pytest.raises(InputError, match="exactly one"):
        replace(CLIP, displacement=CLIP.displacements())
    with pytest.raises(InputError, match="exactly one"):
        replace(CLIP, weights=None)


def at_rate(fps: object, sample_rate: int = 16000) -> Clip:
    """The clip, as somebody makes it who does not look at types."""
    clip = replace(CLIP)
    clip.fps, clip.sample_rate = fps, sample_rate
    clip.__post_init__()
    return clip


@pytest.mark.parametrize(("fps", "sample_rate"), [(0, 16000), (-25, 16000), (np.nan, 16000), ("fast", 16000), (30, 0)])
def test_rates_have_to_be_rates(fps, sample_rate):
    with pytest.raises(InputError, match=r"must be a frame rate|must be positive"):
        at_rate(fps, sample_rate)


def test_a_broadcast_rate_is_the_fraction_that_is_meant():
    assert at_rate(29.97).fps == Fraction(30000, 1001)


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


# --- dense motion in a file --------------------------------------------------------------------------------------


def spooled(tmp_path, dtype: type = np.float32) -> Clip:
    """The clip with its displacement in a file."""
    dense = rig.as_dense(CLIP)
    spool = np.memmap(tmp_path / "spool", dtype, mode="w+", shape=dense.displacement.shape)
    spool[:] = dense.displacement
    spool.flush()
    return replace(dense, displacement=np.memmap(tmp_path / "spool", dtype, mode="r", shape=spool.shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_motion_in_a_file_is_motion(tmp_path, dtype):
    clip, atol = spooled(tmp_path, dtype).validate(), 1e-8 if dtype == np.float32 else 2e-5
    np.testing.assert_allclose(clip.vertices, CLIP.vertices, atol=atol)
    np.testing.assert_allclose(clip.lip_opening_mm(), CLIP.lip_opening_mm(), atol=2e3 * atol)
    broken = np.memmap(tmp_path / "spool", dtype, mode="r+", shape=clip.displacement.shape)
    broken[17, 3, 1] = np.inf
    broken.flush()
    with pytest.raises(InputError, match="NaN or infinite"):
        clip.validate()


def test_a_piece_of_it_is_an_array_of_its_own(tmp_path):
    piece = spooled(tmp_path).displacements(3, 9)
    assert type(piece) is np.ndarray
    assert piece.flags.writeable
    assert piece.flags.aligned
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of read-only memory
        torch.from_numpy(piece)


def test_large_motion_stays_in_its_file_when_loaded(tmp_path, monkeypatch):
    clip = spooled(tmp_path)
    clip.save(tmp_path / "c.npz")
    assert type(Clip.load(tmp_path / "c.npz").displacement) is np.ndarray
    monkeypatch.setattr(clips, "MAP_FROM_BYTES", 1000)
    mapped = Clip.load(tmp_path / "c.npz")
    assert isinstance(mapped.displacement, np.memmap)
    np.testing.assert_array_equal(mapped.displacements(5, 12), clip.displacements(5, 12))
    np.testing.assert_array_equal(np.load(tmp_path / "c.npz")["displacement"], clip.displacement)
    # and is saved again, over itself
    mapped.save(tmp_path / "c.npz")
    np.testing.assert_array_equal(Clip.load(tmp_path / "c.npz").vertices, clip.vertices)
    np.testing.assert_array_equal(mapped.vertices, clip.vertices)


def test_a_compressed_archive_is_read_too(tmp_path, monkeypatch):
    """As clips were saved once, or by numpy."""
    clip = rig.as_dense(CLIP)
    clip.save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as archive:
        np.savez_compressed(tmp_path / "d.npz", **archive)
    monkeypatch.setattr(clips, "MAP_FROM_BYTES", 1000)
    np.testing.assert_array_equal(Clip.load(tmp_path / "d.npz").vertices, clip.vertices)


def test_objects_are_not_mapped_either(tmp_path, monkeypatch):
    bomb = np.full((30, 96, 3), None, object)
    clip = rig.as_dense(CLIP)
    clip.save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as archive:
        np.savez(tmp_path / "bomb.npz", allow_pickle=True, **{**archive, "displacement": bomb})
    monkeypatch.setattr(clips, "MAP_FROM_BYTES", 100)
    with pytest.raises(InputError, match="objects"):
        Clip.load(tmp_path / "bomb.npz")


def test_a_cut_archive_of_mapped_motion_is_refused(tmp_path, monkeypatch):
    rig.as_dense(CLIP).save(tmp_path / "c.npz")
    data = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(data[: len(data) // 2])
    monkeypatch.setattr(clips, "MAP_FROM_BYTES", 1000)
    with pytest.raises(InputError, match="not a meshtalk clip"):
        Clip.load(tmp_path / "c.npz")


def test_only_dense_motion_is_left_uncompressed(tmp_path):
    rig.as_dense(CLIP).save(tmp_path / "c.npz")
    with zipfile.ZipFile(tmp_path / "c.npz") as archive:
        plain = [entry.filename for entry in archive.infolist() if entry.compress_type == zipfile.ZIP_STORED]
    assert plain == ["displacement.npy"]
