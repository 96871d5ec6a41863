"""The readers of foreign files: what they write is what they read, and any other bytes are one sentence."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import convert_rig
import numpy as np
import pytest
from convert_rig import mc, mc_xml, pc2, rows_of, timecode, vl
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from meshtalk.arkit.names import spelled
from meshtalk.convert.arkit import read_csv, read_json
from meshtalk.convert.clocks import read_clock
from meshtalk.convert.maya import read_cache
from meshtalk.convert.pickles import read_pickle
from meshtalk.convert.plan import name_of, numbered
from meshtalk.convert.vertices import read_pc2, read_vl, spread
from meshtalk.errors import InputError

FLOATS = st.floats(-1e6, 1e6, width=32)
NAMES = ("jawOpen", "eyeBlinkLeft", "mouthPucker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parsers")


def meshes(most: int = 4):
    shape = st.tuples(st.integers(1, most), st.integers(1, 5), st.just(3))
    return shape.flatmap(lambda shape: arrays(np.float32, shape, elements=FLOATS))


def changed(data: bytes, edits: list[tuple[int, int]], length: int) -> bytes:
    """Some bytes set, the rest cut off."""
    out = bytearray(data)
    for place, value in edits:
        out[place % len(out)] = value
    return bytes(out[: length % (len(out) + 1)] if length else out)


EDITS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)
LENGTH = st.integers(0, 10_000)


@given(frames=meshes())
def test_pc2_round_trip(folder, frames):
    (folder / "a.pc2").write_bytes(pc2(frames))
    np.testing.assert_array_equal(read_pc2(folder / "a.pc2"), frames)


@given(frames=meshes(), edits=EDITS, length=LENGTH)
def test_any_pc2_is_frames_or_an_input_error(folder, frames, edits, length):
    (folder / "b.pc2").write_bytes(changed(pc2(frames), edits, length))
    try:
        read = read_pc2(folder / "b.pc2")
    except InputError:
        return
    assert read.ndim == 3
    assert read.shape[2] == 3
    np.asarray(read).tobytes()  # all of it can be reached


@given(frames=meshes(1), extra=st.integers(-12, 12))
def test_vl_has_exactly_its_vertices(folder, frames, extra):
    path, data = folder / "a.vl", vl(frames[0])
    path.write_bytes(data[:extra] if extra < 0 else data + b"\0" * extra)
    if extra:
        with pytest.raises(InputError, match=r"is not a \.vl file"):
            read_vl(path)
    else:
        np.testing.assert_array_equal(read_vl(path), frames[0])


@given(
    frames=meshes(),
    ticks=st.sampled_from([100, 200, 240, 250]),
    first=st.integers(-50, 50),
    gaps=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    doubles=st.booleans(),
    one_file=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_maya_round_trip(tmp_path_factory, frames, ticks, first, gaps, doubles, one_file, order):
    folder = tmp_path_factory.mktemp("maya")
    numbers = first + np.concatenate([[0], np.cumsum(gaps)])[: len(frames)]
    pairs = [(int(n), frame) for n, frame in zip(numbers, frames, strict=True)]
    order.shuffle(pairs)
    (folder / "s.xml").write_text(mc_xml("a:skinShape", ticks, one_file))
    if one_file:
        (folder / "s.mc").write_bytes(mc({n * ticks: frame for n, frame in pairs}, "a:skinShape", doubles))
    else:
        for n, frame in pairs:
            (folder / f"sFrame{n}.mc").write_bytes(mc({n * ticks: frame}, "a:skinShape", doubles, timed=False))
        (folder / "s2Frame1.mc").write_bytes(b"another shot's")
    read, index, fps = read_cache(folder / "s.xml")
    np.testing.assert_array_equal(read, frames)
    np.testing.assert_array_equal(index, numbers - first)
    assert fps == Fraction(6000, ticks)


@given(frames=meshes(), edits=EDITS, length=LENGTH)
def test_any_maya_cache_is_frames_or_an_input_error(folder, frames, edits, length):
    (folder / "b.xml").write_text(mc_xml("skinShape"))
    data = mc({200 * k: frame for k, frame in enumerate(frames)}, "skinShape")
    (folder / "b.mc").write_bytes(changed(data, edits, length))
    try:
        read, index, _ = read_cache(folder / "b.xml")
    except InputError:
        return
    assert read.shape[0] == len(index)
    assert read.shape[2] == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a>",
        "<a/>",
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        mc_xml("skinShape").replace("FloatVectorArray", "FloatArray"),
        mc_xml("skinShape").replace('TimePerFrame="200"', 'TimePerFrame="0"'),
        mc_xml("skinShape").replace('TimePerFrame="200"', ""),
        mc_xml("skinShape", format="mcx"),
        mc_xml("skinShape"),
    ],
)
def test_descriptions_of_no_cache(folder, text):
    (folder / "c.xml").write_text(text)
    with pytest.raises(InputError):
        read_cache(folder / "c.xml")


def test_samples_between_frames_are_refused(folder):
    (folder / "d.xml").write_text(mc_xml("skinShape"))
    (folder / "d.mc").write_bytes(mc({0: np.zeros((2, 3)), 201: np.zeros((2, 3))}, "skinShape"))
    with pytest.raises(InputError, match="between its frames"):
        read_cache(folder / "d.xml")


# ------------------------------------------------------------------------------------------------ time


@given(
    nominal=st.sampled_from([24, 25, 30, 60]),
    broadcast=st.booleans(),
    first=st.integers(0, 24 * 3600 * 60 - 1),
    steps=st.lists(st.sampled_from([1, 1, 1, 1, 1, 2, 3]), min_size=1, max_size=40),
    part=st.sampled_from(["", ".000", ".417", ".9"]),
    order=st.randoms(use_true_random=False),
)
def test_timecodes_become_frame_numbers(folder, nominal, broadcast, first, steps, part, order):
    """Also over midnight, out of order, and at 23.976, 29.97 and 59.94."""
    fps = Fraction(nominal * 1000, 1001) if broadcast and nominal != 25 else Fraction(nominal)
    numbers = np.concatenate([[0], np.cumsum(steps)])
    rows = [f"{timecode(first + int(n), nominal, part)},{n / 1000},0,1" for n in numbers]
    rest = rows[1:]
    order.shuffle(rest)
    text = "\n".join(["Timecode," + ",".join(NAMES), rows[0], *rest])
    (folder / "t.csv").write_text(text)
    if len(steps) >= 10 and np.median(steps) >= 2:
        with pytest.raises(InputError, match="Give --fps"):
            rows_of(read_csv, folder / "t.csv", fps)
        return
    names, weights, index = rows_of(read_csv, folder / "t.csv", fps)
    assert tuple(names) == NAMES
    np.testing.assert_array_equal(index, numbers)
    np.testing.assert_allclose(weights[:, 0], numbers / 1000, rtol=1e-6)


@given(
    st.text(max_size=16) | st.from_regex(r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}[:;.][0-9]{1,3}(\.[0-9]{0,3})?", fullmatch=True)
)
def test_a_timecode_is_a_time_of_the_day_or_none(text):
    try:
        clock = read_clock([text], "Timecode")
    except InputError:
        return
    assert clock.frames is None or 0 <= clock.seconds[0] < 24 * 3600


@given(fps=st.sampled_from([25, 30, 60]), steps=st.lists(st.integers(1, 2), min_size=1, max_size=9), start=FLOATS)
def test_seconds_become_frame_numbers(folder, fps, steps, start):
    start = round(abs(start) % 1000, 3)
    numbers = np.concatenate([[0], np.cumsum(steps)])
    lines = ["time;jawOpen".replace(";", ","), *(f"{start + n / fps:.6f},{n}" for n in numbers)]
    (folder / "s.csv").write_text("\n".join(lines))
    _, weights, index = rows_of(read_csv, folder / "s.csv", Fraction(fps))
    np.testing.assert_array_equal(index, numbers)
    np.testing.assert_array_equal(weights[:, 0], numbers)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_csv_or_json_is_weights_or_an_input_error(folder, content):
    path = folder / "any"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    for read in (read_csv, read_json):
        try:
            names, weights, index = rows_of(read, path, Fraction(60))
        except InputError:
            continue
        assert weights.shape == (len(index), len(names))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["frames", "names", "weights", "time", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_value_is_weights_or_an_input_error(folder, value):
    (folder / "v.json").write_text(json.dumps(value if isinstance(value, dict) else {"frames": value}))
    try:
        names, weights, index = rows_of(read_json, folder / "v.json", Fraction(60))
    except InputError:
        return
    assert weights.shape == (len(index), len(names))


@given(st.binary(max_size=300), EDITS, LENGTH)
def test_any_pickle_is_plain_or_an_input_error(folder, data, edits, length):
    honest = convert_rig.old_pickle({"a": np.arange(3), "b": [1, "x"]})
    for content in (data, changed(honest, edits, length)):
        (folder / "p.pkl").write_bytes(content)
        try:
            value = read_pickle(folder / "p.pkl")
        except InputError:
            continue
        assert type(value) in (dict, list, tuple, set, str, bytes, bytearray, int, float, bool, type(None), np.ndarray)


# ------------------------------------------------------------------------------------------------ names and places


def test_frames_are_sorted_by_number_and_keep_their_gaps():
    names, index = numbered(["f_10.obj", "f_9.obj", "f_2.obj"])
    assert names == ["f_2.obj", "f_9.obj", "f_10.obj"]
    assert index.tolist() == [0, 7, 8]
    assert numbered(["f30", "f10", "f20"])[1].tolist() == [0, 1, 2]
    for bad in (["a.obj"], ["a1.obj", "b01.obj"]):
        with pytest.raises(InputError, match="frame number"):
            numbered(bad)
    with pytest.raises(InputError, match="reach to"):
        spread(np.zeros((2, 3)), np.array([0, 10**12]))


@pytest.mark.parametrize("name", ["eyeBlinkLeft", "EyeBlinkLeft", "eyeBlink_L", "eye_blink_left", " EYE_BLINK_l "])
def test_spellings_of_a_shape(name):
    assert spelled(name) == "eyeblinkleft"


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_parts_make_a_name_for_a_file(parts):
    name = name_of(*parts)
    assert name
    assert not name.startswith(".")
    assert all(c.isalnum() or c in "-_.+" for c in name)
