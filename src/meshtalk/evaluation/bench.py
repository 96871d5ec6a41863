"""Evaluation of systems over a split of a corpus: every measure, one Report per system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from meshtalk.clip import Clip
from meshtalk.config import EvaluationConfig
from meshtalk.errors import InputError
from meshtalk.evaluation import baselines, score
from meshtalk.evaluation.aggregate import MEASURES, Estimate, Part, estimates, mean_part
from meshtalk.evaluation.disentangle import Changes, Swapping, swap_tables
from meshtalk.evaluation.nearest import Features, NearestClip
from meshtalk.evaluation.report import Report
from meshtalk.measures import metrics, tracks
from meshtalk.mesh.topology import ADVICE, Topology
from meshtalk.progress import Progress, Show

TRAIN = "train"
_TEST_SPLIT = EvaluationConfig()


def references(
    corpus: baselines.ClipSource,
    split: str = "test",
    features: Features | None = None,
    progress: Show | None = None,
) -> dict[str, object]:
    """What a table shows beside a model: truth, sampler's floor (linear corpora), mean and neutral face, nearest clip.

    Args:
        features: of sounds, for the nearest clip of the training split; None leaves it out. So does measuring the
            training split itself, whose clips it would find.
        progress: of its reading of the training split.
    """
    systems: dict[str, object] = {"truth": baselines.Truth()}
    first = corpus.load(baselines.split_of(corpus, split)[0])
    if first.weights is not None and first.basis_names:
        systems["sampler's floor"] = baselines.Floor(corpus, split)
    systems |= {"mean face": baselines.MeanFace(corpus), "neutral": baselines.Neutral(corpus)}
    if features is not None and split != TRAIN:
        systems["nearest clip"] = NearestClip(corpus, features, TRAIN, progress)
    return systems


def evaluate(
    system: object,
    corpus: baselines.ClipSource,
    config: EvaluationConfig = _TEST_SPLIT,
    *,
    name: str = "",
    **options: Any,
) -> Report:
    """Measure one system, called `name` in the table; see `evaluate_all`, whose other options it takes."""
    return evaluate_all({name or type(system).__name__: system}, corpus, config, **options)[0]


class Measured(NamedTuple):
    """One clip's share of every system's figures."""

    seconds: float
    rows: dict[str, score.Row]
    facts: dict[str, Facts]


Job = tuple[Literal["clip"], int] | tuple[Literal["pair"], tuple[int, int]]
Share = Callable[["Bench", Sequence[Any]], Iterable[tuple[int, Any]]]
"""(a bench, jobs for it) → (place of a job, the bench's result for it), in any order."""


class Bench:
    """Systems over the clips of a split, one piece of work at a time: clips and pairs of them, in any order and process.

    Args:
        systems, corpus, config: as for `evaluate_all`.

    Raises:
        InputError: the split is empty, or a system cannot animate.
    """

    def __init__(self, systems: Mapping[str, object], corpus: baselines.ClipSource, config: EvaluationConfig) -> None:
        self.systems, self.corpus, self.seed, self.samples = systems, corpus, config.seed, config.samples
        self.infos = spread(baselines.split_of(corpus, config.split), config.limit)
        self._predict = {name: baselines.predictor(system) for name, system in systems.items()}
        swapping = {name: system for name, system in systems.items() if isinstance(system, baselines.Swaps)}
        self._swapping = Swapping(swapping, corpus, self.infos)

    @property
    def jobs(self) -> list[Job]:
        """All there is to do: first the clips, in order, then the pairs."""
        return [*(("clip", index) for index in range(len(self.infos))), *(("pair", p) for p in self._swapping.pairs)]

    def __call__(self, job: Job) -> Measured | Changes:
        """The result of one of `jobs`, which depends on nothing else.

        Raises:
            InputError: a system answers with another topology, rate or length.
        """
        if job[0] == "pair":
            return self._swapping.changes(job[1])
        index = job[1]
        info = self.infos[index]
        true_clip = self.corpus.load(info)
        true = score.Tracked(true_clip)
        rows, facts = {}, {}
        for name, system in self.systems.items():
            clips = [self._predict[name](info, true_clip, seed_of(self.seed, index, i)) for i in range(self.samples)]
            rows[name] = score_clip(clips, true, name)
            facts[name] = facts_of(system, true_clip)
        return Measured(true_clip.duration_s, rows, facts)


def here(bench: Bench, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """`Share` of all work to this process."""
    return ((place, bench(job)) for place, job in enumerate(jobs))


def evaluate_all(
    systems: Mapping[str, object],
    corpus: baselines.ClipSource,
    config: EvaluationConfig = _TEST_SPLIT,
    *,
    data: str = "corpus",
    progress: Show | None = None,
    share: Share = here,
) -> list[Report]:
    """Measure systems over the clips of a split, clip by clip, so that only a few clips are in memory.

    A system is an `Animator` (its inputs are audio and template) or has `predict(info, clip, seed)`.
    One that also has `swap`, `held_out_nll` or `codes` gets those measures too.

    Args:
        systems: name for the table → system.
        corpus: anything with `.topology`, `.clips` and `.load(info)`; see `baselines.ClipSource`.
        config: split, seed, samples and limit of it count here.
        data: the corpus's name, for the table.
        share: who does the work, clip by clip; the reports do not depend on it.

    Raises:
        InputError: the split is empty, the mesh lacks regions or inner lips, or a system answers with another topology, rate
            or length.
    """
    check_measurable(corpus.topology)
    bench = Bench(systems, corpus, config)
    infos, jobs = bench.infos, bench.jobs
    results: list[Any] = [None] * len(jobs)
    clips = 0
    for place, result in share(bench, jobs):
        results[place] = result
        clips += place < len(infos)
        if progress is not None and place < len(infos):
            progress(Progress(clips, len(infos), "clips"))
    measured: list[Measured] = results[: len(infos)]
    rows = {name: [one.rows[name] for one in measured] for name in systems}
    people = [getattr(info, "voice", "") or info.id for info in infos]
    models = {name: Model([one.facts[name] for one in measured], people) for name in systems}
    seconds = sum(one.seconds for one in measured)
    tables, truth = swap_tables(results[len(infos) :])
    return [
        Report(
            system=name,
            data=data,
            split=config.split,
            seed=config.seed,
            n_clips=len(infos),
            seconds=seconds,
            topology_hash=corpus.topology.hash,
            region_hash=corpus.topology.region_hash,
            measures=in_order(
                estimates([dict(row.parts) for row in rows[name]], people)
                | score.popping(rows[name])
                | models[name].measures()
            ),
            swap=tables[name].table if name in tables else None,
            true_swap=truth.table if truth is not None and name in tables else None,
            swap_shares=tables[name].shares if name in tables else None,
            true_swap_shares=truth.shares if truth is not None and name in tables else None,
            heads=models[name].heads(),
            clips=[clip_values(info, row) for info, row in zip(infos, rows[name], strict=True)],
            curves=[row.curves for row in rows[name] if row.curves is not None],
        )
        for name in systems
    ]


def check_measurable(topology: Topology) -> None:
    """Raise InputError unless the topology names the regions and the inner lips that are measured."""
    lacking = topology.lacks(("mouth", "upper_face", "lips"))
    if lacking or not topology.names_inner_lips:
        names = ", ".join(lacking or ["inner lips"])
        raise InputError(f"the corpus's mesh lacks {names}, which are measured. {ADVICE}.")


def score_clip(samples: Sequence[Clip], true: score.Tracked, name: str) -> score.Row:
    """All measures of one clip from a system's samples of it (the first is the one that is measured)."""
    predicted_clip, true_clip = tracks.aligned(samples[0], true.clip, name)
    if true_clip.n_frames != true.clip.n_frames:
        true = score.Tracked(true_clip)
    predicted = score.Tracked(predicted_clip)
    parts = score.errors(predicted, true) | score.follow(predicted, true)
    parts |= score.articulation(predicted, true_clip.phones) | score.behaviour(predicted, true)
    if len(samples) > 1:
        several = [score.Tracked(tracks.aligned(sample, true.clip, name)[0]) for sample in samples]
        parts |= score.samples_of_one_clip(several, true)
    return score.Row(
        parts,
        metrics.frame_moves_mm(predicted.lips, true.valid),
        metrics.frame_moves_mm(true.lips, true.valid),
        true_clip.duration_s / 60,
        score.curves(predicted, true),
    )


class Facts(NamedTuple):
    """Codes and likelihoods of one ground-truth clip."""

    n_frames: int
    nll: np.ndarray | None
    """(H,) mean −log p of its codes, nats."""
    codes: np.ndarray | None
    """(T,H) labels."""


def facts_of(system: object, clip: Clip) -> Facts:
    """Ask a system about a true clip, if it can answer."""
    nll = np.asarray(system.held_out_nll([clip]), float) if isinstance(system, baselines.Likelihood) else None
    codes = np.asarray(system.codes(clip)) if isinstance(system, baselines.Codes) else None
    return Facts(clip.n_frames, nll, codes)


class Model:
    """What only a model with codes has: the likelihood of true codes and how they are used."""

    def __init__(self, facts: Sequence[Facts], people: Sequence[str]) -> None:
        self.people = [name for name, each in zip(people, facts, strict=True) if each.nll is not None]
        self.nll = [each.nll for each in facts if each.nll is not None]
        self.frames = [each.n_frames for each in facts if each.nll is not None]
        self.codes = [each.codes for each in facts if each.codes is not None]

    def measures(self) -> dict[str, Estimate]:
        """NLL and perplexity with intervals; code use of all clips together."""
        rows: list[dict[str, Part]] = [
            {
                "nll_nats": mean_part(nll.sum(), n),
                "nll_head0_nats": mean_part(nll[0], n),
                "perplexity": mean_part(nll.mean(), n),
            }
            for nll, n in zip(self.nll, self.frames, strict=True)
        ]
        found = estimates(rows, self.people)
        if self.codes:
            use = metrics.code_use(self.codes)
            found |= {
                "classes_used": Estimate(float(use.classes_used.mean())),
                "code_entropy_nats": Estimate(float(use.entropy_nats.mean())),
                "code_change_rate": Estimate(use.change_rate),
                "dead_heads": Estimate(float(use.dead_heads)),
            }
        return found

    def heads(self) -> dict[str, list[float]]:
        """Per head: classes used, entropy, NLL."""
        found: dict[str, list[float]] = {}
        if self.codes:
            use = metrics.code_use(self.codes)
            found["classes_used"] = use.classes_used.tolist()
            found["entropy_nats"] = use.entropy_nats.tolist()
        if self.nll:
            found["nll_nats"] = np.average(self.nll, axis=0, weights=self.frames).tolist()
        return found


# ------------------------------------------------------------------------------------------------ small


def spread(items: Sequence[Any], limit: int | None) -> list[Any]:
    """At most `limit` items, evenly spread, so that a short evaluation still sees every voice."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise InputError(f"limit must be at least 1 clip, got {limit}")
    return [items[i * len(items) // limit] for i in range(limit)]


def seed_of(seed: int, index: int, sample: int) -> int:
    """A seed for each clip and sample, the same in every run."""
    return int(np.random.SeedSequence([seed, index, sample]).generate_state(1)[0])


def in_order(measures: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The figures in the order of the table."""
    return {key: measures[key] for key in MEASURES if key in measures}


def clip_values(info: Any, row: score.Row) -> dict[str, Any]:
    """One clip's own value of each measure, with its labels, for the JSON."""
    labels = {k: getattr(info, k) for k in ("id", "voice", "subject", "sentence", "emotion") if hasattr(info, k)}
    return labels | score.values_of(row.parts)
