"""Whatever file comes in: the right result or one clear sentence. Valid files are mutated and given to the command line.

    python fuzz/run.py [--cases 10000] [--first 0] [--workers 2] [--only KIND …]

Case k is the same in every run. Each runs in the process of a worker, which the parent ends when a case takes too long. What
must not be: a traceback, a sentence that is none, an output that is there after a refusal or missing after success, a partial
file, a crash, over SLOWEST_S seconds, over MOST_BYTES of memory. Prints what failed, with the case's number; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SLOWEST_S = 20.0
MOST_BYTES = 1_000_000_000
FULL_DISK_SHARE = 0.04
"""Of the cases, which also have no room for what they write."""


def draw(case: int, kinds: list[str]) -> tuple[np.random.Generator, str, str, tuple[str, ...]]:
    """(generator, kind, file to mutate, command) of a case."""
    from kinds import KINDS

    rng = np.random.default_rng([case, 16])
    shares = np.array([KINDS[kind].weight for kind in kinds], float)
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    files, commands = KINDS[kind].files, KINDS[kind].commands
    return rng, kind, files[rng.integers(len(files))], commands[rng.integers(len(commands))]


def laid(seeds: Path, name: str, place: Path) -> tuple[Path, Path]:
    """The seed's file, or its folder, copied to `place`: (file to mutate, what the command is given as `{all}`)."""
    top, _, inner = name.partition("/")
    if not inner:
        shutil.copy(seeds / name, place / name)
        return place / name, place / name
    shutil.copytree(seeds / top, place / top)
    if inner.startswith("@"):
        return min((place / top / "clips").rglob(inner[1:])), place / top
    return place / top / inner, place / top


def attempt(case: int, seeds: Path, kinds: list[str]) -> tuple[str, str | None]:
    """(kind, what is wrong or None) of one case, in this process."""
    from mutate import mutate

    from meshtalk.cli import main as command_line

    rng, kind, name, command = draw(case, kinds)
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder).resolve()
        (place / "out").mkdir()
        file, whole = laid(seeds, name, place)
        for _ in range(rng.integers(1, 3)):
            if file.stat().st_size:
                mutate(file, rng)
        given = [part.format(file=file, all=whole, more=seeds) for part in command]
        out, err, end = io.StringIO(), io.StringIO(), 0
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        os.chdir(place)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
                if rng.random() < FULL_DISK_SHARE:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (int(rng.integers(0, 20_000)), limit[1]))
                try:
                    command_line.main(given)
                except SystemExit as error:
                    end = error.code
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            os.chdir(before)
        return kind, wrong(end, err.getvalue(), place, command)


def wrong(end: object, err: str, place: Path, command: tuple[str, ...]) -> str | None:
    """What is wrong with the end of a command."""
    last = (err.strip().splitlines() or [""])[-1]
    left = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
    made = [path for path in left if path.startswith("out/") and not path.endswith("/clips")]
    resumable = command[0] == "corpus"  # what is finished stays, for the same command again
    if "Traceback (most recent call last)" in err:
        return f"a traceback: {last}"
    if end not in (0, 1, 2):
        return f"exit code {end}: {last}"
    if any(".meshtalk-" in path for path in left):
        return "a partial file is left"
    if end == 2 and (not last.startswith("meshtalk: ") or len(last) > 3000):
        return f"no sentence: {last[:300]!r}"
    if end == 2 and "this is a defect" in last:
        return f"nobody expected this: {last}"
    if end == 2 and made and not resumable:
        return f"left after a refusal: {made[:3]}"
    if end == 0 and not made and "-o" in command:
        return "nothing was written"
    return None


def work(seeds: Path, first: int, stop: int, step: int, kinds: list[str]) -> None:
    """A worker: a line of JSON before each case and one after it."""
    heap = 8 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (heap, heap))
    say = os.fdopen(os.dup(1), "w")
    for case in range(first, stop, step):
        print(json.dumps({"case": case}), file=say, flush=True)
        began = time.perf_counter()
        kind, fault = attempt(case, seeds, kinds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        told = {"case": case, "kind": kind, "fault": fault, "took_s": time.perf_counter() - began, "peak": peak}
        print(json.dumps(told), file=say, flush=True)


class Worker:
    """A process that tries every `step`th case, started again behind a case that ended it."""

    def __init__(self, seeds: Path, first: int, stop: int, step: int, kinds: list[str]) -> None:
        self.arguments = (str(seeds), stop, step, ",".join(kinds))
        self.next, self.stop, self.step = first, stop, step
        self.results: list[dict[str, object]] = []
        self._start()

    def _start(self) -> None:
        seeds, stop, step, kinds = self.arguments
        command = [sys.executable, str(HERE / "run.py"), "--work", seeds, str(self.next), str(stop), str(step), kinds]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest, self.began, self.running = "", time.monotonic(), None

    def poll(self) -> bool:
        """Take what was told; whether there is more to come."""
        assert self.process.stdout is not None
        ended = self.process.poll() is not None
        self.rest += (self.process.stdout.read() or b"").decode()
        *told, self.rest = self.rest.split("\n")
        for line in told:
            one = json.loads(line)
            self.began = time.monotonic()
            self.running = None if "kind" in one else one["case"]
            if "kind" in one:
                self.results.append(one)
                self.next = one["case"] + self.step
        late = self.running is not None and time.monotonic() - self.began > SLOWEST_S + 10
        if late:
            self.process.kill()
            self.process.wait()
        if (ended and self.process.returncode) or late:
            why = "it did not end" if late else f"a crash, exit code {self.process.returncode}"
            self.results.append(
                {"case": self.next, "kind": "?", "fault": why, "took_s": time.monotonic() - self.began, "peak": 0}
            )
            self.next += self.step
            if self.next < self.stop:
                self._start()
                return True
            return False
        return not ended


def main() -> None:
    from kinds import KINDS, make

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as name:
        seeds = Path(name).resolve()
        with warnings.catch_warnings(action="ignore") if sys.version_info >= (3, 11) else contextlib.nullcontext():
            make(seeds)
        stop = given.first + given.cases
        workers = [Worker(seeds, given.first + k, stop, given.workers, given.only) for k in range(given.workers)]
        while any([worker.poll() for worker in workers]):
            time.sleep(0.1)
        results = sorted((one for worker in workers for one in worker.results), key=lambda one: one["case"])
    report(results, time.monotonic() - began)


def report(results: list[dict[str, object]], took_s: float) -> None:
    """Print what failed; exit code 1 if anything did."""
    for one in results:
        if one["took_s"] > SLOWEST_S and not one["fault"]:
            one["fault"] = f"it took {one['took_s']:.1f} s"
    peak, slowest = max(one["peak"] for one in results), max(results, key=lambda one: one["took_s"])
    faults = [one for one in results if one["fault"]]
    for one in faults:
        print(f"case {one['case']}, {one['kind']}: {one['fault']}")
    counts = Counter(one["kind"] for one in results)
    print(", ".join(f"{kind} {count}" for kind, count in counts.most_common()))
    print(
        f"{len(results)} cases in {took_s:.0f} s, {len(faults)} faults; slowest {slowest['took_s']:.1f} s (case {slowest['case']}, "
        f"{slowest['kind']}), peak {peak / 1e6:.0f} MB"
    )
    raise SystemExit(bool(faults) or peak > MOST_BYTES)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        place, first, stop, step, names = sys.argv[2:]
        work(Path(place), int(first), int(stop), int(step), names.split(","))
    else:
        main()
