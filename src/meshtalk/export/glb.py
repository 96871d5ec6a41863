"""glTF binary: one mesh with morph targets and an animation of their weights, for any 3D program or web page.

glTF has no place for sound: write the audio beside it (a WAV, or the MP4) and start both at the same time. glTF's axes
and units are ours: metres, +Y up, +Z out of the face.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.components import components
from meshtalk.files import atomic
from meshtalk.render.scene import looks
from meshtalk.topology import Topology

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
_NORMAL_STEP = 2e-3
"""Smaller changes of a unit normal (a tenth of a degree) are left out of morph targets."""


def write_glb(clip: Clip, path: Path) -> None:
    """Write the clip as morph targets with one key a frame, at exactly k/fps seconds, linear in between.

    A linear clip keeps its basis: one target for each shape that is ever used, under its own name (ARKit's names make
    the file drive other ARKit heads too). A dense clip is written through principal components, enough of them to
    keep every vertex of every frame within 0.05 mm. Frames the capture missed have no key.

    Raises:
        InputError: an unwritable path, an empty clip, or the `media` extra is missing.
    """
    try:
        import pygltflib as gltf
    except ImportError:
        raise InputError("GLB needs pygltflib, which is not installed : pip install 'meshtalk[media]'") from None
    keys = np.arange(clip.n_frames) if clip.valid is None else np.flatnonzero(clip.valid)
    if len(keys) == 0:
        raise InputError("the clip has no frames, so there is no animation to write")
    with atomic(path) as temporary:
        topology = clip.topology
        if clip.weights is not None and clip.basis is not None:
            weights = np.asarray(clip.weights, np.float32)[keys]
            used = np.flatnonzero(np.any(weights != 0, axis=0))
            weights, shapes = weights[:, used], np.asarray(clip.basis, np.float32)[used]
            names = [clip.basis_names[k] if k < len(clip.basis_names) else f"shape_{k:03d}" for k in used]
        else:
            weights, shapes = components(clip, keys)
            names = [f"component_{k:03d}" for k in range(len(shapes))]
        source, uvs, corners = split_seams(topology)
        template = np.asarray(clip.template, np.float32)
        normals = _normals(template, topology.faces)
        pack = _Packer(gltf)
        attributes: dict[str, int] = {
            "POSITION": pack.array(template[source], _VERTEX_DATA, bounds=True),
            "NORMAL": pack.array(normals[source], _VERTEX_DATA),
        }
        surface = gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.55)
        if topology.texture_png is not None and uvs is not None:
            # our texture coordinates start at the bottom left, glTF's at the top left
            attributes["TEXCOORD_0"] = pack.array(np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1), _VERTEX_DATA)
            pack.texture(topology.texture_png)
            surface.baseColorTexture = gltf.TextureInfo(index=0)
        if topology.texture_png is None or tuple(clip.tint) != (1.0, 1.0, 1.0):
            # vertex colours multiply the texture: the person's skin tone, or all the colour there is
            attributes["COLOR_0"] = pack.array(looks(topology, clip.tint)[source, :3], _VERTEX_DATA)
        targets = []
        for shape in shapes:
            turned = _normals(template + shape, topology.faces) - normals
            turned[np.abs(turned).max(1) < _NORMAL_STEP] = 0.0
            targets.append({"POSITION": pack.morph(shape[source], True), "NORMAL": pack.morph(turned[source], False)})
        faces = corners.astype(np.uint16 if len(source) < 65535 else np.uint32)
        primitive = gltf.Primitive(
            attributes=gltf.Attributes(**attributes),
            indices=pack.array(faces.reshape(-1, 1), _INDEX_DATA),
            material=0,
            targets=targets or None,
        )
        mesh = gltf.Mesh(name="face", primitives=[primitive])
        document = pack.document
        document.asset = gltf.Asset(version="2.0", generator="meshtalk")
        document.meshes, document.materials = [mesh], [gltf.Material(name="face", pbrMetallicRoughness=surface)]
        document.nodes, document.scenes = [gltf.Node(name=clip.subject or "face", mesh=0)], [gltf.Scene(nodes=[0])]
        document.scene = 0
        if targets:
            mesh.weights = [0.0] * len(targets)
            mesh.extras = {"targetNames": names}
            times = (keys * float(1 / clip.fps)).astype(np.float32)
            sampler = gltf.AnimationSampler(
                input=pack.array(times[:, None], None, bounds=True),
                output=pack.array(weights.reshape(-1, 1), None),
                interpolation="LINEAR",
            )
            channel = gltf.AnimationChannel(sampler=0, target=gltf.AnimationChannelTarget(node=0, path="weights"))
            name = clip.sentence or "speech"
            document.animations = [gltf.Animation(name=name, samplers=[sampler], channels=[channel])]
        pack.save(temporary)


def split_seams(topology: Topology) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """glTF has one index for position and texture coordinate together: vertices on seams are doubled.

    Returns:
        (N,) vertex of each glTF vertex, its (N,2) texture coordinates or None, (F,3) triangles of glTF vertices.
    """
    if topology.uvs is None or topology.uv_faces is None or topology.texture_png is None:
        return np.arange(topology.n_vertices), None, np.asarray(topology.faces)
    pairs = np.stack([np.asarray(topology.faces).ravel(), np.asarray(topology.uv_faces).ravel()], 1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], np.asarray(topology.uvs, np.float32)[unique[:, 1]], inverse.reshape(-1, 3)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,3) float32 unit normals, area-weighted; vertices in no triangle point up."""
    corner = vertices.astype(np.float64)[faces]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    each = np.repeat(across, 3, axis=0)
    total = np.stack([np.bincount(faces.ravel(), each[:, k], len(vertices)) for k in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), (0.0, 1.0, 0.0)).astype(np.float32)


class _Packer:
    """Collects arrays in one binary blob with their accessors."""

    def __init__(self, gltf: Any) -> None:
        self._gltf, self._blob = gltf, bytearray()
        self.document = gltf.GLTF2()

    def array(self, values: np.ndarray, target: int | None, *, bounds: bool = False) -> int:
        """Store (n, 1..3) float32, uint16 or uint32 values; returns the accessor's index."""
        accessor = self._gltf.Accessor(
            bufferView=self._view(values.tobytes(), target),
            componentType={"f": _FLOAT, "H": _UINT16, "I": _UINT32, "L": _UINT32}[values.dtype.char],
            count=len(values),
            type=_TYPES[values.shape[1]],
        )
        return self._add(accessor, values if bounds else None)

    def morph(self, values: np.ndarray, bounds: bool) -> int:
        """Store (n,3) float32 changes, most of them zero: sparse where that is smaller; returns the index."""
        rows = np.flatnonzero(np.any(values != 0, axis=1))
        if len(rows) == 0:
            rows = np.zeros(1, np.int64)  # a sparse accessor may not be empty
        small = len(values) <= 65535
        if len(rows) * (12 + (2 if small else 4)) >= values.nbytes:
            return self.array(values.astype(np.float32), _VERTEX_DATA, bounds=bounds)
        gltf = self._gltf
        accessor = gltf.Accessor(byteOffset=None, componentType=_FLOAT, count=len(values), type="VEC3")
        accessor.sparse = gltf.Sparse(
            count=len(rows),
            indices=gltf.AccessorSparseIndices(
                bufferView=self._view(rows.astype(np.uint16 if small else np.uint32).tobytes(), None),
                componentType=_UINT16 if small else _UINT32,
            ),
            values=gltf.AccessorSparseValues(bufferView=self._view(values[rows].astype(np.float32).tobytes(), None)),
        )
        return self._add(accessor, values if bounds else None)

    def texture(self, image: bytes) -> None:
        kind = "image/jpeg" if image[:2] == b"\xff\xd8" else "image/png"
        self.document.images = [self._gltf.Image(bufferView=self._view(image, None), mimeType=kind)]
        self.document.samplers = [self._gltf.Sampler(magFilter=9729, minFilter=9987, wrapS=33071, wrapT=33071)]
        self.document.textures = [self._gltf.Texture(source=0, sampler=0)]

    def save(self, path: Path) -> None:
        self.document.buffers = [self._gltf.Buffer(byteLength=len(self._blob))]
        self.document.set_binary_blob(bytes(self._blob))
        self.document.save_binary(str(path))

    def _view(self, data: bytes, target: int | None) -> int:
        view = self._gltf.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=len(data), target=target)
        self._blob += data + bytes(-len(data) % 4)
        self.document.bufferViews.append(view)
        return len(self.document.bufferViews) - 1

    def _add(self, accessor: Any, values: np.ndarray | None) -> int:
        if values is not None:
            accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1
