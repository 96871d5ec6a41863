"""The command line: `meshtalk animate | stream | evaluate | train | …`, see VERBS. Thin: every verb is a library call."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Suppress, subcommand

from meshtalk.cli import animate, arkit, batch, corpus, edit, export, regions, retarget, train
from meshtalk.cli.options import Output
from meshtalk.errors import InputError


def demo(output: Output = Path("demo")) -> None:
    """Let two people speak two real recordings, one of them with another's emotion; write pictures and measures.

    Args:
        output: folder for the videos, GLB files and the contact sheet.
    """
    from meshtalk.cli.demo import run

    run(output)


VERBS: dict[str, Callable[..., Any] | Mapping[str, Callable[..., Any]]] = {
    "animate": animate.animate,
    "batch": batch.batch,
    "stream": animate.stream,
    "takes": animate.takes,
    "again": animate.again,
    "redub": edit.redub,
    "swap": edit.swap,
    "heads": edit.heads,
    "export": export.export,
    "arkit": arkit.arkit,
    "retarget": retarget.retarget,
    "landmarks": retarget.landmarks,
    "demo": demo,
    "evaluate": train.evaluate,
    "train": train.train,
    "corpus": corpus.VERBS,
    "regions": regions.VERBS,
    "import-official": train.import_official,
}
"""A mapping is a group of verbs: `meshtalk corpus build`."""


def grouped(verbs: Mapping[str, Callable[..., Any]]) -> Callable[..., None]:
    """A verb whose first word chooses one of `verbs`."""

    def group(verb: Any) -> None:
        pass  # tyro has called the verb that was chosen

    # as tyro does itself, a union of two at least
    choices = [Annotated[Any, subcommand(name, constructor=verb)] for name, verb in verbs.items()]
    union = Union[(*choices, Annotated[None, Suppress])]
    group.__annotations__["verb"] = OmitArgPrefixes[OmitSubcommandPrefixes[union]]
    group.__doc__ = f"One of: {', '.join(verbs)}."
    return group


def _warn(message: Warning | str, *_: object) -> None:
    """A warning as one line, without where in the code it arose."""
    print(f"meshtalk: {message}", file=sys.stderr)


def main(args: list[str] | None = None) -> None:
    """Entry point: exit code 0, 1 when a batch failed in parts, 2 with one sentence for bad input, 130 when interrupted.

    141 when whoever read standard output has closed it, as other programs end then in a shell.
    """
    warnings.showwarning = _warn
    try:
        verbs = {name: verb if callable(verb) else grouped(verb) for name, verb in VERBS.items()}
        tyro.extras.subcommand_cli_from_dict(verbs, prog="meshtalk", description=__doc__, args=args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        raise SystemExit(141) from None
    except InputError as error:
        print(f"meshtalk: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("meshtalk: interrupted; what was finished is kept, and the same command continues", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
