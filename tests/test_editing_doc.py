"""docs/editing.md as a reader would try it: every command and every snippet runs, in the order in which they stand."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import rig
import soundfile
from player_rig import head_clip, needs_page
from stream_rig import pcm16
from test_cli import run
from test_docs import ROOT, fences, told_by
from test_stream_cli import give

from meshtalk.clip import Clip
from meshtalk.export import EXPORTERS, write_mp4
from meshtalk.export.contact_sheet import contact_sheet
from meshtalk.inference.direction import MAX_BLINKS_PER_MIN, MAX_INTENSITY, MAX_SMOOTHING_S, MAX_STRENGTH
from meshtalk.model.checkpoint import save_checkpoint

TEXT = (ROOT / "docs/editing.md").read_text(encoding="utf-8")
COMMANDS = [told_by(line).split(" | ")[-1].strip() for body in fences(TEXT, "sh") for line in body.splitlines()]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    """An untrained model of the packaged head with as many heads as the packaged model."""
    folder = tmp_path_factory.mktemp("model") / "model"
    save_checkpoint(folder, rig.head_checkpoint(replace(rig.TINY, heads=16)))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, small_model) -> Path:
    """The reader's folder, with a model that is quick in the packaged one's place and pictures of few pixels."""
    from meshtalk.assets import asset

    monkeypatch.chdir(tmp_path)
    for module in ("inference.animator", "evaluation.run"):
        monkeypatch.setattr(f"meshtalk.{module}.asset", lambda name: small_model if name == "model" else asset(name))
    monkeypatch.setitem(EXPORTERS, ".mp4", partial(write_mp4, size=(96, 96)))
    monkeypatch.setattr("meshtalk.inference.takes.contact_sheet", partial(contact_sheet, frame_px=48, columns=2))
    monkeypatch.setattr("meshtalk.inference.heads._FACE_PX", 96)
    some = {"speech": (tmp_path / "speech.wav", "")}
    monkeypatch.setattr("meshtalk.evaluation.real_speech.read_transcripts", lambda _: some)
    for name, seconds in (("speech.wav", 0.4), ("new_words.wav", 0.6)):
        soundfile.write(name, pcm16(seconds), 16000)
    head_clip(0.5).save("happy.npz")
    give(monkeypatch, pcm16(0.2).tobytes())
    return tmp_path


@pytest.mark.slow
@needs_page
@pytest.mark.usefixtures("here")
def test_every_command_and_snippet_runs(capsys):
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        program, *args = shlex.split(command)
        assert program == "meshtalk", command
        out = run(capsys, *args)
        assert out, command
        if "-o" in args:
            assert Path(args[args.index("-o") + 1]).exists(), command
    again, take = Clip.load("take.npz"), Clip.load("dubbed.npz")
    assert again.recipe is not None
    assert take.recipe is None
    scope: dict[str, object] = {}
    for snippet in fences(TEXT, "python"):
        exec(snippet, scope)
    for made in ("dubbed.mp4", "best/takes.html", "best.glb", "swapped.npz", "calm.mp4"):
        assert Path(made).exists(), made


def test_limits_are_as_told():
    assert f"(0 to {MAX_STRENGTH:g})" in TEXT
    assert f"(0 to {MAX_BLINKS_PER_MIN:g})" in TEXT
    assert f"(0 to {MAX_INTENSITY:g})" in TEXT
    assert f"(up to {MAX_SMOOTHING_S:g})" in TEXT


def test_what_the_packaged_model_is_said_to_be():
    from meshtalk.inference.animator import load_model

    config = load_model().config
    assert f"A frame of the packaged model is {config.heads} numbers from 0 to {config.classes - 1}" in TEXT
