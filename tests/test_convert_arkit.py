"""Blendshape captures: weights by name at their times, on the packaged head or on a mesh with the same shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rig
import soundfile
from convert_rig import beat_json, converted, livelink_csv, options, write_mesh, write_noise

from meshtalk.convert.plan import Options
from meshtalk.convert.run import convert
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head

SHAPES = load_head().topology.shape_names
ALPHABET = sorted(set(SHAPES) - {"tongueOut"})
RATE = 16_000


def weights(seed: int, frames: int = 60, count: int = 51) -> np.ndarray:
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0, 1, (5, count))
    at = np.linspace(0, 4, frames)
    return np.stack([np.interp(at, range(5), column) for column in knots.T], 1).round(6)


def meshes(values: np.ndarray, names, person) -> np.ndarray:
    """(T,V,3) of a face of the head, written out shape by shape."""
    head = load_head().topology
    assert head.shapes is not None
    made = np.repeat(person.template[None].astype(np.float64), len(values), 0)
    for column, name in zip(values.T, names, strict=True):
        k = SHAPES.index(name)
        made += column[:, None, None] * person.gains[k] * head.shapes[k]
    return made


def test_beat(tmp_path):
    root = tmp_path / "beat"
    (root / "1").mkdir(parents=True)
    (root / "2").mkdir()
    made = {"1/1_wayne_0_1_1": weights(0), "1/1_wayne_0_2_2": weights(1), "2/2_scott_0_1_1": weights(2)}
    for name, values in made.items():
        write_noise((root / name).with_suffix(".wav"), RATE, RATE)
        (root / name).with_suffix(".json").write_text(beat_json(values, times=np.arange(60) / 60))
    (root / "1/1_wayne_0_9_9.json").write_text(beat_json(weights(3)))  # no sound
    (root / "1/1_wayne_0_8_8.json").write_text(beat_json(weights(4))[:-30])
    (root / "1/1_wayne_0_7_7.json").write_text(beat_json(weights(5)[:, :50]))
    for name in ("1/1_wayne_0_8_8", "1/1_wayne_0_7_7"):
        write_noise((root / name).with_suffix(".wav"), RATE, RATE)
    corpus, report, clips = converted("beat", root, tmp_path / "c", Options())
    assert corpus.fps == 60
    assert corpus.topology.hash == load_head().topology.hash
    assert set(clips) == {name.replace("/", "-") for name in made}
    assert {info.id: info.voice for info in corpus.clips}["2-2_scott_0_1_1"] == "scott"
    people = {info.voice: info.subject for info in corpus.clips}
    assert len(set(people.values())) == 2
    for name, values in made.items():
        clip = clips[name.replace("/", "-")]
        person = load_head().person(clip.subject)
        assert isinstance(clip.weights, np.memmap)
        np.testing.assert_allclose(clip.vertices, meshes(values, ALPHABET, person), atol=1e-6)
        np.testing.assert_array_equal(clip.weights[:, SHAPES.index("tongueOut")], 0)
        assert len(clip.audio) == RATE
    assert set(report.dropped) == {f"1-1_wayne_0_{k}_{k}" for k in (7, 8, 9)}
    assert report.dropped["1-1_wayne_0_7_7"].endswith("(60, 50) for 51 names")
    assert not any("lacks regions" in note for note in report.notes)  # training has all it needs


@pytest.mark.parametrize(("fps", "nominal"), [("60", 60), ("59.94", 60), ("30", 30)])
def test_live_link_face(tmp_path, fps, nominal):
    """Rows are lost and out of order, midnight passes; the sound is that of the whole take."""
    root = tmp_path / "takes"
    values = weights(7, frames=60, count=len(SHAPES))
    kept = [k for k in range(60) if k not in (5, 6, 31)]
    kept[10], kept[20] = kept[20], kept[10]
    (root / "anna").mkdir(parents=True)
    text = livelink_csv(values, SHAPES, 24 * 3600 * nominal - 20, kept, nominal)
    (root / "anna/take_1_iPhone.csv").write_text(text)
    (root / "anna/take_1_iPhone_cal.csv").write_text("a,b\n1,2\n")
    write_noise(root / "anna/take_1_iPhone.wav", round(60 / float(fps) * 48_000), 48_000)
    _, report, clips = converted("livelink", root, tmp_path / "c", Options(fps=fps))
    clip = clips["anna-take_1_iPhone"]
    assert np.flatnonzero(~clip.valid).tolist() == [5, 6, 31]
    expected = values * load_head().person(clip.subject).gains
    np.testing.assert_allclose(clip.weights[clip.valid], expected[clip.valid], atol=1e-6)
    np.testing.assert_allclose(clip.weights[31], (expected[30] + expected[32]) / 2, atol=1e-6)
    assert report.clip_notes == {"anna-take_1_iPhone": "3 of 60 frames are missing"}
    assert "anna-take_1_iPhone_cal" in report.dropped


def test_a_wrong_rate_is_noticed(tmp_path):
    root = tmp_path / "takes"
    root.mkdir()
    (root / "a.csv").write_text(livelink_csv(weights(1, 60, len(SHAPES)), SHAPES, 0, range(60), 60))
    write_noise(root / "a.wav", RATE, RATE)
    with pytest.raises(InputError, match=r"60 rows a second, not 30\. Give --fps 60"):
        convert("livelink", root, tmp_path / "c", Options(fps="30"), workers=1)
    (root / "a.csv").write_text(livelink_csv(weights(1, 60, len(SHAPES)), SHAPES, 0, range(60), 30))
    with pytest.raises(InputError, match="another --fps"):  # two seconds beside one of sound
        convert("livelink", root, tmp_path / "c", Options(), workers=1)


def test_any_json_or_csv_with_arkits_names(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    names = ["headYaw", "MouthPucker", "eyeBlink_R", "jaw_open", "BrowInnerUp", "mouthClose"]
    ours = ["mouthPucker", "eyeBlinkRight", "jawOpen", "browInnerUp", "mouthClose"]
    values = weights(3, frames=30, count=6)
    (root / "a.json").write_text(beat_json(values, names))
    lines = [
        ",".join(["time", *names]),
        *(f"{2 + k / 30:.4f}," + ",".join(map(str, row)) for k, row in enumerate(values)),
    ]
    del lines[9]
    lines[20] = ",".join(["2.6667", "0", "nan", *["0.1"] * 4])
    (root / "b.csv").write_text("\n".join(lines))
    (root / "c.json").write_text(beat_json(values[:, :2], ["headYaw", "jawOpen"]))
    (root / "d.json").write_text(beat_json(values * 100, names))
    (root / "e.json").write_text(beat_json(values))
    for name in "abcde":
        soundfile.write(root / f"{name}.FLAC", np.zeros(RATE, np.float32), RATE)
    _, report, clips = converted("arkit", root, tmp_path / "c", Options(fps="30"))
    assert set(clips) == {"a", "b"}
    person = load_head().person(clips["a"].subject)
    np.testing.assert_allclose(clips["a"].vertices, meshes(values[:, 1:], ours, person), atol=1e-6)
    assert np.flatnonzero(~clips["b"].valid).tolist() == [8, 20]
    seen = clips["b"].valid
    np.testing.assert_allclose(clips["b"].vertices[seen], meshes(values[:, 1:], ours, person)[seen], atol=1e-6)
    assert "got 1 of the head's shapes" in report.dropped["c"]
    assert "weights must be 0 to 1, got up to" in report.dropped["d"]
    assert 'has no "names"' in report.dropped["e"]


def test_a_mesh_of_ones_own_with_the_same_shapes(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    values = weights(3, frames=30, count=5)
    ours = ["jawOpen", "mouthPucker", "mouthSmileLeft", "browInnerUp", "eyeBlinkLeft"]
    (root / "a.json").write_text(beat_json(values, ours))
    write_noise(root / "a.wav", RATE, RATE)
    given = options(tmp_path, fps="30")
    shapes = np.concatenate([rig.TOPOLOGY.shapes])
    topology = replace(rig.TOPOLOGY, shape_names=(*ours[:4], "own", ours[4]), shapes=shapes)
    topology.save(tmp_path / "mine.npz")
    corpus, _, clips = converted("arkit", root, tmp_path / "c", replace(given, topology=tmp_path / "mine.npz"))
    columns = shapes[[0, 1, 2, 3, 5]].reshape(5, -1)
    expected = (values @ columns).reshape(30, -1, 3) + rig.NEUTRAL
    np.testing.assert_allclose(clips["a"].vertices, expected, atol=2e-5)
    assert corpus.topology.shape_names == topology.shape_names
    for changes, words in (
        ({"template": None}, "its neutral face"),
        ({"topology": None}, "with ARKit's shapes"),
        ({"topology": tmp_path / "regions.npz", "template": tmp_path / "none.ply"}, "there is no mesh"),
    ):
        with pytest.raises(InputError, match=words):
            convert("arkit", root, tmp_path / "d", replace(given, **changes))
    topology = replace(rig.TOPOLOGY, shape_names=tuple("abcdef"))
    topology.save(tmp_path / "mine.npz")
    write_mesh(tmp_path / "face.ply")
    with pytest.raises(InputError, match="has no ARKit shapes; it has: a, b"):
        convert("arkit", root, tmp_path / "d", replace(given, topology=tmp_path / "mine.npz"))
