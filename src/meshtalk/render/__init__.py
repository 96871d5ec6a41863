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
from meshtalk.render import dress, hair, scene
from meshtalk.render.kinds import HAIR
from meshtalk.render.look import CAMERAS, LIGHTS, Lighting, Look, View
from meshtalk.topology import Topology

__all__ = ["CAMERAS", "LIGHTS", "Lighting", "Look", "Renderer", "View"]


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
        look: Look | None = None,
        *,
        tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
        subject: str = "",
    ) -> None:
        """Place camera and lights, and work out where the template's own shape keeps the light away.

        Args:
            template: (V,3) metres, the neutral face; the camera fits it and stays, whatever the face does.
            width, height: of the pictures, pixels.
            look: camera and light; None is the front in the studio.
            tint: linear factors of red, green and blue on the skin.
            subject: whose hair and eyes the packaged head has; see `dress.dress_of`.

        Raises:
            InputError: a shape or size that does not fit, a damaged texture, or the `media` extra is missing.
        """
        try:
            from meshtalk.render import kernels, occlusion, shading
        except ImportError as error:
            raise InputError(f"drawing needs {error.name} (not installed) : pip install 'meshtalk[media]'") from None
        if width < 16 or height < 16:
            raise InputError(f"a picture of {width}x{height} pixels is too small; at least 16x16 is needed")
        look = look or Look()
        lighting = look.lighting
        self._kernels, self._shading = kernels, shading
        self.topology, self.width, self.height = topology, width, height
        template = self._checked(template)
        self.camera = scene.fit_camera(template, topology, width, height, look.view)
        self.surface = scene.looks(topology, tint)
        """(V,7) float32: see `scene.looks`; with the openness that the template's own shape leaves."""
        self._tone = scene.tone_table()
        self._backdrop, self._backdrop_bytes = scene.backdrop(width, height, lighting.backdrop)
        self._lights = scene.light_table(lighting)
        self._wrap = np.array(scene.WRAP)
        self._buffers = threading.local()
        to_key = self._lights[0, :3] @ self.camera.rotation
        self.surface[:, 3:5] = np.maximum(self.surface[:, 3:5], occlusion.openness(topology, template, to_key))
        self._prepare(template, tint, subject)

    def _prepare(self, template: np.ndarray, tint: tuple[float, float, float], subject: str) -> None:
        """What is drawn: the mesh cut finer, with all that belongs to its vertices and faces."""
        topology = self.topology
        self._coarse = np.ascontiguousarray(topology.faces, np.uint32)
        self._ribbons, self._height, shine, dye = None, None, None, None
        where = dress.masks(topology)
        if where is not None:
            worn, normals = dress.dress_of(subject), np.empty(template.shape)
            self._kernels.vertex_normals(template, self._coarse, np.eye(3), normals)
            px_m = self.camera.distance_m / self.camera.focal_px
            self._height, self._ribbons = dress.grown(topology, template, normals, where, worn, px_m)
            shine, dye = 2 * where[..., 2], lambda picture: dress.dyed(picture, where, worn, tint)
        self._texels, self._levels, uvs, uv_faces = scene.texture_pyramid(topology, shine, dye)
        vertex_kinds, self._face_kinds = scene.kinds(topology)
        surface = np.column_stack([self.surface, scene.corneas(topology, template)]).astype(np.float32)
        self._faces = self._coarse
        self._edges = np.zeros((0, 2), np.uint32)
        if len(topology.faces) <= scene.FINEST:
            self._edges, self._faces = scene.finer(topology.faces, topology.n_vertices)
            uv_edges, uv_faces = scene.finer(uv_faces, len(uvs))
            uvs = np.concatenate([uvs, uvs[uv_edges].mean(1)])
            self._face_kinds = np.repeat(self._face_kinds, 4)
        a, b = self._edges.T
        # the middle of an edge lies within if one of its ends does
        self._vertex_kinds = np.concatenate([vertex_kinds, np.maximum(vertex_kinds[a], vertex_kinds[b])])
        self._surface = np.concatenate([surface, (surface[a] + surface[b]) / 2])
        self._uvs, self._uv_faces = uvs.astype(np.float32), uv_faces
        self._n_surface, self._skin_faces = len(self._surface), self._faces
        if self._ribbons is not None:
            self._hang(self._ribbons)
        disc = scene.directions(2 * scene.TAPS)[: scene.TAPS, :2]
        self._taps = disc - np.array([0.0, scene.FROM_ABOVE])

    def _hang(self, ribbons: hair.Ribbons) -> None:
        """Add ribbons to what is drawn."""
        count, root = len(ribbons.local), ribbons.roots[ribbons.strip, 0]
        extra = np.zeros((count, self._surface.shape[1]), np.float32)
        extra[:, :3], extra[:, 3:5], extra[:, 5] = ribbons.colour, 0.4 + 0.6 * self.surface[root, 3:5], ribbons.shine
        self._surface = np.concatenate([self._surface, extra])
        self._vertex_kinds = np.concatenate([self._vertex_kinds, np.full(count, HAIR, np.uint8)])
        self._face_kinds = np.concatenate([self._face_kinds, np.full(len(ribbons.faces), HAIR, np.uint8)])
        self._faces = np.concatenate([self._faces, (ribbons.faces + self._n_surface).astype(np.uint32)])
        self._uv_faces = np.concatenate([self._uv_faces, np.zeros_like(ribbons.faces, np.uint32)])

    def paint(self, colours: np.ndarray) -> None:
        """Give every vertex another colour, matt: (V,3) linear light. Not while another thread draws."""
        count, (a, b) = len(colours), self._edges.T
        self._surface[:count, :3] = colours
        self._surface[count : count + len(a), :3] = (colours[a] + colours[b]) / 2
        self._surface[: count + len(a), 5] = 0.0

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
        run, shading, camera, buffers = self._kernels, self._shading, self.camera, self._buffers
        if not hasattr(buffers, "owner"):
            cells, count = (self.height, self.width, run.N_SAMPLES), len(self._surface)
            buffers.owner, buffers.nearness = np.empty(cells, np.int32), np.empty(cells, np.float32)
            buffers.own_normals, buffers.raised = np.empty(vertices.shape), np.empty(vertices.shape, np.float32)
            buffers.points, buffers.screen, buffers.normals = (np.empty((count, 3)) for _ in range(3))
            buffers.sheltered, buffers.lit = np.empty(count), np.empty((count, shading.LIT))
        points, normals, n = buffers.points, buffers.normals, self._n_surface
        run.vertex_normals(vertices, self._coarse, np.eye(3), buffers.own_normals)
        if self._ribbons is not None:
            locks = self._ribbons
            run.grow(
                vertices, buffers.own_normals, locks.roots, locks.strip, locks.local, locks.leaning, camera.rotation,
                points[n:], normals[n:],
            )  # fmt: skip
            run.raise_hair(vertices, buffers.own_normals, self._height, buffers.raised)
            vertices = buffers.raised
        run.refine(vertices, buffers.own_normals, self._edges, points[:n])
        run.vertex_normals(points[:n], self._skin_faces, camera.rotation, normals[:n])
        view = np.array([camera.focal_px, camera.cx, camera.cy])
        run.project(points, camera.rotation, camera.centre, camera.distance_m, view, buffers.screen)
        run.rasterise(buffers.screen, self._faces, self._face_kinds, buffers.nearness, buffers.owner)
        run.shelter(
            buffers.screen, buffers.normals, self._vertex_kinds, self._face_kinds, camera.focal_px, self._taps,
            buffers.nearness, buffers.owner, buffers.sheltered,
        )  # fmt: skip
        shading.light(
            buffers.normals, buffers.screen, view, self._surface, self._vertex_kinds, buffers.sheltered, self._lights,
            self._wrap, buffers.lit,
        )  # fmt: skip
        image = np.empty((self.height, self.width, 3), np.uint8)
        shading.shade(
            buffers.screen, self._faces, self._face_kinds, self._uvs, self._uv_faces, buffers.lit, self._texels,
            self._levels, buffers.nearness, buffers.owner, view, self._lights, self._tone, self._backdrop,
            self._backdrop_bytes, image,
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
