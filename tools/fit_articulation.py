"""Fit the articulation rule to tracked speech of people: writes src/meshtalk/assets/articulation.json.

    python tools/fit_articulation.py TRACKED [--check]

TRACKED holds clips as docs/data_format.md describes them. `--check` leaves one speaker out at a time and prints how well
the others' fit predicts that speaker; nothing is written then.

What is fitted, by Adam on exact gradients: of every segment the targets of lips, width and jaw and their dominance; of
vowels and consonants how fast dominance rises before and falls after a segment; lead, inertia and the weight of length.
What is minimised, each speaker weighing alike but the one with most sentences, who weighs three: 1 - r of each clip's curves,
the distance of the mean position in the middle of each phone, and of the speed, from people's. What cannot be seen (the
tongue) or was hardly said stays at PRIOR, what phonetics says of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tracked_speech import TrackedClip, read

from meshtalk.files import atomic
from meshtalk.synth import coarticulation as co
from meshtalk.synth.articulation import effort_of
from meshtalk.synth.phones import SEGMENTS, SILENCE, segments
from meshtalk.synth.targets import ARTICULATORS, PATH, Articulation

SEEN = 3
"""Articulators that a camera sees: all but the tongue."""

# Opening, width and jaw of a segment in 1/100 of the distance of the outer eye corners, and the tongue's way forward. Order
# of jaw heights: Keating, Lindblom, Lubker & Kreiman 1994 (Journal of Phonetics 22); rounding and spreading: Ladefoged &
# Johnson, A Course in Phonetics, chapters 1 and 4; sibilants' high jaw: Shadle 1985; protrusion and small area of w, uw, sh:
# Linker 1982 (UCLA Working Papers 56). Sizes are those of quiet reading.
PRIOR: dict[str, tuple[float, float, float, float]] = {
    "aa": (14.0, 0.0, 10.0, 0.0), "ae": (13.0, 1.0, 9.0, 0.0), "ah": (9.0, -0.5, 6.5, 0.0), "ao": (9.0, -3.5, 8.0, 0.0),
    "eh": (12.5, 0.8, 7.5, 0.0), "er": (6.5, -2.5, 5.0, 0.0), "ih": (9.0, 0.3, 5.8, 0.0), "iy": (11.0, 1.8, 5.5, 0.0),
    "uh": (5.5, -3.0, 5.0, 0.0), "uw": (3.8, -5.2, 5.0, 0.0),
    "ay1": (13.5, -0.3, 9.0, 0.0), "ay2": (11.0, 1.0, 6.5, 0.0), "aw1": (12.5, -0.5, 8.5, 0.0), "aw2": (5.0, -4.0, 6.0, 0.0),
    "oy1": (7.5, -4.0, 7.0, 0.0), "oy2": (9.5, 0.5, 6.0, 0.0), "ey1": (12.5, 0.8, 8.0, 0.0), "ey2": (12.0, 1.6, 7.0, 0.0),
    "ow1": (7.0, -3.0, 7.0, 0.0), "ow2": (3.8, -4.8, 6.0, 0.0),
    "w": (2.2, -5.5, 5.0, 0.0), "r": (5.0, -2.8, 5.0, 0.05), "y": (9.0, 0.5, 5.0, 0.0), "l": (9.5, -0.8, 6.5, 0.28),
    "s": (8.5, 0.2, 2.2, 0.0), "z": (8.5, 0.2, 2.2, 0.0), "sh": (7.5, -3.2, 2.5, 0.0), "zh": (7.5, -3.2, 2.5, 0.0),
    "ch": (7.5, -3.0, 2.5, 0.0), "jh": (7.5, -3.0, 2.5, 0.0), "th": (4.5, -0.8, 4.0, 0.62), "dh": (4.5, -0.8, 4.0, 0.60),
    "f": (2.8, -0.2, 4.2, 0.0), "v": (2.8, -0.2, 4.0, 0.0), "hh": (9.0, -0.2, 6.0, 0.0), "t": (7.5, -0.8, 5.5, 0.22),
    "d": (7.5, -0.8, 5.5, 0.22), "n": (7.0, -0.8, 5.2, 0.22), "k": (8.5, -0.5, 5.0, 0.0), "g": (8.0, -0.8, 5.0, 0.0),
    "ng": (8.5, -0.5, 5.0, 0.0), "p": (0.3, -1.5, 5.0, 0.0), "b": (0.3, -1.5, 4.8, 0.0), "m": (0.3, -1.5, 4.8, 0.0),
    SILENCE: (3.0, 0.0, 2.0, 0.0),
}  # fmt: skip

STRONG = {"lips": ("p", "b", "m", "f", "v", "w", "uw"), "width": ("w", "uw", "ow2", "sh", "zh", "ch", "jh")}
"""Segments that insist: log dominance 1 before any fit."""
FREE = {"width": ("t", "d", "n", "k", "g", "ng", "hh", "l"), "lips": ("hh", "k", "g", "ng")}
"""Segments that let their neighbours shine through: log dominance -1."""
SIBILANTS = ("s", "z", "sh", "zh", "ch", "jh")
"""Their teeth nearly meet; a tracker's chin is too slow to show it, so that their jaw stays at PRIOR."""
TONGUE_DOMINANCE = {"th": 2.2, "dh": 2.2, "l": 0.8, "t": 0.8, "d": 0.8, "n": 0.8}
ALIKE = (
    "pbm",
    ("s", "z"),
    "fv",
    ("th", "dh"),
    ("k", "g", "ng"),
    ("t", "d", "n"),
    ("sh", "zh", "ch", "jh"),
    ("er", "r"),
)
"""Segments that move together away from their prior where few of them were said."""

SPEED = torch.tensor([0.9, 0.75, 0.75]).double()
"""Least speed of lips, width and jaw over people's; a good part of the latter two's is the tracker's noise."""
STEPS = 200
POINTS = np.array([-1.5, -0.75, 0.0, 0.75, 1.5])
"""Places at which the Gaussian of inertia is read, in its deviations."""


@dataclass(frozen=True)
class Batch:
    """B clips, padded to T frames, P segments."""

    name: Tensor
    start_s: Tensor
    end_s: Tensor
    t_s: Tensor
    """(T,)"""
    curves: Tensor
    """(B,T,3) opening, and width and jaw from those of the clip's most closed fifth."""
    spoken: Tensor
    """(B,T,1) 0 or 1."""
    open_share: Tensor
    """(B,T,1) 0 where p b m close the lips, else 1."""
    effort: Tensor
    """(B,T,3) factor of the voice's effort on each curve."""
    middle: Tensor
    """(B,T,P) share of each frame in the middle of a segment of each name: sums to the number of them."""
    weight: Tensor
    """(B,) sums to 1."""

    def rows(self, chosen: Sequence[int]) -> Batch:
        keep = torch.tensor(list(chosen))
        each = {k: v[keep] for k, v in vars(self).items() if k != "t_s"}
        return replace(self, **(each | {"weight": each["weight"] / each["weight"].sum()}))


def batch_of(clips: Sequence[TrackedClip]) -> Batch:
    """The clips with each speaker's weight shared among the speaker's clips."""
    frames = max(len(clip.landmarks) for clip in clips)
    parts = [segments(clip.phones) for clip in clips]
    size, fps = max(map(len, parts)), clips[0].fps
    shape = (len(clips), size)
    name, start_s, end_s = torch.full(shape, -1), torch.full(shape, -9.0).double(), torch.full(shape, -8.9).double()
    curves, spoken = torch.zeros(len(clips), frames, SEEN).double(), torch.zeros(len(clips), frames, 1).double()
    open_share = torch.ones(len(clips), frames, 1).double()
    effort = torch.ones(len(clips), frames, SEEN).double()
    middle = torch.zeros(len(clips), frames, len(SEGMENTS)).double()
    clips_of = {clip.speaker: sum(other.speaker == clip.speaker for other in clips) for clip in clips}
    most = max(clips_of, key=clips_of.__getitem__)
    weight = torch.tensor([(3.0 if clip.speaker == most else 1.0) / clips_of[clip.speaker] for clip in clips]).double()
    for k, (clip, found) in enumerate(zip(clips, parts, strict=True)):
        n = len(clip.landmarks)
        name[k, : len(found)] = torch.tensor([SEGMENTS.index(part.name) for part in found])
        start_s[k, : len(found)] = torch.tensor([part.start_s for part in found])
        end_s[k, : len(found)] = torch.tensor([part.end_s for part in found])
        zero = [0.0, clip.width[clip.closed].mean(), clip.jaw[clip.closed].mean()]
        curves[k, :n] = torch.from_numpy(np.stack([clip.opening, clip.width, clip.jaw], 1) - zero)
        spoken[k, :n, 0] = torch.from_numpy(clip.spoken.astype(float))
        open_share[k, :n, 0] = torch.from_numpy(1 - co.bilabial_closure(found, clip.t_s))
        grid_s = co.time_grid(float(clip.t_s[-1]))
        heard = np.interp(clip.t_s, grid_s, effort_of(clip.audio, clip.sample_rate, grid_s))
        effort[k, :n, ::2] = torch.from_numpy(heard)[:, None]
        for part in found:
            at = (part.start_s + part.end_s) / 2 * fps
            left = int(np.clip(np.floor(at), 0, n - 2))
            middle[k, left, SEGMENTS.index(part.name)] += 1 - (at - left)
            middle[k, left + 1, SEGMENTS.index(part.name)] += at - left
    t_s = torch.arange(frames).double() / fps
    return Batch(name, start_s, end_s, t_s, curves, spoken, open_share, effort, middle, weight / weight.sum())


class Model(torch.nn.Module):
    """The prior and what is fitted on top of it."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = torch.tensor([PRIOR[name] for name in SEGMENTS]).double()
        strong = torch.zeros(len(SEGMENTS), len(ARTICULATORS)).double()
        for table, value in ((STRONG, 1.0), (FREE, -1.0)):
            for part, names in table.items():
                for each in names:
                    strong[SEGMENTS.index(each), ARTICULATORS.index(part)] = value
        strong[:, 3] = torch.tensor([TONGUE_DOMINANCE.get(each, 0.0) for each in SEGMENTS])
        self.strong = strong
        self.fitted = torch.ones(len(SEGMENTS), SEEN, 1).double()
        self.fitted[[SEGMENTS.index(each) for each in SIBILANTS], ARTICULATORS.index("jaw")] = 0
        self.groups = torch.stack(
            [torch.tensor([float(each in group) for each in SEGMENTS]) for group in ALIKE], 1
        ).double()
        self.own, self.shared = (
            torch.nn.Parameter(torch.zeros(n, SEEN, 2).double()) for n in (len(SEGMENTS), len(ALIKE))
        )
        self.rates = torch.nn.Parameter(torch.full((2, 2, SEEN), 18.0).double().log())
        self.length, self.lead = (torch.nn.Parameter(torch.zeros(SEEN).double()) for _ in range(2))
        self.inertia = torch.nn.Parameter(torch.full((SEEN,), 0.018).double().log())

    def articulation(self) -> Articulation:
        moved = self.fitted * (self.own + torch.einsum("pg,gvx->pvx", self.groups, self.shared))
        target = torch.cat([self.prior[:, :SEEN] + 2.0 * moved[..., 0], self.prior[:, SEEN:]], 1)
        dominance = torch.cat([self.strong[:, :SEEN] + moved[..., 1], self.strong[:, SEEN:]], 1)
        rates = torch.cat([self.rates.exp(), torch.full((2, 2, 1), 22.0).double()], -1)
        add = lambda tensor, value: torch.cat([tensor, torch.tensor([value]).double()])  # noqa: E731
        lips_open = torch.cat([target[:, :1].clip(min=0), target[:, 1:]], 1)
        return Articulation(
            lips_open, dominance, rates[0], rates[1], add(self.length, 0.0), add(self.lead, 0.01),
            add(self.inertia.exp().clip(min=0.015), 0.014),
        )  # fmt: skip

    def forward(self, batch: Batch) -> Tensor:
        """(B,T,3)"""
        model = self.articulation()
        inertia = model.inertia_s[:SEEN]
        kernel = torch.from_numpy(np.exp(-0.5 * POINTS**2) / np.exp(-0.5 * POINTS**2).sum())
        ways = 0
        for v in range(SEEN):
            one = Articulation(
                model.target[:, v : v + 1], model.dominance[:, v : v + 1], model.before_hz[:, v : v + 1],
                model.after_hz[:, v : v + 1], model.duration[v : v + 1], model.lead_s[v : v + 1], inertia[v : v + 1],
            )  # fmt: skip
            times = (batch.t_s[:, None] + torch.from_numpy(POINTS) * inertia[v]).flatten()
            way = co.blend(batch.name, batch.start_s, batch.end_s, times, one)[..., 0]
            way = (way.unflatten(-1, (-1, len(POINTS))) * kernel).sum(-1)
            ways = ways + way[..., None] * torch.eye(SEEN).double()[v]
        return batch.effort * torch.cat([ways[..., :1] * batch.open_share, ways[..., 1:]], -1)


def correlation(made: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """(B,3) over the spoken frames."""
    count = mask.sum(1, keepdim=True)
    made, true = ((x - (x * mask).sum(1, keepdim=True) / count) * mask for x in (made, true))
    return (made * true).sum(1) / ((made * made).sum(1) * (true * true).sum(1) + 1e-9).sqrt()


def mean_speed(curves: Tensor, batch: Batch) -> Tensor:
    """(B,3) mean absolute change from frame to frame, spoken."""
    both = batch.spoken[:, 1:] * batch.spoken[:, :-1]
    return (curves.diff(dim=1).abs() * both).sum(1) / both.sum(1)


def jaw_per_opening(curves: Tensor, batch: Batch) -> Tensor:
    """() slope of the jaw on the opening, spoken, mean over clips."""
    count = batch.spoken.sum(1, keepdim=True)
    opening, jaw = (
        (x - (x * batch.spoken).sum(1, keepdim=True) / count) * batch.spoken for x in curves[..., ::2].split(1, -1)
    )
    slopes = (opening * jaw).sum((1, 2)) / opening.square().sum((1, 2))
    return (batch.weight * slopes).sum()


def middles(curves: Tensor, batch: Batch) -> Tensor:
    """(P,3) weighed mean in the middle of each segment."""
    weighed = batch.middle * batch.weight[:, None, None]
    return torch.einsum("btp,btv->pv", weighed, curves) / weighed.sum((0, 1))[:, None].clip(min=1e-9)


def fit(batch: Batch, progress: bool = True) -> Model:
    """The model that predicts the batch's curves best."""
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    people_middles, people_speed = middles(batch.curves, batch), mean_speed(batch.curves, batch)
    people_slope = jaw_per_opening(batch.curves, batch)
    heard = (batch.middle * batch.weight[:, None, None]).sum((0, 1)).sqrt()[:, None]
    scale = torch.tensor([5.0, 2.2, 2.5]).double()  # usual deviation of people's curves
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 + np.cos(np.pi * step / STEPS)) / 2
        made = model(batch)
        r = (batch.weight[:, None] * correlation(made, batch.curves, batch.spoken)).sum(0)
        apart = ((middles(made, batch) - people_middles) / scale * heard).abs().sum(0) / heard.sum()
        ratio = (batch.weight[:, None] * mean_speed(made, batch)).sum(0) / (batch.weight[:, None] * people_speed).sum(0)
        slow = (SPEED - ratio).clip(min=0)
        steep = (jaw_per_opening(made, batch) / people_slope - 1).square()
        prior = 0.004 * (model.own.square().sum() + 0.5 * model.shared.square().sum())
        prior = prior + 0.02 * (model.rates - np.log(18.0)).square().sum() + 0.2 * model.length.square().sum()
        prior = prior + 20 * model.lead.square().sum()
        loss = (2 * (1 - r) + 0.7 * apart + 2 * slow).sum() + 4 * steep + prior
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if progress and step % 50 == 49:
            figures = (
                "; ".join(f"{n} {v[0]:.2f} {v[1]:.2f} {v[2]:.2f}" for n, v in (("r", r), ("speed", ratio)))
                + f"; {steep:.3f}"
            )
            print(f"step {step + 1}: {figures}", flush=True)
    return model


def check(clips: Sequence[TrackedClip], batch: Batch) -> None:
    """Print what the fit without each speaker says of that speaker."""
    rows = []
    for speaker in sorted({clip.speaker for clip in clips}):
        inside = [k for k, clip in enumerate(clips) if clip.speaker != speaker]
        held = [k for k, clip in enumerate(clips) if clip.speaker == speaker and not clip.packed]
        model = fit(batch.rows(inside), progress=False)
        test = batch.rows(held)
        with torch.no_grad():
            made = model(test)
            r = correlation(made, test.curves, test.spoken).mean(0)
            slope = float(jaw_per_opening(made, test) / jaw_per_opening(test.curves, test))
            speed = mean_speed(made, test).mean(0) / mean_speed(test.curves, test).mean(0)
        rows.append(torch.stack([r, speed]))
        print(
            f"{speaker:6} r {r.numpy().round(2)} speed {speed.numpy().round(2)} jaw per opening / people's {slope:.2f}",
            flush=True,
        )
    mean = torch.stack(rows).mean(0).numpy().round(3)
    print(f"by speaker: r of opening, width, jaw {mean[0]}; speed / people's {mean[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracked", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--date", default="", help="of the fit, written into the file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = list(read(options.tracked))
    batch = batch_of(clips)
    if options.check:
        check(clips, batch)
        return
    model = fit(batch)
    content = {
        "what": "Targets and log dominances of phones (lips, width, jaw in 1/100 of the distance of the outer eye corners;"
        " tongue 0-1), and timing of the articulators (consonants, vowels)",
        "script": "tools/fit_articulation.py",
        "date": options.date,
        "licence": "CC BY 4.0 (derived from the recordings below)",
        "source": "Cooke, Barker, Cunningham, Shao: The Grid Audio-Visual Speech Corpus, doi 10.5281/zenodo.3625687, tracked"
        f" by MediaPipe: {len(clips)} sentences of {len({c.speaker for c in clips})} speakers",
    }
    with torch.no_grad():
        content |= model.articulation().content()
    with atomic(PATH) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
