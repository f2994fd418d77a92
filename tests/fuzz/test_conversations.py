"""Whatever a server and its clients say to each other, a recording of it replays to the same observations.

A conversation is drawn as a script for both sides: several tasks, each with one connection after the other. Every
actor acts at moments of its own, so that no two of them race at one instant: who wins a race may differ from run
to run, on a recording as on the real server. Frames and handshakes are cut anywhere on their way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from pytest_connex.cassette.events import Payload

from .stage import HOST, Connect, Server, record, replay

# --- Scripts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Say:
    """One message: ``cuts`` are where it is cut into fragments."""

    body: Payload
    cuts: tuple[int, ...] = ()

    def parts(self) -> list[Any]:
        places = [0, *sorted(min(cut, len(self.body)) for cut in self.cuts), len(self.body)]
        return [self.body[start:stop] for start, stop in itertools.pairwise(places)]


@dataclass(frozen=True)
class Order:
    """A JSON message of the client with an id that it makes up anew; ``named`` is a string, otherwise a number."""

    named: bool


@dataclass(frozen=True)
class Echo:
    """A JSON message of the server that repeats the id of an order, if there was one."""

    order: int
    escaped: bool


@dataclass(frozen=True)
class Turn:
    """One side says something.

    Attributes:
        by: ``client`` or ``server``.
        pause: Seconds before it.
        says: The messages.
        eager: Whether the server does not wait for the client's turns before.
        read: How many messages the client reads afterwards, at most.
        ping: Whether it sends a ping first.
    """

    by: str
    pause: int
    says: tuple[Any, ...]
    eager: bool = False
    read: int = 0
    ping: bool = False


@dataclass(frozen=True)
class End:
    """How a connection ends: ``close`` or ``abort``, by whom; for the server, before which turn."""

    by: str
    how: str
    code: int = 1000
    reason: str = ""
    before: int = 99
    mid_fragment: bool = False


@dataclass(frozen=True)
class Answer:
    """How a dial is answered: ``accept``, ``reject`` or ``refuse``, after some seconds."""

    how: str = "accept"
    delay: int = 0
    subprotocol: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 101
    body: str = ""


@dataclass(frozen=True)
class Connection:
    """One connection, from its dial to its end.

    Attributes:
        minimum: How many messages of the client the server awaits before it says anything.
    """

    number: int
    url: str
    answer: Answer
    turns: tuple[Turn, ...]
    end: End
    minimum: int = 0
    compress: bool = False
    max_queue: int | None = None
    ping_interval: float | None = None


@dataclass(frozen=True)
class Conversation:
    """Tasks that run at once, each with one connection after the other."""

    tasks: tuple[tuple[Connection, ...], ...]
    pace: int
    sizes: tuple[tuple[int, ...], ...] = ((), (), ())


# --- Both sides ------------------------------------------------------------------------------------------


async def pause_until(phase: float, seconds: int = 0) -> None:
    """Sleep until the next moment that is the actor's own: ``phase`` after a whole second."""
    now = asyncio.get_running_loop().time()
    whole = math.floor(now - phase + 0.001) + 1 + seconds
    await asyncio.sleep(whole + phase - now)


class ScriptedServer:
    """The server's side of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._phase = 0.5 + connection.number / 100

    async def handshake(self, server: Server, request: Request) -> bool:
        answer = self._connection.answer
        if answer.delay:
            await pause_until(self._phase, answer.delay)
        if answer.how == "reject":
            server.reject(answer.status, answer.headers, answer.body)
            return False
        server.accept(request, answer.headers)
        return True

    async def talk(self, server: Server) -> None:
        connection = self._connection
        await server.has_heard(connection.minimum)
        expected = 0
        for index, turn in enumerate(connection.turns):
            if index == connection.end.before:
                break
            if turn.by == "client":
                expected += len(turn.says)
                continue
            if not turn.eager:
                await server.has_heard(expected)
            await pause_until(self._phase, turn.pause)
            for says in turn.says:
                self._say(server, says, turn.ping)
        await self._end(server, expected)

    def _say(self, server: Server, says: Say | Echo, ping: bool) -> None:
        if isinstance(says, Say):
            server.send(says.body, says.cuts, ping)
            return
        orders = [m for m in map(decoded, server.heard) if isinstance(m, dict) and "order" in m]
        order = orders[says.order % len(orders)] if orders else {"id": 0}
        shown = json.dumps(order["id"], ensure_ascii=says.escaped)
        number = order["id"] if isinstance(order["id"], int) else 7
        server.send(f'{{"event":"ack","price": 1.10,"id" :{shown},"depth":{number},"of":[{shown}],"n":1e2}}')

    async def _end(self, server: Server, expected: int) -> None:
        end = self._connection.end
        if end.by != "server":
            return
        if end.before >= len(self._connection.turns):
            await server.has_heard(expected)
        await pause_until(self._phase)
        if end.mid_fragment:
            server.begin("the beginning of")
        if end.how == "close":
            server.close(end.code, end.reason)
        else:
            server.transport.abort()


def decoded(message: Payload) -> Any:
    try:
        return json.loads(message)
    except ValueError:
        return None


class Client:
    """The clients' side of a conversation; ``run`` is part of every id that it makes up.

    What it observes is a list of facts for each connection. It sends the members of its JSON in another order in
    each run.
    """

    def __init__(self, conversation: Conversation, run: int, timed: bool) -> None:
        self._conversation = conversation
        self._run = run
        self._timed = timed
        self._made: dict[str, str] = {}
        self._orders = Counter[int]()
        self.seen: dict[int, list[Any]] = {}

    async def session(self, connect: Connect) -> dict[int, list[Any]]:
        self._start = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(self._task(connect, connections, index) for index, connections in enumerate(self._conversation.tasks))
        )
        return self.seen

    async def _task(self, connect: Connect, connections: Sequence[Connection], index: int) -> None:
        for connection in connections:
            await pause_until(index / 100 + 0.01)
            self.seen[connection.number] = seen = []
            await self._dial(connect, connection, seen, index / 100 + 0.01)

    async def _dial(self, connect: Connect, connection: Connection, seen: list[Any], phase: float) -> None:
        try:
            ws = await connect(
                connection.url,
                subprotocols=["v2", "v1"] if connection.answer.subprotocol else None,
                compression="deflate" if connection.compress else None,
                max_queue=connection.max_queue,
                max_size=None,
                open_timeout=None,
                ping_interval=connection.ping_interval,
                additional_headers={"X-Number": str(connection.number)},
            )
        except InvalidStatus as exc:
            response = exc.response
            kept = {name: response.headers.get(name) for name in connection.answer.headers}
            self._see(seen, "rejected", response.status_code, kept, response.body)
            return
        except OSError as exc:
            self._see(seen, "refused", type(exc).__name__, exc.errno, exc.strerror)
            return
        assert ws.response is not None
        kept = {name: ws.response.headers.get(name) for name in connection.answer.headers}
        self._see(seen, "open", ws.subprotocol, kept)
        try:
            await self._talk(ws, connection, seen, phase)
        except ConnectionClosed as exc:
            await self._drain(ws, seen)
            self._see(seen, "closed", ws.close_code, ws.close_reason, type(exc).__name__, exc.rcvd is None)
        ws.transport.abort()
        await ws.wait_closed()

    async def _talk(self, ws: ClientConnection, connection: Connection, seen: list[Any], phase: float) -> None:
        to_come = 0
        for turn in connection.turns:
            if turn.by == "client":
                await pause_until(phase, turn.pause)
                if turn.ping:
                    await ws.ping()
                for says in turn.says:
                    await ws.send(self._words(says, connection.number))
            else:
                to_come += len(turn.says)
            for _ in range(min(turn.read, to_come)):
                to_come -= 1
                self._see(seen, "message", self._normalised(await ws.recv()))
        end = connection.end
        if end.by == "server":
            while True:
                self._see(seen, "message", self._normalised(await ws.recv()))
        await pause_until(phase)
        self._see(seen, "I end it")
        if end.how == "close":
            await ws.close(end.code, end.reason)
        else:
            ws.transport.abort()

    async def _drain(self, ws: ClientConnection, seen: list[Any]) -> None:
        try:
            while True:
                self._see(seen, "message", self._normalised(await ws.recv()))
        except ConnectionClosed:
            pass

    def _words(self, says: Say | Order, connection: int) -> Any:
        if isinstance(says, Say):
            return says.parts() if says.cuts else says.body
        self._orders[connection] += 1
        number = self._run * 1_000_000 + connection * 1_000 + self._orders[connection]
        made: Any = f"order-é-{number}" if says.named else number
        for written in (json.dumps(made), json.dumps(made, ensure_ascii=False)):
            self._made[written] = f"<id {number % 1_000_000}>"
        members = {"order": connection, "id": made, "price": "PRICE"}
        if self._run % 2:
            members = dict(reversed(members.items()))
        return json.dumps(members).replace('"PRICE"', "1.10")

    def _normalised(self, message: Payload) -> Payload:
        """Put marks in place of the ids that this client made up, where the server repeats them."""
        if isinstance(message, bytes):
            return message
        named = re.compile(r'"id" :("[^"]*"|\d+)|("order-[^"]*")')
        return named.sub(lambda match: self._made.get(match[1] or match[2], match[0]), message)

    def _see(self, seen: list[Any], *fact: Any) -> None:
        moment = round(asyncio.get_running_loop().time() - self._start, 2) if self._timed else None
        seen.append((*fact, moment))


# --- Drawing them ----------------------------------------------------------------------------------------

EXACT = (
    '{"p":1.10,"q":100000000000000000000000000001,"z":0.00000000}',
    ' {"b":1, "a":2}\r\n',
    "null",
    '\u2028\x00"\\é鍵',
)
bodies = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["", b"", *EXACT]),
    st.builds(lambda unit, count: unit * count, st.sampled_from(["x", "é", b"\x00"]), st.integers(100, 70_000)),
)
says = st.builds(Say, bodies, st.lists(st.integers(0, 200), max_size=3).map(tuple))
few = st.integers(0, 3)
client_turns = st.builds(
    Turn,
    st.just("client"),
    few,
    st.lists(says | st.builds(Order, st.booleans()), min_size=1, max_size=3).map(tuple),
    read=few,
    ping=st.booleans(),
)
server_turns = st.builds(
    Turn,
    st.just("server"),
    few,
    st.lists(says | st.builds(Echo, few, st.booleans()), min_size=1, max_size=3).map(tuple),
    eager=st.booleans(),
    read=few,
    ping=st.booleans(),
)
reasons = st.sampled_from(["", "restart", "bad key é"])
ends = st.one_of(
    st.builds(
        End,
        st.just("server"),
        st.just("close"),
        st.sampled_from([1000, 1001, 1008, 1011, 1012, 1013, 4000, 4999]),
        reasons,
        st.integers(0, 5),
        st.booleans(),
    ),
    st.builds(End, st.just("server"), st.just("abort"), before=st.integers(0, 5), mid_fragment=st.booleans()),
    st.builds(End, st.just("client"), st.just("close"), st.sampled_from([1000, 1001, 3000, 4001]), reasons),
    st.just(End("client", "abort")),
)
extra_headers = st.dictionaries(
    st.sampled_from(["X-Session", "X-Node", "Retry-After"]), st.sampled_from(["7", "a b"]), max_size=2
)
plainly = st.just(Answer())
answers = st.one_of(
    plainly,
    st.builds(Answer, st.just("accept"), few, st.sampled_from([None, "v1", "v2"]), extra_headers),
    st.builds(
        Answer,
        st.just("reject"),
        few,
        st.none(),
        extra_headers,
        st.sampled_from([401, 403, 429, 503]),
        st.sampled_from(["", "slow down", '{"error": "é"}']),
    ),
    st.just(Answer("refuse")),
)
pieces = st.lists(st.sampled_from([1, 2, 3, 7, 50, 1000]), max_size=4).map(tuple)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw a conversation whose connections a client can tell apart.

    Without the recorded intervals several tasks get out of step: on one URL they may dial in another order than
    they did, so that each connection begins with a message of its own; and a close may come later than what its
    client would have sent after it, so that the server closes when it has heard everything.
    """
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    pace = draw(st.sampled_from([0, 1]))
    shared = draw(st.booleans())
    in_step = len(shape) == 1 or pace == 1
    numbers = itertools.count(1)
    tasks = tuple(
        tuple(draw(connections(next(numbers), shared, in_step, pace)) for _ in range(length)) for length in shape
    )
    return Conversation(tasks, pace, (draw(pieces), draw(pieces), draw(pieces)))


@st.composite
def connections(draw: st.DrawFn, number: int, shared: bool, in_step: bool, pace: int) -> Connection:
    turns = draw(st.lists(client_turns | server_turns, max_size=4))
    end = draw(ends)
    if not in_step:
        end = replace(end, before=End.before)
    greets = shared and not in_step
    if greets:
        turns = [Turn("client", 0, (Say(f'{{"hello": {number}}}'),)), *turns]
    # A client with full buffers stops reading, and notices the end when it happens to: its times are not compared.
    max_queue = draw(st.sampled_from([None, 1, 16])) if pace == 0 else None
    return Connection(
        number=number,
        url=f"{HOST}/" if shared else f"{HOST}/{number}?n={number}",
        answer=draw(plainly if greets else answers),
        turns=tuple(turns),
        end=end,
        minimum=1 if greets else 0,
        compress=draw(st.booleans()),
        max_queue=max_queue,
        ping_interval=draw(st.sampled_from([None, 1.7])) if max_queue is None else None,
    )


# --- The proof -------------------------------------------------------------------------------------------


def scripted_servers(conversation: Conversation) -> Callable[[dict[str, Any]], Server]:
    """Return what makes the server's end of a dial; a header of the client says which connection it is."""
    by_number = {str(connection.number): connection for task in conversation.tasks for connection in task}

    def make(options: dict[str, Any]) -> Server:
        connection = by_number[options["additional_headers"]["X-Number"]]
        if connection.answer.how == "refuse":
            raise ConnectionRefusedError(111, "Connection refused")
        return Server(ScriptedServer(connection), connection.answer.subprotocol, connection.compress)

    return make


def check(path: Path, conversation: Conversation) -> None:
    timed = conversation.pace == 1
    client_sizes, server_sizes, replay_sizes = conversation.sizes
    recorded = record(
        path, Client(conversation, 1, timed).session, scripted_servers(conversation), client_sizes, server_sizes
    )
    replayed = replay(path, Client(conversation, 2, timed).session, conversation.pace, replay_sizes)
    assert replayed.verdicts == []
    assert replayed.result == recorded
    assert replayed.unplayed is None


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "tape.ws.jsonl"


@given(conversation=conversations())
def test_a_recorded_conversation_replays_to_the_same_observations(path: Path, conversation: Conversation) -> None:
    check(path, conversation)


def connection(number: int, *turns: Turn, end: End, answer: Answer = Answer(), **options: Any) -> Connection:
    return Connection(number, f"{HOST}/{number}", answer, turns, end, **options)


LEAVES = End("client", "close")
KNOWN = {
    "a-mebibyte-in-each-direction": (
        connection(
            1,
            Turn("client", 0, (Say("é" * (1 << 19)), Say(b"\x00" * (1 << 20), (5, 70_000)))),
            Turn(
                "server", 0, (Say(b"\xff" * (1 << 20), (1, 65_536)), Say("é" * (1 << 19), (1, 3))), read=2, ping=True
            ),
            end=LEAVES,
            compress=True,
            max_queue=1,
        ),
    ),
    "a-handshake-answered-after-another-connection-has-sent": (
        connection(1, Turn("server", 0, (Say("hello"),), read=1), end=LEAVES, answer=Answer(delay=3)),
        connection(2, Turn("client", 0, (Say("a"),)), end=LEAVES),
    ),
    "a-rejection-after-another-connection-has-sent": (
        connection(1, end=LEAVES, answer=Answer("reject", 3, status=429, headers={"Retry-After": "2"}, body="é")),
        connection(2, Turn("client", 0, (Say("a"),)), end=LEAVES),
    ),
    "a-rejection-before-another-connection-sends": (
        connection(1, end=LEAVES, answer=Answer("reject", 1, status=401)),
        connection(2, Turn("client", 3, (Say("a"),)), Turn("client", 8, (Say("b"),)), end=LEAVES),
    ),
    "a-close-in-the-middle-of-a-message": (
        connection(1, Turn("client", 0, (Say(""),)), end=End("server", "close", 1011, "bröken", mid_fragment=True)),
    ),
    "an-abort-in-the-middle-of-a-message": (
        connection(1, Turn("server", 0, (Say(b""),)), end=End("server", "abort", mid_fragment=True)),
    ),
    "echoes-on-two-connections": tuple(
        connection(
            number,
            Turn("client", 0, (Order(named=True), Order(named=False), Order(named=True))),
            Turn("server", 1, tuple(Echo(order, escaped) for order in range(3) for escaped in (True, False)), read=6),
            end=End("server", "close", 1012, "restart"),
        )
        for number in (1, 2)
    ),
}


@pytest.mark.parametrize("pace", [0, 1])
@pytest.mark.parametrize("known", KNOWN)
def test_a_conversation_of_a_known_shape_replays_to_the_same_observations(path: Path, known: str, pace: int) -> None:
    check(path, Conversation(tuple((each,) for each in KNOWN[known]), pace, ((1, 2, 50), (3, 7), (1, 1000))))
