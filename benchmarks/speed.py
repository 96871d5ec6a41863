"""Speed on this machine, in one run: read the ratios, absolute times do not carry over to other machines.

    python benchmarks/speed.py [--json build/speed.json] [--quick]

Prints one table, with the slow way (reference.py) measured beside, and writes the numbers as JSON, so that two runs can be
compared. RTF is the real-time factor: computing time over the sound's duration; below 1 is faster than real time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)

import measures
import torch
from models import random_animator

from meshtalk.assets import asset
from meshtalk.audio.files import read_audio
from meshtalk.corpus.store import Corpus
from meshtalk.evaluation.real_speech import read_transcripts
from meshtalk.files import atomic
from meshtalk.inference.animator import Animator, load_model
from meshtalk.synth.clips import Recording, corpus_from_recordings

THREADS = (1, 2)
SLOW_S = {"compact": 2.0, "official": 2.0, "paper": 0.2}
"""Of sound for the slow way, which takes the longer a frame the more frames there were."""
SYSTEMS = {
    "compact": ("compact", "float32"),
    "official": ("official", "float32"),
    "official, bfloat16": ("official", "bfloat16"),
    "paper": ("paper", "float32"),
    "paper, bfloat16": ("paper", "bfloat16"),
}
"""name → preset and precision of the prior's weights. `compact` is the packaged model, the others have random weights."""

Rows = list[tuple[str, str, str]]


def build(name: str) -> Animator:
    preset, precision = SYSTEMS[name]
    if preset == "compact":
        return load_model(precision=precision)  # type: ignore[arg-type]
    return random_animator(preset, precision)  # type: ignore[arg-type]


def recordings_corpus(folder: Path) -> Corpus:
    """The packaged recordings, aligned and articulated: a corpus small enough to be made on the spot."""
    listed = read_transcripts(asset("speech"))
    return corpus_from_recordings(
        folder, [Recording(*read_audio(path), text, voice=name) for name, (path, text) in listed.items()]
    )


def shown(timing: measures.Timing, digits: int = 3) -> str:
    return f"{timing.median_s:.{digits}g} ({timing.low_s:.{digits}g}-{timing.high_s:.{digits}g})"


def measure_system(name: str, quick: bool) -> tuple[Rows, dict[str, Any]]:
    """RTF of short and long clips, ms a frame of each module, the slow way, several takes."""
    rows: Rows = []
    found: dict[str, Any] = {}
    heavy = name.startswith("paper")
    animator = build(name)
    for threads in THREADS:
        torch.set_num_threads(threads)
        animator.threads = threads
        for seconds in (10,) if quick else (10, 60):
            repeats = 1 if quick or (heavy and seconds > 10) else 3 if heavy or seconds > 10 else 7
            timing = measures.animating(animator, seconds, repeats, warm=seconds > 10)
            rows.append((f"{name}, {seconds} s, {threads} thread{'s' * (threads > 1)}", "RTF", shown(timing)))
            found[f"rtf, {seconds} s, {threads} threads"] = asdict(timing)
        if heavy:
            needed, rate = measures.memory_floor(animator)
            floor = f"{needed / rate * animator.config.fps:.3g}: {needed / 1e6:.0f} MB a frame at {rate / 1e9:.1f} GB/s"
            rows.append((f"   reading that memory alone, {threads} thread{'s' * (threads > 1)}", "RTF", floor))
            found[f"memory floor, {threads} threads"] = {"bytes_a_frame": needed, "bytes_a_second": rate}
        for module, timing in measures.modules(animator, 2.0 if heavy else 10.0, 1 if quick else 3).items():
            milliseconds = timing.scaled(1e3)
            rows.append((f"   {module}, {threads} thread{'s' * (threads > 1)}", "ms/frame", shown(milliseconds)))
            found[f"{module}, ms/frame, {threads} threads"] = asdict(milliseconds)
    if name in SLOW_S:
        slow = measures.slow_way(animator, SLOW_S[name], 1 if quick or heavy else 2)
        value = f"{slow['slow_rtf']:.3g}; {slow['ratio']:.0f} times the fast way's {slow['fast_rtf']:.3g}"
        rows.append((f"{name}, the slow way, {SLOW_S[name]:g} s", "RTF", value))
        found["slow way"] = slow
    if not heavy:
        cost = measures.takes(animator, 10.0, 8, 1 if quick else 3)
        rows.append((f"{name}, 8 takes together", "takes' time", f"{cost:.2f} of one take's"))
        found["8 takes / 1"] = cost
    return rows, found


def measure_stream(quick: bool) -> tuple[Rows, dict[str, Any]]:
    """The packaged model as it is loaded, beside another process; and live, on one thread."""
    animator = load_model()
    idle, busy = measures.beside_a_busy_core(animator, 10.0, 3 if quick else 9)
    torch.set_num_threads(1)
    live = measures.streaming(animator, 20 if quick else 300)
    rows = [
        ("streaming, 20 ms packets, 1 thread", "ms",
         f"latency {live['latency_ms']:.0f} at most (look-ahead {live['lookahead_ms']:.0f})"),
        ("   compute a frame", "ms", f"p50 {live['p50_ms']:.2f}, p99 {live['p99_ms']:.2f}, max {live['max_ms']:.1f}"),
        ("   late frames", "", f"{live['late']:.0f} of {live['frames']:.0f}"),
    ]  # fmt: skip
    late = 1000 if quick else 18_000
    ratio = measures.late_over_early(animator, 300, late, 5 if quick else 21)
    ratio_busy = busy.median_s / idle.median_s
    rows.append(
        ("packaged model, 10 s, beside a busy core", "times idle", f"{ratio_busy:.2f}; RTF {busy.median_s:.3g}")
    )
    rows.append((f"time of a frame at {late} / at 300", "", f"{ratio:.3f}"))
    return rows, {"streaming": live, "late / early": ratio, "beside a busy core / idle": ratio_busy}


def measure_rest(quick: bool) -> tuple[Rows, dict[str, Any]]:
    """Memory, training and drawing."""
    torch.set_num_threads(THREADS[-1])
    rows: Rows = []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = measures.peak_memory(folder, 1 if quick else 10)
        rows.append((f"animate a {memory['minutes']:g}-minute file", "GB at most",
                     f"{memory['peak_gb']:.2f}, {memory['frames']} frames"))  # fmt: skip
        corpus = recordings_corpus(folder / "corpus")
        speeds = {
            (stage, kind): measures.training(corpus, folder / "features", kind, stage, 2 if quick else 5)
            for stage in (1, 2)
            for kind in ("basis", "dense")
        }
        for (stage, kind), speed in speeds.items():
            rows.append((f"training stage {stage}, {kind} geometry", "frames/s", f"{speed:.0f}"))
        found |= {f"stage {s}, {k}, frames/s": v for (s, k), v in speeds.items()} | {"memory": memory}
    drawn = measures.drawing(load_model(), 1 if quick else 3)
    rows.append(("drawing, 640x640", "frames/s", f"{1 / drawn.median_s:.1f}"))
    found["drawing, s/frame"] = asdict(drawn)
    return rows, found


def table(rows: Rows) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("build/speed.json"), help="where the numbers go")
    parser.add_argument("--quick", action="store_true", help="one short repeat of everything: does it run?")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}: median (lowest-highest)", flush=True
    )
    result: dict[str, Any] = {}
    parts = {name: lambda name=name: measure_system(name, options.quick) for name in SYSTEMS}
    parts |= {"live": lambda: measure_stream(options.quick), "rest": lambda: measure_rest(options.quick)}
    for name, measure in parts.items():
        rows, result[name] = measure()
        print(table(rows), flush=True)
        with atomic(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(options.json)


if __name__ == "__main__":
    main()
