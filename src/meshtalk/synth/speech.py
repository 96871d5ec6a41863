"""Synthetic speech with phone times: many voices, own sentences, forced alignment."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.synth import kokoro
from meshtalk.synth.align import RATE_HZ, align

SPEED = (0.85, 1.2)
PITCH = (0.94, 1.06)
"""Resampling moves pitch and formants together: a slightly longer or shorter vocal tract."""
MARGIN_S = (0.15, 0.5)
PEAK = 0.95
_KEEP_S = 0.05
"""Margin around the audible part: soft onsets and releases lie below the threshold."""
_AUDIBLE = 10 ** (-50 / 20)


@dataclass(frozen=True)
class Voice:
    """A speaker: one synthetic voice or a blend of two."""

    name: str
    sex: str
    """"f" or "m"; of the heavier part in a blend."""
    kind: str
    """"kokoro", "blend" or "flite"."""
    parts: tuple[tuple[str, float], ...]
    """Name and weight of each constituent."""


@dataclass(frozen=True, eq=False)
class Utterance:
    """One spoken sentence."""

    audio: np.ndarray
    """(S,) float32 mono at 16 kHz, |peak| ≤ 0.98."""
    phones: tuple[Phone, ...]
    """Cover [0, S/16000] without gaps; silence is "pau"."""
    text: str
    voice: str
    sex: str
    sample_rate: int = RATE_HZ


_BLENDS = (
    ("af_alloy", "af_kore", 0.50),
    ("af_heart", "bf_isabella", 0.50),
    ("af_aoede", "af_sky", 0.50),
    ("af_jessica", "bf_alice", 0.40),
    ("af_river", "bf_emma", 0.45),
    ("bf_isabella", "af_alloy", 0.40),
    ("af_kore", "am_adam", 0.35),
    ("am_adam", "bm_george", 0.50),
    ("am_echo", "am_puck", 0.50),
    ("am_eric", "am_santa", 0.40),
    ("am_fenrir", "bm_fable", 0.50),
    ("am_liam", "am_michael", 0.50),
    ("bm_george", "am_michael", 0.40),
    ("am_puck", "af_river", 0.35),
)
"""First voice, second voice, weight of the second; no held-out voice is part of one."""
_FLITE = {"kal16": "m", "awb": "m", "rms": "m", "slt": "f"}

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "val": ("af_nova", "bm_daniel"),
    "test": ("af_bella", "bf_lily", "am_onyx", "bm_lewis", "awb"),
}
"""Held-out voices of both sexes, used in training neither alone nor in a blend."""


def _voices() -> dict[str, Voice]:
    singles = [Voice(name, name[1], "kokoro", ((name, 1.0),)) for name in kokoro.VOICE_SHA256]
    blends = [Voice(f"{a}+{b}@{w:.2f}", a[1], "blend", ((a, 1 - w), (b, w))) for a, b, w in _BLENDS]
    flite = [Voice(name, sex, "flite", ((name, 1.0),)) for name, sex in _FLITE.items()]
    return {voice.name: voice for voice in (*singles, *blends, *flite)}


VOICES: Mapping[str, Voice] = _voices()
"""name → voice: 28 of Kokoro, 14 blends "first+second@weight of second", 4 of flite."""


def synthesize(voice: str, text: str, seed: int) -> Utterance | None:
    """Say a sentence; speed, pitch and the silence before and after follow from the seed.

    Args:
        voice: a name in VOICES.
        text: an English sentence; its punctuation shapes the melody.
        seed: the same voice, text and seed give the same samples on the same machine.

    Returns:
        The utterance, or None where the words could not be found in the sound.

    Raises:
        InputError: the voice is unknown, a word is not in the dictionary, or a needed program or package
            (flite, npm, the `corpus` extra) is missing.
    """
    if voice not in VOICES:
        raise InputError(f"voice must be one of {', '.join(VOICES)}, got {voice!r}")
    rng = np.random.default_rng(seed)
    speed, pitch = rng.uniform(*SPEED), rng.uniform(*PITCH)
    lead_s, tail_s = rng.uniform(*MARGIN_S, size=2)
    chosen = VOICES[voice]
    if chosen.kind == "flite":
        samples, rate_hz = _flite(voice, text, speed / pitch)
    else:
        samples, rate_hz = kokoro.speak(chosen.parts, text, speed / pitch), kokoro.RATE_HZ
    audio = _finish(samples, rate_hz * pitch, lead_s, tail_s)
    phones = align(audio, RATE_HZ, text)
    return None if phones is None else Utterance(audio, phones, text, voice, chosen.sex)


def _flite(voice: str, text: str, speed: float) -> tuple[np.ndarray, int]:
    program = shutil.which("flite")
    if program is None:
        raise InputError(f"voice {voice!r} needs the program flite, which is not installed. Run apt-get install flite.")
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        stretch = f"duration_stretch={1 / speed:.4f}"
        command = [program, "-voice", voice, "--setf", stretch, "-t", text, "-o", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode or not path.is_file():
            reason = run.stderr.strip() or "no reason given"
            raise InputError(f"flite could not speak with voice {voice!r}: {reason}")
        samples, rate_hz = soundfile.read(path, dtype="float32")
    return samples, rate_hz


def _finish(samples: np.ndarray, rate_hz: float, lead_s: float, tail_s: float) -> np.ndarray:
    """(S,) float32 at 16 kHz: the audible part with faded margins, between silences of known length."""
    import soxr

    audio = soxr.resample(samples.astype(np.float32), rate_hz, RATE_HZ).astype(np.float32)
    audio *= min(1.0, PEAK / max(float(np.abs(audio).max()), 1e-9))
    loud = np.flatnonzero(np.abs(audio) > _AUDIBLE * np.abs(audio).max())
    keep = round(_KEEP_S * RATE_HZ)
    audio = audio[max(loud[0] - keep, 0) : loud[-1] + keep + 1].copy()
    fade = np.linspace(0, 1, keep // 2, dtype=np.float32)
    audio[: len(fade)] *= fade
    audio[-len(fade) :] *= fade[::-1]
    return np.pad(audio, (round(lead_s * RATE_HZ), round(tail_s * RATE_HZ)))
