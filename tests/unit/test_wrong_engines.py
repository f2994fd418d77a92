"""The rules of replay and recording as one compact suite, and that it notices every engine that breaks one.

Each check passes on the real classes. Each wrong engine names the check that has to fail on it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Request

from pytest_connex.cassette.events import Closed, Dial, End, Event, Open, Payload, Received, Refused, Rejected, Sent
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import (
    CassetteError,
    CassetteExhausted,
    CassetteMismatch,
    CassetteUnplayed,
    SecretFound,
)
from pytest_connex.secrets.redaction import Redactor

from ..fuzz.stage import Connect, Server, record, replay
from .conftest import HEADER, MANY, URL, Tape, conversation, write_and_finish, write_tape
from .wrong_engines import ENGINES

SECRET, PLACEHOLDER = "s3cr3t/with+special=chars==", "connex-recorded-secret"

Check = Callable[[Path], None]
CHECKS: dict[str, Check] = {}

COMPLAINTS = (
    AssertionError,
    pytest.fail.Exception,
    CassetteError,
    ConnectionClosed,
    InvalidHandshake,
    OSError,
    TimeoutError,
    ValueError,  # of older releases of websockets, on what is no HTTP
)
"""What a failing check may raise; anything else is a mistake in a wrong engine."""


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


# --- What the checks are made of ----------------------------------------------------------------------------


def play(folder: Path, tape: Tape, strict: bool = False) -> Player:
    path = write_tape(folder / "tape.ws.jsonl", tape)
    return Player(Recording(path), Rules(("id",), Redactor({}), strict, "record it again", ("id",)))


def mismatches(tape: Tape, folder: Path, *messages: Payload) -> bool:
    playback = play(folder, tape).dial(URL)
    try:
        conversation(playback, *messages)
    except CassetteMismatch:
        return True
    return False


def with_client(folder: Path, tape: Tape, session: Callable[[Connect], Awaitable[Any]], pace: float = 0.0) -> Any:
    """Run a real client on the tape, and return what it came to."""
    return replay(write_tape(folder / "tape.ws.jsonl", tape), session, pace)


def sent(*messages: Payload) -> Tape:
    return Tape().connection(*[("sent", message) for message in messages])


class Talks:
    """A server that accepts, and does one thing after the other."""

    def __init__(self, talk: Callable[[Server], Awaitable[None]]) -> None:
        self._talk = talk

    async def handshake(self, server: Server, request: Request) -> bool:
        server.accept(request, {})
        return True

    async def talk(self, server: Server) -> None:
        await self._talk(server)


def recording(
    folder: Path, session: Callable[[Connect], Awaitable[Any]], talk: Callable[[Server], Awaitable[None]]
) -> list[Event]:
    """Return what is recorded of a session with a server."""
    path = folder / "recorded.ws.jsonl"
    record(path, session, lambda options: Server(Talks(talk)))
    [connection] = Recording(path).connections
    return [event for _, event in connection.events()]


def is_refused(folder: Path, *lines: object) -> bool:
    path = folder / "bad.ws.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    try:
        Recording(path)
    except CassetteError:
        return True
    return False


# --- Causality and order ----------------------------------------------------------------------------------


@check
def an_answer_waits_for_its_request(folder: Path) -> None:
    tape = Tape().connection(
        ("received", "hello"), ("sent", "a"), ("received", "1"), ("sent", "b"), ("received", "2")
    )
    playback = play(folder, tape).dial(URL)
    assert playback.deliver(MANY) == ["hello"]
    assert conversation(playback, "a") == ["1"]
    assert conversation(playback, "b") == ["2"]


def order_and_fill() -> Tape:
    """An order on the first connection is filled on the second, opened before it."""
    tape = Tape()
    orders, fills = tape.dial(f"{URL}orders"), tape.dial(f"{URL}fills")
    tape.opened(orders).opened(fills).received(fills, "ready").sent(orders, "buy").received(fills, "filled")
    return tape.closed(orders).closed(fills)


@check
def a_fill_waits_for_its_order_on_another_connection(folder: Path) -> None:
    player = play(folder, order_and_fill())
    orders, fills = player.dial(f"{URL}orders"), player.dial(f"{URL}fills")
    assert fills.deliver(MANY) == ["ready"]
    orders.sent("buy")
    assert fills.deliver(MANY) == ["filled"]


@check
def what_waits_on_one_connection_goes_on_when_another_sends(folder: Path) -> None:
    async def session(connect: Connect) -> list[Payload]:
        async with connect(f"{URL}orders") as orders, connect(f"{URL}fills") as fills:
            seen = [await fills.recv()]
            await orders.send("buy")
            return [*seen, await fills.recv()]

    assert with_client(folder, order_and_fill(), session).result == ["ready", "filled"]


@check
def messages_arrive_complete_and_in_order(folder: Path) -> None:
    messages: list[Payload] = ["1", "", "é", b"\x00\xff", b"", '{"p": 1.10}', "7"]

    async def session(connect: Connect) -> list[Payload]:
        seen: list[Payload] = []
        async with connect(URL) as ws:
            with suppress(ConnectionClosed):
                while True:
                    seen.append(await ws.recv())
        return seen

    tape = Tape().connection(*[("received", message) for message in messages], by="server", code=1001)
    assert with_client(folder, tape, session).result == messages


@check
def a_fragmented_message_is_one_message(folder: Path) -> None:
    async def session(connect: Connect) -> None:
        async with connect(URL) as ws:
            await ws.send(["one ", "two"])
            await ws.recv()

    replayed = with_client(folder, Tape().connection(("sent", "one two"), ("received", "ok")), session)
    assert replayed.verdicts == []


@check
def a_handshake_comes_before_messages(folder: Path) -> None:
    async def session(connect: Connect) -> Payload:
        async with connect(URL) as ws:
            return await ws.recv()

    assert with_client(folder, Tape().connection(("received", "hello")), session).result == "hello"


# --- Matching ---------------------------------------------------------------------------------------------


@check
def another_message_is_a_mismatch(folder: Path) -> None:
    assert mismatches(sent("a"), folder, "b")
    assert mismatches(sent(b"\x00"), folder, b"\x01")
    assert not mismatches(sent("a", b"\x00"), folder, "a", b"\x00")


@check
def a_mismatch_closes_with_4900(folder: Path) -> None:
    async def session(connect: Connect) -> int | None:
        async with connect(URL) as ws:
            await ws.send("b")
            with suppress(ConnectionClosed):
                await ws.recv()
        return ws.close_code

    replayed = with_client(folder, sent("a"), session)
    assert [type(verdict) for verdict in replayed.verdicts] == [CassetteMismatch]
    assert replayed.result == 4900


@check
def messages_match_in_their_order(folder: Path) -> None:
    assert mismatches(sent("a", "b"), folder, "b")


@check
def a_message_more_than_recorded_is_a_mismatch(folder: Path) -> None:
    assert mismatches(sent("a"), folder, "a", "a")


@check
def numbers_match_as_they_are_written(folder: Path) -> None:
    assert mismatches(sent('{"p": 1.10}'), folder, '{"p": 1.1}')
    assert not mismatches(sent('{"p": 1.10}'), folder, '{"p":1.10}')


@check
def every_key_counts(folder: Path) -> None:
    assert mismatches(sent('{"a": 1, "b": 2}'), folder, '{"a": 1}')
    assert mismatches(sent('{"a": 1}'), folder, '{"a": 1, "b": 2}')


@check
def only_volatile_members_may_differ(folder: Path) -> None:
    assert mismatches(sent('{"id": 1, "depth": 50}'), folder, '{"id": 1, "depth": 20}')


@check
def volatile_members_may_differ(folder: Path) -> None:
    assert not mismatches(sent('{"id": 1, "depth": 50}'), folder, '{"id": 2, "depth": 50}')


@check
def the_order_of_keys_does_not_count(folder: Path) -> None:
    assert not mismatches(sent('{"a": 1, "b": [2, {"c": 3, "d": 4}]}'), folder, '{"b":[2,{"d":4,"c":3}],"a":1}')


@check
def a_close_with_another_code_is_a_mismatch(folder: Path) -> None:
    async def session(connect: Connect) -> None:
        ws = await connect(URL)
        await ws.close(4001)

    assert [type(verdict) for verdict in with_client(folder, Tape().connection(), session).verdicts] == [
        CassetteMismatch
    ]


# --- Ends -------------------------------------------------------------------------------------------------


async def reads_to_the_end(connect: Connect) -> tuple[Any, ...]:
    start = asyncio.get_running_loop().time()
    async with connect(URL) as ws:
        try:
            while True:
                await ws.recv()
        except ConnectionClosed as exc:
            frame = exc.rcvd and (exc.rcvd.code, exc.rcvd.reason)
    return frame, round(asyncio.get_running_loop().time() - start, 2)


@check
def a_client_that_waits_beyond_the_tape_is_exhausted(folder: Path) -> None:
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn).received(conn, "1").events.append(Closed(conn, 30.002, "client", 1000))
    replayed = with_client(folder, tape, reads_to_the_end)
    assert [type(verdict) for verdict in replayed.verdicts] == [CassetteExhausted]
    assert replayed.result == ((4901, "CassetteExhausted: see the report of the test"), 35.0)


@check
def a_client_that_waits_as_long_as_recorded_is_not_exhausted(folder: Path) -> None:
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn).received(conn, "1").events.append(Closed(conn, 30.002, "client", 1000))

    async def session(connect: Connect) -> None:
        async with connect(URL) as ws:
            await ws.recv()
            with suppress(TimeoutError):
                await asyncio.wait_for(ws.recv(), 30)

    assert with_client(folder, tape, session).verdicts == []


@check
def an_abort_is_an_abort(folder: Path) -> None:
    tape = Tape().connection(("received", "1"), by="network", code=1006)
    assert with_client(folder, tape, reads_to_the_end).result == (None, 0.0)


@check
def a_close_has_its_code_and_reason(folder: Path) -> None:
    for code, reason in ((1012, "restart"), (4002, "bad key"), (1000, "")):
        tape = Tape()
        conn = tape.dial()
        tape.opened(conn).closed(conn, "server", code, reason)
        assert with_client(folder, tape, reads_to_the_end).result == ((code, reason), 0.0)


@check
def a_close_comes_after_what_was_sent_before_it(folder: Path) -> None:
    async def session(connect: Connect) -> bool:
        async with connect(URL) as ws:
            await asyncio.sleep(1)
            with suppress(ConnectionClosed):
                await ws.send("a")
                await ws.recv()
        return True

    replayed = with_client(folder, Tape().connection(("sent", "a"), by="server", code=1012), session)
    assert (replayed.verdicts, replayed.unplayed) == ([], None)


@check
def a_rejected_handshake_has_status_headers_and_body(folder: Path) -> None:
    tape = Tape()
    tape.rejected(tape.dial(), 429, {"Retry-After": "2"}, "slow down")

    async def session(connect: Connect) -> Any:
        try:
            await connect(URL)
        except InvalidStatus as exc:
            return exc.response.status_code, exc.response.headers["Retry-After"], exc.response.body

    assert with_client(folder, tape, session).result == (429, "2", b"slow down")


@check
def a_refused_dial_raises_what_it_raised(folder: Path) -> None:
    tape = Tape()
    tape.refused(tape.dial())

    async def session(connect: Connect) -> Any:
        try:
            await connect(URL)
        except Exception as exc:
            return type(exc), getattr(exc, "errno", None)

    assert with_client(folder, tape, session).result == (ConnectionRefusedError, 111)


# --- Consumption ------------------------------------------------------------------------------------------


@check
def what_was_never_sent_is_unplayed(folder: Path) -> None:
    player = play(folder, sent("a", "b").connection())
    conversation(player.dial(URL), "a")
    error = player.unplayed()
    assert isinstance(error, CassetteUnplayed)
    assert "never sent: 'b'" in str(error)
    assert "connection 2 was never opened" in str(error)


@check
def what_was_used_up_is_not_unplayed(folder: Path) -> None:
    player = play(folder, Tape().connection(("sent", "a"), ("received", "1")))
    playback = player.dial(URL)
    playback.sent("a")
    assert player.unplayed() is None


@check
def strict_wants_every_message_read(folder: Path) -> None:
    player = play(folder, Tape().connection(("received", "1")), strict=True)
    playback = player.dial(URL)
    playback.deliver(MANY)
    assert player.unplayed() is not None
    playback.read()
    assert player.unplayed() is None


# --- Claims -----------------------------------------------------------------------------------------------


@check
def identical_dials_become_the_recorded_ones_in_their_order(folder: Path) -> None:
    tape = Tape().connection(("sent", "a"), ("received", "1")).connection(("sent", "a"), ("received", "2"))
    player = play(folder, tape)
    assert [conversation(player.dial(URL), "a") for _ in range(2)] == [["1"], ["2"]]


@check
def identical_code_in_two_tasks_gets_its_own_messages(folder: Path) -> None:
    for order in ("xy", "yx"):
        tape = Tape()
        for symbol in "xy":
            tape.connection(("received", "hi"), ("sent", symbol), ("received", f"book of {symbol}"))
        player = play(folder, tape)
        playbacks = [(symbol, player.dial(URL)) for symbol in order]
        for symbol, playback in playbacks:
            playback.sent(symbol)
        for symbol, playback in playbacks:
            assert conversation(playback) == ["hi", f"book of {symbol}"]
        assert player.unplayed() is None


@check
def a_dial_fits_by_path_and_query(folder: Path) -> None:
    player = play(folder, Tape().connection(url=f"{URL}books?depth=5"))
    with pytest.raises(CassetteMismatch):
        player.dial(f"{URL}books?depth=50")
    with pytest.raises(CassetteMismatch):
        player.dial(f"{URL}trades?depth=5")
    player.dial(f"{URL}books?depth=5")


@check
def a_dial_too_many_is_a_mismatch(folder: Path) -> None:
    player = play(folder, Tape().connection())
    player.dial(URL)
    with pytest.raises(CassetteMismatch):
        player.dial(URL)


# --- Echoes -----------------------------------------------------------------------------------------------


@check
def an_id_comes_back_as_the_client_made_it(folder: Path) -> None:
    tape = Tape().connection(("sent", '{"id": 7}'), ("received", '{"id": 7, "ok": true}'))
    assert conversation(play(folder, tape).dial(URL), '{"id": 8}') == ['{"id": 8, "ok": true}']


@check
def an_id_comes_back_nowhere_else(folder: Path) -> None:
    answer = '{"depth": 7,  "n":[7, "7", 1.70], "price": 1.10}'
    tape = Tape().connection(("sent", '{"id": 7}'), ("received", answer))
    assert conversation(play(folder, tape).dial(URL), '{"id": 8}') == [answer]


# --- Recording --------------------------------------------------------------------------------------------


@check
def what_was_on_the_wire_is_recorded_to_the_byte(folder: Path) -> None:
    said: list[Payload] = ['{"p": 1.10,"q":100000000000000000000000000001}', "", b"\x00\xff", b'{"p":  1.10}']

    async def echo(server: Server) -> None:
        for number in range(len(said)):
            await server.has_heard(number + 1)
            server.send(server.heard[number])

    async def session(connect: Connect) -> None:
        async with connect(URL) as ws:
            for message in said:
                await ws.send(message)
                await ws.recv()

    events = recording(folder, session, echo)
    assert [event.payload for event in events if isinstance(event, Sent)] == said
    assert [event.payload for event in events if isinstance(event, Received)] == said


@check
def messages_are_stamped_when_they_arrive(folder: Path) -> None:
    async def talk(server: Server) -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            server.send("tick")

    async def session(connect: Connect) -> None:
        async with connect(URL) as ws:
            await asyncio.sleep(10)
            await ws.recv()

    events = recording(folder, session, talk)
    assert [round(event.at, 3) for event in events if isinstance(event, Received)] == [1.0, 2.0, 3.0]


@check
def an_end_is_recorded_with_who_ended_it(folder: Path) -> None:
    async def closes(server: Server) -> None:
        server.close(1012, "restart")

    async def aborts(server: Server) -> None:
        server.transport.abort()

    async def stays(server: Server) -> None:
        pass

    async def leaves(connect: Connect) -> None:
        ws = await connect(URL)
        await asyncio.sleep(1)
        await ws.close(4001, "done")

    ends = [recording(folder, leaves, talk)[-1] for talk in (closes, aborts, stays)]
    assert [(end.by, end.code, end.reason) for end in ends if isinstance(end, Closed)] == [
        ("server", 1012, "restart"),
        ("network", 1006, ""),
        ("client", 4001, "done"),
    ]


@check
def the_recorded_pace_takes_the_recorded_time(folder: Path) -> None:
    tape = Tape()
    conn = tape.dial()
    tape.opened(conn)
    tape.events += [Received(conn, 10.0, "tick"), Received(conn, 25.0, "tick"), Closed(conn, 30.0, "server", 1012)]
    assert with_client(folder, tape, reads_to_the_end, pace=1).result == ((1012, ""), 30.0)


# --- Secrets ----------------------------------------------------------------------------------------------


@check
def a_secret_is_replaced_and_nothing_else(folder: Path) -> None:
    redactor = Redactor({SECRET: PLACEHOLDER})
    message = '{"key":  "%s", "price": 1.10,\t"list": [1, 2]}'
    assert redactor.payload(message % SECRET) == message % PLACEHOLDER
    shown = PLACEHOLDER.encode().ljust(len(SECRET), b"-")
    assert redactor.payload(b"\xff" + SECRET.encode() + b"\x00") == b"\xff" + shown + b"\x00"


@check
def a_secret_in_a_line_is_refused(folder: Path) -> None:
    path = folder / "secret.ws.jsonl"
    writer = CassetteWriter(path, HEADER, Redactor({SECRET: PLACEHOLDER}))
    writer.write(Dial(1, 0.0, URL))
    try:
        with pytest.raises(SecretFound) as caught:
            write_and_finish(writer, Refused(1, 0.0, "OSError", None, SECRET))
        assert (caught.value.path, caught.value.line) == (path, 3)
        assert SECRET not in str(caught.value)
        assert SECRET not in "".join(file.read_text() for file in folder.iterdir())
    finally:
        writer.discard()


# --- Files ------------------------------------------------------------------------------------------------


@check
def a_discarded_recording_leaves_the_old_one(folder: Path) -> None:
    path = folder / "old.ws.jsonl"
    path.write_bytes(b"old")
    writer = CassetteWriter(path, HEADER, Redactor({}))
    writer.write(Dial(1, 0.0, URL))
    writer.discard()
    assert path.read_bytes() == b"old"


@check
def a_written_recording_is_complete(folder: Path) -> None:
    tape = Tape().connection(("sent", "a"), ("received", b"\x00"))
    [connection] = Recording(write_tape(folder / "tape.ws.jsonl", tape)).connections
    assert [connection.dial, *(event for _, event in connection.events())] == tape.events


@check
def another_version_is_refused(folder: Path) -> None:
    assert is_refused(folder, msgspec.structs.replace(HEADER, version=HEADER.version + 1), End(0))
    assert not is_refused(folder, HEADER, End(0))


@check
def a_recording_with_a_line_missing_is_refused(folder: Path) -> None:
    tape = Tape().connection(("received", "1"), ("received", "2"))
    assert is_refused(folder, HEADER, *tape.events[:2], *tape.events[3:], End(5))
    assert is_refused(folder, HEADER, *tape.events[:-1], End(4))


@check
def times_that_run_backwards_are_refused(folder: Path) -> None:
    assert is_refused(folder, HEADER, Dial(1, 1.0, URL), Refused(1, 0.5, "OSError"), End(2))


@check
def events_before_the_handshake_are_refused(folder: Path) -> None:
    early = [Dial(1, 0.0, URL), Received(1, 0.0, "x"), Open(1, 0.0), Closed(1, 0.0, "client", 1000)]
    assert is_refused(folder, HEADER, *early, End(4))
    assert is_refused(folder, HEADER, Dial(1, 0.0, URL), Sent(1, 0.0, "x"), Rejected(1, 0.0, 401), End(3))


# --- The proof --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_real_engine_passes(tmp_path: Path, name: str) -> None:
    CHECKS[name](tmp_path)


@pytest.mark.parametrize("name", ENGINES)
def test_a_wrong_engine_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    engine = ENGINES[name]
    engine.change(monkeypatch)
    try:
        CHECKS[engine.noticed_by](tmp_path)
    except COMPLAINTS:
        return
    pytest.fail(f"{engine.noticed_by} did not notice it")


def test_every_check_is_there_for_a_wrong_engine() -> None:
    assert {engine.noticed_by for engine in ENGINES.values()} == CHECKS.keys()


def test_names_say_what_is_checked() -> None:
    assert len(ENGINES) >= 25
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in (*ENGINES, *CHECKS))
