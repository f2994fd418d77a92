"""What sets these recordings apart, row by row: one test for each thing that other recorders lack or half have.

Clients that do not run in this process, and the comparison of recorded frames with live ones, are left out here.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.http11 import Request
from websockets.protocol import State
from websockets.sync.client import ClientConnection as SyncConnection

from pytest_connex.background import BackgroundLoop
from pytest_connex.cassette.events import Closed, Event, Open, Payload, Received, Refused, Rejected, Sent
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import CassetteExhausted, CassetteMismatch, SecretFound
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.connect_sync import sync_connector
from pytest_connex.proxy.replay import ReplayDialler
from pytest_connex.secrets.redaction import Redactor

from ..fuzz.stage import Connect, Replayed, Server, record, replay
from ..plugin.conftest import BOTH, Project
from .conftest import HEADER, URL, Tape, write_and_finish, write_tape
from .doorway import Doorway

DIALECT = Dialect()
SECRET = "s3cr3t/with+special=chars=="

Session = Callable[[Connect], Awaitable[Any]]


class Talks:
    """A server that accepts and talks, or rejects."""

    def __init__(self, talk: Callable[[Server], Awaitable[None]] | None) -> None:
        self._talk = talk

    async def handshake(self, server: Server, request: Request) -> bool:
        if self._talk is None:
            server.reject(429, {"Retry-After": "2"}, "slow down")
            return False
        server.accept(request, {})
        return True

    async def talk(self, server: Server) -> None:
        assert self._talk is not None
        await self._talk(server)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tape.ws.jsonl"


@pytest.fixture
def project(pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(pytester, tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project whose two tests, one of HTTP and one of WebSocket, are recorded."""
    project.test(BOTH)
    project.record()
    return project


def on_tape(path: Path, tape: Tape, session: Session, **options: Any) -> Replayed:
    return replay(write_tape(path, tape), session, volatile=DIALECT.volatile_paths, **options)


def events_of(path: Path) -> list[Event]:
    return [event for connection in Recording(path).connections for _, event in connection.events()]


async def echo(server: Server) -> None:
    for number in range(1, 100):
        await server.has_heard(number)
        server.send(server.heard[-1])


async def close_code(connect: Connect) -> tuple[int | None, str | None]:
    async with connect(URL) as ws:
        with pytest.raises(ConnectionClosed):
            await ws.recv()
    return ws.close_code, ws.close_reason


def test_websocket_record_and_replay(path: Path) -> None:
    async def session(connect: Connect) -> list[Payload]:
        async with connect(URL) as ws:
            await ws.send("subscribe")
            return [await ws.recv()]

    assert record(path, session, lambda options: Server(Talks(echo))) == ["subscribe"]
    replayed = replay(path, session)
    assert (replayed.result, replayed.verdicts, replayed.unplayed) == (["subscribe"], [], None)


def test_clients_on_replay(path: Path) -> None:
    """Those of this process: the asynchronous client, and the blocking one."""
    tape = Tape().connection(("sent", "a"), ("received", "1"))

    async def session(connect: Connect) -> Payload:
        async with connect(URL) as ws:
            await ws.send("a")
            return await ws.recv()

    assert on_tape(path, tape, session).result == "1"

    background = BackgroundLoop("connex-connections")
    background.start()
    player = Player(Recording(path), Rules((), Redactor({})))
    doorway = Doorway(ReplayDialler(player, 5, pytest.fail).behaviour)
    background.run(doorway.open())
    try:
        with sync_connector(doorway, lambda: None)(URL) as ws:
            ws.send("a")
            assert (ws.recv(), isinstance(ws, SyncConnection)) == ("1", True)
        background.run(doorway.close())
    finally:
        background.stop()
    assert player.unplayed() is None


def test_the_real_client_runs_on_replay(path: Path) -> None:
    """Its connection, its state, its pings and its limits are websockets' own."""
    tape = Tape().connection(("received", "small"), ("sent", "more"), ("received", "x" * 200), code=1009)

    async def session(connect: Connect) -> None:
        ws = await connect(URL, max_size=100)
        assert (isinstance(ws, ClientConnection), ws.state) == (True, State.OPEN)
        assert await (await ws.ping()) >= 0
        assert await ws.recv() == "small"
        await ws.send("more")
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert caught.value.sent is not None
        assert (caught.value.sent.code, ws.state) == (1009, State.CLOSED)

    assert on_tape(path, tape, session).verdicts == []


@pytest.mark.parametrize(
    ("says", "fits"),
    [('{"depth":1.10,"action":"go"}', True), ('{"action": "go", "depth": 1.1}', False), ("go", False)],
)
def test_checks_what_the_client_sends(path: Path, says: str, fits: bool) -> None:
    async def session(connect: Connect) -> int | None:
        async with connect(URL) as ws:
            await ws.send(says)
            await ws.wait_closed()
        return ws.close_code

    tape = Tape().connection(("sent", '{"action": "go", "depth": 1.10}'), by="server", code=1001)
    replayed = on_tape(path, tape, session)
    assert replayed.result == (1001 if fits else 4900)
    assert [type(verdict) for verdict in replayed.verdicts] == ([] if fits else [CassetteMismatch])


def test_volatile_fields(path: Path) -> None:
    """Nonce and signature may be anything; an id comes back as it was sent in this run."""

    def message(data: str, number: int) -> str:
        return json.dumps({"id": number, "data": {"nonce": data, "signature": data}, "symbol": "ETH/USDT"})

    async def session(connect: Connect) -> Payload:
        async with connect(URL) as ws:
            await ws.send(message("new", 8))
            return await ws.recv()

    tape = Tape().connection(("sent", message("old", 7)), ("received", '{"id": 7, "depth": 7}'))
    replayed = on_tape(path, tape, session)
    assert (replayed.result, replayed.verdicts) == ('{"id": 8, "depth": 7}', [])


def test_causal_order(path: Path) -> None:
    """What was received after a message never comes before it, also on another connection."""
    tape = Tape()
    orders, fills = tape.dial(f"{URL}orders"), tape.dial(f"{URL}fills")
    tape.opened(orders).opened(fills).sent(orders, "buy").received(orders, "ok").received(fills, "filled")
    tape.closed(orders).closed(fills)

    async def session(connect: Connect) -> list[Payload]:
        async with connect(f"{URL}orders") as orders, connect(f"{URL}fills") as fills:
            for ws in (orders, fills):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(ws.recv(), 1)
            await orders.send("buy")
            return [await orders.recv(), await fills.recv()]

    assert on_tape(path, tape, session).result == ["ok", "filled"]


def test_wait_bounded_and_progress_printed(path: Path) -> None:
    """A client that waits for more than there is fails in time, and is told how far it has come."""
    tape = Tape().connection(("sent", "subscribe"), ("received", "1"), ("sent", "more"), ("received", "2"))

    async def session(connect: Connect) -> float:
        async with connect(URL) as ws:
            await ws.send("subscribe")
            await ws.recv()
            before = asyncio.get_running_loop().time()
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            return asyncio.get_running_loop().time() - before

    replayed = on_tape(path, tape, session, timeout=2.0)
    assert replayed.result == pytest.approx(2.0, abs=0.01)
    [verdict] = replayed.verdicts
    assert type(verdict) is CassetteExhausted
    assert str(verdict) == (
        f"{path}:6: the client waits on connection 1, where the recording has nothing more to deliver before the "
        "client sends 'more'\nwaited 2 s longer than recorded (connex_replay_timeout)"
    )


def test_several_connections_at_once(path: Path) -> None:
    """Identical code in several tasks: each gets its own frames, whichever dials first."""
    tape = Tape()
    conns = {symbol: tape.dial() for symbol in "abc"}
    for conn in reversed(conns.values()):
        tape.opened(conn)
    for number in range(20):
        for symbol, conn in conns.items():
            if number == 0:
                tape.sent(conn, symbol)
            tape.received(conn, f"{symbol}{number}")
    for conn in conns.values():
        tape.closed(conn)

    async def follow(connect: Connect, symbol: str) -> list[Payload]:
        async with connect(URL) as ws:
            await ws.send(symbol)
            return [await ws.recv() for _ in range(20)]

    async def session(connect: Connect) -> list[list[Payload]]:
        return await asyncio.gather(*(follow(connect, symbol) for symbol in "cab"))

    replayed = on_tape(path, tape, session)
    assert replayed.result == [[f"{symbol}{number}" for number in range(20)] for symbol in "cab"]
    assert (replayed.verdicts, replayed.unplayed) == ([], None)


def test_binary_frames(path: Path) -> None:
    every_byte = bytes(range(256))

    async def session(connect: Connect) -> Payload:
        async with connect(URL) as ws:
            await ws.send(every_byte)
            return await ws.recv()

    assert record(path, session, lambda options: Server(Talks(echo))) == every_byte
    assert replay(path, session).result == every_byte


def test_exact_text_of_numbers_kept(path: Path) -> None:
    """Also in a frame in which a secret is replaced."""
    frame = '{"p": 1.10,  "q":12345678901234567890123456789,"z":0.00000000, "key": "%s"}'
    writer = CassetteWriter(path, HEADER, Redactor({SECRET: "connex-recorded-secret"}))
    recorder = Recorder(writer.write, writer.write_messages, Redactor({SECRET: "connex-recorded-secret"}), str)
    conn = recorder.dial(0.0, URL)
    recorder.opened(conn, 0.0, None, {})
    recorder.received(conn, 0.0, frame % SECRET)
    recorder.finish()
    writer.finish()
    writer.commit()

    async def session(connect: Connect) -> Payload:
        async with connect(URL) as ws:
            return await ws.recv()

    assert replay(path, session).result == frame % "connex-recorded-secret"


@pytest.mark.parametrize(("by", "code", "reason"), [("server", 4002, "bad key"), ("network", 1006, "")])
def test_close_code_replayed(path: Path, by: str, code: int, reason: str) -> None:
    async def talk(server: Server) -> None:
        if by == "server":
            server.close(code, reason)
        else:
            server.transport.abort()

    assert record(path, close_code, lambda options: Server(Talks(talk))) == (code, reason)
    ending = events_of(path)[-1]
    assert isinstance(ending, Closed)
    assert (ending.by, ending.code, ending.reason) == (by, code, reason)
    assert replay(path, close_code).result == (code, reason)


def test_rejected_handshake_and_refused_dial_recorded(path: Path) -> None:
    refusals = iter([True, False])

    def server(options: dict[str, Any]) -> Server:
        if next(refusals):
            raise ConnectionRefusedError(111, "Connection refused")
        return Server(Talks(None))

    async def session(connect: Connect) -> list[Any]:
        with pytest.raises(ConnectionRefusedError) as refused:
            await connect(URL)
        with pytest.raises(InvalidStatus) as rejected:
            await connect(URL)
        response = rejected.value.response
        return [refused.value.errno, response.status_code, response.headers["Retry-After"], response.body]

    outcome = [111, 429, "2", b"slow down"]
    assert record(path, session, server) == outcome
    assert [type(event) for event in events_of(path)] == [Refused, Rejected]
    assert replay(path, session).result == outcome


def test_timing_restored(path: Path) -> None:
    tape = Tape()
    conn = tape.dial()
    tape.events += [Open(conn, 1.0), Received(conn, 10.0, "tick"), Closed(conn, 3_600.0, "server", 1001)]

    async def session(connect: Connect) -> list[float]:
        clock = asyncio.get_running_loop()
        start, moments = clock.time(), []
        async with connect(URL) as ws:
            moments.append(clock.time() - start)
            await ws.recv()
            moments.append(clock.time() - start)
            await ws.wait_closed()
        return [*moments, clock.time() - start]

    assert on_tape(path, tape, session, pace=1.0).result == pytest.approx([1.0, 10.0, 3_600.0])
    assert on_tape(path, tape, session, pace=0.5).result == pytest.approx([0.5, 5.0, 1_800.0])
    assert on_tape(path, tape, session).result == pytest.approx([0.0, 0.0, 0.0])


def test_exact_secret_values_redacted_everywhere(path: Path) -> None:
    """In every spelling, in every event, besides the members whose names say it; what is left is refused."""
    redactor = Redactor({SECRET: "connex-recorded-secret"}, DIALECT.secret_fields)
    raw = SECRET.encode()
    spellings = [SECRET, quote(SECRET, safe=""), raw.hex(), base64.b64encode(raw).decode(), json.dumps(SECRET)[1:-1]]
    frame = json.dumps({"x": spellings, "signature": "abcdef0123", "listenKey": "pqia91ma19a5s61cv6a81va65sdf19v8"})

    writer = CassetteWriter(path, HEADER, redactor)
    recorder = Recorder(writer.write, writer.write_messages, redactor, str)
    conn = recorder.dial(0.0, f"{URL}?key={quote(SECRET, safe='')}", [], {"X-Key": SECRET, "Authorization": "x"})
    recorder.opened(conn, 0.0, None, {"Set-Cookie": "session"})
    recorder.sent(conn, 0.0, frame)
    recorder.received(conn, 0.0, b"\x00" + raw + b"\xff")
    recorder.closed(conn, 0.0, "server", 4001, f"bad key {SECRET}")
    writer.finish()
    writer.commit()

    text = path.read_text()
    for secret in (
        *spellings,
        "abcdef0123",
        "pqia91ma19a5s61cv6a81va65sdf19v8",
        "session",
        base64.b64encode(raw).decode(),
    ):
        assert secret not in text
    assert text.count("connex-recorded-secret") >= 5

    writer = CassetteWriter(path, HEADER, redactor)
    try:
        with pytest.raises(SecretFound, match="a secret was left in this line; nothing was written"):
            write_and_finish(writer, Sent(1, 0.0, None, b"\x00" + base64.b64encode(raw)))
    finally:
        writer.discard()
    assert path.read_text() == text


def test_unsent_recorded_frames_fail_the_test(recorded: Project) -> None:
    recorded.test(
        "async def test_ws(connex_config, connex_connect):\n"
        "    async with connex_connect(connex_config.ws_url):\n"
        "        pass\n"
    )
    result = recorded.run("-k", "test_ws")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*CassetteUnplayed: *test_ws.ws.jsonl:4: the test left a part*", "*never sent*"])


def test_expiry(recorded: Project) -> None:
    text = recorded.ws.read_text()
    moment = json.loads(text.splitlines()[0])["recorded_at"]
    recorded.ws.write_text(text.replace(moment, "2020-01-01T00:00:00Z", 1))
    recorded.run("--connex-max-age=30").stdout.fnmatch_lines(["*stale: cassettes/test_it/test_ws.ws.jsonl"])
    result = recorded.run("--connex-max-age=30", "--connex-stale-cassette=fail")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*CassetteStale: *test_ws.ws.jsonl: recorded * days ago*"])


def test_unused_recordings_reported(recorded: Project) -> None:
    recorded.test(BOTH.replace("test_ws", "test_renamed_ws").split("async def")[0])
    result = recorded.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "1 recordings are used by no test: connex cassettes prune",
            "  unused: cassettes/test_it/test_ws.ws.jsonl",
        ]
    )
    assert recorded.ws.exists()


def test_network_blocked_on_replay(recorded: Project) -> None:
    recorded.test(
        """
        import contextlib, socket

        def test_blocked(connex_config):
            with socket.socket() as raw, contextlib.suppress(RuntimeError):
                raw.connect(("192.0.2.1", 9))
        """
    )
    result = recorded.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*NetworkBlocked: a recorded test reached for 192.0.2.1:9: recorded runs have no *"])


def test_saves_only_when_the_test_passed(recorded: Project) -> None:
    before = (recorded.ws.read_bytes(), recorded.http.read_bytes())
    recorded.test(BOTH.replace('"pong"', '"gong"').replace('"healthy"', '"ill"'))
    recorded.run("--connex-sandbox", "--connex-record=rewrite").assert_outcomes(failed=2)
    assert (recorded.ws.read_bytes(), recorded.http.read_bytes()) == before
    assert sorted(file.name for file in recorded.ws.parent.iterdir()) == ["test_rest.yaml", "test_ws.ws.jsonl"]


def test_survives_100_000_frames(path: Path) -> None:
    count = 100_000
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn).sent(conn, "subscribe")
    tape.received(conn, *(f'{{"sequence": {number}, "price": "1.10"}}' for number in range(count)))
    tape.closed(conn)

    async def session(connect: Connect) -> int:
        async with connect(URL) as ws:
            await ws.send("subscribe")
            for number in range(count):
                assert await ws.recv() == f'{{"sequence": {number}, "price": "1.10"}}'
        return count

    replayed = on_tape(path, tape, session)
    assert (replayed.result, replayed.verdicts, replayed.unplayed) == (count, [], None)
