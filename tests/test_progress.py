"""Progress of long work: what is told, and what a terminal and a file show of it."""

from __future__ import annotations

import sys

import pytest

from meshtalk import progress
from meshtalk.progress import Progress, bar, followed


def test_what_is_followed_comes_through_and_is_told_when_it_is_done():
    told, dropped = [], []
    for item in followed("abc", 3, "clips", told.append, "aligned", lambda: f"{len(dropped)} dropped"):
        assert len(told) == "abc".index(item)
        dropped.append(item)
    assert told == [Progress(n, 3, "clips", "aligned", f"{n} dropped") for n in (1, 2, 3)]
    assert list(followed("abc", 3, "clips", None)) == ["a", "b", "c"]


def test_a_file_gets_a_line_at_the_end_of_each_thing(capsys):
    with bar() as show:
        for doing in ("aligned", "performed"):
            for _ in followed(range(50), 50, "clips", show, doing, lambda: "2 dropped"):
                pass
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("aligned 50/50 clips, 2 dropped [")
    assert second.startswith("performed 50/50 clips, 2 dropped [")


def test_a_file_gets_lines_on_the_way(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    with bar() as show:
        for _ in followed(range(3), 3, "clips", show):
            pass
    assert [line.split(" [")[0] for line in capsys.readouterr().err.splitlines()][:3] == [
        "1/3 clips",
        "2/3 clips",
        "3/3 clips",
    ]


def test_a_terminal_has_one_line_which_ends_whatever_happens(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "81")
    monkeypatch.setenv("LINES", "40")

    def interrupted() -> None:
        with bar() as show:
            show(Progress(1, 4, "min", note="9 clips"))
            show(Progress(2, 4, "min", note="19 clips"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    seen = capsys.readouterr().err
    assert seen.count("\n") == 1
    assert seen.endswith("\n")
    last = seen.split("\r")[-1]
    assert last.startswith(" 50% |")
    assert "| 2/4 min, 19 clips [" in last
    assert len(last.rstrip()) <= 80


def test_work_that_never_begins_shows_nothing(capsys):
    with bar():
        pass
    assert capsys.readouterr().err == ""
