"""The `meshtalk` command: its commands in groups, `--help`, `--version` and exit codes."""

from __future__ import annotations

import inspect
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from functools import partial, wraps
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, NoReturn, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Suppress, subcommand

from meshtalk.cli import animate, arkit, batch, corpus, edit, export, regions, retarget, train
from meshtalk.cli.options import Output
from meshtalk.errors import HarmlessStream, InputError, harmless, one_line, reason_of, shortened


def demo(output: Output = Path("demo")) -> None:
    """Animate packaged recordings on several people and expressions; write videos, GLB files and measures.

    Args:
        output: folder for the videos, GLB files and the contact sheet.
    """
    from meshtalk.cli.demo import run

    run(output)


Commands = Mapping[str, Callable[..., Any] | Mapping[str, Callable[..., Any]]]

GROUPS: Mapping[str, Commands] = {
    "Perform": {
        "animate": animate.animate,
        "stream": animate.stream,
        "batch": batch.batch,
        "takes": animate.takes,
        "again": animate.again,
        "demo": demo,
    },
    "Edit": {
        "redub": edit.redub,
        "swap": edit.swap,
        "heads": edit.heads,
        "export": export.export,
        "arkit": arkit.arkit,
    },
    "Meshes": {"retarget": retarget.retarget, "landmarks": retarget.landmarks, "regions": regions.VERBS},
    "Data": {"corpus": corpus.VERBS},
    "Training": {"train": train.train, "evaluate": train.evaluate, "import-official": train.import_official},
}
"""Commands in the order and groups of `--help`; a mapping is a group of subcommands: `meshtalk corpus build`."""

VERBS: Commands = {name: command for group in GROUPS.values() for name, command in group.items()}
PURPOSES = {
    "regions": "Define and draw the regions of a mesh (mouth, lips, eyelids, upper face)",
    "corpus": "Build, convert, check and rearrange training data",
}
"""What each group of subcommands is for."""

ABOUT = """\
usage: meshtalk [-h] [--version] COMMAND ...

Speech-driven animation of 3D faces: a voice recording or a live stream in, an animated mesh, video, blendshape weights
or a scene file out; with tools to edit, retarget, build corpora, train and evaluate.
"""
FIRST_STEPS = """\
Examples:
  meshtalk animate speech.wav -o out.mp4
  meshtalk animate speech.wav -o out.glb --template face.obj
  meshtalk evaluate - CORPUS

meshtalk COMMAND --help describes a command and its options; with --debug any of them shows the traceback of an error.
Exit codes: 0 done, 1 done in parts, 2 bad input.
"""
HELP_COLUMN = 18
LONGEST_SENTENCE = 2000
"""Characters of an error, whatever a file's names and texts bring into it."""
DEBUG = "--debug"
"""Anywhere among the arguments: show the traceback of an error."""


def help_text() -> str:
    """What `meshtalk --help` prints: the program, then the first sentence about every command under its group."""
    lines = [ABOUT]
    for title, commands in GROUPS.items():
        lines.append(f"{title}:")
        for name in commands:
            about = wrap(summary(name), 118 - HELP_COLUMN)
            lines += [f"  {name if i == 0 else '':{HELP_COLUMN - 2}}{line}" for i, line in enumerate(about)]
        lines.append("")
    return "\n".join([*lines, FIRST_STEPS])


def summary(name: str) -> str:
    """The first sentence about a command; for a group, what it is for and its subcommands."""
    command = VERBS[name]
    if not callable(command):
        return f"{PURPOSES[name]}: {', '.join(command)}."
    return (inspect.getdoc(command) or "").partition("\n")[0].partition(". ")[0].rstrip(".") + "."


def grouped(name: str, verbs: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """A command whose first argument selects one of `verbs`; it returns what that verb returns."""

    def group(verb: Any) -> Any:
        return verb  # the chosen one, which tyro has called

    # as tyro does itself, a union of two at least
    choices = [Annotated[Any, subcommand(verb, constructor=postponed(run))] for verb, run in verbs.items()]
    union = Union[(*choices, Annotated[None, Suppress])]
    group.__annotations__["verb"] = OmitArgPrefixes[OmitSubcommandPrefixes[union]]
    group.__doc__ = summary(name)
    return group


def postponed(verb: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function with the parameters of `verb` that returns the call instead of making it."""

    @wraps(verb)
    def call(*args: Any, **options: Any) -> Callable[[], Any]:
        return partial(verb, *args, **options)

    return call


def _warn(message: Warning | str, *_: object) -> None:
    """Print a warning as one line, without its source location."""
    print(f"meshtalk: {one_line(str(message))}", file=sys.stderr)


def _sentence(error: Exception, args: list[str]) -> str:
    """One line about an exception that nobody expected, with the name of its file or of those that the command was given."""
    path = getattr(error, "filename", None)
    if isinstance(error, OSError) and isinstance(path, str | bytes):
        named = os.fsdecode(path)
        advice = "Choose another file, or free what it needs."
    else:
        named = ", ".join(arg for arg in args if os.path.exists(arg)) or " ".join(args)
        advice = "If the input is sound this is a defect: run it with --debug and report what that prints."
    return f"{named}: {reason_of(error)}. {advice}"


def _refuse(error: Exception, args: list[str], debug: bool) -> NoReturn:
    """End with exit code 2 and one line; `debug` shows the traceback before it."""
    if debug:
        print(harmless("".join(traceback.format_exception(error)), "\n"), end="", file=sys.stderr)
    said = str(error) if isinstance(error, InputError) else _sentence(error, args)
    print(f"meshtalk: {shortened(one_line(said), LONGEST_SENTENCE)}", file=sys.stderr)
    raise SystemExit(2) from None


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0; 1 when a batch failed in parts; 2 with one line on standard error for bad input and for whatever else was
    raised, whose traceback `--debug` shows; 130 when interrupted; 141 when the reader of standard output closed it, as a
    shell reports a program that SIGPIPE ended.
    """
    warnings.showwarning = _warn
    given = sys.argv[1:] if args is None else args
    debug, given = DEBUG in given, [arg for arg in given if arg != DEBUG]
    try:
        if given[:1] in (["-h"], ["--help"]):
            print(help_text(), end="", flush=True)
            raise SystemExit(0)
        elif given[:1] == ["--version"]:
            from importlib.metadata import version

            print(f"meshtalk {version('meshtalk')}")
        else:
            _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        raise SystemExit(141) from None
    except Exception as error:  # the boundary: a user's files are damaged in more ways than we know
        _refuse(error, given, debug)
    except KeyboardInterrupt:
        print("meshtalk: interrupted. Finished work is saved; run the same command again to resume.", file=sys.stderr)
        raise SystemExit(130) from None


def _run(args: list[str]) -> None:
    if not args:
        raise InputError("a command is required. Try meshtalk --help.")
    if args[0] not in VERBS:
        near = get_close_matches(args[0], VERBS, 1)
        advice = f"Did you mean {near[0]}?" if near else "Try meshtalk --help."
        raise InputError(f"unknown command {args[0]!r}. {advice}")
    verbs = {name: postponed(verb) if callable(verb) else grouped(name, verb) for name, verb in VERBS.items()}
    said = io.StringIO()
    try:
        with redirect_stderr(said):  # of the parser alone: the verb runs afterwards
            run = tyro.extras.subcommand_cli_from_dict(verbs, prog="meshtalk", args=args)
    except SystemExit as end:
        if not end.code:
            raise
        raise InputError(_one_sentence(said.getvalue(), args)) from None
    with ExitStack() as streams:  # a program without a terminal may have none
        if sys.stdout is not None:
            streams.enter_context(redirect_stdout(HarmlessStream(sys.stdout)))  # type: ignore[type-var]
        if sys.stderr is not None:
            streams.enter_context(redirect_stderr(HarmlessStream(sys.stderr)))  # type: ignore[type-var]
        run()


def _one_sentence(box: str, args: list[str]) -> str:
    """The parser's message out of its box of several lines, with the help page of the command that was given.

    The box has a title, the message and, after a rule, advice; without UTF-8 a rule stands below the title and no border.
    Names are indented by less than ten columns, what is said about them by ten.
    """
    lines = [re.sub("^│|│ *$", " ", line) for line in box.splitlines()[1:]]
    rules = [k for k, line in enumerate(lines) if not line.strip(" ─-")]
    first = 1 if rules[:1] == [0] else 0
    last = next((k for k in rules if k >= first), len(lines))
    message = " ".join(line.strip() for line in lines[first:last] if not line.startswith(" " * 10)).rstrip(".")
    group = VERBS[args[0]]
    command = args[:2] if not callable(group) and args[1:2] and args[1] in group else args[:1]
    return f"{message}. Try meshtalk {' '.join(command)} --help."


if __name__ == "__main__":
    main()
