"""`meshtalk batch`."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional

from meshtalk.cli.options import Flat, FlatLooking, Looking, Output, Performing
from meshtalk.progress import bar

_AS_IT_IS, _AS_USUAL = Performing(), Looking()


def batch(
    inputs: Positional[tuple[str, ...]],
    /,
    output: Output,
    format: str = "npz",
    workers: int = 2,
    ray: Annotated[bool, FlagCreatePairsOff] = False,
    how: Flat = _AS_IT_IS,
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Animate many recordings into a folder. Interrupt and run again to continue: what is there already is kept.

    Exit code 0: all are there; 1: some could not be animated, as the report tells; 2: nothing was begun, or the disk is full.

    Args:
        inputs: recordings, folders of them, patterns such as "talks/**/*.wav", or lists (.txt, a path a line).
        output: folder of the outputs; batch.json in it tells what became of each recording.
        format: suffix of the outputs, as for animate, such as mp4, glb or livelink.csv; obj and ply: a folder each.
        workers: processes.
        ray: share the work through Ray Data: on the cluster named by RAY_ADDRESS, or else on processes here.
    """
    from meshtalk.batch import animate_all

    with bar() as show:
        report = animate_all(
            inputs, output, "." + format.removeprefix("."), model=how.model, device=how.device, seed=how.seed,
            options=how.options(), look=looking.look(), n_workers=workers, ray=ray, progress=show,
        )  # fmt: skip
    print(report)
    print(report.folder)
    if report.failed:
        raise SystemExit(1)
