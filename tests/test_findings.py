"""The form of the scripts in findings/: they are run by hand, because they install packages of others."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

FINDINGS = Path(__file__).parent.parent / "findings"
SCRIPTS = sorted(FINDINGS.glob("*.sh"))
TEXTS = [pytest.param(path.read_text(encoding="utf-8"), id=path.stem) for path in SCRIPTS]


def test_every_script_is_listed_once_and_nothing_else():
    listed = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.sh\)", (FINDINGS / "README.md").read_text(encoding="utf-8"), re.M)
    assert all(name == file for name, file in listed)
    assert sorted(name for name, _ in listed) == [path.stem for path in SCRIPTS]
    assert len(SCRIPTS) >= 10


def test_files_that_the_readme_names_exist():
    named = re.findall(r"`((?:src|tests|tools)/[\w/.]+)`", (FINDINGS / "README.md").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (FINDINGS.parent / name).is_file()] == []


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SCRIPTS])
def test_script_is_executable(path):
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("text", TEXTS)
def test_script_says_what_is_expected_what_happens_and_why_it_matters(text):
    shebang, *lines = text.splitlines()
    comments = lines[: next(k for k, line in enumerate(lines) if not line.startswith("# "))]
    assert shebang == "#!/usr/bin/env bash"
    assert 3 <= len(comments) <= 6
    said = "\n".join(comments)
    assert said.index("# One expects: ") < said.index("# What happens: ") < said.index("# Why it matters: ")
    assert len(text.splitlines()) < 80


@pytest.mark.parametrize("text", TEXTS)
def test_script_works_in_a_folder_of_its_own_and_removes_it(text):
    assert 'set -euo pipefail\nfolder=$(mktemp -d)\ntrap \'rm -rf "$folder"\' EXIT\ncd "$folder"\n' in text
    assert "/tmp" not in text
    assert "/home" not in text


@pytest.mark.parametrize("text", TEXTS)
def test_script_pins_all_that_it_installs(text):
    packages = [
        package
        for line in re.findall(r"^(?:venv/bin/pip|npm) install (.+)$", text, re.M)
        for package in line.split()
        if not package.startswith("--")
    ]
    assert packages
    pinned = re.compile(r"[\w.-]+==\d[\w.]*|@?[\w./-]+@\d+\.\d+\.\d+[\w.-]*")
    assert [package for package in packages if not pinned.fullmatch(package)] == []
    assert "://" not in text


@pytest.mark.parametrize("text", TEXTS)
def test_script_fails_if_the_behaviour_changes_and_does_without_us(text):
    assert "the behaviour has changed" in text
    assert "meshtalk" not in text.lower()
