"""One port of this machine that speaks HTTP and WebSocket: the outside of the sandbox and of the proxy.

A request to change to WebSocket is handed on, with its connection, to an
:class:`~pytest_connex.proxy.endpoint.Endpoint`. Faults happen here, whatever stands behind. Nothing logs,
because what passes through may be secret.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from collections.abc import Callable, Collection
from typing import assert_never, cast

from ..errors import ConfigError
from ..faults import Answer, Cut, Faults, Pace
from .endpoint import Behaviour, Endpoint
from .http import Answering, Asked, Http, HttpConnection, Refusal, refusal
from .listener import Listener
from .messages import tokens
from .visitors import turned_away
from .wire import Wire

WebSocket = Callable[[Asked], Behaviour | Refusal]
"""Returns what a WebSocket connection says, or the answer to a handshake that it does not take."""

_VERSION = "13"

_TURN = 10.0
"""Seconds that the loop gets to begin or end listening when another thread asks for it."""

_PATIENCE = 0.01
"""Seconds that an answer gets that is being made when the port is closed."""

_NO_TUNNEL = "this port opens no tunnels: its URL takes the place of the server's"


class Port:
    """Listens on a host and port, within the running event loop.

    Args:
        http: Answers a request.
        websocket: Returns what a WebSocket connection says, or the answer to a handshake that it does not take.
        faults: Says what goes wrong.
        host: Where to listen.
        number: On which port; 0 takes a free one.
        relocated: Returns where a handshake is redirected to, as the client of a request is to see it.
        origins: Whose pages may ask, beside those of this machine.
        listener: What listens already, in the place of ``host`` and ``number``.
        announced: Tells whether a dial of this process was announced. Such a client is no page of a browser, and says
            itself which messages it has read; of all others what is sent counts as read.
    """

    def __init__(
        self,
        http: Http,
        websocket: WebSocket,
        faults: Faults,
        host: str = "127.0.0.1",
        number: int = 0,
        relocated: Callable[[Asked, str], str] = lambda asked, location: location,
        origins: Collection[str] = (),
        listener: Listener | None = None,
        announced: Callable[[Asked], bool] = lambda asked: False,
    ) -> None:
        self._http = http
        self._websocket = websocket
        self._faults = faults
        self._relocated = relocated
        self._origins = origins
        self._announced = announced
        self._endpoints: set[Endpoint] = set()
        self._connections: set[HttpConnection] = set()
        self._left: asyncio.Event | None = None
        self._arrivals = 0
        self._listener = listener or Listener(self.connected, host, number)
        self._reopening: asyncio.TimerHandle | None = None
        self._open = False
        self._frames = 0

    async def start(self) -> int:
        """Listen, and return the number of the port.

        Raises:
            ConfigError: The port cannot be had.
        """
        self.serve()
        return self.number

    def serve(self) -> None:
        """Listen, within the running loop.

        Raises:
            ConfigError: The port cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._listener.open()
        self._open = True
        self._faults.add_gate(self._on_refuse)

    async def stop(self) -> None:
        """Stop listening, and end what is connected once it has been heard."""
        if self._open:
            self._faults.remove_gate(self._on_refuse)
        self._open = False
        self._turn(math.inf)
        await self._listener.settled()
        if handlers := [connection.task for connection in self._connections if connection.task is not None]:
            await asyncio.wait(handlers, timeout=_PATIENCE)
        self.drop()
        for connection in list(self._connections):
            connection.stop()
        self._left = asyncio.Event()
        self._tell_whether_all_left()
        await self._left.wait()

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

    def connected(self) -> asyncio.Protocol:
        """Return the protocol of a client that has arrived."""
        self._arrivals += 1
        chance = self._faults.chance(f"arrival {self._arrivals}")
        connection = HttpConnection(self._handle, self._forget_connection)
        return _Arrival(connection, self._faults.pace, chance, self._connections.add)

    @property
    def frames(self) -> int:
        """How many WebSocket messages there were, in both directions."""
        return self._frames + sum(endpoint.frames for endpoint in list(self._endpoints))

    def _forget(self, endpoint: Endpoint) -> None:
        self._endpoints.discard(endpoint)
        self._frames += endpoint.frames
        self._tell_whether_all_left()

    def _forget_connection(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        self._tell_whether_all_left()

    def _tell_whether_all_left(self) -> None:
        if self._left is not None and not self._connections and not self._endpoints:
            self._left.set()

    # requests

    async def _handle(self, asked: Asked, answering: Answering) -> None:
        announced = self._announced(asked)
        if not announced and (refused := turned_away(asked, self.host, self._origins)) is not None:
            answering.refuse(refused)
        elif asked.method == "CONNECT":
            answering.refuse(refusal(405, _NO_TUNNEL))
        elif "websocket" in (asked.value("upgrade") or "").lower():
            self._upgrade(asked, answering, announced)
        else:
            await self._answer(asked, answering)

    async def _answer(self, asked: Asked, answering: Answering) -> None:
        fault = self._faults.next_answer(f"{asked.method} {asked.path}")
        match fault:
            case None:
                await self._http(asked, answering)
            case Answer():
                answering.refuse(faulty(fault))
            case Cut(bytes=length):
                await self._cut(asked, answering, length)
            case _:
                assert_never(fault)

    async def _cut(self, asked: Asked, answering: Answering, length: int | None) -> None:
        """Have an answer made in full, as far as those behind can tell, of which the client gets the beginning.

        Without a ``length``, nobody is asked for one.
        """
        if length is None:
            await asyncio.shield(asked.gone)
        else:
            answering.limit(length)
            await self._http(asked, answering)

    def _upgrade(self, asked: Asked, answering: Answering, announced: bool) -> None:
        problem = _handshake_problem(asked)
        if problem:
            answering.refuse(refusal(400, f"this is no WebSocket handshake: {problem}"))
            return
        fault = self._faults.next_handshake(asked.path)
        behaviour = self._websocket(asked) if fault is None else faulty(fault)
        if isinstance(behaviour, Refusal):
            answering.refuse(behaviour)
            return
        endpoint = Endpoint(behaviour)
        endpoint.on_sent = None if announced else behaviour.on_read
        endpoint.relocated = lambda location: self._relocated(asked, location)
        endpoint.on_lost = lambda: self._forget(endpoint)
        self._endpoints.add(endpoint)
        transport, rest = answering.hand_over()
        transport.resume_reading()
        endpoint.connection_made(transport)
        endpoint.disturb(self._faults.connection())
        endpoint.data_received(asked.head() + rest)


class _Arrival(asyncio.Protocol):
    """Takes a new connection, and puts a wire between it and its protocol."""

    def __init__(
        self,
        connection: HttpConnection,
        pace: Callable[[], Pace],
        chance: random.Random,
        made: Callable[[HttpConnection], None],
    ) -> None:
        self._connection = connection
        self._pace = pace
        self._chance = chance
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = Wire(cast(asyncio.Transport, transport), self._connection, self._pace, self._chance)
        self._made(self._connection)
        self._connection.connection_made(wire)


def faulty(fault: Answer) -> Refusal:
    """Return a scripted error answer; it says how long to wait, in seconds, where the fault does."""
    wait = [] if fault.retry_after is None else [("Retry-After", str(fault.retry_after))]
    headers = [*wait, ("Content-Type", "application/json; charset=utf-8")]
    body = {"error": "fault", "message": "a scripted fault", "code": fault.status, "details": {}}
    return Refusal(fault.status, json.dumps(body), headers)


def _handshake_problem(asked: Asked) -> str:
    if asked.method != "GET":
        return f"its method is {asked.method}"
    if asked.version == "1.0":
        return "it is HTTP/1.0"
    if "upgrade" not in tokens(asked.headers, "connection"):
        return "it has no Connection: Upgrade"
    if asked.has_body:
        return "it has a body"
    if not asked.value("sec-websocket-key"):
        return "it has no Sec-WebSocket-Key"
    if asked.value("sec-websocket-version") != _VERSION:
        return f"its Sec-WebSocket-Version is not {_VERSION}"
    return ""
