"""Regions from a corpus's motion: the slit that opens in speech is the mouth, the two that a blink shuts are the eyes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from meshtalk.clip import CHUNK, Clip
from meshtalk.corpus.store import Corpus
from meshtalk.errors import InputError
from meshtalk.mesh.surface import Surface, components
from meshtalk.regions.face import Face, read_face
from meshtalk.regions.warp import regions_from_landmarks

POSES = 300
"""Frames, spread over the corpus, from which the mouth is located."""
MODES = 8
"""Principal components of those frames: what they leave is no opening of a mouth."""
SEARCHED = 20_000
"""Frames, spread over the corpus in whole clips, in which blinks are looked for."""
ACROSS_M = 0.006
"""The rims of a slit lie this near to each other when it is shut (or as near as the mesh's edges are long)."""
DETOUR, DETOUR_M = 2.5, 0.001
"""From rim to rim along the surface is farther than this many times the straight way and a millimetre: round the corner."""
DEPTH_M, BESIDE_M = 0.004, 0.003
"""A vertex is seen from the front if none within so much to the side lies so much before it."""
LEAST_SHARE = 0.03
"""Of the widest opening: the rims of a slit move apart at least so much, up to its corners."""
BLINK_S = 0.2
"""Half of what a blink takes: before and after, the lids are where they were."""
TOUCH_M = 0.0005
"""Gaps that are wider by no more than this are the same contact."""
LEAST_OPENING_M, LEAST_BLINK_M = 0.0005, 0.002
"""Openings (root mean square) and falls of lids below these are noise."""
ADVICE = "Name landmarks or paint the regions instead (docs/regions.md)"


@dataclass(frozen=True, eq=False)
class Slit:
    """Pairs of vertices on the two rims of a slit, from -X to +X."""

    upper: np.ndarray
    lower: np.ndarray
    gap_m: np.ndarray
    """How far they are apart when it is shut."""

    def corner(self, vertices: np.ndarray, last: int) -> np.ndarray:
        """(3,) its end at -X (0) or +X (-1)."""
        return (vertices[self.upper[last]] + vertices[self.lower[last]]) / 2

    def middle(self, vertices: np.ndarray) -> int:
        """Number of the foremost of the pairs that touch in the middle tenth."""
        x, z = (vertices[self.upper, axis] + vertices[self.lower, axis] for axis in (0, 2))
        off = np.abs(x - (x[0] + x[-1]) / 2)
        inside = off <= max(0.05 * (x[-1] - x[0]), off.min())
        touching = inside & (self.gap_m <= self.gap_m[inside].min() + TOUCH_M)
        return int(np.argmax(np.where(touching, z, -np.inf)))


def regions_from_motion(corpus: Corpus) -> Face:
    """The mean of a corpus's faces with regions, inner lips and upper teeth: `find_landmarks`, then as from landmarks.

    Raises:
        InputError: nothing in it opens like a mouth, or shuts like lids.
    """
    if not corpus.clips:
        raise InputError(f"the corpus {corpus.root} has no clips, so nothing in it moves")
    face = read_face(corpus.root)
    return regions_from_landmarks(face, find_landmarks(corpus, face.vertices))


def find_landmarks(corpus: Corpus, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Corners and middles of the mouth and the eyes and the tip of the nose, name → (3,) metres.

    Args:
        vertices: (V,3) metres, the face at rest: +Y up, +Z out of the face, lips shut, eyes open.

    Raises:
        InputError: see `regions_from_motion`.
    """
    mesh = _Mesh(vertices, corpus.topology.faces)
    mean, modes = _modes(corpus)
    mouth = mesh.mouth(modes, mean)
    right, left = mouth.corner(vertices, 0), mouth.corner(vertices, -1)
    width, centre = left[0] - right[0], (left + right) / 2
    above = mesh.front & (vertices[:, 1] > centre[1] + width / 2)
    fall = _blink(
        corpus, [np.flatnonzero(above & side) for side in (vertices[:, 0] < centre[0], vertices[:, 0] > centre[0])]
    )
    found = {"mouth_left": left, "mouth_right": right, **_middle(vertices, mouth, "lip_{}_inner")}
    for name, side, inner in (("right", vertices[:, 0] < centre[0], -1), ("left", vertices[:, 0] > centre[0], 0)):
        eye = mesh.slit(vertices + fall, fall[None], -fall, above & side)
        if eye is None:
            raise InputError(f"the blinks of {corpus.root} are not of lids that meet. {ADVICE}.")
        found |= {
            f"eye_inner_{name}": eye.corner(vertices, inner),
            f"eye_outer_{name}": eye.corner(vertices, -1 - inner),
        }
        found |= _middle(vertices, eye, "eye_{}_" + name)
    eyes_y = min(found["eye_inner_left"][1], found["eye_inner_right"][1])
    nose = mesh.front & (np.abs(vertices[:, 0] - centre[0]) < width / 4)
    nose &= (vertices[:, 1] > centre[1] + 0.2 * (eyes_y - centre[1])) & (vertices[:, 1] < eyes_y)
    if not nose.any():
        raise InputError(f"no nose was found between mouth and eyes of {corpus.root}. {ADVICE}.")
    return found | {"nose_tip": vertices[np.argmax(np.where(nose, vertices[:, 2], -np.inf))]}


class _Mesh:
    """A mesh at rest with what the search for slits needs."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.vertices, self.faces = vertices, faces
        surface = Surface(vertices, faces)
        self.piece = surface.pieces
        self.across_m = max(ACROSS_M, float(np.median(surface.graph.data)))
        beside = KDTree(vertices[:, :2]).query_pairs(BESIDE_M, output_type="ndarray")
        foremost = vertices[:, 2].copy()
        for a, b in (beside.T, beside.T[::-1]):
            np.maximum.at(foremost, a, vertices[b, 2])
        self.front = vertices[:, 2] > foremost - DEPTH_M

    def mouth(self, modes: np.ndarray, opening: np.ndarray) -> Slit:
        """The slit round the place where what is near at rest moves apart most."""
        most = self.slit(self.vertices, modes, opening, self.front, 0.5)
        if most is None:
            raise InputError(f"no mouth opening was found in this corpus. {ADVICE}.")
        middle = np.median(self.vertices[np.concatenate([most.upper, most.lower])], axis=0)
        off = np.abs(self.vertices - middle)
        found = self.slit(self.vertices, modes, opening, self.front & (off < [0.06, 0.025, 0.06]).all(1))
        if found is None:
            raise InputError(f"the opening in this corpus is not a slit between two lips. {ADVICE}.")
        return found

    def slit(
        self, shut: np.ndarray, modes: np.ndarray, opening: np.ndarray, area: np.ndarray, share: float = LEAST_SHARE
    ) -> Slit | None:
        """Pairs in an area that are near in space when it is shut, far along the surface, and move apart.

        Args:
            shut: (V,3) metres; modes: (K,V,3) how it moves; opening: (V,3) how it opens; area: (V,) bool.
            share: of the most that a pair in the area moves apart, which all have to.
        """
        pairs, apart = self._apart(shut, modes, area)
        kept = apart > share * apart.max(initial=LEAST_OPENING_M)
        pairs, apart = pairs[kept], apart[kept]
        straight_m = np.linalg.norm(shut[pairs[:, 0]] - shut[pairs[:, 1]], axis=1)
        near_m = DETOUR * straight_m + DETOUR_M
        far = Surface(shut, self.faces).separations(pairs, DETOUR * self.across_m + DETOUR_M) > near_m
        pairs, straight_m, apart = pairs[far], straight_m[far], apart[far]
        if len(pairs) < 3:
            return None
        # nostrils and ears are slits, too: what hangs together with the place that opens most
        links = KDTree(shut[pairs].mean(1)).query_pairs(self.across_m, output_type="ndarray")
        run = components(len(pairs), links)
        order = np.flatnonzero(run == run[np.argmax(apart)])
        order = order[np.argsort(self.vertices[pairs[order], 0].sum(1), kind="stable")]
        pairs, straight_m = pairs[order], straight_m[order]
        swap = opening[pairs[:, 0], 1] < opening[pairs[:, 1], 1]
        pairs[swap] = pairs[swap, ::-1]
        return Slit(pairs[:, 0], pairs[:, 1], straight_m)

    def _apart(self, shut: np.ndarray, modes: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n,2) pairs of an area, of one piece, that are near when it is shut, (n,) metres that they move to each other)."""
        rows = np.flatnonzero(area)
        pairs = rows[KDTree(shut[rows]).query_pairs(self.across_m, output_type="ndarray")]
        pairs = pairs[self.piece[pairs[:, 0]] == self.piece[pairs[:, 1]]]
        moved = modes[:, pairs[:, 0]] - modes[:, pairs[:, 1]]
        return pairs, np.sqrt(np.einsum("knc,knc->n", moved, moved))


def _middle(vertices: np.ndarray, slit: Slit, name: str) -> dict[str, np.ndarray]:
    at = slit.middle(vertices)
    return {name.format("upper"): vertices[slit.upper[at]], name.format("lower"): vertices[slit.lower[at]]}


def _spread(corpus: Corpus, frames: int) -> Iterator[Clip]:
    """Clips without sound, evenly over the corpus, until they have so many frames."""
    total = sum(info.n_frames for info in corpus.clips)
    stride = max(1, -(-total // frames))
    yield from (corpus.load(info, sound=False) for info in corpus.clips[::stride])


def _modes(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """((V,3) mean displacement, (MODES,V,3) principal components, as long as they are in root mean square)."""
    total = sum(info.n_frames for info in corpus.clips)
    wanted = np.unique(np.linspace(0, total - 1, POSES).astype(int))
    rows, begin = [], 0
    for info in corpus.clips:
        here = wanted[(wanted >= begin) & (wanted < begin + info.n_frames)] - begin
        if len(here):
            clip = corpus.load(info, sound=False)
            rows += [clip.displacements(int(k), int(k) + 1)[0] for k in here]
        begin += info.n_frames
    poses = np.stack(rows).reshape(len(rows), -1).astype(np.float64)
    _, axes = np.linalg.eigh(poses @ poses.T)
    modes = axes[:, ::-1][:, :MODES].T @ poses / np.sqrt(len(poses))
    return poses.mean(0).reshape(-1, 3), modes.reshape(len(modes), -1, 3)


def _blink(corpus: Corpus, sides: list[np.ndarray]) -> np.ndarray:
    """(V,3) metres: how the face of a blink differs from before and after, the median of the strongest.

    A blink is where on both sides (indices of vertices) some go down and come back within 2·BLINK_S.
    """
    back = max(1, round(BLINK_S * float(corpus.fps)))
    enough = [max(1, len(side) // 200) for side in sides]  # vertices: one that jumps is no lid
    peaks: list[tuple[float, Clip, int]] = []
    for clip in _spread(corpus, SEARCHED):
        heights = [
            np.concatenate([clip.displacements(k, k + CHUNK)[:, side, 1] for k in range(0, clip.n_frames, CHUNK)])
            for side in sides
        ]
        if clip.n_frames <= 2 * back or not all(len(side) for side in sides):
            continue
        falls = [(h[: -2 * back] + h[2 * back :]) / 2 - h[back:-back] for h in heights]
        fall = np.minimum(*(np.partition(f, -n, 1)[:, -n] for f, n in zip(falls, enough, strict=True)))
        crest = np.flatnonzero((fall[1:-1] >= fall[:-2]) & (fall[1:-1] > fall[2:])) + 1
        peaks += [(float(fall[k]), clip, int(k) + back) for k in crest]
    peaks = sorted(peaks, key=lambda peak: -peak[0])[:50]
    strongest = float(np.median([strength for strength, _, _ in peaks[:5]])) if peaks else 0.0
    if strongest < LEAST_BLINK_M:
        raise InputError(
            f"no blink was found in {corpus.root} (largest lid motion {strongest * 1e3:.1f} mm). {ADVICE}."
        )
    fields = []
    for strength, clip, k in peaks:
        if strength > strongest / 2:
            before, now, after = (clip.displacements(j, j + 1)[0] for j in (k - back, k, k + back))
            fields.append(now - (before + after) / 2)
    return np.median(fields, axis=0).astype(np.float64)
