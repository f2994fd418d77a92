"""The real client through the relay to a real server, and what is recorded of it."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus, SecurityError
from websockets.http11 import Request, Response

from pytest_connex.cassette.events import Closed, Dial, Event, Open, Payload, Received, Refused, Rejected, Sent
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.proxy.relay import Between, Relay, RelayDialler
from pytest_connex.proxy.replay import ReplayDialler
from pytest_connex.secrets.redaction import Redactor

from .conftest import HEADER
from .doorway import connects

KEY = "AKfYcbwXYZ0123456789abcd"


class Studio:
    """Records into a list."""

    def __init__(self, url: str, **upstream: object) -> None:
        self.url = url
        self.events: list[Event] = []
        redactor = Redactor({KEY: "connex-recorded-key"})
        self.recorder = Recorder(
            self.events.append, self.events.extend, redactor, lambda url: url.replace(self.url, "wss://h/")
        )
        self.dialler = RelayDialler(self.recorder)
        self.connect = connects(self.dialler.behaviour)

    def payloads(self, kind: type[Sent] | type[Received]) -> list[Payload]:
        return [event.payload for event in self.events if type(event) is kind]

    async def closed(self) -> Closed:
        """Wait until the end of a connection is recorded."""
        while not isinstance(self.events[-1], Closed):
            await asyncio.sleep(0)
            self.recorder.check()
        return self.events[-1]


Talk = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def exchange(talk: Talk, **options: object):
    async with serve(talk, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        studio = Studio(f"ws://127.0.0.1:{port}/")
        try:
            yield studio
        finally:
            await studio.dialler.stop_here()


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


def silent_until(gone: asyncio.Event) -> Talk:
    """Say nothing, and tell when the connection has ended."""

    async def talk(ws: ServerConnection) -> None:
        await ws.wait_closed()
        gone.set()

    return talk


@pytest.mark.parametrize("message", ["text", "", "é鍵", b"\x00\xff", b"", "x" * (1 << 20), b"\x01" * (1 << 20)])
async def test_messages_pass_in_both_directions_and_are_recorded(message):
    async with exchange(echo, max_size=None) as studio:
        async with studio.connect(studio.url, max_size=None) as ws:
            await ws.send(message)
            assert await ws.recv() == message
        assert await studio.closed() == Closed(1, studio.events[-1].at, "client", 1000)
    assert [type(event) for event in studio.events] == [Dial, Open, Sent, Received, Closed]
    assert studio.payloads(Sent) == studio.payloads(Received) == [message]
    assert studio.events[0].url == "wss://h/"


async def test_a_fragmented_message_is_one_message():
    async with exchange(echo) as studio:
        async with studio.connect(studio.url) as ws:
            await ws.send(["one ", "two"])
            assert await ws.recv() == "one two"
    assert studio.payloads(Sent) == ["one two"]


async def test_what_reaches_the_client_and_the_server_is_not_redacted_and_what_is_recorded_is():
    async with exchange(echo) as studio:
        async with studio.connect(studio.url) as ws:
            await ws.send(KEY)
            assert await ws.recv() == KEY
    assert studio.payloads(Sent) == studio.payloads(Received) == ["connex-recorded-key"]
    assert KEY not in repr(studio.events)


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, ""), (1011, "broken"), (4001, "bad key")])
async def test_a_close_of_the_server_passes_with_code_and_reason(code, reason):
    async def talk(ws: ServerConnection) -> None:
        await ws.send("last")
        await ws.close(code, reason)

    async with exchange(talk) as studio:
        async with studio.connect(studio.url) as ws:
            assert await ws.recv() == "last"
            with pytest.raises(ConnectionClosed):
                await ws.recv()
    assert (ws.close_code, ws.close_reason) == (code, reason)
    ending = studio.events[-1]
    assert (ending.by, ending.code, ending.reason) == ("server", code, reason)


async def test_an_abort_of_the_server_passes_without_a_close_frame():
    async def talk(ws: ServerConnection) -> None:
        await ws.recv()
        ws.transport.abort()

    async with exchange(talk) as studio:
        async with studio.connect(studio.url) as ws:
            await ws.send("go")
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
    assert (caught.value.rcvd, ws.close_code) == (None, 1006)
    assert (studio.events[-1].by, studio.events[-1].code) == ("network", 1006)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "away"), (4000, "mine")])
async def test_a_close_of_the_client_reaches_the_server(code, reason):
    seen = asyncio.get_running_loop().create_future()

    async def talk(ws: ServerConnection) -> None:
        await ws.wait_closed()
        seen.set_result((ws.close_code, ws.close_reason))

    async with exchange(talk) as studio:
        ws = await studio.connect(studio.url)
        await ws.close(code, reason)
        assert await asyncio.wait_for(seen, 5) == (code, reason)
    ending = studio.events[-1]
    assert (ending.by, ending.code, ending.reason) == ("client", code, reason)


async def test_messages_sent_just_before_the_close_reach_the_server():
    seen: list[str] = []
    done = asyncio.Event()

    async def talk(ws: ServerConnection) -> None:
        async for message in ws:
            seen.append(message)
        done.set()

    async with exchange(talk) as studio:
        async with studio.connect(studio.url) as ws:
            for number in range(100):
                await ws.send(str(number))
        await asyncio.wait_for(done.wait(), 5)
    assert seen == studio.payloads(Sent) == [str(number) for number in range(100)]


async def test_a_client_that_vanishes_takes_its_connection_to_the_server_along():
    gone = asyncio.Event()
    async with exchange(silent_until(gone)) as studio:
        ws = await studio.connect(studio.url)
        ws.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)
        await ws.wait_closed()
    assert (studio.events[-1].by, studio.events[-1].code) == ("client", 1006)


@pytest.mark.parametrize("status", [401, 429])
async def test_a_rejected_handshake_passes_with_headers_and_body(status):
    def reject(ws: ServerConnection, request: object) -> Response:
        body = b'{"error": "no"}'
        headers = Headers({"Retry-After": "2", "Content-Length": str(len(body))})
        return Response(status, http.HTTPStatus(status).phrase, headers, body)

    async with exchange(echo, process_request=reject) as studio:
        with pytest.raises(InvalidStatus) as caught:
            await studio.connect(studio.url)
    response = caught.value.response
    assert (response.status_code, response.body, response.headers["Retry-After"]) == (status, b'{"error": "no"}', "2")
    phrase = http.HTTPStatus(status).phrase
    assert response.reason_phrase == phrase
    assert studio.events[1] == Rejected(
        1, studio.events[1].at, status, {"Retry-After": "2"}, '{"error": "no"}', reason=phrase
    )


async def test_a_refused_dial_passes_and_is_recorded():
    async with exchange(echo) as studio:
        pass
    with pytest.raises(ConnectionRefusedError) as caught:
        await studio.connect(studio.url)
    event = studio.events[1]
    assert isinstance(event, Refused)
    assert (event.error, event.errno) == ("ConnectionRefusedError", caught.value.errno)


async def test_a_server_that_speaks_no_websocket_fails_the_dial_and_is_recorded_as_refused():
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garble, "127.0.0.1", 0)
    async with server:
        studio = Studio(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(ConnectionAbortedError, match=r"InvalidMessage|invalid HTTP status line"):
            await studio.connect(studio.url)
    assert studio.events[1].error == "ConnectionAbortedError"
    assert "HTTP" in studio.events[1].message


async def test_subprotocol_and_headers_pass_in_both_directions():
    seen: list[str] = []

    async def talk(ws: ServerConnection) -> None:
        seen.append(ws.request.headers["X-Mine"])

    def extra(ws: ServerConnection, request: object, response: Response) -> None:
        response.headers["X-Session"] = "7"

    async with exchange(talk, subprotocols=["v1"], process_response=extra) as studio:
        async with studio.connect(
            studio.url, subprotocols=["v2", "v1"], additional_headers={"X-Mine": "1", "Authorization": "Bearer x"}
        ) as ws:
            assert (ws.subprotocol, ws.response.headers["X-Session"]) == ("v1", "7")
            await ws.wait_closed()
    assert seen == ["1"]
    dial, opened = studio.events[:2]
    assert dial.subprotocols == ["v2", "v1"]
    assert dial.headers == {"X-Mine": "1", "Authorization": "connex-recorded-authorization"}
    assert (opened.subprotocol, opened.headers) == ("v1", {"X-Session": "7"})


async def test_pings_of_the_client_are_answered_and_not_recorded():
    async with exchange(echo) as studio:
        async with studio.connect(studio.url) as ws:
            assert await (await ws.ping()) >= 0
        await studio.closed()
    assert [type(event) for event in studio.events] == [Dial, Open, Closed]


async def test_frames_that_arrive_after_the_client_s_close_are_not_recorded():
    over = asyncio.Event()

    async def talk(ws: ServerConnection) -> None:
        try:
            while True:
                await ws.send("tick")
                await asyncio.sleep(0)
        except ConnectionClosed:
            over.set()

    async with exchange(talk) as studio:
        async with studio.connect(studio.url) as ws:
            await ws.recv()
        await studio.closed()
        await asyncio.wait_for(over.wait(), 5)
    assert isinstance(studio.events[-1], Closed)


async def test_a_slow_reader_holds_the_server_back_and_gets_everything():
    count = 20_000

    async def talk(ws: ServerConnection) -> None:
        for number in range(count):
            await ws.send(f"{number:05} {'x' * 100}")
        await ws.wait_closed()

    async with exchange(talk, compression=None) as studio:
        async with studio.connect(studio.url, max_queue=2) as ws:
            first = await ws.recv()
            await asyncio.sleep(0.05)
            recorded_meanwhile = len(studio.events)
            frames = [first, *[await ws.recv() for _ in range(count - 1)]]
    assert [int(frame[:5]) for frame in frames] == list(range(count))
    assert studio.payloads(Received) == frames
    assert recorded_meanwhile < count


async def test_stopping_gives_up_what_is_open_at_once():
    gone = asyncio.Event()
    async with exchange(silent_until(gone)) as studio:
        ws = await studio.connect(studio.url)
        await studio.dialler.stop_here()
        await asyncio.wait_for(gone.wait(), 5)
        studio.recorder.finish()
        ws.transport.abort()
        await ws.wait_closed()
    assert [type(event) for event in studio.events] == [Dial, Open, Closed]


async def test_what_the_relay_recorded_replays(tmp_path: Path):
    path = tmp_path / "tape.ws.jsonl"
    writer = CassetteWriter(path, HEADER, Redactor({}))

    async def session(connect: type[websockets_connect], url: str) -> list[Payload]:
        frames: list[Payload] = []
        for symbol in ("x", b"\x00y"):
            async with connect(url) as ws:
                await ws.send(symbol)
                frames += [await ws.recv(), await ws.recv()]
                with pytest.raises(ConnectionClosedError):
                    await ws.recv()
            frames.append(f"{ws.close_code} {ws.close_reason}")
        return frames

    async def talk(ws: ServerConnection) -> None:
        message = await ws.recv()
        await ws.send(message)
        await ws.send(message * 2)
        await ws.close(1012, "restart")

    async with exchange(talk) as studio:
        recorded = await session(studio.connect, studio.url)
    for event in studio.events:
        writer.write(event)
    writer.finish()
    writer.commit()

    player = Player(Recording(path), Rules((), Redactor({}), strict=True))
    verdicts: list[object] = []
    assert await session(connects(ReplayDialler(player, 5, verdicts.append).behaviour), "wss://h/") == recorded
    assert (verdicts, player.unplayed()) == ([], None)


@pytest.mark.parametrize(("elsewhere", "key"), [(False, KEY), (True, None)])
async def test_a_redirect_to_another_origin_carries_none_of_the_headers_of_the_client(elsewhere, key):
    seen: list[str | None] = []

    def note(ws: ServerConnection, request: Request) -> None:
        seen.append(request.headers.get("X-CONNEX-API-KEY"))

    def moved(ws: ServerConnection, request: Request) -> Response | None:
        note(ws, request)
        headers = Headers({"Location": f"{other}new", "Content-Length": "0"})
        return None if request.path == "/new" else Response(http.HTTPStatus.FOUND, "", headers)

    async with exchange(echo, process_request=note) as there, exchange(echo, process_request=moved) as studio:
        other = there.url if elsewhere else "/"
        async with studio.connect(studio.url, additional_headers={"X-CONNEX-API-KEY": KEY}) as ws:
            await ws.send("a")
            assert await ws.recv() == "a"
    assert seen == [KEY, key]


async def test_redirects_to_and_fro_between_origins_end():
    seen: list[str] = []
    ways: dict[str, str] = {}

    def moved(ws: ServerConnection, request: Request) -> Response:
        seen.append(request.headers["Host"])
        headers = Headers({"Location": ways[request.headers["Host"]], "Content-Length": "0"})
        return Response(http.HTTPStatus.FOUND, "", headers)

    async with exchange(echo, process_request=moved) as there, exchange(echo, process_request=moved) as here:
        hosts = [studio.url.removeprefix("ws://").rstrip("/") for studio in (there, here)]
        ways = dict(zip(hosts, (here.url, there.url), strict=True))
        with pytest.raises(SecurityError, match="more than 10 redirects"):
            await here.connect(here.url)
    assert seen == [hosts[1], hosts[0]] * 5


# --- Whose tape it is ------------------------------------------------------------------------------------


async def test_what_passes_after_a_turn_is_told_somebody_else_by_another_number():
    relays: list[Relay] = []
    async with exchange(echo) as studio:
        other = Studio(studio.url)
        connect = connects(lambda url, dial: relays.append(studio.dialler.behaviour(url, dial)) or relays[-1])
        async with connect(studio.url) as ws:
            await ws.send("one")
            await ws.recv()
            conn = [other.recorder.dial(0.0, other.url), other.recorder.joined(0.0, other.url, "f", 1)][-1]
            relays[0].turn_to(other.recorder, conn)
            await ws.send("two")
            await ws.recv()
        studio.recorder.flush()
    assert studio.payloads(Sent) == studio.payloads(Received) == ["one"]
    told = [event for event in other.events if isinstance(event, Sent | Received)]
    assert [(event.conn, event.payload) for event in told] == [(conn, "two")] * 2
    assert other.events[-1].by == "client"


def test_what_happens_between_two_is_told_the_next_in_order_and_once():
    used: list[str] = []
    between, events = Between(lambda: used.append("used")), []
    recorder = Recorder(events.append, events.extend, Redactor({}), str)
    conn = recorder.joined(0.0, "wss://h/", "f", 1)
    between.received(0, 1.0, "tick")
    assert used == []
    between.sent(0, 2.0, "a")
    assert used == ["used"]
    between.tell(recorder, conn, 5.0)
    between.tell(recorder, conn, 6.0)
    recorder.finish()
    told = [event for event in events if isinstance(event, Sent | Received)]
    assert told == [Received(conn, told[0].at, "tick"), Sent(conn, told[1].at, "a")]
    assert round(told[0].at) == round(told[1].at) == 5
