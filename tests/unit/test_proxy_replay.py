"""The real client on a recording."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError, CassetteExhausted, CassetteMismatch
from pytest_connex.proxy.replay import EXHAUSTED_CODE, MISMATCH_CODE, Replay, ReplayDialler, Verdict
from pytest_connex.secrets.redaction import Redactor

from .conftest import URL, Tape, Write
from .doorway import connects
from .stopwatch import Stopwatch, on_a_virtual_clock


class Stage:
    """A tape on which clients are let loose."""

    def __init__(self, player: Player, timeout: float, pace: float) -> None:
        self.verdicts: list[CassetteError] = []
        self.player = player
        self.connect = connects(ReplayDialler(player, timeout, self.verdicts.append, pace).behaviour)


@pytest.fixture
def stage(write: Write) -> Callable[..., Stage]:
    def put(tape: Tape, timeout: float = 5.0, strict: bool = False, pace: float = 0.0) -> Stage:
        rules = Rules(("id",), Redactor({}), strict, again="record it again", echoed=("id",))
        return Stage(Player(Recording(write(tape)), rules), timeout, pace)

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


@on_a_virtual_clock
async def test_a_dial_that_was_given_up_is_not_answered(tape, stage):
    on = stage(tape.left(tape.dial()))
    with pytest.raises(TimeoutError):
        await on.connect(URL, open_timeout=1)
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@on_a_virtual_clock
async def test_a_client_that_does_not_give_up_its_dial_is_told_so(tape, stage):
    on = stage(tape.left(tape.dial()), timeout=0.02)
    with pytest.raises(InvalidStatus) as caught:
        await on.connect(URL)
    [verdict] = on.verdicts
    assert type(verdict) is CassetteExhausted
    assert "waits for the answer to its dial, connection 1, which it gave up when it was recorded" in str(verdict)
    assert caught.value.response.body.decode() == str(verdict)


async def test_subprotocol_and_headers_of_the_answer_are_replayed(tape, stage):
    conn = tape.dial(subprotocols=["v2", "v1"])
    on = stage(tape.opened(conn, subprotocol="v1", headers={"X-Session": "7"}).closed(conn))
    async with on.connect(URL, subprotocols=["v2", "v1"], additional_headers={"X-Mine": "1"}) as ws:
        assert (ws.subprotocol, ws.response.headers["X-Session"]) == ("v1", "7")


async def test_async_for_reconnects_through_the_whole_recording(tape, stage):
    for number in range(3):
        tape.connection(
            ("sent", "subscribe"),
            ("received", f"book {number}"),
            by="server" if number < 2 else "client",
            code=1012 if number < 2 else 1000,
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


@on_a_virtual_clock
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


@on_a_virtual_clock
async def test_a_client_that_does_not_send_what_is_expected_gets_4901(tape, stage):
    on = stage(tape.connection(("sent", "subscribe"), ("received", "1")), timeout=0.02)
    async with on.connect(URL) as ws:
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
    assert ws.close_code == EXHAUSTED_CODE
    assert "before the client sends 'subscribe'" in str(on.verdicts[0])


@on_a_virtual_clock
async def test_a_client_that_closes_in_time_is_not_exhausted(tape, stage):
    on = stage(tape.connection(("received", "1")), timeout=0.02)
    async with on.connect(URL) as ws:
        assert await ws.recv() == "1"
    await asyncio.sleep(0.05)
    assert on.verdicts == []


@on_a_virtual_clock
@pytest.mark.parametrize(("seconds", "verdicts"), [(30.01, []), (30.03, [CassetteExhausted])])
async def test_the_recorded_gap_before_the_client_s_next_message_is_allowed_for(tape, stage, seconds, verdicts):
    conn = tape.dial()
    tape.opened(conn).received(conn, "1")
    tape.at = lambda: 30.0
    tape.sent(conn, "a").closed(conn)
    on = stage(tape, timeout=0.02)
    async with on.connect(URL) as ws:
        await ws.recv()
        await asyncio.sleep(seconds)
        with suppress(ConnectionClosedError):
            await ws.send("a")
    assert list(map(type, on.verdicts)) == verdicts


@on_a_virtual_clock
async def test_a_client_that_the_machine_did_not_run_for_a_while_still_gets_its_turn(tape, stage):
    on = stage(tape.connection(("sent", "a"), ("received", "1")))
    async with on.connect(URL) as ws:
        asyncio.get_running_loop().advance(60)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await ws.send("a")
        assert await ws.recv() == "1"
    assert on.verdicts == []


async def test_the_client_s_own_limit_of_message_size_applies(tape, stage):
    on = stage(tape.connection(("received", "x" * 200), code=1009))
    async with on.connect(URL, max_size=100) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.sent.code == 1009
    assert on.verdicts == []


@on_a_virtual_clock
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


# --- Several connections at once, and values made up anew ------------------------------------------------


def trading(tape: Tape) -> Tape:
    """A fill arrives on connection 1 for the order that is sent on connection 2."""
    fills, orders = tape.dial(), tape.dial()
    tape.opened(fills).opened(orders).sent(fills, "subscribe").sent(orders, "buy").received(fills, "bought")
    return tape.closed(fills).closed(orders)


@on_a_virtual_clock
async def test_a_message_on_another_connection_lets_go_what_waited_for_it(tape, stage):
    on = stage(trading(tape))
    async with on.connect(URL) as fills, on.connect(URL) as orders:
        await fills.send("subscribe")
        waiting = asyncio.create_task(fills.recv())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.01)
        await orders.send("buy")
        assert await waiting == "bought"
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@on_a_virtual_clock
async def test_a_connection_that_is_gone_is_not_told_what_happens_on_others(tape, stage, monkeypatch):
    told: list[Replay] = []
    monkeypatch.setattr(Replay, "nudge_soon", lambda replay: told.append(replay))
    on = stage(tape.connection(("sent", "one")).connection(("sent", "two"), ("sent", "three")))
    for messages in (["one"], ["two", "three"]):
        told.clear()
        async with on.connect(URL) as ws:
            for message in messages:
                await ws.send(message)
        await asyncio.sleep(1)
    assert len(set(told)) == 1


@on_a_virtual_clock
async def test_a_wait_for_another_connection_that_lasts_too_long_names_it(tape, stage):
    on = stage(trading(tape), timeout=0.02)
    async with on.connect(URL) as fills, on.connect(URL):
        await fills.send("subscribe")
        with pytest.raises(ConnectionClosedError):
            await fills.recv()
    assert type(on.verdicts[0]) is CassetteExhausted
    assert "before the client sends on connection 2 what it sends on line 7\n" in str(on.verdicts[0])


async def test_identical_clients_at_once_get_the_values_they_made_up(tape, stage):
    conns = [tape.dial(), tape.dial()]
    for step in ("opened", "sent", "received", "closed"):
        for conn in conns:
            message = [f'{{"id": "recorded-{conn}"}}'] if step in ("sent", "received") else []
            getattr(tape, step)(conn, *message)
    on = stage(tape)

    async def ask(question: str) -> str:
        async with on.connect(URL) as ws:
            await ws.send(question)
            return await ws.recv()

    questions = ['{"id": "now-0"}', '{"id": "now-1"}']
    assert await asyncio.gather(*map(ask, questions)) == questions
    assert (on.verdicts, on.player.unplayed()) == ([], None)


# --- How a connection ends -------------------------------------------------------------------------------


async def test_another_close_code_of_the_client_is_told(tape, stage):
    on = stage(tape.connection(("received", "1"), code=1000))
    ws = await on.connect(URL)
    await ws.close(4123)
    [verdict] = on.verdicts
    assert type(verdict) is CassetteMismatch
    assert str(verdict).endswith(
        "tape.ws.jsonl:5: the client closed connection 1 with 4123, expected 1000\nrecord it again"
    )


@pytest.mark.parametrize("code", [1005, 1006])
async def test_a_recorded_end_without_a_code_may_have_one(tape, stage, code):
    on = stage(tape.connection(("received", "1"), code=code))
    async with on.connect(URL) as ws:
        assert await ws.recv() == "1"
    assert on.verdicts == []


async def test_an_end_without_a_code_may_have_had_one(tape, stage):
    on = stage(tape.connection(("received", "1"), code=1000))
    ws = await on.connect(URL)
    ws.transport.abort()
    await ws.wait_closed()
    assert on.verdicts == []


async def test_after_a_verdict_the_close_code_is_not_compared(tape, stage):
    on = stage(tape.connection(("sent", "a"), code=1000))
    ws = await on.connect(URL)
    await ws.send("b")
    await ws.close(4123)
    assert len(on.verdicts) == 1


@pytest.mark.parametrize(("strict", "told"), [(True, 1), (False, 0)])
async def test_a_message_after_the_close_of_the_server_fails_a_strict_test(tape, stage, strict, told):
    on = stage(tape.connection(("sent", "a"), by="server"), strict=strict)
    async with on.connect(URL) as ws:
        await ws.send("a")
        await ws.send("b")
        await ws.wait_closed()
    assert [type(verdict) for verdict in on.verdicts] == [CassetteMismatch] * told
    assert all("where nothing more is recorded as sent\n  actual: 'b'" in str(verdict) for verdict in on.verdicts)


@pytest.mark.parametrize(("strict", "left"), [(True, True), (False, False)])
async def test_a_message_that_the_client_did_not_read_fails_a_strict_test(tape, stage, strict, left):
    on = stage(tape.connection(("received", "1"), ("received", "2")), strict=strict)
    async with on.connect(URL) as ws:
        await ws.recv()
    error = on.player.unplayed()
    assert (error is not None) is left
    assert not left or "line 6: 1 received messages were never read on connection 1" in str(error)


async def test_a_strict_test_that_reads_everything_passes(tape, stage):
    on = stage(tape.connection(("received", "1"), ("received", "2")), strict=True)
    async with on.connect(URL) as ws:
        assert [await ws.recv(), await ws.recv()] == ["1", "2"]
    assert (on.verdicts, on.player.unplayed()) == ([], None)


# --- Time, on a virtual clock ----------------------------------------------------------------------------


def at(tape: Tape, seconds: float) -> Tape:
    """Let what is put on the tape next happen at this time."""
    tape.at = lambda: seconds
    return tape


def timed(tape: Tape) -> Tape:
    """Opened at 2 s, then two messages, and an answer 2 s after the client's; closed by the server at 11 s."""
    conn = at(tape, 0).dial()
    at(tape, 2).opened(conn)
    at(tape, 3).received(conn, "one")
    at(tape, 7).received(conn, "two")
    at(tape, 8).sent(conn, "go")
    at(tape, 10).received(conn, "gone")
    return at(tape, 11).closed(conn, "server", 1012)


@pytest.mark.parametrize("size", [10, 4_000])
@on_a_virtual_clock
async def test_a_client_whose_buffers_are_full_closes_at_once(tape, stage, size):
    on = stage(tape.connection(*[("received", "x" * size) for _ in range(60)]))
    watch = Stopwatch()
    async with on.connect(URL) as ws:
        await ws.recv()
    assert watch.seconds == 0
    assert on.verdicts == []


@pytest.mark.parametrize("pace", [1.0, 0.5])
@on_a_virtual_clock
async def test_what_arrives_arrives_when_it_did(tape, stage, pace):
    on = stage(timed(tape), pace=pace)
    watch, seen = Stopwatch(), []
    async with on.connect(URL) as ws:
        seen.append(("open", watch.seconds))
        for _ in range(2):
            seen.append((await ws.recv(), watch.seconds))
        await ws.send("go")
        seen.append((await ws.recv(), watch.seconds))
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        seen.append(("closed", watch.seconds))
    happened = [("open", 2), ("one", 3), ("two", 7), ("gone", 9), ("closed", 10)]
    assert seen == [(what, seconds * pace) for what, seconds in happened]
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@pytest.mark.parametrize(("sends_at", "gone_at"), [(20, 22), (5, 9), (2, 9)])
@on_a_virtual_clock
async def test_an_answer_comes_as_long_after_its_question_as_it_did_and_not_before_what_came_before(
    tape, stage, sends_at, gone_at
):
    on = stage(timed(tape), timeout=60, pace=1.0)
    watch = Stopwatch()
    async with on.connect(URL) as ws:
        await asyncio.sleep(sends_at - watch.seconds)
        await ws.send("go")
        assert [await ws.recv() for _ in range(3)] == ["one", "two", "gone"]
        assert watch.seconds == gone_at


@pytest.mark.parametrize("pace", [1.0, 0.5])
@on_a_virtual_clock
async def test_a_handshake_is_rejected_when_it_was(tape, stage, pace):
    conn = at(tape, 0).dial()
    on = stage(at(tape, 4).rejected(conn, 503, {}, "busy"), pace=pace)
    watch = Stopwatch()
    with pytest.raises(InvalidStatus):
        await on.connect(URL)
    assert watch.seconds == 4 * pace


@pytest.mark.parametrize("pace", [1.0, 0.5])
@on_a_virtual_clock
async def test_a_dial_is_refused_when_it_was(tape, stage, pace):
    conn = at(tape, 0).dial()
    on = stage(at(tape, 4).refused(conn), pace=pace)
    watch = Stopwatch()
    with pytest.raises(ConnectionRefusedError):
        await on.connect(URL)
    assert watch.seconds == 4 * pace


@pytest.mark.parametrize("pace", [1.0, 0.5])
@on_a_virtual_clock
async def test_a_connection_is_lost_when_it_was(tape, stage, pace):
    conn = at(tape, 0).dial()
    at(tape, 0).opened(conn)
    on = stage(at(tape, 30).closed(conn, "network", 1006), pace=pace)
    watch = Stopwatch()
    async with on.connect(URL, ping_interval=None) as ws:
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert watch.seconds == 30 * pace


@on_a_virtual_clock
async def test_without_a_pace_everything_that_is_due_is_there_at_once(tape, stage):
    on = stage(timed(tape))
    watch = Stopwatch()
    async with on.connect(URL) as ws:
        await ws.send("go")
        assert [await ws.recv() for _ in range(3)] == ["one", "two", "gone"]
        assert watch.seconds == 0


@on_a_virtual_clock
async def test_at_a_pace_a_mismatch_is_told_at_once(tape, stage):
    on = stage(timed(tape), pace=1.0)
    watch = Stopwatch()
    async with on.connect(URL) as ws:
        await ws.send("stop")
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert watch.seconds == 2
    assert [type(verdict) for verdict in on.verdicts] == [CassetteMismatch]


@on_a_virtual_clock
async def test_at_a_pace_a_client_may_leave_before_the_next_message(tape, stage):
    on = stage(timed(tape), pace=1.0)
    async with on.connect(URL) as ws:
        await ws.send("go")
    await asyncio.sleep(60)
    assert (on.verdicts, on.player.unplayed()) == ([], None)


@on_a_virtual_clock
async def test_at_a_pace_a_client_that_waits_for_more_is_told_after_gap_and_time_out(tape, stage):
    conn = at(tape, 0).dial()
    at(tape, 0).opened(conn)
    at(tape, 1).received(conn, "one")
    on = stage(at(tape, 4).closed(conn), pace=1.0)
    watch = Stopwatch()
    async with on.connect(URL) as ws:
        await ws.recv()
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert watch.seconds == 1 + 3 + 5
    assert [type(verdict) for verdict in on.verdicts] == [CassetteExhausted]
