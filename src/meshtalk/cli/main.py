"""The `meshtalk` command: its commands in groups, `--help`, `--version` and exit codes."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, NoReturn, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Suppress, subcommand

from meshtalk.cli import animate, arkit, batch, corpus, edit, export, regions, retarget, train
from meshtalk.cli.options import Output
from meshtalk.errors import InputError, one_line, reason_of, shortened


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
        for name, command in commands.items():
            about = wrap(summary(command), 118 - HELP_COLUMN)
            lines += [f"  {name if i == 0 else '':{HELP_COLUMN - 2}}{line}" for i, line in enumerate(about)]
        lines.append("")
    return "\n".join([*lines, FIRST_STEPS])


def summary(command: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> str:
    """The first sentence of a command's docstring, or the names of a group's subcommands."""
    if not callable(command):
        return f"Subcommands: {', '.join(command)}."
    return (inspect.getdoc(command) or "").partition("\n")[0].partition(". ")[0].rstrip(".") + "."


def grouped(verbs: Mapping[str, Callable[..., Any]]) -> Callable[..., None]:
    """A command whose first argument selects one of `verbs`."""

    def group(verb: Any) -> None:
        pass  # tyro has called the verb that was chosen

    # as tyro does itself, a union of two at least
    choices = [Annotated[Any, subcommand(name, constructor=verb)] for name, verb in verbs.items()]
    union = Union[(*choices, Annotated[None, Suppress])]
    group.__annotations__["verb"] = OmitArgPrefixes[OmitSubcommandPrefixes[union]]
    group.__doc__ = summary(verbs)
    return group


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
        traceback.print_exception(error)
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
    verbs = {name: verb if callable(verb) else grouped(verb) for name, verb in VERBS.items()}
    tyro.extras.subcommand_cli_from_dict(verbs, prog="meshtalk", args=args)


if __name__ == "__main__":
    main()
