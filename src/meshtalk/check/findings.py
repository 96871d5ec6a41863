"""Findings: measures of clips against fixed limits and against the rest of the corpus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from meshtalk.check.duplicates import Pair
from meshtalk.check.measure import LOWEST_DB, Measured
from meshtalk.check.timing import Fit, Timing
from meshtalk.corpus.splits import ENOUGH
from meshtalk.corpus.store import LISTENER, ClipInfo, Corpus
from meshtalk.corpus.summary import shared_with_train
from meshtalk.errors import InputError
from meshtalk.mesh import units

KINDS: Mapping[str, str] = {
    "broken": "cannot be read, or differs from the manifest",
    "unit": "another unit than metres",
    "axes": "other axes than +Y up, +Z out of the face",
    "length": "sound and motion of different length",
    "lag": "sound early or late",
    "drift": "sound and motion run apart",
    "apart": "sound and motion of different performances",
    "spike": "frames that jump",
    "frozen": "a face that is frozen during speech",
    "repeated": "frames that repeat the one before",
    "silent": "no sound",
    "quiet": "faint sound",
    "clipped": "sound cut off at its peaks",
    "duplicate": "the same performance twice",
    "leak": "held-out data is also in train",
    "splits": "clips without a split to train or validate with",
}
"""Kind of finding → description; findings are sorted in this order."""

LAG_MS = 40.0
"""Smallest lag of a clip that is reported; a viewer notices sound that is early by 45 ms or late by 125 ms (ITU-R BT.1359)."""
CORPUS_LAG_MS = 60.0
"""Smallest lag of a corpus that is reported: lips open up to so long before the sound they make."""
INDEPENDENT_HZ = 6.0
"""Independent movements of a mouth in a second, for how sure a correlation is."""
SURE = 3.0
"""Standard errors by which a clip's correlation has to be below the corpus's to be reported."""
RISE = 1.2
"""Standard errors by which a lag has to raise a clip's correlation. Both are of the same frames, so that this is a lot: no
clip of the embedded corpus comes from .7 up to it."""
DRIFT_MS = 80.0
WORTH_R = 0.3
"""Correlation of sound and motion over a corpus (median of its clips) under which single clips are not reported."""
FROZEN_S, REPEATED = 0.4, 0.2
STILL_MM = 0.05
"""Opening that varies less over a whole clip is no speech."""
SILENT_DB, QUIET_DB = -60.0, -45.0
FLAT_TOPS_S = 2.0
"""Flat tops in a second of sound that is cut off."""


@dataclass(frozen=True)
class Finding:
    """A finding about a clip, a subject or the corpus."""

    kind: str
    """One of KINDS."""
    where: str
    """Clip or subject; empty for the whole corpus."""
    told: str
    """The finding in words, without its subject."""
    severity: float
    """Ratio to the limit; for sorting within a kind."""
    problem: bool = True
    """False for a remark, which may be intended."""
    value: float = math.nan
    """The measure behind it in its unit (lag in ms, spike in mm, …), where there is one."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{'problem' if self.problem else 'remark':8} {self.kind:10}{place}{self.told}"


def of_clip(info: ClipInfo, clip: Measured, timing: Timing, usual: Timing, corpus: Corpus) -> Iterator[Finding]:
    """Findings on one clip.

    Args:
        usual: medians of the corpus's clips; NaN where there are too few.
    """
    if clip.broken:
        yield Finding("broken", info.id, clip.broken, math.inf)
        return
    frame_s = 1 / float(corpus.fps)
    apart_s = clip.sound_s - clip.motion_s
    if abs(apart_s) > frame_s + 1e-6:
        told = f"its sound is {abs(apart_s):.2f} s {'longer' if apart_s > 0 else 'shorter'} than its motion"
        yield Finding("length", info.id, told, abs(apart_s) / frame_s, value=apart_s)
    if wrong := units.wrong_motion(clip.far_m, corpus.template(info.subject)):
        yield Finding("unit", info.id, wrong, clip.far_m / 0.1, value=clip.far_m)
    if clip.spread_mm[0] > units.SIDEWAYS * clip.spread_mm[1] and clip.spread_mm[0] > 2 * STILL_MM:
        told = f"its mouth moves {clip.spread_mm[0]:.1f} mm sideways and {clip.spread_mm[1]:.1f} mm up and down"
        yield Finding("axes", info.id, told, clip.spread_mm[0] / max(clip.spread_mm[1], STILL_MM))
    yield from _motion(info, clip, frame_s)
    yield from _sound(info, clip)
    yield from _timing(info, clip, timing, usual)


def _motion(info: ClipInfo, clip: Measured, frame_s: float) -> Iterator[Finding]:
    if len(clip.spikes):
        frame, mm = clip.spikes[0]
        others = f", and {len(clip.spikes) - 1} more frames" if len(clip.spikes) > 1 else ""
        told = f"a vertex leaves its path by {mm:.1f} mm in frame {frame:.0f} ({frame * frame_s:.2f} s){others}"
        yield Finding("spike", info.id, told, mm, value=mm)
    speaks = info.voice != LISTENER and clip.level_db > SILENT_DB
    known = clip.opening_mm[np.isfinite(clip.opening_mm)]
    if speaks and len(known) and known.std() < STILL_MM:
        told = f"there is speech, and the mouth varies by {known.std():.3f} mm"
        yield Finding("frozen", info.id, told, clip.motion_s / FROZEN_S, value=clip.motion_s)
    elif speaks and clip.still_s > FROZEN_S:
        told = f"the mouth stands still for {clip.still_s:.2f} s of speech, from {clip.still_from * frame_s:.2f} s on"
        yield Finding("frozen", info.id, told, clip.still_s / FROZEN_S, value=clip.still_s)
    elif speaks and clip.repeated > REPEATED:
        told = f"{clip.repeated:.0%} of its frames repeat the one before. It may have been captured at a lower rate."
        yield Finding("repeated", info.id, told, clip.repeated / REPEATED, value=clip.repeated)


def _sound(info: ClipInfo, clip: Measured) -> Iterator[Finding]:
    if info.voice == LISTENER:
        return
    if clip.level_db < SILENT_DB:
        level = (
            "digital silence" if clip.level_db <= LOWEST_DB else f"{clip.level_db:.0f} dB of full scale at its loudest"
        )
        yield Finding("silent", info.id, f"its sound is {level}", clip.level_db / SILENT_DB, value=clip.level_db)
    elif clip.level_db < QUIET_DB:
        told = f"its loud parts are at {clip.level_db:.0f} dB of full scale"
        yield Finding("quiet", info.id, told, clip.level_db / QUIET_DB, problem=False, value=clip.level_db)
    tops_s = clip.flat_tops / clip.sound_s
    if tops_s > FLAT_TOPS_S:
        told = f"its sound is cut off at its peaks {clip.flat_tops} times"
        yield Finding("clipped", info.id, told, tops_s / FLAT_TOPS_S, problem=False, value=tops_s)


def _timing(info: ClipInfo, clip: Measured, timing: Timing, corpus: Timing) -> Iterator[Finding]:
    if info.voice == LISTENER or clip.level_db < SILENT_DB:
        return
    by_model = math.isfinite(corpus.model.r)
    fit, usual = (timing.model, corpus.model.r) if by_model else (timing.loudness, 2 * WORTH_R)
    # the regressor knows what all clips have in common; loudness does not
    common_ms = corpus.loudness.lag_ms if not by_model and corpus.loudness.found else 0.0
    if usual < WORTH_R or not math.isfinite(fit.r_unshifted):
        return
    seconds = np.isfinite(clip.opening_mm).sum() / max(len(clip.opening_mm), 1) * clip.motion_s
    if (
        fit.found
        and abs(fit.lag_ms - common_ms) >= LAG_MS
        and _beyond(fit.r, fit.r_unshifted, seconds) > RISE
        and not (_beyond(usual, fit.r, seconds) > SURE)
    ):
        told = f"its sound is {abs(fit.lag_ms):.0f} ms too {'late' if fit.lag_ms > 0 else 'early'}"
        told += f" (r = {fit.r:.2f}; {fit.r_unshifted:.2f} as it is)"
        yield Finding("lag", info.id, told, abs(fit.lag_ms) / LAG_MS, value=fit.lag_ms)
    elif by_model and _beyond(usual, max(fit.r_unshifted, 0.0), seconds) > SURE and fit.r_unshifted < 0.5 * usual:
        told = f"its mouth does not follow its sound (r = {fit.r_unshifted:.2f}; the corpus has {usual:.2f})"
        yield Finding("apart", info.id, told, usual / max(fit.r_unshifted, 0.01), value=fit.r_unshifted)
    if math.isfinite(timing.drift_ms) and abs(timing.drift_ms) >= DRIFT_MS and timing.halves_r > 0.75 * usual:
        told = f"its sound is {abs(timing.drift_ms):.0f} ms {'later' if timing.drift_ms > 0 else 'earlier'} in the second half"
        yield Finding("drift", info.id, told, abs(timing.drift_ms) / DRIFT_MS, value=timing.drift_ms)


def _beyond(a: float, b: float, seconds: float) -> float:
    """By how many standard errors (Fisher's z, over `seconds` of mouth movement) correlation a is above b."""
    error = math.sqrt(1 / max(INDEPENDENT_HZ * seconds - 3, 1))
    za, zb = (math.atanh(min(max(r, -0.995), 0.995)) for r in (a, b))
    return (za - zb) / error


def of_corpus(
    corpus: Corpus, clips: Sequence[Measured], loudness: Fit, duplicates: Iterable[Pair]
) -> Iterator[Finding]:
    """Findings on subjects, on the corpus as a whole, and on pairs of clips.

    Args:
        loudness: medians of the clips' fits.
    """
    yield from _faces(corpus, clips)
    lag_ms, r = loudness.lag_ms, loudness.r_unshifted
    if abs(lag_ms) >= CORPUS_LAG_MS and loudness.r >= WORTH_R:  # NaN is neither
        told = f"sound is {abs(lag_ms):.0f} ms too {'late' if lag_ms > 0 else 'early'} in the median clip"
        yield Finding("lag", "", told, abs(lag_ms) / CORPUS_LAG_MS, value=lag_ms)
    if math.isfinite(r) and r < -WORTH_R:
        told = f"mouths open where it is soft (r = {r:.2f} in the median clip). Up may be down, or sound and motion swapped."
        yield Finding("axes", "", told, abs(r) / WORTH_R, value=r)
    split_of = {info.id: info.split for info in corpus.clips}
    for pair in duplicates:
        across = split_of[pair.a] != split_of[pair.b]
        told = f"has the {'sound and motion' if pair.what == 'both' else pair.what} of {pair.b} (r = {pair.similarity:.3f})"
        told += f", which is in {split_of[pair.b]} and this in {split_of[pair.a]}" if across else ""
        harmless = pair.what == "sound" and not across
        yield Finding("duplicate", pair.a, told, 1 + across, problem=not harmless, value=pair.similarity)
    yield from _splits(corpus)


def _faces(corpus: Corpus, clips: Sequence[Measured]) -> Iterator[Finding]:
    """Units and axes of the neutral faces; one finding if all of them have the same."""
    moving: dict[str, list[np.ndarray]] = {}
    subject_of = {info.id: info.subject for info in corpus.clips}
    for clip in clips:
        if np.any(clip.moving_m):
            moving.setdefault(subject_of[clip.id], []).append(clip.moving_m)
    wrong: dict[str, list[tuple[str, str]]] = {}
    for subject in corpus.subjects:
        try:
            neutral = corpus.template(subject).astype(np.float64)
        except InputError as error:
            wrong[subject] = [("broken", str(error))]
            continue
        where = np.median(moving[subject], axis=0) if subject in moving else np.full(3, math.nan)
        if not np.isfinite(neutral).all():
            wrong[subject] = [("broken", "holds NaN or infinite vertices. Repair it.")]
            continue
        size, axes = units.wrong_size(neutral), units.wrong_axes(neutral, corpus.topology, where)
        size = "" if axes and size.endswith(units.LYING) else size  # two words for the same
        wrong[subject] = [(kind, told) for kind, told in (("unit", size), ("axes", axes)) if told]
    for kind in ("broken", "unit", "axes"):
        found = {name: told for name, faces in wrong.items() for its, told in faces if its == kind}
        if len(found) > 3 and len(found) == len(wrong):
            name, told = next(iter(found.items()))
            yield Finding(kind, "", f"all {len(found)} neutral faces, such as that of {name}, which {told}", 1e3)
        else:
            for name, told in found.items():
                yield Finding(kind, name, f"the neutral face {told}", 1e3)


def _splits(corpus: Corpus) -> Iterator[Finding]:
    for name in ("train", "val"):
        if not corpus.split(name):
            told = f"{name} has no clip, and training needs some. Run `meshtalk corpus split`."
            yield Finding("splits", "", told, 1.0, problem=False)
    official = {info.id for info in corpus.clips if info.official}
    for split, kinds in shared_with_train(corpus).items():
        for kind, names in kinds.items():
            values = Counter(getattr(info, kind) for info in corpus.clips)
            # what a data set's authors held out as it is, or what cannot be held out, or is not meant to be
            ours = {
                getattr(info, kind)
                for info in corpus.split(split)
                if info.id not in official and getattr(info, kind) in names
            }
            may = kind == "sentence" or not ours or len(values) < ENOUGH
            some = ", ".join(sorted(ours or names)[:3]) + (" …" if len(ours or names) > 3 else "")
            told = f"{split} shares {len(names)} {kind}{'s' if len(names) > 1 else ''} with train ({some})"
            if may and kind != "sentence":
                told += (
                    ", as in the data set's official splits"
                    if not ours
                    else f", of which there are fewer than {ENOUGH}"
                )
            else:
                told += f". `meshtalk corpus split --by {kind}` re-splits it."
            yield Finding("leak", "", told, float(len(names)), problem=not may, value=len(names))
