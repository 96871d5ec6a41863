"""`meshtalk export`."""

from __future__ import annotations

import sys
from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import FlatLooking, Looking, Output

_AS_USUAL = Looking()


def export(clip: Positional[Path], /, output: Output, fps: str | None = None, looking: FlatLooking = _AS_USUAL) -> None:
    """Write a clip in another format, perhaps at another frame rate.

    Args:
        clip: clip (.npz), as animate and the other verbs write it.
        output: what to write, by its ending: .mp4, .gif (films), .png (frames and curves), .html (a page that plays it), .glb,
            .usdc, .usda, .abc (3D programs), .pc2, .npy (vertices alone), face/%05d.obj or face/%05d.ply (a mesh for each frame),
            .csv, .livelink.csv, .json (ARKit weights), .npz (clip).
        fps: frames a second of what is written, e.g. 24, 60, 30000/1001 (default: the clip's).
    """
    from meshtalk.clip import Clip
    from meshtalk.export import check_output
    from meshtalk.export import export as run

    look = looking.look()
    check_output(output, look)
    made = Clip.load(clip)
    if fps is not None:
        from meshtalk.inference.performer import frame_rate
        from meshtalk.resample import at_rate

        made = at_rate(made, frame_rate(fps))
    print(run(made, output, look, progress=_count if sys.stderr.isatty() else None))


def _count(done: int, total: int) -> None:
    """One line on the terminal that counts."""
    print(f"frame {done} of {total}", end="\n" if done == total else "\r", file=sys.stderr, flush=True)
