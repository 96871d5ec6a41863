"""The page of a report: one file, all its plots hold the data they claim, nothing in it is taken for markup."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from evaluation_rig import TOPOLOGY, Info, LittleCorpus, LoudnessAnimator, Page, points

from meshtalk import evaluation as ev
from meshtalk.audio.mel import MelFrontend
from meshtalk.config import EvaluationConfig
from meshtalk.errors import InputError
from meshtalk.evaluation.page import APART_S, BESIDE, Strip, page, ranked, telling_frames
from meshtalk.evaluation.plots import clip_plot
from meshtalk.evaluation.score import Curves
from meshtalk.report_page import STYLE, axes, drawing

SCRIPT = "<script>alert('1')</script>"


@pytest.fixture(scope="module")
def reports():
    corpus, model = LittleCorpus(10), LoudnessAnimator()
    systems = ev.references(corpus, features=MelFrontend("phonetic").all) | {
        "encoder's codes": ev.Oracle(model),
        "model": model,
    }
    found = ev.evaluate_all(systems, corpus, EvaluationConfig(seed=5), data="little")
    return [replace(report, model_hash="0123456789abcdef") if report.system == "model" else report for report in found]


def jpeg(shade: int) -> bytes:
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.new("RGB", (16, 16), (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def strip(reports):
    place = ranked(reports[-1])[-1]
    frames = telling_frames(reports[-1].curves[place], 3)
    return Strip(place, frames, [jpeg(10 * k) for k in range(3)], [jpeg(100 + k) for k in range(3)])


@pytest.fixture(scope="module")
def text(reports, strip):
    return page(reports, "model", real=reports[:1], strips=[strip])


@pytest.fixture(scope="module")
def seen(text):
    return Page(text)


def same_curve(pixels: np.ndarray, values: np.ndarray) -> None:
    """Pixels rise evenly to the right and are the values in another unit, up to the tenth of a pixel written."""
    assert len(pixels) == len(values)
    steps = np.diff(pixels[:, 0])
    assert np.allclose(steps, steps.mean(), atol=0.21)
    slope, offset = np.polyfit(values, pixels[:, 1], 1)
    assert slope < 0  # up is more
    assert np.abs(slope * values + offset - pixels[:, 1]).max() < 0.2


def test_it_is_one_file_that_asks_for_nothing(text, seen):
    for tag, attributes in seen.elements:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/jpeg;base64,"), value
        assert not [name for name in attributes if name.startswith("on")]
    style = STYLE.read_text(encoding="utf-8")
    for word in ("url(", "@import", "http:", "https:", "//"):
        assert word not in style
    assert style in text
    assert "http" not in text.replace("http-equiv", "")
    assert len(text) < 300_000


def test_it_says_what_was_measured(seen):
    for said in ("model on little, split test", TOPOLOGY.hash, TOPOLOGY.region_hash, "0123456789abcdef", "seed 5"):
        assert said in seen.text
    assert "millimetres" in seen.text


def test_the_table_holds_every_figure_with_its_interval(reports, seen, text):
    model = next(r for r in reports if r.system == "model")
    assert f"{model['lve_mm']:.2f}" in seen.text
    low, high = model.measures["lve_mm"].low, model.measures["lve_mm"].high
    titles = [a.get("title") for tag, a in seen.elements if tag == "td"]
    assert f"95 % interval {low:.2f} to {high:.2f}" in titles
    headed = [a for tag, a in seen.elements if tag == "th"]
    assert len(headed) == (1 + len(reports)) + 2  # and the table of the real recordings
    assert sum(a.get("class") == "ours-column" for a in headed) == 1
    for word in ("nearest clip", "mean face", "perplexity of the codes", "|FDD|"):
        assert word in seen.text


def test_curves_of_the_best_median_and_worst_clip_are_the_report_s(reports, seen):
    model = reports[-1]
    order = ranked(model)
    places = [order[0], order[len(order) // 2], order[-1]]
    assert [model.clips[i]["lve_mm"] for i in order] == sorted(clip["lve_mm"] for clip in model.clips)
    truth, ours = seen.lines("truth"), seen.lines("ours")
    assert len(truth) == 3
    assert len(ours) == 6
    for i, place in enumerate(places):
        curves = model.curves[place]
        assert model.clips[place]["id"] in seen.text
        same_curve(truth[i], curves.true_opening_mm)
        same_curve(ours[2 * i], curves.opening_mm)
        same_curve(ours[2 * i + 1], curves.lip_error_mm)
        for name in ("mean face", "nearest clip"):
            other = next(r for r in reports if r.system == name)
            same_curve(seen.lines(BESIDE[name])[i], other.curves[place].lip_error_mm)
    # truth and prediction share an axis: equal openings stand at equal heights
    one = model.curves[places[0]]
    scale = np.polyfit(one.true_opening_mm, truth[0][:, 1], 1)
    assert np.polyval(scale, one.opening_mm) == pytest.approx(ours[0][:, 1], abs=0.3)


def test_closures_are_marked(reports, seen):
    model = reports[-1]
    order = ranked(model)
    closures = sum(p[0] == "m" for i in (order[0], order[len(order) // 2], order[-1]) for p in model.curves[i].phones)
    assert sum(group == "closure" for group, _ in seen.paths) == 2 * closures > 0
    labels = [a for tag, a in seen.elements if tag == "g" and a.get("class") == "phone closed"]
    assert len(labels) == closures


def test_bars_and_cells_hold_the_heads_and_the_swaps(reports, seen):
    model = reports[-1]
    for head, (used, nats) in enumerate(zip(model.heads["classes_used"], model.heads["nll_nats"], strict=True)):
        assert f"head {head}: {used:g} classes used" in seen.text
        assert f"head {head}: {nats:.2f} nats a frame" in seen.text
    heights = [np.ptp(points(a)[:, 1]) for group, a in seen.paths if group == "bar nll"]
    assert heights[1] / heights[0] == pytest.approx(3, rel=0.01)  # log 8 over log 2
    shaded = [float((a["style"] or "").split("opacity: ")[1]) for group, a in seen.paths if group == "cell"]
    assert len(shaded) == 8  # the truth's and the model's
    assert shaded[0] > 0.9 > 0.1 > shaded[1]
    for value in (*model.swap.ravel(), *model.swap_shares.ravel()):
        assert f"{value:.2f}" in seen.text


def test_pictures_are_the_ones_given_with_times_and_errors(reports, strip, seen):
    found = [a["src"].split(",")[1] for tag, a in seen.elements if tag == "img"]
    assert [base64.b64decode(data) for data in found] == [*strip.truth, *strip.ours]
    curves = reports[-1].curves[strip.clip]
    for frame in strip.frames:
        assert f"{frame / 30:.2f} s" in seen.text
        assert f"error {curves.lip_error_mm[frame]:.1f} mm" in seen.text


def test_names_are_words_not_markup():
    corpus = LittleCorpus()
    corpus.clips = tuple(
        Info(i.id, i.split, f"{SCRIPT} & “{i.sentence}”", f'"><img src=x onerror={SCRIPT}>', i.n_frames)
        for i in corpus.clips
    )
    reports = ev.evaluate_all({SCRIPT: LoudnessAnimator(), "truth": ev.Truth()}, corpus, data=SCRIPT)
    curves = [replace(c, phones=((SCRIPT, 0.0, 0.5), ("m", 0.5, 0.9))) for c in reports[0].curves]
    hostile = [{**clip, "id": SCRIPT} for clip in reports[0].clips]
    reports[0] = replace(reports[0], curves=curves, clips=hostile, model_hash=SCRIPT)
    strip = Strip(0, [1, 2], [jpeg(1)] * 2, [jpeg(2)] * 2)
    text = page(reports, SCRIPT, real=reports, strips=[strip])
    found = Page(text)
    assert not [tag for tag, _ in found.elements if tag == "script"]
    assert not [a for tag, a in found.elements if tag == "img" and not (a["src"] or "").startswith("data:image/jpeg")]
    assert "<script" not in text
    assert SCRIPT in found.text


def test_a_page_without_codes_swaps_phones_or_pictures(reports):
    truth = next(r for r in reports if r.system == "truth")
    bare = replace(truth, curves=[replace(c, phones=()) for c in truth.curves])
    found = Page(page([bare], "truth"))
    for missing in ("Disentanglement", "Codes", "Worst clips", "Real recordings"):
        assert missing not in found.text
    assert len(found.lines("truth")) == 3
    silent = Page(page([replace(truth, clips=[{"id": "x"}] * 5)], "truth"))  # nothing could be measured of any clip
    assert "Lips over time" in silent.text
    assert not silent.lines("truth")


def test_frames_that_capture_missed_are_gaps():
    curve = np.array([0, 5, np.nan, 10, 5])
    whole = Curves(1.0, np.array([0.0, 5, 5, 10, 5]), np.zeros(5), np.zeros(5), ())
    counts = [
        [attributes["d"].count("M") for group, attributes in Page(text).paths if group == "line ours"]
        for text in (clip_plot(replace(whole, lip_error_mm=curve), {}, "x", "y"), clip_plot(whole, {}, "x", "y"))
    ]
    assert counts == [[1, 2], [1, 1]]


def test_a_plot_has_round_numbers_and_the_same_bytes_again():
    def draw(figure):
        axes(figure, (50, 10, 100, 100), (0, 10), (-1, 1), "mm", "s", x_ticks=6, y_ticks=5).plot([0, 10], [0, 1])

    first = drawing(draw, 160, 150, "a <b> & c")
    assert Page(first).text == "0 2 4 6 8 10 s −1 −0.5 0 0.5 1 mm"
    assert 'aria-label="a &lt;b&gt; &amp; c"' in first
    assert drawing(draw, 160, 150, "a <b> & c") == first


def test_words_in_a_plot_are_no_mathematics():
    text = drawing(lambda figure: figure.text(0, 0, "$x^2$ <b>", gid="k|$y$ <c>"), 50, 50, "z")
    assert "$x^2$ &lt;b&gt;" in text
    assert "<c>" not in text


def test_telling_frames_are_the_worst_ones_apart():
    error = np.array([1.0, 9, 8, 1, 1, 1, 1, 1, 7, np.nan, 1, 1, 1, 1, 6, 1])
    curves = Curves(10.0, error, np.zeros(16), np.zeros(16), ())
    assert telling_frames(curves, 3) == [1, 8, 14]
    assert telling_frames(curves, 50) == sorted(telling_frames(curves, 50))
    assert np.diff(telling_frames(curves, 50)).min() >= APART_S * 10


def test_a_page_is_written_whole_or_not_at_all(reports, tmp_path, monkeypatch):
    ev.write_page(tmp_path / "page.html", reports, "model")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").endswith("</html>\n")
    with pytest.raises(InputError, match="there is no folder"):
        ev.write_page(tmp_path / "nowhere" / "page.html", reports, "model")
    with pytest.raises(InputError, match="different clips"):
        ev.write_page(tmp_path / "other.html", [*reports, replace(reports[0], n_clips=1)], "model")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
