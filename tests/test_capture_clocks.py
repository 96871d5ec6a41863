"""Clocks of captures: what timecodes count to, and how many rows a second there are, are found in the files."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import rig
from convert_rig import beat_json, converted, write_mesh, write_noise
from media_rig import bursts, write_film

from meshtalk.arkit.names import NAMES, clip_name
from meshtalk.clip import exact_rate
from meshtalk.convert.clocks import read_clock, settled, stamps, timebase
from meshtalk.convert.plan import Options, common_step
from meshtalk.convert.run import convert
from meshtalk.errors import InputError

RATE = 16_000


def code(frame: Fraction | int, base: int, drop: bool = False, part: bool = False) -> str:
    """The timecode of a frame, whole or not, counted from midnight."""
    number, rest = divmod(Fraction(frame), 1)
    if drop:  # two (or four) numbers are left out each minute, but for every tenth
        per, left = base // 30 * 2, base * 60 - base // 30 * 2
        tens, inside = divmod(number, left * 10 + per)
        number += tens * 9 * per + (0 if inside < base * 60 else ((inside - base * 60) // left + 1) * per)
    seconds, frames = divmod(number, base)
    said = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"
    return said + (f".{int(rest * 1000):03d}" if part else "")


def clock_of(codes, fps=None, sound_s=None):
    return settled(read_clock(codes, "Timecode"), fps, sound_s)


AS_MANY = [(24, 24), (25, 25), (30, 30), (50, 50), (60, 60), (15, 15), (120, 120), (40, 40)]
OTHER_RATES = [(60, 30), (50, 25), (120, 60), (24, 48), (25, 50), (30, 60), (24, 60), (25, 60)]


@pytest.mark.parametrize("start_s", [0, 3599.3, 24 * 3600 - 1.5])
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(("base", "rate"), [*AS_MANY, *OTHER_RATES])
def test_timebase_and_row_rate_are_two_numbers(base, rate, part, start_s):
    first = round(start_s * base)
    codes = [code(first + Fraction(k * base, rate), base, part=part) for k in range(3 * rate)]
    clock = clock_of(codes)
    assert timebase(read_clock(codes, "Timecode")) == base
    assert clock.rate == rate
    tolerance = 0.6 / rate if rate > base and not part else 0.001
    np.testing.assert_allclose(clock.seconds, np.arange(3 * rate) / rate, atol=tolerance)


def test_lost_rows_do_not_hide_the_timebase():
    rng = np.random.default_rng(0)
    for base, rate in ((30, 30), (60, 60), (60, 30), (25, 25)):
        kept = np.flatnonzero(rng.random(8 * rate) > 0.2)
        clock = clock_of([code(int(k) * base // rate + 7, base) for k in kept])
        assert clock.rate == rate
        np.testing.assert_allclose(clock.seconds, (kept - kept[0]) / rate, atol=1e-9)


@pytest.mark.parametrize("base", [30, 60])
@pytest.mark.parametrize("begin_min", [0.99, 8.98, 59.99])
def test_drop_frame_is_found_and_runs_at_the_broadcast_rate(base, begin_min):
    first = round(begin_min * 60 * base * 1000 / 1001)
    codes = [code(first + k, base, drop=True) for k in range(base * 90)]
    for written in (codes, [";".join(text.rsplit(":", 1)) for text in codes]):
        clock = clock_of(written)
        np.testing.assert_allclose(clock.seconds, np.arange(base * 90) * 1001 / (base * 1000), atol=1e-6)
        assert clock.rate == Fraction(base * 1000, 1001)


def test_rows_lost_at_a_minute_are_not_drop_frame():
    rng = np.random.default_rng(1)
    for base, begin_s in ((30, 58), (60, 58), (60, 3 * 60 + 58)):
        kept = np.flatnonzero(rng.random(6 * base) > 0.1)
        first = begin_s * base
        kept = kept[~np.isin((kept + first) % (60 * base), (0, 1, 2, 3))]
        clock = clock_of([code(first + int(k), base) for k in kept])
        assert clock.rate == base
        np.testing.assert_allclose(clock.seconds, (kept - kept[0]) / base, atol=1e-9)
    whole = clock_of([code(58 * 25 + k, 25) for k in range(200) if (58 * 25 + k) % 1500 > 1])
    assert whole.rate == 25, "nothing is dropped at 25"


def test_less_than_a_second_is_told_by_the_rate_or_the_sound():
    codes = [code(3 + k, 30) for k in range(20)]
    assert clock_of(codes, Fraction(30)).rate == 30
    assert clock_of(codes, exact_rate("29.97")).rate == exact_rate("29.97")
    assert clock_of(codes, None, 20 / 30).rate == 30
    assert clock_of(codes, None, 20 / 60).rate == 60
    assert clock_of(codes).rate == 60


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("begin_s", [0.0, 12.5, 1_700_000_000.0])
@pytest.mark.parametrize("fps", ["24", "25", "30", "60", "120", "45"])
def test_stamps_of_every_unit(unit, begin_s, fps):
    times = np.round((begin_s + np.arange(200) / float(fps)) * unit, 4 if unit == 1 else 0)
    clock = stamps(times)
    assert clock.rate is not None
    assert float(clock.rate) == pytest.approx(float(fps), rel=0.002)
    np.testing.assert_allclose(clock.seconds, np.arange(200) / float(fps), atol=0.0011)


def test_clocks_that_are_coarser_than_the_capture():
    clock = stamps(np.repeat(np.arange(5.0), 30))
    assert clock.rate == 30
    np.testing.assert_allclose(clock.seconds, np.arange(150) / 30, atol=1e-9)


def test_broadcast_rates_are_told_from_whole_ones():
    assert stamps(np.round(np.arange(400) * 1001 / 30_000, 3)).rate == exact_rate("29.97")
    assert stamps(np.round(np.arange(400) / 30, 3)).rate == 30
    assert [stamps(np.round(np.arange(n) / 30, 3)).rate for n in (2, 3, 4, 7)] == [30] * 4


def test_words_for_times_and_for_none():
    assert read_clock(["0:00:01.5", "00:01,540", "1.58"], "time").seconds == pytest.approx([0, 0.04, 0.08])
    assert read_clock(["4", "5", "6"], "Timecode").counting
    for cells, words in (
        (["00:00:00:00", "x"], "row 2: 'x' is no timecode"),
        (["0.1", ""], "row 2: '' under time is no time"),
        (["25:00:00:00", "25:00:00:01"], "row 1: '25:00:00:00' is no timecode"),
        (["1", "1e300"], "lifetime"),
    ):
        with pytest.raises(InputError, match=words):
            read_clock(cells, "time")


def test_steps_of_frame_numbers():
    for numbers, step in (
        ([5], 1),
        ([5, 9], 1),
        ([0, 3, 6, 12], 3),
        ([0, 3, 6, 10], 1),
        ([10, 20, 30], 10),
        ([1, 2, 4], 1),
    ):
        assert common_step(np.array(numbers)) == step


# ------------------------------------------------------------------------------------------------ whole files


def moves(n: int, seed: int = 0) -> np.ndarray:
    """(n,52) weights."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0, 0.9, (7, 52))
    return np.stack([np.interp(np.linspace(0, 6, n), range(7), column) for column in knots.T], 1).round(5)


def table(values, clock=None, clock_name="Timecode", mark=",", extra=()) -> str:
    """A CSV of weights; with semicolons its numbers have decimal commas."""
    head = [*([clock_name] if clock is not None else []), *map(clip_name, NAMES), *extra]
    lines = [mark.join(head)]
    for k, row in enumerate(values):
        cells = [*([str(clock[k])] if clock is not None else []), *(f"{x:g}" for x in row), *("0.5" for _ in extra)]
        lines.append(mark.join(cell if mark == "," else cell.replace(".", ",") for cell in cells))
    return "\n".join(lines) + "\n"


def has(clip, values) -> None:
    """The clip moves as these weights do, before its person's gains."""
    order = [clip.basis_names.index(name) for name in NAMES]
    seen = clip.weights[:, order]
    assert seen.shape == values.shape
    gains = np.nanmedian(np.where(values > 0.05, seen / np.maximum(values, 1e-9), np.nan), 0)
    np.testing.assert_allclose(seen, values * gains, atol=1e-4)


def test_live_link_takes_of_30_rows_of_three_actors(tmp_path):
    """Timecodes that count to 60 with 30 rows a second, to 30, and what the app writes beside, in folders of people and takes."""
    root = tmp_path / "takes"
    sent = {}
    for actor, base in (("anna", 60), ("ben", 30), ("carl", 60)):
        for take in (1, 2):
            folder = root / actor / f"20240131_scene_{take}"
            folder.mkdir(parents=True)
            values = moves(70, len(sent))
            name = f"scene_{take}_{actor}"
            (folder / f"{name}.csv").write_text(table(values, [code(600 + k * base // 30, base) for k in range(70)]))
            for ending in ("_raw", "_neutral"):
                (folder / f"{name}{ending}.csv").write_text(table(values, [code(k, base) for k in range(70)]))
            (folder / "frame_log.csv").write_text("frame,wall clock\n1,2\n")
            write_noise(folder / f"{name}.wav", round(70 / 30 * RATE), RATE)
            sent[f"{actor}-20240131_scene_{take}-{name}"] = values
    corpus, report, clips = converted("livelink", root, tmp_path / "c", Options())
    assert corpus.fps == 30
    assert {info.voice for info in corpus.clips} == {"anna", "ben", "carl"}
    assert len(corpus.subjects) == 3
    assert not report.dropped
    assert report.left_out == {"files that the app writes beside a take": 18}
    assert any("30 rows a second" in note for note in report.notes)
    for name, values in sent.items():
        assert clips[name].valid is None
        has(clips[name], values)


def test_folders_of_takes_alone_are_one_speaker(tmp_path):
    for take in (1, 2):
        folder = tmp_path / "takes" / f"20240131_scene_{take}"
        folder.mkdir(parents=True)
        (folder / f"scene_{take}_iPhone.csv").write_text(table(moves(70), [code(k, 60) for k in range(70)]))
        write_noise(folder / f"scene_{take}_iPhone.wav", round(70 / 60 * RATE), RATE)
    corpus, _, _ = converted("livelink", tmp_path / "takes", tmp_path / "c", Options())
    assert {info.voice for info in corpus.clips} == {"speaker"}


def test_a_takes_film_begins_with_its_first_row(tmp_path):
    folder = tmp_path / "takes"
    folder.mkdir()
    (folder / "a.csv").write_text(table(moves(120), [code(k, 60) for k in range(120)]))
    write_film(folder / "a.mov", bursts(48_000, (0.9,)), 48_000, "aac", sound_at_s=0.1, picture_at_s=0.4)
    _, _, clips = converted("livelink", folder, tmp_path / "c", Options())
    loud = np.flatnonzero(np.abs(clips["a"].audio) > 0.2)
    assert loud[0] / clips["a"].sample_rate == pytest.approx(0.6, abs=0.005)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("name", "clock", "extra", "fps"),
    [
        ("time", [round(k / 30, 4) for k in range(60)], (), 30),
        ("Timestamp (ms)", [17e11 + round(k * 1000 / 30) for k in range(60)], (), 30),
        ("time_ms", [round(k * 1000 / 25) for k in range(60)], ("HeadYaw",), 25),
        ("frame", range(100, 160), (), 60),
        ("frame", range(100, 220, 2), (), 60),
        # NeuroSync's: frame numbers, and emotions behind the shapes
        ("Timecode", range(60), ("Angry", "Disgusted", "Fearful", "Happy", "Neutral", "Sad", "Surprised"), 60),
        ("time", [f"00:00:{k / 50:06.3f}" for k in range(60)], (), 50),
    ],
)
def test_tables_of_many_kinds(tmp_path, mark, name, clock, extra, fps):
    values = moves(60)
    (tmp_path / "in").mkdir()
    text = table(values, clock, name, mark, extra)
    (tmp_path / "in/a.csv").write_bytes(text.encode("utf-16" if mark == "\t" else "utf-8"))
    write_noise(tmp_path / "in/a.wav", 60 * RATE // fps, RATE)
    corpus, report, clips = converted("arkit", tmp_path / "in", tmp_path / "c", Options())
    assert corpus.fps == fps
    assert not report.dropped
    has(clips["a"], values)


def test_audio2faces_json(tmp_path):
    values = moves(48)
    (tmp_path / "in").mkdir()
    content = {
        "exportFps": 24.0,
        "trackPath": "a.wav",
        "numPoses": 52,
        "numFrames": 48,
        "facsNames": [*map(clip_name, NAMES)],
    }
    (tmp_path / "in/a.json").write_text(json.dumps(content | {"weightMat": values.tolist()}))
    write_noise(tmp_path / "in/a.wav", 2 * RATE, RATE)
    corpus, _, clips = converted("arkit", tmp_path / "in", tmp_path / "c", Options())
    assert corpus.fps == 24
    has(clips["a"], values)
    for bad in ({"weightMat": [[0.1, 0.2]]}, {"weightMat": None}, {"facsNames": 3}, {"weightMat": [["x"] * 52]}):
        (tmp_path / "in/a.json").write_text(json.dumps(content | {"weightMat": values.tolist()} | bad))
        with pytest.raises(InputError, match=r"weights|names"):
            convert("arkit", tmp_path / "in", tmp_path / "d", Options(), workers=1)


def test_rows_that_come_twice_are_told(tmp_path):
    (tmp_path / "in").mkdir()
    times = [0.0, *(k / 30 for k in range(29))]
    (tmp_path / "in/a.csv").write_text(table(moves(30), times, "time"))
    write_noise(tmp_path / "in/a.wav", RATE, RATE)
    _, report, clips = converted("arkit", tmp_path / "in", tmp_path / "c", Options())
    assert report.clip_notes == {"a": "1 of its rows are at the time of another"}
    assert clips["a"].n_frames == 29


def test_json_times_in_milliseconds(tmp_path):
    values = moves(50)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_text(beat_json(values, NAMES, [5000 + k * 40 for k in range(50)]))
    write_noise(tmp_path / "in/a.wav", 2 * RATE, RATE)
    corpus, _, clips = converted("arkit", tmp_path / "in", tmp_path / "c", Options())
    assert corpus.fps == 25
    has(clips["a"], values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (table(moves(30), [code(k, 30) for k in range(30)]).replace("JawRight", "JawOpen"), "two columns of JawOpen"),
        ("time,jawOpen\n0,0,5\n0,0,6\n", "separate cells by ;"),
        (table(moves(60), [k / 50 for k in range(60)], "time"), "50 rows a second, not 60. Give --fps 50"),
        (table(moves(3), ["00:00:00:00", "soon", "00:00:00:01"]), "row 2: 'soon' is no timecode"),
    ],
)
def test_tables_that_say_two_things(tmp_path, text, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(text)
    write_noise(tmp_path / "in/a.wav", RATE, RATE)
    with pytest.raises(InputError, match=words):
        convert("arkit", tmp_path / "in", tmp_path / "c", Options(fps="60"), workers=1)


@pytest.mark.parametrize("fps", ["24", "29.97", "30", "50", "60"])
@pytest.mark.parametrize("n", [20, 100])
def test_what_we_export_is_read_without_being_told_its_rate(tmp_path, fps, n):
    from test_arkit_files import cut, head_clip

    clip = head_clip(n, fps)
    (tmp_path / "in").mkdir()
    clip.save(tmp_path / "in/a.livelink.csv")
    (tmp_path / "in/a.livelink.csv").rename(tmp_path / "in/a.csv")
    write_noise(tmp_path / "in/a.wav", len(clip.audio), 16_000)
    corpus, _, clips = converted("livelink", tmp_path / "in", tmp_path / "c", Options())
    assert corpus.fps == round(float(fps))  # timecodes do not tell 29.97 from 30
    found = clips["a"]
    assert n - 1 <= found.n_frames <= n
    has(found, cut(clip)[: found.n_frames])


def test_a_person_of_a_folder_may_have_folders(tmp_path):
    root = tmp_path / "scans"
    for place in ("anna/monday", "anna/friday", "ben", "twins/a", "twins/b"):
        (root / place).mkdir(parents=True)
        np.save(root / place / "x.npy", np.repeat(rig.NEUTRAL[None], 30, 0))
        write_noise(root / place / "x.wav", RATE, RATE)
    for twin in "ab":
        write_mesh(root / f"twins/{twin}/template.ply")
    write_mesh(tmp_path / "face.ply")
    corpus, _, _ = converted("folder", root, tmp_path / "c", Options(template=tmp_path / "face.ply", fps="30"))
    assert {info.voice for info in corpus.clips} == {"anna", "ben", "twins-a", "twins-b"}
