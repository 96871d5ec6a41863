"""Retarget map from the packaged head to one mesh: computed once, saved in a small file, applied in milliseconds per frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from meshtalk.clip import FARTHEST_M, Clip
from meshtalk.errors import InputError, reading
from meshtalk.files import atomic, read_arrays
from meshtalk.mesh.head import load_head
from meshtalk.mesh.topology import Topology, check_indices
from meshtalk.parallel import one_thread
from meshtalk.retarget.transfer import Binding, Contacts, Part, Transfer, Unroll

FORMAT = "meshtalk-map-2"
MOST = 100.0
"""A hundred metres, or motion a hundred times the head's: what a map holds is less."""
_ARRAYS = frozenset(
    [
        "format",
        "head",
        "mesh",
        "notes",
        "template",
        "fit",
        "turn",
        "rows",
        "source",
        "shares",
        "contact",
        "unroll",
        "part",
    ]
)
"""Names, or what stands before the slash of names."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Map(Binding):
    """Everything that carrying motion to a mesh of W vertices needs."""

    mesh: str
    """Hash of the topology that the mesh's file has."""
    topology: Topology
    """Of the mesh, its triangles wound to look outwards, with regions, landmarks, parts and its texture."""
    notes: tuple[str, ...] = ()
    """What was found and done, a sentence each."""

    def transfer(self, template: np.ndarray) -> Transfer:
        """What carries motion of (V,3) a person of the packaged head to the mesh."""
        return Transfer(template, self)

    @cached_property
    def shaped(self) -> Topology:
        """The mesh's topology with the packaged head's blendshapes carried to it."""
        head = load_head()
        assert head.topology.shapes is not None
        shapes = self.transfer(head.neutral).apply(head.topology.shapes)
        return replace(self.topology, shape_names=head.topology.shape_names, shapes=shapes)

    @one_thread()
    def retarget(self, clip: Clip) -> Clip:
        """A clip of the packaged head, on the mesh. A clip made of blendshapes stays one: the weights are the same.

        Raises:
            InputError: the clip is of another mesh.
        """
        head = load_head()
        if clip.topology.hash != head.topology.hash:
            raise InputError(
                f"only motion of the packaged head ({head.topology.n_vertices} vertices) can be retargeted, got topology"
                f" {clip.topology.hash} ({clip.topology.n_vertices} vertices). Give a clip of a model of that head."
            )
        transfer = self.transfer(clip.template)
        common = {"topology": self.topology, "template": self.template, "tint": (1.0, 1.0, 1.0), "recipe": None}
        if clip.weights is None or clip.basis is None:
            moved = [transfer.apply(clip.displacements(k, k + 64)) for k in range(0, clip.n_frames, 64)]
            empty = np.zeros((0, len(self.template), 3), np.float32)
            return replace(clip, displacement=np.concatenate(moved or [empty]), **common)
        basis = transfer.apply(clip.basis)
        named = clip.basis_names == head.topology.shape_names
        topology = replace(self.topology, shape_names=clip.basis_names, shapes=basis) if named else self.topology
        return replace(clip, basis=basis, **{**common, "topology": topology})

    # --- files --------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a `.map`: a `.npz` by another name, without pickle; `load_map` is the inverse."""
        arrays = {f"topology/{k}": v for k, v in self.topology.to_arrays().items()}
        for name in ("template", "fit", "turn", "rows", "source", "shares"):
            arrays[name] = getattr(self, name)
        arrays |= {f"contact/{k}": v for k, v in vars(self.contacts).items()}
        arrays |= {f"unroll/{k}": v for k, v in vars(self.unroll).items()}
        for name, part in self.parts.items():
            arrays |= {f"part/{name}/{k}": np.asarray(v) for k, v in vars(part).items()}
        arrays["format"], arrays["head"] = np.array(FORMAT), np.array(load_head().topology.hash)
        arrays["mesh"], arrays["notes"] = np.array(self.mesh), np.array(self.notes)
        with atomic(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def load_map(path: str | Path) -> Map:
    """Read what `Map.save` wrote.

    Raises:
        InputError: there is no file, it is no map, or one to another packaged head.
    """
    path = Path(path)
    try:
        return _loaded(path)
    except FileNotFoundError:
        raise InputError(f"there is no map at {path}. Give the mesh with --template or --to to compute it.") from None


def _loaded(path: Path) -> Map:
    with reading(f"{path} is not a retarget map", "Compute it again from its mesh.", FileNotFoundError):
        arrays = read_arrays(path, _is_a_maps)
        if str(arrays["format"]) != FORMAT or str(arrays["head"]) != load_head().topology.hash:
            raise InputError(f"{path} was made by another version of meshtalk. Compute the map again from its mesh.")
        names = sorted({name.split("/")[1] for name in arrays if name.startswith("part/")})
        parts = {}
        for name in names:
            fields = {k: arrays[f"part/{name}/{k}"] for k in ("source", "vertices", "away")}
            parts[name] = Part(**fields, round=bool(arrays[f"part/{name}/round"]))
        made = Map(
            mesh=str(arrays["mesh"]),
            topology=Topology.from_arrays({k[9:]: v for k, v in arrays.items() if k.startswith("topology/")}),
            **{name: arrays[name] for name in ("template", "fit", "turn", "rows", "source", "shares")},
            contacts=Contacts(**{k[8:]: v for k, v in arrays.items() if k.startswith("contact/")}),
            parts=parts,
            unroll=Unroll(**{k[7:]: v for k, v in arrays.items() if k.startswith("unroll/")}),
            notes=tuple(str(note) for note in arrays["notes"]),
        )
        _check(made)
        return made


def _is_a_maps(name: str) -> bool:
    prefix, _, rest = name.partition("/")
    return Topology.has(rest) if prefix == "topology" else prefix in _ARRAYS


def _check(made: Map) -> None:
    """Raise InputError or ValueError unless all of a map fits together and moves its mesh as far as a face moves."""
    head, count = load_head(), made.topology.n_vertices
    if (
        made.template.shape != (count, 3)
        or made.source.shape != made.shares.shape
        or len(made.rows) != len(made.source)
    ):
        raise ValueError(
            f"{made.template.shape}, {made.rows.shape}, {made.source.shape} and {made.shares.shape} do not fit"
        )
    for name in ("template", "fit", "turn", "shares"):
        if not float(np.abs(getattr(made, name)).max(initial=0)) <= MOST:
            raise ValueError(f"{name} holds values of no use")
    for name, indices, limit in (
        ("rows", made.rows, count),
        ("source", made.source, head.topology.n_vertices),
        ("contacts", made.contacts.points, count),
        ("unroll", made.unroll.rows, count),
        *((f"part {name}", part.vertices, count) for name, part in made.parts.items()),
        *((f"source of part {name}", part.source, head.topology.n_vertices) for name, part in made.parts.items()),
    ):
        check_indices(name, indices, limit)
    assert head.topology.shapes is not None
    moved = made.transfer(head.neutral).apply(head.topology.shapes)
    if moved.shape[1:] != made.template.shape:
        raise ValueError(f"it moves {moved.shape[1:]} of {made.template.shape} coordinates")
    if not (most_m := float(np.abs(moved).max(initial=0))) <= FARTHEST_M:
        raise ValueError(f"it moves vertices by {most_m:.3g} m")
