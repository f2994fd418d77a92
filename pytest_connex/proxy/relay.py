"""Forwarding a client's WebSocket connections to the real server, and telling a recorder what passes.

Messages, pings, pongs and closes go from end to end: each is answered by the other side, never here. What one side
does not take for now, the other one is not let send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any, Literal, Protocol
from weakref import WeakSet

from websockets.frames import Close, Opcode
from websockets.http11 import Request, Response

from ..cassette.events import BrokenFrame, NotText, Payload, headers_of
from ..cassette.recorder import Pairs
from ..clock import time_of
from .endpoint import REPLAYABLE, Behaviour, Endpoint
from .frames import Broken, Control, Incoming
from .upstream import Reach, Upstream, added_headers, reach

_TURNS = 3
"""How many turns of the loop the end of a connection takes."""


class Listener(Protocol):
    """What a relay tells of a connection: a :class:`~pytest_connex.cassette.recorder.Recorder`, or nobody."""

    def dial(self, now: float, url: str, subprotocols: Iterable[str] = (), headers: Pairs | None = None) -> int:
        """Take a dial, and return the number of the connection."""

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Pairs) -> None:
        """The server accepted."""

    def rejected(
        self, conn: int, now: float, status: int, headers: Pairs, body: str | bytes, reason: str = ""
    ) -> None:
        """The server answered with an HTTP status."""

    def refused(self, conn: int, now: float, error: OSError) -> None:
        """There was no server to answer."""

    def left(self, conn: int, now: float) -> None:
        """The client was gone before there was an answer."""

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """The client sent a message."""

    def received(self, conn: int, now: float, message: Payload) -> None:
        """The server sent one."""

    def pinged(self, conn: int, now: float) -> None:
        """The client sent a ping."""

    def ponged(self, conn: int, now: float) -> None:
        """The server sent a pong."""

    def closing(self, conn: int, now: float, code: int, reason: str) -> None:
        """The client sent its close frame, before the server did."""

    def closed(
        self,
        conn: int,
        now: float,
        by: Literal["server", "client", "network"],
        code: int,
        reason: str,
        *,
        answered: bool = True,
        hung_up: bool = False,
        reset: bool = False,
    ) -> None:
        """The connection ended: see :meth:`pytest_connex.cassette.recorder.Recorder.closed`."""


class Between:
    """Keeps what happens on a connection that nobody uses: it is the next one's, whose client reads it.

    Args:
        used: Told when the client sends something: whoever runs then uses the connection.
    """

    def __init__(self, used: Callable[[], None]) -> None:
        self._used = used
        self._kept: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def keep(conn: int, now: float, *args: Any, **kwargs: Any) -> None:
            self._kept.append((name, args, kwargs))
            if name == "sent":
                self._used()

        return keep

    def tell(self, listener: Listener, conn: int, now: float) -> None:
        """Tell another listener of it, as if it happened now."""
        for name, args, kwargs in self._kept:
            getattr(listener, name)(conn, now, *args, **kwargs)
        self._kept.clear()


class Unrecorded:
    """Listens to nothing: where traffic is passed on only."""

    def dial(self, *args: Any, **kwargs: Any) -> int:
        """Give every connection the same number."""
        return 0

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is kept."""

    opened = rejected = refused = left = sent = received = pinged = ponged = closing = closed = _ignore


class Stage(Enum):
    """Where a relayed connection stands. What is recorded of its end is what happened first.

    ========  ================================================  ===================
    stage     what it means                                     what may follow
    ========  ================================================  ===================
    DIALLING  the server has not answered the handshake         OPEN, OVER
    OPEN      messages pass and are recorded                    LEFT, GONE, CLOSED
    LEFT      the client has closed                             OVER
    GONE      the client is gone without a close                (nothing)
    CLOSED    the server has closed, or is gone                 (nothing)
    OVER      both have closed, or there never was a connection (nothing)
    ========  ================================================  ===================
    """

    DIALLING = "dialling"
    OPEN = "open"
    LEFT = "left"
    GONE = "gone"
    CLOSED = "closed"
    OVER = "over"


class Relay:
    """Forwards between a client and the real server, and tells a recorder.

    Args:
        recorder: Told of everything, at the moment it passes.
        conn: The recorder's number of this connection.
        url: Of the server.
        dial: The options of the client's dial.
        reach: Connects to the server.
        now: The clock of the recording, in seconds.

    Attributes:
        stage: Where the connection stands.
    """

    on_read: Callable[[], None] | None = None

    def __init__(
        self,
        recorder: Listener,
        conn: int,
        url: str,
        dial: dict[str, Any],
        reach: Reach,
        now: Callable[[], float],
    ) -> None:
        self.refusal: BaseException | None = None
        self.stage = Stage.DIALLING
        self._recorder = recorder
        self._conn = conn
        self._loop = asyncio.get_running_loop()
        self._clock = now
        self._upstream = Upstream(self, url, dial)
        self._reach = partial(reach, lambda: self._upstream, url, dial)
        self._dialling: asyncio.Task[None] | None = None

    @property
    def _now(self) -> float:
        return self._clock()

    def turn_to(self, listener: Listener, conn: int) -> None:
        """Tell somebody else from now on, who knows this connection by another number."""
        before, self._recorder, self._conn = self._recorder, listener, conn
        if isinstance(before, Between):
            before.tell(listener, conn, self._now)

    @property
    def is_open(self) -> bool:
        """Whether both sides may still say something."""
        return self.stage is Stage.OPEN

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
        """Pass it on, as the network would: it crossed the close of the server."""
        self.received(message)

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
            self._recorder.left(self._conn, self._now)
        elif self.stage is Stage.OPEN:
            self._leave(code, reason)

    def _leave(self, code: int, reason: str) -> None:
        if code == 1006:
            self.stage = Stage.GONE
            self._recorder.closed(self._conn, self._now, "client", code, reason)
            self._upstream.part()
        else:
            self.stage = Stage.LEFT
            self._recorder.closing(self._conn, self._now, code, reason)

    def pinged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Pass on a ping of the client."""
        self._recorder.pinged(self._conn, self._now)
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
        if self.stage is Stage.LEFT:
            self._left_over(hung_up=False)

    def stop_here(self) -> None:
        """Give up the connection to the real server at once, if the running loop is that of the connection."""
        if self._loop is not asyncio.get_running_loop():
            return
        if self._dialling is not None:
            self._dialling.cancel()
        self._upstream.give_up()

    # the server

    def opened(self, subprotocol: str | None, headers: list[tuple[str, str]]) -> None:
        """The server accepted the handshake."""
        self.stage = Stage.OPEN
        kept = headers_of((name, value) for name, value in headers if not _is_handshake_header(name))
        self._recorder.opened(self._conn, self._now, subprotocol, kept)
        self._endpoint.accept(subprotocol, kept)

    def rejected(self, response: Response) -> None:
        """The server answered the handshake with an HTTP status."""
        self.stage = Stage.OVER
        status, reason, body = response.status_code, response.reason_phrase, _text_of(bytes(response.body or b""))
        headers = headers_of(response.headers.raw_items())
        self._recorder.rejected(self._conn, self._now, status, headers, body, reason)
        self._endpoint.reject(status, headers, body, reason)

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

    def hung_up(self, reset: bool) -> None:
        """The server is gone: end the connection to the client, after everything that it has said.

        The client sees no reset: that would destroy what is under way to it.
        """
        if self.stage is Stage.OPEN:
            self.stage = Stage.CLOSED
            self._recorder.closed(self._conn, self._now, "network", 1006, "", reset=reset)
        elif self.stage is Stage.LEFT:
            self._left_over(hung_up=True, reset=reset)
        self._endpoint.abort()

    def _left_over(self, hung_up: bool, reset: bool = False) -> None:
        """The client's close was not answered."""
        self.stage = Stage.OVER
        self._recorder.closed(self._conn, self._now, "client", 1006, "", answered=False, hung_up=hung_up, reset=reset)

    def _pass_back(self, messages: list[Payload]) -> None:
        """Record and deliver messages: together, unless something may go wrong between two of them."""
        size = 1 if self._endpoint.is_disturbed else max(1, len(messages))
        for start in range(0, len(messages), size):
            batch, now = messages[start : start + size], self._now
            for message in batch:
                self._recorder.received(self._conn, now, message)
            self._endpoint.send(batch)
        if messages and not self._endpoint.writing:
            self._upstream.pause_reading()

    def _pass_control_back(self, item: Control) -> None:
        if item.opcode is Opcode.CLOSE:
            close = Close.parse(item.payload)
            if self.stage is Stage.OPEN:
                self.stage = Stage.CLOSED
                self._recorder.closed(self._conn, self._now, "server", close.code, close.reason)
            elif self.stage is Stage.LEFT:
                self.stage = Stage.OVER
                self._recorder.closed(self._conn, self._now, "client", close.code, close.reason)
            self._endpoint.close(close.code, close.reason)
            return
        if item.opcode is Opcode.PONG:
            self._recorder.ponged(self._conn, self._now)
        self._endpoint.send_control(item.opcode, item.payload)


def _aborted(exc: Exception) -> OSError:
    return ConnectionAbortedError(None, f"{type(exc).__name__}: {exc}")


def _text_of(body: bytes) -> str | bytes:
    """Return a body as text, where it is that."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def _is_handshake_header(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith("sec-websocket-") or lowered in ("upgrade", "connection", "content-length")


class RelayDialler:
    """Answers dials through the real server, and records.

    Args:
        recorder: Told of everything.
        reach: Connects to the server.
        now: The clock of the recording, in seconds; that of the loop where there is none.
    """

    def __init__(self, recorder: Listener, reach: Reach = reach, now: Callable[[], float] | None = None) -> None:
        self._recorder = recorder
        self._now = now
        self._reach = reach
        self._relays: WeakSet[Relay] = WeakSet()

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Dial the real server.

        Args:
            url: What the client dials.
            dial: The keyword arguments of ``websockets.connect``.
        """
        now = self._now or partial(time_of, asyncio.get_running_loop())
        conn = self._recorder.dial(now(), url, dial.get("subprotocols") or (), added_headers(dial))
        relay = Relay(self._recorder, conn, url, dial, self._reach, now)
        self._relays.add(relay)
        return relay

    async def stop_here(self) -> None:
        """Give up what is still open on the running loop, and see it closed."""
        for relay in list(self._relays):
            relay.stop_here()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
