"""The house's rules, read from the source: floors, who imports whom, how long a file or a function may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/meshtalk"

FLOORS = (
    ("errors", "jit", "assets"),
    ("config", "files", "outcomes", "parallel", "progress"),
    ("mesh", "audio"),
    ("clip", "model", "render", "report_page"),
    ("resample", "corpus", "measures", "arkit", "retarget", "official"),
    ("training", "synth", "convert", "regions", "export"),
    ("inference", "check"),
    ("evaluation", "stream", "batch"),
    ("cli",),
    ("__main__",),
)
"""Rooms (a package, or a module beside the packages) from the ground up; each imports from its own floor and those below."""

MOST_FLOORS, MOST_LOOSE_MODULES = 10, 12
MOST_LINES, MOST_FUNCTION_LINES = 600, 80
FEWEST_LINES = 40
"""A shorter module that one other alone imports belongs into that one."""

EXCEPTIONS: frozenset[str] = frozenset()
"""Violations that are known: this list may only shrink."""


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def our_imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it, those for type checkers included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name.removeprefix("meshtalk.") in MODULES else node.module for name in names}
    return {name.removeprefix("meshtalk.") for name in found if name.startswith("meshtalk.")}


IMPORTS = {
    name: our_imports(path) for name, path in MODULES.items() if name
}  # the root gives public names when they are asked for


def room_imports() -> dict[str, set[str]]:
    """Room → the other rooms that it imports from."""
    rooms: dict[str, set[str]] = {}
    for name, imports in IMPORTS.items():
        room = name.split(".")[0]
        rooms.setdefault(room, set()).update({imported.split(".")[0] for imported in imports} - {room})
    return rooms


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function of a file; those that numba compiles are left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            compiled = any("compiled" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not compiled:
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_every_room_has_a_floor():
    assert {name.split(".")[0] for name in IMPORTS} == set(FLOOR_OF)
    assert len(FLOORS) <= MOST_FLOORS
    assert (
        len([name for name in IMPORTS if "." not in name and MODULES[name].name != "__init__.py"]) <= MOST_LOOSE_MODULES
    )


@pytest.mark.parametrize("name", IMPORTS)
def test_a_module_imports_from_its_floor_or_below(name):
    floor = FLOOR_OF[name.split(".")[0]]
    above = {imported for imported in IMPORTS[name] if FLOOR_OF[imported.split(".")[0]] > floor}
    assert not above - EXCEPTIONS, f"{name} imports {sorted(above)}"


def test_no_import_goes_round_in_a_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other: {' <- '.join(error.args[1])}")


def test_no_two_rooms_import_each_other():
    try:
        TopologicalSorter(room_imports()).prepare()
    except CycleError as error:
        pytest.fail(f"these rooms import each other: {' <- '.join(error.args[1])}")


def test_metrics_are_pure():
    assert IMPORTS["measures.metrics"] == set()


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    long = {name: lines for name, lines in functions(path) if lines > MOST_FUNCTION_LINES}
    assert not set(long) - EXCEPTIONS, long


def test_no_module_is_an_annex_of_another():
    importers: dict[str, set[str]] = {}
    for name, imports in IMPORTS.items():
        for imported in imports:
            importers.setdefault(imported, set()).add(name)
    for name, path in MODULES.items():
        if name and path.name not in ("__init__.py", "__main__.py") and len(importers.get(name, ())) == 1:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines >= FEWEST_LINES or name in EXCEPTIONS, (
                f"{name} has {lines} lines and serves {importers[name]} alone"
            )


def test_no_pickle_and_no_fixed_device():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "allow_pickle=True", "weights_only=False", ".cuda()"):
            assert word not in text, f"{path.name} holds {word!r}"
        # the reader of other people's pickles, which runs nothing in them
        assert "from pickle" not in text or module_name(path) == "convert.pickles", path.name
