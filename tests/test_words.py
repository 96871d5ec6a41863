"""The language of the package: the field's terms, a docstring everywhere, and examples that run."""

from __future__ import annotations

import ast
import doctest
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
import rig
import soundfile

from meshtalk.cli.main import VERBS
from meshtalk.clip import Clip
from meshtalk.corpus.store import Corpus
from meshtalk.inference.animator import Animator

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/meshtalk"
FILES = sorted(SOURCE.rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

SAY = MappingProxyType({
    r"\bnever hea(r|rs|rd)\b|\bhears\b|\bwhat is heard\b": "held-out or unseen speakers; a network has inputs",
    r"\bears of (eq|the)\b|\bboth ears of\b": "audio encoder",
    r"\bbec[ao]mes? certain\b|\bstill owed\b": "final frames; remaining frames",
    r"\bunder way\b": "inference session; in flight",
    r"\bbroken off\b|\bgone on with\b|\bgo on with an interrupted\b": "interruptible and resumable; resume",
    r"\bthere and back\b|\bto and fro\b|\bruns? forth and back\b": "ping-pong",
    r"\bdea(l|ls|lt) [\w ]*anew\b|\bdealt\b": "re-split by group",
    r"\bimagin(e|es|ing)\b": "sampled (expression)",
    r"\btells? (of itself|of how|how it was made)\b": "records its settings",
    r"\bwhat became of\b": "outcome",
    r"\blikeliest\b": "most likely",
    r"\bnonsense\b": "invalid",
    r"\bwhoever\b": "the reader, the caller, …",
    r"\bhanded (out|over|to)\b|\bhands (out|over)\b": "lent, passed",
    r"\bframes a second\b": "frames per second",
})  # fmt: skip
"""Expression that is not the field's → what to say instead."""

ERRORS = MappingProxyType({
    r"\bcame[;,:.]|\bcame (for|twice|without|with) ": "X must be …, got …",
    r"; .* (is|are) (needed|allowed)$": "X must be …, got …",
    r" : [a-z]": "two sentences: what must be and what was got. What to try.",
    r"\bmake room\b": "free some space",
})  # fmt: skip
"""The same in messages."""

PUBLIC = ("mesh", "audio", "clip", "corpus", "measures", "inference", "cli")
"""Packages whose public functions and classes all have docstrings."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string and comment of a file."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings of `InputError(…)` calls; values that are filled in are "…"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError" and node.args:
            yield node.lineno, "".join(filled(node.args[0]))


def filled(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            for value in values:
                yield from filled(value)
        case ast.BinOp(left=left, right=right):
            yield from filled(left)
            yield from filled(right)
        case ast.IfExp(body=body):
            yield from filled(body)
        case _:
            yield "…"


def faults(texts: Iterator[tuple[int, str]], say: MappingProxyType[str, str], where: Path) -> list[str]:
    return [
        f"{where.relative_to(ROOT)}:{line}: {found[0]!r}, say: {better}"
        for line, text in texts
        for pattern, better in say.items()
        if (found := re.search(pattern, text, re.IGNORECASE))
    ]


def test_the_source_uses_the_terms_of_the_field():
    assert not [fault for path in FILES for fault in faults(prose(path), SAY, path)]


def test_the_documents_use_the_terms_of_the_field():
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in DOCUMENTS}
    assert not [fault for path, text in lines.items() for fault in faults(iter(enumerate(text, 1)), SAY, path)]


def test_errors_say_what_must_be_and_what_was_got():
    assert not [fault for path in FILES for fault in faults(messages(path), ERRORS, path)]
    spoken = [text for path in FILES for _, text in messages(path)]
    assert len(spoken) > 300  # the search finds them


def test_the_search_finds_what_it_forbids():
    for text in ("frames that became certain", "a performance under way", "played there and back", "what it imagines"):
        assert faults(iter([(1, text)]), SAY, ROOT / "x"), text
    for text in ("temperature -1 came; a positive number is needed", "it is a folder : give a file name"):
        assert faults(iter([(1, text)]), ERRORS, ROOT / "x"), text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_in_one_line_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert docstring.partition("\n")[0].endswith("."), docstring


@pytest.mark.parametrize("package", PUBLIC)
def test_public_functions_and_classes_have_docstrings(package):
    missing = []
    for path in FILES:
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") == package:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    missing += [f"{path.name}: {node.name}"] if ast.get_docstring(node) is None else []
    assert not missing


def test_every_command_says_what_it_does():
    for name, command in VERBS.items():
        for about in [command] if callable(command) else command.values():
            first = (about.__doc__ or "").partition("\n")[0]
            assert first.endswith("."), name


@pytest.mark.parametrize("owner", [Clip, Animator, Corpus], ids=lambda owner: owner.__name__)
def test_examples_run(owner, tmp_path, monkeypatch, tiny_model, rig_corpus):
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to(tiny_model, target_is_directory=True)
    Path("corpus").symlink_to(rig_corpus.root, target_is_directory=True)
    clip = rig.make_clip(0)
    clip.save("clip.npz")
    soundfile.write("speech.wav", clip.audio, clip.sample_rate)
    (example,) = doctest.DocTestFinder(recurse=False).find(owner, owner.__name__, globs={})
    assert len(example.examples) >= 3
    report = io.StringIO()
    doctest.DocTestRunner().run(example, out=report.write)
    assert not report.getvalue()
