"""Write docs/results.md and docs/results.json: every figure that a trained run is held to, with what it reached.

    python experiments/write_results.py RUN CORPUS [--strict RUN]

RUN is a folder of `meshtalk train`: its model and its regressor are measured on the test split of CORPUS, on the
packaged real recordings, clean and damaged, and in mixing. The reading in docs/results_reading.md is written by hand and
stands on top of the page.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meshtalk import evaluation
from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.cli.demo import expression_clip
from meshtalk.clip import Clip
from meshtalk.config import EvaluationConfig, to_json
from meshtalk.corpus.store import ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.evaluation import Report
from meshtalk.evaluation.bench import spread
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.evaluation.report import REGIONS, SWAPPED
from meshtalk.evaluation.run import evaluate_model, load_measured
from meshtalk.files import atomic
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import sync, tracks
from meshtalk.model.prior import HeadLayer

OURS, REGRESSOR, ORACLE, REFERENCE = "meshtalk", "regressor", "encoder's codes", "articulation"
SPLIT = "test"
EMOTIONS = ("angry", "happy")
MAX_MODEL_MB = 12.0
FALSE_CLOSURE_ABOVE = 0.05
SWAP_APART = 0.12
STILL_ABOVE_MM_S = 2.0
"""How much faster than the corpus's own mouth in its pauses a mouth in silence may be and still be called still."""
SILENCE_S, SETTLE_S = 2.5, 0.5
"""Digital silence put after each recording, which has hardly a pause of its own; and what a mouth may take to close."""
READING = "results_reading.md"
PEOPLE = "people.json"
"""Written by `tools/measure_people.py`, for which tracked speech is needed."""
PEOPLE_FIGURES = {
    "r opening": "1", "r width": "1", "r jaw": "1", "lag of opening, ms": "0", "opening speed / people's": "1",
    "sd / people's opening": "1", "sd / people's width": "1", "r(width, opening)": "people's r(width, opening)",
    "jaw per opening": "people's jaw per opening", "opening, 95 %": "people's opening, 95 %", "mean error of mid openings": "0",
}  # fmt: skip
"""Figure → people's own: a number, or the figure that holds it."""


@dataclass(frozen=True)
class Goal:
    """One line of the first table."""

    figure: str
    goal: str
    reached: str
    met: bool


# ------------------------------------------------------------------------------------------------ goals


def at_least(report: Report, key: str, goal: float, figure: str, decimals: int = 2) -> Goal:
    value = report[key]
    return Goal(figure, f"≥ {goal:g}", f"{value:.{decimals}f}", value >= goal)


def at_most(report: Report, key: str, goal: float, figure: str, said: str | None = None) -> Goal:
    value = report[key]
    return Goal(figure, said or f"≤ {goal:g}", f"{value:.2f}", value <= goal)


def corpus_goals(by_name: Mapping[str, Report]) -> list[Goal]:
    """Held-out voices × sentences × people, sampled at temperature 1."""
    ours, truth, oracle = by_name[OURS], by_name["truth"], by_name[ORACLE]
    false_limit = truth["false_closure_rate"] + FALSE_CLOSURE_ABOVE
    lag, upper = ours["lag_frames"], ours["upper_motion_ratio"]
    lve, mean_face = ours["lve_mm"], by_name["mean face"]["lve_mm"]
    beside = [f"{name} {by_name[name]['lve_mm']:.2f}" for name in (REGRESSOR, "sampler's floor") if name in by_name]
    goals = [
        at_least(ours, "opening_r", 0.88, "lip opening, correlation with truth", 3),
        at_least(ours, "closure_rate", 0.88, "lips closed at p b m"),
        at_most(
            ours, "false_closure_rate", false_limit, "lips closed at k g h n t d l",
            f"≤ {false_limit:.2f} (truth {truth['false_closure_rate']:.2f} + {FALSE_CLOSURE_ABOVE})",
        ),
        Goal(
            "lag of the lips, frames", "within ±1",
            f"{lag:+.2f}; within ±1 in {ours['lag_within_1_frame']:.0%} of clips", abs(lag) <= 1,
        ),
        at_most(ours, "jitter_ratio", 1.2, "jitter / truth's"),
        Goal("upper-face motion / truth's", "0.7-1.1", f"{upper:.2f}", 0.7 <= upper <= 1.1),
        at_most(oracle, "lip_error_mm", 0.8, "lips decoded from the encoder's codes, mean error, mm"),
        Goal("dead heads", "0", f"{ours['dead_heads']:.0f}", ours["dead_heads"] == 0),
        Goal("LVE, mm", f"< {mean_face:.2f} (mean face)", "; ".join([f"{lve:.2f}", *beside]), lve < mean_face),
    ]  # fmt: skip
    if ours.swap is not None and ours.true_swap is not None:
        apart = np.abs(ours.swap - ours.true_swap)
        row, column = np.unravel_index(np.nanargmax(apart), apart.shape)
        worst = float(apart[row, column])
        reached = f"{worst:.2f} at most ({SWAPPED[row]} → {REGIONS[column]})"
        goals.append(Goal("swap table, distance to the truth's", f"≤ {SWAP_APART}", reached, worst <= SWAP_APART))
    return goals


def real_goals(ours: Report, pause_mm_s: float, silence_mm_s: float) -> list[Goal]:
    """The packaged recordings against the articulation made from their forced alignment.

    Args:
        pause_mm_s: mouth speed of the corpus's truth in pauses.
        silence_mm_s: mouth speed of the model in the silence after each recording.
    """
    still, pops = pause_mm_s + STILL_ABOVE_MM_S, ours["pops_per_min"]
    return [
        at_least(ours, "closure_rate", 0.85, "real speech: lips closed at p b m"),
        at_most(ours, "false_closure_rate", 0.20, "real speech: lips closed at k g h n t d l"),
        at_least(ours, "opening_r", 0.85, "real speech: lip opening, correlation with articulation"),
        at_least(ours, "loudness_r", 0.5, "real speech: lip opening, correlation with loudness"),
        Goal(
            "real speech: mouth speed in silence after it, mm/s",
            f"still: ≤ {still:.1f} (corpus's pauses {pause_mm_s:.1f} + {STILL_ABOVE_MM_S:g})",
            f"{silence_mm_s:.1f}", silence_mm_s <= still,
        ),
        Goal("real speech: blinks a minute", "> 0", f"{ours['blinks_per_min']:.1f}", ours["blinks_per_min"] > 0),
        Goal("real speech: pops a minute", "0", f"{pops:.1f}", pops == 0),
    ]  # fmt: skip


def mixing_goals(mixes: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Over people: the mean is held to the goal, the lowest is told."""
    mouth = np.array([mix["mouth_r"] for mix in mixes])
    upper = np.array([r for mix in mixes for r in mix["upper_r"].values()])
    named = (("mixing: lip opening between two emotions, r", mouth), ("mixing: upper face with the clip's, r", upper))
    return [
        Goal(figure, "≥ 0.9", f"{values.mean():.3f}; lowest {values.min():.3f}", bool(values.mean() >= 0.9))
        for figure, values in named
    ]


# ------------------------------------------------------------------------------------------------ measures


def measure_mixing(model: LatentAnimator, corpus: Corpus) -> list[dict[str, Any]]:
    """For every held-out person: a speech of theirs with their angry and their happy performance mixed in.

    The performances are the person's own longest clips of the split; an emotion that they have none of is acted
    silently on their face.
    """
    found = []
    infos = corpus.split(SPLIT)
    for subject in sorted({info.subject for info in infos}):
        own = sorted((info for info in infos if info.subject == subject), key=lambda info: -info.n_frames)
        others = [info for info in own if info.emotion not in EMOTIONS] or own
        speech = corpus.load(others[0])
        expressions = {emotion: performance(corpus, own, others[0], emotion, speech.duration_s) for emotion in EMOTIONS}
        mix = evaluation.mixing(model, speech, list(expressions.values()))
        found.append({
            "person": subject,
            "speech": others[0].id,
            "seconds": min(clip.duration_s for clip in (speech, *expressions.values())),
            "mouth_r": mix.mouth_r,
            "upper_r": dict(zip(expressions, mix.upper_r, strict=True)),
            "upper_change_r": dict(zip(expressions, mix.upper_change_r, strict=True)),
        })  # fmt: skip
    return found


def performance(corpus: Corpus, own: Sequence[ClipInfo], speech: ClipInfo, emotion: str, seconds: float) -> Clip:
    """A person's longest clip of an emotion, other than the speech itself, or a silent one made for them."""
    for info in own:
        if info.emotion == emotion and info.id != speech.id:
            return corpus.load(info)
    return expression_clip(emotion, speech.subject, seconds)


def measure_silence(model: LatentAnimator) -> float:
    """Mean speed of the lips, mm/s, in digital silence after each packaged recording."""
    speeds = []
    for path, _ in read_transcripts(asset("speech")).values():
        samples, rate = read_audio(path)
        clip = model.animate(np.concatenate([samples, np.zeros(round(SILENCE_S * rate), np.float32)]), rate)
        lips = tracks.positions(clip, clip.topology.indices("lips"))
        pause = ("pau", len(samples) / rate + SETTLE_S, clip.duration_s)
        speeds.append(sync.silence_speed_mm_s(lips, float(clip.fps), [pause]))
    return float(np.mean(speeds))


def measure_priors(ours: LatentAnimator, strict: LatentAnimator, corpus: Corpus, limit: int | None) -> dict[str, Any]:
    """Held-out likelihood of the codes under the right mask and under the official release's."""
    if strict.config.prior.mask != "strict":
        raise InputError("the second run's prior has the inclusive mask : train it with PriorConfig(mask='strict')")
    total = np.zeros((2, ours.config.heads))
    frames = 0
    for info in spread(corpus.split(SPLIT), limit):
        clip = corpus.load(info)
        total += clip.n_frames * np.array([ours.held_out_nll([clip]), strict.held_out_nll([clip])])
        frames += clip.n_frames
    nats = total / frames
    shared = all(
        torch.equal(value, strict.network.state_dict()[name])
        for name, value in ours.network.state_dict().items()
        if name.startswith(("audio.", "expression.", "fusion."))
    )
    return {"inclusive": nats[0].tolist(), "strict": nats[1].tolist(), "same_encoder": shared}


def measure_rounding(model: LatentAnimator, corpus: Corpus, limit: int | None) -> dict[str, float]:
    """Held-out likelihood, nats a frame, with the weights of the prior as they are and as `precision="bfloat16"` reads them."""
    rounded = LatentAnimator(replace(model.checkpoint, network=copy.deepcopy(model.network)))
    for layer in [*rounded.network.prior.layers, rounded.network.prior.logits]:
        assert isinstance(layer, HeadLayer)
        for linear in (layer.masked_linear, layer.history):
            if linear is not None:
                linear.weight.data = linear.weight.data.to(torch.bfloat16).float()
    clips = [corpus.load(info) for info in spread(corpus.split(SPLIT), limit)]
    return {"float32": float(model.held_out_nll(clips).sum()), "bfloat16": float(rounded.held_out_nll(clips).sum())}


# ------------------------------------------------------------------------------------------------ page


def goals_table(goals: Sequence[Goal]) -> str:
    rows = [f"| {g.figure} | {g.goal} | {g.reached} | {'yes' if g.met else '**no**'} |" for g in goals]
    return "\n".join(["| figure | goal | reached | met |", "|---|---|---|---|", *rows]) + "\n"


def mixing_table(mixes: Sequence[Mapping[str, Any]]) -> str:
    head = [
        "person",
        "seconds",
        "lip opening between the mixes, r",
        *(f"upper face with the {e} clip, r" for e in EMOTIONS),
        *(f"its change alone, {e}, r" for e in EMOTIONS),
    ]
    rows = [
        [
            mix["person"],
            f"{mix['seconds']:.1f}",
            f"{mix['mouth_r']:.3f}",
            *(f"{mix['upper_r'][e]:.3f}" for e in EMOTIONS),
            *(f"{mix['upper_change_r'][e]:.3f}" for e in EMOTIONS),
        ]
        for mix in mixes
    ]
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(head) - 1), *lines[1:]]) + "\n"


def priors_table(priors: Mapping[str, Any]) -> str:
    lines = ["| mask | nats a frame | nats of head 0 | perplexity |", "|---|---:|---:|---:|"]
    for mask in ("inclusive", "strict"):
        nats = np.array(priors[mask])
        lines.append(f"| {mask} | {nats.sum():.2f} | {nats[0]:.2f} | {np.exp(nats.mean()):.2f} |")
    same = "Both priors predict the same encoder's codes." if priors["same_encoder"] else (
        "The two runs have encoders of their own, whose codes differ: the comparison is of whole runs."
    )  # fmt: skip
    return "\n".join([*lines, "", same]) + "\n"


def people_section(people: Mapping[str, Any]) -> str:
    """The rule and the model against tracked speech of people, and the opening and width of each phone."""
    rule, model = people["rule"], people["model"]
    lines = [
        f"## Against people\n\n{people['clips']} sentences of {people['speakers']} speakers (GRID corpus, CC BY 4.0), tracked"
        " by video; a mean over speakers. Lengths in 1/100 of the distance"
        " of the outer eye corners, 0.92 mm on the head. By `tools/measure_people.py TRACKED --model packaged`.\n",
        "| figure | people | rule | model |\n|---|---:|---:|---:|",
    ]
    for figure, own in PEOPLE_FIGURES.items():
        own = f"{rule['figures'][own]:.2f}" if own in rule["figures"] else own
        lines.append(f"| {figure} | {own} | {rule['figures'][figure]:.2f} | {model['figures'][figure]:.2f} |")
    lines += [
        "\nMiddle of a phone, people / rule / model; width from that of the most closed fifth of the frames.\n",
        "| phone | tokens | opening | width | jaw |\n|---|---:|---:|---:|---:|",
    ]
    for name, (count, curves) in sorted(rule["phones"].items(), key=lambda item: -item[1][0]):
        if count >= 4 and name != "pau":
            cells = (
                " / ".join(f"{x:.1f}" for x in (*curves[curve], model["phones"][name][1][curve][1]))
                for curve in ("opening", "width", "jaw")
            )
            lines.append(f"| {name} | {count} | {' | '.join(cells)} |")
    lines.append("\n![Tracked lips above, the model's below, at the same instants](images/people.png)\n")
    return "\n".join(lines)


def page(
    reading: str, about: str, goals: Sequence[Goal], corpus: Sequence[Report], real: Sequence[Report],
    mixes: Sequence[Mapping[str, Any]], priors: Mapping[str, Any] | None, rounding: Mapping[str, float],
    people: Mapping[str, Any] | None,
) -> str:  # fmt: skip
    """The whole of docs/results.md."""
    speaking = [report for report in real if report.system in (REFERENCE, OURS, REGRESSOR)]
    damaged = [report for report in real if report.system.startswith(OURS)]
    sections = [
        "# Results\n\n<!-- written by experiments/write_results.py: edit docs/results_reading.md, not this -->\n",
        reading.strip() + "\n" if reading else "",
        f"## Goals\n\n{about}\n\n{goals_table(goals)}",
        "Intervals (±) in the tables below are half of the 95 % bootstrap range over voices, or real recordings.\n",
        f"## Held-out voices × sentences × people\n\n{evaluation.markdown(corpus)}",
        people_section(people) if people else "",
        "## Real recordings\n\nAgainst the articulation made from their forced alignment, three seeds each.\n\n"
        + evaluation.markdown(speaking),
        "## Damaged sound\n\nThe same recordings; \"correlation with the clean run\" compares with the same seed, and "
        "\"another seed\" shows how much of a change is the sampler's own.\n\n" + evaluation.markdown(damaged),
        "## Mixing\n\nOne sound with a held-out person's angry and happy performance (codes of eq. 3). The upper face is "
        "compared as displacement from the rest pose, and, in the last columns, about each clip's own mean, where a held "
        "emotion leaves little.\n\n"
        + mixing_table(mixes),
    ]  # fmt: skip
    sections.append(
        "## Reduced precision\n\nHeld-out likelihood with the prior's weights in bfloat16, "
        f'`load_model(precision="bfloat16")`: {rounding["bfloat16"]:.3f} nats a frame instead of {rounding["float32"]:.3f}.\n'
    )
    if priors is not None:
        sections.append(f"## The prior's mask\n\nNegative log-likelihood of held-out codes.\n\n{priors_table(priors)}")
    return "\n".join(section for section in sections if section)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of `meshtalk train`")
    parser.add_argument("corpus", type=Path)
    parser.add_argument(
        "--strict", type=Path, help="run folder with the strict prior mask, such as runs/reproduce/strict-0"
    )
    parser.add_argument("--samples", type=int, default=3, help="animations a clip (default %(default)s)")
    parser.add_argument("--limit", type=int, help="measure only so many clips of the split")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder (default %(default)s)")
    options = parser.parse_args()
    model, baseline = options.run / "model", options.run / "regressor"
    corpus = Corpus.open(options.corpus)
    measured = load_measured(model)
    strict = load_measured(options.strict / "model") if options.strict is not None else None  # missing: said at once
    config = EvaluationConfig(
        SPLIT, baseline if baseline.is_dir() else None, asset("speech"), samples=options.samples, limit=options.limit
    )
    reports = evaluate_model(model, corpus, config)
    on_corpus = [report for report in reports if report.split == SPLIT]
    on_real = [report for report in reports if report.split != SPLIT]
    print("silence, mixing …", flush=True)
    silence_mm_s = measure_silence(measured)
    mixes = measure_mixing(measured, corpus)
    by_name = {report.system: report for report in on_corpus}
    spoken = next(report for report in on_real if report.system == OURS)
    pause_mm_s = float(np.nan_to_num(by_name["truth"]["silence_speed_mm_s"]))  # a corpus may have no pause
    goals = corpus_goals(by_name) + real_goals(spoken, pause_mm_s, silence_mm_s)
    goals += mixing_goals(mixes)
    priors = None
    if strict is not None:
        print("likelihoods under both masks …", flush=True)
        priors = measure_priors(measured, strict, corpus, options.limit)
        right, wrong = sum(priors["inclusive"]), sum(priors["strict"])
        goals.append(Goal("held-out NLL, nats a frame", f"< {wrong:.2f} (strict mask)", f"{right:.2f}", right < wrong))
    rounding = measure_rounding(measured, corpus, options.limit)
    size_mb = sum(path.stat().st_size for path in model.iterdir()) / 1e6
    goals.append(Goal("size of the model, MB", f"≤ {MAX_MODEL_MB:g}", f"{size_mb:.1f}", size_mb <= MAX_MODEL_MB))
    about = (
        f"Model {measured.checkpoint.hash} (preset `{measured.config.preset}`), sampled at temperature 1. "
        "What is not a measure of the model (times of `make demo` and `make test`, equal bytes for equal seeds, frame "
        "rates, odd inputs) is held by the test-suite."
    )
    path = options.output / READING
    reading = path.read_text(encoding="utf-8") if path.exists() else ""
    tracked = options.output / PEOPLE
    people = json.loads(tracked.read_text(encoding="utf-8")) if tracked.exists() else None
    whole = page(reading, about, goals, on_corpus, on_real, mixes, priors, rounding, people)
    with atomic(options.output / "results.md") as temporary:
        temporary.write_text(whole, encoding="utf-8")
    numbers = {
        "model": measured.checkpoint.hash,
        "config": to_json(measured.config),
        "goals": [asdict(goal) for goal in goals],
        "reports": [{k: v for k, v in report.to_dict().items() if k != "clips"} for report in reports],
        "silence_speed_mm_s": silence_mm_s,
        "mixing": mixes,
        "prior_nll_nats_per_head": priors,
        "nll_by_precision_nats_per_frame": rounding,
    }
    with atomic(options.output / "results.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=1, default=float, ensure_ascii=False) + "\n", encoding="utf-8")
    print(goals_table(goals))
    print(f"{sum(goal.met for goal in goals)} of {len(goals)} goals met: {options.output / 'results.md'}")


if __name__ == "__main__":
    main()
