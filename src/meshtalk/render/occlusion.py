"""Ambient occlusion and shadows of a neutral face, precomputed from many directions."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np

from meshtalk.mesh.topology import Topology
from meshtalk.render import kernels, scene

_VIEWS, _PX, _LIFT_M = 96, 160, 0.0015
_KEY_VIEWS, _KEY_SPREAD, _KEY_DEPTH = 16, 0.22, 0.85
_JAW = 0.45
_REMEMBERED = 8
"""Takes of one line, clips on a page and frames on a sheet show the same few faces."""
_known: OrderedDict[bytes, np.ndarray] = OrderedDict()
_lock = threading.Lock()


def openness(topology: Topology, template: np.ndarray, to_key: np.ndarray) -> np.ndarray:
    """(V,2) share of the sky and of the key light that reaches each vertex, in [0,1].

    The mouth is shut in the neutral face but has to be lit when it opens, so a topology with ARKit's jawOpen
    is looked at with that shape too, and the brighter of the two counts.

    Args:
        template: (V,3) metres.
        to_key: (3,) unit, towards the key light in the template's space.
    """
    poses = [np.asarray(template, np.float32)]
    if topology.shapes is not None and "jawOpen" in topology.shape_names:
        poses.append(poses[0] + np.float32(_JAW) * topology.shapes[topology.shape_names.index("jawOpen")])
    faces = np.ascontiguousarray(topology.faces, np.uint32)
    digest = hashlib.sha256()
    for part in (faces, *poses, to_key):
        digest.update(np.ascontiguousarray(part).tobytes())
    key = digest.digest()
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
    result = np.max([_openness_of(pose, faces, to_key) for pose in poses], axis=0)
    with _lock:
        _known[key] = result
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return result


def _openness_of(vertices: np.ndarray, faces: np.ndarray, to_key: np.ndarray) -> np.ndarray:
    normals = np.empty(vertices.shape)
    kernels.vertex_normals(np.ascontiguousarray(vertices, np.float32), faces, np.eye(3), normals)
    raised = vertices + _LIFT_M * normals
    centre = (vertices.max(0) + vertices.min(0)) / 2.0
    size = float(np.linalg.norm(np.ptp(vertices, axis=0))) * 1.02
    cells = (_PX, _PX, kernels.N_SAMPLES)
    owner, nearness = np.empty(cells, np.int32), np.empty(cells, np.float32)
    visible, kinds = np.empty(len(vertices)), np.zeros(len(faces), np.uint8)

    def seen_from(towards: np.ndarray) -> np.ndarray:
        """(V,) whether a far point in that direction sees the vertex: a parallel projection along it."""
        aside = np.cross((0.0, 1.0, 0.0) if abs(towards[1]) < 0.9 else (1.0, 0.0, 0.0), towards)
        aside /= np.linalg.norm(aside)
        axes = np.stack([aside, -np.cross(towards, aside), towards], 1)

        def on_screen(points: np.ndarray) -> np.ndarray:
            flat = (points - centre) @ axes / size + 0.5
            flat[:, :2] = np.floor(flat[:, :2] * _PX * kernels.SUBPIXEL + 0.5) / kernels.SUBPIXEL
            return flat

        kernels.rasterise(on_screen(vertices), faces, kinds, nearness, owner)
        kernels.visibility(on_screen(raised), nearness, 0.0004 / size, visible)
        return visible

    sky, weight = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for towards in scene.directions(_VIEWS):
        cosine = np.maximum(normals @ towards, 0.0)
        sky += cosine * seen_from(towards)
        weight += cosine
    key = np.zeros(len(vertices))
    cone = scene.directions(_KEY_VIEWS) * _KEY_SPREAD + to_key
    for towards in cone / np.linalg.norm(cone, axis=1, keepdims=True):
        key += seen_from(towards)
    # on the side that is turned away the wrapped terminator does the shading; the shadow fades out there
    facing = np.clip((normals @ to_key + 0.15) / 0.35, 0.0, 1.0)
    key = 1.0 - _KEY_DEPTH * facing * (1.0 - key / _KEY_VIEWS)
    sky = sky / weight
    # light that other skin throws into hollows
    sky = 0.65 * sky + 0.35 * np.sqrt(sky)
    return _smoothed(np.stack([sky, key], 1), faces)


def _smoothed(values: np.ndarray, faces: np.ndarray, rounds: int = 2) -> np.ndarray:
    """(V,n) averaged with the neighbours along the edges, which hides the grain of the sampling."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = np.bincount(ends.ravel(), minlength=len(values))[:, None] + 1e-9
    for _ in range(rounds):
        total = np.zeros_like(values)
        for column in range(values.shape[1]):
            for here, there in ((0, 1), (1, 0)):
                total[:, column] += np.bincount(ends[:, here], values[ends[:, there], column], len(values))
        values = 0.5 * values + 0.5 * np.where(count > 0.5, total / count, values)
    return values
