"""Data files that ship inside the package."""

from pathlib import Path


def asset(name: str) -> Path:
    """Path of a packaged data file or folder."""
    return Path(__file__).parent / name
