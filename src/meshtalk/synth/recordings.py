"""Folders of recordings with transcripts: listing, speakers and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshtalk.corpus.splits import ENOUGH, hold_out
from meshtalk.errors import InputError
from meshtalk.files import read_text
from meshtalk.synth.align import dictionary, words_of
from meshtalk.synth.markup import FEWEST_TIMES, SUFFIXES, Transcript, labels, spoken

LISTING = "transcripts.tsv"
SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac")


@dataclass(frozen=True)
class TranscribedRecording:
    """A sound file with its transcript and speaker."""

    id: str
    path: Path
    text: str
    speaker: str


@dataclass(frozen=True)
class Folder:
    """Recordings of a folder."""

    recordings: tuple[TranscribedRecording, ...]
    dropped: Mapping[str, str]
    """Name of a recording that cannot be used → why."""
    unknown_words: Mapping[str, int]
    """Word that the dictionary does not have → in how many recordings it is; most frequent first."""
    unspoken: Mapping[str, int]
    """Direction, name or song that is left out of transcripts → how often; most frequent first."""


def read_folder(folder: str | Path) -> Folder:
    """Recordings of `transcripts.tsv` (file, tab, words, and perhaps tab, speaker), or of every NAME.wav with a NAME.txt, .srt
    or .vtt.

    Without that list, sub-folders are searched too. A speaker is the list's third column, else the first sub-folder
    on the way to the file, else the folder itself.

    Raises:
        InputError: no such folder, a list that cannot be read, no sounds with words, two recordings of one name, or
            no pocketsphinx.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"the source must be a folder of recordings and transcripts, got {folder}")
    known, unknown, unspoken = dictionary(), Counter[str](), Counter[str]()
    dropped: dict[str, str] = {}
    recordings: list[TranscribedRecording] = []
    listed = list(read_listing(folder) if (folder / LISTING).is_file() else _beside(folder))
    if not listed:
        raise InputError(
            f"{folder} has no sounds with their words. Put NAME.txt beside each NAME.wav, or write {LISTING}, a line for"
            " each sound: file, tab, words."
        )
    first = Counter(label for _, text, _ in listed if isinstance(text, str) for label in set(labels(text)))
    often = {label for label, times in first.items() if times >= FEWEST_TIMES}
    for name, text, speaker in listed:
        whose = speaker or (Path(name).parts[0] if len(Path(name).parts) > 1 else folder.resolve().name)
        try:
            transcript = _words(text, often | {whose})
            words = words_of(transcript.words)
            if not words:
                raise InputError("its text has no words")
            if strange := sorted({word for word in words if word not in known}):
                unknown.update(strange)
                raise InputError(f"words that the dictionary does not have: {', '.join(strange)}")
        except InputError as error:
            dropped[name] = str(error)
            continue
        unspoken.update(transcript.unspoken)
        spoken_id = _name(str(Path(name).with_suffix("")))
        recordings.append(TranscribedRecording(spoken_id, folder / name, transcript.words, _name(whose)))
    twice = [id for id, count in Counter(spoken.id for spoken in recordings).items() if count > 1]
    if twice:
        raise InputError(f"two recordings would be called {twice[0]}. Rename one of them, or list it once.")
    return Folder(tuple(recordings), dropped, dict(unknown.most_common()), dict(unspoken.most_common()))


def _words(text: str | InputError, speakers: Iterable[str]) -> Transcript:
    if isinstance(text, InputError):
        raise text
    return spoken(text, speakers)


def read_listing(folder: Path) -> Iterator[tuple[str, str | InputError, str]]:
    """(file, words or why there are none, speaker or "") of the list in a folder.

    Raises:
        InputError: a list that cannot be read, or a line without words.
    """
    listing = folder / LISTING
    for number, line in enumerate(read_text(listing).splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        if number == 1 and name == "file":
            continue
        if not name or len(rest) not in (1, 2) or not rest[0]:
            raise InputError(
                f"line {number} of {listing} has no words. Write file, tab, words (and perhaps tab, speaker)."
            )
        text = rest[0] if (folder / name).is_file() else InputError("there is no such file")
        yield name, text, rest[1] if len(rest) == 2 else ""


def _beside(folder: Path) -> Iterator[tuple[str, str | InputError, str]]:
    """(file, words or why there are none, "") of all sounds, if any of them has words."""
    sounds = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
    texts = {path: _text_beside(path) for path in sounds}
    for path in sounds if any(texts.values()) else ():
        words = texts[path]
        try:
            text = InputError("it has no words beside it") if words is None else read_text(words)
        except InputError:
            text = InputError("its words cannot be read: they are no UTF-8 text")
        yield path.relative_to(folder).as_posix(), text, ""


def _text_beside(sound: Path) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := sound.with_suffix(suffix)).is_file()), None)


def _name(text: str) -> str:
    """`text` as a name that may be a file's."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def splits_of(recordings: Sequence[TranscribedRecording]) -> dict[str, str]:
    """Id → split: whole speakers are held out, or single recordings where there are fewer than ENOUGH speakers.

    The choice is a function of the names. Of fewer than ENOUGH recordings all are for training.
    """
    return hold_out({spoken.id: spoken.speaker for spoken in recordings}, ENOUGH)
