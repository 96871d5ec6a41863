"""Hooks of `make docs`: pages that stand outside docs/ join the site, and nothing in it may load from another host.

MkDocs calls `on_files` once with the pages it found, `on_page_markdown` for each, and `on_post_build` when the site is written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""File of the repository → page of the site."""
REPOSITORY = "https://github.com/meshtalk/meshtalk/blob/main/"

_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
_LOADED = re.compile(r"""<(?:script|img|iframe|source|audio|video)\b[^>]*?\bsrc=["']?(?:https?:)?//|"""
                     r"""<link\b[^>]*?\bhref=["']?(?:https?:)?//|@import\s+["']?(?:url\()?["']?(?:https?:)?//|"""
                     r"""url\(["']?(?:https?:)?//""")  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of OUTSIDE, and leave out what is no page of its own: it is part of another."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site, or else to the repository."""
    here = {page: source for source, page in OUTSIDE.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        target = (ROOT / here).parent.joinpath(path).resolve().relative_to(ROOT).as_posix()
        if target in OUTSIDE:
            site = OUTSIDE[target]
        elif target.startswith("docs/"):
            site = target.removeprefix("docs/")
        else:
            return f"]({REPOSITORY}{target}{hash_}{anchor})"
        up = "../" * page.file.src_uri.count("/")
        return f"]({up}{site}{hash_}{anchor})"

    return _LINK.sub(moved, markdown)


def on_post_build(config: Any) -> None:
    """Refuse a page or style that would load something from another host; a link that a reader follows is none.

    Raises:
        PluginError: there is one.
    """
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := _LOADED.search(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path.relative_to(config.site_dir)} loads from another host: {found[0]}")
