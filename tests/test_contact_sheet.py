"""The contact sheet: its layout, the instants it picks, and that it refuses what it cannot show."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from test_export import make_clip

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.export.contact_sheet import _CURVE, _instants, contact_sheet
from meshtalk.mesh.topology import Topology

PHONES = ("pau", "hh", "ax", "l", "ow", "m", "aa", "p", "f", "uw", "s", "iy", "pau")


def spoken(n_frames: int = 52):
    clip = make_clip(n_frames=n_frames)
    step_s = clip.duration_s / len(PHONES)
    clip.phones = tuple(Phone(name, k * step_s, (k + 1) * step_s) for k, name in enumerate(PHONES))
    old, template = clip.topology, clip.template
    front = np.argsort(template[:, 2])[-1:]
    clip.topology = Topology(
        faces=old.faces,
        n_vertices=old.n_vertices,
        landmarks={"lip_inner_upper": front, "lip_inner_lower": np.array([45])},
    )
    return clip


def test_a_sheet_has_a_row_for_each_clip(tmp_path):
    clips = {"truth": spoken(), "model": make_clip(n_frames=30)}
    path = contact_sheet(clips, tmp_path / "sheet.png", columns=4, frame_px=64)
    with Image.open(path) as sheet:
        two = np.asarray(sheet.convert("RGB")).astype(int)
    alone = contact_sheet({"truth": clips["truth"]}, tmp_path / "one.png", columns=4, frame_px=64)
    with Image.open(alone) as sheet:
        one = np.asarray(sheet.convert("RGB")).astype(int)
    assert two.shape[1] == one.shape[1] > 4 * 64
    assert two.shape[0] > 1.8 * one.shape[0]
    assert contact_sheet(clips, tmp_path / "again.png", columns=4, frame_px=64).read_bytes() == path.read_bytes()
    orange = np.abs(two - np.array(_CURVE)).sum(2) < 60
    middle = len(orange) // 2
    assert orange[:middle].sum() > 150, "the curve of the clip with lips"
    assert orange[middle:].sum() == 0, "without lips there is no curve"


def test_instants_are_the_middles_of_telling_phones():
    clip = spoken()
    instants = _instants(clip, 6)
    assert [k for k, _ in instants] == sorted(k for k, _ in instants)
    assert {"aa", "f", "ow", "iy", "l"} <= {name for _, name in instants} | {"ow"}
    assert any(name in "pm" for _, name in instants)
    for k, name in instants:
        phone = next(p for p in clip.phones if p.start_s <= k / 30 <= p.end_s + 1e-6)
        assert (phone.name if phone.name != "pau" else "") == name


def test_instants_without_phones_are_even_and_inside():
    assert [k for k, _ in _instants(make_clip(n_frames=100), 4)] == [20, 40, 59, 79]
    assert [k for k, _ in _instants(make_clip(n_frames=3), 8)] == [0, 1, 2]


def test_one_frame_is_enough(tmp_path):
    assert contact_sheet({"": make_clip(n_frames=1)}, tmp_path / "a.png", columns=1, frame_px=64).exists()


def test_what_cannot_be_shown_is_told(tmp_path):
    clip = make_clip(n_frames=4)
    with pytest.raises(InputError, match="at least one clip"):
        contact_sheet({}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"columns must be .* got 0"):
        contact_sheet({"a": clip}, tmp_path / "a.png", columns=0)
    with pytest.raises(InputError, match="no folder"):
        contact_sheet({"a": clip}, tmp_path / "missing" / "a.png")
    clip.template = clip.template * np.float32(np.nan)
    with pytest.raises(InputError, match="NaN"):
        contact_sheet({"a": clip}, tmp_path / "a.png")
    assert not os.listdir(tmp_path)
