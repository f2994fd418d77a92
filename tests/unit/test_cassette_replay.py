"""The real client on a recording."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from pytest_connex.cassette.connect import connector
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.redaction import Redactor
from pytest_connex.cassette.replay import EXHAUSTED_CODE, MISMATCH_CODE, ReplayDialler, Verdict
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError, CassetteExhausted, CassetteMismatch

from .conftest import URL, Tape, Write


class Stage:
    """A tape on which clients are let loose."""

    def __init__(self, player: Player, timeout: float) -> None:
        self.verdicts: list[CassetteError] = []
        self.player = player
        self.connect = connector(ReplayDialler(player, timeout, self.verdicts.append))


@pytest.fixture
def stage(write: Write) -> Callable[..., Stage]:
    def put(tape: Tape, timeout: float = 5.0) -> Stage:
        return Stage(Player(Recording(write(tape)), Rules(("id",), Redactor({}), again="record it again")), timeout)

    return put


async def test_a_conversation_is_replayed(tape, stage):
    on = stage(
        tape.connection(
            ("received", "hello"), ("sent", '{"id": 1}'), ("received", "é"), ("sent", b"\x00"), ("received", b"\xff")
        )
    )
    async with on.connect(URL) as ws:
        assert await ws.recv() == "hello"
        await ws.send('{"id": 2}')
        assert await ws.recv() == "é"
        await ws.send(b"\x00")
        assert await ws.recv() == b"\xff"
    assert (on.verdicts, on.player.unplayed()) == ([], None)


async def test_empty_large_and_fragmented_messages_are_replayed(tape, stage):
    large = "x" * (1 << 20)
    on = stage(tape.connection(("sent", "one two"), ("received", ""), ("received", b""), ("received", large)))
    async with on.connect(URL, max_size=None) as ws:
        await ws.send(["one ", "two"])
        assert [await ws.recv() for _ in range(3)] == ["", b"", large]
    assert on.player.unplayed() is None


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1000, "done", ConnectionClosedOK),
        (1001, "away", ConnectionClosedOK),
        (1011, "broken", ConnectionClosedError),
        (4001, "bad key", ConnectionClosedError),
    ],
)
async def test_a_recorded_close_of_the_server_is_replayed(tape, stage, code, reason, error):
    conn = tape.dial()
    tape.opened(conn).received(conn, "last").closed(conn, "server", code, reason)
    on = stage(tape)
    async with on.connect(URL) as ws:
        assert await ws.recv() == "last"
        with pytest.raises(error):
            await ws.recv()
    assert (ws.close_code, ws.close_reason) == (code, reason)
    assert on.player.unplayed() is None


@pytest.mark.parametrize("by", ["network", "server"])
async def test_a_recorded_abort_is_replayed_without_a_close_frame(tape, stage, by):
    conn = tape.dial()
    on = stage(tape.opened(conn).received(conn, "last").closed(conn, by, 1006))
    async with on.connect(URL) as ws:
        assert await ws.recv() == "last"
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.rcvd, ws.close_code) == (None, 1006)


async def test_a_close_waits_for_what_was_sent_before_it(tape, stage):
    on = stage(tape.connection(("sent", "a"), by="server", code=1012))
    async with on.connect(URL) as ws:
        await ws.ping()
        await ws.send("a")
        with pytest.raises(ConnectionClosed):
            await ws.recv()
    assert ws.close_code == 1012


@pytest.mark.parametrize(("status", "headers"), [(401, {}), (429, {"Retry-After": "2"})])
async def test_a_rejected_handshake_is_replayed_and_the_next_dial_is_open(tape, stage, status, headers):
    conn = tape.dial()
    tape.rejected(conn, status, headers, '{"error": "no"}')
    on = stage(tape.connection(("received", "hello")))
    with pytest.raises(InvalidStatus) as caught:
        await on.connect(URL)
    response = caught.value.response
    assert (response.status_code, response.body) == (status, b'{"error": "no"}')
    assert response.headers.get("Retry-After") == headers.get("Retry-After")
    async with on.connect(URL) as ws:
        assert await ws.recv() == "hello"
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@pytest.mark.parametrize(
    ("name", "errno", "kind"),
    [
        ("ConnectionRefusedError", 111, ConnectionRefusedError),
        ("ConnectionResetError", 104, ConnectionResetError),
        ("ConnectionAbortedError", 103, ConnectionAbortedError),
        ("TimeoutError", 110, TimeoutError),
        ("gaierror", -2, socket.gaierror),
        ("OSError", 113, OSError),
        ("OSError", 1, ConnectionAbortedError),
        ("SSLCertVerificationError", 1, ConnectionAbortedError),
    ],
)
async def test_a_refused_dial_is_replayed(tape, stage, name, errno, kind):
    conn = tape.dial()
    on = stage(tape.refused(conn, name, errno))
    with pytest.raises(kind) as caught:
        await on.connect(URL)
    assert type(caught.value) is kind
    assert (caught.value.errno, caught.value.strerror) == (errno, "Connection refused")
    assert (on.verdicts, on.player.unplayed()) == ([], None)


async def test_a_refused_dial_without_a_number_is_replayed_with_its_message(tape, stage):
    conn = tape.dial()
    on = stage(tape.refused(conn, "TimeoutError", None))
    with pytest.raises(TimeoutError, match="^Connection refused$"):
        await on.connect(URL)


async def test_subprotocol_and_headers_of_the_answer_are_replayed(tape, stage):
    conn = tape.dial(subprotocols=["v2", "v1"])
    on = stage(tape.opened(conn, subprotocol="v1", headers={"X-Session": "7"}).closed(conn))
    async with on.connect(URL, subprotocols=["v2", "v1"], additional_headers={"X-Mine": "1"}) as ws:
        assert (ws.subprotocol, ws.response.headers["X-Session"]) == ("v1", "7")


async def test_async_for_reconnects_through_the_whole_recording(tape, stage):
    for number in range(3):
        tape.connection(
            ("sent", "subscribe"), ("received", f"book {number}"), by="server" if number < 2 else "client", code=1012 if number < 2 else 1000
        )
    on = stage(tape)
    books: list[str] = []
    async for ws in on.connect(URL):
        try:
            await ws.send("subscribe")
            books.append(await ws.recv())
            if len(books) == 3:
                await ws.close()
                break
            await ws.recv()
        except ConnectionClosed:
            continue
    assert books == ["book 0", "book 1", "book 2"]
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
async def test_identical_code_in_two_tasks_gets_its_own_frames(tape, stage, order):
    first, second = tape.dial(), tape.dial()
    tape.opened(second).opened(first)
    for conn, symbol in ((first, "x"), (second, "y")):
        tape.sent(conn, symbol).received(conn, *(f"{symbol}{number}" for number in range(50)))
    tape.closed(second).closed(first)
    on = stage(tape)

    async def follow(symbol: str) -> list[str]:
        async with on.connect(URL) as ws:
            await ws.send(symbol)
            return [await ws.recv() for _ in range(50)]

    found = await asyncio.gather(*map(follow, order))
    assert found == [[f"{symbol}{number}" for number in range(50)] for symbol in order]
    assert on.player.unplayed() is None


async def test_pings_are_answered_and_are_no_part_of_the_recording(tape, stage):
    on = stage(tape.connection(("sent", "a")))
    async with on.connect(URL) as ws:
        assert await (await ws.ping()) >= 0
        await ws.send("a")
    assert (on.verdicts, on.player.unplayed()) == ([], None)


async def test_a_mismatch_closes_with_4900_and_is_told(tape, stage):
    on = stage(tape.connection(("sent", "a"), ("received", "1")))
    async with on.connect(URL) as ws:
        await ws.send("b")
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert (ws.close_code, ws.close_reason) == (MISMATCH_CODE, "CassetteMismatch: see the report of the test")
    [verdict] = on.verdicts
    assert type(verdict) is CassetteMismatch
    assert verdict.line == 4
    assert "expected: 'a'\n  actual:   'b'" in str(verdict)


async def test_only_the_first_mismatch_of_a_connection_is_told(tape, stage):
    on = stage(tape.connection(("sent", "a")))
    async with on.connect(URL) as ws:
        await ws.send("b")
        await ws.send("c")
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert len(on.verdicts) == 1


async def test_a_dial_that_is_not_recorded_gets_501_with_the_verdict(tape, stage):
    on = stage(tape.connection())
    with pytest.raises(InvalidStatus) as caught:
        await on.connect(f"{URL}other")
    [verdict] = on.verdicts
    assert type(verdict) is CassetteMismatch
    assert caught.value.response.status_code == 501
    assert caught.value.response.body.decode() == str(verdict)


async def test_a_verdict_has_nothing_else_to_say():
    verdict = Verdict(CassetteMismatch("x"))
    assert (verdict.received("a"), verdict.writable(), verdict.ended(1000, ""), verdict.refusal) == (None,) * 4


async def test_a_client_that_waits_for_more_gets_4901(tape, stage):
    on = stage(tape.connection(("sent", "a"), ("received", "1")), timeout=0.02)
    async with on.connect(URL) as ws:
        await ws.send("a")
        assert await ws.recv() == "1"
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert (ws.close_code, ws.close_reason) == (EXHAUSTED_CODE, "CassetteExhausted: see the report of the test")
    [verdict] = on.verdicts
    assert type(verdict) is CassetteExhausted
    assert verdict.line == 6
    assert "connection 1, where the recording has nothing more to deliver before the client closes" in str(verdict)
    assert "waited 0.02 s longer than recorded" in str(verdict)


async def test_a_client_that_does_not_send_what_is_expected_gets_4901(tape, stage):
    on = stage(tape.connection(("sent", "subscribe"), ("received", "1")), timeout=0.02)
    async with on.connect(URL) as ws:
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert ws.close_code == EXHAUSTED_CODE
    assert "before the client sends 'subscribe'" in str(on.verdicts[0])


async def test_a_client_that_closes_in_time_is_not_exhausted(tape, stage):
    on = stage(tape.connection(("received", "1")), timeout=0.02)
    async with on.connect(URL) as ws:
        assert await ws.recv() == "1"
    await asyncio.sleep(0.05)
    assert on.verdicts == []


async def test_the_recorded_gap_before_the_client_s_next_message_is_allowed_for(tape, stage):
    loop = asyncio.get_running_loop()
    conn = tape.dial()
    tape.opened(conn).received(conn, "1")
    tape.at = lambda: 30.0
    tape.sent(conn, "a").closed(conn)
    on = stage(tape, timeout=0.02)
    due: list[float] = []
    call_later = loop.call_later
    loop.call_later = lambda delay, *rest: due.append(delay) or call_later(delay, *rest)
    try:
        async with on.connect(URL) as ws:
            await ws.recv()
            await ws.send("a")
    finally:
        del loop.call_later
    assert pytest.approx(30.0 - 0.002 + 0.02) in due


async def test_the_client_s_own_limit_of_message_size_applies(tape, stage):
    on = stage(tape.connection(("received", "x" * 200), code=1009))
    async with on.connect(URL, max_size=100) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.sent.code == 1009
    assert on.verdicts == []


async def test_a_slow_reader_gets_every_frame_in_order(tape, stage):
    count = 20_000
    on = stage(
        tape.connection(("sent", "go"), *[("received", f"{number:05} {'x' * 100}") for number in range(count)])
    )
    async with on.connect(URL, max_queue=2) as ws:
        await ws.send("go")
        for number in range(count):
            assert (await ws.recv()).startswith(f"{number:05} ")
            if number % 5_000 == 0:
                await asyncio.sleep(0.01)
    assert (on.verdicts, on.player.unplayed()) == ([], None)
