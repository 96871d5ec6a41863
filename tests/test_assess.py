"""`evaluate_model` as a whole, on the rig: table, numbers and page agree, and bad input is refused before the work."""

import json

import numpy as np
import pytest
import rig
from evaluation_rig import Page

from meshtalk import parallel
from meshtalk.config import EvaluationConfig
from meshtalk.errors import InputError
from meshtalk.evaluation import run as assess
from meshtalk.model.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regressor") / "regressor"
    save_checkpoint(folder, rig.random_checkpoint(regressor=True))
    return folder


@pytest.fixture(scope="module")
def written(tiny_model, regressor, rig_corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    page, numbers = folder / "page.html", folder / "numbers.json"
    reports = assess.evaluate_model(
        tiny_model, rig_corpus, EvaluationConfig(baseline=regressor, html=page, json=numbers)
    )
    return reports, page.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


def test_every_system_stands_in_every_output(written):
    reports, page, numbers = written
    names = [report.system for report in reports]
    assert names[-4:] == ["nearest clip", "regressor", "encoder's codes", "meshtalk"]
    assert [entry["system"] for entry in numbers] == names
    seen = Page(page)
    for name in names:
        assert name in seen.text


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_two_processes_measure_the_same(written, tiny_model, regressor, rig_corpus, tmp_path):
    numbers = tmp_path / "numbers.json"
    assess.evaluate_model(tiny_model, rig_corpus, EvaluationConfig(baseline=regressor, json=numbers, workers=2))
    assert json.loads(numbers.read_text(encoding="utf-8")) == written[2]


def test_a_clip_whose_process_was_killed(tiny_model, rig_corpus, monkeypatch):
    monkeypatch.setattr(parallel, "as_done", lambda *_: iter([(0, parallel.WorkerDied())]))
    with pytest.raises(InputError, match=r"killed, perhaps for want of memory\. Run again with --workers 1"):
        assess.evaluate_model(tiny_model, rig_corpus, EvaluationConfig(workers=2))


def test_models_are_named_by_their_hashes(written, tiny_model, regressor):
    reports, page, numbers = written
    ours, other = load_checkpoint(tiny_model).hash, load_checkpoint(regressor).hash
    assert {report.system: report.model_hash for report in reports if report.model_hash} == {
        "meshtalk": ours,
        "regressor": other,
    }
    assert numbers[-1]["model_hash"] == ours
    assert ours in page
    assert other in page


def test_another_model_is_a_baseline_and_no_regressor(tiny_model, rig_corpus):
    reports = assess.evaluate_model(tiny_model, rig_corpus, EvaluationConfig(baseline=tiny_model, limit=1))
    assert [report.system for report in reports][-3:] == ["baseline", "encoder's codes", "meshtalk"]


def test_the_page_shows_every_test_clip_in_pictures(written):
    reports, page, _ = written
    images = [a for tag, a in Page(page).elements if tag == "img"]
    clips = len(reports[-1].clips)
    assert len(images) == 2 * clips * assess.MOMENTS
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in images)
    assert len(page) < 3_000_000


def test_pictures_of_the_model_are_of_the_animation_that_was_measured(written, tiny_model, rig_corpus, monkeypatch):
    reports, _, _ = written
    shown = []

    class Watching:
        def __init__(self, *args, **kwargs):
            pass

        def frames(self, meshes):
            shown.append(list(meshes))
            return (np.zeros((16, 16, 3), np.uint8) for _ in shown[-1])

    monkeypatch.setattr(assess, "Renderer", Watching)
    strips = assess.worst_strips(assess.load_measured(tiny_model), rig_corpus, reports[-1])
    lips = rig_corpus.topology.indices("lips")
    assert len(shown) == 2 * len(strips) > 0
    for strip, true, ours in zip(strips, shown[::2], shown[1::2], strict=True):
        apart = np.linalg.norm(np.stack(true)[:, lips] - np.stack(ours)[:, lips], axis=-1).max(1) * 1e3
        assert apart == pytest.approx(reports[-1].curves[strip.clip].lip_error_mm[strip.frames], rel=1e-4)


def test_the_trunk_hears_in_pieces_what_it_hears_at_once(monkeypatch):
    samples = rig.speech(3, 2.5)[0]
    whole = assess.PhoneticFeatures()(samples)
    monkeypatch.setattr(assess, "PIECE", 37)
    assert len(whole) == -(-len(samples) // 160)
    assert assess.PhoneticFeatures()(samples) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("output", ["json", "html"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_loaded(
    tmp_path, rig_corpus, monkeypatch, output
):
    monkeypatch.setattr(assess, "load_measured", lambda model: pytest.fail("the work began"))
    with pytest.raises(InputError, match="there is no folder"):
        assess.evaluate_model(None, rig_corpus, EvaluationConfig(**{output: tmp_path / "nowhere" / "file"}))
    with pytest.raises(InputError, match="it is a folder"):
        assess.evaluate_model(None, rig_corpus, EvaluationConfig(**{output: tmp_path}))
    with pytest.raises(InputError, match="limit must be at least 1 clip, got 0"):
        assess.evaluate_model(None, rig_corpus, EvaluationConfig(limit=0))


def test_a_page_needs_pillow_and_says_so_at_once(tmp_path, rig_corpus, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    monkeypatch.setattr(assess, "load_measured", lambda model: pytest.fail("the work began"))
    with pytest.raises(InputError, match=r"Pillow .*\. Run pip install 'meshtalk\[media\]'"):
        assess.evaluate_model(None, rig_corpus, EvaluationConfig(html=tmp_path / "page.html"))


def test_a_model_or_baseline_of_another_topology_is_refused_before_the_corpus_is_heard(
    tmp_path, tiny_model, rig_corpus, monkeypatch
):
    monkeypatch.setattr(assess, "PhoneticFeatures", lambda: pytest.fail("the work began"))
    save_checkpoint(tmp_path / "head", rig.head_checkpoint())
    with pytest.raises(InputError, match=r"meshtalk moves topology .* and the corpus has .*\(96 vertices\)"):
        assess.evaluate_model(tmp_path / "head", rig_corpus)
    with pytest.raises(InputError, match="baseline moves topology"):
        assess.evaluate_model(tiny_model, rig_corpus, EvaluationConfig(baseline=tmp_path / "head"))
    with pytest.raises(InputError, match="another topology"):
        assess.evaluate_model(tiny_model, rig_corpus, EvaluationConfig(real=tmp_path))


def test_the_command_takes_html_and_refuses_a_bad_path_with_one_sentence(tmp_path, tiny_model, rig_corpus, capsys):
    from meshtalk.cli.main import main

    command = ["evaluate", str(tiny_model), str(rig_corpus.root), "--limit", "1", "--html"]
    with pytest.raises(SystemExit) as end:
        main([*command, str(tmp_path / "nowhere" / "page.html")])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    main([*command, str(tmp_path / "page.html")])
    assert "lip vertex error" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
