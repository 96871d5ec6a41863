"""Splits of a corpus: whole groups (subjects, sentences or voices) are held out, as a function of their names."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from meshtalk.corpus.store import LISTENER, SPLITS, ClipInfo, Corpus, read_manifest
from meshtalk.errors import InputError
from meshtalk.files import read_text, write_json

HELD_OUT = 0.1
"""Default share of groups for val, and as much for test."""
ENOUGH = 3
"""Fewest groups of which some are held out: each split needs one."""


def hold_out(
    person_of: Mapping[str, str],
    enough_people: int,
    *,
    val: float = HELD_OUT,
    test: float = HELD_OUT,
    seed: int = 0,
) -> dict[str, str]:
    """Map clip ids to splits, given their persons; single clips are held out where there are fewer than `enough_people`.

    The choice is a function of the names and the seed. Of fewer than ENOUGH all are for training.

    Args:
        val: share of the people (or clips), at least one of them unless the share is 0; one is always left for training.
        test: as `val`.
    """
    by_people = len(set(person_of.values())) >= enough_people
    unit = {id: person if by_people else id for id, person in person_of.items()}
    salt = f"{seed}/" if seed else ""
    order = sorted(set(unit.values()), key=lambda name: hashlib.sha256((salt + name).encode()).hexdigest())
    n_val, n_test = (max(1, round(share * len(order))) if share > 0 else 0 for share in (val, test))
    while n_val + n_test >= len(order) >= ENOUGH:  # rounded shares may leave nobody for training: the larger gives way
        n_val, n_test = (n_val - 1, n_test) if n_val > n_test else (n_val, n_test - 1)
    if len(order) < ENOUGH:
        n_val = n_test = 0
    of = {name: "val" if k < n_val else "test" if k < n_val + n_test else "train" for k, name in enumerate(order)}
    return {id: of[name] for id, name in unit.items()}


# ------------------------------------------------------------------------------------------------ a corpus split again


LABELS = ("subject", "sentence", "voice")
"""Labels that splits can be made disjoint in."""


def resplit(
    root: str | Path,
    by: Sequence[str] = ("subject",),
    *,
    val_share: float = HELD_OUT,
    test_share: float = HELD_OUT,
    val: Collection[str] = (),
    test: Collection[str] = (),
    seed: int = 0,
    replace_official: bool = False,
) -> Corpus:
    """Re-split the corpus in folder `root` by group, so that no two splits share a value of any label in `by`.

    Clips that share a value of a label, directly or through others, stay together; of these groups shares are held out
    by `hold_out`. With named lists those are held out, and a split without a list gets none. Clips in a data set's official
    split stay there, and what shares a label with them goes with them.

    Args:
        by: some of LABELS.
        val_share: of the groups (people, if `by` is subject), 0..1.
        test_share: as `val_share`.
        val: names to hold out, of the one label in `by`.
        test: as `val`.
        seed: of the choice of held-out groups.
        replace_official: also re-split clips in official splits, and remove that label.

    Returns:
        The corpus with its new manifest, written atomically; no other file is changed.

    Raises:
        InputError: no corpus, invalid arguments, unknown names, or labels by which the clips cannot be split.
    """
    corpus = Corpus.open(root)
    _check(by, val_share, test_share, val, test, seed)
    clips = corpus.clips
    if replace_official:
        clips = tuple(replace(info, official="") for info in clips)
    elif clips and all(info.official for info in clips):
        raise InputError(
            f"all clips of {root} are in their data set's official splits, by which results are compared"
            ". Add --replace-official to re-split them."
        )
    missing = [info.id for info in clips for label in by if not getattr(info, label) and not _nobody(info, label)]
    if missing:
        raise InputError(f"clip {missing[0]} has no {' or '.join(by)}. Split by a label that every clip has.")
    group_of = _groups(clips, by)
    fixed = _official(clips, group_of, by)
    free = {info.id: group_of[info.id] for info in clips if group_of[info.id] not in fixed}
    if val or test:
        chosen = _named(clips, by[0], {"val": val, "test": test}, group_of, fixed)
    elif (groups := len(set(free.values()))) < ENOUGH:
        alone = "one label only, " if len(by) > 1 else ""
        raise InputError(
            f"the clips fall into {groups} group{'' if groups == 1 else 's'} by {' and '.join(by)}; {ENOUGH} are needed. Split by"
            f" {alone}another label, or give --val-names and --test-names."
        )
    else:
        chosen = hold_out(free, ENOUGH, val=val_share, test=test_share, seed=seed)
    splits = {info.id: fixed.get(group_of[info.id]) or chosen[info.id] for info in clips}
    splits |= {info.id: info.split for info in clips if info.official}
    if "train" not in splits.values():
        raise InputError("at least one group must remain for training. Hold out fewer.")
    _write(corpus.root, splits, forget=replace_official)
    return Corpus.open(corpus.root)


def read_names(path: str | Path) -> tuple[str, ...]:
    """Names in a text file, one per line; empty lines are ignored.

    Raises:
        InputError: no such text file, or no name in it.
    """
    lines = read_text(Path(path)).splitlines()
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise InputError(f"{path} has no names. Write one per line.")
    return names


def _check(
    by: Sequence[str],
    val_share: float,
    test_share: float,
    val: Collection[str],
    test: Collection[str],
    seed: int,
) -> None:
    strange = [label for label in by if label not in LABELS]
    if strange or not by or len(set(by)) < len(by):
        raise InputError(f"by must be different labels of {', '.join(LABELS)}, got {' '.join(by) or 'none'}")
    if not (val_share >= 0 and test_share >= 0 and val_share + test_share < 1):  # NaN is refused too
        raise InputError(f"shares must be 0 or more and less than 1 in total, got {val_share} and {test_share}")
    if (val or test) and len(by) > 1:
        raise InputError("lists of names need exactly one label. Give one in --by.")
    both = sorted(set(val) & set(test))
    if both:
        raise InputError(f"a name must be in one list only, got {both[0]} for val and test. Remove it from one.")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")


def _nobody(info: ClipInfo, label: str) -> bool:
    """Whether the label is empty, or of a clip without speech, which has no sentence to share."""
    return label == "sentence" and info.voice == LISTENER


def _groups(clips: Sequence[ClipInfo], by: Sequence[str]) -> dict[str, str]:
    """Clip id → name of its group: clips that share a value of a label are in one, and so on from clip to clip."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root_of(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def node_of(info: ClipInfo, label: str) -> tuple[str, str]:
        return ("clip", info.id) if _nobody(info, label) else (label, getattr(info, label))

    for info in clips:
        nodes = [root_of(node_of(info, label)) for label in by]
        for node in nodes[1:]:
            # the smaller one leads, so that a group's name does not depend on the clips' order
            low, high = sorted((root_of(nodes[0]), root_of(node)))
            parent[high] = low
    roots = {info.id: root_of(node_of(info, by[0])) for info in clips}
    return {id: name if label == by[0] else f"{label}/{name}" for id, (label, name) in roots.items()}


def _official(clips: Sequence[ClipInfo], group_of: Mapping[str, str], by: Sequence[str]) -> dict[str, str]:
    """Group → official split of its clips, where some have one and others have not.

    Raises:
        InputError: clips without one share a label with several official splits.
    """
    fixed: dict[str, set[str]] = {}
    for info in clips:
        if info.official:
            fixed.setdefault(group_of[info.id], set()).add(info.split)
    for info in clips:
        if not info.official and len(fixed.get(group_of[info.id], ())) > 1:
            raise InputError(
                f"clip {info.id} shares its {' or '.join(by)} with several official splits. Split by another label, or"
                " add --replace-official."
            )
    return {group: sorted(splits)[0] for group, splits in fixed.items()}


def _named(
    clips: Sequence[ClipInfo],
    label: str,
    lists: Mapping[str, Collection[str]],
    group_of: Mapping[str, str],
    fixed: Mapping[str, str],
) -> dict[str, str]:
    known = {getattr(info, label): group_of[info.id] for info in clips}
    split_of: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise InputError(f"there is no {label} {name!r}" + (f". Did you mean {near[0]!r}?" if near else ""))
            if fixed.get(known[name], split) != split:
                raise InputError(
                    f"{label} {name!r} is in the official {fixed[known[name]]}. Leave it there, or add --replace-official."
                )
            split_of[name] = split
    return {info.id: split_of.get(getattr(info, label), "train") for info in clips}


def _write(root: Path, splits: Mapping[str, str], forget: bool) -> None:
    manifest = read_manifest(root)
    clips: list[dict[str, Any]] = manifest["clips"]
    for entry in clips:
        entry["split"] = splits[entry["id"]]
        if forget:
            entry["official"] = ""
    clips.sort(key=lambda entry: SPLITS.index(entry["split"]))  # stable: the rest keeps its order
    write_json(root / "manifest.json", manifest)
