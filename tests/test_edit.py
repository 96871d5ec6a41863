"""The same take once more, to the last bit and never from a recipe that could be something else; codes exchanged between clips."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st
from official_rig import make_case
from test_animate import ANIMATORS, AUDIO, TINY, whole

from meshtalk.clip import Clip, Phone, Recipe
from meshtalk.errors import InputError
from meshtalk.inference.animator import MAX_TAKES, Animator, load_model
from meshtalk.inference.direction import Direction
from meshtalk.inference.edit import again, redub, same_motion, swap
from meshtalk.inference.heads import influence_mm
from meshtalk.inference.latents import LatentAnimator
from meshtalk.model.checkpoint import load_checkpoint, save_checkpoint
from meshtalk.official.importer import import_official
from meshtalk.resample import at_rate

EXPRESSION = rig.make_clip(8, 0.7, fps=Fraction(25))
DIRECTED = Direction(
    intensity={"mouth": 1.3}, smoothing_s={"upper_face": 0.3}, blinks_per_min=30, lead_in_s=0.2, lead_out_s=0.4
)
PERFORMED = {
    "plain": {},
    "sampled": {"seed": 7, "temperature": 0.8, "top_p": 0.9, "template": rig.face(3)},
    "likeliest": {"argmax": True, "fps": "29.97"},
    "directed": {"seed": 3, "direction": DIRECTED, "fps": 60},
    "mixed": {
        "expression": EXPRESSION, "strength": {"upper_face": 0.5}, "direction": DIRECTED, "fps": 25, "seed": 2**62,
    },
}  # fmt: skip


def written(clip: Clip, folder: Path, name: str) -> bytes:
    return clip.save(folder / f"{name}.npz").read_bytes()


def remade(clip: Clip, animator: Animator, folder: Path) -> None:
    """`again` gives the bytes of a clip that went through a file."""
    before = written(clip, folder, "before")
    assert written(again(animator, Clip.load(folder / "before.npz")), folder, "after") == before


# --- again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PERFORMED)
@pytest.mark.parametrize("name", ANIMATORS)
def test_a_clip_is_made_again_to_the_last_bit(tmp_path, name, case):
    remade(ANIMATORS[name].animate(AUDIO, 16000, **PERFORMED[case]), ANIMATORS[name], tmp_path)


@pytest.mark.parametrize("case", ["sampled", "directed"])
def test_takes_are_made_again_together(tmp_path, case):
    takes = TINY.takes(AUDIO, 16000, n=5, **PERFORMED[case])
    for take in takes:
        remade(take, TINY, tmp_path)
    assert same_motion(takes[1], again(TINY, takes[1]))
    assert not same_motion(takes[1], takes[2])


def test_the_sound_is_resampled_once(tmp_path):
    stereo = np.stack([AUDIO, AUDIO[::-1]], 1).repeat(3, 0)
    remade(TINY.animate(stereo, 48000), TINY, tmp_path)


def test_labels_and_phones_stay(tmp_path):
    clip = replace(TINY.animate(AUDIO, 16000), subject="anna", sentence="mama", phones=(Phone("m", 0.1, 0.2),))
    remade(clip, TINY, tmp_path)


@pytest.mark.slow
def test_the_precision_is_the_takes(tmp_path):
    rough = Animator(TINY.checkpoint, "bfloat16").animate(AUDIO, 16000, seed=2)
    assert rough.recipe is not None
    assert rough.recipe.settings["precision"] == "bfloat16"
    remade(rough, TINY, tmp_path)


def test_numbers_of_all_kinds_are_told(tmp_path):
    direction = Direction(
        intensity=MappingProxyType({"mouth": np.float32(1.5)}), blinks_per_min=np.int64(9), hold_gaze=np.bool_(False)
    )
    clip = TINY.animate(
        AUDIO, 16000, seed=np.int64(3), temperature=np.float32(0.7), argmax=np.bool_(False), direction=direction
    )
    remade(clip, TINY, tmp_path)


def test_a_reloaded_model_is_the_same_model(tmp_path):
    save_checkpoint(tmp_path / "model", TINY.checkpoint)
    first, second = (load_model(tmp_path / "model") for _ in range(2))
    remade(first.animate(AUDIO, 16000, expression=EXPRESSION), second, tmp_path)


def test_clips_that_tell_nothing():
    clip = TINY.animate(AUDIO, 16000)
    for silent in (rig.make_clip(0), at_rate(clip, Fraction(25)), replace(clip, recipe=None)):
        with pytest.raises(InputError, match="records no settings"):
            again(TINY, silent)
    other = Animator(replace(TINY.checkpoint, hash="0123456789abcdef"))
    with pytest.raises(InputError, match=r"made this clip, got 0123456789abcdef\. Pass the model that made it"):
        again(other, clip)


TOLD = TINY.animate(AUDIO, 16000)
assert TOLD.recipe is not None
SETTINGS = TOLD.recipe.settings


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 10**12}, {"n": MAX_TAKES + 1}, {"n": 0}, {"n": True}, {"n": 1.0}, {"index": -1}, {"index": 1}, {"samples": 0},
        {"samples": -5}, {"samples": 10**9}, {"samples": "all"}, {"seed": -1}, {"seed": 2**70}, {"temperature": 0},
        {"temperature": float("nan")}, {"temperature": "hot"}, {"top_p": 2}, {"argmax": "no"}, {"fps": "1/0"}, {"fps": 30},
        {"fps": "1e999"}, {"precision": "float8"}, {"precision": []}, {"direction": []}, {"direction": {"ears": 1}},
        {"direction": {"intensity": [1]}}, {"direction": {"intensity": {"mouth": "loud"}}},
        {"direction": {"intensity": {"nose": 1}}},
        {"direction": {"blinks_per_min": {}}}, {"direction": {"hold_gaze": True}}, {"direction": "__import__('os')"},
        {"model": None}, {"model": "x" * 99},
    ],
    ids=str,
)  # fmt: skip
def test_recipes_that_cannot_be(changes):
    with pytest.raises(InputError) as refused:
        again(TINY, replace(TOLD, recipe=Recipe({**SETTINGS, **changes})))
    assert len(str(refused.value)) < 400
    missing = {name: value for name, value in SETTINGS.items() if name not in changes}
    with pytest.raises(InputError, match="cannot be read by meshtalk"):
        again(TINY, replace(TOLD, recipe=Recipe(missing)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KNOWN = st.sampled_from([*SETTINGS, "direction"])
DIRECTIONS = st.dictionaries(st.sampled_from(list(vars(Direction()))), JSON, max_size=3)


@settings(max_examples=60)
@given(JSON | st.dictionaries(KNOWN, JSON | DIRECTIONS).map(lambda changes: {**SETTINGS, **changes}))
def test_a_hostile_recipe_is_refused_or_followed(settings_told):
    """Never another exception; and what is followed is a clip."""
    clip = replace(TOLD, recipe=Recipe(settings_told))
    try:
        made = again(TINY, clip)
    except InputError as error:
        assert len(str(error)) < 500  # noqa: PT017
    else:
        made.validate()


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros((0, 6)), np.zeros(6), np.zeros((3, 5), np.float32), np.full((3, 6), np.nan), np.full((3, 6), "a"),
        np.zeros((3, 6), int), np.zeros((3, 6, 1)),
    ],
)  # fmt: skip
def test_signals_that_are_no_expression(signal):
    with pytest.raises(InputError, match="expression signal"):
        again(TINY, replace(TOLD, recipe=Recipe(SETTINGS, signal)))


def rewritten(path: Path, **entries: np.ndarray) -> Path:
    """A clip's file with other arrays in it."""
    with np.load(path) as archive:
        arrays = {**archive, **entries}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, '{"n": 1' + "0" * 10_000 + "}"])
def test_a_damaged_recipe_is_a_damaged_clip(tmp_path, text):
    path = rewritten(TOLD.save(tmp_path / "c.npz"), recipe=np.array(text))
    with pytest.raises(InputError, match="is not a meshtalk clip"):
        Clip.load(path)


def test_nothing_in_a_recipe_is_run(tmp_path):
    """Pickled objects in either of its arrays are not opened."""

    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('it ran')",))

    for name in ("recipe", "recipe_expression"):
        path = TOLD.save(tmp_path / f"{name}.npz")
        bomb = np.array([Bomb()], object)
        with np.load(path) as archive:
            arrays = {key: archive[key] for key in archive.files if key != name}
        np.savez(path, **arrays, **{name: bomb})
        with zipfile.ZipFile(path) as archive:
            assert b"it ran" in archive.read(f"{name}.npy")
        with pytest.raises(InputError, match="is not a meshtalk clip"):
            Clip.load(path)


def test_a_recipe_is_kept_as_json(tmp_path):
    clip = Clip.load(TINY.animate(AUDIO, 16000, **PERFORMED["mixed"]).save(tmp_path / "c.npz"))
    assert clip.recipe is not None
    told = clip.recipe.settings
    assert json.loads(json.dumps(told)) == told
    assert told["model"] == TINY.checkpoint.hash
    assert (told["fps"], told["seed"], told["n"], told["index"]) == ("25", 2**62, 1, 0)
    assert told["samples"] == len(AUDIO)
    assert told["direction"]["lead_out_s"] == 0.4
    assert clip.recipe.expression is not None
    assert clip.recipe.expression.shape == (20, 6)  # 0.7 s at 25 frames are 17, at the model's 30 they are 20


# --- swap --------------------------------------------------------------------------------------------------------

MEASURED = LatentAnimator(rig.random_checkpoint())
ONE, OTHER = rig.make_clip(0, 1.0, "s1"), rig.make_clip(1, 1.0, "s2")


def test_all_heads_of_another_clip_are_its_reconstruction():
    made = swap(MEASURED, ONE, OTHER, range(3))
    np.testing.assert_array_equal(made.weights, MEASURED.decoded(MEASURED.codes(OTHER), ONE).weights)
    on_its_own_face = swap(MEASURED, replace(ONE, template=OTHER.template), OTHER, [0, 1, 2])
    np.testing.assert_array_equal(on_its_own_face.weights, MEASURED.reconstruct(OTHER).weights)


def test_a_clip_gives_itself_nothing_new():
    for heads in ([0], [1, 2], [2, 2, 0, 1]):
        assert same_motion(swap(MEASURED, ONE, ONE, heads), MEASURED.reconstruct(ONE))


def test_one_head_is_one_head():
    codes = MEASURED.codes(ONE)
    codes[:, 1] = MEASURED.codes(OTHER)[:, 1]
    made = swap(MEASURED, ONE, OTHER, [1])
    np.testing.assert_array_equal(made.weights, MEASURED.decoded(codes, ONE).weights)
    assert not same_motion(made, MEASURED.reconstruct(ONE))
    np.testing.assert_array_equal(made.audio, ONE.audio)
    np.testing.assert_array_equal(made.template, ONE.template)
    assert (made.subject, made.sentence, made.phones) == (ONE.subject, ONE.sentence, ONE.phones)


@pytest.mark.parametrize("seconds", [0.04, 0.3, 3.0])
def test_other_lengths_are_played_there_and_back(seconds):
    other = rig.make_clip(1, seconds, "s2")
    frames = other.n_frames
    order = ([*range(frames), *range(frames - 2, 0, -1)] * 60)[: ONE.n_frames]
    expected = MEASURED.decoded(MEASURED.codes(other)[order], ONE)
    np.testing.assert_array_equal(swap(MEASURED, ONE, other, [0, 1, 2]).weights, expected.weights)


def test_dense_models_swap_too():
    dense = LatentAnimator(rig.random_checkpoint(rig.TINY_DENSE))
    made = swap(dense, rig.as_dense(ONE), OTHER, [0, 2]).validate()
    assert made.displacement is not None


def test_clips_at_another_rate_come_through_at_rate():
    slow = rig.make_clip(1, 1.0, "s2", fps=Fraction(25))
    with pytest.raises(InputError, match="must have the model's frame rate 30, got 25"):
        swap(MEASURED, ONE, slow, [0])
    assert swap(MEASURED, ONE, at_rate(slow, Fraction(30)), [0]).validate().n_frames == 30


@pytest.mark.parametrize("heads", [[], [3], [-1], [0, 99]])
def test_heads_that_are_none(heads):
    with pytest.raises(InputError, match="heads must be one or more of 0 to 2"):
        swap(MEASURED, ONE, OTHER, heads)


def test_clips_that_cannot_be_swapped():
    broken = replace(ONE, weights=np.full_like(ONE.weights, np.inf))
    turned = replace(ONE, topology=replace(rig.TOPOLOGY, faces=rig.TOPOLOGY.faces[:, ::-1]))
    for bad, words in (
        (replace(ONE, weights=ONE.weights[:0]), "both clips must have frames"),
        (broken, "NaN"),
        (turned, "topology"),
    ):
        for pair in ((ONE, bad), (bad, ONE)):
            with pytest.raises(InputError, match=words):
                swap(MEASURED, *pair, [0])
    with pytest.raises(InputError, match="regressor"):
        LatentAnimator(rig.random_checkpoint(regressor=True))


def test_what_again_needs_is_not_lost_on_the_way():
    np.testing.assert_array_equal(again(TINY, TOLD).vertices, whole())


# --- official weights --------------------------------------------------------------------------------------------


def test_official_weights_are_edited_too(tmp_path):
    case = make_case(tmp_path, "3x11 on the rig")
    rig.TOPOLOGY.save(tmp_path / "topology.npz")
    import_official(
        tmp_path / "official", tmp_path / "named", template=tmp_path / "face.obj", topology=tmp_path / "topology.npz"
    )
    named = LatentAnimator(load_checkpoint(tmp_path / "named"))
    clip = rig.as_dense(rig.make_clip(8, 0.9, "s1"))
    made = redub(named, clip, AUDIO, 16000, direction=Direction(lead_out_s=0.2)).validate()
    assert made.n_frames == 51
    with pytest.raises(InputError, match=r"no region 'mouth'\. This topology has none"):
        redub(case.animator(), clip, AUDIO, 16000)
    remade(case.animator().animate(AUDIO, 16000, seed=2, fps=25), case.animator(), tmp_path)
    assert same_motion(swap(named, clip, clip, [0]), named.reconstruct(clip))
    assert influence_mm(named, [clip]).shape == (named.config.heads, 96)
