"""Fit a model's geometry to the training split of a corpus: basis, scales, identities (or dense mean and std)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from meshtalk.clip import CHUNK, Clip
from meshtalk.config import GeometryConfig
from meshtalk.corpus.rows import Projection
from meshtalk.corpus.store import LINEAR, ClipInfo, Corpus
from meshtalk.errors import InputError
from meshtalk.mesh.topology import Topology
from meshtalk.model.geometry import (
    LOSS_REGIONS,
    MM,
    BasisGeometry,
    DenseGeometry,
    Identity,
    mouth_functionals,
    opening_pairs,
    region_arrays,
)

SAMPLE_FRAMES = 4000
"""Frames from which a basis of dense clips is computed; a linear rig's basis uses every frame."""
IDENTITY_VERTICES = 400
"""Evenly spread vertices that distinguish identities."""


def check_regions(topology: Topology) -> None:
    """Raise InputError unless the topology has all regions that the losses weigh."""
    if lacking := topology.lacks(LOSS_REGIONS):
        raise InputError(
            f"the corpus's mesh lacks regions {', '.join(lacking)}, which the losses weigh. Make them with"
            " `meshtalk regions motion CORPUS -o FACE.npz` or another way of docs/regions.md, then"
            " `meshtalk regions apply CORPUS FACE.npz`."
        )


def fit_geometry(corpus: Corpus, config: GeometryConfig) -> tuple[BasisGeometry | DenseGeometry, np.ndarray | None]:
    """Geometry for a corpus.

    Returns:
        (geometry, mix): mix (K,S) gives a basis in terms of the topology's blendshapes where all motion is made of
        them, so that coefficients turn into blendshape weights exactly; None otherwise.
    """
    infos = corpus.split("train")
    if config.kind == "dense":
        return _fit_dense(corpus, infos), None
    if all(LINEAR in info.files for info in infos):
        basis, mix = _rig_basis(corpus, infos, config)
    else:
        basis, mix = _sampled_basis(corpus, infos, config), None
    squares, count = np.zeros(len(basis)), 0
    project = Projection(corpus, basis)
    for info in infos:
        squares += ((project(info) * MM) ** 2).sum(0)
        count += info.n_frames
    std = np.sqrt(squares / max(count, 1))
    # rare small components must not be amplified to the size of the jaw
    scale = np.maximum(std, 0.02 * std.max())
    identity = _fit_identity(corpus, infos, config.identity_components)
    regions, opening = region_arrays(corpus.topology), opening_pairs(corpus.topology)
    return BasisGeometry(basis, scale, identity, regions, opening, mouth_functionals(corpus.topology)), mix


def _rig_basis(corpus: Corpus, infos: tuple[ClipInfo, ...], config: GeometryConfig) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of all frames of a linear rig, in vertex space, from the S×S moment of the weights."""
    shapes = corpus.topology.shapes
    assert shapes is not None
    shapes_mm = shapes.reshape(len(shapes), -1).astype(np.float64) * MM
    count = sum(info.n_frames for info in infos)
    probed = np.linspace(0, count - 1, min(count, SAMPLE_FRAMES)).astype(int)
    moment, probe = np.zeros((len(shapes), len(shapes))), []
    for begin, clip in _on_end(corpus, infos):
        weights = np.asarray(clip.weights, np.float64)
        moment += weights.T @ weights
        first, last = np.searchsorted(probed, [begin, begin + len(weights)])
        probe.append(weights[probed[first:last] - begin])
    root = np.linalg.cholesky(moment / count + 1e-10 * np.eye(len(moment)))
    u, s, vt = np.linalg.svd(root.T @ shapes_mm, full_matrices=False)
    keep = s > 1e-6 * s[0]
    mix = (u[:, keep] / s[keep]).T @ root.T  # rows: basis in terms of shapes in mm
    rows = np.concatenate(probe)
    # few frames at a time: a frame is a whole mesh
    size = max(_enough(rows[i : i + 200] @ shapes_mm, vt[keep], config) for i in range(0, len(rows), 200))
    return vt[keep][:size].reshape(size, -1, 3).astype(np.float32), mix[:size] * MM


def _sampled_basis(corpus: Corpus, infos: tuple[ClipInfo, ...], config: GeometryConfig) -> np.ndarray:
    """Principal components of evenly sampled frames of dense clips."""
    stride = max(1, sum(info.n_frames for info in infos) // SAMPLE_FRAMES)
    kept = [
        clip.displacements(start, start + CHUNK)[-(begin + start) % stride :: stride].reshape(
            -1, corpus.topology.n_vertices * 3
        )
        for begin, clip in _on_end(corpus, infos)
        for start in range(0, clip.n_frames, CHUNK)
    ]
    rows = np.concatenate(kept).astype(np.float64) * MM
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    vt = vt[s > 1e-6 * s[0]]
    size = _enough(rows, vt, config)
    return vt[:size].reshape(size, -1, 3).astype(np.float32)


def _on_end(corpus: Corpus, infos: tuple[ClipInfo, ...]) -> Iterator[tuple[int, Clip]]:
    """(frames before it, clip without its sound) of one clip after the other; only the current one is open."""
    begin = 0
    for info in infos:
        yield begin, corpus.load(info, sound=False)
        begin += info.n_frames


def _enough(frames_mm: np.ndarray, basis: np.ndarray, config: GeometryConfig) -> int:
    """Smallest number of components whose worst vertex error is within the tolerance."""
    size = min(config.basis_max, len(basis))
    coefficients = frames_mm @ basis[:size].T
    residual = frames_mm - coefficients @ basis[:size]
    for count in range(size, 1, -1):  # add components back to the residual while it stays small
        grown = residual + np.outer(coefficients[:, count - 1], basis[count - 1])
        if np.sqrt((grown.reshape(len(grown), -1, 3) ** 2).sum(-1)).max() > config.basis_tolerance_mm:
            return count
        residual = grown
    return 1


def _fit_identity(corpus: Corpus, infos: tuple[ClipInfo, ...], components: int) -> Identity:
    """Principal components of the training people's templates."""
    subjects = sorted({info.subject for info in infos})
    index = np.unique(np.linspace(0, corpus.topology.n_vertices - 1, IDENTITY_VERTICES).astype(int))
    faces = np.stack([corpus.template(subject)[index] for subject in subjects]) * MM
    faces = faces - faces.mean(1, keepdims=True)
    mean = faces.mean(0)
    _, s, vt = np.linalg.svd((faces - mean).reshape(len(faces), -1), full_matrices=False)
    size = max(1, min(components, len(subjects) - 1))
    # one scale for all: small components are noise between few people and must not be amplified
    scale = np.full(size, max(s[0] / np.sqrt(len(subjects)), 1e-3))
    return Identity(index, mean, vt[:size], scale)


def _fit_dense(corpus: Corpus, infos: tuple[ClipInfo, ...]) -> DenseGeometry:
    total, squares, count = 0.0, 0.0, 0
    for info in infos:
        for chunk in corpus.load(info, sound=False).chunks():
            frames = chunk.astype(np.float64) * MM
            total, squares, count = total + frames.sum(0), squares + (frames**2).sum(0), count + len(frames)
    mean = np.asarray(total / count)
    std = np.sqrt(np.maximum(np.asarray(squares / count) - mean**2, 0))
    # vertices that hardly move must not be amplified
    regions, opening = region_arrays(corpus.topology), opening_pairs(corpus.topology)
    return DenseGeometry(mean, np.maximum(std, 0.02 * std.max()), regions, opening, mouth_functionals(corpus.topology))
