"""Builds the embedded corpus: voices × sentences × people × emotions."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.resources import files
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from meshtalk.audio.sounds import SOUNDS
from meshtalk.clip import Phone
from meshtalk.corpus.store import LISTENER, SPLITS, ClipInfo, Corpus, CorpusWriter
from meshtalk.errors import InputError
from meshtalk.files import atomic
from meshtalk.mesh.head import load_head
from meshtalk.parallel import in_order, pool
from meshtalk.progress import Progress, Show
from meshtalk.synth.align import RATE_HZ, SILENCE, align
from meshtalk.synth.align import VERSION as ALIGNER_VERSION
from meshtalk.synth.clips import FPS, make_clip
from meshtalk.synth.clips import VERSION as MOTION_VERSION
from meshtalk.synth.effort import with_effort
from meshtalk.synth.kokoro import cache_folder
from meshtalk.synth.sentences import sentences
from meshtalk.synth.singing import with_held_vowels
from meshtalk.synth.speech import HELD_OUT, VOICES, Utterance, synthesize
from meshtalk.synth.upper_face import EMOTIONS

SPEECH_VERSION = 1
"""Raise when voices, sentences' synthesis or alignment change: cached utterances are then made again."""

SHARE = {"train": 1.0, "val": 1 / 15, "test": 1 / 9}
"""Length of each split relative to the minutes asked for: 60 minutes of training come with 4 and 7."""

HELD_OUT_SENTENCES = {"val": 0.07, "test": 0.12}
HELD_OUT_PEOPLE = {"val": 3, "test": 5}
NEUTRAL_SHARE = 0.28
LISTENING_SHARE = 0.15
"""Share of training minutes without speech: a silent face rests its mouth and blinks."""
SOUND_SHARE, SOUND_DB = 0.5, (-45.0, -12.0)
"""Of these minutes, those in which music, typing, breath, hum or noise is heard; and its level."""
SOUND_CHANCES = (0.45, 0.15, 0.15, 0.1, 0.15)
"""In the order of SOUNDS."""
LISTENING_S = (8.0, 14.0)
ROOM_DB = (-90.0, -50.0)
DIGITAL_SILENCE_SHARE = 0.3
SUNG_SHARE = 0.08
"""Of the training clips: vowels are held, at a pitch of their own."""
EFFORT_DB = 5.0
"""Voices are given up to so much more or less emphasis, clip by clip: soft and loud speech."""
FLITE_TURNS = 4
"""flite's voices take this many turns for one of each other's: sharp consonants, and fifteen times as fast."""

LICENCES = (
    "speech: synthesised with Kokoro-82M (Apache-2.0) and flite (permissive), sentences MIT",
    "head: CC0 (MakeHuman)",
    "motion: CC0",
)


@dataclass(frozen=True)
class Job:
    """Voice, sentence, face and emotion of a clip, which determine all of it."""

    id: str
    split: str
    voice: str
    sentence: str
    person: str
    emotion: str
    seed: int


def rng_of(seed: int, *labels: object) -> np.random.Generator:
    """A generator as a function of a seed and labels."""
    digest = hashlib.sha256("/".join(map(str, labels)).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], "<u4").tolist()])


@cache
def casts(seed: int) -> dict[str, dict[str, list[str]]]:
    """split → {"voices", "sentences", "people"}: three disjoint partitions; a voice may have several turns.

    Each sentence is assigned by itself, so that a longer list leaves the others where they were.
    """
    held_out = {name for names in HELD_OUT.values() for name in names}
    turns = {name: FLITE_TURNS if voice.kind == "flite" else 1 for name, voice in VOICES.items()}
    voices = {"train": [name for name in VOICES if name not in held_out for _ in range(turns[name])]}
    voices |= {split: list(names) for split, names in HELD_OUT.items()}
    said: dict[str, list[str]] = {split: [] for split in SPLITS}
    for text in sentences():
        chance = rng_of(seed, "sentence", text).random()
        held = HELD_OUT_SENTENCES["val"], sum(HELD_OUT_SENTENCES.values())
        said["val" if chance < held[0] else "test" if chance < held[1] else "train"].append(text)
    order = [load_head().people[k].name for k in rng_of(seed, "people").permutation(len(load_head().people))]
    n_val, n_held = HELD_OUT_PEOPLE["val"], sum(HELD_OUT_PEOPLE.values())
    people = {"val": order[:n_val], "test": order[n_val:n_held], "train": order[n_held:]}
    return {s: {"voices": voices[s], "sentences": said[s], "people": people[s]} for s in SPLITS}


def performance(rng: np.random.Generator, people: Sequence[str]) -> tuple[str, str, int]:
    """(person, emotion, seed of the motion) of a clip, sampled in this order."""
    person = str(rng.choice(people))
    others = [name for name in EMOTIONS if name != "neutral"]
    emotion = "neutral" if rng.random() < NEUTRAL_SHARE else str(rng.choice(others))
    return person, emotion, int(rng.integers(2**31))


def jobs(split: str, seed: int) -> Iterator[Job]:
    """The endless plan of a split: rounds with every sentence once, each in an order of its own.

    A job follows from seed, split, round and sentence alone: a longer corpus begins with the clips of a
    shorter one, and another sentence in the list does not change what the others are.
    """
    cast = casts(seed)[split]
    for nth in count():
        chances = {text: rng_of(seed, split, nth, text) for text in cast["sentences"]}
        for text in sorted(chances, key=lambda text: chances[text].random()):
            rng = chances[text]
            # a voice for each round: no sentence is said twice by one voice while there are others
            voice = cast["voices"][(int(rng_of(seed, text).integers(1000)) + 11 * nth) % len(cast["voices"])]
            person, emotion, draw = performance(rng, cast["people"])
            yield Job(f"{split}-{key_of(nth, text)[:10]}", split, voice, text, person, emotion, draw)


def listening(seed: int) -> Iterator[Job]:
    """The endless plan of training clips without speech."""
    people = casts(seed)["train"]["people"]
    for nth in count():
        rng = rng_of(seed, LISTENER, nth)
        person, emotion = str(rng.choice(people)), str(rng.choice(list(EMOTIONS)))
        yield Job(
            f"train-{key_of(LISTENER, nth)[:10]}", "train", LISTENER, "", person, emotion, int(rng.integers(2**31))
        )


def room(seed: int) -> Utterance:
    """Seconds of room tone, of digital silence, or of a sound that is not speech."""
    rng = np.random.default_rng(seed)
    n_samples = round(rng.uniform(*LISTENING_S) * RATE_HZ)
    level = 0.0 if rng.random() < DIGITAL_SILENCE_SHARE else 10 ** (rng.uniform(*ROOM_DB) / 20)
    audio = level * rng.standard_normal(n_samples)
    if rng.random() < SOUND_SHARE:
        name = str(rng.choice(list(SOUNDS), p=SOUND_CHANCES))
        audio = audio + 10 ** (rng.uniform(*SOUND_DB) / 20) * SOUNDS[name](n_samples, RATE_HZ, rng)
    audio = np.clip(audio, -1, 1).astype(np.float32)
    return Utterance(audio, (Phone(SILENCE, 0.0, n_samples / RATE_HZ),), "", LISTENER, "")


@cache
def motion_digest() -> str:
    """Digest of the head and of the versions of the code that determine motion."""
    head = (files("meshtalk") / "assets" / "head.npz").read_bytes()
    return f"{hashlib.sha256(head).hexdigest()} motion {MOTION_VERSION} aligner {ALIGNER_VERSION}"


def key_of(*parts: object) -> str:
    """Digest of `parts`, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached_utterance(job: Job, folder: Path) -> Utterance | None:
    """The job's speech, from the cache in `folder` or synthesised; None where alignment failed.

    Samples are the 16-bit ones of the cache in both cases, so that a clip does not depend on which it was.
    Sound that another version of the aligner has seen is aligned again, not spoken again.
    """
    key = key_of(SPEECH_VERSION, job.voice, job.sentence, job.seed)
    sound, facts = folder / f"{key}.flac", folder / f"{key}.json"
    try:
        known = json.loads(facts.read_text(encoding="utf-8"))
        if known["phones"] is None:
            return None
        audio, sample_rate = soundfile.read(sound, dtype="float32")
    except (OSError, ValueError, KeyError, soundfile.SoundFileError):
        folder.mkdir(parents=True, exist_ok=True)
        utterance = synthesize(job.voice, job.sentence, job.seed)
        if utterance is None:
            _write_facts(facts, None)
            return None
        with atomic(sound) as temporary:
            soundfile.write(temporary, utterance.audio, utterance.sample_rate, format="FLAC", subtype="PCM_16")
        _write_facts(facts, utterance.phones)
        return cached_utterance(job, folder)
    phones = tuple(Phone(str(n), float(a), float(b)) for n, a, b in known["phones"])
    if known["aligner"] != ALIGNER_VERSION:
        aligned = align(audio, int(sample_rate), job.sentence)
        _write_facts(facts, aligned)
        if aligned is None:
            return None
        phones = aligned
    return Utterance(audio, phones, job.sentence, job.voice, VOICES[job.voice].sex, int(sample_rate))


def _sixteen_bits(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """(S,) samples as the corpus keeps them, so that a clip's motion can be made again from its sound."""
    with io.BytesIO() as file:
        soundfile.write(file, audio, sample_rate, format="WAV", subtype="PCM_16")
        file.seek(0)
        return soundfile.read(file, dtype="float32")[0]


def _write_facts(path: Path, phones: Sequence[Phone] | None) -> None:
    listed = None if phones is None else [list(phone) for phone in phones]
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({"aligner": ALIGNER_VERSION, "phones": listed}), encoding="utf-8")


def _make(job: Job, writer: CorpusWriter, utterances: Path) -> ClipInfo | None:
    """One clip, written; runs in a worker process."""
    recipe = key_of(motion_digest(), SPEECH_VERSION, asdict(job))
    existing = writer.existing(job.id, recipe)
    if existing is not None:
        return existing
    utterance = room(job.seed) if job.voice == LISTENER else cached_utterance(job, utterances)
    if utterance is None:
        return None
    audio, phones = utterance.audio, utterance.phones
    if job.split == "train" and job.voice != LISTENER and (rng := rng_of(job.seed, "sung")).random() < SUNG_SHARE:
        audio, phones = with_held_vowels(audio, utterance.sample_rate, phones, rng)
    if job.voice != LISTENER:
        emphasis_db = float(rng_of(job.seed, "effort").uniform(-EFFORT_DB, EFFORT_DB))
        audio = with_effort(audio, utterance.sample_rate, emphasis_db)
    clip = make_clip(
        _sixteen_bits(audio, utterance.sample_rate),
        utterance.sample_rate,
        phones,
        load_head().person(job.person),
        emotion=job.emotion,
        sentence=job.sentence,
        seed=job.seed,
    )
    return writer.add(clip, id=job.id, split=job.split, voice=job.voice, recipe=recipe, seed=job.seed)


def build_corpus(
    root: str | Path,
    *,
    minutes: float = 60.0,
    seed: int = 0,
    workers: int = 2,
    progress: Show | None = None,
) -> Corpus:
    """Build the embedded corpus in folder `root`, or resume an interrupted build.

    Same seed, same corpus, whatever the number of workers. Utterances are cached, so that a change of the
    articulation does not synthesise speech again.

    Args:
        minutes: of training speech; validation, test and silent clips are additional (SHARE, LISTENING_SHARE).
        workers: processes, each about one core's work; 1 stays in this one.
        progress: called after every clip.

    Raises:
        InputError: invalid arguments, a folder that cannot be written, a missing voice, package or program.
    """
    if not (np.isfinite(minutes) and minutes > 0):
        raise InputError(f"minutes must be positive, got {minutes}. Try 60.")
    processes = pool(workers)
    writer = CorpusWriter(root, load_head().topology, FPS, LICENCES)
    for person in load_head().people:
        writer.add_subject(person.name, person.template)
    utterances = cache_folder() / "utterances"
    parts = [(jobs(split, seed), 60 * minutes * SHARE[split]) for split in ("test", "val", "train")]
    parts.append((listening(seed), 60 * minutes * LISTENING_SHARE))
    total_s = sum(goal_s for _, goal_s in parts)
    done: list[ClipInfo] = []
    done_s, dropped = 0.0, 0
    with processes as executor:
        for plan, goal_s in parts:
            part_s = 0.0
            make = partial(_make, writer=writer, utterances=utterances)
            with closing(in_order(make, plan, executor, ahead=2 * workers)) as results:
                while part_s < goal_s:
                    info = next(results)
                    if info is None:
                        dropped += 1
                    else:
                        done.append(info)
                        part_s, done_s = part_s + info.duration_s, done_s + info.duration_s
                    if progress is not None:
                        note = f"{len(done)} clips, {dropped} dropped"
                        progress(Progress(round(done_s / 60, 1), round(total_s / 60, 1), "min", note=note))
    return writer.finish(sorted(done, key=lambda info: (SPLITS.index(info.split), info.id)))
