"""A slow wire, on a clock of its own: what is passed on when, and how it ends."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.faults import Pace
from pytest_connex.proxy.wire import Wire
from pytest_connex.virtual import VirtualLoop


class Line(asyncio.Transport):
    """A transport that notes what becomes of it, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[float, Any]] = []
        self.protocol: asyncio.BaseProtocol
        self.reading = True
        self.limits: Any = None
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._closing = False

    def _note(self, what: Any) -> None:
        self.events.append((round(self._loop.time() - self._start, 6), what))

    def write(self, data: bytes) -> None:
        assert not self._closing, "written to a transport that is closed"
        self._note(data)

    def close(self) -> None:
        self._closing = True
        self._note("close")

    def abort(self) -> None:
        self._closing = True
        self._note("abort")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._note("end")

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return 5

    @property
    def said(self) -> bytes:
        return b"".join(what for _, what in self.events if isinstance(what, bytes))


class End(asyncio.Protocol):
    """A protocol that notes what it is told."""

    def __init__(self, keeps_open: bool = False) -> None:
        self.told: list[Any] = []
        self.resumed = asyncio.Event()
        self.lost = asyncio.Event()
        self._keeps_open = keeps_open

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self._keeps_open

    def pause_writing(self) -> None:
        self.told.append("pause")
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.told.append("resume")
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", exc))
        self.lost.set()


Script = Callable[[Wire, Line, End], Awaitable[None]]


class Pacing:
    """A pace that a test may change."""

    def __init__(self, **pace: Any) -> None:
        self.now = Pace(**pace)

    def __call__(self) -> Pace:
        return self.now


def on_the_wire(
    script: Script, pace: Callable[[], Pace] | None = None, seed: int = 0, keeps_open: bool = False
) -> tuple[list[tuple[float, Any]], list[Any]]:
    """What a transport and a protocol were told, after ``script`` and a long while."""

    async def run() -> tuple[list[tuple[float, Any]], list[Any]]:
        line, end = Line(), End(keeps_open)
        wire = Wire(line, end, pace or Pacing(), random.Random(seed))
        await script(wire, line, end)
        await asyncio.sleep(1_000_000)
        return line.events, end.told

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def writing(*pieces: bytes) -> Script:
    async def script(wire: Wire, line: Line, end: End) -> None:
        for piece in pieces:
            wire.write(piece)

    return script


# --- When ------------------------------------------------------------------------------------------------


def test_an_unhindered_wire_passes_on_at_once():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        assert line.said == b"a"

    assert on_the_wire(script)[0] == [(0.0, b"a")]


def test_latency_delays_each_write_by_as_much():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        await asyncio.sleep(0.2)
        wire.write(b"b")

    assert on_the_wire(script, Pacing(latency=0.5))[0] == [(0.5, b"a"), (0.7, b"b")]


def test_bandwidth_is_the_bytes_of_a_second():
    events, _ = on_the_wire(writing(b"x" * 2048, b"y" * 512), Pacing(bandwidth=1024))
    assert [(moment, len(piece)) for moment, piece in events] == [(1.0, 1024), (2.0, 1024), (2.5, 512)]


def test_what_was_not_used_of_the_bandwidth_is_lost():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"x" * 100)
        await asyncio.sleep(10)
        wire.write(b"y" * 100)

    assert [moment for moment, _ in on_the_wire(script, Pacing(bandwidth=100))[0]] == [1.0, 11.0]


def test_latency_comes_on_top_of_bandwidth():
    events, _ = on_the_wire(writing(b"x" * 100, b"y" * 100), Pacing(latency=3, bandwidth=100))
    assert [moment for moment, _ in events] == [4.0, 5.0]


def test_a_pace_that_changes_holds_for_what_is_written_from_then_on():
    pace = Pacing(latency=1)

    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        pace.now = Pace(latency=3)
        wire.write(b"b")
        pace.now = Pace(latency=2)
        wire.write(b"c")

    assert on_the_wire(script, pace)[0] == [(1.0, b"a"), (3.0, b"b"), (3.0, b"c")]


@pytest.mark.parametrize("writes", [True, False])
def test_what_waits_for_a_pace_that_is_lifted_goes_with_the_next_bytes(writes):
    pace = Pacing(bandwidth=1024)

    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"x" * 10_240)
        await asyncio.sleep(1.5)
        pace.now = Pace()
        if writes:
            wire.write(b"y")

    events, _ = on_the_wire(script, pace)
    assert [moment for moment, _ in events] == [1.0] + ([1.5] * 10 if writes else [2.0] * 9)
    assert b"".join(what for _, what in events) == b"x" * 10_240 + b"y" * writes


def test_a_wire_is_unhindered_again_once_nothing_waits():
    pace = Pacing(latency=1)

    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        pace.now = Pace()
        await asyncio.sleep(2)
        wire.write(b"b")

    assert on_the_wire(script, pace)[0] == [(1.0, b"a"), (2.0, b"b")]


def delays(seed: int, pace: Pacing) -> list[float]:
    async def script(wire: Wire, line: Line, end: End) -> None:
        for _ in range(50):
            wire.write(b"a")
            await asyncio.sleep(10)

    return [moment % 10 for moment, _ in on_the_wire(script, pace, seed)[0]]


def test_jitter_spreads_delays_around_the_latency():
    found = delays(1, Pacing(latency=2, jitter=0.5))
    assert 1.5 <= min(found) < 1.7 < 2.3 < max(found) <= 2.5


def test_jitter_never_delivers_before_it_is_sent():
    assert min(delays(1, Pacing(latency=0.1, jitter=5))) == 0.0


def test_jitter_is_the_same_for_the_same_seed_only():
    pace = Pacing(latency=2, jitter=0.5)
    assert delays(1, pace) == delays(1, pace) != delays(2, pace)


paces = st.builds(Pace, st.floats(0, 5), st.floats(0, 5), st.none() | st.floats(1, 10_000))
steps = st.lists(st.tuples(st.binary(max_size=3_000), paces, st.floats(0, 3)), max_size=6)


@given(steps, st.integers(0, 3))
def test_at_any_pace_bytes_keep_their_order_and_the_end_comes_last(said, seed):
    pace = Pacing()

    async def script(wire: Wire, line: Line, end: End) -> None:
        for content, now, wait in said:
            pace.now = now
            wire.write(content)
            await asyncio.sleep(wait)
        wire.close()
        wire.write(b"too late")

    events, _ = on_the_wire(script, pace, seed)
    assert b"".join(what for _, what in events if what != "close") == b"".join(content for content, _, _ in said)
    assert [what for _, what in events].index("close") == len(events) - 1
    assert [moment for moment, _ in events] == sorted(moment for moment, _ in events)


# --- The end ---------------------------------------------------------------------------------------------

SLOW = Pacing(latency=2)


def ends(how: str, *, waits: bool = True) -> list[tuple[float, Any]]:
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        if not waits:
            await asyncio.sleep(5)
        getattr(wire, how)()
        assert wire.is_closing()
        wire.write(b"b")
        wire.close()

    return on_the_wire(script, SLOW)[0]


def test_a_close_comes_after_what_was_written():
    assert ends("close") == [(2.0, b"a"), (2.0, "close")]


def test_a_close_is_at_once_where_nothing_waits():
    assert ends("close", waits=False) == [(2.0, b"a"), (5.0, "close")]


def test_an_abort_is_at_once_and_loses_what_waits():
    assert ends("abort") == [(0.0, "abort")]


def test_only_the_first_end_counts():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.close()
        wire.close()
        wire.reset()

    assert on_the_wire(script, SLOW)[0] == [(2.0, b"a"), (2.0, "close")]


def test_an_abort_comes_before_a_close_that_waits():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.close()
        wire.abort()

    assert on_the_wire(script, SLOW)[0] == [(0.0, "abort")]


def test_nothing_passes_after_a_stall_not_even_the_end():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.stall()
        wire.write(b"b")
        wire.close()
        assert not wire.is_closing()

    assert on_the_wire(script, SLOW)[0] == [(2.0, b"a")]


def test_a_stalled_wire_can_be_aborted():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.stall()
        wire.abort()

    assert on_the_wire(script)[0] == [(0.0, "abort")]


def test_what_waits_goes_with_the_connection():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.connection_lost(None)
        assert (wire.get_write_buffer_size(), wire.is_closing()) == (5, True)

    events, told = on_the_wire(script, SLOW)
    assert (events, told) == ([], [("lost", None)])


def test_nothing_is_passed_on_to_a_transport_that_closes_by_itself():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.write(b"b")
        line.close()

    assert on_the_wire(script, SLOW)[0] == [(0.0, "close")]


@pytest.mark.parametrize("pace", [Pacing(), SLOW])
def test_the_end_of_the_client_lets_pass_what_was_written_before(pace):
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        if not wire.eof_received():
            line.close()  # as asyncio does

    events, told = on_the_wire(script, pace)
    assert ([what for _, what in events[:2]], told) == ([b"a", "close"], ["eof"])


def test_a_protocol_may_keep_the_connection_of_a_client_that_has_ended():
    async def script(wire: Wire, line: Line, end: End) -> None:
        assert wire.eof_received()
        assert not wire.is_closing()

    assert on_the_wire(script, keeps_open=True) == ([], ["eof"])


# --- Flow control ----------------------------------------------------------------------------------------


def test_a_writer_that_waits_when_it_is_told_to_fills_no_memory():
    waiting: list[int] = []

    async def script(wire: Wire, line: Line, end: End) -> None:
        end.resumed.set()
        for _ in range(2_000):
            wire.write(b"x" * 1_000)
            waiting.append(wire.get_write_buffer_size())
            await end.resumed.wait()

    events, told = on_the_wire(script, Pacing(bandwidth=1_000_000))
    assert max(waiting) <= 65_536 + 1_000 + 5
    assert sum(len(piece) for _, piece in events) == 2_000_000
    assert (told[:4], told[-1], len(told) > 20) == (["pause", "resume", "pause", "resume"], "resume", True)
    assert events[-1][0] == pytest.approx(2.0)


def test_two_reasons_to_wait_are_told_once_and_both_have_to_go():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"x" * 70_000)
        assert end.told == ["pause"]
        wire.pause_writing()
        await asyncio.sleep(5)
        assert end.told == ["pause"]
        wire.resume_writing()
        assert end.told == ["pause", "resume"]

    on_the_wire(script, SLOW)


def test_a_transport_that_is_full_is_told_without_any_delay():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.pause_writing()
        wire.write(b"x")
        wire.resume_writing()

    assert on_the_wire(script)[1] == ["pause", "resume"]


def test_a_writer_may_write_on_as_it_is_told_to():
    async def script(wire: Wire, line: Line, end: End) -> None:
        left = [b"y" * 70_000]
        end.resume_writing = lambda: (end.told.append("resume"), left and wire.write(left.pop()))
        wire.write(b"x" * 70_000)

    events, told = on_the_wire(script, SLOW)
    assert [(moment, what[:1]) for moment, what in events] == [(2.0, b"x"), (4.0, b"y")]
    assert told == ["pause", "resume", "pause", "resume"]


# --- As a transport --------------------------------------------------------------------------------------


def test_it_is_the_protocol_of_its_transport_and_passes_on_what_that_tells():
    async def script(wire: Wire, line: Line, end: End) -> None:
        assert line.protocol is wire
        assert wire.get_protocol() is end
        wire.data_received(b"a")
        other = End()
        wire.set_protocol(other)
        wire.data_received(b"b")
        wire.connection_lost(error := OSError())
        assert (end.told, other.told) == ([b"a"], [b"b", ("lost", error)])

    on_the_wire(script)


def test_reading_is_the_transports():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.pause_reading()
        assert (line.reading, wire.is_reading()) == (False, False)
        wire.resume_reading()
        assert (line.reading, wire.is_reading()) == (True, True)
        wire.set_write_buffer_limits(high=7, low=3)
        assert (line.limits, wire.can_write_eof(), wire.get_extra_info("socket", "none")) == ((7, 3), True, "none")

    on_the_wire(script)


@pytest.mark.parametrize("pace", [None, SLOW])
def test_the_end_of_what_is_written_comes_after_what_was_written(pace):
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"a")
        wire.write_eof()

    assert [what for _, what in on_the_wire(script, pace)[0]] == [b"a", "end"]


def test_lines_are_one_write():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.writelines([b"a", bytearray(b"b"), memoryview(b"c")])

    assert on_the_wire(script, SLOW)[0] == [(2.0, b"abc")]


def test_a_buffer_that_is_used_again_is_written_as_it_was():
    async def script(wire: Wire, line: Line, end: End) -> None:
        buffer = bytearray(b"a")
        wire.write(buffer)
        buffer[:] = b"b"

    assert on_the_wire(script, SLOW)[0] == [(2.0, b"a")]


def test_what_waits_counts_as_written():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.write(b"abc")
        assert wire.get_write_buffer_size() == 3 + 5
        wire.abort()
        assert wire.get_write_buffer_size() == 5

    on_the_wire(script, SLOW)


def test_a_detached_wire_does_not_touch_the_transport():
    async def script(wire: Wire, line: Line, end: End) -> None:
        assert wire.detach() is line
        wire.write(b"a")
        wire.close()
        wire.reset()
        wire.abort()
        assert wire.is_closing()

    assert on_the_wire(script)[0] == []


def test_a_reset_without_tcp_is_a_close():
    async def script(wire: Wire, line: Line, end: End) -> None:
        wire.reset()

    assert on_the_wire(script)[0] == [(0.0, "close")]


# --- Over TCP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "expected"), [("close", (b"ab", None)), ("reset", (b"ab", ConnectionResetError))])
def test_the_other_side_has_what_was_written_and_then_the_end(how, expected):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    asyncio.run(slowly_ended(ours, how))
    with theirs:
        assert heard(theirs) == expected


async def slowly_ended(ours: socket.socket, how: str) -> None:
    transport, end = await asyncio.get_running_loop().create_connection(End, sock=ours)
    wire = Wire(transport, end, Pacing(latency=0.001), random.Random(0))
    wire.write(b"a")
    wire.write(b"b")
    getattr(wire, how)()
    await end.lost.wait()


def heard(theirs: socket.socket) -> tuple[bytes, type[BaseException] | None]:
    said = b""
    try:
        while data := theirs.recv(100):
            said += data
    except OSError as exc:
        return said, type(exc)
    return said, None
