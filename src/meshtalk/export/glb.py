"""glTF binary: one mesh with morph targets and an animation of their weights, for any 3D program or web page.

glTF has no place for sound (no ratified extension carries it): it stands beside the file as `NAME_sound.wav`, and both start at
the same time. glTF's axes and units are ours: metres, +Y up, +Z out of the face.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import keys, normals, outputs, sound_of, write_sound
from meshtalk.export.morph_targets import OFFSET, Targets, targets
from meshtalk.mesh.topology import Topology
from meshtalk.render.scene import looks

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
NORMAL_STEP = 2e-3
"""Smaller changes of a unit normal (a tenth of a degree) are left out of morph targets."""


def write_glb(clip: Clip, path: Path) -> None:
    """Write the clip as morph targets with one key a frame, at exactly k/fps seconds, linear in between.

    The mesh with all weights 0 is the neutral face, and all weights are in [0,1]: see `targets`. ARKit's names make the
    file drive other ARKit heads too. Principal components keep every vertex of every frame within 0.05 mm; the largest
    error there really is stands in the mesh's extras as `maxErrorMm`, and is reported as a warning. Frames that capture missed
    have no key.

    Raises:
        InputError: an unwritable path, an empty clip, or the `media` extra is missing.
    """
    try:
        import pygltflib as gltf
    except ImportError:
        raise InputError("GLB needs pygltflib, which is not installed. Run pip install 'meshtalk[media]'.") from None
    kept = keys(clip)
    with outputs(path, sound_of(clip)) as [temporary, *sound]:
        found = targets(clip)
        pack = _Packer(gltf)
        document = pack.document
        primitive = _mesh(pack, clip, found)
        mesh = gltf.Mesh(name="face", primitives=[primitive])
        document.asset = gltf.Asset(version="2.0", generator="meshtalk")
        document.meshes = [mesh]
        document.nodes, document.scenes = [gltf.Node(name=clip.subject or "face", mesh=0)], [gltf.Scene(nodes=[0])]
        document.scene = 0
        if found.names:
            mesh.weights = [0.0] * len(found.names)
            mesh.extras = {"targetNames": found.names, "maxErrorMm": round(1e3 * found.error_m, 5)}
            times = (kept * float(1 / clip.fps)).astype(np.float32)
            sampler = gltf.AnimationSampler(
                input=pack.array(times[:, None], None, bounds=True),
                output=pack.array(found.weights.reshape(-1, 1), None),
                interpolation="LINEAR",
            )
            channel = gltf.AnimationChannel(sampler=0, target=gltf.AnimationChannelTarget(node=0, path="weights"))
            name, extras = clip.sentence or "speech", {"fps": float(clip.fps)}
            document.animations = [gltf.Animation(name=name, samplers=[sampler], channels=[channel], extras=extras)]
        pack.save(temporary)
        for companion in sound:
            write_sound(clip, companion)
    if OFFSET in found.names:
        warnings.warn(
            f"{path.name} has {len(found.names) - 1} principal components; no vertex of any frame is farther than"
            f" {1e3 * found.error_m:.3f} mm from the clip",
            stacklevel=2,
        )


def _mesh(pack: _Packer, clip: Clip, found: Targets) -> Any:
    """The primitive with its material and morph targets."""
    gltf, topology = pack.gltf, clip.topology
    source, uvs, corners = split_seams(topology)
    template = np.asarray(clip.template, np.float32)
    at_rest = normals(template, topology.faces)
    attributes: dict[str, int] = {
        "POSITION": pack.array(template[source], _VERTEX_DATA, bounds=True),
        "NORMAL": pack.array(at_rest[source], _VERTEX_DATA),
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
    pack.document.materials = [gltf.Material(name="face", pbrMetallicRoughness=surface)]
    morphs: list[dict[str, int]] = []
    stored: dict[int, dict[str, int]] = {}
    for shape in found.shapes:
        if id(shape) not in stored:
            turned = normals(template + shape, topology.faces) - at_rest
            turned[np.abs(turned).max(1) < NORMAL_STEP] = 0.0
            moved = {"POSITION": pack.morph(shape[source], True), "NORMAL": pack.morph(turned[source], False)}
            stored[id(shape)] = moved
        morphs.append(stored[id(shape)])
    faces = corners.astype(np.uint16 if len(source) < 65535 else np.uint32)
    return gltf.Primitive(
        attributes=gltf.Attributes(**attributes),
        indices=pack.array(faces.reshape(-1, 1), _INDEX_DATA),
        material=0,
        targets=morphs or None,
    )


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


class _Packer:
    """Collects arrays in one binary blob with their accessors."""

    def __init__(self, gltf: Any) -> None:
        self.gltf, self._blob = gltf, bytearray()
        self.document = gltf.GLTF2()

    def array(self, values: np.ndarray, target: int | None, *, bounds: bool = False) -> int:
        """Store (n, 1..3) float32, uint16 or uint32 values; returns the accessor's index."""
        accessor = self.gltf.Accessor(
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
        gltf = self.gltf
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
        self.document.images = [self.gltf.Image(bufferView=self._view(image, None), mimeType=kind)]
        self.document.samplers = [self.gltf.Sampler(magFilter=9729, minFilter=9987, wrapS=33071, wrapT=33071)]
        self.document.textures = [self.gltf.Texture(source=0, sampler=0)]

    def save(self, path: Path) -> None:
        self.document.buffers = [self.gltf.Buffer(byteLength=len(self._blob))]
        self.document.set_binary_blob(bytes(self._blob))
        self.document.save_binary(str(path))

    def _view(self, data: bytes, target: int | None) -> int:
        view = self.gltf.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=len(data), target=target)
        self._blob += data + bytes(-len(data) % 4)
        self.document.bufferViews.append(view)
        return len(self.document.bufferViews) - 1

    def _add(self, accessor: Any, values: np.ndarray | None) -> int:
        if values is not None:
            accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1
