"""Streaming: frames equal `animate`'s however the sound comes, and framings are as documented."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rig
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_rig import ANIMATOR, ROUNDED, Kept, Packets, as_float, documented, pcm16

from meshtalk.arkit.solve import Solver
from meshtalk.audio.files import to_mono
from meshtalk.errors import InputError
from meshtalk.stream import Summary, stream
from meshtalk.stream.pcm import Pcm
from meshtalk.stream.pipes import ends_quietly, read_some, write_all
from meshtalk.stream.sinks import JsonLines, Vertices
from meshtalk.stream.vmc import VmcSender

# --- the frames ----------------------------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=6), cut=st.integers(0, 1))
def test_frames_are_those_of_animate_whatever_the_packets(sizes, cut):
    sound = pcm16(0.7)
    clip = ANIMATOR.animate(as_float(sound), 16_000, seed=4)
    sink, told = Kept(), []
    source = Packets(sound.tobytes() + b"x" * cut, [*sizes, 3000])
    summary = stream(ANIMATOR, ANIMATOR.start(seed=4), source, [sink], report=told.append)
    assert sink.numbers == list(range(clip.n_frames))
    assert clip.weights is not None
    np.testing.assert_allclose(sink.weights, np.clip(clip.weights, 0, 1), atol=1e-4)
    assert summary == Summary(clip.n_frames, 0, {"standard output": 0})
    assert len(told) == cut, told


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 1), (11_025, 3)])
def test_other_rates_are_the_same_frames_too(rate, channels):
    sound = pcm16(0.8, rate, channels)
    clip = ANIMATOR.animate(as_float(sound), rate)
    sink = Kept()
    source = Packets(sound.tobytes(), [777, 4001])
    stream(ANIMATOR, ANIMATOR.start(), source, [sink], rate=rate, channels=channels)
    assert sink.numbers == list(range(clip.n_frames))
    assert clip.weights is not None
    np.testing.assert_allclose(sink.weights, np.clip(clip.weights, 0, 1), atol=1e-4)


@settings(max_examples=15)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 192_000]),
    samples=st.integers(1, 9_000),
    sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
)
def test_samples_are_those_of_a_file_bit_for_bit(rate, samples, sizes):
    sound = np.random.default_rng(samples).integers(-32768, 32768, (samples, 2)).astype("<i2")
    pcm, source, parts = Pcm(rate, 2), Packets(sound.tobytes(), sizes), []
    while data := read_some(source, pcm.packet_bytes):
        parts.append(pcm.feed(data))
    heard = np.concatenate([*parts, pcm.finish()])
    np.testing.assert_array_equal(heard, to_mono(as_float(sound), rate))
    assert pcm.cut_bytes == 0


def test_what_resampling_holds_back_is_in_the_header():
    assert Pcm(16_000).delay_s == 0
    for rate, limit_s in ((44_100, 0.045), (48_000, 0.045), (8_000, 0.125)):
        assert 0.02 < Pcm(rate).delay_s < limit_s
    state, output = ANIMATOR.start(), io.BytesIO()
    stream(ANIMATOR, state, io.BytesIO(b"\0" * 9600), [JsonLines(ANIMATOR, state, output)], rate=48_000)
    header = json.loads(output.getvalue().splitlines()[0])
    assert header["lookahead_s"] == round(ANIMATOR.lookahead_s + Pcm(48_000).delay_s, 4)


@pytest.mark.parametrize("fps", ["25", "29.97", "60"])
def test_documented_reader_of_weights(fps):
    sound = pcm16()
    clip = ANIMATOR.animate(as_float(sound), 16_000, fps=fps)
    state, output = ANIMATOR.start(fps=fps), io.BytesIO()
    stream(ANIMATOR, state, io.BytesIO(sound.tobytes()), [JsonLines(ANIMATOR, state, output)])
    output.seek(0)
    times, weights = zip(*documented("read_weights")(output), strict=True)
    assert list(times) == [k / clip.fps for k in range(clip.n_frames)]
    assert tuple(weights[0]) == rig.SHAPES
    assert clip.weights is not None
    read = np.array([list(frame.values()) for frame in weights])
    np.testing.assert_allclose(read, np.clip(clip.weights, 0, 1), atol=ROUNDED + 1e-4)
    assert np.array_equal(read, np.round(read, 4))
    assert json.loads(output.getvalue().splitlines()[3])["time_s"] == round(2 / float(clip.fps), 6)


def test_documented_reader_of_vertices():
    sound = pcm16()
    clip = ANIMATOR.animate(as_float(sound), 16_000, template=rig.face(3), fps="29.97")
    state, output = ANIMATOR.start(template=rig.face(3), fps="29.97"), io.BytesIO()
    stream(ANIMATOR, state, Packets(sound.tobytes(), [500]), [Vertices(ANIMATOR, state, output)])
    output.seek(0)
    times, vertices = zip(*documented("read_vertices")(output), strict=True)
    np.testing.assert_allclose(times, [float(k / clip.fps) for k in range(clip.n_frames)], rtol=1e-12)
    np.testing.assert_allclose(np.stack(vertices), clip.vertices, atol=2e-6)


def test_a_model_that_moves_vertices_streams_the_weights_of_its_mesh():
    animator = rig.random_animator(rig.TINY_DENSE)
    sound = pcm16()
    clip = animator.animate(as_float(sound), 16_000)
    assert clip.weights is None
    solver, before, wanted = Solver(animator.topology), None, []
    for asked in solver.asked(clip):
        wanted.append(before := solver.step(asked, before))
    assert np.ptp(wanted, axis=0).max() > 0.01
    for sizes in ([777], [5000, 2400]):
        sink = Kept(animator)
        stream(animator, animator.start(), Packets(sound.tobytes(), sizes), [sink])
        np.testing.assert_allclose(sink.weights, wanted, atol=1e-3)


def test_a_mesh_without_blendshapes_streams_vertices_only():
    animator = rig.random_animator(rig.TINY_DENSE)
    animator.topology = replace(animator.topology, shapes=None, shape_names=())
    state, output = animator.start(), io.BytesIO()
    with pytest.raises(InputError, match="no blendshapes"):
        JsonLines(animator, state, output)
    with pytest.raises(InputError, match="no blendshapes"):
        VmcSender(animator, state, "127.0.0.1", 39539)
    stream(animator, state, io.BytesIO(pcm16().tobytes()), [Vertices(animator, state, output)])
    assert len(output.getvalue()) == 28 + 30 * (4 + 96 * 12)


def test_no_sound_at_all_is_refused_after_the_header():
    state, output = ANIMATOR.start(), io.BytesIO()
    with pytest.raises(InputError, match="no sound"):
        stream(ANIMATOR, state, io.BytesIO(b"\0"), [JsonLines(ANIMATOR, state, output)])
    assert len(output.getvalue().splitlines()) == 1


# --- pipes ---------------------------------------------------------------------------------------------------------------


def test_writes_in_pieces_and_reads_before_bytes_come(monkeypatch):
    waited = []
    monkeypatch.setattr("select.select", lambda *lists: waited.append(lists))

    class Halting(io.BytesIO):
        turn = 0

        def write(self, data) -> Any:
            self.turn += 1
            return None if self.turn % 2 else super().write(bytes(data[:7]))

    output = Halting()
    write_all(output, bytes(range(100)))
    assert output.getvalue() == bytes(range(100))
    answers = iter([None, None, b"ab"])
    source = type("Source", (), {"read": lambda self, size: next(answers)})()
    assert read_some(source, 5) == b"ab"
    assert len(waited) == 15 + 2


def test_ordinary_ends_are_quiet(capsys):
    with ends_quietly():
        raise BrokenPipeError
    with pytest.raises(SystemExit) as end, ends_quietly():
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["meshtalk"] * 2
