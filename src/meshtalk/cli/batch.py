"""`meshtalk batch`: many recordings at once."""

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
    """Animate many recordings into a folder. Interruptible and resumable: finished outputs are not made again.

    Exit code 0: all are done; 1: some could not be animated, see the report; 2: nothing was started, or the disk is full.

    Args:
        inputs: recordings, folders of them, patterns such as "talks/**/*.wav", or lists (.txt, one path per line).
        output: output folder; batch.json in it records the outcome of each recording.
        format: output format, as for animate, such as mp4, glb or livelink.csv; obj and ply make one folder per recording.
        workers: number of processes.
        ray: distribute the work with Ray Data: on the cluster of RAY_ADDRESS, or else on local processes.
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
