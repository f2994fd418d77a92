"""The sandbox on a port: REST and WebSocket of one exchange, for tests in a thread, for the shell in front.

What is said is :mod:`~pytest_connex.sandbox.exchange`'s business, what goes wrong is
:mod:`~pytest_connex.sandbox.faults`'.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from ..background import BackgroundLoop
from ..config import ConnexConfig
from ..errors import ConfigError
from .exchange import Close, Credentials, Exchange, Send, Session
from .faults import Answer, Ending, Faults

WEBSOCKET_PATH = "/ws"

_MAX_MESSAGE = 16 * 2**20
_HEARTBEAT_CHECK = 1.0
_silent = logging.Logger("pytest_connex.sandbox")
_silent.disabled = True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SandboxServer:
    """An exchange on a host and port, within the running event loop.

    Args:
        exchange: Answers.
        faults: Says what goes wrong instead.
        interval: Seconds between two updates of a subscription.
        host: Where to listen.
        port: On which port; 0 takes a free one.
    """

    def __init__(
        self, exchange: Exchange, faults: Faults, interval: float, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._exchange = exchange
        self._faults = faults
        self._interval = interval
        self._host = host
        self._port = port
        self._open: set[_Line] = set()

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigError: The port cannot be had.
        """
        app = web.Application()
        app.router.add_get(WEBSOCKET_PATH, self._websocket)
        app.router.add_route("*", "/{path:.*}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, logger=_silent, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except (OSError, OverflowError) as exc:
            await self._runner.cleanup()
            raise ConfigError(
                f"cannot listen on {self._host}:{self._port}: {exc}. Choose another port, or 0 for a free one"
            ) from exc
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and drop what is connected."""
        self.drop()
        await self._runner.cleanup()

    def drop(self) -> None:
        """Abort every WebSocket connection, without a close frame."""
        for line in list(self._open):
            line.drop()

    async def _rest(self, request: web.Request) -> web.Response:
        if fault := self._faults.next_answer():
            return _faulty(fault)
        answer = self._exchange.rest(request.method, request.path, request.query, request.headers, _now_ms())
        return web.Response(
            status=answer.status, headers=answer.headers, text=answer.body, content_type="application/json"
        )

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if fault := self._faults.next_handshake():
            return _faulty(fault)
        socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE, compress=True)
        if not socket.can_prepare(request).ok:
            return web.Response(status=400, text="this is a WebSocket endpoint")
        await socket.prepare(request)
        session = self._exchange.open_session(_now_ms())
        line = _Line(request, socket, self._faults.next_ending())
        self._open.add(line)
        ticking = asyncio.create_task(self._tick(session, line))
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await line.send(session.receive(message.data, _now_ms()))
        finally:
            ticking.cancel()
            self._open.discard(line)
        return socket

    async def _tick(self, session: Session, line: _Line) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._interval if session.streaming else min(self._interval, _HEARTBEAT_CHECK))
                await line.send(session.tick(_now_ms()))


class _Line:
    """Sends what the exchange says, until a fault ends the connection."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, ending: Ending | None) -> None:
        self._request = request
        self._socket = socket
        self._ending = ending
        self._sent = 0

    async def send(self, messages: list[Send | Close]) -> None:
        for message in messages:
            if self._ending is not None and self._sent >= self._ending.frames:
                await self._end(self._ending)
                return
            if isinstance(message, Close):
                await self._socket.close(code=message.code, message=message.reason.encode())
                return
            if self._socket.closed:
                return
            await self._socket.send_str(message.text)
            self._sent += 1

    async def _end(self, ending: Ending) -> None:
        if ending.code is not None:
            await self._socket.close(code=ending.code, message=ending.reason.encode())
        else:
            self.drop()

    def drop(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def fault_body(fault: Answer) -> dict[str, Any]:
    """Return the body of a scripted error answer."""
    return {"error": "fault", "message": "a scripted fault", "code": fault.status, "details": {}}


def retry_after(fault: Answer) -> dict[str, str]:
    """Return the header that says how long to wait, in seconds, if the fault has one."""
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}


def _faulty(fault: Answer) -> web.Response:
    return web.Response(
        status=fault.status,
        headers=retry_after(fault),
        text=json.dumps(fault_body(fault)),
        content_type="application/json",
    )


class Sandbox:
    """An exchange of a test's own, served from a background thread.

    Attributes:
        exchange: What it says.
        faults: What it does wrong.
        interval: Seconds between two updates.
    """

    def __init__(self, seed: int = 7, interval: float = 0.05) -> None:
        self.seed = seed
        self.interval = interval
        self.faults = Faults()
        self.exchange = Exchange(seed)
        self._credentials = self.exchange.new_credentials()
        self._server = SandboxServer(self.exchange, self.faults, interval)
        self._droppers: list[Callable[[], None]] = []
        self._background = BackgroundLoop("connex-sandbox")
        self._port = 0

    def __repr__(self) -> str:
        return f"Sandbox(seed={self.seed}, interval={self.interval}, port={self._port or 'not started'})"

    @property
    def rest_url(self) -> str:
        """Base URL of its REST API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        """URL of its WebSocket."""
        return f"ws://127.0.0.1:{self._port}{WEBSOCKET_PATH}"

    @property
    def api_key(self) -> str:
        """A key it knows."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """The key's secret."""
        return self._credentials.api_secret

    @property
    def config(self) -> ConnexConfig:
        """Where it is and whom it knows."""
        return ConnexConfig(
            mode="sandbox",
            rest_url=self.rest_url,
            ws_url=self.ws_url,
            api_key=self.api_key,
            api_secret=self.api_secret,
        )

    def new_credentials(self) -> Credentials:
        """Make another key, for a client whose nonces must not meet those of others."""
        return self.exchange.new_credentials()

    def drop_connections(self) -> None:
        """Abort every WebSocket connection, without a close frame."""
        self._background.call(self._server.drop)
        for drop in self._droppers:
            drop()

    def on_drop(self, drop: Callable[[], None]) -> None:
        """Have ``drop`` called too when connections are to be dropped."""
        self._droppers.append(drop)

    def start(self) -> Sandbox:
        """Start serving on a free port of 127.0.0.1."""
        self._background.start()
        self._port = self._background.run(self._server.start())
        return self

    def stop(self) -> None:
        """Stop serving. Calling it again does nothing."""
        if self._port:
            self._background.run(self._server.stop())
            self._port = 0
        self._background.stop()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
