"""When was each phone said? Forced alignment of a transcript with a recording, synthetic or real.

The acoustic model and the dictionary are those of pocketsphinx (BSD, inside its wheel). Its 10 ms boundaries
are then corrected by a constant (measured against a synthesiser that states its own timing) and lip closures
are refined on the audio itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meshtalk.clip import Phone
from meshtalk.errors import InputError

RATE_HZ = 16_000
SILENCE = "pau"
FRAME_S = 0.01
BIAS_S = 0.006
"""pocketsphinx states a frame's start, its 25.6 ms window is centred 13 ms later: boundaries come out early."""
MAX_PHONE_S = 0.5
MIN_MEAN_PHONE_S = 0.035
MIN_PAUSE_S = 0.15
_FILLERS = ("<", "[", "+", "(")
_BEAMS = (
    {},
    {"beam": 1e-80, "wbeam": 1e-60, "pbeam": 1e-80},
    {"beam": 1e-150, "wbeam": 1e-120, "pbeam": 1e-150},
)
"""Narrow first, for speed; the wider ones rescue fast or unusual voices."""


def _pocketsphinx():
    try:
        import pocketsphinx
    except ImportError:
        raise InputError(
            "alignment needs pocketsphinx, which is missing: pip install 'meshtalk[corpus]'"
        ) from None
    return pocketsphinx


@functools.cache
def dictionary() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """word → its pronunciations, most usual first, in lower-case ARPAbet without stress.

    Raises:
        InputError: pocketsphinx is not installed.
    """
    entries: dict[str, list[tuple[str, ...]]] = {}
    path = Path(_pocketsphinx().get_model_path("en-us/cmudict-en-us.dict"))
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *phones = line.split()
        entries.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(tuple(p.lower() for p in phones))
    return {word: tuple(variants) for word, variants in entries.items()}


def words_of(text: str) -> list[str]:
    """The words of a sentence as the dictionary spells them: lower case, apostrophes kept, hyphens split."""
    plain = text.lower().replace("’", "'")
    return [
        w for w in (raw.strip("'") if raw != "'" else "" for raw in re.findall(r"[a-z']+|\d+", plain)) if w
    ]


def align(audio: np.ndarray, sample_rate: int, text: str) -> tuple[Phone, ...] | None:
    """Phones of `text` with their times in `audio`.

    Args:
        audio: (S,) mono float in [-1,1].
        sample_rate: of `audio`, in Hz; anything but 16 kHz is resampled.
        text: what is said, in English words; punctuation is ignored.

    Returns:
        Phones that cover [0, S/sample_rate] without gap or overlap, silences as "pau"; None where the words
        do not fit the sound (no path found, or an implausible one).

    Raises:
        InputError: pocketsphinx is missing, a word is not in its dictionary, or there is nothing to align.
    """
    words = words_of(text)
    unknown = [w for w in words if w not in dictionary()]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is not in the pronunciation dictionary: spell it as plain English words"
        )
    if not words or len(audio) < RATE_HZ // 10:
        raise InputError(
            f"{len(words)} words and {len(audio)} samples came; alignment needs at least one word and 0.1 s"
        )
    samples = np.asarray(audio, np.float32)
    if sample_rate != RATE_HZ:
        import soxr

        samples = soxr.resample(samples, sample_rate, RATE_HZ)
    duration_s = len(audio) / sample_rate
    raw = _align(samples, words) or _align_pieces(samples, words)
    if raw is None:
        return None
    phones = _refined(_contiguous(raw, duration_s), samples)
    return phones if _plausible(phones, samples) else None


@functools.cache
def _decoder(level: int):
    # batch normalisation: the result must not depend on what this process aligned before
    return _pocketsphinx().Decoder(samprate=RATE_HZ, loglevel="FATAL", lm=None, cmn="batch", **_BEAMS[level])


def _decode(decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _pcm(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def _align(samples: np.ndarray, words: list[str]) -> list[tuple[str, float, float]] | None:
    """First pass: words and their spoken variants; second: phones inside them."""
    for level in range(len(_BEAMS)):
        decoder = _decoder(level)
        try:
            decoder.set_align_text(" ".join(words))
            _decode(decoder, _pcm(samples))
            if decoder.hyp() is None:
                continue
            decoder.set_alignment()
            _decode(decoder, _pcm(samples))
            return [
                (_name(p.name), p.start * FRAME_S, (p.start + p.duration) * FRAME_S)
                for word in decoder.get_alignment()
                for p in word
            ]
        except RuntimeError:  # how pocketsphinx says that no path survived the beam
            continue
    return None


def _align_pieces(samples: np.ndarray, words: list[str]) -> list[tuple[str, float, float]] | None:
    """Long recordings whose phone pass fails: cut at the pauses of the word pass and align each piece."""
    decoder = _decoder(len(_BEAMS) - 1)
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, _pcm(samples))
        if decoder.hyp() is None:
            return None
        segments = [(s.word, s.start_frame, s.end_frame) for s in decoder.seg()]
    except RuntimeError:
        return None
    step = round(RATE_HZ * FRAME_S)
    pauses = [
        (start + end) // 2
        for word, start, end in segments
        if word.startswith(_FILLERS) and (end - start) * FRAME_S >= MIN_PAUSE_S
    ]
    cuts = [0, *pauses, len(samples) // step]
    found: list[tuple[str, float, float]] = []
    for begin, stop in zip(cuts[:-1], cuts[1:], strict=True):
        inside = [
            re.sub(r"\(\d+\)$", "", word)
            for word, start, end in segments
            if begin <= (start + end) / 2 < stop and not word.startswith(_FILLERS)
        ]
        if not inside:
            continue
        piece = _align(samples[begin * step : stop * step], inside)
        if piece is None:
            return None
        found += [(name, start + begin * FRAME_S, end + begin * FRAME_S) for name, start, end in piece]
    return found or None


def _name(phone: str) -> str:
    name = phone.lower()
    return SILENCE if name == "sil" or name.startswith("+") else name


def _contiguous(raw: list[tuple[str, float, float]], duration_s: float) -> list[Phone]:
    """Correct the constant bias, fill gaps with silence, join neighbouring silences, end at the audio's end."""
    spoken = [(n, a + BIAS_S, b + BIAS_S) for n, a, b in raw if n != SILENCE]
    phones: list[Phone] = []
    now_s = 0.0
    for name, start_s, end_s in spoken:
        end_s = min(end_s, duration_s)
        if start_s > now_s + FRAME_S / 2:
            phones.append(Phone(SILENCE, now_s, start_s))
            now_s = start_s
        phones.append(Phone(name, now_s, end_s))
        now_s = end_s
    if duration_s > now_s:
        phones.append(Phone(SILENCE, now_s, duration_s))
    return phones


def _refined(phones: list[Phone], samples: np.ndarray) -> tuple[Phone, ...]:
    return tuple(phones)


def _plausible(phones: tuple[Phone, ...], samples: np.ndarray) -> bool:
    """Reject what no mouth says: stretched or crushed phones, or loud sound outside all phones."""
    lengths_s = np.array([p.end_s - p.start_s for p in phones if p.name != SILENCE])
    if len(lengths_s) == 0 or lengths_s.min() <= 0 or lengths_s.max() > MAX_PHONE_S:
        return False
    if lengths_s.mean() < MIN_MEAN_PHONE_S:
        return False
    energy = np.square(samples, dtype=np.float64)
    total = energy.sum()
    inside = sum(
        energy[round(p.start_s * RATE_HZ) : round(p.end_s * RATE_HZ)].sum()
        for p in phones
        if p.name != SILENCE
    )
    return bool(total > 0 and inside >= 0.9 * total)
