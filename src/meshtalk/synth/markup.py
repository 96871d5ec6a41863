"""What of a transcript is spoken: stage directions, speakers' names, cues of subtitles and markup are not."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from meshtalk.errors import InputError

SUFFIXES = (".txt", ".srt", ".vtt")
"""Of transcripts beside their sounds."""
FEWEST_TIMES = 2
"""A word that stands before a colon at the beginning of so many lines is a speaker's name."""
_CUE = re.compile(r"(?:[0-9]+:)?[0-9]{1,2}:[0-9]{2}[.,][0-9]{1,3}\s*-->.*")
_NO_TEXT = re.compile(r"(WEBVTT|NOTE|STYLE|REGION)\b")
_TAG = re.compile(r"</?(?:[a-z]+\b|[0-9:.]+)[^<>\n]*>", re.I)
_BRACKETS = {"[": "]", "(": ")", "{": "}", "<": ">", "［": "］", "（": "）", "【": "】", "⟨": "⟩"}
_MUSIC = "♪♫♬♩🎵🎶"
_SUNG = re.compile(f"[{_MUSIC}][^{_MUSIC}\n]*[{_MUSIC}]?")
_LABEL = re.compile(r"\s*(?:[-–—•]\s*)?([^\W\d_][\w.'’-]*(?: [\w.'’-]+){0,3})\s*:(?=\s|$)")
_CALLED = re.compile(r"(?<=[.!?…\"”] )([A-Z][A-Z .'’-]*[A-Z.][0-9 ]*):(?=\s)")
_TITLED = re.compile(r"(?:mr|mrs|ms|dr|prof)\.? .+|.* [0-9]+", re.I)
_SIGN = re.compile(r"[&%@$€£¥+=°§©®™#*\\|~^]|_{2,}")


@dataclass(frozen=True)
class Transcript:
    """A transcript, and what of it is not spoken."""

    words: str
    """What is spoken, on one line."""
    unspoken: tuple[str, ...] = ()
    """Directions, names and songs that are left out, in their order."""


def spoken(text: str, speakers: Iterable[str] = ()) -> Transcript:
    """What is spoken of a transcript, which may be a SubRip or WebVTT file.

    Words in brackets of any kind, songs between notes, tags and the lines of cues are not. Before a colon at the beginning of a
    line, a name is what is in capitals among lines that are not, has a title or a number (Dr. Smith:, Speaker 1:), stands there
    more than once, or is one of `speakers`.

    Raises:
        InputError: a bracket that is not closed; a word before a colon that may be a name or be spoken (Anna:, Remember:); or a
            sign that is read in more than one way (&, %, *laughs*).
    """
    unspoken: list[str] = []
    known = {_plain(name) for name in speakers}
    lines = _text_lines(text, unspoken)
    known |= {label for label, times in Counter(filter(None, map(_label, lines))).items() if times >= FEWEST_TIMES}
    mixed = any(letter.islower() for letter in "".join(lines))
    kept = []
    for line in lines:
        match = _LABEL.match(line)
        if match is not None:
            name = match[1]
            if (mixed and name.isupper()) or _TITLED.fullmatch(name) or _plain(name) in known:
                line = _left_out(f"{name}:", unspoken) + line[match.end() :]
            elif " " not in name or all(word[0].isupper() for word in name.split()):
                raise InputError(
                    f"its words begin with {name!r} and a colon, which may be a speaker's name or be spoken. Write names in"
                    " capitals, and a comma after words."
                )
        kept.append(_CALLED.sub(lambda found: _left_out(found[0], unspoken), line) if mixed else line)
    words = " ".join(" ".join(kept).split())
    if sign := _SIGN.search(words):
        raise InputError(f"its words have a {sign[0]!r}. Write out what is said, and in brackets what is not.")
    return Transcript(words, tuple(unspoken))


def labels(text: str) -> list[str]:
    """What stands before a colon at the beginning of each line, in lower case: names, if other transcripts have them too."""
    try:
        return [label for label in map(_label, _text_lines(text, [])) if label]
    except InputError:
        return []


def _label(line: str) -> str:
    match = _LABEL.match(line)
    return _plain(match[1]) if match else ""


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", name.lower()).split())


def _text_lines(text: str, unspoken: list[str]) -> list[str]:
    """Lines without cues, tags, brackets and songs.

    Raises:
        InputError: a bracket without its other half.
    """
    text = html.unescape("\n".join(_without_cues(text))).replace("\\N", "\n").replace("\xa0", " ")
    text = re.sub(r"(?m)^\s*>+", "", _TAG.sub("", text))
    text = _without_brackets(text, unspoken)
    return _SUNG.sub(lambda found: _left_out(found[0].strip(_MUSIC), unspoken), text).splitlines()


def _without_cues(text: str) -> list[str]:
    """Lines without those of SubRip and WebVTT that are no text: numbers and names of cues, times, headers and notes."""
    lines = [line.strip() for line in text.splitlines()]
    times = [number for number, line in enumerate(lines) if _CUE.fullmatch(line)]
    if not times:
        return lines
    cues = set(times) | {number - 1 for number in times if number and _is_cue_name(lines, number - 1)}
    kept, hidden = [], False
    for number, line in enumerate(lines):
        if not line or number in cues:
            hidden = False
        elif not lines[number - 1] or number == 0:
            hidden = _NO_TEXT.match(line) is not None
        if number not in cues and not hidden:
            kept.append(line)
    return kept


def _is_cue_name(lines: list[str], number: int) -> bool:
    """Whether the line before a cue's times is its number or name rather than the text of the cue before."""
    return lines[number].isdigit() or number == 0 or not lines[number - 1]


def _without_brackets(text: str, unspoken: list[str]) -> str:
    kept: list[str] = []
    inner, ends = "", ""
    for letter in text:
        if letter in _BRACKETS:
            inner, ends = inner + letter, ends + _BRACKETS[letter]
        elif ends:
            inner, ends = inner + letter, ends[:-1] if letter == ends[-1] else ends
            if not ends:
                kept.append(_left_out(inner, unspoken))
                inner = ""
        elif letter in _BRACKETS.values():
            raise InputError(f"its words have a {letter} that ends nothing. Put brackets around what is not spoken.")
        else:
            kept.append(letter)
    if ends:
        raise InputError(f"its words have a {inner[0]} without its {ends[0]}. Put brackets around what is not spoken.")
    return "".join(kept)


def _left_out(what: str, unspoken: list[str]) -> str:
    if what.strip():
        unspoken.append(" ".join(what.split()))
    return " "
