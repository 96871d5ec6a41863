"""Hold the articulation rule, and the model, against tracked speech of people.

    python tools/measure_people.py TRACKED [--model MODEL] [--all] [--json FILE]

TRACKED: clips as docs/data_format.md describes them. Of speakers with many sentences in packed files those are left out
unless `--all`. Every figure is a mean over clips of a speaker, then over speakers. Lengths are in 1/100 of the distance
between the outer corners of the eyes (0.92 mm on the packaged head).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tracked_speech import TrackedClip, read

from meshtalk.clip import Clip
from meshtalk.files import atomic
from meshtalk.measures import sync, tracks
from meshtalk.mesh.head import load_head
from meshtalk.synth.clips import make_clip
from meshtalk.synth.phones import segments

PERSON = "p03"
UNIT_MM = 0.92
"""A hundredth of the distance between the outer corners of an adult's eyes."""
SEEDS = 3
LONGEST_LAG_S = 0.12

Curves = dict[str, np.ndarray]


def curves_of(clip: Clip) -> Curves:
    """opening, width, jaw, protrusion of a performance of the packaged head."""
    marks = load_head().topology.landmarks
    nose, chin = np.moveaxis(tracks.positions(clip, np.concatenate([marks["nose_tip"], marks["chin"]])), 1, 0)
    lengths_mm = {
        "opening": tracks.opening_mm(clip),
        "width": tracks.width_mm(clip),
        "jaw": np.linalg.norm((nose - chin)[:, :2], axis=1) * 1e3,
        "protrusion": tracks.protrusion_mm(clip),
    }
    return {name: value / UNIT_MM for name, value in lengths_mm.items()}


def people_curves(clip: TrackedClip) -> Curves:
    return {name: getattr(clip, name) for name in ("opening", "width", "jaw", "protrusion")}


def lag_ms(made: np.ndarray, true: np.ndarray, fps: float, spoken: np.ndarray) -> float:
    """How much later `made` comes, within LONGEST_LAG_S; NaN where even the best correlation is below .1."""
    found = sync.lag(made[spoken], true[spoken], fps, LONGEST_LAG_S)
    return found.refined_ms if found.correlation > 0.1 else float("nan")


def figures(made: Curves, true: Curves, clip: TrackedClip) -> dict[str, float]:
    """Of one clip and one performance of it, T frames at the clip's rate."""
    on = clip.spoken
    both = on[1:] & on[:-1]

    def r(a: np.ndarray, b: np.ndarray) -> float:
        return sync.correlation(a[on], b[on])

    found = {f"r {name}": r(made[name], true[name]) for name in true}
    found |= {f"sd / people's {name}": float(made[name][on].std() / true[name][on].std()) for name in true}
    found["lag of opening, ms"] = lag_ms(made["opening"], true["opening"], clip.fps, on)
    speeds = [float(np.abs(np.diff(c["opening"]))[both].mean()) for c in (made, true)]
    found["opening speed / people's"] = speeds[0] / speeds[1]
    for who, curves in (("", made), ("people's ", true)):
        found[who + "r(width, opening)"] = r(curves["width"], curves["opening"])
        slope = np.cov(curves["jaw"][on], curves["opening"][on])[0, 1] / curves["opening"][on].var()
        found[who + "jaw per opening"] = float(slope)
        found[who + "opening, 95 %"] = float(np.percentile(curves["opening"][on], 95))
    return found


def middles(curves: Curves, clip: TrackedClip) -> list[tuple[str, dict[str, float]]]:
    """(segment, position in its middle); width and jaw from those of the most closed fifth of frames."""
    closed = curves["opening"] <= np.quantile(curves["opening"], 0.2)
    zero = {name: 0.0 if name == "opening" else float(value[closed].mean()) for name, value in curves.items()}
    return [
        (
            part.name,
            {n: float(np.interp((part.start_s + part.end_s) / 2, clip.t_s, v)) - zero[n] for n, v in curves.items()},
        )
        for part in segments(clip.phones)
    ]


def rule(clip: TrackedClip, seed: int) -> Clip:
    """The clip's phones, said by the rule."""
    person = load_head().person(PERSON)
    fps = Fraction(clip.fps).limit_denominator(1001)
    return make_clip(clip.audio, clip.sample_rate, clip.phones, person, strength=0.0, seed=seed, fps=fps)


def model_performer(path: str) -> Callable[[TrackedClip, int], Clip]:
    """Performances by a trained model."""
    from meshtalk.inference.animator import load_model

    animator = load_model(None if path == "packaged" else path)
    person = load_head().person(PERSON)

    def perform(clip: TrackedClip, seed: int) -> Clip:
        return animator.animate(clip.audio, clip.sample_rate, template=person.template, seed=seed)

    return perform


def at_rate(curves: Curves, fps: float, clip: TrackedClip) -> Curves:
    """The curves at the times of the clip's frames."""
    t_s = np.arange(len(curves["opening"])) / fps
    return {name: np.interp(clip.t_s, t_s, value) for name, value in curves.items()}


def measure(
    clips: Sequence[TrackedClip], perform: Callable[[TrackedClip, int], Clip]
) -> tuple[dict[str, float], dict[str, tuple[int, dict[str, list[float]]]]]:
    """Figures weighed by speaker, and per segment (count, curve → [people, ours])."""
    by_speaker: dict[str, list[dict[str, float]]] = defaultdict(list)
    tokens: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = defaultdict(list)
    for clip in clips:
        true = people_curves(clip)
        for seed in range(SEEDS):
            performed = perform(clip, seed)
            made = at_rate(curves_of(performed), float(performed.fps), clip)
            by_speaker[clip.speaker].append(figures(made, true, clip))
            for (name, people), (_, ours) in zip(middles(true, clip), middles(made, clip), strict=True):
                tokens[name].append((people, ours))
    names = next(iter(by_speaker.values()))[0]
    mean = {
        name: float(np.nanmean([np.nanmean([one[name] for one in rows]) for rows in by_speaker.values()]))
        for name in names
    }
    table = {
        name: (
            len(pairs) // SEEDS,
            {k: [float(np.mean([pair[side][k] for pair in pairs])) for side in (0, 1)] for k in pairs[0][0]},
        )
        for name, pairs in tokens.items()
    }
    said = [(n, values["opening"]) for name, (n, values) in table.items() if n >= 2 and name != "pau"]
    mean["mean error of mid openings"] = float(
        np.average([abs(a - b) for _, (a, b) in said], weights=[n for n, _ in said])
    )
    return mean, table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracked", type=Path)
    parser.add_argument("--model", help="also hold this model against them: a file of `meshtalk train`, or 'packaged'")
    parser.add_argument("--all", action="store_true", help="the packed sentences too")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    clips = [clip for clip in read(options.tracked) if options.all or not clip.packed]
    systems: dict[str, Callable[[TrackedClip, int], Clip]] = {"rule": rule}
    if options.model:
        systems["model"] = model_performer(options.model)
    results = {name: measure(clips, perform) for name, perform in systems.items()}
    print(f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers")
    print(f"{'figure':34}" + "".join(f"{name:>9}" for name in results))
    for figure in results["rule"][0]:
        print(f"{figure:34}" + "".join(f"{mean[figure]:9.2f}" for mean, _ in results.values()))
    print("middle of a phone: opening, width, jaw, protrusion, each people / " + " / ".join(results))
    table = results["rule"][1]
    for name in sorted(table, key=lambda n: -table[n][0]):
        cells = []
        for curve in table[name][1]:
            values = [table[name][1][curve][0]] + [result[1][name][1][curve][1] for result in results.values()]
            cells.append(" / ".join(f"{value:5.1f}" for value in values))
        print(f"{name:4}{table[name][0]:4}  " + "   ".join(cells))
    if options.json:
        content = {"clips": len(clips), "speakers": len({clip.speaker for clip in clips})}
        content |= {name: {"figures": mean, "phones": phones} for name, (mean, phones) in results.items()}
        with atomic(options.json) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
