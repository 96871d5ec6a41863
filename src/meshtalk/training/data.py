"""Windows of motion with their audio features, ready for the networks."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio import MelFrontend, frame_hops, to_mono
from meshtalk.clip import Clip
from meshtalk.config import HOP_RATE, ModelConfig, to_json
from meshtalk.corpus.store import VALID, ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.files import atomic
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.geometry import MM, BasisGeometry, DenseGeometry
from meshtalk.model.phonetic_trunk import FeatureExtractor
from meshtalk.resample import seen_at
from meshtalk.training.augment import augmented_mel

Progress = Callable[[str], None]
AUGMENTATION_SEED = 0
"""Augmented sound belongs to the data: runs that differ in their seed see the same versions, and share one cache."""


def padded_mel(mel: np.ndarray, encoder: AudioEncoder, fps: Fraction, silence: float) -> np.ndarray:
    """Mel of a clip with the silence before and after that the encoder's reach and look-ahead need."""
    # a clip's sound may end up to a frame before its motion does
    after = encoder.lookahead + int(HOP_RATE / fps) + 1
    return np.pad(mel, ((encoder.reach, after), (0, 0)), constant_values=silence)


def clip_features(clip: Clip, config: ModelConfig, rng: np.random.Generator | None) -> np.ndarray:
    """(L,n_features) float16 features of a clip's audio; frame 0 is `stack_reach` hops before time 0."""
    torch.set_num_threads(1)
    frontend = MelFrontend(config.audio.frontend)
    samples = to_mono(clip.audio, clip.sample_rate)
    mel = padded_mel(augmented_mel(samples, frontend, rng), _encoder(config.audio), config.fps, frontend.silence)
    return _extractor(config.audio.frontend)(torch.from_numpy(mel)[None])[0].half().numpy()


_open = cache(Corpus.open)
_extractor = cache(FeatureExtractor)
_encoder = cache(AudioEncoder)
"""What a worker process needs for every clip and reads once."""


def _features_job(job: tuple[str, str, int, ModelConfig]) -> list[np.ndarray]:
    root, clip_id, versions, config = job
    corpus = _open(root)
    info = next(info for info in corpus.clips if info.id == clip_id)
    clip = corpus.load(info)
    key = int(hashlib.sha256(clip_id.encode()).hexdigest()[:12], 16)
    rngs = [None, *(np.random.default_rng([AUGMENTATION_SEED, key, version]) for version in range(versions))]
    return [clip_features(clip, config, rng) for rng in rngs]


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
    """(B,) which clip."""
    starts: np.ndarray
    """(B,) first frame in the clip."""


class WindowData:
    """The clips of one split: motion at the model's rate in memory, features mapped from disk."""

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        config: ModelConfig,
        geometry: BasisGeometry | DenseGeometry,
        cache: Path,
        *,
        versions: int,
        progress: Progress = lambda _: None,
    ) -> None:
        self.config, self.geometry, self.corpus = config, geometry, corpus
        self.infos: tuple[ClipInfo, ...] = corpus.split(split)
        if not self.infos:
            raise InputError(f"the corpus has no clips in split {split!r} : training needs train and val clips")
        step = HOP_RATE / config.fps
        self.start_grid = step.denominator
        """Windows start at multiples of this many frames, where a hop and a frame coincide."""
        self.encoder = AudioEncoder(config.audio)
        self.features, self.feature_starts = self._load_features(cache, split, versions, progress)
        self._motion: list[np.ndarray] | None = None
        device = next(geometry.buffers()).device
        templates = [torch.from_numpy(corpus.template(info.subject)).float().to(device) for info in self.infos]
        self.template = torch.stack([geometry.template_input(t[None])[0] for t in templates])
        if isinstance(geometry, BasisGeometry):
            self._motion = [self._coefficients(geometry, i) for i in range(len(self.infos))]
        self.lengths = np.array([self._n_frames(info) for info in self.infos])
        self._seen = {k: self._seen_frames(k) for k, info in enumerate(self.infos) if VALID in info.files}
        """Clips with missing frames → (T,) bool, at the model's rate."""

    def _n_frames(self, info: ClipInfo) -> int:
        return int((info.n_frames - 1) * self.config.fps / self.corpus.fps) + 1

    def _seen_frames(self, index: int) -> np.ndarray:
        valid = self.corpus.load(self.infos[index]).valid
        assert valid is not None
        return seen_at(valid, self.corpus.fps, self.config.fps, int(self.lengths[index]))

    def starts(self, index: int, frames: int) -> np.ndarray:
        """Where windows of so many frames may begin in clip `index`: on the grid, and over no missing frame."""
        starts = np.arange(0, max(int(self.lengths[index]) - frames + 1, 0), self.start_grid)
        if index not in self._seen:
            return starts
        missing = np.concatenate([[0], np.cumsum(~self._seen[index])])
        return starts[missing[starts + frames] == missing[starts]]

    def _coefficients(self, geometry: BasisGeometry, index: int) -> np.ndarray:
        """(T,K) motion of a whole clip in the basis, mm, at the model's frame rate."""
        clip = self.corpus.load(self.infos[index])
        fields = geometry.basis.cpu().numpy().reshape(geometry.n_motion, -1, 3)
        coefficients = clip.project(fields) * MM
        if self.corpus.fps == self.config.fps:
            return coefficients
        low, share = self._positions(index, 0, None)
        return (coefficients[low] * (1 - share) + coefficients[low + 1] * share).astype(np.float32)

    def _dense_motion(self, index: int, start: int, stop: int | None) -> Tensor:
        """(T,V·3) vertices of frames start..stop, mm, read from disk."""
        clip = self.corpus.load(self.infos[index])
        if self.corpus.fps == self.config.fps:
            displacement = clip.displacements(start, stop)
        else:
            low, share = self._positions(index, start, stop)
            frames = clip.displacements(int(low[0]), int(low[-1]) + 2)
            low = low - low[0]
            displacement = (frames[low] * (1 - share[..., None]) + frames[low + 1] * share[..., None]).astype(
                np.float32
            )
        device = next(self.geometry.buffers()).device
        template = torch.from_numpy(clip.template).to(device)
        return self.geometry.to_motion(torch.from_numpy(displacement).to(device), template).cpu()

    def _positions(self, index: int, start: int, stop: int | None) -> tuple[np.ndarray, np.ndarray]:
        """((T,) frame of the corpus before each of the model's frames start..stop, (T,1) share of the next one)."""
        info = self.infos[index]
        times = np.arange(self._n_frames(info))[start:stop] * float(self.corpus.fps / self.config.fps)
        low = np.minimum(times.astype(int), info.n_frames - 2)
        return low, (times - low)[:, None]

    def motion(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """(T,n_motion) motion of clip `index`, mm."""
        if self._motion is not None:
            return torch.from_numpy(self._motion[index][start:stop])
        return self._dense_motion(index, start, stop)

    def clip_window(self, index: int, version: int = 0) -> tuple[Tensor, Tensor]:
        """((1,L,F) features of a whole clip, (T,) hops of its frames)."""
        begin, end = self.feature_starts[index], self.feature_starts[index + 1]
        features = torch.from_numpy(self.features[version][begin:end].astype(np.float32))[None]
        return features, frame_hops(self.config.fps, 0, int(self.lengths[index]))

    def batch(self, rng: np.random.Generator, size: int, frames: int) -> Batch:
        """`size` random windows of `frames` frames; long clips are drawn more often."""
        whole = self.lengths >= frames
        for index in self._seen:
            whole[index] = len(self.starts(index, frames)) > 0
        usable = np.flatnonzero(whole)
        if len(usable) < 2:
            raise InputError(
                f"{len(usable)} clips have {frames} frames or more without a gap; training needs at least two : give longer clips"
            )
        weight = self.lengths[usable].astype(float)
        clips = rng.choice(usable, size, p=weight / weight.sum())
        if len(np.unique(clips)) == 1:  # the cross-modality loss needs another clip in the batch
            clips[-1] = usable[usable != clips[0]][rng.integers(len(usable) - 1)]
        allowed = [self.starts(c, frames) for c in clips.tolist()]
        starts = np.array([several[rng.integers(len(several))] for several in allowed])
        hops = frame_hops(self.config.fps, 0, frames)
        span = int(hops[-1]) + 1 + self.encoder.stack_reach + self.encoder.stack_lookahead
        versions = rng.integers(len(self.features), size=size)
        step = HOP_RATE / self.config.fps

        def window(version: int, clip: int, start: int) -> np.ndarray:
            first = self.feature_starts[clip] + int(start * step)
            return self.features[version][first : first + span]

        features = np.stack([window(v, c, s) for v, c, s in zip(versions, clips, starts, strict=True)])
        return Batch(
            features=torch.from_numpy(features.astype(np.float32)),
            hops=hops,
            motion=torch.stack(
                [self.motion(c, s, s + frames) for c, s in zip(clips.tolist(), starts.tolist(), strict=True)]
            ),
            template=self.template[torch.from_numpy(clips)],
            clip_ids=torch.from_numpy(clips),
            starts=starts,
        )

    def _load_features(
        self, cache: Path, split: str, versions: int, progress: Progress
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Every version's features of all clips on end, made once and mapped afterwards; and the clips' offsets."""
        key_source = [
            to_json(self.config.audio),
            AUGMENTATION_SEED,
            versions,
            [(i.id, dict(i.files)) for i in self.infos],
        ]
        key = hashlib.sha256(json.dumps(key_source, sort_keys=True).encode()).hexdigest()[:12]
        folder = cache / f"{split}-{key}"
        paths = [folder / f"{version}.f16" for version in range(versions + 1)]
        if not (folder / "offsets.npy").exists():  # written last: without it an interrupted run starts over
            folder.mkdir(parents=True, exist_ok=True)
            jobs = [(str(self.corpus.root), info.id, versions, self.config) for info in self.infos]
            offsets = [0]
            with ExitStack() as stack:
                files = [stack.enter_context(open(path, "wb")) for path in paths]
                pool = stack.enter_context(ProcessPoolExecutor(mp_context=get_context("spawn")))
                for done, results in enumerate(pool.map(_features_job, jobs, chunksize=4), 1):
                    offsets.append(offsets[-1] + len(results[0]))
                    for file, result in zip(files, results, strict=True):
                        file.write(result.tobytes())
                    if done % 50 == 0 or done == len(jobs):
                        progress(f"audio features of the {split} split: {done}/{len(jobs)} clips")
            with atomic(folder / "offsets.npy") as temporary:
                np.save(temporary, np.array(offsets))
        offsets = np.load(folder / "offsets.npy")
        shape = (int(offsets[-1]), self.encoder.n_features)
        return [np.memmap(path, np.float16, "r", shape=shape) for path in paths], offsets


def feature_statistics(data: WindowData) -> tuple[Tensor, Tensor]:
    """(n_features,) mean and standard deviation over clean and augmented training audio."""
    rows = np.concatenate([version[:: max(1, len(version) // 20000)].astype(np.float32) for version in data.features])
    return torch.from_numpy(rows.mean(0)), torch.from_numpy(np.maximum(rows.std(0), 1e-2))


def print_progress(message: str) -> None:
    """One line on standard error."""
    print(message, file=sys.stderr, flush=True)
