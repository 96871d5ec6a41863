"""`meshtalk redub`, `swap` and `heads`: edit performances in latent space."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from meshtalk.cli.options import (
    Directing,
    FlatDirecting,
    FlatLooking,
    Looking,
    Numbers,
    OptionalPath,
    OptionalText,
    Output,
    Words,
    joined,
    load_animator,
    parse_strength,
)
from meshtalk.errors import InputError

_AS_IT_IS, _AS_USUAL = Directing(), Looking()


def redub(
    clip: Positional[Path],
    audio: Positional[Path],
    /,
    output: Output,
    fit: str = "loop",
    strength: Words = (),
    model: OptionalPath = None,
    device: str = "cpu",
    directing: FlatDirecting = _AS_IT_IS,
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Re-dub a performance: the mouth from new speech, upper face and emotion from the clip.

    Args:
        clip: performance (.npz) on the model's topology.
        audio: new speech.
        output: output file: .mp4, .glb, .html or .npz.
        fit: if the sound is longer: loop (through a seam where poses match), hold (the last pose), stretch, or cut (the sound).
        strength: FACTOR of the performance, 0 to 2, or REGION=FACTOR … (default: 1).
        model: model folder (default: the packaged model).
        device: torch device, e.g. cpu, cuda, mps.
    """
    from meshtalk.clip import Clip
    from meshtalk.export import check_output
    from meshtalk.inference.edit import redub as run

    look = looking.look()
    check_output(output, look)
    direction, factors = directing.direction(), parse_strength(strength)
    performance = Clip.load(clip)
    made = run(load_animator(model, device), performance, audio, fit=fit, strength=factors, direction=direction)  # type: ignore[arg-type]
    print(made.save(output, look))


def swap(
    clip: Positional[Path],
    other: Positional[Path],
    /,
    output: Output,
    heads: Numbers = (),
    region: OptionalText = None,
    model: OptionalPath = None,
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Replace the codes of some code heads of a clip with another clip's.

    Args:
        clip: clip (.npz) that provides sound, face and all other codes.
        other: clip (.npz) that provides the codes of the chosen heads.
        output: output file: .mp4, .glb, .html or .npz.
        heads: indices of the code heads, from 0; `meshtalk heads` shows what each one moves.
        region: instead of --heads: the fewest heads that account for most motion of this region, e.g. upper_face.
        model: model folder (default: the packaged model).
    """
    from meshtalk.clip import Clip
    from meshtalk.evaluation.run import load_measured
    from meshtalk.export import check_output
    from meshtalk.inference.edit import swap as run
    from meshtalk.inference.heads import heads_of, influence_mm
    from meshtalk.resample import at_rate

    numbers = joined(heads)
    if bool(numbers) == (region is not None):
        raise InputError("swap needs either --heads or --region. Give one of them.")
    look = looking.look()
    check_output(output, look)
    animator = load_measured(model)
    mine, theirs = (at_rate(Clip.load(path), animator.config.fps) for path in (clip, other))
    chosen = list(numbers) if region is None else heads_of(influence_mm(animator, [mine, theirs]), animator, region)
    made = run(animator, mine, theirs, chosen)
    print(f"heads {', '.join(map(str, chosen))}")
    print(made.save(output, look))


def heads(
    clips: Positional[tuple[Path, ...]] = (), /, output: Output = Path("heads.png"), model: OptionalPath = None
) -> None:
    """Measure and draw which code head moves which region of the face.

    Args:
        clips: clips (.npz) to measure on; default: the model's own performances of the packaged recordings.
        output: picture (.png) with a face per head.
        model: model folder (default: the packaged model).
    """
    from meshtalk.assets import asset
    from meshtalk.clip import Clip
    from meshtalk.evaluation.real_speech import read_transcripts
    from meshtalk.evaluation.run import load_measured
    from meshtalk.files import check_picture
    from meshtalk.inference.heads import draw, influence_mm, table
    from meshtalk.resample import at_rate

    check_picture(output)
    animator = load_measured(model)
    if clips:
        measured = [at_rate(Clip.load(path), animator.config.fps) for path in clips]
    else:
        measured = [animator.animate(path) for path, _ in read_transcripts(asset("speech")).values()]
    influence = influence_mm(animator, measured)
    print(table(influence, animator))
    print(draw(influence, animator, output))
