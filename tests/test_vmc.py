"""VMC: datagrams as receivers want them, and frames at their time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import rig
from stream_rig import ANIMATOR, FPS, as_float, frames_of, pcm16, udp_receiver

from meshtalk.arkit.names import clip_name
from meshtalk.errors import InputError
from meshtalk.inference.animator import Animator
from meshtalk.stream import stream
from meshtalk.stream.sinks import Frame
from meshtalk.stream.vmc import MAX_DATAGRAM_BYTES, Pacer, VmcSender, parse_endpoint

# --- VMC -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver():
    with udp_receiver() as udp:
        yield udp


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s, self.slept = 100.0, []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def test_vmc_datagrams_are_small_and_apply_comes_last(receiver):
    from pythonosc.osc_bundle import OscBundle

    animator = Animator(rig.head_checkpoint())
    sound, time = pcm16(0.4), FakeTime()
    clip = animator.animate(as_float(sound), 16_000)
    state = animator.start()
    sender = VmcSender(animator, state, *receiver.getsockname(), clock=time.clock, sleep=time.sleep)
    stream(animator, state, io.BytesIO(sound.tobytes()), [sender], clock=time.clock)
    assert clip.weights is not None
    names = [clip_name(name) for name in animator.topology.shape_names]
    assert len(names) == 52
    assert {"JawOpen", "EyeBlinkLeft", "TongueOut"} <= set(names)
    for frame in range(clip.n_frames):
        messages, n_datagrams = [], 0
        while not messages or messages[-1].address != "/VMC/Ext/Blend/Apply":
            datagram = receiver.recv(65_536)
            assert len(datagram) <= MAX_DATAGRAM_BYTES
            messages += list(OscBundle(datagram))
            n_datagrams += 1
        assert n_datagrams == 2
        assert [(m.address, m.params) for m in messages[:2]] == [
            ("/VMC/Ext/OK", [1]),
            ("/VMC/Ext/T", [pytest.approx(frame / 30)]),
        ]
        values = messages[2:-1]
        assert {m.address for m in values} == {"/VMC/Ext/Blend/Val"}
        assert [m.params[0] for m in values] == names
        weights = np.array([m.params[1] for m in values])
        np.testing.assert_allclose(weights, np.clip(clip.weights[frame], 0, 1), atol=1e-4)
    # the file came all at once: the second frame waited for its time, and so on
    np.testing.assert_allclose(time.slept, 1 / 30, atol=1e-9)
    assert len(time.slept) == clip.n_frames - 1
    assert sender.lost == 0


def test_frames_the_network_refuses_are_counted(receiver, monkeypatch):
    time = FakeTime()
    sender = VmcSender(ANIMATOR, ANIMATOR.start(), *receiver.getsockname(), clock=time.clock, sleep=time.sleep)

    class Unreachable:
        def sendto(self, *_: object) -> None:
            raise OSError("network is unreachable")

    monkeypatch.setattr(sender, "_socket", Unreachable())
    sender.write(frames_of([0, 1], made_s=100.0))
    assert sender.lost == 2


def test_a_file_is_paced_by_its_first_frame_and_late_frames_go_at_once():
    pacer = Pacer(Fraction(25), live=False)
    due = [pacer.due_s(frame, 10.0) for frame in frames_of([0, 1, 2], made_s=10.0)]
    assert due == pytest.approx([10.0, 10.04, 10.08])
    assert pacer.due_s(frames_of([25], made_s=99.0)[0], 99.0) == pytest.approx(11.0)
    assert pacer.due_s(frames_of([250], made_s=99.0)[0], 99.0) == pytest.approx(20.0)


def test_the_first_frames_of_a_file_are_not_sent_at_once(receiver, monkeypatch):
    """Making weights of the first packet, or importing what sends them, takes time in which no frame is due."""
    time = FakeTime()
    sender = VmcSender(ANIMATOR, ANIMATOR.start(), *receiver.getsockname(), clock=time.clock, sleep=time.sleep)
    sent = []
    monkeypatch.setattr("meshtalk.stream.vmc.datagrams", lambda *_: sent.append(time.now_s) or [])
    frames = frames_of(range(15), made_s=time.now_s)
    time.now_s += 0.3
    sender.write(frames)
    np.testing.assert_allclose(np.diff(sent), float(1 / FPS), atol=1e-9)


def live_waits(arrival_s: Sequence[float]) -> np.ndarray:
    """Seconds that each frame of a live 30 fps source waits (negative: it is late)."""
    pacer = Pacer(FPS, live=True)
    return np.array([pacer.due_s(Frame(k, np.zeros(0), at), at) - at for k, at in enumerate(arrival_s)])


def test_live_lumps_are_evened_out():
    lump_s = 0.125
    waits = live_waits([(int(k / 30 / lump_s) + 1) * lump_s for k in range(300)])
    assert waits[30:].min() >= -lump_s
    assert waits[150:].min() > -1e-6
    assert waits[150:].max() < lump_s + 1e-6


def test_live_backlog_is_given_up():
    """Sound that waited while the model loaded: its frames come at once, the others in time."""
    waits = live_waits([max(2.0, k / 30) for k in range(300)])
    assert waits[50] > 1
    assert np.abs(waits[150:]).max() < 1e-6


def test_live_stall_costs_no_lasting_delay():
    waits = live_waits([max(k / 30, 3.0 if 2 < k / 30 <= 3 else 0) for k in range(300)])
    assert np.abs(waits[100:]).max() < 1e-6


def test_live_fast_and_slow_clocks_are_followed():
    for drift in (0.999, 1.001):
        waits = live_waits([k / 30 * drift for k in range(9000)])
        assert np.abs(waits).max() < 0.005


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":39539", "host:0", "host:65536", "host:-1", "h:²", "h:1.5"]
)
def test_endpoints_that_are_none(text):
    with pytest.raises(InputError, match="HOST:PORT"):
        parse_endpoint(text)


def test_endpoints():
    assert parse_endpoint("127.0.0.1:39539") == ("127.0.0.1", 39539)
    assert parse_endpoint("[::1]:39540") == ("::1", 39540)
