"""Which head moves what: nothing for a head that does not matter, exactly what it moves for one whose work is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from PIL import Image
from test_cli import refused, run

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.files import check_picture
from meshtalk.inference.edit import swap
from meshtalk.inference.heads import draw, heads_of, influence_mm, region_shares, table
from meshtalk.inference.latents import LatentAnimator

ONE, OTHER = rig.make_clip(0, 1.0, "s1"), rig.make_clip(1, 1.5, "s2")
HEADS = ("jawOpen", "browInnerUp", "eyeBlink")
CODES = np.random.default_rng(0).integers(0, 8, (45, 3))


class Puppet(LatentAnimator):
    """A model whose heads pull one string each: what each moves is known."""

    def codes(self, clip: Clip) -> np.ndarray:
        return CODES[: clip.n_frames].copy()

    def decoded(self, labels: np.ndarray, clip: Clip) -> Clip:
        weights = np.zeros((len(labels), len(rig.SHAPES)), np.float32)
        weights[:, [rig.SHAPES.index(name) for name in HEADS]] = labels / 7
        return replace(clip, weights=weights)


def puppet() -> Puppet:
    return Puppet(rig.random_checkpoint())


def silenced(*heads: int) -> LatentAnimator:
    """A model whose decoder does not listen to some heads."""
    checkpoint = rig.random_checkpoint()
    weight = checkpoint.network.decoder.fusion.weight
    classes = checkpoint.config.classes
    with torch.no_grad():
        for head in heads:
            first = weight.shape[1] - (3 - head) * classes
            weight[:, first : first + classes] = 0
    return LatentAnimator(checkpoint)


@pytest.mark.parametrize("heads", [(), (0,), (2,), (0, 1)])
def test_a_head_has_influence_if_and_only_if_its_codes_matter(heads):
    animator = silenced(*heads)
    influence = influence_mm(animator, [ONE, OTHER])
    assert influence.shape == (3, 96)
    for head in range(3):
        swapped = swap(animator, ONE, OTHER, [head]).weights
        matters = bool(np.any(swapped != animator.reconstruct(ONE).weights))
        assert matters == (head not in heads)
        assert (influence[head].max() > 1e-3) == matters
        assert (influence[head] == 0).all() != matters


def test_a_heads_influence_is_what_it_moves():
    influence = influence_mm(puppet(), [ONE, OTHER])
    squares = sum(np.square(np.roll(c, len(c) // 2, 0) - c).sum(0) for c in (CODES[:30], CODES)) / 75
    for head, name in enumerate(HEADS):
        reach_mm = np.linalg.norm(rig.TOPOLOGY.shapes[rig.SHAPES.index(name)], axis=1) * 1e3
        np.testing.assert_allclose(influence[head], np.sqrt(squares[head]) / 7 * reach_mm, atol=1e-4)


def test_shares_and_heads_of_regions():
    animator = puppet()
    influence = influence_mm(animator, [OTHER])
    shares = region_shares(influence, animator)
    np.testing.assert_allclose(shares["mouth"], [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(shares["upper_face"], [0, 1, 1], atol=0.01)
    np.testing.assert_allclose(shares["eyelids"], [0, 0, 1], atol=0.01)
    assert heads_of(influence, animator, "mouth") == [0]
    assert heads_of(influence, animator, "eyelids") == [2]
    assert heads_of(influence, animator, "upper_face") in ([1], [2])  # one of them makes more than half of it
    level = influence.copy()
    level[:] = 0
    level[[1, 2], 85] = 1.0  # two share a vertex of the upper face alike
    assert heads_of(level, animator, "upper_face") == [1]
    level[0, 85] = 1.0
    assert heads_of(level, animator, "upper_face") == [0, 1]


def test_the_table_tells_all():
    animator = puppet()
    influence = influence_mm(animator, [OTHER])
    head, *rows = table(influence, animator).splitlines()
    assert head.split() == ["head", "mean", "mm", *rig.TOPOLOGY.regions]
    assert len(rows) == 3
    number, mean, mouth, upper, lids, _ = rows[2].split()
    assert (number, upper, lids) == ("2", "100%", "100%")
    assert mouth in ("0%", "1%")
    assert float(mean) == pytest.approx(influence[2].mean(), abs=1e-3)


def test_dense_models_have_a_map_too():
    animator = LatentAnimator(rig.random_checkpoint(rig.TINY_DENSE))
    assert (influence_mm(animator, [rig.as_dense(ONE)]).max(1) > 1e-3).all()


def test_clips_that_tell_nothing():
    animator = puppet()
    still = replace(ONE, weights=ONE.weights[:1], audio=ONE.audio[:533])
    broken = replace(ONE, weights=ONE.weights * np.nan)
    slow = rig.make_clip(0, 1.0, fps=Fraction(25))
    for clips, words in (([], "at least one"), ([ONE, still], "two frames"), ([broken], "NaN")):
        with pytest.raises(InputError, match=words):
            influence_mm(animator, clips)
    with pytest.raises(InputError, match="must have the model's frame rate 30, got 25"):
        influence_mm(LatentAnimator(rig.random_checkpoint()), [slow])
    for influence, region, words in (
        (np.zeros((3, 96)), "mouth", "no head moves 'mouth'"),
        (np.ones((3, 96)), "nose", "no region 'nose'"),
    ):
        with pytest.raises(InputError, match=words):
            heads_of(influence, animator, region)


# --- the picture -------------------------------------------------------------------------------------------------


def test_the_picture_is_bright_where_a_head_moves_most(tmp_path):
    animator = puppet()
    influence = influence_mm(animator, [OTHER])
    path = draw(influence, animator, tmp_path / "heads.png")
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (284, 720, 3)
    faces = [picture[:240, left : left + 240].sum(-1) for left in (0, 240, 480)]
    heights = [np.argwhere(face > face.max() - 60)[:, 0].mean() for face in faces]
    assert heights[0] > 140 > heights[2] > heights[1]  # jaw below, lids above it, brows above them
    assert np.ptp(picture[244:280, :200].sum(-1)) > 200  # a caption


def test_pictures_that_cannot_be_written(tmp_path, monkeypatch):
    for name, words in (
        ("map.jpg", "must be written to .png"),
        ("no/map.png", "no folder"),
        ("map", "must be written to .png"),
    ):
        with pytest.raises(InputError, match=words):
            check_picture(tmp_path / name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"meshtalk\[media\]"):
        draw(np.ones((3, 96)), puppet(), tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


# --- the commands ------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ONE.save("one.npz")
    rig.make_clip(1, 0.7, "s2", fps=Fraction(25)).save("other.npz")
    return tmp_path


def test_heads_draws_and_tells(capsys, here, tiny_model):
    out = run(capsys, "heads", "one.npz", "other.npz", "-o", "map.png", "--model", tiny_model)
    assert out.splitlines()[-1] == "map.png"
    assert out.splitlines()[0].split()[0] == "head"
    assert Image.open("map.png").size == (720, 284)


def test_heads_measures_on_packaged_recordings(capsys, here, tiny_model):
    run(capsys, "heads", "--model", tiny_model)
    assert Path("heads.png").exists()


def test_swap_by_number_and_by_region(capsys, here, tiny_model):
    def made(*args: str) -> tuple[str, Clip]:
        out = run(capsys, "swap", "one.npz", "other.npz", "-o", "new.npz", "--model", tiny_model, *args).splitlines()
        assert out[1] == "new.npz"
        return out[0], Clip.load("new.npz")

    said, clip = made("--heads", "0", "--heads", "2")
    assert said == "heads 0, 2"
    assert (clip.n_frames, clip.fps, clip.subject) == (30, 30, "s1")
    same = made("--heads", "0", "2")[1]
    np.testing.assert_array_equal(same.weights, clip.weights)
    chosen, by_region = made("--region", "mouth")
    numbers = chosen.removeprefix("heads ").split(", ")
    np.testing.assert_array_equal(made("--heads", *numbers)[1].weights, by_region.weights)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["heads", "one.npz", "-o", "map.jpg"], "must be written to .png"),
        (["heads", "no.npz", "-o", "map.png"], "no clip at no.npz"),
        (["heads", "-o", "no/map.png"], "no folder"),
        (["swap", "one.npz", "other.npz", "-o", "n.npz"], "either --heads or --region"),
        (["swap", "one.npz", "other.npz", "-o", "n.npz", "--heads", "1", "--region", "mouth"], "one of them"),
        (["swap", "one.npz", "other.npz", "-o", "n.npz", "--heads", "7"], "0 to 2"),
        (["swap", "one.npz", "other.npz", "-o", "n.npz", "--region", "nose"], "no region 'nose'"),
        (["swap", "one.npz", "no.npz", "-o", "n.npz", "--heads", "1"], "no clip at no.npz"),
        (["swap", "one.npz", "other.npz", "-o", "n.avi", "--heads", "1"], ".mp4, .glb"),
    ],
)
def test_bad_input(capsys, here, tiny_model, args, words):
    assert words in refused(capsys, here, *args, "--model", tiny_model)
