"""`meshtalk batch`: the bytes of `animate` for every recording, whoever shares the work; broken ones told, runs continued."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rig
import soundfile
from deadly import deadly
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run

from meshtalk import parallel
from meshtalk.batch import animate_all
from meshtalk.batch.ledger import LEDGER
from meshtalk.batch.recordings import find_recordings
from meshtalk.batch.run import LOCK, REPORT
from meshtalk.cli.main import main
from meshtalk.errors import InputError
from meshtalk.inference.animator import load_model

NAMES = ("a.wav", "b.flac", "far/away/c.wav", "far/d.v2.wav")
OPTIONS = {"temperature": 0.7, "fps": "25"}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> Path:
    """A folder of recordings, one of them broken, one of them cut off."""
    folder = tmp_path_factory.mktemp("said")
    (folder / "far/away").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        soundfile.write(folder / name, rig.speech(seed, 0.6)[0], 16000)
    whole = (folder / "b.flac").read_bytes()
    (folder / "b.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "broken.mp3").write_text("I am no sound\n" * 40)
    (folder / "notes.md").write_text("not to be animated")
    return folder


@pytest.fixture(scope="module")
def straight(said, tiny_model) -> dict[str, bytes]:
    """Output → bytes, as `animate` makes them."""
    animator, found = load_model(tiny_model), {}
    for name in NAMES:
        with parallel.one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one is cut off
            animator.animate(said / name, seed=3, **OPTIONS).save(said.parent / "clip.npz")
        found[str(Path(name).with_suffix(".npz"))] = (said.parent / "clip.npz").read_bytes()
    return found


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.npz"))}


@pytest.fixture
def jobs(monkeypatch) -> list[str]:
    """Work stays in this process; the names of what was not there already."""
    asked: list[str] = []

    def inline(task, recordings, n_workers):
        for place, recording in enumerate(recordings):
            asked.append(recording.name)
            with parallel.one_thread():
                yield place, task(recording)

    monkeypatch.setattr(parallel, "as_done", inline)
    return asked


# --- what comes out ----------------------------------------------------------------------------------------------


def test_two_workers_write_what_animate_writes(capsys, said, straight, tiny_model, tmp_path):
    command = ["batch", said, "-o", tmp_path / "out", "--model", tiny_model, "--seed", "3", "--workers", "2"]
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in (*command, "--temperature", "0.7", "--fps", "25")])
    told = capsys.readouterr()
    assert end.value.code == 1
    assert written(tmp_path / "out") == straight
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert (report["made"], report["kept"], report["failed"]) == (4, 0, 1)
    status = {Path(each["item"]).name: each for each in report["recordings"]}
    assert "not audio that can be decoded" in status["broken.mp3"]["why"]
    assert "cut off" in status["b.flac"]["why"]
    assert status["c.wav"]["output"] == "far/away/c.npz"
    assert "broken.mp3" in told.out
    assert "5/5 recordings, 1 failed" in told.err
    assert "Traceback" not in told.err


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra meshtalk[ray] is not installed")
def test_ray_writes_the_same(said, straight, tiny_model, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    report = animate_all([said], tmp_path / "out", model=tiny_model, seed=3, options=OPTIONS, n_workers=2, ray=True)
    assert written(tmp_path / "out") == straight
    assert len(report.failed) == 1


def test_what_is_there_is_kept(said, straight, tiny_model, tmp_path, jobs):
    shutil.copytree(said, tmp_path / "said")
    out = tmp_path / "out"

    def again(**changes) -> tuple[list[str], dict[str, int]]:
        jobs.clear()
        report = animate_all(
            [tmp_path / "said"], out, **({"model": tiny_model, "seed": 3, "options": OPTIONS} | changes)
        )
        told = report.to_dict()
        return list(jobs), {key: told[key] for key in ("made", "kept", "failed")}

    assert again() == (["a", "b", "broken", "far/away/c", "far/d.v2"], {"made": 4, "kept": 0, "failed": 1})
    assert written(out) == straight
    # only what failed is tried again; a file that was merely touched is the same
    os.utime(tmp_path / "said/a.wav")
    assert again() == (["broken"], {"made": 0, "kept": 4, "failed": 1})
    (out / "a.npz").unlink()
    assert again()[0] == ["a", "broken"]
    (out / "a.npz").write_bytes(b"cut short")
    assert again()[0] == ["a", "broken"]
    assert written(out) == straight
    soundfile.write(tmp_path / "said/broken.mp3", rig.speech(9, 0.5)[0], 16000, format="WAV")
    assert again() == (["broken"], {"made": 1, "kept": 4, "failed": 0})
    soundfile.write(tmp_path / "said/a.wav", rig.speech(8, 0.6)[0], 16000)  # as long as before
    assert again()[0] == ["a"]
    assert again(seed=4) == (["a", "b", "broken", "far/away/c", "far/d.v2"], {"made": 5, "kept": 0, "failed": 0})
    assert again(seed=4)[0] == []
    assert len(again(seed=4, options=OPTIONS | {"argmax": True})[0]) == 5
    # a line of the ledger that a killed run broke off, and one that means nothing
    with open(out / LEDGER, "a") as ledger:
        ledger.write('{"output": "a.npz"}\n{"output": "b.n')
    assert again(seed=4, options=OPTIONS | {"argmax": True})[0] == []
    # the file behind an option counts, not its name
    np.save(tmp_path / "face.npy", rig.face(1))
    faced = {"template": tmp_path / "face.npy"}
    assert len(again(options=faced)[0]) == 5
    assert again(options=faced)[0] == []
    np.save(tmp_path / "face.npy", rig.face(2))
    assert len(again(options=faced)[0]) == 5


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with(said, straight, tiny_model, tmp_path, jobs):
    """Killed without warning: its workers end too, and the next run keeps what was finished and removes what was not."""
    out = tmp_path / "out"
    shutil.copytree(said, tmp_path / "said")
    for number in range(40):  # work enough to be killed in the middle of
        shutil.copy(said / "a.wav", tmp_path / f"said/far/more{number:02d}.wav")
    code = (
        "import sys; from pathlib import Path; from meshtalk.batch import animate_all;"
        f"animate_all([sys.argv[1]], sys.argv[2], model=Path(sys.argv[3]), seed=3, options={OPTIONS!r}, n_workers=1)"
    )
    script = tmp_path / "script.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    process = subprocess.Popen([sys.executable, script, tmp_path / "said", out, tiny_model], start_new_session=True)
    try:
        while not (out / LEDGER).exists() or not (out / LEDGER).read_text():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    group = process.pid
    for _ in range(1000):  # its workers are of its session
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        os.killpg(group, signal.SIGKILL)
        pytest.fail("a worker outlived the run that was killed")
    finished = {json.loads(line)["output"] for line in (out / LEDGER).read_text().splitlines() if line.endswith("}")}
    before = {name: (out / name).stat().st_mtime_ns for name in finished}
    (out / "far").mkdir(exist_ok=True)
    (out / "far/.meshtalk-left.npz").write_bytes(b"half")
    report = animate_all([tmp_path / "said"], out, model=tiny_model, seed=3, options=OPTIONS).to_dict()
    assert finished
    assert report["kept"] == len(finished) < 44
    assert len(jobs) == 45 - len(finished)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == before
    found = written(out)
    assert {name: found[name] for name in straight} == straight
    assert {found[f"far/more{number:02d}.npz"] for number in range(40)} == {straight["a.npz"]}
    assert not list(out.rglob(".meshtalk-*"))


# --- whose process is killed ---------------------------------------------------------------------------------------


def test_a_job_that_kills_its_process_costs_no_other():
    found = dict(parallel.as_done(deadly, range(5), 1))
    assert found == {0: 0, 1: 10, 2: parallel.WorkerDied(), 3: 30, 4: 40}


# --- names -------------------------------------------------------------------------------------------------------


def names(inputs, output: Path) -> list[str]:
    return [recording.name for recording in find_recordings(inputs, output)]


def test_inputs_of_every_kind(said, tmp_path, monkeypatch):
    monkeypatch.chdir(said)
    out = tmp_path / "out"
    all_of_them = ["a", "b", "broken", "far/away/c", "far/d.v2"]
    assert names(["."], out) == names([said], out) == all_of_them
    assert names([f"{said}/**/*.wav"], out) == ["a", "far/away/c", "far/d.v2"]
    assert names(["far/*.wav", "*.wav"], out) == ["d.v2", "a"]
    assert names(["b.flac", said / "far/away/c.wav", "./b.flac", "b*.flac"], out) == ["b", "c"]
    (tmp_path / "list.txt").write_text(f"# mine\nhere/one.wav\n\n{said}/b.flac\n../a.wav\n", encoding="utf-8-sig")
    assert names([tmp_path / "list.txt"], out) == ["here/one", "b", "a"]
    # what was written there is no recording
    assert names(["."], said / "far") == ["a", "b", "broken"]


LETTERS = st.text("ab", min_size=1, max_size=2)


@settings(max_examples=40)
@given(st.sets(st.tuples(st.lists(LETTERS, max_size=2), LETTERS, st.sampled_from([".wav", ".mp3"])).map(
    lambda t: "/".join([*t[0], t[1] + t[2]])), min_size=1, max_size=6))  # fmt: skip
def test_every_recording_has_a_name_of_its_own(tmp_path_factory, paths):
    folder = tmp_path_factory.mktemp("tree")
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    expected = sorted(path[:-4] for path in paths)
    if len(set(expected)) < len(expected):
        with pytest.raises(InputError, match="would both be written"):
            find_recordings([folder], folder / "out")
        return
    found = find_recordings([folder], folder / "out")
    assert sorted(recording.name for recording in found) == expected
    assert all(recording.path == folder / f"{recording.name}{recording.path.suffix}" for recording in found)


# --- what is refused ---------------------------------------------------------------------------------------------


BAD = {
    "nothing there": (["no.wav"], "there is no no.wav"),
    "an empty pattern": (["*.opus"], "no file fits"),
    "a folder without sound": (["empty"], "holds no recordings"),
    "an empty list": (["list.txt"], "names no recordings"),
    "a list that is no text": (["sound.txt"], "UTF-8"),
    "two of one name": (["a.wav", "other/a.wav"], "would both be written to a"),
    "no format": (["a.wav", "--format", "avi"], ".mp4, .glb"),
    "a look at what is not drawn": (["a.wav", "--camera", "face"], "Leave them out"),
    "no workers": (["a.wav", "--workers", "0"], "workers must be at least 1, got 0"),
    "no such temperature": (["a.wav", "--temperature", "0"], "temperature"),
    "no such template": (["a.wav", "--template", "no.obj"], "no.obj"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys, tmp_path, monkeypatch, tiny_model, case):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "other"):
        Path(folder).mkdir()
    for name in ("a.wav", "other/a.wav"):
        soundfile.write(name, rig.speech(0, 0.3)[0], 16000)
    Path("list.txt").write_text("# nothing\n")
    Path("sound.txt").write_bytes(b"\xff\xfe\xfa")
    args, words = BAD[case]
    assert words in refused(capsys, tmp_path, "batch", *args, "-o", "out", "--model", tiny_model)


def test_one_batch_at_a_time(said, tiny_model, tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK), pytest.raises(InputError, match="another batch is at work"):
        animate_all([said], tmp_path / "out", model=tiny_model)


def test_a_report_that_would_be_written_over(tiny_model, tmp_path):
    soundfile.write(tmp_path / "batch.wav", rig.speech(0, 0.3)[0], 16000)
    with pytest.raises(InputError, match=r"the report\. Rename it"):
        animate_all([tmp_path], tmp_path / "out", ".json", model=tiny_model)


def test_a_full_disk_stops_it(capsys, said, tiny_model, tmp_path, jobs, monkeypatch):
    import errno

    from meshtalk.clip import Clip

    save, seen = Clip.save, []

    def full(clip, path, look=None):
        seen.append(path)
        if len(seen) == 3:  # the trial, one that fits, and one that does not
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(clip, path, look)

    monkeypatch.setattr(Clip, "save", full)
    with pytest.raises(InputError, match=r"No space left on device\. Free some space and run the command"):
        animate_all([said], tmp_path / "out", model=tiny_model)
    assert list(written(tmp_path / "out")) == ["a.npz"]
    monkeypatch.undo()


def test_formats_of_every_kind(capsys, said, tiny_model, tmp_path, jobs):
    run(capsys, "batch", said / "a.wav", "-o", tmp_path / "o", "--model", tiny_model, "--format", ".livelink.csv")
    assert (tmp_path / "o/a.livelink.csv").is_file()
    sequence = ["batch", said / "a.wav", "-o", tmp_path / "o", "--model", tiny_model, "--format", "ply"]
    frames = [f"{number:05d}.ply" for number in range(18)]
    for more, expected in (([], ["a"]), ([], []), (["--seed", "5"], ["a"])):
        jobs.clear()
        run(capsys, *sequence, *more)
        assert jobs == expected
        assert [path.name for path in sorted((tmp_path / "o/a.ply").glob("*.ply"))] == frames
    (tmp_path / "o/a.ply" / frames[3]).unlink()
    run(capsys, *sequence, "--seed", "5")
    assert (tmp_path / "o/a.ply" / frames[3]).is_file()
