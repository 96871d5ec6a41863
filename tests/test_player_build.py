"""How the player page gets into the package: built once from its sources, and never in the way of an installation."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hook(monkeypatch):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    found = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path):
    """The sources of the page in a folder of their own, without npm's packages."""
    shutil.copytree(ROOT / "web", tmp_path / "web", ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "src/meshtalk/assets").mkdir(parents=True)
    return tmp_path


class Console:
    """Stands for hatch's application."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


def run(hook, root: Path) -> list[str]:
    console = Console()
    it = hook.PlayerHook(str(root), {}, None, None, str(root), "wheel", console)
    it.initialize("editable", {})
    return console.warnings


def test_a_page_from_these_sources_is_not_built_again(hook, project, monkeypatch):
    monkeypatch.setattr(hook, "build", lambda root: pytest.fail("built again"))
    hook.page_of(project).write_text(f"<!-- {hook.mark_of(project)} -->")
    assert run(hook, project) == []


@pytest.mark.parametrize("name", ["web/src/main.js", "web/src/player.css", "web/build.mjs", "web/package-lock.json"])
def test_a_changed_source_makes_the_page_stale(hook, project, name):
    hook.page_of(project).write_text(f"<!-- {hook.mark_of(project)} -->")
    assert hook.is_fresh(project)
    with open(project / name, "a") as file:
        file.write("\n")
    assert not hook.is_fresh(project)


def test_node_is_asked_from_pip_only_where_it_is_needed(hook, project, monkeypatch):
    def asked() -> list[str]:
        return hook.PlayerHook(str(project), {}, None, None, str(project), "wheel").dependencies()

    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert asked() == [hook.NODE_PACKAGE]
    hook.page_of(project).write_text(f"<!-- {hook.mark_of(project)} -->")
    assert asked() == []
    hook.page_of(project).unlink()
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    for version, wanted in (("v20.1.0", []), ("v12.22.9", [hook.NODE_PACKAGE]), ("?", [hook.NODE_PACKAGE])):
        answer = subprocess.CompletedProcess([], 0, stdout=version)
        monkeypatch.setattr(subprocess, "run", lambda *_, answer=answer, **__: answer)
        assert asked() == wanted


def test_without_npms_packages_all_else_is_installed(hook, project, monkeypatch):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="npm error ECONNREFUSED")

    monkeypatch.setattr(hook, "node_on_path", lambda: ("node", ["npm"]))
    monkeypatch.setattr(subprocess, "run", refuse)
    assert run(hook, project) == [
        "the player page was not built, so meshtalk cannot write .html: npm error ECONNREFUSED"
    ]
    assert not list((project / "src/meshtalk/assets").iterdir())


def test_the_lock_names_no_host_and_pins_everything():
    lock = json.loads((ROOT / "web/package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert {"node_modules/three", "node_modules/esbuild"} <= set(packages)
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert entry["integrity"].startswith("sha512-"), name
    wanted = json.loads((ROOT / "web/package.json").read_text())["devDependencies"]
    assert all(version[0].isdigit() for version in wanted.values())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "web").glob("*.mjs")) + sorted((ROOT / "web/src").iterdir()), ids=lambda p: p.name
)
def test_files_of_the_page_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
