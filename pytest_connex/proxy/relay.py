"""Forwarding a client's WebSocket connections to the real server, and telling a recorder what passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Literal, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus, SecurityError
from websockets.http11 import Request

from ..cassette.events import Payload
from ..clock import time_of
from ..config import origin
from .endpoint import REPLAYABLE, SILENT, Behaviour, Endpoint

_PASSED_ON = (
    "origin",
    "subprotocols",
    "additional_headers",
    "user_agent_header",
    "compression",
    "open_timeout",
    "ping_interval",
    "ping_timeout",
)

MAX_REDIRECTS = 10

TRANSPORT_OPTIONS = (
    "ssl",
    "server_hostname",
    "host",
    "port",
    "proxy",
    "sock",
    "local_addr",
    "family",
    "unix",
    "path",
)
"""Beginnings of the options of ``websockets.connect`` that concern the way to the real server only."""


class Listener(Protocol):
    """What a relay tells of a connection: a :class:`~pytest_connex.cassette.recorder.Recorder`, or nobody."""

    def dial(
        self, now: float, url: str, subprotocols: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> int:
        """Take a dial, and return the number of the connection."""

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Mapping[str, str]) -> None:
        """The server accepted."""

    def rejected(self, conn: int, now: float, status: int, headers: Mapping[str, str], body: str) -> None:
        """The server answered with an HTTP status."""

    def refused(self, conn: int, now: float, error: OSError) -> None:
        """There was no server to answer."""

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """The client sent a message."""

    def received(self, conn: int, now: float, message: Payload) -> None:
        """The server sent one."""

    def closed(
        self, conn: int, now: float, by: Literal["server", "client", "network"], code: int, reason: str
    ) -> None:
        """The connection ended."""


class Unrecorded:
    """Listens to nothing: where traffic is passed on only."""

    def dial(self, *args: Any, **kwargs: Any) -> int:
        """Give every connection the same number."""
        return 0

    def _ignore(self, *args: Any) -> None:
        """Nothing is kept."""

    opened = rejected = refused = sent = received = closed = _ignore


class Relay:
    """Forwards between a client and the real server, and tells a recorder.

    Args:
        recorder: Told of everything, at the moment it passes.
        conn: The recorder's number of this connection.
        upstream: Dials the real server.
    """

    on_read: Callable[[], None] | None = None

    def __init__(
        self, recorder: Listener, conn: int, upstream: Callable[[], Coroutine[Any, Any, ClientConnection]]
    ) -> None:
        self._recorder = recorder
        self._conn = conn
        self._dial = upstream
        self._loop = asyncio.get_running_loop()
        self._outgoing: asyncio.Queue[Payload | None] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing: tuple[int, str] = (1000, "")
        self._task: asyncio.Task[None] | None = None
        self._opened = self._over = False
        self.refusal: BaseException | None = None

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Dial the real server, and answer as it does."""
        self._endpoint = endpoint
        self._task = self._loop.create_task(self._run())

    def received(self, message: Payload) -> None:
        """Pass on a message of the client."""
        self._recorder.sent(self._conn, time_of(self._loop), message)
        self._outgoing.put_nowait(message)

    def came_late(self, message: Payload) -> None:
        """Drop it: the real server has closed."""

    def writable(self) -> None:
        """Read on from the real server."""
        self._writable.set()

    def ended(self, code: int, reason: str) -> None:
        """Pass on the client's close; one that comes before the answer of the server ends the dial."""
        if self._task is not None and not self._opened:
            self._task.cancel()
            gone = TimeoutError("the client gave up during the handshake")
            self._recorder.refused(self._conn, time_of(self._loop), gone)
            return
        self._recorder.closed(self._conn, time_of(self._loop), "client", code, reason)
        self._over = True
        self._writable.set()
        self._closing = (code, reason)
        self._outgoing.put_nowait(None)

    def stop(self) -> None:
        """Give up the connection to the real server at once."""
        if not self._loop.is_closed() and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _run(self) -> None:
        try:
            upstream = await self._dial()
        except InvalidStatus as exc:
            response = exc.response
            body = (response.body or b"").decode("utf-8", "replace")
            headers = dict(response.headers.raw_items())
            self._recorder.rejected(self._conn, time_of(self._loop), response.status_code, headers, body)
            self._endpoint.reject(response.status_code, headers, body)
            return
        except Exception as exc:  # noqa: BLE001  (handed to the client, which raises it from its dial)
            # The client gets the error that replay will raise.
            self.refusal = error = exc if isinstance(exc, OSError) and type(exc) in REPLAYABLE else aborted(exc)
            self._recorder.refused(self._conn, time_of(self._loop), error)
            self._endpoint.abort()
            return
        headers = dict(upstream.response.headers.raw_items()) if upstream.response else {}
        self._opened = True
        kept = {k: v for k, v in headers.items() if not _is_handshake_header(k)}
        self._recorder.opened(self._conn, time_of(self._loop), upstream.subprotocol, kept)
        self._endpoint.accept(upstream.subprotocol, kept)
        forward = self._loop.create_task(self._forward(upstream))
        try:
            await self._backward(upstream)
        finally:
            forward.cancel()
            upstream.transport.abort()

    async def _backward(self, upstream: ClientConnection) -> None:
        try:
            while True:
                message = await upstream.recv()
                if self._over:
                    continue  # the client has closed: nothing can be written to it any more
                self._recorder.received(self._conn, time_of(self._loop), message)
                self._endpoint.send((message,))
                if not self._endpoint.writing and not self._over:
                    self._writable.clear()
                    await self._writable.wait()
        except ConnectionClosed as exc:
            frame = exc.rcvd
            if frame is None:
                self._recorder.closed(self._conn, time_of(self._loop), "network", 1006, "")
                self._endpoint.abort()
            else:
                self._recorder.closed(self._conn, time_of(self._loop), "server", frame.code, frame.reason)
                self._endpoint.close(frame.code, frame.reason)

    async def _forward(self, upstream: ClientConnection) -> None:
        while (message := await self._outgoing.get()) is not None:
            try:
                await upstream.send(message)
            except ConnectionClosed:
                return
        code, reason = self._closing
        if code in (1005, 1006):
            upstream.transport.abort()
        else:
            await upstream.close(code, reason)


def aborted(exc: Exception) -> OSError:
    """Return what stands for the failure of a dial that the system has no error for."""
    return ConnectionAbortedError(None, f"{type(exc).__name__}: {exc}")


def _not_followed(exc: Exception) -> Exception | str:
    """Leave a redirect to the client."""
    return exc


class _Elsewhere(Exception):
    """A redirect leads to another origin."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


def _within(
    dialling: websockets_connect, follow: Callable[[Exception], Exception | str], exc: Exception
) -> Exception | str:
    """Follow a redirect that stays on its origin; another is :class:`_Elsewhere`."""
    answer = follow(exc)
    stays = not isinstance(answer, str) or origin(answer) == origin(dialling.uri)
    return answer if stays else _Elsewhere(str(answer))


def _is_handshake_header(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith("sec-websocket-") or lowered in ("upgrade", "connection", "content-length")


class RelayDialler:
    """Answers dials through the real server, and records.

    Args:
        recorder: Told of everything.
        connect: Opens the connections to the server.
    """

    def __init__(self, recorder: Listener, connect: type[websockets_connect] = websockets_connect) -> None:
        self._recorder = recorder
        self._connect = connect
        self._relays: list[Relay] = []

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Dial the real server.

        Args:
            url: What the client dials.
            dial: The keyword arguments of ``websockets.connect``; with ``show_redirects``, redirects are not followed
                but handed to the client.
        """
        loop = asyncio.get_running_loop()
        headers = {name: str(value) for name, value in Headers(dial.get("additional_headers") or {}).raw_items()}
        conn = self._recorder.dial(time_of(loop), url, dial.get("subprotocols") or (), headers)

        async def upstream() -> ClientConnection:
            passed_on = {
                name: value
                for name, value in dial.items()
                if name.startswith(TRANSPORT_OPTIONS) or name in _PASSED_ON
            }
            return await self._dialled(url, passed_on, bool(dial.get("show_redirects")))

        relay = Relay(self._recorder, conn, upstream)
        self._relays.append(relay)
        return relay

    async def _dialled(self, url: str, options: dict[str, Any], show_redirects: bool) -> ClientConnection:
        """Connect, without the client's headers where a redirect leads elsewhere: its key may be in any of them."""
        for _ in range(MAX_REDIRECTS):
            dialling = self._connect(url, max_size=None, logger=SILENT, **options)
            if not isinstance(dialling, websockets_connect):
                return await dialling  # another way to the server, which has its own redirects
            follow = _not_followed if show_redirects else dialling.process_redirect
            dialling.process_redirect = partial(_within, dialling, follow)  # type: ignore[method-assign]
            try:
                return await dialling
            except _Elsewhere as moved:
                url, options = moved.url, {**options, "additional_headers": None}
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    def stop(self) -> None:
        """Give up what is still open."""
        for relay in self._relays:
            relay.stop()
