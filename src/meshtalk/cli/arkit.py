"""`meshtalk arkit`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import Output
from meshtalk.errors import InputError

SUFFIXES = (".csv", ".json")


def arkit(
    clip: Positional[Path],
    /,
    output: Output = Path("weights.csv"),
    rig: Path | None = None,
    smoothing: float | None = None,
) -> None:
    """Turn a clip into weights of ARKit's 52 blendshapes, and tell how well they fit.

    Args:
        clip: clip (.npz). If it is made of blendshapes with ARKit's names, and no rig comes, its own weights are written.
        output: what to write: .csv (frame, time, ARKit's names), .livelink.csv (as the app Live Link Face records), or .json.
        rig: shapes to solve for, on the clip's mesh: .glb or .vrm with named morph targets, topology (.npz), or a folder with
            neutral.obj and a mesh named after each shape. Default: the shapes of the clip's own topology.
        smoothing: how much frames are tied to their neighbours (default 0.005; 0: not at all, 0.05 for noisy scans).
    """
    from meshtalk.arkit.rig import load_rig
    from meshtalk.arkit.solve import SMOOTHING, Solver, measure, weights_of
    from meshtalk.clip import Clip
    from meshtalk.export.blendshapes import write_weights
    from meshtalk.files import check_writable

    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write weights to {output} : use {' or '.join(SUFFIXES)}")
    check_writable(output)
    loaded = Clip.load(clip)
    shapes = load_rig(rig, loaded) if rig is not None else None
    amount = SMOOTHING if smoothing is None else smoothing
    weights = weights_of(loaded, shapes, smoothing=amount)
    write_weights(loaded, output, weights)
    print("weights: " + ("solved for" if weights.solved else "the clip's own, cut to 0 to 1"))
    on = shapes or loaded.topology
    if weights.names == on.shape_names:
        print(measure(loaded, Solver(on, amount), weights.values, weights.frames))
    print(output)
