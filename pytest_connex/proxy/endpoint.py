"""The server half of a WebSocket connection that the client under test really opens.

:class:`Endpoint` speaks the protocol over one half of a socket pair, whose other half a real
``websockets.connect`` gets, or over TCP to any client; what is said is up to its :class:`Behaviour`: a replay, a
relay, the sandbox. Nothing here logs, because what passes through may be secret.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol, assert_never, cast

from websockets.datastructures import Headers
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from ..cassette.events import Headers as Recorded
from ..cassette.events import Payload, fields
from ..clock import Timer
from ..faults import Ending, Trouble
from .wire import Wire

SILENT = logging.Logger("pytest_connex.cassette")
"""A logger that says nothing, for whatever insists on having one."""
SILENT.disabled = True


REPLAYABLE: tuple[type[OSError], ...] = (
    ConnectionRefusedError,
    ConnectionResetError,
    ConnectionAbortedError,
    TimeoutError,
    socket.gaierror,
    OSError,
)
"""The errors of a dial that replay raises as what they were; any other is a ``ConnectionAbortedError``."""


class Behaviour(Protocol):
    """What an endpoint says. Every method is called on the loop of the connection.

    Attributes:
        refusal: What the client's dial raises instead of the loss of the connection that it sees.
    """

    refusal: BaseException | None

    @property
    def on_read(self) -> Callable[[], None] | None:
        """What to call for every message that the client's connection hands to its application, if anything."""

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Answer the handshake, now or later: ``endpoint.accept`` or ``endpoint.reject``."""

    def received(self, message: Payload) -> None:
        """Take a message of the client."""

    def came_late(self, message: Payload) -> None:
        """Take a message that the client sent before it saw the endpoint's close; it reaches nobody."""

    def writable(self) -> None:
        """Go on writing: the client's buffers accept data again."""

    def ended(self, code: int, reason: str) -> None:
        """The client closed, or is gone (1006). Called once, and not after the endpoint closed first."""


class Endpoint(asyncio.Protocol):
    """A WebSocket server for one connection: the handshake, control frames, and messages in both directions.

    Attributes:
        writing: Whether the client's buffers accept data.
        frames: How many messages there were, in both directions.
        on_sent: Called for every message that is sent, if set.
        relocated: Returns where a redirect leads, as the client is to see it.
        on_lost: Called when the connection is gone.
        on_farewell: Called when the client has sent its close frame and waits for ours.

    The messages of the server are framed here rather than by websockets' ``send_text``, in batches: replay
    is bound by it.
    """

    _stream: asyncio.Transport
    _wire: Wire

    def __init__(self, behaviour: Behaviour) -> None:
        self.writing = True
        self._behaviour = behaviour
        self._subprotocol: str | None = None
        self._protocol = ServerProtocol(
            max_size=None, logger=SILENT, select_subprotocol=lambda _, offered: self._choice(offered)
        )
        self._request: Request | None = None
        self._fragments: list[bytes] = []
        self._opcode = Opcode.TEXT
        self._over = False
        self._broken_off = False
        self._lost = False
        self._trouble: Trouble | None = None
        self._end_timer: Timer | None = None
        self._bytes_sent = 0
        self.frames = 0
        self.on_sent: Callable[[], None] | None = None
        self.relocated: Callable[[str], str] = lambda location: location
        self.on_lost: Callable[[], None] = lambda: None
        self.on_farewell: Callable[[], None] = lambda: None

    def disturb(self, trouble: Trouble) -> None:
        """Let ``trouble`` happen to this connection, whose handshake has not been answered."""
        self._trouble = trouble
        self._stream = self._wire = Wire(self._stream, self, trouble.pace, trouble.chance())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._stream = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._protocol.receive_data(data)
        self._process()

    def eof_received(self) -> None:
        """The client sends nothing more."""
        self._protocol.receive_eof()
        self._process()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._lost = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        if self._trouble is not None:
            self._trouble.gone()
        self.on_lost()
        self._end(1006, "")

    def pause_writing(self) -> None:
        """The client's buffers are full."""
        self.writing = False

    def resume_writing(self) -> None:
        """The client's buffers accept data again."""
        self.writing = True
        if not self._over:
            self._behaviour.writable()

    # what a behaviour does

    def accept(self, subprotocol: str | None, headers: Recorded) -> None:
        """Accept the handshake."""
        self._subprotocol = subprotocol
        if self._request is None or self._stream.is_closing():
            return
        response = self._protocol.accept(self._request)
        for name, value in fields(headers):
            response.headers[name] = value
        self._protocol.send_response(response)
        self._flush()
        if self._trouble is not None and self._protocol.state is State.OPEN:
            self._begin_trouble(self._trouble)

    def reject(self, status: int, headers: Recorded, body: str | bytes) -> None:
        """Answer the handshake with an HTTP status."""
        if self._stream.is_closing():
            return
        self._over = True
        encoded = body.encode() if isinstance(body, str) else body
        answer = Headers(fields(headers))
        for name in ("Content-Length", "Connection", "Content-Encoding", "Transfer-Encoding"):
            answer.pop(name, None)
        if location := answer.get("Location"):
            del answer["Location"]
            answer["Location"] = self.relocated(location)
        answer["Content-Length"] = str(len(encoded))
        answer["Connection"] = "close"
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
        self._protocol.send_response(Response(status, phrase, answer, encoded))
        self._flush()

    def send(self, messages: Sequence[Payload]) -> None:
        """Write messages, in one go."""
        if self._trouble is not None:
            self._send_in_trouble(messages, self._trouble)
            return
        self._count(messages)
        chunks: list[bytes] = []
        for message in messages:
            if isinstance(message, str):
                payload = message.encode() if message.isascii() else _encoded(message)
                length = len(payload)
                chunks.append(_TEXT_HEADS[length] if length < _SHORT else _frame_head(True, length))
            else:
                payload, length = message, len(message)
                chunks.append(_BINARY_HEADS[length] if length < _SHORT else _frame_head(False, length))
            chunks.append(payload)
        self._stream.write(b"".join(chunks))

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame, or with none for 1005."""
        if self._over:
            return
        self._over = True
        if self._protocol.state is not State.OPEN:
            return  # the client's own close came first, in the same bytes
        if self._trouble is not None:
            self._write_held(self._trouble)
            if (ending := self._trouble.ending) is not None and ending.instead_of_close:
                self._trouble.end()
                self._carry_out(ending)
                return
        if code == 1005:
            self._protocol.send_close()
        else:
            self._protocol.send_close(code, reason)
        self._flush()

    def abort(self) -> None:
        """End the connection without a close frame, after what was written has arrived."""
        if self._broken_off:
            return
        self._over = True
        if self._trouble is not None:
            self._write_held(self._trouble)
        self._stream.close()

    def hang_up(self) -> None:
        """Abort the connection if it is still there, from whichever thread."""
        if not self._lost and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._abort_now)

    # what goes wrong

    def _begin_trouble(self, trouble: Trouble) -> None:
        if not trouble.opened():
            self._trouble = None
        elif trouble.end_due(0):
            self._break_off()
        elif trouble.ending is not None and trouble.ending.seconds is not None:
            self._end_timer = Timer(self._loop, trouble.ending.seconds, self._break_off)

    def _send_in_trouble(self, messages: Sequence[Payload], trouble: Trouble) -> None:
        for message in messages:
            if self._over:
                return
            self._count((message,))
            payload = _encoded(message) if isinstance(message, str) else message
            for text, content in trouble.message(isinstance(message, str), payload):
                self._write_frame(text, content, trouble.ending)
            if trouble.end_due(self._bytes_sent):
                self._break_off()

    def _write_frame(self, text: bool, payload: bytes, ending: Ending | None) -> None:
        frame = _frame_head(text, len(payload)) + payload
        if ending is not None and ending.bytes is not None and ending.cuts_messages:
            frame = frame[: max(0, ending.bytes - self._bytes_sent)]
        self._bytes_sent += len(frame)
        self._stream.write(frame)

    def _write_held(self, trouble: Trouble) -> None:
        for text, payload in trouble.held():
            self._write_frame(text, payload, trouble.ending)

    def _break_off(self) -> None:
        """End the connection as its trouble wants; whoever is behind it sees the client go."""
        trouble = self._trouble
        if trouble is None or self._over or self._protocol.state is not State.OPEN:
            return
        self._write_held(trouble)
        ending = trouble.end()
        if ending is None:
            return
        self._over = self._broken_off = True
        self._behaviour.ended(1006, "")
        self._carry_out(ending)

    def _carry_out(self, ending: Ending) -> None:
        match ending.kind:
            case "drop":
                self._wire.close()
            case "reset":
                self._wire.reset()
            case "close":
                self._protocol.send_close(ending.code, ending.reason)
                self._flush()
            case "stall":
                self._wire.stall()
            case _:
                assert_never(ending.kind)

    # inside

    def _count(self, messages: Sequence[Payload]) -> None:
        self.frames += len(messages)
        if self.on_sent is not None:
            for _ in messages:
                self.on_sent()

    def _abort_now(self) -> None:
        if not self._lost:
            self._stream.abort()

    def _choice(self, offered: Sequence[Any]) -> Any:
        return self._subprotocol if self._subprotocol in offered else None

    def _process(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._request = event
                self._behaviour.dialled(self, event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(frame.data)
            self._end(close.code, close.reason)
            if not self._broken_off:
                self.on_farewell()
            return
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._opcode = frame.opcode
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            whole = b"".join(self._fragments)
            self._fragments.clear()
            self.frames += 1
            message = whole.decode("utf-8", "replace") if self._opcode is Opcode.TEXT else whole
            if self._broken_off:
                return
            if self._over:
                self._behaviour.came_late(message)
            else:
                self._behaviour.received(message)

    def _end(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._behaviour.ended(code, reason)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._stream.write(data)
            else:
                self._stream.close()


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _frame_head(text: bool, length: int) -> bytes:
    """Return what stands before ``length`` bytes of an unmasked message in one frame (RFC 6455, 5.2)."""
    first = 0x81 if text else 0x82
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


_SHORT = 2048
_TEXT_HEADS = [_frame_head(True, length) for length in range(_SHORT)]
_BINARY_HEADS = [_frame_head(False, length) for length in range(_SHORT)]
