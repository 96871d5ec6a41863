"""tools/fit_articulation.py and tools/measure_people.py, on tracked speech that the rule itself has made."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.synth import coarticulation as co
from meshtalk.synth.clips import make_clip
from meshtalk.synth.phones import SEGMENTS, Segment
from meshtalk.synth.targets import ARTICULATORS, Articulation, fitted

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import fit_articulation
import measure_people
import tracked_speech

RATE_HZ = 16_000
LINES = {"aa_one": "b iy w aa f uw s eh t", "aa_two": "m ow r ey v ih l ae k", "bb_one": "p ay th uw n iy sh aa d"}


def tracked(root: Path) -> Path:
    """A folder of tracked speech whose faces are the packaged head, spoken by the rule at 25 fps."""
    at = load_head().topology.landmarks
    for line, names in LINES.items():
        names = ["pau", *names.split(), "pau"]
        length_s = [0.3 if name == "pau" else 0.12 for name in names]
        ends = np.cumsum(length_s)
        phones = [Phone(n, float(e - s), float(e)) for n, s, e in zip(names, length_s, ends, strict=True)]
        audio = np.random.default_rng(1).normal(0, 0.1, int(ends[-1] * RATE_HZ)).astype(np.float32)
        clip = make_clip(audio, RATE_HZ, phones, load_head().person("p03"), strength=0.0, fps=Fraction(25))
        positions = np.concatenate(list(clip.chunks()))
        points = np.zeros((clip.n_frames, 478, 3), np.float32)
        points[:, 13], points[:, 14] = (
            positions[:, at["lip_inner_upper"]].mean(1),
            positions[:, at["lip_inner_lower"]].mean(1),
        )
        points[:, [61, 291]] = positions[:, at["lip_corners"]]
        points[:, 1], points[:, 152] = positions[:, at["nose_tip"][0]], positions[:, at["chin"][0]]
        columns = {"phones": [p.name for p in phones], "phone_start_s": [p.start_s for p in phones]}
        columns["phone_end_s"] = [p.end_s for p in phones]
        np.savez(root / f"{line}.npz", landmarks=points / 0.092, fps=25.0, **columns)
        soundfile.write(root / f"{line}.flac", audio, RATE_HZ)
    return root


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[tracked_speech.TrackedClip]:
    return list(tracked_speech.read(tracked(tmp_path_factory.mktemp("tracked"))))


def test_the_rule_against_itself_is_perfect(clips):
    mean, table = measure_people.measure(clips, measure_people.rule)
    for curve in ("opening", "width", "jaw", "protrusion"):
        assert mean[f"r {curve}"] > 0.97  # the seeds' styles differ
    assert abs(mean["lag of opening, ms"]) <= 5
    assert mean["opening speed / people's"] == pytest.approx(1, abs=0.1)
    assert mean["mean error of mid openings"] < 1
    assert set(table) >= {"b", "iy", "ow1", "ow2", "sh", "pau"}
    assert table["aa"][0] == 2


def test_a_delay_is_found_with_its_sign(clips):
    clip = clips[0]
    curve = clip.opening
    late = np.interp(clip.t_s - 0.06, clip.t_s, curve)
    assert measure_people.lag_ms(late, curve, clip.fps, clip.spoken) == pytest.approx(60, abs=10)


def test_speakers_weigh_alike_however_much_they_said(clips):
    batch = fit_articulation.batch_of(clips)
    assert [clip.speaker for clip in clips] == ["aa", "aa", "bb"]
    np.testing.assert_allclose(batch.weight.numpy(), [0.375, 0.375, 0.25])  # 3 : 1, shared among a speaker's clips


def test_the_fit_moves_towards_people(clips, monkeypatch):
    monkeypatch.setattr(fit_articulation, "STEPS", 25)
    batch = fit_articulation.batch_of(clips)
    with torch.no_grad():
        before = fit_articulation.correlation(fit_articulation.Model()(batch), batch.curves, batch.spoken).mean(0)
    found = fit_articulation.fit(batch, progress=False)
    with torch.no_grad():
        after = fit_articulation.correlation(found(batch), batch.curves, batch.spoken).mean(0)
    assert (after > before + 0.02).all()
    again = Articulation.parse(found.articulation().content())
    assert torch.allclose(again.target, found.articulation().target, atol=1e-4)


def test_what_is_fitted_is_what_is_performed(clips):
    """The tool's quadrature and the rule's grid are one model."""
    batch = fit_articulation.batch_of(clips)
    model = fit_articulation.Model()
    model.articulation = fitted  # type: ignore[method-assign]
    with torch.no_grad():
        made = model(batch)[0] / batch.effort[0]
    clip = clips[0]
    grid_s = co.time_grid(float(clip.t_s[-1]))
    ways = co.trajectories(fit_articulation.segments(clip.phones), grid_s, fitted())
    n, on = len(clip.landmarks), clip.spoken
    for v in (1, 2):  # lips are closed by the tool, too
        ours = np.interp(clip.t_s, grid_s, ways[:, v])
        assert np.abs(made[:n, v].numpy() - ours)[on].max() < 0.25


def test_dominance_decides_between_neighbours():
    model = fitted()
    t_s = torch.tensor([0.05, 0.1, 0.15]).double()
    names = torch.tensor([SEGMENTS.index("aa"), SEGMENTS.index("uw")])
    way = co.blend(names, torch.tensor([0.0, 0.1]).double(), torch.tensor([0.1, 0.2]).double(), t_s, model)
    lips = ARTICULATORS.index("lips")
    assert way[0, lips] > way[1, lips] > way[2, lips]
    alone = co.blend(names[:1], torch.zeros(1).double(), torch.full((1,), 0.1).double(), t_s, model)
    torch.testing.assert_close(alone, model.target[names[:1]].expand(3, -1))


def test_long_speech_is_blended_in_pieces():
    parts = [Segment(("aa", "t", "iy")[k % 3], 0.1 * k, 0.1 * (k + 1)) for k in range(90)]
    t_s = co.time_grid(9.0)
    whole = co.trajectories(parts, t_s, fitted())
    assert whole.shape == (len(t_s), len(ARTICULATORS))
    first = co.trajectories(parts, t_s[:600], fitted())
    np.testing.assert_allclose(whole[:500], first[:500], atol=1e-9)


def test_a_folder_without_tracked_speech_is_one_sentence(tmp_path):
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(InputError, match="tracked speech"):
        list(tracked_speech.read(tmp_path))
