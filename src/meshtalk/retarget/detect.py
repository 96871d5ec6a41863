"""Face detection on unmarked meshes: orientation, position and size.

The mesh is looked at from six sides, and the relief of what is seen (surface normals without their slow part) is
compared with that of the packaged head's face in four turns and many sizes. The winding of triangles does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from meshtalk.mesh.head import load_head
from meshtalk.mesh.surface import Surface

fft: Any = scipy.fft  # its functions are dispatched, and say no types
PIXEL_M = 0.005
"""Size of a pixel on the packaged head: a face has some 25 by 30."""
FACE_X_M, FACE_Y_M = (-0.062, 0.062), (-0.088, 0.066)
"""What counts as the face, seen from the front."""
RELIEF_M = 0.022
"""Slower changes of the surface are left out of the comparison: any egg would look like a face otherwise."""
SHARES = tuple(1.1 * 0.85**k for k in range(19))
"""Height of the face over that of the mesh, from a mask down to a whole body (0.058)."""
SAMPLES = 60_000
SURE = 0.8
"""A score that only faces reach: no other side is looked at. Eggs and boxes stay below 0.55, other places of heads below 0.7."""


@dataclass(frozen=True)
class Pose:
    """A similarity from a mesh's space to the packaged head's."""

    rotation: np.ndarray
    """(3,3)."""
    metres: float
    """In one unit of the mesh."""
    shift: np.ndarray
    """(3,) metres."""
    score: float = 1.0
    """How much the relief looks like a face, at most 1."""

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(…,3) of the mesh → (…,3) metres, as the packaged head lies."""
        return self.metres * points @ self.rotation.T + self.shift


def turns() -> list[np.ndarray]:
    """Six rotations that turn an axis of a mesh, forwards or backwards, to +Z; the usual fronts come first."""
    found = []
    for axis, sign in ((2, 1.0), (1, -1.0), (0, 1.0), (2, -1.0), (1, 1.0), (0, -1.0)):
        z = np.eye(3)[axis] * sign
        y = np.eye(3)[(axis + 1) % 3]
        found.append(np.stack([np.cross(y, z), y, z]))
    return found


def find_poses(mesh: Surface, count: int = 4) -> list[Pose]:
    """The most likely poses of a face on a mesh, best first; no two of them nearly the same."""
    points, normals = mesh.samples(SAMPLES)
    if not len(points):
        return []
    found: list[Pose] = []
    for view in turns():
        found += _from_side(points @ view.T, normals @ view.T, view)
        if max((pose.score for pose in found), default=0) > SURE:
            break
    found.sort(key=lambda pose: -pose.score)
    kept: list[Pose] = []
    for pose in found:
        if all(_differ(pose, other) for other in kept):
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def _differ(pose: Pose, other: Pose) -> bool:
    turned = np.trace(pose.rotation @ other.rotation.T) < 2.5
    nose = np.array([0.0, -0.01, 0.1])
    apart = np.linalg.norm(other.apply((nose - pose.shift) @ pose.rotation / pose.metres) - nose) > 0.02
    return bool(turned or apart or abs(np.log(pose.metres / other.metres)) > 0.2)


def _from_side(points: np.ndarray, normals: np.ndarray, view: np.ndarray) -> list[Pose]:
    """The best pose of every size and turn, seen along -Z of points that `view` has turned."""
    order = np.argsort(points[:, 2])
    points, normals = points[order], normals[order]
    normals = normals * np.where(normals[:, 2:] < 0, -1.0, 1.0)
    height = float(np.ptp(points[:, :2], axis=0).max())
    poses = []
    for share in SHARES:
        metres = (FACE_Y_M[1] - FACE_Y_M[0]) / (share * height)
        image, low, depth = relief(points * metres, normals)
        poses += _best(image, low, depth, view, metres)
    return poses


def relief(points_m: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is seen from +Z: ((H,W,3) x and y of the fast part of the normals and whether anything is there, (2,) metres of the
    first pixel, (H,W) nearest z).

    Rows go up along +Y, columns along +X. Points come in the order of z, the nearest last.
    """
    low = points_m[:, :2].min(0) - 8 * PIXEL_M
    cell = np.floor((points_m[:, :2] - low) / PIXEL_M).astype(np.int64)
    width, height = cell.max(0) + 9
    nearest = np.full(width * height, -1)
    nearest[cell[:, 1] * width + cell[:, 0]] = np.arange(len(cell))  # of several in one cell, the last stays
    seen, depth = np.zeros((height * width, 3)), np.full(height * width, -np.inf)
    there = np.flatnonzero(nearest >= 0)
    seen[there, :2], seen[there, 2] = normals[nearest[there], :2], 1
    depth[there] = points_m[nearest[there], 2]
    seen, depth = seen.reshape(height, width, 3), depth.reshape(height, width)

    def blurred(sigma: float) -> np.ndarray:
        soft = np.stack([gaussian_filter(seen[..., k], sigma) for k in range(3)], 2)
        return soft[..., :2] / np.maximum(soft[..., 2:], 0.05)

    fast = (blurred(1.0) - blurred(RELIEF_M / PIXEL_M)) * seen[..., 2:]
    return np.concatenate([fast, seen[..., 2:]], 2), low, depth


@cache
def face_relief() -> tuple[np.ndarray, np.ndarray]:
    """((h,w,3) the packaged head's face as `relief` sees it, (3,) metres: x and y of its first pixel, z of its middle)."""
    head = load_head()
    skin = head.topology.parts == head.topology.part_names.index("skin")
    sums = 0.0
    low, depth = np.zeros(2), np.zeros((1, 1))
    faces = head.topology.faces[skin[head.topology.faces].all(1)]
    for name in ("default", "p03", "p12", "p20", "p27"):
        template = head.person(name).template.astype(np.float64)
        # everybody's nose at one height, so that they add up
        template = template - [0, template[354, 1] - head.neutral[354, 1], 0]
        points, normals = Surface(template, faces).samples(SAMPLES)
        points = np.concatenate([points, [[-0.1, -0.16, -1], [0.1, 0.16, -1]]])
        keep = (np.abs(points[:, 0]) <= 0.1) & (np.abs(points[:, 1]) <= 0.16)
        flipped = normals * np.where(normals[:, 2:] < 0, -1.0, 1.0)
        normals = np.concatenate([flipped, np.zeros((2, 3))])
        keep = np.flatnonzero(keep)
        keep = keep[np.argsort(points[keep, 2])]
        image, low, depth = relief(points[keep], normals[keep])
        sums = sums + image
    rows, columns = np.arange(len(sums)), np.arange(sums.shape[1])
    y, x = low[1] + (rows + 0.5) * PIXEL_M, low[0] + (columns + 0.5) * PIXEL_M
    inside = np.ix_((y >= FACE_Y_M[0]) & (y <= FACE_Y_M[1]), (x >= FACE_X_M[0]) & (x <= FACE_X_M[1]))
    patch, py, px = (
        sums[inside] / 5,
        y[(y >= FACE_Y_M[0]) & (y <= FACE_Y_M[1])],
        x[(x >= FACE_X_M[0]) & (x <= FACE_X_M[1])],
    )
    middle_y = (FACE_Y_M[0] + FACE_Y_M[1]) / 2
    oval = (px[None] / FACE_X_M[1]) ** 2 + ((py[:, None] - middle_y) / (FACE_Y_M[1] - middle_y)) ** 2 <= 1
    patch[~oval] = 0
    patch[..., 2] = oval
    return patch, np.array([px[0], py[0], float(np.median(depth[inside][oval]))])


def _best(image: np.ndarray, low: np.ndarray, depth: np.ndarray, view: np.ndarray, metres: float) -> list[Pose]:
    """The best place of the face's relief on an image in each of four turns by 90 degrees."""
    patch, corner = face_relief()
    longest = max(patch.shape[:2])
    pad = [(0, max(0, longest - image.shape[k])) for k in (0, 1)]
    image, depth = np.pad(image, [*pad, (0, 0)]), np.pad(depth, pad, constant_values=-np.inf)
    size = [fft.next_fast_len(image.shape[k] + longest, real=True) for k in (0, 1)]
    planes = np.stack([image[..., 0], image[..., 1], (image[..., :2] ** 2).sum(2), image[..., 2]]).astype(np.float32)
    spectra = fft.rfft2(planes, size)
    poses = []
    for quarter in range(4):
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter]
        # rows go up, so that rot90 backwards turns anticlockwise as seen
        mask = np.rot90(patch[..., 2], -quarter)
        turned = np.rot90(patch[..., :2], -quarter) @ np.array([[cosine, sine], [-sine, cosine]])
        shapes = fft.rfft2(np.stack([turned[..., 0], turned[..., 1], mask]).astype(np.float32), size).conj()
        products = [spectra[0] * shapes[0] + spectra[1] * shapes[1], spectra[2] * shapes[2], spectra[3] * shapes[2]]
        match, energy, covered = fft.irfft2(np.stack(products), size)[
            :, : image.shape[0] - mask.shape[0] + 1, : image.shape[1] - mask.shape[1] + 1
        ]
        score = match / np.sqrt(np.maximum(energy, 1e-3) * (turned**2).sum())
        score = score * np.clip((covered / mask.sum() - 0.5) / 0.35, 0, 1)
        row, column = np.unravel_index(score.argmax(), score.shape)
        inside = depth[row : row + mask.shape[0], column : column + mask.shape[1]][mask > 0]
        inside = inside[np.isfinite(inside)]
        z = float(np.median(inside)) if len(inside) else 0.0
        # the middle of the patch, here and on the head
        here = np.array([*(low + (np.array([column, row]) + np.array(mask.shape[::-1]) / 2) * PIXEL_M), z])
        there = np.array([*(corner[:2] + (np.array(patch.shape[1::-1]) - 1) / 2 * PIXEL_M), corner[2]])
        back = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1.0]])
        poses.append(Pose(back @ view, metres, there - back @ here, float(score[row, column])))
    return poses
