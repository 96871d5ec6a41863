"""Multiface: poses removed, gaps kept, sound and frames in step, both numbers of vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from convert_rig import converted, same_motion, write_mesh, write_noise

from meshtalk.convert.multiface import frame_step, read_frame_list, read_rows
from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert
from meshtalk.errors import InputError


def random_rotation(rng: np.random.Generator, largest: float) -> np.ndarray:
    """(3,3): a turn about the three axes by up to so many radians each."""
    turn = np.eye(3)
    for axis in range(3):
        c, s = np.cos(angle := rng.uniform(-largest, largest)), np.sin(angle)
        one = np.eye(3)
        one[np.ix_([axis - 1, axis - 2], [axis - 1, axis - 2])] = [[c, -s], [s, c]]
        turn = turn @ one
    return turn


def tall_mesh(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,3) points on half an ellipsoid, metres, with some triangles."""
    rng = np.random.default_rng(0)
    turn, height = rng.uniform(-1.5, 1.5, count), np.linspace(-1, 1, count)
    ring = np.sqrt(1 - height**2 * 0.9)
    points = np.stack([0.08 * ring * np.sin(turn), 0.13 * height, 0.1 * ring * np.cos(turn)], 1)
    return points.astype(np.float32), np.arange(count - count % 3).reshape(-1, 3).astype(np.int32)


class Session:
    """A Multiface session of a mesh: frames in mm, moved by head poses that are beside them."""

    def __init__(
        self, root: Path, mesh: np.ndarray, person: str = "6795937", posed: bool = True, still_step: int = 1
    ) -> None:
        self.folder = root / f"m--20180227--0000--{person}--GHS"
        self.mesh, self.posed, self.rng = mesh, posed, np.random.default_rng(int(person))
        self.lines: list[str] = []
        self.truth: dict[str, np.ndarray] = {}
        self.folder.mkdir(parents=True)
        self.segment("E001_Neutral_Eyes_Open", range(40, 46), still=True, step=still_step)

    def segment(self, name: str, numbers, still: bool = False, sound: int | None = None, step: int = 1) -> None:
        """Frames of these numbers, written as multiples of `step`; the sound is as long as they reach, unless told otherwise."""
        folder = self.folder / "tracked_mesh" / name
        folder.mkdir(parents=True)
        numbers = list(numbers)
        total = numbers[-1] - numbers[0] + 1
        wave = np.zeros(total) if still else np.sin(np.arange(total) * 0.7) * 0.006
        low = self.mesh[:, 1] < -0.05
        frames = np.repeat(self.mesh[None], total, 0)
        frames[:, low, 1] -= wave[:, None].astype(np.float32) ** 2 * 100
        self.truth[name] = frames
        for number in numbers:
            turn, shift = random_rotation(self.rng, 0.5), self.rng.uniform(-200, 900, 3)
            stored = frames[number - numbers[0]].astype(np.float64) * 1e3
            stored = stored @ turn.T + shift if self.posed else stored
            (folder / f"{number * step:06d}.bin").write_bytes(stored.astype("<f4").tobytes())
            np.savetxt(folder / f"{number * step:06d}_transform.txt", np.column_stack([turn, shift]))
            self.lines.append(f"{name} {number * step:06d}")
        if not still:
            write_noise(self.folder / "audio" / f"{name}.wav", 1600 * total if sound is None else sound, 48_000)

    def finish(self) -> Session:
        order = self.rng.permutation(len(self.lines))
        (self.folder / "frame_list.txt").write_text("\n".join(self.lines[k] for k in order) + "\n")
        return self


@pytest.fixture(scope="module")
def whole_mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh")
    points, faces = tall_mesh(7306)
    write_mesh(folder / "7306.ply", points, faces)
    rows = np.sort(np.random.default_rng(5).choice(7306, 6172, replace=False))
    write_mesh(folder / "6172.ply", points[rows], tall_mesh(6172)[1])
    np.savetxt(folder / "rows.txt", rows, fmt="%d")
    return folder, points, rows


@pytest.mark.parametrize("posed", [True, False], ids=["vertices carry the pose", "vertices are free of it"])
def test_multiface(tmp_path, whole_mesh, posed):
    folder, points, _ = whole_mesh
    session = Session(tmp_path / "m", points, posed=posed)
    kept = [n for n in range(998, 1018) if n not in (1001, 1002, 1010)]
    session.segment("SEN_a_good_morrow", kept)
    session.segment("SEN_short", range(7, 17), sound=1600 * 10 + 1599)
    session.segment("SEN_without_sound", range(5))
    session.segment("E002_Swallow", range(3), still=True)
    session.segment("SEN_no_meshes", range(3))
    session.finish()
    (session.folder / "audio/SEN_without_sound.wav").unlink()
    good = session.folder / "tracked_mesh/SEN_a_good_morrow"
    (good / "001005.bin").write_bytes((good / "001005.bin").read_bytes()[:-7])
    if posed:
        (good / "001015_transform.txt").write_text("1 0 0 0 0 1")
    for path in (session.folder / "tracked_mesh/SEN_no_meshes").iterdir():
        path.unlink()
    _, report, clips = converted("multiface", tmp_path / "m", tmp_path / "c", Options(template=folder / "7306.ply"))
    assert set(clips) == {"6795937-20180227-SEN_a_good_morrow", "6795937-20180227-SEN_short"}
    clip = clips["6795937-20180227-SEN_a_good_morrow"]
    # frames 1001, 1002 and 1010 are not listed, 1005 is broken, and so is the pose of 1015
    assert np.flatnonzero(~clip.valid).tolist() == [3, 4, 7, 12, *([17] if posed else [])]
    same_motion(clip, session.truth["SEN_a_good_morrow"], atol_mm=0.05)
    np.testing.assert_allclose(clip.template, points, atol=1e-6)
    assert len(clip.audio) == 20 * 1600
    assert len(clips["6795937-20180227-SEN_short"].audio) == 10 * 1600
    assert clips["6795937-20180227-SEN_short"].valid is None
    assert report.dropped == {
        "6795937-20180227-SEN_without_sound": "there is no sound for SEN_without_sound",
        "6795937-20180227-SEN_no_meshes": "none of its frames can be read",
    }
    assert report.left_out == {"segments without speech": 2}
    pose = next(note for note in report.notes if "head pose" in note)
    assert pose.startswith(f"6795937-20180227: head pose {'removed' if posed else 'as stored'} (")


def test_frames_numbered_in_threes_are_no_gaps(tmp_path, whole_mesh):
    folder, points, _ = whole_mesh
    session = Session(tmp_path / "m", points, still_step=3)
    session.segment("SEN_a_good_morrow", [n for n in range(34, 54) if n not in (36, 40, 41)], step=3)
    session.segment("SEN_short", range(70, 80), step=3)
    session.finish()
    _, report, clips = converted("multiface", tmp_path / "m", tmp_path / "c", Options(template=folder / "7306.ply"))
    clip = clips["6795937-20180227-SEN_a_good_morrow"]
    assert np.flatnonzero(~clip.valid).tolist() == [2, 6, 7]
    same_motion(clip, session.truth["SEN_a_good_morrow"], atol_mm=0.05)
    assert len(clip.audio) == 20 * 1600
    assert clips["6795937-20180227-SEN_short"].valid is None
    assert any("steps of 3" in note for note in report.notes)
    assert report.missing_frames == 3


def test_steps_of_a_session():
    for frames, step in (
        ({"a": [102, 105, 111], "b": [7, 10]}, 3),
        ({"a": [102, 105, 111], "b": [7, 9]}, 1),
        ({"a": [5], "b": [9]}, 1),
        ({"a": [1, 2, 3]}, 1),
        ({}, 1),
    ):
        assert frame_step(frames) == step


def test_multiface_on_meshtalks_vertices(tmp_path, whole_mesh):
    folder, points, rows = whole_mesh
    session = Session(tmp_path / "m", points)
    session.segment("SEN_x", range(10, 16))
    session.finish()
    with pytest.raises(
        InputError, match=r"7306 vertices, the given mesh 6172\. Give the data's own mesh, or with --rows"
    ):
        convert("multiface", tmp_path / "m", tmp_path / "c", Options(template=folder / "6172.ply"), workers=1)
    given = Options(template=folder / "6172.ply", rows=folder / "rows.txt")
    corpus, _, clips = converted("multiface", tmp_path / "m", tmp_path / "c", given)
    assert corpus.topology.n_vertices == 6172
    same_motion(clips["6795937-20180227-SEN_x"], session.truth["SEN_x"][:, rows], atol_mm=0.05)
    # the same files cut to those vertices, in a session's own folder
    cut = Session(tmp_path / "cut", points[rows])
    cut.segment("SEN_x", range(10, 16))
    cut.finish()
    _, _, clips = converted("multiface", cut.folder, tmp_path / "d", Options(template=folder / "6172.ply"))
    same_motion(clips["6795937-20180227-SEN_x"], cut.truth["SEN_x"], atol_mm=0.05)


def test_multiface_people_without_a_neutral_segment_are_left_out(tmp_path, whole_mesh):
    folder, points, _ = whole_mesh
    for person in ("111", "222"):
        session = Session(tmp_path / "m", points, person)
        session.segment("SEN_x", range(10, 16))
        session.finish()
    for path in (tmp_path / "m/m--20180227--0000--222--GHS/tracked_mesh/E001_Neutral_Eyes_Open").iterdir():
        path.unlink()
    _, report, clips = converted("multiface", tmp_path / "m", tmp_path / "c", Options(template=folder / "7306.ply"))
    assert set(clips) == {"111-20180227-SEN_x"}
    without = "222-20180227: there is no neutral segment E001_Neutral_Eyes_Open"
    assert report.left_out == {"segments without speech": 1, without: 2}


def test_lists_of_frames_and_rows(tmp_path):
    (tmp_path / "f.txt").write_text("SEN_b 000102\nSEN_a 9\n\nSEN_b 000011\nSEN_b 102\n")
    assert read_frame_list(tmp_path / "f.txt") == {"SEN_b": [11, 102], "SEN_a": [9]}
    for bad in ("SEN_b", "SEN_b x", "SEN_b 1 2", "SEN_b -1", "SEN_b ²"):
        (tmp_path / "f.txt").write_text(f"SEN_a 1\n{bad}\n")
        with pytest.raises(InputError, match="line 2"):
            read_frame_list(tmp_path / "f.txt")
    np.save(tmp_path / "r.npy", np.arange(5))
    assert read_rows(tmp_path / "r.npy", 5).tolist() == [0, 1, 2, 3, 4]
    for name, content in (("r.npy", None), ("r.txt", "1 x"), ("r.txt", "-1\n0\n1\n2\n3\n4"), ("none.txt", None)):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(
            InputError, match=r"must have an index for each of the mesh's 6 vertices|must be a list of vertex indices"
        ):
            read_rows(tmp_path / name, 6)
