"""tools/measure_people.py on tracked speech that the rule itself has made."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.mesh.head import load_head
from meshtalk.synth.clips import make_clip

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

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
    assert set(table) >= {"b", "iy", "ow", "sh", "pau"}
    assert table["aa"][0] == 2


def test_a_delay_is_found_with_its_sign(clips):
    clip = clips[0]
    curve = clip.opening
    late = np.interp(clip.t_s - 0.06, clip.t_s, curve)
    assert measure_people.lag_ms(late, curve, clip.fps, clip.spoken) == pytest.approx(60, abs=10)


def test_a_folder_without_tracked_speech_is_one_sentence(tmp_path):
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(InputError, match="tracked speech"):
        list(tracked_speech.read(tmp_path))
