"""The house's rules, read from the source: who imports whom, how long a file may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/meshtalk"
FILES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def our_imports(path: Path) -> set[str]:
    """Names below `meshtalk.` that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "meshtalk":
                found |= {f"meshtalk.{alias.name}" for alias in node.names}
    return {name.removeprefix("meshtalk.") for name in found if name.startswith("meshtalk.")}


IMPORTS = {module_name(path): our_imports(path) for path in FILES}

RULES = {
    # `retarget.surface` is a mesh as geometry, which everybody needs
    "model": ("config", "errors", "model", "compiled", "retarget"),
    "losses": (),
    "evaluation": ("clip", "topology", "errors", "files", "evaluation", "audio"),
    # a rig's units are found as a data set's are
    "arkit": ("clip", "topology", "errors", "template", "compiled", "arkit", "convert"),
    # weights are text made of a clip, and the solve that finds them knows no more than a clip; a contact sheet is a picture of one
    "export": ("clip", "topology", "errors", "files", "export", "render", "arkit", "contact_sheet", "retarget"),
    "render": ("clip", "topology", "errors", "files", "render", "compiled", "retarget"),
}
"""Package or module → the only roots of ours that it may import."""


@pytest.mark.parametrize("package", RULES)
def test_a_room_sees_only_what_it_may(package):
    for name, imports in IMPORTS.items():
        if name == package or name.startswith(package + "."):
            roots = {imported.split(".")[0] for imported in imports}
            assert roots <= set(RULES[package]), f"{name} imports {sorted(roots - set(RULES[package]))}"


def test_metrics_are_pure():
    assert IMPORTS["evaluation.metrics"] == set()


def test_nothing_imports_the_command_line():
    assert [name for name, imports in IMPORTS.items() if "cli" in imports] == ["__main__"]


def test_training_and_corpus_do_not_know_inference():
    for name, imports in IMPORTS.items():
        if name.startswith(("training", "corpus", "convert", "model")):
            assert not imports & {"animate", "demo", "assess", "export", "evaluation"}, name


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_pickle_and_no_fixed_device():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "allow_pickle=True", "weights_only=False", ".cuda()"):
            assert word not in text, f"{path.name} holds {word!r}"
        # the reader of other people's pickles, which runs nothing in them
        assert "from pickle" not in text or module_name(path) == "convert.pickles", path.name
