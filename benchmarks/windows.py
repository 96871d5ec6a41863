"""How fast random windows come off the disk, cold and warm, beside what the disk itself gives in the same run.

    python benchmarks/windows.py [--gb 20] [--folder build/windows] [--seconds 10] [--json build/windows.json]

Makes a dense corpus of so many GB (6,172 vertices, float16), shards of so many GB as the compact preset reads them
(coefficients of a basis, and features of six versions of the sound), twice the space in all, deleted at the end; reads
32-frame windows of random clips in batches of 32 as training does, and prints a table. Cold: the files' pages are dropped
first, and no more than a quarter of them is read. References of the same run: the disk
read from front to back, and as many bytes as a window has read at random places, 8 at a time, with nothing done with them.
At the end the official preset is trained on the corpus for some steps, and says which share of its time it waited for data.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
from models import PUBLISHED_VERTICES, sheet, speech

from meshtalk.config import PRESETS
from meshtalk.corpus.rows import ClipRows, OpenFile, Read, read_all
from meshtalk.corpus.store import AUDIO, DENSE, PHONES, ClipInfo, Corpus, CorpusWriter
from meshtalk.files import write_json
from meshtalk.training.run import quick, train
from meshtalk.training.shards import Rows, RowStore, plan, write_shard

FRAMES, BATCH, FPS = 32, 32, Fraction(30)
CLIP_FRAMES = 150
SHAPES, FEATURES, HOPS, VERSIONS = 52, 384, 160, 6
"""Of a basis; features a hop of the phonetic front end; hops that a window's encoder hears; of every clip's sound."""
MOTION_ROWS = Rows("motion", np.dtype("<f4"), SHAPES)
FEATURE_ROWS = Rows("features", np.dtype("<f2"), FEATURES, VERSIONS)
SHARE = 0.25
"""Of the files, which a cold measure reads at most: what it has read is in memory afterwards."""
WARM_BYTES = 1 << 30
HELD_OUT = 8
"""Clips for validation, when there are more than twice as many."""
TRAINING_STEPS = 30
"""Of stage 1; the other stages in proportion."""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    name: str
    windows_s: float
    gb_s: float
    cpu: float
    """Processor seconds a second."""
    rss_mb: float
    """By how much the process grew meanwhile."""


def make_corpus(folder: Path, gb: float, n_vertices: int) -> Corpus:
    """A dense corpus."""
    rng = np.random.default_rng(0)
    topology, template = sheet(n_vertices)
    writer = CorpusWriter(folder / "corpus", topology, FPS, ["random numbers"])
    writer.add_subject("s", template)
    n_clips = max(8, round(gb * 1e9 / (CLIP_FRAMES * n_vertices * 6)))
    motions = [rng.normal(0, 0.002, (CLIP_FRAMES, n_vertices, 3)).astype(np.float16) for _ in range(4)]
    sound = folder / AUDIO
    soundfile.write(sound, speech(float(CLIP_FRAMES / FPS)), 16000)
    infos = []
    for index in range(n_clips):
        info = _info(index, "val" if index < HELD_OUT < n_clips // 2 else "train")
        clip = folder / "corpus/clips" / info.id
        clip.mkdir(parents=True)
        np.save(clip / DENSE, motions[index % 4])
        shutil.copy(sound, clip / AUDIO)
        (clip / PHONES).write_text("[]")
        infos.append(info)
    corpus = writer.finish(infos)
    os.sync()
    return corpus


def make_stores(folder: Path, gb: float, at_least: int) -> tuple[RowStore, RowStore]:
    """Coefficients, and features of all versions of the sound, of as many clips as fill so many GB."""
    rng = np.random.default_rng(0)
    lengths = {MOTION_ROWS: CLIP_FRAMES, FEATURE_ROWS: round(CLIP_FRAMES / FPS * 100) + HOPS}
    clip_bytes = sum(rows.parts * length * rows.row_bytes for rows, length in lengths.items())
    infos = [_info(index, "train") for index in range(max(at_least, round(gb * 1e9 / clip_bytes)))]
    stores = []
    for rows, length in lengths.items():
        shards = plan(folder, infos, rows, "benchmark", lambda info: info.id)
        block = rng.normal(size=(rows.parts, length, rows.width)).astype(rows.dtype)
        for shard in shards:
            write_shard(shard, rows, (block for _ in shard.clips))
        stores.append(RowStore(shards, rows))
    os.sync()
    return stores[0], stores[1]


def _info(index: int, split: str) -> ClipInfo:
    files = {DENSE: "-", AUDIO: "-", PHONES: "-"}
    seconds = float(CLIP_FRAMES / FPS)
    return ClipInfo(f"c{index:06d}", split, "v", "s", f"{index}", "neutral", CLIP_FRAMES, seconds, 16000, files)


def drop(files: list[Path]) -> None:
    """Forget what is in memory of the files."""
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, take: Callable[[np.ndarray], int], picks: Iterator[np.ndarray], seconds: float) -> Measured:
    """Take batches of clips, which `take` says the bytes of, until the time or the picks are over."""
    take(next(picks))  # opens, compiles, grows
    before, cpu = _rss_mb(), time.process_time()
    began, windows, size = time.perf_counter(), 0, 0
    for clips in picks:
        size += take(clips)
        windows += len(clips)
        if time.perf_counter() - began > seconds:
            break
    took = time.perf_counter() - began
    grown = _rss_mb() - before
    return Measured(name, windows / took, size / took / 1e9, (time.process_time() - cpu) / took, grown)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def run(folder: Path, gb: float, seconds: float, n_vertices: int = PUBLISHED_VERTICES) -> list[Measured]:
    """Make, measure, and leave the folder."""
    corpus = make_corpus(folder, gb, n_vertices)
    infos, rng = corpus.clips, np.random.default_rng(1)
    motion, features = make_stores(folder, gb, at_least=len(infos))
    dense_files = [corpus.root / "clips" / info.id / DENSE for info in infos]
    rows = ClipRows(corpus)
    starts = np.arange(0, CLIP_FRAMES - FRAMES, 3).tolist()

    def begins(clips: np.ndarray) -> list[int]:
        return [starts[i] for i in rng.integers(len(starts), size=len(clips))]

    def sound(clips: np.ndarray) -> int:
        hops = [start * 10 // 3 for start in begins(clips)]
        versions = rng.integers(VERSIONS, size=len(clips)).tolist()
        return torch.from_numpy(features.windows(clips.tolist(), versions, hops, HOPS)).float().nbytes // 2

    def dense(clips: np.ndarray) -> int:
        return rows.windows([infos[clip] for clip in clips], begins(clips), FRAMES).nbytes // 2

    def basis(clips: np.ndarray) -> int:
        return motion.windows(clips.tolist(), [0] * len(clips), begins(clips), FRAMES).nbytes

    def loads(clips: np.ndarray) -> int:
        return sum(np.load(dense_files[clip]).nbytes for clip in clips)

    def raw(files: list[Path], size: int) -> Callable[[np.ndarray], int]:
        lengths = np.array([path.stat().st_size for path in files])
        room = np.empty((BATCH, size), np.uint8)

        def take(clips: np.ndarray) -> int:
            reads = []
            for place, into in zip(rng.integers(len(files), size=len(clips)), room, strict=True):
                offset = int(rng.integers(lengths[place] - size))
                reads.append(Read(OpenFile(files[place]), into, offset))
            read_all(reads)
            return size * len(clips)

        return take

    def along(clips: np.ndarray) -> int:
        room = np.empty(1 << 22, np.uint8)
        for clip in clips:
            with open(dense_files[clip], "rb", buffering=0) as file:
                while file.readinto(room.data):
                    pass
        return sum(dense_files[clip].stat().st_size for clip in clips)

    def picks(some: int, most: float) -> Iterator[np.ndarray]:
        for _ in range(max(2, int(most / BATCH))):
            yield rng.integers(some, size=BATCH)

    motion_files = [shard.path for shard in motion.shards]
    feature_files = [shard.path for shard in features.shards]
    window, hop_bytes = FRAMES * n_vertices * 6, HOPS * FEATURES * 2
    few = min(len(infos), max(BATCH, int(WARM_BYTES / (CLIP_FRAMES * n_vertices * 6))))
    dense_share = SHARE * len(infos) * CLIP_FRAMES / FRAMES
    sound_share = SHARE * sum(path.stat().st_size for path in feature_files) / hop_bytes
    found = []

    def cold(name: str, take: Callable[[np.ndarray], int], n_clips: int, most: float) -> None:
        drop(every)
        found.append(measure(name, take, picks(n_clips, most), seconds))

    def warm(name: str, take: Callable[[np.ndarray], int]) -> None:
        take(np.arange(few))
        along(np.arange(few))
        for clip in range(0, few, BATCH):
            sound(np.arange(clip, min(clip + BATCH, few)))
        found.append(measure(name, take, picks(few, 1e9), seconds))

    def both(first: Callable[[np.ndarray], int]) -> Callable[[np.ndarray], int]:
        return lambda clips: first(clips) + sound(clips)

    every = [*dense_files, *motion_files, *feature_files]
    drop(every)
    order = iter(np.arange(len(infos)).reshape(-1, 1)[: int(len(infos) * SHARE)])
    found.append(measure("reference: whole clips, front to back, cold", along, order, seconds))
    n_dense, n_rows = len(infos), len(motion.lengths)
    cold("reference: np.load of whole clips, cold", loads, n_dense, SHARE * n_dense)
    cold(f"reference: {window / 1e6:.2f} MB at random places, cold", raw(dense_files, window), n_dense, dense_share)
    cold("dense, cold", dense, n_dense, dense_share)
    cold("dense with features, cold", both(dense), n_dense, dense_share)
    cold(
        f"reference: {hop_bytes / 1e6:.2f} MB at random places, cold",
        raw(feature_files, hop_bytes),
        n_rows,
        sound_share,
    )
    cold("basis, cold", basis, n_rows, sound_share)
    cold("basis with features, cold", both(basis), n_rows, sound_share)
    warm("dense, warm", dense)
    warm("dense with features, warm", both(dense))
    warm("basis, warm", basis)
    warm("basis with features, warm", both(basis))
    return found


def train_cold(corpus: Corpus, folder: Path) -> list[str]:
    """Train the official preset for some steps, its files out of memory as it begins; what each stage says at its end."""
    model_config, train_config = PRESETS["official"]
    said: list[str] = []

    def listen(line: str) -> None:
        if "waited for data" in line:
            said.append(line)
        elif line.startswith("geometry"):  # made of all motion, which is in memory now
            drop([corpus.root / "clips" / info.id / DENSE for info in corpus.clips])

    train(
        corpus,
        folder / "run",
        model_config,
        quick(train_config, TRAINING_STEPS / train_config.stage1.steps),
        progress=listen,
    )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, default=Path("build/windows"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path, default=Path("build/windows.json"))
    told = parser.parse_args()
    told.folder.mkdir(parents=True)
    try:
        found = run(told.folder, told.gb, told.seconds)
        trained = train_cold(Corpus.open(told.folder / "corpus"), told.folder)
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    print(f"{'':48} windows/s   GB/s  cores  grown by MB")
    for line in found:
        print(f"{line.name:48} {line.windows_s:9.0f} {line.gb_s:6.2f} {line.cpu:6.2f} {line.rss_mb:12.0f}")
    print(f"largest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    print(*trained, sep="\n")
    write_json(told.json, {"gb": told.gb, "measured": [asdict(line) for line in found], "training": trained})


if __name__ == "__main__":
    main()
