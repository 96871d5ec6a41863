"""Influence of code heads on the face, measured and drawn as a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.files import atomic, check_picture
from meshtalk.inference.direction import region_weights
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import metrics
from meshtalk.render import Look, Renderer
from meshtalk.render.scene import to_linear

MOST = 0.5
_STOPS = np.array([[0.16, 0.18, 0.22], [0.20, 0.36, 0.62], [0.90, 0.62, 0.25], [1.00, 0.93, 0.72]])
_COLUMNS, _FACE_PX, _CAPTION_PX = 4, 240, 44


def influence_mm(animator: LatentAnimator, clips: Sequence[Clip]) -> np.ndarray:
    """(H,V) mm: root-mean-square displacement of each vertex when one head alone takes its codes of another time.

    A head's codes are exchanged for its own half a clip later, so that only codes that occur are compared.

    Raises:
        InputError: no clip, one of fewer than two frames, or one that the model cannot encode.
    """
    if not clips or any(clip.n_frames < 2 for clip in clips):
        raise InputError("measuring heads needs clips of at least two frames. Give at least one.")
    energy, frames = np.zeros((animator.config.heads, animator.topology.n_vertices)), 0
    for clip in clips:
        codes = animator.codes(clip.validate())
        base = animator.decoded(codes, clip)
        for head in range(codes.shape[1]):
            changed = codes.copy()
            changed[:, head] = np.roll(codes[:, head], len(codes) // 2)
            made = animator.decoded(changed, clip)
            for start in range(0, len(codes), 256):
                apart = made.displacements(start, start + 256) - base.displacements(start, start + 256)
                energy[head] += metrics.squared_norm(apart).sum(0)
        frames += len(codes)
    return np.sqrt(energy / frames) * metrics.MM


def region_shares(influence: np.ndarray, animator: LatentAnimator) -> Mapping[str, np.ndarray]:
    """Region → (H,) share of a head's squared influence in it. Regions may overlap."""
    energy = influence**2
    total = energy.sum(1) + 1e-12
    topology = animator.topology
    return {name: energy @ region_weights(topology, name) / total for name in topology.regions}


def heads_of(influence: np.ndarray, animator: LatentAnimator, region: str) -> list[int]:
    """The fewest heads that together account for `MOST` of a region's squared influence, in order.

    They may move other regions too, see `region_shares`.

    Raises:
        InputError: the topology has no such region, or nothing moves it.
    """
    energy = influence**2 @ region_weights(animator.topology, region)
    if not energy.sum() > 0:
        raise InputError(f"no head moves {region!r} in these clips. Name heads or give clips in which it moves.")
    order = np.argsort(-energy, kind="stable")
    held = np.cumsum(energy[order]) / energy.sum()
    return sorted(order[: int(np.searchsorted(held, MOST)) + 1].tolist())


def table(influence: np.ndarray, animator: LatentAnimator) -> str:
    """Influence of each head as a text table."""
    shares = region_shares(influence, animator)
    lines = ["head  mean mm  " + "  ".join(f"{name:>10}" for name in shares)]
    for head, moved in enumerate(influence):
        cells = "  ".join(f"{shares[name][head]:10.0%}" for name in shares)
        lines.append(f"{head:4d}  {moved.mean():7.3f}  {cells}")
    return "\n".join(lines)


def draw(influence: np.ndarray, animator: LatentAnimator, path: str | Path) -> Path:
    """Write a PNG with a face per head: dark where it moves nothing, bright where it moves most.

    Raises:
        InputError: see `check_picture`.
    """
    path = check_picture(path)
    from PIL import Image, ImageDraw, ImageFont

    plain = dataclasses.replace(animator.topology, texture_png=None)
    template = animator.checkpoint.template
    renderer = Renderer(plain, template, _FACE_PX, _FACE_PX, Look("face"))
    columns, rows = min(_COLUMNS, len(influence)), -(-len(influence) // _COLUMNS)
    shares = region_shares(influence, animator)
    with atomic(path) as temporary:
        sheet = Image.new("RGB", (columns * _FACE_PX, rows * (_FACE_PX + _CAPTION_PX)), (16, 20, 24))
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
        for head, moved in enumerate(influence):
            level = moved / max(moved.max(), 1e-9)
            ramps: list[np.ndarray] = [np.interp(level, np.linspace(0, 1, len(_STOPS)), stop) for stop in _STOPS.T]
            renderer.paint(to_linear(np.stack(ramps, 1)))
            left, top = head % _COLUMNS * _FACE_PX, head // _COLUMNS * (_FACE_PX + _CAPTION_PX)
            sheet.paste(Image.fromarray(renderer.frame(template)), (left, top))
            most = ", ".join(f"{name} {shares[name][head]:.0%}" for name in ("mouth", "upper_face") if name in shares)
            pen.text((left + 8, top + _FACE_PX + 4), f"head {head}: up to {moved.max():.1f} mm", (236, 240, 243), font)
            pen.text((left + 8, top + _FACE_PX + 22), most, (134, 147, 158), font)
        sheet.save(temporary, format="PNG", optimize=True)
    return path
