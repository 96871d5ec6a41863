"""Disks that are full, and writers that are killed: one sentence, and whole files or none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rig

from meshtalk.cli.main import main
from meshtalk.clip import Clip
from meshtalk.corpus.store import CorpusWriter
from meshtalk.errors import DiskError, InputError
from meshtalk.export import EXPORTERS, SEQUENCES, export, write_mp4
from meshtalk.export.common import outputs
from meshtalk.files import _MACHINE, atomic, spooled
from meshtalk.model.checkpoint import save_checkpoint

resource = pytest.importorskip("resource", reason="limits of files' sizes are POSIX's")

LINEAR = rig.make_clip(3, 0.4)
DENSE = Clip(
    topology=LINEAR.topology, template=LINEAR.template, fps=LINEAR.fps, audio=LINEAR.audio, sample_rate=LINEAR.sample_rate,
    displacement=LINEAR.displacements(0, LINEAR.n_frames),
)  # fmt: skip


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Within, no file of this process can grow beyond so many bytes: writers fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def small_films(monkeypatch):
    monkeypatch.setitem(EXPORTERS, ".mp4", partial(write_mp4, size=(32, 32)))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("clip", [LINEAR, DENSE], ids=["linear", "dense"])
@pytest.mark.parametrize("suffix", [*EXPORTERS, ".livelink.csv"])
def test_no_format_leaves_anything_on_a_full_disk(tmp_path, small_films, suffix, clip, share):
    name = f"out/%02d{suffix}" if suffix in SEQUENCES else f"out{suffix}"
    if suffix == ".html" and not EXPORTERS[suffix].__globals__["PAGE"].is_file():
        pytest.skip("the player page was not built")
    export(clip, tmp_path / "whole" / name) if (tmp_path / "whole").mkdir() is None else None
    size = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    (tmp_path / "full").mkdir()
    with largest_file(int(size * share)), pytest.raises(InputError, match=r"^cannot write .*: File too large\. Free"):
        export(clip, tmp_path / "full" / name)
    assert files(tmp_path / "full") == []


def test_alembic_asks_for_little_more_room_than_it_takes(tmp_path):
    clip = rig.make_clip(3, 4.0)
    size = export(clip, tmp_path / "a.abc").stat().st_size
    with largest_file(round(1.4 * size)):
        assert export(clip, tmp_path / "b.abc").read_bytes()


def test_a_corpus_on_a_full_disk(tmp_path):
    writer = CorpusWriter(tmp_path / "corpus", LINEAR.topology, LINEAR.fps, ["CC0"])
    with largest_file(1000), pytest.raises(DiskError, match=r"^cannot write .*clips.one: .* Free some space"):
        writer.add(LINEAR, id="one", split="train", voice="v")
    assert files(tmp_path / "corpus/clips") == []
    assert writer.add(LINEAR, id="one", split="train", voice="v").n_frames == LINEAR.n_frames


def test_a_model_on_a_full_disk(tmp_path):
    with largest_file(1000), pytest.raises(DiskError, match=r"^cannot write .*model.\w+\.\w+: File too large"):
        save_checkpoint(tmp_path / "model", rig.random_checkpoint())
    assert not (tmp_path / "model/config.json").exists()


def test_results_that_fit_nowhere_are_refused_before_they_are_computed():
    with largest_file(1 << 20), pytest.raises(DiskError, match=r"^0\.8 GB of temporary results .* set TMPDIR"):
        spooled((1000, 200_000), np.float32)


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    LINEAR.save(tmp_path / "take.npz")
    with largest_file(1000), pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path / "take.npz"), "-o", str(tmp_path / "a.npy")])
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"meshtalk: cannot write {tmp_path / 'a.npy'}: File too")


# --- killed writers ----------------------------------------------------------------------------------------------


def killed_while_writing(folder: Path) -> None:
    """A process is killed while it writes a file and a folder."""
    code = (
        "import os, signal, sys; from pathlib import Path; from meshtalk.files import atomic, replaced_folder\n"
        "with atomic(Path(sys.argv[1], 'a.npz')) as file, replaced_folder(Path(sys.argv[1], 'b')) as folder:\n"
        "    file.write_bytes(b'half'); (folder / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path):
    killed_while_writing(tmp_path)
    assert len(files(tmp_path)) == 3
    code = "import sys; from meshtalk.files import write_json; write_json(sys.argv[1], 1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.json")], check=True)
    assert files(tmp_path) == ["c.json"]


def test_what_a_living_process_writes_stays(tmp_path):
    with atomic(tmp_path / "a.npz") as mine:
        code = "import sys; from meshtalk.files import write_json; write_json(sys.argv[1], 1)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.json")], check=True)
        mine.write_bytes(b"whole")
    assert files(tmp_path) == ["a.npz", "c.json"]


@pytest.mark.parametrize(("name", "age_s", "stays"), [
    (".meshtalk-00000000-{own}-000000-x.mp4", 60, True),  # another machine's
    (".meshtalk-00000000-{own}-000000-x.mp4", 8 * 86400, False),
    (".meshtalk-{machine}-{own}-000000-x.mp4", 60, False),  # of an earlier process of this number
    (".meshtalk-{machine}-1-000000-x.mp4", 60, True),  # the first process lives
    (".meshtalk-{machine}-99999999999999999999-000000-x.mp4", 60, False),
    (".meshtalk-left.npz", 60, True),
    (".meshtalk-left.npz", 8 * 86400, False),
])  # fmt: skip
def test_only_what_nobody_writes_any_more_is_removed(tmp_path, name, age_s, stays):
    left = tmp_path / name.format(machine=_MACHINE, own=os.getpid())
    left.write_bytes(b"half")
    os.utime(left, (time.time() - age_s,) * 2)
    with atomic(tmp_path / "a.json") as file:
        file.write_text("{}")
    assert left.exists() == stays


def test_no_old_face_stands_beside_a_new_sound(tmp_path, monkeypatch):
    """Wherever a process ends between the names of a file and its companion."""

    def write(text: str) -> None:
        with outputs(tmp_path / "face.glb", ["_sound.wav"]) as [face, sound]:
            face.write_text(text)
            sound.write_text(text)

    replace = Path.replace
    for allowed in range(3):
        write("old")
        left = iter(range(allowed))

        def killed(self, target, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(Path, "replace", killed)
            write("new")
        found = {path.suffix: path.read_text() for path in tmp_path.iterdir()}
        assert found.get(".glb", found[".wav"]) == found[".wav"], allowed
