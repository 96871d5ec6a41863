"""Vertices → weights: the same optimum as a reference solver, the weights that made real motion, and no delay."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.arkit.solve import Solver, focus, measure, weights_of
from meshtalk.assets import asset
from meshtalk.clip import Clip
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.inference.animator import load_model
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology

CORPUS = Path(__file__).parent.parent / "corpus"
ICT = Path(os.environ.get("MESHTALK_MESHES", "")) / "ict_facekit.npz"
RNG = np.random.default_rng(7)


def clip_on(topology: Topology, weights: np.ndarray, noise_mm: float = 0.0, seed: int = 0) -> Clip:
    """A dense clip of (T,S) weights, each coordinate of each vertex off by `noise_mm`."""
    assert topology.shapes is not None
    moves = np.einsum("ts,svk->tvk", weights.astype(np.float32), topology.shapes, optimize=True)
    moves += np.random.default_rng(seed).normal(0, noise_mm / 1e3, moves.shape).astype(np.float32)
    template = (
        load_head().neutral if topology is load_head().topology else np.zeros((topology.n_vertices, 3), np.float32)
    )
    audio = np.zeros(round(len(weights) / 30 * 16_000), np.float32)
    return Clip(topology, template, rig.FPS, audio, 16_000, displacement=moves)


def reference(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """½ wᵀ·gram·w − right·w over [0,1], by scipy's bounded least squares."""
    optimize = pytest.importorskip("scipy.optimize")
    root = np.linalg.cholesky(gram)
    return optimize.lsq_linear(root.T, np.linalg.solve(root, right), (0, 1), method="bvls", tol=1e-14).x


def jitter(weights: np.ndarray) -> float:
    return float(np.abs(np.diff(weights, 2, axis=0)).mean())


# --- the optimum ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.5, 3), before=st.booleans())
def test_a_frame_is_the_reference_solvers(seed, spread, before):
    # all 52 shapes, In and Out of one eye (-0.97) and smile, dimple and press (0.8) among them; many targets out of reach
    solver, rng = Solver(load_head().topology, smoothing=0.02), np.random.default_rng(seed)
    asked = rng.normal(0.2, spread, 52) @ solver.energies[0]
    last = rng.uniform(0, 1, 52) if before else None
    right = solver.right(asked) + (solver.tie * last if last is not None else 0)
    wanted = reference(solver.grams[int(before)], right)
    np.testing.assert_allclose(solver.step(asked, last), wanted, atol=1e-4)
    assert 0 < np.count_nonzero((wanted == 0) | (wanted == 1)) < 52


@pytest.mark.parametrize("smoothing", [0.0, 0.01, 1.0])
def test_a_track_is_one_problem(smoothing):
    solver, n, size = Solver(rig.TOPOLOGY, smoothing), 10, len(rig.SHAPES)
    asked = RNG.normal(0.4, 0.6, (n, size)) @ solver.energies[0]
    whole = np.kron(np.eye(n), solver.grams[0])
    differences = np.diff(np.eye(n), axis=0)
    whole += np.kron(differences.T @ differences, np.diag(solver.tie))
    wanted = reference(whole, solver.right(asked).ravel()).reshape(n, size)
    np.testing.assert_allclose(solver.track(asked), wanted, atol=1e-4)


@settings(max_examples=10)
@given(n=st.integers(0, 12), seed=st.integers(0, 99))
def test_smoothing_looks_both_ways(n, seed):
    solver = Solver(rig.TOPOLOGY, smoothing=0.5)
    asked = np.random.default_rng(seed).normal(0.4, 0.6, (n, 6)) @ solver.energies[0]
    there, back = solver.track(asked), solver.track(asked[::-1])[::-1]
    assert there.shape == (n, 6)
    np.testing.assert_allclose(there, back, atol=1e-4)


def test_a_pulse_stays_where_it_is():
    weights = np.zeros((41, 6))
    weights[:, 0] = np.exp(-(((np.arange(41) - 20) / 2.0) ** 2))
    clip = clip_on(rig.TOPOLOGY, weights)
    solver = Solver(rig.TOPOLOGY, smoothing=0.3)
    found = solver.track(solver.asked(clip))[:, 0]
    centre = (found * np.arange(41)).sum() / found.sum()
    assert found.argmax() == 20
    assert centre == pytest.approx(20, abs=0.01)
    assert found.max() < 0.95  # smoothed it is
    causal, before = [], None
    for asked in solver.asked(clip):
        causal.append(before := solver.step(asked, before))
    late = (np.array(causal)[:, 0] * np.arange(41)).sum() / np.array(causal)[:, 0].sum()
    assert 20.1 < late < 20.6  # the past alone cannot: a fraction of a frame


# --- the weights that made it ---------------------------------------------------------------------------------------------


@cache
def performance() -> Clip:
    """The packaged model speaks a packaged recording, cut to what ARKit can carry."""
    clip = load_model().animate(asset("speech") / "librivox_0880.flac")
    assert clip.weights is not None
    return replace(clip, weights=np.clip(clip.weights, 0, 1)[:75], recipe=None, audio=clip.audio[: 75 * 16_000 // 30])


@pytest.mark.parametrize(("noise_mm", "wobble"), [(0.0, 1.02), (0.1, 1.4)])
def test_a_spoken_clip_gives_its_weights_back(noise_mm, wobble):
    truth = performance().weights
    assert truth is not None
    clip = clip_on(load_head().topology, truth, noise_mm)
    found = weights_of(clip)
    assert found.solved
    assert found.names == clip.topology.shape_names
    assert 0 <= found.values.min() <= found.values.max() <= 1
    away = np.abs(found.values - truth)
    assert away.mean() < 0.006
    assert away.mean(0).max() < 0.02
    assert jitter(found.values) < wobble * jitter(truth)
    # against what moved before noise came
    clean = clip_on(load_head().topology, truth)
    fit = measure(clean, Solver(clean.topology), found.values, found.frames)
    assert fit.error_mm["max"] < 0.3
    assert max(fit.error_mm["mean"], fit.error_mm["lips"], fit.error_mm["lids"]) < 0.05


def test_smoothing_takes_the_jitter_of_noise():
    truth = performance().weights
    assert truth is not None
    clip = clip_on(load_head().topology, truth, 0.6)
    plain, smooth = (weights_of(clip, smoothing=amount).values for amount in (0.0, 0.05))
    assert jitter(smooth) < 0.7 * jitter(plain)
    assert np.abs(smooth - truth).mean() < np.abs(plain - truth).mean() < 0.02


@pytest.mark.skipif(not (CORPUS / "manifest.json").is_file(), reason="the embedded corpus has not been built here")
@pytest.mark.parametrize("index", [0, 40])
def test_a_clip_of_the_corpus_gives_its_weights_back(index):
    corpus = Corpus.open(CORPUS)
    clip = corpus.load(corpus.split("test")[index], sound=False)
    assert clip.weights is not None
    truth = np.clip(clip.weights[:60], 0, 1)
    found = weights_of(clip_on(load_head().topology, clip.weights[:60])).values
    assert np.abs(found - truth).mean() < 0.005
    # in a sharp move neighbours share a little of it, so single weights jitter a little more, and the face less
    assert jitter(found) < 1.1 * jitter(truth)
    flat = clip.topology.shapes.reshape(52, -1)  # type: ignore[union-attr]
    assert jitter(found @ flat) <= jitter(truth @ flat)


@pytest.mark.skipif(not ICT.is_file(), reason="MESHTALK_MESHES names no folder with ict_facekit.npz")
def test_another_rig_gives_its_weights_back():
    with np.load(ICT) as arrays:
        names, shapes = tuple(str(name) for name in arrays["names"]), arrays["deltas"] / 100
        topology = Topology(arrays["tris"], shapes.shape[1], shape_names=names, shapes=shapes.astype(np.float32))
    rng = np.random.default_rng(1)
    knots = rng.uniform(-0.6, 0.8, (7, len(names)))
    truth = np.clip(np.stack([np.interp(np.arange(40), np.arange(7) * 7, knot) for knot in knots.T], 1), 0, 1)
    seen = np.linalg.norm(shapes, axis=2).max(1) > 0.002  # a pupil's tenth of a millimetre is below the noise
    assert seen.sum() >= 53
    for noise_mm, limit in ((0.0, 0.01), (0.1, 0.02)):
        found = weights_of(clip_on(topology, truth, noise_mm)).values
        assert np.abs(found - truth)[:, seen].mean() < limit


# --- odd rigs -------------------------------------------------------------------------------------------------------------


def test_shapes_that_are_one_or_none():
    shapes = rig.TOPOLOGY.shapes
    assert shapes is not None
    odd = replace(
        rig.TOPOLOGY,
        shapes=np.concatenate([shapes, shapes[:1], 0 * shapes[:1]]),
        shape_names=(*rig.SHAPES, "twin", "nothing"),
    )
    weights = np.tile([0.6, 0.2, 0, 0.9, 0, 0.3], (5, 1))
    found = weights_of(clip_on(rig.TOPOLOGY, weights), odd).values
    np.testing.assert_allclose(found[:, 0] + found[:, 6], 0.6, atol=2e-3)
    np.testing.assert_allclose(found[:, 1:6], weights[:, 1:], atol=2e-3)
    assert np.all(found[:, 7] == 0)


def test_lips_lids_and_eyes_count_more():
    counts = focus(load_head().topology)
    parts, names = load_head().topology.parts, load_head().topology.part_names
    assert parts is not None
    assert counts.min() == 1
    assert np.all(counts[load_head().topology.indices("lips")] > 2)
    assert np.all(counts[np.isin(parts, [names.index("eye_left"), names.index("eye_right")])] == 16)


def test_eyeballs_decide_about_gaze():
    head = load_head().topology
    assert head.shapes is not None
    assert head.parts is not None
    weights = np.zeros((3, 52))
    weights[:, head.shape_names.index("eyeLookDownLeft")] = 0.7
    clip = clip_on(head, weights)
    assert clip.displacement is not None
    clip.displacement[:, head.parts == head.part_names.index("eye_left")] = 0  # lids alone: a half blink, or so
    found = weights_of(clip).values
    assert found[:, head.shape_names.index("eyeLookDownLeft")].max() < 0.1


def test_missed_frames_are_between_their_neighbours():
    weights = np.linspace(0, 0.9, 10)[:, None] * np.eye(6)[:1]
    clip = clip_on(rig.TOPOLOGY, weights)
    assert clip.displacement is not None
    clip.displacement[4:6] = 0.5
    clip.valid = np.isin(np.arange(10), [4, 5], invert=True)
    found = weights_of(clip)
    np.testing.assert_allclose(found.values, weights, atol=0.01)
    assert list(found.frames) == [0, 1, 2, 3, 6, 7, 8, 9]
    clip.valid = np.zeros(10, bool)
    assert not weights_of(clip).values.any()


@pytest.mark.parametrize(
    ("topology", "smoothing", "words"),
    [
        (replace(rig.TOPOLOGY, shapes=None, shape_names=()), 0.0, "no blendshapes"),
        (replace(rig.TOPOLOGY, shapes=np.zeros_like(rig.TOPOLOGY.shapes)), 0.0, "none at all"),
        (rig.TOPOLOGY, -1.0, "smoothing must be .*, got -1"),
        (rig.TOPOLOGY, float("nan"), "smoothing must be .*, got nan"),
    ],
)
def test_what_cannot_be_solved(topology, smoothing, words):
    with pytest.raises(InputError, match=words):
        Solver(topology, smoothing)


def test_another_mesh_is_refused():
    with pytest.raises(InputError, match="own topology"):
        Solver(load_head().topology).asked(rig.make_clip(1, 0.2))


# --- the report -----------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_plain_arithmetic():
    truth = RNG.uniform(0, 1, (30, 6))
    clip = clip_on(rig.TOPOLOGY, truth, 0.5)
    solver, weights = Solver(rig.TOPOLOGY), RNG.uniform(0, 1, (30, 6))
    frames = np.arange(3, 30)
    fit = measure(clip, solver, weights, frames)
    assert rig.TOPOLOGY.shapes is not None
    made = np.einsum("ts,svk->tvk", weights, rig.TOPOLOGY.shapes)
    away_mm = np.linalg.norm(clip.displacements() - made, axis=-1)[frames] * 1e3
    assert fit.error_mm["mean"] == pytest.approx(away_mm.mean(), rel=1e-4)
    assert fit.error_mm["p95"] == pytest.approx(np.percentile(away_mm, 95), rel=0.01)
    assert fit.error_mm["max"] == pytest.approx(away_mm.max(), rel=1e-4)
    for name, region in (("lips", "lips"), ("lids", "eyelids")):
        assert fit.error_mm[name] == pytest.approx(
            np.average(away_mm.mean(0), weights=rig.TOPOLOGY.region(region)), rel=1e-4
        )


def test_what_a_bound_forbids_is_told():
    weights = np.tile([0.5, 0, 0, 0.1, 0, 0.2], (4, 1))
    weights[2, 0], weights[1, 2] = 1.3, -0.4
    clip, solver = clip_on(rig.TOPOLOGY, weights), Solver(rig.TOPOLOGY, 0.0)
    found = weights_of(clip, smoothing=0.0)
    fit = measure(clip, solver, found.values, found.frames)
    assert fit.unmet[0] == pytest.approx(0.3, abs=0.1)
    assert fit.unmet[2] == pytest.approx(-0.4, abs=0.1)
    lines = str(fit).splitlines()
    assert lines[0].startswith("error: mean ")
    assert {"jawOpen", "browInnerUp", "eyeBlink"} <= {line.split()[0] for line in lines[2:]}
