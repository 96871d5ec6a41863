"""The command line: `meshtalk animate | stream | evaluate | train | …`, see VERBS. Thin: every verb is a library call."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, Suppress, subcommand

from meshtalk.errors import InputError
from meshtalk.verbs import arkit as arkit_weights
from meshtalk.verbs import batch as many
from meshtalk.verbs import corpus as corpora
from meshtalk.verbs import editing, exporting, performing, retargeting, training
from meshtalk.verbs import regions as face_regions
from meshtalk.verbs.options import Output


def evaluate(
    model: Positional[Path],
    corpus: Positional[Path],
    /,
    split: str = "test",
    baseline: Path | None = None,
    real: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    samples: int = 1,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    ray: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Measure a model on a corpus: one table, with the truth and simple baselines beside it.

    Args:
        model: model folder, or "-" for the packaged one.
        corpus: corpus folder.
        split: train, val or test.
        baseline: regressor folder of a training run, to stand beside the model.
        real: folder of real recordings with transcripts.tsv, to be measured against forced alignment too.
        json: write all numbers to this file.
        html: write a page to this file: the table, curves and pictures of clips, use of codes; it needs no other file.
        samples: animations per clip; 2 or more add the measures of samplers.
        limit: measure only so many clips, spread over the split.
        seed: of the sampling.
        workers: processes; the numbers do not depend on it.
        ray: share the clips through Ray Data: on the cluster named by RAY_ADDRESS, or else on processes here.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.evaluation.run import evaluate_model

    evaluate_model(
        None if str(model) == "-" else model, Corpus.open(corpus), split=split, baseline=baseline,
        real=real, json=json, html=html, samples=samples, limit=limit, seed=seed, n_workers=workers, ray=ray,
    )  # fmt: skip


def import_official(folder: Positional[Path], /, output: Output, template: Path, topology: Path | None = None) -> None:
    """Make a model folder of the official MeshTalk weights, which you downloaded: encoder.pkl, vertex_unet.pkl, context_model.pkl.

    Args:
        folder: the three files' folder. Nothing in them is run.
        output: model folder to make, for --model.
        template: neutral mesh with the weights' vertices in their order, in millimetres or metres (.obj, .ply, .glb, .npy, .npz).
        topology: triangles and regions (.npz of Topology.save). Default: the template's triangles and no regions, which only
            evaluate asks for.
    """
    from meshtalk.official.importer import import_official as run

    print(run(folder, output, template=template, topology=topology))


def demo(output: Output = Path("demo")) -> None:
    """Let two people speak two real recordings, one of them with another's emotion; write pictures and measures.

    Args:
        output: folder for the videos, GLB files and the contact sheet.
    """
    from meshtalk.demo import run

    run(output)


VERBS: dict[str, Callable[..., Any] | Mapping[str, Callable[..., Any]]] = {
    "animate": performing.animate,
    "batch": many.batch,
    "stream": performing.stream,
    "takes": performing.takes,
    "again": performing.again,
    "redub": editing.redub,
    "swap": editing.swap,
    "heads": editing.heads,
    "export": exporting.export,
    "arkit": arkit_weights.arkit,
    "retarget": retargeting.retarget,
    "landmarks": retargeting.landmarks,
    "demo": demo,
    "evaluate": evaluate,
    "train": training.train,
    "corpus": corpora.VERBS,
    "regions": face_regions.VERBS,
    "import-official": import_official,
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


def main(args: list[str] | None = None) -> None:
    """Entry point: exit code 0, 1 when a batch failed in parts, 2 with one sentence for bad input, 130 when interrupted.

    141 when whoever read standard output has closed it, as other programs end then in a shell.
    """
    warnings.showwarning = lambda message, *_: print(f"meshtalk: {message}", file=sys.stderr)
    try:
        verbs = {name: grouped(verb) if isinstance(verb, Mapping) else verb for name, verb in VERBS.items()}
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
