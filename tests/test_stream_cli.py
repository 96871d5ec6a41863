"""`meshtalk stream`: what works, its ordinary ends, and that every bad input is one sentence."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from stream_rig import ANIMATOR, ROUNDED, as_float, documented, pcm16, udp_receiver

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.cli.main import main
from meshtalk.inference.animator import load_model
from meshtalk.stream.sinks import JsonLines, Sink, Vertices
from meshtalk.stream.vmc import VmcSender

# --- the command line ----------------------------------------------------------------------------------------------------


def give(monkeypatch, data: bytes, tty: bool = False) -> None:
    """Make `data` the standard input."""
    text = io.TextIOWrapper(io.BytesIO(data))
    monkeypatch.setattr(text, "isatty", lambda: tty)
    monkeypatch.setattr("sys.stdin", text)


def test_command_streams_weights(capsys, monkeypatch, tiny_model):
    sound = pcm16(0.5, 48_000, 2)
    give(monkeypatch, sound.tobytes())
    main(["stream", "--rate", "48000", "--channels", "2", "--model", str(tiny_model), "--fps", "25", "--argmax"])
    out, err = capsys.readouterr()
    assert err == ""
    clip = load_model(tiny_model).animate(as_float(sound), 48_000, fps=25, argmax=True)
    read = [list(weights.values()) for _, weights in documented("read_weights")(io.StringIO(out))]
    assert clip.weights is not None
    np.testing.assert_allclose(read, np.clip(clip.weights, 0, 1), atol=ROUNDED + 1e-4)


def test_command_streams_vmc_and_then_nothing_to_standard_output(capsys, monkeypatch, tiny_model):
    with udp_receiver() as receiver:
        endpoint = "{}:{}".format(*receiver.getsockname())
        command = ["stream", "--vmc", endpoint, "--live", "--model", str(tiny_model)]
        give(monkeypatch, pcm16(0.1).tobytes())
        main(command)
        assert capsys.readouterr() == ("", "")
        assert receiver.recv(65_536).startswith(b"#bundle\0")
        give(monkeypatch, pcm16(0.1).tobytes())
        main([*command, "--format", "jsonl"])
        assert len(capsys.readouterr().out.splitlines()) == 1 + 3


BAD = {
    "no rate": (["--rate", "0"], "8000 to 192000"),
    "negative rate": (["--rate", "-16000"], "8000 to 192000"),
    "absurd rate": (["--rate", "1000000000"], "8000 to 192000"),
    "no channels": (["--channels", "0"], "1 to 32"),
    "too many channels": (["--channels", "1000"], "1 to 32"),
    "unknown format": (["--format", "xml"], "jsonl, vertices"),
    "no port": (["--vmc", "127.0.0.1"], "HOST:PORT"),
    "no host of that name": (["--vmc", "no-such-host.invalid:39539"], "no-such-host.invalid"),
    "no device": (["--device", "quantum"], "quantum"),
    "no such person": (["--person", "nobody"], "people"),
    "no temperature": (["--temperature", "0"], "temperature"),
    "rate of frames that is none": (["--fps", "fast"], "fast"),
    "no model": (["--model", "nowhere"], "not a model folder"),
}


def refusal(capsys, args: Sequence[str]) -> tuple[str, str]:
    """Output and the one sentence of a command that must fail."""
    with pytest.raises(SystemExit) as end:
        main(["stream", *args])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert len(err.splitlines()) == 1, err
    assert err.startswith("meshtalk: ")
    return out, err


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys, monkeypatch, tiny_model, case):
    args, words = BAD[case]
    give(monkeypatch, pcm16(0.1).tobytes())
    out, err = refusal(capsys, args if "--model" in args else [*args, "--model", str(tiny_model)])
    assert out == ""
    assert words in err


def test_a_terminal_is_no_sound(capsys, monkeypatch):
    give(monkeypatch, b"", tty=True)
    out, err = refusal(capsys, [])
    assert out == ""
    assert "ffmpeg" in err
    assert "arecord" in err
    monkeypatch.setattr("sys.stdin", None)
    assert "ffmpeg" in refusal(capsys, [])[1]


def test_binary_does_not_go_to_a_terminal(capsys, monkeypatch):
    give(monkeypatch, pcm16(0.1).tobytes())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "terminal" in refusal(capsys, ["--format", "vertices"])[1]


def test_empty_input(capsys, monkeypatch, tiny_model):
    give(monkeypatch, b"")
    out, err = refusal(capsys, ["--model", str(tiny_model)])
    assert "no sound" in err
    assert json.loads(out)["format"] == "meshtalk-stream-1"


def test_python_osc_is_asked_for(capsys, monkeypatch, tiny_model):
    give(monkeypatch, pcm16(0.1).tobytes())
    monkeypatch.setitem(sys.modules, "pythonosc", None)
    _, err = refusal(capsys, ["--vmc", "127.0.0.1:39539", "--model", str(tiny_model)])
    assert 'pip install "meshtalk[live]"' in err


def start(*args: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "meshtalk.cli.main", "stream", *map(str, args)]
    pipe, environment = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
    # a suite that runs in the background of a shell would hand down that Ctrl-C is ignored
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_the_packaged_model_streams_what_it_animates():
    samples, rate = read_audio(asset("speech/librivox_0870.flac"))
    samples = samples[: 2 * rate]
    sound = (samples * 32768).round().astype("<i2")
    out, err = start("--person", "p03", "--seed", "7").communicate(sound.tobytes())
    assert err == b""
    frames = [weights for _, weights in documented("read_weights")(io.BytesIO(out))]
    clip = load_model().animate(as_float(sound), rate, person="p03", seed=7)
    assert clip.weights is not None
    assert tuple(frames[0]) == clip.topology.shape_names
    read = np.array([list(frame.values()) for frame in frames])
    np.testing.assert_allclose(read, np.clip(clip.weights, 0, 1), atol=1e-3)


@pytest.mark.parametrize("live", [(), ("--live",)])
def test_a_reader_that_has_enough_ends_it(tiny_model, live):
    process = start("--model", tiny_model, *live)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    sound = pcm16(2.0).tobytes()
    process.stdin.write(sound)
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(5)]
    process.stdout.close()
    try:
        for _ in range(20):  # live frames are written by another thread: it takes one more to notice
            process.stdin.write(sound)
            process.stdin.flush()
        process.stdin.close()
    except BrokenPipeError:
        pass
    errors = process.stderr.read().decode().splitlines()
    assert process.wait() == 0
    assert json.loads(lines[4])["frame"] == 3
    assert any("standard output was closed by its reader" in line for line in errors)
    assert not any("Traceback" in line for line in errors)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("live", [(), ("--live",)])
def test_an_interrupted_stream_is_130_without_a_traceback(tiny_model, live):
    process = start("--model", tiny_model, *live)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(pcm16(1.0).tobytes())
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.readline()  # the model runs, and a thread waits for more sound
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read().decode()
    assert process.wait() == 130
    assert errors == "meshtalk: stream interrupted\n"
    process.stdin.close()
    process.stdout.close()


def test_sinks_are_sinks():
    state = ANIMATOR.start()
    sinks: list[Sink] = [
        JsonLines(ANIMATOR, state, None),
        Vertices(ANIMATOR, state, None),
        VmcSender(ANIMATOR, state, "127.0.0.1", 9),
    ]
    assert [sink.lost for sink in sinks] == [0, 0, 0]
