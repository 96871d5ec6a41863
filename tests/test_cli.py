"""The command line: what works, and that every bad input is one sentence, exit code 2 and nothing written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.model.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with a recording and inputs that fit nothing."""
    monkeypatch.chdir(tmp_path)
    sound = rig.speech(1, 1.0)[0]
    soundfile.write("speech.wav", sound, 16000)
    soundfile.write("nan.wav", np.where(np.arange(16000) == 99, np.nan, sound), 16000, subtype="FLOAT")
    soundfile.write("empty.wav", np.zeros(0, np.float32), 16000)
    Path("text.wav").write_text("I am not a sound\n" * 50)
    Path("folder.wav").mkdir()
    np.save("wrong.npy", rig.NEUTRAL[:-1])
    np.save("face.npy", rig.face(5))
    rig.make_clip(3, 0.5).save("expression.npz")
    np.savez("other.npz", a=np.zeros(3))
    Path("not_a_model").mkdir()
    Path("not_a_corpus").mkdir()
    Path("broken_corpus").mkdir()
    Path("broken_corpus/manifest.json").write_text('{"format": "meshtalk')
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def run(capsys, *args: object) -> str:
    """Run a command that works; its standard output."""
    try:
        main([str(a) for a in args])
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err  # noqa: PT017
    return capsys.readouterr().out


def refused(capsys, here: Path, *args: object) -> str:
    """Run a command that must fail: exit code 2, one line on standard error, no file made. The line."""
    before = files(here)
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert files(here) == before
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("meshtalk: ")
    assert "Traceback" not in err
    return lines[0]


# --- animate -----------------------------------------------------------------------------------------------------


def test_animate_writes_what_it_says(capsys, here, tiny_model):
    out = run(capsys, "animate", "speech.wav", "-o", "a.npz", "--model", tiny_model, "--fps", "25", "--seed", "3")
    assert out.strip() == "a.npz"
    clip = Clip.load("a.npz")
    assert (clip.n_frames, clip.fps) == (25, 25)
    run(capsys, "animate", "speech.wav", "--output", "b.npz", "--model", tiny_model, "--fps", "25", "--seed", "3")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    run(capsys, "animate", "speech.wav", "-o", "c.npz", "--model", tiny_model, "--fps", "25", "--seed", "4")
    assert np.abs(Clip.load("c.npz").vertices - clip.vertices).max() > 1e-3


def test_animate_takes_all_its_options(capsys, here, tiny_model):
    common = ("animate", "speech.wav", "--model", tiny_model)
    run(capsys, *common, "-o", "t.npz", "--template", "face.npy", "--argmax")
    np.testing.assert_array_equal(Clip.load("t.npz").template, rig.face(5))
    run(capsys, *common, "-o", "e.npz", "--expression", "expression.npz", "--fps", "29.97")
    assert str(Clip.load("e.npz").fps) == "30000/1001"
    run(capsys, *common, "-o", "c.npz", "--temperature", "0.5", "--device", "cpu")


@pytest.fixture(scope="module")
def head_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("head_model") / "model"
    save_checkpoint(folder, rig.head_checkpoint())
    return folder


@pytest.mark.parametrize(("person", "name"), [("p01", "p01"), ("7", "seed7")])
def test_people_of_the_packaged_head(capsys, here, head_model, person, name):
    run(capsys, "animate", "speech.wav", "-o", "p.npz", "--model", head_model, "--person", person)
    assert Clip.load("p.npz").subject == name


@pytest.mark.parametrize("person", ["nobody", "p99", "", "-", "²", "-7", "--7"])
def test_people_that_are_none(capsys, here, head_model, person):
    message = refused(capsys, here, "animate", "speech.wav", "-o", "p.npz", "--model", head_model, f"--person={person}")
    assert "person" in message


BAD_ANIMATE = {
    "missing sound": (["missing.wav"], "missing.wav"),
    "a folder": (["folder.wav"], "folder"),
    "no sound": (["text.wav"], "not audio"),
    "NaN": (["nan.wav"], "NaN"),
    "no samples": (["empty.wav"], "no samples"),
    "wrong template": (
        ["speech.wav", "--template", "wrong.npy"],
        "must have the 96 vertices of the model's topology, got 95",
    ),
    "missing template": (["speech.wav", "--template", "no.obj"], "no.obj"),
    "template of no format": (["speech.wav", "--template", "speech.wav"], ".obj"),
    "missing expression": (["speech.wav", "--expression", "no.npz"], "no.npz"),
    "expression that is none": (["speech.wav", "--expression", "other.npz"], "other.npz"),
    "person of another head": (["speech.wav", "--person", "p00"], "topology"),
    "template excludes person": (["speech.wav", "--person", "p00", "--template", "face.npy"], "one of them"),
    "rate that is none": (["speech.wav", "--fps", "fast"], "fast"),
    "rate of nothing": (["speech.wav", "--fps", "0"], "1 to 240"),
    "rate too high": (["speech.wav", "--fps", "1000"], "1 to 240"),
    "no temperature": (["speech.wav", "--temperature", "0"], "temperature"),
    "NaN temperature": (["speech.wav", "--temperature", "nan"], "temperature"),
    "seed too large": (["speech.wav", "--seed", str(10**30)], "seed"),
    "no device": (["speech.wav", "--device", "quantum"], "quantum"),
    "no data on device": (["speech.wav", "--device", "meta"], "meta"),
    "no extension for device": (["speech.wav", "--device", "hpu"], "hpu"),
}


@pytest.mark.parametrize("case", BAD_ANIMATE)
def test_bad_input_to_animate(capsys, here, tiny_model, case):
    args, words = BAD_ANIMATE[case]
    assert words in refused(capsys, here, "animate", *args, "-o", "out.npz", "--model", tiny_model)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out.avi", ".mp4, .glb, .html, .npz"),
        ("out", "no suffix"),
        ("nowhere/out.npz", "no folder"),
        ("speech.wav/out.npz", "no folder"),
        ("folder.npz", "folder"),
    ],
)
def test_outputs_that_cannot_be_written(capsys, here, tiny_model, output, words):
    Path("folder.npz").mkdir()
    assert words in refused(capsys, here, "animate", "speech.wav", "-o", output, "--model", tiny_model)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(capsys, here, tiny_model):
    Path("locked").mkdir(mode=0o500)
    assert "permission" in refused(capsys, here, "animate", "speech.wav", "-o", "locked/o.npz", "--model", tiny_model)


def test_a_folder_without_permission_by_its_mode(capsys, here, tiny_model, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "permission" in refused(capsys, here, "animate", "speech.wav", "-o", "o.npz", "--model", tiny_model)


def test_an_old_output_survives_a_failure(capsys, here, tiny_model):
    Path("out.npz").write_text("precious")
    refused(capsys, here, "animate", "nan.wav", "-o", "out.npz", "--model", tiny_model)
    assert Path("out.npz").read_text() == "precious"


@pytest.mark.parametrize("model", ["nowhere", "not_a_model", "speech.wav"])
def test_models_that_are_none(capsys, here, rig_corpus, model):
    assert "not a model folder" in refused(capsys, here, "animate", "speech.wav", "-o", "o.npz", "--model", model)
    assert "not a model folder" in refused(capsys, here, "evaluate", model, rig_corpus.root)


def test_damaged_models(capsys, here, tiny_model):
    shutil.copytree(tiny_model, "model")
    weights = Path("model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(capsys, here, "animate", "speech.wav", "-o", "o.npz", "--model", "model")


# --- train -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_preset(monkeypatch) -> None:
    monkeypatch.setitem(__import__("meshtalk.config").config.PRESETS, "tiny", (rig.TINY, rig.quick_training(4, 6, 4)))


@pytest.mark.usefixtures("inline_features", "tiny_preset")
def test_train_and_continue(capsys, here, rig_corpus, monkeypatch):
    command = ("train", rig_corpus.root, "-o", "run", "--preset", "tiny", "--steps-factor", "0.5", "--seed", "5")
    assert run(capsys, *command).strip() == "run/model"
    model = load_checkpoint("run/model")
    assert run(capsys, *command).strip() == "run/model"
    assert load_checkpoint("run/model").hash == model.hash
    assert json.loads(Path("run/training.json").read_text())["training"]["seed"] == 5
    assert json.loads(Path("run/training.json").read_text())["training"]["stage1"]["steps"] == 3
    message = refused(capsys, here, *command[:-1], "6")
    assert "other settings" in message


def test_a_baseline_with_codes_is_no_regressor(capsys, here, tiny_model, rig_corpus):
    out = run(capsys, "evaluate", tiny_model, rig_corpus.root, "--limit", "1", "--baseline", tiny_model)
    assert "baseline" in out
    assert "regressor" not in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["not_a_corpus"], "manifest.json"),
        (["nowhere"], "no corpus"),
        (["speech.wav"], "no corpus"),
        (["broken_corpus"], "damaged"),
        (["not_a_corpus", "--preset", "huge"], "compact, official, paper"),
        (["not_a_corpus", "--steps-factor", "0"], "positive"),
        (["not_a_corpus", "--steps-factor", "nan"], "positive"),
        (["not_a_corpus", "--steps-factor", "inf"], "positive"),
        (["not_a_corpus", "--device", "quantum"], "quantum"),
    ],
)
def test_bad_input_to_train(capsys, here, args, words):
    assert words in refused(capsys, here, "train", *args, "-o", "run")


def test_a_run_folder_that_cannot_be_made(capsys, here, rig_corpus):
    assert "cannot create" in refused(capsys, here, "train", rig_corpus.root, "-o", "speech.wav/run")


def test_an_interruption_is_130(capsys, here, rig_corpus, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meshtalk.training.run.train", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["train", str(rig_corpus.root), "-o", "run"])
    assert end.value.code == 130
    assert "resume" in capsys.readouterr().err


# --- evaluate, corpus ----------------------------------------------------------------------------------------------


def test_evaluate_prints_a_table_and_writes_numbers(capsys, here, tiny_model, rig_corpus):
    save_checkpoint("regressor", rig.random_checkpoint(regressor=True))
    out = run(
        capsys, "evaluate", tiny_model, rig_corpus.root, "--json", "numbers.json", "--samples", "2",
        "--baseline", "regressor",
    )  # fmt: skip
    for name in ("meshtalk", "regressor", "encoder's codes"):
        assert name in out
    numbers = json.loads(Path("numbers.json").read_text())
    assert json.dumps(numbers).count("meshtalk") >= 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["not_a_corpus"], "manifest.json"),
        (["CORPUS", "--split", "exam"], "exam"),
        (["CORPUS", "--json", "nowhere/n.json"], "nowhere"),
        (["CORPUS", "--baseline", "not_a_model"], "not a model folder"),
        (["CORPUS", "--real", "not_a_corpus"], "another topology"),
        (["CORPUS", "--samples", "0"], "samples"),
        (["CORPUS", "--limit", "0"], "limit"),
    ],
)
def test_bad_input_to_evaluate(capsys, here, tiny_model, rig_corpus, args, words):
    args = [str(rig_corpus.root) if a == "CORPUS" else a for a in args]
    assert words in refused_after_output(capsys, here, "evaluate", tiny_model, *args)


def refused_after_output(capsys, here: Path, *args: object) -> str:
    """As `refused`, for commands that report progress before they can know."""
    before = files(here)
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert files(here) == before
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_a_regressor_has_no_codes_to_evaluate(capsys, here, rig_corpus):
    save_checkpoint("regressor", rig.random_checkpoint(regressor=True))
    assert "regressor" in refused(capsys, here, "evaluate", "regressor", rig_corpus.root)


@pytest.mark.parametrize("args", [["--minutes", "0"], ["--minutes", "-3"], ["--minutes", "nan"], ["--workers", "0"]])
def test_bad_input_to_corpus(capsys, here, args):
    refused(capsys, here, "corpus", "build", "-o", "new_corpus", *args)


@pytest.mark.parametrize("args", [("animate", "--help"), ("--help",)])
def test_a_reader_that_has_enough_ends_it_quietly(args):
    readable, writable = os.pipe()
    os.close(readable)
    with os.fdopen(writable, "wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", "meshtalk.cli.main", *args], stdout=output, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for verb in ("animate", "demo", "evaluate", "train", "corpus"):
        assert verb in out


def test_command_line_starts_without_torch_and_without_any_extra():
    loaded = (
        "import sys, meshtalk.cli.main; print(*{'torch', 'scipy', 'trimesh', 'av', 'PIL', 'numba'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "\n"


def test_retarget_without_scipy_is_refused(here):
    code = "import sys; sys.modules['scipy'] = None; from meshtalk.cli.main import main; main()"
    args = ("retarget", "expression.npz", "--to", "face.obj", "-o", "out.npz")
    ended = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert ended.returncode == 2
    assert re.fullmatch(
        r"meshtalk: retargeting needs scipy\S* \(not installed\)\. Run pip install 'meshtalk\[media\]'\.\n",
        ended.stderr,
    )


# --- wrong arguments and help ------------------------------------------------------------------------------------

BAD_ARGUMENTS = {
    "nothing given": (["animate"], "Missing from meshtalk animate: PATH -o PATH, --output PATH", "animate"),
    "no number": (["animate", "a.wav", "-o", "a.glb", "--seed", "abc"], "--seed", "animate"),
    "unknown option": (["animate", "a.wav", "-o", "a.glb", "--sed", "3"], "--sed", "animate"),
    "option without value": (["animate", "a.wav", "-o", "a.glb", "--seed"], "--seed", "animate"),
    "no subcommand": (["corpus"], "build", "corpus"),
    "unknown subcommand": (["corpus", "nope"], "nope", "corpus"),
    "missing in a subcommand": (["corpus", "check"], "Missing from meshtalk corpus check: PATH", "corpus check"),
}


@pytest.mark.parametrize(("arguments", "words", "command"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_wrong_arguments_get_one_sentence_and_the_right_help(capsys, here, arguments, words, command):
    message = refused(capsys, here, *arguments)
    assert words in message
    assert message.endswith(f"Try meshtalk {command} --help.")
    assert "full helptext" not in message
    assert "---" not in message


def test_a_recording_is_no_clip_but_can_be_animated(capsys, here):
    message = refused(capsys, here, "export", "speech.wav", "-o", "a.glb")
    assert message.endswith(
        "speech.wav is not a meshtalk clip (.npz). To animate a recording: meshtalk animate speech.wav -o out.glb"
    )


def test_help_gives_one_default_and_plain_metavars(capsys, here):
    for command in (["animate"], ["export"], ["retarget"], ["corpus", "convert"], ["regions", "painted"]):
        text = run(capsys, *command, "--help")
        assert "{None}" not in text
        assert "default: None" not in " ".join(text.split())
