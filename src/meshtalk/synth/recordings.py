"""Folders of recordings with transcripts: listing, speakers and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshtalk.corpus.splits import ENOUGH, hold_out
from meshtalk.errors import InputError
from meshtalk.synth.align import dictionary, words_of

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


def read_folder(folder: str | Path) -> Folder:
    """Recordings of `transcripts.tsv` (file, tab, words, and perhaps tab, speaker), or of every NAME.wav with a NAME.txt.

    Without that list, sub-folders are searched too. A speaker is the list's third column, else the first sub-folder
    on the way to the file, else the folder itself.

    Raises:
        InputError: no such folder, a list that cannot be read, no sounds with words, two recordings of one name, or
            no pocketsphinx.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"the source must be a folder of recordings and transcripts, got {folder}")
    known, unknown, dropped, recordings = dictionary(), Counter[str](), {}, []
    listed = list(_listed(folder) if (folder / LISTING).is_file() else _beside(folder))
    if not listed:
        raise InputError(
            f"{folder} has no sounds with their words. Put NAME.txt beside each NAME.wav, or write {LISTING}, a line for"
            " each sound: file, tab, words."
        )
    for name, text, speaker in listed:
        strange = sorted({word for word in words_of(text or "") if word not in known})
        if text is None:
            dropped[name] = "it has no words beside it" if (folder / name).is_file() else "there is no such file"
        elif not words_of(text):
            dropped[name] = "its text has no words"
        elif strange:
            unknown.update(strange)
            dropped[name] = f"words that the dictionary does not have: {', '.join(strange)}"
        else:
            whose = _name(speaker or (Path(name).parts[0] if len(Path(name).parts) > 1 else folder.resolve().name))
            recordings.append(
                TranscribedRecording(
                    _name(str(Path(name).with_suffix(""))), folder / name, " ".join(text.split()), whose
                )
            )
    twice = [id for id, count in Counter(spoken.id for spoken in recordings).items() if count > 1]
    if twice:
        raise InputError(f"two recordings would be called {twice[0]}. Rename one of them, or list it once.")
    return Folder(tuple(recordings), dropped, dict(unknown.most_common()))


def _listed(folder: Path) -> Iterator[tuple[str, str | None, str]]:
    """(file, words or None where there is no such file, speaker or "") of the list."""
    listing = folder / LISTING
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{listing} cannot be read ({error}). Write it as UTF-8 text.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        if number == 1 and name == "file":
            continue
        if not name or len(rest) not in (1, 2):
            raise InputError(f"line {number} of {listing} is not file, tab, words (and perhaps tab, speaker)")
        yield name, rest[0] if (folder / name).is_file() else None, rest[1] if len(rest) == 2 else ""


def _beside(folder: Path) -> Iterator[tuple[str, str | None, str]]:
    """(file, words or None where they are missing, "") of all sounds, if any of them has words."""
    sounds = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
    if not any(path.with_suffix(".txt").is_file() for path in sounds):
        return
    for path in sounds:
        words = path.with_suffix(".txt")
        try:
            text = words.read_text(encoding="utf-8-sig") if words.is_file() else None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{words} cannot be read ({error}). Write it as UTF-8 text.") from None
        yield path.relative_to(folder).as_posix(), text, ""


def _name(text: str) -> str:
    """`text` as a name that may be a file's."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def splits_of(recordings: Sequence[TranscribedRecording]) -> dict[str, str]:
    """Id → split: whole speakers are held out, or single recordings where there are fewer than ENOUGH speakers.

    The choice is a function of the names. Of fewer than ENOUGH recordings all are for training.
    """
    return hold_out({spoken.id: spoken.speaker for spoken in recordings}, ENOUGH)
