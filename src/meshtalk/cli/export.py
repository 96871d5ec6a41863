"""`meshtalk export`.

Formats that are written frame by frame show how far they are.
"""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import FlatLooking, Looking, Output
from meshtalk.progress import bar

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
        from meshtalk.inference.generator import frame_rate
        from meshtalk.resample import at_rate

        made = at_rate(made, frame_rate(fps))
    with bar() as show:
        written = run(made, output, look, progress=show)
    print(written)
