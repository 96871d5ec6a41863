"""glTF binary (`.glb`, `.vrm`): the triangles of its scene as a viewer places them, by nodes and skins, at rest."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from meshtalk.errors import InputError
from meshtalk.mesh.scene import MOST, Part, too_many

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DECODED = ("KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp")
_OF_LOOKS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "KHR_xmp", "VRM")
"""Beginnings of extensions that leave vertices where they are."""


def read_glb(data: bytes, shapes: bool, looks: bool) -> tuple[Part, ...]:
    """The parts of its scene, in the order of its nodes from the last to the first, as trimesh numbers them.

    Integers are scaled as `normalized` and KHR_mesh_quantization say, and sparse values put in; a mesh that two nodes hold
    comes twice. Weights of morph targets are 0.

    Args:
        shapes: whether to read morph targets.
        looks: whether to read colours, texture coordinates and pictures.

    Raises:
        InputError: it needs an extension that cannot be decoded here, or too many vertices.
        Exception: what a damaged file does to a reader.
    """
    return tuple(_Glb(data).parts(shapes, looks))


class _Glb:
    def __init__(self, data: bytes) -> None:
        magic, version, _ = struct.unpack_from("<4sII", data)
        if magic != b"glTF" or version != 2:
            raise ValueError("no glTF binary of version 2")
        at = 12
        chunks: dict[bytes, bytes] = {}
        while at + 8 <= len(data):
            size, kind = struct.unpack_from("<I4s", data, at)
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size
        self._json: dict[str, Any] = json.loads(chunks[b"JSON"])
        self._binary = chunks.get(b"BIN\0", b"")
        unknown = [
            name for name in self._json.get("extensionsRequired", ()) if not name.startswith(_DECODED + _OF_LOOKS)
        ]
        if unknown:
            raise _undecoded(unknown)

    def parts(self, shapes: bool, looks: bool) -> Iterator[Part]:
        total = 0
        for mesh, matrix, skin in self._instances():
            for primitive in mesh["primitives"]:
                if "POSITION" in primitive["attributes"] and primitive.get("mode", _TRIANGLES) >= _TRIANGLES:
                    total += self._json["accessors"][primitive["attributes"]["POSITION"]]["count"]
                    if total > MOST:
                        raise too_many(total)
                    part = self._part(mesh, primitive, matrix, skin, shapes)
                    yield replace(part, **self._looks(primitive, part)) if looks else part

    # ------------------------------------------------------------------------------------------------ scene

    @cached_property
    def _worlds(self) -> dict[int, np.ndarray]:
        """Node → (4,4) matrix to the scene's space, of those in the scene."""
        nodes, scenes = self._json.get("nodes", []), self._json.get("scenes")
        if scenes:
            roots = scenes[self._json.get("scene", 0)].get("nodes", [])
        else:
            below = {child for node in nodes for child in node.get("children", ())}
            roots = [index for index in range(len(nodes)) if index not in below]
        stack = [(index, np.eye(4)) for index in roots]
        found: dict[int, np.ndarray] = {}
        while stack:
            index, above = stack.pop()
            if index in found:
                raise ValueError(f"node {index} hangs below two others")
            found[index] = above @ _matrix(nodes[index])
            stack += [(child, found[index]) for child in nodes[index].get("children", ())]
        return found

    def _instances(self) -> Iterator[tuple[Any, np.ndarray, int | None]]:
        meshes, nodes = self._json.get("meshes", []), self._json.get("nodes", [])
        if not nodes:
            yield from ((mesh, np.eye(4), None) for mesh in meshes)
        for index, world in self._worlds.items():
            if "mesh" in nodes[index]:
                yield meshes[nodes[index]["mesh"]], world, nodes[index].get("skin")

    def _skinning(self, attributes: Mapping[str, int], matrix: np.ndarray, skin: int | None, count: int) -> np.ndarray:
        """(1,4,4) of a node, or (V,4,4) of its vertices by their joints, which then go before the node."""
        if skin is None or "JOINTS_0" not in attributes:
            return matrix[None]
        told = self._json["skins"][skin]
        joints = np.stack([self._worlds[joint] for joint in told["joints"]])
        if "inverseBindMatrices" in told:
            joints = joints @ self._values(told["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        blended, total = np.zeros((count, 4, 4)), np.zeros((count, 1, 1))
        for k in range(len(attributes)):
            if f"JOINTS_{k}" in attributes:
                numbers = self._values(attributes[f"JOINTS_{k}"]).astype(int)
                weights = self._values(attributes[f"WEIGHTS_{k}"])
                for joint, weight in zip(numbers.T, weights.T, strict=True):
                    blended += joints[joint] * weight[:, None, None]
                    total += weight[:, None, None]
        return np.where(total > 0, blended / np.where(total > 0, total, 1), matrix)

    # ------------------------------------------------------------------------------------------------ parts

    def _part(self, mesh: Any, primitive: Any, matrix: np.ndarray, skin: int | None, shapes: bool) -> Part:
        attributes = primitive["attributes"]
        accessor = self._json["accessors"][attributes["POSITION"]]
        if "bufferView" not in accessor and "sparse" not in accessor:
            raise _undecoded(primitive.get("extensions", {}))
        points = self._values(attributes["POSITION"])
        matrices = self._skinning(attributes, matrix, skin, len(points))
        turns, shifts = matrices[:, :3, :3], matrices[:, :3, 3]
        corners = np.arange(len(points))
        if "indices" in primitive:
            corners = self._values(primitive["indices"])[:, 0].astype(np.int64)
        faces = _triangles(corners, primitive.get("mode", _TRIANGLES))
        if np.linalg.det(turns).sum() < 0:
            faces = faces[:, ::-1]  # a mirror turns triangles over
        moves = self._targets(mesh, primitive, len(points)) if shapes else {}
        moves = {name: np.einsum("nij,nj->ni", turns, move) for name, move in moves.items()}
        return Part(np.einsum("nij,nj->ni", turns, points) + shifts, faces, shapes=moves)

    def _targets(self, mesh: Any, primitive: Any, count: int) -> dict[str, np.ndarray]:
        """Name → (V,3) of the named morph targets."""
        extras: list[dict[str, Any]] = [held.get("extras") or {} for held in (mesh, primitive)]
        names: Sequence[object] = extras[0].get("targetNames") or extras[1].get("targetNames") or ()
        targets = primitive.get("targets", [])
        if names and len(names) != len(targets):
            raise ValueError(f"mesh {mesh.get('name')!r} has {len(names)} names for {len(targets)} morph targets")
        moves: dict[str, np.ndarray] = {}
        for name, target in zip(names, targets, strict=False):
            moves[str(name)] = self._values(target["POSITION"]) if "POSITION" in target else np.zeros((count, 3))
        if len(moves) != len(names) or any(move.shape != (count, 3) for move in moves.values()):
            raise ValueError(f"mesh {mesh.get('name')!r} has morph targets of one name, or of other vertices")
        return moves

    def _looks(self, primitive: Any, part: Part) -> dict[str, Any]:
        """Colours, texture coordinates, picture and plain colour: fields of `Part`."""
        attributes = primitive["attributes"]
        material: dict[str, Any] = self._json["materials"][primitive["material"]] if "material" in primitive else {}
        surface: dict[str, Any] = material.get("pbrMetallicRoughness", {})
        linear = np.clip(np.asarray(surface.get("baseColorFactor", (1, 1, 1))[:3], float), 0, 1)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        fields: dict[str, Any] = {"colour": tuple(srgb.tolist())}
        info: dict[str, Any] = surface.get("baseColorTexture", {})
        moved: dict[str, Any] = info.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{moved.get('texCoord', info.get('texCoord', 0))}"
        if "COLOR_0" in attributes:
            fields["colours"] = self._values(attributes["COLOR_0"])[:, :3]
        if name in attributes:
            uvs = self._values(attributes[name]) * moved.get("scale", (1, 1)) + moved.get("offset", (0, 0))
            uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)
            fields |= {"uvs": uvs, "uv_faces": part.faces, "picture": self._picture(info)}
        return fields

    def _picture(self, info: Mapping[str, Any]) -> bytes | None:
        """Of a texture; none if it lies in another file, or as none that is read here."""
        if "index" not in info:
            return None
        texture = self._json["textures"][info["index"]]
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source")
        image: dict[str, Any] = {} if source is None else self._json["images"][source]
        if "bufferView" in image:
            view = self._json["bufferViews"][image["bufferView"]]
            start = view.get("byteOffset", 0)
            return bytes(self._buffer(view["buffer"])[start : start + view["byteLength"]])
        return _embedded(image.get("uri", ""))

    # ------------------------------------------------------------------------------------------------ numbers

    def _values(self, index: int) -> np.ndarray:
        """(n,k) float64 of an accessor."""
        accessor = self._json["accessors"][index]
        count, width, kind = (
            accessor["count"],
            _WIDTHS[accessor["type"]],
            np.dtype(_COMPONENTS[accessor["componentType"]]),
        )
        if count > 16 * MOST:
            raise too_many(count)
        found = self._view(accessor, kind, count, width) if "bufferView" in accessor else np.zeros((count, width), kind)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            places = np.dtype(_COMPONENTS[sparse["indices"]["componentType"]])
            found = found.copy()
            found[self._view(sparse["indices"], places, sparse["count"], 1)[:, 0]] = self._view(
                sparse["values"], kind, sparse["count"], width
            )
        if accessor.get("normalized") and kind.kind in "iu":
            return np.maximum(found / np.iinfo(kind).max, -1.0)
        return found.astype(np.float64)

    def _view(self, held: Mapping[str, Any], kind: np.dtype, count: int, width: int) -> np.ndarray:
        view = self._json["bufferViews"][held["bufferView"]]
        start, stride = view.get("byteOffset", 0) + held.get("byteOffset", 0), view.get("byteStride")
        strides = (stride or width * kind.itemsize, kind.itemsize)
        return np.ndarray((count, width), kind, self._buffer(view["buffer"]), start, strides)

    def _buffer(self, index: int) -> bytes:
        uri = self._json["buffers"][index].get("uri")
        data = self._binary if uri is None and index == 0 else _embedded(uri or "")
        if data is None:
            raise ValueError(f"buffer {index} is not in the file")
        return data


def _undecoded(names: Any) -> InputError:
    return InputError(
        f"it needs {', '.join(map(str, names)) or 'a glTF extension'}, which cannot be decoded here"
        ". Export it without compression."
    )


def _embedded(uri: str) -> bytes | None:
    return base64.b64decode(uri.partition(",")[2]) if uri.startswith("data:") else None


def _matrix(node: Mapping[str, Any]) -> np.ndarray:
    """(4,4) of a node in its parent's space."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += 2 / (x * x + y * y + z * z + w * w) * (w * across + across @ across)
    matrix[:3, :3] *= node.get("scale", (1, 1, 1))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _triangles(corners: np.ndarray, mode: int) -> np.ndarray:
    """(F,3) of a list, a strip, whose every other triangle is turned over, or a fan."""
    if mode == _STRIP:
        faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], 1)
        faces[1::2] = faces[1::2, ::-1]
        return faces
    if mode == _FAN:
        return np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], 1)
    return corners.reshape(-1, 3)
