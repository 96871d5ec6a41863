"""Training data: windows of motion with their audio features."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from multiprocessing import active_children, get_context
from pathlib import Path
from signal import SIG_IGN, SIGTERM, signal
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio.files import frame_hops, to_mono
from meshtalk.audio.mel import MelFrontend
from meshtalk.clip import Clip
from meshtalk.config import HOP_RATE, SAMPLE_RATE, ModelConfig, to_json
from meshtalk.corpus.rows import ClipRows, Projection
from meshtalk.corpus.store import AUDIO, DENSE, LINEAR, VALID, ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.audio_stream import padded_mel
from meshtalk.model.geometry import MM, BasisGeometry, DenseGeometry
from meshtalk.model.phonetic_trunk import FeatureExtractor
from meshtalk.resample import seen_at
from meshtalk.training.augment import augmented_mel
from meshtalk.training.shards import Rows, RowStore, Shard, plan, shard_lengths, write_shard
from meshtalk.training.signals import SIGNALS

Say = Callable[[str], None]
BABBLERS = 3
"""Other voices at once."""
AUGMENTATION_SEED = 1
"""Raise it when augmentation changes. Augmented sound belongs to the data: runs that differ in their seed see the same
versions, and share one cache."""


def clip_features(
    clip: Clip, config: ModelConfig, rng: np.random.Generator | None, babble: np.ndarray | None = None
) -> np.ndarray:
    """(L,n_features) float16 features of a clip's audio; frame 0 is `stack_reach` hops before time 0."""
    torch.set_num_threads(1)
    frontend = MelFrontend(config.audio.frontend)
    samples = to_mono(clip.audio, clip.sample_rate)
    mel = padded_mel(
        augmented_mel(samples, frontend, rng, babble), _encoder(config.audio), config.fps, frontend.silence
    )
    return _extractor(config.audio.frontend)(torch.from_numpy(mel)[None])[0].half().numpy()


_open = cache(Corpus.open)
_extractor = cache(FeatureExtractor)
_encoder = cache(AudioEncoder)
"""Corpus of a worker process (cached)."""


def _features_job(job: tuple[str, ModelConfig, int, Rows, Shard]) -> None:
    """Write a shard of the features of its clips' sound: clean, then `versions` augmented versions."""
    root, config, versions, rows, shard = job
    corpus = _open(root)

    def features(info: ClipInfo) -> np.ndarray:
        key = int(hashlib.sha256(info.id.encode()).hexdigest()[:12], 16)
        rngs = [None, *(np.random.default_rng([AUGMENTATION_SEED, key, version]) for version in range(versions))]
        clip = corpus.load(info)
        voices = babble(corpus, shard.clips, shard.clips.index(info)) if versions else None
        return np.stack([clip_features(clip, config, rng, voices) for rng in rngs])

    write_shard(shard, rows, map(features, shard.clips))


def babble(corpus: Corpus, clips: Sequence[ClipInfo], index: int) -> np.ndarray | None:
    """(S,) float32 voices of the BABBLERS clips after one at once, repeated or cut to its length; None if it is alone."""
    others = [clips[(index + k) % len(clips)] for k in range(1, min(BABBLERS + 1, len(clips)))]
    size, *lengths = (round(info.duration_s * SAMPLE_RATE) for info in (clips[index], *others))
    if not min(lengths, default=0):
        return None
    sounds = (corpus.load(info) for info in others)
    return sum((np.resize(to_mono(clip.audio, clip.sample_rate), size) for clip in sounds), np.zeros(size, np.float32))


def _motion_job(job: tuple[str, Fraction, np.ndarray, Rows, Shard]) -> None:
    """Write a shard of its clips' coefficients in a basis (K,V,3), mm, at the model's frame rate."""
    root, fps, basis, rows, shard = job
    corpus = _open(root)
    project = Projection(corpus, basis)

    def coefficients(info: ClipInfo) -> np.ndarray:
        stored = project(info) * MM
        if corpus.fps == fps:
            return stored[None]
        low, share = positions(info, corpus.fps, fps)
        return (stored[low] * (1 - share) + stored[low + 1] * share).astype(np.float32)[None]

    write_shard(shard, rows, map(coefficients, shard.clips))


def length(info: ClipInfo, corpus_fps: Fraction, fps: Fraction) -> int:
    """Frames of a clip at the model's rate."""
    return int((info.n_frames - 1) * fps / corpus_fps) + 1


def positions(
    info: ClipInfo, corpus_fps: Fraction, fps: Fraction, start: int = 0, stop: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """((T,) frame of the corpus before each of the model's frames start..stop, (T,1) share of the next one)."""
    times = np.arange(length(info, corpus_fps, fps))[start:stop] * float(corpus_fps / fps)
    low = np.minimum(times.astype(int), info.n_frames - 2)
    return low, (times - low)[:, None]


@dataclass(frozen=True)
class Draw:
    """Choice of the B windows of T frames of a batch."""

    frames: int
    """T"""
    clips: np.ndarray
    """(B,) index of the clip."""
    starts: np.ndarray
    """(B,) first frame in the clip."""
    versions: np.ndarray
    """(B,) version of the clip's sound."""


@dataclass
class Batch:
    """B windows of T frames."""

    features: Tensor
    """(B,L,n_features), of one random version of each clip's audio."""
    hops: Tensor
    """(T,) times of the frames, in hops after the window's start."""
    motion: Tensor
    """(B,T,n_motion), mm."""
    template: Tensor
    """(B,n_template) network input."""
    clip_ids: Tensor
    """(B,) index of the clip."""
    starts: np.ndarray
    """(B,) first frame in the clip."""


class WindowData:
    """The clips of one split: windows of their motion at the model's rate, and of their sound's features, read from disk.

    Memory holds a few numbers per clip and no frames, however long the corpus is.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        config: ModelConfig,
        geometry: BasisGeometry | DenseGeometry,
        cache: Path,
        *,
        versions: int,
        progress: Say = lambda _: None,
    ) -> None:
        self.config, self.geometry, self.corpus = config, geometry, corpus
        self.infos: tuple[ClipInfo, ...] = corpus.split(split)
        if not self.infos:
            raise InputError(
                f"training needs clips in splits train and val, got none in {split!r}. Run meshtalk corpus split."
            )
        step = HOP_RATE / config.fps
        self.start_grid = step.denominator
        """Windows start at multiples of this many frames, where a hop and a frame coincide."""
        self.encoder = AudioEncoder(config.audio)
        self.lengths = np.array([length(info, corpus.fps, config.fps) for info in self.infos])
        """(clips,) frames of each, at the model's rate."""
        self.features, self._coefficients = self._stores(cache, split, versions, progress)
        """Each clip's features, (versions+1) parts of them; and its motion, of a basis geometry."""
        self._stored = ClipRows(corpus)
        device = next(geometry.buffers()).device
        subjects = sorted({info.subject for info in self.infos})
        templates = [torch.from_numpy(corpus.template(subject)).float().to(device) for subject in subjects]
        self._faces = torch.stack([geometry.template_input(t[None])[0] for t in templates])
        places = {subject: place for place, subject in enumerate(subjects)}
        self._face_of = torch.tensor([places[info.subject] for info in self.infos])
        self._seen = {k: self._seen_frames(k) for k, info in enumerate(self.infos) if VALID in info.files}
        """Clips with missing frames → (T,) bool, at the model's rate."""
        self._usable = lru_cache(None)(self._find_usable)

    def _seen_frames(self, index: int) -> np.ndarray:
        valid = self.corpus.load(self.infos[index], sound=False).valid
        assert valid is not None
        return seen_at(valid, self.corpus.fps, self.config.fps, int(self.lengths[index]))

    def starts(self, index: int, frames: int) -> np.ndarray:
        """First frames of possible windows in clip `index`: on the grid, without missing frames."""
        starts = np.arange(0, max(int(self.lengths[index]) - frames + 1, 0), self.start_grid)
        if index not in self._seen:
            return starts
        missing = np.concatenate([[0], np.cumsum(~self._seen[index])])
        return starts[missing[starts + frames] == missing[starts]]

    def templates(self, clips: Tensor) -> Tensor:
        """(B,n_template) network input of the people of clips (B,)."""
        return self._faces[self._face_of[clips]]

    def motion(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """(T,n_motion) motion of clip `index`, frames start..stop, mm."""
        if self._coefficients is not None:
            return torch.tensor(self._coefficients.read(index, 0, start, stop))
        info = self.infos[index]
        if self.corpus.fps == self.config.fps:
            start, stop, _ = slice(start, stop).indices(info.n_frames)
            displacement = self._stored.displacements(info, start, stop)
        else:
            low, share = positions(info, self.corpus.fps, self.config.fps, start, stop)
            frames = self._stored.displacements(info, int(low[0]), int(low[-1]) + 2)
            low = low - low[0]
            displacement = (frames[low] * (1 - share[..., None]) + frames[low + 1] * share[..., None]).astype(
                np.float32
            )
        device = next(self.geometry.buffers()).device
        template = torch.from_numpy(self.corpus.template(info.subject)).to(device)
        return self.geometry.to_motion(torch.from_numpy(displacement).to(device), template).cpu()

    def clip_window(self, index: int, version: int = 0) -> tuple[Tensor, Tensor]:
        """((1,L,F) features of a whole clip, (T,) hops of its frames)."""
        features = torch.from_numpy(self.features.read(index, version)).float()[None]
        return features, frame_hops(self.config.fps, 0, int(self.lengths[index]))

    def draw(self, rng: np.random.Generator, size: int, frames: int) -> Draw:
        """`size` random windows of `frames` frames, to be read by `take`; clips are sampled in proportion to their length."""
        usable, share = self._usable(frames)
        clips = usable[share.searchsorted(rng.random(size), side="right")]
        if len(np.unique(clips)) == 1:  # the cross-modality loss needs another clip in the batch
            clips[-1] = usable[usable != clips[0]][rng.integers(len(usable) - 1)]
        allowed = [self.starts(c, frames) for c in clips.tolist()]
        starts = np.array([several[rng.integers(len(several))] for several in allowed])
        return Draw(frames, clips, starts, rng.integers(self.features.rows.parts, size=size))

    def take(self, draw: Draw, rows: np.ndarray) -> Batch:
        """Some rows of a batch, read from disk; `draw_motion` of them and their sound."""
        clips, starts = draw.clips[rows], draw.starts[rows]
        hops = frame_hops(self.config.fps, 0, draw.frames)
        span = int(hops[-1]) + 1 + self.encoder.stack_reach + self.encoder.stack_lookahead
        step = HOP_RATE / self.config.fps
        first_hops = [int(start * step) for start in starts.tolist()]
        features = self.features.windows(clips.tolist(), draw.versions[rows].tolist(), first_hops, span)
        return Batch(
            features=torch.from_numpy(features).float(),  # torch's memory, always aligned alike, as products may need
            hops=hops,
            motion=self.draw_motion(draw, rows),
            template=self.templates(torch.from_numpy(clips)),
            clip_ids=torch.from_numpy(clips),
            starts=starts,
        )

    def draw_motion(self, draw: Draw, rows: np.ndarray) -> Tensor:
        """(rows,T,n_motion) motion of some rows of a batch, mm."""
        clips, starts = draw.clips[rows].tolist(), draw.starts[rows].tolist()
        if self._coefficients is not None:
            return torch.tensor(self._coefficients.windows(clips, [0] * len(clips), starts, draw.frames))
        if self.corpus.fps != self.config.fps:
            windows = zip(clips, starts, strict=True)
            return torch.stack([self.motion(clip, start, start + draw.frames) for clip, start in windows])
        infos = [self.infos[clip] for clip in clips]
        faces = [torch.from_numpy(self.corpus.template(info.subject)) for info in infos]
        # a dense geometry has nothing on its device that this needs
        moved = self._stored.windows(
            infos, starts, draw.frames, lambda place, frames: self.geometry.to_motion(frames, faces[place])
        )
        return moved.flatten(2)

    def _find_usable(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """((n,) clips that have a window of so many frames, (n,) share of all their frames up to each, its own included)."""
        whole = self.lengths >= frames
        for index in self._seen:
            whole[index] = len(self.starts(index, frames)) > 0
        usable = np.flatnonzero(whole)
        if len(usable) < 2:
            raise InputError(
                f"training needs at least two clips with {frames} frames without a gap, got {len(usable)}. Give longer clips."
            )
        weight = self.lengths[usable].astype(float)
        share = np.cumsum(weight / weight.sum())
        return usable, share / share[-1]

    def _stores(self, cache: Path, split: str, versions: int, progress: Say) -> tuple[RowStore, RowStore | None]:
        """Shards of features and, for a basis geometry, of coefficients; missing ones are computed by worker processes."""
        root, fps, geometry = str(self.corpus.root), self.config.fps, self.geometry
        rows = Rows("features", np.dtype("<f2"), self.encoder.n_features, versions + 1)
        source = [to_json(self.config.audio), to_json(fps), AUGMENTATION_SEED]
        shards = plan(cache, self.infos, rows, source, lambda info: [info.id, info.files[AUDIO]])
        jobs = [(_features_job, (root, self.config, versions, rows, shard)) for shard in _missing(shards, rows)]
        motion_rows, motion_shards = None, []
        if isinstance(geometry, BasisGeometry):
            basis = geometry.basis.cpu().numpy().reshape(geometry.n_motion, -1, 3)
            motion_rows = Rows("motion", np.dtype("<f4"), geometry.n_motion)
            used = [basis] if self.corpus.topology.shapes is None else [basis, self.corpus.topology.shapes]
            source = [to_json(fps), to_json(self.corpus.fps), *(hashlib.sha256(a.tobytes()).hexdigest() for a in used)]
            motion_shards = plan(
                cache, self.infos, motion_rows, source, lambda i: [i.id, i.files.get(LINEAR) or i.files[DENSE]]
            )
            missing = _missing(motion_shards, motion_rows)
            jobs += [(_motion_job, (root, fps, basis, motion_rows, shard)) for shard in missing]
        if jobs:
            cache.mkdir(parents=True, exist_ok=True)
            with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_obey_the_parent) as pool:
                try:
                    for done, _ in enumerate(pool.map(_do, jobs), 1):
                        progress(f"features and motion of the {split} split: {done}/{len(jobs)} shards")
                except BaseException:  # a damaged clip, a signal: not after all the other shards
                    for process in active_children():
                        process.terminate()
                    raise
        return RowStore(shards, rows), RowStore(motion_shards, motion_rows) if motion_rows is not None else None


def _missing(shards: list[Shard], rows: Rows) -> list[Shard]:
    return [shard for shard in shards if shard_lengths(shard, rows) is None]


def _obey_the_parent() -> None:
    """Ignore signals in a worker: its parent handles them."""
    for number in set(SIGNALS) - {SIGTERM}:
        signal(number, SIG_IGN)


def _do(work: tuple[Callable[[Any], None], Any]) -> None:
    job, arguments = work
    job(arguments)


def feature_statistics(data: WindowData) -> tuple[Tensor, Tensor]:
    """(n_features,) mean and standard deviation over clean and augmented training audio."""
    stride = max(1, int(data.features.lengths.sum()) // 20000)
    parts = range(data.features.rows.parts)
    rows = np.concatenate([data.features.every(part, stride).astype(np.float32) for part in parts])
    return torch.from_numpy(rows.mean(0)), torch.from_numpy(np.maximum(rows.std(0), 1e-2))


def print_progress(message: str) -> None:
    """Print one line on standard error."""
    print(message, file=sys.stderr, flush=True)
