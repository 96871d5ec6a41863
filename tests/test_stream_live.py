"""Streaming to the slow: memory is bounded, what is dropped is counted, and numbers stay true to time."""

from __future__ import annotations

import io
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_rig import ANIMATOR, Kept, Packets, frames_of, pcm16

from meshtalk.audio.files import n_frames
from meshtalk.inference.animator import Animator
from meshtalk.stream import Numbers, stream
from meshtalk.stream.live import WAITING_S, LiveQueue, LiveSound, frames_within

# --- slow consumers ------------------------------------------------------------------------------------------------------


class Gate(Kept):
    """Takes one frame and then waits."""

    def __init__(self) -> None:
        super().__init__(lag=self._wait)
        self.busy, self.open = threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.busy.set()
        self.open.wait()


def test_a_full_queue_drops_the_oldest_and_counts_exactly():
    gate = Gate()
    queue = LiveQueue(gate, limit=3)
    queue.write(frames_of([0]))
    gate.busy.wait()
    for number in range(1, 10):
        queue.write(frames_of([number]))
        assert queue.lost == max(0, number - 3)
    queue.write(frames_of(range(10, 20)))
    assert queue.lost == 16
    gate.open.set()
    queue.finish()
    assert gate.numbers == [0, 17, 18, 19]


def test_a_queue_tells_what_its_sink_ran_into():
    def broken() -> None:
        raise BrokenPipeError

    for end in ("write", "finish"):
        queue = LiveQueue(Kept(lag=broken), limit=3)
        queue.write(frames_of([0]))
        with pytest.raises(BrokenPipeError):
            queue.finish()
        if end == "write":
            with pytest.raises(BrokenPipeError):
                queue.write(frames_of([1]))


def test_live_frames_arrive_or_are_counted(monkeypatch):
    monkeypatch.setattr("meshtalk.stream.WAITING_S", 0.2)
    sound, told = pcm16(2.0), []
    once = threading.Event()
    sink = Kept(lag=lambda: once.wait(0.01))
    summary = stream(
        ANIMATOR, ANIMATOR.start(), Packets(sound.tobytes(), [2000]), [sink], live=True, report=told.append
    )
    assert summary.frames == 60
    assert len(sink.numbers) + summary.lost["standard output"] + summary.skipped == 60
    assert sink.numbers == sorted(set(sink.numbers))
    assert sink.numbers[-1] == 59
    assert bool(told) == (len(sink.numbers) < 60)
    if told:
        assert f"standard output: {summary.lost['standard output']}" in told[-1]


@pytest.mark.parametrize("live", [False, True])
def test_a_fast_consumer_loses_nothing(live):
    sound, sink = pcm16(1.5), Kept()
    stream(ANIMATOR, ANIMATOR.start(), io.BytesIO(sound.tobytes()), [sink], live=live)
    assert sink.numbers == list(range(45))


def test_without_live_a_slow_consumer_stops_the_reading():
    sound = pcm16(3.0).tobytes()
    source = Packets(sound, [len(sound)])
    unread = []
    sink = Kept(lag=lambda: unread.append(len(source._data)))
    stream(ANIMATOR, ANIMATOR.start(), source, [sink])
    assert sink.numbers == list(range(90))
    assert unread[:5] == [80_000, 64_000, 48_000, 32_000, 16_000]  # half a second read, its frames written, and so on


def test_losses_are_told_at_intervals_and_in_total():
    times = iter(np.arange(0.0, 1000.0, 0.5).tolist())
    told = []

    class Lossy(Kept):
        def write(self, frames) -> None:
            self.lost += len(frames)

    sound = pcm16(2.0)
    stream(
        ANIMATOR, ANIMATOR.start(), Packets(sound.tobytes(), [3200]), [Lossy()], report=told.append,
        clock=lambda: next(times),
    )  # fmt: skip
    assert 2 <= len(told) <= 6  # twenty packets, less than twenty seconds of this clock
    assert "so far" in told[0]
    assert told[-1] == "in all, 60 frames were animated; frames dropped before standard output: 60"


# --- slow machines -------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    fps=st.sampled_from([Fraction(30), Fraction(30000, 1001), Fraction(25), Fraction(240), Fraction(7, 3)]),
    packets=st.lists(st.integers(1, 8_000), min_size=1, max_size=40),
    taken=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_skipped_sound_keeps_numbers_true_to_time(fps, packets, taken):
    """Sound whose samples are their own index: a frame's sample, however much was skipped, is that of its number."""
    sound, numbers, put = LiveSound(fps), Numbers(fps), 0
    heard, skipped = np.zeros(0), 0

    def take() -> None:
        nonlocal heard, skipped
        samples, missing = sound.take() or (np.zeros(0), 0)
        numbers.add(len(samples), missing)
        heard, skipped = np.concatenate([heard, samples]), skipped + missing

    for turn, n in enumerate(packets):
        sound.put(np.arange(put, put + n, dtype=np.float32))
        put += n
        assert len(sound._samples) <= WAITING_S * 16_000
        if taken[turn % len(taken)]:
            take()
    sound.end()
    while len(heard) < put and len(sound._samples):
        take()
    assert sound.take() is None
    assert numbers.skipped == skipped
    made = n_frames(len(heard), 16_000, fps)
    for index, number in enumerate(numbers.take(made)):
        at = heard[int(index * 16_000 / fps)]
        # a frame between two samples across a skip may belong to either side
        assert abs(at - number * 16_000 / fps) <= 1.5 or at < number * 16_000 / fps
    assert len(heard) + round(skipped * 16_000 / fps) == put


def test_a_slow_machine_skips_the_oldest_sound():
    sound, ended = pcm16(5.0), threading.Event()

    class Source(Packets):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            if not data:
                ended.set()
            return data

    class Slow(Animator):
        def advance(self, samples, state):
            if state.n_samples:
                ended.wait()
            return super().advance(samples, state)

    animator, sink = Slow(ANIMATOR.checkpoint), Kept()
    told = []
    summary = stream(animator, animator.start(), Source(sound.tobytes(), [9999]), [sink], live=True, report=told.append)
    assert summary.frames + summary.skipped == 150
    assert 60 <= summary.skipped <= 90
    assert sink.numbers[-1] == 149
    gaps = np.diff([-1, *sink.numbers]) - 1
    assert gaps.sum() == summary.skipped
    assert np.count_nonzero(gaps) <= 2
    assert "no --live" in told[-1]


def test_a_source_that_fails_is_told():
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("unplugged")

    for live in (False, True):
        with pytest.raises(OSError, match="unplugged"):
            stream(ANIMATOR, ANIMATOR.start(), Broken(), [Kept()], live=live)


def test_queues_hold_at_least_a_frame():
    assert frames_within(2.0, Fraction(30000, 1001)) == 59
    assert frames_within(0.01, Fraction(1)) == 1
