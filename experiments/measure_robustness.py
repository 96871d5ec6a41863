"""What noise, rooms, channels and music do to the lips; sounds that are no speech, alone; and held vowels.

    python experiments/measure_robustness.py [MODEL]

The packaged recordings are spoiled with sounds that training has not met: rooms by the image method, frequency modulation
and plucked strings for music, and formulas of this file's own for keys and breath.
The held vowels are made by WORLD, which training does not use: `pip install pyworld-prebuilt`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soxr

from meshtalk.assets import asset
from meshtalk.clip import Clip, Phone
from meshtalk.config import SAMPLE_RATE
from meshtalk.evaluation.real_speech import DAMAGES, Damage, evaluate_real, read_recordings
from meshtalk.evaluation.report import Report
from meshtalk.evaluation.run import load_measured
from meshtalk.inference.latents import LatentAnimator
from meshtalk.measures import sync, tracks
from meshtalk.mesh.head import load_head
from meshtalk.parallel import one_thread
from meshtalk.synth.clips import clip_from_recording, make_clip

SEEDS = (0, 1, 2)
ALONE_S, ALONE_RMS = 10.0, 0.1
SHUT_MM, SHUT_SHARE = sync.CLOSED_MM, 0.95
ROOM_M, SPEAKER_M, ROOM_S, SOUND_M_S = (6.1, 4.3, 2.8), (2.2, 1.7, 1.6), 0.5, 343.0
NEAR_M, FAR_M = (2.9, 2.1, 1.4), (3.6, 2.6, 1.3)
"""Microphones 0.8 and 1.7 m away: of the energy there, half and a sixth is direct sound."""
SLOWER = 1.21
"""A room of images decays so much slower than Eyring's formula, of sound that comes from everywhere, says."""
GOALS: Mapping[str, float] = {
    "pink noise, 20 dB": 0.80,
    "white noise, 20 dB": 0.80,
    "room of 0.5 s": 0.80,
    "music, 5 dB": 0.65,
}
"""Damage → share of p b m at which the lips still have to close."""
HELD_S, NOTES_SEMITONES, MARGIN_S = 0.8, (0, 4, 7), 0.5
VOWELS = ("uw", "aa")


# ------------------------------------------------------------------------------------------------ sounds


def at_rms(samples: np.ndarray, rms: float) -> np.ndarray:
    return samples * (rms / max(float(np.sqrt(np.mean(np.square(samples)))), 1e-12))


def white(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n_samples)


def pink(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """3 dB an octave less, from 20 Hz on."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE), 20.0)), n_samples)


def string(hz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A plucked string (Karplus and Strong, "Digital synthesis of plucked-string and drum timbres", 1983)."""
    period = max(round(SAMPLE_RATE / hz), 2)
    rows = [rng.uniform(-1, 1, period)]
    while len(rows) * period < seconds * SAMPLE_RATE:
        rows.append(0.498 * (rows[-1] + np.roll(rows[-1], 1)))
    return np.concatenate(rows)[: int(seconds * SAMPLE_RATE)]


def bell(hz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """An electric piano by frequency modulation (Chowning, 1973)."""
    time_s = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    ratio, fall = rng.choice([1.0, 2.0, 3.5]), np.exp(-time_s / (0.6 * seconds))
    return fall * np.sin(2 * np.pi * hz * time_s + 3 * fall * np.sin(2 * np.pi * ratio * hz * time_s))


def music(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A tune of strings over chords of an electric piano, four to the bar, with a hand drum."""
    out, beat_s = np.zeros(n_samples), 60 / rng.uniform(84, 132)

    def add(sound: np.ndarray, at_s: float) -> None:
        part = out[round(at_s * SAMPLE_RATE) :][: len(sound)]
        part += sound[: len(part)]

    for beat in range(int(n_samples / SAMPLE_RATE / beat_s) + 1):
        root = 130.8 * 2 ** ((0, 9, 5, 7)[beat // 4 % 4] / 12)
        if beat % 4 == 0:
            for semitones in (0, 4, 7, 12):
                add(0.5 * bell(root * 2 ** (semitones / 12), 4 * beat_s, rng), beat * beat_s)
        for half in (0, 0.5):
            semitones = rng.choice([0, 2, 4, 7, 9, 12])
            add(string(2 * root * 2 ** (semitones / 12), 2 * beat_s, rng), (beat + half) * beat_s)
        thump = np.arange(2400) / SAMPLE_RATE
        add(1.5 * np.sin(2 * np.pi * 95 * thump) * np.exp(-thump / 0.04), beat * beat_s)
    return out


def typing(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Some seven keys a second: each a click of 3 ms, a thud of 15 ms and, later, a second click."""
    out = 0.002 * rng.standard_normal(n_samples + SAMPLE_RATE)
    time_s = np.arange(800) / SAMPLE_RATE
    at = 0
    while at < n_samples:
        for later, gain in ((0, 1.0), (rng.integers(1000, 1700), 0.5)):
            click = np.diff(rng.standard_normal(801)) * np.exp(-time_s / 0.003)
            out[at + later : at + later + 800] += gain * (
                click + np.sin(2 * np.pi * 210 * time_s) * np.exp(-time_s / 0.015)
            )
        at += round(SAMPLE_RATE * max(rng.normal(0.15, 0.05), 0.06))
    return out[:n_samples]


def breath(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise between 400 and 3000 Hz; in for a second, out for a second and a half, then a rest."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    hz = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE)
    spectrum *= 1 / (1 + (400 / np.maximum(hz, 1)) ** 4) / (1 + (hz / 3000) ** 4)
    phase_s = np.arange(n_samples) / SAMPLE_RATE % 4.0
    swell = np.where(phase_s < 1, np.sin(np.pi * phase_s) ** 2, 0) + np.where(
        (phase_s > 1.2) & (phase_s < 2.7), 0.7 * np.sin(np.pi * (phase_s - 1.2) / 1.5) ** 2, 0
    )
    return np.fft.irfft(spectrum, n_samples) * swell


def impulse_response(microphone_m: tuple[float, float, float]) -> np.ndarray:
    """(n,) of a rectangular room with a reverberation time of ROOM_S by the image method (Allen and Berkley, "Image method
    for efficiently simulating small-room acoustics", 1979), from the direct sound on, which is 1."""
    size, source, ear = (np.array(each) for each in (ROOM_M, SPEAKER_M, microphone_m))
    volume, area = size.prod(), 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    # negative: with walls that keep the sign, images pile up at the lowest frequencies
    reflected = -np.exp(-0.5 * 24 * np.log(10) * volume * SLOWER / (SOUND_M_S * area * ROOM_S))
    orders = [
        np.arange(-np.ceil(SOUND_M_S * ROOM_S / (2 * each)), np.ceil(SOUND_M_S * ROOM_S / (2 * each)) + 1)
        for each in size
    ]
    squared, bounces = np.zeros(()), np.zeros(())
    for axis, order in enumerate(orders):
        mirrored = np.concatenate([2 * order * size[axis] + source[axis], 2 * order * size[axis] - source[axis]])
        walls = np.concatenate([np.abs(2 * order), np.abs(2 * order - 1)])
        squared = np.add.outer(squared, (mirrored - ear[axis]) ** 2)
        bounces = np.add.outer(bounces, walls)
    far_m = np.sqrt(squared).ravel()
    near_m = far_m.min()
    place = np.round((far_m - near_m) / SOUND_M_S * SAMPLE_RATE).astype(int)
    kept = place < ROOM_S * SAMPLE_RATE
    response = np.zeros(int(ROOM_S * SAMPLE_RATE))
    np.add.at(response, place[kept], (reflected ** bounces.ravel() * near_m / far_m)[kept])
    return response


# ---------------------------------------------------------------------------------------------- damages


def beside(make: Callable[[int, np.random.Generator], np.ndarray], snr_db: float) -> Damage:
    """Another sound, its RMS snr_db below the recording's."""

    def spoil(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
        other = make(int(len(audio) / sample_rate * SAMPLE_RATE) + 1, np.random.default_rng(11))
        other = np.resize(soxr.resample(other, SAMPLE_RATE, sample_rate), len(audio))
        rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
        return (audio + at_rms(other, rms * 10 ** (-snr_db / 20))).astype(np.float32), sample_rate

    return spoil


def in_room(microphone_m: tuple[float, float, float]) -> Damage:
    """Spoken in a room, as loud as before."""

    def spoil(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
        samples = soxr.resample(audio.astype(np.float64), sample_rate, SAMPLE_RATE)
        wet = np.convolve(samples, impulse_response(microphone_m))[: len(samples)]
        return at_rms(wet, float(np.sqrt(np.mean(np.square(samples))))).astype(np.float32), SAMPLE_RATE

    return spoil


def telephone(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """8 kHz, nothing below 300 Hz or above 3400 Hz, 8-bit A-law."""
    samples = np.asarray(soxr.resample(audio, sample_rate, 8000), np.float64)
    hz = np.fft.rfftfreq(len(samples), 1 / 8000)
    samples = np.fft.irfft(np.fft.rfft(samples) * ((hz > 300) & (hz < 3400)), len(samples))
    samples /= max(np.abs(samples).max(), 1e-9)
    size, a = np.abs(samples), 87.6
    coded = np.where(size < 1 / a, a * size, 1 + np.log(np.maximum(a * size, 1))) / (1 + np.log(a))
    coded = np.round(coded * 127) / 127 * (1 + np.log(a))
    return (0.5 * np.sign(samples) * np.where(coded < 1, coded / a, np.exp(coded - 1) / a)).astype(np.float32), 8000


def overdriven(audio: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """Peaks cut off at a third of their height."""
    limit = np.float32(np.abs(audio).max(initial=0.0) / 3)
    return np.clip(audio, -limit, limit), sample_rate


SPOILED: Mapping[str, Damage] = {
    "white noise, 20 dB": beside(white, 20.0),
    "pink noise, 20 dB": beside(pink, 20.0),
    "room of 0.5 s": in_room(NEAR_M),
    "room of 0.5 s, 1.7 m away": in_room(FAR_M),
    "telephone": telephone,
    "overdriven": overdriven,
    "music, 5 dB": beside(music, 5.0),
    "-20 dB": DAMAGES["-20 dB"],
}
ALONE = {"music": music, "white noise": white, "pink noise": pink, "typing": typing, "breath": breath}


# ---------------------------------------------------------------------------------------------- measures


def opening_alone(model: LatentAnimator, make: Callable[[int, np.random.Generator], np.ndarray]) -> np.ndarray:
    """(frames,) lip opening, mm, while nothing but a sound that is no speech is played."""
    found = []
    for seed in SEEDS:
        samples = at_rms(make(round(ALONE_S * SAMPLE_RATE), np.random.default_rng([seed, 5])), ALONE_RMS)
        clip = model.animate(samples.clip(-1, 1).astype(np.float32), SAMPLE_RATE, seed=seed)
        found.append(tracks.opening_mm(clip))
    return np.concatenate(found)


def held(clip: Clip, vowel: Phone) -> tuple[np.ndarray, tuple[Phone, ...]]:
    """(sound at 16 kHz, phones) of a recording's vowel, held on each of three notes, with silence around it."""
    import pyworld

    samples = np.ascontiguousarray(soxr.resample(clip.audio.astype(np.float64), clip.sample_rate, SAMPLE_RATE))
    pitch_hz, times_s = pyworld.harvest(samples, SAMPLE_RATE)
    within = (times_s > vowel.start_s) & (times_s < vowel.end_s)
    middle = np.argsort(np.abs(times_s - (vowel.start_s + vowel.end_s) / 2))[:5]
    envelope = pyworld.cheaptrick(samples, pitch_hz, times_s, SAMPLE_RATE)[middle].mean(0)
    aperiodicity = pyworld.d4c(samples, pitch_hz, times_s, SAMPLE_RATE)[middle].min(0)
    own_hz = np.median(pitch_hz[within & (pitch_hz > 0)]) if (pitch_hz[within] > 0).any() else 120.0
    notes_hz = own_hz * 2 ** (np.repeat(NOTES_SEMITONES, round(HELD_S * 200)) / 12)
    notes_hz = notes_hz * 2 ** (0.3 / 12 * np.sin(2 * np.pi * 5.5 * np.arange(len(notes_hz)) / 200))
    rows = np.ones((len(notes_hz), 1))
    sung = pyworld.synthesize(notes_hz, rows * envelope, rows * aperiodicity, SAMPLE_RATE, 5.0)
    silence = np.zeros(round(MARGIN_S * SAMPLE_RATE))
    audio = np.concatenate([silence, at_rms(sung, ALONE_RMS), silence]).astype(np.float32)
    end_s = MARGIN_S + HELD_S * len(NOTES_SEMITONES)
    phones = (
        Phone("pau", 0.0, MARGIN_S),
        Phone(vowel.name, MARGIN_S, end_s),
        Phone("pau", end_s, len(audio) / SAMPLE_RATE),
    )
    return audio, phones


def held_lips(clip: Clip) -> tuple[float, float]:
    """(opening, width less that at rest) of the lips, mm, means from 0.2 s into the vowel to 0.2 s before its end."""
    fps = float(clip.fps)
    frames = slice(round((MARGIN_S + 0.2) * fps), round((MARGIN_S + HELD_S * len(NOTES_SEMITONES) - 0.2) * fps))
    width_mm = tracks.width_mm(clip)
    assert width_mm is not None
    right, left = clip.template[clip.topology.landmarks["lip_corners"][:2]]
    rest_mm = 1e3 * float(np.linalg.norm(left - right))
    return float(tracks.opening_mm(clip)[frames].mean()), float(width_mm[frames].mean()) - rest_mm


def longest(recordings: Mapping[str, Clip], name: str) -> Iterator[tuple[Clip, Phone]]:
    """The longest vowel of a name in each recording that has one."""
    for clip in recordings.values():
        of_name = [phone for phone in clip.phones if phone.name == name]
        if of_name:
            yield clip, max(of_name, key=lambda phone: phone.end_s - phone.start_s)


# ------------------------------------------------------------------------------------------------- page


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = ["|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(["| " + " | ".join(head) + " |", *ruled, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def spoiled_row(report: Report, name: str) -> list[str]:
    goal = f"{GOALS[name]:.2f}" if name in GOALS else "-"
    return [name, *(f"{report[key]:.3f}" for key in ("closure_rate", "false_closure_rate", "opening_r")), goal]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="model folder (default: the packaged model)")
    options = parser.parse_args()
    model = load_measured(options.model)
    with one_thread():
        person = load_head().person("default")
        recordings = read_recordings(
            asset("speech"), lambda audio, rate, text: clip_from_recording(audio, rate, text, person, 0)
        )
        reports = evaluate_real({"model": model}, recordings, seeds=SEEDS, damages=SPOILED)
        names = ["articulation", "clean", *SPOILED, "another seed"]
        rows = [spoiled_row(report, name) for report, name in zip(reports, names, strict=True)]
        print(f"Model {model.checkpoint.hash}, {len(recordings)} recordings, {len(SEEDS)} seeds each.\n")
        print(table(["sound", "closed at p b m", "closed at k g h n t d l", "opening, r", "goal for p b m"], rows))
        rows = []
        for name, make in ALONE.items():
            opening_mm = opening_alone(model, make)
            rows.append(
                [name, f"{np.mean(opening_mm < SHUT_MM):.3f}", f"{np.quantile(opening_mm, 0.95):.2f}", f"{SHUT_SHARE}"]
            )
        print(table(["sound alone", f"frames open < {SHUT_MM:g} mm", "95th percentile, mm", "goal"], rows))
        rows = []
        for name in VOWELS:
            ours, rule = [], []
            for index, (clip, vowel) in enumerate(longest(recordings, name)):
                audio, phones = held(clip, vowel)
                ours += [held_lips(model.animate(audio, SAMPLE_RATE, seed=seed)) for seed in SEEDS]
                rule.append(held_lips(make_clip(audio, SAMPLE_RATE, phones, person, seed=index)))
            rows.append([name, *(f"{mm:.1f}" for mm in (*np.mean(ours, 0), *np.mean(rule, 0)))])
        print(table(["held vowel", "opening, mm", "width, mm", "articulation's opening", "articulation's width"], rows))


if __name__ == "__main__":
    main()
