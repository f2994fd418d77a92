"""The server half of a connection, spoken to by the real client."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Request

from pytest_connex.cassette.events import Payload
from pytest_connex.faults import Faults
from pytest_connex.proxy.endpoint import Endpoint, Manners

from .conftest import URL
from .doorway import connects
from .loopback import framed, handshake, masked


class Script(Manners):
    """A behaviour that accepts, notes what it is told, and leaves the talking to the test."""

    def __init__(self, subprotocol: str | None = None, headers: dict[str, str] | None = None) -> None:
        self.refusal: BaseException | None = None
        self.on_read = None
        self.messages: list[Payload] = []
        self.late: list[Payload] = []
        self.ends: list[tuple[int, str]] = []
        self.over = asyncio.Event()
        self.arrived = asyncio.Event()
        self.resumed = asyncio.Event()
        self.endpoint: Endpoint
        self.request: Request
        self._answer = (subprotocol, headers or {})

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        self.endpoint, self.request = endpoint, request
        endpoint.accept(*self._answer)

    def received(self, message: Payload) -> None:
        self.messages.append(message)
        self.arrived.set()

    def came_late(self, message: Payload) -> None:
        self.late.append(message)

    def writable(self) -> None:
        self.resumed.set()

    def ended(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        self.over.set()


class Rejecting(Script):
    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        super().__init__()
        self._rejection = (status, headers, body)

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        endpoint.reject(*self._rejection)


def dial(script: Script, **kwargs: object):
    return connects(lambda url, dial: script)(URL, **kwargs)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1 << 20])
@pytest.mark.parametrize("kind", [str, bytes])
async def test_messages_of_every_length_form_arrive_in_both_directions(size, kind):
    message = "é"[:size] + "x" * (size - 1) if kind is str else b"\xff" * size
    script = Script()
    async with dial(script, max_size=None) as ws:
        script.endpoint.send([message, message])
        assert [await ws.recv(), await ws.recv()] == [message, message]
        await ws.send(message)
        await script.arrived.wait()
    assert script.messages == [message]


async def test_text_and_binary_are_kept_apart():
    script = Script()
    async with dial(script) as ws:
        script.endpoint.send(["", b"", "a", b"a"])
        assert [await ws.recv() for _ in range(4)] == ["", b"", "a", b"a"]
        for message in ("", b"", "a", b"a"):
            await ws.send(message)
    assert script.messages == ["", b"", "a", b"a"]


async def test_a_fragmented_message_arrives_whole():
    script = Script()
    async with dial(script) as ws:
        await ws.send(["one ", "two ", "é"])
        await ws.send([b"\x00", b"\xff"])
    assert script.messages == ["one two é", b"\x00\xff"]


async def test_a_ping_between_fragments_does_not_break_the_message():
    script = Script()

    async def parts():
        yield "before "
        await (await ws.ping())
        yield "after"

    async with dial(script) as ws:
        await ws.send(parts())
    assert script.messages == ["before after"]


async def test_pings_of_the_client_are_answered_by_the_protocol():
    script = Script()
    async with dial(script) as ws:
        assert await (await ws.ping(b"payload")) >= 0
    assert script.messages == []


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1000, "bye"), (4001, "bad key"), (1001, "away")])
async def test_the_client_s_close_is_told_once_with_code_and_reason(code, reason):
    script = Script()
    ws = await dial(script)
    await ws.close(code, reason)
    await ws.wait_closed()
    assert script.ends == [(code, reason)]


async def test_a_client_that_vanishes_ends_with_1006():
    script = Script()
    ws = await dial(script)
    ws.transport.abort()
    await script.over.wait()
    assert script.ends == [(1006, "")]
    await ws.wait_closed()


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1000, "done", ConnectionClosedOK),
        (1001, "", ConnectionClosedOK),
        (1011, "broken", ConnectionClosedError),
        (1012, "restart", ConnectionClosedError),
        (4900, "é", ConnectionClosedError),
    ],
)
async def test_a_close_reaches_the_client_with_code_and_reason_after_what_was_sent(code, reason, error):
    script = Script()
    async with dial(script) as ws:
        script.endpoint.send(["last"])
        script.endpoint.close(code, reason)
        script.endpoint.close(1000, "a second close is none")
        assert await ws.recv() == "last"
        with pytest.raises(error):
            await ws.recv()
    assert (ws.close_code, ws.close_reason) == (code, reason)
    assert script.ends == []


async def test_a_close_without_a_code_reaches_the_client_as_1005():
    script = Script()
    async with dial(script) as ws:
        script.endpoint.close(1005, "")
        with pytest.raises(ConnectionClosedOK):
            await ws.recv()
    assert ws.close_code == 1005


async def test_an_abort_reaches_the_client_without_a_close_frame_after_what_was_sent():
    script = Script()
    async with dial(script) as ws:
        script.endpoint.send(["last"] * 100)
        script.endpoint.abort()
        assert [await ws.recv() for _ in range(100)] == ["last"] * 100
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.rcvd, ws.close_code) == (None, 1006)
    assert script.ends == []


async def test_messages_after_the_endpoint_closed_are_told_apart():
    script = Script()
    async with dial(script) as ws:
        script.endpoint.close(1000, "")
        await ws.send("too late")
    assert (script.messages, script.late) == ([], ["too late"])


async def test_the_handshake_carries_subprotocol_and_headers():
    script = Script("v1", {"X-Session": "7"})
    async with dial(script, subprotocols=["v2", "v1"], additional_headers={"X-Mine": "1"}) as ws:
        assert ws.subprotocol == "v1"
        assert ws.response.headers["X-Session"] == "7"
    assert script.request.headers["X-Mine"] == "1"


async def test_no_subprotocol_is_chosen_that_was_not_offered():
    async with dial(Script("v3"), subprotocols=["v1"]) as ws:
        assert ws.subprotocol is None


@pytest.mark.parametrize("status", [401, 429, 503, 599])
async def test_a_rejection_reaches_the_client_with_status_headers_and_body(status):
    headers = {"Retry-After": "2", "Content-Length": "999", "Content-Encoding": "gzip"}
    with pytest.raises(InvalidStatus) as caught:
        await dial(Rejecting(status, headers, '{"error": "é"}'))
    response = caught.value.response
    assert (response.status_code, response.body.decode()) == (status, '{"error": "é"}')
    assert (response.headers["Retry-After"], response.headers["Content-Length"]) == ("2", "15")
    assert "Content-Encoding" not in response.headers


async def test_a_handshake_answered_after_the_client_gave_up_does_no_harm():
    class Late(Script):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            self.endpoint = endpoint

    script = Late()
    with pytest.raises(TimeoutError):
        await dial(script, open_timeout=0.01)
    await asyncio.sleep(0)
    script.endpoint.accept(None, {})
    script.endpoint.reject(401, {}, "")
    script.endpoint.close(1000, "")


async def test_the_client_s_own_limit_of_message_size_applies():
    script = Script()
    async with dial(script, max_size=100) as ws:
        script.endpoint.send(["x" * 101])
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.sent.code == 1009
    assert [code for code, _ in script.ends] == [1009]


async def test_a_slow_reader_stops_the_writing_and_goes_on():
    script = Script()
    async with dial(script, max_queue=4) as ws:
        sent = 0
        while script.endpoint.writing:
            script.endpoint.send(["x" * 10_000])
            sent += 1
            await asyncio.sleep(0)
            assert sent < 10_000
        assert not script.resumed.is_set()
        for _ in range(sent):
            await ws.recv()
        await script.resumed.wait()
        assert script.endpoint.writing


async def test_bytes_that_are_no_handshake_end_the_connection():
    import socket

    script = Script()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: Endpoint(script), sock=ours)
    try:
        await loop.sock_sendall(theirs, b"garbage\r\n\r\n")
        answer = await asyncio.wait_for(loop.sock_recv(theirs, 65_536), 5)
    finally:
        theirs.close()
        transport.abort()
        await asyncio.sleep(0)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""


class Wiretap(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """There is nothing to tell it."""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_a_close_that_crosses_the_client_s_own_is_answered_by_it():
    class Closing(Script):
        def received(self, message: Payload) -> None:
            super().received(message)
            self.endpoint.close(1012, "restart")

    script, tap = Closing(), Wiretap()
    endpoint = Endpoint(script)
    endpoint.connection_made(tap)
    endpoint.data_received(handshake())
    endpoint.data_received(masked(b"bye") + masked(b"\x03\xe8", 0x88))
    assert framed(tap.written.partition(b"\r\n\r\n")[2], "nothing") == ([], "CLOSE 1012 restart")
    assert (script.messages, script.ends, tap.closed) == (["bye"], [], True)


@pytest.mark.parametrize("by", ["the client", "the server", "nobody"])
async def test_an_end_that_is_timed_is_not_waited_for_once_the_connection_is_gone(monkeypatch, by):
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def noted(*args: object) -> asyncio.TimerHandle:
        timers.append(call_later(*args))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    faults, script = Faults(), Script()
    faults.drop_after(seconds=3600)
    endpoint = Endpoint(script)
    endpoint.connection_made(Wiretap())
    endpoint.disturb(faults.connection())
    endpoint.data_received(handshake())
    assert [timer.cancelled() for timer in timers] == [False]
    if by == "the client":
        endpoint.data_received(masked(b"\x03\xe8", 0x88))
    elif by == "the server":
        endpoint.close(1000, "")
    endpoint.connection_lost(None)
    assert [timer.cancelled() for timer in timers] == [True]
    assert (faults.happened(), faults.pending()) == ([], 0)
