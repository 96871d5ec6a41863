"""Landmarks: where they lie on the packaged head, and what a file may say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.mesh.landmarks import DESCRIPTIONS, REQUIRED, head_landmarks, read_landmarks, write_landmarks


def test_they_lie_where_their_names_say_on_the_packaged_head():
    neutral = load_head().neutral
    place = {name: neutral[vertex] for name, vertex in head_landmarks().items()}
    assert set(place) == set(DESCRIPTIONS)
    for name in DESCRIPTIONS:
        if name.endswith("_left"):
            mirrored = place[name.replace("left", "right")]
            assert place[name][0] > 0, f"{name} is on the wrong side"
            assert np.abs(place[name] * [-1, 1, 1] - mirrored).max() < 1e-4
    height = {name: float(point[1]) for name, point in place.items()}
    order = ["forehead", "brow_inner_left", "eye_upper_left", "eye_lower_left", "nose_tip", "nose_base"]
    order += ["lip_upper_outer", "lip_upper_inner", "lip_lower_outer", "chin"]
    assert sorted(order, key=lambda name: -height[name]) == order
    assert place["eye_inner_left"][0] < place["eye_upper_left"][0] < place["eye_outer_left"][0]
    assert neutral[:, 2].max() == place["nose_tip"][2]


def test_a_file_of_vertices_and_points_comes_back(tmp_path):
    vertices = load_head().neutral
    marks = {name: vertex for name, vertex in head_landmarks().items() if name in REQUIRED}
    write_landmarks(tmp_path / "marks.json", {**marks, "chin": np.array([0.0, -0.08, 0.09])})
    found = read_landmarks(tmp_path / "marks.json", vertices)
    assert set(found) == {*REQUIRED, "chin"}
    assert np.array_equal(found["nose_tip"], vertices[marks["nose_tip"]].astype(float))
    assert found["chin"].tolist() == [0.0, -0.08, 0.09]


GOOD = {name: index for index, name in enumerate(REQUIRED)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not valid JSON"),
        ("[1, 2]", "must hold a JSON object, got list"),
        (json.dumps({"nose": 1}), "unknown landmarks nose. Use nose_tip"),
        (json.dumps({"nose_tip": 1}), "lacks eye_outer_left"),
        (json.dumps({**GOOD, "chin": 99}), "a vertex from 0 to 9, got 99"),
        (json.dumps({**GOOD, "chin": True}), "a vertex index or a point"),
        (json.dumps({**GOOD, "chin": [1, 2]}), "a vertex index or a point"),
        (json.dumps({**GOOD, "chin": [1, 2, float("nan")]}), "a vertex index or a point"),
        (json.dumps({**GOOD, "eye_outer_left": GOOD["eye_outer_right"]}), "both eyes at one position"),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path, text, says):
    path = tmp_path / "marks.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"marks\.json") as caught:
        read_landmarks(path, np.random.default_rng(0).normal(size=(10, 3)))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path, encoding):
    vertices, path = np.random.default_rng(0).normal(size=(10, 3)), tmp_path / "marks.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    plain = read_landmarks(path, vertices)
    path.write_text(json.dumps(GOOD), encoding=encoding)
    for name, point in read_landmarks(path, vertices).items():
        np.testing.assert_array_equal(point, plain[name])


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_landmarks(tmp_path / "none.json", np.zeros((3, 3)))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5)
)
def test_any_value_is_read_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("marks") / "marks.json"
    path.write_text(json.dumps({**GOOD, "chin": value}))
    try:
        found = read_landmarks(path, np.random.default_rng(0).normal(size=(10, 3)))
    except InputError:
        return
    assert found["chin"].shape == (3,)
    assert np.isfinite(found["chin"]).all()
