"""`meshtalk arkit`: ARKit blendshape weights of a clip."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import OptionalNumber, OptionalPath, Output
from meshtalk.errors import InputError

SUFFIXES = (".csv", ".json")


def arkit(
    clip: Positional[Path],
    /,
    output: Output = Path("weights.csv"),
    rig: OptionalPath = None,
    smoothing: OptionalNumber = None,
) -> None:
    """Convert a clip to weights of ARKit's 52 blendshapes and report the fitting error.

    Args:
        clip: clip (.npz). If its basis has ARKit's names and no rig is given, its own weights are written.
        output: output file: .csv (frame, time, ARKit's names), .livelink.csv (Live Link Face's layout), or .json.
        rig: shapes to solve for, on the clip's mesh: .glb or .vrm with named morph targets, topology (.npz), or a folder with
            neutral.obj and a mesh named after each shape. Default: the shapes of the clip's own topology.
        smoothing: temporal regularisation (default 0.005; 0 for none, 0.05 for noisy scans).
    """
    from meshtalk.arkit.rig import load_rig
    from meshtalk.arkit.solve import SMOOTHING, Solver, check_smoothing, measure, weights_of
    from meshtalk.clip import Clip
    from meshtalk.export.blendshapes import write_weights
    from meshtalk.files import check_writable

    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"weights must be written to {' or '.join(SUFFIXES)}, got {output}")
    check_writable(output)
    amount = SMOOTHING if smoothing is None else smoothing
    check_smoothing(amount)
    loaded = Clip.load(clip)
    shapes = load_rig(rig, loaded) if rig is not None else None
    weights = weights_of(loaded, shapes, smoothing=amount)
    write_weights(loaded, output, weights)
    print("weights: " + ("solved for" if weights.solved else "the clip's own, clamped to 0 to 1"))
    on = shapes or loaded.topology
    if weights.names == on.shape_names:
        print(measure(loaded, Solver(on, amount), weights.values, weights.frames))
    print(output)
