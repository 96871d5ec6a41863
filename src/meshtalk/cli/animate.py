"""`meshtalk animate`, `stream`, `takes` and `again`: speech in, animation out."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from meshtalk.cli.options import (
    Flat,
    FlatLooking,
    Looking,
    OptionalPath,
    OptionalText,
    Output,
    Performing,
    load_animator,
)
from meshtalk.errors import InputError

_AS_IT_IS, _AS_USUAL = Performing(), Looking()


def animate(
    audio: Positional[Path], /, output: Output, how: Flat = _AS_IT_IS, looking: FlatLooking = _AS_USUAL
) -> None:
    """Animate a face with a voice recording.

    Args:
        audio: speech: WAV, FLAC, OGG, MP3, M4A, or a video with a sound track.
        output: output file: .mp4 (video with sound), .glb (morph targets), .html (self-contained player), .npz (meshtalk clip),
            or any other suffix of `meshtalk export`.
    """
    from meshtalk.export import check_output

    look = looking.look()
    check_output(output, look)
    options, animator = how.options(), how.animator()
    target = how.target(animator, options)
    clip = animator.animate(audio, seed=how.seed, **options)
    print((target.retarget(clip) if target else clip).save(output, look))


def stream(
    rate: int = 16000,
    channels: int = 1,
    format: OptionalText = None,
    vmc: OptionalText = None,
    live: bool = False,
    how: Flat = _AS_IT_IS,
) -> None:
    """Animate raw 16-bit PCM from standard input in real time; frames go to standard output or over UDP as VMC.

    Args:
        rate: sample rate of the input, Hz.
        channels: interleaved channels of the input; they are averaged.
        format: of standard output: jsonl (ARKit weights) or vertices (binary). Default: jsonl, or nothing with --vmc.
        vmc: HOST:PORT to send ARKit weights to as VMC messages, e.g. 127.0.0.1:39539.
        live: the source cannot be paused, such as a microphone: a slow consumer drops frames instead of blocking the stream.
    """
    from meshtalk.stream import stream as run
    from meshtalk.stream.pcm import check_sound
    from meshtalk.stream.pipes import ends_quietly, say, standard_input, standard_output
    from meshtalk.stream.sinks import Sink, check_format, open_format
    from meshtalk.stream.vmc import VmcSender, check_osc, parse_endpoint

    format = "jsonl" if format is None and vmc is None else format
    if format is not None:
        check_format(format)
    endpoint = parse_endpoint(vmc) if vmc is not None else None
    if endpoint:
        check_osc()
    check_sound(rate, channels)
    options = how.options()
    source = standard_input()
    output = standard_output(binary=format == "vertices") if format else None
    with ends_quietly():
        animator = how.animator()
        target = how.target(animator, options)
        state = animator.start(seed=how.seed, **options)
        gc.freeze()  # what is loaded stays: looking through all of it now and then would cost several frames at once
        sinks: list[Sink] = [open_format(format, animator, state, output, target)] if format else []
        sinks += [VmcSender(animator, state, *endpoint, live=live)] if endpoint else []
        run(animator, state, source, sinks, rate=rate, channels=channels, live=live, report=say)


def takes(
    audio: Positional[Path], /, output: Output, n: Annotated[int, arg(aliases=["-n"])] = 8, how: Flat = _AS_IT_IS
) -> None:
    """Sample several takes of one line and rank them, with a contact sheet and a page to choose from.

    Args:
        audio: speech, as for animate.
        output: folder to create: a clip (.npz) per take, takes.json, contact_sheet.png, takes.html.
        n: number of takes, with seeds from --seed on.
    """
    from meshtalk.inference.takes import check_takes, rank, table, write_takes

    options, animator = how.options(), how.animator()
    check_takes(output, animator.topology)
    if how.is_carried(animator):
        raise InputError("takes are made on the model's own head. Retarget the one you choose with meshtalk retarget.")
    ranked = rank(animator.takes(audio, n=n, seed=how.seed, **options), how.seed)
    print(table(ranked))
    print(write_takes(output, ranked))


def again(
    take: Positional[Path],
    /,
    output: Output,
    model: OptionalPath = None,
    device: str = "cpu",
    looking: FlatLooking = _AS_USUAL,
) -> None:
    """Reproduce a take bit for bit from the settings recorded in its clip.

    Args:
        take: clip (.npz) that `animate` or `takes` wrote.
        output: what to write, as for animate.
        model: model folder that made it (default: the packaged model).
        device: torch device, e.g. cpu, cuda, mps.
    """
    from meshtalk.clip import Clip
    from meshtalk.export import check_output
    from meshtalk.inference.edit import again as run
    from meshtalk.inference.edit import same_motion

    look = looking.look()
    check_output(output, look)
    clip = Clip.load(take)
    made = run(load_animator(model, device), clip)
    if not same_motion(made, clip):
        print(
            "meshtalk: the motion differs by rounding: another version or kind of machine made the take",
            file=sys.stderr,
        )
    print(made.save(output, look))
