"""The verbs that perform and edit: every option reaches the library, the rest is one sentence, exit code 2 and nothing written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rig
import soundfile
from stream_rig import ROUNDED, as_float, documented, pcm16
from test_cli import refused, run
from test_docs import OPTIONS, options_of
from test_stream_cli import give

from meshtalk.cli.main import main
from meshtalk.cli.options import Directing, Looking, Performing
from meshtalk.clip import Clip
from meshtalk.inference.animator import load_model
from meshtalk.inference.direction import Direction
from meshtalk.inference.edit import again, redub
from meshtalk.render import Look

SOUND = pcm16(1.0)
CLIP = rig.make_clip(3, 0.8)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("line.wav", SOUND, 16000)
    CLIP.save("acted.npz")
    np.save("face.npy", rig.face(5))
    return tmp_path


# --- what the library is asked -----------------------------------------------------------------------------------

DIRECTED: Mapping[str, tuple[list[str], Direction]] = {
    "--blinks": (["--blinks", "12"], Direction(blinks_per_min=12)),
    "--no-blinks": (["--no-blinks", "--blinks", "0"], Direction(blinks_per_min=0)),
    "--hold-gaze": (["--hold-gaze"], Direction(hold_gaze=True)),
    "--articulation": (["--articulation", "1.2"], Direction(articulation=1.2)),
    "--intensity": (
        ["--intensity", "mouth=1.2", "eyelids=0.5", "--intensity", "lips=0"],
        Direction(intensity={"mouth": 1.2, "eyelids": 0.5, "lips": 0}),
    ),
    "--freeze": (["--freeze", "mouth", "--freeze", "lips"], Direction(intensity={"mouth": 0, "lips": 0})),
    "--smooth": (["--smooth", "mouth=0.1", "upper_face=0.3"], Direction(smoothing_s={"mouth": 0.1, "upper_face": 0.3})),
    "--lead-in": (["--lead-in", "0.5"], Direction(lead_in_s=0.5)),
    "--lead-out": (["--lead-out", "1"], Direction(lead_out_s=1)),
}
PERFORMED: Mapping[str, tuple[list[str], dict[str, Any]]] = {
    "--template": (["--template", "face.npy"], {"template": Path("face.npy")}),
    "--expression": (["--expression", "acted.npz"], {"expression": Path("acted.npz")}),
    "--strength": (
        ["--strength", "0.3", "--expression", "acted.npz"], {"expression": Path("acted.npz"), "strength": 0.3},
    ),
    "--person": (["--person", "p03"], {"person": "p03"}),
    "--seed": (["--seed", "7"], {"seed": 7}),
    "--temperature": (["--temperature", "0.5"], {"temperature": 0.5}),
    "--top-p": (["--top-p", "0.9"], {"top_p": 0.9}),
    "--argmax": (["--argmax"], {"argmax": True}),
    "--fps": (["--fps", "30000/1001"], {"fps": "30000/1001"}),
    "--model": (["--model", "mine"], {"model": Path("mine")}),
    "--device": (["--device", "meta"], {"device": "meta"}),
} | {option: (args, {"direction": direction}) for option, (args, direction) in DIRECTED.items()}  # fmt: skip
REGIONS = (
    ["--expression", "acted.npz", "--strength", "mouth=0.5", "--strength", "upper_face=2"],
    {"expression": Path("acted.npz"), "strength": {"mouth": 0.5, "upper_face": 2}},
)
AS_IT_IS = {
    "template": None, "person": None, "expression": None, "strength": 1.0, "seed": 0, "temperature": 1.0, "top_p": 1.0,
    "argmax": False, "fps": None, "direction": Direction(), "model": None, "device": "cpu",
}  # fmt: skip


class Stop(BaseException):
    """The library was asked; what it would do is tested elsewhere."""


class Asked:
    """An animator that remembers what it was asked."""

    topology = rig.TOPOLOGY

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told

    def _ask(self, *args: object, **options: object) -> None:
        self.told |= {"args": args, **options}
        raise Stop

    animate = takes = start = _ask


@pytest.fixture
def told(monkeypatch) -> dict[str, Any]:
    """What the library was asked, after a verb ran."""
    found: dict[str, Any] = {}

    def load(model: Path | None, device: str = "cpu") -> Asked:
        found.update(model=model, device=device)
        return Asked(found)

    for module in ("options", "animate", "edit"):
        monkeypatch.setattr(f"meshtalk.cli.{module}.load_animator", load)
    return found


def asked(told: dict[str, Any], *command: str) -> dict[str, Any]:
    with pytest.raises(Stop):
        main(list(command))
    return told


@pytest.mark.parametrize("case", [*PERFORMED, "regions"])
@pytest.mark.parametrize("verb", ["animate", "takes", "stream"])
@pytest.mark.usefixtures("here")
def test_every_option_of_a_performance_reaches_the_library(monkeypatch, told, verb, case):
    args, changes = PERFORMED.get(case, REGIONS)
    give(monkeypatch, SOUND.tobytes())
    output = {"animate": ["line.wav", "-o", "x.npz"], "takes": ["line.wav", "-o", "x"], "stream": []}[verb]
    found = asked(told, verb, *output, *args)
    assert found.pop("args") == (() if verb == "stream" else (Path("line.wav"),))
    if verb == "takes":
        assert found.pop("n") == 8
    assert found == AS_IT_IS | changes


def test_no_option_is_left_out():
    carried = {"--map", "--landmarks"}  # to other meshes: see test_retarget_cli.py
    assert options_of(Performing) == set(PERFORMED) | carried
    assert options_of(Directing) == set(DIRECTED)
    looking = options_of(Looking)
    assert looking == {"--camera", "--light"}
    for verb, own in (("animate", {"-o", "--output"} | looking), ("takes", {"-o", "--output", "-n", "--n"})):
        assert OPTIONS[verb] == set(PERFORMED) | carried | own
    assert OPTIONS["redub"] == set(DIRECTED) | looking | {
        "-o",
        "--output",
        "--fit",
        "--strength",
        "--model",
        "--device",
    }
    assert set(PERFORMED) <= OPTIONS["stream"]


@pytest.mark.parametrize("verb", ["animate line.wav", "redub acted.npz line.wav", "again acted.npz"])
@pytest.mark.usefixtures("here")
def test_a_film_is_taken_as_it_was_asked(monkeypatch, verb):
    shot: list[Any] = []

    def perform(*_: object, **__: object) -> Clip:
        return CLIP

    class Film(Asked):
        animate = perform

    monkeypatch.setattr(Clip, "save", lambda _, path, look=None: shot.append((path, look)))
    for module in ("animate", "edit", "options"):
        monkeypatch.setattr(f"meshtalk.cli.{module}.load_animator", lambda *_: Film({}))
    for name in ("redub", "again"):
        monkeypatch.setattr(f"meshtalk.inference.edit.{name}", perform)
    main([*verb.split(), "-o", "x.mp4", "--camera", "profile", "--light", "soft"])
    main([*verb.split(), "-o", "x.mp4"])
    assert shot == [(Path("x.mp4"), Look("profile", "soft")), (Path("x.mp4"), None)]


@pytest.mark.parametrize(
    ("asked_for", "sentence"),
    [
        (
            ["-o", "x.npz", "--camera", "front"],
            "camera and light are for pictures, got x.npz. Leave them out, or write .mp4, .gif, .png",
        ),
        (["-o", "x.mp4", "--camera", "above"], "front, three-quarter, profile, face, mouth"),
        (["-o", "x.mp4", "--light", "disco"], "studio, soft, dramatic"),
    ],
)
def test_what_no_film_can_have_is_refused(capsys, here, told, asked_for, sentence):
    assert sentence in refused(capsys, here, "animate", "line.wav", *asked_for)
    assert not told


@pytest.mark.usefixtures("here")
def test_number_of_takes(told):
    assert asked(told, "takes", "line.wav", "-o", "x", "-n", "3")["n"] == 3


def spied(monkeypatch, name: str) -> dict[str, Any]:
    """What a function of `meshtalk.inference.edit` was called with."""
    found: dict[str, Any] = {}

    def spy(*args: object, **options: object) -> None:
        found.update(args=args, **options)
        raise Stop

    monkeypatch.setattr(f"meshtalk.inference.edit.{name}", spy)
    return found


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        ([], {}),
        (["--fit", "stretch"], {"fit": "stretch"}),
        (["--strength", "0.3"], {"strength": 0.3}),
        (["--strength", "mouth=0", "eyelids=2"], {"strength": {"mouth": 0, "eyelids": 2}}),
        *((args, {"direction": direction}) for args, direction in DIRECTED.values()),
    ],
)
@pytest.mark.usefixtures("here")
def test_every_option_of_redub_reaches_the_library(monkeypatch, told, args, changes):
    found = spied(monkeypatch, "redub")
    asked(told, "redub", "acted.npz", "line.wav", "-o", "x.npz", "--model", "mine", "--device", "meta", *args)
    animator, performance, audio = found.pop("args")
    assert isinstance(animator, Asked)
    assert (performance.n_frames, audio) == (CLIP.n_frames, Path("line.wav"))
    assert found == {"fit": "loop", "strength": 1.0, "direction": Direction()} | changes
    assert told == {"model": Path("mine"), "device": "meta"}


# --- what comes out ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def head_model(tmp_path_factory) -> Path:
    """The packaged head, moved by an untrained model."""
    from meshtalk.model.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("head") / "model"
    save_checkpoint(folder, rig.head_checkpoint())
    return folder


ALL = [
    *("--intensity", "mouth=1.4", "--freeze", "eyelids", "--smooth", "upper_face=0.2", "--blinks", "30"),
    *("--lead-in", "0.2", "--lead-out", "0.4", "--fps", "25", "--seed", "4", "--expression", "acted.npz"),
    *("--strength", "upper_face=0.5"),
]


@pytest.mark.usefixtures("here")
def test_a_stream_follows_the_same_options(capsys, monkeypatch, tiny_model):
    run(capsys, "animate", "line.wav", "-o", "a.npz", "--model", tiny_model, *ALL)
    clip = Clip.load("a.npz")
    assert clip.n_frames == 35
    give(monkeypatch, SOUND.tobytes())
    frames = documented("read_weights")(io.StringIO(run(capsys, "stream", "--model", tiny_model, *ALL)))
    read = np.array([list(weights.values()) for _, weights in frames])
    np.testing.assert_allclose(read, np.clip(clip.weights, 0, 1), atol=ROUNDED + 1e-4)


@pytest.mark.usefixtures("here")
def test_gaze_is_held_in_both(capsys, monkeypatch, head_model):
    options = ["--hold-gaze", "--no-blinks", "--model", head_model]
    run(capsys, "animate", "line.wav", "-o", "a.npz", *options)
    give(monkeypatch, SOUND.tobytes())
    frames = documented("read_weights")(io.StringIO(run(capsys, "stream", *options)))
    read = np.array([list(weights.values()) for _, weights in frames])
    np.testing.assert_allclose(read, np.clip(Clip.load("a.npz").weights, 0, 1), atol=ROUNDED + 1e-4)


@pytest.mark.usefixtures("here")
def test_redub_writes_what_the_library_makes(capsys, tiny_model):
    out = run(
        capsys, "redub", "acted.npz", "line.wav", "-o", "d.npz", "--model", tiny_model, "--fit", "hold",
        "--strength", "0.5", "--lead-out", "0.3",
    )  # fmt: skip
    assert out.strip() == "d.npz"
    direction = Direction(lead_out_s=0.3)
    made = redub(load_model(tiny_model), CLIP, as_float(SOUND), 16000, fit="hold", strength=0.5, direction=direction)
    np.testing.assert_allclose(Clip.load("d.npz").vertices, made.vertices, atol=1e-5)


@pytest.mark.usefixtures("here")
def test_again_gives_the_same_bytes_and_says_when_not(capsys, tiny_model):
    run(capsys, "animate", "line.wav", "-o", "a.npz", "--model", tiny_model, *ALL)
    assert run(capsys, "again", "a.npz", "-o", "b.npz", "--model", tiny_model).strip() == "b.npz"
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    clip = Clip.load("a.npz")
    replace(clip, weights=clip.weights + np.float32(1e-6)).save("touched.npz")
    main(["again", "touched.npz", "-o", "c.npz", "--model", str(tiny_model)])
    assert "differs by rounding" in capsys.readouterr().err
    assert Path("a.npz").read_bytes() == Path("c.npz").read_bytes()
    np.testing.assert_array_equal(again(load_model(tiny_model), clip).weights, clip.weights)


# --- what is refused ---------------------------------------------------------------------------------------------

BAD_DIRECTION = {
    "blinks and none": (
        ["--no-blinks", "--blinks", "3"],
        "--no-blinks excludes --blinks, got --blinks 3. Give one of them",
    ),
    "frozen and moved": (
        ["--freeze", "mouth", "--intensity", "mouth=1"],
        "--freeze excludes --intensity, got both for mouth",
    ),
    "no number": (["--intensity", "mouth"], "--intensity must be REGION=NUMBER, got mouth"),
    "no region": (["--intensity", "=2"], "REGION=NUMBER"),
    "a word": (["--smooth", "mouth=much"], "REGION=NUMBER"),
    "not a number": (["--intensity", "mouth=nan"], "REGION=NUMBER"),
    "twice": (["--intensity", "mouth=1", "--intensity", "mouth=2"], "once per region, got two for mouth"),
    "too much": (["--intensity", "mouth=4"], "intensity of 'mouth' must be 0 to 3, got 4.0"),
    "too wide": (["--smooth", "mouth=2"], "smoothing of 'mouth' must be 0 to 1, got 2.0"),
    "too many blinks": (["--blinks", "100"], "blinks per minute must be 0 to 40, got 100.0"),
    "no such region": (["--freeze", "nose"], "there is no region 'nose'. This topology has mouth"),
    "no gaze to hold": (["--hold-gaze"], "eyeLook"),
    "before its time": (["--lead-in", "-1"], "lead-in must be 0 to 60 s, got -1.0"),
    "endless": (["--lead-out", "inf"], "lead-out must be 0 to 60 s, got inf"),
}
EXPRESSIVE = ["--expression", "acted.npz"]
BAD_STRENGTH = {
    "too strong": (["--strength", "3"], "strength must be 0 to 2, got 3.0"),
    "a region too strong": (["--strength", "mouth=3"], "strength of 'mouth' must be 0 to 2, got 3.0"),
    "negative": (["--strength=-1"], "strength must be 0 to 2, got -1.0"),
    "a word": (["--strength", "much"], "--strength must be a number or REGION=NUMBER …, got much"),
    "two numbers": (["--strength", "1", "2"], "a number or REGION=NUMBER"),
    "number and region": (["--strength", "1", "mouth=2"], "REGION=NUMBER"),
    "no such region": (["--strength", "nose=1"], "there is no region 'nose'"),
}


@pytest.mark.parametrize("case", [*BAD_DIRECTION, *(f"strength: {name}" for name in BAD_STRENGTH)])
@pytest.mark.parametrize("verb", ["animate", "takes", "stream", "redub"])
def test_bad_options(capsys, here, monkeypatch, tiny_model, verb, case):
    args, words = BAD_DIRECTION.get(case) or BAD_STRENGTH[case.removeprefix("strength: ")]
    give(monkeypatch, SOUND.tobytes())
    command = {
        "animate": ["line.wav", "-o", "x.npz"], "takes": ["line.wav", "-o", "x", "-n", "2"], "stream": [],
        "redub": ["acted.npz", "line.wav", "-o", "x.npz"],
    }[verb]  # fmt: skip
    expressive = EXPRESSIVE if case.startswith("strength") and verb != "redub" else []
    assert words in refused(capsys, here, verb, *command, *expressive, *args, "--model", tiny_model)


BAD: Mapping[str, tuple[list[str], str]] = {
    "sideways": (["redub", "acted.npz", "line.wav", "-o", "x.npz", "--fit", "sideways"], "one of loop, hold, stretch, cut"),
    "no performance": (["redub", "no.npz", "line.wav", "-o", "x.npz"], "no clip at no.npz"),
    "sound instead of it": (["redub", "line.wav", "line.wav", "-o", "x.npz"], "line.wav is not a meshtalk clip"),
    "no sound": (["redub", "acted.npz", "no.wav", "-o", "x.npz"], "no audio file"),
    "no format": (["redub", "acted.npz", "line.wav", "-o", "x.avi"], ".mp4, .glb"),
    "no device": (["redub", "acted.npz", "line.wav", "-o", "x.npz", "--device", "quantum"], "quantum"),
    "strength of nothing": (["animate", "line.wav", "-o", "x.npz", "--strength", "1"], "an expression and needs --expression"),
    "at least 1 take": (["again", "no.npz", "-o", "x.npz"], "no clip at no.npz"),
    "no recipe": (["again", "acted.npz", "-o", "x.npz"], "records no settings"),
    "no format again": (["again", "acted.npz", "-o", "x"], "no suffix"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys, here, tiny_model, case):
    args, words = BAD[case]
    assert words in refused(capsys, here, *args, "--model", tiny_model)


def test_another_model_cannot_make_it_again(capsys, here, tiny_model, head_model):
    run(capsys, "animate", "line.wav", "-o", "a.npz", "--model", tiny_model)
    assert "Pass the model that made it" in refused(
        capsys, here, "again", "a.npz", "-o", "b.npz", "--model", head_model
    )
