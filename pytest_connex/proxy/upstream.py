"""The client half of a WebSocket connection to the real server, for a relay.

:class:`Upstream` asks for the connection as the relayed client did, hands over what the server says, and says what it
is told. It does nothing of its own accord: it answers no ping and no close, has no time-out and follows no redirect.
All of that is between the client and the server. Nothing here logs, because what passes through may be secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Protocol, TypeAlias, cast

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import USER_AGENT, Response
from websockets.protocol import State as HandshakeState
from websockets.uri import parse_uri

from ..cassette.events import NotText, Payload
from ..cassette.exchange import Fields
from ..clock import Timer
from .endpoint import SILENT
from .frames import FrameReader, Head, Incoming, client_frame
from .whose import at_door
from .wire import unread

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

_NOT_FOR_THE_LOOP = ("proxy", "unix")

_LINGER = 5.0
"""Seconds that the server gets to end a connection whose client is gone."""

_DEFLATE = ClientPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)
"""What clients of websockets ask for."""

Reach: TypeAlias = Callable[[Callable[[], asyncio.Protocol], str, dict[str, Any]], Awaitable[Any]]
"""Connects a protocol to the server of a URL; the last argument are the options of the dial."""


def added_headers(dial: dict[str, Any]) -> Fields:
    """Return the headers that a client adds to a handshake, of the arguments of its dial."""
    return [(name, str(value)) for name, value in Headers(dial.get("additional_headers") or {}).raw_items()]


class Hearer(Protocol):
    """Whoever is told what an upstream does. Every method is called on the loop of the connection."""

    def opened(self, subprotocol: str | None, headers: list[tuple[str, str]]) -> None:
        """The server accepted the handshake."""

    def rejected(self, response: Response) -> None:
        """The server answered the handshake with an HTTP status."""

    def failed(self, error: Exception) -> None:
        """The server did not answer the handshake, or with what is no answer."""

    def heard(self, items: list[Incoming]) -> None:
        """The server sent messages and control frames."""

    def heard_unreadable(self, data: bytes) -> None:
        """The server sent more after what is no frame."""

    def hold(self) -> None:
        """The server's buffers are full: send nothing for now."""

    def go_on(self) -> None:
        """The server's buffers accept data again."""

    def hung_up(self, reset: bool) -> None:
        """The server ended the connection, after everything that was heard. Called once, after the handshake."""


class Step(Enum):
    """Where a connection to the server stands.

    =========  ==========================================================  ====================
    step       what it means                                               what may follow
    =========  ==========================================================  ====================
    ASKED      the handshake has not been answered                         OPEN, OVER
    OPEN       what is said passes                                         PARTED, OVER
    PARTED     the client is gone: what the server still says is dropped   OVER
    OVER       the server has ended the connection, or rejected it, or     (nothing)
               it has been given up
    =========  ==========================================================  ====================
    """

    ASKED = "asked"
    OPEN = "open"
    PARTED = "parted"
    OVER = "over"


class Upstream(asyncio.Protocol):
    """One connection to the server.

    Args:
        hearer: Told of everything.
        url: Of the server.
        options: Those of ``websockets.connect`` that concern the handshake.

    Attributes:
        step: Where it stands.
    """

    _transport: asyncio.Transport

    def __init__(self, hearer: Hearer, url: str, options: dict[str, Any]) -> None:
        self.step = Step.ASKED
        self._hearer = hearer
        self._handshake = ClientProtocol(
            parse_uri(url),
            origin=options.get("origin"),
            extensions=[_DEFLATE] if options.get("compression", "deflate") else None,
            subprotocols=options.get("subprotocols"),
            max_size=None,
            logger=SILENT,
        )
        self._headers = Headers(added_headers(options))
        self._user_agent: str | None = options.get("user_agent_header", USER_AGENT)
        self._head: Head | None = Head()
        self._reader = FrameReader(masked=False)
        self._linger: Timer | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        if self.step is not Step.ASKED:
            self._transport.abort()
            return
        request = self._handshake.connect()
        request.headers.update(self._headers)
        if self._user_agent is not None:
            request.headers.setdefault("User-Agent", self._user_agent)
        self._handshake.send_request(request)
        self._transport.write(b"".join(self._handshake.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self.step is Step.ASKED:
            data = self._take_answer(data)
        if not data or self.step is not Step.OPEN:
            return
        if self._reader.broken:
            self._hearer.heard_unreadable(data)
        elif items := self._reader.receive(data):
            self._hearer.heard(items)

    def eof_received(self) -> None:
        """The server says nothing more; the transport closes once what is written has gone."""
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        if self._linger is not None:
            self._linger.cancel()
        if self.step is Step.OPEN and (left := unread(self._transport)):
            self.data_received(left)
        self._over(exc)

    def pause_writing(self) -> None:
        """The server's buffers are full."""
        self._hearer.hold()

    def resume_writing(self) -> None:
        """The server's buffers accept data again."""
        self._hearer.go_on()

    # what a relay does

    def send(self, message: Payload) -> None:
        """Send a message, as text where it was sent as text."""
        if isinstance(message, str):
            self.send_frame(Opcode.TEXT, message.encode())
        else:
            self.send_frame(Opcode.TEXT if isinstance(message, NotText) else Opcode.BINARY, message)

    def send_frame(self, opcode: Opcode, payload: bytes) -> None:
        """Send a frame."""
        if self.step is Step.OPEN:
            self._transport.write(client_frame(opcode, payload, self._handshake.extensions))

    def write(self, data: bytes) -> None:
        """Write bytes of the client as they are."""
        if self.step is Step.OPEN:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Take nothing of the server for now."""
        if self.step is Step.OPEN:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take again what the server sends."""
        if self.step is Step.OPEN:
            self._transport.resume_reading()

    def part(self) -> None:
        """End the connection, as a client does that is gone; what was sent arrives before that."""
        if self.step is not Step.OPEN:
            self.give_up()
            return
        self.step = Step.PARTED
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
        self._linger = Timer(self._loop, _LINGER, self._transport.abort)

    def give_up(self) -> None:
        """End the connection at once."""
        self.step = Step.OVER
        if hasattr(self, "_transport"):
            self._transport.abort()

    # inside

    def _take_answer(self, data: bytes) -> bytes:
        """Take what belongs to the answer to the handshake, and return the rest."""
        rest: bytes | None = b""
        if self._head is not None:
            data, rest = self._head.split(data)
        self._handshake.receive_data(data)
        if rest is not None:
            self._head = None
            if self._handshake.state is not HandshakeState.OPEN and rest:
                self._handshake.receive_data(rest)
                rest = None
        self._judge()
        return rest or b""

    def _judge(self) -> None:
        """Tell of the answer to the handshake, once it is known."""
        responses = [event for event in self._handshake.events_received() if isinstance(event, Response)]
        if self._handshake.state is HandshakeState.OPEN:
            self.step = Step.OPEN
            self._reader = FrameReader(masked=False, extensions=self._handshake.extensions)
            headers = list(responses[0].headers.raw_items())
            self._hearer.opened(self._handshake.subprotocol, headers)
        elif (error := self._handshake.handshake_exc) is not None:
            self.give_up()
            if isinstance(error, InvalidStatus):
                self._hearer.rejected(error.response)
            else:
                self._hearer.failed(error)

    def _over(self, exc: Exception | None = None) -> None:
        before = self.step
        if before is Step.ASKED:
            if exc is None:
                self._handshake.receive_eof()
                self._judge()
            if self.step is Step.ASKED:
                self.step = Step.OVER
                self._hearer.failed(exc or EOFError("the connection ended during the handshake"))
            return
        self.step = Step.OVER
        if before is Step.OPEN:
            self._hearer.hung_up(isinstance(exc, ConnectionResetError))


async def reach(make: Callable[[], asyncio.Protocol], url: str, options: dict[str, Any]) -> None:
    """Connect to a server in the network, with the options of ``websockets.connect`` that concern the way there.

    Raises:
        OSError: There is none.
    """
    at_door()
    loop = asyncio.get_running_loop()
    uri = parse_uri(url)
    way = {
        name: value
        for name, value in options.items()
        if name.startswith(TRANSPORT_OPTIONS) and not name.startswith(_NOT_FOR_THE_LOOP)
    }
    if uri.secure:
        way.setdefault("server_hostname", uri.host)
        way["ssl"] = way.get("ssl") or True
    if options.get("unix"):
        await loop.create_unix_connection(make, **way)
        return
    if way.get("sock") is None:
        way.setdefault("host", uri.host)
        way.setdefault("port", uri.port)
    await loop.create_connection(make, **way)
