"""From systems and clips to figures, intervals, tables and JSON."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from evaluation_rig import TEMPLATE, TOPOLOGY, LittleCorpus, LoudnessAnimator, make_clip

from meshtalk import evaluation as ev
from meshtalk.config import EvaluationConfig
from meshtalk.errors import InputError
from meshtalk.evaluation import aggregate, score
from meshtalk.evaluation.bench import score_clip, spread
from meshtalk.measures import metrics, sync, tracks
from meshtalk.mesh.topology import Topology
from meshtalk.progress import Progress


@pytest.fixture(scope="module")
def corpus():
    return LittleCorpus()


@pytest.fixture(scope="module")
def reports(corpus):
    model = LoudnessAnimator()
    systems = ev.references(corpus) | {"oracle": ev.Oracle(model), "model": model}
    return {r.system: r for r in ev.evaluate_all(systems, corpus, EvaluationConfig(samples=3, seed=5))}


# --------------------------------------------------------------------------------------------- systems


def test_the_truth_is_perfect(reports):
    truth = reports["truth"]
    for key in ("lve_mm", "lve_squared_m2", "lip_error_mm", "mve_mm", "eve_mm", "fdd_m2", "abs_fdd_m2"):
        assert truth[key] == 0
    for key in ("opening_r", "opening_ratio", "jitter_ratio", "lip_motion_ratio", "upper_motion_ratio"):
        assert truth[key] == pytest.approx(1)
    assert truth["lag_frames"] == pytest.approx(0, abs=0.2)
    assert truth["lag_within_1_frame"] == 1
    assert truth["closure_rate"] == 1
    assert truth["false_closure_rate"] < 0.2
    assert truth["pops_per_min"] == 0
    assert truth["blinks_per_min"] > 5
    assert 100 < truth["blink_ms"] < 400
    assert truth["silence_speed_mm_s"] < 1
    assert truth["loudness_r"] > 0.7


def test_faces_that_do_not_listen_lose(reports):
    for name in ("neutral", "mean face"):
        assert reports[name]["opening_r"] == 0
        assert math.isnan(reports[name]["lag_frames"])
        assert reports[name]["upper_motion_ratio"] == 0
        assert reports[name]["jitter_mm"] == pytest.approx(0, abs=1e-6)
        assert reports[name]["blinks_per_min"] == 0
        assert reports[name]["lve_mm"] > 3 * reports["model"]["lve_mm"]
    assert reports["neutral"]["closure_rate"] == 1  # ... which is why wrong closures are counted too
    assert reports["neutral"]["false_closure_rate"] == 1
    assert reports["mean face"]["closure_rate"] == 0
    assert reports["mean face"]["mve_mm"] < reports["neutral"]["mve_mm"]


def test_the_floor_has_a_perfect_mouth_and_another_upper_face(reports):
    floor = reports["sampler's floor"]
    assert floor["lve_mm"] == pytest.approx(0, abs=1e-4)
    assert floor["closure_rate"] == 1
    assert floor["eve_mm"] > 1
    assert floor["upper_motion_ratio"] == pytest.approx(1, abs=0.3)


def test_the_model_and_its_oracle(reports):
    model, oracle = reports["model"], reports["oracle"]
    assert model["opening_r"] > 0.85
    assert model["lag_within_1_frame"] == 1
    assert oracle["lip_error_mm"] < model["lip_error_mm"]
    assert model["best_of_n_lve_mm"] <= model["mean_of_n_lve_mm"]
    assert model["diversity_lips_mm"] == 0  # its mouth is a function of the sound
    assert model["diversity_upper_mm"] > 0
    assert model["spread_ratio"] == 0
    assert model["perplexity"] == pytest.approx(4)
    assert model["nll_nats"] == pytest.approx(math.log(16))
    assert model["nll_head0_nats"] == pytest.approx(math.log(2))
    assert model["dead_heads"] == 1
    assert model.heads["classes_used"] == [5, 1]
    assert model.heads["nll_nats"] == pytest.approx([math.log(2), math.log(8)])
    assert not oracle.heads
    assert math.isnan(oracle["perplexity"])


def test_swap_tables_are_the_identity_for_a_disentangled_rig(reports):
    model = reports["model"]
    assert model.true_swap == pytest.approx(np.eye(2), abs=1e-6)
    assert model.swap == pytest.approx(np.eye(2), abs=0.25)
    assert model.swap[0, 1] == 0
    assert model.swap[1, 0] == 0
    assert reports["truth"].swap is None


def test_dense_clips_give_the_same_figures(corpus, reports):
    dense = LittleCorpus(dense=True)
    assert "sampler's floor" not in ev.references(dense)
    model = LoudnessAnimator()
    model.swap = None  # the stand-in swaps weights, which dense clips have not
    report = ev.evaluate(ev.MeanFace(dense), dense, EvaluationConfig(seed=5), name="mean face")
    assert report["mve_mm"] == pytest.approx(reports["mean face"]["mve_mm"], rel=1e-4)
    assert report["eve_mm"] == pytest.approx(reports["mean face"]["eve_mm"], rel=1e-4)
    with pytest.raises(InputError, match="linear clips"):
        ev.Floor(dense)


def test_a_late_shaky_popping_animator_is_found_out(corpus):
    class Bad(LoudnessAnimator):
        def animate(self, audio, sample_rate, *, template, seed):
            clip = super().animate(audio, sample_rate, template=template, seed=seed)
            weights = np.roll(np.asarray(clip.weights), 3, axis=0)
            weights[:, 0] += 0.05 * (-1) ** np.arange(len(weights))
            weights[40, 0] += 3
            return replace(clip, weights=weights)

    good = ev.evaluate(LoudnessAnimator(), corpus, name="good")
    bad = ev.evaluate(Bad(), corpus, name="bad")
    assert bad["lag_frames"] - good["lag_frames"] == pytest.approx(3, abs=0.7)
    assert bad["lag_within_1_frame"] == 0
    assert bad["jitter_ratio"] > 1.5 * good["jitter_ratio"]
    assert bad["pops_per_min"] > 10
    assert bad["popping_ratio"] > 2 * good["popping_ratio"]
    assert bad["silence_speed_mm_s"] > 10 * good["silence_speed_mm_s"]


def test_the_same_seed_gives_the_same_report_and_another_does_not(corpus):
    first, again, other = (ev.evaluate(LoudnessAnimator(), corpus, EvaluationConfig(seed=s)) for s in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert first["eve_mm"] != other["eve_mm"]
    assert first.system == "LoudnessAnimator"


# ------------------------------------------------------------------------------------- refused systems


def test_wrong_rate_length_topology_and_split_are_one_sentence(corpus):
    class Other(LoudnessAnimator):
        def __init__(self, **changes):
            self.changes = changes

        def animate(self, audio, sample_rate, *, template, seed):
            clip = super().animate(audio, sample_rate, template=template, seed=seed)
            return replace(clip, **self.changes)

    two = TOPOLOGY.faces[:2]
    for changes, said in (
        ({"fps": Fraction(25)}, "frame rate 30, got 25"),
        ({"weights": np.zeros((7, 3), np.float32)}, "frames, .* got 7"),
        ({"topology": Topology(faces=two, n_vertices=12)}, "topology"),
    ):
        with pytest.raises(InputError, match=said):
            ev.evaluate(Other(**changes), corpus)
    with pytest.raises(InputError, match="no clips in split 'val'"):
        ev.evaluate(LoudnessAnimator(), corpus, EvaluationConfig("val"))
    with pytest.raises(InputError, match="neither"):
        ev.evaluate(object(), corpus)
    with pytest.raises(InputError, match="limit must be at least 1 clip, got 0"):
        ev.evaluate(LoudnessAnimator(), corpus, EvaluationConfig(limit=0))
    with pytest.raises(InputError, match="must have two clips"):
        ev.Floor(LittleCorpus(2))


def test_one_frame_more_or_less_is_fine_and_progress_is_told(corpus):
    class Short(LoudnessAnimator):
        def animate(self, audio, sample_rate, *, template, seed):
            clip = super().animate(audio, sample_rate, template=template, seed=seed)
            return tracks.crop(clip, clip.n_frames - 1)

    told = []
    report = ev.evaluate(Short(), corpus, EvaluationConfig(limit=2, samples=2), progress=told.append)
    assert told == [Progress(1, 2, "clips"), Progress(2, 2, "clips")]
    assert report.n_clips == 2
    assert spread(range(10), 3) == [0, 3, 6]


# ---------------------------------------------------------------------------------------------- tracks


def test_tracks_equal_the_clips_own_vertices():
    clip = make_clip(3)
    where = np.array([2, 8, 11])
    assert np.allclose(tracks.positions(clip, where), clip.vertices[:, where], atol=1e-7)
    assert np.allclose(tracks.opening_mm(clip), clip.lip_opening_mm(), atol=1e-3)
    assert tracks.opening_mm(clip) == pytest.approx(0.2 + 20 * np.asarray(clip.weights)[:, 0], abs=1e-3)
    assert tracks.eyelid_closure(clip) == pytest.approx(np.asarray(clip.weights)[:, 2], abs=1e-5)
    assert tracks.lip_to_teeth_mm(clip)[0] == pytest.approx(1e3 * np.linalg.norm(TEMPLATE[2] - TEMPLATE[4]), rel=1e-4)
    half = tracks.crop(clip, 45)
    assert (half.n_frames, len(half.audio)) == (45, 24000)


def test_tracks_without_teeth_or_blink_shapes():
    bare = Topology(
        faces=TOPOLOGY.faces,
        n_vertices=12,
        regions=TOPOLOGY.regions,
        landmarks={k: v for k, v in TOPOLOGY.landmarks.items() if k.startswith("lip")},
    )
    clip = replace(make_clip(3), topology=bare)
    assert tracks.lip_to_teeth_mm(clip) is None
    assert tracks.eyelid_closure(clip) is None
    row = score_clip([clip], score.Tracked(clip), "bare")
    assert "blinks_per_min" not in row.parts
    assert "lip_to_teeth_mm" not in row.parts


def test_frames_that_capture_missed_do_not_count():
    clip = make_clip(1)
    weights = np.array(clip.weights)
    weights[50] = 9.0
    valid = np.arange(clip.n_frames) != 50
    rubbish = replace(clip, weights=weights, valid=valid)
    row = score_clip([clip], score.Tracked(rubbish), "x")
    assert row.parts["lve_mm"] == (0, clip.n_frames - 1)
    assert row.parts["jitter_ratio"][0] == pytest.approx(row.parts["jitter_ratio"][1])
    blind = replace(clip, valid=np.zeros(clip.n_frames, bool))
    assert score.errors(score.Tracked(clip), score.Tracked(blind)) == {}


def test_the_report_adds_up_what_the_pure_functions_say():
    true, said = make_clip(1), make_clip(2, 3.4)
    other = replace(tracks.crop(said, true.n_frames), audio=true.audio, phones=true.phones)
    row = score_clip([other], score.Tracked(true), "other")
    lips, upper = TOPOLOGY.indices("lips"), TOPOLOGY.indices("upper_face")
    a, b = other.vertices, true.vertices
    expected = {
        "lve_mm": metrics.lve_mm(a[:, lips], b[:, lips]),
        "lve_squared_m2": metrics.lve_squared_m2([(a[:, lips], b[:, lips])]),
        "lip_error_mm": metrics.mve_mm(a[:, lips], b[:, lips]),
        "mve_mm": metrics.mve_mm(a, b),
        "eve_mm": metrics.eve_mm(a[:, upper], b[:, upper]),
        "jitter_mm": metrics.jitter_mm(a[:, lips]),
        "upper_motion_ratio": metrics.motion_ratio(a[:, upper], b[:, upper]),
        "closure_rate": sync.closure_rate(other.lip_opening_mm(), 30, true.phones),
        "false_closure_rate": sync.false_closure_rate(other.lip_opening_mm(), 30, true.phones),
        "opening_r": sync.correlation(other.lip_opening_mm(), true.lip_opening_mm()),
    }
    values = score.values_of(row.parts)
    for key, value in expected.items():
        assert values[key] == pytest.approx(value, rel=1e-3), key


# ------------------------------------------------------------------------------------------- intervals


def test_estimates_pool_clips_by_their_weights():
    figure = aggregate.estimate("closure_rate", [(1, 2), (3, 4), (0, 0)])
    assert figure is not None
    assert figure.value == pytest.approx(4 / 6)
    assert figure.low < figure.value < figure.high
    ratio = aggregate.estimate("upper_motion_ratio", [(4, 1)])
    assert ratio is not None
    assert ratio.value == 2
    assert math.isnan(ratio.low)
    assert aggregate.estimate("closure_rate", [(0, 0)]) is None
    assert aggregate.mean_part(math.nan) == (0, 0)
    assert aggregate.ratio_part(1, math.nan) == (0, 0)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        parts = [(x, 1.0) for x in rng.normal(3, 1, 30)]
        figure = aggregate.estimate("lve_mm", parts, resamples=300)
        assert figure is not None
        hits += figure.low <= 3 <= figure.high
    assert 0.88 < hits / 200 < 0.99


def test_the_interval_is_of_people_where_they_differ():
    """12 people with 10 clips each, who differ as much as clips do: over clips it would be far too narrow."""
    rng = np.random.default_rng(0)
    hits, of_clips = 0, 0
    for _ in range(100):
        parts = [(x, 1.0) for mean in rng.normal(3, 1, 12) for x in rng.normal(mean, 1, 10)]
        people = [f"p{k // 10}" for k in range(120)]
        figure, plain = (aggregate.estimate("lve_mm", parts, who, 300) for who in (people, None))
        assert figure.value == plain.value == aggregate.estimate("lve_mm", parts, ["p"] * 120).value
        hits, of_clips = hits + (figure.low <= 3 <= figure.high), of_clips + (plain.low <= 3 <= plain.high)
    assert hits > 84
    assert of_clips < 75


def test_popping_needs_motion_in_the_truth():
    still = score.Row({}, np.ones(3), np.zeros(3), 1.0)
    assert score.popping([still]) == {}


# ---------------------------------------------------------------------------------------------- tables


def test_the_table_is_aligned_and_says_what_was_measured(reports):
    some = [reports[name] for name in ("truth", "mean face", "model")]
    text = ev.table(some)
    lines = text.splitlines()
    assert TOPOLOGY.hash in lines[0]
    assert TOPOLOGY.region_hash in lines[0]
    assert "split test" in lines[0]
    assert "seed 5" in lines[0]
    widths = [len(part) for part in lines[3].split("  ")]
    assert lines[2].split()[:2] == ["measure", "unit"]
    row = next(line for line in lines if line.startswith("lip vertex error (max"))
    assert len(row) == sum(widths) + 2 * (len(widths) - 1)
    assert row.split()[-3] == f"{reports['model']['lve_mm']:.2f}"
    assert " mm " in row
    assert "±" in row
    assert "audio → mouth" in text
    assert any(line.startswith("perplexity") and line.count(" - ") == 2 for line in lines)


def test_markdown_has_the_same_figures(reports):
    text = ev.markdown([reports["truth"], reports["model"]])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| measure | unit | truth | model |"
    assert rows[1] == "|---|---|---:|---:|"
    assert any(r.startswith("| \\|FDD\\| |") for r in rows)
    assert any(r.startswith("| audio → mouth | 1.00 |") for r in rows)
    plain = ev.markdown([reports["truth"]])
    assert "→" not in plain


def test_json_is_strict_complete_and_atomic(reports, tmp_path):
    path = tmp_path / "report.json"
    ev.write_json([reports["model"], reports["neutral"]], path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    model, neutral = json.loads(path.read_text(), parse_constant=refuse)
    assert model["measures"]["lve_mm"]["value"] == pytest.approx(reports["model"]["lve_mm"])
    assert model["measures"]["max_move_mm"]["low"] is None
    assert model["region_hash"] == TOPOLOGY.region_hash
    assert (model["split"], model["seed"], model["n_clips"]) == ("test", 5, 3)
    assert np.array(model["true_swap"]) == pytest.approx(np.eye(2), abs=1e-6)
    assert len(model["clips"]) == 3
    assert model["clips"][0]["id"] == "c3"
    assert neutral["swap_rows_audio_expression_columns_mouth_upper"] is None
    with pytest.raises(InputError, match="cannot write"):
        ev.write_json([], tmp_path / "missing" / "report.json")


def test_unlike_reports_do_not_share_a_table(reports, corpus):
    other = ev.evaluate(ev.Truth(), corpus, EvaluationConfig("train"), name="truth")
    with pytest.raises(InputError, match="different clips"):
        ev.table([reports["truth"], other])
    with pytest.raises(InputError, match="no reports"):
        ev.markdown([])


def test_per_clip_values_average_to_the_report(reports):
    model = reports["model"]
    assert np.mean([c["opening_r"] for c in model.clips]) == pytest.approx(model["opening_r"], rel=1e-5)
    assert {"id", "sentence", "emotion"} <= set(model.clips[0])
