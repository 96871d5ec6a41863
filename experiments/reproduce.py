"""The paper's claims on the embedded corpus, shown or refuted: trains every experiment, measures it, writes the page.

    python experiments/reproduce.py CORPUS -o runs/reproduce [--workers 2] [--only NAME …] [--page]

Hours on two cores. Interrupt and run again to continue: a finished training is kept, a begun one goes on from its last
checkpoint. The reading in docs/reproduction_reading.md is written by hand and stands on top of docs/reproduction.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import _claim_measures as measures
import torch
from _claim_page import write_page
from _claims import HEARING, Experiment, experiments
from safetensors.torch import load_file, save_file
from torch import Tensor

from meshtalk.config import to_json
from meshtalk.corpus.store import Corpus
from meshtalk.files import atomic
from meshtalk.model.prior import Prior
from meshtalk.training.loop import read_step
from meshtalk.training.run import train

FEATURES = "features"
MEASURED, SHIPPED = "measures.json", "shipped.json"
REGRESSOR = "regressor-0"
READING = "reproduction_reading.md"


def run_one(root: Path, corpus_folder: Path, experiment: Experiment) -> str:
    """Train and measure one experiment in a process of its own, one thread each: two runs at once are faster than two threads."""
    torch.set_num_threads(1)
    folder, corpus = root / experiment.name, Corpus.open(corpus_folder)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with open(folder / "log.txt", "a", encoding="utf-8") as log:

        def say(message: str) -> None:
            print(message, file=log, flush=True)

        inherit(root, experiment)
        train(corpus, folder, experiment.model, experiment.training, progress=say, features=root / FEATURES)
        say("measuring …")
        found = measures.measure(folder, experiment, corpus)
        say(f"done in {time.monotonic() - began:.0f} s")
    told = {"name": experiment.name, "model": to_json(experiment.model), "training": to_json(experiment.training)}
    with atomic(folder / MEASURED) as temporary:
        temporary.write_text(json.dumps(told | found, indent=1) + "\n", encoding="utf-8")
    return experiment.name


def inherit(root: Path, experiment: Experiment) -> None:
    """Put the finished stages that an experiment starts from into its folder, where training takes them for its own."""
    stages = [(HEARING, "regression")] if HEARING in experiment.needs else []
    if experiment.encoder_of is not None:
        stages.append((experiment.encoder_of, "stage1"))
    for source, stage in stages:
        target = root / experiment.name / f"{stage}.safetensors"
        if target.exists():
            continue
        origin = root / source / target.name
        with atomic(target) as temporary:
            if stage == "stage1":
                save_file(with_own_prior(load_file(origin), experiment), temporary, {"step": str(read_step(origin))})
            else:
                shutil.copyfile(origin, temporary)


def with_own_prior(tensors: dict[str, Tensor], experiment: Experiment) -> dict[str, Tensor]:
    """A finished stage 1 whose prior, untrained as yet, is one of the experiment's."""
    model = experiment.model
    torch.manual_seed(experiment.training.seed)
    prior = Prior(model.prior, model.heads, model.classes, model.audio.code).state_dict()
    kept = {name: value for name, value in tensors.items() if not name.startswith("module.prior.")}
    return kept | {f"module.prior.{name}": value.clone() for name, value in prior.items()}


def run_all(root: Path, corpus: Path, chosen: list[Experiment], workers: int) -> None:
    """Every experiment that is not finished, as soon as the ones it needs are."""
    done = {e.name for e in experiments() if (root / e.name / MEASURED).exists()}
    waiting = [e for e in chosen if e.name not in done]
    running: dict[Future[str], Experiment] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            for experiment in [e for e in waiting if done.issuperset(e.needs)]:
                if len(running) < workers:
                    waiting.remove(experiment)
                    running[pool.submit(run_one, root, corpus, experiment)] = experiment
                    print(f"{experiment.name} begins ({len(waiting)} wait)", flush=True)
            if not running:
                names = ", ".join(sorted({need for e in waiting for need in e.needs} - done))
                sys.exit(f"{', '.join(e.name for e in waiting)} need {names} first")
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future).name
                if (error := future.exception()) is None:
                    done.add(name)
                print(f"{name} is done" if error is None else f"{name} failed: {error!r}", flush=True)


def measure_shipped(root: Path, corpus: Corpus) -> dict[str, Any]:
    """(e) and (f), of the packaged model; each part is measured once, the last as soon as its regressor is trained."""
    path, regressor = root / SHIPPED, root / REGRESSOR / "regressor"
    model = measures.load_measured(None)
    told = read(path) or {}
    if told.get("model") != model.checkpoint.hash:
        told = {"model": model.checkpoint.hash}
    parts: dict[str, Callable[[], Any]] = {
        "ways": lambda: measures.ways(model, corpus),
        "ten": lambda: measures.best_of_ten(model, corpus),
    }
    if (root / REGRESSOR / MEASURED).exists():
        parts["systems"] = lambda: measures.systems(model, regressor, corpus)
    for name in parts.keys() - told.keys():
        print(f"measuring the packaged model: {name} …", flush=True)
        told[name] = parts[name]()
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def read(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all runs")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="trainings at once (default %(default)s)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these experiments alone, and write no page")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page of what is finished")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the page goes (default %(default)s)")
    options = parser.parse_args()
    chosen = [e for e in experiments() if options.only is None or e.name in options.only]
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.page:
        run_all(options.output, options.corpus, chosen, options.workers)
    if options.only is None:
        found = {e.name: read(options.output / e.name / MEASURED) for e in chosen}
        shipped = measure_shipped(options.output, Corpus.open(options.corpus))
        reading = options.docs / READING
        text = reading.read_text(encoding="utf-8") if reading.exists() else ""
        print(write_page({name: told for name, told in found.items() if told}, shipped, text, options.docs))


if __name__ == "__main__":
    main()
