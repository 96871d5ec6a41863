"""Forced alignment of a transcript with a recording, synthetic or real.

The acoustic model and the dictionary are those of pocketsphinx (BSD, inside its wheel). Its 10 ms boundaries
are corrected by a constant, measured against a synthesiser that states its own timing. Moving the boundaries of
p b m to the steepest change of energy nearby was measured too, and made them worse.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth.markup import spoken

VERSION = 1
"""Raise when the same sound and words give other phone times: cached alignments are then made again."""
RATE_HZ = 16_000
SILENCE = "pau"
FRAME_S = 0.01
BIAS_S = 0.006
"""pocketsphinx states when a frame begins, its window is centred 13 ms later: boundaries come out early.
Measured as 6 ms (median) against flite's own phone times, 14,196 phones of four voices."""
MAX_PHONE_S = 0.5
MIN_MEAN_PHONE_S = 0.035
MIN_PAUSE_S = 0.15
PADDING_S = 0.2
_LOG_BASE = 1.0001
"""Of the language model's integer log probabilities."""
_DITHER = 4 / 32768
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
            "alignment needs pocketsphinx, which is not installed. Run pip install 'meshtalk[corpus]'."
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


@functools.cache
def language_model() -> Callable[[str], float]:
    """word → its probability in running English, by the language model in pocketsphinx's wheel.

    Raises:
        InputError: pocketsphinx is not installed.
    """
    pocketsphinx = _pocketsphinx()
    model = pocketsphinx.NGramModel.readfile(pocketsphinx.get_model_path("en-us/en-us.lm.bin"))
    return lambda word: _LOG_BASE ** model.prob([word])


def words_of(text: str) -> list[str]:
    """The words of a sentence as the dictionary spells them: lower case, without accents, apostrophes kept, hyphens split."""
    apart = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return [word for raw in re.findall(r"(?:[^\W\d_]|')+|\d+", plain) if (word := raw.strip("'"))]


def align(audio: np.ndarray, sample_rate: int, text: str) -> tuple[Phone, ...] | None:
    """Phones of `text` with their times in `audio`.

    Args:
        audio: (S,) mono float in [-1,1].
        sample_rate: of `audio`, in Hz; anything but 16 kHz is resampled.
        text: what is said, in English words; punctuation is ignored, and so is what `markup.spoken` leaves out.

    Returns:
        Phones that cover [0, S/sample_rate] without gap or overlap, silences as "pau"; None where the words
        do not fit the sound (no path found, or an implausible one).

    Raises:
        InputError: pocketsphinx is missing, a word is not in its dictionary, there is nothing to align, or see
            `markup.spoken`.
    """
    words = words_of(spoken(text).words)
    unknown = [w for w in words if w not in dictionary()]
    if unknown:
        raise InputError(f"{unknown[0]!r} is not in the pronunciation dictionary. Spell it as plain English words.")
    if not words or len(audio) < RATE_HZ // 10:
        raise InputError(
            f"alignment needs at least one word and 0.1 s of sound, got {len(words)} words and {len(audio)} samples"
        )
    samples = np.asarray(audio, np.float32)
    if sample_rate != RATE_HZ:
        import soxr

        samples = soxr.resample(samples, sample_rate, RATE_HZ)
    duration_s = len(audio) / sample_rate
    raw = _align(samples, words) or _align_pieces(samples, words)
    if raw is None:
        return None
    phones = _contiguous(raw, duration_s)
    return phones if _plausible(phones, samples) else None


@functools.cache
def _decoder(level: int):
    # batch normalisation: the result must not depend on what this process aligned before
    return _pocketsphinx().Decoder(samprate=RATE_HZ, loglevel="FATAL", lm=None, cmn="batch", **_BEAMS[level])


def _decode(decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _align(samples: np.ndarray, words: list[str]) -> list[tuple[str, float, float]] | None:
    """First pass: words and their spoken variants; second: phones inside them.

    Returns spoken phones with times relative to `samples`; what lies between them is silence.

    Silence around the sound lets the path end inside it. The second pass sometimes loses its path whatever the
    beam; a half-frame shift and inaudible noise, the same for each attempt, then find one.
    """
    for level in range(len(_BEAMS)):
        decoder = _decoder(level)
        lead = round((PADDING_S + level * FRAME_S / 2) * RATE_HZ)
        padded = np.pad(samples, (lead, lead))
        noise = np.random.default_rng(level).standard_normal(len(padded), np.float32)
        pcm = (np.clip(padded + level * _DITHER * noise, -1, 1) * 32767).astype("<i2").tobytes()
        try:
            decoder.set_align_text(" ".join(words))
            _decode(decoder, pcm)
            if decoder.hyp() is None:
                continue
            decoder.set_alignment()
            _decode(decoder, pcm)
        except RuntimeError:  # how pocketsphinx says that no path survived
            continue
        shift_s = lead / RATE_HZ
        return [
            (_name(p.name), p.start * FRAME_S - shift_s, (p.start + p.duration) * FRAME_S - shift_s)
            for word in decoder.get_alignment()
            for p in word
            if _name(p.name) != SILENCE
        ]
    return None


def _align_pieces(samples: np.ndarray, words: list[str]) -> list[tuple[str, float, float]] | None:
    """Long recordings whose phone pass fails: cut at the pauses of the word pass and align each piece."""
    decoder = _decoder(len(_BEAMS) - 1)
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
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
    for begin, stop in itertools.pairwise(cuts):
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


def _contiguous(raw: list[tuple[str, float, float]], duration_s: float) -> tuple[Phone, ...]:
    """Correct the constant bias, make every gap one silence, begin and end with the audio."""
    phones: list[Phone] = []
    now_s = 0.0
    for name, early_start_s, early_end_s in raw:
        start_s, end_s = early_start_s + BIAS_S, min(early_end_s + BIAS_S, duration_s)
        if start_s > now_s + FRAME_S / 2:
            phones.append(Phone(SILENCE, now_s, start_s))
            now_s = start_s
        phones.append(Phone(name, now_s, end_s))
        now_s = end_s
    if duration_s > now_s:
        phones.append(Phone(SILENCE, now_s, duration_s))
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
        energy[round(p.start_s * RATE_HZ) : round(p.end_s * RATE_HZ)].sum() for p in phones if p.name != SILENCE
    )
    return bool(total > 0 and inside >= 0.9 * total)
