"""Measures on recordings that have an articulation instead of a captured face."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_rig import RATE, TOPOLOGY, LoudnessAnimator, make_clip

from meshtalk import evaluation as ev
from meshtalk.errors import InputError
from meshtalk.evaluation import real_speech as rs


@pytest.fixture(scope="module")
def recordings():
    return {f"r{i}": make_clip(20 + i) for i in range(3)}


@pytest.fixture(scope="module")
def reports(recordings):
    found = rs.evaluate_real({"model": LoudnessAnimator()}, recordings, seeds=(3, 4))
    return {r.system: r for r in found}


# ---------------------------------------------------------------------------------------------- damage


def level(audio):
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def test_what_is_done_to_the_sound():
    audio = (0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.float32)
    soft, rate = rs.quiet(audio, RATE)
    assert (level(soft) / level(audio), rate) == (pytest.approx(0.1, rel=1e-5), RATE)
    loud, _ = rs.clipped(audio, RATE)
    assert loud.max() == 1
    assert np.mean(np.abs(loud) == 1) > 0.4
    noise = rs.noisy(audio, RATE)[0] - audio
    assert 20 * np.log10(level(audio) / level(noise)) == pytest.approx(20, abs=0.2)
    assert np.array_equal(rs.noisy(audio, RATE)[0], rs.noisy(audio, RATE)[0])
    thin, rate = rs.telephone(audio, RATE)
    assert (len(thin), rate) == (8000, 8000)
    assert level(thin) == pytest.approx(level(audio), rel=0.02)
    for spoil in rs.DAMAGES.values():
        assert spoil(audio, RATE)[0].dtype == np.float32
    silent = rs.noisy(np.zeros(100, np.float32), RATE)[0]
    assert not silent.any()


# --------------------------------------------------------------------------------------------- reports


def test_one_report_for_the_reference_each_system_and_each_damage(reports):
    names = ["articulation", "model", *(f"model, {d}" for d in rs.DAMAGES), "model, another seed"]
    assert list(reports) == names
    assert {r.n_clips for r in reports.values()} == {3}
    assert all(r.split == "real" for r in reports.values())


def test_the_reference_scores_what_it_is_made_of(reports):
    own = reports["articulation"]
    assert own["opening_r"] == pytest.approx(1)
    assert own["closure_rate"] == 1
    assert own["false_closure_rate"] < 0.2
    assert own["pops_per_min"] == 0
    assert own["blinks_per_min"] > 5


def test_the_model_is_measured_without_positions(reports):
    model = reports["model"]
    assert model["opening_r"] > 0.85
    assert model["loudness_r"] > 0.6
    assert model["closure_rate"] > 0.8
    assert model["silence_speed_mm_s"] < 10
    assert "lve_mm" not in model.measures  # the articulation is no captured truth
    assert [c["id"] for c in model.clips] == ["r0", "r1", "r2"]


def test_damage_is_compared_with_the_clean_run(reports):
    assert reports["model, -20 dB"]["clean_r"] == pytest.approx(1, abs=1e-4)
    assert reports["model, another seed"]["clean_r"] == pytest.approx(1)  # its mouth does not depend on it
    assert 0.5 < reports["model, noise at 20 dB SNR"]["clean_r"] < 1
    assert "clean_r" not in reports["model"].measures


def test_a_model_that_breaks_on_quiet_speech_is_found_out(recordings):
    class Thresholded(LoudnessAnimator):
        def animate(self, audio, sample_rate, *, template, seed):
            clip = super().animate(audio, sample_rate, template=template, seed=seed)
            weights = np.asarray(clip.weights) * np.array([np.abs(audio).max() > 0.3, 1, 1])
            return replace(clip, weights=weights.astype(np.float32))

    found = {r.system: r for r in rs.evaluate_real({"m": Thresholded()}, recordings)}
    assert found["m"]["opening_r"] > 0.85
    assert found["m, -20 dB"]["clean_r"] == 0
    assert found["m, -20 dB"]["false_closure_rate"] == 1
    assert found["m, +10 dB, clipped"]["clean_r"] > 0.9


def test_seeds_are_pooled_within_a_recording(recordings):
    class Lucky(LoudnessAnimator):
        """Closes its mouth for good with every other seed."""

        calls = 0

        def animate(self, audio, sample_rate, *, template, seed):
            clip = super().animate(audio, sample_rate, template=template, seed=seed)
            Lucky.calls += 1
            weights = np.array(clip.weights)
            weights[:, 0] *= Lucky.calls % 2
            return replace(clip, weights=weights)

    _, report = rs.evaluate_real({"m": Lucky()}, recordings, seeds=(0, 1), damages={})
    _, half = rs.evaluate_real({"m": LoudnessAnimator()}, recordings, damages={})
    assert report.n_clips == 3
    expected = (1 + half["false_closure_rate"]) / 2
    assert report["false_closure_rate"] == pytest.approx(expected)


def test_tables_hold_clean_and_damaged_side_by_side(reports):
    text = ev.table(list(reports.values()))
    row = next(line for line in text.splitlines() if line.startswith("lip opening, correlation with the cl"))
    assert " - " in row  # the clean run has nothing to be compared with
    assert "0.998" in row or "1.000" in row
    assert "articulation" in text


def test_nothing_to_measure(recordings):
    with pytest.raises(InputError, match="recordings and seeds must not be empty"):
        rs.evaluate_real({}, {})
    with pytest.raises(InputError, match="seeds"):
        rs.evaluate_real({}, recordings, seeds=())


# ------------------------------------------------------------------------------------------- the folder


def test_transcripts_name_sounds_and_words(tmp_path):
    with pytest.raises(InputError, match=r"no transcripts\.tsv"):
        rs.read_transcripts(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"")
    listing = tmp_path / "transcripts.tsv"
    listing.write_text("a.wav\thello there\n\n")
    assert rs.read_transcripts(tmp_path) == {"a": (tmp_path / "a.wav", "hello there")}
    listing.write_text("a.wav hello\n")
    with pytest.raises(InputError, match=r"line 1 .* no words"):
        rs.read_transcripts(tmp_path)
    listing.write_text("a.wav\thello\nb.wav\tyou\n")
    with pytest.raises(InputError, match=r"transcripts\.tsv names b\.wav"):
        rs.read_transcripts(tmp_path)


def test_recordings_are_read_as_mono_and_built(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", np.zeros((RATE, 2)) + 0.1, RATE)
    (tmp_path / "transcripts.tsv").write_text("a.wav\thello\n")
    heard = {}

    def build(audio, sample_rate, text):
        heard.update(shape=audio.shape, rate=sample_rate, text=text)
        return make_clip(1)

    found = rs.read_recordings(tmp_path, build)
    assert heard == {"shape": (RATE,), "rate": RATE, "text": "hello"}
    assert found["a"].topology is TOPOLOGY
