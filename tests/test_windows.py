"""Windows of clips and of shards: what a slice of the whole gives, however they are read, and nobody else's memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from meshtalk.corpus import rows as clip_rows
from meshtalk.corpus.rows import KEPT, Buffers, ClipRows
from meshtalk.corpus.store import CorpusWriter
from meshtalk.errors import InputError
from meshtalk.training.shards import Rows, RowStore, plan, write_shard

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import windows as benchmark

HALF_MM, WITHIN_MM = 0.008, 31.0
"""By how much docs/data_format.md says that half precision moves a vertex, and how near to rest."""


@pytest.fixture(params=["threads", "announced", "no preadv"])
def way(request, monkeypatch):
    """Large reads in threads, small ones that are announced, and a system that lacks both calls."""
    if request.param == "threads":
        monkeypatch.setattr(clip_rows, "LARGE", 1)
    elif request.param == "no preadv":
        monkeypatch.delattr(os, "preadv")
        monkeypatch.delattr(os, "posix_fadvise")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("step", [1, 1 << 20], ids=["frame by frame", "at once"])
@pytest.mark.parametrize("kind", ["rig_corpus", "dense_corpus"])
def test_windows_of_clips_are_slices_of_them(request, monkeypatch, kind, step):
    monkeypatch.setattr(clip_rows, "IN_CACHE", step)
    corpus = request.getfixturevalue(kind)
    rows, rng = ClipRows(corpus), np.random.default_rng(1)
    picks = rng.integers(len(corpus.clips), size=9)
    starts = [int(rng.integers(corpus.clips[pick].n_frames - 7)) for pick in picks]
    infos = [corpus.clips[pick] for pick in picks]
    found = rows.windows(infos, starts, 8)
    places = torch.arange(9.0)
    moved = rows.windows(infos, starts, 8, lambda place, frames: frames.flatten(1) * 2 + places[place])
    for index, (info, start) in enumerate(zip(infos, starts, strict=True)):
        expected = corpus.load(info).displacements(start, start + 8)
        np.testing.assert_allclose(found[index], expected, atol=1e-9)
        np.testing.assert_allclose(moved[index], expected * 2 + index, atol=1e-6)
        np.testing.assert_array_equal(rows.displacements(info, start, start + 8), found[index])


@settings(max_examples=20)
@given(motion=arrays(np.float64, (3, 96, 3), elements=st.floats(-WITHIN_MM / 1e3, WITHIN_MM / 1e3)))
def test_dense_motion_is_kept_as_exactly_as_told(tmp_path_factory, motion):
    from dataclasses import replace

    clip = replace(rig.as_dense(rig.make_clip(0, 0.1)), displacement=motion)
    writer = CorpusWriter(tmp_path_factory.mktemp("c"), rig.TOPOLOGY, rig.FPS, ["none"])
    corpus = writer.finish([writer.add(clip, id="c", split="train", voice="v")])
    found = ClipRows(corpus).windows(corpus.clips, [0], 3)[0].numpy()
    assert np.abs(found - motion).max() * 1e3 <= HALF_MM


@pytest.fixture
def stored(tmp_path, rig_corpus):
    """A store of two parts a clip, its blocks, and its file."""
    rows = Rows("numbers", np.dtype("<f2"), 5, 2)
    rng = np.random.default_rng(2)
    blocks = [rng.normal(size=(2, 20 + k, 5)).astype("<f2") for k in range(len(rig_corpus.clips))]
    shards = plan(tmp_path, rig_corpus.clips, rows, "test", lambda info: info.id)
    assert len(shards) == 1
    write_shard(shards[0], rows, blocks)
    return RowStore(shards, rows), blocks, shards[0].path


@pytest.mark.usefixtures("way")
def test_windows_of_shards_are_slices_of_what_was_written(stored):
    store, blocks, _ = stored
    clips, parts, starts = [3, 0, 3, 11], [0, 1, 1, 0], [0, 13, 5, 24]
    found = store.windows(clips, parts, starts, 7)
    for window, clip, part, start in zip(found, clips, parts, starts, strict=True):
        np.testing.assert_array_equal(window, blocks[clip][part, start : start + 7])
    np.testing.assert_array_equal(store.read(4, 1), blocks[4][1])
    on_end = np.concatenate([block[1] for block in blocks])
    np.testing.assert_array_equal(store.every(1, 3), on_end[::3])


@pytest.mark.usefixtures("way")
def test_a_file_that_is_cut_short_is_told(stored, dense_corpus):
    store, _, path = stored
    store.read(0)
    os.truncate(path, 900)
    with pytest.raises(InputError, match="is truncated"):
        store.windows([0, 11], [0, 1], [0, 24], 7)


def test_memory_is_used_again_only_when_nobody_holds_it():
    rooms = Buffers()
    first = rooms(2, 3)
    first.fill_(1)
    view = first[1, 1:].unsqueeze(0)
    del first
    second = rooms(2, 3).fill_(2)
    assert view.tolist() == [[1, 1]]  # a part of it is still held
    place = second.data_ptr()
    del second
    smaller = rooms(5)
    assert smaller.data_ptr() == place
    others = [rooms(2, 3).fill_(7) for _ in range(2 * KEPT)]
    assert len({tensor.data_ptr() for tensor in (*others, smaller, view)}) == 2 * KEPT + 2
    assert view.tolist() == [[1, 1]]


def test_the_benchmark_measures_everything(tmp_path):
    found = {line.name: line for line in benchmark.run(tmp_path, 0.003, 0.05, n_vertices=400)}
    assert len(found) == 12
    assert all(line.windows_s > 0 and line.gb_s > 0 for line in found.values())
    # a window's bytes on disk, as counted beside the windows
    line = found["dense, warm"]
    assert line.gb_s * 1e9 / line.windows_s == pytest.approx(32 * 400 * 6)
