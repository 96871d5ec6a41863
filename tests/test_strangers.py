"""What a stranger's names and folders may bring: orders to a terminal, links to other files, markup in pages."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import rig
import soundfile
from test_cli import refused, run

from meshtalk.cli.main import main
from meshtalk.corpus.merge import merge
from meshtalk.corpus.store import Corpus
from meshtalk.errors import HarmlessStream, InputError, harmless
from meshtalk.report_page import POLICY, page_text

CLIP = rig.make_clip(5, 0.4)
ORDER = "\x1b[31mred\x1b]0;title\x07"
SHOWN = r"\x1b[31mred\x1b]0;title\x07"

# --- terminals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    CLIP.save(f"take{ORDER}.npz")
    return tmp_path


def obeyed(text: str) -> set[str]:
    """Characters that a terminal would obey, but for new lines, tabs and the bar's return to the beginning of its line."""
    return {c for c in re.sub(r"(^|\n)\r|[\n\t]", "", text) if not c.isprintable()}


@pytest.mark.parametrize("args", [
    ("export", f"take{ORDER}.npz", "-o", f"out{ORDER}.npy"), ("export", f"none{ORDER}.npz", "-o", "a.npy"),
    ("export", f"take{ORDER}.npz", "-o", f"out.{ORDER}"), ("corpus", "info", f"corpus{ORDER}"), ("corpus", "info", ORDER),
    ("corpus", "split", f"corpus{ORDER}", "--seed", "1"), ("regions", "show", f"corpus{ORDER}", "-o", f"a{ORDER}.png"),
    ("batch", "talks", "-o", f"faces{ORDER}", "--format", "npz", "--workers", "1", "--model", "model"), (f"verb{ORDER}",),
])  # fmt: skip
def test_names_give_a_terminal_no_orders(capsys, here, args):
    from meshtalk.model.checkpoint import save_checkpoint

    if args[0] == "batch":
        (here / "talks").mkdir()
        (here / f"talks/a{ORDER}.wav").write_bytes(b"no sound")
        soundfile.write(here / f"talks/b{ORDER}.wav", CLIP.audio, 16000)
        save_checkpoint("model", rig.random_checkpoint())
    if "corpus" in "".join(args):
        rig.build(here / f"corpus{ORDER}", seconds=0.4)
    with suppress(SystemExit):  # most are refused
        main(list(args))
    said = capsys.readouterr()
    assert not obeyed(said.out + said.err)
    assert SHOWN in said.out + said.err or args[0] == "corpus"


def test_debug_gives_none_either(capsys, here):
    with pytest.raises(SystemExit):
        main(["export", f"none{ORDER}.npz", "-o", "a.npy", "--debug"])
    assert not obeyed(capsys.readouterr().err)


@pytest.mark.parametrize("text", [ORDER, "a\rb", "\u202egnp.exe", "\udce9", "\x9b2J", "\x08\x08", "\x00"])
def test_whatever_is_written_is_harmless(text):
    held = io.StringIO()
    stream = HarmlessStream(held)
    print(text, file=stream)
    assert held.getvalue() == harmless(text) + "\n"
    assert not obeyed(held.getvalue())
    held.getvalue().encode("utf-8")
    assert stream.getvalue() == held.getvalue()  # all else is the stream's own


def test_text_of_all_languages_stays(capsys):
    held = io.StringIO()
    print("Zoë 李 🙂\tx\ny", file=HarmlessStream(held))
    held.write("")
    HarmlessStream(held).write("\r50 %")
    assert held.getvalue() == "Zoë 李 🙂\tx\ny\n\r50 %"


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
def test_a_name_that_is_no_text_can_be_printed(here):
    (here / f"take{ORDER}.npz").rename(os.fsdecode(b"take\xe9.npz"))
    command = [sys.executable, "-m", "meshtalk", "export", b"take\xe9.npz", "-o", b"out\xe9.npy"]
    done = subprocess.run(command, capture_output=True, cwd=here, check=False, env=os.environ | {"PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout) == (0, rb"out\udce9.npy" + b"\n")


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(tmp_path) -> Path:
    rig.build(tmp_path / "stranger", seconds=0.4)
    return tmp_path / "stranger"


PLACES = (
    "manifest.json",
    "topology.npz",
    "subjects",
    "subjects/s3.npy",
    "clips",
    "clips/@",
    "clips/@/weights.npy",
    "clips/@/audio.flac",
)


def at(root: Path, place: str) -> Path:
    return root / place.replace("@", sorted(path.name for path in (root / "clips").iterdir())[0])


def read(root: Path) -> None:
    """All that is read of a corpus."""
    corpus = Corpus.open(root)
    for info in corpus.clips:
        corpus.load(info)
    for subject in corpus.subjects:
        corpus.template(subject)


@pytest.mark.parametrize("place", PLACES)
def test_links_out_of_a_corpus_are_refused(capsys, tmp_path, stranger, place):
    path = at(stranger, place)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"leads out of the corpus\. Put"):
        read(stranger)
    assert "leads out of the corpus" in refused(capsys, tmp_path, "corpus", "info", stranger, "--verify")


def test_links_within_a_corpus_and_to_it_are_followed(tmp_path, stranger):
    path = at(stranger, "clips/@/audio.flac")
    path.rename(stranger / "sound.flac")
    path.symlink_to(stranger / "sound.flac")
    (tmp_path / "corpus").symlink_to(stranger)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.load(corpus.clips[0]).validate().n_frames == 12


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have names")
@pytest.mark.parametrize(
    "place", ["manifest.json", "topology.npz", "subjects/s3.npy", "clips/@/weights.npy", "clips/@/phones.json"]
)
def test_pipes_are_not_waited_for(stranger, place):
    path = at(stranger, place)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        read(stranger)


@pytest.mark.parametrize("name", ["../../../secret", "/etc/passwd", "a\\b", "", ".hidden"])
def test_a_manifest_names_files_of_its_clips_alone(tmp_path, stranger, name):
    manifest = json.loads((stranger / "manifest.json").read_text())
    manifest["clips"][0]["files"][name] = "0" * 64
    (stranger / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"a file of clip .* must consist of letters"):
        Corpus.open(stranger)
    with pytest.raises(InputError):
        merge([stranger, stranger], tmp_path / "merged")


# --- pages -------------------------------------------------------------------------------------------------------


def policy_of(page: str) -> dict[str, list[str]]:
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert found is not None
    assert page.index(found[0]) < page.index("<title>")  # it counts for what follows
    return {name: values for name, *values in (part.split() for part in found[1].split(";"))}


def test_a_page_runs_and_loads_nothing():
    policy = policy_of(page_text("<script>alert(1)</script>", ["<p>x</p>"]))
    assert policy == {
        "default-src": ["'none'"], "img-src": ["data:"], "style-src": ["'unsafe-inline'"], "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }  # fmt: skip


def test_the_page_of_a_check_has_the_policy(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    rig.build(tmp_path / "corpus", seconds=0.4)
    run(capsys, "corpus", "check", "corpus", "--workers", "1", "--html", "check.html")
    page = Path("check.html").read_text(encoding="utf-8")
    assert POLICY in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_a_clip_of_such_names_is_a_clip(here, capsys):
    replace(CLIP, subject=ORDER, sentence=ORDER).save("named.npz")
    run(capsys, "export", "named.npz", "-o", "a.npy")
