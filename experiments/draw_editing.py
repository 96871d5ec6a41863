"""Draw the pictures of docs/editing.md: a re-dubbed performance beside its source, takes, the map of heads.

python experiments/draw_editing.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image, ImageDraw, ImageFont

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.clip import Clip, Phone
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.evaluation.run import load_measured
from meshtalk.inference.edit import redub, swap
from meshtalk.inference.heads import draw, heads_of, influence_mm
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import tracks
from meshtalk.mesh.head import load_head
from meshtalk.render import Look, Renderer
from meshtalk.synth.align import align
from meshtalk.synth.clips import make_clip

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PERFORMED, SAID = "librivox_0870", "librivox_0890"
PERSON, EMOTION, OTHER, SEED = "p11", "angry", "surprised", 1
SOUNDS = (("b", "p", "m"), ("aa", "ae", "ao", "ay"), ("uw", "ow", "w"), ("iy", "ey"), ("f", "v", "th"))
"""A frame is shown in the longest sound of each kind, and one in which the performance blinks."""
SEEDS = 6
FACE_PX, UPPER_PX, GAP_PX, MARGIN_PX, LINE_PX = 152, 84, 6, 14, 24
PAPER, INK, MARK = (16, 20, 24), (236, 240, 243), (255, 176, 92)
HEADS_PX = 680


def phones_of(name: str) -> tuple[np.ndarray, int, Sequence[Phone]]:
    """Sound, rate and aligned phones of a packaged recording."""
    path, words = read_transcripts(asset("speech"))[name]
    audio, rate = read_audio(path)
    phones = align(audio, rate, words)
    assert phones is not None
    return audio, rate, phones


def telling_frames(source: Clip, phones: Sequence[Phone]) -> list[int]:
    """Frames in which the new speech's sounds or the performance's lids tell something, in the order of time."""
    longest = [max((p for p in phones if p.name in group), key=lambda p: p.end_s - p.start_s) for group in SOUNDS]
    lids = tracks.eyelid_closure(source)
    assert lids is not None
    blink = int(lids[: int(phones[-1].start_s * source.fps)].argmax())
    return sorted([round((p.start_s + p.end_s) / 2 * float(source.fps)) for p in longest] + [blink])


def said_at(phones: Sequence[Phone], second: float) -> str:
    name = next((p.name for p in phones if p.start_s <= second < p.end_s), "pau")
    return "" if name == "pau" else name


def faces(clip: Clip, frames: Sequence[int], height_px: int = FACE_PX) -> list[np.ndarray]:
    renderer = Renderer(clip.topology, clip.template, FACE_PX, FACE_PX, Look("face"), tint=clip.tint, subject=PERSON)
    return [renderer.frame(clip.frames(k, k + 1)[0])[:height_px] for k in frames]


def sheet(rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str]]], path: Path) -> None:
    """Rows of (title, pictures, captions) as a PNG of few colours."""
    columns = len(rows[0][1])
    heights = [
        LINE_PX + pictures[0].shape[0] + (LINE_PX if any(captions) else GAP_PX) for _, pictures, captions in rows
    ]
    size = (2 * MARGIN_PX + columns * (FACE_PX + GAP_PX) - GAP_PX, 2 * MARGIN_PX + sum(heights))
    image, top = Image.new("RGB", size, PAPER), MARGIN_PX
    pen, title_font, font = ImageDraw.Draw(image), ImageFont.load_default(16), ImageFont.load_default(13)
    for height, (title, pictures, captions) in zip(heights, rows, strict=True):
        pen.text((MARGIN_PX, top), title, INK, title_font)
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            left = MARGIN_PX + column * (FACE_PX + GAP_PX)
            image.paste(Image.fromarray(picture), (left, top + LINE_PX))
            pen.text((left + 2, top + LINE_PX + len(picture) + 2), caption, MARK, font)
        top += height
    save(image, path)


def save(image: Image.Image, path: Path) -> None:
    few = image.quantize(256)
    image.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1e3:.0f} kB")


def most_unlike(takes: Sequence[Clip]) -> int:
    """The frame at which the upper faces of takes differ most."""
    upper = takes[0].topology.indices("upper_face")
    spread = np.stack([tracks.positions(take, upper[::4]) for take in takes]).std(0)
    return int(np.square(spread).sum((1, 2)).argmax())


def draw_editing(animator: LatentAnimator, path: Path) -> None:
    """Source, re-dubbed, weaker, with other codes; and takes of one line."""
    person = load_head().person(PERSON)
    audio, rate, phones = phones_of(PERFORMED)
    source = make_clip(audio, rate, phones, person, emotion=EMOTION, strength=1.0, seed=SEED)
    new, new_rate, new_phones = phones_of(SAID)
    frames = telling_frames(source, new_phones)
    times = [float(frame / source.fps) for frame in frames]
    own, said = ([f"{time:.2f} s   {said_at(spoken, time)}" for time in times] for spoken in (phones, new_phones))
    strong, weak = (redub(animator, source, new, new_rate, strength=strength) for strength in (1.0, 0.3))
    takes = [
        replace(take, tint=person.tint)
        for take in animator.takes(new, new_rate, n=SEEDS, seed=SEED, template=person.template)
    ]
    other = make_clip(audio, rate, phones, person, emotion=OTHER, strength=1.0, seed=SEED)
    heads = heads_of(influence_mm(animator, [source, other]), animator, "upper_face")
    swapped = swap(animator, source, other, heads)
    at = most_unlike(takes)
    upper = [faces(take, [at], UPPER_PX)[0] for take in takes]
    sheet(
        [
            (f"a performance ({EMOTION}) with its own words", faces(source, frames), own),
            ("meshtalk redub: the same performance, new speech", faces(strong, frames), said),
            ("the same with --strength 0.3", faces(weak, frames), [""] * len(frames)),
            (
                f"meshtalk swap --region upper_face: the first with codes of heads {', '.join(map(str, heads))} acted {OTHER}",
                faces(swapped, frames),
                own,
            ),
            (
                f"meshtalk takes: upper faces of one line, {float(at / source.fps):.2f} s",
                upper,
                [f"seed {SEED + k}" for k in range(SEEDS)],
            ),
        ],
        path,
    )


def draw_heads(animator: LatentAnimator, path: Path) -> None:
    """What `meshtalk heads` draws, smaller."""
    clips = [animator.animate(sound) for sound, _ in read_transcripts(asset("speech")).values()]
    with tempfile.TemporaryDirectory() as folder:
        image = Image.open(draw(influence_mm(animator, clips), animator, Path(folder) / "heads.png")).convert("RGB")
    save(image.resize((HEADS_PX, round(image.height * HEADS_PX / image.width)), Image.Resampling.LANCZOS), path)


def main(output: Path = IMAGES) -> None:
    """Write editing.png and heads.png."""
    torch.manual_seed(0)
    animator = load_measured(None)
    draw_editing(animator, output / "editing.png")
    draw_heads(animator, output / "heads.png")


if __name__ == "__main__":
    tyro.cli(main)
