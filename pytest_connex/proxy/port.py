"""One port of this machine that speaks HTTP and WebSocket: the outside of the sandbox and of the proxy.

aiohttp reads and writes HTTP. A request to change to WebSocket is handed on, with its connection, to an
:class:`~pytest_connex.proxy.endpoint.Endpoint`. Faults happen here, whatever stands behind. Nothing logs,
because what passes through may be secret.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any, assert_never, cast
from weakref import WeakSet

from aiohttp import web

from ..errors import ConfigError
from ..faults import Answer, Cut, Faults, Pace
from .endpoint import SILENT, Behaviour, Endpoint
from .listener import Listener
from .wire import Wire

Http = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
WebSocket = Callable[[web.BaseRequest], Behaviour | web.Response]

_VERSION = "13"

_FAREWELLS = 3
"""How many turns of the loop the ends of connections take."""

_TURN = 10.0
"""Seconds that the loop gets to begin or end listening when another thread asks for it."""

_LONGEST = 65_536
"""So many bytes a line of the head of a request may have, as elsewhere in Python."""

_PATIENCE = 0.01
"""Seconds that an answer gets that is being made when the port is closed."""


class Port:
    """Listens on a host and port, within the running event loop.

    Args:
        http: Answers a request.
        websocket: Returns what a WebSocket connection says, or the answer to a handshake that it does not take.
        faults: Says what goes wrong.
        host: Where to listen.
        number: On which port; 0 takes a free one.
        relocated: Returns where a handshake is redirected to, as the client of a request is to see it.
    """

    def __init__(
        self,
        http: Http,
        websocket: WebSocket,
        faults: Faults,
        host: str = "127.0.0.1",
        number: int = 0,
        relocated: Callable[[web.BaseRequest, str], str] = lambda request, location: location,
    ) -> None:
        self._http = http
        self._websocket = websocket
        self._faults = faults
        self._relocated = relocated
        self._endpoints: set[Endpoint] = set()
        self._wires: WeakSet[Wire] = WeakSet()
        self._arrivals = 0
        self._listener = Listener(self._connected, host, number)
        self._reopening: asyncio.TimerHandle | None = None
        self._open = False
        self._frames = 0

    async def start(self) -> int:
        """Listen, and return the number of the port.

        Raises:
            ConfigError: The port cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            logger=SILENT,
            access_log=None,
            auto_decompress=False,
            max_line_size=_LONGEST,
            max_field_size=_LONGEST,
        )
        self._listener.open()
        self._open = True
        self._faults.add_gate(self._on_refuse)
        return self.number

    async def stop(self) -> None:
        """Stop listening, and end what is connected once it has been heard."""
        if self._open:
            self._faults.remove_gate(self._on_refuse)
        self._open = False
        self._turn(math.inf)
        self.drop()
        for _ in range(_FAREWELLS):
            await asyncio.sleep(0)
        self._server.pre_shutdown()
        await self._server.shutdown(_PATIENCE)
        for _ in range(_FAREWELLS):
            for wire in list(self._wires):  # those too that have only just been accepted
                wire.abort()
            await asyncio.sleep(0)

    def drop(self, chosen: Callable[[Behaviour], bool] = lambda behaviour: True) -> None:
        """End the WebSocket connections with a chosen behaviour, without a close frame."""
        for endpoint in list(self._endpoints):
            if chosen(endpoint.behaviour):
                endpoint.hang_up()

    # dials

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._listener.host

    @property
    def number(self) -> int:
        """On which port."""
        return self._listener.number

    def _on_refuse(self, seconds: float) -> None:
        """Refuse dials for ``seconds``, from now on, whatever thread wants it."""
        if threading.get_ident() == self._thread:
            self._turn(seconds)
            return

        async def turn() -> None:
            self._turn(seconds)

        asyncio.run_coroutine_threadsafe(turn(), self._loop).result(_TURN)

    def _turn(self, seconds: float) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if seconds == 0:
            self._listener.open()
            return
        self._listener.close()
        if seconds < math.inf:
            self._reopening = self._loop.call_later(seconds, self._reopen)

    def _reopen(self) -> None:
        try:
            self._turn(0.0)
        except ConfigError as exc:
            self._faults.note(f"dials stay refused: {exc}")

    def _connected(self) -> asyncio.Protocol:
        self._arrivals += 1
        chance = self._faults.chance(f"arrival {self._arrivals}")
        return _Arrival(self._server, self._faults.pace, chance, self._wires.add)

    @property
    def frames(self) -> int:
        """How many WebSocket messages there were, in both directions."""
        return self._frames + sum(endpoint.frames for endpoint in list(self._endpoints))

    def _forget(self, endpoint: Endpoint) -> None:
        self._endpoints.discard(endpoint)
        self._frames += endpoint.frames

    # requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if _wants_websocket(request):
            return self._upgrade(request)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        fault = self._faults.next_answer(f"{request.method} {_path(request)}")
        match fault:
            case None:
                return await self._http(request)
            case Answer():
                return faulty(fault)
            case Cut(bytes=length):
                return await self._cut(request, length)
            case _:
                assert_never(fault)

    async def _cut(self, request: web.BaseRequest, length: int | None) -> web.StreamResponse:
        """Let an answer be written in full, as far as those behind can tell, and the connection end after it.

        Without a ``length``, nobody is asked for one.
        """
        if length is None:
            never: asyncio.Future[web.StreamResponse] = self._loop.create_future()
            return await never
        wire = cast(Wire, request.transport)
        wire.cut(length)
        answer = await self._http(request)
        await answer.prepare(request)
        await answer.write_eof()
        wire.close()
        return answer

    def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        problem = _handshake_problem(request)
        if problem:
            return web.Response(status=400, text=f"this is no WebSocket handshake: {problem}\n")
        fault = self._faults.next_handshake(_path(request))
        if fault is not None:
            return faulty(fault)
        behaviour = self._websocket(request)
        if isinstance(behaviour, web.Response):
            return behaviour
        endpoint = Endpoint(behaviour)
        endpoint.on_sent = behaviour.on_read
        endpoint.relocated = lambda location: self._relocated(request, location)
        endpoint.on_lost = lambda: self._forget(endpoint)
        self._endpoints.add(endpoint)
        transport = cast(Wire, request.transport).detach()
        request.protocol.connection_lost(None)  # aiohttp's part is over
        transport.set_protocol(endpoint)
        transport.resume_reading()
        endpoint.connection_made(transport)
        endpoint.disturb(self._faults.connection())
        endpoint.data_received(_head(request))
        return web.Response()  # goes nowhere


class _Arrival(asyncio.Protocol):
    """Takes a new connection, and hands it on to aiohttp at once."""

    def __init__(
        self, server: web.Server, pace: Callable[[], Pace], chance: random.Random, made: Callable[[Wire], None]
    ) -> None:
        self._server = server
        self._pace = pace
        self._chance = chance
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        handler = self._server()
        wire = Wire(cast(asyncio.Transport, transport), handler, self._pace, self._chance)
        self._made(wire)
        handler.connection_made(wire)


def fault_body(fault: Answer) -> dict[str, Any]:
    """Return the body of a scripted error answer."""
    return {"error": "fault", "message": "a scripted fault", "code": fault.status, "details": {}}


def retry_after(fault: Answer) -> dict[str, str]:
    """Return the header that says how long to wait, in seconds, if the fault has one."""
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}


def faulty(fault: Answer) -> web.Response:
    """Return a scripted error answer."""
    return web.Response(
        status=fault.status,
        headers=retry_after(fault),
        text=json.dumps(fault_body(fault)),
        content_type="application/json",
    )


def _path(request: web.BaseRequest) -> str:
    return request.rel_url.raw_path


def _wants_websocket(request: web.BaseRequest) -> bool:
    return "websocket" in request.headers.get("Upgrade", "").lower()


def _handshake_problem(request: web.BaseRequest) -> str:
    if request.method != "GET":
        return f"its method is {request.method}"
    if request.version < (1, 1):
        return "it is HTTP/1.0"
    if "upgrade" not in ",".join(request.headers.getall("Connection", [])).lower():
        return "it has no Connection: Upgrade"
    if not request.headers.get("Sec-WebSocket-Key"):
        return "it has no Sec-WebSocket-Key"
    if request.headers.get("Sec-WebSocket-Version") != _VERSION:
        return f"its Sec-WebSocket-Version is not {_VERSION}"
    return ""


def _head(request: web.BaseRequest) -> bytes:
    """Return the request as it came, for another parser."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.raw_path.encode("utf-8", "surrogateescape"))]
    lines += (name + b": " + value for name, value in request.raw_headers)
    return b"\r\n".join([*lines, b"", b""])
