"""The server side of HTTP/1.1 on one connection: requests as they were written, answers as they are given.

:class:`HttpConnection` reads with h11, hands each request to a handler as :class:`Asked`, and writes what the handler
says to :class:`Answering`. Nothing is added to an answer but the framing that is needed. Bodies stream in both
directions, and neither side is read faster than the other takes it. Nothing logs, because what passes through may be
secret.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

import h11

from ..cassette.exchange import values
from .departure import Departure
from .flow import Flow
from .messages import LONGEST_HEAD, LONGEST_LINE, Body, Headers, as_headers, head, origin_form, phrase, tokens
from .wire import Wire

BROKEN = "the body of this request cannot be read to its end"
"""What a client hears whose request is chunked badly."""

_FULL = 65_536
"""So many bytes of a client may wait before it is read no further."""

_LINGER = 2.0
"""Seconds that a client gets to finish its request when nothing more is said to it."""

_PLAIN = ("Content-Type", "text/plain; charset=utf-8")
_VERSIONS = (b"1.0", b"1.1")


class BadBody(Exception):
    """The body of a request is not what its head announced."""


@dataclass(frozen=True)
class Refusal:
    """A short answer of our own.

    Attributes:
        status: Its status.
        text: Its body.
        headers: Its headers.
    """

    status: int
    text: str
    headers: Headers = field(default_factory=lambda: [_PLAIN])


def refusal(status: int, text: str) -> Refusal:
    """Return a refusal in words."""
    return Refusal(status, f"{text}\n")


class Asked:
    """A request of a client.

    Attributes:
        method: As it was written.
        target: What it asks for, to the byte.
        headers: As they were written.
        version: 1.0 or 1.1.
        peer: The address of the client.
        gone: Done when the connection of this request is over for HTTP, whoever ended it. Requests that came on one
            connection have the same.
        trailers: What came after the body, once that has been read.
        waiting: How many bytes of the body have come and have not been read.
    """

    def __init__(
        self, event: h11.Request, peer: object, gone: asyncio.Future[None], pull: Callable[[], None]
    ) -> None:
        self.method = event.method.decode("latin-1")
        self.target = event.target.decode("latin-1")
        self.headers = as_headers(event.headers.raw_items())
        self.version = event.http_version.decode("latin-1")
        self.peer = peer
        self.gone = gone
        self.trailers: Headers = []
        self.waiting = 0
        self._pull = pull
        self._pieces: deque[bytes] = deque()
        self._whole = self._unwanted = False
        self._error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None

    @property
    def path(self) -> str:
        """The path of the target, as it was written."""
        return origin_form(self.target).partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the path."""
        return origin_form(self.target).partition("?")[2]

    @property
    def has_body(self) -> bool:
        """Whether there is one, which may be empty if it is chunked."""
        return bool(tokens(self.headers, "transfer-encoding")) or any(
            length.strip("0") for length in values(self.headers, "content-length")
        )

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self._whole

    def values(self, name: str) -> list[str]:
        """Return the values of every header that is called ``name``, which is given in lower case."""
        return values(self.headers, name)

    def value(self, name: str) -> str | None:
        """Return the first value of a header, whose name is given in lower case."""
        return next(iter(self.values(name)), None)

    def head(self) -> bytes:
        """Return the head, for another parser."""
        return head(f"{self.method} {self.target} HTTP/{self.version}", self.headers)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the body as it comes. It can be read once.

        Raises:
            BadBody: It is not what the head announced.
            ConnectionError: The client has left before its end.
        """
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self.waiting -= len(piece)
                self._pull()
                yield piece
            if self._error is not None:
                raise self._error
            if self._whole:
                return
            self._pull()
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            BadBody: It is not what the head announced.
            ConnectionError: The client has left before its end.
        """
        return b"".join([piece async for piece in self.pieces()])

    # for the connection

    def take(self, piece: bytes) -> None:
        """A piece of the body has come."""
        if not self._unwanted:
            self._pieces.append(piece)
            self.waiting += len(piece)
            self._wake()

    def finish(self, trailers: Headers) -> None:
        """The body has come to its end."""
        self.trailers = trailers
        self._whole = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body will not come to its end."""
        if not self._whole and self._error is None:
            self._error = error
            self._wake()

    def forget(self) -> None:
        """Throw away what nobody reads any more."""
        self._unwanted = True
        self._pieces.clear()
        self.waiting = 0

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class Answering:
    """The answer to a request: a head, a body in pieces, an end; or an end before that.

    Every ``async`` method returns when the client's connection takes more, and raises ``ConnectionResetError`` when
    the client has left. A body that differs from the Content-Length it was announced with ends the connection.

    Attributes:
        began: Whether the head has been written.
        ended: Whether nothing can be written any more.
    """

    def __init__(self, connection: HttpConnection, asked: Asked) -> None:
        self.began = self.ended = False
        self._connection = connection
        self._asked = asked
        self._body = Body(0)
        self._limit: int | None = None
        self.must_close = asked.version == "1.0" or "close" in tokens(asked.headers, "connection")

    async def informational(self, status: int, reason: str, headers: Headers) -> None:
        """Say something before the answer (1xx); clients of HTTP/1.0 do not hear it."""
        if not self.began and self._asked.version != "1.0":
            self._connection.send(head(f"HTTP/1.1 {status} {reason}", headers))
        await self._connection.room()

    async def head(self, status: int, reason: str, headers: Headers) -> None:
        """Begin the answer.

        Args:
            status: 200 or more.
            reason: May be empty.
            headers: Written as they are. Where there must be a body and they have no Content-Length, the body is
                chunked, or ends with the connection.
        """
        self._connection.send(self._head(status, reason, headers))
        await self._connection.room()

    async def write(self, data: bytes) -> None:
        """Write a piece of the body; nothing where the answer has none, as that to HEAD."""
        self._connection.send(self._piece(data))
        await self._connection.room()

    async def end(self, trailers: Headers | None = None) -> None:
        """End the answer; ``trailers`` are written where the body is chunked."""
        self._connection.send(self._end(trailers or []))
        await self._connection.room()

    async def whole(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        """Write an answer at once; it gets a Content-Length where it has none."""
        self._whole(status, reason, headers, body)
        await self._connection.room()

    def refuse(self, refused: Refusal) -> None:
        """Answer with a refusal, at once."""
        self._whole(refused.status, phrase(refused.status), refused.headers, refused.text.encode())

    def cut(self) -> None:
        """End the connection, after what was written."""
        self.ended = True
        self._connection.cut()

    def reset(self) -> None:
        """End the connection with a reset."""
        self.ended = True
        self._connection.reset()

    def limit(self, length: int) -> None:
        """Let ``length`` bytes of the body pass; the connection ends where the answer does."""
        self._limit = length

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Return the transport of the connection, for another protocol, and what has come after this request.

        HTTP is over with that.
        """
        self.ended = True
        return self._connection.hand_over()

    # how it is written

    def _whole(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        if not values(headers, "content-length") and not _is_bodyless(self._asked.method, status):
            headers = [*headers, ("Content-Length", str(len(body)))]
        self._connection.send(self._head(status, reason, headers) + self._piece(body) + self._end([]))

    def _head(self, status: int, reason: str, headers: Headers) -> bytes:
        closes = self._connection.leaves_body_unread and not self.must_close
        if closes:
            headers = [*headers, ("Connection", "close")]
        lengths = values(headers, "content-length")
        if _is_bodyless(self._asked.method, status):
            self._body = Body(0)
        elif lengths:
            self._body = Body(int(lengths[0]))
        elif self._asked.version == "1.0":
            self._body = Body(None)
        else:
            self._body = Body(None, chunked=True)
            headers = [*headers, ("Transfer-Encoding", "chunked")]
        written = head(f"HTTP/{self._asked.version} {status} {reason}", headers)
        self.began, self.must_close = True, self.must_close or closes
        return written

    def _piece(self, data: bytes) -> bytes:
        if self._limit is not None:
            data = data[: self._limit]
            self._limit -= len(data)
        return self._body.piece(data)

    def _end(self, trailers: Headers) -> bytes:
        self.ended = True
        if self._body.left or self._limit is not None:
            self.must_close = True
        return b"" if self._limit == 0 else self._body.end(trailers)


class _Phase(Enum):
    """What a connection does. From any of them it may end.

    ========= ================================================= =========================
    phase     meaning                                           followed by
    ========= ================================================= =========================
    HEAD      waits for a request                               ANSWER, LINGER
    ANSWER    a handler is under way                            HEAD, DRAIN, LINGER, OVER
    DRAIN     the answer is whole; the rest of the request is   HEAD, LINGER
              read and forgotten
    LINGER    nothing more is said; the client may finish       OVER
    OVER      closed, or handed over
    ========= ================================================= =========================
    """

    HEAD = auto()
    ANSWER = auto()
    DRAIN = auto()
    LINGER = auto()
    OVER = auto()


Http = Callable[[Asked, Answering], Coroutine[Any, Any, None]]
"""Answers a request. It is cancelled when the client leaves."""


class HttpConnection(asyncio.Protocol):
    """Serves a client, request by request, in their order.

    Args:
        handle: Answers a request.
        on_over: Called when this connection is gone, or has been handed over.

    Attributes:
        task: The handler that is under way, if there is one.
    """

    def __init__(self, handle: Http, on_over: Callable[[HttpConnection], None]) -> None:
        self._handle = handle
        self._on_over = on_over
        self._flow = Flow()
        self._departure = Departure(self._has_left)
        self._phase = _Phase.HEAD
        self._ahead = 0
        self._is_broken = False
        self._linger: asyncio.TimerHandle | None = None
        self._asked: Asked
        self._answering: Answering
        self.task: asyncio.Task[None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start; the transport is a :class:`~pytest_connex.proxy.wire.Wire`."""
        self._wire = cast(Wire, transport)
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._new_parser()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._phase in (_Phase.LINGER, _Phase.OVER) or self._is_broken:
            return
        if self._phase is _Phase.HEAD and not self._ahead:
            data = data.lstrip(b"\r\n")  # some clients send an empty line after a body
        if data:
            self._parser.receive_data(data)
            self._ahead += len(data)
            self._parse()

    def eof_received(self) -> None:
        """The client sends nothing more, and so has left."""
        self._is_over()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._is_over()
        self._on_over(self)

    def pause_writing(self) -> None:
        """The client's buffers are full."""
        self._flow.pause()

    def resume_writing(self) -> None:
        """The client's buffers accept data again."""
        self._flow.resume()

    # what the port does

    def stop(self) -> None:
        """End the connection, whatever goes on."""
        self._wire.abort()

    # what an answer does

    @property
    def leaves_body_unread(self) -> bool:
        """Whether the client waits for a word before it sends its body, and that word never came."""
        return self._parser.they_are_waiting_for_100_continue

    def send(self, data: bytes) -> None:
        """Write what is not empty, while there is somebody to read it."""
        if data and self._phase is not _Phase.OVER:
            self._wire.write(data)

    async def room(self) -> None:
        """Wait until the client takes more.

        Raises:
            ConnectionResetError: It has left.
        """
        await self._flow.room()
        if self._wire.is_closing():
            await asyncio.sleep(0)  # a client that left is told of in the next turn of the loop
        if self._phase is _Phase.OVER and not self._answering.ended:
            raise ConnectionResetError("the client has left")

    def cut(self) -> None:
        """End the connection after what was written; the handler goes on."""
        self._let_go()
        self._wire.close()

    def reset(self) -> None:
        """End the connection with a reset; the handler goes on."""
        self._let_go()
        self._wire.reset()

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Return the transport, and what has come after the request."""
        rest, _ = self._parser.trailing_data
        self._let_go()
        self._on_over(self)
        return self._wire.detach(), bytes(rest)

    # inside: reading

    def _new_parser(self) -> None:
        """Read one request. h11 is never told of the answer: a parser of its own for each keeps the two apart."""
        self._parser = h11.Connection(h11.SERVER, LONGEST_HEAD)

    def _parse(self) -> None:
        try:
            while self._phase not in (_Phase.LINGER, _Phase.OVER):
                event = self._parser.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._asked.take(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self._request_is_whole(event)
                else:
                    break
        except h11.RemoteProtocolError as exc:
            self._malformed(exc)
        self._pull()

    def _begin(self, event: h11.Request) -> None:
        _check(event)
        self._ahead = 0
        self._asked = Asked(event, self._wire.get_extra_info("peername"), self._gone, self._wanted)
        self._answering = Answering(self, self._asked)
        self._phase = _Phase.ANSWER
        self.task = self._loop.create_task(self._handle(self._asked, self._answering))
        self.task.add_done_callback(self._done)

    def _request_is_whole(self, event: h11.EndOfMessage) -> None:
        rest, _ = self._parser.trailing_data
        self._ahead = len(rest)
        self._asked.finish(as_headers(event.headers.raw_items()))
        if self._phase is _Phase.DRAIN:
            self._next()

    def _wanted(self) -> None:
        """The handler reads the body: have it sent."""
        if self._parser.they_are_waiting_for_100_continue and not self._answering.began:
            self._parser.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.send(head("HTTP/1.1 100 Continue", []))
        self._pull()

    def _pull(self) -> None:
        """Read as long as what has come is wanted."""
        if self._phase is not _Phase.ANSWER:
            waiting = 0
        elif self._asked.is_whole:
            waiting = self._asked.waiting + self._ahead
        else:
            waiting = self._asked.waiting
        if self._phase is _Phase.OVER:
            return
        if waiting > _FULL and self._wire.is_reading():
            self._wire.pause_reading()
            self._departure.watch(self._wire.get_extra_info("socket"))
        elif waiting <= _FULL and not self._wire.is_reading():
            self._departure.stop()
            self._wire.resume_reading()

    def _malformed(self, exc: h11.RemoteProtocolError) -> None:
        self._is_broken = True
        if self._phase is _Phase.ANSWER:
            self._asked.fail(BadBody(BROKEN))
        elif self._phase is _Phase.DRAIN:
            self._finish_connection()
        else:
            self._say_malformed(f"this is no HTTP request: {_said(exc)}")

    def _say_malformed(self, text: str) -> None:
        refused = refusal(400, text)
        body = refused.text.encode()
        headers = [*refused.headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        self.send(head("HTTP/1.1 400 Bad Request", headers) + body)
        self._finish_connection()

    # inside: answering

    def _done(self, task: asyncio.Task[None]) -> None:
        self.task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._phase is not _Phase.ANSWER:
            return
        if self._answering.began or isinstance(error, asyncio.CancelledError):
            if self._answering.ended:
                self._next()
            else:
                self._answering.cut()
        elif isinstance(error, BadBody):
            self._say_malformed(str(error))
        else:
            said = "nothing was answered" if error is None else type(error).__name__
            self._answering.refuse(refusal(500, f"answering failed: {said}"))
            self._next()

    def _next(self) -> None:
        """Go on after an answer that has been written to its end."""
        self._asked.forget()
        if self._is_broken or self._answering.must_close:
            self._finish_connection()
        elif self._asked.is_whole:
            self._phase = _Phase.HEAD
            rest, _ = self._parser.trailing_data
            self._new_parser()
            self._ahead = 0
            if rest:
                self.data_received(bytes(rest))
        else:
            self._phase = _Phase.DRAIN
        self._pull()

    def _finish_connection(self) -> None:
        """Close, so that what was said arrives: to close with bytes unread would be a reset (RFC 9112, 9.6)."""
        if self._phase is not _Phase.HEAD and self._asked.is_whole and not self._is_broken:
            self.cut()
            return
        self._phase = _Phase.LINGER
        self._wire.write_eof()
        self._linger = self._loop.call_later(_LINGER, self._wire.abort)
        self._pull()

    # inside: the end

    def _let_go(self) -> None:
        """HTTP is over, by our own doing."""
        if self._phase is _Phase.OVER:
            return
        self._phase = _Phase.OVER
        self._departure.stop()
        if self._linger is not None:
            self._linger.cancel()
        self._flow.resume()
        if not self._gone.done():
            self._gone.set_result(None)

    def _has_left(self) -> None:
        """The client has ended the connection, and what it said before that is not wanted any more."""
        self._is_over()
        self._wire.abort()

    def _is_over(self) -> None:
        """The client has ended the connection."""
        if self._phase is _Phase.ANSWER:
            self._asked.fail(ConnectionResetError("the client has left"))
            if self.task is not None:
                self.task.cancel()
        self._let_go()


def _check(event: h11.Request) -> None:
    """Refuse what h11 lets pass.

    Raises:
        h11.RemoteProtocolError: It is not what this server takes for a request.
    """
    if event.http_version not in _VERSIONS:
        raise h11.RemoteProtocolError("its version is not 1.0 or 1.1")
    names = {name for name, _ in event.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("its body has a length and is chunked")
    lines = [len(name) + len(value) for name, value in event.headers]
    if max([len(event.target), *lines]) > LONGEST_LINE:
        raise h11.RemoteProtocolError("a line of its head is too long")


def _said(exc: h11.RemoteProtocolError) -> str:
    """Return what is wrong, without what the client said: h11 quotes it."""
    return str(exc).partition(":")[0].partition(" {")[0]


def _is_bodyless(method: str, status: int) -> bool:
    """Tell whether an answer ends with its head (RFC 9112, 6.3)."""
    return method == "HEAD" or status in (204, 304)
