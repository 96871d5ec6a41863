"""Pictures of a talking head: a software rasteriser that needs neither a graphics card nor a display.

`Renderer` turns meshes of one topology into images. It is deterministic: the same vertices give the same bytes on
every machine, on any number of threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from meshtalk.errors import InputError
from meshtalk.render import scene
from meshtalk.topology import Topology

__all__ = ["BACKDROP", "Renderer"]

BACKDROP = (0.36, 0.42, 0.47)
"""sRGB of the backdrop where it is brightest."""
_OCCLUSION_VIEWS, _OCCLUSION_PX, _OCCLUSION_LIFT_M = 96, 160, 0.0015
_KEY_VIEWS, _KEY_SPREAD, _KEY_DEPTH = 16, 0.22, 0.85


class Renderer:
    """Draws meshes of one topology from one camera.

    Safe to use from several threads at once.
    """

    def __init__(
        self,
        topology: Topology,
        template: np.ndarray,
        width: int = 640,
        height: int = 640,
        *,
        yaw_deg: float = 0.0,
        pitch_deg: float = 0.0,
        close_up: bool = False,
        tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
        backdrop: tuple[float, float, float] = BACKDROP,
    ) -> None:
        """Place camera and lights, and work out where the template's own shape keeps the light away.

        Args:
            template: (V,3) metres, the neutral face; the camera fits it and stays, whatever the face does.
            width, height: of the pictures, pixels.
            yaw_deg: turns the head to its own left.
            pitch_deg: looks from above.
            close_up: only the face, from the chin to the forehead.
            tint: linear factors of red, green and blue on the skin.
            backdrop: sRGB in [0,1] of the backdrop where it is brightest.

        Raises:
            InputError: a shape or size that does not fit, a damaged texture, or the `media` extra is missing.
        """
        try:
            from meshtalk.render import kernels
        except ImportError as error:
            raise InputError(f"drawing needs {error.name} (not installed) : pip install 'meshtalk[media]'") from None
        if width < 16 or height < 16:
            raise InputError(f"a picture of {width}x{height} pixels is too small; at least 16x16 is needed")
        self._kernels = kernels
        self.topology, self.width, self.height = topology, width, height
        template = self._checked(template)
        self.camera = scene.fit_camera(template, topology, width, height, yaw_deg, pitch_deg, close_up)
        self._faces = np.ascontiguousarray(topology.faces, np.uint32)
        self._texels, self._levels, self._uvs, self._uv_faces = scene.texture_pyramid(topology)
        self.surface = scene.looks(topology, tint)
        """(V,7) float32: see `scene.looks`; with the openness that the template's own shape leaves."""
        self._tone = scene.tone_table()
        self._backdrop, self._backdrop_bytes = scene.backdrop(width, height, backdrop)
        towards = np.array([direction for direction, _ in scene.LIGHTS])
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        self._lights = np.zeros((len(towards) + 2, 6))
        self._lights[:-2, :3] = towards
        self._lights[:-2, 3:] = [colour for _, colour in scene.LIGHTS]
        self._lights[-2:, 3:] = scene.SKY, scene.GROUND
        self._wrap = np.array(scene.WRAP)
        self._buffers = threading.local()
        self.surface[:, 3:5] = np.maximum(self.surface[:, 3:5], self._openness(template))

    def frame(self, vertices: np.ndarray) -> np.ndarray:
        """Draw one mesh.

        Args:
            vertices: (V,3) metres.

        Returns:
            (H,W,3) uint8 sRGB.

        Raises:
            InputError: a wrong shape, or NaN or infinite coordinates.
        """
        vertices = self._checked(vertices)
        run, camera, buffers = self._kernels, self.camera, self._buffers
        if not hasattr(buffers, "owner"):
            cells = (self.height, self.width, run.N_SAMPLES)
            buffers.owner, buffers.nearness = np.empty(cells, np.int32), np.empty(cells, np.float32)
            buffers.screen, buffers.normals = np.empty(vertices.shape), np.empty(vertices.shape)
            buffers.lit = np.empty((len(vertices), run.LIT))
        run.vertex_normals(vertices, self._faces, camera.rotation, buffers.normals)
        view = np.array([camera.focal_px, camera.cx, camera.cy])
        run.project(vertices, camera.rotation, camera.centre, camera.distance_m, view, buffers.screen)
        run.rasterise(buffers.screen, self._faces, buffers.nearness, buffers.owner)
        run.light(buffers.normals, buffers.screen, view, self.surface, self._lights, self._wrap, buffers.lit)
        image = np.empty((self.height, self.width, 3), np.uint8)
        run.shade(
            buffers.screen, self._faces, self._uvs, self._uv_faces, buffers.lit, self._texels, self._levels,
            buffers.owner, view, self._lights, self._tone, self._backdrop, self._backdrop_bytes, image,
        )  # fmt: skip
        return image

    def frames(self, meshes: Iterable[np.ndarray], threads: int | None = None) -> Iterator[np.ndarray]:
        """Draw meshes in order, several at a time; memory holds a few pictures, however many meshes come.

        Args:
            meshes: (V,3) arrays.
            threads: None means one for each processor core.
        """
        count = threads or os.cpu_count() or 1
        with ThreadPoolExecutor(count) as pool:
            waiting: deque[Future[np.ndarray]] = deque()
            try:
                for mesh in meshes:
                    waiting.append(pool.submit(self.frame, mesh))
                    if len(waiting) > 2 * count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _checked(self, vertices: np.ndarray) -> np.ndarray:
        vertices = np.ascontiguousarray(vertices, np.float32)
        needed = (self.topology.n_vertices, 3)
        if vertices.shape != needed:
            raise InputError(f"vertices have shape {vertices.shape}; the topology needs {needed}")
        if not np.isfinite(vertices).all():
            raise InputError("vertices hold NaN or infinite values and cannot be drawn : repair or drop that frame")
        return vertices

    def _openness(self, template: np.ndarray) -> np.ndarray:
        """(V,2) share of the sky and of the key light that reaches each vertex, in [0,1].

        The mouth is shut in the neutral face but has to be lit when it opens, so a topology with ARKit's jawOpen
        is looked at with that shape too, and the brighter of the two counts.
        """
        openness = self._openness_of(template)
        if self.topology.shapes is not None and "jawOpen" in self.topology.shape_names:
            jaw = self.topology.shapes[self.topology.shape_names.index("jawOpen")]
            openness = np.maximum(openness, self._openness_of(template + np.float32(0.45) * jaw))
        return openness

    def _openness_of(self, vertices: np.ndarray) -> np.ndarray:
        run, faces = self._kernels, self._faces
        normals = np.empty(vertices.shape)
        run.vertex_normals(np.ascontiguousarray(vertices, np.float32), faces, np.eye(3), normals)
        raised = vertices + _OCCLUSION_LIFT_M * normals
        centre = (vertices.max(0) + vertices.min(0)) / 2.0
        size = float(np.linalg.norm(np.ptp(vertices, axis=0))) * 1.02
        cells = (_OCCLUSION_PX, _OCCLUSION_PX, run.N_SAMPLES)
        owner, nearness = np.empty(cells, np.int32), np.empty(cells, np.float32)
        visible = np.empty(len(vertices))

        def seen_from(towards: np.ndarray) -> np.ndarray:
            """(V,) whether a far point in that direction sees the vertex: a parallel projection along it."""
            aside = np.cross((0.0, 1.0, 0.0) if abs(towards[1]) < 0.9 else (1.0, 0.0, 0.0), towards)
            aside /= np.linalg.norm(aside)
            axes = np.stack([aside, -np.cross(towards, aside), towards], 1)

            def on_screen(points: np.ndarray) -> np.ndarray:
                flat = (points - centre) @ axes / size + 0.5
                flat[:, :2] = np.floor(flat[:, :2] * _OCCLUSION_PX * run.SUBPIXEL + 0.5) / run.SUBPIXEL
                return flat

            run.rasterise(on_screen(vertices), faces, nearness, owner)
            run.visibility(on_screen(raised), nearness, 0.0004 / size, visible)
            return visible

        sky, weight = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
        for towards in scene.directions(_OCCLUSION_VIEWS):
            cosine = np.maximum(normals @ towards, 0.0)
            sky += cosine * seen_from(towards)
            weight += cosine
        to_key = self._lights[0, :3] @ self.camera.rotation
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
        return self._smoothed(np.stack([sky, key], 1))

    def _smoothed(self, values: np.ndarray, rounds: int = 2) -> np.ndarray:
        """(V,n) averaged with the neighbours along the edges, which hides the grain of the sampling."""
        ends = np.concatenate([self._faces[:, [0, 1]], self._faces[:, [1, 2]], self._faces[:, [2, 0]]])
        count = np.bincount(ends.ravel(), minlength=len(values))[:, None] + 1e-9
        for _ in range(rounds):
            total = np.zeros_like(values)
            for column in range(values.shape[1]):
                for here, there in ((0, 1), (1, 0)):
                    total[:, column] += np.bincount(ends[:, here], values[ends[:, there], column], len(values))
            values = 0.5 * values + 0.5 * np.where(count > 0.5, total / count, values)
        return values
