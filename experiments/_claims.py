"""The experiments of `experiments/reproduce.py`: which models are trained, and what each pair of them shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshtalk.config import HOP_RATE, PRESETS, AudioConfig, ModelConfig, StageConfig, TrainConfig

SEEDS = (0, 1, 2)
HEARING = "hearing"
"""The experiment whose audio regression all others begin with."""
LOOKAHEADS_MS = (0, 50, 100, 200, 500)


@dataclass(frozen=True)
class Experiment:
    """One training."""

    name: str
    model: ModelConfig
    training: TrainConfig
    encoder_of: str | None = None
    """An experiment whose finished stage 1 this one starts from: same codes, another prior."""

    @property
    def only_hears(self) -> bool:
        """Whether nothing but the audio regression is trained."""
        return not self.training.stage1.steps

    @property
    def has_prior(self) -> bool:
        return bool(self.training.stage2.steps)

    @property
    def needs(self) -> tuple[str, ...]:
        """Experiments that must be finished first."""
        own = self.name == HEARING or self.only_hears
        return () if own else (HEARING,) if self.encoder_of is None else (HEARING, self.encoder_of)


def experiments() -> list[Experiment]:
    """All of them, each after the one it needs.

    The method of the paper on the compact preset's sizes: what only this implementation does (sampled expressions, blinks that
    count more) is off. Every setting is the same but the one that an experiment is named after.
    """
    compact, training = PRESETS["compact"]
    model = replace(compact, prior=replace(compact.prior, use_sampled_expression=False, channels=16))
    training = replace(
        training,
        stage1=replace(training.stage1, steps=2000),
        stage2=replace(training.stage2, steps=1000),
        event_weight=0.0,
        validate_every=1000,
    )
    loss = training.loss
    plain = replace(training, loss=replace(loss, cross_modality=0.0, eyelid=0.0))
    no_eyelid = replace(training, loss=replace(loss, eyelid=0.0))
    paper = replace(training, loss=replace(loss, reconstruction=0.0, upper_face=1.0, opening=0.0, velocity=0.0))
    strict = replace(model, prior=replace(model.prior, mask="strict"))
    hearing = replace(
        training, regression=replace(training.regression, steps=1500), stage1=_NONE, stage2=_NONE, augmentations=1
    )
    # as many steps as the shipped model's stage 1 takes, in batches as large as its own
    longest = PRESETS["compact"][1].stage1.steps
    regression = replace(training.regression, steps=longest, batch=8)
    alone = replace(hearing, regression=regression, augmentations=training.augmentations)

    def of_seed(seed: int) -> list[Experiment]:
        return [
            Experiment(f"base-{seed}", model, replace(training, seed=seed)),
            Experiment(f"plain-{seed}", model, replace(plain, seed=seed)),
            Experiment(f"no_eyelid-{seed}", model, _without_prior(replace(no_eyelid, seed=seed))),
            Experiment(f"strict-{seed}", strict, replace(training, seed=seed), f"base-{seed}"),
        ]

    return [
        Experiment(HEARING, model, replace(training, stage1=_NONE, stage2=_NONE)),
        *of_seed(0),
        Experiment("paper_loss-0", model, paper),
        *(Experiment(f"heads_{n}-0", replace(model, heads=n), training) for n in (4, 8, 32)),
        Experiment("classes_8-0", replace(model, classes=8), training),
        *(Experiment(f"lookahead_{ms}-0", replace(model, audio=lookahead(ms)), hearing) for ms in LOOKAHEADS_MS),
        Experiment("regressor-0", model, alone),
        *of_seed(1),
        Experiment("classes_128-0", replace(model, classes=128), training),
        *of_seed(2),
        Experiment("heads_64-0", replace(model, heads=64), training),
    ]


_NONE = StageConfig(steps=0)


def _without_prior(training: TrainConfig) -> TrainConfig:
    return replace(training, stage2=_NONE)


def lookahead(milliseconds: int) -> AudioConfig:
    """The compact preset's audio encoder with another look-ahead: the trunk's first, then the stack's.

    A hop to interpolate with and half an analysis window come on top in any case.
    """
    audio = PRESETS["compact"][0].audio
    hops = max(milliseconds * HOP_RATE // 1000 - 2, 0)
    stack = {0: 0, 3: 0, 8: 0, 18: 2, 48: 8}[hops]
    return replace(audio, trunk_lookahead_hops=min(hops - stack, 39), lookahead_hops=stack)
