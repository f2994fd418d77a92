"""The client side of HTTP/1.1 on one connection: a request at a time, written as it is given.

h11 reads the answers. The head and the body of a request are written as they come, and an answer may begin before its
request has ended. Nothing is asked again by itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import h11

from ..cassette.exchange import values
from .flow import Flow
from .messages import LONGEST_HEAD, Body, Headers, as_headers, head, tokens
from .whose import at_door

_FULL = 65_536
"""So many bytes of a server may wait before it is read no further."""

_ANY_HOST = [("Host", "x")]


@dataclass(frozen=True)
class Head:
    """The head of an answer, or of something that is said before it (1xx).

    Attributes:
        is_whole: Whether the answer ends with it.
    """

    status: int
    reason: str
    headers: Headers
    is_whole: bool = False


@dataclass(frozen=True)
class Piece:
    """A piece of the body of an answer.

    Attributes:
        data: May be empty in the last one.
        is_last: Whether the answer is whole with it.
        trailers: What came after the body.
    """

    data: bytes
    is_last: bool = False
    trailers: Headers = field(default_factory=list)


class Asking(asyncio.Protocol):
    """A connection to a server; :func:`dial` makes one.

    Attributes:
        heard: Whether the server has said anything since the last request.
    """

    def __init__(self) -> None:
        self.heard = False
        self._flow = Flow()
        self._parser: h11.Connection | None = None
        self._next: object = None
        self._body = Body(0)
        self._held = 0
        self._is_over = self._is_asked = False
        self._error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self._parser is None:
            self._transport.abort()  # it says something that nobody asked for
            return
        self.heard = True
        self._parser.receive_data(data)
        self._held += len(data)
        if self._held > _FULL:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server says nothing more."""
        self._is_over = True
        if self._parser is not None:
            self._parser.receive_data(b"")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if exc is not None:
            self._error = self._error or exc
        elif not self._is_over and self._error is None:
            self.eof_received()
        self._is_over = True
        self._flow.resume()
        self._wake()

    def pause_writing(self) -> None:
        """The buffers towards the server are full."""
        self._flow.pause()

    def resume_writing(self) -> None:
        """They accept data again."""
        self._flow.resume()

    # a request

    @property
    def is_free(self) -> bool:
        """Whether something can be asked."""
        return not (self._is_over or self._is_asked or self._transport.is_closing())

    def ask(self, method: str, target: str, headers: Headers) -> None:
        """Write the head of a request, whose body is as long as the headers say, or chunked.

        Raises:
            ValueError: A line cannot be written.
        """
        lengths = values(headers, "content-length")
        chunked = bool(tokens(headers, "transfer-encoding"))
        self._body = Body(None, chunked=True) if chunked else Body(int(lengths[0]) if lengths else 0)
        self._parser = _reader_of_answers(method)
        self._is_asked = True
        self.heard = False
        self._held = 0
        self._write(head(f"{method} {target} HTTP/1.1", headers))

    async def write(self, data: bytes) -> None:
        """Write a piece of its body; where the server takes nothing any more, it is lost."""
        self._write(self._body.piece(data))
        await self._flow.room()

    async def end(self, trailers: Headers) -> None:
        """End the body."""
        self._write(self._body.end(trailers))
        self._body = Body(0)
        await self._flow.room()

    # its answer

    async def head(self) -> Head:
        """Return the head of the answer, or something that is said before it (1xx).

        Raises:
            OSError: The connection is broken.
            h11.RemoteProtocolError: The answer is none, or there is none: :attr:`heard` tells.
        """
        event = await self._event()
        if not isinstance(event, (h11.InformationalResponse, h11.Response)):
            raise h11.RemoteProtocolError("this is no answer")
        is_whole = isinstance(event, h11.Response) and self._ends_here()
        headers = as_headers(event.headers.raw_items())
        return Head(event.status_code, event.reason.decode("latin-1"), headers, is_whole)

    async def piece(self) -> Piece:
        """Return the next piece of the body.

        Raises:
            OSError: The connection is broken.
            h11.RemoteProtocolError: The body ends before its end.
        """
        event = await self._event()
        data = b""
        if isinstance(event, h11.Data):
            data, event = bytes(event.data), self._peek()
        if not isinstance(event, h11.EndOfMessage):
            self._next = event
            return Piece(data)
        self._finish()
        return Piece(data, True, as_headers(event.headers.raw_items()))

    # the end

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Break the connection off; whoever waits for the answer gets ``error``."""
        self._error = error
        self._transport.abort()
        self._wake()

    # inside

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _finish(self) -> None:
        """Be ready for the next request, if this connection can stay."""
        parser, self._parser, self._next = self._parser, None, None
        self._is_asked = False
        if parser is None or parser.their_state is not h11.DONE or parser.trailing_data[0]:
            self._is_over = True

    async def _event(self) -> object:
        while (event := self._at_once()) is None:
            if self._error is not None:
                raise self._error
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return event

    def _at_once(self) -> object:
        """Return the next event, or None where it has not come yet."""
        if self._next is not None:
            event, self._next = self._next, None
            return event
        if self._parser is None:
            raise ConnectionAbortedError("nothing is asked")
        found = self._parser.next_event()
        if found is not h11.NEED_DATA:
            return found
        self._held = 0
        self._transport.resume_reading()
        return None

    def _ends_here(self) -> bool:
        self._next = self._peek()
        if not isinstance(self._next, h11.EndOfMessage):
            return False
        self._finish()
        return True

    def _peek(self) -> object:
        """Return the next event if it has come and is one; what is wrong with it is said when it is asked for."""
        with suppress(h11.RemoteProtocolError):
            return self._at_once()
        return None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


async def dial(host: str, port: int, tls: ssl.SSLContext | None) -> Asking:
    """Connect to a server, at the first of its addresses that answers.

    Args:
        host: Its name or address.
        port: Its port.
        tls: How its certificate is verified; None where there is none.

    Raises:
        OSError: It cannot be reached; of several addresses, this is the error of the last. ``ssl.SSLError`` is one.
    """
    at_door()
    loop = asyncio.get_running_loop()
    error: OSError = ConnectionRefusedError(f"{host} has no address")
    for address in await _addresses(host, port):
        try:
            _, connection = await loop.create_connection(
                Asking,
                address,
                port,
                ssl=tls,
                server_hostname=host if tls is not None else None,
            )
        except ssl.SSLError:
            raise
        except OSError as exc:
            error = exc
        else:
            return connection
    raise error


async def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host; one that is an address itself is looked up by nobody."""
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = await asyncio.to_thread(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)  # in this context
    return [str(address[0]) for _, _, _, _, address in found]


def _reader_of_answers(method: str) -> h11.Connection:
    """Return a parser for the answer to ``method``, which is all that it has to know of the request."""
    parser = h11.Connection(h11.CLIENT, LONGEST_HEAD)
    parser.send(h11.Request(method=method, target="/", headers=_ANY_HOST))
    parser.send(h11.EndOfMessage())
    return parser
