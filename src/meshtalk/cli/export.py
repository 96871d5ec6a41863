"""`meshtalk export`.

Formats that are written frame by frame show how far they are.
"""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import FlatLooking, Looking, OptionalText, Output
from meshtalk.progress import bar

_AS_USUAL = Looking()


def export(
    clip: Positional[Path], /, output: Output, fps: OptionalText = None, looking: FlatLooking = _AS_USUAL
) -> None:
    """Write a clip in another format or at another frame rate.

    Args:
        clip: clip (.npz), as animate and the other commands write it.
        output: output file, its suffix being the format: .mp4, .gif, .png (frames and curves), .html (self-contained player), .glb,
            .usdc, .usda, .abc (scenes), .pc2, .npy (vertices), face/%05d.obj or face/%05d.ply (a mesh per frame),
            .csv, .livelink.csv, .json (ARKit weights), .npz (clip).
        fps: frame rate of the output, e.g. 24, 60, 30000/1001 (default: the clip's).
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
