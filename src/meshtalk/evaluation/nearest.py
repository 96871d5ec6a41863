"""Nearest-neighbour baseline: plays the motion of the training moments with the most similar sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.evaluation import baselines
from meshtalk.progress import Show, followed

Features = Callable[[np.ndarray], np.ndarray]
"""(S,) mono 16 kHz → (L,F): row j describes the sound around j · 10 ms. The same sound gives the same rows."""

DIMENSIONS = 64
"""Principal components of the features that are compared: 28 MB an hour of training motion at 30 frames per second."""
FIT_CLIPS = 100
"""The components are those of about so many clips, spread over the split."""
JUMP = 1.0
"""What leaving a clip for another moment costs, in mean squared distances of a moment from the average one.

Chosen on the embedded corpus's validation split: with 0.3 the face shakes, with 2 it misses closures."""
BLEND = np.array([1, 2, 2, 2, 1]) / 8
"""Weights of the moments chosen up to two frames before and after, each continued to the frame itself."""
REACH = len(BLEND) // 2
SPAN = 128
"""Frames whose moments are chosen together; memory grows with it."""


class NearestClip:
    """For a new sound, the moments of training clips that sound nearest, as displacement of the face given.

    Every frame k of every training clip is a moment, described by the features of its sound at k/fps. A path through
    the moments costs the squared distance of each from the new sound, and JUMP wherever it does not run on to the next
    moment of its clip; the cheapest path is found exactly (Viterbi over all moments, in spans). A frame of the result
    is the mean, weighted by BLEND, of what the moments chosen around it would show there: that crossfades the jumps
    and leaves all else as it was. So a training clip's own sound gives its own motion. Nothing is drawn at random.
    """

    def __init__(
        self,
        corpus: baselines.ClipSource,
        features: Features,
        split: str = "train",
        progress: Show | None = None,
    ) -> None:
        """Read the sound of every clip of a split; motion stays where it is until it is played.

        Args:
            progress: called after every clip.

        Raises:
            InputError: the split has no clips.
        """
        self.corpus, self.topology, self.features = corpus, corpus.topology, features
        self.infos = baselines.split_of(corpus, split)
        first = corpus.load(self.infos[0])
        self.fps, self.basis, self.basis_names = first.fps, first.basis, first.basis_names
        some = (corpus.load(info) for info in self.infos[:: -(-len(self.infos) // FIT_CLIPS)])
        rows = np.concatenate([self._describe(clip.audio, clip.sample_rate, clip.n_frames) for clip in some])
        self._centre, self._axes = principal_axes(rows)
        moments, missing = [], []
        for info in followed(self.infos, len(self.infos), "clips", progress, "nearest clip: heard"):
            clip = corpus.load(info)
            if clip.basis is not self.basis:
                self.basis = None  # motion of several kinds has only displacements in common
            moments.append(self._compared(clip.audio, clip.sample_rate, clip.n_frames))
            gaps = np.zeros(clip.n_frames) if clip.valid is None else ~clip.valid
            missing.append(np.convolve(gaps, np.ones(2 * REACH + 1))[REACH:-REACH] > 0)
        self._begins = np.cumsum([0, *map(len, moments)])
        self._moments = np.concatenate(moments)
        # a moment beside a frame that capture missed is never the nearest
        self._squares = np.where(np.concatenate(missing), np.inf, np.square(self._moments).sum(1)).astype(np.float32)

    def animate(self, audio: np.ndarray, sample_rate: int, *, template: np.ndarray, seed: int) -> Clip:
        """A clip of ceil(seconds · fps) frames; the seed changes nothing.

        Args:
            audio: (S,) mono.
            template: (V,3) metres.

        Raises:
            InputError: a template of another topology, or audio that cannot be used.
        """
        needed = (self.topology.n_vertices, 3)
        if template.shape != needed:
            raise InputError(
                f"the template must have shape {needed}, as topology {self.topology.hash}, got {template.shape}"
            )
        path = self.path(audio, sample_rate)
        linear = self.basis is not None
        shown = np.empty((len(path), *(self.basis.shape[:1] if self.basis is not None else needed)), np.float32)
        for start in range(0, len(path), SPAN):
            shown[start : start + SPAN] = self._blended(path, start)
        return Clip(
            topology=self.topology,
            template=template,
            fps=self.fps,
            audio=audio,
            sample_rate=sample_rate,
            displacement=None if linear else shown,
            weights=shown if linear else None,
            basis=self.basis,
            basis_names=self.basis_names if linear else (),
        )

    def path(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """(T,) the moment chosen for each frame: moments are the frames of all training clips, one after the other."""
        sound = self._compared(audio, sample_rate, baselines.frames_of(audio, sample_rate, self.fps))
        path = np.empty(len(sound), int)
        for start in range(0, len(sound), SPAN):
            here = sound[start : start + SPAN]
            costs = self._squares - 2 * here @ self._moments.T  # squared distance, but for a constant of each frame
            before = int(path[start - 1]) if start else None
            path[start : start + SPAN] = cheapest_path(costs, self._begins[:-1], before)
        return path

    def _blended(self, path: np.ndarray, start: int) -> np.ndarray:
        """(t,…) float64 weights or displacements of the frames of a span: of equals, the mean is exactly the same."""
        frames = np.arange(start, min(start + SPAN, len(path)))
        source = np.clip(frames + np.arange(-REACH, REACH + 1)[:, None], 0, len(path) - 1)  # (5,t)
        clips = np.searchsorted(self._begins, path[source], "right") - 1
        at = np.clip(path[source] + frames - source, self._begins[clips], self._begins[clips + 1] - 1)
        moved: np.ndarray | None = None
        for index in np.unique(clips):
            clip, here = self.corpus.load(self.infos[index]), clips == index
            rows = at[here] - self._begins[index]
            low, high = int(rows.min()), int(rows.max()) + 1
            weights = clip.weights if self.basis is not None else None
            motion = clip.displacements(low, high) if weights is None else weights[low:high]
            if moved is None:
                moved = np.empty((*clips.shape, *motion.shape[1:]))
            moved[here] = motion[rows - low]
        assert moved is not None
        return np.tensordot(BLEND, moved, 1)

    def _describe(self, audio: np.ndarray, sample_rate: int, n_frames: int) -> np.ndarray:
        """(T,F) float32 features at the frames' times."""
        from meshtalk.audio.files import HOP_RATE, to_mono

        rows = self.features(to_mono(audio, sample_rate))
        at = np.round(np.arange(n_frames) * float(HOP_RATE / self.fps)).astype(int)
        return np.asarray(rows[np.minimum(at, len(rows) - 1)], np.float32)

    def _compared(self, audio: np.ndarray, sample_rate: int, n_frames: int) -> np.ndarray:
        """(T,D) float32: their coordinates along the axes."""
        return (self._describe(audio, sample_rate, n_frames) - self._centre) @ self._axes


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F,) centre and (F,D) axes of (n,F) rows: `(row − centre) @ axes` are its coordinates, of mean square length 1.

    Every feature counts with the same variance; D is DIMENSIONS or fewer.
    """
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    scaled = (rows - centre) / spread
    values, vectors = np.linalg.eigh(scaled.T.astype(np.float64) @ scaled / len(rows))
    axes = vectors[:, ::-1][:, :DIMENSIONS]
    size = np.sqrt(max(values[::-1][:DIMENSIONS].sum(), 1e-12))
    return centre, (axes / size / spread[:, None]).astype(np.float32)


def cheapest_path(costs: np.ndarray, begins: np.ndarray, before: int | None = None) -> np.ndarray:
    """(T,) one of N moments for each frame: the least sum of costs and jumps.

    Args:
        costs: (T,N) of showing each moment at each frame.
        begins: the moments that begin a clip, which no other runs on to.
        before: the moment shown before the first frame, if there is one.
    """
    jumped = np.zeros(costs.shape, bool)
    origin = np.zeros(len(costs), int)
    total = np.zeros(costs.shape[1], np.float32)
    if before is not None:
        total += np.float32(2 * JUMP)
        total[before] = 0
    for frame, cost in enumerate(costs):
        if frame or before is not None:
            run_on = np.concatenate([[np.inf], total[:-1]]).astype(np.float32)
            run_on[begins] = np.inf
            origin[frame] = total.argmin()
            by_jump = total[origin[frame]] + np.float32(JUMP)
            jumped[frame] = run_on > by_jump
            total = np.minimum(run_on, by_jump)
        total = total + cost
    path = np.empty(len(costs), int)
    path[-1] = total.argmin()
    for frame in range(len(costs) - 1, 0, -1):
        path[frame - 1] = origin[frame] if jumped[frame, path[frame]] else path[frame] - 1
    return path
