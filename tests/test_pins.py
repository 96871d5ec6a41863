"""Everything that `make` installs is pinned, with hashes; nothing says where from."""

from __future__ import annotations

import json
import re
import sys
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = ("constraints.txt", "tools/uv.txt", "tools/blender/requirements.txt")


def pins(name: str) -> dict[str, list[str]]:
    """Package → the lines of its hashes."""
    found: dict[str, list[str]] = {}
    package = ""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9-]+)==[\w.+-]+", line):
            package = match[1]
            found.setdefault(package, [])
        elif not line.startswith("#"):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            found[package].append(line)
    return found


@pytest.mark.parametrize("name", PINNED)
def test_every_pin_has_hashes(name):
    assert pins(name)
    assert all(pins(name).values())


@pytest.mark.parametrize("name", [*PINNED, "Makefile"])
def test_nothing_names_a_registry(name):
    assert not re.search("https?://|--extra-index|--find-links", (ROOT / name).read_text(encoding="utf-8"))


def test_no_document_gives_pip_the_hashes_that_it_refuses():
    """pip 26 installs no folder under constraints with hashes: "Can't verify hashes for these file:// requirements"."""
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"(?<!uv )pip install[^`]*-c constraints", line), (path.name, line)


def test_every_dependency_is_pinned():
    if sys.version_info < (3, 11):
        pytest.skip("no tomllib")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    told = project["project"]
    named = [
        *told["dependencies"],
        *chain.from_iterable(told["optional-dependencies"].values()),
        *project["build-system"]["requires"],
    ]
    packages = {re.match("[A-Za-z0-9_.-]+", each)[0].lower().replace("_", "-") for each in named} - {"meshtalk"}  # type: ignore[index]
    assert packages - set(pins("constraints.txt")) == {"torch"}, "PyTorch's version stands in the Makefile"
    assert re.search(r"^TORCH := torch==[\d.]+$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


def test_npm_packages_are_locked():
    lock = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))
    packages = {name: told for name, told in lock["packages"].items() if name and not told.get("link")}
    assert packages
    assert all(told["integrity"].startswith("sha512-") for told in packages.values())
    assert '"ci"' in (ROOT / "hatch_build.py").read_text(encoding="utf-8")
