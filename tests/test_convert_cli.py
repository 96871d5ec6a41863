"""`meshtalk corpus convert`: what it prints, and that every bad input is one sentence, exit code 2 and nothing written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import convert_rig
import numpy as np
import pytest
import rig
from convert_rig import VOCA, options
from test_cli import files, refused, run
from test_convert_run import contents

from meshtalk.cli.main import main
from meshtalk.corpus.store import Corpus


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    convert_rig.vocaset_arrays(tmp_path / "voca", said=[("s0", 1), ("s0", 2), ("s2", 21), ("s3", 21)])
    options(tmp_path)
    return tmp_path


GIVEN = ("--template", "face.ply", "--topology", "regions.npz", "--workers", "1")


def test_a_data_set_becomes_a_corpus(capsys, here):
    (here / "voca/wav" / f"{VOCA['s0']}_sentence02.wav").unlink()
    main([str(a) for a in ("corpus", "convert", "vocaset", "voca", "made", *GIVEN)])
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "vocaset: 3 clips, 0.0 min, 0 missing frames"
    assert f"  dropped {VOCA['s0']}-sentence02: there is no sound for {VOCA['s0']}_sentence02" in out
    assert out.splitlines()[-1] == "made"
    assert err.splitlines()[-1].startswith("4/4 clips, 0.0 min of motion, 1 dropped [")
    assert err.endswith("\n")
    assert len(err.splitlines()[-1]) < 120
    assert len(Corpus.open("made").clips) == 3
    assert json.loads(Path("made/conversion.json").read_text())["clips"] == 3


def test_axes_may_begin_with_a_minus(capsys, here):
    for folder, suffix in (("vertices_npy", "npy"),):
        for path in (here / "voca" / folder).glob(f"*.{suffix}"):
            turned = np.load(path).reshape(30, -1, 3) * np.array([-1, 1, -1], np.float32)
            np.save(path, turned.reshape(30, -1))
    turned = {VOCA[who]: rig.face(int(who[1:])) * np.array([-1, 1, -1], np.float32) for who in VOCA}
    (here / "voca/templates.pkl").write_bytes(convert_rig.old_pickle(turned))
    assert "behind the middle of the head" in refused(capsys, here, "corpus", "convert", "vocaset", "voca", "c", *GIVEN)
    run(capsys, "corpus", "convert", "vocaset", "voca", "c", *GIVEN, "--axes=-x,y,-z")
    corpus = Corpus.open("c")
    np.testing.assert_allclose(corpus.template(VOCA["s0"]), rig.face(0), atol=1e-6)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["vocalset", "voca", "c"], "kind must be one of vocaset, biwi, multiface, mead3d, beat"),
        (["vocaset", "nowhere", "c"], "must be the folder of the data set"),
        (["vocaset", "voca", "voca/c"], "must be outside its source"),
        (["biwi", "voca", "c"], "templates of"),
        (["multiface", "voca", "c"], "is not Multiface"),
        (["beat", "voca", "c"], "has no clips of kind beat"),
        (["folder", "voca", "c"], "Give --fps"),
        (["vocaset", "voca", "face.ply"], "Choose another folder"),
        (["vocaset", "voca", "c", "--unit", "cm"], "0.00222 m tall"),
        (["vocaset", "voca", "c", "--fps", "1/0"], "fps must be a frame rate"),
    ],
)
def test_bad_input(capsys, here, args, words):
    (here / "small.ply").write_text("x")
    given = () if args[0] in ("beat",) else GIVEN
    if args[0] == "biwi":
        convert_rig.write_mesh(here / "small.ply", rig.NEUTRAL[:50], rig.TOPOLOGY.faces[:20])
        given = ("--template", "small.ply")
    assert words in refused(capsys, here, "corpus", "convert", *args, *given)


def test_not_one_usable_clip(capsys, here):
    before = files(here)
    with pytest.raises(SystemExit) as end:
        main(["corpus", "convert", "vocaset", "voca", "c", "--fps", "240", *GIVEN])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.splitlines()[-1].startswith(
        "meshtalk: none of 4 clips could be used. Most frequent reason: its motion lasts"
    )
    assert files(here) == before


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(capsys, here):
    """Two workers, killed without warning with clips half-written: the next run ends with the bytes of an undisturbed one."""
    convert_rig.vocaset_arrays(here / "more", said=[("s0", k) for k in range(1, 41)])
    run(capsys, "corpus", "convert", "vocaset", "more", "straight", *GIVEN)
    given = [*GIVEN[:-1], "2"]
    command = [sys.executable, "-m", "meshtalk.cli.main", "corpus", "convert", "vocaset", "more", "killed", *given]
    killed = 0
    for clips in (2, 15):
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and len(list(Path("killed/clips").glob("[!.]*"))) < clips:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed == 2
    assert not Path("killed/manifest.json").exists()
    run(capsys, "corpus", "convert", "vocaset", "more", "killed", *GIVEN)
    assert contents(Path("killed")) == contents(Path("straight"))
