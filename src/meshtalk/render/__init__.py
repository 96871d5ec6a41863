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
from meshtalk.mesh.surface import edges_of
from meshtalk.mesh.topology import Topology
from meshtalk.render import dress, hair, scene
from meshtalk.render.look import CAMERAS, HAIR, LIGHTS, SHELL, Lighting, Look, View

__all__ = ["CAMERAS", "LIGHTS", "Lighting", "Look", "Renderer", "View"]

STILL_M = 0.001
"""While the roots of the hair on the scalp stay so close to the template on average, the head is taken to be where it was."""


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
            from meshtalk.render import kernels, mouth, occlusion, shading
        except ImportError as error:
            raise InputError(
                f"drawing needs {error.name} (not installed). Run pip install 'meshtalk[media]'."
            ) from None
        if width < 16 or height < 16:
            raise InputError(f"a picture must have at least 16x16 pixels, got {width}x{height}")
        look = look or Look()
        lighting = look.lighting
        self._kernels, self._shading, self._mouth = kernels, shading, mouth
        self.topology, self.width, self.height = topology, width, height
        template = self._checked(template)
        self.camera = scene.fit_camera(template, topology, width, height, look.view)
        self.surface = np.column_stack([scene.looks(topology, tint), scene.corneas(topology, template)]).astype(
            np.float32
        )
        """(V,8) float32: see `shading.light`; with the openness that the template's own shape leaves, and all of it in the
        mouth, where `mouth.let_in` gives each frame's."""
        self._tone = scene.tone_table()
        self._backdrop, self._backdrop_bytes = scene.backdrop(width, height, lighting.backdrop)
        self._lights = scene.light_table(lighting)
        self._wrap = np.array(scene.WRAP)
        self._buffers = threading.local()
        to_key = self._lights[0, :3] @ self.camera.rotation
        self.surface[:, 3:5] = np.maximum(self.surface[:, 3:5], occlusion.openness(topology, template, to_key))
        self._prepare(template, tint, subject)

    def _prepare(self, template: np.ndarray, tint: tuple[float, float, float], subject: str) -> None:
        """The mesh that is drawn, subdivided, with its vertex and face attributes."""
        topology = self.topology
        self._coarse = np.ascontiguousarray(topology.faces, np.uint32)
        normals = np.empty(template.shape)
        self._kernels.vertex_normals(template, self._coarse, np.eye(3), normals)
        self.opening = self._mouth.opening_of(topology, template)
        """(K,2) vertices of the lips between which light falls into the mouth; None where they are not known."""
        inside = self._mouth.inside_of(topology) & (self.opening is not None)
        self.inside = np.flatnonzero(inside).astype(np.uint32)
        """(M,) vertices that it lights."""
        self.brows: hair.Ribbons | None = None
        """Brows and lashes."""
        self.locks: hair.Ribbons | None = None
        self.raised_m: np.ndarray | None = None
        """(V,) by how much hair raises the scalp, metres."""
        shine, dye = None, None
        where, px_per_m = dress.masks(topology), self.camera.focal_px / self.camera.distance_m
        if where is not None:
            worn = dress.dress_of(subject)
            self.raised_m, self.brows, self.locks = dress.grown(topology, template, normals, where, worn, 1 / px_per_m)
            shine, dye = dress.sheen(where), lambda picture: dress.dyed(picture, where, worn, tint)
        self._texels, self._levels, uvs, uv_faces = scene.texture_pyramid(topology, shine, dye)
        vertex_kinds, face_kinds = scene.kinds(topology)
        surface = self.surface
        surface[:, :3] *= self._mouth.unpainted(topology, template)
        surface[inside, 3:5] = 1.0
        edges, sides = edges_of(topology.faces)
        edges = edges.astype(np.uint32)
        refined = np.empty((len(template) + len(edges), 3))
        self._kernels.refine(template, normals, edges, refined)
        bulge_px = px_per_m * np.linalg.norm(refined[len(template) :] - template[edges].mean(1), axis=1)
        split = (bulge_px > scene.BULGE_PX)[sides] & (len(sides) <= scene.FINEST)
        self._edges, self._skin_faces, parent = scene.finer(topology.faces, topology.n_vertices, split)
        uv_edges, self._uv_faces, _ = scene.finer(uv_faces, len(uvs), split)
        self._uvs = np.concatenate([uvs, uvs[uv_edges].mean(1)]).astype(np.float32)
        a, b = self._edges.T
        # the middle of an edge lies within if one of its ends does
        self._vertex_kinds = np.concatenate([vertex_kinds, np.maximum(vertex_kinds[a], vertex_kinds[b])])
        self._surface = np.concatenate([surface, (surface[a] + surface[b]) / 2])
        self._faces, self._face_kinds = self._skin_faces, face_kinds[parent]
        self._n_surface = len(self._surface)
        hidden = self._vertex_kinds != SHELL
        middles = hidden[len(template) :] & (inside[a] | inside[b])
        self._inside_edges = np.flatnonzero(middles)
        self._behind = np.flatnonzero(hidden & ~np.concatenate([inside, middles])).astype(np.uint32)
        if self.brows is not None:
            self._hang(self.brows)
        self._n_moving, self._n_moving_faces = len(self._surface), len(self._faces)
        disc = scene.directions(2 * scene.TAPS)[: scene.TAPS, :2]
        self._taps = disc - np.array([0.0, scene.FROM_ABOVE])
        if self.locks is not None:
            self._hang(self.locks)
            # locks stay where the head is: drawn once, they are laid over every picture
            self._at_rest = template[self.locks.roots]
            self._still = self._hair(self.locks, template, normals)

    def _hang(self, ribbons: hair.Ribbons) -> None:
        """Add ribbons to what is drawn."""
        count, root, first = len(ribbons.local), ribbons.roots[ribbons.strip, 0], len(self._surface)
        extra = np.zeros((count, self._surface.shape[1]), np.float32)
        extra[:, :3], extra[:, 3:5], extra[:, 5] = ribbons.colour, 0.4 + 0.6 * self.surface[root, 3:5], ribbons.shine
        self._surface = np.concatenate([self._surface, extra])
        self._vertex_kinds = np.concatenate([self._vertex_kinds, np.full(count, HAIR, np.uint8)])
        self._face_kinds = np.concatenate([self._face_kinds, np.full(len(ribbons.faces), HAIR, np.uint8)])
        self._faces = np.concatenate([self._faces, (ribbons.faces + first).astype(np.uint32)])
        self._uv_faces = np.concatenate([self._uv_faces, np.zeros_like(ribbons.faces, np.uint32)])

    def paint(self, colours: np.ndarray) -> None:
        """Give every vertex another colour, matt: (V,3) linear light. Not while another thread draws."""
        count, (a, b) = len(colours), self._edges.T
        self._surface[:count, :3] = colours
        self._surface[count : count + len(a), :3] = (colours[a] + colours[b]) / 2
        self._surface[: count + len(a), 5] = 0.0

    def _hair(self, locks: hair.Ribbons, vertices: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, ...]:
        """Locks drawn alone.

        Args:
            vertices, normals: (V,3) of the face.

        Returns:
            Samples that they cover, how near, and by which face; where on the picture their points are and how these
            are lit; the picture, (H,W,3) uint8.
        """
        run, camera, first, count = self._kernels, self.camera, self._n_moving, len(locks.local)
        cells = (self.height, self.width, run.N_SAMPLES)
        points, turned, screen = (np.empty((count, 3)) for _ in range(3))
        near, owner, lit = np.empty(cells, np.float32), np.empty(cells, np.int32), np.empty((count, self._shading.LIT))
        run.grow(
            vertices, normals, locks.roots, locks.strip, locks.local, locks.leaning, camera.rotation, points, turned
        )
        view = np.array([camera.focal_px, camera.cx, camera.cy])
        run.project(points, camera.rotation, camera.centre, camera.distance_m, view, screen)
        faces, uv_faces = locks.faces.astype(np.uint32), self._uv_faces[self._n_moving_faces :]
        kinds = self._face_kinds[self._n_moving_faces :]
        run.rasterise(screen, faces, kinds, near, owner)
        self._shading.light(
            turned, screen, view, self._surface[first:], np.tile([1.0, 0.0], (count, 1)), self._lights, self._wrap, lit
        )
        image = np.empty((self.height, self.width, 3), np.uint8)
        self._shading.shade(
            screen, faces, kinds, self._uvs, uv_faces, lit, self._texels, self._levels, near, owner, view, self._lights,
            self._tone, self._backdrop, self._backdrop_bytes, len(faces), image, image,
        )  # fmt: skip
        samples = np.flatnonzero(owner >= 0)
        marks = owner.ravel()[samples] + np.int32(self._n_moving_faces)
        return samples, near.ravel()[samples], marks, screen, lit, image

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
            buffers.points, buffers.normals = (np.empty((self._n_moving, 3)) for _ in range(2))
            buffers.screen, buffers.lit = np.empty((count, 3)), np.empty((count, shading.LIT))
            buffers.reach = np.tile([1.0, 0.0], (self._n_moving, 1))
        points, normals, n, moving = buffers.points, buffers.normals, self._n_surface, self._n_moving
        screen, lit, own_normals = buffers.screen[:moving], buffers.lit[:moving], buffers.own_normals
        run.vertex_normals(vertices, self._coarse, np.eye(3), own_normals)
        still, surface = None, vertices
        if self.locks is not None:
            away_m = np.linalg.norm(vertices[self.locks.roots] - self._at_rest, axis=-1).mean()
            still = self._still if away_m < STILL_M else self._hair(self.locks, vertices, own_normals)
        if self.brows is not None:
            hairs = self.brows
            run.grow(
                vertices, own_normals, hairs.roots, hairs.strip, hairs.local, hairs.leaning, camera.rotation,
                points[n:], normals[n:],
            )  # fmt: skip
            run.raise_hair(vertices, own_normals, self.raised_m, buffers.raised)
            surface = buffers.raised
        run.refine(surface, own_normals, self._edges, points[:n])
        run.vertex_normals(points[:n], self._skin_faces, camera.rotation, normals[:n])
        view = np.array([camera.focal_px, camera.cx, camera.cy])
        run.project(points, camera.rotation, camera.centre, camera.distance_m, view, screen)
        faces = self._faces[: self._n_moving_faces]
        run.rasterise(screen, faces, self._face_kinds, buffers.nearness, buffers.owner)
        image = np.empty((self.height, self.width, 3), np.uint8)
        coloured = image
        if still is not None:
            samples, near, marks, buffers.screen[moving:], buffers.lit[moving:], coloured = still
            run.overlay(samples, near, marks, buffers.nearness, buffers.owner)
        run.shelter(
            screen, normals, self._behind, self._vertex_kinds, self._face_kinds, camera.focal_px, self._taps,
            buffers.nearness, buffers.owner, buffers.reach,
        )  # fmt: skip
        self._light_mouth(vertices, own_normals, buffers.reach)
        shading.light(normals, screen, view, self._surface, buffers.reach, self._lights, self._wrap, lit)
        shading.shade(
            buffers.screen, self._faces, self._face_kinds, self._uvs, self._uv_faces, buffers.lit, self._texels,
            self._levels, buffers.nearness, buffers.owner, view, self._lights, self._tone, self._backdrop,
            self._backdrop_bytes, self._n_moving_faces, coloured, image,
        )  # fmt: skip
        return image

    def _light_mouth(self, vertices: np.ndarray, normals: np.ndarray, reach: np.ndarray) -> None:
        """Write into (n,2) `reach` what comes between the lips of (V,3) vertices."""
        if self.opening is None:
            return
        light = np.empty((len(self.inside), 2))
        self._mouth.let_in(vertices, normals, self.inside, self.opening, light)
        reach[self.inside] = light
        reach[len(vertices) + self._inside_edges] = reach[self._edges[self._inside_edges]].mean(1)

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
            raise InputError(f"vertices must have shape {needed}, as the topology, got {vertices.shape}")
        if not np.isfinite(vertices).all():
            raise InputError("vertices hold NaN or infinite values and cannot be drawn. Repair or drop that frame.")
        return vertices
