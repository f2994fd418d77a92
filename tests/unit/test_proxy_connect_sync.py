"""The stand-in for ``websockets.sync.client.connect``: recorded through the relay, and replayed, in threads."""

from __future__ import annotations

import http
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus, InvalidURI, SecurityError
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection

from pytest_connex.background import BackgroundLoop
from pytest_connex.cassette.events import Closed, Dial, Event, Open, Received, Refused, Rejected, Sent
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError, CassetteMismatch
from pytest_connex.proxy.connect_sync import sync_connector
from pytest_connex.proxy.relay import RelayDialler
from pytest_connex.proxy.replay import ReplayDialler
from pytest_connex.secrets.redaction import Redactor

from .conftest import URL, Tape, write_tape
from .desk import Desk
from .doorway import Answers, Doorway

Talk = Callable[[ServerConnection], Awaitable[None]]
Connect = Callable[..., ClientConnection]
Answered = Callable[[Answers], Connect]


class Studio:
    """Records what passes between a client and a real server into a list."""

    def __init__(self, background: BackgroundLoop, answered_by: Answered, talk: Talk, **options: object) -> None:
        self.background = background
        self.events: list[Event] = []
        self.server = background.run(_listen(talk, options))
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        self.recorder = Recorder(
            self.events.append, self.events.extend, Redactor({}), lambda url: url.replace(self.url, URL)
        )
        self.dialler = RelayDialler(self.recorder)
        self.connect = answered_by(self.dialler.behaviour)

    def stop(self) -> list[Event]:
        """Close the server, and return what was recorded."""
        self.background.run(_close(self.server))
        self.background.run(self.dialler.stop_here())
        self.recorder.finish()
        return self.events


async def _listen(talk: Talk, options: dict[str, object]) -> Server:
    return await serve(talk, "127.0.0.1", 0, **options)


async def _close(server: Server) -> None:
    server.close()
    await server.wait_closed()


class Stand:
    """Replays a file."""

    def __init__(self, answered_by: Answered, path: Path, strict: bool = False) -> None:
        self.verdicts: list[CassetteError] = []
        self.player = Player(Recording(path), Rules((), Redactor({}), strict=strict))
        self.connect = answered_by(ReplayDialler(self.player, 5, self.verdicts.append).behaviour)


Record = Callable[..., Studio]
Play = Callable[..., Stand]


@pytest.fixture
def answered_by(background: BackgroundLoop) -> Iterator[Answered]:
    """Return a connect whose dials are answered in the background."""
    doorways: list[Doorway] = []

    def make(answers: Answers) -> Connect:
        doorways.append(Doorway(answers))
        background.run(doorways[-1].open())
        return sync_connector(doorways[-1], lambda: None)

    yield make
    for doorway in doorways:
        background.run(doorway.close())


@pytest.fixture
def studio(background: BackgroundLoop, answered_by: Answered) -> Iterator[Record]:
    made: list[Studio] = []

    def make(talk: Talk, **options: object) -> Studio:
        made.append(Studio(background, answered_by, talk, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def play(answered_by: Answered, tmp_path: Path) -> Play:
    """Replay events, or what a tape holds."""

    def make(events: list[Event] | Tape, strict: bool = False) -> Stand:
        tape = events if isinstance(events, Tape) else Tape()
        if isinstance(events, list):
            tape.events = events
        return Stand(answered_by, write_tape(tmp_path / "tape.ws.jsonl", tape), strict)

    return make


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def greet(ws: ServerConnection) -> None:
    """Answer with who has asked, twice, and close."""
    who = await ws.recv()
    await ws.send(f"hello {who}")
    await ws.send(b"bye " + who.encode())
    await ws.close(1012, "restart")


def conversation(connect: Connect, url: str, who: str = "me") -> list[str | bytes | int | None]:
    with connect(url) as ws:
        ws.send(who)
        said: list[str | bytes | int | None] = [ws.recv(timeout=5), ws.recv(timeout=5)]
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=5)
    return [*said, ws.close_code, ws.close_reason]


def test_a_conversation_is_recorded_and_replays(studio, play):
    live = studio(greet)
    heard = conversation(live.connect, live.url)
    assert heard == ["hello me", b"bye me", 1012, "restart"]
    events = live.stop()
    assert [type(event) for event in events] == [Dial, Open, Sent, Received, Received, Closed]
    assert events[0].url == URL

    replay = play(events, strict=True)
    assert conversation(replay.connect, URL) == heard
    assert (replay.verdicts, replay.player.unplayed()) == ([], None)


def test_the_client_is_the_original_s(studio):
    live = studio(echo)
    with live.connect(live.url, ping_interval=None) as ws:
        assert isinstance(ws, ClientConnection)
        ws.send(["one ", "two"])
        assert ws.recv(timeout=5) == "one two"
    assert live.stop()[-1] == Closed(1, live.events[-1].at, "client", 1000)


def test_threads_at_once_each_get_their_own_frames(studio, play):
    def together(connect: Connect, url: str) -> list[list[str | bytes | int | None]]:
        barrier = Barrier(3)

        def one(number: int) -> list[str | bytes | int | None]:
            barrier.wait(5)
            return conversation(connect, f"{url}{number}", f"thread {number}")

        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(one, range(3)))

    expected = [[f"hello thread {n}", b"bye thread %d" % n, 1012, "restart"] for n in range(3)]
    live = studio(greet)
    assert together(live.connect, live.url) == expected
    replay = play(live.stop(), strict=True)
    assert together(replay.connect, URL) == expected
    assert (replay.verdicts, replay.player.unplayed()) == ([], None)


def refused(connect: Connect, url: str) -> tuple[int, str | None, bytes]:
    with pytest.raises(InvalidStatus) as caught:
        connect(url)
    response = caught.value.response
    return response.status_code, response.headers.get("Retry-After"), response.body


def test_a_rejected_handshake_is_recorded_and_replays_with_its_body(studio, play):
    def reject(ws: ServerConnection, request: Request) -> Response:
        body = b'{"error": "slow down"}'
        return Response(429, "", Headers({"Retry-After": "2", "Content-Length": str(len(body))}), body)

    live = studio(echo, process_request=reject)
    assert refused(live.connect, live.url) == (429, "2", b'{"error": "slow down"}')
    events = live.stop()
    assert events[1:] == [
        Rejected(1, events[1].at, 429, {"Retry-After": "2"}, '{"error": "slow down"}', reason=events[1].reason)
    ]

    replay = play(events)
    assert refused(replay.connect, URL) == (429, "2", b'{"error": "slow down"}')
    assert (replay.verdicts, replay.player.unplayed()) == ([], None)


def test_a_refused_dial_is_recorded_and_replays(studio, play):
    live = studio(echo)
    live.stop()
    with pytest.raises(ConnectionRefusedError) as recorded:
        live.connect(live.url)
    assert isinstance(live.events[1], Refused)
    assert live.events[1].errno == recorded.value.errno

    replay = play(live.events)
    with pytest.raises(ConnectionRefusedError) as replayed:
        replay.connect(URL)
    assert (replayed.value.errno, replay.verdicts) == (recorded.value.errno, [])


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, ""), (1011, "broken"), (4001, "bad key")])
def test_a_close_of_the_server_replays_with_code_and_reason(studio, play, code, reason):
    async def talk(ws: ServerConnection) -> None:
        await ws.close(code, reason)

    def ending(connect: Connect, url: str) -> tuple[int | None, str | None]:
        with connect(url) as ws:
            with pytest.raises(ConnectionClosed):
                ws.recv(timeout=5)
        return ws.close_code, ws.close_reason

    live = studio(talk)
    assert ending(live.connect, live.url) == (code, reason)
    events = live.stop()
    assert events[-1] == Closed(1, events[-1].at, "server", code, reason)
    assert ending(play(events).connect, URL) == (code, reason)


def test_an_abort_of_the_server_replays_without_a_close_frame(studio, play):
    async def talk(ws: ServerConnection) -> None:
        await ws.recv()
        ws.transport.abort()

    def ending(connect: Connect, url: str) -> tuple[object, int | None]:
        with connect(url) as ws:
            ws.send("go")
            with pytest.raises(ConnectionClosedError) as caught:
                ws.recv(timeout=5)
        return caught.value.rcvd, ws.close_code

    live = studio(talk)
    assert ending(live.connect, live.url) == (None, 1006)
    events = live.stop()
    assert events[-1] == Closed(1, events[-1].at, "network", 1006)
    assert ending(play(events).connect, URL) == (None, 1006)


def test_a_mismatch_closes_with_a_code_of_its_own(play, tape):
    replay = play(tape.connection(("sent", "one"), ("received", "1")))
    with replay.connect(URL) as ws:
        ws.send("two")
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(timeout=5)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
        4900,
        "CassetteMismatch: see the report of the test",
    )
    [verdict] = replay.verdicts
    assert type(verdict) is CassetteMismatch
    assert verdict.line == 4


def test_a_dial_that_is_not_recorded_is_answered_with_the_verdict(play, tape):
    replay = play(tape.connection())
    with pytest.raises(InvalidStatus) as caught:
        replay.connect("wss://ws.connex.invalid/other")
    [verdict] = replay.verdicts
    assert (caught.value.response.status_code, caught.value.response.body.decode()) == (501, str(verdict))


def test_strict_counts_what_is_read(play, tape):
    replay = play(tape.connection(("received", "1"), ("received", "2")), strict=True)
    with replay.connect(URL) as ws:
        assert ws.recv(timeout=5) == "1"
    assert "  line 6: 1 received messages were never read on connection 1" in str(replay.player.unplayed())


def test_strict_is_content_when_all_is_read(play, tape):
    replay = play(tape.connection(("received", "1"), ("received", "2")), strict=True)
    with replay.connect(URL) as ws:
        assert [ws.recv(timeout=5), ws.recv(timeout=5)] == ["1", "2"]
    assert replay.player.unplayed() is None


def test_a_connection_class_of_the_test_s_own_counts_too(play, tape):
    class Mine(ClientConnection):
        pass

    replay = play(tape.connection(("received", "1"), by="server"), strict=True)
    with replay.connect(URL, create_connection=Mine) as ws:
        assert isinstance(ws, Mine)
        assert list(ws) == ["1"]
    assert replay.player.unplayed() is None


def test_the_client_s_limits_apply(studio):
    live = studio(echo)
    with live.connect(live.url, max_size=10) as ws:
        ws.send("x" * 11)
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=5)
    assert (ws.protocol.close_sent.code, live.stop()[-1].code) == (1009, 1009)


# --- The way to the server -------------------------------------------------------------------------------


@pytest.fixture
def dial(answered_by: Answered) -> Callable[..., ClientConnection]:
    return lambda desk, url, **options: answered_by(desk.behaviour)(url, **options)


def test_the_proxy_is_dialled_and_tls_and_the_way_to_the_server_are_dropped(dial):
    desk = Desk()
    options = {"address": ("192.0.2.1", 1), "source_address": ("192.0.2.2", 0), "timeout": 0.001, "proxy": None}
    with dial(desk, "wss://user.example:443/x", server_hostname="y", **options) as ws:
        assert ws.recv(timeout=5) == "you are at /x"
    assert desk.dials == ["wss://user.example:443/x"]
    assert desk.options == [{"server_hostname": "y", "proxy": None}]


def test_nothing_that_is_written_waits_for_a_receipt(dial):
    with dial(Desk(), URL) as ws:
        assert ws.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_redirects_are_followed_and_each_is_a_dial(dial):
    desk = Desk({URL: "/b", f"{URL}b": "wss://other.example/c"})
    with dial(desk, URL) as ws:
        assert ws.recv(timeout=5) == "you are at /c"
    assert desk.dials == [URL, f"{URL}b", "wss://other.example/c"]


def test_a_circle_of_redirects_ends(dial):
    desk = Desk({URL: URL})
    with pytest.raises(SecurityError, match="more than 10 redirects"):
        dial(desk, URL)
    assert len(desk.dials) == 10


def test_a_redirect_of_the_server_is_recorded_and_followed_by_the_client(studio, play):
    def moved(ws: ServerConnection, request: Request) -> Response | None:
        if request.path == "/new":
            return None
        return Response(http.HTTPStatus.FOUND, "", Headers({"Location": "/new", "Content-Length": "0"}))

    live = studio(greet, process_request=moved)
    heard = conversation(live.connect, live.url)
    events = live.stop()
    assert [type(event) for event in events[:4]] == [Dial, Rejected, Dial, Open]
    replay = play(events, strict=True)
    assert conversation(replay.connect, URL) == heard
    assert (replay.verdicts, replay.player.unplayed()) == ([], None)


def test_a_redirect_that_a_recording_holds_is_followed(play, tape):
    tape.rejected(tape.dial(), 302, {"Location": "/new"}, "")
    replay = play(tape.connection(("received", "1"), url=f"{URL}new", by="server"), strict=True)
    with replay.connect(URL) as ws:
        assert list(ws) == ["1"]
    assert (ws.request.path, replay.verdicts, replay.player.unplayed()) == ("/new", [], None)


@pytest.mark.parametrize("url", ["https://ws.connex.invalid/", "nonsense"])
def test_what_is_no_websocket_url_is_the_original_s_error(dial, url):
    with pytest.raises(InvalidURI):
        dial(Desk(), url)
