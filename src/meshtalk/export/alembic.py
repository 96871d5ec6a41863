"""Alembic: one polygon mesh with a sample of positions and normals for each frame, written frame by frame.

Axes and units are ours (metres, +Y up); Alembic's triangles turn the other way round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meshtalk.clip import Clip
from meshtalk.errors import InputError
from meshtalk.export.common import held, keys, normals, outputs, sound_of, write_sound
from meshtalk.files import reserve
from meshtalk.progress import Show

SMALL_BYTES, SAMPLE_BYTES = 1 << 15, 1 << 8
"""Of an archive, at most, beside positions and normals, each 12 bytes a vertex: of its head, and of each frame."""


def write_abc(clip: Clip, path: Path, *, progress: Show | None = None) -> None:
    """Write an Ogawa archive with the mesh `/face`, sample k at k/fps seconds, and the sound as `NAME_sound.wav`.

    A frame that capture missed repeats the one before.

    Args:
        progress: called as frames are written.

    Raises:
        InputError: an unwritable path, an empty clip, or the `alembic` extra is missing.
    """
    try:
        import imath
        from alembic3d.Abc import OArchive
        from alembic3d.AbcCoreAbstract import TimeSampling
        from alembic3d.AbcGeom import (
            GeometryScope,
            ON3fGeomParamSample,
            OPolyMesh,
            OPolyMeshSchemaSample,
            OV2fGeomParamSample,
        )
    except ImportError:
        raise InputError(
            "Alembic needs alembic3d, which is not installed. Run pip install 'meshtalk[alembic]'."
        ) from None
    keys(clip)
    topology = clip.topology
    faces = np.asarray(topology.faces, np.int32)

    def integers(values: np.ndarray) -> imath.IntArray:
        return imath.IntArrayFromBuffer(np.ascontiguousarray(values, np.int32).ravel())

    def vectors(values: np.ndarray) -> imath.V3fArray:
        return imath.V3fArrayFromBuffer(np.ascontiguousarray(values, np.float32))

    corners, counts = integers(faces[:, ::-1]), integers(np.full(len(faces), 3))
    uvs = OV2fGeomParamSample()
    if topology.uvs is not None and topology.uv_faces is not None:
        values = imath.V2fArrayFromBuffer(np.ascontiguousarray(topology.uvs, np.float32))
        # unsigned numbers come into imath by way of doubles only
        corner_uvs = np.ascontiguousarray(np.asarray(topology.uv_faces)[:, ::-1], np.float64).ravel()
        places = imath.UnsignedIntArray(imath.DoubleArrayFromBuffer(corner_uvs))
        uvs = OV2fGeomParamSample(values, places, GeometryScope.kFacevaryingScope)
    with outputs(path, sound_of(clip)) as [file, *sound]:
        # Alembic ends the process when a file cannot grow, so there must be room before it begins; it takes away what is left
        with open(file, "r+b") as stream:
            reserve(stream, SMALL_BYTES + clip.n_frames * (SAMPLE_BYTES + 24 * topology.n_vertices) + 40 * faces.size)
        archive = OArchive(str(file))
        times = archive.addTimeSampling(TimeSampling(float(1 / clip.fps), 0.0))
        mesh = OPolyMesh(archive.getTop(), "face", times)
        schema = mesh.getSchema()
        for vertices in held(clip, progress):
            turned = ON3fGeomParamSample(vectors(normals(vertices, faces)), GeometryScope.kVertexScope)
            schema.set(OPolyMeshSchemaSample(vectors(vertices), corners, counts, uvs, turned))
        del schema, mesh, archive  # the archive is finished when nothing holds it any more
        for companion in sound:
            write_sound(clip, companion)
