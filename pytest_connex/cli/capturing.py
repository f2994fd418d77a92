"""What ``connex capture`` does: it speaks with the gateway and records that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ..cassette.events import FORMAT, VERSION, Header, Payload
from ..cassette.recorder import Pairs, Recorder
from ..cassette.writing import CassetteWriter, put_in_place
from ..client.websocket import NONCES
from ..clock import time_of
from ..config import RECORDED_WS_URL, ConnexConfig, canonical_url, origin
from ..errors import CassetteError, ConnexError
from ..model import ErrorEvent
from ..protocol import Dialect, classify, decode_leniently
from ..proxy.endpoint import SILENT
from .recording import counted, facts, redactor_of

if TYPE_CHECKING:
    import threading

    from websockets.asyncio.client import ClientConnection

_REFRESH = 0.1  # seconds

_LEAVING = 1.0
"""Seconds that the server has to answer the close; while it sends a burst, the answer is behind all of that."""


def record(tape: Tape, conversation: Conversation, stopped: threading.Event) -> str:
    """Record until there are enough frames, and put the recording into its place; return what came before that."""
    try:
        with _progress(tape):
            ending = asyncio.run(_until_stopped(tape, conversation, stopped))
        written = tape.put_in_place()
    finally:
        tape.discard()
    typer.echo(
        f"recorded {tape.path}: {counted(tape.frames, 'frame')}" if written else "nothing was recorded", err=True
    )
    return "" if tape.complete else ending


async def _until_stopped(tape: Tape, conversation: Conversation, stopped: threading.Event) -> str:
    work = asyncio.create_task(conversation.hold(tape))
    while not work.done() and not stopped.is_set():
        await asyncio.wait({work}, timeout=_REFRESH)
    if not work.done():
        work.cancel()
    try:
        return await work
    except asyncio.CancelledError:
        return "interrupted"


@contextmanager
def _progress(tape: Tape) -> Iterator[None]:
    stderr = typer.get_text_stream("stderr")
    if not stderr.isatty():
        yield
        return
    with typer.progressbar(length=tape.goal, label="order-book frames", show_pos=True, file=stderr) as bar:
        tape.on_frame = lambda: bar.update(1)
        yield


class Conversation:
    """What is said to the gateway: the same as by :func:`~pytest_connex.capture_orderbook`, over one connection."""

    def __init__(self, config: ConnexConfig, symbol: str, depth: int, authenticate: bool) -> None:
        self._config = config
        self._dialect = Dialect()
        self._symbol = symbol
        self._depth = depth
        self._authenticate = authenticate

    async def hold(self, tape: Tape) -> str:
        """Speak until the tape is complete; return what ended it before."""
        config = self._config
        conn = tape.dial(_now(), config.ws_url)
        try:
            connection = await self._connected()
        except InvalidStatus as exc:
            response = exc.response
            body = (response.body or b"").decode("utf-8", "replace")
            tape.rejected(conn, _now(), response.status_code, response.headers.raw_items(), body)
            return f"no connection to {config.ws_url}: {exc}"
        except (OSError, InvalidHandshake, EOFError) as exc:
            tape.refused(conn, _now(), _refusal(exc))
            return f"no connection to {config.ws_url}: {exc}"
        headers = connection.response.headers.raw_items() if connection.response else ()
        tape.opened(conn, _now(), connection.subprotocol, headers)
        try:
            await self._speak(connection, tape, conn)
        except ConnectionClosed as exc:
            frame = exc.rcvd
            by: Literal["server", "network"] = "server" if frame else "network"
            tape.closed(conn, _now(), by, frame.code if frame else 1006, frame.reason if frame else "")
            said = f"closed by the server with {frame.code} {frame.reason}".rstrip() if frame else "lost"
            return f"the connection was {said}"
        except TimeoutError:
            return f"no order-book frame within {config.ws_timeout:g} s"
        except ConnexError as exc:
            return str(exc)
        finally:
            tape.closed(conn, _now(), "client", 1000, "")
            await connection.close()  # with 1000, where ``async with`` would make an interruption 1011
        return ""

    async def _connected(self) -> ClientConnection:
        dialect = self._dialect
        dialling = connect(
            self._config.ws_url,
            ping_interval=dialect.ping_interval,
            ping_timeout=dialect.ping_timeout,
            close_timeout=_LEAVING,
            max_size=None,
            logger=SILENT,
        )
        followed = dialling.process_redirect

        def within(exc: Exception) -> Exception | str:
            answer = followed(exc)
            if isinstance(answer, str) and origin(answer) != origin(self._config.ws_url):
                return InvalidHandshake(f"it redirects to another server, {answer}, which is not followed")
            return answer

        dialling.process_redirect = within  # type: ignore[method-assign]
        return await dialling

    async def _speak(self, connection: ClientConnection, tape: Tape, conn: int) -> None:
        key, secret = self._config.api_key, self._config.api_secret
        if self._authenticate and key and secret:
            login = self._dialect.authenticate(key, secret, NONCES.next(key))
            await self._say(connection, tape, conn, self._dialect.encode(login))
            async with asyncio.timeout(self._config.ws_timeout):
                await self._hear(connection, tape, conn)
        subscription = self._dialect.subscribe(self._symbol, self._depth)
        await self._say(connection, tape, conn, self._dialect.encode(subscription))
        while not tape.complete:
            before = tape.frames
            async with asyncio.timeout(self._config.ws_timeout):
                while tape.frames == before:
                    await self._hear(connection, tape, conn)
                    tape.check()

    async def _say(self, connection: ClientConnection, tape: Tape, conn: int, message: str) -> None:
        tape.sent(conn, _now(), message)
        await connection.send(message)

    async def _hear(self, connection: ClientConnection, tape: Tape, conn: int) -> None:
        message = await connection.recv()
        tape.received(conn, _now(), message)
        if classify(decode_leniently(message)) != "error":
            return
        event = self._dialect.parse(message)
        if isinstance(event, ErrorEvent):
            raise self._dialect.error_from(event)


class Tape(Recorder):
    """Records until there are enough order-book frames; what the server sends after the last is not kept.

    Attributes:
        frames: How many there are.
        goal: How many are enough.
        on_frame: Called for each.
    """

    def __init__(self, path: Path, config: ConnexConfig, goal: int) -> None:
        redactor = redactor_of(config)
        header = Header(FORMAT, VERSION, **facts("live", "connex capture", datetime.now(UTC)))
        self._writer = CassetteWriter(path, header, redactor)
        super().__init__(
            lambda event: self._guarded(partial(self._writer.write, event)),
            lambda messages: self._guarded(partial(self._writer.write_messages, messages)),
            redactor,
            lambda url: canonical_url(url, config.ws_url, RECORDED_WS_URL),
        )
        self.path = path
        self.frames, self.goal = 0, goal
        self.on_frame: Callable[[], None] = lambda: None
        self._was_open = False
        self._problem: CassetteError | None = None

    @property
    def complete(self) -> bool:
        """Whether there are enough frames."""
        return self.frames >= self.goal

    def received(self, conn: int, now: float, message: Payload) -> None:
        """Note a message, and count it if it is an order-book frame."""
        if self.complete:
            return
        super().received(conn, now, message)
        if classify(decode_leniently(message)) == "orderbook":
            self.frames += 1
            self.on_frame()

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Pairs) -> None:
        """Note that there is something to keep."""
        self._was_open = True
        super().opened(conn, now, subprotocol, headers)

    def put_in_place(self) -> bool:
        """Put the recording into its place, if there was a connection.

        Raises:
            CassetteError: It cannot be written, or holds a secret.
        """
        self.finish()
        self.check()
        if not self._was_open:
            return False
        self._writer.finish()
        put_in_place([self._writer], [])
        return True

    def discard(self) -> None:
        """Throw away what is not in its place."""
        self._writer.discard()

    def check(self) -> None:
        """Raise what has kept a message from being written: it happened on the server's side of the connection."""
        if self._problem is not None:
            raise self._problem

    def _guarded(self, write: Callable[[], None]) -> None:
        if self._problem is not None:
            return
        try:
            write()
        except CassetteError as exc:
            self._problem = exc


def _refusal(exc: Exception) -> OSError:
    """Return what stands for a failed dial in a recording."""
    return exc if isinstance(exc, OSError) else ConnectionAbortedError(None, f"{type(exc).__name__}: {exc}")


def _now() -> float:
    return time_of(asyncio.get_running_loop())
