"""A stage for whole conversations: a scripted server, wires that cut what passes into pieces, a virtual clock.

The server is websockets' own protocol on one half of a socket pair; the client is the real one, always, and dials a
port. A conversation is recorded through the relay into a file and replayed from it by the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from websockets.asyncio.client import connect as websockets_connect
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pytest_connex.cassette.events import FORMAT, VERSION, Header, Payload
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import CassetteError
from pytest_connex.proxy.connect import connector
from pytest_connex.proxy.desk import Address
from pytest_connex.proxy.endpoint import SILENT
from pytest_connex.proxy.http import Asked
from pytest_connex.proxy.relay import RelayDialler
from pytest_connex.proxy.replay import ReplayDialler
from pytest_connex.proxy.upstream import Reach
from pytest_connex.secrets.redaction import Redactor
from pytest_connex.virtual import VirtualLoop

from ..unit.doorway import Answers, Doorway

HEADER = Header(FORMAT, VERSION, "2026-11-23T15:00:00Z", "sandbox", "pytest-connex 0.1.0", "tests/test_x.py::test_y")
HOST = "wss://ws.connex.invalid"
FOREVER = 100_000.0
"""Seconds of the virtual clock after which a conversation counts as stuck."""

SETTLED = 60.0
"""Seconds of the virtual clock after which nothing is under way any more."""

_WHOLE = 1 << 16
_PIECES = 400

Result = TypeVar("Result")
Connect = type[websockets_connect]


def on_virtual_clock(main: Callable[[], Awaitable[Result]]) -> Result:
    """Run ``main`` on a virtual loop of its own; a conversation that is stuck is a TimeoutError."""

    async def bounded() -> Result:
        async with asyncio.timeout(FOREVER):
            return await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(bounded())


# --- Wires -----------------------------------------------------------------------------------------------


class Wires:
    """Makes socket pairs between whose halves every piece has another size.

    Args:
        sizes: The sizes of the pieces in bytes, over and over; after some hundred the rest goes in large ones.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        self._tasks: set[asyncio.Task[None]] = set()

    def socketpair(self) -> tuple[socket.socket, socket.socket]:
        if not self._sizes:
            return socket.socketpair()
        ours, near = socket.socketpair()
        far, theirs = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        task = asyncio.get_running_loop().create_task(self.connect(near, far))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ours, theirs

    async def connect(self, near: socket.socket, far: socket.socket) -> None:
        """Join two sockets until both ends have hung up."""
        with near, far:
            await asyncio.gather(self._pump(near, far), self._pump(far, near))

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pieces = itertools.chain(itertools.islice(itertools.cycle(self._sizes), _PIECES), itertools.repeat(_WHOLE))
        with contextlib.suppress(OSError):
            for size in pieces:
                data = await loop.sock_recv(source, size)
                if not data:
                    break
                await loop.sock_sendall(sink, data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class Way(Doorway):
    """A doorway with wires before it, on the running loop until :meth:`close`."""

    def __init__(self, answers: Answers, wires: Wires) -> None:
        super().__init__(answers)
        self._wires = wires
        self._clients: dict[Address, Address] = {}
        self._front = socket.create_server(("127.0.0.1", 0))
        self._front.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        return self._front.getsockname()

    def client(self, asked: Asked) -> Address:
        return self._clients[asked.peer]

    async def open(self) -> None:
        await super().open()
        asyncio.get_running_loop().add_reader(self._front, self._accept)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._front)
        self._front.close()
        await super().close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self) -> None:
        near, client = self._front.accept()
        near.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._lead(near, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, near: socket.socket, client: Address) -> None:
        far = socket.socket()
        far.setblocking(False)
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(far, super().address)
        self._clients[far.getsockname()] = client
        await self._wires.connect(near, far)


# --- The server ------------------------------------------------------------------------------------------


class Script(Protocol):
    """What a server does on one connection."""

    async def handshake(self, server: Server, request: Request) -> bool:
        """Accept or reject; tell which."""

    async def talk(self, server: Server) -> None:
        """Say things."""


class Server(asyncio.Protocol):
    """One connection of a server that follows a script.

    Attributes:
        heard: The messages of the client.
        answers_pings: Whether it is alive.
    """

    def __init__(self, script: Script, subprotocol: str | None = None, compress: bool = False) -> None:
        self.heard: list[Payload] = []
        self.answers_pings = True
        self._script = script
        self._protocol = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory()] if compress else None,
            select_subprotocol=lambda _, offered: subprotocol if subprotocol in offered else None,
            max_size=None,
            logger=SILENT,
        )
        self._fragments: list[Frame] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self.answers_pings:
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._task = asyncio.get_running_loop().create_task(self._run(event))
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._hear(event)
        self.flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def has_heard(self, count: int) -> None:
        while len(self.heard) < count:
            self._changed.clear()
            await self._changed.wait()

    def accept(self, request: Request, headers: dict[str, str]) -> None:
        response = self._protocol.accept(request)
        for name, value in headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self.flush()

    def reject(self, status: int, headers: dict[str, str], body: str) -> None:
        response = self._protocol.reject(status, body)
        for name, value in headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self.flush()

    def send(self, message: Payload, cuts: Sequence[int] = (), ping_between: bool = False) -> None:
        """Send a message in one frame, or cut into several, a ping between them."""
        text = isinstance(message, str)
        data = message.encode() if isinstance(message, str) else message
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        parts = [data[start:stop] for start, stop in itertools.pairwise(places)]
        for index, part in enumerate(parts):
            final = index == len(parts) - 1
            if index:
                self._protocol.send_continuation(part, fin=final)
            elif text:
                self._protocol.send_text(part, fin=final)
            else:
                self._protocol.send_binary(part, fin=final)
            if ping_between:
                self._protocol.send_ping(b"between")
        self.flush()

    def begin(self, text: str) -> None:
        """Send the first fragment of a message that has no other."""
        self._protocol.send_text(text.encode(), fin=False)
        self.flush()

    def close(self, code: int, reason: str) -> None:
        self._protocol.send_close(code, reason)
        self.flush()

    def flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    async def _run(self, request: Request) -> None:
        if await self._script.handshake(self, request):
            await self._script.talk(self)

    def _hear(self, frame: Frame) -> None:
        self._fragments.append(frame)
        if not frame.fin:
            return
        data = b"".join(bytes(fragment.data) for fragment in self._fragments)
        self.heard.append(data.decode() if self._fragments[0].opcode is Opcode.TEXT else data)
        self._fragments.clear()
        self._changed.set()


def dial_server(wires: Wires, server: Callable[[dict[str, Any]], Server]) -> Reach:
    """Return what the relay dials upstream with: ``server`` makes the other end for its options, or raises."""

    async def reach(make: Callable[[], asyncio.Protocol], url: str, options: dict[str, Any]) -> None:
        other_end = server(options)
        ours, theirs = wires.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: other_end, sock=ours)
        await loop.create_connection(make, sock=theirs)

    return reach


# --- Recording and replaying ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def way(answers: Answers, sizes: Sequence[int]) -> AsyncIterator[Connect]:
    """Give a client a way to whatever answers, what is under way the time to end, and end what it leaves open."""
    doorway = Way(answers, Wires(sizes)) if sizes else Doorway(answers)
    await doorway.open()
    try:
        yield connector(doorway, _nothing)
        await asyncio.sleep(SETTLED)
    finally:
        await doorway.close()
        await asyncio.sleep(SETTLED)


async def _nothing() -> None:
    """Every dial passes."""


def record(
    path: Path,
    session: Callable[[Connect], Awaitable[Result]],
    server: Callable[[dict[str, Any]], Server],
    client_sizes: Sequence[int] = (),
    server_sizes: Sequence[int] = (),
) -> Result:
    """Run ``session`` against ``server`` through the relay and write the recording."""
    writer = CassetteWriter(path, HEADER, Redactor({}))

    async def main() -> Result:
        recorder = Recorder(writer.write, writer.write_messages, Redactor({}), lambda url: url)
        dialler = RelayDialler(recorder, dial_server(Wires(server_sizes), server))
        try:
            async with way(dialler.behaviour, client_sizes) as connect:
                return await session(connect)
        finally:
            await dialler.stop_here()
            recorder.finish()
            await asyncio.sleep(SETTLED)

    try:
        result = on_virtual_clock(main)
        writer.finish()
        writer.commit()
        writer.settle()
    finally:
        writer.discard()
    return result


class Replayed:
    """What a replay came to."""

    def __init__(self, result: Any, verdicts: list[CassetteError], player: Player) -> None:
        self.result = result
        self.verdicts = verdicts
        self.unplayed = player.unplayed()


def replay(
    path: Path,
    session: Callable[[Connect], Awaitable[Any]],
    pace: float = 0.0,
    sizes: Sequence[int] = (),
    volatile: Sequence[str] = ("id",),
    timeout: float = 5.0,
) -> Replayed:
    """Run ``session`` on the recording."""
    player = Player(Recording(path), Rules(volatile, Redactor({}), again="record it again", echoed=volatile))
    verdicts: list[CassetteError] = []

    async def main() -> Any:
        dialler = ReplayDialler(player, timeout, verdicts.append, pace)
        async with way(dialler.behaviour, sizes) as connect:
            return await session(connect)

    return Replayed(on_virtual_clock(main), verdicts, player)
