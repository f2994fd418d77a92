"""Forwarding a client's WebSocket connections to the real server, and telling a recorder what passes.

Messages, pings, pongs and closes go from end to end: each is answered by the other side, never here. What one side
does not take for now, the other one is not let send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any, Literal, Protocol
from weakref import WeakSet

from websockets.datastructures import Headers
from websockets.frames import Close, Opcode
from websockets.http11 import Request, Response

from ..cassette.events import BrokenFrame, NotText, Payload
from ..clock import time_of
from .endpoint import REPLAYABLE, Behaviour, Endpoint
from .frames import Broken, Control, Incoming
from .upstream import Reach, Upstream, reach

_TURNS = 3
"""How many turns of the loop the end of a connection takes."""


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

    def given_up(self, conn: int, now: float) -> None:
        """The client was gone before there was an answer."""

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """The client sent a message."""

    def received(self, conn: int, now: float, message: Payload) -> None:
        """The server sent one."""

    def closed(
        self, conn: int, now: float, by: Literal["server", "client", "network"], code: int, reason: str
    ) -> None:
        """The connection ended."""

    def unanswered(
        self, conn: int, now: float, pings: int | None = None, close: Literal["silence", "lost"] | None = None
    ) -> None:
        """The client is gone, and the server has not answered its last ping, or its close."""


class Unrecorded:
    """Listens to nothing: where traffic is passed on only."""

    def dial(self, *args: Any, **kwargs: Any) -> int:
        """Give every connection the same number."""
        return 0

    def _ignore(self, *args: Any) -> None:
        """Nothing is kept."""

    opened = rejected = refused = given_up = sent = received = closed = unanswered = _ignore


class Stage(Enum):
    """Where a relayed connection stands. What is recorded of its end is what happened first.

    ========  ================================================  ===================
    stage     what it means                                     what may follow
    ========  ================================================  ===================
    DIALLING  the server has not answered the handshake         OPEN, OVER
    OPEN      messages pass and are recorded                    LEFT, GONE, CLOSED
    LEFT      the client has closed                             ANSWERED, LOST
    GONE      the client is gone without a close                (nothing)
    CLOSED    the server has closed, or is gone                 (nothing)
    ANSWERED  the client has closed, and the server answered    (nothing)
    LOST      the client has closed, and the server hung up     (nothing)
    OVER      there never was a connection                      (nothing)
    ========  ================================================  ===================
    """

    DIALLING = "dialling"
    OPEN = "open"
    LEFT = "left"
    GONE = "gone"
    CLOSED = "closed"
    ANSWERED = "answered"
    LOST = "lost"
    OVER = "over"


_LEFT_BY_THE_CLIENT = frozenset({Stage.LEFT, Stage.GONE, Stage.ANSWERED, Stage.LOST})


class Relay:
    """Forwards between a client and the real server, and tells a recorder.

    Args:
        recorder: Told of everything, at the moment it passes.
        conn: The recorder's number of this connection.
        url: Of the server.
        dial: The options of the client's dial.
        reach: Connects to the server.

    Attributes:
        stage: Where the connection stands.
    """

    on_read: Callable[[], None] | None = None

    def __init__(self, recorder: Listener, conn: int, url: str, dial: dict[str, Any], reach: Reach = reach) -> None:
        self.refusal: BaseException | None = None
        self.stage = Stage.DIALLING
        self._recorder = recorder
        self._conn = conn
        self._loop = asyncio.get_running_loop()
        self._upstream = Upstream(self, url, dial)
        self._reach = partial(reach, lambda: self._upstream, url, dial)
        self._dialling: asyncio.Task[None] | None = None
        self._answers_pings = True
        self._pings_answered = 0

    @property
    def _now(self) -> float:
        return time_of(self._loop)

    # the client

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Dial the real server, and answer as it does."""
        self._endpoint = endpoint
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await self._reach()
        except Exception as exc:  # noqa: BLE001  (handed to the client, which raises it from its dial)
            self.failed(exc)

    def received(self, message: Payload) -> None:
        """Pass on a message of the client."""
        self._recorder.sent(self._conn, self._now, message)
        self._upstream.send(message)

    def came_late(self, message: Payload) -> None:
        """Pass it on, as the network would; it crossed the close of the server, and is not recorded."""
        self._upstream.send(message)

    def writable(self) -> None:
        """Read on from the real server."""
        self._upstream.resume_reading()

    def ended(self, code: int, reason: str) -> None:
        """The client closed, or is gone; one that leaves before the answer of the server has given up its dial."""
        if self.stage is Stage.DIALLING:
            self.stage = Stage.OVER
            if self._dialling is not None:
                self._dialling.cancel()
            self._upstream.give_up()
            self._recorder.given_up(self._conn, self._now)
        elif self.stage is Stage.OPEN:
            self.stage = Stage.GONE if code == 1006 else Stage.LEFT
            self._recorder.closed(self._conn, self._now, "client", code, reason)
            if self.stage is Stage.GONE:
                self._upstream.part()

    def pinged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Pass on a ping of the client."""
        self._answers_pings = False
        self._upstream.send_frame(Opcode.PING, payload)

    def ponged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Pass on a pong of the client."""
        self._upstream.send_frame(Opcode.PONG, payload)

    def bade_farewell(self, endpoint: Endpoint, payload: bytes) -> None:
        """Pass on the close of the client, its first or its answer."""
        self._upstream.send_frame(Opcode.CLOSE, payload)

    def garbled(self, endpoint: Endpoint, wrong: NotText | Broken) -> None:
        """Pass on as it is what a server refuses."""
        if isinstance(wrong, Broken):
            self._recorder.sent(self._conn, self._now, wrong.frame)
            self._upstream.write(wrong.data)
        else:
            self.received(wrong)

    def unreadable(self, endpoint: Endpoint, data: bytes) -> None:
        """Pass on what follows."""
        self._upstream.write(data)

    def gone(self) -> None:
        """The client is gone: end the connection to the server."""
        self._upstream.part()
        if self.stage in _LEFT_BY_THE_CLIENT:
            self._tell_what_is_unanswered()

    def stop(self) -> None:
        """Give up the connection to the real server at once."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._give_up)

    def stop_here(self) -> None:
        """Do that now, if this is the loop of the connection."""
        if self._loop is asyncio.get_running_loop():
            self._give_up()

    def _give_up(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        self._upstream.give_up()

    def _tell_what_is_unanswered(self) -> None:
        close: dict[Stage, Literal["silence", "lost"]] = {Stage.LEFT: "silence", Stage.LOST: "lost"}
        pings = None if self._answers_pings else self._pings_answered
        if pings is not None or self.stage in close:
            self._recorder.unanswered(self._conn, self._now, pings, close.get(self.stage))

    # the server

    def opened(self, subprotocol: str | None, headers: dict[str, str]) -> None:
        """The server accepted the handshake."""
        self.stage = Stage.OPEN
        kept = {name: value for name, value in headers.items() if not _is_handshake_header(name)}
        self._recorder.opened(self._conn, self._now, subprotocol, kept)
        self._endpoint.accept(subprotocol, kept)

    def rejected(self, response: Response) -> None:
        """The server answered the handshake with an HTTP status."""
        self.stage = Stage.OVER
        body = bytes(response.body or b"").decode("utf-8", "replace")
        headers = dict(response.headers.raw_items())
        self._recorder.rejected(self._conn, self._now, response.status_code, headers, body)
        self._endpoint.reject(response.status_code, headers, body)

    def failed(self, error: Exception) -> None:
        """There is no server, or it speaks no WebSocket: the client gets the error that replay will raise."""
        if self.stage is not Stage.DIALLING:
            return
        self.stage = Stage.OVER
        refusal = error if isinstance(error, OSError) and type(error) in REPLAYABLE else _aborted(error)
        self.refusal = refusal
        self._recorder.refused(self._conn, self._now, refusal)
        self._endpoint.refuse()

    def heard(self, items: list[Incoming]) -> None:
        """Pass on what the server sent, messages in one go."""
        messages: list[Payload] = []
        for item in items:
            if not isinstance(item, Control):
                messages.append(BrokenFrame(item.data) if isinstance(item, Broken) else item)
                continue
            self._pass_back(messages)
            messages = []
            self._pass_control_back(item)
        self._pass_back(messages)

    def heard_unreadable(self, data: bytes) -> None:
        """Pass on what follows something that was no frame."""
        self._pass_back([BrokenFrame(data)])

    def hold(self) -> None:
        """Take nothing of the client that the server does not take."""
        self._endpoint.pause_reading()

    def go_on(self) -> None:
        """Take again what the client sends."""
        self._endpoint.resume_reading()

    def hung_up(self) -> None:
        """The server is gone: end the connection to the client, after everything that it has said."""
        if self.stage is Stage.OPEN:
            self.stage = Stage.CLOSED
            self._recorder.closed(self._conn, self._now, "network", 1006, "")
        elif self.stage is Stage.LEFT:
            self.stage = Stage.LOST
        self._endpoint.abort()

    def _pass_back(self, messages: list[Payload]) -> None:
        """Record and deliver messages: together, unless something may go wrong between two of them."""
        size = 1 if self._endpoint.is_disturbed else max(1, len(messages))
        for start in range(0, len(messages), size):
            batch, now = messages[start : start + size], self._now
            for message in batch:
                self._recorder.received(self._conn, now, message)
            self._endpoint.send(batch)
        if messages:
            self._pings_answered = 0
            if not self._endpoint.writing:
                self._upstream.pause_reading()

    def _pass_control_back(self, item: Control) -> None:
        if item.opcode is Opcode.CLOSE:
            close = Close.parse(item.payload)
            if self.stage is Stage.OPEN:
                self.stage = Stage.CLOSED
                self._recorder.closed(self._conn, self._now, "server", close.code, close.reason)
            elif self.stage is Stage.LEFT:
                self.stage = Stage.ANSWERED
            self._endpoint.close(close.code, close.reason)
            return
        if item.opcode is Opcode.PONG and not self._answers_pings:
            self._answers_pings = True
            self._pings_answered += 1
        self._endpoint.send_control(item.opcode, item.payload)


def _aborted(exc: Exception) -> OSError:
    return ConnectionAbortedError(None, f"{type(exc).__name__}: {exc}")


def _is_handshake_header(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith("sec-websocket-") or lowered in ("upgrade", "connection", "content-length")


class RelayDialler:
    """Answers dials through the real server, and records.

    Args:
        recorder: Told of everything.
        reach: Connects to the server.
    """

    def __init__(self, recorder: Listener, reach: Reach = reach) -> None:
        self._recorder = recorder
        self._reach = reach
        self._relays: WeakSet[Relay] = WeakSet()

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Dial the real server.

        Args:
            url: What the client dials.
            dial: The keyword arguments of ``websockets.connect``.
        """
        headers = {name: str(value) for name, value in Headers(dial.get("additional_headers") or {}).raw_items()}
        now = time_of(asyncio.get_running_loop())
        conn = self._recorder.dial(now, url, dial.get("subprotocols") or (), headers)
        relay = Relay(self._recorder, conn, url, dial, self._reach)
        self._relays.add(relay)
        return relay

    def stop(self) -> None:
        """Give up what is still open, from whichever thread."""
        for relay in list(self._relays):
            relay.stop()

    async def stop_here(self) -> None:
        """Give up what is still open on the running loop, and see it closed."""
        for relay in list(self._relays):
            relay.stop_here()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
