"""Corpora from recordings and transcripts: aligned, then animated on the packaged head's people.

Phones determine the mouth; faces, emotions, blinks and gaze are sampled as in the embedded corpus. Alignment takes nearly all
of the time and is cached, so that an interrupted run resumes, and a run with more recordings aligns only the new ones.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from meshtalk.audio.files import VERSION as READER_VERSION
from meshtalk.audio.files import read_audio
from meshtalk.clip import Phone
from meshtalk.corpus.ownership import Maker
from meshtalk.corpus.splits import ENOUGH
from meshtalk.corpus.store import SPLITS, ClipInfo, Corpus, CorpusWriter
from meshtalk.errors import DiskError, InputError
from meshtalk.files import atomic
from meshtalk.mesh.head import load_head
from meshtalk.outcomes import DROPPED, Outcome, some_of, told
from meshtalk.parallel import in_order, pool
from meshtalk.progress import Show, followed
from meshtalk.synth.align import RATE_HZ, align
from meshtalk.synth.align import VERSION as ALIGNER_VERSION
from meshtalk.synth.build import Job, casts, key_of, motion_digest, performance, rng_of
from meshtalk.synth.clips import FPS, make_clip
from meshtalk.synth.kokoro import cache_folder
from meshtalk.synth.recordings import Folder, TranscribedRecording, read_folder, splits_of

MAKER = Maker("speech.json")
NOT_FOUND = "its words were not found in the sound"
LICENCES = ("audio: as the recordings", "head: CC0 (MakeHuman)", "motion: CC0")


@dataclass(frozen=True)
class Report:
    """Outcome of the recordings, saved in the corpus as speech.json; `str()` formats it for people."""

    clips: int
    seconds: float
    splits: dict[str, dict[str, float]]
    """Split → {"clips", "seconds", "speakers"}."""
    dropped: dict[str, str]
    """Recording → why."""
    unknown_words: dict[str, int]
    """Word missing in the dictionary → number of recordings with it."""
    unspoken: dict[str, int]
    """Direction, name or song that was left out of transcripts → how often."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.clips} clips, {self.seconds:.1f} s; {len(self.dropped)} recordings dropped"]
        for name, part in self.splits.items():
            lines.append(
                f"  {name:5} {part['clips']:6.0f} clips {part['seconds']:9.1f} s {part['speakers']:4.0f} speakers"
            )
        lines += [f"  {note}" for note in self.notes]
        lines += told(Outcome(name, DROPPED, why) for name, why in self.dropped.items())
        if self.unknown_words:
            lines.append(f"  unknown words: {some_of([f'{word} ({n})' for word, n in self.unknown_words.items()])}")
        if self.unspoken:
            lines.append(f"  taken as not spoken: {some_of([f'{what} ({n})' for what, n in self.unspoken.items()])}")
        return "\n".join(lines)


@dataclass(frozen=True)
class AlignedRecording:
    """A recording whose words were found in its sound."""

    spoken: TranscribedRecording
    content: str
    """sha256 of the sound file."""


def corpus_from_speech(
    source: str | Path,
    root: str | Path,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Show | None = None,
) -> tuple[Corpus, Report]:
    """Make a corpus in folder `root` of the recordings in folder `source`, or resume an interrupted run.

    Same recordings and seed, same corpus, whatever the number of workers. Splits share no person, and no speaker if
    there are three; see `splits_of`. Nothing is written in `root` before all recordings are aligned.

    Args:
        source: see `read_folder`.
        workers: processes, each about one core's work; 1 stays in this one.
        progress: called after every recording.

    Raises:
        InputError: see `read_folder`; a folder that is another corpus or cannot be written, or not one recording
            that can be used.
    """
    source, root = Path(source), Path(root)
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    processes = pool(workers)
    folder = read_folder(source)
    MAKER.check(root, [source])
    dropped = dict(folder.dropped)
    aligned, cache = [], cache_folder() / "alignments"

    def note() -> str:
        return f"{len(dropped)} dropped"

    try:
        with processes as executor:
            with closing(in_order(partial(_hear, cache=cache), folder.recordings, executor, 2 * workers)) as results:
                for heard in followed(results, len(folder.recordings), "recordings", progress, "aligned", note):
                    if isinstance(heard, Outcome):
                        dropped[Path(heard.item).relative_to(source).as_posix()] = heard.why
                    else:
                        aligned.append(heard)
            if not aligned:
                why, count = Counter(why.split(":")[0] for why in dropped.values()).most_common(1)[0]
                example = next(f"{name}: {reason}" for name, reason in dropped.items() if reason.startswith(why))
                raise InputError(
                    f"none of {len(dropped)} recordings are usable. Most frequent reason ({count}): {why} ({example})"
                )
            MAKER.begin(root)
            writer = CorpusWriter(root, load_head().topology, FPS, LICENCES)
            plan = _planned(aligned, seed)
            make = partial(_make, writer=writer, cache=cache)
            with closing(in_order(make, plan, executor, 2 * workers)) as made:
                infos = list(followed(made, len(plan), "recordings", progress, "performed", note))
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed, perhaps for want of memory. Run again with --workers 1."
        ) from None
    corpus = writer.finish(infos)
    report = _report(corpus, folder, dropped)
    MAKER.write_report(root, asdict(report))
    return corpus, report


def _hear(spoken: TranscribedRecording, cache: Path) -> AlignedRecording | Outcome:
    """Align one recording unless it is cached; runs in a worker process."""
    try:
        content = sha256(spoken.path.read_bytes()).hexdigest()
        phones = _phones(spoken, content, cache)
    except DiskError:
        raise
    except (InputError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return Outcome(str(spoken.path), DROPPED, f"unreadable sound: {why}")
    return AlignedRecording(spoken, content) if phones else Outcome(str(spoken.path), DROPPED, NOT_FOUND)


def _phones(spoken: TranscribedRecording, content: str, cache: Path) -> tuple[Phone, ...]:
    """Phones of a recording, from the cache or aligned now; none where alignment failed.

    Raises:
        InputError: unreadable or too short a sound.
    """
    facts = cache / f"{key_of(ALIGNER_VERSION, READER_VERSION, content, spoken.text)}.json"
    try:
        return tuple(Phone(str(n), float(a), float(b)) for n, a, b in json.loads(facts.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    audio, _ = _sound(spoken.path)
    found = align(audio, RATE_HZ, spoken.text) or ()
    cache.mkdir(parents=True, exist_ok=True)
    with atomic(facts) as temporary:
        temporary.write_text(json.dumps([list(phone) for phone in found]), encoding="utf-8")
    return found


def _sound(path: Path) -> tuple[np.ndarray, str]:
    """((S,) float32 mono at 16 kHz, a note if the file is damaged).

    Raises:
        InputError: see `read_audio`.
    """
    with warnings.catch_warnings(record=True) as damage:
        warnings.simplefilter("always")
        audio, _ = read_audio(path, RATE_HZ)
    return audio, "its sound is damaged or cut off" if damage else ""


def _planned(aligned: Sequence[AlignedRecording], seed: int) -> list[tuple[Job, AlignedRecording]]:
    """Jobs in manifest order; a job is a function of seed, name and split."""
    splits = splits_of([heard.spoken for heard in aligned])
    plan = []
    for heard in aligned:
        spoken, split = heard.spoken, splits[heard.spoken.id]
        drawn = performance(rng_of(seed, "from-speech", spoken.id), casts(seed)[split]["people"])
        plan.append((Job(spoken.id, split, spoken.speaker, spoken.text, *drawn), heard))
    return sorted(plan, key=lambda pair: (SPLITS.index(pair[0].split), pair[0].id))


def _make(planned: tuple[Job, AlignedRecording], writer: CorpusWriter, cache: Path) -> ClipInfo:
    """One clip, written unless it is there; runs in a worker process.

    Raises:
        InputError: the corpus cannot be written, or the sound has gone since it was aligned.
    """
    job, heard = planned
    recipe = key_of(motion_digest(), READER_VERSION, heard.content, asdict(job))
    existing = writer.existing(job.id, recipe)
    if existing is not None:
        return existing
    audio, note = _sound(heard.spoken.path)
    clip = make_clip(
        audio,
        RATE_HZ,
        _phones(heard.spoken, heard.content, cache),
        load_head().person(job.person),
        emotion=job.emotion,
        sentence=job.sentence,
        seed=job.seed,
    )
    try:
        return writer.add(clip, id=job.id, split=job.split, voice=job.voice, recipe=recipe, seed=job.seed, note=note)
    except OSError as error:
        raise InputError(
            f"cannot write into {writer.root} ({error.strerror}). Free some space and run it again."
        ) from None


def _report(corpus: Corpus, folder: Folder, dropped: dict[str, str]) -> Report:
    parts = {}
    for split in SPLITS:
        infos = corpus.split(split)
        seconds = round(sum(info.duration_s for info in infos), 3)
        parts[split] = {"clips": len(infos), "seconds": seconds, "speakers": len({info.voice for info in infos})}
    notes = []
    if len(corpus.clips) < ENOUGH:
        notes.append(f"training needs val clips too, which it gets from {ENOUGH} usable recordings on")
    elif len({info.voice for info in corpus.clips}) < ENOUGH:
        notes.append(f"fewer than {ENOUGH} speakers: splits are by recording and share voices")
    trained = {info.sentence for info in corpus.split("train")}
    shared = sum(info.sentence in trained for info in corpus.clips if info.split != "train")
    if shared:
        notes.append(f"{shared} clips of val and test have words that are also in train")
    notes += [f"{info.id}: {info.note}" for info in corpus.clips if info.note]
    return Report(
        clips=len(corpus.clips),
        seconds=round(sum(info.duration_s for info in corpus.clips), 3),
        splits=parts,
        dropped=dropped,
        unknown_words=dict(folder.unknown_words),
        unspoken=dict(folder.unspoken),
        notes=tuple(notes),
    )
